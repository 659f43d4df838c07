"""Which models go live, in which order things happen, and what is live after each thing that can go wrong."""

from __future__ import annotations

import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError, PermanentFailure
from ledgerline.release.decisions import decide
from ledgerline.release.deploy import deploy_release, rollback, settle
from ledgerline.release.digest import pack_files
from ledgerline.release.gate import EvaluationReport
from ledgerline.release.releases import (
    GateRefusal,
    Intent,
    IntentEnded,
    Release,
    current_release,
    deployable,
    open_intents,
)
from tests.unit.release_fakes import CONFIG, LATER, Killed, World


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def deploy(world: World, **options):
    return deploy_release(world.deployer(), actor="test", pins={"candidate_index": "v1"}, **options)


def released(world: World, name: str, accuracy: float = 0.95):
    candidate = world.candidate(name, accuracy)
    world.decide(candidate)
    deploy(world)
    return candidate


def test_a_passing_approved_model_goes_live_and_is_one_row(world):
    candidate = world.candidate("a")
    world.decide(candidate)
    done = deploy(world)
    release = current_release(world.records())
    assert (done.status, world.platform.serves()) == ("released", candidate.model_digest)
    assert (release.model_digest, release.approver, release.previous) == (candidate.model_digest, "Kim", None)
    assert (release.dataset_version, release.pins) == (3, {"candidate_index": "v1"})
    assert release.endpoint_config == world.platform.endpoints["demo"].config_name
    assert world.platform.packages[candidate.package_arn].approval == "Approved"
    kinds = [type(record) for record in world.records()]
    assert kinds.index(Intent) < kinds.index(Release)


def test_a_model_that_is_live_and_answers_is_left_alone(world):
    released(world, "a")
    calls = list(world.platform.calls)
    assert deploy(world).status == "already_live"
    assert world.platform.calls == calls


def test_an_endpoint_that_was_deleted_is_made_again_although_the_ledger_says_live(world):
    candidate = released(world, "a")
    world.platform.endpoints.clear()
    assert deploy(world).status == "released"
    assert world.platform.serves() == candidate.model_digest


def tampered_model(world, candidate):
    world.objects.put(candidate.model_uri, pack_files({"model.txt": b"evil"}))


def lost_model(world, candidate):
    world.objects.delete(candidate.model_uri)


def tampered_report(world, candidate):
    better = EvaluationReport(candidate.model_digest, "rows", {"accuracy": 0.99})
    world.objects.put(candidate.report_uri, better.to_json())


def lost_report(world, candidate):
    world.objects.delete(candidate.report_uri)


def changed_policy(world, candidate):
    world.write_config(CONFIG.replace("at_least: 0.9}", "at_least: 0.8}"))


def rejected(world, candidate):
    world.decide(candidate, "reject")


def withdrawn(world, candidate):
    world.decide(candidate, "withdraw")


def other_qa(world, candidate):
    world.qa(candidate, "f" * 64)


def rejected_in_the_registry(world, candidate):
    world.platform.set_approval(candidate.package_arn, "Rejected", "by hand")


def lost_package(world, candidate):
    del world.platform.packages[candidate.package_arn]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (tampered_model, "bytes_unchanged"),
        (lost_model, "bytes_unchanged"),
        (tampered_report, "report_unchanged"),
        (lost_report, "report_unchanged"),
        (changed_policy, "approval_current"),
        (rejected, "not_rejected"),
        (withdrawn, "not_rejected"),
        (other_qa, "qa_same_bytes"),
        (rejected_in_the_registry, "not_rejected"),
        (lost_package, "registered"),
    ],
)
def test_what_changed_after_the_approval_is_refused_and_the_previous_release_answers(world, change, rule):
    before = released(world, "before")
    candidate = world.candidate("after")
    world.decide(candidate)
    change(world, candidate)
    calls = list(world.platform.calls)
    with pytest.raises(GateRefusal) as refusal:
        deploy(world)
    assert refusal.value.rule == rule
    assert (world.platform.serves(), world.platform.calls) == (before.model_digest, calls)
    assert current_release(world.records()).model_digest == before.model_digest


def test_an_unapproved_model_is_refused_with_the_command_that_approves_it(world):
    before = released(world, "before")
    candidate = world.candidate("after")
    with pytest.raises(GateRefusal, match=f"approve --project demo --model {candidate.model_digest[:12]}") as refusal:
        deploy(world)
    assert (refusal.value.rule, world.platform.serves()) == ("approved", before.model_digest)


def test_a_failing_model_is_refused_even_with_an_approval(world):
    candidate = world.candidate("bad", accuracy=0.5)
    world.decide(candidate)
    with pytest.raises(GateRefusal, match=r"accuracy is 0\.5, which is not at least 0\.9") as refusal:
        deploy(world)
    assert (refusal.value.rule, world.platform.serves()) == ("gate", None)


def test_a_model_worse_than_live_is_refused(world):
    before = released(world, "before", accuracy=0.99)
    candidate = world.candidate("after", accuracy=0.91)
    world.decide(candidate)
    with pytest.raises(GateRefusal, match=r"against 0\.99 live"):
        deploy(world)
    assert world.platform.serves() == before.model_digest


@pytest.mark.parametrize(
    "changes", [{"report_digest": "other"}, {"policy_digest": "other"}, {"model_digest": "0" * 64}]
)
def test_an_approval_of_something_else_does_not_count(world, changes):
    candidate = world.candidate("a")
    world.decide(candidate, **changes)
    with pytest.raises(GateRefusal) as refusal:
        deploy(world)
    assert refusal.value.rule in ("approved", "approval_current")
    assert world.platform.serves() is None


def test_a_model_that_never_was_on_qa_is_refused(world):
    world.decide(world.candidate("a", qa=False))
    with pytest.raises(GateRefusal) as refusal:
        deploy(world)
    assert refusal.value.rule == "qa_same_bytes"


def test_nothing_registered_is_refused(world):
    with pytest.raises(GateRefusal, match="no registered model"):
        deploy(world)


@pytest.mark.parametrize("fault", ["refused", "rolled back", "wrong bytes", "no answer"])
def test_a_deployment_that_fails_leaves_the_previous_release_live_and_says_so(world, fault):
    before = released(world, "before")
    world.decide(world.candidate("after"))
    world.platform.faults = [fault]
    with pytest.raises(
        PermanentFailure, match=r"did not go live.*The previous release, .* is (still|again|live again)"
    ) as error:
        deploy(world)
    assert before.model_digest[:12] in str(error.value)
    assert world.platform.serves() == before.model_digest
    records = world.records()
    assert current_release(records).model_digest == before.model_digest
    assert isinstance(records[-1], IntentEnded)
    assert (records[-1].status, records[-1].live) == ("failed", before.model_digest)
    assert current_release(records).endpoint_config == world.platform.endpoints["demo"].config_name


@pytest.mark.parametrize("fault", ["refused", "rolled back", "wrong bytes", "no answer"])
def test_a_first_deployment_that_fails_leaves_no_endpoint(world, fault):
    world.decide(world.candidate("first"))
    world.platform.faults = [fault]
    with pytest.raises(PermanentFailure, match="Nothing was live before, so endpoint demo was deleted"):
        deploy(world)
    assert (world.platform.serves(), current_release(world.records())) == (None, None)


def test_a_failed_deployment_is_not_asked_for_again_until_it_is_approved_again(world):
    candidate = world.candidate("a")
    world.decide(candidate)
    world.platform.faults = ["refused"]
    with pytest.raises(PermanentFailure):
        deploy(world)
    assert deployable(world.records(), world.project.policy, LATER) is None
    world.decide(candidate)
    assert deployable(world.records(), world.project.policy, LATER) == candidate


def test_a_run_killed_before_the_update_is_settled_with_the_previous_release(world):
    before = released(world, "before")
    after = world.candidate("after")
    world.decide(after)
    world.platform.faults = ["killed before deploy"]
    with pytest.raises(Killed):
        deploy(world)
    (sentence,) = settle(world.deployer())
    assert "had begun" in sentence
    assert (world.platform.serves(), open_intents(world.ledger.entries("demo"))) == (before.model_digest, [])
    assert deploy(world).release.model_digest == after.model_digest


def test_a_run_killed_after_the_update_is_settled_with_the_new_release(world):
    released(world, "before")
    after = world.candidate("after")
    world.decide(after)
    world.platform.faults = ["killed after deploy"]
    with pytest.raises(Killed):
        deploy(world)
    assert deploy(world).status == "already_live"
    assert current_release(world.records()).model_digest == after.model_digest == world.platform.serves()


def test_an_update_of_a_killed_run_whose_approval_was_withdrawn_is_taken_back(world):
    before = released(world, "before")
    after = world.candidate("after")
    world.decide(after)
    world.platform.faults = ["killed after deploy"]
    with pytest.raises(Killed):
        deploy(world)
    world.decide(after, "withdraw")
    settle(world.deployer())
    assert world.platform.serves() == before.model_digest
    assert current_release(world.records()).model_digest == before.model_digest


def test_an_endpoint_that_is_still_updating_stays_open_and_is_settled_when_it_ends(world):
    released(world, "before")
    after = world.candidate("after")
    world.decide(after)
    world.platform.faults = ["stuck"]
    with pytest.raises(LedgerlineError, match="The next deployment settles it first") as error:
        deploy(world)
    assert after.model_digest[:12] in str(error.value)
    assert len(open_intents(world.ledger.entries("demo"))) == 1
    with pytest.raises(LedgerlineError, match=r"a deployment begun .* is at work"):
        deploy(world)
    world.platform.finish_update()
    assert deploy(world).status == "already_live"
    assert current_release(world.records()).model_digest == after.model_digest


def test_a_rollback_goes_to_the_last_good_release_and_withdraws_the_one_it_leaves(world):
    first, second = released(world, "first"), released(world, "second")
    done = rollback(world.deployer(), actor="Kim", reason="wrong answers")
    assert (done.status, world.platform.serves()) == ("rolled_back", first.model_digest)
    release = current_release(world.records())
    assert (release.model_digest, release.rolled_back_from) == (first.model_digest, second.model_digest)
    assert world.platform.packages[second.package_arn].approval == "Rejected"
    assert deployable(world.records(), world.project.policy, LATER) is None
    with pytest.raises(GateRefusal) as refusal:
        deploy(world, candidate=second)
    assert refusal.value.rule == "not_rejected"


def test_a_rollback_to_a_withdrawn_release_is_refused_by_name_and_by_default(world):
    first, second = released(world, "first"), released(world, "second")
    world.decide(first, "withdraw")
    with pytest.raises(GateRefusal, match="no earlier release that is still approved"):
        rollback(world.deployer(), actor="Kim", reason="x")
    with pytest.raises(GateRefusal, match="Kim withdrew model"):
        rollback(world.deployer(), actor="Kim", reason="x", digest_prefix=first.model_digest[:10])
    assert world.platform.serves() == second.model_digest


def test_a_rollback_to_tampered_bytes_is_refused(world):
    first, second = released(world, "first"), released(world, "second")
    tampered_model(world, first)
    with pytest.raises(GateRefusal) as refusal:
        rollback(world.deployer(), actor="Kim", reason="x")
    assert (refusal.value.rule, world.platform.serves()) == ("bytes_unchanged", second.model_digest)


def test_a_rollback_does_not_return_to_what_was_rolled_back_from(world):
    first = released(world, "first")
    released(world, "second")
    rollback(world.deployer(), actor="Kim", reason="x")
    with pytest.raises(GateRefusal, match="no earlier release"):
        rollback(world.deployer(), actor="Kim", reason="x")
    assert world.platform.serves() == first.model_digest


def decision(world: World, verb: str, prefix: str, approver: str = "Kim", reason: str = "good"):
    return decide(
        verb,
        project=world.project,
        ledger=world.ledger,
        platform=world.platform,
        objects=world.objects,
        digest_prefix=prefix,
        approver=approver,
        reason=reason,
        at=world.clock(),
    )


def test_approve_then_reject_by_the_digest_s_beginning(world):
    candidate = world.candidate("a")
    decision(world, "approve", candidate.model_digest[:8])
    assert deployable(world.records(), world.project.policy, LATER) == candidate
    assert world.platform.packages[candidate.package_arn].approval == "Approved"
    decision(world, "reject", candidate.model_digest[:8])
    assert deployable(world.records(), world.project.policy, LATER) is None
    assert world.platform.packages[candidate.package_arn].approval == "Rejected"


@pytest.mark.parametrize(
    ("prefix", "said"),
    [("ffffffff", "no registered model of demo has a digest that starts with ffffffff"), ("a", "too short")],
)
def test_an_unknown_digest_is_refused_with_the_known_ones(world, prefix, said):
    candidate = world.candidate("a")
    with pytest.raises(GateRefusal, match=said) as refusal:
        decision(world, "approve", prefix)
    assert candidate.model_digest[:12] in str(refusal.value)


def test_a_failing_model_cannot_be_approved(world):
    candidate = world.candidate("bad", accuracy=0.1)
    with pytest.raises(GateRefusal, match="failed its gate"):
        decision(world, "approve", candidate.model_digest[:8])


@pytest.mark.parametrize(("approver", "reason"), [("", "good"), ("Kim", " ")])
def test_a_decision_without_a_name_or_a_reason_is_refused(world, approver, reason):
    candidate = world.candidate("a")
    with pytest.raises(ConfigurationError, match="who made it and why"):
        decision(world, "approve", candidate.model_digest[:8], approver, reason)


def test_a_rollback_to_what_is_live_puts_its_lost_endpoint_back_and_withdraws_nothing(world):
    first, second = released(world, "first"), released(world, "second")
    world.platform.delete_endpoint("demo")
    done = rollback(world.deployer(), actor="Kim", reason="it was deleted", digest_prefix=second.model_digest[:10])
    assert done.message.endswith("is live again; its endpoint was put back (it was deleted).")
    assert (world.platform.serves(), done.release.rolled_back_from) == (second.model_digest, None)
    assert rollback(world.deployer(), actor="Kim", reason="x").release.model_digest == first.model_digest
