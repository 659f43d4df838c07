"""Ten routes to live, each tried with four models that must not be there, on the embedded server: 40 cases, 0 live.

The table of docs/model-projects.md is `REFUSED_BY` of this module: what refused each case, and "not asked for" where
automation or the sensor did not even ask. The eleventh route, credentials of one's own, is noticed and undone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli.asset import asset_materialize_command

from ledgerline.release.deploy import deploy_release, restore, rollback
from ledgerline.release.releases import GateRefusal, Release, current_release
from ledgerline.release.upkeep import drift
from local_sagemaker import daemon
from resources.environment import ROOT
from resources.object_store import DirectoryObjectStore
from resources.sagemaker import SageMaker
from tests.integration import gate_world
from tests.integration.gate_world import SITUATIONS, GateWorld, OnePlatform

NOT_ASKED = "not asked for"
ANY_RUN = {"failing": "gate", "unapproved": "approved", "re-trained": "approved", "tampered": "bytes_unchanged"}
REFUSED_BY = {
    "a click on the one asset": ANY_RUN,
    "dagster asset materialize": ANY_RUN,
    "eager automation": dict.fromkeys(SITUATIONS, NOT_ASKED) | {"tampered": "bytes_unchanged"},
    "backfill": ANY_RUN,
    "re-execution from failure": ANY_RUN,
    "the sensor approved_models": {**ANY_RUN, "unapproved": NOT_ASKED, "re-trained": NOT_ASKED},
    "rollback to a withdrawn model": dict.fromkeys(SITUATIONS, "not_rejected"),
    "promotion of what QA serves": dict.fromkeys(SITUATIONS, "approved"),
    "the resource called directly": dict.fromkeys(SITUATIONS, "approved") | {"tampered": "bytes_unchanged"},
    "a stale approval": dict.fromkeys(SITUATIONS, "approval_current") | {"tampered": "bytes_unchanged"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def make(folder) -> Iterator[Callable[[str], GateWorld]]:
    """Makes a project with a withdrawn and a live release, on one server."""
    home = folder / "sagemaker"
    objects = DirectoryObjectStore(root=str(folder / "objects"), durable=False)
    platform = OnePlatform(SageMaker(object_store=objects, local_home=str(home), local_object_root=objects.root))

    def made(name: str) -> GateWorld:
        world = GateWorld(name, folder / "model_projects", objects, platform, folder / f"{name}.db")
        world.withdrawn, world.live = world.release("first"), world.release("second")
        world.decide(world.withdrawn, "withdraw")
        return world

    yield made
    daemon.stop(home)


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[dg.DagsterInstance]:
    """On disk, as re-execution and the command line need it. One for all tests, since making it is slow."""
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("dagster"))) as made:
        yield made


@pytest.fixture(scope="module")
def worlds(make) -> dict[str, GateWorld]:
    found = {}
    for situation, spoil in SITUATIONS.items():
        found[situation] = make(situation.replace("-", ""))
        spoil(found[situation])
    return found


# Routes: each tries to put the newest candidate live and returns the rule that refused ---------------------------------


def rule_in(text: str) -> str:
    (rule,) = set(re.findall(r"Refused by rule `(\w+)`", text))
    return rule


def run(world: GateWorld, instance: dg.DagsterInstance, **options) -> str:
    """A run of the one asset. Returns the rule in its failure, "" if it succeeded."""
    job = world.definitions().resolve_implicit_global_asset_job_def()
    key = dg.AssetKey([world.name, "live_endpoint"])
    done = job.execute_in_process(instance=instance, asset_selection=[key], raise_on_error=False, **options)
    failed = [event.step_failure_data.error for event in done.all_events if event.is_step_failure]
    return rule_in("".join(str(error) for error in failed)) if failed else ""


def by_click(world, instance, folder):
    return run(world, instance)


def by_command(world, instance, folder):
    gate_world.CURRENT.append(world)
    arguments = ["-m", "tests.integration.gate_world", "-a", "defs", "--select", f"{world.name}/live_endpoint"]
    done = CliRunner().invoke(asset_materialize_command, arguments)
    assert done.exit_code != 0
    (newest,) = instance.get_runs(limit=1)
    return rule_in("".join(event.to_json() for event in instance.all_logs(newest.run_id)))


def by_automation(world, instance, folder):
    definitions = world.definitions()
    first = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
    world.materialized_upstream(instance)
    tick = dg.evaluate_automation_conditions(defs=definitions, instance=instance, cursor=first.cursor)
    asked = tick.get_num_requested(dg.AssetKey([world.name, "live_endpoint"]))
    return run(world, instance) if asked else NOT_ASKED


def by_backfill(world, instance, folder):
    """A backfill of assets without partitions is one run with its tag."""
    return run(world, instance, tags={"dagster/backfill": "abcdefgh"})


def by_reexecution(world, instance, folder):
    gate_world.CURRENT.append(world)
    job = dg.build_reconstructable_job("tests.integration.gate_world", "live_job", (world.name,))
    with dg.execute_job(job, instance=instance) as first:
        assert not first.success
    options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
    with dg.execute_job(job, instance=instance, reexecution_options=options) as again:
        events = [event.step_failure_data.error for event in again.all_events if event.is_step_failure]
    return rule_in("".join(str(error) for error in events))


def by_sensor(world, instance, folder):
    (sensor,) = world.definitions().sensors
    found = sensor(dg.build_sensor_context(instance=instance), release_ledger=world.ledger)
    if isinstance(found, dg.SkipReason):
        return NOT_ASKED
    (request,) = found
    return run(world, instance, tags=request.tags)


def refusal_of(call: Callable[[], object]) -> str:
    with pytest.raises(GateRefusal) as refused:
        call()
    return refused.value.rule


def by_rollback(world, instance, folder):
    """To the withdrawn release by name; by default there is none left, and a candidate never was a release."""

    def back(digest: str | None = None) -> str:
        return refusal_of(lambda: rollback(world.deployer(), actor="Eve", reason="x", digest_prefix=digest))

    assert (back(), back(world.candidate().model_digest)) == ("registered", "registered")
    return back(world.withdrawn.model_digest)


def by_qa_promotion(world, instance, folder):
    state = world.platform.describe_endpoint(world.project.qa_endpoint)
    assert state.status == "InService"
    return refusal_of(lambda: world.platform.deploy(world.project.endpoint, state.model_uri))


def by_resource(world, instance, folder):
    candidate, endpoint = world.candidate(), world.project.endpoint
    assert refusal_of(lambda: world.platform.deploy(endpoint, candidate.model_uri)) == "approved"
    return refusal_of(lambda: world.platform.deploy(endpoint, candidate.package_arn))


def by_stale_approval(world, instance, folder):
    """Everything is approved; then the gate is loosened, or the model is evaluated again."""
    loosened = world.fork(folder, floor=gate_world.FLOOR)
    loosened.approval_by_hand(loosened.candidate())
    loosened.floor = 0.1
    loosened.load()
    evaluated = world.fork(folder, floor=gate_world.FLOOR)
    made = evaluated.candidate()
    evaluated.approval_by_hand(made)
    evaluated.record(made.model_digest, made.model_uri, made.package_arn, 0.98)

    def deploy(one: GateWorld) -> str:
        return refusal_of(lambda: deploy_release(one.deployer(), actor="Eve", pins={}))

    assert deploy(loosened) == deploy(evaluated)
    return deploy(evaluated)


ROUTES = dict(
    zip(
        REFUSED_BY,
        (
            by_click, by_command, by_automation, by_backfill, by_reexecution, by_sensor, by_rollback, by_qa_promotion,
            by_resource, by_stale_approval,
        ),
        strict=True,
    )
)  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_puts_it_live(worlds, instance, route, situation, tmp_path):
    world = worlds[situation]
    before = [row for row in world.records() if isinstance(row, Release)]
    rule = ROUTES[route](world, instance, tmp_path)
    assert rule == REFUSED_BY[route][situation]
    assert world.served() == world.live.model_digest
    assert [row for row in world.records() if isinstance(row, Release)] == before
    assert drift(world.deployer()) is None


def test_the_table_of_the_documentation_is_this_one():
    page = (ROOT / "docs" / "model-projects.md").read_text(encoding="utf-8")
    rows = [f"| route | {' | '.join(SITUATIONS)} |", "|---" * (len(SITUATIONS) + 1) + "|"]
    for route, refused in REFUSED_BY.items():
        cells = [rule if rule == NOT_ASKED else f"`{rule}`" for rule in refused.values()]
        rows.append(f"| {route} | {' | '.join(cells)} |")
    assert "\n".join(rows) in page


def test_the_same_routes_put_a_passing_approved_unchanged_model_live(make, instance, tmp_path):
    world = make("good")
    for number, route in enumerate((by_sensor, by_automation)):
        candidate = world.register(f"good {number}", 0.97, on_qa=True)
        world.decide(candidate)
        assert route(world, instance, tmp_path) == ""
        assert world.served() == candidate.model_digest
        release = current_release(world.records())
        assert (release.qa_digest, release.approver) == (candidate.model_digest, "Kim")
        assert release.rehearsed


def test_the_eleventh_route_is_noticed_and_undone_and_leaves_qa_alone(worlds):
    world = worlds["unapproved"]
    qa = world.platform.describe_endpoint(world.project.qa_endpoint)
    client = world.platform._sagemaker()
    name = world.platform._name(world.project.endpoint)
    client.update_endpoint(EndpointName=name, EndpointConfigName=qa.config_name)
    client.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    assert world.served() == world.candidate().model_digest
    assert f"serves config {qa.config_name}" in drift(world.deployer())
    restore(world.deployer(), actor="Kim", reason="nobody approved it")
    assert (world.served(), drift(world.deployer())) == (world.live.model_digest, None)
    assert world.platform.describe_endpoint(world.project.qa_endpoint) == qa
