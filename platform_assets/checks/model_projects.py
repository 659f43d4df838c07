"""Checks of a model project: what the gate says, who has to approve, whether QA served the judged bytes.

They show; they do not enforce. `gate` and `same_bytes` call the predicates that ledgerline/release/deploy.py calls
again before a model goes live.
"""

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.model_platform import ModelPlatform
from ledgerline.release.ports import ReleaseLedger

if TYPE_CHECKING:
    from ledgerline.release.releases import Candidate

DECISION_RULES = ("approved", "approval_current", "approval_expired", "four_eyes", "not_rejected")


def model_project_checks(project: ModelProject) -> list[dg.AssetChecksDefinition]:
    """`gate`, `approved` and `drift_from_release`, and `same_bytes` where the project has a QA endpoint."""
    checks = [_gate(project), _approved(project), _drift_from_release(project)]
    return [*checks, _same_bytes(project)] if project.config.serving.qa else checks


def _gate(project: ModelProject) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([project.name, "evaluation"]),
        name="gate",
        blocking=True,
        description="Every rule of the gate in config.yaml holds for the newest evaluation.",
    )
    def gate(
        context: dg.AssetCheckExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.AssetCheckResult:
        from ledgerline.release.deploy import measured_size, recorded_reports
        from ledgerline.release.gate import judge
        from ledgerline.release.releases import Evaluated, GateRefusal
        from platform_assets.components.model_project import EvaluationProvenance, ModelProvenance
        from platform_assets.components.reports import rules_table

        newest = EvaluationProvenance.latest(context.instance, dg.AssetKey([project.name, "evaluation"]))
        records = _records(project, release_ledger)
        evaluated = [
            record
            for record in records
            if isinstance(record, Evaluated)
            and newest is not None
            and (record.model_digest, record.report_digest) == (newest.model_digest, newest.report_digest)
        ]
        if not evaluated:
            return _failed("There is no evaluation yet. Materialize it first.")
        try:
            report, live = recorded_reports(project, evaluated[-1], records, object_store)
            model = ModelProvenance.latest(context.instance, dg.AssetKey([project.name, "model"]))
            size = (
                measured_size(project.policy, object_store, model.model_uri)
                if model is not None and model.model_digest == report.model_digest
                else None
            )
            verdict = judge(report, project.policy, live, size_bytes=size)
        except GateRefusal as refusal:
            return _failed(str(refusal))
        why = "; ".join(result.reason for result in verdict.failed)
        remedy = f"Train a better model, or change the gate in model_projects/{project.name}/config.yaml."
        return dg.AssetCheckResult(
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{verdict.summary}{f': {why}. {remedy}' if why else ''}",
            metadata={"rules": rules_table(verdict), "model": verdict.model_digest, "verdict": verdict.digest},
        )

    return gate


def _approved(project: ModelProject) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([project.name, "model_version"]),
        name="approved",
        description="Somebody approved exactly this model, report and policy. A model that waits is a warning.",
    )
    def approved(
        object_store: dg.ResourceParam[ObjectStore], release_ledger: dg.ResourceParam[ReleaseLedger]
    ) -> dg.AssetCheckResult:
        from ledgerline.release.deploy import examine
        from ledgerline.release.releases import GateRefusal, approve_command, refusals

        records = _records(project, release_ledger)
        candidate = _candidate(records)
        if candidate is None:
            return _waiting("There is no registered model yet. Materialize model_version first.")
        try:
            now = datetime.now(timezone.utc)
            found = refusals(candidate, **examine(project, candidate, records, object_store, now))
        except GateRefusal as refusal:
            return _waiting(str(refusal))
        open_decisions = [refusal for refusal in found if refusal.rule in DECISION_RULES]
        if open_decisions:
            command = approve_command(candidate)
            # As code: the UI shows a description as Markdown, in which <your name> would be a tag and vanish.
            return _waiting(f"{project.config.owner}: {str(open_decisions[0]).replace(command, f'`{command}`')}")
        return dg.AssetCheckResult(passed=True, description=f"model {candidate.model_digest[:12]} is approved")

    return approved


def _same_bytes(project: ModelProject) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([project.name, "qa_report"]),
        name="same_bytes",
        blocking=True,
        description="The QA endpoint answered with the digest of the candidate's bytes, as fast as the gate asks.",
    )
    def same_bytes(release_ledger: dg.ResourceParam[ReleaseLedger]) -> dg.AssetCheckResult:
        from ledgerline.release.releases import latest_qa, qa_refusals

        records = _records(project, release_ledger)
        candidate = _candidate(records)
        if candidate is None:
            return _failed("There is no registered model yet. Materialize model_version first.")
        found = qa_refusals(candidate, project.policy, latest_qa(records, candidate.model_digest))
        if found:
            return _failed(str(found[0]))
        return dg.AssetCheckResult(
            passed=True, description=f"QA served {candidate.model_digest}", metadata={"digest": candidate.model_digest}
        )

    return same_bytes


def _drift_from_release(project: ModelProject) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey([project.name, "live_endpoint"]),
        name="drift_from_release",
        description="The endpoint's config and bytes are those of the recorded release. The sensor `release_drift` looks "
        "all the time; the job `restore_release` puts the release back.",
    )
    def drift_from_release(
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.AssetCheckResult:
        from ledgerline.release.deploy import Deployer
        from ledgerline.release.upkeep import drift

        found = drift(Deployer(project, release_ledger, sagemaker, object_store))
        return _failed(drift_text(project, found)) if found else dg.AssetCheckResult(passed=True, description=NO_DRIFT)

    return drift_from_release


NO_DRIFT = "The endpoint is what the release ledger says."


def drift_text(project: ModelProject, found: str) -> str:
    """What drifted, and how it is put right."""
    return (
        f"Not as released: {found}. Find out who did it, then put the release back: "
        f"python -m cli restore --project {project.name} --by <your name> --reason <what happened>"
    )


def _records(project: ModelProject, ledger: ReleaseLedger) -> list[Any]:
    return [entry.record for entry in ledger.entries(project.name)]


def _candidate(records: list[Any]) -> "Candidate | None":
    from ledgerline.release.releases import latest_candidate

    return latest_candidate(records)


def _failed(description: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.ERROR, description=description)


def _waiting(description: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=description)
