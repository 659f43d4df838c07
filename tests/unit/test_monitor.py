"""How onboarding stands: sums, delays, polls and reasons, from what a ledger holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import get_args

import pytest

from ledgerline.filings.monitor import (
    LATE_AFTER,
    Delay,
    day_status,
    delay,
    polls_per_day,
    spoken,
    status_of,
    why_waiting,
)
from ledgerline.filings.ports import (
    DayClaim,
    DayTotal,
    Fetched,
    LedgerRow,
    Moments,
    Parsed,
    Refusal,
    Tick,
    Waiting,
)
from ledgerline.filings.records import FilingRef, Party
from ledgerline.filings.remedies import REMEDIES, SET_ASIDE, remedy
from ledgerline.filings.validity import Reason
from resources.filing_ledger import SqlFilingLedger
from tests.publishing import publish

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
NEXT_DAY = NOON + timedelta(days=1)


def row(**changes) -> LedgerRow:
    ref = FilingRef("edgar", "0000320193-25-000001", DAY, "8-K", (Party("0000320193", "Apple Inc.", "Filer"),))
    values = dict.fromkeys(("available_at", "sha256", "bytes", "uri", "reason", "detail"))
    return replace(
        LedgerRow(ref=ref, state="discovered", first_seen_at=NOON, version=0, attempts=0, **values), **changes
    )


def moments(accepted: float | None, available: float, published: float) -> Moments:
    at = [
        None if seconds is None else NOON + timedelta(seconds=seconds) for seconds in (accepted, available, published)
    ]
    return Moments(DAY, *at)


def test_every_reason_has_its_remedy_and_no_other_has():
    assert set(REMEDIES) == {*get_args(Reason), *SET_ASIDE}
    assert all(text.endswith(".") and len(text) > 40 for text in REMEDIES.values())
    assert "reprocess_filings" in remedy("of a newer program")


def test_percentiles_are_values_that_were_measured():
    assert delay([]) is None
    assert delay([7.0]) == Delay(1, 7.0, 7.0)
    assert delay([float(number) for number in range(100, 0, -1)]) == Delay(100, 50.0, 95.0)


def test_a_day_is_summed_up():
    totals = [
        DayTotal(DAY, "discovered", None, filings=2, bytes=0, changed=0, late=1),
        DayTotal(DAY, "parsed", None, filings=1, bytes=5, changed=0, late=1),
        DayTotal(DAY, "published", None, filings=4, bytes=40, changed=2, late=0),
        DayTotal(DAY, "refused", "poison", filings=1, bytes=0, changed=0, late=0),
        DayTotal(DAY, "refused", "truncated", filings=3, bytes=9, changed=0, late=0),
    ]
    times = [moments(0, 30, 90), moments(0, 10, 20), moments(None, 5, 305)]
    found = day_status("edgar", DAY, totals, times, None, now=NEXT_DAY)
    assert (found.listed, found.waiting, found.late, found.set_aside, found.changed, found.bytes) == (
        11,
        3,
        2,
        1,
        2,
        54,
    )
    assert found.refused == {"poison": 1, "truncated": 3}
    assert found.to_available == Delay(2, 10, 30)  # DART says no time of acceptance, and EDGAR not always
    assert found.to_published == Delay(3, 60, 300)
    assert found.incomplete == "3 filings are neither published nor refused"


def test_a_day_without_a_proof_says_why_it_has_none():
    def why(now: datetime, claim: DayClaim | None = None) -> str:
        return day_status("edgar", DAY, [], [], claim, now=now).incomplete

    assert why(datetime(2025, 3, 15, 3, 59, tzinfo=timezone.utc)) == "the day is not over"  # 23:59 Eastern
    assert why(datetime(2025, 3, 15, 4, 0, tzinfo=timezone.utc)) == "not compared with edgar's own list of the day yet"
    assert why(NEXT_DAY, DayClaim("edgar", DAY, 0, "a" * 64, NEXT_DAY)) == ""


def test_polls_are_summed_by_the_calendar_day_of_the_regulator():
    def tick(hours: float, **changes) -> Tick:
        started = NOON + timedelta(hours=hours)
        return replace(Tick("edgar", started, started, connected=True, new=2, pages=1), **changes)

    gap = (NOON, NOON + timedelta(hours=1))
    ticks = [tick(13), tick(11, connected=False, gap=gap), tick(1, connected=False, failure="503"), tick(0)]
    first, second = polls_per_day("edgar", ticks)  # midnight in New York is 12 hours after noon UTC-4
    assert (first.day, first.polls, first.newest) == (date(2025, 3, 15), 1, ticks[0])
    assert (second.day, second.polls, second.connected, second.gaps, second.failed) == (DAY, 3, 1, 1, 1)
    assert (second.pages, second.new) == (3, 6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "no run has taken it up yet"),
        ({"state": "parsed"}, "it is checked and its row is not in the lake yet"),
        ({"attempts": 2}, "its attempt 2 is at work, or its worker was killed in the middle"),
        (
            {"attempts": 1, "next_attempt_at": NOON + timedelta(minutes=5), "detail": "not_served: 404"},
            "asked for once in vain; it is asked for again from 2025-03-14 16:05:00 UTC on (not_served: 404)",
        ),
        (
            {"attempts": 3, "next_attempt_at": NOON - timedelta(hours=2), "detail": "x"},
            "asked for 3 times in vain; it is due since 2025-03-14 14:00:00 UTC (x)",
        ),
    ],
)
def test_a_filing_that_waits_says_why(changes, expected):
    assert why_waiting(row(**changes), now=NOON, ban=None).startswith(expected)


def test_a_ban_is_the_reason_for_what_must_be_fetched_only():
    ban = (NOON + timedelta(minutes=10), "Request Rate Threshold Exceeded")
    said = "edgar may not be asked before 2025-03-14 16:10:00 UTC: Request Rate Threshold Exceeded"
    assert said in why_waiting(row(), now=NOON, ban=ban)
    assert said not in why_waiting(row(state="fetched"), now=NOON, ban=ban)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (25, "25 s"), (59.96, "60 s"), (192, "3.2 min"), (3600 * 5.1, "5.1 h"), (86400 * 1.5, "1.5 d"),
     (86400 * 264, "264 d"), (0, "0 s")],
)  # fmt: skip
def test_durations_are_said_as_a_person_says_them(seconds, text):
    assert spoken(seconds) == text


def test_a_source_is_summed_up_over_its_newest_days_and_older_days_that_wait_are_counted(tmp_path):
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/l.db")
    days = [DAY - timedelta(days=3), DAY - timedelta(days=1), DAY]
    names = [f"0000320193-25-{number:06d}" for number in range(1, 6)]
    on = [days[0], days[1], days[2], days[2], days[2]]
    ledger.discovered(
        [FilingRef("edgar", name, day, "8-K", ()) for name, day in zip(names, on, strict=True)], seen_at=NOON
    )
    ledger.fetched_many("edgar", [Fetched(names[2], "a" * 64, 7, "s3://b/a", NOON)])
    ledger.parsed_many("edgar", [Parsed(names[2], NOON - timedelta(seconds=25))])
    publish(ledger, "edgar", [names[2]], at=NOON + timedelta(seconds=60))
    ledger.refused_many("edgar", [Refusal(names[3], "not_served", "404"), Refusal(names[1], "truncated", "cut")])
    ledger.waiting_many("edgar", [Waiting(names[4], "not_served: 404", NOON + timedelta(hours=1))])
    ledger.completed(DayClaim("edgar", days[1], 1, "a" * 64, NOON))
    ledger.ban("edgar", NOON + timedelta(hours=3, minutes=5), "threshold")
    ledger.ticked(Tick("edgar", NOON, NOON, connected=True, new=5, pages=1))
    now = NOON + timedelta(hours=3)
    found = status_of(ledger, "edgar", now=now, days=2)
    assert [day.day for day in found.days] == days[1:]
    assert (found.days[1].published, found.days[1].late, found.days[1].refused) == (1, 1, {"not_served": 1})
    assert found.days[1].to_available == Delay(1, 25, 25)
    assert [day.claim is not None for day in found.days] == [True, False]
    assert [one.row.ref.filing_id for one in found.late] == [names[0], names[4]]
    assert found.late[0].since == NOON
    assert [one.ref.filing_id for one in found.set_aside] == [names[3]]
    assert [one.ref.filing_id for one in found.refused] == [names[1]]
    assert (found.older, found.ban, found.read_until) == (
        [days[0]],
        (NOON + timedelta(hours=3, minutes=5), "threshold"),
        NOON,
    )
    assert found.newest is not None
    assert [poll.polls for poll in found.polls] == [1]
    in_time = status_of(ledger, "edgar", now=NOON + LATE_AFTER, days=2)
    assert (in_time.late, in_time.days[1].late) == ([], 0)
    back = status_of(ledger, "edgar", now=now, days=2, until=days[1])
    assert [day.day for day in back.days] == days[:2]


def test_a_source_that_was_never_read_has_nothing_to_show(tmp_path):
    found = status_of(SqlFilingLedger(url=f"sqlite:///{tmp_path}/l.db"), "dart", now=NOON)
    assert (found.days, found.polls, found.late, found.newest, found.ban) == ([], [], [], None, None)
