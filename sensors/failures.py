"""The sensor behind every failed run: it tells the owner of the failed asset, and ends what a killed run left open.

A sensor and not a hook: hooks of jobs never fire for runs of automation, and a killed process fires none at all.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from datetime import datetime, timezone

import dagster as dg

from ledgerline.alerts import failure_text
from ledgerline.ports import Notifier
from ledgerline.projects.config import ModelProject
from ledgerline.release.ports import Experiments
from platform_assets.owners import DATA_PLATFORM

LOGGED_STEPS = ("model", "evaluation")  # the assets of a project that open an MLflow run
PROCESS_ENDED = re.compile(r"terminated by signal|unexpectedly exited|crashed|timed out", re.IGNORECASE)
# Tags of runs that are started by themselves. Of these a failure is told once a day, and of the others each.
BY_ITSELF = (
    "dagster/schedule_name",
    "dagster/sensor_name",
    "dagster/auto_materialize",
    "dagster/from_automation_condition",
)
NOT_AGAIN = "It is started by itself; if it fails like this again today, you are not told again."
CHANGING = re.compile(r"\b[0-9a-f-]*\d[0-9a-f:.-]*\b")
AD_HOC = "__ASSET_JOB"  # Dagster's name for runs of automation and of assets that were picked by hand


def run_failures(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One alert to the owner of the first asset that failed; open MLflow runs of it end FAILED.

    One per failed run; of runs that start by themselves one a day for each job, partition and kind of error.
    """
    channels = {project.name: project.config.slack for project in projects}
    logged = {dg.AssetKey([project.name, step]) for project in projects for step in LOGGED_STEPS}

    @dg.run_failure_sensor(
        name="run_failures",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the owner of a failed asset once per failed run, and ends MLflow runs that it left open.",
    )
    def tell(
        context: dg.RunFailureSensorContext,
        notifier: dg.ResourceParam[Notifier],
        experiments: dg.ResourceParam[Experiments],
    ) -> None:
        run = context.dagster_run
        planned = planned_assets(context.instance, run.run_id)
        try:
            step, error = what_failed(context)
            assets = planned.get(step or "") or [key for keys in planned.values() for key in keys]
            job = run.job_name if run.job_name != AD_HOC else f"{AD_HOC} ({_names(planned)})"
            text = failure_text(job=job, partition=partition_of(run), step=step, error=error, run_id=run.run_id)
            repeats = starts_by_itself(run)
            channel = channels.get(assets[0].path[0]) if assets else None
            notifier.notify(
                owner_of(context.repository_def, assets[0] if assets else None),
                f"{run.job_name if run.job_name != AD_HOC else 'A run of assets'} failed",
                f"{text}\n{NOT_AGAIN}" if repeats else text,
                repeated_key(job, partition_of(run), step, error, ended_on(context.instance, run))
                if repeats
                else f"failed run {run.run_id}",
                channel=channel,
            )
        finally:
            # Importing mlflow takes seconds: only for runs that may have logged something.
            if any(key in logged for keys in planned.values() for key in keys):
                ended = experiments.mark_failed(run.run_id)
                context.log.info("%d MLflow run(s) of %s were left open and are FAILED now.", ended, run.run_id)

    return tell


def starts_by_itself(run: dg.DagsterRun) -> bool:
    """Whether nobody asked for this run: a schedule, a sensor or automation will start its like again, to fail again."""
    return any(run.tags.get(tag) for tag in BY_ITSELF)


def repeated_key(job: str, partition: str | None, step: str | None, error: str, day: str) -> str:
    """The same for failures of one kind on one day. Numbers, digests and times in the error do not make another kind."""
    kind = hashlib.sha256(CHANGING.sub("#", error.lower()).encode("utf-8", "replace")).hexdigest()[:16]
    return f"failed {job} {partition or ''} {step or ''} {kind} {day}"


def ended_on(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The day (UTC) on which a run ended, the same however late the sensor looks."""
    record = instance.get_run_record_by_id(run.run_id)
    ended = record.end_time if record and record.end_time else time.time()
    return datetime.fromtimestamp(ended, timezone.utc).date().isoformat()


def planned_assets(instance: dg.DagsterInstance, run_id: str) -> dict[str, list[dg.AssetKey]]:
    """The assets that a run was to materialize, or to check, by step, in the order of the plan."""
    planned: dict[str, list[dg.AssetKey]] = {}
    for event in _events(instance, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
        _add(planned, event.step_key, event.asset_key)  # an event for each partition of the run
    for event in _events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
        _add(planned, event.step_key, event.asset_check_planned_data.asset_key)
    return planned


def _add(planned: dict[str, list[dg.AssetKey]], step: str | None, key: dg.AssetKey | None) -> None:
    keys = planned.setdefault(step or "", [])
    if key is not None and key not in keys:
        keys.append(key)


def _events(instance: dg.DagsterInstance, run_id: str, of_type: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    records = instance.get_records_for_run(run_id, of_type=of_type).records
    found = (record.event_log_entry.dagster_event for record in records)
    return [event for event in found if event is not None]


def what_failed(context: dg.RunFailureSensorContext) -> tuple[str | None, str]:
    """Step and error message of the first failed step; of a killed run the step that was under way."""
    failed = context.get_step_failure_events()
    if failed:
        checks = _failed_checks(context.instance, context.dagster_run.run_id, failed[0].step_key)
        return failed[0].step_key, checks or authors_message(failed[0])
    run_id = context.dagster_run.run_id
    said = getattr(context.failure_event.event_specific_data, "error", None)  # no data where it was marked from outside
    message = (said.message if said else "") or context.failure_event.message or ""
    return _step_under_way(context.instance, run_id), _why_the_process_ended(context.instance, run_id) or message


def authors_message(event: dg.DagsterEvent) -> str:
    """What the author of a failure wrote for a person: its description, else the message of the first error of our own, else
    of the innermost cause. What our own errors came from says less: a time-out names no server."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause and not error.message.startswith("ledgerline."):
        error = error.cause
    return error.message.strip() if error else ""


def _failed_checks(instance: dg.DagsterInstance, run_id: str, step: str | None) -> str:
    """What blocking checks said that failed in a step: Dagster's own error only counts them."""
    found = [
        event.asset_check_evaluation_data
        for event in _events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if event.step_key == step
    ]
    failed = [one for one in found if not one.passed and one.severity == dg.AssetCheckSeverity.ERROR and one.blocking]
    return "; ".join(f"check {one.check_name}: {one.description or 'failed'}" for one in failed)


def _why_the_process_ended(instance: dg.DagsterInstance, run_id: str) -> str:
    """Dagster's failure of a killed run says only that it came from outside; the event before it says of what."""
    found = [event.message or "" for event in _events(instance, run_id, dg.DagsterEventType.ENGINE_EVENT)]
    return next((message for message in reversed(found) if PROCESS_ENDED.search(message)), "")


def _step_under_way(instance: dg.DagsterInstance, run_id: str) -> str | None:
    done = {event.step_key for event in _events(instance, run_id, dg.DagsterEventType.STEP_SUCCESS)}
    started = [event.step_key for event in _events(instance, run_id, dg.DagsterEventType.STEP_START)]
    return next((step for step in started if step not in done), None)


def owner_of(repository: dg.RepositoryDefinition | None, key: dg.AssetKey | None) -> str:
    """The first owner of an asset; the data platform for a run without assets."""
    if repository is None or key is None or not repository.asset_graph.has(key):
        return DATA_PLATFORM
    owners = list(repository.asset_graph.get(key).owners)
    return owners[0] if owners else DATA_PLATFORM


def partition_of(run: dg.DagsterRun) -> str | None:
    """The partition of a run, or `first...last` of a range."""
    one = run.tags.get("dagster/partition")
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return one or (f"{first}...{last}" if first and last else None)


def _names(planned: dict[str, list[dg.AssetKey]]) -> str:
    names = [key.to_user_string() for keys in planned.values() for key in keys]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
