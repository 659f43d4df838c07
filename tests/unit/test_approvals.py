"""What an approval is worth: how long, of how many people, and what the registry hears of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.release.decisions import decide
from ledgerline.release.deploy import deploy_release, restore
from ledgerline.release.gate import EvaluationReport
from ledgerline.release.releases import GateRefusal, current_release, decision_refusals, deployable
from tests.unit.release_fakes import CONFIG, World

EXPIRES = CONFIG.replace("expires_days: null", "expires_days: 30")
FOUR_EYES = CONFIG.replace("expires_days: null", "expires_days: 30, four_eyes: true")


def approve(world: World, candidate, by: str, verb: str = "approve"):
    return decide(
        verb,
        project=world.project,
        ledger=world.ledger,
        platform=world.platform,
        objects=world.objects,
        digest_prefix=candidate.model_digest[:12],
        approver=by,
        reason="looked at it",
        at=world.clock(),
    )


def deploy(world: World):
    return deploy_release(world.deployer(), actor="test", pins={})


def refused(world: World) -> str:
    with pytest.raises(GateRefusal) as refusal:
        deploy(world)
    assert world.platform.serves() is None
    return refusal.value.rule


def test_an_approval_expires_and_a_new_one_mends_it(tmp_path):
    world = World(tmp_path, EXPIRES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    world.now += timedelta(days=30, minutes=1)
    assert deployable(world.records(), world.project.policy, world.now) is None
    assert refused(world) == "approval_expired"
    approve(world, candidate, "Kim")
    assert deploy(world).release.approver == "Kim"


def test_the_approval_of_a_model_that_went_live_does_not_expire(tmp_path):
    world = World(tmp_path, EXPIRES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    deploy(world)
    world.now += timedelta(days=400)
    world.platform.delete_endpoint("demo")
    assert deploy(world).status == "released"
    assert world.platform.serves() == candidate.model_digest


def test_a_release_by_another_report_does_not_keep_an_approval_young(tmp_path):
    world = World(tmp_path, EXPIRES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    deploy(world)
    report = EvaluationReport(candidate.model_digest, "rows", {"accuracy": 0.95}, details={"looked at": "again"})
    newer = candidate.model_copy(
        update={"report_digest": report.digest, "report_uri": world.objects.uri("reports", report.digest)}
    )
    world.objects.put(newer.report_uri, report.to_json())
    world.ledger.append(newer)
    approve(world, candidate, "Lee")
    world.platform.delete_endpoint("demo")
    restore(world.deployer(), actor="Kim", reason="x")  # a release of the first report, after the second's approval
    world.now += timedelta(days=31)
    assert [found.rule for found in decision_refusals(newer, world.records(), world.project.policy, world.now)] == [
        "approval_expired"
    ]


def test_with_four_eyes_two_people_must_approve_and_both_are_in_the_release(tmp_path):
    world = World(tmp_path, FOUR_EYES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    assert (world.platform.packages[candidate.package_arn].approval, refused(world)) == (
        "PendingManualApproval",
        "four_eyes",
    )
    for same in (" kim ", "KIM", "Ｋｉｍ", "Ki\u200bm", "K\u00adim"):  # full width; invisible letters
        with pytest.raises(GateRefusal, match="Let a second person look") as refusal:
            approve(world, candidate, same)
        assert refusal.value.rule == "four_eyes"
    approve(world, candidate, "Lee")
    assert world.platform.packages[candidate.package_arn].approval == "Approved"
    assert deploy(world).release.approver == "Kim and Lee"


def test_with_four_eyes_the_older_of_two_approvals_expires_alone(tmp_path):
    world = World(tmp_path, FOUR_EYES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    world.now += timedelta(days=29)
    approve(world, candidate, "Lee")
    world.now += timedelta(days=2)
    assert refused(world) == "four_eyes"
    approve(world, candidate, "Kim")
    assert deploy(world).release.approver == "Lee and Kim"


@pytest.mark.parametrize("verb", ["reject", "withdraw"])
def test_a_refusal_by_anybody_ends_both_approvals(tmp_path, verb):
    world = World(tmp_path, FOUR_EYES)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    approve(world, candidate, "Lee")
    approve(world, candidate, "Ann", verb)
    assert world.platform.packages[candidate.package_arn].approval == "Rejected"
    assert refused(world) == "not_rejected"
    approve(world, candidate, "Kim")
    assert refused(world) == "four_eyes"


@pytest.mark.parametrize(
    "changed",
    [
        "approvals: {expires_days: 31}",
        "approvals: {expires_days: null, four_eyes: true}",
        "gate: {max_size_mb: 1000, rules: [{metric: accuracy, at_least: 0.9}, "
        "{metric: accuracy, not_worse_than_live_by: 0.05}]}",
    ],
)
def test_an_approval_is_bound_to_every_setting_of_the_gate(tmp_path, changed):
    world = World(tmp_path)
    approve(world, world.candidate("a"), "Kim")
    key = changed.partition(":")[0]
    kept = [line for line in CONFIG.splitlines() if not line.startswith(f"{key}:")]
    world.write_config("\n".join([*kept, changed]))
    assert refused(world) == "approval_current"


def test_an_automatic_gate_with_four_eyes_is_a_mistake(tmp_path):
    with pytest.raises(ConfigurationError, match=r"config\.yaml:\d+: approvals.four_eyes: two people cannot approve"):
        World(tmp_path, FOUR_EYES.replace("approval: manual", "approval: automatic"))


def gated(limit: str) -> str:
    return CONFIG.replace("gate: {", "gate: {" + limit + ", ")


def rule_of(world: World) -> str | None:
    world.decide(world.candidate("a", qa=False))
    world.qa(world.records()[-2], world.records()[-2].model_digest, p99_ms=20.0)
    try:
        deploy(world)
    except GateRefusal as refusal:
        return f"{refusal.rule}: {refusal}"
    return None


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("max_calibration_error: 0.05", "gate: .*has no `calibration`"),
        ("max_size_mb: 0.00001", r"gate: .*model\.tar\.gz has 0\.000\d+ MB, which is not at most 1e-05"),
        ("max_latency_p99_ms: 10", r"latency: .*took 20\.0 ms at the 99th percentile"),
    ],
)
def test_what_is_measured_by_us_is_a_rule_of_the_gate(tmp_path, limit, said):
    import re

    found = rule_of(World(tmp_path, gated(limit)))
    assert re.search(said, found or "", re.DOTALL)


@pytest.mark.parametrize("limit", ["max_size_mb: 1", "max_latency_p99_ms: 20"])
def test_what_is_within_its_limit_goes_live(tmp_path, limit):
    world = World(tmp_path, gated(limit))
    assert rule_of(world) is None
    assert current_release(world.records()) is not None


def test_a_qa_endpoint_that_was_not_timed_fails_a_limit(tmp_path):
    world = World(tmp_path, gated("max_latency_p99_ms: 10"))
    world.decide(world.candidate("a"))
    assert refused(world) == "latency"


def test_a_limit_of_latency_without_qa_is_a_mistake(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gate\.max_latency_p99_ms: it is measured on the QA endpoint"):
        World(tmp_path, gated("max_latency_p99_ms: 10") + "serving: {qa: false}\n")


def test_a_qa_endpoint_that_changed_its_bytes_takes_the_release_back(tmp_path):
    world = World(tmp_path)
    candidate = world.candidate("a")
    approve(world, candidate, "Kim")
    world.platform.deploy("demo-qa", candidate.model_uri)
    assert deploy(world).release.qa_digest == candidate.model_digest
    second = world.candidate("b")
    approve(world, second, "Kim")
    world.platform.faults = ["wrong bytes"]
    world.platform.deploy("demo-qa", second.model_uri)
    with pytest.raises(GateRefusal, match="the QA endpoint demo-qa answers with model other") as refusal:
        deploy(world)
    assert (refusal.value.rule, world.platform.serves()) == ("qa_same_bytes", candidate.model_digest)
