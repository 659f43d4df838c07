"""When things run by the clock. Each schedule calls a pure function or says in one line why its tick is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
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
TICKS = ("*/10 6-22 * * *", "*/30 0-5,23 * * *")


def onboarding_schedule(source: Source) -> dg.ScheduleDefinition:
    """Every 10 minutes by day and every 30 by night, in the regulator's own zone, for its current calendar day."""

    @dg.schedule(
        name=f"onboard_{source}",
        job=onboard,
        cron_schedule=list(TICKS),
        execution_timezone=ZONES[source],
        default_status=RUNNING,
        description=f"Reads what {source} published today. Skipped when filings come from an archive folder.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext, regulators: dg.ResourceParam[Regulators]
    ) -> dg.RunRequest | dg.SkipReason:
        if source not in regulators.live_sources():
            return dg.SkipReason(
                f"{source} is not read over HTTP here; the sensor `archive_days` reads the archive folder."
            )
        key = partition_key(source, day_of(source, context.scheduled_execution_time))
        run = days_under_way(context.instance, onboard.name, dg.AssetKey("filings")).get(key)
        if run:
            return dg.SkipReason(f"The run {run} of {key} is still at work.")
        context.instance.add_dynamic_partitions(str(source_day.name), [key])
        return dg.RunRequest(run_key=f"{key}@{context.scheduled_execution_time.isoformat()}", partition_key=key)

    return tick


def day_of(source: Source, moment: datetime) -> date:
    """The regulator's calendar day at a moment."""
    return moment.astimezone(ZoneInfo(ZONES[source])).date()


daily_listings = dg.ScheduleDefinition(
    name="daily_listings",
    job=refresh_listings,
    cron_schedule="0 5 * * *",
    execution_timezone="America/New_York",
    default_status=RUNNING,
    description="Companies, names and tickers, before the market opens.",
)
