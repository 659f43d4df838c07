"""When things run by the clock. Each schedule calls a pure function or says in one line why its tick is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg

from jobs.selections import onboard, refresh_listings
from ledgerline.filings.ports import Regulators
from ledgerline.filings.records import Source
from platform_assets.partitions import partition_key, source_day
from platform_assets.runs import days_under_way

RUNNING = dg.DefaultScheduleStatus.RUNNING
ZONES: Mapping[Source, str] = {"edgar": "America/New_York", "dart": "Asia/Seoul"}
# EDGAR takes filings from 06:00 to 22:00 Eastern, DART from 07:00 to 19:00; what is late is found by the slow ticks.
FILINGS = dg.AssetKey("filings")
SATURDAY = 5
WHOLE_AT = time(6)  # on the next day: EDGAR's daily index is written after 22:06, and EFFECT rows come after midnight
TICKS = ("*/10 6-22 * * *", "*/30 0-5,23 * * *")


def onboarding_schedule(source: Source) -> dg.ScheduleDefinition:
    """Every 10 minutes by day and every 30 by night, in the regulator's own zone; see `days_due` for which days."""

    @dg.schedule(
        name=f"onboard_{source}",
        job=onboard,
        cron_schedule=list(TICKS),
        execution_timezone=ZONES[source],
        default_status=RUNNING,
        description=f"Reads what {source} published today, and completes the day before. Skipped for an archive folder.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext, regulators: dg.ResourceParam[Regulators]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        if source not in regulators.live_sources():
            return dg.SkipReason(
                f"{source} is not read over HTTP here; the sensor `archive_days` reads the archive folder."
            )
        moment = context.scheduled_execution_time
        keys = [
            partition_key(source, day)
            for day in days_due(source, moment, lambda day: _last_read(context.instance, partition_key(source, day)))
        ]
        under_way = days_under_way(context.instance, onboard.name, FILINGS)
        free = [key for key in keys if key not in under_way]
        if not keys:
            return dg.SkipReason(f"{source} publishes nothing at weekends, and the day before it is complete.")
        if not free:
            return dg.SkipReason(f"The run {under_way[keys[0]]} of {keys[0]} is still at work.")
        context.instance.add_dynamic_partitions(str(source_day.name), free)
        return [dg.RunRequest(run_key=f"{key}@{moment.isoformat()}", partition_key=key) for key in free]

    return tick


def day_of(source: Source, moment: datetime) -> date:
    """The regulator's calendar day at a moment."""
    return moment.astimezone(ZoneInfo(ZONES[source])).date()


def days_due(source: Source, moment: datetime, last_read: Callable[[date], datetime | None]) -> list[date]:
    """The days that a tick reads: today if it is a weekday, and the weekday before it until it was read once when whole.

    A machine that slept over an evening, or over a weekend, so completes the day that it missed. `last_read` says when a
    day was last read, None for never.
    """
    today = day_of(source, moment)
    before = today - timedelta(days=1)
    while before.weekday() >= SATURDAY:
        before -= timedelta(days=1)
    whole_at = datetime.combine(before + timedelta(days=1), WHOLE_AT, ZoneInfo(ZONES[source]))
    due = [today] if today.weekday() < SATURDAY else []
    if moment >= whole_at and ((read := last_read(before)) is None or read < whole_at):
        due.append(before)
    return due


def _last_read(instance: dg.DagsterInstance, key: str) -> datetime | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FILINGS, asset_partitions=[key]), limit=1
    ).records
    return datetime.fromtimestamp(records[0].timestamp, timezone.utc) if records else None


daily_listings = dg.ScheduleDefinition(
    name="daily_listings",
    job=refresh_listings,
    cron_schedule="0 5 * * *",
    execution_timezone="America/New_York",
    default_status=RUNNING,
    description="Companies, names and tickers, before the market opens.",
)
