"""`approve`, `reject`, `withdraw`, `rollback`, `restore` from a shell: the functions that the operator jobs call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resources.environment import ROOT, read_settings

if TYPE_CHECKING:
    from ledgerline.release.approvals import Decision


def _projects_and_ports() -> tuple[list[Any], dict[str, Any]]:
    from jobs.releases import RESOURCES
    from ledgerline.projects.config import load_delivered, load_projects
    from resources import build_resources

    settings = read_settings()
    resources = build_resources(settings=settings)
    own = load_projects(ROOT / "model_projects")
    found = own + load_delivered(settings.delivered_projects, {project.name for project in own})
    return found, {name: resources[name] for name in RESOURCES}


def decide(decision: Decision, project: str, model: str, by: str, reason: str) -> int:
    """Record a decision about a registered model. Raises LedgerlineError for an unknown project or model."""
    from jobs.releases import DecisionConfig, decide_on, live_in_spite_of

    projects, ports = _projects_and_ports()
    config = DecisionConfig(project=project, model_digest=model, approver=by, reason=reason)
    approval = decide_on(decision, projects, config, **ports)
    print(
        f"{approval.approver}: {decision} model {approval.model_digest[:12]} of {approval.project} ({approval.reason})"
    )
    still_live = live_in_spite_of(approval, ports["release_ledger"])
    if still_live:
        print(still_live)
    return 0


def restore(project: str, by: str, reason: str) -> int:
    """Let the endpoint serve its recorded release again. Raises LedgerlineError where it may not."""
    from jobs.releases import RestoreConfig, restore_release

    projects, ports = _projects_and_ports()
    print(restore_release(projects, RestoreConfig(project=project, approver=by, reason=reason), **ports))
    return 0


def roll_back(project: str, model: str, by: str, reason: str) -> int:
    """Make the last good release (or `model`) live again. Raises LedgerlineError where there is none."""
    from jobs.releases import RollbackConfig
    from jobs.releases import roll_back as carry_out

    projects, ports = _projects_and_ports()
    config = RollbackConfig(project=project, model_digest=model, approver=by, reason=reason)
    print(carry_out(projects, config, **ports).message)
    return 0
