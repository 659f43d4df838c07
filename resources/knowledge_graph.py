"""The knowledge graph as one SQLite file per version. Implements `ledgerline.mapping.ports.KnowledgeGraph`.

Here: storing edges and answering dated questions in batches. Which edges there are, and on which days an edge is taken
to hold, is decided by `ledgerline.mapping.graph`. A version is written aside and renamed when it is whole; `CURRENT`
names the version that queries see and is swapped in one rename, so that a reader sees the old graph or the new one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.errors import LedgerlineError

if TYPE_CHECKING:
    from ledgerline.mapping.records import Edge, Listing

# Part of every version's name: raise it when the layout of the file changes.
FORMAT = "1"
SCHEMA = """
CREATE TABLE edges (
    id INTEGER PRIMARY KEY,  -- the order in which the edges were given: a company's primary listing has the lowest
    from_id TEXT NOT NULL, label TEXT NOT NULL, to_id TEXT NOT NULL,
    valid_from TEXT NOT NULL, valid_to TEXT NOT NULL, source TEXT NOT NULL,
    taken_from TEXT NOT NULL, taken_to TEXT NOT NULL  -- see ledgerline.mapping.graph.days_taken; open is '' and '9999'
);
CREATE TABLE keys (key TEXT NOT NULL, strength INTEGER NOT NULL, edge INTEGER NOT NULL);
"""
INDEXES = """
CREATE INDEX keys_by_key ON keys (key, strength, edge);
CREATE INDEX listings_by_company ON edges (from_id, id) WHERE label = 'listed_as';
CREATE INDEX successions ON edges (from_id, id) WHERE label = 'succeeded_by';
"""
OPEN_END = "9999"
CHUNK = 900  # below the 999 parameters that every build of SQLite accepts
MAX_SUCCESSIONS = 8  # a chain of successors longer than this is a mistake in the facts, or a circle
# How good a key is as evidence; lower is better. A person or product is weaker than any name of the company itself.
WHOLE_NAME, SHORT_NAME, PERSON_OR_PRODUCT, TICKER = 0, 1, 2, 3

Bearer = tuple[str, "tuple[Edge, ...]"]


class SqliteKnowledgeGraph(ConfigurableResource):
    """Versions of the graph below the folder `root`. Constructing does no I/O."""

    root: str

    _connections: dict[tuple[int, str], sqlite3.Connection] = PrivateAttr(default_factory=dict)

    def build(self, edges: Iterable[Edge]) -> str:
        """Load a version and return its name. Equal edges in equal order give an equal name, not loaded again."""
        given = list(edges)
        version = _version(given)
        path = self._path(version)
        if path.exists():
            return version
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_builder(path.parent):
            if not path.exists():
                aside = path.with_suffix(".building")
                aside.unlink(missing_ok=True)  # of a build that was killed
                _write(aside, given)
                os.replace(aside, path)
        return version

    def promote(self, version: str) -> None:
        """Make a version the one that queries see. Raises LedgerlineError if it was never built."""
        if not self._path(version).exists():
            raise LedgerlineError(
                f"Knowledge graph version {version!r} is not in {self.root}; materialize the asset 'knowledge_graph'."
            )
        aside = Path(self.root) / f".CURRENT.{os.getpid()}.{threading.get_ident()}"
        aside.write_text(version, encoding="ascii")
        os.replace(aside, Path(self.root) / "CURRENT")

    def current(self) -> str | None:
        """The version that queries see, or None before the first `promote`."""
        try:
            return (Path(self.root) / "CURRENT").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def named(self, surfaces: Sequence[str], *, as_of: date) -> list[list[Bearer]]:
        """For each surface the companies that it names as of the day, best evidence first, each once with its path.

        A path is a `named` edge (a name, former name or alias; its dates say whether it was still borne), a `listed_as`
        edge where the surface is written as a ticker that was valid on the day, or a `led_by` / `makes` edge; then the
        `succeeded_by` edges up to the day. A bearer that was succeeded by then comes after its successor. Names are
        equal by `normalise.core` without blanks; a name without "Group", "Holdings" and the like is weaker evidence.
        Names that a company took only after the day are left out.
        """
        from ledgerline.mapping.graph import company_of
        from ledgerline.names.normalise import core

        day = as_of.isoformat()
        connection = self._connection()
        key_of = {surface: _compact(core(surface)) for surface in dict.fromkeys(surfaces)}
        by_key = _edges_by_key(connection, [*dict.fromkeys(key_of.values()), *_ticker_keys(key_of)], day)
        found = {
            surface: _ordered(by_key.get(key, []) + by_key.get(_ticker_key(surface), []), day)
            for surface, key in key_of.items()
        }
        successions = _successions(connection, {edge.from_id for edges in found.values() for edge in edges}, day)
        answers = {}
        for surface, edges in found.items():
            companies: dict[str, tuple[Edge, ...]] = {}
            for edge in edges:
                for path in _followed((edge,), edge.from_id, successions):
                    last = path[-1]
                    bearer = last.to_id if last.label == "succeeded_by" else last.from_id
                    companies.setdefault(company_of(bearer), path)
            answers[surface] = list(companies.items())
        return [answers[surface] for surface in surfaces]

    def listings(self, company_ids: Sequence[str], *, as_of: date) -> dict[str, list[tuple[Listing, Edge]]]:
        """The tickers of each company that hold on the day, the primary one first; a company without any has [].

        Tickers that were seen on the day, or before and after it, win over those that are only taken to hold (see
        `ledgerline.mapping.graph.days_taken`).
        """
        from ledgerline.mapping.graph import company_node, company_of, listing_of
        from ledgerline.mapping.records import Listing

        found: dict[str, list[tuple[Listing, Edge]]] = {company_id: [] for company_id in company_ids}
        query = (
            "SELECT from_id, label, to_id, valid_from, valid_to, source FROM edges WHERE label = 'listed_as'"
            " AND from_id IN ({}) AND taken_from <= ? AND taken_to >= ? ORDER BY from_id, id"
        )
        day = as_of.isoformat()
        edges: dict[str, list[Edge]] = defaultdict(list)
        for row in _select(self._connection(), query, [company_node(one) for one in found], day, day):
            edges[row[0]].append(_edge(row))
        for node, taken in edges.items():
            tickers: dict[tuple[str, str], tuple[Listing, Edge]] = {}
            for edge in _known_if_any(taken, day):
                exchange, ticker = listing_of(edge)
                listing = Listing(ticker, exchange, edge.valid_from, edge.valid_to, edge.source)
                tickers.setdefault((exchange, ticker), (listing, edge))
            found[company_of(node)] = list(tickers.values())
        return found

    def by_ticker(self, ticker: str, *, as_of: date) -> list[tuple[str, Edge]]:
        """The companies that a ticker meant on that day, each once; empty where nobody is known to have held it.

        As in `listings`, known holders win over those that are only taken to hold it.
        """
        from ledgerline.mapping.graph import company_of

        key = _ticker_key(ticker)
        found = _edges_by_key(self._connection(), [key] if key else [], as_of.isoformat())
        companies: dict[str, Edge] = {}
        for _, _, edge in found.get(key, []):
            companies.setdefault(company_of(edge.from_id), edge)
        return list(companies.items())

    def close(self) -> None:
        """Close the files that this object holds open."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _path(self, version: str) -> Path:
        return Path(self.root) / f"{version}.sqlite"

    def _connection(self) -> sqlite3.Connection:
        version = self.current()
        if version is None:
            raise LedgerlineError(
                f"There is no knowledge graph in {self.root} yet; materialize the asset 'knowledge_graph' first."
            )
        # One per thread: sqlite3 lets no two threads share a connection safely.
        here = (threading.get_ident(), version)
        if here not in self._connections:
            for other in [key for key in self._connections if key[0] == here[0]]:
                self._connections.pop(other).close()  # of a version that is no longer current
            path = self._path(version)
            if not path.exists():
                raise LedgerlineError(
                    f"Knowledge graph {path} is named by CURRENT but missing; materialize the asset 'knowledge_graph'."
                )
            # A version never changes once it has its name: immutable spares SQLite all locking.
            uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
            self._connections[here] = sqlite3.connect(uri, uri=True, check_same_thread=False)
        return self._connections[here]


def _version(edges: Sequence[Edge]) -> str:
    """A digest of the edges in their order and of the rules (keys, days) by which they are stored."""
    import hashlib

    from ledgerline.mapping import graph
    from ledgerline.names import normalise

    digest = hashlib.sha256(FORMAT.encode())
    for rules in (graph, normalise):
        digest.update(Path(str(rules.__file__)).read_bytes())
    fields = ((e.from_id, e.label, e.to_id, e.valid_from, e.valid_to, e.source) for e in edges)
    digest.update("\x1e".join(map("\x1f".join, fields)).encode())
    return f"graph-{digest.hexdigest()[:16]}"


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """One build at a time below a folder; the lock ends with the process that held it, also when that was killed."""
    import fcntl

    with (folder / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, edges: Sequence[Edge]) -> None:
    from ledgerline.mapping.graph import days_taken

    taken = days_taken(edges)
    rows = (
        (at, e.from_id, e.label, e.to_id, e.valid_from, e.valid_to, e.source, first, last or OPEN_END)
        for at, (e, (first, last)) in enumerate(zip(edges, taken, strict=True))
    )
    with closing(sqlite3.connect(path)) as connection:
        # The file is nothing until it is renamed, so no journal is needed; it is synced once, whole.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO keys VALUES (?, ?, ?)", _keys(edges))
        connection.executescript(INDEXES)
        connection.commit()
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _keys(edges: Sequence[Edge]) -> Iterator[tuple[str, int, int]]:
    from ledgerline.mapping.graph import literal_of
    from ledgerline.names.normalise import core, stem

    for at, edge in enumerate(edges):
        if edge.label == "succeeded_by":
            continue
        literal = literal_of(edge)
        if edge.label == "listed_as":
            yield _ticker_key(literal), TICKER, at
            continue
        whole, short = _compact(core(literal)), _compact(stem(literal))
        yield whole, WHOLE_NAME if edge.label == "named" else PERSON_OR_PRODUCT, at
        if edge.label == "named" and short != whole:
            yield short, SHORT_NAME, at


def _compact(name: str) -> str:
    """Equal for "Face Book" and "Facebook"."""
    return name.replace(" ", "")


def _ticker_key(surface: str) -> str:
    """The key of a surface that is written as a ticker ("AAPL", "$AAPL", "BRK.B", "005930"), else "".

    A ticker is written in capitals or digits: "apple" is no ticker even if APPLE were one.
    """
    text = surface.strip().removeprefix("$")
    letters = text.replace(".", "").replace("-", "").replace("/", "")
    if not 0 < len(text) <= 12 or not letters.isascii() or not letters.isalnum() or letters != letters.upper():
        return ""
    return f"={letters}"  # no name key begins with "="


def _ticker_keys(surfaces: Iterable[str]) -> list[str]:
    return [key for key in dict.fromkeys(map(_ticker_key, surfaces)) if key]


def _select(
    connection: sqlite3.Connection, query: str, values: Sequence[str], *others: str
) -> Iterator[tuple[str, ...]]:
    """Rows of a query whose `{}` stands for the values, asked for in chunks; `others` are the parameters after them."""
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        yield from connection.execute(query.format(",".join("?" * len(chunk))), (*chunk, *others))


def _edge(row: Sequence[str]) -> Edge:
    from ledgerline.mapping.records import Edge

    return Edge(*row)


def _edges_by_key(
    connection: sqlite3.Connection, keys: Sequence[str], day: str
) -> dict[str, list[tuple[int, int, Edge]]]:
    """By key: (strength, order, edge) of names borne by the day, also ended ones, and of tickers valid on the day."""
    found: dict[str, list[tuple[int, int, Edge]]] = defaultdict(list)
    query = (
        "SELECT key, strength, edge, from_id, label, to_id, valid_from, valid_to, source FROM keys"
        " JOIN edges ON edges.id = keys.edge WHERE key IN ({}) AND taken_from <= ?"
        " AND (label != 'listed_as' OR taken_to >= ?)"
    )
    for key, strength, order, *edge in _select(connection, query, [key for key in keys if key], day, day):
        found[key].append((int(strength), int(order), _edge(edge)))
    for key, rows in found.items():
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


def _successions(connection: sqlite3.Connection, companies: set[str], day: str) -> dict[str, list[Edge]]:
    """Succession edges of these companies, of their successors and so on, that had happened by the day."""
    query = (
        "SELECT from_id, label, to_id, valid_from, valid_to, source FROM edges"
        " WHERE label = 'succeeded_by' AND from_id IN ({}) AND valid_from <= ? ORDER BY from_id, id"
    )
    found: dict[str, list[Edge]] = {}
    asked: set[str] = set()
    wanted = companies
    while wanted:
        asked |= wanted
        for row in _select(connection, query, sorted(wanted), day):
            edge = _edge(row)
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
