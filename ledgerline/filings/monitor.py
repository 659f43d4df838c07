"""How onboarding stands, read from the ledger alone: per source and day what became of its filings, how long it took,
whether the day is proved complete, and what is late and why. Nothing is judged or changed here; nobody is asked.

Bounded by the days that are looked at, however many filings the ledger holds. How it is shown is in `platform_assets`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ledgerline.filings.ports import DayClaim, DayTotal, LedgerRow, LedgerWithLease, Moments, Tick
from ledgerline.filings.records import Source
from ledgerline.filings.remedies import REMEDIES, SET_ASIDE
from ledgerline.filings.times import ZONES, end_of_day

DAYS = 14
# Whatever is due is taken up by the next tick, at night after 30 minutes; what waits longer than two of these is late.
LATE_AFTER = timedelta(hours=1)
MOST_LATE = 50  # rows of a table that a person reads
MOST_SET_ASIDE = 100
MOST_REFUSED = 30
MOST_TICKS = 5000


@dataclass(frozen=True, slots=True)
class Delay:
    """Half of the filings, and 95 of 100, took at most so many seconds; `filings` were measured."""

    filings: int
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class DayStatus:
    """One day of a source, in filings: `listed` are all that are known, and each is in one of the states; `waiting` are
    discovered, fetched or parsed; `late` are those of them that are due for longer than LATE_AFTER; `changed` were
    served with other bytes later. `bytes` are those of the newest versions. `incomplete` says why the day is not proved
    complete, and is empty where it is."""

    source: Source
    day: date
    discovered: int
    fetched: int
    parsed: int
    published: int
    refused: Mapping[str, int]
    late: int
    changed: int
    bytes: int
    claim: DayClaim | None
    incomplete: str
    to_available: Delay | None  # from acceptance
    to_published: Delay | None  # from availability

    @property
    def waiting(self) -> int:
        return self.discovered + self.fetched + self.parsed

    @property
    def set_aside(self) -> int:
        return sum(self.refused.get(reason, 0) for reason in SET_ASIDE)

    @property
    def listed(self) -> int:
        return self.waiting + self.published + sum(self.refused.values())


@dataclass(frozen=True, slots=True)
class PollDay:
    """The polls that began on one calendar day of the regulator. `gaps`: stretches that its feed did not hold any more."""

    source: Source
    day: date
    polls: int
    connected: int
    gaps: int
    failed: int
    pages: int
    new: int
    newest: Tick


@dataclass(frozen=True, slots=True)
class Overdue:
    """A filing that is late: since when it is due, and why it waits."""

    row: LedgerRow
    since: datetime
    why: str


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source: `days` oldest first, `polls` newest first, the longest due first of `late`.

    Refused filings of these days, newest first: `set_aside` were tried as often as is sensible, `refused` are no whole
    filings. `ban` is its end and reason while one holds. `older` are days before the first of `days` with filings that
    are due: a backfill that is not done.
    """

    source: Source
    at: datetime
    ban: tuple[datetime, str] | None
    read_until: datetime | None
    newest: Tick | None
    days: Sequence[DayStatus]
    polls: Sequence[PollDay]
    late: Sequence[Overdue]
    set_aside: Sequence[LedgerRow]
    refused: Sequence[LedgerRow]
    older: Sequence[date]


def status_of(
    ledger: LedgerWithLease, source: Source, *, now: datetime, days: int = DAYS, until: date | None = None
) -> SourceStatus:
    """How a source stands, over its newest `days` that have filings (of those up to `until`)."""
    held = ledger.days(source, until=until, newest=days)
    ban = ledger.banned_until(source, now)
    late_before = now - LATE_AFTER
    statuses: list[DayStatus] = []
    set_aside: list[LedgerRow] = []
    refused: list[LedgerRow] = []
    if held:
        span = {"since": held[0], "until": held[-1]}
        totals = ledger.day_totals(source, **span, late_before=late_before)
        moments = ledger.moments(source, **span)
        claims = {claim.day: claim for claim in ledger.completions(source, since=held[0])}
        statuses = [
            day_status(
                source,
                day,
                [total for total in totals if total.day == day],
                [moment for moment in moments if moment.day == day],
                claims.get(day),
                now=now,
            )
            for day in held
        ]
        invalid = [reason for reason in REMEDIES if reason not in SET_ASIDE]
        set_aside = ledger.refused(source, SET_ASIDE, **span, limit=MOST_SET_ASIDE)
        refused = ledger.refused(source, invalid, **span, limit=MOST_REFUSED)
    ticks = ledger.ticks(source, limit=MOST_TICKS, since=now - timedelta(days=days))
    newest = ticks[0] if ticks else next(iter(ledger.ticks(source)), None)
    late = ledger.late(source, before=late_before, limit=MOST_LATE)
    return SourceStatus(
        source=source,
        at=now,
        ban=ban,
        read_until=ledger.watermark(source),
        newest=newest,
        days=statuses,
        polls=polls_per_day(source, ticks),
        late=[
            Overdue(row, row.next_attempt_at or row.first_seen_at, why_waiting(row, now=now, ban=ban)) for row in late
        ],
        set_aside=set_aside,
        refused=refused,
        older=[day for day in ledger.pending_days(source, due_at=now) if held and day < held[0]],
    )


def day_status(
    source: Source,
    day: date,
    totals: Sequence[DayTotal],
    moments: Sequence[Moments],
    claim: DayClaim | None,
    *,
    now: datetime,
) -> DayStatus:
    """Sum up a day from its totals per state and reason, and the times of its published filings."""
    states: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for total in totals:
        states[total.state] += total.filings
        if total.state == "refused":
            refused[total.reason or "unknown"] += total.filings
    waiting = states["discovered"] + states["fetched"] + states["parsed"]
    accepted = [(one.available_at - one.accepted_at).total_seconds() for one in moments if one.accepted_at]
    return DayStatus(
        source=source,
        day=day,
        discovered=states["discovered"],
        fetched=states["fetched"],
        parsed=states["parsed"],
        published=states["published"],
        refused=dict(sorted(refused.items())),
        late=sum(total.late for total in totals),
        changed=sum(total.changed for total in totals),
        bytes=sum(total.bytes for total in totals),
        claim=claim,
        incomplete=incomplete(source, day, waiting, claim, now=now),
        to_available=delay(accepted),
        to_published=delay([(one.published_at - one.available_at).total_seconds() for one in moments]),
    )


def incomplete(source: Source, day: date, waiting: int, claim: DayClaim | None, *, now: datetime) -> str:
    """Why a day is not proved complete, as far as the ledger knows; empty where it is."""
    if claim is not None:
        return ""
    if now < end_of_day(day, ZONES[source]):
        return "the day is not over"
    if waiting:
        return f"{waiting} filings are neither published nor refused"
    return f"not compared with {source}'s own list of the day yet"


def delay(seconds: Sequence[float]) -> Delay | None:
    """Nearest-rank percentiles; None of nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.95))
    return Delay(len(ordered), p50, p95)


def polls_per_day(source: Source, ticks: Sequence[Tick]) -> list[PollDay]:
    """Polls (newest first) by the regulator's calendar day, newest day first."""
    by_day: dict[date, list[Tick]] = {}
    for tick in ticks:
        by_day.setdefault(tick.started_at.astimezone(ZONES[source]).date(), []).append(tick)
    return [
        PollDay(
            source=source,
            day=day,
            polls=len(polls),
            connected=sum(tick.connected for tick in polls),
            gaps=sum(tick.gap is not None for tick in polls),
            failed=sum(tick.failure is not None for tick in polls),
            pages=sum(tick.pages for tick in polls),
            new=sum(tick.new for tick in polls),
            newest=polls[0],
        )
        for day, polls in by_day.items()
    ]


def why_waiting(row: LedgerRow, *, now: datetime, ban: tuple[datetime, str] | None) -> str:
    """Why an open filing is neither published nor refused, in one sentence without a full stop."""
    if row.state == "parsed":
        return "it is checked and its row is not in the lake yet: the run ended in between, the next one publishes it"
    if row.attempts and row.next_attempt_at is None:
        why = f"its attempt {row.attempts} is at work, or its worker was killed in the middle"
    elif row.next_attempt_at is None:
        why = "no run has taken it up yet"
    elif row.next_attempt_at > now:
        why = f"asked for {_times(row.attempts)} in vain; it is asked for again from {stamp(row.next_attempt_at)} on"
    else:
        why = f"asked for {_times(row.attempts)} in vain; it is due since {stamp(row.next_attempt_at)}"
    if row.detail:
        why += f" ({row.detail})"
    if ban and row.state == "discovered":
        why += f"; {row.ref.source} may not be asked before {stamp(ban[0])}: {ban[1]}"
    return why


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def spoken(seconds: float) -> str:
    """A duration as a person says it: 0.4 s, 25 s, 3.2 min, 5.1 h, 12 d."""
    for unit, size, next_size in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < next_size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.0f} d" if seconds >= 864000 else f"{seconds / 86400:.1f} d"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
