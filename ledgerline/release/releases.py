"""What the release ledger holds, and the one predicate that says whether a model may go live. Pure: no I/O.

`refusals` is what deploy.py, the asset checks, the UI and the command line all use. How a release is carried out is in
deploy.py; how rows are kept is in resources/release_ledger.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ledgerline.errors import PermanentFailure
from ledgerline.release.approvals import Approval, Record, standing_approvals, standing_refusal
from ledgerline.release.gate import GatePolicy, Verdict

Rule = Literal[
    "ledger_intact",  # no row of the release ledger was altered
    "same_model",  # verdict, report and candidate speak of the same model
    "bytes_unchanged",  # the model bytes, hashed right now, have the digest that was judged
    "report_unchanged",  # the evaluation report, hashed right now, is the one that was registered
    "gate",  # the verdict passed
    "not_rejected",  # nobody rejected or withdrew the model since its approval
    "approved",  # somebody approved exactly this model, report and policy
    "approval_current",  # the approval that exists is of another report or policy
    "approval_expired",  # the approval is older than the project lets it be, and the model never went live with it
    "four_eyes",  # two different people approved, where the project asks for it
    "qa_same_bytes",  # the QA endpoint served the same bytes
    "latency",  # the QA endpoint answered as fast as the project asks
    "serves_approved_bytes",  # the endpoint, once updated, really serves the digest
    "registered",  # there is a candidate, or a release, of that name
    "rollback_ready",  # the release that is live could be put back: its bytes and its package are as they were
]


PAST_TENSE = {"approve": "approved", "reject": "rejected", "withdraw": "withdrew"}


class GateRefusal(PermanentFailure):
    """A model may not go live. `rule` names which rule refused; the message says why and what to do."""

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(f"Refused by rule `{rule}`: {message}")
        self.rule = rule


class Evaluated(Record):
    """A model was evaluated on test rows; the report lies at `report_uri`. The newest row of (model, rows) counts.

    `code_digest` is the project's when it measured: reports by other code say nothing of which model is better.
    """

    kind: Literal["evaluated"] = "evaluated"
    project: str
    model_digest: str
    data_digest: str
    report_uri: str
    report_digest: str
    code_digest: str = ""  # not in rows of earlier versions
    at: datetime


class Candidate(Record):
    """A registered model version: everything that deploying it needs, by digest."""

    kind: Literal["candidate"] = "candidate"
    project: str
    model_digest: str
    model_uri: str
    package_arn: str
    report_uri: str
    report_digest: str
    data_digest: str
    requests_uri: str  # JSON lines: requests made of the test rows, the first is the smoke request
    policy_digest: str
    dataset_table: str
    dataset_version: int
    dataset_digest: str
    training_job: str
    at: datetime


class QaServed(Record):
    """The QA endpoint answered with `served_digest` when the candidate `model_digest` was put on it."""

    kind: Literal["qa_served"] = "qa_served"
    project: str
    endpoint: str
    model_digest: str
    served_digest: str
    requests: int
    p99_ms: float | None = None  # what it took to answer, as its client saw it
    at: datetime


class Release(Record):
    """A model that is (or was) live. `previous` is the model digest before it; `pins` are versions it was made with."""

    kind: Literal["release"] = "release"
    intent: int  # number of the intent row that this row concludes
    project: str
    endpoint: str
    endpoint_config: str
    model_digest: str
    model_uri: str
    package_arn: str
    report_uri: str
    report_digest: str
    data_digest: str
    requests_uri: str
    policy_digest: str
    verdict_digest: str
    dataset_table: str
    dataset_version: int
    dataset_digest: str
    pins: Mapping[str, str]  # candidate_index, knowledge_graph -> version
    approver: str
    actor: str  # who or what carried it out
    previous: str | None
    rolled_back_from: str | None = None
    rehearsed: str | None = None  # model digest that was found fit to be put back before this went live
    qa_digest: str | None = None  # what the QA endpoint answered with when this was live; None: no QA ran with it
    at: datetime


class Intent(Record):
    """Written before the endpoint is touched, so that a killed deployment is found and settled by the next one."""

    kind: Literal["intent"] = "intent"
    project: str
    planned: Release  # the release row that success will append; intent and endpoint_config are filled in then


class IntentEnded(Record):
    """An intent that led to no release, and what is live instead."""

    kind: Literal["intent_ended"] = "intent_ended"
    intent: int
    project: str
    model_digest: str  # the model that was to go live
    status: Literal["failed", "abandoned"]
    detail: str
    live: str | None  # model digest that is live after it, None where nothing is
    endpoint_config: str | None = None  # the config that serves it, where restoring made a new one
    at: datetime


class EndpointDeleted(Record):
    """An endpoint that was deleted as planned: QA after its time, live because nobody asked it. Not a drift."""

    kind: Literal["endpoint_deleted"] = "endpoint_deleted"
    project: str
    endpoint: str
    role: Literal["qa", "live"]
    model_digest: str | None  # what it served, None where that was not known
    reason: str
    usd_per_month: float | None = None  # an estimate of what is saved, by the price in config.yaml; None without one
    at: datetime


LedgerRecord = Annotated[
    Evaluated | Candidate | QaServed | Approval | Intent | IntentEnded | Release | EndpointDeleted,
    Field(discriminator="kind"),
]
RECORD: TypeAdapter[Any] = TypeAdapter(LedgerRecord)


# What the rows say ---------------------------------------------------------------------------------------------------


def approvals(records: Iterable[Any]) -> list[Approval]:
    return [record for record in records if isinstance(record, Approval)]


def releases(records: Iterable[Any]) -> list[Release]:
    return [record for record in records if isinstance(record, Release)]


def current_release(records: Iterable[Any]) -> Release | None:
    """The release that is live by the ledger: the newest row. There is no other pointer that could disagree with it.

    Its endpoint config is the one that serves it now: putting it back after a failed update makes a new one.
    """
    current: Release | None = None
    for record in records:
        if isinstance(record, Release):
            current = record
        elif isinstance(record, IntentEnded) and record.endpoint_config and current is not None:
            current = current.model_copy(update={"endpoint_config": record.endpoint_config})
    return current


def asleep(records: Iterable[Any]) -> EndpointDeleted | None:
    """The row that says that the live endpoint was deleted because nobody asked it; None once it was put back."""
    found: EndpointDeleted | None = None
    for record in records:
        if isinstance(record, EndpointDeleted) and record.role == "live":
            found = record
        elif isinstance(record, Release) or (isinstance(record, IntentEnded) and record.endpoint_config):
            found = None
    return found


def latest_candidate(records: Iterable[Any]) -> Candidate | None:
    rows = [record for record in records if isinstance(record, Candidate)]
    return rows[-1] if rows else None


def latest_evaluation(records: Iterable[Any], model_digest: str, data_digest: str) -> Evaluated | None:
    """The newest evaluation of a model on exactly these test rows."""
    rows = [
        record
        for record in records
        if isinstance(record, Evaluated) and (record.model_digest, record.data_digest) == (model_digest, data_digest)
    ]
    return rows[-1] if rows else None


def open_intents(entries: Iterable[Any]) -> list[tuple[int, Intent]]:
    """Number and intent of every ledger entry that no release and no end concludes."""
    rows = list(entries)
    concluded = {entry.record.intent for entry in rows if isinstance(entry.record, Release | IntentEnded)}
    return [
        (entry.number, entry.record)
        for entry in rows
        if isinstance(entry.record, Intent) and entry.number not in concluded
    ]


def latest_qa(records: Iterable[Any], model_digest: str) -> QaServed | None:
    rows = [record for record in records if isinstance(record, QaServed) and record.model_digest == model_digest]
    return rows[-1] if rows else None


def find_candidate(records: Sequence[Any], project: str, digest_prefix: str) -> Candidate:
    """The newest candidate whose model digest starts so. Raises GateRefusal on an unknown or ambiguous prefix."""
    rows = {record.model_digest: record for record in records if isinstance(record, Candidate)}
    known = ", ".join(digest[:12] for digest in rows) or "none"
    if len(digest_prefix) < 4:
        raise GateRefusal(
            "registered",
            f"`{digest_prefix}` is too short to name a model of {project}. Give at least 4 characters of its digest; "
            f"registered: {known}.",
        )
    found = [digest for digest in rows if digest.startswith(digest_prefix.lower())]
    if not found:
        raise GateRefusal(
            "registered",
            f"no registered model of {project} has a digest that starts with {digest_prefix}. Registered: {known}. "
            f"Materialize {project}/model_version to register one.",
        )
    if len(found) > 1:
        raise GateRefusal(
            "registered",
            f"{digest_prefix} could be any of {', '.join(digest[:16] for digest in found)} of {project}. "
            "Give more characters of the digest.",
        )
    return rows[found[0]]


# The predicate -------------------------------------------------------------------------------------------------------


def refusals(
    candidate: Candidate,
    *,
    verdict: Verdict,
    approvals: Sequence[Approval],
    policy: GatePolicy,
    model_digest_now: str,
    report_digest_now: str,
    qa: QaServed | None,
    released: Sequence[Release],
    now: datetime,
) -> list[GateRefusal]:
    """Every rule that keeps a candidate from going live, the gravest first; empty if it may.

    `verdict` is judged now; the two digests are those of the bytes hashed now; `approvals` are the project's decisions
    and `released` its releases, oldest first; `qa` is what the QA endpoint served for this model.
    """
    return [
        *_tampering(candidate, verdict, policy, model_digest_now, report_digest_now),
        *_judgement(candidate, verdict),
        *_decision(candidate, approvals, policy, released, now),
        *qa_refusals(candidate, policy, qa),
    ]


def may_go_live(candidate: Candidate, **evidence: Any) -> None:
    """Raises the first of `refusals` (a PermanentFailure that names the rule); returns if there is none."""
    for refusal in refusals(candidate, **evidence):
        raise refusal


def _tampering(
    candidate: Candidate, verdict: Verdict, policy: GatePolicy, model_digest_now: str, report_digest_now: str
) -> list[GateRefusal]:
    found = []
    name = f"model {candidate.model_digest[:12]} of {candidate.project}"
    if model_digest_now != candidate.model_digest:
        found.append(
            GateRefusal(
                "bytes_unchanged",
                f"the bytes at {candidate.model_uri} have digest {model_digest_now[:12]}, but {name} was registered. "
                f"Find out who changed them, then materialize {candidate.project}/model again.",
            )
        )
    if report_digest_now != candidate.report_digest:
        found.append(
            GateRefusal(
                "report_unchanged",
                f"the evaluation report at {candidate.report_uri} has digest {report_digest_now[:12]}, but {name} was "
                f"registered with {candidate.report_digest[:12]}. Materialize {candidate.project}/evaluation and "
                "model_version again.",
            )
        )
    judged = (verdict.model_digest, verdict.report_digest, verdict.policy_digest)
    if judged != (candidate.model_digest, report_digest_now, policy.digest):
        found.append(
            GateRefusal(
                "same_model",
                f"the verdict is of model {verdict.model_digest[:12]}, report {verdict.report_digest[:12]} and policy "
                f"{verdict.policy_digest[:12]}, not of {name} under today's policy {policy.digest[:12]}. "
                f"Materialize {candidate.project}/evaluation and model_version again.",
            )
        )
    return found


def _judgement(candidate: Candidate, verdict: Verdict) -> list[GateRefusal]:
    if verdict.passed:
        return []
    why = "; ".join(result.reason for result in verdict.failed) or "the policy has no rule"
    return [
        GateRefusal(
            "gate",
            f"model {candidate.model_digest[:12]} of {candidate.project} failed its gate: {why}. "
            f"Train a better model, or change the gate in model_projects/{candidate.project}/config.yaml.",
        )
    ]


def _decision(
    candidate: Candidate,
    decisions: Sequence[Approval],
    policy: GatePolicy,
    released: Sequence[Release],
    now: datetime,
) -> list[GateRefusal]:
    digest = candidate.model_digest
    refused = standing_refusal(decisions, digest)
    if refused is not None:
        return [
            GateRefusal(
                "not_rejected",
                f"{refused.approver} {PAST_TENSE[refused.decision]} model {digest[:12]} of {candidate.project} on "
                f"{refused.at:%Y-%m-%d %H:%M} UTC ({refused.reason}). "
                f"Only a new approval lets it go live: {approve_command(candidate)}",
            )
        ]
    exact = standing_approvals(
        decisions, model_digest=digest, report_digest=candidate.report_digest, policy_digest=policy.digest
    )
    if exact:
        return _strength(candidate, exact, policy, released, now)
    stale = [decision for decision in decisions if decision.model_digest == digest and decision.decision == "approve"]
    if stale:
        changed = [
            name
            for name, then, now in (
                ("the evaluation report", stale[-1].report_digest, candidate.report_digest),
                ("the gate's policy", stale[-1].policy_digest, policy.digest),
            )
            if then != now
        ] or ["the decisions about it"]
        return [
            GateRefusal(
                "approval_current",
                f"{stale[-1].approver} approved model {digest[:12]} of {candidate.project} on "
                f"{stale[-1].at:%Y-%m-%d %H:%M} UTC, but {' and '.join(changed)} changed since. "
                f"Look at the new report and approve again: {approve_command(candidate)}",
            )
        ]
    return [
        GateRefusal(
            "approved",
            f"nobody approved model {digest[:12]} of {candidate.project}. Look at its evaluation and QA report, then: "
            f"{approve_command(candidate)}",
        )
    ]


def current_approvals(
    standing: Sequence[Approval], policy: GatePolicy, released: Sequence[Release], now: datetime
) -> list[Approval]:
    """Those of the standing approvals that count today: not too old, unless the model went live with them."""
    if policy.approval_expires_days is None:
        return list(standing)
    since = now - timedelta(days=policy.approval_expires_days)
    return [
        approval
        for approval in standing
        if approval.at >= since or any(_went_live_with(row, approval) for row in released)
    ]


def _went_live_with(release: Release, approval: Approval) -> bool:
    digests = (approval.model_digest, approval.report_digest, approval.policy_digest)
    return (release.model_digest, release.report_digest, release.policy_digest) == digests and release.at >= approval.at


def _strength(
    candidate: Candidate, standing: Sequence[Approval], policy: GatePolicy, released: Sequence[Release], now: datetime
) -> list[GateRefusal]:
    """Whether approvals of the right digests are young enough and from enough people."""
    name = f"model {candidate.model_digest[:12]} of {candidate.project}"
    current = current_approvals(standing, policy, released, now)
    if not current:
        newest = standing[-1]
        return [
            GateRefusal(
                "approval_expired",
                f"{newest.approver} approved {name} on {newest.at:%Y-%m-%d %H:%M} UTC, and an approval holds for "
                f"{policy.approval_expires_days} days. Look at its reports again, then: {approve_command(candidate)}",
            )
        ]
    if policy.four_eyes and len(current) < 2:
        return [
            GateRefusal(
                "four_eyes",
                f"only {current[0].approver} approved {name}, and approvals.four_eyes asks for two different people. "
                f"Let a second person look, then: {approve_command(candidate)}",
            )
        ]
    return []


def qa_refusals(candidate: Candidate, policy: GatePolicy, qa: QaServed | None) -> list[GateRefusal]:
    """Why the candidate has not been seen on QA with its own bytes; empty where it has, or where no QA is asked for."""
    if not policy.qa_required:
        return []
    if qa is None:
        return [
            GateRefusal(
                "qa_same_bytes",
                f"model {candidate.model_digest[:12]} of {candidate.project} was never on the QA endpoint. "
                f"Materialize {candidate.project}/qa_endpoint and qa_report.",
            )
        ]
    if qa.served_digest != candidate.model_digest or qa.model_digest != candidate.model_digest:
        return [
            GateRefusal(
                "qa_same_bytes",
                f"the QA endpoint {qa.endpoint} served {qa.served_digest[:12]}, not {candidate.model_digest[:12]}, so "
                "what was looked at is not what would go live. "
                f"Materialize {candidate.project}/qa_endpoint and qa_report again.",
            )
        ]
    limit = policy.max_latency_p99_ms
    if limit is not None and (qa.p99_ms is None or qa.p99_ms > limit):
        took = "was not timed" if qa.p99_ms is None else f"took {qa.p99_ms:.1f} ms at the 99th percentile"
        return [
            GateRefusal(
                "latency",
                f"the QA endpoint {qa.endpoint} {took} with model {candidate.model_digest[:12]}, and "
                f"gate.max_latency_p99_ms is {limit:g}. Materialize {candidate.project}/qa_report to measure again, make "
                "inference.py faster, or raise serving.instance_type or the limit.",
            )
        ]
    return []


def approve_command(candidate: Candidate) -> str:
    """The shell command that approves a candidate, for messages."""
    return decide_command("approve", candidate.project, candidate.model_digest)


def decide_command(decision: str, project: str, model_digest: str) -> str:
    return (
        f"python -m cli {decision} --project {project} --model {model_digest[:12]} "
        "--by <your name> --reason <what convinced you>"
    )


# Plans ---------------------------------------------------------------------------------------------------------------


def deployable(records: Sequence[Any], policy: GatePolicy, now: datetime) -> Candidate | None:
    """The newest candidate of a project if only its deployment is left to do, else None. For the approval sensor.

    It has a standing approval under today's policy, the QA endpoint served it, it is not live, and no attempt since the
    approval failed (a person looks first). deploy.py judges again whatever this says. `records`: the project's rows.
    """
    candidate = latest_candidate(records)
    if candidate is None:
        return None
    live = current_release(records)
    if live is not None and live.model_digest == candidate.model_digest:
        return None
    if decision_refusals(candidate, records, policy, now):
        return None
    if qa_refusals(candidate, policy, latest_qa(records, candidate.model_digest)):
        return None
    if _failed_since_approval(records, candidate.model_digest):
        return None
    return candidate


def decision_refusals(
    candidate: Candidate, records: Sequence[Any], policy: GatePolicy, now: datetime
) -> list[GateRefusal]:
    """What the decisions about a candidate lack; empty if it is approved as the policy asks. Reads no bytes."""
    return _decision(candidate, approvals(records), policy, releases(records), now)


def _failed_since_approval(records: Sequence[Any], model_digest: str) -> bool:
    failed = False
    for record in records:
        if isinstance(record, Approval) and record.model_digest == model_digest and record.decision == "approve":
            failed = False
        elif isinstance(record, IntentEnded) and record.model_digest == model_digest and record.status == "failed":
            failed = True
    return failed


def rollback_target(records: Sequence[Any], project: str, digest_prefix: str | None = None) -> Release:
    """The release to go back to: the last good one before the current one, or the one whose model digest starts so.

    Not good: what was rejected or withdrawn since, as a rollback does with what it leaves. Raises GateRefusal if none is
    left.
    """
    rows = releases(records)
    if not rows:
        raise GateRefusal(
            "registered", f"{project} was never released, so there is nothing to go back to. Release it first."
        )
    current, decisions = rows[-1], approvals(records)
    if digest_prefix:
        found = {row.model_digest: row for row in rows if row.model_digest.startswith(digest_prefix.lower())}
        if len(found) != 1:
            known = ", ".join(sorted({row.model_digest[:12] for row in rows}))
            raise GateRefusal(
                "registered",
                f"{digest_prefix} names {len(found) or 'no'} released models of {project}. Released: {known}. "
                "Give the digest of one of them.",
            )
        (target,) = found.values()
        refused = standing_refusal(decisions, target.model_digest)
        if refused is not None:
            raise GateRefusal(
                "not_rejected",
                f"{refused.approver} {PAST_TENSE[refused.decision]} model {target.model_digest[:12]} of {project} on "
                f"{refused.at:%Y-%m-%d %H:%M} UTC ({refused.reason}). Choose another release or approve it again.",
            )
        return target
    for row in reversed(rows):
        if row.model_digest != current.model_digest and standing_refusal(decisions, row.model_digest) is None:
            return row
    raise GateRefusal(
        "registered",
        f"{project} has no earlier release that is still approved; {current.model_digest[:12]} stays live. "
        "Approve another candidate and deploy it.",
    )
