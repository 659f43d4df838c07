"""The doctor on real ports: what works leaves nothing behind, and of each fault it says the sentence that the run says."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledgerline.doctor import PROBE, PROBE_EDGE, examine
from ledgerline.errors import LedgerlineError
from resources import neptune_client
from resources.candidate_index import TantivyCandidateIndex
from resources.compute import EcsCompute
from resources.filing_ledger import SqlFilingLedger
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.lake import DeltaLake
from resources.neptune_graph import NeptuneKnowledgeGraph
from resources.object_store import DirectoryObjectStore, S3ObjectStore
from resources.opensearch_index import OpenSearchCandidateIndex
from resources.release_ledger import SqlReleaseLedger
from tests.contract.test_neptune_graph import untrusted_tls
from tests.servers.gremlin import GremlinServer
from tests.servers.neptune import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, NeptuneFront

NOWHERE = "http://127.0.0.1:1"


def works(port: str, implementation: Any) -> bool:
    (found,) = examine({port: implementation})
    assert found.said == ""
    return len(found.tried) > 1


# ------------------------------------------------------------------------------------------- nothing is left


def test_embedded_stores_work_and_hold_nothing_of_the_doctor_afterwards(tmp_path: Path) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    for port, store in (
        ("object_store", DirectoryObjectStore(root=str(tmp_path / "objects"))),
        ("lake", DeltaLake(root=str(tmp_path / "lake"))),
        ("filing_ledger", SqlFilingLedger(url=ledger)),
        ("release_ledger", SqlReleaseLedger(database_url=ledger)),
        ("candidate_index_store", TantivyCandidateIndex(root=str(tmp_path / "index"))),
        ("knowledge_graph_store", SqliteKnowledgeGraph(root=str(tmp_path / "graph"))),
    ):
        assert works(port, store)
        assert works(port, store)  # what the first left behind would be in the way of the second
    left = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("ledger.db")]
    assert left == []
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        for table in ("bans", "release_ledger"):
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_postgresql_works_and_holds_nothing_of_the_doctor_afterwards(postgres_url: str) -> None:
    ledger, releases = SqlFilingLedger(url=postgres_url), SqlReleaseLedger(database_url=postgres_url)
    before = releases.head()
    assert works("filing_ledger", ledger)
    assert works("release_ledger", releases)
    assert releases.head() == before


def test_s3_works_and_holds_nothing_of_the_doctor_afterwards(s3_bucket: tuple[str, str]) -> None:
    endpoint, bucket = s3_bucket
    store = S3ObjectStore(bucket=bucket, endpoint_url=endpoint, region="us-east-1")
    options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    options |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_CONDITIONAL_PUT": "etag"}
    assert works("object_store", store)
    assert works("lake", DeltaLake(root=f"s3://{bucket}/lake", storage_options=options))
    assert [uri for uri in store.list(f"s3://{bucket}/") if not uri.endswith("/")] == []


def test_neptune_works_and_holds_nothing_of_the_doctor_afterwards(
    gremlin_server: GremlinServer, tmp_path: Path
) -> None:
    graph = graph_at(gremlin_server.url, tmp_path)
    elements = neptune_client.NeptuneClient(gremlin_server.url, region="us-east-1", iam=False)
    from resources.neptune_graph import _g

    before = elements.run(_g().V().count(), seconds=30)
    assert works("knowledge_graph_store", graph)
    assert elements.run(_g().V().count(), seconds=30) == before
    elements.close()


def test_opensearch_works_and_holds_nothing_of_the_doctor_afterwards(opensearch_url: str) -> None:
    index = OpenSearchCandidateIndex(url=opensearch_url, prefix="doctored")
    assert works("candidate_index_store", index)
    assert index._connected().indices.get(index="doctored*") == {}


# ------------------------------------------------------------------------------------------- the same sentence


def graph_at(url: str, folder: Path, **settings: Any) -> NeptuneKnowledgeGraph:
    given = {"region": "us-east-1", "iam": False, **settings}
    return NeptuneKnowledgeGraph(endpoint=url, object_store=DirectoryObjectStore(root=str(folder)), **given)


@dataclass
class Fault:
    """How a port is broken; the server that it needs is entered into the stack. What the run does with it, and the remedy."""

    port: str
    broken: Callable[[ExitStack, Path], Any]
    run: Callable[[Any], Any]
    remedy: str


def newer_ledger(stack: ExitStack, folder: Path) -> SqlFilingLedger:
    ledger = SqlFilingLedger(url=f"sqlite:///{folder / 'ledger.db'}")
    ledger.pending_days("edgar")
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("update filing_ledger_revision set version_num = '9999'")
    return SqlFilingLedger(url=ledger.url)


def behind_front(**settings: Any) -> Callable[[ExitStack, Path], NeptuneKnowledgeGraph]:
    """A graph whose server is never reached, since its front refuses the signature."""

    def made(stack: ExitStack, folder: Path) -> NeptuneKnowledgeGraph:
        front = stack.enter_context(NeptuneFront("ws://127.0.0.1:1/gremlin"))
        late = timedelta(minutes=settings.get("minutes_late", 0))
        real = front.clock
        front.clock = lambda: real() + late
        return graph_at(front.url, folder, iam=True, region=settings.get("region", "us-east-1"))

    return made


def build_index(index: OpenSearchCandidateIndex) -> None:
    index.build([PROBE])


def build_graph(graph: NeptuneKnowledgeGraph) -> None:
    graph.build([PROBE_EDGE])


def read_object(store: S3ObjectStore) -> None:
    store.put(store.uri("an-object"), b"")


FAULTS = {
    "wrong host of OpenSearch": Fault(
        "candidate_index_store",
        lambda stack, folder: OpenSearchCandidateIndex(url=NOWHERE, prefix="x"),
        build_index,
        r"check OPENSEARCH_URL and that it runs",
    ),
    "wrong host of Neptune": Fault(
        "knowledge_graph_store",
        lambda stack, folder: graph_at("wss://no-such-host.invalid:8182/gremlin", folder),
        build_graph,
        r"correct NEPTUNE_ENDPOINT to the cluster's endpoint",
    ),
    "wrong host of PostgreSQL": Fault(
        "filing_ledger",
        lambda stack, folder: SqlFilingLedger(url="postgresql+psycopg://somebody:hunter2@127.0.0.1:1/ledger"),
        lambda ledger: ledger.pending_days("edgar"),
        r"see that it can be reached and written to",
    ),
    "wrong host of S3": Fault(
        "object_store",
        lambda stack, folder: S3ObjectStore(bucket="a-bucket", endpoint_url=NOWHERE, region="us-east-1"),
        read_object,
        r"check the connection and the credentials",
    ),
    "wrong host of ECS": Fault(
        "compute",
        lambda stack, folder: EcsCompute(
            region="us-east-1",
            cluster="c",
            task_definition="t",
            container="c",
            subnets=["s"],
            security_groups=["g"],
        ),
        lambda compute: compute._starter({}, S3ObjectStore(bucket="a-bucket", region="us-east-1"), None),
        r"check the network, the credentials and AWS_DEFAULT_REGION",
    ),
    "expired signature": Fault(
        "knowledge_graph_store", behind_front(minutes_late=6), build_graph, r"set this machine's clock"
    ),
    "wrong region": Fault(
        "knowledge_graph_store",
        behind_front(region="eu-west-1"),
        build_graph,
        r"set AWS_DEFAULT_REGION, which is eu-west-1, to the region of the cluster",
    ),
    "TLS of Neptune": Fault(
        "knowledge_graph_store",
        lambda stack, folder: graph_at(f"wss://127.0.0.1:{stack.enter_context(untrusted_tls(folder))}/gremlin", folder),
        build_graph,
        r"let SSL_CERT_FILE name the certificates",
    ),
    "TLS of OpenSearch": Fault(
        "candidate_index_store",
        lambda stack, folder: OpenSearchCandidateIndex(
            url=f"https://127.0.0.1:{stack.enter_context(untrusted_tls(folder))}", prefix="x"
        ),
        build_index,
        r"check the name in OPENSEARCH_URL",
    ),
    "database of a newer schema": Fault(
        "filing_ledger",
        newer_ledger,
        lambda ledger: ledger.pending_days("edgar"),
        r"has schema 9999, .*install the newer ledgerline",
    ),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that the front knows, and no second attempt: what is broken here stays broken."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_ENDPOINT_URL_ECS": NOWHERE,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(neptune_client, "CONNECTION_PAUSES", ())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", FAULTS)
def test_the_doctor_says_of_a_fault_what_the_run_says(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    with ExitStack() as stack:
        broken = fault.broken(stack, tmp_path)
        with pytest.raises(LedgerlineError, match=fault.remedy) as said:
            fault.run(broken)
        (found,) = examine({fault.port: broken})
    assert without_names(found.said) == without_names(" ".join(str(said.value).split()))
    for secret in ("hunter2", SECRET_KEY, SESSION_TOKEN):
        assert secret not in f"{found} {said.value}"


def without_names(sentence: str) -> str:
    """The run and the doctor write objects of different names, and objects in memory lie elsewhere each time."""
    return re.sub(r"an-object|doctor-[0-9a-f]{32}|0x[0-9a-f]+", "<name>", sentence)


def test_a_wrong_index_mapping_is_said_alike(opensearch_url: str) -> None:
    index = OpenSearchCandidateIndex(url=opensearch_url, prefix="mismapped")
    template = {"index_patterns": ["mismapped-*"], "template": {"settings": {"index.mapping.total_fields.limit": 3}}}
    client = index._connected()
    client.indices.put_index_template(name="mismapped", body=template)
    try:
        with pytest.raises(LedgerlineError, match="remove index templates that match mismapped-") as said:
            index.build([PROBE])
        (found,) = examine({"candidate_index_store": index})
    finally:
        client.indices.delete_index_template(name="mismapped")
    assert found.said == str(said.value)
