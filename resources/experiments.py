"""Port `experiments`: what was trained with what and how good it was, in MLflow (SQLite here, a server in production).

dagster-mlflow's `MlFlow` finds or starts the one MLflow run of a Dagster run, tags it and logs parameters in pieces.
What it does not do is done here: it leaves a run FINISHED when an asset failed (its hook belongs to op jobs, and asset
runs of automation have no hooks), so runs are closed by this port, FINISHED or FAILED.

Importing mlflow costs seconds, and so does its first use of a SQLite file (the schema is migrated step by step):
`warm_up` does both in a thread while something else, e.g. a training job, is waited for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

# mlflow keeps the tracking URI and the active run in globals of the process, so runs are opened one at a time.
_ONE_AT_A_TIME = threading.RLock()
RUN_TAG = "dagster_run_id"  # the tag by which dagster-mlflow finds the run again


class MlflowExperiments(dg.ConfigurableResource):
    """Experiments in MLflow. Constructing neither imports mlflow nor opens anything."""

    tracking_uri: str = Field(description="sqlite:////path/mlflow.db, or the URL of an MLflow server.")
    artifact_uri: str | None = Field(
        default=None, description="Where artifacts of new experiments go; an MLflow server knows by itself."
    )

    _warming: Any = PrivateAttr(default=None)

    def warm_up(self) -> None:
        """Import mlflow and bring its schema up to date in a thread of its own. Returns at once."""
        if self._warming is None:
            self._warming = threading.Thread(target=self._warm, name="mlflow-warm-up", daemon=True)
            self._warming.start()

    @contextmanager
    def run(self, experiment: str, *, dagster_run_id: str, tags: Mapping[str, str]) -> Iterator[MlflowRun]:
        """Open the MLflow run of this Dagster run in an experiment; FINISHED at the end, FAILED if the block raises."""
        with _ONE_AT_A_TIME:
            self._wait_until_warm()
            mlflow_run = self._open(experiment, dagster_run_id, tags)
            status = "FAILED"
            try:
                yield MlflowRun(mlflow_run)
                status = "FINISHED"
            finally:
                mlflow_run.end_run(status=status)

    def mark_failed(self, dagster_run_id: str) -> int:
        """End every run that this Dagster run left RUNNING (its process was killed) as FAILED; returns how many."""
        self._wait_until_warm()
        client = self._client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        query = f"tags.{RUN_TAG} = '{dagster_run_id}' and attributes.status = 'RUNNING'"
        left = client.search_runs(experiments, filter_string=query)
        for run in left:
            client.set_terminated(run.info.run_id, status="FAILED")
        return len(left)

    def _open(self, experiment: str, dagster_run_id: str, tags: Mapping[str, str]) -> Any:
        from dagster_mlflow.resources import MlFlow

        client = self._client()
        if client.get_experiment_by_name(experiment) is None:
            location = f"{self.artifact_uri}/{experiment}" if self.artifact_uri else None
            client.create_experiment(experiment, artifact_location=location)
        config = {
            "experiment_name": experiment,
            "mlflow_tracking_uri": self.tracking_uri,
            "extra_tags": dict(tags),
        }
        run = _DagsterRun(job_name=experiment)
        return MlFlow(_ResourceContext(dg.get_dagster_logger("mlflow"), run, dagster_run_id, config))

    def _client(self) -> Any:
        _say_nothing_to_anybody()
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    def _warm(self) -> None:
        file = self.tracking_uri.removeprefix("sqlite:///")
        if file != self.tracking_uri and not os.path.exists(file):
            # In a process of its own: migrations use globals of Alembic, and Dagster's SQLite storage does too.
            script = (
                "import sys\nfrom resources.experiments import MlflowExperiments\n"
                "MlflowExperiments(tracking_uri=sys.argv[1])._touch()"
            )
            subprocess.run([sys.executable, "-c", script, self.tracking_uri], check=True, capture_output=True)
        self._touch()
        import dagster_mlflow.resources  # noqa: F401  # its metaclass reads every attribute of mlflow: also slow

    def _touch(self) -> None:
        """The first use of a database makes its schema."""
        self._client().search_experiments(max_results=1)

    def _wait_until_warm(self) -> None:
        self.warm_up()
        self._warming.join()


@dataclass(frozen=True, slots=True)
class MlflowRun:
    """An open MLflow run behind the port `ExperimentRun`."""

    mlflow: Any

    @property
    def run_id(self) -> str:
        return self.mlflow.active_run().info.run_id

    def params(self, values: Mapping[str, object]) -> None:
        self.mlflow.log_params(dict(values))

    def metrics(self, values: Mapping[str, float]) -> None:
        self.mlflow.log_metrics(dict(values))

    def tags(self, values: Mapping[str, str]) -> None:
        self.mlflow.set_tags(dict(values))

    def artifact(self, name: str, body: bytes) -> None:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(body)
            self.mlflow.log_artifact(str(path))


@dataclass(frozen=True, slots=True)
class _DagsterRun:
    job_name: str


@dataclass(frozen=True, slots=True)
class _ResourceContext:
    """What `MlFlow` reads of a resource context: it is made for a resource that is configured before the run."""

    log: Any
    dagster_run: _DagsterRun
    run_id: str
    resource_config: Mapping[str, Any]


def _say_nothing_to_anybody() -> None:
    """MLflow sends usage statistics unless told not to, and writes every migration step to stderr; `MlFlow` is beta."""
    import logging
    import warnings

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore", message=r".*is currently in beta", module=r"dagster_mlflow|resources\.experiments"
    )
