"""When a day may be called complete, and what is said when it may not."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from ledgerline.filings.completeness import MOST_UNLISTED, claim_day, claim_of, compare, index_row, unlisted
from ledgerline.filings.ports import DayClaim, DayIndex, LedgerRow
from ledgerline.filings.records import FilingRef

DAY = date(2025, 3, 14)
WRITTEN = datetime(2025, 3, 15, 2, 10, tzinfo=timezone.utc)


def ref(number: int, day: date = DAY, accepted_at: datetime | None = WRITTEN - timedelta(hours=5)) -> FilingRef:
    return FilingRef("edgar", f"0000320193-25-{number:06d}", day, "8-K", (), accepted_at)


def row(
    number: int,
    state: str = "published",
    witnesses: tuple[str, ...] = ("feed",),
    seen_at: datetime = WRITTEN - timedelta(hours=4),
    **changes,
) -> LedgerRow:
    return LedgerRow(
        ref(number, **changes), state, seen_at, None, None, None, None, None, None, 1, 0, witnesses=witnesses
    )  # type: ignore[arg-type]


def index(*numbers: int, final: bool = True, others: tuple[FilingRef, ...] = ()) -> DayIndex:
    return DayIndex("edgar", DAY, (*map(ref, numbers), *others), final, WRITTEN)


def test_a_day_whose_index_is_published_or_refused_is_complete() -> None:
    found = compare("edgar", DAY, index(1, 2), [row(1), row(2, "refused")])
    assert found.complete
    assert (found.listed, found.settled, found.missing, found.unsettled) == (2, 2, (), ())


def test_what_the_index_lists_counts_whatever_day_it_is_dated_to() -> None:
    letter = ref(9, DAY - timedelta(days=40))
    assert compare("edgar", DAY, index(1, others=(letter,)), [row(1)]).missing == (letter.filing_id,)
    assert compare("edgar", DAY, index(1, others=(letter,)), [row(1), row(9, day=letter.day)]).complete


def test_an_empty_index_of_a_holiday_makes_an_empty_day_complete() -> None:
    assert compare("edgar", DAY, index(), []).complete


@pytest.mark.parametrize(
    ("of_day", "rows", "reason"),
    [
        (None, [row(1)], "has not written its list"),
        (index(1, final=False), [row(1)], "may still add"),
        (index(1, 2, 3, 4, 5), [row(1)], "4 of 5 listed filings are not known: .*000002, .*000003, .* and 1 more"),
        (index(1, 2), [row(1), row(2, "fetched")], "1 of 2 listed filings are neither published nor refused"),
        (index(1, 2), [row(1), row(2, "discovered")], "1 of 2 listed filings are neither published nor refused"),
    ],
)
def test_a_day_is_not_complete_and_says_why(of_day: DayIndex | None, rows: list[LedgerRow], reason: str) -> None:
    import re

    found = compare("edgar", DAY, of_day, rows)
    assert not found.complete
    assert re.search(reason, found.reason)


def test_listed_filings_of_other_days_that_are_at_work_are_said_with_their_days() -> None:
    letter = ref(9, DAY - timedelta(days=40))
    found = compare("edgar", DAY, index(1, others=(letter,)), [row(1), row(9, "discovered", day=letter.day)])
    assert "some are dated to 2025-02-02: materialize filings of these days" in found.reason


@pytest.mark.parametrize("killed_in", ["lake", "ledger"])
def test_a_claim_that_is_killed_half_way_is_made_whole_by_the_next_one(killed_in: str) -> None:
    """The ledger comes last: a day that it calls complete is not looked at again."""
    row_of_index = index_row(index(1), set(), read_at=WRITTEN).to_pylist()
    ledger, lake = Claims([row(1)]), Tables({"day_index": row_of_index})
    {"lake": lake, "ledger": ledger}[killed_in].killed = True
    with pytest.raises(Killed):
        claim_day("edgar", ledger, lake, DAY, lambda: WRITTEN)  # type: ignore[arg-type]
    assert ledger.claims == []
    ledger.killed = lake.killed = False
    _, claim = claim_day("edgar", ledger, lake, DAY, lambda: WRITTEN)  # type: ignore[arg-type]
    assert ledger.claims == [claim]
    assert [one["filings"] for one in lake.tables["complete_days"]] == [1]


class Killed(BaseException):
    pass


class Claims:
    """The ledger's part of a claim."""

    def __init__(self, known: list[LedgerRow]) -> None:
        self.known, self.claims, self.killed = known, [], False

    def rows(self, source: str, day: date) -> list[LedgerRow]:
        return self.known

    def rows_of(self, source: str, filing_ids: list[str]) -> list[LedgerRow]:
        return []

    def completions(self, source: str, *, since: date) -> list[DayClaim]:
        return self.claims

    def completed(self, claim: DayClaim) -> None:
        if self.killed:
            raise Killed
        self.claims = [claim]


class Tables:
    """The lake's part of a claim."""

    def __init__(self, tables: dict[str, list[dict]]) -> None:
        self.tables, self.killed = tables, False

    def read(self, table: str, *, where: dict[str, str]) -> pa.Table:
        return pa.Table.from_pylist(self.tables[table])

    def replace(self, table: str, rows: pa.Table, *, where: dict[str, str]) -> None:
        if self.killed:
            raise Killed
        self.tables[table] = rows.to_pylist()


def test_an_index_that_lacks_what_a_second_witness_confirms_proves_nothing() -> None:
    rows = [row(1), row(2)]
    assert [one.ref.filing_id for one in unlisted(index(1), rows)] == [ref(2).filing_id]
    assert compare("edgar", DAY, index(1), rows).complete  # withdrawn: no other witness knows it
    found = compare("edgar", DAY, index(1), rows, confirmed={ref(2).filing_id})
    assert (found.complete, found.contradicted) == (False, (ref(2).filing_id,))


def test_an_index_that_lacks_many_filings_is_not_whole() -> None:
    rows = [row(number) for number in range(MOST_UNLISTED + 2)]
    assert not compare("edgar", DAY, index(0), rows).complete
    assert compare("edgar", DAY, index(0, 1), rows).complete


def test_what_was_seen_after_the_index_was_written_or_is_in_another_index_need_not_be_in_it() -> None:
    many = range(MOST_UNLISTED + 2)
    late = [row(number, seen_at=WRITTEN + timedelta(hours=2)) for number in many]
    evening_before = [row(number, witnesses=("feed", "index")) for number in many]
    for rows in (late, evening_before):
        assert unlisted(index(), rows) == []
        assert compare("edgar", DAY, index(), rows).complete


def test_a_claim_names_the_day_by_the_ids_that_its_index_lists() -> None:
    one, other = claim_of(index(1, 2), proved_at=WRITTEN), claim_of(index(2, 1, 1), proved_at=WRITTEN)
    assert one == other
    assert (one.filings, one.day, one.proved_at) == (2, DAY, WRITTEN)
    assert claim_of(index(1), proved_at=WRITTEN).index_digest != one.index_digest
