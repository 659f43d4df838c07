"""Port `experiments`: what was trained with what and how good it was, in MLflow (SQLite here, a server in production).

A step's values are gathered first and written at its end, by a thread that is waited for `patience_seconds` and no longer:
tracking that is down, hung, slow or refuses never fails a training. What could not be written waits in the object store,
and `catch_up` writes it; written twice it is the same run, since runs are found again and values keep their times.

dagster-mlflow's `MlFlow` takes up the one MLflow run of a Dagster run, tags it and logs parameters in pieces. What it does
not do is done here: it leaves a run FINISHED when an asset failed (its hook belongs to op jobs, and asset runs of
automation have no hooks), so runs are closed by this port, FINISHED or FAILED.

Importing mlflow costs seconds, and so does its first use of a SQLite file (the schema is migrated step by step):
`warm_up` does both in a thread while something else, e.g. a training job, is waited for.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import ResourceDependency
from pydantic import Field, PrivateAttr

from ledgerline.alerts import without_secrets
from ledgerline.errors import LedgerlineError
from ledgerline.ports import ObjectStore
from ledgerline.release.experiment_records import ExperimentRecord, Spool
from ledgerline.release.ports import CaughtUp
from resources.environment import kept_variables

# mlflow keeps the tracking URI and the active experiment in globals of the process, so runs are written one at a time.
_ONE_AT_A_TIME = threading.Lock()
RUN_TAG = "dagster_run_id"  # the tag by which dagster-mlflow finds the run again
ENDED_TAG = "ledgerline.ended"  # when the newest step that was written ended, and how: late steps do not change it
# Of mlflow's client. Its own defaults wait up to half an hour; who is patient here is `catch_up`, which asks again.
REQUEST_SECONDS, REQUEST_RETRIES = 5, 2
SETTLED_SECONDS = 60.0  # a request that was given up may still be under way: what is younger is left to the next time
LONGEST_REASON = 300
# What MLflow says of a value that it will never take; everything else may be otherwise in an hour.
_NEVER = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


class _NotWritten(Exception):
    """The message says why; the next try may succeed."""


class _Refused(Exception):
    """MLflow will never take this; the message is its own."""


class MlflowExperiments(dg.ConfigurableResource):
    """Experiments in MLflow. Constructing neither imports mlflow nor opens anything.

    A server that asks for a user gets what MLflow's own variables say: MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN.
    """

    tracking_uri: str = Field(description="sqlite:////path/mlflow.db, or the URL of an MLflow server.")
    artifact_uri: str | None = Field(
        default=None, description="Where artifacts of new experiments go; an MLflow server knows by itself."
    )
    object_store: ResourceDependency[ObjectStore]
    patience_seconds: float = Field(default=20.0, gt=0, description="The longest that a step waits for MLflow.")

    _warming: Any = PrivateAttr(default=None)
    _clock: Callable[[], float] = PrivateAttr(default=time.time)

    def warm_up(self) -> None:
        """Import mlflow, and bring the schema of a file up to date, in a thread of its own. Returns at once."""
        if self._warming is None:
            self._warming = threading.Thread(target=self._warm, name="mlflow-warm-up", daemon=True)
            self._warming.start()

    @contextmanager
    def run(self, experiment: str, *, dagster_run_id: str, tags: Mapping[str, str]) -> Iterator["MlflowRun"]:
        """Gather what the block logs, then write it: FINISHED, or FAILED if the block raises. Its errors alone are raised."""
        record = ExperimentRecord(experiment, dagster_run_id, started=self._now(), tags=dict(tags))
        run = MlflowRun(record)
        try:
            yield run
            record.status = "FINISHED"
        finally:
            record.ended = self._now()
            run.run_id = self._write_or_keep(record)

    def mark_failed(self, dagster_run_id: str) -> int:
        """End every run that this Dagster run left RUNNING (its process was killed) as FAILED; returns how many.

        0 also where MLflow could not be asked: it is done later then.
        """
        now = self._now()
        answer = self._write_or_keep(ExperimentRecord("", dagster_run_id, started=now, ended=now, left_open=True))
        return int(answer) if answer.isdigit() else 0

    def catch_up(self) -> CaughtUp:
        """Write what waits, the oldest first, until MLflow fails or `patience_seconds` are over."""
        spool = Spool(self.object_store)
        waiting = list(spool.waiting())
        end = time.monotonic() + self.patience_seconds
        written = refused = 0
        reason = ""
        for uri in waiting:
            if reason or time.monotonic() >= end:
                break
            if self._clock() - _ended(uri) < SETTLED_SECONDS:
                continue
            try:
                self._deliver(spool.read(uri))
            except _NotWritten as why:
                reason = str(why)
            except (_Refused, LedgerlineError) as why:
                refused += 1
                _log().warning("%s; it was set aside as %s.", why, spool.set_aside(uri))
            else:
                spool.drop(uri)
                written += 1
        return CaughtUp(written, len(waiting) - written - refused, refused, reason)

    def _write_or_keep(self, record: ExperimentRecord) -> str:
        """What MLflow answered, or the sentence why it is not written yet."""
        try:
            return self._deliver(record)
        except (_NotWritten, _Refused) as why:
            said = self._keep(record, why)
            _log().warning("Experiment %s of run %s is %s.", record.experiment, record.dagster_run_id, said)
            return said

    def _keep(self, record: ExperimentRecord, why: Exception) -> str:
        spool = Spool(self.object_store)
        try:
            uri = spool.keep(record)
            if isinstance(why, _Refused):
                return f"not written: {why}; it is kept as {spool.set_aside(uri)}"
        except (LedgerlineError, OSError) as error:
            return f"not written: {why}, and it could not be kept either ({error}): look at both stores"
        return f"not written yet: {why}; it is kept as {uri}, and the sensor `catch_up_experiments` writes it"

    def _deliver(self, record: ExperimentRecord) -> str:
        """Write a record now: the id of its run, or how many were left open. Raises _NotWritten or _Refused in time."""
        self._wait_until_warm()
        answers: list[str | Exception] = []
        end = time.monotonic() + self.patience_seconds
        # A thread of its own also because mlflow keeps the active run in thread-local state: nothing of a try is left.
        thread = threading.Thread(target=self._try, args=(record, end, answers), name="mlflow", daemon=True)
        thread.start()
        thread.join(self.patience_seconds)
        if not answers:
            raise _NotWritten(f"MLflow did not answer within {self.patience_seconds:g} s")
        (answer,) = answers
        if isinstance(answer, str):
            return answer
        said = without_secrets(" ".join(str(answer).split()))[:LONGEST_REASON]
        if getattr(answer, "error_code", None) in _NEVER:
            raise _Refused(f"MLflow refuses it ({said})") from answer
        raise _NotWritten(f"MLflow cannot be written to ({said})") from answer

    def _try(self, record: ExperimentRecord, end: float, answers: list[str | Exception]) -> None:
        if not _ONE_AT_A_TIME.acquire(timeout=max(0.0, end - time.monotonic())):
            return
        try:
            answers.append(self._left_open(record) if record.left_open else self._write(record, end))
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            answers.append(error)
        finally:
            _ONE_AT_A_TIME.release()

    def _left_open(self, record: ExperimentRecord) -> str:
        client = self._client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        left = [run for run in _runs_of(client, experiments, record.dagster_run_id) if run.info.status == "RUNNING"]
        for run in left:
            client.set_terminated(run.info.run_id, status="FAILED", end_time=record.ended)
        return str(len(left))

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Nothing is written: MLflow keeps what is deleted."""
        yield "reach, read"
        if self.tracking_uri.startswith("sqlite"):
            self._wait_until_warm()  # the first use of a file makes its schema
        with _plainly(self.tracking_uri):
            self._client().search_experiments(max_results=1)

    def _write(self, record: ExperimentRecord, end: float) -> str:
        """Nothing is asked after `end`: the one who waited has gone, and has kept the record."""
        from dagster_mlflow.resources import MlFlow

        client = self._client()
        run_id, tags = self._run_of(client, record, end)
        mine = f"{record.ended:015d} {record.status}"
        last = max(mine, tags.get(ENDED_TAG, ""))
        told = record.tags if last == mine else {name: text for name, text in record.tags.items() if name not in tags}
        config = {
            "experiment_name": record.experiment,
            "mlflow_tracking_uri": self.tracking_uri,
            "mlflow_run_id": run_id,
            "extra_tags": {**told, ENDED_TAG: last},
        }
        _in_time(end)
        job = _DagsterRun(job_name=record.experiment)
        # mlflow tells its tracking URI and experiment to child processes by variables, which are settings of ours.
        with kept_variables("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
            mlflow: Any = MlFlow(_ResourceContext(dg.get_dagster_logger("mlflow"), job, record.dagster_run_id, config))
        _in_time(end)
        if record.params:
            mlflow.log_params(record.params)
        if record.metrics:
            _in_time(end)
            mlflow.log_metrics(
                record.metrics, timestamp=record.ended
            )  # the same value once, however often it is written
        for name, body in record.artifacts.items():
            _in_time(end)
            _log_artifact(mlflow, name, body)
        _in_time(end)
        ended, status = last.split()
        mlflow.end_run(status=status)
        client.set_terminated(run_id, status=status, end_time=int(ended))
        return run_id

    def _run_of(self, client: Any, record: ExperimentRecord, end: float) -> tuple[str, dict[str, str]]:
        """The one run of a Dagster run in an experiment, and its tags; it is made where it is not there."""
        found = client.get_experiment_by_name(record.experiment)
        if found is None:
            location = f"{self.artifact_uri}/{record.experiment}" if self.artifact_uri else None
            experiment = client.create_experiment(record.experiment, artifact_location=location)
        elif found.lifecycle_stage != "active":
            raise LedgerlineError(f"the experiment {record.experiment} was deleted in MLflow: restore it")
        else:
            experiment = found.experiment_id
        _in_time(end)
        runs = _runs_of(client, [experiment], record.dagster_run_id)
        if not runs:
            tags = {RUN_TAG: record.dagster_run_id}
            _in_time(end)
            client.create_run(experiment, start_time=record.started, tags=tags, run_name=record.experiment)
            _in_time(end)
            runs = _runs_of(client, [experiment], record.dagster_run_id)
        first, *others = runs
        for other in others:  # made by a request whose answer was lost, and filled by nobody
            if ENDED_TAG not in other.data.tags:
                client.delete_run(other.info.run_id)
        return first.info.run_id, dict(first.data.tags)

    def _client(self) -> Any:
        return _client(self.tracking_uri)

    def _warm(self) -> None:
        file = self.tracking_uri.removeprefix("sqlite:///")
        if file != self.tracking_uri:
            if not os.path.exists(file):
                # In a process of its own: migrations use globals of Alembic, and Dagster's SQLite storage does too.
                script = "import sys\nfrom resources.experiments import make_schema\nmake_schema(sys.argv[1])"
                subprocess.run([sys.executable, "-c", script, self.tracking_uri], check=True, capture_output=True)
            make_schema(self.tracking_uri)
        import dagster_mlflow.resources  # noqa: F401  # its metaclass reads every attribute of mlflow: also slow

    def _wait_until_warm(self) -> None:
        self.warm_up()
        self._warming.join()

    def _now(self) -> int:
        return int(self._clock() * 1000)


@dataclass(slots=True)
class MlflowRun:
    """A run behind the port `ExperimentRun`: what is logged goes into its record."""

    record: ExperimentRecord
    run_id: str = ""

    def params(self, values: Mapping[str, object]) -> None:
        self.record.params |= {name: str(value) for name, value in values.items()}

    def metrics(self, values: Mapping[str, float]) -> None:
        self.record.metrics |= {name: float(value) for name, value in values.items()}

    def tags(self, values: Mapping[str, str]) -> None:
        self.record.tags |= values

    def artifact(self, name: str, body: bytes) -> None:
        self.record.artifacts[name] = body


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


@contextmanager
def _plainly(tracking_uri: str) -> Iterator[None]:
    """What MLflow raises where it cannot be used, as one sentence with the remedy."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        words = " ".join(str(error).split())[:200]
        raise LedgerlineError(
            f"MLflow at {tracking_uri} cannot be used ({without_secrets(words)}): check MLFLOW_TRACKING_URI and that it"
            " runs, then run again."
        ) from error


def make_schema(tracking_uri: str) -> None:
    """The first use of a database makes its schema."""
    _client(tracking_uri).search_experiments(max_results=1)


def _client(tracking_uri: str) -> Any:
    _say_nothing_to_anybody()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(REQUEST_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(REQUEST_RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def _runs_of(client: Any, experiments: list[str], dagster_run_id: str) -> list[Any]:
    """Runs of a Dagster run: those that were written to before empty ones, then by their ids."""
    found = client.search_runs(experiments, filter_string=f"tags.{RUN_TAG} = '{dagster_run_id}'")
    return sorted(found, key=lambda run: (ENDED_TAG not in run.data.tags, run.info.run_id))


def _log_artifact(mlflow: Any, name: str, body: bytes) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(body)
        mlflow.log_artifact(str(path))


def _in_time(end: float) -> None:
    if time.monotonic() >= end:
        raise TimeoutError("the time for it is over")


def _ended(uri: str) -> float:
    """When a kept record ended, in seconds since 1970, by its name."""
    return int(uri.rsplit("/", 1)[-1].partition("-")[0]) / 1000


def _log() -> Any:
    return dg.get_dagster_logger("experiments")


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
