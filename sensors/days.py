"""Sensors and the schedule that start work on days: new days of an archive folder, new filings of any day.

Each asks what is recorded, hands it to a pure function (`ledgerline.filings.plan`) and starts what that plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

import dagster as dg

from jobs.selections import map_filings, onboard
from ledgerline.filings.plan import DayState, plan_days
from ledgerline.filings.ports import FilingLedger, Regulators
from ledgerline.release.ports import ReleaseLedger
from platform_assets.partitions import partition_key, source_day
from platform_assets.provenance import DayProvenance
from platform_assets.runs import ENDED_BADLY, days_under_way
from platform_assets.ticker_mappings import RANKER

FILINGS, TICKER_MAPPINGS = dg.AssetKey("filings"), dg.AssetKey("ticker_mappings")
WANTED = "ledgerline/wanted"  # run tag: what the run was asked to work on, to count failures of just that
SWEEP_DAYS = 14  # days per source that a sweep looks at; what is older is mended by a backfill


def requests_for(
    instance: dg.DagsterInstance, job: str, asset: dg.AssetKey, wanted: Mapping[str, str], done: Mapping[str, str]
) -> tuple[list[dg.RunRequest], str]:
    """Run requests for the partitions of an asset whose input is `wanted` and was `done`; the reason if there are none."""
    states = {}
    under_way = days_under_way(instance, (job,), asset)
    for key, want in wanted.items():
        of_the_day = dg.RunsFilter(job_name=job, tags={"dagster/partition": key}, statuses=ENDED_BADLY)
        failed = [run for run in instance.get_runs(of_the_day, limit=10) if run.tags.get(WANTED) == want]
        states[key] = DayState(wanted=want, done=done.get(key, ""), failures=len(failed), in_flight=key in under_way)
    plan = plan_days(states)
    requests = [
        dg.RunRequest(run_key=run_key, partition_key=key, tags={WANTED: wanted[key]})
        for key, run_key in plan.run.items()
    ]
    return requests, plan.reason


def mapping_requests(instance: dg.DagsterInstance, keys: Iterable[str], live: str) -> tuple[list[dg.RunRequest], str]:
    """Requests for the days whose ticker mappings were not made from today's filings by the model that is live."""
    wanted, done = {}, {}
    for key in keys:
        onboarded = DayProvenance.latest(instance, FILINGS, key)
        if onboarded is None:
            continue
        wanted[key] = _made_of(onboarded.digest, live)
        mapped = DayProvenance.latest(instance, TICKER_MAPPINGS, key)
        done[key] = _made_of(mapped.filings_digest, mapped.input_digest.rpartition("+")[2]) if mapped else ""
    return requests_for(instance, map_filings.name, TICKER_MAPPINGS, wanted, done)


def newest_first(requests: Iterable[dg.RunRequest]) -> list[dg.RunRequest]:
    """Runs wait in this order: what is looked at most is made by the new model first."""
    return sorted(requests, key=lambda request: str(request.partition_key).partition(":")[2], reverse=True)


def _made_of(filings: str, model: str) -> str:
    return f"{filings[:16]}+{model[:12]}"


def live_model(ledger: ReleaseLedger) -> str | None:
    """The digest of the ranker that is live, None before the first release."""
    from ledgerline.release.releases import current_release

    release = current_release([entry.record for entry in ledger.entries(RANKER)])
    return release.model_digest if release else None


NOTHING_LIVE = (
    f"No model of {RANKER} is live yet: days wait until a candidate is approved (the check `approved` says how)."
)


@dg.sensor(
    job=map_filings,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Days whose filings were just onboarded and changed: documents to ticker mappings of those days.",
)
def new_filings(
    context: dg.SensorEvaluationContext, release_ledger: dg.ResourceParam[ReleaseLedger]
) -> dg.SensorResult | dg.SkipReason:
    """The cursor is the storage id of the newest `filings` materialization that was answered."""
    live = live_model(release_ledger)
    if live is None:
        return dg.SkipReason(NOTHING_LIVE)  # and the cursor stays
    after = int(context.cursor) if context.cursor else None
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FILINGS, after_storage_id=after), limit=500, ascending=True
    ).records
    if not records:
        return dg.SkipReason("No day was onboarded since the last tick.")
    keys = {record.partition_key for record in records if record.partition_key}
    requests, reason = mapping_requests(context.instance, keys, live)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else reason,
        cursor=str(records[-1].storage_id),
    )


@dg.schedule(
    name="map_new_filings",
    job=map_filings,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every 5 minutes: days of the last weeks whose mappings are behind their filings or the live model.",
)
def map_new_filings(
    context: dg.ScheduleEvaluationContext, release_ledger: dg.ResourceParam[ReleaseLedger]
) -> list[dg.RunRequest] | dg.SkipReason:
    """The sweep behind the sensor: what a failed run or a stopped daemon left behind, and what an earlier model mapped."""
    live = live_model(release_ledger)
    if live is None:
        return dg.SkipReason(NOTHING_LIVE)
    keys = recent_keys(context.instance.get_dynamic_partitions(str(source_day.name)))
    requests, reason = mapping_requests(context.instance, keys, live)
    return newest_first(requests) or dg.SkipReason(reason)


def recent_keys(keys: Iterable[str], days: int = SWEEP_DAYS) -> list[str]:
    """The newest `days` partitions of each source."""
    by_source: dict[str, list[str]] = {}
    for key in sorted(keys):
        by_source.setdefault(key.partition(":")[0], []).append(key)
    return [key for held in by_source.values() for key in held[-days:]]


@dg.sensor(
    job=onboard,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Days of the archive folder that appear, grow, or have filings to take up again are onboarded. Skipped "
    "when filings come over HTTP.",
)
def archive_days(
    context: dg.SensorEvaluationContext,
    regulators: dg.ResourceParam[Regulators],
    filing_ledger: dg.ResourceParam[FilingLedger],
) -> dg.SensorResult | dg.SkipReason:
    """A day is wanted if the archive lists another number of filings than when it was last materialized, or if filings
    of it are due: then anew after each materialization."""
    archives = [source for source in regulators.sources() if source not in regulators.live_sources()]
    if not archives:
        return dg.SkipReason("All sources are read over HTTP by the schedules `onboard_edgar` and `onboard_dart`.")
    wanted, done = {}, {}
    for source in archives:
        regulator = regulators.of(source)
        due = set(filing_ledger.pending_days(source, due_at=datetime.now(timezone.utc)))
        for day in regulator.days():
            key = partition_key(source, day)
            wanted[key] = str(len(regulator.discover(day)))
            onboarded = DayProvenance.latest(context.instance, FILINGS, key)
            done[key] = onboarded.input_digest if onboarded else ""
            if day in due and wanted[key] == done[key]:
                wanted[key] += f"+due after {_newest_materialization(context.instance, key)}"
    requests, reason = requests_for(context.instance, onboard.name, FILINGS, wanted, done)
    if not requests:
        return dg.SkipReason(reason)
    days = [str(request.partition_key) for request in requests]
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=[source_day.build_add_request(days)])


def _newest_materialization(instance: dg.DagsterInstance, key: str) -> int:
    """The storage id of the newest `filings` of a day, 0 for none."""
    found = instance.fetch_materializations(dg.AssetRecordsFilter(FILINGS, asset_partitions=[key]), limit=1).records
    return found[0].storage_id if found else 0
