"""What any `experiments` must do, on MLflow with SQLite. The schema is made once for the module: it costs seconds."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from resources.experiments import MlflowExperiments


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowExperiments(tracking_uri=f"sqlite:///{folder}/mlflow.db").mark_failed("nobody")
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path, made) -> Path:
    shutil.copy(made, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def experiments(home) -> MlflowExperiments:
    return MlflowExperiments(tracking_uri=f"sqlite:///{home}/mlflow.db", artifact_uri=f"file://{home}/artifacts")


def rows(home: Path, query: str) -> list[tuple]:
    with sqlite3.connect(home / "mlflow.db") as connection:
        return connection.execute(query).fetchall()


def statuses(home: Path) -> list[str]:
    return [status for (status,) in rows(home, "select status from runs order by start_time")]


def test_constructing_imports_no_mlflow():
    code = (
        "import sys\nfrom resources.experiments import MlflowExperiments\n"
        "MlflowExperiments(tracking_uri='sqlite:///nowhere.db')\n"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_keeps_params_metrics_tags_and_artifacts_and_is_finished(home, experiments):
    with experiments.run("demo", dagster_run_id="run-1", tags={"model_digest": "abc"}) as run:
        run.params({"rounds": 10, **{f"p{number}": number for number in range(150)}})
        run.metrics({"accuracy": 0.95})
        run.tags({"dataset_version": "7"})
        run.artifact("evaluation.json", b'{"a": 1}')
    assert statuses(home) == ["FINISHED"]
    assert ("rounds", "10") in rows(home, "select key, value from params")
    assert rows(home, "select key, value from metrics") == [("accuracy", 0.95)]
    tags = dict(rows(home, "select key, value from tags"))
    assert (tags["model_digest"], tags["dataset_version"], tags["dagster_run_id"]) == ("abc", "7", "run-1")
    assert [path.read_bytes() for path in home.glob("artifacts/demo/*/artifacts/evaluation.json")] == [b'{"a": 1}']


def test_a_run_whose_block_raises_is_failed(home, experiments):
    with pytest.raises(RuntimeError, match="job failed"), experiments.run("demo", dagster_run_id="r", tags={}):
        raise RuntimeError("job failed")
    assert statuses(home) == ["FAILED"]


def test_steps_of_one_dagster_run_share_one_run_and_another_dagster_run_gets_its_own(home, experiments):
    seen = []
    for dagster_run in ("r1", "r1", "r2"):
        with experiments.run("demo", dagster_run_id=dagster_run, tags={}) as run:
            seen.append(run.run_id)
    assert (seen[0] == seen[1], seen[1] != seen[2]) == (True, True)


def test_a_run_that_fails_in_its_second_step_is_failed(home, experiments):
    with experiments.run("demo", dagster_run_id="r", tags={}):
        pass
    with pytest.raises(ValueError, match="no"), experiments.run("demo", dagster_run_id="r", tags={}):
        raise ValueError("no")
    assert statuses(home) == ["FAILED"]


def test_a_run_that_a_killed_process_left_open_can_be_marked_failed(home, experiments):
    code = (
        "import os\nfrom resources.experiments import MlflowExperiments\n"
        f"e = MlflowExperiments(tracking_uri='sqlite:///{home}/mlflow.db', artifact_uri='file://{home}/artifacts')\n"
        "with e.run('demo', dagster_run_id='killed', tags={}):\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert statuses(home) == ["RUNNING"]
    assert (experiments.mark_failed("another"), statuses(home)) == (0, ["RUNNING"])
    assert (experiments.mark_failed("killed"), statuses(home)) == (1, ["FAILED"])


def test_nothing_is_written_into_the_working_directory(home, experiments, monkeypatch, tmp_path_factory):
    here = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(here)
    with experiments.run("demo", dagster_run_id="r", tags={}) as run:
        run.artifact("evaluation.json", b"{}")
    assert list(here.iterdir()) == []
