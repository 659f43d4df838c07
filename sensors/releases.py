"""Sensors between a candidate and its release: who must approve it is told, and an approved model is put live.

They decide nothing: approval and gate are judged again by the deploy code.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from ledgerline.ports import Notifier, ObjectStore
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


def waiting_candidates(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One sensor over all projects: tells the owner that a candidate waits, who may decide, and with which command."""

    @dg.sensor(
        name="waiting_candidates",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the owner of a model project once that a candidate waits for an approval.",
    )
    def tick(
        release_ledger: dg.ResourceParam[ReleaseLedger],
        object_store: dg.ResourceParam[ObjectStore],
        notifier: dg.ResourceParam[Notifier],
    ) -> dg.SkipReason:
        waiting = {}
        for project in projects:
            question = open_question(project, release_ledger, object_store)
            if question is None:
                continue
            key, text = question
            told = notifier.notify(project.config.owner, f"A model of {project.name} waits for an approval", text, key)
            waiting[project.name] = "told now" if told else "told before"
        said = ", ".join(f"{name} ({state})" for name, state in waiting.items())
        return dg.SkipReason(f"Waits for an approval: {said}." if said else "No candidate waits for an approval.")

    return tick


def open_question(project: ModelProject, ledger: ReleaseLedger, objects: ObjectStore) -> tuple[str, str] | None:
    """Key and text of the alert if only an approval keeps the newest candidate from going live, else None.

    The key names model, report and policy, as an approval does: a new report on the same model is a new question.
    """
    from ledgerline.release.approvals import standing_approval, standing_refusal
    from ledgerline.release.deploy import examine
    from ledgerline.release.releases import GateRefusal, approvals, latest_candidate, refusals

    records = [entry.record for entry in ledger.entries(project.name)]
    candidate = latest_candidate(records)
    if candidate is None:
        return None
    digests = {
        "model_digest": candidate.model_digest,
        "report_digest": candidate.report_digest,
        "policy_digest": project.policy.digest,
    }
    decisions = approvals(records)
    if standing_approval(decisions, **digests) or standing_refusal(decisions, candidate.model_digest):
        return None  # decided; `examine` reads the model's bytes, so it is left for what waits
    try:
        found = refusals(candidate, **examine(project, candidate, records, objects))
    except GateRefusal:
        return None  # the report was changed: the checks show it, and nobody could approve
    if [refusal.rule for refusal in found] not in (["approved"], ["approval_current"]):
        return None
    key = "waits " + project.name + " " + " ".join(digest[:16] for digest in digests.values())
    return key, f"{project.config.owner}: {found[0]}"
