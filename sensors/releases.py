"""Sensors around a release: who must approve is told, an approved model is put live, days are mapped anew by it, an
endpoint that is not what was released is noticed, and new rows of the release ledger are shown.

They decide nothing: approval and gate are judged again by the deploy code.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from jobs.selections import map_filings
from ledgerline.ports import Notifier, ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.model_platform import ModelPlatform
from ledgerline.release.ports import ReleaseLedger
from platform_assets.checks.model_projects import NO_DRIFT, drift_text
from platform_assets.partitions import source_day
from platform_assets.ticker_mappings import RANKER
from sensors.days import NOTHING_LIVE, mapping_requests, newest_first, recent_keys

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
        records = records_by_project(release_ledger)
        requests = [
            request
            for project in projects
            if (request := deploy_request(context.instance, project, records[project.name])) is not None
        ]
        return requests or dg.SkipReason("No approved model waits to go live.")

    return tick


def records_by_project(ledger: ReleaseLedger) -> Mapping[str, list[Any]]:
    """All rows in one read, since each read verifies the whole chain."""
    found = defaultdict[str, list[Any]](list)
    for entry in ledger.entries():
        found[entry.record.project].append(entry.record)
    return found


def deploy_request(instance: dg.DagsterInstance, project: ModelProject, records: Sequence[Any]) -> dg.RunRequest | None:
    """The run that puts a project's approved candidate live, or None. The run key carries what was registered and decided
    so far, and the attempt."""
    from ledgerline.release.approvals import Approval
    from ledgerline.release.releases import Candidate, deployable

    candidate = deployable(records, project.policy, datetime.now(timezone.utc))
    if candidate is None:
        return None
    causes = sum(isinstance(record, Candidate | Approval) for record in records)
    wanted = f"{candidate.model_digest[:12]}@{causes}"
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"ledgerline/deploys": project.name}), limit=20)
    if any(not run.is_finished for run in runs):
        return None
    attempts = sum(run.tags.get("ledgerline/wanted") == wanted and run.is_failure_or_canceled for run in runs)
    if attempts >= MAX_ATTEMPTS:
        return None
    return dg.RunRequest(
        run_key=f"{project.name}@{wanted}#{attempts + 1}",
        asset_selection=[dg.AssetKey([project.name, "live_endpoint"])],
        tags={"ledgerline/deploys": project.name, "ledgerline/wanted": wanted},
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
        waiting, records = {}, records_by_project(release_ledger)
        for project in projects:
            question = open_question(project, records[project.name], object_store)
            if question is None:
                continue
            key, text = question
            told = notifier.notify(
                project.config.owner,
                f"A model of {project.name} waits for an approval",
                text,
                key,
                channel=project.config.slack,
            )
            waiting[project.name] = "told now" if told else "told before"
        said = ", ".join(f"{name} ({state})" for name, state in waiting.items())
        return dg.SkipReason(f"Waits for an approval: {said}." if said else "No candidate waits for an approval.")

    return tick


def open_question(project: ModelProject, records: Sequence[Any], objects: ObjectStore) -> tuple[str, str] | None:
    """Key and text of the alert if only an approval keeps the newest candidate from going live, else None.

    The key names model, report and policy, as an approval does: a new report on the same model is a new question.
    """
    from ledgerline.release.approvals import standing_refusal
    from ledgerline.release.deploy import examine
    from ledgerline.release.releases import GateRefusal, approvals, decision_refusals, latest_candidate, refusals

    candidate = latest_candidate(records)
    if candidate is None:
        return None
    digests = {
        "model_digest": candidate.model_digest,
        "report_digest": candidate.report_digest,
        "policy_digest": project.policy.digest,
    }
    now = datetime.now(timezone.utc)
    asked = decision_refusals(candidate, records, project.policy, now)
    if not asked or standing_refusal(approvals(records), candidate.model_digest):
        return None  # decided; `examine` reads the model's bytes, so it is left for what waits
    try:
        found = refusals(candidate, **examine(project, candidate, records, objects, now))
    except GateRefusal:
        return None  # the report was changed: the checks show it, and nobody could approve
    if [str(refusal) for refusal in found] != [str(refusal) for refusal in asked]:
        return None
    key = "waits " + project.name + " " + " ".join(digest[:16] for digest in digests.values())
    if asked[0].rule in ("approval_expired", "four_eyes"):
        key += f" {asked[0].rule} {len(approvals(records))}"
    return key, f"{project.config.owner}: {found[0]}"


def release_drift(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One sensor over all projects: reports the check `drift_from_release` when its answer changes, and tells the owner.

    It looks without a run, so that a change past the gate is seen within a tick. The cursor holds what was found last.
    """

    @dg.sensor(
        name="release_drift",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notices live endpoints that are not what the release ledger says.",
    )
    def tick(
        context: dg.SensorEvaluationContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
        notifier: dg.ResourceParam[Notifier],
    ) -> dg.SensorResult:
        before: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        found, known = dict(before), records_by_project(release_ledger)
        for project in projects:
            if project.name not in known:
                continue  # and the embedded platform is not started for a project that nobody trained
            drifted = drift_of(context, project, object_store, sagemaker, release_ledger)
            if drifted is not None:
                found[project.name] = drifted
        named = {project.name: project for project in projects}
        changed = {name: text for name, text in found.items() if name in named and before.get(name) != text}
        for name, text in changed.items():
            if text:
                key = f"drift {name} {release_ledger.head()[0]} {text}"
                project = named[name]
                title, said = f"{name} is not as released", drift_text(project, text)
                notifier.notify(project.config.owner, title, said, key, channel=project.config.slack)
        return dg.SensorResult(
            asset_events=[_drift_evaluation(named[name], text) for name, text in changed.items()],
            skip_reason="; ".join(f"{name}: {text}" for name, text in found.items() if text) or NO_DRIFT,
            cursor=json.dumps(found),
        )

    return tick


def drift_of(
    context: dg.SensorEvaluationContext,
    project: ModelProject,
    objects: ObjectStore,
    platform: ModelPlatform,
    ledger: ReleaseLedger,
) -> str | None:
    """What drifted, empty if nothing did; None if it is not known: the platform did not answer."""
    from ledgerline.errors import LedgerlineError
    from ledgerline.release.deploy import Deployer
    from ledgerline.release.upkeep import drift

    try:
        return drift(Deployer(project, ledger, platform, objects)) or ""
    except LedgerlineError as error:
        context.log.warning("Nobody knows whether %s is as released: %s", project.name, error)
        return None


def _drift_evaluation(project: ModelProject, text: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey([project.name, "live_endpoint"]),
        check_name="drift_from_release",
        passed=not text,
        severity=dg.AssetCheckSeverity.ERROR,
        description=drift_text(project, text) if text else NO_DRIFT,
    )


@dg.sensor(
    target=dg.AssetSelection.assets("release_ledger"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New rows of the release ledger are shown by the asset `release_ledger`, whose run checks the chain.",
)
def release_ledger_rows(
    context: dg.SensorEvaluationContext, release_ledger: dg.ResourceParam[ReleaseLedger]
) -> dg.SensorResult | dg.SkipReason:
    """The cursor is the number of the newest row that was shown; rows of one deployment come in one tick or two."""
    number, _ = release_ledger.head()
    if str(number) == (context.cursor or "0"):
        return dg.SkipReason("The release ledger has no new row.")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"row {number}")], cursor=str(number))


@dg.sensor(
    job=map_filings,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A new release of the ranker: the newest days of each source are mapped again by it, newest first.",
)
def mappings_after_release(
    context: dg.SensorEvaluationContext, release_ledger: dg.ResourceParam[ReleaseLedger]
) -> dg.SensorResult | dg.SkipReason:
    """The cursor names the release that was answered. Days that it mapped already are left alone, so that a replay of
    the tick starts nothing twice; what fails is taken up by the schedule `map_new_filings`."""
    from ledgerline.release.releases import current_release

    release = current_release([entry.record for entry in release_ledger.entries(RANKER)])
    if release is None:
        return dg.SkipReason(NOTHING_LIVE)
    answered = f"{release.model_digest[:12]}@{release.intent}"
    if context.cursor == answered:
        return dg.SkipReason(f"The release of {answered} was answered.")
    keys = recent_keys(context.instance.get_dynamic_partitions(str(source_day.name)))
    requests, reason = mapping_requests(context.instance, keys, release.model_digest)
    return dg.SensorResult(
        run_requests=newest_first(requests), skip_reason=None if requests else reason, cursor=answered
    )
