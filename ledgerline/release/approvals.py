"""Who said what about which model: decisions and the rule that finds the one that counts. Pure.

A decision is bound to the digests of the model, of its evaluation report and of the gate's policy. What is done with it
(go live or not) is in releases.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Decision = Literal["approve", "reject", "withdraw"]
AUTOMATIC_APPROVER = "gate (approval: automatic)"


class Record(BaseModel):
    """Base of what the release ledger keeps: frozen, and nothing that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Approval(Record):
    """One decision about one model. Reject and withdraw hold for the model whatever report or policy comes later."""

    kind: Literal["approval"] = "approval"
    project: str
    model_digest: str
    report_digest: str
    policy_digest: str
    decision: Decision
    approver: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: datetime


def standing_approvals(
    approvals: Iterable[Approval], *, model_digest: str, report_digest: str, policy_digest: str
) -> list[Approval]:
    """The approvals of exactly these three digests that no reject or withdraw of the model came after, oldest first.

    The newest of each person: whoever approves twice is still one pair of eyes.
    """
    standing: dict[str, Approval] = {}
    for approval in approvals:
        if approval.model_digest != model_digest:
            continue
        if approval.decision != "approve":
            standing.clear()
        elif (approval.report_digest, approval.policy_digest) == (report_digest, policy_digest):
            standing.pop(person(approval.approver), None)
            standing[person(approval.approver)] = approval
    return list(standing.values())


def standing_approval(
    approvals: Iterable[Approval], *, model_digest: str, report_digest: str, policy_digest: str
) -> Approval | None:
    """The newest of `standing_approvals`, or None."""
    found = standing_approvals(
        approvals, model_digest=model_digest, report_digest=report_digest, policy_digest=policy_digest
    )
    return found[-1] if found else None


def person(name: str) -> str:
    """Who is meant by a name, whatever its case, its blanks and its way of writing the same letters (Unicode TR 36)."""
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())


def standing_refusal(approvals: Iterable[Approval], model_digest: str) -> Approval | None:
    """The reject or withdraw of this model that no approve came after, or None."""
    last = [approval for approval in approvals if approval.model_digest == model_digest]
    return last[-1] if last and last[-1].decision != "approve" else None


def describe_decisions(approvals: Iterable[Approval], model_digest: str) -> str:
    """One line per decision about a model, oldest first, for people."""
    return "\n".join(
        f"{approval.at:%Y-%m-%d %H:%M} UTC {approval.decision} by {approval.approver}: {approval.reason}"
        for approval in approvals
        if approval.model_digest == model_digest
    )
