"""The ledger of filings on SQLAlchemy Core: SQLite embedded, PostgreSQL in production, one schema.

Implements `ledgerline.filings.ports.FilingLedger` and `RateLease`. Every method is one transaction and idempotent, so a
process may be killed between any two of them. What a state means and in which order states follow is decided in
`ledgerline/filings/onboarding.py`; bytes are in the object store; rows for readers are in the lake.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.errors import ConfigurationError
from ledgerline.filings.parties import unite_parties
from ledgerline.filings.ports import Fetched, LedgerRow, Parsed, Refusal, State
from ledgerline.filings.records import FilingRef, Party, Source

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

SCHEMA_VERSION = 1
BUSY_SECONDS = 30  # a writer holds the database for milliseconds; whoever waits longer has met a stuck process
IDS_PER_QUERY = 1000  # bound parameters per statement: SQLite allows 32,766, PostgreSQL 65,535
# A slot further away than this is not a queue of workers but a clock that was set back.
LONGEST_QUEUE = timedelta(seconds=60)

T = TypeVar("T")


class SqlFilingLedger(ConfigurableResource):
    """`url` is an SQLAlchemy URL: `sqlite:////folder/ledger.db` or `postgresql+psycopg://user:password@host/database`."""

    url: str

    _engine: Any = PrivateAttr(default=None)

    # ------------------------------------------------------------------------------------- transitions

    def discovered(self, refs: Iterable[FilingRef], *, seen_at: datetime) -> int:
        """Remember refs; parties of a known filing are united. Returns how many were new."""
        new = 0
        with self._write() as connection:
            for source, group in _by_source(refs).items():
                for part in _chunks(group):
                    new += self._discover(connection, source, part, seen_at)
        return new

    def fetched(
        self, source: Source, filing_id: str, *, sha256: str, size: int, uri: str, available_at: datetime
    ) -> None:
        self.fetched_many(source, [Fetched(filing_id, sha256, size, uri, available_at)])

    def fetched_many(self, source: Source, items: Sequence[Fetched]) -> None:
        """Keep digests and URIs. Known bytes change nothing but the attempts; other bytes are a new version."""
        from sqlalchemy import insert

        filings, versions = _tables().filings, _tables().versions
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            counted = [item for item in items if item.filing_id in known]
            changed = [item for item in counted if known[item.filing_id].sha256 != item.sha256]
            self._update(
                connection,
                filings,
                source,
                [{"id": item.filing_id, "attempts": known[item.filing_id].attempts + 1} for item in counted],
            )
            numbers = {item.filing_id: _next_version(known[item.filing_id]) for item in changed}
            values = [
                {
                    "id": item.filing_id,
                    "state": "fetched",
                    "sha256": item.sha256,
                    "bytes": item.size,
                    "uri": item.uri,
                    "available_at": item.available_at,
                    "version": numbers[item.filing_id],
                    "reason": None,
                    "detail": None,
                }
                for item in changed
            ]
            self._update(connection, filings, source, values)
            if changed:
                connection.execute(
                    insert(versions),
                    [
                        {
                            "source": source,
                            "filing_id": item.filing_id,
                            "version": numbers[item.filing_id],
                            "sha256": item.sha256,
                            "bytes": item.size,
                            "uri": item.uri,
                            "available_at": item.available_at,
                        }
                        for item in changed
                    ],
                )

    def parsed(self, source: Source, filing_id: str, *, accepted_at: datetime | None) -> None:
        self.parsed_many(source, [Parsed(filing_id, accepted_at)])

    def parsed_many(self, source: Source, items: Sequence[Parsed]) -> None:
        """Fetched becomes parsed; in any other state nothing changes. Header facts complete what discovery knew."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            due = [item for item in items if item.filing_id in known and known[item.filing_id].state == "fetched"]
            values = [
                {
                    "id": item.filing_id,
                    "state": "parsed",
                    "accepted_at": item.accepted_at or known[item.filing_id].accepted_at,
                    "form": known[item.filing_id].form or item.form or "",
                }
                for item in due
            ]
            self._update(connection, filings, source, values)
            self._unite(connection, source, {item.filing_id: item.parties for item in due if item.parties})

    def refused(self, source: Source, filing_id: str, *, reason: str, detail: str) -> None:
        self.refused_many(source, [Refusal(filing_id, reason, detail)])

    def refused_many(self, source: Source, items: Sequence[Refusal]) -> None:
        """What is not published yet becomes refused, with its reason; a published filing is left alone."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            values = [
                {"id": item.filing_id, "state": "refused", "reason": item.reason, "detail": item.detail}
                for item in items
                if item.filing_id in known and known[item.filing_id].state != "published"
            ]
            self._update(connection, filings, source, values)

    def waiting(self, source: Source, filing_ids: Sequence[str], *, detail: str) -> None:
        """Count an attempt on filings that are listed but not served yet; they stay `discovered`."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, filing_ids)
            values = [
                {"id": filing_id, "attempts": row.attempts + 1, "detail": detail}
                for filing_id, row in known.items()
                if row.state == "discovered"
            ]
            self._update(connection, filings, source, values)

    def published(self, source: Source, filing_ids: Sequence[str]) -> None:
        """The lake holds the newest version of these filings: parsed becomes published; refused stays refused."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, filing_ids)
            values = [
                {
                    "id": filing_id,
                    "state": "published" if row.state == "parsed" else row.state,
                    "published_version": row.version,
                }
                for filing_id, row in known.items()
                if row.state in ("parsed", "refused")
            ]
            self._update(connection, filings, source, values)

    # ----------------------------------------------------------------------------------------- queries

    def pending(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are neither published nor refused."""
        return self._rows(source, day, _tables().filings.c.state.in_(("discovered", "fetched", "parsed")))

    def unpublished(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are parsed or refused and whose newest version is not confirmed to be in the lake."""
        columns = _tables().filings.c
        return self._rows(
            source, day, columns.state.in_(("parsed", "refused")), columns.published_version < columns.version
        )

    def rows(self, source: Source, day: date) -> list[LedgerRow]:
        return self._rows(source, day)

    def row(self, source: Source, filing_id: str) -> LedgerRow | None:
        columns = _tables().filings.c
        found = self._select(columns.source == source, columns.filing_id == filing_id)
        return found[0] if found else None

    def versions(self, source: Source, filing_id: str) -> list[Fetched]:
        """Every body that was kept of a filing, oldest first."""
        from sqlalchemy import select

        table = _tables().versions
        query = select(table).where(table.c.source == source, table.c.filing_id == filing_id).order_by(table.c.version)
        with self._read() as connection:
            return [
                Fetched(filing_id, row.sha256, row.bytes, row.uri, row.available_at)
                for row in connection.execute(query)
            ]

    def counts(self) -> dict[tuple[str, str, str], int]:
        """(source, day, state) -> filings, for the monitor and the sensors."""
        from sqlalchemy import func, select

        columns = _tables().filings.c
        query = select(columns.source, columns.day, columns.state, func.count()).group_by(
            columns.source, columns.day, columns.state
        )
        with self._read() as connection:
            return {(row[0], row[1].isoformat(), row[2]): row[3] for row in connection.execute(query)}

    # ----------------------------------------------------------------------------------- lease and ban

    def lease(
        self, source: Source, now: datetime, *, per_second: float, per_day: int | None = None, day: date | None = None
    ) -> float | None:
        """Take the next free slot and return the seconds to wait for it; None where `per_day` of `day` is used up."""
        from sqlalchemy import update

        leases = _tables().leases
        with self._write() as connection:
            self._insert_ignore(connection, leases, [{"source": source, "next_at": now, "day": day, "used": 0}])
            row = connection.execute(leases.select().where(leases.c.source == source).with_for_update()).one()
            used = row.used if row.day == day else 0
            if per_day is not None and used >= per_day:
                return None
            queued = row.next_at if now < row.next_at <= now + LONGEST_QUEUE else now
            connection.execute(
                update(leases)
                .where(leases.c.source == source)
                .values(next_at=queued + timedelta(seconds=1 / per_second), day=day, used=used + 1)
            )
            return (queued - now).total_seconds()

    def ban(self, source: Source, until: datetime, reason: str) -> None:
        """Nobody may ask before `until`; an earlier end than the known one changes nothing."""
        from sqlalchemy import update

        bans = _tables().bans
        with self._write() as connection:
            self._insert_ignore(connection, bans, [{"source": source, "until": until, "reason": reason}])
            connection.execute(
                update(bans).where(bans.c.source == source, bans.c.until < until).values(until=until, reason=reason)
            )

    def banned_until(self, source: Source, now: datetime) -> tuple[datetime, str] | None:
        """The end and the reason of the ban that holds at `now`, or None."""
        bans = _tables().bans
        with self._read() as connection:
            row = connection.execute(bans.select().where(bans.c.source == source, bans.c.until > now)).one_or_none()
        return None if row is None else (row.until, row.reason)

    # ---------------------------------------------------------------------------- inside a transaction

    def _discover(self, connection: Connection, source: Source, refs: dict[str, FilingRef], seen_at: datetime) -> int:
        filings = _tables().filings
        known = self._states(connection, source, list(refs))
        fresh = [ref for filing_id, ref in refs.items() if filing_id not in known]
        values = [
            {
                "source": source,
                "filing_id": ref.filing_id,
                "day": ref.day,
                "form": ref.form,
                "title": ref.title,
                "state": "discovered",
                "accepted_at": ref.accepted_at,
                "first_seen_at": seen_at,
                "version": 0,
                "published_version": -1,
                "attempts": 0,
            }
            for ref in fresh
        ]
        inserted = self._insert_ignore(connection, filings, values)
        completed = [
            {
                "id": filing_id,
                "accepted_at": known[filing_id].accepted_at or ref.accepted_at,
                "form": known[filing_id].form or ref.form,
            }
            for filing_id, ref in refs.items()
            if filing_id in known
            and ((known[filing_id].accepted_at is None and ref.accepted_at) or (not known[filing_id].form and ref.form))
        ]
        self._update(connection, filings, source, completed)
        self._unite(connection, source, {filing_id: ref.parties for filing_id, ref in refs.items()})
        return inserted

    def _unite(self, connection: Connection, source: Source, parties: dict[str, tuple[Party, ...]]) -> None:
        """Write the parties of those filings whose set grows."""
        from sqlalchemy import insert

        table = _tables().parties
        known = self._parties(connection, source, list(parties))
        grown = {
            filing_id: united
            for filing_id, given in parties.items()
            if (united := unite_parties(known.get(filing_id, ()), given)) != known.get(filing_id, ())
        }
        for part in _chunks([filing_id for filing_id in grown if filing_id in known]):
            connection.execute(table.delete().where(table.c.source == source, table.c.filing_id.in_(part)))
        values = [
            {
                "source": source,
                "filing_id": filing_id,
                "position": position,
                "party_id": party.id,
                "name": party.name,
                "role": party.role,
            }
            for filing_id, united in grown.items()
            for position, party in enumerate(united)
        ]
        if values:
            connection.execute(insert(table), values)

    def _parties(self, connection: Connection, source: Source, ids: list[str]) -> dict[str, tuple[Party, ...]]:
        from sqlalchemy import select

        table = _tables().parties
        found: dict[str, tuple[Party, ...]] = {}
        for part in _chunks(ids):
            query = (
                select(table.c.filing_id, table.c.party_id, table.c.name, table.c.role)
                .where(table.c.source == source, table.c.filing_id.in_(part))
                .order_by(table.c.filing_id, table.c.position)
            )
            for row in connection.execute(query):
                found[row.filing_id] = (*found.get(row.filing_id, ()), Party(row.party_id, row.name, row.role))
        return found

    def _states(self, connection: Connection, source: Source, ids: Sequence[str]) -> dict[str, Any]:
        """The stored rows by filing id, locked against other writers until the transaction ends."""
        from sqlalchemy import select

        filings = _tables().filings
        found = {}
        for part in _chunks(list(ids)):
            query = select(filings).where(filings.c.source == source, filings.c.filing_id.in_(part)).with_for_update()
            found.update({row.filing_id: row for row in connection.execute(query)})
        return found

    def _update(self, connection: Connection, table: Any, source: Source, values: list[dict[str, Any]]) -> None:
        """Set columns of many filings; each of `values` holds "id" and the same columns."""
        from sqlalchemy import bindparam, update

        if not values:
            return
        statement = update(table).where(table.c.source == source, table.c.filing_id == bindparam("id"))
        columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in values[0] if name != "id"}
        connection.execute(
            statement.values(columns),
            [{(name if name == "id" else f"new_{name}"): value for name, value in row.items()} for row in values],
        )

    def _insert_ignore(self, connection: Connection, table: Any, values: list[dict[str, Any]]) -> int:
        """Insert the rows whose key is new; returns how many."""
        if not values:
            return 0
        if connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as insert_postgresql

            statement: Any = insert_postgresql(table).on_conflict_do_nothing()
        else:
            from sqlalchemy.dialects.sqlite import insert as insert_sqlite

            statement = insert_sqlite(table).on_conflict_do_nothing()
        return len(connection.execute(statement.returning(*table.primary_key), values).all())

    def _rows(self, source: Source, day: date, *conditions: Any) -> list[LedgerRow]:
        columns = _tables().filings.c
        return self._select(columns.source == source, columns.day == day, *conditions)

    def _select(self, *conditions: Any) -> list[LedgerRow]:
        from sqlalchemy import and_, select

        filings, table = _tables().filings, _tables().parties
        with self._read() as connection:
            found = connection.execute(select(filings).where(*conditions).order_by(filings.c.filing_id)).all()
            joined = table.join(
                filings, and_(table.c.source == filings.c.source, table.c.filing_id == filings.c.filing_id)
            )
            query = select(table).select_from(joined).where(*conditions).order_by(table.c.filing_id, table.c.position)
            parties: dict[str, list[Party]] = {}
            for row in connection.execute(query):
                parties.setdefault(row.filing_id, []).append(Party(row.party_id, row.name, row.role))
        return [_ledger_row(row, tuple(parties.get(row.filing_id, ()))) for row in found]

    # ---------------------------------------------------------------------------------------- database

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction that holds SQLite's write lock from its start, so that what it read stays true."""
        with self._open().execution_options(ledger_write=True).begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """One transaction: all queries see the same state."""
        with self._open().begin() as connection:
            yield connection

    def _open(self) -> Engine:
        if self._engine is None:
            self._engine = _engine(self.url)
        return self._engine


# ---------------------------------------------------------------------------------------- pure helpers


def _ledger_row(row: Any, parties: tuple[Party, ...]) -> LedgerRow:
    state: State = row.state
    ref = FilingRef(row.source, row.filing_id, row.day, row.form, parties, row.accepted_at, row.title)
    return LedgerRow(
        ref=ref,
        state=state,
        first_seen_at=row.first_seen_at,
        available_at=row.available_at,
        sha256=row.sha256,
        bytes=row.bytes,
        uri=row.uri,
        reason=row.reason,
        detail=row.detail,
        version=row.version,
        attempts=row.attempts,
    )


def _next_version(row: Any) -> int:
    return int(row.version) + 1


def _by_source(refs: Iterable[FilingRef]) -> dict[Source, dict[str, FilingRef]]:
    """Refs by source and filing id; a filing given twice is one ref with the parties of both."""
    from dataclasses import replace

    groups: dict[Source, dict[str, FilingRef]] = {}
    for ref in refs:
        group = groups.setdefault(ref.source, {})
        first = group.get(ref.filing_id)
        group[ref.filing_id] = (
            ref if first is None else replace(first, parties=unite_parties(first.parties, ref.parties))
        )
    return groups


def _chunks(items: Any) -> Iterator[Any]:
    """Lists (or dicts) of at most IDS_PER_QUERY items."""
    sequence = list(items.items()) if isinstance(items, dict) else items
    for start in range(0, len(sequence), IDS_PER_QUERY):
        part = sequence[start : start + IDS_PER_QUERY]
        yield dict(part) if isinstance(items, dict) else part


# ---------------------------------------------------------------------------------------------- schema


@functools.cache
def _tables() -> SimpleNamespace:
    """The tables. Built at first use, because importing SQLAlchemy costs more than loading the code location may."""
    from sqlalchemy import BigInteger, Column, Date, DateTime, Index, Integer, MetaData, String, Table, Text
    from sqlalchemy.types import TypeDecorator

    class UtcDateTime(TypeDecorator):
        """An aware UTC datetime; SQLite has no zones, so there it is stored without one and given it back."""

        impl = DateTime
        cache_ok = True

        def load_dialect_impl(self, dialect: Any) -> Any:
            return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))

        def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
            if value is None:
                return None
            if value.tzinfo is None:
                raise ValueError(f"a time without a zone cannot be stored: {value!r}; give an aware UTC datetime")
            value = value.astimezone(timezone.utc)
            return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

        def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
            if value is None:
                return None
            return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)

    metadata = MetaData()

    def filing_key() -> tuple[Any, Any]:
        return Column("source", String(16), primary_key=True), Column("filing_id", String(255), primary_key=True)

    filings = Table(
        "filings",
        metadata,
        *filing_key(),
        Column("day", Date, nullable=False),
        Column("form", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("state", String(16), nullable=False),
        Column("accepted_at", UtcDateTime),
        Column("first_seen_at", UtcDateTime, nullable=False),
        Column("available_at", UtcDateTime),
        Column("sha256", String(64)),
        Column("bytes", BigInteger),
        Column("uri", Text),
        Column("reason", String(64)),
        Column("detail", Text),
        Column("version", Integer, nullable=False),  # 0: nothing fetched yet
        Column("published_version", Integer, nullable=False),  # the version that the lake is known to hold, -1: none
        Column("attempts", Integer, nullable=False),
        Index("filings_by_day", "source", "day", "state"),
    )
    versions = Table(
        "filing_versions",
        metadata,
        *filing_key(),
        Column("version", Integer, primary_key=True),
        Column("sha256", String(64), nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("uri", Text, nullable=False),
        Column("available_at", UtcDateTime, nullable=False),
    )
    parties = Table(
        "filing_parties",
        metadata,
        *filing_key(),
        Column("position", Integer, primary_key=True),
        Column("party_id", String(16), nullable=False),
        Column("name", Text, nullable=False),
        Column("role", String(64), nullable=False),
    )
    leases = Table(
        "rate_leases",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("next_at", UtcDateTime, nullable=False),
        Column("day", Date),
        Column("used", Integer, nullable=False),
    )
    bans = Table(
        "bans",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("until", UtcDateTime, nullable=False),
        Column("reason", Text, nullable=False),
    )
    schema = Table("ledger_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))
    return SimpleNamespace(
        metadata=metadata,
        filings=filings,
        versions=versions,
        parties=parties,
        leases=leases,
        bans=bans,
        schema=schema,
    )


def _engine(url: str) -> Engine:
    """The engine of a ledger whose schema is there. Raises ConfigurationError for a newer schema or an unusable URL."""
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        parsed = make_url(url)
        shown = parsed.render_as_string(hide_password=True)
        options = {"connect_args": {"timeout": BUSY_SECONDS}} if parsed.get_backend_name() == "sqlite" else {}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            "the ledger's URL cannot be used: write sqlite:////absolute/path/ledger.db or "
            "postgresql+psycopg://user:password@host/database (needs psycopg)"
        ) from error

    if engine.dialect.name == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)

        @event.listens_for(engine, "connect")
        def configure(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # SQLAlchemy, not the driver, says BEGIN: see below
            connection.execute("PRAGMA journal_mode=WAL")
            # A kill loses nothing. A power cut may lose the last transactions; the next run makes them again.
            connection.execute("PRAGMA synchronous=NORMAL")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("ledger_write")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    tables = _tables()
    with engine.execution_options(ledger_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":  # only one process creates the tables
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('ledgerline.filing_ledger'))"))
        tables.schema.create(connection, checkfirst=True)
        version = connection.execute(tables.schema.select()).scalar()
        if version is None:
            tables.metadata.create_all(connection)
            connection.execute(tables.schema.insert().values(version=SCHEMA_VERSION))
        elif version > SCHEMA_VERSION:
            raise ConfigurationError(
                f"the ledger {shown} has schema {version}, this program knows {SCHEMA_VERSION}: install the newer "
                "ledgerline that wrote it, or give another ledger"
            )
    return engine
