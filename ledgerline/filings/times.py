"""The times of a filing: regulators' local clocks to UTC, and the moment from which a filing could be known.

Formats: EDGAR stamps are US Eastern without a zone; DART's days are Korean. Not here: what a day's partition holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from ledgerline.filings.records import Source

EASTERN = ZoneInfo("America/New_York")
KOREA = ZoneInfo("Asia/Seoul")
SATURDAY = 5  # date.weekday(): from it on no regulator publishes
# Whose calendar a source's days are of.
ZONES: Mapping[Source, ZoneInfo] = {"edgar": EASTERN, "dart": KOREA}

# From when on DART adds nothing to its list of a day: so long after the day's end in Korea.
LIST_CLOSES = timedelta(hours=1)

# Letters between the SEC staff and a company: made public 28-73 days after acceptance, so acceptance tells nothing.
RELEASED_LATE = frozenset({"CORRESP", "UPLOAD"})


def eastern_to_utc(naive: datetime) -> datetime:
    """A naive US Eastern clock time as UTC.

    The hour that autumn repeats is read as its first pass (daylight time); an hour that spring skips is read with the
    offset before the change, so order is kept. Raises ValueError for a datetime that already has a zone.
    """
    if naive.tzinfo is not None:
        raise ValueError(f"{naive.isoformat()} already has a zone; pass the naive Eastern stamp of the SGML header")
    return naive.replace(tzinfo=EASTERN, fold=0).astimezone(timezone.utc)


def korean_day(moment: datetime) -> date:
    """The calendar day in Korea of an aware moment: DART's partition day."""
    return _aware(moment, "moment").astimezone(KOREA).date()


def eastern_day(moment: datetime) -> date:
    """The calendar day in US Eastern time of an aware moment: EDGAR's partition day."""
    return _aware(moment, "moment").astimezone(EASTERN).date()


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The midnight that ends the day, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=zone).astimezone(timezone.utc)


def dart_public_by(day: date) -> datetime:
    """When a filing that DART received on the day was surely public (UTC): DART tells no time of day and no
    Last-Modified, but its list of the day, of which this is the end."""
    return end_of_day(day, KOREA) + LIST_CLOSES


def parse_acceptance(stamp: str) -> datetime | None:
    """EDGAR's ACCEPTANCE-DATETIME (14 digits, Eastern) as UTC, or None where it is not one."""
    digits = stamp.strip()[:14]
    if len(digits) != 14 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return eastern_to_utc(datetime.strptime(digits, "%Y%m%d%H%M%S"))
    except (ValueError, OverflowError):
        return None


def parse_day(stamp: str) -> date | None:
    """A day of 8 digits (YYYYMMDD), or None where it is not one."""
    digits = stamp.strip()
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def available_at(
    accepted_at: datetime | None,
    first_seen_at: datetime,
    last_modified: datetime | None = None,
    form: str = "",
) -> datetime:
    """The moment (UTC) from which a filing could be known; every point-in-time join uses it.

    max(accepted_at, min(first_seen_at, last_modified)): what was seen late may have been public before, never before
    its acceptance. For CORRESP and UPLOAD, released weeks after acceptance, it is Last-Modified (first seen where the
    server gave none). A missing `accepted_at` (DART) or `last_modified` takes no part.
    """
    seen = _aware(first_seen_at, "first_seen_at")
    modified = None if last_modified is None else _aware(last_modified, "last_modified")
    if form.upper().partition("/")[0] in RELEASED_LATE:
        public = modified or seen
    else:
        public = min(seen, modified) if modified else seen
    return public if accepted_at is None else max(_aware(accepted_at, "accepted_at"), public)


def _aware(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{name} {moment.isoformat()} has no zone; convert it to UTC first")
    return moment.astimezone(timezone.utc)
