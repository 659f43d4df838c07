"""Endpoints between releases: what is drift and what is not, how it is put back, and what is deleted when."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from ledgerline.errors import LedgerlineError, PermanentFailure
from ledgerline.release.approvals import standing_refusal
from ledgerline.release.deploy import deploy_release, restore, rollback
from ledgerline.release.digest import pack_files
from ledgerline.release.history import counts, newest_rows
from ledgerline.release.releases import EndpointDeleted, GateRefusal, Intent, approvals, asleep, current_release
from ledgerline.release.upkeep import delete_idle_live, delete_old_qa, drift
from tests.unit.release_fakes import CONFIG, Killed, World

PRICED = CONFIG + "serving: {idle_hours: 72, qa_hours: 8, instance_usd_per_hour: 0.1, instance_count: 2}\n"


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def released(world: World, name: str):
    candidate = world.candidate(name)
    world.decide(candidate)
    deploy_release(world.deployer(), actor="test", pins={})
    return candidate


def changed(world: World, endpoint: str = "demo", **fields) -> None:
    world.platform.endpoints[endpoint] = dataclasses.replace(world.platform.endpoints[endpoint], **fields)


def test_an_endpoint_that_is_as_released_is_no_drift_nor_is_none_before_the_first_release(world):
    assert drift(world.deployer()) is None
    released(world, "a")
    assert drift(world.deployer()) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"config_name": "by-hand"}, "serves config by-hand, and demo-1"),
        ({"status": "Updating"}, "is Updating, and no deployment of this platform is at work"),
        ({"status": "Failed", "failure_reason": "no memory"}, r"is Failed \(no memory\)"),
        ({"model_digest": "f" * 64}, "the artifact of endpoint demo was changed: it is ffffffffffff"),
        ({"model_digest": None}, "it is nothing that can be read"),
    ],
)
def test_what_was_done_past_the_gate_is_drift(world, fields, said):
    released(world, "a")
    changed(world, **fields)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(drift(world.deployer()))


def test_a_deleted_endpoint_is_drift_and_is_restored_as_a_release_of_its_own(world):
    candidate = released(world, "a")
    world.platform.endpoints.clear()
    assert drift(world.deployer()) == "endpoint demo was deleted"
    said = restore(world.deployer(), actor="Kim", reason="somebody deleted it")
    assert said == f"model {candidate.model_digest[:12]} of demo is live again as released (somebody deleted it)."
    assert (world.platform.serves(), drift(world.deployer())) == (candidate.model_digest, None)
    assert current_release(world.records()).actor == "Kim"


def test_a_config_put_on_live_by_hand_is_restored(world):
    candidate = released(world, "a")
    other = world.candidate("b")
    world.platform.deploy("demo", other.model_uri)
    assert "serves config demo-2" in drift(world.deployer())
    restore(world.deployer(), actor="Kim", reason="not released")
    assert (world.platform.serves(), drift(world.deployer())) == (candidate.model_digest, None)


def test_an_endpoint_without_any_release_is_drift_and_is_deleted(world):
    world.platform.deploy("demo", world.candidate("a").model_uri)
    assert drift(world.deployer()) == "endpoint demo exists, and no release explains it"
    assert "was deleted" in restore(world.deployer(), actor="Kim", reason="by hand")
    assert world.platform.serves() is None


def test_what_is_as_released_is_not_restored(world):
    released(world, "a")
    calls = list(world.platform.calls)
    assert "nothing to do" in restore(world.deployer(), actor="Kim", reason="to be sure")
    assert world.platform.calls == calls


@pytest.mark.parametrize(("spoil", "rule"), [("withdraw", "approved"), ("bytes", "bytes_unchanged")])
def test_what_may_not_be_live_any_more_is_not_restored(world, spoil, rule):
    candidate = released(world, "a")
    world.platform.endpoints.clear()
    if spoil == "withdraw":
        world.decide(candidate, "withdraw")
    else:
        world.objects.put(candidate.model_uri, pack_files({"model.txt": b"evil"}))
    with pytest.raises(GateRefusal) as refusal:
        restore(world.deployer(), actor="Kim", reason="x")
    assert (refusal.value.rule, world.platform.serves()) == (rule, None)


def test_an_endpoint_that_is_being_changed_is_restored_later(world):
    released(world, "a")
    changed(world, status="Updating")
    with pytest.raises(LedgerlineError, match="wait until that ends") as error:
        restore(world.deployer(), actor="Kim", reason="x")
    assert not isinstance(error.value, PermanentFailure)


def test_a_deployment_at_work_is_no_drift_and_neither_is_one_that_ended_meanwhile(world):
    released(world, "a")
    changed(world, config_name="of-the-deployment")
    release = current_release(world.records())
    look = world.platform.describe_endpoint

    def while_somebody_deploys(endpoint):
        world.ledger.append(Intent(project="demo", planned=release))
        return look(endpoint)

    world.platform.describe_endpoint = while_somebody_deploys
    assert drift(world.deployer()) is None
    world.platform.describe_endpoint = look
    assert drift(world.deployer()) is None


def test_a_qa_endpoint_is_deleted_after_its_hours_and_not_before(tmp_path):
    world = World(tmp_path, PRICED)
    candidate = world.candidate("a")
    world.platform.deploy("demo-qa", candidate.model_uri)
    changed(world, "demo-qa", changed_at=world.now)
    world.now += timedelta(hours=7)
    assert delete_old_qa(world.deployer()) is None
    world.now += timedelta(hours=1)
    assert "Estimate of what that saves: 73.00 USD a month (1 x ml.m5.large at 0.1 USD" in delete_old_qa(
        world.deployer()
    )
    assert "demo-qa" not in world.platform.endpoints
    row = world.records()[-1]
    assert (row.role, row.model_digest, row.usd_per_month) == ("qa", candidate.model_digest, 73.0)
    assert delete_old_qa(world.deployer()) is None


def idle(world: World, requests: int = 0) -> None:
    released(world, "a")
    changed(world, changed_at=world.now)
    world.platform.requests = requests
    world.now += timedelta(hours=73)


def test_a_live_endpoint_that_nobody_asked_is_deleted_is_no_drift_and_is_woken(tmp_path):
    world = World(tmp_path, PRICED)
    idle(world)
    said = delete_idle_live(world.deployer())
    assert "146.00 USD a month (2 x ml.m5.large" in said
    assert "python -m cli restore --project demo" in said
    assert (world.platform.serves(), drift(world.deployer())) == (None, None)
    assert asleep(world.records()).reason == "no request for 72 hours"
    assert delete_idle_live(world.deployer()) is None
    assert "is live again" in restore(world.deployer(), actor="Kim", reason="needed again")
    assert (asleep(world.records()), drift(world.deployer())) == (None, None)


def test_one_that_was_asked_or_deployed_lately_stays(tmp_path):
    world = World(tmp_path, PRICED)
    idle(world, requests=1)
    assert delete_idle_live(world.deployer()) is None
    world.platform.requests = 0
    changed(world, changed_at=world.now - timedelta(hours=71))
    assert delete_idle_live(world.deployer()) is None


def test_an_endpoint_that_drifted_is_not_deleted_as_idle(tmp_path):
    world = World(tmp_path, PRICED)
    idle(world)
    changed(world, config_name="by-hand")
    assert delete_idle_live(world.deployer()) is None
    assert world.platform.serves() is not None


def test_a_deletion_that_was_killed_is_finished_by_the_next(tmp_path):
    world = World(tmp_path, PRICED)
    idle(world)
    delete, world.platform.delete_endpoint = world.platform.delete_endpoint, lambda endpoint: None
    delete_idle_live(world.deployer())
    assert "exists, and it was deleted on" in drift(world.deployer())
    world.platform.delete_endpoint = delete
    delete_idle_live(world.deployer())
    assert world.platform.serves() is None
    assert len([row for row in world.records() if isinstance(row, EndpointDeleted)]) == 1


# Rollback ------------------------------------------------------------------------------------------------------------


def test_the_way_back_is_rehearsed_before_a_model_goes_live(world):
    first = released(world, "first")
    assert current_release(world.records()).rehearsed is None
    released(world, "second")
    assert current_release(world.records()).rehearsed == first.model_digest


@pytest.mark.parametrize("lost", ["bytes", "package", "rejected"])
def test_without_a_way_back_nothing_goes_live_until_it_is_given_up(world, lost):
    first = released(world, "first")
    second = world.candidate("second")
    world.decide(second)
    if lost == "bytes":
        world.objects.delete(first.model_uri)
    elif lost == "package":
        del world.platform.packages[first.package_arn]
    else:
        world.platform.set_approval(first.package_arn, "Rejected", "by hand")
    with pytest.raises(GateRefusal, match=f"withdraw --project demo --model {first.model_digest[:12]}") as refusal:
        deploy_release(world.deployer(), actor="test", pins={})
    assert (refusal.value.rule, world.platform.serves()) == ("rollback_ready", first.model_digest)
    world.decide(first, "withdraw")
    deploy_release(world.deployer(), actor="test", pins={})
    assert world.platform.serves() == second.model_digest


def test_a_rollback_turns_the_registry_back_and_one_that_fails_can_still_put_the_left_model_back(world):
    first, second = released(world, "first"), released(world, "second")
    world.platform.faults = ["wrong bytes"]
    with pytest.raises(PermanentFailure, match="is live again"):
        rollback(world.deployer(), actor="Kim", reason="x")
    assert world.platform.serves() == second.model_digest
    assert world.platform.packages[second.package_arn].approval == "Approved"
    rollback(world.deployer(), actor="Kim", reason="x", digest_prefix=first.model_digest[:12])
    assert world.platform.serves() == first.model_digest
    approval = {
        name: world.platform.packages[made.package_arn].approval for name, made in (("1", first), ("2", second))
    }
    assert approval == {"1": "Approved", "2": "Rejected"}


def test_the_history_says_every_row_in_words_the_newest_first(world):
    first = released(world, "first")
    released(world, "second")
    rollback(world.deployer(), actor="Kim", reason="wrong answers")
    entries = world.ledger.entries()
    rows = newest_rows(entries, 100)
    assert [row["row"] for row in rows] == list(range(len(entries), 0, -1))
    assert rows[0]["what"].startswith("live on demo, approved by Kim, back from ")
    assert rows[0]["model"] == first.model_digest[:12]
    assert rows[2]["what"] == "Kim withdrew it: rolled back: wrong answers"
    assert counts(entries)["release"] == 3
    assert len(newest_rows(entries, 2)) == 2


def test_a_deployment_that_was_killed_hides_no_drift_for_longer_than_one_takes(world):
    first = released(world, "first")
    world.decide(world.candidate("second"))
    world.platform.faults = ["killed before deploy"]
    with pytest.raises(Killed):
        deploy_release(world.deployer(), actor="test", pins={})
    changed(world, config_name="by-hand")
    assert drift(world.deployer()) is None
    world.now += timedelta(hours=2)
    assert "never ended, so nobody knows what endpoint demo serves" in drift(world.deployer())
    restore(world.deployer(), actor="Kim", reason="x")
    assert (drift(world.deployer()), world.platform.serves()) == (None, first.model_digest)


# What an operator's command must not leave half done -----------------------------------------------------------------


def test_an_endpoint_that_answers_with_errors_only_is_put_back_by_whoever_is_asked_to(world):
    first = released(world, "first")
    for put_back in (
        lambda: restore(world.deployer(), actor="Kim", reason="it is broken"),
        lambda: rollback(world.deployer(), actor="Kim", reason="x", digest_prefix=first.model_digest[:12]),
        lambda: deploy_release(world.deployer(), actor="Kim", pins={}),
    ):
        world.platform.faults, before = ["no answer"], world.platform.configs
        put_back()
        assert (world.platform.configs, world.platform.serves()) == (before + 1, first.model_digest)


def test_a_rollback_that_the_registry_refuses_withdraws_nothing(world):
    first, second = released(world, "first"), released(world, "second")
    world.platform.set_approval(first.package_arn, "Rejected", "by hand")
    with pytest.raises(GateRefusal, match="is Rejected"):
        rollback(world.deployer(), actor="Kim", reason="x")
    assert world.platform.serves() == second.model_digest
    assert standing_refusal(approvals(world.records()), second.model_digest) is None


def test_a_way_back_without_the_request_that_proves_it_is_none(world):
    first = released(world, "first")
    second = world.candidate("second")
    world.decide(second)
    world.objects.bodies[second.requests_uri + "2"] = world.objects.bodies.pop(first.requests_uri)
    world.ledger.append(second.model_copy(update={"requests_uri": second.requests_uri + "2"}))
    with pytest.raises(GateRefusal, match="requests is gone") as refusal:
        deploy_release(world.deployer(), actor="test", pins={})
    assert (refusal.value.rule, world.platform.configs) == ("rollback_ready", 1)


def test_a_release_that_was_left_and_released_again_is_a_way_back_again(world):
    released(world, "first")
    second = released(world, "second")
    rollback(world.deployer(), actor="Kim", reason="x")
    world.decide(second)
    world.ledger.append(second.model_copy(update={"dataset_version": 4}))
    world.platform.set_approval(second.package_arn, "Approved", "again")
    deploy_release(world.deployer(), actor="test", pins={})
    released(world, "third")
    rollback(world.deployer(), actor="Kim", reason="x")
    assert world.platform.serves() == second.model_digest
