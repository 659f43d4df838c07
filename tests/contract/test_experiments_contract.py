"""What any `experiments` must do, on MLflow with SQLite and on an MLflow server; and what outages of a server come to.

Both are looked at through MLflow's own client. The schema of SQLite is made once for the module: it costs seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.release.experiment_records import Spool
from resources import build_resources
from resources.environment import read_settings
from resources.experiments import RUN_TAG, SETTLED_SECONDS, MlflowExperiments, make_schema
from resources.object_store import DirectoryObjectStore
from sensors.catch_up import catch_up_experiments
from tests.servers.proxy import Answer, Forward, Proxy, Request


@dataclass
class Tracking:
    """Experiments in a store, under a name that no other test uses, and MLflow's own client to look at it."""

    experiments: MlflowExperiments
    tracking_uri: str  # of the store itself, whatever stands before it
    name: str

    @property
    def client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    @property
    def runs(self) -> list[Any]:
        """Of this test's experiment, the oldest first."""
        found = self.client.get_experiment_by_name(self.name)
        runs = self.client.search_runs([found.experiment_id], order_by=["attributes.start_time"]) if found else []
        return list(runs)

    @property
    def statuses(self) -> list[str]:
        return [run.info.status for run in self.runs]

    def history(self, metric: str) -> list[float]:
        """All values of a metric that the only run has."""
        (run,) = self.runs
        return [entry.value for entry in self.client.get_metric_history(run.info.run_id, metric)]

    def log(self, dagster_run_id: str = "r", **metrics: float) -> str:
        with self.experiments.run(self.name, dagster_run_id=dagster_run_id, tags={}) as run:
            run.metrics(metrics)
        return run.run_id

    def waiting(self) -> list[str]:
        return list(Spool(self.experiments.object_store).waiting())

    def later(self) -> None:
        """The clock goes on, until what waits is settled."""
        then = self.experiments._clock() + SETTLED_SECONDS + 1
        self.experiments._clock = lambda: then


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    make_schema(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture(params=["sqlite", "server"])
def tracking(request, tmp_path, made) -> Tracking:
    objects = DirectoryObjectStore(root=str(tmp_path / "objects"), durable=False)
    name = f"demo-{uuid.uuid4().hex[:8]}"
    if request.param == "server":
        server = request.getfixturevalue("mlflow_server")
        return Tracking(MlflowExperiments(tracking_uri=server.url, object_store=objects), server.url, name)
    shutil.copy(made, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    artifacts = f"file://{tmp_path}/artifacts"
    return Tracking(MlflowExperiments(tracking_uri=uri, artifact_uri=artifacts, object_store=objects), uri, name)


def test_constructing_imports_no_mlflow():
    code = (
        "import sys\nfrom resources.experiments import MlflowExperiments\n"
        "from resources.object_store import DirectoryObjectStore\n"
        "objects = DirectoryObjectStore(root='nowhere')\n"
        "MlflowExperiments(tracking_uri='sqlite:///nowhere.db', object_store=objects)\n"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_keeps_params_metrics_tags_and_artifacts_and_is_finished(tracking):
    with tracking.experiments.run(tracking.name, dagster_run_id="run-1", tags={"model_digest": "abc"}) as run:
        run.params({"rounds": 10, **{f"p{number}": number for number in range(150)}})
        run.metrics({"accuracy": 0.95})
        run.tags({"dataset_version": "7"})
        run.artifact("evaluation.json", b'{"a": 1}')
    (found,) = tracking.runs
    assert (found.info.run_id, found.info.status) == (run.run_id, "FINISHED")
    assert (found.data.params["rounds"], len(found.data.params)) == ("10", 151)
    assert found.data.metrics == {"accuracy": 0.95}
    tags = found.data.tags
    assert (tags["model_digest"], tags["dataset_version"], tags[RUN_TAG]) == ("abc", "7", "run-1")
    assert Path(tracking.client.download_artifacts(run.run_id, "evaluation.json")).read_bytes() == b'{"a": 1}'


def test_a_run_whose_block_raises_is_failed(tracking):
    with (
        pytest.raises(RuntimeError, match="job failed"),
        tracking.experiments.run(tracking.name, dagster_run_id="r", tags={}),
    ):
        raise RuntimeError("job failed")
    assert tracking.statuses == ["FAILED"]


def test_steps_of_one_dagster_run_share_one_run_and_another_dagster_run_gets_its_own(tracking):
    first, second, other = (tracking.log(dagster_run) for dagster_run in ("r1", "r1", "r2"))
    assert (first == second, second != other) == (True, True)


def test_a_run_that_fails_in_its_second_step_is_failed(tracking):
    tracking.log("r")
    with pytest.raises(ValueError, match="no"), tracking.experiments.run(tracking.name, dagster_run_id="r", tags={}):
        raise ValueError("no")
    assert tracking.statuses == ["FAILED"]


def test_a_run_that_a_killed_process_left_open_can_be_marked_failed(tracking):
    experiment = tracking.client.create_experiment(tracking.name)
    tracking.client.create_run(experiment, tags={RUN_TAG: f"killed-{tracking.name}"})  # it died before the next request
    assert (tracking.experiments.mark_failed("another"), tracking.statuses) == (0, ["RUNNING"])
    assert (tracking.experiments.mark_failed(f"killed-{tracking.name}"), tracking.statuses) == (1, ["FAILED"])


def test_nothing_is_written_into_the_working_directory(tracking, monkeypatch, tmp_path_factory):
    here = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(here)
    with tracking.experiments.run(tracking.name, dagster_run_id="r", tags={}) as run:
        run.artifact("evaluation.json", b"{}")
    assert list(here.iterdir()) == []


def test_the_settings_of_the_process_stay_as_they_are(tracking):
    before = {name: text for name, text in os.environ.items() if "TRACKING_URI" in name or "EXPERIMENT" in name}
    tracking.log("r")
    assert {name: text for name, text in os.environ.items() if "TRACKING_URI" in name or "EXPERIMENT" in name} == before


def test_what_the_store_will_never_take_is_set_aside_and_holds_up_nobody(tracking):
    said = tracking.log("r", **{"is this a metric?!": 1.0})
    assert said.startswith("not written: MLflow refuses it (")
    assert tracking.waiting() == []
    aside = said.rpartition("kept as ")[2]
    assert json.loads(tracking.experiments.object_store.get(aside))["metrics"] == {"is this a metric?!": 1.0}


# Outages -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def front(mlflow_server, monkeypatch) -> Iterator[Proxy]:
    """A proxy before the server, and a client that is quick to give up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Proxy(mlflow_server.url) as proxy:
        yield proxy


@pytest.fixture
def behind(front, mlflow_server, tmp_path) -> Tracking:
    objects = DirectoryObjectStore(root=str(tmp_path / "objects"), durable=False)
    experiments = MlflowExperiments(tracking_uri=front.url, object_store=objects, patience_seconds=10)
    return Tracking(experiments, mlflow_server.url, f"demo-{uuid.uuid4().hex[:8]}")


def refuse(status: int, at: str = "/") -> Callable[[Request, Forward], Answer]:
    return lambda request, forward: Answer(status, b"{}") if at in request.path else forward(request)


def lose_the_answer(at: str) -> Callable[[Request, Forward], Answer]:
    """The server does what it is asked, and the answer never arrives."""

    def meddle(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        return Answer(503, b"{}") if at in request.path else answer

    return meddle


def caught_up(tracking: Tracking, front: Proxy) -> tuple[int, int]:
    front.meddle = lambda request, forward: forward(request)
    tracking.later()
    done = tracking.experiments.catch_up()
    return done.written, done.waiting


@pytest.mark.parametrize(
    "meddle",
    [
        pytest.param(refuse(429), id="a rate limit"),
        pytest.param(refuse(503), id="an outage"),
        pytest.param(refuse(503, at="/runs/log-batch"), id="an outage in the middle of a run"),
        pytest.param(lose_the_answer("/runs/create"), id="the answer to the creation is lost"),
        pytest.param(lose_the_answer("/runs/log-batch"), id="the answer to the values is lost"),
        pytest.param(lose_the_answer("/runs/update"), id="the answer to the end is lost"),
    ],
)
def test_what_could_not_be_written_is_said_kept_and_written_later_once(behind, front, meddle):
    front.meddle = meddle
    said = behind.log("r", accuracy=0.9)
    assert said.startswith("not written yet: MLflow cannot be written to (")
    assert "the sensor `catch_up_experiments` writes it" in said
    assert behind.experiments.catch_up().waiting == 1  # a request that was given up may still be under way
    assert caught_up(behind, front) == (1, 0)
    assert (behind.statuses, behind.history("accuracy")) == (["FINISHED"], [0.9])
    assert behind.waiting() == []


def test_a_server_that_hangs_fails_nothing_and_a_late_creation_makes_no_second_run(behind, mlflow_server):
    behind.experiments = MlflowExperiments(
        tracking_uri=mlflow_server.url, object_store=behind.experiments.object_store, patience_seconds=2
    )
    behind.experiments.warm_up()
    mlflow_server.pause()
    try:
        said = behind.log("r", accuracy=0.9)
        behind.later()
        assert behind.experiments.catch_up().waiting == 1
    finally:
        mlflow_server.resume()
    assert said.startswith("not written yet: MLflow")
    assert behind.experiments.catch_up().written == 1
    assert (behind.statuses, behind.history("accuracy")) == (["FINISHED"], [0.9])


def test_runs_that_an_answer_that_was_lost_left_empty_are_removed(behind):
    experiment = behind.client.create_experiment(behind.name)
    for _ in range(2):
        behind.client.create_run(experiment, tags={RUN_TAG: "r"})
    behind.log("r", accuracy=0.9)
    assert (behind.statuses, behind.history("accuracy")) == (["FINISHED"], [0.9])


def test_a_step_that_is_written_late_does_not_change_how_the_run_ended_since(behind, front):
    front.meddle = refuse(503)
    with behind.experiments.run(behind.name, dagster_run_id="r", tags={"step": "model", "digest": "abc"}) as run:
        run.metrics({"loss": 0.5})
    front.meddle = lambda request, forward: forward(request)
    behind.later()
    with (
        pytest.raises(ValueError, match="no"),
        behind.experiments.run(behind.name, dagster_run_id="r", tags={"step": "evaluation"}),
    ):
        raise ValueError("no")
    ended = behind.runs[0].info.end_time
    assert behind.experiments.catch_up().written == 1
    (found,) = behind.runs
    assert (found.info.status, found.info.end_time) == ("FAILED", ended)
    assert (found.data.tags["step"], found.data.tags["digest"]) == ("evaluation", "abc")
    assert found.data.metrics == {"loss": 0.5}


def test_a_run_that_was_left_open_during_an_outage_is_ended_later(behind, front):
    experiment = behind.client.create_experiment(behind.name)
    behind.client.create_run(experiment, tags={RUN_TAG: behind.name})
    front.meddle = refuse(503)
    assert behind.experiments.mark_failed(behind.name) == 0
    assert caught_up(behind, front) == (1, 0)
    assert behind.statuses == ["FAILED"]


def test_the_error_of_a_training_is_raised_and_not_that_of_the_tracking(behind, front):
    front.meddle = refuse(503)
    with pytest.raises(RuntimeError, match="job failed"), behind.experiments.run("x", dagster_run_id="r", tags={}):
        raise RuntimeError("job failed")
    assert len(behind.waiting()) == 1


def test_the_sensor_writes_what_waits_and_says_so(behind, front):
    front.meddle = refuse(503)
    behind.experiments._clock = lambda: 1000.0  # long ago; Dagster copies resources for each tick, with the real clock
    behind.log("r", accuracy=0.9)

    def tick() -> str:
        with dg.build_sensor_context(resources={"experiments": behind.experiments}) as context:
            return str(catch_up_experiments.evaluate_tick(context).skip_message)

    assert tick().startswith("0 experiment(s) written late, 1 still wait: MLflow cannot be written to (")
    front.meddle = lambda request, forward: forward(request)
    assert tick() == "1 experiment(s) written late, 0 still wait."
    assert tick() == "Every experiment is written."


# The choice ----------------------------------------------------------------------------------------------------------


def test_the_server_is_used_where_one_is_named(tmp_path):
    variables = {"LEDGERLINE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "https://mlflow.example.com"}
    chosen = build_resources(settings=read_settings(variables=variables))["experiments"]
    assert (chosen.tracking_uri, chosen.artifact_uri) == ("https://mlflow.example.com", None)
    embedded = build_resources(settings=read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)}))["experiments"]
    assert embedded.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("https://kim:hunter2@mlflow.example.com", "MLFLOW_TRACKING_PASSWORD"),
        ("databricks", "no address of an MLflow server"),
        ("https://", "no address of an MLflow server"),
    ],
)
def test_an_address_that_holds_a_password_or_is_none_is_refused_without_showing_it(url, remedy):
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        read_settings(variables={"MLFLOW_TRACKING_URI": url})
    assert "hunter2" not in str(caught.value)
