"""What a process or container of the `compute` port runs: `python -m resources.parse_worker`. One batch, then it ends.

It is told by Dagster Pipes which manifest to parse, where its result goes and which object store holds both; what a batch
is, is in `ledgerline.filings.batches`. It imports no Dagster, only `dagster_pipes`: it is started for a second of work.
A second start for the same manifest puts the same result. Exit code 0: the result is there. 1, with a traceback: it is not,
and no filing is the cause.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dagster_pipes import (
    PipesContext,
    PipesEnvVarParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)

REPORT_SECONDS = 5.0
MESSAGE_SECONDS = 2.0  # between two objects of messages on S3


class Objects(Protocol):
    """The part of an object store that a worker needs. `resources.object_store` has all of it, and Dagster's classes."""

    def get(self, uri: str) -> bytes: ...

    def put(self, uri: str, body: bytes) -> object: ...


class Folder:
    """A folder per bucket below `root`, as DirectoryObjectStore keeps it."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def get(self, uri: str) -> bytes:
        return self._path(uri).read_bytes()

    def put(self, uri: str, body: bytes) -> None:
        """Store atomically: a worker that is killed leaves nothing under the URI."""
        path = self._path(uri)
        staging = self._root / ".staging"
        for folder in (path.parent, staging):
            folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=staging)
        with os.fdopen(handle, "wb") as out:
            out.write(body)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)

    def _path(self, uri: str) -> Path:
        return self._root.joinpath(*uri.removeprefix("s3://").split("/"))


class S3:
    """S3, with the credentials that boto3 finds: in a container those of the task's role."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def put(self, uri: str, body: bytes) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._client.put_object(Bucket=bucket, Key=key, Body=body)


def _s3_client(store: Mapping[str, Any]) -> Any:
    import boto3

    return boto3.client("s3", region_name=store.get("region"), endpoint_url=store.get("endpoint_url"))


def open_pipes() -> PipesContext:
    """The Pipes context, from files where it was started as a process, from S3 where as a container."""
    params = PipesEnvVarParamsLoader()
    if not params.is_dagster_pipes_process():
        sys.exit("parse_worker is started by the compute port, which tells it what to parse: materialize `documents`")
    if "bucket" not in params.load_context_params():
        return open_dagster_pipes()
    client = _s3_client({})  # region and endpoint from the container's variables
    return open_dagster_pipes(
        context_loader=PipesS3ContextLoader(client=client),
        message_writer=PipesS3MessageWriter(client=client, interval=MESSAGE_SECONDS),
    )


def run(pipes: PipesContext) -> None:
    """Parse the batch that the context names and put its result."""
    from ledgerline.filings.batches import parse_batch

    store, label = pipes.get_extra("store"), f"batch {pipes.get_extra('batch')[:12]}"
    # A parser that hangs is shown with its traceback, and ends also where nobody is left to stop it.
    faulthandler.dump_traceback_later(pipes.get_extra("seconds"), exit=True)
    objects: Objects = Folder(store["folder"]) if "folder" in store else S3(_s3_client(store))
    said = time.monotonic()

    def progress(done: int, filings: int, size: int, whole: int) -> None:
        nonlocal said
        if done == filings or time.monotonic() - said >= REPORT_SECONDS:
            said = time.monotonic()
            pipes.log.info(f"{label}: {done} of {filings} filings, {size / 1e6:.0f} of {whole / 1e6:.0f} MB")

    objects.put(
        pipes.get_extra("result"), parse_batch(objects.get(pipes.get_extra("manifest")), objects.get, progress=progress)
    )


def main() -> None:
    faulthandler.enable()  # where a segmentation fault was, in the log of the container
    # The first process of a container is not ended by SIGTERM unless it says so, and ECS would wait before it kills.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    with open_pipes() as pipes:
        run(pipes)


if __name__ == "__main__":
    main()
