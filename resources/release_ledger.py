"""Port `release_ledger`: rows of candidates, approvals, intents and releases that can be added and never changed.

One SQLAlchemy implementation for SQLite (local) and PostgreSQL (production), in the database of the filing ledger with
a table of its own. What the rows mean is in ledgerline/release/releases.py. Three things keep history honest: the
database refuses UPDATE and DELETE (triggers), each row's digest covers the row before it, and two writers cannot both
follow the same row (unique `previous`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.database import engine_of, said

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ledgerline.release.ports import LedgerEntry

TABLE = "release_ledger"
# A writer that lost the race for the newest row takes the new newest; more losses than this in a row is a fault.
ATTEMPTS = 20


class SqlReleaseLedger(dg.ConfigurableResource):
    """The release ledger in a SQL database. Constructing does no I/O; the table is made at first use."""

    database_url: str = Field(description="SQLAlchemy URL, e.g. sqlite:////path/ledger.db or postgresql+psycopg://...")
    password: str | None = Field(default=None, repr=False, description="Of PostgreSQL, or a reference to it.")
    branch_schema: str = Field(default="", description="The schema of a branch deployment in PostgreSQL.")

    _engine: Any = PrivateAttr(default=None)
    _table: Any = PrivateAttr(default=None)

    def append(self, record: Any) -> LedgerEntry:
        """Add a row behind the newest one. Raises PermanentFailure for an intent that is already concluded."""
        from sqlalchemy.exc import IntegrityError

        from ledgerline.errors import LedgerlineError, PermanentFailure

        for _attempt in range(ATTEMPTS):
            number, previous = self.head()
            entry = _chain(number + 1, record, previous)
            try:
                with self._connection() as connection:
                    connection.execute(self._table.insert().values(**_row(entry)))
                return entry
            except IntegrityError:
                intent = getattr(record, "intent", None)
                if intent is not None and self._is_concluded(intent):
                    raise PermanentFailure(
                        f"Deployment {intent} of {record.project} was already settled by another run, so its outcome "
                        "is not recorded twice. Look at the release ledger, then materialize live_endpoint again."
                    ) from None
        raise LedgerlineError(
            f"The release ledger did not take a row in {ATTEMPTS} attempts: others write to it all the time. Try again."
        )

    def entries(self, project: str | None = None) -> list[LedgerEntry]:
        """Rows, oldest first. The chain is checked over all rows on every read: no caller sees altered history."""
        with self._connection() as connection:
            rows = connection.execute(self._table.select().order_by(self._table.c.number)).all()
        before = ["", *(row.digest for row in rows)]
        entries = [_entry(row, previous) for row, previous in zip(rows, before, strict=False)]
        _check_numbers(entries)
        return [entry for entry in entries if project in (None, entry.record.project)]

    def head(self) -> tuple[int, str]:
        with self._connection() as connection:
            newest = self._table.select().order_by(self._table.c.number.desc()).limit(1)
            row = connection.execute(newest).first()
        return (row.number, row.digest) if row else (0, "")

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. What is written is rolled back: the ledger only grows."""
        yield "schema"
        self.head()
        yield "write, rolled back"
        never = dict.fromkeys(("project", "kind", "record", "previous", "digest"), "doctor")
        with self._connection() as connection:
            connection.execute(self._table.insert().values(number=-1, **never))
            connection.rollback()
        yield "chain"
        self.entries()

    def _is_concluded(self, intent: int) -> bool:
        with self._connection() as connection:
            found = connection.execute(self._table.select().where(self._table.c.concludes == intent)).first()
        return found is not None

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with said("the release ledger", self.database_url):
            if self._engine is None:
                engine = engine_of(
                    self.database_url, "the release ledger", password=self.password, schema=self.branch_schema
                )
                self._table = _make_table(engine)
                self._engine = engine
            with self._engine.begin() as connection:
                yield connection


def _make_table(engine: sa.Engine) -> sa.Table:
    """The table; it and its guards are created where they are missing."""
    import sqlalchemy as sa

    metadata = sa.MetaData()
    table = sa.Table(
        TABLE,
        metadata,
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("project", sa.String(64), nullable=False, index=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("concludes", sa.Integer, nullable=True, unique=True),  # the intent that this row settles
    )
    for statement in _guards(engine.dialect.name):
        sa.event.listen(table, "after_create", sa.DDL(statement))
    _create(metadata, engine)
    return table


def _create(metadata: sa.MetaData, engine: sa.Engine) -> None:
    """Create the table unless it is there; another process may be doing the same at this moment."""
    import sqlalchemy as sa

    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":  # the others wait, and find it
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ledgerline.release_ledger'))"))
            metadata.create_all(connection)
    except sa.exc.OperationalError:
        if not sa.inspect(engine).has_table(TABLE):
            raise


def _guards(dialect: str) -> list[str]:
    """Statements that make the database itself refuse changes of rows that are there."""
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER {TABLE}_no_{verb.lower()} BEFORE {verb} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, 'the release ledger only grows'); END"
            for verb in ("UPDATE", "DELETE")
        ]
    if dialect == "postgresql":
        return [
            f"CREATE OR REPLACE FUNCTION {TABLE}_refuse() RETURNS trigger AS $$ "
            "BEGIN RAISE EXCEPTION 'the release ledger only grows'; END; $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER {TABLE}_only_grows BEFORE UPDATE OR DELETE ON {TABLE} "
            f"FOR EACH ROW EXECUTE FUNCTION {TABLE}_refuse()",
            f"CREATE TRIGGER {TABLE}_is_not_emptied BEFORE TRUNCATE ON {TABLE} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {TABLE}_refuse()",
        ]
    return []


def _chain(number: int, record: Any, previous: str, stored: str | None = None) -> LedgerEntry:
    """The digest covers the record as it is stored: a field that later versions add is not in the rows before them."""
    import json

    from ledgerline.release.canonical import sha256_of
    from ledgerline.release.ports import LedgerEntry

    written = record.model_dump_json() if stored is None else stored
    body = {"number": number, "previous": previous, "record": json.loads(written)}
    return LedgerEntry(number, record, previous, sha256_of(body))


def _row(entry: LedgerEntry) -> dict[str, object]:
    return {
        "number": entry.number,
        "project": entry.record.project,
        "kind": entry.record.kind,
        "record": entry.record.model_dump_json(),
        "previous": entry.previous,
        "digest": entry.digest,
        "concludes": getattr(entry.record, "intent", None),
    }


def _entry(row: Any, previous: str) -> LedgerEntry:
    """The entry of a row, checked against the digest of the row before it."""
    from pydantic import ValidationError

    from ledgerline.release.releases import RECORD

    try:
        record = RECORD.validate_json(row.record)
    except ValidationError as error:
        raise _altered(row.number) from error
    entry = _chain(row.number, record, previous, row.record)
    labels = (record.project, record.kind, getattr(record, "intent", None))
    if (entry.digest, previous, labels) != (row.digest, row.previous, (row.project, row.kind, row.concludes)):
        raise _altered(row.number)
    return entry


def _check_numbers(entries: list[LedgerEntry]) -> None:
    for expected, entry in enumerate(entries, start=1):
        if entry.number != expected:
            raise _altered(expected)


def _altered(number: int) -> Exception:
    from ledgerline.release.releases import GateRefusal

    return GateRefusal(
        "ledger_intact",
        f"row {number} of the release ledger is not what was written: it was altered, or the row before it is missing. "
        "Nothing goes live until the ledger is restored from a backup; the endpoints stay as they are.",
    )
