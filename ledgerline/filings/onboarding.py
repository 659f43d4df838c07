"""Onboarding a regulator's day: discovered -> fetched -> parsed -> published, each filing once. Pure orchestration.

Order makes it safe to be killed anywhere: bytes are in the object store before the ledger knows them, the ledger knows
a state before the next step begins, and the lake has a row before the ledger calls it published. Every step repeats
without effect. What is a valid filing is in `validity.py`; when a filing could be known is in `times.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import pyarrow as pa

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import (
    Fetched,
    FilingLedger,
    LedgerRow,
    NotYetThere,
    Parsed,
    Refusal,
    Regulator,
    RegulatorUnavailable,
)
from ledgerline.filings.records import FetchedFiling, RefusedFiling, Source
from ledgerline.filings.sgml import read_header, split
from ledgerline.filings.tables import FILINGS
from ledgerline.filings.times import available_at
from ledgerline.filings.validity import check
from ledgerline.ports import Lake, ObjectStore

TABLE = "filings"
KEYS = ("source", "filing_id")
BATCH_FILINGS = 500  # a commit of the lake per batch; what a kill loses of a batch is only fetched again
BATCH_BYTES = 256 * 1024 * 1024
# One body that cannot be read does not stop the day; so many in a row mean that the regulator is down.
FAILURES_IN_A_ROW = 5

Report = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class DayReport:
    """What one call did, in filings: `discovered` of the day, `new` to the ledger, then `published` and refused (by
    reason) by this call, and `waiting`: listed and not served yet. `bytes` were fetched by this call."""

    source: Source
    day: date
    discovered: int
    new: int
    published: int
    refused_by_reason: Mapping[str, int]
    waiting: int
    bytes: int

    @property
    def refused(self) -> int:
        return sum(self.refused_by_reason.values())


def onboard_day(
    *,
    regulator: Regulator,
    ledger: FilingLedger,
    objects: ObjectStore,
    lake: Lake,
    day: date,
    clock: Callable[[], datetime],
    report: Report | None = None,
    batch_filings: int = BATCH_FILINGS,
) -> DayReport:
    """Bring every filing of the day into the lake, once; a second call adds nothing, not even a table version.

    A refused body is a row with its reason and its bytes. Raises RegulatorUnavailable or ConfigurationError if the
    regulator cannot be read; what was fetched until then is published, and the next call goes on from there.
    """
    say = report or (lambda line: None)
    refs = regulator.discover(day)
    new = ledger.discovered(refs, seen_at=clock())
    discovered = sum(ref.day == day for ref in refs)
    say(f"{regulator.source} {day}: {discovered} filings discovered, {new} new")

    desk = _Desk(regulator.source, day, ledger, objects, lake, say)
    desk.publish()  # what an earlier call parsed and did not publish
    failures = 0
    try:
        for row in ledger.pending(regulator.source, day):
            try:
                desk.take(row, _body(row, regulator, objects))
                failures = 0
            except NotYetThere:
                desk.wait(row, "listed, and not served yet")
            except RefusedFiling as error:
                desk.refuse(row, error)
            except RegulatorUnavailable as error:
                failures += 1
                if error.retry_at is not None or failures == FAILURES_IN_A_ROW:
                    raise
                desk.wait(row, str(error))
            if desk.is_full(batch_filings):
                desk.commit()
    except (RegulatorUnavailable, ConfigurationError):
        desk.commit()
        raise
    desk.commit()
    result = desk.result(discovered, new)
    say(
        f"{regulator.source} {day}: {result.published} published, {result.refused} refused "
        f"{dict(result.refused_by_reason) or ''}, {result.waiting} waiting, {result.bytes / 1e6:.1f} MB"
    )
    return result


def check_filing(fetched: FetchedFiling) -> Parsed:
    """The header facts of a valid body (DART's has none). Raises RefusedFiling."""
    ref = fetched.ref
    check(ref.source, fetched.body)
    if ref.source != "edgar":
        return Parsed(ref.filing_id, None)
    header = read_header(fetched.body, split(fetched.body))
    return Parsed(ref.filing_id, header.accepted_at, header.form, header.parties)


def filing_rows(rows: Sequence[LedgerRow]) -> pa.Table:
    """Rows of the lake table `filings` from rows of the ledger that are parsed or refused."""
    return pa.Table.from_pylist(
        [
            {
                "source": row.ref.source,
                "day": row.ref.day.isoformat(),
                "filing_id": row.ref.filing_id,
                "form": row.ref.form,
                "title": row.ref.title,
                "party_ids": [party.id for party in row.ref.parties],
                "party_names": [party.name for party in row.ref.parties],
                "party_roles": [party.role for party in row.ref.parties],
                "accepted_at": row.ref.accepted_at,
                "first_seen_at": row.first_seen_at,
                "available_at": row.available_at or row.first_seen_at,
                "sha256": row.sha256,
                "bytes": row.bytes or 0,
                "uri": row.uri,
                "state": "refused" if row.state == "refused" else "published",
                "reason": row.reason,
                "detail": row.detail,
                "version": row.version,
            }
            for row in rows
        ],
        schema=FILINGS,
    )


def _body(row: LedgerRow, regulator: Regulator, objects: ObjectStore) -> FetchedFiling | None:
    """The body of a row: from the regulator, or the one that is kept already; None where only publishing is left."""
    if row.state == "parsed":
        return None
    if row.state == "fetched" and row.uri and objects.exists(row.uri):
        return FetchedFiling(row.ref, objects.get(row.uri))
    return regulator.fetch(row.ref)


@dataclass
class _Desk:
    """The filings between two commits: bodies are in the object store, what is known of them waits for its batch."""

    source: Source
    day: date
    ledger: FilingLedger
    objects: ObjectStore
    lake: Lake
    say: Report
    kept: list[Fetched] = field(default_factory=list)
    parsed: list[Parsed] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    waiting: dict[str, list[str]] = field(default_factory=dict)  # detail -> filing ids
    size: int = 0
    total_bytes: int = 0
    total_waiting: int = 0
    published: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def take(self, row: LedgerRow, fetched: FetchedFiling | None) -> None:
        """Check a body, keep its bytes, and note what it becomes."""
        if fetched is None:
            return
        filing_id = row.ref.filing_id
        try:
            facts = check_filing(fetched)
            self.parsed.append(facts)
            accepted_at, form = facts.accepted_at or row.ref.accepted_at, facts.form or row.ref.form
        except RefusedFiling as error:
            self.refusals.append(Refusal(filing_id, error.reason, error.detail))
            accepted_at, form = row.ref.accepted_at, row.ref.form
        digest = hashlib.sha256(fetched.body).hexdigest()
        uri = self.objects.uri("filings", self.source, filing_id, digest[:16])
        if row.uri != uri:  # a body that is read back is kept already, and the ledger knows since when
            self.objects.put(uri, fetched.body)
            known_from = available_at(accepted_at, row.first_seen_at, fetched.last_modified, form)
            self.kept.append(Fetched(filing_id, digest, len(fetched.body), uri, known_from))
            self.total_bytes += len(fetched.body)
        self.size += len(fetched.body)

    def refuse(self, row: LedgerRow, error: RefusedFiling) -> None:
        """A body that was not even taken, because it is too large."""
        self.refusals.append(Refusal(row.ref.filing_id, error.reason, error.detail))

    def wait(self, row: LedgerRow, detail: str) -> None:
        self.waiting.setdefault(detail, []).append(row.ref.filing_id)
        self.total_waiting += 1

    def is_full(self, batch_filings: int) -> bool:
        return len(self.parsed) + len(self.refusals) >= batch_filings or self.size >= BATCH_BYTES

    def commit(self) -> None:
        """Ledger, then lake, then ledger again; a kill between any two leaves what the next call completes."""
        if self.kept:
            self.ledger.fetched_many(self.source, self.kept)
        if self.parsed:
            self.ledger.parsed_many(self.source, self.parsed)
        if self.refusals:
            self.ledger.refused_many(self.source, self.refusals)
        for detail, filing_ids in self.waiting.items():
            self.ledger.waiting(self.source, filing_ids, detail=detail)
        if self.parsed or self.refusals:
            self.publish()
        self.kept, self.parsed, self.refusals, self.waiting, self.size = [], [], [], {}, 0

    def publish(self) -> None:
        """One commit of the lake for all rows of the day that it is not known to hold."""
        rows = self.ledger.unpublished(self.source, self.day)
        if not rows:
            return
        write = self.lake.merge(TABLE, filing_rows(rows), keys=KEYS)
        self.ledger.published(self.source, [row.ref.filing_id for row in rows])
        refused = Counter(row.reason or "" for row in rows if row.state == "refused")
        self.refused += refused
        self.published += len(rows) - refused.total()
        self.say(f"{self.source} {self.day}: {len(rows)} filings in table version {write.version}")

    def result(self, discovered: int, new: int) -> DayReport:
        return DayReport(
            source=self.source,
            day=self.day,
            discovered=discovered,
            new=new,
            published=self.published,
            refused_by_reason=dict(sorted(self.refused.items())),
            waiting=self.total_waiting,
            bytes=self.total_bytes,
        )
