"""Batches as tasks of Ray: the third implementation of `ledgerline.ports.Compute`, beside those of `compute.py`.

A task starts `resources.parse_worker` in a process of its own, as everywhere: a filing that kills its parser kills no
worker of Ray, and the parser sees no secret that a worker of Ray has in its environment. What Ray is, is in `engine.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from dagster import PipesTempFileContextInjector, PipesTempFileMessageReader, open_pipes_session
from pydantic import Field

from ledgerline.errors import ConfigurationError
from ledgerline.ports import Attempt, Batch, Ended, ObjectStore
from resources.compute import PIPES_PREFIX, STOP_SECONDS, _Compute, _Output, _s3_session
from resources.engine import connected
from resources.environment import ROOT, worker_variables
from resources.object_store import S3ObjectStore

OUTPUT_BYTES = 20_000  # of a worker's output, its end


class RayCompute(_Compute):
    """A task of Ray with one processor per batch, `parallel` at once. A cluster needs objects in S3, and this image."""

    address: str = Field(default="", description="ray://host:10001; empty: Ray is started on this machine.")

    def _starter(self, store: Mapping[str, Any], objects: ObjectStore, step: Any) -> Any:
        if self.address and not isinstance(objects, S3ObjectStore):
            raise ConfigurationError(
                "a cluster of Ray cannot reach an object store in a folder: use LEDGERLINE_ENV=prod or branch, which keep "
                "objects in S3, or leave RAY_ADDRESS out"
            )
        ray = connected(self.address)
        return lambda batch, on_demand: _RayTask(
            ray, self, batch, self._extras(batch, store), objects, step, on_demand=on_demand
        )


class _RayTask:
    def __init__(
        self,
        ray: Any,
        compute: RayCompute,
        batch: Batch,
        extras: dict[str, Any],
        objects: ObjectStore,
        step: Any,
        *,
        on_demand: bool,
    ) -> None:
        self.batch = batch
        self.on_demand = on_demand
        self._ray = ray
        self._seconds = compute.batch_seconds
        self._started = time.monotonic()
        aws = "folder" not in extras["store"]
        with ExitStack() as stack:
            if isinstance(objects, S3ObjectStore):
                session = stack.enter_context(_on_s3(objects, stack, extras, step, compute.poll_seconds))
            else:
                session = stack.enter_context(
                    open_pipes_session(
                        context=step,
                        extras=extras,
                        context_injector=PipesTempFileContextInjector(),
                        message_reader=PipesTempFileMessageReader(),
                    )
                )
            task = ray.remote(_run_worker).options(num_cpus=1, max_retries=0)
            variables = dict(session.get_bootstrap_env_vars())
            if isinstance(objects, S3ObjectStore):
                variables |= {"AWS_DEFAULT_REGION": objects.region}
                variables |= {"AWS_ENDPOINT_URL_S3": objects.endpoint_url} if objects.endpoint_url else {}
            self._reference = task.remote(compute.worker, variables, aws, compute.batch_seconds)
            self._stack = stack.pop_all()

    def look(self) -> Attempt | None:
        done, _ = self._ray.wait([self._reference], timeout=0)
        if not done:
            # The task ends by itself in its time, from when it has a processor; what waits for one is not counted.
            return None
        try:
            code, output = self._ray.get(self._reference)
        except self._ray.exceptions.RayTaskError as error:
            return self._attempt("failed", None, str(error.cause), "")
        except self._ray.exceptions.RayError as error:  # its node or its worker is gone
            return self._attempt("lost", None, type(error).__name__, "")
        if code is None:
            return self._attempt("killed", None, f"it took longer than {self._seconds:.0f} s", output)
        if code == 0:
            return self._attempt("done", 0, "", output)
        return self._attempt("killed" if code < 0 or code >= 128 else "failed", code, f"exit code {code}", output)

    def _attempt(self, ended: Ended, code: int | None, why: str, output: str) -> Attempt:
        log = _Output()
        log.write(output)
        where = f"ray {self._reference.hex()[:12]}"
        return Attempt(where, ended, code, time.monotonic() - self._started, why, log.end())

    def stop(self) -> None:
        """Interrupt the task, which stops its process; a worker that does not listen is killed."""
        self._ray.cancel(self._reference)
        done, _ = self._ray.wait([self._reference], timeout=2 * STOP_SECONDS)
        if not done:
            self._ray.cancel(self._reference, force=True)

    def close(self) -> None:
        self._stack.close()


def _on_s3(objects: S3ObjectStore, stack: ExitStack, extras: dict[str, Any], step: Any, interval: float) -> Any:
    """A Pipes session through S3, whose objects are removed in the end."""
    import boto3

    prefix = f"{PIPES_PREFIX}/{uuid.uuid4().hex}"

    def remove() -> None:
        for uri in list(objects.list(objects.uri(prefix))):
            objects.delete(uri)

    stack.callback(remove)
    client = boto3.client("s3", region_name=objects.region, endpoint_url=objects.endpoint_url)
    return _s3_session(objects.bucket, client, interval, prefix, extras, step)


def _run_worker(worker: str, variables: Mapping[str, str], aws: bool, seconds: float) -> tuple[int | None, str]:
    """On a worker of Ray: (exit code, None if it was stopped after its time; the end of its output)."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", worker],
            cwd=ROOT,
            env={**worker_variables(aws=aws), **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            # Not wait(): a task that is cancelled is interrupted between two steps of Python.
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            code = process.poll()
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        output.seek(max(0, output.seek(0, 2) - OUTPUT_BYTES))
        return code, output.read().decode(errors="replace")
