"""When the onboarding monitor is made anew: after polls, and every hour where there are none."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import get_args

import dagster as dg

from jobs.selections import watch_onboarding
from ledgerline.filings.ports import FilingLedger
from ledgerline.filings.records import Source
from platform_assets.runs import UNFINISHED

MONITOR = dg.AssetKey("onboarding_monitor")
# Without polls only the clock makes things late; each materialization is kept for good, some 50 kB of tables and plots.
AT_LEAST_EVERY = timedelta(hours=1)


def refresh_due(now: datetime, made_at: datetime | None, polls_ended: Iterable[datetime]) -> bool:
    """Whether the monitor of `made_at` (None: never made) says less than the ledger knows by now."""
    return made_at is None or now - made_at >= AT_LEAST_EVERY or any(ended > made_at for ended in polls_ended)


@dg.schedule(
    name="watch_onboarding",
    job=watch_onboarding,
    cron_schedule="5-59/10 * * * *",  # between the ticks that poll
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 10 minutes, if a regulator was polled since, else every hour: the onboarding monitor.",
)
def onboarding_watch(
    context: dg.ScheduleEvaluationContext, filing_ledger: dg.ResourceParam[FilingLedger]
) -> dg.RunRequest | dg.SkipReason:
    """A tick never starts a second run beside one that waits or works."""
    instance = context.instance
    waiting = instance.get_runs(dg.RunsFilter(job_name=watch_onboarding.name, statuses=UNFINISHED), limit=1)
    if waiting:
        return dg.SkipReason(f"The run {waiting[0].run_id} is still at work.")
    made = instance.fetch_materializations(MONITOR, limit=1).records
    made_at = datetime.fromtimestamp(made[0].timestamp, timezone.utc) if made else None
    sources: tuple[Source, ...] = get_args(Source)
    ended = [tick.ended_at for source in sources for tick in filing_ledger.ticks(source)]
    if not refresh_due(context.scheduled_execution_time, made_at, ended):
        return dg.SkipReason("No regulator was polled since the monitor was made.")
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())
