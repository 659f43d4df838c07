"""The `onboarding_monitor` asset: how onboarding stands, as tables, plots and numbers. What they mean is in
`ledgerline.filings.monitor`; no regulator is asked and nothing is changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg
from pydantic import Field

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import LedgerRow, LedgerWithLease
from ledgerline.filings.records import Source
from platform_assets.failures import permanent_failures
from platform_assets.owners import DATA_PLATFORM
from platform_assets.partitions import partition_key

if TYPE_CHECKING:
    from ledgerline.filings.monitor import DayStatus, Delay, Overdue, PollDay, SourceStatus

SHORTEST_SHOWN = 0.1  # seconds: the axis of delays is logarithmic


class MonitorConfig(dg.Config):
    """Which days are looked at."""

    days: int = Field(default=14, ge=1, le=366, description="So many of the newest days of each source.")
    until: str = Field(default="", description="ISO day: the newest days up to this one; empty: the newest there are.")


@dg.asset(
    deps=[dg.AssetDep("filings", partition_mapping=dg.AllPartitionMapping())],
    group_name="monitoring",
    owners=[DATA_PLATFORM],
    kinds={"python"},
)
def onboarding_monitor(
    context: dg.AssetExecutionContext, config: MonitorConfig, filing_ledger: dg.ResourceParam[LedgerWithLease]
) -> dg.MaterializeResult:
    """Onboarding per source and day: what became of every filing, how long it took, whether the day is proved complete,
    what is late and why, what was set aside or refused and the remedy, polls and bans.

    Numbers are sums over the days shown, delays those of the newest day; available is counted from acceptance, published
    from availability. A day that was backfilled, or read from an archive, was published long after it was available.
    """
    from ledgerline.filings.monitor import status_of

    with permanent_failures(context):
        until = parse_day(config.until) if config.until else None
    now = datetime.now(timezone.utc)
    sources: tuple[Source, ...] = get_args(Source)
    found = [status_of(filing_ledger, source, now=now, days=config.days, until=until) for source in sources]
    return dg.MaterializeResult(metadata=monitor_metadata([one for one in found if one.days or one.newest]))


def parse_day(text: str) -> date:
    """An ISO day. Raises ConfigurationError for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no day; write it as 2025-03-14.") from error


def monitor_metadata(sources: Sequence["SourceStatus"]) -> dict[str, Any]:
    """What a person sees of these sources, the newest day first."""
    from platform_assets.plots import lines, stacked, table

    days = [day for one in sources for day in reversed(one.days)]
    shown: dict[str, Any] = {
        "now": table([_now(one) for one in sources]),
        "days": table([_day(day) for day in days]),
        "late": table([_late(overdue) for one in sources for overdue in one.late]),
        "set aside": table([_refused(row) for one in sources for row in one.set_aside]),
    }
    for one in sources:
        if not one.days:
            continue
        labels = [day.day.isoformat() for day in one.days]
        layers = {
            "published": [day.published for day in one.days],
            "refused": [sum(day.refused.values()) for day in one.days],
            "waiting": [day.waiting for day in one.days],
        }
        shown[f"{one.source} filings"] = stacked(f"{one.source}: filings by day", labels, layers, y="filings")
        delays = {name: [_shown(value) for value in values] for name, values in _delay_series(one.days).items()}
        if any(value is not None for values in delays.values() for value in values):
            shown[f"{one.source} delays"] = lines(f"{one.source}: delays by day", labels, delays, y="seconds", log=True)
    return shown | {
        "delays": table([_delays(day) for day in days]),
        "completeness": table([_completeness(day) for day in days]),
        "polls": table([_polls(poll) for one in sources for poll in one.polls]),
        "refused by reason": table([row for one in sources for row in _by_reason(one)]),
        "newest refused": table([_refused(row) for one in sources for row in one.refused]),
        **{name: value for one in sources for name, value in _numbers(one).items()},
    }


def _now(one: "SourceStatus") -> dict[str, object]:
    from ledgerline.filings.monitor import spoken, stamp

    if one.ban:
        state = f"banned until {stamp(one.ban[0])}: {one.ban[1]}"
    elif one.newest is None:
        state = "never polled"
    elif one.newest.failure:
        state = f"the last poll failed: {one.newest.failure}"
    else:
        state = f"read {spoken((one.at - one.newest.started_at).total_seconds())} ago"
    return {
        "source": one.source,
        "state": state,
        "last poll": stamp(one.newest.started_at) if one.newest else "",
        "waiting": sum(day.waiting for day in one.days),
        "late": sum(day.late for day in one.days),
        "complete": f"{sum(day.claim is not None for day in one.days)} of {len(one.days)} days",
        "older days due": f"{len(one.older)}, from {one.older[0]} on" if one.older else "none",
    }


def _key(day: "DayStatus | PollDay") -> str:
    return partition_key(day.source, day.day)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _day(day: "DayStatus") -> dict[str, object]:
    waiting = {"discovered": day.discovered, "fetched": day.fetched, "parsed": day.parsed}
    return {
        "day": _key(day),
        "listed": day.listed,
        "published": day.published,
        "refused": _counted(day.refused),
        "waiting": _counted(waiting),
        "late": day.late,
        "MB": round(day.bytes / 1e6, 1),
        "complete": "no" if day.incomplete else "yes",
    }


def _delays(day: "DayStatus") -> dict[str, object]:
    from ledgerline.filings.monitor import spoken

    def said(delay: "Delay | None") -> str:
        return f"{spoken(delay.p50)} (p95 {spoken(delay.p95)})" if delay else ""

    return {
        "day": _key(day),
        "available after": said(day.to_available),
        "published after": said(day.to_published),
        "filings": day.to_published.filings if day.to_published else 0,
    }


def _delay_series(days: Sequence["DayStatus"]) -> dict[str, list[float | None]]:
    series = {}
    for name, delays in (
        ("accepted to available", [day.to_available for day in days]),
        ("available to published", [day.to_published for day in days]),
    ):
        series[f"{name} p50"] = [delay.p50 if delay else None for delay in delays]
        series[f"{name} p95"] = [delay.p95 if delay else None for delay in delays]
    return {name: values for name, values in series.items() if any(value is not None for value in values)}


def _shown(seconds: float | None) -> float | None:
    return None if seconds is None else max(seconds, SHORTEST_SHOWN)


def _completeness(day: "DayStatus") -> dict[str, object]:
    from ledgerline.filings.monitor import stamp

    return {
        "day": _key(day),
        "complete": "no" if day.incomplete else "yes",
        "in its index": day.claim.filings if day.claim else "",
        "known": day.listed,
        "why": day.incomplete or (f"proved {stamp(day.claim.proved_at)}" if day.claim else ""),
    }


def _polls(poll: "PollDay") -> dict[str, object]:
    return {
        "day": _key(poll),
        "polls": poll.polls,
        "connected": poll.connected,
        "gaps": poll.gaps,
        "failed": poll.failed,
        "pages": poll.pages,
        "new": poll.new,
        "newest": f"{poll.newest.started_at:%H:%M:%S} UTC",
    }


def _by_reason(one: "SourceStatus") -> list[dict[str, object]]:
    from ledgerline.filings.remedies import remedy

    counts = sum((Counter(day.refused) for day in one.days), Counter())
    return [
        {"source": one.source, "reason": reason, "filings": count, "remedy": remedy(reason)}
        for reason, count in counts.most_common()
    ]


def _late(overdue: "Overdue") -> dict[str, object]:
    from ledgerline.filings.monitor import stamp

    return {**_filing(overdue.row), "due since": stamp(overdue.since), "why": overdue.why}


def _refused(row: LedgerRow) -> dict[str, object]:
    from ledgerline.filings.remedies import remedy

    return {**_filing(row), "reason": f"{row.reason}: {row.detail}", "remedy": remedy(row.reason)}


def _filing(row: LedgerRow) -> dict[str, object]:
    return {"day": partition_key(row.ref.source, row.ref.day), "filing": row.ref.filing_id}


def _numbers(one: "SourceStatus") -> dict[str, float]:
    """What Dagster draws over time, one line each."""
    newest = next((day for day in reversed(one.days) if day.to_published), None)
    numbers: dict[str, float] = {
        "listed": sum(day.listed for day in one.days),
        "published": sum(day.published for day in one.days),
        "waiting": sum(day.waiting for day in one.days),
        "late": sum(day.late for day in one.days),
        "refused": sum(sum(day.refused.values()) for day in one.days),
        "set aside": sum(day.set_aside for day in one.days),
        "days complete": sum(day.claim is not None for day in one.days),
        "older days due": len(one.older),
        "changed": sum(day.changed for day in one.days),
        "MB": round(sum(day.bytes for day in one.days) / 1e6, 3),
        "banned": int(one.ban is not None),
        "polls": sum(poll.polls for poll in one.polls),
        "polls that failed": sum(poll.failed for poll in one.polls),
        "gaps": sum(poll.gaps for poll in one.polls),
    }
    if newest:
        for name, delay in (
            ("accepted to available", newest.to_available),
            ("available to published", newest.to_published),
        ):
            if delay:
                numbers[f"{name} p50 (s)"] = delay.p50
                numbers[f"{name} p95 (s)"] = delay.p95
    return {f"{one.source} {name}": value for name, value in numbers.items()}
