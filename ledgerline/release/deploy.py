"""Puts a model live, or back: judged again on the bytes as they are now, recorded before and after, never half done.

The only code that touches a live endpoint. Whatever calls it (asset, sensor, command line, job) gets the same refusals.
Order: settle what a killed run left open -> judge -> approval -> intent row -> update -> verify -> release row. If any
step fails, the release that was live is live, and the error says so. Which models may go live is said in releases.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from ledgerline.errors import LedgerlineError, PermanentFailure
from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.approvals import Approval, standing_approval, standing_approvals, standing_refusal
from ledgerline.release.digest import model_digest
from ledgerline.release.gate import EvaluationReport, GatePolicy, Verdict, judge, report_from_json
from ledgerline.release.model_platform import ModelPlatform, ModelRefused, PlatformFailure
from ledgerline.release.ports import ReleaseLedger
from ledgerline.release.releases import (
    Candidate,
    Evaluated,
    GateRefusal,
    Intent,
    IntentEnded,
    Release,
    approvals,
    asleep,
    current_approvals,
    current_release,
    decide_command,
    latest_candidate,
    latest_evaluation,
    latest_qa,
    may_go_live,
    open_intents,
    releases,
    rollback_target,
)

CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment did. `release` is live when it returns; `message` is a sentence for people."""

    status: Literal["released", "already_live", "rolled_back"]
    release: Release
    message: str


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class Deployer:
    """What a deployment works with. `clock` gives aware UTC times; without `report` it only looks, or says nothing."""

    project: ModelProject
    ledger: ReleaseLedger
    platform: ModelPlatform
    objects: ObjectStore
    clock: Callable[[], datetime] = utc_now
    report: Callable[[str], None] = lambda text: None  # progress for people, e.g. context.log.info

    def records(self) -> list[Any]:
        return [entry.record for entry in self.ledger.entries(self.project.name)]


# Judging -------------------------------------------------------------------------------------------------------------


def examine(
    project: ModelProject, candidate: Candidate, records: Sequence[Any], objects: ObjectStore, now: datetime
) -> dict[str, Any]:
    """The evidence that `may_go_live` wants, from the bytes as they are now. Raises GateRefusal if some are missing."""
    report, live = recorded_reports(project, candidate, records, objects)
    return {
        "verdict": judge(
            report, project.policy, live, size_bytes=measured_size(project.policy, objects, candidate.model_uri)
        ),
        "approvals": approvals(records),
        "policy": project.policy,
        "model_digest_now": _digest_of_bytes(candidate, objects),
        "report_digest_now": report.digest,
        "qa": latest_qa(records, candidate.model_digest),
        "released": releases(records),
        "now": now,
    }


def recorded_reports(
    project: ModelProject, recorded: Candidate | Evaluated, records: Sequence[Any], objects: ObjectStore
) -> tuple[EvaluationReport, EvaluationReport | None]:
    """The report of a recorded evaluation and the live model's on the same rows, read and checked now.

    Raises GateRefusal if a report is not the one that was recorded.
    """
    report = _unchanged_report(recorded, objects)
    return report, _live_report(project, recorded, report, records, objects)


def measured_size(policy: GatePolicy, objects: ObjectStore, model_uri: str) -> int | None:
    """Bytes of the model archive as it is now; None where the policy does not ask for it, or where it is gone."""
    if policy.max_size_mb is None:
        return None
    try:
        return len(objects.get(model_uri))
    except FileNotFoundError:
        return None


def _digest_of_bytes(model: Candidate | Release, objects: ObjectStore) -> str:
    try:
        body = objects.get(model.model_uri)
    except FileNotFoundError as error:
        raise GateRefusal(
            "bytes_unchanged",
            f"the model {model.model_digest[:12]} of {model.project} is gone from {model.model_uri}. "
            f"Materialize {model.project}/model again: the same data and code give the same model.",
        ) from error
    return model_digest(body)


def _report(recorded: Candidate | Evaluated | Release, objects: ObjectStore) -> EvaluationReport:
    try:
        return report_from_json(objects.get(recorded.report_uri), source=recorded.report_uri)
    except (FileNotFoundError, LedgerlineError) as error:
        raise GateRefusal(
            "report_unchanged",
            f"the evaluation report of model {recorded.model_digest[:12]} cannot be read from {recorded.report_uri} "
            f"({error}). "
            f"Materialize {recorded.project}/evaluation and model_version again.",
        ) from error


def _live_report(
    project: ModelProject,
    candidate: Candidate | Evaluated,
    report: EvaluationReport,
    records: Sequence[Any],
    objects: ObjectStore,
) -> EvaluationReport | None:
    """The live model's report on the candidate's own test rows, if the policy compares and another model is live."""
    live = current_release(records)
    if live is None or not project.policy.needs_live_report:
        return None
    if live.model_digest == candidate.model_digest:
        return report
    recorded = latest_evaluation(records, live.model_digest, report.data_digest)
    if recorded is None:
        raise GateRefusal(
            "gate",
            f"the live model {live.model_digest[:12]} was not evaluated on the rows that judged "
            f"{candidate.model_digest[:12]}, so nothing shows that the candidate is not worse. "
            f"Materialize {project.name}/evaluation and model_version again.",
        )
    own = latest_evaluation(records, candidate.model_digest, report.data_digest)
    if own is not None and own.code_digest != recorded.code_digest:
        raise GateRefusal(
            "gate",
            f"the live model {live.model_digest[:12]} was measured by other code than {candidate.model_digest[:12]}, so "
            "nothing shows that the candidate is not worse. "
            f"Materialize {project.name}/evaluation and model_version again.",
        )
    return _unchanged_report(recorded, objects)


def _unchanged_report(recorded: Candidate | Evaluated, objects: ObjectStore) -> EvaluationReport:
    found = _report(recorded, objects)
    if (found.digest, found.model_digest) != (recorded.report_digest, recorded.model_digest):
        raise GateRefusal(
            "report_unchanged",
            f"the report of model {recorded.model_digest[:12]} at {recorded.report_uri} was changed since it was "
            f"written. Materialize {recorded.project}/evaluation and model_version again.",
        )
    return found


# Going live ----------------------------------------------------------------------------------------------------------


def deploy_release(
    deployer: Deployer, *, actor: str, pins: Mapping[str, str], candidate: Candidate | None = None
) -> Deployment:
    """Put the newest candidate (or the one given) live. Does nothing if exactly this model is live and answers.

    Raises GateRefusal (PermanentFailure) naming the rule if it may not go live, before the endpoint is touched;
    PermanentFailure if the update failed, after the previous release was made sure of; LedgerlineError, which a retry
    may mend, while another deployment is at work.
    """
    settle(deployer)
    project, records = deployer.project, deployer.records()
    candidate = candidate or latest_candidate(records)
    if candidate is None:
        raise GateRefusal(
            "registered", f"{project.name} has no registered model. Materialize {project.name}/model_version first."
        )
    evidence = examine(project, candidate, records, deployer.objects, deployer.clock())
    may_go_live(candidate, **evidence)
    current = current_release(records)
    if current is not None and current.model_digest == candidate.model_digest and _problem(deployer, current) is None:
        return Deployment("already_live", current, f"{_short(current)} is live already and answers: nothing to do.")
    planned = _planned(deployer, candidate, evidence["verdict"], records, actor, pins)
    planned = planned.model_copy(update={"rehearsed": rehearse_rollback(deployer, records, candidate.model_digest)})
    release = _carry_out(deployer, planned)
    return Deployment("released", release, f"{_short(release)} is live, approved by {release.approver}.")


def _planned(
    deployer: Deployer,
    candidate: Candidate,
    verdict: Verdict,
    records: Sequence[Any],
    actor: str,
    pins: Mapping[str, str],
) -> Release:
    standing = standing_approvals(
        approvals(records),
        model_digest=candidate.model_digest,
        report_digest=verdict.report_digest,
        policy_digest=verdict.policy_digest,
    )
    at = deployer.clock()
    people = [found.approver for found in current_approvals(standing, deployer.project.policy, releases(records), at)]
    current = current_release(records)
    return Release(
        intent=0,
        endpoint_config="",
        project=candidate.project,
        endpoint=deployer.project.endpoint,
        model_digest=candidate.model_digest,
        model_uri=candidate.model_uri,
        package_arn=candidate.package_arn,
        report_uri=candidate.report_uri,
        report_digest=candidate.report_digest,
        data_digest=candidate.data_digest,
        requests_uri=candidate.requests_uri,
        policy_digest=verdict.policy_digest,
        verdict_digest=verdict.digest,
        dataset_table=candidate.dataset_table,
        dataset_version=candidate.dataset_version,
        dataset_digest=candidate.dataset_digest,
        pins=dict(pins),
        approver=" and ".join(people),
        actor=actor,
        previous=current.model_digest if current else None,
        at=at,
    )


def rehearse_rollback(deployer: Deployer, records: Sequence[Any], going_live: str) -> str | None:
    """Digest of the release that a rollback of `going_live` would put back, after its bytes and package were looked at.

    None where there is nothing to go back to: no release yet, the same model, or one that was withdrawn. Raises
    GateRefusal if it could not be put back.
    """
    current = current_release(records)
    if current is None or current.model_digest == going_live:
        return None
    if standing_refusal(approvals(records), current.model_digest) is not None:
        return None
    remedy = f"Put it right, or give it up as a way back: {decide_command('withdraw', current.project, current.model_digest)}"
    try:
        _check_release(current, approvals(records), deployer.objects)
    except PermanentFailure as refusal:
        raise GateRefusal("rollback_ready", f"{_short(current)} could not be put back: {refusal} {remedy}") from refusal
    package = deployer.platform.describe_package(current.package_arn)
    if package is None or package.approval == "Rejected":
        state = "is gone from the registry" if package is None else "is Rejected in the registry"
        raise GateRefusal(
            "rollback_ready",
            f"{_short(current)} could not be put back: its package {current.package_arn} {state}. {remedy}",
        )
    return current.model_digest


def rollback(deployer: Deployer, *, actor: str, reason: str, digest_prefix: str | None = None) -> Deployment:
    """Make an earlier release live again: the last good one, or the one whose model digest starts so.

    The model that is left is withdrawn, so that no automation puts it back: in the ledger before the switch, in the
    registry after it. Raises GateRefusal if there is no earlier release, if it was withdrawn, or if its bytes are not
    those that were released.
    """
    settle(deployer)
    records = deployer.records()
    target = rollback_target(records, deployer.project.name, digest_prefix)
    current = current_release(records)
    assert current is not None  # rollback_target refuses a project without releases
    same = target.model_digest == current.model_digest
    if same and _problem(deployer, current) is None:
        return Deployment("already_live", current, f"{_short(current)} is live already and answers: nothing to do.")
    _check_release(target, approvals(records), deployer.objects)
    _agree_with_registry(deployer, target)  # what it refuses must not have withdrawn anything
    now = deployer.clock()
    changes: dict[str, Any] = {"actor": actor, "at": now}
    if not same:  # else its endpoint is put back: nothing is left behind
        reason = f"rolled back: {reason}"
        _withdraw(deployer, current, actor, reason, now)
        changes |= {"previous": current.model_digest, "rolled_back_from": current.model_digest}
    release = _carry_out(deployer, target.model_copy(update=changes), at_once=True)
    if not same:
        _reject_left(deployer, current, actor, reason)
    left = f"its endpoint was put back ({reason})" if same else f"{current.model_digest[:12]} was withdrawn ({reason})"
    return Deployment("rolled_back", release, f"{_short(release)} is live again; {left}.")


def restore(deployer: Deployer, *, actor: str, reason: str) -> str:
    """Let the endpoint serve the recorded release again, whatever was done to it, or wake it; returns a sentence.

    An endpoint of the project's name that no release explains is deleted. Raises GateRefusal if the release's approval
    does not stand any more or its bytes were changed; LedgerlineError, which a retry may mend, while it is updated.
    """
    settle(deployer)
    records, endpoint = deployer.records(), deployer.project.endpoint
    current, state = current_release(records), deployer.platform.describe_endpoint(endpoint)
    if state is not None and state.status in CHANGING:
        raise LedgerlineError(f"Endpoint {endpoint} is {state.status}: wait until that ends, then restore it.")
    if current is None:
        if state is None:
            return f"{deployer.project.name} was never released, and endpoint {endpoint} does not exist: nothing to do."
        deployer.platform.delete_endpoint(endpoint)
        return f"Endpoint {endpoint} was deleted: no release of {deployer.project.name} explains it ({reason})."
    if state is not None and asleep(records) is None and _problem(deployer, current) is None:
        return f"{_short(current)} is live and answers as released: nothing to do."
    _check_release(current, approvals(records), deployer.objects)
    changes = {"actor": actor, "at": deployer.clock(), "rolled_back_from": None, "rehearsed": None}
    release = _carry_out(deployer, current.model_copy(update=changes), at_once=True)
    return f"{_short(release)} is live again as released ({reason})."


def _check_release(target: Release, decisions: Sequence[Approval], objects: ObjectStore) -> None:
    """A release of the past may be live again if its own approval stands, its bytes are the ones of then, and there is
    a request to prove it with."""
    now = _digest_of_bytes(target, objects)
    if now != target.model_digest:
        raise GateRefusal(
            "bytes_unchanged",
            f"the bytes at {target.model_uri} have digest {now[:12]}, but {_short(target)} was released. "
            "Find out who changed them; roll back to another release by its digest.",
        )
    if not _is_approved(target, decisions):
        raise GateRefusal(
            "approved",
            f"the approval of {_short(target)} does not stand any more. Roll back to another release by its digest.",
        )
    smoke_request(target, objects)


def _withdraw(deployer: Deployer, release: Release, actor: str, reason: str, now: datetime) -> None:
    deployer.ledger.append(
        Approval(
            project=release.project,
            model_digest=release.model_digest,
            report_digest=release.report_digest,
            policy_digest=release.policy_digest,
            decision="withdraw",
            approver=actor,
            reason=reason,
            at=now,
        )
    )


def _reject_left(deployer: Deployer, release: Release, actor: str, reason: str) -> None:
    """Tell the registry that a release was withdrawn: not before it is left, since putting it back needs its package."""
    try:
        deployer.platform.set_approval(release.package_arn, "Rejected", f"withdrawn by {actor}: {reason}")
    except LedgerlineError as error:  # the ledger is what deployments ask; the registry is told again by a reject
        deployer.report(f"The registry does not know yet that {_short(release)} was withdrawn: {error}")


# Carrying out --------------------------------------------------------------------------------------------------------


def _carry_out(deployer: Deployer, planned: Release, *, at_once: bool = False) -> Release:
    """Intent row, update, verification, release row; on any failure the release that was live, live again."""
    _agree_with_registry(deployer, planned)
    intent = deployer.ledger.append(Intent(project=planned.project, planned=planned)).number
    deployer.report(f"Updating endpoint {planned.endpoint} to {_short(planned)}.")
    try:
        release = planned.model_copy(
            update={"intent": intent, "endpoint_config": _update(deployer, planned, at_once=at_once)}
        )
        problem = _problem(deployer, release, strictly=True)
        if problem is not None:
            raise GateRefusal("serves_approved_bytes", problem)
        release = release.model_copy(update={"qa_digest": _running_qa(deployer, release)})
        deployer.ledger.append(release)
    except Exception as error:  # whatever it was: the previous release must be live before anybody hears of it
        raise _after_failure(deployer, planned, intent, error) from error
    deployer.report(f"Endpoint {release.endpoint} serves {_short(release)}.")
    return release


def _agree_with_registry(deployer: Deployer, planned: Release) -> None:
    """The registry must hold this artifact and must not have rejected it; our approval is told to it if it was not."""
    package = deployer.platform.describe_package(planned.package_arn)
    name = f"package {planned.package_arn} of {_short(planned)}"
    if package is None:
        raise GateRefusal(
            "registered", f"the registry has no {name}. Materialize {planned.project}/model_version again."
        )
    if package.model_uri != planned.model_uri:
        raise GateRefusal(
            "bytes_unchanged",
            f"the registry's {name} is of {package.model_uri}, not of {planned.model_uri}. "
            f"Materialize {planned.project}/model_version again.",
        )
    if package.approval == "Rejected":
        raise GateRefusal(
            "not_rejected",
            f"the registry's {name} is Rejected ({package.approval_description or 'no reason given'}). "
            f"If it should go live: {decide_command('approve', planned.project, planned.model_digest)}",
        )
    if package.approval != "Approved":
        deployer.platform.set_approval(planned.package_arn, "Approved", f"approved by {planned.approver}")


def _update(deployer: Deployer, release: Release, *, at_once: bool) -> str:
    """Let the endpoint serve a release; returns the name of its config. `at_once`: whatever rollout the project asks."""
    serving = deployer.project.config.serving
    return deployer.platform.deploy(
        release.endpoint,
        release.package_arn,
        model_digest=release.model_digest,
        instance_type=serving.instance_type,
        instance_count=serving.instance_count,
        environment=deployer.project.serving_environment,
        capture_percent=serving.capture_percent,
        rollout=None if at_once else deployer.project.rollout,
    ).config_name


def _problem(deployer: Deployer, release: Release, *, strictly: bool = False) -> str | None:
    """Why the endpoint does not serve this release, or None if it does: InService with its config and its bytes.

    `strictly`: nor may there be a failure reason, which an update that the platform took back leaves behind.
    """
    state = deployer.platform.describe_endpoint(release.endpoint)
    if state is None:
        return f"endpoint {release.endpoint} does not exist. Deploy it again."
    reason = f", because {state.failure_reason}" if state.failure_reason else ""
    serves = (state.status, state.config_name) == ("InService", release.endpoint_config)
    if not serves or (strictly and state.failure_reason):
        return (
            f"endpoint {release.endpoint} is {state.status} with config {state.config_name}, asked for was "
            f"{release.endpoint_config}{reason}. Look at its log and deploy again."
        )
    try:
        served = _served_digest(deployer, release)
    except (ModelRefused, PlatformFailure) as error:
        return f"endpoint {release.endpoint} does not answer: {error}"
    if served != release.model_digest:
        return (
            f"endpoint {release.endpoint} answers with model {served[:12]}, not {release.model_digest[:12]}. "
            "Look at its log and deploy again."
        )
    return None


def _served_digest(deployer: Deployer, release: Release) -> str:
    """The digest that the endpoint answers a smoke request with (a request that the evaluation wrote)."""
    request = smoke_request(release, deployer.objects)
    return deployer.platform.invoke(release.endpoint, request).model_digest or "unknown"


def _running_qa(deployer: Deployer, release: Release) -> str | None:
    """The digest that the QA endpoint answers with now; None if it does not run, or holds another model on purpose.

    Raises GateRefusal if it was given the artifact that is live now and answers with other bytes.
    """
    endpoint = deployer.project.qa_endpoint
    state = deployer.platform.describe_endpoint(endpoint)
    if state is None or state.status != "InService" or state.model_uri != release.model_uri:
        return None
    served = deployer.platform.invoke(endpoint, smoke_request(release, deployer.objects)).model_digest or "unknown"
    if served != release.model_digest:
        raise GateRefusal(
            "qa_same_bytes",
            f"the QA endpoint {endpoint} answers with model {served[:12]}, and {_short(release)} would be live, so what "
            f"was looked at is not what would answer. Materialize {release.project}/qa_endpoint and qa_report again.",
        )
    return served


def smoke_request(model: Candidate | Release, objects: ObjectStore) -> bytes:
    """The first request that the project's evaluation wrote for its test rows. Raises PermanentFailure without one."""
    try:
        lines = objects.get(model.requests_uri).splitlines()
    except FileNotFoundError as error:
        raise PermanentFailure(
            f"{model.requests_uri} is gone, so nothing can be asked of the endpoint. "
            f"Materialize {model.project}/evaluation again."
        ) from error
    if not lines:
        raise PermanentFailure(
            f"{model.requests_uri} holds no request, so nothing can be asked of the endpoint. "
            f"Let evaluation.py of {model.project} write requests.jsonl."
        )
    return lines[0]


def _after_failure(deployer: Deployer, planned: Release, intent: int, error: Exception) -> LedgerlineError:
    """Make the release of the ledger live again, record the end of the intent, and say both.

    The intent stays open, for the next deployment to settle, while the platform is still updating or cannot be asked.
    """
    entries = deployer.ledger.entries(deployer.project.name)
    current = current_release([entry.record for entry in entries])
    if current is not None and current.intent == intent:
        return PermanentFailure(f"{_short(planned)} is live: another run recorded it. Nothing is left to do.")
    restored = _restore(deployer, planned.endpoint, current)
    message = f"{_short(planned)} did not go live: {error} {restored.sentence}"
    if restored.sure and intent in dict(open_intents(entries)):
        _end(deployer, planned, intent, "failed", message, restored)
    if not restored.sure:
        message += " The next deployment settles it first."
    return GateRefusal(error.rule, message) if isinstance(error, GateRefusal) else PermanentFailure(message)


@dataclass(frozen=True, slots=True)
class _Restored:
    """What is live after a failure: `live` is None where nothing is; `sure` is False where nobody knows."""

    sure: bool
    live: str | None
    config: str | None
    sentence: str


def _restore(deployer: Deployer, endpoint: str, current: Release | None) -> _Restored:
    try:
        if current is None:
            deployer.platform.delete_endpoint(endpoint)
            return _Restored(True, None, None, f"Nothing was live before, so endpoint {endpoint} was deleted.")
        if _problem(deployer, current) is None:
            sentence = f"The previous release, {_short(current)}, is still live."
            return _Restored(True, current.model_digest, None, sentence)
        config = _update(deployer, current, at_once=True)
        problem = _problem(deployer, current.model_copy(update={"endpoint_config": config}), strictly=True)
    except Exception as error:  # noqa: BLE001 - said to the person together with what failed first
        problem = str(error)
    if problem is None and current is not None:
        return _Restored(True, current.model_digest, config, f"The previous release, {_short(current)}, is live again.")
    return _Restored(
        False,
        None,
        None,
        f"The previous release could not be made sure of either ({problem}): look at endpoint {endpoint}.",
    )


def _end(
    deployer: Deployer,
    planned: Release,
    intent: int,
    status: Literal["failed", "abandoned"],
    detail: str,
    restored: _Restored,
) -> None:
    deployer.ledger.append(
        IntentEnded(
            intent=intent,
            project=planned.project,
            model_digest=planned.model_digest,
            status=status,
            detail=detail,
            live=restored.live,
            endpoint_config=restored.config,
            at=deployer.clock(),
        )
    )


def settle(deployer: Deployer) -> list[str]:
    """Conclude the intents that a killed run left open, by what the endpoint really serves; returns sentences.

    An update that was done and whose approval still stands is recorded; otherwise the release of the ledger is made
    live again. Raises LedgerlineError, which a retry may mend, while the endpoint is being updated.
    """
    sentences = []
    for number, intent in open_intents(deployer.ledger.entries(deployer.project.name)):
        sentence = _settle_one(deployer, number, intent.planned)
        deployer.report(sentence)
        sentences.append(sentence)
    return sentences


def _settle_one(deployer: Deployer, number: int, planned: Release) -> str:
    state = deployer.platform.describe_endpoint(planned.endpoint)
    if state is not None and state.status in CHANGING:
        raise LedgerlineError(
            f"Endpoint {planned.endpoint} is {state.status}: a deployment begun {planned.at:%Y-%m-%d %H:%M} UTC by "
            f"{planned.actor} is at work. Wait until it ends, then try again."
        )
    records = deployer.records()
    if state is not None and _is_approved(planned, approvals(records)):
        done = planned.model_copy(update={"intent": number, "endpoint_config": state.config_name})
        if _problem(deployer, done) is None:
            deployer.ledger.append(done)
            left = next((row for row in releases(records) if row.model_digest == done.rolled_back_from), None)
            if left is not None:
                _reject_left(deployer, left, done.actor, "rolled back by a run that was killed")
            return f"A killed run had put {_short(planned)} live; its release is recorded now."
    restored = _restore(deployer, planned.endpoint, current_release(records))
    detail = f"A killed run had begun to put {_short(planned)} live. {restored.sentence}"
    _end(deployer, planned, number, "abandoned", detail, restored)
    return detail


def _is_approved(release: Release, decisions: Sequence[Approval]) -> bool:
    approval = standing_approval(
        decisions,
        model_digest=release.model_digest,
        report_digest=release.report_digest,
        policy_digest=release.policy_digest,
    )
    return approval is not None


def _short(release: Release) -> str:
    return f"model {release.model_digest[:12]} of {release.project}"
