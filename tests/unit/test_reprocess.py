"""Filings that are taken up again: which, how many, and which not."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.filings import reprocess as module
from ledgerline.filings.parse import PARSER_VERSION
from ledgerline.filings.ports import Fetched, Parsed, Refusal
from ledgerline.filings.records import FilingRef
from ledgerline.filings.reprocess import OUTDATED, Reprocessed, Selection, days_of, reprocess
from resources.filing_ledger import SqlFilingLedger
from tests.publishing import publish

DAY, NEXT = date(2025, 3, 14), date(2025, 3, 17)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
DART = "20250314000020"


def accession(number: int) -> str:
    return f"0000320193-25-{number:06d}"


@pytest.fixture
def ledger(tmp_path) -> SqlFilingLedger:
    """1 and 2 are published, 2 by another parser; 3 is cut off, 4 of the next day never served; 5 waits; one of DART."""
    made = SqlFilingLedger(url=f"sqlite:///{tmp_path}/l.db")
    days = {1: DAY, 2: DAY, 3: DAY, 4: NEXT, 5: DAY}
    made.discovered([FilingRef("edgar", accession(one), day, "8-K", ()) for one, day in days.items()], seen_at=NOON)
    made.discovered([FilingRef("dart", DART, DAY, "", ())], seen_at=NOON)
    made.fetched_many("edgar", [Fetched(accession(one), str(one) * 64, 7, f"s3://b/{one}", NOON) for one in (1, 2, 3)])
    made.parsed_many("edgar", [Parsed(accession(1), NOON, parser_version=PARSER_VERSION)])
    made.parsed_many("edgar", [Parsed(accession(2), NOON, parser_version="0")])
    made.refused_many("edgar", [Refusal(accession(3), "truncated", "x"), Refusal(accession(4), "not_served", "x")])
    made.refused_many("dart", [Refusal(DART, "not_served", "014")])
    publish(made, "edgar", [accession(one) for one in (1, 2, 3, 4)], at=NOON + timedelta(minutes=1))
    publish(made, "dart", [DART], at=NOON + timedelta(minutes=1))
    return made


def states(ledger: SqlFilingLedger) -> dict[str, str]:
    rows = [*ledger.rows("edgar", DAY), *ledger.rows("edgar", NEXT), *ledger.rows("dart", DAY)]
    return {row.ref.filing_id: row.state for row in rows}


def taken(ledger: SqlFilingLedger, *, dry_run: bool = False, fetch_again: bool = False, **selection) -> Reprocessed:
    return reprocess(ledger, Selection(**selection), dry_run=dry_run, fetch_again=fetch_again, report=lambda line: None)


def test_filings_are_taken_up_by_number_and_others_are_named_with_why_not(ledger):
    done = taken(ledger, filing_ids=(accession(1), accession(3).replace("-", ""), accession(5), accession(9), DART))
    assert done.days == {("dart", DAY): {"not_served": 1}, ("edgar", DAY): {"published": 1, "truncated": 1}}
    assert done.left == {accession(5): "at work already: discovered", accession(9): "not known"}
    found = states(ledger)
    assert [found[one] for one in (accession(1), accession(3), DART)] == ["fetched", "fetched", "discovered"]
    assert found[accession(2)] == "published"


def test_filings_are_taken_up_by_reason_over_sources_and_days(ledger):
    done = taken(ledger, reasons=("not_served", "truncated"))
    assert days_of(done) == [
        {"source": "dart", "day": "2025-03-14", "why": "not_served", "filings": 1},
        {"source": "edgar", "day": "2025-03-14", "why": "truncated", "filings": 1},
        {"source": "edgar", "day": "2025-03-17", "why": "not_served", "filings": 1},
    ]
    assert done.filings == 3


def test_a_source_and_a_range_of_days_narrow_the_selection(ledger):
    assert list(taken(ledger, reasons=("not_served",), sources=("edgar",), since=DAY, until=DAY).days) == []
    assert list(taken(ledger, reasons=("not_served",), sources=("edgar",), since=NEXT).days) == [("edgar", NEXT)]
    assert states(ledger)[DART] == "refused"


def test_what_another_version_of_the_parser_read_is_taken_up_once(ledger):
    assert taken(ledger, outdated=True).days == {("edgar", DAY): {OUTDATED: 1}}
    assert states(ledger)[accession(2)] == "fetched"
    assert taken(ledger, outdated=True).filings == 0  # it is at work


def test_a_dry_run_says_the_same_and_changes_nothing(ledger):
    before = states(ledger)
    would = taken(ledger, reasons=("truncated",), outdated=True, dry_run=True)
    assert states(ledger) == before
    assert taken(ledger, reasons=("truncated",), outdated=True) == would


def test_many_filings_are_taken_up_in_bounded_transactions(ledger, monkeypatch):
    sizes = []
    reopened = type(ledger).reopened

    def counted(self, source, ids, **options):
        sizes.append(len(ids))
        return reopened(self, source, ids, **options)

    monkeypatch.setattr(type(ledger), "reopened", counted)
    monkeypatch.setattr(module, "BATCH", 2)
    taken(ledger, filing_ids=(accession(1), accession(2), accession(3)))
    assert sizes == [2, 1]


def test_a_refused_body_is_fetched_again_only_where_that_is_asked_for(ledger):
    taken(ledger, reasons=("truncated",), fetch_again=True)
    assert states(ledger)[accession(3)] == "discovered"


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({}, "nothing is selected: give `filings`, or `reasons`, or `outdated_parser: true`"),
        ({"filing_ids": (DART,), "outdated": True}, "leave out reasons, parser and days"),
        ({"filing_ids": (DART,), "since": DAY}, "leave out reasons, parser and days"),
        ({"filing_ids": ("AAPL",)}, "'AAPL' is no id of a filing: EDGAR's accession number has 18 digits"),
        ({"reasons": ("cut",)}, "'cut' is no reason of a refusal: give some of bad_zip, .*truncated"),
        ({"reasons": ("bomb",), "since": NEXT, "until": DAY}, "exchange `since` and `until`"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_refused_before_anything_changes(ledger, selection, message):
    before = states(ledger)
    with pytest.raises(ConfigurationError, match=message):
        taken(ledger, **selection)
    assert states(ledger) == before
