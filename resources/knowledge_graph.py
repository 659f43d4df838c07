"""The knowledge graph as one SQLite file per version. Implements `ledgerline.mapping.ports.KnowledgeGraph`.

Here: storing edges and finding them again. Which edges there are, and on which days an edge is taken to hold, is decided by
`ledgerline.mapping.graph`; how a question is answered from edges by `ledgerline.mapping.graph_answers`. A version is
written aside and renamed when it is whole; `CURRENT` names the version that queries see and is swapped in one rename, so
that a reader sees the old graph or the new one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.doctor import probed_graph
from ledgerline.errors import LedgerlineError

if TYPE_CHECKING:
    from ledgerline.mapping.graph_answers import Bearer, Found
    from ledgerline.mapping.records import Edge, Listing

# Part of every version's name: raise it when the layout of the file changes.
FORMAT = "sqlite 1"
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
CHUNK = 900  # below the 999 parameters that every build of SQLite accepts


class SqliteKnowledgeGraph(ConfigurableResource):
    """Versions of the graph below the folder `root`. Constructing does no I/O."""

    root: str

    _connections: dict[tuple[int, str], sqlite3.Connection] = PrivateAttr(default_factory=dict)

    def build(self, edges: Iterable[Edge]) -> str:
        """Load a version and return its name. Equal edges in equal order give an equal name, not loaded again."""
        from ledgerline.mapping.graph_answers import version_of

        given = list(edges)
        version = version_of(given, FORMAT)
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
        """See `ledgerline.mapping.graph_answers.named`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.named(self._version(), surfaces, as_of=as_of)

    def listings(self, company_ids: Sequence[str], *, as_of: date) -> dict[str, list[tuple[Listing, Edge]]]:
        """See `ledgerline.mapping.graph_answers.listings`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.listings(self._version(), company_ids, as_of=as_of)

    def by_ticker(self, ticker: str, *, as_of: date) -> list[tuple[str, Edge]]:
        """See `ledgerline.mapping.graph_answers.by_ticker`."""
        from ledgerline.mapping import graph_answers

        return graph_answers.by_ticker(self._version(), ticker, as_of=as_of)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Builds a version in a folder beside the others."""
        beside = Path(self.root) / f".doctor-{uuid.uuid4().hex}"
        probe = SqliteKnowledgeGraph(root=str(beside))
        try:
            yield from probed_graph(probe)
        finally:
            probe.close()
            shutil.rmtree(beside, ignore_errors=True)

    def close(self) -> None:
        """Close the files that this object holds open."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _path(self, version: str) -> Path:
        return Path(self.root) / f"{version}.sqlite"

    def _version(self) -> _SqliteVersion:
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
        return _SqliteVersion(self._connections[here])


class _SqliteVersion:
    """One version, through one thread's connection. Implements `ledgerline.mapping.graph_answers.GraphVersion`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def by_key(self, keys: Sequence[str], *, day: str) -> Iterator[Found]:
        query = (
            "SELECT key, strength, edge, from_id, label, to_id, valid_from, valid_to, source FROM keys"
            " JOIN edges ON edges.id = keys.edge WHERE key IN ({}) AND taken_from <= ?"
            " AND (label != 'listed_as' OR taken_to >= ?)"
        )
        for key, strength, number, *edge in self._select(query, keys, day, day):
            yield key, int(strength), int(number), _edge(edge)

    def listed(self, nodes: Sequence[str], *, day: str) -> Iterator[tuple[int, Edge]]:
        query = (
            "SELECT id, from_id, label, to_id, valid_from, valid_to, source FROM edges WHERE label = 'listed_as'"
            " AND from_id IN ({}) AND taken_from <= ? AND taken_to >= ?"
        )
        for number, *edge in self._select(query, nodes, day, day):
            yield int(number), _edge(edge)

    def succeeded(self, nodes: Sequence[str], *, day: str) -> Iterator[tuple[int, Edge]]:
        query = (
            "SELECT id, from_id, label, to_id, valid_from, valid_to, source FROM edges WHERE label = 'succeeded_by'"
            " AND from_id IN ({}) AND valid_from <= ?"
        )
        for number, *edge in self._select(query, nodes, day):
            yield int(number), _edge(edge)

    def _select(self, query: str, values: Sequence[str], *others: str) -> Iterator[tuple[str, ...]]:
        """Rows of a query whose `{}` stands for the values, asked for in chunks; `others` are the parameters after them."""
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            yield from self._connection.execute(query.format(",".join("?" * len(chunk))), (*chunk, *others))


def _edge(row: Sequence[str]) -> Edge:
    from ledgerline.mapping.records import Edge

    return Edge(*row)


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """One build at a time below a folder; the lock ends with the process that held it, also when that was killed."""
    import fcntl

    with (folder / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, edges: Sequence[Edge]) -> None:
    from ledgerline.mapping.graph import days_taken
    from ledgerline.mapping.graph_answers import OPEN_END, keys_of

    taken = days_taken(edges)
    rows = (
        (at, e.from_id, e.label, e.to_id, e.valid_from, e.valid_to, e.source, first, last or OPEN_END)
        for at, (e, (first, last)) in enumerate(zip(edges, taken, strict=True))
    )
    keys = ((key, strength, at) for at, edge in enumerate(edges) for key, strength in keys_of(edge).items())
    with closing(sqlite3.connect(path)) as connection:
        # The file is nothing until it is renamed, so no journal is needed; it is synced once, whole.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO keys VALUES (?, ?, ?)", keys)
        connection.executescript(INDEXES)
        connection.commit()
    with path.open("rb") as written:
        os.fsync(written.fileno())
