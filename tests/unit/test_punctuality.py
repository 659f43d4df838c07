"""When a source is late, and what is said of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ledgerline.filings.ports import Tick
from ledgerline.filings.punctuality import lateness

NEW_YORK, SEOUL = ZoneInfo("America/New_York"), ZoneInfo("Asia/Seoul")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=NEW_YORK)  # a Monday


def tick(ended_at: datetime, failure: str | None = None, connected: bool = False) -> Tick:
    return Tick("edgar", ended_at - timedelta(seconds=5), ended_at, connected, 0, 1, failure=failure)


def late(now: datetime, connected_at: datetime | None, newest: Tick | None = None, ban=None, source="edgar"):
    return lateness(source, now, connected_at=connected_at, newest=newest, ban=ban)


@pytest.mark.parametrize(
    ("now", "minutes"),
    [
        (NOON, 30),
        (datetime(2026, 3, 2, 6, 20, tzinfo=NEW_YORK), 400),  # the day's ticks began 20 minutes ago
        (datetime(2026, 3, 2, 4, 0, tzinfo=NEW_YORK), 90),
        (datetime(2026, 3, 2, 1, 0, tzinfo=NEW_YORK), 3000),  # Monday began an hour ago
        (datetime(2026, 2, 28, 12, 0, tzinfo=NEW_YORK), 3000),  # a Saturday
    ],
)
def test_a_source_is_on_time(now: datetime, minutes: int) -> None:
    assert late(now, now - timedelta(minutes=minutes)) is None


def test_nothing_is_late_on_a_korean_saturday_that_is_an_american_friday() -> None:
    saturday = datetime(2026, 2, 28, 9, 0, tzinfo=SEOUL)
    assert late(saturday, None, source="dart") is None
    assert late(saturday, None) is not None


@pytest.mark.parametrize(
    ("newest", "ban", "why"),
    [
        (None, None, "no tick ran"),
        (tick(NOON - timedelta(hours=5)), None, "no tick ran"),
        (tick(NOON, "edgar: the feed answers 503"), None, "the feed answers 503"),
        (tick(NOON), None, "left pages"),
        (
            tick(NOON, "x"),
            (NOON + timedelta(minutes=9), "Rate Threshold"),
            "nobody may ask before 17:09 UTC .Rate Threshold",
        ),
    ],
)
def test_what_is_late_says_since_when_and_why(newest, ban, why: str) -> None:
    said = late(NOON, NOON - timedelta(hours=2), newest, ban)
    import re

    assert said is not None
    assert re.search(f"last read whole 2026-03-02 15:00 UTC, 120 minutes ago.*{why}", said)


def test_a_source_that_was_never_read_says_so() -> None:
    assert "never" in str(late(NOON, None))
