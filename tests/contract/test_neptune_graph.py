"""What Neptune adds to the graph's contract: signatures, its loader, killed loads, conflicts, outages, and the same answers
as the twin's for any graph. A Gremlin Server takes Neptune's place, with what Neptune adds in front of it."""

from __future__ import annotations

import csv
import socketserver
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.mapping.records import Edge
from resources import neptune_client, neptune_graph
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.neptune_client import NeptuneClient
from resources.neptune_graph import LOADING, WHOLE, NeptuneKnowledgeGraph, _elements, _g, write_csv
from resources.object_store import DirectoryObjectStore
from tests.servers.gremlin import GremlinServer, gremlin_jars
from tests.servers.neptune import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, NeptuneFront

DAY = date(2024, 1, 2)


def named(company: str, name: str, valid_from: str = "", valid_to: str = "") -> Edge:
    return Edge(f"company:{company}", "named", f"name:{name}", valid_from, valid_to, "edgar")


def listed(company: str, ticker: str, valid_from: str = "", valid_to: str = "") -> Edge:
    return Edge(f"company:{company}", "listed_as", f"listing:Nasdaq:{ticker}", valid_from, valid_to, "edgar")


SMALL = [named("cik:1", "Apple Inc."), listed("cik:1", "AAPL")]
MANY = [
    edge for n in range(600) for edge in (named(f"cik:{n}", f"Company {n:03} Inc."), listed(f"cik:{n}", f"T{n:03}"))
]


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjectStore:
    return DirectoryObjectStore(root=str(tmp_path / "objects"))


@pytest.fixture
def graph(gremlin_server: GremlinServer, objects: DirectoryObjectStore) -> Iterator[NeptuneKnowledgeGraph]:
    made = make(gremlin_server.url, objects)
    yield made
    made.remove()
    made.close()


def make(url: str, objects: DirectoryObjectStore, **settings: Any) -> NeptuneKnowledgeGraph:
    given = {
        "region": "us-east-1",
        "iam": False,
        "namespace": f"test-{uuid.uuid4().hex}",
        "poll_seconds": 0.01,
        **settings,
    }
    return NeptuneKnowledgeGraph(endpoint=url, object_store=objects, **given)


def vertices(graph: NeptuneKnowledgeGraph, version: str) -> int:
    return int(graph._read(_g().V().has_label(graph._id(version)).count())[0])


def states(graph: NeptuneKnowledgeGraph) -> dict[str, str]:
    return {one["version"]: one["state"] for one in graph._versions()}


# ----------------------------------------------------------------------------------------- versions


def test_a_version_that_is_not_whole_cannot_be_promoted(graph: NeptuneKnowledgeGraph) -> None:
    old = graph.build(SMALL)
    graph.promote(old)
    graph._begin("graph-half")
    with pytest.raises(LedgerlineError, match=r"'graph-half'.*materialize the asset"):
        graph.promote("graph-half")
    assert graph.current() == old


class Killed(BaseException):
    """Not an Exception: nothing handles it, as nothing handles a SIGKILL."""


def kill_at(graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch, method: str, call: int) -> None:
    """Let the `call`-th call of a method end the process as far as the graph can tell."""
    calls = 0
    original = getattr(NeptuneKnowledgeGraph, method)

    def counted(self: NeptuneKnowledgeGraph, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(NeptuneKnowledgeGraph, method, counted)


@pytest.mark.parametrize(
    ("method", "call"), [("_merged_vertices", 2), ("_merged_edges", 1), ("_merged_edges", 9), ("_beat", 3)]
)
def test_a_killed_load_is_finished_by_the_next_one_of_the_same_version(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    graph.promote(graph.build(SMALL))
    with monkeypatch.context() as patched:
        kill_at(graph, patched, method, call)
        with pytest.raises(Killed):
            graph.build(MANY)
    assert list(states(graph).values()) == [WHOLE, LOADING]
    assert graph.by_ticker("T001", as_of=DAY) == []
    version = graph.build(MANY)
    graph.promote(version)
    assert states(graph)[version] == WHOLE
    assert [len(found) for found in graph.named([f"company {n:03}" for n in range(600)], as_of=DAY)] == [1] * 600


def test_a_killed_load_is_removed_by_the_next_one_of_another_version_once_it_is_silent(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        kill_at(graph, patched, "_merged_edges", 3)
        with pytest.raises(Killed):
            graph.build(MANY)
    (killed,) = states(graph)
    first = graph.build(SMALL)
    assert states(graph) == {killed: LOADING, first: WHOLE}  # it may still be at work
    old = NeptuneKnowledgeGraph(**{**graph_settings(graph), "abandoned_seconds": 0.0})
    second = old.build(SMALL[:1])
    old.close()
    assert states(graph) == {first: WHOLE, second: WHOLE}
    assert vertices(graph, killed) == 0


def graph_settings(graph: NeptuneKnowledgeGraph) -> dict[str, Any]:
    return {name: getattr(graph, name) for name in type(graph).model_fields}


def test_a_load_that_was_taken_for_killed_ends_and_says_so(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed_meanwhile(self: NeptuneKnowledgeGraph, version: str, batch: list[Any]) -> Any:
        if states(self).get(version) == LOADING:
            self._drop(version)
        return _g().inject(0)

    monkeypatch.setattr(NeptuneKnowledgeGraph, "_merged_edges", removed_meanwhile)
    with pytest.raises(LedgerlineError, match=r"was removed from Neptune while it was loaded.*materialize the asset"):
        graph.build(SMALL)


def test_a_version_of_which_something_is_missing_is_refused_and_loaded_anew_by_the_next(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = NeptuneKnowledgeGraph._merged_edges
    with monkeypatch.context() as patched:
        patched.setattr(NeptuneKnowledgeGraph, "_merged_edges", lambda self, v, batch: original(self, v, batch[1:]))
        with pytest.raises(LedgerlineError, match=r"holds 5 vertices and 3 edges.* and 5 and 4 were sent"):
            graph.build(SMALL)
    assert LOADING not in states(graph).values()
    graph.promote(graph.build(SMALL))
    assert len(graph.by_ticker("AAPL", as_of=DAY)) == 1


def test_only_so_many_old_versions_are_kept_and_never_the_current_one_dropped(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neptune_graph, "DROP_VERTICES", 2)
    two = NeptuneKnowledgeGraph(**{**graph_settings(graph), "keep_versions": 2})
    versions = [two.build([named("cik:1", f"Name {number}")]) for number in range(3)]
    two.promote(versions[0])
    versions += [two.build([named("cik:1", f"Name {number}")]) for number in range(3, 6)]
    assert list(states(two)) == [versions[0], *versions[3:]]
    assert [vertices(two, version) for version in versions] == [3, 0, 0, 3, 3, 3]
    two.close()


def test_a_removal_that_was_killed_is_finished_by_the_next_load(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = graph.build(SMALL)
    graph._set(version, only=WHOLE, state=neptune_graph.DROPPING)
    with pytest.raises(LedgerlineError, match="materialize the asset"):
        graph.promote(version)
    other = graph.build(MANY[:4])
    assert states(graph) == {other: WHOLE}


def test_two_processes_that_load_the_same_version_at_once_both_succeed(graph: NeptuneKnowledgeGraph) -> None:
    def load(_: int) -> str:
        one = NeptuneKnowledgeGraph(**graph_settings(graph))
        try:
            return one.build(MANY[:300])
        finally:
            one.close()

    with ThreadPoolExecutor(2) as both:
        built = set(both.map(load, range(2)))
    assert states(graph) == dict.fromkeys(built, WHOLE)
    assert len(built) == 1


def test_writers_that_change_the_same_vertex_at_once_wait_for_each_other(graph: NeptuneKnowledgeGraph) -> None:
    graph._begin("graph-1")
    with ThreadPoolExecutor(4) as writers:
        done = list(writers.map(lambda number: graph._set("graph-1", only=LOADING, beat=float(number)), range(60)))
    assert done == [True] * 60


def test_namespaces_do_not_see_each_other(gremlin_server: GremlinServer, graph: NeptuneKnowledgeGraph) -> None:
    other = NeptuneKnowledgeGraph(**{**graph_settings(graph), "namespace": graph.namespace + "x"})
    graph.promote(graph.build(SMALL))
    assert other.current() is None
    other.promote(other.build(SMALL))
    version = other.current()
    other.remove()
    assert other.current() is None
    assert (states(other), vertices(other, version)) == ({}, 0)
    other.close()
    assert len(graph.by_ticker("AAPL", as_of=DAY)) == 1


# ----------------------------------------------------------------------------------------- the same as the twin's

DAYS = st.dates(date(2015, 1, 1), date(2015, 1, 12)).map(date.isoformat)
COMPANY = st.sampled_from(["cik:1", "cik:2", "dart:3", "dart:4"])
SPAN = st.tuples(DAYS | st.just(""), DAYS | st.just("")).filter(lambda span: not all(span) or span[0] <= span[1])
LITERAL = st.sampled_from(["Apple Inc", "APPLE CO", "Apple Group", "삼성전자", 'A "B", C\nD;', "AA", " ", "e/f:g"])
SOURCE = st.sampled_from(["edgar", "dart", ""])
NAME = st.builds(
    lambda c, label, n, s, o: Edge(f"company:{c}", label[0], f"{label[1]}:{n}", *s, o),
    COMPANY,
    st.sampled_from([("named", "name"), ("led_by", "person"), ("makes", "product"), ("named", "person")]),
    LITERAL,
    SPAN,
    SOURCE,
)
TICKER = st.builds(
    lambda c, e, t, s, o: Edge(f"company:{c}", "listed_as", f"listing:{e}:{t}", *s, o),
    COMPANY,
    st.sampled_from(["Nasdaq", "NYSE", ""]),
    st.sampled_from(["AA", "BB", "B.B", "not a ticker"]),
    SPAN,
    SOURCE,
)
SUCCESSION = st.builds(
    lambda c, d, day: Edge(f"company:{c}", "succeeded_by", f"company:{d}", day, "", "edgar"),
    COMPANY,
    COMPANY,
    DAYS | st.just(""),
)
SNAPSHOT = [listed(f"cik:s{n}", f"S{n}", day) for day in ("2015-01-02", "2015-01-06") for n in range(30)]
SURFACES = ["apple", "Apple Group", "AA", "$BB", "BB", "삼성전자(주)", "A B C D", "e/f:g", "", "nobody"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(NAME | TICKER | SUCCESSION, max_size=14),
    snapshots=st.booleans(),
    day=DAYS.map(date.fromisoformat),
)
def test_the_twin_and_gremlin_server_give_the_same_answers_to_the_same_questions(
    gremlin_server: GremlinServer,
    tmp_path: Path,
    objects: DirectoryObjectStore,
    edges: list[Edge],
    snapshots: bool,
    day: date,
) -> None:
    twin = SqliteKnowledgeGraph(root=str(tmp_path / "twin"))
    neptune = make(gremlin_server.url, objects)
    given_edges = [*edges, *(SNAPSHOT if snapshots else [])]
    try:
        for one in (twin, neptune):
            one.promote(one.build(given_edges))
        for as_of in (day, day + timedelta(days=1), date(2030, 1, 1)):
            assert neptune.named(SURFACES, as_of=as_of) == twin.named(SURFACES, as_of=as_of)
            companies = ["cik:1", "cik:2", "dart:3", "dart:4", "cik:s3", "nobody"]
            assert neptune.listings(companies, as_of=as_of) == twin.listings(companies, as_of=as_of)
            for ticker in ("AA", "BB", "S3", "not a ticker"):
                assert neptune.by_ticker(ticker, as_of=as_of) == twin.by_ticker(ticker, as_of=as_of)
    finally:
        twin.close()
        neptune.remove()
        neptune.close()


# ----------------------------------------------------------------------------------------- signatures


@pytest.fixture
def front(
    gremlin_server: GremlinServer, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NeptuneFront]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION_TOKEN)
    with NeptuneFront(gremlin_server.url, objects) as started:
        yield started


@pytest.fixture
def signing(front: NeptuneFront, objects: DirectoryObjectStore) -> Iterator[NeptuneKnowledgeGraph]:
    made = make(front.url, objects, iam=True)
    yield made
    made.close()


def test_a_handshake_is_signed_so_that_neptune_verifies_it(front: NeptuneFront, signing: NeptuneKnowledgeGraph) -> None:
    signing.promote(signing.build(SMALL))
    assert len(signing.by_ticker("AAPL", as_of=DAY)) == 1
    assert front.refusals == []
    assert front.handshakes >= 1
    signing.remove()


def test_each_new_connection_is_signed_anew_with_the_credentials_of_that_time(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signing.current() is None
    signed = front.handshakes
    real = front.clock
    front.clock = lambda: real() + timedelta(minutes=4)  # an old signature would have a minute left
    front.drop_connections()
    assert signing.current() is None
    front.drop_connections()
    monkeypatch.setattr("tests.servers.neptune.ACCESS_KEY", "AKIAROTATEDROTATEDRO")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAROTATEDROTATEDRO")
    monkeypatch.setattr(signing._client, "_session", None)  # variables are read once; a role's session renews itself
    assert signing.current() is None
    assert front.handshakes == signed + 2
    assert front.refusals == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("secret", r"refuses the signature .*does not match.*: use the credentials of a role whose policy"),
        (
            "region",
            r"scoped to a valid region, not 'eu-west-1'.*: set AWS_DEFAULT_REGION, which is eu-west-1, to the region",
        ),
        ("clock", r"Signature expired: .*: set this machine's clock"),
        ("unsigned", r"Missing Authentication Token.*: the cluster asks for a signature: set NEPTUNE_IAM=on"),
    ],
)
def test_a_signature_that_does_not_verify_is_refused_with_the_remedy(
    front: NeptuneFront, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch, broken: str, said: str
) -> None:
    if broken == "secret":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    real = front.clock
    if broken == "clock":
        front.clock = lambda: real() + timedelta(minutes=6)
    graph = make(
        front.url, objects, iam=broken != "unsigned", region="eu-west-1" if broken == "region" else "us-east-1"
    )
    with pytest.raises(ConfigurationError, match=said) as refused:
        graph.current()
    graph.close()
    assert front.handshakes == 0
    for secret in ("another-secret", SECRET_KEY, SESSION_TOKEN):
        assert secret not in f"{refused.value} {refused.value.__cause__!r} {graph!r}"


def test_without_credentials_the_variable_is_named(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"NEPTUNE_IAM=on signs requests.*or set NEPTUNE_IAM=off"):
        signing.current()


# ----------------------------------------------------------------------------------------- the loader


def test_a_large_version_goes_through_the_loader_and_answers_as_the_twin_does(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph, objects: DirectoryObjectStore, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(neptune_graph, "LOADER_FROM", 1000)
    graph = NeptuneKnowledgeGraph(**{**graph_settings(signing), "loader_role_arn": "arn:aws:iam::1:role/load"})
    edges = [*MANY, named("cik:7", 'Comma, "Quote"\nand Line;', "2020-01-01"), listed("cik:8", "OLD", "", "2019-12-31")]
    twin = SqliteKnowledgeGraph(root=str(tmp_path / "twin"))
    for one in (twin, graph):
        one.promote(one.build(edges))
    (load,) = front.loads
    source = f"s3://ledgerline/graph_loads/{graph.namespace}/{graph.current()}/"
    assert load == {
        "source": source,
        "format": "csv",
        "region": "us-east-1",
        "iamRoleArn": "arn:aws:iam::1:role/load",
        "mode": "NEW",
        "failOnError": True,
        "parallelism": "MEDIUM",
        "updateSingleCardinalityProperties": True,
        "queueRequest": True,
    }
    assert list(objects.list(source)) == []
    surfaces = ["company 007", 'comma "quote" and line', "T008", "OLD", "nobody"]
    for day in (date(2019, 1, 1), DAY):
        assert graph.named(surfaces, as_of=day) == twin.named(surfaces, as_of=day)
    assert front.refusals == []
    graph.remove()
    graph.close()


def test_a_load_that_the_loader_gives_up_is_an_error_with_its_reason_and_the_next_one_succeeds(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neptune_graph, "LOADER_FROM", 0)
    graph = NeptuneKnowledgeGraph(**{**graph_settings(signing), "loader_role_arn": "arn:aws:iam::1:role/load"})
    front.fail_loads = 1
    with pytest.raises(
        LedgerlineError, match="LOAD_FAILED PARSING_ERROR: a row of the tests: see that NEPTUNE_LOADER_ROLE"
    ):
        graph.build(SMALL)
    assert list(states(graph).values()) == [LOADING]
    graph.promote(graph.build(SMALL))
    assert len(graph.by_ticker("AAPL", as_of=DAY)) == 1
    graph.remove()
    graph.close()


def test_a_load_of_a_killed_process_is_cancelled_before_its_version_is_removed(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph
) -> None:
    graph = NeptuneKnowledgeGraph(**{**graph_settings(signing), "abandoned_seconds": 0.0})
    graph._begin("graph-killed")
    graph._set("graph-killed", only=LOADING, load="load-of-a-killed-process")
    version = graph.build(SMALL)
    assert front.cancelled == ["load-of-a-killed-process"]
    assert states(graph) == {version: WHOLE}
    graph.remove()
    graph.close()


def test_the_files_of_the_loader_are_those_of_its_format(tmp_path: Path) -> None:
    edge = named("cik:1", 'Comma, "Quote"\nand Line;', "2020-01-01")
    write_csv(tmp_path, "n/v/", "n/v", *_elements([edge]))
    assert (tmp_path / "vertices.csv").read_bytes().startswith(b"~id,~label\r\nn/v/company:cik:1,n/v\r\n")
    with (tmp_path / "edges.csv").open(newline="", encoding="utf-8") as rows:
        header, first, second = csv.reader(rows)
    assert header == [
        "~id", "~from", "~to", "~label", "number:Int", "valid_from:String", "valid_to:String", "source:String",
        "taken_from:String", "taken_to:String",
    ]  # fmt: skip
    assert first == [
        "n/v/edge:0", "n/v/company:cik:1", f"n/v/{edge.to_id}", "named", "0", "2020-01-01", "", "edgar", "2020-01-01", "9999",
    ]  # fmt: skip
    assert second == ["n/v/spelled:0", "n/v/key:commaquoteandline", f"n/v/{edge.to_id}", "spelled", *[""] * 6]


# ----------------------------------------------------------------------------------------- outages


def test_dropped_connections_are_opened_again_however_many_there_were(
    front: NeptuneFront, signing: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neptune_client, "CONNECTION_PAUSES", (0.0,))
    signing.promote(signing.build(SMALL))
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: signing.current(), range(60)))
    front.drop_connections()
    assert len(signing.by_ticker("AAPL", as_of=DAY)) == 1
    signing.remove()


@pytest.fixture
def own_server(gremlin_server: GremlinServer, tmp_path: Path) -> Iterator[GremlinServer]:
    """A server that a test may kill."""
    server = GremlinServer(gremlin_jars(), tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("outage", ["killed", "hung"])
def test_an_outage_in_the_middle_of_a_load_is_said_and_the_next_load_finishes(
    own_server: GremlinServer, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch, outage: str
) -> None:
    graph = make(own_server.url, objects)
    graph.promote(graph.build(SMALL))
    impatient = NeptuneKnowledgeGraph(**{**graph_settings(graph), "query_seconds": 3.0, "load_seconds": 3.0})
    original, broken_down = NeptuneKnowledgeGraph._merged_edges, threading.Event()

    def outage_at_the_third(self: NeptuneKnowledgeGraph, version: str, batch: list[Any]) -> Any:
        if batch[0].id == "edge:400":
            (own_server.kill if outage == "killed" else own_server.hang)()
            broken_down.set()
        return original(self, version, batch)

    with monkeypatch.context() as patched:
        patched.setattr(neptune_client, "CONNECTION_PAUSES", (0.05,))
        patched.setattr(neptune_client, "CONNECT_SECONDS", 3.0)
        patched.setattr(neptune_client, "GRACE_SECONDS", 0.5)
        patched.setattr(NeptuneKnowledgeGraph, "_merged_edges", outage_at_the_third)
        with pytest.raises(LedgerlineError, match=rf"127\.0\.0\.1:{own_server.port}.*run again"):
            impatient.build(MANY)
        assert broken_down.is_set()
        with pytest.raises(LedgerlineError, match=rf"127\.0\.0\.1:{own_server.port}.*run again"):
            impatient.by_ticker("AAPL", as_of=DAY)
    if outage == "killed":  # with its graph, which is in memory: what the next load finds is an empty server
        own_server.start()
        assert graph.current() is None
    else:
        own_server.go_on()
        assert [company for company, _ in graph.by_ticker("AAPL", as_of=DAY)] == ["cik:1"]
        assert graph.by_ticker("T001", as_of=DAY) == []
    graph.promote(graph.build(MANY))
    assert [len(found) for found in graph.named([f"company {n:03}" for n in range(600)], as_of=DAY)] == [1] * 600
    graph.close()
    impatient.close()


def test_a_server_that_is_killed_in_the_middle_of_a_query_is_said_and_answers_again_when_it_is_back(
    own_server: GremlinServer, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gremlin_python.driver.aiohttp.transport import AiohttpTransport

    monkeypatch.setattr(neptune_client, "CONNECTION_PAUSES", (0.05,))
    graph = make(own_server.url, objects)
    graph.promote(graph.build(SMALL))
    written = threading.Event()
    original = AiohttpTransport.write

    def write(self: AiohttpTransport, message: bytes) -> None:
        original(self, message)
        written.set()

    monkeypatch.setattr(AiohttpTransport, "write", write)
    own_server.hang()  # so that the question is under way for as long as it takes
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(graph.current)
        assert written.wait(10)
        own_server.kill()
        with pytest.raises(LedgerlineError, match=r"no connection to Neptune at 127\.0\.0\.1.*then run again"):
            asked.result(20)
    own_server.start()
    graph.promote(graph.build(SMALL))
    assert len(graph.by_ticker("AAPL", as_of=DAY)) == 1
    graph.close()


# ----------------------------------------------------------------------------------------- errors


def test_a_request_that_takes_too_long_is_ended_by_the_server_and_said(graph: NeptuneKnowledgeGraph) -> None:
    from gremlin_python.process.graph_traversal import __

    graph.build(SMALL)
    endless = _g().V().repeat(__.both()).until(__.has("never", "there")).count()
    with pytest.raises(LedgerlineError, match=r"ended a request after 0\.3 s: run again when"):
        graph._neptune().run(endless, seconds=0.3)


def test_a_host_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neptune_client, "CONNECTION_PAUSES", ())
    client = NeptuneClient("wss://no-such-host.invalid:8182/gremlin", region="us-east-1", iam=False)
    with pytest.raises(ConfigurationError, match=r"no-such-host.invalid:8182 has no address: correct NEPTUNE_ENDPOINT"):
        client.run(_g().V("x").count(), seconds=1.0)


def test_a_certificate_that_nobody_vouches_for_is_said(tmp_path: Path) -> None:
    with untrusted_tls(tmp_path) as port:
        client = NeptuneClient(f"wss://127.0.0.1:{port}/gremlin", region="us-east-1", iam=False)
        with pytest.raises(ConfigurationError, match=r"the TLS connection to Neptune .*self.signed.*SSL_CERT_FILE"):
            client.run(_g().V("x").count(), seconds=1.0)


@contextmanager
def untrusted_tls(folder: Path) -> Iterator[int]:
    """The port of a TLS server whose certificate is its own."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # the client hangs up, as it should
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_another_path_than_gremlins_is_said(front: NeptuneFront) -> None:
    client = NeptuneClient(front.url.replace("/gremlin", "/sparql"), region="us-east-1", iam=False)
    with pytest.raises(ConfigurationError, match=r"opens no websocket .*must be wss://<cluster endpoint>:8182/gremlin"):
        client.run(_g().V("x").count(), seconds=1.0)


def test_a_mistake_in_the_program_is_not_taken_for_a_failure_of_the_server(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeptuneClient, "_run_once", lambda *_: {}["nothing"])
    with pytest.raises(KeyError):
        graph.current()
    monkeypatch.undo()


@pytest.mark.parametrize(
    "message",
    [
        '{"detailedMessage":"Failed to complete due to conflicts","code":"ConcurrentModificationException"}',
        '{"detailedMessage":"Vertex with id already exists: n/graph-1/a","code":"ConstraintViolationException"}',
        "Vertex with id already exists: n/graph-1/a",  # Gremlin Server, to the later of two merges of a new element
    ],
)
def test_a_conflict_that_does_not_end_is_given_up_and_said(
    graph: NeptuneKnowledgeGraph, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    from gremlin_python.driver.protocol import GremlinServerError

    tried = []

    def conflict(*_: Any) -> Any:
        tried.append(1)
        raise GremlinServerError({"code": 500, "message": message, "attributes": {}})

    monkeypatch.setattr(neptune_client, "CONFLICT_PAUSES", (0.0,) * 4)
    monkeypatch.setattr(NeptuneClient, "_run_once", conflict)
    with pytest.raises(LedgerlineError, match=r"other writers kept changing.*run again when they are done"):
        graph.current()
    monkeypatch.undo()
    assert len(tried) == 5
