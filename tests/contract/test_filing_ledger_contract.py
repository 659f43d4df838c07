"""What every filing ledger and rate lease must do: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import (
    LONGEST_BAN,
    DayClaim,
    DayTotal,
    Fetched,
    Moments,
    Parsed,
    Refusal,
    Tick,
    Waiting,
)
from ledgerline.filings.records import FilingRef, Party
from resources.filing_ledger import SqlFilingLedger, _tables
from resources.ledger_schema import FIRST, VERSION_TABLE, run_revisions
from tests.publishing import publish

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
LATER = NOON + timedelta(hours=1)
APPLE = Party("0000320193", "Apple Inc.", "Filer")
COOK = Party("0001214156", "COOK TIMOTHY D", "Reporting")


def ref(number: int = 1, *parties: Party, **changes) -> FilingRef:
    values = {"source": "edgar", "filing_id": f"0000320193-25-{number:06d}", "day": DAY, "form": "8-K", **changes}
    return FilingRef(parties=parties or (APPLE,), **values)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/ledger.db"
        return
    yield request.getfixturevalue("postgres_schema")


@pytest.fixture
def ledger(url: str) -> SqlFilingLedger:
    return SqlFilingLedger(url=url)


def fetch(ledger: SqlFilingLedger, number: int = 1, sha256: str = "a" * 64) -> None:
    ledger.fetched_many("edgar", [Fetched(ref(number).filing_id, sha256, 7, f"s3://b/{sha256}", NOON, '"tag"')])


def test_a_filing_is_remembered_once_with_all_that_was_said_of_it(ledger: SqlFilingLedger) -> None:
    known = ref(1, APPLE, accepted_at=NOON, title="제목")
    assert ledger.discovered([known], seen_at=NOON) == 1
    assert ledger.discovered([known], seen_at=LATER) == 0
    row = ledger.row("edgar", known.filing_id)
    assert row is not None
    assert row.ref == known
    assert (row.state, row.first_seen_at, row.version, row.attempts) == ("discovered", NOON, 0, 0)
    assert ledger.row("dart", known.filing_id) is None


def test_two_thousand_and_more_refs_in_one_call_are_all_remembered(ledger: SqlFilingLedger) -> None:
    refs = [ref(number) for number in range(2345)]
    assert ledger.discovered(refs, seen_at=NOON) == 2345
    assert ledger.discovered([*refs, ref(9999)], seen_at=NOON) == 1
    assert [row.ref for row in ledger.rows("edgar", DAY)] == sorted([*refs, ref(9999)], key=lambda one: one.filing_id)


def test_parties_are_united_inside_one_call_and_over_calls(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, APPLE), ref(1, COOK)], seen_at=NOON)
    issuer = Party("0000320193", "Apple Inc.", "Issuer")
    ledger.discovered([ref(1, issuer), ref(1, APPLE)], seen_at=LATER)
    row = ledger.row("edgar", ref(1).filing_id)
    assert row is not None
    assert row.ref.parties == (APPLE, COOK, issuer)


def test_a_party_without_a_role_yields_to_the_same_one_with_a_role(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, Party(APPLE.id, "APPLE INC", ""))], seen_at=NOON)
    ledger.discovered([ref(1, APPLE)], seen_at=NOON)
    ledger.discovered([ref(1, Party(APPLE.id, "APPLE INC", ""))], seen_at=NOON)
    assert [row.ref.parties for row in ledger.rows("edgar", DAY)] == [(APPLE,)]


def test_a_later_witness_fills_what_the_first_did_not_know(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, form="")], seen_at=NOON)
    ledger.discovered([ref(1, form="8-K", accepted_at=NOON)], seen_at=LATER)
    ledger.discovered([ref(1, form="10-K", accepted_at=LATER)], seen_at=LATER)
    (row,) = ledger.rows("edgar", DAY)
    assert (row.ref.form, row.ref.accepted_at, row.first_seen_at) == ("8-K", NOON, NOON)


def test_a_filing_goes_through_its_states_and_repeating_a_transition_changes_nothing(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, accepted_at=NOON)], seen_at=NOON)
    filing_id = ref(1).filing_id
    for _ in range(2):
        fetch(ledger)
        (row,) = ledger.pending("edgar", DAY)
        assert (row.state, row.version, row.sha256, row.bytes, row.available_at) == ("fetched", 1, "a" * 64, 7, NOON)
    assert ledger.unpublished("edgar", DAY) == []
    for _ in range(2):
        ledger.parsed_many("edgar", [Parsed(filing_id, LATER)])
        (row,) = ledger.unpublished("edgar", DAY)
        assert (row.state, row.ref.accepted_at) == ("parsed", LATER)
    for _ in range(2):
        publish(ledger, "edgar", [filing_id], at=LATER)
        assert ledger.unpublished("edgar", DAY) == []
        assert ledger.pending("edgar", DAY) == []
        assert ledger.counts() == {("edgar", "2025-03-14", "published"): 1}
    ledger.discovered([ref(1)], seen_at=LATER)
    fetch(ledger)
    ledger.parsed_many("edgar", [Parsed(filing_id, None)])
    ledger.refused_many("edgar", [Refusal(filing_id, "truncated", "never")])
    (row,) = ledger.rows("edgar", DAY)
    assert (row.state, row.version, row.reason, row.ref.accepted_at) == ("published", 1, None, LATER)


def test_a_state_cannot_be_skipped(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    publish(ledger, "edgar", [ref(1).filing_id], at=LATER)
    assert [row.state for row in ledger.rows("edgar", DAY)] == ["discovered"]


def test_a_refused_filing_keeps_its_reason_and_is_unpublished_until_the_lake_has_it(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    fetch(ledger)
    ledger.refused_many("edgar", [Refusal(ref(1).filing_id, "truncated", "no closing tag")])
    (row,) = ledger.unpublished("edgar", DAY)
    assert (row.state, row.reason, row.detail, row.sha256) == ("refused", "truncated", "no closing tag", "a" * 64)
    assert ledger.pending("edgar", DAY) == []
    publish(ledger, "edgar", [ref(1).filing_id], at=LATER)
    assert ledger.unpublished("edgar", DAY) == []
    assert ledger.counts() == {("edgar", "2025-03-14", "refused"): 1}


def test_a_version_that_was_parsed_while_an_older_one_was_published_is_published_too(ledger: SqlFilingLedger) -> None:
    filing_id = ref(1).filing_id
    ledger.discovered([ref(1)], seen_at=NOON)
    for sha256 in ("a" * 64, "b" * 64):
        fetch(ledger, sha256=sha256)
        ledger.parsed_many("edgar", [Parsed(filing_id, NOON)])
    ledger.published("edgar", {filing_id: 1}, at=LATER)  # by a process that read the rows before the second fetch
    assert [(row.state, row.version) for row in ledger.unpublished("edgar", DAY)] == [("parsed", 2)]
    ledger.published("edgar", {filing_id: 2}, at=LATER)
    assert ledger.unpublished("edgar", DAY) == []
    ledger.published("edgar", {filing_id: 1}, at=LATER)  # by one that was slower still: the lake holds its version now
    assert [(row.state, row.version) for row in ledger.unpublished("edgar", DAY)] == [("parsed", 2)]


def test_changed_bytes_are_a_new_version_and_the_old_one_is_kept(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    fetch(ledger)
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    publish(ledger, "edgar", [ref(1).filing_id], at=LATER)
    fetch(ledger, sha256="b" * 64)
    (row,) = ledger.pending("edgar", DAY)
    assert (row.state, row.version, row.sha256) == ("fetched", 2, "b" * 64)
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    assert [row.version for row in ledger.unpublished("edgar", DAY)] == [2]
    assert [version.sha256[0] for version in ledger.versions("edgar", ref(1).filing_id)] == ["a", "b"]


def test_an_attempt_is_counted_before_it_is_made_and_the_next_one_waits_for_its_time(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1), ref(2)], seen_at=NOON)
    for _ in range(3):
        ledger.begun("edgar", [ref(1).filing_id])
    ledger.waiting_many("edgar", [Waiting(ref(1).filing_id, "404 NoSuchKey", LATER)])
    waiting, other = ledger.pending("edgar", DAY)
    assert (waiting.state, waiting.attempts, waiting.detail) == ("discovered", 3, "404 NoSuchKey")
    assert waiting.next_attempt_at == LATER
    assert (other.attempts, other.next_attempt_at) == (0, None)
    assert ledger.pending("edgar", DAY, due_at=NOON) == [other]
    assert ledger.pending("edgar", DAY, due_at=LATER) == [waiting, other]
    ledger.begun("edgar", [ref(1).filing_id])
    assert ledger.pending("edgar", DAY, due_at=NOON)[0].next_attempt_at is None
    fetch(ledger)
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    publish(ledger, "edgar", [ref(1).filing_id], at=LATER)
    row = ledger.row("edgar", ref(1).filing_id)
    assert row is not None
    assert (row.attempts, row.detail, row.published_at) == (0, None, LATER)


def test_the_days_with_something_to_do_are_known_without_asking_for_each(ledger: SqlFilingLedger) -> None:
    other, third = DAY + timedelta(days=3), DAY + timedelta(days=5)
    ledger.discovered([ref(1), ref(2, day=other), ref(3, day=third)], seen_at=NOON)
    fetch(ledger)
    ledger.refused_many("edgar", [Refusal(ref(1).filing_id, "truncated", "x")])
    ledger.waiting_many("edgar", [Waiting(ref(3).filing_id, "later", LATER)])
    assert ledger.pending_days("edgar", due_at=NOON) == [other]
    assert ledger.pending_days("edgar", due_at=LATER) == [other, third]
    assert ledger.pending_days("dart", due_at=LATER) == []


def test_what_is_known_is_told_apart_from_what_is_new(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1), ref(2)], seen_at=NOON)
    assert ledger.known("edgar", [ref(1).filing_id, ref(3).filing_id]) == {ref(1).filing_id}
    assert ledger.known("dart", [ref(1).filing_id]) == set()
    assert (ledger.listed("edgar", DAY), ledger.listed("edgar", DAY + timedelta(days=1))) == (2, 0)


def test_rows_are_found_by_id_whatever_their_day(ledger: SqlFilingLedger) -> None:
    refs = [ref(1), ref(2, day=DAY + timedelta(days=3))]
    ledger.discovered(refs, seen_at=NOON)
    assert [row.ref for row in ledger.rows_of("edgar", [one.filing_id for one in (*refs, ref(9))])] == refs
    assert ledger.rows_of("edgar", []) == []


def test_every_witness_of_a_filing_is_remembered_once(ledger: SqlFilingLedger) -> None:
    for witness in ("feed", "index", "feed"):
        ledger.discovered([ref(1)], seen_at=NOON, witness=witness)  # type: ignore[arg-type]
    assert [row.witnesses for row in ledger.rows("edgar", DAY)] == [("feed", "index")]


def test_header_facts_are_kept_with_what_the_filing_corrects(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    fetch(ledger)
    facts = Parsed(ref(1).filing_id, NOON, "10-K/A", (APPLE,), "2024-12-31", "7")
    ledger.parsed_many("edgar", [facts])
    ledger.corrected("edgar", {ref(1).filing_id: ref(0).filing_id})
    (row,) = ledger.rows("edgar", DAY)
    assert (row.period, row.corrects, row.parser_version, row.etag) == ("2024-12-31", ref(0).filing_id, "7", '"tag"')


def test_the_filings_of_a_company_are_found_by_form_and_day(ledger: SqlFilingLedger) -> None:
    refs = [
        ref(1, APPLE, COOK, form="10-K", day=DAY - timedelta(days=400)),
        ref(2, form="10-K"),
        ref(3, form="10-Q"),
        ref(4, COOK, form="10-K"),
        ref(5, form="10-K", day=DAY + timedelta(days=1)),
    ]
    ledger.discovered(refs, seen_at=NOON)

    def found(companies: list[Party], *forms: str, source: str = "edgar", **days: date) -> list[FilingRef]:
        ids = [company.id for company in companies]
        return [row.ref for row in ledger.by_companies(source, ids, forms, **days)]  # type: ignore[arg-type]

    assert found([APPLE], "10-K", until=DAY) == refs[:2]
    assert found([APPLE], "10-K", since=DAY) == [refs[1], refs[4]]
    assert found([APPLE, COOK], "10-K", "10-Q") == refs
    assert found([APPLE], "10-K", source="dart") == []
    assert found([], "10-K") == []


def test_a_correction_that_is_pointed_anew_is_told_to_the_lake_once(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1), ref(2, form="8-K/A")], seen_at=NOON)
    fetch(ledger, 2)
    ledger.parsed_many("edgar", [Parsed(ref(2).filing_id, NOON)])
    publish(ledger, "edgar", [ref(2).filing_id], at=LATER)
    for told in ([ref(2).filing_id], []):
        ledger.corrected("edgar", {ref(2).filing_id: ref(1).filing_id, ref(9).filing_id: ref(1).filing_id})
        rows = ledger.unpublished("edgar", DAY)
        assert [row.ref.filing_id for row in rows] == told
        publish(ledger, "edgar", told, at=LATER)
    row = ledger.row("edgar", ref(2).filing_id)
    assert row is not None
    assert (row.state, row.corrects) == ("published", ref(1).filing_id)


def test_a_filing_that_is_taken_up_again_starts_from_its_kept_body(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1), ref(2), ref(3)], seen_at=NOON)
    fetch(ledger)
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    ledger.refused_many("edgar", [Refusal(ref(2).filing_id, "not_served", "x")])
    publish(ledger, "edgar", [ref(1).filing_id, ref(2).filing_id], at=LATER)
    assert ledger.reopened("edgar", [ref(number).filing_id for number in (1, 2, 3, 9)]) == 2
    assert [(row.state, row.reason, row.version) for row in ledger.rows("edgar", DAY)] == [
        ("fetched", None, 1),
        ("discovered", None, 0),
        ("discovered", None, 0),
    ]
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    assert [row.version for row in ledger.unpublished("edgar", DAY)] == [1]


def test_a_refused_filing_is_fetched_again_where_that_is_asked_for_and_a_published_one_never(
    ledger: SqlFilingLedger,
) -> None:
    ledger.discovered([ref(1), ref(2)], seen_at=NOON)
    ids = [ref(number).filing_id for number in (1, 2)]
    for number in (1, 2):
        fetch(ledger, number)
    ledger.parsed_many("edgar", [Parsed(ids[0], NOON)])
    ledger.refused_many("edgar", [Refusal(ids[1], "truncated", "x")])
    publish(ledger, "edgar", ids, at=LATER)
    assert ledger.reopened("edgar", ids, fetch_again=True) == 2
    assert [row.state for row in ledger.rows("edgar", DAY)] == ["fetched", "discovered"]
    fetch(ledger, 2)  # the same bytes
    assert [(row.state, row.version) for row in ledger.rows("edgar", DAY)] == [("fetched", 1), ("fetched", 1)]
    assert len(ledger.versions("edgar", ids[1])) == 1


def published(ledger: SqlFilingLedger, number: int, at: datetime, **facts) -> None:
    fetch(ledger, number)
    ledger.parsed_many("edgar", [Parsed(ref(number).filing_id, NOON, **facts)])
    publish(ledger, "edgar", [ref(number).filing_id], at=at)


def test_the_days_that_have_filings_are_found_from_either_end(ledger: SqlFilingLedger) -> None:
    days = [DAY + timedelta(days=number) for number in (0, 3, 4, 900)]
    ledger.discovered([ref(number, day=day) for number, day in enumerate(days)], seen_at=NOON)
    ledger.discovered([ref(9, day=days[1])], seen_at=NOON)
    assert ledger.days("edgar") == days
    assert ledger.days("edgar", newest=2) == days[2:]
    assert ledger.days("edgar", until=days[2], newest=2) == days[1:3]
    assert ledger.days("edgar", since=days[1], until=days[2]) == days[1:3]
    assert ledger.days("edgar", since=days[3] + timedelta(days=1)) == []
    assert ledger.days("dart") == []


def test_a_day_is_summed_up_by_state_and_reason_with_what_is_late(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(number) for number in range(1, 8)], seen_at=NOON)
    ledger.discovered([ref(8), ref(9, day=DAY + timedelta(days=1))], seen_at=LATER)
    published(ledger, 1, LATER)
    published(ledger, 2, LATER)
    fetch(ledger, 2, "b" * 64)
    ledger.parsed_many("edgar", [Parsed(ref(2).filing_id, NOON)])
    publish(ledger, "edgar", [ref(2).filing_id], at=LATER)
    fetch(ledger, 3)
    ledger.refused_many(
        "edgar", [Refusal(ref(3).filing_id, "truncated", "x"), Refusal(ref(4).filing_id, "poison", "x")]
    )
    ledger.waiting_many("edgar", [Waiting(ref(5).filing_id, "404", LATER + timedelta(hours=1))])
    fetch(ledger, 6)
    totals = ledger.day_totals("edgar", since=DAY, until=DAY, late_before=LATER)
    assert sorted(totals, key=lambda total: (total.state, total.reason or "")) == [
        DayTotal(DAY, "discovered", None, filings=3, bytes=0, changed=0, late=1),  # 5 is due later, 8 was seen later
        DayTotal(DAY, "fetched", None, filings=1, bytes=7, changed=0, late=1),
        DayTotal(DAY, "published", None, filings=2, bytes=14, changed=1, late=0),
        DayTotal(DAY, "refused", "poison", filings=1, bytes=0, changed=0, late=0),
        DayTotal(DAY, "refused", "truncated", filings=1, bytes=7, changed=0, late=0),
    ]
    late = ledger.late("edgar", before=LATER, limit=9)
    assert [row.ref.filing_id for row in late] == [ref(6).filing_id, ref(7).filing_id]
    much_later = LATER + timedelta(days=1)
    assert [row.ref.filing_id for row in ledger.late("edgar", before=much_later, limit=9)] == [
        ref(number).filing_id for number in (6, 7, 8, 9, 5)
    ]
    assert len(ledger.late("edgar", before=much_later, limit=2)) == 2
    assert ledger.late("dart", before=much_later, limit=9) == []


def test_the_moments_of_published_filings_are_known_by_day(ledger: SqlFilingLedger) -> None:
    other = DAY + timedelta(days=1)
    ledger.discovered([ref(1), ref(2), ref(3, day=other)], seen_at=NOON)
    published(ledger, 1, LATER)
    fetch(ledger, 2)
    published(ledger, 3, LATER)
    assert ledger.moments("edgar", since=DAY, until=DAY) == [Moments(DAY, NOON, NOON, LATER)]
    assert [one.day for one in ledger.moments("edgar", since=DAY, until=other)] == [DAY, other]


def test_other_bytes_or_facts_do_not_move_the_moment_at_which_a_filing_was_first_there(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    published(ledger, 1, LATER)
    next_day = LATER + timedelta(days=1)
    changed = Fetched(ref(1).filing_id, "b" * 64, 7, "s3://b/changed", next_day)
    ledger.fetched_many("edgar", [changed])
    ledger.parsed_many("edgar", [Parsed(ref(1).filing_id, NOON)])
    publish(ledger, "edgar", [ref(1).filing_id], at=next_day)
    row = ledger.row("edgar", ref(1).filing_id)
    assert row is not None
    assert (row.state, row.version, row.available_at, row.published_at) == ("published", 2, next_day, LATER)
    assert ledger.moments("edgar", since=DAY, until=DAY) == [Moments(DAY, NOON, NOON, LATER)]


def test_refused_filings_are_listed_by_reason_the_newest_day_first(ledger: SqlFilingLedger) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    ledger.discovered([ref(number, COOK, day=day) for number, day in enumerate(days)], seen_at=NOON)
    reasons = ("poison", "truncated", "not_served")
    ledger.refused_many(
        "edgar", [Refusal(ref(number).filing_id, reason, "why") for number, reason in enumerate(reasons)]
    )
    found = ledger.refused("edgar", ["poison", "not_served"], since=days[0], until=days[2], limit=9)
    assert [(row.reason, row.detail, row.ref.parties) for row in found] == [
        ("not_served", "why", (COOK,)),
        ("poison", "why", (COOK,)),
    ]
    assert len(ledger.refused("edgar", reasons, since=days[0], until=days[2], limit=1)) == 1
    assert ledger.refused("edgar", reasons, since=days[0], until=days[0], limit=9)[0].reason == "poison"


def test_closed_filings_are_selected_by_reason_and_by_parser(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(number) for number in range(1, 7)], seen_at=NOON)
    ids = [ref(number).filing_id for number in range(7)]
    published(ledger, 1, LATER, parser_version="1")
    published(ledger, 2, LATER, parser_version="2")
    published(ledger, 3, LATER)  # by a program that did not say
    ledger.refused_many("edgar", [Refusal(ids[4], "truncated", "x"), Refusal(ids[5], "poison", "x")])
    assert ledger.closed("edgar", DAY, reasons=["truncated", "empty"]) == {ids[4]: "truncated"}
    assert ledger.closed("edgar", DAY, parsed_by_another="2") == {ids[1]: None, ids[3]: None}
    both = ledger.closed("edgar", DAY, reasons=["poison"], parsed_by_another="1")
    assert both == {ids[2]: None, ids[3]: None, ids[5]: "poison"}
    assert ledger.closed("edgar", DAY) == {}
    assert ledger.closed("edgar", DAY + timedelta(days=1), reasons=["poison"]) == {}
    ledger.reopened("edgar", [ids[1], ids[5]])
    assert ledger.closed("edgar", DAY, reasons=["poison"], parsed_by_another="2") == {ids[3]: None}


def test_a_filing_knows_what_corrects_it(ledger: SqlFilingLedger) -> None:
    later = DAY + timedelta(days=9)
    ledger.discovered(
        [ref(1, APPLE, COOK), ref(2, form="8-K/A", day=later), ref(3, form="8-K/A"), ref(4)], seen_at=NOON
    )
    for number in (2, 3):
        fetch(ledger, number)
        ledger.parsed_many("edgar", [Parsed(ref(number).filing_id, NOON)])
        ledger.corrected("edgar", {ref(number).filing_id: ref(1).filing_id})
    assert [row.ref.filing_id for row in ledger.corrections_of("edgar", ref(1).filing_id)] == [
        ref(3).filing_id,
        ref(2).filing_id,
    ]
    assert ledger.corrections_of("edgar", ref(4).filing_id) == []
    assert ledger.corrections_of("dart", ref(1).filing_id) == []


def tick(minutes: int, **changes) -> Tick:
    started = NOON + timedelta(minutes=minutes)
    values = {"connected": True, "new": 3, "pages": 1, **changes}
    return Tick("edgar", started, started + timedelta(seconds=9), **values)


def test_only_a_connected_poll_or_one_that_read_the_whole_feed_moves_the_watermark(ledger: SqlFilingLedger) -> None:
    assert ledger.watermark("edgar") is None
    gap = (NOON + timedelta(minutes=5), NOON + timedelta(minutes=25))
    ticks = [
        tick(0),
        tick(10, connected=False),
        tick(20, connected=False, failure="503"),
        tick(30, connected=False, gap=gap),
        tick(25),  # a slow one that ends late
    ]
    marks = []
    for one in ticks:
        ledger.ticked(one)
        marks.append(ledger.watermark("edgar"))
    assert marks == [NOON, NOON, NOON, ticks[3].started_at, ticks[3].started_at]
    assert ledger.ticks("edgar", limit=2) == [ticks[4], ticks[3]]
    assert ledger.ticks("edgar", limit=9, since=ticks[2].started_at) == [ticks[4], ticks[3], ticks[2]]
    assert ledger.ticks("dart") == []
    assert ledger.watermark("dart") is None


def test_a_complete_day_is_remembered_by_its_newest_proof(ledger: SqlFilingLedger) -> None:
    ledger.completed(DayClaim("edgar", DAY, 5, "a" * 64, NOON))
    ledger.completed(DayClaim("edgar", DAY, 6, "b" * 64, LATER))
    ledger.completed(DayClaim("edgar", DAY + timedelta(days=1), 0, "c" * 64, LATER))
    assert ledger.completions("edgar")[0] == DayClaim("edgar", DAY, 6, "b" * 64, LATER)
    assert [claim.day for claim in ledger.completions("edgar", since=DAY + timedelta(days=1))] == [
        DAY + timedelta(days=1)
    ]
    assert ledger.completions("dart") == []


def test_a_comparison_with_the_regulator_is_remembered(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    ledger.checked("edgar", [ref(1).filing_id], at=LATER)
    assert [row.checked_at for row in ledger.rows("edgar", DAY)] == [LATER]


def test_batches_do_what_the_single_transitions_do(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(number) for number in range(1, 5)], seen_at=NOON)
    ids = [ref(number).filing_id for number in range(1, 5)]
    ledger.fetched_many("edgar", [Fetched(one, one[-1] * 64, 1, "s3://b/k", NOON) for one in ids])
    ledger.parsed_many(
        "edgar", [Parsed(ids[0], NOON, "10-K", (APPLE, COOK)), Parsed(ids[1], None), Parsed("unknown", None)]
    )
    ledger.refused_many("edgar", [Refusal(ids[2], "truncated", "x")])
    rows = ledger.rows("edgar", DAY)
    assert [row.state for row in rows] == ["parsed", "parsed", "refused", "fetched"]
    assert rows[0].ref.parties == (APPLE, COOK)
    assert ledger.counts() == {
        ("edgar", "2025-03-14", "parsed"): 2,
        ("edgar", "2025-03-14", "refused"): 1,
        ("edgar", "2025-03-14", "fetched"): 1,
    }


def test_nothing_given_is_nothing_done(ledger: SqlFilingLedger) -> None:
    assert ledger.discovered([], seen_at=NOON) == 0
    ledger.fetched_many("edgar", [])
    ledger.parsed_many("edgar", [])
    publish(ledger, "edgar", [], at=LATER)
    assert ledger.counts() == {}


def test_another_process_sees_what_was_written(ledger: SqlFilingLedger, url: str) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    other = SqlFilingLedger(url=url)
    assert other.discovered([ref(1), ref(2)], seen_at=NOON) == 1
    assert len(ledger.rows("edgar", DAY)) == 2


def test_a_time_without_a_zone_is_not_stored(ledger: SqlFilingLedger) -> None:
    with pytest.raises(Exception, match="without a zone"):
        ledger.discovered([ref(1)], seen_at=datetime(2025, 3, 14))


def test_a_ledger_with_a_newer_schema_is_not_touched(url: str) -> None:
    import sqlalchemy

    SqlFilingLedger(url=url).counts()
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"schema 9999.*install the newer ledgerline"):
        SqlFilingLedger(url=url).counts()


def test_a_ledger_of_the_first_schema_is_upgraded_with_its_filings_and_equals_a_new_one(url: str) -> None:
    import sqlalchemy
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    SqlFilingLedger(url=url).counts()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for table in (*reversed(_tables().metadata.sorted_tables), sqlalchemy.table(VERSION_TABLE)):
            connection.execute(sqlalchemy.text(f"DROP TABLE {table.name}"))
        run_revisions(connection, FIRST)
        connection.execute(sqlalchemy.text("INSERT INTO ledger_schema VALUES (1)"))
        connection.execute(sqlalchemy.text(f"DROP TABLE {VERSION_TABLE}"))
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO filings VALUES ('edgar', 'x', '2025-03-14', '8-K', '', 'discovered', NULL, "
                "'2025-03-14 16:00:00', NULL, NULL, NULL, NULL, NULL, NULL, 0, -1, 2)"
            )
        )
    (row,) = SqlFilingLedger(url=url).rows("edgar", DAY)
    assert (row.ref.filing_id, row.attempts, row.witnesses) == ("x", 2, ())
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, _tables().metadata) == []


def test_an_unusable_url_is_a_configuration_error_that_shows_no_password() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:////") as caught:
        SqlFilingLedger(url="nosuch://user:hunter2@host/db").counts()
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- lease and ban


def test_slots_are_handed_out_one_after_the_other_over_processes(ledger: SqlFilingLedger, url: str) -> None:
    other = SqlFilingLedger(url=url)
    waits = [lease.lease("edgar", NOON, per_second=5) for lease in (ledger, other, ledger, other)]
    assert waits == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert ledger.lease("edgar", NOON + timedelta(seconds=10), per_second=5) == 0.0
    assert ledger.lease("dart", NOON, per_second=2) == 0.0


def test_a_day_has_its_quota_and_the_next_day_a_new_one(ledger: SqlFilingLedger) -> None:
    tomorrow = DAY + timedelta(days=1)
    answers = [ledger.lease("dart", NOON, per_second=1000, per_day=2, day=DAY) for _ in range(3)]
    assert answers[:2] == pytest.approx([0.0, 0.001])
    assert answers[2] is None
    assert ledger.lease("dart", NOON + timedelta(days=1), per_second=1000, per_day=2, day=tomorrow) == 0.0


def test_a_clock_that_was_set_back_does_not_stop_the_lease(ledger: SqlFilingLedger) -> None:
    ledger.lease("edgar", NOON + timedelta(days=1), per_second=5)
    assert ledger.lease("edgar", NOON, per_second=5) == 0.0


def test_a_ban_holds_for_every_process_until_its_end_and_is_never_shortened(ledger: SqlFilingLedger, url: str) -> None:
    assert ledger.banned_until("edgar", NOON) is None
    ledger.ban("edgar", NOON + timedelta(seconds=400), "rate threshold")
    ledger.ban("edgar", NOON + timedelta(seconds=300), "earlier")
    other = SqlFilingLedger(url=url)
    assert other.banned_until("edgar", NOON) == (NOON + timedelta(seconds=400), "rate threshold")
    assert other.banned_until("edgar", NOON + timedelta(seconds=400)) is None
    assert other.banned_until("dart", NOON) is None
    other.ban("edgar", NOON + timedelta(seconds=600), "again")
    assert ledger.banned_until("edgar", NOON) == (NOON + timedelta(seconds=600), "again")


def test_a_ban_that_a_clock_hours_ahead_set_ends_after_the_longest_that_one_can_be(ledger: SqlFilingLedger) -> None:
    ledger.ban("edgar", NOON + timedelta(hours=15), "rate threshold")
    ends = NOON + LONGEST_BAN["edgar"]
    for moment in (NOON, NOON + timedelta(seconds=599)):
        assert ledger.banned_until("edgar", moment) == (ends, "rate threshold")
    assert ledger.banned_until("edgar", ends) is None


def test_a_clock_hours_behind_does_not_shorten_a_ban(ledger: SqlFilingLedger) -> None:
    ledger.ticked(tick(0))
    ledger.ban("edgar", NOON + LONGEST_BAN["edgar"], "rate threshold")
    for moment in (NOON - timedelta(hours=3), NOON):
        assert ledger.banned_until("edgar", moment) == (NOON + LONGEST_BAN["edgar"], "rate threshold")


def test_a_backfill_leaves_half_of_the_rate_to_the_live_feed(ledger: SqlFilingLedger) -> None:
    now, live, backfill = NOON, [], []
    for _ in range(40):
        live.append(ledger.lease("edgar", now, per_second=5))
        backfill.append(ledger.lease("edgar", now, per_second=5, backfill=True))
        now += timedelta(
            seconds=0.4
        )  # the live feed asks 2.5 times a second, the backfill would ask as often as it may
    assert max(wait for wait in live if wait is not None) <= 0.4
    assert all(wait is not None for wait in backfill)


def test_a_backfill_alone_has_the_whole_rate(ledger: SqlFilingLedger) -> None:
    waits = [ledger.lease("edgar", NOON, per_second=5, backfill=True) for _ in range(4)]
    assert waits == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_a_backfill_beside_the_live_feed_is_slowed_to_its_share(ledger: SqlFilingLedger) -> None:
    ledger.lease("edgar", NOON, per_second=5)
    waits = [ledger.lease("edgar", NOON, per_second=5, backfill=True) for _ in range(4)]
    assert waits == pytest.approx([0.2, 0.6, 1.0, 1.4])


def test_a_backfill_leaves_half_of_the_requests_of_a_day(ledger: SqlFilingLedger) -> None:
    asked = [ledger.lease("dart", NOON, per_second=1000, per_day=4, day=DAY, backfill=True) for _ in range(3)]
    assert [wait is None for wait in asked] == [False, False, True]
    asked = [ledger.lease("dart", NOON, per_second=1000, per_day=4, day=DAY) for _ in range(3)]
    assert [wait is None for wait in asked] == [False, False, True]


def test_an_attempt_that_something_else_ended_is_not_counted(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1), ref(2)], seen_at=NOON)
    ledger.begun("edgar", [ref(1).filing_id])
    ledger.begun("edgar", [ref(1).filing_id, ref(2).filing_id])
    ledger.released("edgar", [ref(1).filing_id, ref(2).filing_id], at=LATER)
    ledger.released("edgar", [ref(2).filing_id], at=LATER)
    again, fresh = ledger.pending("edgar", DAY, due_at=LATER)
    assert (again.attempts, again.next_attempt_at) == (1, LATER)
    assert (fresh.attempts, fresh.next_attempt_at) == (0, None)


def test_what_a_later_witness_adds_to_a_published_filing_is_published_too(ledger: SqlFilingLedger) -> None:
    bare = replace(ref(1), accepted_at=None)
    ledger.discovered([bare], seen_at=NOON, witness="index")
    fetch(ledger)
    ledger.parsed_many("edgar", [Parsed(bare.filing_id, None)])
    publish(ledger, "edgar", [bare.filing_id], at=NOON)
    assert ledger.unpublished("edgar", DAY) == []
    ledger.discovered([replace(bare, accepted_at=LATER)], seen_at=LATER, witness="feed")
    (row,) = ledger.unpublished("edgar", DAY)
    assert (row.state, row.ref.accepted_at, row.version) == ("parsed", LATER, 1)
    assert row.available_at is not None
    assert row.available_at >= LATER
    publish(ledger, "edgar", [bare.filing_id], at=LATER)
    ledger.discovered([replace(bare, accepted_at=LATER)], seen_at=LATER, witness="feed")
    assert ledger.unpublished("edgar", DAY) == []
