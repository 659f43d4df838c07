"""A model project's assets materialized with Dagster over fake ports: the chain, the refusals, the waiting state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from jobs.releases import release_jobs
from ledgerline.release.releases import current_release, deployable, latest_candidate
from platform_assets.components.model_project import model_project_definitions
from tests.unit.release_fakes import CONFIG, LATER, World

STEPS = ("training_set", "model", "evaluation", "model_version", "qa_endpoint", "qa_report", "live_endpoint")


@dataclass
class FakeLake:
    def version(self, table: str) -> int:
        return 7

    def read(self, table: str, **_: object) -> pa.Table:
        return pa.table({"group": ["b", "a"], "as_of": ["2020-01-02", "2020-01-01"], "x": [[1.0], [2.0]]})


@dataclass
class FakeRun:
    run_id: str = "mlflow-1"
    logged: dict[str, object] = field(default_factory=dict)

    def params(self, values: Mapping[str, object]) -> None:
        self.logged |= values

    def metrics(self, values: Mapping[str, float]) -> None:
        self.logged |= values

    def tags(self, values: Mapping[str, str]) -> None:
        self.logged |= values

    def artifact(self, name: str, body: bytes) -> None:
        self.logged[name] = body


@dataclass
class FakeExperiments:
    runs: list[tuple[str, FakeRun]] = field(default_factory=list)  # status, what was logged

    def warm_up(self) -> None: ...

    def mark_failed(self, dagster_run_id: str) -> int:
        return 0

    @contextmanager
    def run(self, experiment: str, *, dagster_run_id: str, tags: Mapping[str, str]) -> Iterator[FakeRun]:
        run = FakeRun(logged=dict(tags))
        try:
            yield run
        except BaseException:
            self.runs.append(("FAILED", run))
            raise
        self.runs.append(("FINISHED", run))


class Graph:
    """The project's definitions, its ports and a Dagster instance of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.experiments = FakeExperiments()
        self.instance = dg.DagsterInstance.ephemeral()
        self.load()

    def load(self) -> None:
        resources = {
            "lake": FakeLake(),
            "object_store": self.world.objects,
            "sagemaker": self.world.platform,
            "experiments": self.experiments,
            "release_ledger": self.world.ledger,
        }
        jobs = [dg.define_asset_job("all_of_it", selection=dg.AssetSelection.groups("demo"))]
        operators = dg.Definitions(jobs=[*jobs, *release_jobs([self.world.project])], resources=resources)
        self.defs = dg.Definitions.merge(operators, model_project_definitions(self.world.project))

    def materialize(self, *steps: str) -> dg.ExecuteInProcessResult:
        keys = [dg.AssetKey(["demo", step]) for step in steps or STEPS]
        job = self.defs.resolve_job_def("all_of_it")
        return job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False)

    def operate(self, job: str, **config: str) -> dg.ExecuteInProcessResult:
        op = {"approve": "approve_model", "reject": "reject_model", "rollback": "roll_back_model"}[job]
        values = {"project": "demo", "approver": "Kim", "reason": "looked at it", **config}
        run_config = {"ops": {op: {"config": values}}}
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config=run_config, raise_on_error=False
        )

    def approve_newest(self) -> None:
        digest = latest_candidate(self.world.records()).model_digest
        assert self.operate("approve", model_digest=digest[:10]).success


def world_on_disk(folder: Path, config: str = CONFIG) -> World:
    """Dagster copies resources for each run, so that a ledger in memory would be another one each time."""
    return World(folder, config, database=f"sqlite:///{folder}/ledger.db")


@pytest.fixture
def graph(tmp_path) -> Graph:
    return Graph(world_on_disk(tmp_path))


def failures(result: dg.ExecuteInProcessResult) -> dict[str, tuple[str, object, bool]]:
    """Step -> message, rule, whether Dagster may retry it."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            rule = failure.metadata.get("rule") if failure else None
            error = event.step_failure_data.error
            found[event.step_key] = (
                failure.description if failure else str(error),
                getattr(rule, "value", None),
                error,
            )
    return found


def check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return found


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}


def test_the_folder_gives_every_asset_with_group_owner_kinds_and_description(graph):
    specs = {spec.key.path[-1]: spec for spec in graph.defs.resolve_all_asset_specs()}
    assert set(specs) >= set(STEPS)
    for step in STEPS:
        spec = specs[step]
        assert (spec.group_name, list(spec.owners)) == ("demo", ["team:mapping"])
        assert spec.kinds
        assert spec.description
        assert spec.code_version
        assert spec.automation_condition is not None


def test_the_whole_chain_waits_for_approval_then_goes_live_and_again_without_a_new_approval(graph):
    first = graph.materialize()
    candidate = latest_candidate(graph.world.records())
    assert set(failures(first)) == {"demo__live_endpoint"}
    assert materialized(first) == set(STEPS) - {"live_endpoint"}
    assert check(first, "gate").passed
    assert check(first, "same_bytes").passed
    waiting = check(first, "approved")
    assert (waiting.passed, waiting.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "approve --project demo" in waiting.description
    assert waiting.description.endswith("--by <your name> --reason <what convinced you>`")  # as code: no HTML tags
    assert deployable(graph.world.records(), graph.world.project.policy, LATER) is None

    graph.approve_newest()
    assert deployable(graph.world.records(), graph.world.project.policy, LATER) == candidate
    assert graph.materialize("live_endpoint").success
    assert graph.world.platform.serves() == candidate.model_digest

    rows = len(graph.world.records())
    again = graph.materialize()
    assert again.success
    assert check(again, "approved").passed
    assert len(graph.world.records()) == rows


def test_an_unapproved_model_is_refused_alone_with_the_rule_and_the_previous_release_answers(graph):
    graph.materialize()
    graph.approve_newest()
    graph.materialize("live_endpoint")
    before = graph.world.platform.serves()
    graph.world.platform.weights = b"other weights"
    assert graph.materialize(*STEPS[:-1]).success
    result = graph.materialize("live_endpoint")
    message, rule, _ = failures(result)["demo__live_endpoint"]
    assert rule == "approved"
    assert "nobody approved model" in message
    assert graph.instance.get_run_by_id(result.run_id).tags["dagster/max_retries"] == "0"
    assert graph.world.platform.serves() == before


def test_a_failing_model_stops_at_the_gate_and_is_refused_alone(graph):
    graph.materialize()
    graph.approve_newest()
    graph.materialize("live_endpoint")
    before = graph.world.platform.serves()
    graph.world.platform.weights, graph.world.platform.accuracy = b"bad", 0.5
    result = graph.materialize()
    assert not result.success
    assert materialized(result) == {"training_set", "model", "evaluation"}
    assert (check(result, "gate").passed, check(result, "gate").severity) == (False, dg.AssetCheckSeverity.ERROR)
    graph.materialize("model_version", "qa_endpoint", "qa_report")
    alone = graph.materialize("live_endpoint")
    assert failures(alone)["demo__live_endpoint"][1] == "gate"
    assert graph.world.platform.serves() == before
    assert not graph.operate("approve", model_digest=latest_candidate(graph.world.records()).model_digest).success


def test_live_endpoint_alone_with_nothing_registered_is_refused(graph):
    assert failures(graph.materialize("live_endpoint"))["demo__live_endpoint"][1] == "registered"


def test_an_automatic_project_goes_live_in_one_run_unless_somebody_rejected_the_model(tmp_path):
    world = world_on_disk(tmp_path, CONFIG.replace("approval: manual", "approval: automatic"))
    graph = Graph(world)
    assert graph.materialize().success
    release = current_release(world.records())
    assert release.approver == "gate (approval: automatic)"
    assert graph.operate("reject", model_digest=release.model_digest[:12]).success
    assert failures(graph.materialize())["demo__live_endpoint"][1] == "not_rejected"


def test_a_failed_training_job_fails_the_asset_for_good_and_its_experiment(graph):
    graph.world.platform.faults = ["train.py"]
    result = graph.materialize()
    message, _, _ = failures(result)["demo__model"]
    assert "ended as Failed: no rows" in message
    assert [status for status, _ in graph.experiments.runs] == ["FAILED"]


def test_model_and_evaluation_are_logged_as_experiments(graph):
    graph.materialize()
    (_, trained), (_, evaluated), (_, asked) = graph.experiments.runs
    assert (trained.logged["dataset_version"], trained.logged["accuracy"]) == ("examples@7", 0.95)
    assert trained.logged["model_digest"] == latest_candidate(graph.world.records()).model_digest
    assert b'"accuracy":0.95' in evaluated.logged["evaluation.json"]
    assert b'"model":"candidate"' in evaluated.logged["comparison.json"]
    page = evaluated.logged["evaluation.html"].decode()
    assert "passed 2 of 2 rules" in page
    assert "<figcaption>Calibration</figcaption><svg" in page
    assert "To approve" not in page  # it is not registered yet
    assert asked.logged["qa_report.html"].startswith(b"<!doctype html>")


def test_the_page_of_a_model_that_its_gate_refuses_is_an_experiments_artifact_too(graph):
    graph.world.platform.accuracy = 0.5
    graph.materialize()
    page = graph.experiments.runs[1][1].logged["evaluation.html"].decode()
    assert "FAILED" in page


def test_the_evaluation_shows_rules_metrics_slices_and_the_calibration_plot(graph):
    result = graph.materialize(*STEPS[:3])
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key.path[-1] == "evaluation"]
    metadata = event.materialization.metadata
    assert {"rules", "metrics", "by kind", "calibration"} <= set(metadata)
    assert metadata["calibration"].value.startswith("![Calibration](data:image/png;base64,")
    assert [row.data["passed"] for row in metadata["rules"].records] == ["yes", "yes"]


def test_a_report_that_was_changed_before_registration_is_refused(graph):
    graph.materialize(*STEPS[:3])
    (uri,) = graph.world.objects.list("s3://test/projects/demo/evaluations/")
    graph.world.objects.put(uri, graph.world.objects.get(uri).replace(b"0.95", b"0.99"))
    result = graph.materialize("model_version")
    assert failures(result)["demo__model_version"][1] == "report_unchanged"


def test_rollback_is_a_job_and_says_what_is_live(graph):
    graph.materialize()
    graph.approve_newest()
    graph.materialize("live_endpoint")
    first = graph.world.platform.serves()
    graph.world.platform.weights = b"second"
    graph.materialize(*STEPS[:-1])
    graph.approve_newest()
    graph.materialize("live_endpoint")
    assert graph.world.platform.serves() != first
    assert graph.operate("rollback").success
    assert graph.world.platform.serves() == first


def test_an_operator_job_on_an_unknown_project_names_the_nearest(graph):
    result = graph.operate("approve", project="demos", model_digest="abcd")
    assert not result.success
    assert any(
        "did you mean 'demo'?" in str(event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure
    )


def test_automation_asks_for_the_live_endpoint_of_an_approved_model_only(graph):
    live = dg.AssetKey(["demo", "live_endpoint"])
    graph.materialize(*STEPS[:-1])
    tick = dg.evaluate_automation_conditions(defs=graph.defs, instance=graph.instance)
    assert tick.get_num_requested(live) == 0
    graph.materialize("model_version", "qa_report")
    tick = dg.evaluate_automation_conditions(defs=graph.defs, instance=graph.instance, cursor=tick.cursor)
    assert tick.get_num_requested(live) == 0
    graph.approve_newest()
    graph.materialize("model_version", "qa_report")  # the same model again: the check `approved` sees the approval
    tick = dg.evaluate_automation_conditions(defs=graph.defs, instance=graph.instance, cursor=tick.cursor)
    assert tick.get_num_requested(live) == 1
