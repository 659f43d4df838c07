"""Approve, reject and withdraw a registered model: what the operator jobs and the command line both call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ledgerline.errors import ConfigurationError
from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.approvals import Approval, Decision, person, standing_approvals
from ledgerline.release.deploy import examine
from ledgerline.release.model_platform import ModelPlatform
from ledgerline.release.ports import ReleaseLedger
from ledgerline.release.releases import (
    Candidate,
    GateRefusal,
    approvals,
    current_approvals,
    decision_refusals,
    find_candidate,
    refusals,
    releases,
)

# Rules that keep a model from being approved at all: nobody should approve what could not go live.
BLOCKING = ("bytes_unchanged", "report_unchanged", "same_model", "gate", "qa_same_bytes", "latency")


def decide(
    decision: Decision,
    *,
    project: ModelProject,
    ledger: ReleaseLedger,
    platform: ModelPlatform,
    objects: ObjectStore,
    digest_prefix: str,
    approver: str,
    reason: str,
    at: datetime,
) -> Approval:
    """Record a decision about the model whose digest starts so, and tell the registry.

    The registry hears of an approval only once it is enough: with four eyes after the second. Raises ConfigurationError
    without a name or a reason; GateRefusal for an unknown or ambiguous digest, for the approval of a model that fails
    its gate, was changed, or was not on the QA endpoint, and for the same person's second where two must approve.
    """
    if not approver.strip() or not reason.strip():
        raise ConfigurationError(
            f"A decision needs who made it and why; approver is {approver!r}, reason is {reason!r}. Give both."
        )
    records = [entry.record for entry in ledger.entries(project.name)]
    candidate = find_candidate(records, project.name, digest_prefix)
    if decision == "approve":
        for refusal in refusals(candidate, **examine(project, candidate, records, objects, at)):
            if refusal.rule in BLOCKING:
                raise refusal
        if project.policy.four_eyes:
            _check_other_person(project, candidate, records, approver, at)
    approval = _approval(decision, project, candidate, approver.strip(), reason.strip(), at)
    ledger.append(approval)
    description = f"{decision} by {approval.approver}: {approval.reason}"
    if decision != "approve":
        platform.set_approval(candidate.package_arn, "Rejected", description)
    elif not decision_refusals(candidate, [*records, approval], project.policy, at):
        platform.set_approval(candidate.package_arn, "Approved", description)
    return approval


def _check_other_person(
    project: ModelProject, candidate: Candidate, records: Sequence[Any], approver: str, at: datetime
) -> None:
    standing = standing_approvals(
        approvals(records),
        model_digest=candidate.model_digest,
        report_digest=candidate.report_digest,
        policy_digest=project.policy.digest,
    )
    for given in current_approvals(standing, project.policy, releases(records), at):
        if person(given.approver) == person(approver):
            raise GateRefusal(
                "four_eyes",
                f"{given.approver} approved model {candidate.model_digest[:12]} of {project.name} already on "
                f"{given.at:%Y-%m-%d %H:%M} UTC, and approvals.four_eyes asks for two different people. "
                "Let a second person look at its reports and approve.",
            )


def _approval(
    decision: Decision, project: ModelProject, candidate: Candidate, approver: str, reason: str, at: datetime
) -> Approval:
    return Approval(
        project=candidate.project,
        model_digest=candidate.model_digest,
        report_digest=candidate.report_digest,
        policy_digest=project.policy.digest,
        decision=decision,
        approver=approver,
        reason=reason,
        at=at,
    )
