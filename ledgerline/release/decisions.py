"""Approve, reject and withdraw a registered model: what the operator jobs and the command line both call."""

from __future__ import annotations

from datetime import datetime

from ledgerline.errors import ConfigurationError
from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.approvals import Approval, Decision
from ledgerline.release.deploy import examine
from ledgerline.release.model_platform import ApprovalStatus, ModelPlatform
from ledgerline.release.ports import ReleaseLedger
from ledgerline.release.releases import Candidate, find_candidate, refusals

# Rules that keep a model from being approved at all: nobody should approve what could not go live.
BLOCKING = ("bytes_unchanged", "report_unchanged", "same_model", "gate", "qa_same_bytes")


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

    Raises ConfigurationError without a name or a reason; GateRefusal for an unknown or ambiguous digest, and for the
    approval of a model that fails its gate, was changed, or was not on the QA endpoint.
    """
    if not approver.strip() or not reason.strip():
        raise ConfigurationError(
            f"A decision needs who made it and why; approver is {approver!r}, reason is {reason!r}. Give both."
        )
    records = [entry.record for entry in ledger.entries(project.name)]
    candidate = find_candidate(records, project.name, digest_prefix)
    if decision == "approve":
        for refusal in refusals(candidate, **examine(project, candidate, records, objects)):
            if refusal.rule in BLOCKING:
                raise refusal
    approval = _approval(decision, project, candidate, approver.strip(), reason.strip(), at)
    ledger.append(approval)
    status: ApprovalStatus = "Approved" if decision == "approve" else "Rejected"
    platform.set_approval(candidate.package_arn, status, f"{decision} by {approval.approver}: {approval.reason}"[:1024])
    return approval


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
