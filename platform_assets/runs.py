"""Which days have a run at work: asked before another one is started. Reads Dagster's instance and starts nothing."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from platform_assets.partitions import source_day

# Not NOT_STARTED: what was killed between making a run and launching it leaves one for ever. A tick that is replayed
# asks for it again with the same run key, and the daemon then launches that very run.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def days_under_way(instance: dg.DagsterInstance, jobs: Collection[str], asset: dg.AssetKey) -> dict[str, str]:
    """Partition key -> id of an unfinished run of one of the jobs, or of one that somebody started on the asset by hand.

    A run is of one day or, as a backfill is, of a range in the order in which the days were registered.
    """
    known: list[str] | None = None
    found: dict[str, str] = {}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if run.job_name not in jobs and asset not in (run.asset_selection or ()):
            continue
        if key := run.tags.get("dagster/partition"):
            found[key] = run.run_id
            continue
        first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
        known = list(instance.get_dynamic_partitions(str(source_day.name))) if known is None else known
        if first in known and last in known:
            found |= dict.fromkeys(known[known.index(first) : known.index(last) + 1], run.run_id)
    return found
