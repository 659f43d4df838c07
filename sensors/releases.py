"""The sensor that puts an approved model live. It decides nothing: approval and gate are judged again by the deploy code."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from ledgerline.projects.config import ModelProject
from ledgerline.release.ports import ReleaseLedger

MAX_ATTEMPTS = 3  # on the same approval; then the failure stays visible and a person starts the job


def approved_models(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One sensor over all projects: asks for `<project>/live_endpoint` when the newest candidate may go live and is not."""

    @dg.sensor(
        name="approved_models",
        target=dg.AssetSelection.assets(*(dg.AssetKey([project.name, "live_endpoint"]) for project in projects)),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Puts a model live once its gate passed and it was approved.",
    )
    def tick(
        context: dg.SensorEvaluationContext, release_ledger: dg.ResourceParam[ReleaseLedger]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        requests = [
            request
            for project in projects
            if (request := deploy_request(context.instance, project, release_ledger)) is not None
        ]
        return requests or dg.SkipReason("No approved model waits to go live.")

    return tick


def deploy_request(instance: dg.DagsterInstance, project: ModelProject, ledger: ReleaseLedger) -> dg.RunRequest | None:
    """The run that puts a project's approved candidate live, or None. The run key carries the approval and the attempt."""
    from ledgerline.release.releases import deployable

    records = [entry.record for entry in ledger.entries(project.name)]
    candidate = deployable(records, project.policy)
    if candidate is None:
        return None
    wanted = f"{candidate.model_digest[:12]}@{len(records)}"
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"ledgerline/deploys": project.name}), limit=20)
    if any(not run.is_finished for run in runs):
        return None
    attempts = sum(
        run.tags.get("ledgerline/wanted") == candidate.model_digest[:12] and run.is_failure_or_canceled for run in runs
    )
    if attempts >= MAX_ATTEMPTS:
        return None
    return dg.RunRequest(
        run_key=f"{project.name}@{wanted}#{attempts + 1}",
        asset_selection=[dg.AssetKey([project.name, "live_endpoint"])],
        tags={"ledgerline/deploys": project.name, "ledgerline/wanted": candidate.model_digest[:12]},
    )
