"""Operator jobs: approve, reject, rollback. Thin: ledgerline.release does it, the command line calls the same.

From a shell: `dagster job execute -m platform_assets.definitions -j approve -c approve.yaml` with

    ops: {approve_model: {config: {project: ticker_ranker, model_digest: 1a2b3c4d, approver: Kim, reason: better}}}
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from platform_assets.failures import NO_RUN_RETRY, permanent_failures

if TYPE_CHECKING:
    from ledgerline.projects.config import ModelProject
    from ledgerline.release.approvals import Approval, Decision
    from ledgerline.release.deploy import Deployment

RESOURCES = {"object_store", "sagemaker", "release_ledger"}


class DecisionConfig(dg.Config):
    """Which model, who decides, and why."""

    project: str = Field(description="Name of the model project.")
    model_digest: str = Field(description="At least the first 4 characters of the model's digest.")
    approver: str = Field(description="Who decides; it is kept in the release ledger.")
    reason: str = Field(description="What convinced you; it is kept in the release ledger.")


class RollbackConfig(dg.Config):
    """Which project, to which release (the last good one if empty), who, and why."""

    project: str = Field(description="Name of the model project.")
    model_digest: str = Field(default="", description="Release to go back to; empty: the last good one.")
    approver: str = Field(description="Who rolls back; it is kept in the release ledger.")
    reason: str = Field(description="Why; it is kept in the release ledger.")


def decide_on(
    decision: "Decision",
    projects: Sequence["ModelProject"],
    config: DecisionConfig,
    *,
    object_store: Any,
    sagemaker: Any,
    release_ledger: Any,
) -> "Approval":
    """Record a decision about a model. Also for the command line. Raises what `ledgerline.release.decisions` raises."""
    from ledgerline.release.decisions import decide

    return decide(
        decision,
        project=named(projects, config.project),
        ledger=release_ledger,
        platform=sagemaker,
        objects=object_store,
        digest_prefix=config.model_digest,
        approver=config.approver,
        reason=config.reason,
        at=datetime.now(timezone.utc),
    )


def roll_back(
    projects: Sequence["ModelProject"],
    config: RollbackConfig,
    *,
    object_store: Any,
    sagemaker: Any,
    release_ledger: Any,
    report: Any = print,
) -> "Deployment":
    """Make an earlier release live again. Also for the command line. Raises what `ledgerline.release.deploy` raises."""
    from ledgerline.release.deploy import Deployer, rollback

    deployer = Deployer(
        project=named(projects, config.project),
        ledger=release_ledger,
        platform=sagemaker,
        objects=object_store,
        clock=lambda: datetime.now(timezone.utc),
        report=report,
    )
    return rollback(deployer, actor=config.approver, reason=config.reason, digest_prefix=config.model_digest or None)


def named(projects: Sequence["ModelProject"], name: str) -> "ModelProject":
    """The project of that name. Raises ConfigurationError with the nearest right name."""
    from ledgerline.errors import ConfigurationError
    from ledgerline.projects.sections import nearest

    known = {project.name: project for project in projects}
    if name not in known:
        meant = nearest(name, list(known))
        raise ConfigurationError(
            f"There is no model project {name!r}{f'; did you mean {meant!r}?' if meant else '.'} "
            f"Known: {', '.join(sorted(known)) or 'none'}."
        )
    return known[name]


def release_jobs(projects: Sequence["ModelProject"]) -> list[dg.JobDefinition]:
    """The operator jobs over these projects. No retries: a person looks first."""
    return [
        _decision_job("approve", "approve", projects, "Approve a registered model: it may go live from now on."),
        _decision_job(
            "reject", "reject", projects, "Reject a registered model: it cannot go live until approved anew."
        ),
        _rollback_job(projects),
    ]


def _decision_job(
    name: str, decision: "Decision", projects: Sequence["ModelProject"], description: str
) -> dg.JobDefinition:
    @dg.op(name=f"{name}_model", required_resource_keys=RESOURCES, description=description)
    def decide_op(context: dg.OpExecutionContext, config: DecisionConfig) -> None:
        with permanent_failures(context):
            approval = decide_on(decision, projects, config, **_ports(context))
        model = f"model {approval.model_digest[:12]} of {approval.project}"
        context.log.info(f"{approval.approver}: {decision} {model} ({approval.reason})")

    @dg.job(name=name, description=description, tags=NO_RUN_RETRY)
    def decision_job() -> None:
        decide_op()

    return decision_job


def _rollback_job(projects: Sequence["ModelProject"]) -> dg.JobDefinition:
    description = "Make the last good release (or the one named) live again and withdraw the one that is left."

    @dg.op(name="roll_back_model", required_resource_keys=RESOURCES, pool="live_endpoint", description=description)
    def rollback_op(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
        with permanent_failures(context):
            context.log.info(roll_back(projects, config, report=context.log.info, **_ports(context)).message)

    @dg.job(name="rollback", description=description, tags=NO_RUN_RETRY)
    def rollback_job() -> None:
        rollback_op()

    return rollback_job


def _ports(context: dg.OpExecutionContext) -> dict[str, Any]:
    return {name: getattr(context.resources, name) for name in sorted(RESOURCES)}
