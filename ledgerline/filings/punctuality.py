"""Whether a source is read on time, and what is late and why. Pure; the times at which it is read are in `jobs/schedules`."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone

from ledgerline.filings.ports import Tick
from ledgerline.filings.records import Source
from ledgerline.filings.times import SATURDAY, ZONES

# Three ticks by day, and by night: one that was slow and one that failed are no news yet.
LATE_BY_DAY = timedelta(minutes=30)
LATE_BY_NIGHT = timedelta(minutes=90)
DAY_BEGINS = time(6)


def lateness(
    source: Source,
    now: datetime,
    *,
    connected_at: datetime | None,
    newest: Tick | None,
    ban: tuple[datetime, str] | None,
) -> str | None:
    """One sentence that says how late a source is and why, or None where it is on time.

    `connected_at` is the watermark of the ledger, `newest` its newest tick, `ban` the one that holds now. At weekends
    nothing is published, so nothing is late.
    """
    local = now.astimezone(ZONES[source])
    if local.weekday() >= SATURDAY:
        return None
    by_day = local.time() >= DAY_BEGINS
    begins = datetime.combine(local.date(), DAY_BEGINS if by_day else time(), ZONES[source])
    since = max(connected_at, begins) if connected_at else begins
    if now - since <= (LATE_BY_DAY if by_day else LATE_BY_NIGHT):
        return None
    read = f"{connected_at.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if connected_at else "never"
    return f"{source} was last read whole {read}, {_minutes(now - since)} ago in its hours: {_why(newest, ban, since)}"


def _why(newest: Tick | None, ban: tuple[datetime, str] | None, since: datetime) -> str:
    if ban:
        until, reason = ban
        return f"nobody may ask before {until.astimezone(timezone.utc):%H:%M} UTC ({reason}); the next tick goes on"
    if newest is None or newest.ended_at < since:
        return "no tick ran; see whether the daemon runs and the schedule is on"
    if newest.failure:
        return newest.failure
    return "a tick left pages for the next one, which reads on"


def _minutes(span: timedelta) -> str:
    return f"{int(span.total_seconds() // 60)} minutes"
