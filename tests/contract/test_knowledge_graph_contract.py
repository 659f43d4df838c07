"""What every knowledge graph must do: a SQLite file per version, and Neptune, whose place a Gremlin Server takes here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.graph import describe_path
from ledgerline.mapping.ports import KnowledgeGraph
from ledgerline.mapping.records import Edge
from ledgerline.names.normalise import core
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.neptune_graph import NeptuneKnowledgeGraph
from resources.object_store import DirectoryObjectStore

GOOGLE, ALPHABET, META, ETF = (f"cik:{number:010}" for number in (1288776, 1652044, 1326801, 1683471))


def named(company: str, name: str, valid_from: str = "", valid_to: str = "") -> Edge:
    return Edge(f"company:{company}", "named", f"name:{name}", valid_from, valid_to, "edgar")


def listed(company: str, ticker: str, valid_from: str = "", valid_to: str = "") -> Edge:
    return Edge(f"company:{company}", "listed_as", f"listing:Nasdaq:{ticker}", valid_from, valid_to, "edgar")


def succeeded(company: str, successor: str, day: str) -> Edge:
    return Edge(f"company:{company}", "succeeded_by", f"company:{successor}", day, "", "edgar")


EDGES = [
    named(GOOGLE, "Google Inc.", "", "2015-10-01"),
    named(ALPHABET, "Alphabet Inc.", "2015-10-02"),
    named(META, "Facebook Inc", "", "2021-10-27"),
    named(META, "Meta Platforms, Inc.", "2021-10-28"),
    named(ETF, "Roundhill ETF Trust"),
    named("dart:00126380", "삼성전자"),
    named("cik:0001324424", "Expedia Group, Inc.", "2018-03-27"),
    listed(GOOGLE, "GOOG", "2004-08-19", "2015-10-01"),
    listed(ALPHABET, "GOOGL", "2015-10-02"),
    listed(ALPHABET, "GOOG", "2015-10-02"),
    listed(META, "META", "2022-06-09"),
    listed(META, "FB", "2012-05-18", "2022-06-08"),
    listed(ETF, "META", "2021-06-30", "2022-01-30"),
    Edge("company:" + META, "led_by", "person:Mark Zuckerberg", "", "", "edgar"),
    succeeded(GOOGLE, ALPHABET, "2015-10-02"),
]
MakeGraph = Callable[[], KnowledgeGraph]


@pytest.fixture(params=["sqlite", "gremlin"])
def make_graph(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeGraph]:
    """Each call gives a graph of its own, still empty."""
    numbers = count()
    if request.param == "sqlite":
        yield lambda: SqliteKnowledgeGraph(root=str(tmp_path / f"graph-{next(numbers)}"))
        return
    server = request.getfixturevalue("gremlin_server")
    made: list[NeptuneKnowledgeGraph] = []

    def make() -> NeptuneKnowledgeGraph:
        made.append(neptune_graph(server.url, tmp_path))
        return made[-1]

    yield make
    for graph in made:
        graph.remove()
        graph.close()


def neptune_graph(url: str, folder: Path, **settings: Any) -> NeptuneKnowledgeGraph:
    """A graph in a new namespace."""
    given = {"endpoint": url, "region": "us-east-1", "iam": False, "namespace": f"test-{uuid.uuid4().hex}", **settings}
    return NeptuneKnowledgeGraph(object_store=DirectoryObjectStore(root=str(folder / "objects")), **given)


@pytest.fixture
def graph(make_graph: MakeGraph) -> KnowledgeGraph:
    made = make_graph()
    made.promote(made.build(EDGES))
    return made


def companies(graph: KnowledgeGraph, surface: str, day: str) -> list[str]:
    return [company for company, _ in graph.named([surface], as_of=date.fromisoformat(day))[0]]


def tickers(graph: KnowledgeGraph, company: str, day: str) -> list[str]:
    return [listing.ticker for listing, _ in graph.listings([company], as_of=date.fromisoformat(day))[company]]


def test_a_graph_without_a_promoted_version_names_the_asset_to_materialize(make_graph: MakeGraph) -> None:
    graph = make_graph()
    assert graph.current() is None
    with pytest.raises(LedgerlineError, match="materialize the asset 'knowledge_graph'"):
        graph.by_ticker("META", as_of=date(2024, 1, 2))
    with pytest.raises(LedgerlineError, match=r"'graph-0'.*materialize the asset"):
        graph.promote("graph-0")


def test_equal_edges_give_an_equal_version_and_other_edges_another(make_graph: MakeGraph) -> None:
    one, other = make_graph(), make_graph()
    assert one.build(EDGES) == one.build(iter(EDGES)) == other.build(EDGES)
    assert one.build(EDGES) != one.build(EDGES[:-1])


def test_a_version_is_seen_only_once_it_is_promoted_and_an_older_one_can_come_back(make_graph: MakeGraph) -> None:
    graph = make_graph()
    old = graph.build(EDGES)
    graph.promote(old)
    new = graph.build([*EDGES, named("cik:0000320193", "Apple Inc.")])
    assert companies(graph, "Apple", "2024-01-02") == []
    graph.promote(new)
    assert graph.current() == new
    assert companies(graph, "Apple", "2024-01-02") == ["cik:0000320193"]
    graph.promote(old)
    assert companies(graph, "Apple", "2024-01-02") == []


def test_a_name_that_a_company_bears_or_bore_names_it_with_the_edge_that_proves_it(graph: KnowledgeGraph) -> None:
    for day in ("2017-07-25", "2024-01-02"):
        ((company, path),) = graph.named(["Facebook"], as_of=date.fromisoformat(day))[0]
        assert company == META
        assert path == (named(META, "Facebook Inc", "", "2021-10-27"),)
    assert "2021-10-27, edgar" in describe_path(path)


def test_a_name_that_a_company_took_later_does_not_name_it_before(graph: KnowledgeGraph) -> None:
    assert companies(graph, "Meta Platforms", "2021-10-27") == []
    assert companies(graph, "Meta Platforms", "2021-10-28") == [META]


def test_a_bearer_that_was_succeeded_comes_after_its_successor_whose_path_has_both_edges(graph: KnowledgeGraph) -> None:
    assert companies(graph, "Google", "2015-10-01") == [GOOGLE]
    first, second = graph.named(["Google"], as_of=date(2016, 3, 1))[0]
    assert (first[0], second[0]) == (ALPHABET, GOOGLE)
    assert first[1] == (EDGES[0], EDGES[-1])


def test_a_surface_written_as_a_ticker_names_its_holder_of_the_day(graph: KnowledgeGraph) -> None:
    assert companies(graph, "META", "2021-12-31") == [ETF]
    assert companies(graph, "$META", "2022-06-09") == [META]
    assert companies(graph, "META", "2022-03-01") == []
    assert companies(graph, "fb", "2020-01-01") == []


@pytest.mark.parametrize(
    ("surface", "company"),
    [("FACE BOOK", META), ("삼성전자(주)", "dart:00126380"), ("Expedia", "cik:0001324424"), ("Mark Zuckerberg", META)],
)
def test_spelling_legal_forms_and_people_name_a_company(graph: KnowledgeGraph, surface: str, company: str) -> None:
    assert companies(graph, surface, "2020-01-01") == [company]


def test_answers_come_in_the_order_of_the_surfaces_also_when_they_repeat(graph: KnowledgeGraph) -> None:
    surfaces = ["Google", "nobody", "", "Facebook", "Google"] * 500
    answers = [[company for company, _ in found] for found in graph.named(surfaces, as_of=date(2015, 1, 1))]
    assert answers == [[GOOGLE], [], [], [META], [GOOGLE]] * 500


def test_listings_are_those_of_the_day_in_the_order_given_and_a_stranger_has_none(graph: KnowledgeGraph) -> None:
    assert tickers(graph, ALPHABET, "2016-01-01") == ["GOOGL", "GOOG"]
    assert tickers(graph, META, "2022-06-08") == ["FB"]
    assert tickers(graph, META, "2022-06-09") == ["META"]
    assert graph.listings(["cik:9"], as_of=date(2022, 1, 1)) == {"cik:9": []}


def test_a_recycled_ticker_is_answered_by_date(graph: KnowledgeGraph) -> None:
    holders = [
        [company for company, _ in graph.by_ticker("META", as_of=date.fromisoformat(day))]
        for day in ("2021-06-29", "2021-06-30", "2022-01-30", "2022-01-31", "2022-06-08", "2022-06-09")
    ]
    assert holders == [[], [ETF], [ETF], [], [], [META]]


def test_a_ticker_seen_in_snapshots_holds_until_the_look_that_no_longer_shows_it(make_graph: MakeGraph) -> None:
    others = [
        listed(f"cik:{number}", f"T{number}", day)
        for day, numbers in (("2015-06-01", range(30)), ("2020-01-06", range(30, 60)), ("2021-12-24", range(60, 90)))
        for number in numbers
    ]
    graph = make_graph()
    graph.promote(
        graph.build(
            [*others, listed("cik:a", "ABOS", "2015-06-01", "2015-06-01"), listed("cik:b", "ABOS", "2021-12-24")]
        )
    )
    holders = {
        day: [company for company, _ in graph.by_ticker("ABOS", as_of=date.fromisoformat(day))]
        for day in ("2014-01-01", "2015-06-01", "2020-01-05", "2020-01-06", "2020-01-07", "2022-01-01")
    }
    assert list(holders.values()) == [["cik:a"], ["cik:a"], ["cik:a"], [], ["cik:b"], ["cik:b"]]


def test_threads_ask_the_same_graph_at_once(graph: KnowledgeGraph) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: companies(graph, "Facebook", "2020-01-01"), range(40)))
    assert answers == [[META]] * 40


def test_a_build_that_was_killed_leaves_nothing_that_counts_as_a_version(tmp_path: Path) -> None:
    graph = SqliteKnowledgeGraph(root=str(tmp_path))
    (tmp_path / "graph-0123456789abcdef.building").write_bytes(b"half a file")
    version = graph.build(EDGES)
    (tmp_path / f"{version}.sqlite").unlink()
    (tmp_path / f"{version}.building").write_bytes(b"half a file")
    assert graph.build(EDGES) == version
    graph.promote(version)
    assert companies(graph, "Google", "2015-01-01") == [GOOGLE]


DAYS = st.dates(date(2015, 1, 1), date(2015, 1, 12)).map(date.isoformat)
COMPANY = st.sampled_from(["cik:1", "cik:2", "cik:3"])
SPAN = st.tuples(DAYS | st.just(""), DAYS | st.just("")).filter(lambda span: not all(span) or span[0] <= span[1])
NAMED = st.builds(lambda c, n, s: named(c, n, *s), COMPANY, st.sampled_from(["Apple Inc", "APPLE CO", "Banana"]), SPAN)
LISTED = st.builds(lambda c, t, s: listed(c, t, *s), COMPANY, st.sampled_from(["AA", "BB"]), SPAN)
SUCCEEDED = st.builds(succeeded, COMPANY, COMPANY, DAYS).filter(lambda edge: edge.from_id != edge.to_id)


def holds(edge: Edge, day: str) -> bool:
    return edge.valid_from <= day and (not edge.valid_to or day <= edge.valid_to)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=st.lists(NAMED | LISTED | SUCCEEDED, max_size=12), day=DAYS)
def test_answers_are_those_of_a_plain_walk_over_the_list_of_edges(
    make_graph: MakeGraph, edges: list[Edge], day: str
) -> None:
    graph = make_graph()
    graph.promote(graph.build(edges))
    as_of = date.fromisoformat(day)
    held = [edge for edge in edges if edge.label == "listed_as" and holds(edge, day)]
    for ticker in ("AA", "BB"):
        expected = {edge.from_id for edge in held if edge.to_id.endswith(ticker)}
        assert {f"company:{company}" for company, _ in graph.by_ticker(ticker, as_of=as_of)} == expected
    for company, listings in graph.listings(["cik:1", "cik:2", "cik:3"], as_of=as_of).items():
        expected = {edge.to_id for edge in held if edge.from_id == f"company:{company}"}
        assert {edge.to_id for _, edge in listings} == expected
    for surface in ("apple", "Banana"):
        reached = {
            edge.from_id
            for edge in edges
            if edge.label == "named" and core(edge.to_id[5:]) == core(surface) and edge.valid_from <= day
        }
        for _ in edges:
            reached |= {
                edge.to_id
                for edge in edges
                if edge.label == "succeeded_by" and edge.from_id in reached and edge.valid_from <= day
            }
        answers = graph.named([surface], as_of=as_of)[0]
        assert {f"company:{company}" for company, _ in answers} == reached
        for company, path in answers:
            assert set(path) <= set(edges)
            assert path[-1].to_id == f"company:{company}" or path == (path[0],)
