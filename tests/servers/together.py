"""The servers that stand in for AWS, all at once: what `make servers` and `make demo-real` start.

Here: which there are, started in parallel, and the variables that point the platform at each. How one is had and started is
in its own module. `with running(logs) as started:`; all end with the block, and their logs stay in the folder `logs`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import gremlin, opensearch
from tests.servers.mlflow import MlflowServer, NoMlflow
from tests.servers.moto import MotoServer, NoMoto
from tests.servers.postgres import NoPostgres, running_postgres

BUCKET = "ledgerline-servers"
Running = Callable[[Path], AbstractContextManager[Mapping[str, str]]]  # takes the file of its log, gives its variables


@dataclass(frozen=True)
class Server:
    """A server that was asked for: what it took, and its variables; or, in `missing`, why it is not there."""

    name: str
    seconds: float
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


@contextmanager
def _opensearch(log: Path) -> Iterator[Mapping[str, str]]:
    with opensearch.OpenSearchServer() as server, _kept(server.log, log):
        yield {"OPENSEARCH_URL": server.url, "OPENSEARCH_SERVICE": "none"}


@contextmanager
def _gremlin(log: Path) -> Iterator[Mapping[str, str]]:
    with gremlin.running_gremlin(heap="2g", transactions=False) as server, _kept(server.log, log):
        yield {"NEPTUNE_ENDPOINT": server.url, "NEPTUNE_IAM": "off"}


@contextmanager
def _postgres(log: Path) -> Iterator[Mapping[str, str]]:
    with running_postgres(log) as url:
        yield {"LEDGERLINE_DATABASE_URL": url}


@contextmanager
def _mlflow(log: Path) -> Iterator[Mapping[str, str]]:
    with MlflowServer() as server, _kept(server.log, log):
        yield {"MLFLOW_TRACKING_URI": server.url}


@contextmanager
def _moto(log: Path) -> Iterator[Mapping[str, str]]:
    import boto3

    with MotoServer() as server, _kept(server.log, log):
        access = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        boto3.Session(**access).client("s3", endpoint_url=server.url).create_bucket(Bucket=BUCKET)
        yield {**server.variables(), "LEDGERLINE_BUCKET": BUCKET}


SERVERS: Mapping[str, Running] = {
    f"OpenSearch {opensearch.VERSION}": _opensearch,
    f"Gremlin Server {gremlin.VERSION}": _gremlin,
    "PostgreSQL": _postgres,
    "MLflow": _mlflow,
    "AWS (moto)": _moto,
}
MISSING = (opensearch.NoOpenSearch, gremlin.NoGremlinServer, NoPostgres, NoMlflow, NoMoto)


@contextmanager
def running(logs: Path, servers: Mapping[str, Running] = SERVERS) -> Iterator[list[Server]]:
    """Start all at once and wait for them. What cannot be had here, or does not start, has `missing`."""
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def start(name: str) -> Server:
            log = logs / f"{name.split()[0].lower()}.log"
            begun = time.monotonic()
            try:
                variables = stack.enter_context(servers[name](log))
            except (*MISSING, RuntimeError) as missing:  # RuntimeError: it did not start, with the end of its log
                return Server(name, time.monotonic() - begun, log, missing=str(missing))
            return Server(name, time.monotonic() - begun, log, variables)

        with ThreadPoolExecutor(len(servers)) as starting:
            started = [starting.submit(start, name) for name in servers]
        yield [one.result() for one in started]


@contextmanager
def _kept(log: Path, target: Path) -> Iterator[None]:
    """`target` is the log of a server while it runs, and a copy once its folder is removed."""
    target.unlink(missing_ok=True)
    target.symlink_to(log)
    try:
        yield
    finally:
        target.unlink()
        shutil.copyfile(log, target)
