"""A small day on real servers, of which one falls away in the middle of a step: PostgreSQL, S3, OpenSearch, Gremlin.

One world is shared by the tests of this module, in the order of the graph in which they stand: each breaks a step, looks at
what readers see meanwhile, and lets the next run finish it. In the end everything is as in a world in which nothing broke.
What outages come to in the middle of a single request is in the contract tests of each port; MLflow's are in
`tests/contract/test_experiments_contract.py`, for they fail no run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from platform_assets.definitions import build_defs
from platform_assets.listings import listings
from resources import neptune_client
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake, s3_options
from resources.neptune_graph import NeptuneKnowledgeGraph
from resources.object_store import S3ObjectStore
from resources.opensearch_index import OpenSearchCandidateIndex
from resources.regulators import RegulatorSet
from sensors.failures import authors_message
from tests.graph.test_days import EDGAR, OF_A_DAY, Days, TwoCompanies
from tests.servers.gremlin import GremlinServer, NoGremlinServer, running_gremlin
from tests.servers.moto import MotoServer, NoMoto
from tests.servers.opensearch import NoOpenSearch, OpenSearchServer
from tests.servers.postgres import NoPostgres, running_postgres
from tests.servers.proxy import Answer, Forward, Proxy, Request
from tests.servers.small_archive import DAY, submission
from tests.servers.small_archive import EDGAR as EDGAR_FILINGS

pytestmark = pytest.mark.integration

BUCKET = "outages"
WAITED = 3  # seconds for an answer; small requests that are in order take milliseconds
# Columns that a store names or a clock gives; all else must be as where nothing broke.
OWN = {"graph_version", "index_version", "first_seen_at", "fetched_at", "checked_at", "uri"}


@dataclass
class Servers:
    postgres: str  # URL
    s3: Proxy  # in front of moto, whose objects are in memory: it is cut off, not killed
    opensearch: OpenSearchServer
    gremlin: GremlinServer


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """All four, started at once; skipped, with the reason, where one cannot be had, and a failure in CI."""
    with ExitStack() as stack, ThreadPoolExecutor(4) as starting:
        enter = stack.enter_context
        asked = [
            starting.submit(enter, server)
            for server in (running_postgres(), MotoServer(), OpenSearchServer(), running_gremlin())
        ]
        try:
            postgres, moto, opensearch, gremlin = (one.result() for one in asked)
        except (NoPostgres, NoMoto, NoOpenSearch, NoGremlinServer) as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs this server: {missing}")
            pytest.skip(str(missing))
        patched = enter(pytest.MonkeyPatch.context())
        s3 = enter(Proxy(moto.url))
        for name, value in (moto.variables() | {"AWS_ENDPOINT_URL_S3": s3.url}).items():
            patched.setenv(name, value)
        yield Servers(postgres, s3, opensearch, gremlin)


class Served(Days):
    """The small days, of which every filing is served: one that is not is tried, and set aside, once for each run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for made in EDGAR_FILINGS:
            if not made.body:
                (self.archive / f"edgar/full/{made.accession}.txt").write_bytes(submission(made))

    def list_companies(self) -> None:
        """Without its check, which tries every port there is and starts the embedded SageMaker for it."""
        ports = {"listings_source": TwoCompanies(), "lake": self.lake}
        assert dg.materialize([listings], instance=self.instance, resources=ports).success


class OnServers(Served):
    """The same on real servers, which are waited for as briefly as a test may."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        import boto3

        super().__init__(folder)
        boto3.client("s3", endpoint_url=servers.s3.url).create_bucket(Bucket=BUCKET)
        self.servers = servers
        self.ledger = SqlFilingLedger(url=servers.postgres)
        self.objects = S3ObjectStore(bucket=BUCKET, region="us-east-1", endpoint_url=servers.s3.url)
        options = {"AWS_ENDPOINT_URL": servers.s3.url, "AWS_ALLOW_HTTP": "true", "retry_timeout": "1s"}
        self.lake = DeltaLake(root=f"s3://{BUCKET}/lake", storage_options=s3_options(region="us-east-1") | options)
        self.index = OpenSearchCandidateIndex(url=servers.opensearch.url, prefix="outages", timeout_seconds=WAITED)
        self.graph = NeptuneKnowledgeGraph(
            endpoint=servers.gremlin.url,
            region="us-east-1",
            iam=False,
            object_store=self.objects,
            query_seconds=WAITED,
            load_seconds=WAITED,
        )
        self.defs = build_defs(
            "local",
            resource_overrides={
                "filing_ledger": self.ledger,
                "lake": self.lake,
                "object_store": self.objects,
                "regulators": RegulatorSet(ledger=self.ledger, archive=str(self.archive)),
                "listings_source": TwoCompanies(),
                "candidate_index_store": self.index,
                "knowledge_graph_store": self.graph,
            },
        )

    def fails(self, job: str, asset: str, key: str | None = None) -> str:
        """Run a step that must fail, and return what it says to a person."""
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(asset)], partition_key=key, raise_on_error=False
        )
        assert not result.success
        return authors_message(next(event for event in result.all_events if event.is_step_failure))


@pytest.fixture(scope="module")
def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnServers]:
    made = OnServers(tmp_path_factory.mktemp("servers"), servers)
    with made.instance:
        yield made
    made.graph.close()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Days]:
    """The same day on the embedded platform, where nothing falls away."""
    made = Served(tmp_path_factory.mktemp("unbroken"))
    with made.instance:
        made.list_companies()
        made.run("refresh_listings", "knowledge_graph", "candidate_index")
        made.day(EDGAR)
        yield made


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is tried as often as in production, without the pauses in between."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.0)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda self, attempt: 0.0)
    monkeypatch.setattr(neptune_client, "CONNECTION_PAUSES", (0.05, 0.05))
    monkeypatch.setattr(neptune_client, "GRACE_SECONDS", 0.5)


@contextmanager
def before(port: type, method: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something before each call of a port's method."""
    original = getattr(port, method)

    def broken(self: Any, *arguments: Any, **more: Any) -> Any:
        do()
        return original(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(port, method, broken)
        yield


@contextmanager
def cut_off(proxy: Proxy, method: str, part: str) -> Iterator[list[str]]:
    """From the first such request on nothing is answered any more; gives the paths that were asked for in vain."""
    asked: list[str] = []

    def meddle(request: Request, forward: Forward) -> Answer:
        if asked or (request.method == method and part in request.path):
            asked.append(request.path)
            raise ConnectionAbortedError("the server is gone")  # the proxy hangs up
        return forward(request)

    proxy.meddle = meddle
    try:
        yield asked
    finally:
        proxy.meddle = lambda request, forward: forward(request)


def rows(days: Days, table: str) -> list[dict[str, Any]]:
    found = [
        {name: value for name, value in row.items() if name not in OWN} for row in days.rows(table, EDGAR).to_pylist()
    ]
    return sorted(found, key=repr)


@contextmanager
def crashing(url: str, table: str) -> Iterator[None]:
    """Kill PostgreSQL's process at each statement on a table: the server ends all others too, recovers from its log, and
    takes connections again, for which the end of the block waits."""

    def crash(connection: sa.Connection, cursor: Any, statement: str, *_: object) -> None:
        if table in statement and connection.dialect.name == "postgresql":
            os.kill(connection.connection.dbapi_connection.info.backend_pid, signal.SIGKILL)  # type: ignore[union-attr]

    sa.event.listen(sa.Engine, "before_cursor_execute", crash)  # of all engines: a run makes its own
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", crash)
        end = time.monotonic() + 30
        engine = sa.create_engine(url)
        while not _answers(engine) and time.monotonic() < end:
            time.sleep(0.05)
        engine.dispose()


def _answers(engine: sa.Engine) -> bool:
    try:
        engine.connect().close()
    except sa.exc.OperationalError:  # it recovers
        return False
    return True


def test_a_gremlin_server_that_hangs_in_a_load_leaves_no_version_and_the_next_run_loads_it(world: OnServers) -> None:
    world.list_companies()
    gremlin = world.servers.gremlin
    try:
        with before(NeptuneKnowledgeGraph, "_merged_edges", gremlin.hang):
            said = world.fails("refresh_listings", "knowledge_graph")
    finally:
        gremlin.go_on()
    assert f"Neptune at 127.0.0.1:{gremlin.port} did not answer in time" in said
    assert world.graph.current() is None
    world.run("refresh_listings", "knowledge_graph")
    assert [one["state"] for one in world.graph._versions()] == ["whole"]
    assert len(world.graph.by_ticker("AAPL", as_of=DAY)) == 1


def test_an_opensearch_that_hangs_in_a_load_shows_no_version_and_the_next_run_loads_it(world: OnServers) -> None:
    opensearch = world.servers.opensearch
    try:
        with before(OpenSearchCandidateIndex, "_load", opensearch.pause):
            said = world.fails("refresh_listings", "candidate_index")
    finally:
        opensearch.resume()
    assert f"OpenSearch at {opensearch.url} did not answer within {WAITED} s" in said
    assert world.index.current() is None
    world.run("refresh_listings", "candidate_index")
    assert len(world.index._loaded()) == 1


def test_a_postgresql_that_crashes_in_onboarding_is_named_and_the_next_run_takes_every_filing_once(
    world: OnServers, unbroken: Days
) -> None:
    with crashing(world.servers.postgres, "filing_versions"):
        said = world.fails("onboard", "filings", EDGAR)
    assert "the ledger postgresql+psycopg://ledgerline@127.0.0.1" in said
    assert "cannot be used now" in said
    assert not world.lake.version("filings")
    world.run("onboard", "filings", key=EDGAR)
    assert rows(world, "filings") == rows(unbroken, "filings")


def test_an_s3_that_is_cut_off_in_a_commit_shows_no_half_table_and_the_next_run_writes_it_once(
    world: OnServers, unbroken: Days
) -> None:
    with cut_off(world.servers.s3, "PUT", "documents/_delta_log/") as asked:
        said = world.fails("map_filings", "documents", EDGAR)
    assert asked
    assert f"s3://{BUCKET}/lake" in said
    assert world.lake.version("documents") is None
    world.run("map_filings", "documents", "clusters", "mentions", key=EDGAR)
    assert rows(world, "documents") == rows(unbroken, "documents")


@pytest.mark.parametrize(("server", "port", "method"), [
    ("opensearch", OpenSearchCandidateIndex, "search"),
    ("gremlin", NeptuneKnowledgeGraph, "named"),
])  # fmt: skip
def test_a_search_or_graph_that_hangs_fails_the_day_and_writes_nothing_of_it(
    world: OnServers, server: str, port: type, method: str
) -> None:
    running = getattr(world.servers, server)
    stop, go = (running.pause, running.resume) if server == "opensearch" else (running.hang, running.go_on)
    try:
        with before(port, method, stop):
            said = world.fails("map_filings", "candidate_sets", EDGAR)
    finally:
        go()
    assert "did not answer" in said
    assert "127.0.0.1" in said
    assert world.lake.version("candidate_sets") is None


def test_after_all_outages_everything_is_there_once_as_where_nothing_broke(world: OnServers, unbroken: Days) -> None:
    world.run("map_filings", "candidate_sets", key=EDGAR)
    for table in ("filings", *OF_A_DAY):
        assert rows(world, table) == rows(unbroken, table), table
    assert world.ledger.counts() == unbroken.ledger.counts()
    stored, expected = (
        sorted(uri.partition("/filings/")[2] for uri in one.objects.list(one.objects.uri("filings")))
        for one in (world, unbroken)
    )
    assert stored == expected
