"""Operator jobs: approve, reject, withdraw, rollback, restore; and the hourly job that deletes unused endpoints.

Thin: ledgerline.release does it, the command line calls the same.

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


class RestoreConfig(dg.Config):
    """Which project, who, and why."""

    project: str = Field(description="Name of the model project.")
    approver: str = Field(description="Who restores; it is kept in the release ledger.")
    reason: str = Field(description="Why.")


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

    project = named(projects, config.project)
    deployer = Deployer(project, release_ledger, sagemaker, object_store, report=report)
    return rollback(deployer, actor=config.approver, reason=config.reason, digest_prefix=config.model_digest or None)


def restore_release(
    projects: Sequence["ModelProject"],
    config: RestoreConfig,
    *,
    object_store: Any,
    sagemaker: Any,
    release_ledger: Any,
    report: Any = print,
) -> str:
    """Let an endpoint serve its recorded release again. Also for the command line. Raises what
    `ledgerline.release.deploy` raises."""
    from ledgerline.release.deploy import Deployer, restore

    project = named(projects, config.project)
    deployer = Deployer(project, release_ledger, sagemaker, object_store, report=report)
    return restore(deployer, actor=config.approver, reason=config.reason)


def live_in_spite_of(approval: "Approval", release_ledger: Any) -> str:
    """What to do about a model that was rejected or withdrawn while it is live; empty if it is not."""
    from ledgerline.release.releases import current_release

    release = current_release([entry.record for entry in release_ledger.entries(approval.project)])
    if approval.decision == "approve" or release is None or release.model_digest != approval.model_digest:
        return ""
    return (
        "It stays live until another model takes its place: "
        f"python -m cli rollback --project {approval.project} --by <your name> --reason <why>"
    )


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
        _decision_job(
            "withdraw",
            "withdraw",
            projects,
            "Withdraw a model: neither a deployment nor a rollback makes it live until it is approved anew.",
        ),
        _rollback_job(projects),
        _restore_job(projects),
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
        still_live = live_in_spite_of(approval, context.resources.release_ledger)
        if still_live:
            context.log.warning(still_live)

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


def _restore_job(projects: Sequence["ModelProject"]) -> dg.JobDefinition:
    description = "Let an endpoint serve its recorded release again: after a drift, or after it was deleted as idle."

    @dg.op(name="restore_endpoint", required_resource_keys=RESOURCES, pool="live_endpoint", description=description)
    def restore_op(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
        with permanent_failures(context):
            context.log.info(restore_release(projects, config, report=context.log.info, **_ports(context)))

    @dg.job(name="restore_release", description=description, tags=NO_RUN_RETRY)
    def restore_job() -> None:
        restore_op()

    return restore_job


def tidy_endpoints_job(projects: Sequence["ModelProject"]) -> dg.JobDefinition:
    """QA endpoints past serving.qa_hours and live ones without a request for serving.idle_hours are deleted."""
    description = (
        "Delete QA endpoints past their time, and live ones that nobody asked; restore_release puts those back."
    )

    @dg.op(name="delete_unused", required_resource_keys=RESOURCES, pool="live_endpoint", description=description)
    def tidy_op(context: dg.OpExecutionContext) -> None:
        from ledgerline.errors import LedgerlineError
        from ledgerline.release.deploy import Deployer
        from ledgerline.release.upkeep import delete_idle_live, delete_old_qa

        failed = []
        for project in projects:
            ports = context.resources.release_ledger, context.resources.sagemaker, context.resources.object_store
            deployer = Deployer(project, *ports, report=context.log.info)
            for step in (delete_old_qa, delete_idle_live):
                try:
                    done = step(deployer)
                except LedgerlineError as error:  # one project's trouble must not keep another's endpoint running
                    failed.append(f"{project.name}: {error}")
                else:
                    context.log.info(done or f"{project.name}: {step.__name__} found nothing to delete.")
        if failed:
            raise dg.Failure("\n".join(failed), allow_retries=False)

    @dg.job(name="tidy_endpoints", description=description, tags=NO_RUN_RETRY)
    def tidy_job() -> None:
        tidy_op()

    return tidy_job


def tidy_endpoints_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="tidy_endpoints",
        job=job,
        cron_schedule="40 * * * *",  # endpoints are billed by the second, their limits are in hours
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every hour: QA endpoints past their time and idle live endpoints are deleted.",
    )


def _ports(context: dg.OpExecutionContext) -> dict[str, Any]:
    return {name: getattr(context.resources, name) for name in sorted(RESOURCES)}
