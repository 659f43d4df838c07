"""The state on disk: one SQLite file in WAL mode that survives kill -9. A resource is a JSON body under (kind, name).

A body holds the members of AWS's Describe answer; members that begin with '_' are the server's own and never leave it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Body = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
    arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, key)
) WITHOUT ROWID;
"""


class Exists(Exception):
    """A resource of this kind and name is there already."""


class Store:
    """Thread-safe: one connection behind one lock; every public method is one transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(
            "PRAGMA synchronous=NORMAL"
        )  # safe against a killed process; only a power cut can lose a commit
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several calls as one; nested transactions join the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def create(self, kind: str, name: str, body: Body) -> None:
        try:
            with self.transaction():
                self._db.execute("INSERT INTO resources VALUES (?, ?, ?)", (kind, name, json.dumps(body)))
        except sqlite3.IntegrityError as error:
            raise Exists(f"{kind} {name}") from error

    def get(self, kind: str, name: str) -> Body | None:
        with self._lock:
            row = self._db.execute("SELECT body FROM resources WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return None if row is None else json.loads(row[0])

    @contextmanager
    def edit(self, kind: str, name: str) -> Iterator[Body | None]:
        """The body to change in place; it is written back at the end, unless it was absent (None)."""
        with self.transaction():
            body = self.get(kind, name)
            yield body
            if body is not None:
                self._db.execute(
                    "UPDATE resources SET body = ? WHERE kind = ? AND name = ?", (json.dumps(body), kind, name)
                )

    def delete(self, kind: str, name: str) -> bool:
        with self.transaction():
            return self._db.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name)).rowcount > 0

    def all(self, kind: str) -> list[tuple[str, Body]]:
        with self._lock:
            rows = self._db.execute("SELECT name, body FROM resources WHERE kind = ? ORDER BY name", (kind,)).fetchall()
        return [(name, json.loads(body)) for name, body in rows]

    def tags(self, arn: str) -> list[dict[str, str]]:
        with self._lock:
            rows = self._db.execute("SELECT key, value FROM tags WHERE arn = ? ORDER BY key", (arn,)).fetchall()
        return [{"Key": key, "Value": value} for key, value in rows]

    def set_tags(self, arn: str, tags: list[dict[str, str]]) -> None:
        with self.transaction():
            for tag in tags:
                self._db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (arn, tag["Key"], tag["Value"]))

    def remove_tags(self, arn: str, keys: list[str] | None = None) -> None:
        """Remove the tags with these keys, or all tags of the resource."""
        with self.transaction():
            if keys is None:
                self._db.execute("DELETE FROM tags WHERE arn = ?", (arn,))
            for key in keys or []:
                self._db.execute("DELETE FROM tags WHERE arn = ? AND key = ?", (arn, key))
