"""Where a filing is, and why: every state, what is not known, and what is no id."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import DayClaim, Fetched, Parsed, Refusal, Tick, Waiting
from ledgerline.filings.records import FilingRef, Party
from ledgerline.filings.whereabouts import in_both_zones, parse_filing_id, where_is
from resources.filing_ledger import SqlFilingLedger
from tests import publishing

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
LATER = NOON + timedelta(minutes=3)
ONE, AMENDMENT = "0000320193-25-000001", "0000320193-25-000002"
RCEPT_NO = "20250314000020"
APPLE = Party("0000320193", "Apple Inc.", "Filer")
NEXT = {"edgar": "The schedule `onboard_edgar` ticks next.", "dart": "The schedule `onboard_dart` ticks next."}


@pytest.fixture
def ledger(tmp_path) -> SqlFilingLedger:
    made = SqlFilingLedger(url=f"sqlite:///{tmp_path}/l.db")
    made.discovered([FilingRef("edgar", ONE, DAY, "10-K", (APPLE,), NOON)], seen_at=NOON, witness="feed")
    return made


def fetch(ledger: SqlFilingLedger, filing_id: str = ONE, digest: str = "a" * 64) -> None:
    ledger.fetched_many("edgar", [Fetched(filing_id, digest, 12345, f"s3://b/{digest[:4]}", NOON)])


def publish(ledger: SqlFilingLedger, filing_id: str = ONE, corrects: str | None = None) -> None:
    ledger.parsed_many("edgar", [Parsed(filing_id, NOON, parser_version="1")])
    if corrects:
        ledger.corrected("edgar", {filing_id: corrects})
    publishing.publish(ledger, "edgar", [filing_id], at=LATER)


def answer(ledger: SqlFilingLedger, text: str = ONE, **changes) -> tuple[str, dict[str, str]]:
    found = where_is(ledger, text, now=LATER, read_next=NEXT, **changes)
    return found.sentence, dict(found.facts)


@pytest.mark.parametrize("given", [ONE, ONE.replace("-", ""), f"  {ONE}\n"])
def test_an_accession_number_is_read_with_and_without_dashes(given):
    assert parse_filing_id(given) == ("edgar", ONE)


def test_fourteen_digits_that_begin_with_a_day_are_of_dart():
    assert parse_filing_id(RCEPT_NO) == ("dart", RCEPT_NO)


@pytest.mark.parametrize(
    "given", ["", "AAPL", ONE[:-1], f"{ONE}.txt", "20259914000020", "2025031400002", "０" * 18, f"{ONE} {ONE}"]
)
def test_what_is_no_id_is_refused_with_what_one_looks_like(given):
    with pytest.raises(
        ConfigurationError, match=r"0000320193-25-000001 \(with or without the dashes\).*20250314000020"
    ):
        parse_filing_id(given)


def test_a_published_filing_says_when_and_in_which_version(ledger):
    ledger.discovered([FilingRef("edgar", ONE, DAY, "10-K", (APPLE,))], seen_at=LATER, witness="index")
    fetch(ledger)
    publish(ledger)
    sentence, facts = answer(ledger)
    assert sentence == f"EDGAR filing {ONE} is published: version 1 is in the lake table `filings`."
    assert facts["companies"] == "Apple Inc. (0000320193, Filer)"
    assert (facts["named first by"], facts["named also by"]) == ("EDGAR's feed", "EDGAR's daily index")
    assert facts["accepted"] == "2025-03-14 16:00:00 UTC (2025-03-14 12:00:00 EDT)"
    assert facts["from available to published"] == "3 min"
    assert facts["version 1"].startswith(f"12,345 bytes, sha256 {'a' * 64}, available 2025-03-14 16:00:00 UTC, s3://b/")
    assert facts["2025-03-14 complete"] == "not proved"
    assert not {"attempts", "next attempt", "corrects", "corrected by", "banned", "read next"} & set(facts)


def test_changed_bytes_are_a_second_version_of_the_answer(ledger):
    for digest in ("a" * 64, "b" * 64):
        fetch(ledger, digest=digest)
        publish(ledger)
    sentence, facts = answer(ledger)
    assert "version 2 is in the lake" in sentence
    assert [name for name in facts if name.startswith("version")] == ["version 1", "version 2"]


def test_a_correction_and_what_it_corrects_name_each_other(ledger):
    fetch(ledger)
    publish(ledger)
    ledger.discovered([FilingRef("edgar", AMENDMENT, DAY, "10-K/A", (APPLE,))], seen_at=NOON)
    fetch(ledger, AMENDMENT, "b" * 64)
    publish(ledger, AMENDMENT, corrects=ONE)
    assert answer(ledger)[1]["corrected by"] == f"{AMENDMENT} (10-K/A of 2025-03-14)"
    assert answer(ledger, AMENDMENT)[1]["corrects"] == ONE


def test_a_filing_that_waits_says_since_when_until_when_and_why(ledger):
    ledger.begun("edgar", [ONE])
    ledger.waiting_many("edgar", [Waiting(ONE, "not_served: 404 NoSuchKey", LATER + timedelta(minutes=1))])
    sentence, facts = answer(ledger)
    assert sentence == (
        f"EDGAR filing {ONE} is listed and not fetched: asked for once in vain; it is asked for again from "
        "2025-03-14 16:04:00 UTC on (not_served: 404 NoSuchKey)."
    )
    assert facts["attempts"] == "1"
    assert facts["next attempt"] == "not before 2025-03-14 16:04:00 UTC (2025-03-14 12:04:00 EDT)"
    assert facts["read next"] == NEXT["edgar"]


def test_a_refused_filing_says_the_reason_and_the_remedy(ledger):
    ledger.refused_many("edgar", [Refusal(ONE, "not_served", "404 (tried 14 times)")])
    sentence, _ = answer(ledger)
    assert f"{ONE} is refused as not_served: 404 (tried 14 times). It is listed and was never served" in sentence
    assert "`reprocess_filings`" in sentence


def test_a_refusal_in_the_lake_is_not_called_published(ledger):
    fetch(ledger)
    ledger.refused_many("edgar", [Refusal(ONE, "truncated", "x")])
    publishing.publish(ledger, "edgar", [ONE], at=LATER)
    _, facts = answer(ledger)
    assert facts["refusal in the lake"].startswith("2025-03-14 16:03:00 UTC")
    assert not {"published", "from available to published"} & set(facts)


def test_the_title_of_a_dart_report_is_told_where_it_says_more_than_the_form(ledger):
    titled = {"20250314000020": "[기재정정]사업보고서 (2024.12)   ", "20250314000010": "사업보고서 (2024.12)"}
    ledger.discovered(
        [FilingRef("dart", one, DAY, "사업보고서 (2024.12)", (), title=title) for one, title in titled.items()],
        seen_at=NOON,
    )
    assert answer(ledger, "20250314000020")[1]["title"] == "[기재정정]사업보고서 (2024.12)"
    assert "title" not in answer(ledger, "20250314000010")[1]


def test_a_ban_and_the_last_poll_are_part_of_the_answer(ledger):
    ledger.ban("edgar", LATER + timedelta(minutes=10), "Request Rate Threshold Exceeded")
    ledger.ticked(Tick("edgar", NOON, NOON, connected=False, new=0, pages=0, failure="403: banned"))
    sentence, facts = answer(ledger)
    assert "edgar may not be asked before 2025-03-14 16:13:00 UTC: Request Rate Threshold Exceeded" in sentence
    assert facts["banned"].endswith("EDT): Request Rate Threshold Exceeded")
    assert facts["last poll"].endswith("403: banned")


def test_an_unknown_filing_of_a_complete_day_is_not_listed_by_the_regulator(ledger):
    ledger.completed(DayClaim("dart", DAY, 1234, "a" * 64, LATER))
    sentence, facts = answer(ledger, RCEPT_NO)
    assert sentence == (
        f"DART filing {RCEPT_NO} is not known: 2025-03-14 is complete, and DART does not list it among the 1234 filings "
        "of that day."
    )
    assert facts["2025-03-14 complete"].startswith("proved 2025-03-14 16:03:00 UTC")


def test_an_unknown_filing_of_a_day_that_is_not_complete_may_still_be_found(ledger):
    assert answer(ledger, RCEPT_NO)[0] == (
        f"DART filing {RCEPT_NO} is not known: 2025-03-14 is not proved complete, so that it may still be found. "
        f"{NEXT['dart']}"
    )  # the day is over in Korea since 15:00 UTC
    assert "2025-03-14 is not over" in answer(ledger, AMENDMENT, day=DAY)[0]


def test_an_unknown_accession_number_needs_its_day_for_more(ledger):
    assert "its number does not say its day: ask with the day" in answer(ledger, AMENDMENT)[0]
    ledger.completed(DayClaim("edgar", DAY, 3, "a" * 64, LATER))
    assert "EDGAR does not list it among the 3 filings" in answer(ledger, AMENDMENT, day=DAY)[0]


def test_another_day_that_is_complete_proves_nothing_of_this_one(ledger):
    ledger.completed(DayClaim("dart", DAY + timedelta(days=1), 5, "a" * 64, LATER))
    assert "may still be found" in answer(ledger, RCEPT_NO)[0]


def test_times_are_said_in_the_zone_of_the_regulator():
    assert in_both_zones(NOON, "dart") == "2025-03-14 16:00:00 UTC (2025-03-15 01:00:00 KST)"
    winter = datetime(2025, 1, 14, 16, 0, tzinfo=timezone.utc)
    assert in_both_zones(winter, "edgar").endswith("(2025-01-14 11:00:00 EST)")
