"""The ledger of filings on SQLAlchemy Core: SQLite embedded, PostgreSQL in production, one schema.

Implements `ledgerline.filings.ports.FilingLedger` and `RateLease`. Every method is one transaction and idempotent, so a
process may be killed between any two of them. What a state means and in which order states follow is decided in
`ledgerline/filings/onboarding.py`; bytes are in the object store; rows for readers are in the lake.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from dagster import ConfigurableResource
from pydantic import Field, PrivateAttr

from ledgerline.errors import ConfigurationError
from ledgerline.filings.parties import unite_parties
from ledgerline.filings.ports import (
    LONGEST_BAN,
    LONGEST_DELAY,
    DayClaim,
    DayTotal,
    Fetched,
    LedgerRow,
    Moments,
    Parsed,
    Refusal,
    State,
    Tick,
    Waiting,
    Witness,
)
from ledgerline.filings.records import FilingRef, Party, Source
from resources.database import BUSY_SECONDS, drop_schema, engine_of, said, shown_url
from resources.ledger_schema import bring_to_schema

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

IDS_PER_QUERY = 1000  # bound parameters per statement: SQLite allows 32,766, PostgreSQL 65,535
# A slot further away than this is not a queue of workers but a clock that was set back.
LONGEST_QUEUE = timedelta(seconds=60)
# A backfill gets this share of the rate, and of the day's requests, while the live feed was read within LIVE_IS_RECENT.
BACKFILL_SHARE = 0.5
LIVE_IS_RECENT = timedelta(seconds=60)
OPEN_STATES = ("discovered", "fetched", "parsed")
TICKS_KEPT = timedelta(days=92)

T = TypeVar("T")


class SqlFilingLedger(ConfigurableResource):
    """`url` is an SQLAlchemy URL: `sqlite:////folder/ledger.db` or `postgresql+psycopg://user@host/database`.

    `password` is one of PostgreSQL, or a reference to it (`resources.secrets`); `branch_schema` the schema in which a branch
    deployment has tables of its own. `busy_seconds`: how long SQLite waits for a writer. A database that is busy for
    longer, full or away is a LedgerlineError of any method; its transaction has changed nothing then.
    """

    url: str
    password: str | None = Field(default=None, repr=False)
    branch_schema: str = ""
    busy_seconds: float = BUSY_SECONDS

    _engine: Any = PrivateAttr(default=None)

    # ------------------------------------------------------------------------------------- transitions

    def discovered(self, refs: Iterable[FilingRef], *, seen_at: datetime, witness: Witness = "list") -> int:
        """Remember refs; parties and witnesses of a known filing are united. Returns how many were new."""
        groups = _by_source(refs)
        if not groups:
            return 0
        with self._write() as connection:
            return sum(
                self._discover(connection, source, part, seen_at, witness)
                for source, group in groups.items()
                for part in _chunks(group)
            )

    def begun(self, source: Source, filing_ids: Sequence[str]) -> None:
        """Count an attempt before it is made, so that a filing that kills its worker is known by its attempts."""
        from sqlalchemy import update

        if not filing_ids:
            return
        filings = _tables().filings
        with self._write() as connection:
            for part in _chunks(list(filing_ids)):
                connection.execute(
                    update(filings)
                    .where(filings.c.source == source, filings.c.filing_id.in_(part))
                    .values(attempts=filings.c.attempts + 1, next_attempt_at=None)
                )

    def released(self, source: Source, filing_ids: Sequence[str], *, at: datetime) -> None:
        """Take back the count of attempts that something else than these filings ended; they are due again from `at`.

        No row grows by it, so that it works on a full disk too.
        """
        from sqlalchemy import case, update

        filings = _tables().filings
        with self._write() as connection:
            for part in _chunks(list(filing_ids)):
                connection.execute(
                    update(filings)
                    .where(filings.c.source == source, filings.c.filing_id.in_(part), filings.c.attempts > 0)
                    .values(attempts=filings.c.attempts - 1, next_attempt_at=case((filings.c.attempts > 1, at)))
                )

    def fetched_many(self, source: Source, items: Sequence[Fetched]) -> None:
        """Bodies that are kept, in one transaction. Other bytes are a new version; known bytes change nothing, unless the
        filing was to be fetched again: then it is fetched."""
        from sqlalchemy import insert

        filings, versions = _tables().filings, _tables().versions
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            changed = [
                item for item in items if item.filing_id in known and known[item.filing_id].sha256 != item.sha256
            ]
            again = [
                item
                for item in items
                if item.filing_id in known
                and (known[item.filing_id].sha256, known[item.filing_id].state) == (item.sha256, "discovered")
            ]
            self._update(
                connection,
                filings,
                source,
                [{"id": item.filing_id, "state": "fetched", "detail": None} for item in again],
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
                    "etag": item.etag,
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
                            "etag": item.etag,
                        }
                        for item in changed
                    ],
                )

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
                    "period": item.period or known[item.filing_id].period,
                    "parser_version": item.parser_version,
                    "detail": None,
                }
                for item in due
            ]
            self._update(connection, filings, source, values)
            self._unite(connection, source, {item.filing_id: item.parties for item in due if item.parties})

    def refused_many(self, source: Source, items: Sequence[Refusal]) -> None:
        """What is not published becomes refused, with its reason; a published filing is left alone."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            values = [
                {
                    "id": item.filing_id,
                    "state": "refused",
                    "reason": item.reason,
                    "detail": item.detail,
                    "next_attempt_at": None,
                    "parser_version": None,
                }
                for item in items
                if item.filing_id in known and known[item.filing_id].state != "published"
            ]
            self._update(connection, filings, source, values)

    def waiting_many(self, source: Source, items: Sequence[Waiting]) -> None:
        """Filings that were asked for in vain stay as they are until their next attempt."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, [item.filing_id for item in items])
            values = [
                {"id": item.filing_id, "detail": item.detail, "next_attempt_at": item.next_attempt_at}
                for item in items
                if item.filing_id in known and known[item.filing_id].state in OPEN_STATES
            ]
            self._update(connection, filings, source, values)

    def published(self, source: Source, versions: Mapping[str, int], *, at: datetime) -> None:
        """The lake holds these versions (filing id -> version): parsed becomes published; refused stays refused.

        A newer version, parsed meanwhile by another process, stays to be published; one that the lake held already, and
        that an older one may just have overwritten, is to be published again.
        """
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, list(versions))
            overwritten = [
                {"id": filing_id, "state": "parsed", "published_version": -1}
                for filing_id, row in known.items()
                if row.state == "published" and row.version > versions[filing_id]
            ]
            self._update(connection, filings, source, overwritten)
            values = [
                {
                    "id": filing_id,
                    "state": "published" if row.state == "parsed" else row.state,
                    "published_version": row.version,
                    "published_at": row.published_at or at,
                    "attempts": 0,
                    "next_attempt_at": None,
                }
                for filing_id, row in known.items()
                if row.state in ("parsed", "refused") and row.version == versions[filing_id]
            ]
            self._update(connection, filings, source, values)

    def corrected(self, source: Source, pointers: Mapping[str, str]) -> None:
        """Corrections (correction -> corrected filing, as ids) point to what they correct from now on, in the lake too."""
        with self._write() as connection:
            known = self._states(connection, source, list(pointers))
            values = [
                {
                    "id": filing_id,
                    "corrects": pointers[filing_id],
                    "state": "parsed" if row.state == "published" else row.state,
                    "published_version": -1,
                }
                for filing_id, row in known.items()
                if row.corrects != pointers[filing_id]
            ]
            self._update(connection, _tables().filings, source, values)

    def checked(self, source: Source, filing_ids: Sequence[str], *, at: datetime) -> None:
        """The bytes of these filings were compared with what the regulator serves."""
        with self._write() as connection:
            self._update(connection, _tables().filings, source, [{"id": one, "checked_at": at} for one in filing_ids])

    def reopened(self, source: Source, filing_ids: Sequence[str], *, fetch_again: bool = False) -> int:
        """Take closed filings up again from the start of parsing (from fetching, where no body is kept, or of a refused
        one with `fetch_again`); returns how many. A published filing is never asked for again: its body is good."""
        filings = _tables().filings
        with self._write() as connection:
            known = self._states(connection, source, filing_ids)
            values = [
                {
                    "id": filing_id,
                    "state": "discovered" if not row.uri or (fetch_again and row.state == "refused") else "fetched",
                    "reason": None,
                    "detail": None,
                    "attempts": 0,
                    "next_attempt_at": None,
                    "published_version": -1,
                }
                for filing_id, row in known.items()
                if row.state in ("published", "refused")
            ]
            self._update(connection, filings, source, values)
            return len(values)

    def ticked(self, tick: Tick) -> None:
        """Remember a poll."""
        from sqlalchemy import delete, insert

        ticks = _tables().ticks
        values = {
            "source": tick.source,
            "started_at": tick.started_at,
            "ended_at": tick.ended_at,
            "connected": tick.connected,
            "new": tick.new,
            "pages": tick.pages,
            "gap_from": tick.gap[0] if tick.gap else None,
            "gap_to": tick.gap[1] if tick.gap else None,
            "failure": tick.failure,
        }
        with self._write() as connection:
            connection.execute(insert(ticks), [values])
            connection.execute(
                delete(ticks).where(ticks.c.source == tick.source, ticks.c.started_at < tick.started_at - TICKS_KEPT)
            )
            if tick.failure is None and (tick.connected or tick.gap):
                self._insert_ignore(
                    connection, _tables().watermarks, [{"source": tick.source, "read_until": tick.started_at}]
                )
                marks = _tables().watermarks
                connection.execute(
                    marks.update()
                    .where(marks.c.source == tick.source, marks.c.read_until < tick.started_at)
                    .values(read_until=tick.started_at)
                )

    def completed(self, claim: DayClaim) -> None:
        """Remember that a day was proved complete; a later proof replaces an earlier one."""
        days = _tables().complete_days
        key = {"source": claim.source, "day": claim.day}
        values = {"filings": claim.filings, "index_digest": claim.index_digest, "proved_at": claim.proved_at}
        with self._write() as connection:
            self._insert_ignore(connection, days, [key | values])
            connection.execute(
                days.update().where(days.c.source == claim.source, days.c.day == claim.day).values(values)
            )

    # ----------------------------------------------------------------------------------------- queries

    def known(self, source: Source, filing_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the ledger holds."""
        from sqlalchemy import select

        columns = _tables().filings.c
        found: set[str] = set()
        with self._read() as connection:
            for part in _chunks(list(filing_ids)):
                query = select(columns.filing_id).where(columns.source == source, columns.filing_id.in_(part))
                found.update(connection.execute(query).scalars())
        return found

    def listed(self, source: Source, day: date) -> int:
        """How many filings of the day the ledger holds."""
        from sqlalchemy import func, select

        columns = _tables().filings.c
        with self._read() as connection:
            query = select(func.count()).where(columns.source == source, columns.day == day)
            return int(connection.execute(query).scalar_one())

    def pending(self, source: Source, day: date, *, due_at: datetime | None = None) -> list[LedgerRow]:
        """Rows of the day that are neither published nor refused, and whose next attempt is due at `due_at` (None: all)."""
        return self._rows(source, day, *_due(due_at))

    def pending_days(self, source: Source, *, due_at: datetime | None = None) -> list[date]:
        """The days that have rows which `pending` would give, oldest first."""
        from sqlalchemy import select

        columns = _tables().filings.c
        # One query per state: for all of them together SQLite walks through every filing of the source, by day.
        per_state = [
            select(columns.day).where(columns.source == source, columns.state == state, *_due(due_at)).distinct()
            for state in OPEN_STATES
        ]
        with self._read() as connection:
            return sorted({day for query in per_state for day in connection.execute(query).scalars()})

    def unpublished(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are parsed or refused and whose newest version is not confirmed to be in the lake."""
        columns = _tables().filings.c
        return self._rows(
            source, day, columns.state.in_(("parsed", "refused")), columns.published_version < columns.version
        )

    def rows(self, source: Source, day: date) -> list[LedgerRow]:
        return self._rows(source, day)

    def rows_of(self, source: Source, filing_ids: Sequence[str]) -> list[LedgerRow]:
        """Rows by filing id, of whatever day; an unknown id has none."""
        columns = _tables().filings.c
        parts = _chunks(list(filing_ids))
        return [row for part in parts for row in self._select(source, columns.filing_id.in_(part))]

    def row(self, source: Source, filing_id: str) -> LedgerRow | None:
        found = self.rows_of(source, [filing_id])
        return found[0] if found else None

    def versions(self, source: Source, filing_id: str) -> list[Fetched]:
        """Every body that was kept of a filing, oldest first."""
        from sqlalchemy import select

        table = _tables().versions
        query = select(table).where(table.c.source == source, table.c.filing_id == filing_id).order_by(table.c.version)
        with self._read() as connection:
            return [
                Fetched(filing_id, row.sha256, row.bytes, row.uri, row.available_at, row.etag)
                for row in connection.execute(query)
            ]

    def by_companies(
        self,
        source: Source,
        company_ids: Sequence[str],
        forms: Sequence[str],
        *,
        since: date | None = None,
        until: date | None = None,
    ) -> list[LedgerRow]:
        """Filings of one of the forms that name one of the companies, of days from `since` to `until`, oldest first."""
        from sqlalchemy import select

        columns, parties = _tables().filings.c, _tables().parties.c
        days = [columns.day >= since] if since else []
        days += [columns.day <= until] if until else []
        rows: dict[str, LedgerRow] = {}
        for part in _chunks(list(company_ids)):
            of_companies = select(parties.filing_id).where(parties.source == source, parties.party_id.in_(part))
            wanted = (columns.filing_id.in_(of_companies), columns.form.in_(list(forms)), *days)
            rows |= {row.ref.filing_id: row for row in self._select(source, *wanted)}
        return sorted(rows.values(), key=lambda row: (row.ref.day, row.ref.filing_id))

    def corrections_of(self, source: Source, filing_id: str) -> list[LedgerRow]:
        """The filings that correct this one, oldest first."""
        from sqlalchemy import select

        # A correction names a company of what it corrects: an index leads to those, and none does to `corrects`.
        columns, parties = _tables().filings.c, _tables().parties.c
        companies = select(parties.party_id).where(parties.source == source, parties.filing_id == filing_id)
        of_companies = select(parties.filing_id).where(parties.source == source, parties.party_id.in_(companies))
        rows = self._select(source, columns.filing_id.in_(of_companies), columns.corrects == filing_id)
        return sorted(rows, key=lambda row: (row.ref.day, row.ref.filing_id))

    def days(
        self, source: Source, *, since: date | None = None, until: date | None = None, newest: int | None = None
    ) -> list[date]:
        """The days (both ends included; only the `newest` so many) that have filings, oldest first."""
        from sqlalchemy import func, select

        columns = _tables().filings.c
        found: list[date] = []
        with self._read() as connection:
            before = None if until is None else until + timedelta(days=1)
            while newest is None or len(found) < newest:  # a look into the index per day, not a scan of its filings
                query = select(func.max(columns.day)).where(columns.source == source)
                if before is not None:
                    query = query.where(columns.day < before)
                before = connection.execute(query).scalar_one_or_none()
                if before is None or (since is not None and before < since):
                    break
                found.append(before)
        return found[::-1]

    def day_totals(self, source: Source, *, since: date, until: date, late_before: datetime) -> list[DayTotal]:
        """Totals of each day, state and reason, by day. Late: open, and due (or, never tried, seen) before a moment."""
        from sqlalchemy import case, func, select

        columns = _tables().filings.c
        group = (columns.day, columns.state, columns.reason)
        late = case((columns.state.in_(OPEN_STATES) & (_due_since() < late_before), 1), else_=0)
        query = (
            select(
                *group,
                func.count().label("filings"),
                func.coalesce(func.sum(columns.bytes), 0).label("bytes"),
                func.sum(case((columns.version > 1, 1), else_=0)).label("changed"),
                func.sum(late).label("late"),
            )
            .where(columns.source == source, columns.day.between(since, until))
            .group_by(*group)
            .order_by(*group)
        )
        with self._read() as connection:
            return [
                DayTotal(row.day, row.state, row.reason, row.filings, int(row.bytes), row.changed, row.late)
                for row in connection.execute(query)
            ]

    def moments(self, source: Source, *, since: date, until: date) -> list[Moments]:
        """The times of every published filing of these days, by day."""
        from sqlalchemy import select

        columns, versions = _tables().filings.c, _tables().versions.c
        first = (
            (versions.source == columns.source) & (versions.filing_id == columns.filing_id) & (versions.version == 1)
        )
        query = (
            select(columns.day, columns.accepted_at, versions.available_at, columns.published_at)
            .join_from(_tables().filings, _tables().versions, first)
            .where(columns.source == source, columns.day.between(since, until), columns.state == "published")
            .where(columns.available_at.is_not(None), columns.published_at.is_not(None))
            .order_by(columns.day)
        )
        with self._read() as connection:
            return [Moments(*row) for row in connection.execute(query)]

    def late(self, source: Source, *, before: datetime, limit: int) -> list[LedgerRow]:
        """Open filings of any day that are due (or, never tried, seen) before a moment: the longest due first."""
        columns = _tables().filings.c
        since = _due_since()
        return self._first(source, limit, [since], columns.state.in_(OPEN_STATES), since < before)

    def refused(
        self, source: Source, reasons: Sequence[str], *, since: date, until: date, limit: int
    ) -> list[LedgerRow]:
        """Filings of these days that are refused for one of the reasons, the newest day first."""
        columns = _tables().filings.c
        refused = (columns.state == "refused", columns.reason.in_(list(reasons)))
        return self._first(source, limit, [columns.day.desc()], columns.day.between(since, until), *refused)

    def closed(
        self, source: Source, day: date, *, reasons: Sequence[str] = (), parsed_by_another: str | None = None
    ) -> dict[str, str | None]:
        """Filing id -> reason of the filings of the day that are refused for one of the reasons, or published and parsed
        by another version of the parser than this (reason None)."""
        from sqlalchemy import and_, false, or_, select

        columns = _tables().filings.c
        wanted = [and_(columns.state == "refused", columns.reason.in_(list(reasons)))] if reasons else []
        if parsed_by_another is not None:
            another = or_(columns.parser_version.is_(None), columns.parser_version != parsed_by_another)
            wanted.append(and_(columns.state == "published", another))
        query = (
            select(columns.filing_id, columns.reason)
            .where(columns.source == source, columns.day == day, or_(false(), *wanted))
            .order_by(columns.filing_id)
        )
        with self._read() as connection:
            return {row.filing_id: row.reason for row in connection.execute(query)}

    def counts(self, *, since: date | None = None) -> dict[tuple[str, str, str], int]:
        """(source, day, state) -> filings, of days from `since` on, for the monitor and the sensors."""
        from sqlalchemy import func, select

        columns = _tables().filings.c
        query = select(columns.source, columns.day, columns.state, func.count()).group_by(
            columns.source, columns.day, columns.state
        )
        if since is not None:
            query = query.where(columns.day >= since)
        with self._read() as connection:
            return {(row[0], row[1].isoformat(), row[2]): row[3] for row in connection.execute(query)}

    def ticks(self, source: Source, *, limit: int = 1, since: datetime | None = None) -> list[Tick]:
        """The newest polls (that began at `since` or later), newest first."""
        table = _tables().ticks
        query = table.select().where(table.c.source == source).order_by(table.c.number.desc()).limit(limit)
        if since is not None:
            query = query.where(table.c.started_at >= since)
        with self._read() as connection:
            return [
                Tick(
                    row.source, row.started_at, row.ended_at, row.connected, row.new, row.pages,
                    (row.gap_from, row.gap_to) if row.gap_from else None, row.failure,
                )
                for row in connection.execute(query)
            ]  # fmt: skip

    def watermark(self, source: Source) -> datetime | None:
        """The start of the last connected poll, or of one that read all that the feed still held; None before any."""
        from sqlalchemy import select

        table = _tables().watermarks
        with self._read() as connection:
            return connection.execute(select(table.c.read_until).where(table.c.source == source)).scalar_one_or_none()

    def completions(self, source: Source, *, since: date | None = None) -> list[DayClaim]:
        """The days that were proved complete, oldest first."""
        table = _tables().complete_days
        query = table.select().where(table.c.source == source).order_by(table.c.day)
        if since is not None:
            query = query.where(table.c.day >= since)
        with self._read() as connection:
            return [
                DayClaim(row.source, row.day, row.filings, row.index_digest, row.proved_at)
                for row in connection.execute(query)
            ]

    # ----------------------------------------------------------------------------------- lease and ban

    def lease(
        self,
        source: Source,
        now: datetime,
        *,
        per_second: float,
        per_day: int | None = None,
        day: date | None = None,
        backfill: bool = False,
    ) -> float | None:
        """Take the next free slot and return the seconds to wait for it; None where `per_day` of `day` is used up.

        While the live feed is read, a `backfill` gets BACKFILL_SHARE of the rate, and always only that of the day.
        """
        leases = _tables().leases
        with self._write() as connection:
            self._insert_ignore(connection, leases, [{"source": source, "next_at": now, "day": day, "used": 0}])
            row = connection.execute(leases.select().where(leases.c.source == source).with_for_update()).one()
            used = row.used if row.day == day else 0
            if per_day is not None and used >= (per_day * BACKFILL_SHARE if backfill else per_day):
                return None
            slot = _queued(row.next_at, now)
            values: dict[str, Any] = {"day": day, "used": used + 1}
            if not backfill:
                values["live_at"] = now
            elif row.live_at is not None and now - LIVE_IS_RECENT < row.live_at <= now + LONGEST_QUEUE:
                slot = max(slot, _queued(row.backfill_at or now, now))
                values["backfill_at"] = slot + timedelta(seconds=1 / (per_second * BACKFILL_SHARE))
            # A slot that a backfill takes later than it is its turn leaves the time before it to the live feed.
            step = timedelta(seconds=1 / per_second)
            values["next_at"] = _queued(row.next_at, now) + step
            connection.execute(leases.update().where(leases.c.source == source).values(values))
            return max(0.0, (slot - now).total_seconds())

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
        """The end and the reason of the ban that holds at `now`, or None. One that seems longer than LONGEST_BAN was set by
        a clock that was ahead, and ends LONGEST_BAN after it is first asked for; unless `now` is before the watermark, which
        is of the regulator's clock: then it is this one that is wrong."""
        bans = _tables().bans
        with self._read() as connection:
            row = connection.execute(bans.select().where(bans.c.source == source, bans.c.until > now)).one_or_none()
        if row is None:
            return None
        longest = now + LONGEST_BAN[source]
        if row.until <= longest or now < (self.watermark(source) or now):
            return row.until, row.reason
        with self._write() as connection:
            connection.execute(
                bans.update().where(bans.c.source == source, bans.c.until == row.until).values(until=longest)
            )
        return longest, row.reason

    def remove_branch(self) -> None:
        """Drop the branch's schema and all in it, the release ledger too. Raises ConfigurationError without one."""
        if not self.branch_schema:
            raise ConfigurationError(
                "this ledger has no schema of a branch, so that nothing is dropped: set LEDGERLINE_ENV=branch"
            )
        with said("the ledger", self.url):
            drop_schema(engine_of(self.url, "the ledger", password=self.password), self.branch_schema)
        if self._engine is not None:  # its next use makes everything anew
            self._engine.dispose()
            self._engine = None

    # ---------------------------------------------------------------------------- inside a transaction

    def _discover(
        self, connection: Connection, source: Source, refs: dict[str, FilingRef], seen_at: datetime, witness: Witness
    ) -> int:
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
                "witnesses": witness,
            }
            for ref in fresh
        ]
        inserted = self._insert_ignore(connection, filings, values)
        completed = [
            {
                "id": filing_id,
                "accepted_at": known[filing_id].accepted_at or ref.accepted_at,
                "form": known[filing_id].form or ref.form,
                "witnesses": _with_witness(known[filing_id].witnesses, witness),
            }
            for filing_id, ref in refs.items()
            if filing_id in known
            and (
                (known[filing_id].accepted_at is None and ref.accepted_at)
                or (not known[filing_id].form and ref.form)
                or witness not in known[filing_id].witnesses.split(",")
            )
        ]
        self._update(connection, filings, source, completed)
        grown = self._unite(connection, source, {filing_id: ref.parties for filing_id, ref in refs.items()})
        told = {
            filing_id
            for filing_id, row in known.items()
            if (row.accepted_at is None and refs[filing_id].accepted_at) or (not row.form and refs[filing_id].form)
        }
        self._to_be_told(connection, source, [known[one] for one in (told | grown) & known.keys()], refs)
        return inserted

    def _to_be_told(
        self, connection: Connection, source: Source, rows: Sequence[Any], refs: dict[str, FilingRef]
    ) -> None:
        """What a later witness adds to filings that are in the lake is to be published, too."""
        values = [
            {
                "id": row.filing_id,
                "state": "parsed" if row.state == "published" else row.state,
                "published_version": -1,
                "available_at": _not_before(row.available_at, row.accepted_at or refs[row.filing_id].accepted_at),
            }
            for row in rows
            if row.state in ("published", "refused")
        ]
        self._update(connection, _tables().filings, source, values)

    def _unite(self, connection: Connection, source: Source, parties: dict[str, tuple[Party, ...]]) -> set[str]:
        """Write the parties of those filings whose set grows; returns their ids."""
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
        return set(grown)

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
        return self._select(source, columns.day == day, *conditions)

    def _first(self, source: Source, limit: int, order: list[Any], *conditions: Any) -> list[LedgerRow]:
        """The first rows in an order; ties by id."""
        from sqlalchemy import select

        columns = _tables().filings.c
        query = select(columns.filing_id).where(columns.source == source, *conditions)
        query = query.order_by(*order, columns.filing_id).limit(limit)
        with self._read() as connection:
            ids = list(connection.execute(query).scalars())
        rows = {row.ref.filing_id: row for row in self._select(source, *conditions, columns.filing_id.in_(ids))}
        return [rows[one] for one in ids if one in rows]

    def _select(self, source: Source, *conditions: Any) -> list[LedgerRow]:
        from sqlalchemy import select

        filings = _tables().filings
        with self._read() as connection:
            # No ORDER BY and no join: SQLite would walk ten years in their order, or begin with the other table.
            found = connection.execute(select(filings).where(filings.c.source == source, *conditions)).all()
            parties = self._parties(connection, source, [row.filing_id for row in found])
        rows = [_ledger_row(row, parties.get(row.filing_id, ())) for row in found]
        return sorted(rows, key=lambda row: row.ref.filing_id)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. What is written is rolled back."""
        bans = _tables().bans
        yield "schema"
        with self._read() as connection:
            connection.execute(bans.select().limit(1)).all()
        yield "write, rolled back"
        with self._write() as connection:
            row = {"source": "doctor", "until": datetime.now(timezone.utc), "reason": "a probe"}
            self._insert_ignore(connection, bans, [row])
            connection.execute(bans.delete().where(bans.c.source == "doctor"))
            connection.rollback()

    # ---------------------------------------------------------------------------------------- database

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction that holds SQLite's write lock from its start, so that what it read stays true."""
        with said("the ledger", self.url), self._open().execution_options(ledger_write=True).begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """One transaction: all queries see the same state."""
        with said("the ledger", self.url), self._open().begin() as connection:
            yield connection

    def _open(self) -> Engine:
        if self._engine is None:
            self._engine = _engine(self)
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
        next_attempt_at=row.next_attempt_at,
        etag=row.etag,
        period=row.period,
        corrects=row.corrects,
        parser_version=row.parser_version,
        witnesses=tuple(filter(None, row.witnesses.split(","))),
        published_at=row.published_at,
        checked_at=row.checked_at,
    )


def _due_since() -> Any:
    """Since when an open filing is due: its next attempt, or, where it was never put off, when it was first seen."""
    from sqlalchemy import func

    columns = _tables().filings.c
    return func.coalesce(columns.next_attempt_at, columns.first_seen_at)


def _due(at: datetime | None) -> list[Any]:
    """Conditions: the row is neither published nor refused, and its next attempt is due."""
    from sqlalchemy import or_

    columns = _tables().filings.c
    open_rows = columns.state.in_(OPEN_STATES)
    if at is None:
        return [open_rows]
    # An attempt further away than any delay was set by a clock that was wrong.
    far = columns.next_attempt_at > at + LONGEST_DELAY
    return [open_rows, or_(columns.next_attempt_at.is_(None), columns.next_attempt_at <= at, far)]


def _queued(slot: datetime, now: datetime) -> datetime:
    """The slot that is next in the queue: none in the past, and none that only a clock set back could have left."""
    return slot if now < slot <= now + LONGEST_QUEUE else now


def _not_before(available_at: datetime | None, accepted_at: datetime | None) -> datetime | None:
    """Nothing is available before its acceptance, also where that was told later."""
    return max(available_at, accepted_at) if available_at and accepted_at else available_at


def _with_witness(known: str, witness: str) -> str:
    return ",".join(dict.fromkeys(filter(None, (*known.split(","), witness))))


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
    from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Index, Integer, MetaData, String, Table, Text
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
        Column("next_attempt_at", UtcDateTime),
        Column("etag", Text),
        Column("period", String(10)),  # ISO day
        Column("corrects", String(255)),
        Column("parser_version", String(16)),
        Column("witnesses", String(64), nullable=False, server_default=""),  # comma between them
        Column("published_at", UtcDateTime),
        Column("checked_at", UtcDateTime),
        Index(
            "filings_by_day", "day", "source", "state"
        ),  # the day first: the monitor asks for some days of all sources
        Index("filings_by_state", "source", "state", "day"),  # what is open, however many are closed
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
        Column("etag", Text),
    )
    parties = Table(
        "filing_parties",
        metadata,
        *filing_key(),
        Column("position", Integer, primary_key=True),
        Column("party_id", String(16), nullable=False),
        Column("name", Text, nullable=False),
        Column("role", String(64), nullable=False),
        Index("filing_parties_by_company", "source", "party_id"),
    )
    leases = Table(
        "rate_leases",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("next_at", UtcDateTime, nullable=False),
        Column("day", Date),
        Column("used", Integer, nullable=False),
        Column("live_at", UtcDateTime),  # when the live feed took its last slot
        Column("backfill_at", UtcDateTime),  # a backfill's next slot while the live feed is read
    )
    bans = Table(
        "bans",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("until", UtcDateTime, nullable=False),
        Column("reason", Text, nullable=False),
    )
    ticks = Table(
        "ticks",
        metadata,
        Column("number", Integer, primary_key=True),
        Column("source", String(16), nullable=False),
        Column("started_at", UtcDateTime, nullable=False),
        Column("ended_at", UtcDateTime, nullable=False),
        Column("connected", Boolean, nullable=False),
        Column("new", Integer, nullable=False),
        Column("pages", Integer, nullable=False),
        Column("gap_from", UtcDateTime),
        Column("gap_to", UtcDateTime),
        Column("failure", Text),
        Index("ticks_by_source", "source", "started_at"),
    )
    watermarks = Table(
        "watermarks",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("read_until", UtcDateTime, nullable=False),
    )
    complete_days = Table(
        "complete_days",
        metadata,
        Column("source", String(16), primary_key=True),
        Column("day", Date, primary_key=True),
        Column("filings", Integer, nullable=False),
        Column("index_digest", String(64), nullable=False),
        Column("proved_at", UtcDateTime, nullable=False),
    )
    return SimpleNamespace(
        metadata=metadata,
        filings=filings,
        versions=versions,
        parties=parties,
        leases=leases,
        bans=bans,
        ticks=ticks,
        watermarks=watermarks,
        complete_days=complete_days,
    )


def _engine(ledger: SqlFilingLedger) -> Engine:
    """The engine of a ledger whose schema is there. Raises ConfigurationError for a newer schema or an unusable URL."""
    from sqlalchemy import event

    engine = engine_of(
        ledger.url,
        "the ledger",
        password=ledger.password,
        schema=ledger.branch_schema,
        busy_seconds=ledger.busy_seconds,
    )
    if engine.dialect.name == "sqlite":

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

    bring_to_schema(engine, _tables().metadata, shown_url(ledger.url))
    return engine
