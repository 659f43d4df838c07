"""Questions to the knowledge graph, answered from the dated edges that a store has found.

Here: under which keys an edge is found, what a version is called, and the order of the evidence, the same for every store.
Reading edges is in `resources/knowledge_graph.py` (SQLite) and `resources/neptune_graph.py`; when an edge is taken to hold
is decided by `ledgerline.mapping.graph`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

from ledgerline.mapping import graph
from ledgerline.mapping.graph import LISTED_AS, NAMED, SUCCEEDED_BY, company_node, company_of, listing_of, literal_of
from ledgerline.mapping.records import Edge, Listing
from ledgerline.names import normalise
from ledgerline.names.normalise import core, stem

OPEN_END = "9999"
MAX_SUCCESSIONS = 8  # a chain of successors longer than this is a mistake in the facts, or a circle
# How good a key is as evidence; lower is better. A person or product is weaker than any name of the company itself.
WHOLE_NAME, SHORT_NAME, PERSON_OR_PRODUCT, TICKER = 0, 1, 2, 3

Bearer = tuple[str, tuple[Edge, ...]]
Found = tuple[str, int, int, Edge]  # key, strength of the evidence, place of the edge in the order given, edge


class GraphVersion(Protocol):
    """One version of a graph, as a store reads it. Rows may come in any order; the number is the edge's place in it."""

    def by_key(self, keys: Sequence[str], *, day: str) -> Iterable[Found]:
        """Edges under the keys: names borne by the day, also ended ones, and tickers that are taken to hold on it."""
        ...

    def listed(self, nodes: Sequence[str], *, day: str) -> Iterable[tuple[int, Edge]]:
        """`listed_as` edges of these companies that are taken to hold on the day."""
        ...

    def succeeded(self, nodes: Sequence[str], *, day: str) -> Iterable[tuple[int, Edge]]:
        """`succeeded_by` edges of these companies that had begun by the day."""
        ...


def version_of(edges: Sequence[Edge], form: str) -> str:
    """A digest of the edges in their order, of the rules by which they are stored, and of the store's `form`."""
    digest = hashlib.sha256(form.encode())
    for rules in (graph.__file__, normalise.__file__, __file__):
        digest.update(Path(rules).read_bytes())
    fields = ((e.from_id, e.label, e.to_id, e.valid_from, e.valid_to, e.source) for e in edges)
    digest.update("\x1e".join(map("\x1f".join, fields)).encode())
    return f"graph-{digest.hexdigest()[:16]}"


def keys_of(edge: Edge) -> dict[str, int]:
    """The keys under which an edge is found, and how good evidence each is; a succession is found under none."""
    if edge.label == SUCCEEDED_BY:
        return {}
    literal = literal_of(edge)
    if edge.label == LISTED_AS:
        return {ticker_key(literal): TICKER}
    whole = _compact(core(literal))
    if edge.label != NAMED:
        return {whole: PERSON_OR_PRODUCT}
    return {_compact(stem(literal)): SHORT_NAME, whole: WHOLE_NAME}  # where both are equal the better one is meant


def ticker_key(surface: str) -> str:
    """The key of a surface that is written as a ticker ("AAPL", "$AAPL", "BRK.B", "005930"), else "".

    A ticker is written in capitals or digits: "apple" is no ticker even if APPLE were one.
    """
    text = surface.strip().removeprefix("$")
    letters = text.replace(".", "").replace("-", "").replace("/", "")
    if not 0 < len(text) <= 12 or not letters.isascii() or not letters.isalnum() or letters != letters.upper():
        return ""
    return f"={letters}"  # no name key begins with "="


def named(version: GraphVersion, surfaces: Sequence[str], *, as_of: date) -> list[list[Bearer]]:
    """For each surface the companies that it names as of the day, best evidence first, each once with its path.

    A path is a `named` edge (a name, former name or alias; its dates say whether it was still borne), a `listed_as`
    edge where the surface is written as a ticker that was valid on the day, or a `led_by` / `makes` edge; then the
    `succeeded_by` edges up to the day. A bearer that was succeeded by then comes after its successor. Names are
    equal by `normalise.core` without blanks; a name without "Group", "Holdings" and the like is weaker evidence.
    Names that a company took only after the day are left out.
    """
    day = as_of.isoformat()
    keys = {surface: (_compact(core(surface)), ticker_key(surface)) for surface in dict.fromkeys(surfaces)}
    by_key = _edges_by_key(version, [key for pair in keys.values() for key in pair], day)
    found = {
        surface: _ordered(by_key.get(name, []) + by_key.get(ticker, []), day)
        for surface, (name, ticker) in keys.items()
    }
    successions = _successions(version, {edge.from_id for edges in found.values() for edge in edges}, day)
    answers = {}
    for surface, edges in found.items():
        companies: dict[str, tuple[Edge, ...]] = {}
        for edge in edges:
            for path in _followed((edge,), edge.from_id, successions):
                last = path[-1]
                companies.setdefault(company_of(last.to_id if last.label == SUCCEEDED_BY else last.from_id), path)
        answers[surface] = list(companies.items())
    return [answers[surface] for surface in surfaces]


def listings(
    version: GraphVersion, company_ids: Sequence[str], *, as_of: date
) -> dict[str, list[tuple[Listing, Edge]]]:
    """The tickers of each company that hold on the day, the primary one first; a company without any has [].

    Tickers that were seen on the day, or before and after it, win over those that are only taken to hold (see
    `ledgerline.mapping.graph.days_taken`).
    """
    found: dict[str, list[tuple[Listing, Edge]]] = {company_id: [] for company_id in company_ids}
    day = as_of.isoformat()
    edges: dict[str, list[Edge]] = defaultdict(list)
    for _, edge in _in_order(version.listed([company_node(one) for one in found], day=day)):
        edges[edge.from_id].append(edge)
    for node, taken in edges.items():
        tickers: dict[tuple[str, str], tuple[Listing, Edge]] = {}
        for edge in _known_if_any(taken, day):
            exchange, ticker = listing_of(edge)
            listing = Listing(ticker, exchange, edge.valid_from, edge.valid_to, edge.source)
            tickers.setdefault((exchange, ticker), (listing, edge))
        found[company_of(node)] = list(tickers.values())
    return found


def by_ticker(version: GraphVersion, ticker: str, *, as_of: date) -> list[tuple[str, Edge]]:
    """The companies that a ticker meant on that day, each once; empty where nobody is known to have held it.

    As in `listings`, known holders win over those that are only taken to hold it.
    """
    key = ticker_key(ticker)
    companies: dict[str, Edge] = {}
    for _, _, edge in _edges_by_key(version, [key], as_of.isoformat()).get(key, []):
        companies.setdefault(company_of(edge.from_id), edge)
    return list(companies.items())


def _compact(name: str) -> str:
    """Equal for "Face Book" and "Facebook"."""
    return name.replace(" ", "")


def _in_order(rows: Iterable[tuple[int, Edge]]) -> list[tuple[int, Edge]]:
    return sorted(rows, key=lambda row: row[0])


def _edges_by_key(version: GraphVersion, keys: Sequence[str], day: str) -> dict[str, list[tuple[int, int, Edge]]]:
    """By key: (strength, number, edge) in the order of these, of a ticker the likelier holder first."""
    found: dict[str, list[tuple[int, int, Edge]]] = defaultdict(list)
    for key, strength, number, edge in version.by_key(list(dict.fromkeys(key for key in keys if key)), day=day):
        found[key].append((strength, number, edge))
    for key, rows in found.items():
        rows.sort(key=lambda row: row[:2])
        if key.startswith("="):
            held = set(_known_if_any([edge for _, _, edge in rows], day))
            # Where several companies are known to hold it, the one that took it last is the likelier one.
            found[key] = sorted(
                (row for row in rows if row[2] in held), key=lambda row: row[2].valid_from, reverse=True
            )
    return found


def _known_if_any(edges: Sequence[Edge], day: str) -> Sequence[Edge]:
    known = [edge for edge in edges if edge.valid_from <= day and (not edge.valid_to or edge.valid_to >= day)]
    return known or edges


def _ordered(rows: Iterable[tuple[int, int, Edge]], day: str) -> list[Edge]:
    """Best evidence first: whole names before short ones, names still borne before ended ones, the last ended first."""
    held = sorted(
        rows, key=lambda row: (_end(row[2], day), row[2].valid_from if row[0] == TICKER else ""), reverse=True
    )
    return [edge for _, _, edge in sorted(held, key=lambda row: row[0])]


def _end(edge: Edge, day: str) -> str:
    return OPEN_END if not edge.valid_to or edge.valid_to >= day else edge.valid_to


def _successions(version: GraphVersion, companies: set[str], day: str) -> dict[str, list[Edge]]:
    """Succession edges of these companies, of their successors and so on, that had happened by the day."""
    found: dict[str, list[Edge]] = {}
    asked: set[str] = set()
    wanted = companies
    while wanted:
        asked |= wanted
        for _, edge in _in_order(version.succeeded(sorted(wanted), day=day)):
            found.setdefault(edge.from_id, []).append(edge)
        wanted = {edge.to_id for company in wanted for edge in found.get(company, [])} - asked
    return found


def _followed(path: tuple[Edge, ...], company: str, successions: dict[str, list[Edge]]) -> Iterator[tuple[Edge, ...]]:
    """The path continued through successors, the furthest first, then the path itself; no company twice."""
    passed = {path[0].from_id} | {edge.to_id for edge in path[1:]}
    if len(path) <= MAX_SUCCESSIONS:
        for edge in successions.get(company, []):
            if edge.to_id not in passed:
                yield from _followed((*path, edge), edge.to_id, successions)
    yield path
