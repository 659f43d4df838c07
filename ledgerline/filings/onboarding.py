"""Onboarding a regulator's day: discovered -> fetched -> parsed -> published, each filing once. Pure orchestration.

Order makes it safe to be killed anywhere: bytes are in the object store before the ledger knows them, the ledger knows
a state before the next step begins, and the lake has a row before the ledger calls it published. Every step repeats
without effect. What is a valid filing is in `validity.py`; when a filing could be known is in `times.py`; whether a day
is complete is in `completeness.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from ledgerline.digests import file_digest
from ledgerline.errors import ConfigurationError
from ledgerline.filings.corrections import (
    corrected_by_newcomers,
    corrected_filing,
    corrected_form,
    correcting_form,
)
from ledgerline.filings.parse import PARSER_VERSION
from ledgerline.filings.ports import (
    LONGEST_DELAY,
    Fetched,
    FilingLedger,
    LedgerRow,
    NotYetThere,
    Parsed,
    Poll,
    Refusal,
    Regulator,
    RegulatorUnavailable,
    Tick,
    Waiting,
)
from ledgerline.filings.records import FetchedFiling, RefusedFiling, Source
from ledgerline.filings.tables import FILINGS
from ledgerline.filings.times import available_at, dart_public_by
from ledgerline.filings.validity import read_valid_header
from ledgerline.ports import Lake, ObjectStore

TABLE = "filings"
KEYS = ("source", "filing_id")
BATCH_FILINGS = 500  # a commit of the lake per batch; what a kill loses of a batch is only fetched again
BATCH_BYTES = 256 * 1024 * 1024
FETCHERS = 4  # requests under way at once: EDGAR answers in about 0.3 s, and the lease gives 5 slots a second
# One body that cannot be read does not stop the day; so many in a row mean that the regulator is down.
FAILURES_IN_A_ROW = 5

# What was asked for in vain is asked for again after 30 s, 1 min, 2 min ... 4 h, so that the last try is a day later:
# the longest that a filing was listed and not served was 10.7 h.
FIRST_DELAY = timedelta(seconds=30)
MOST_TRIES = 14
# A server that gives a cut-off body mends it within minutes, or it never had another: filings of 1996 are header-only.
BODY_TRIES = 3
OLD = timedelta(days=7)  # what an index of last week lists and nobody serves was withdrawn
# A filing on whose account a worker died so often is set aside: it would kill the next one too.
KILLS = 5
SUSPECTS_TOGETHER = 20

BODIES_UNDER_WAY = "ledgerline-bodies-"  # a folder of this name below the temporary one
SCRAP_SECONDS = 86_400  # no call takes a day, so that an older folder is that of a process that was killed

Report = Callable[[str], object]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class DayReport:
    """What one call did, in filings: `discovered` by its poll, `new` to the ledger, then `published` and refused (by
    reason) by this call, and `waiting`: asked for in vain. `changed` of the `rechecked` had other bytes. `bytes` were
    fetched by this call; `pages` were read by its poll, which `connected` to the one before or left a gap. `named` are
    other days of which the poll named filings that are due, newest first: a call without a poll takes them up."""

    source: Source
    day: date
    discovered: int
    new: int
    published: int
    refused_by_reason: Mapping[str, int]
    waiting: int
    bytes: int
    pages: int = 0
    connected: bool = True
    rechecked: int = 0
    changed: int = 0
    named: tuple[date, ...] = ()

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
    clock: Clock,
    report: Report | None = None,
    poll: bool = True,
    recheck: bool = False,
    batch_filings: int = BATCH_FILINGS,
    fetchers: int = FETCHERS,
) -> DayReport:
    """Bring every filing of the day into the lake, once; a second call adds nothing, not even a table version.

    Without `poll` it is what the ledger knows of already. A refused body is a row with its reason and its bytes. With
    `recheck`, bodies published before are compared once with what the regulator serves now; other bytes are a new version.
    Raises RegulatorUnavailable or ConfigurationError if the
    regulator cannot be read; what was fetched until then is published, and the next call goes on from there.
    """
    say = report or (lambda line: None)
    read, new = _poll(regulator, ledger, day, clock) if poll else (Poll({}), 0)
    discovered = len({ref.filing_id for ref in read.refs if ref.day == day})
    if poll:
        say(
            f"{regulator.source} {day}: {discovered} filings listed in {read.pages} pages read, {new} new of this and "
            "other days"
        )

    _remove_scraps(Path(tempfile.gettempdir()), older_than=time.time() - SCRAP_SECONDS)
    with tempfile.TemporaryDirectory(prefix=BODIES_UNDER_WAY) as folder:
        desk = _Desk(regulator, day, ledger, objects, lake, clock, say, Path(folder))
        desk.publish()  # what an earlier call parsed and did not publish
        try:
            for batch in _batches(ledger.pending(regulator.source, day, due_at=clock()), batch_filings):
                desk.work_on(batch, fetchers)
            if recheck and regulator.live:
                for batch in _chunks(_unchecked(ledger.rows(regulator.source, day)), batch_filings):
                    desk.recheck(batch, fetchers)
        except Exception:
            desk.give_up()
            raise
    if read.failure:
        raise read.failure
    named = {ref.day for ref in read.refs} - {day}
    if named:
        named &= set(ledger.pending_days(regulator.source, due_at=clock()))
    result = desk.result(discovered, new, read, tuple(sorted(named, reverse=True)))
    reasons = f" {dict(result.refused_by_reason)}" if result.refused else ""
    say(
        f"{regulator.source} {day}: {result.published} published, {result.refused} refused{reasons}, "
        f"{result.waiting} waiting, {result.bytes / 1e6:.1f} MB"
    )
    return result


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
                "period": row.period,
                "corrects": row.corrects,
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
                "parser_version": row.parser_version,
            }
            for row in rows
        ],
        schema=FILINGS,
    )


def _remove_scraps(temporary: Path, *, older_than: float) -> None:
    """Remove what killed processes of this user left of bodies; `older_than` is in seconds since 1970."""
    for folder in temporary.glob(f"{BODIES_UNDER_WAY}*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and about.st_mtime < older_than:
                shutil.rmtree(folder, ignore_errors=True)


def next_delay(tries: int) -> timedelta:
    """How long to wait after so many tries in vain (1 or more)."""
    return min(FIRST_DELAY * 2 ** min(tries - 1, 20), LONGEST_DELAY)


def _poll(regulator: Regulator, ledger: FilingLedger, day: date, clock: Clock) -> tuple[Poll, int]:
    """Read what is new and remember it; a failed read is remembered too, and moves no watermark."""
    source, started = regulator.source, clock()

    def remember(new: int = 0, poll: Poll | None = None, failure: Exception | None = None) -> None:
        ledger.ticked(
            Tick(
                source,
                poll.asked_at if poll and poll.asked_at else started,
                clock(),
                connected=poll is not None and poll.connected and failure is None,
                new=new,
                pages=poll.pages if poll else 0,
                gap=poll.gap if poll else None,
                failure=str(failure) if failure else None,
            )
        )

    try:
        poll = regulator.poll(day, known=ledger, since=ledger.watermark(source))
    except (RegulatorUnavailable, ConfigurationError) as failure:
        remember(failure=failure)
        raise
    new = sum(ledger.discovered(refs, seen_at=clock(), witness=witness) for witness, refs in poll.seen.items())
    remember(new, poll, poll.failure)
    return poll, new


def _batches(rows: Sequence[LedgerRow], size: int) -> Iterator[list[LedgerRow]]:
    """Fresh filings in batches; then those with which a worker died, in small batches, then one at a time."""
    died = [row for row in rows if row.attempts and row.next_attempt_at is None and row.state != "parsed"]
    names = {row.ref.filing_id for row in died}
    yield from _chunks([row for row in rows if row.ref.filing_id not in names], size)
    yield from _chunks([row for row in died if row.attempts == 1], min(size, SUSPECTS_TOGETHER))
    yield from _chunks([row for row in died if row.attempts > 1], 1)


def _chunks(rows: Sequence[LedgerRow], size: int) -> Iterator[list[LedgerRow]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def _unchecked(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    return [row for row in rows if row.state == "published" and row.checked_at is None]


def _ahead(
    rows: Iterable[LedgerRow], fetch: Callable[[LedgerRow], FetchedFiling | None], workers: int
) -> Iterator[tuple[LedgerRow, Future[FetchedFiling | None]]]:
    """Each row with its fetch, in order, while those of the next rows are under way."""
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
        under_way: deque[tuple[LedgerRow, Future[FetchedFiling | None]]] = deque()
        try:
            for row in rows:
                under_way.append((row, pool.submit(fetch, row)))
                if len(under_way) > workers:
                    yield under_way.popleft()
            while under_way:
                yield under_way.popleft()
        finally:
            for _, future in under_way:
                future.cancel()


@dataclass
class _Desk:
    """The filings between two commits: bodies are in the object store, what is known of them waits for its batch."""

    regulator: Regulator
    day: date
    ledger: FilingLedger
    objects: ObjectStore
    lake: Lake
    clock: Clock
    say: Report
    folder: Path  # of the bodies under way
    kept: list[Fetched] = field(default_factory=list)
    parsed: list[Parsed] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    same: list[str] = field(default_factory=list)  # rechecked
    begun: set[str] = field(default_factory=set)  # filings of which nothing is known yet to the ledger
    size: int = 0
    total_bytes: int = 0
    total_waiting: int = 0
    published: int = 0
    rechecked: int = 0
    changed: int = 0
    failures: int = 0  # in a row
    refused: Counter[str] = field(default_factory=Counter)
    proved_at: dict[date, datetime] | None = None  # asked for once

    @property
    def source(self) -> Source:
        return self.regulator.source

    def work_on(self, rows: list[LedgerRow], fetchers: int) -> None:
        """Fetch, check and publish a batch."""
        due = [row for row in rows if row.state != "parsed"]
        killers = [row for row in due if row.attempts >= KILLS and row.next_attempt_at is None]
        for row in killers:
            self._refuse(row, "poison", f"a worker died with it {row.attempts} times")
        due = [row for row in due if row not in killers]
        self.begun = {row.ref.filing_id for row in due}
        self.ledger.begun(self.source, sorted(self.begun))
        for row, future in _ahead(due, self._body, fetchers if self.regulator.live else 1):
            fetched = self._outcome(row, future)
            if fetched is not None:
                self._take(row, fetched)
            if self.size >= BATCH_BYTES:
                self.commit()
        self.commit()

    def recheck(self, rows: list[LedgerRow], fetchers: int) -> None:
        """Compare published bodies with what the regulator serves; whatever is not valid there changes nothing here."""
        for row, future in _ahead(rows, lambda row: self._ask(row, etag=row.etag), fetchers):
            try:
                fetched = future.result()
                self.failures = 0
            except (NotYetThere, RefusedFiling) as error:
                self.say(f"{row.ref.filing_id} is published, and cannot be read any more: {error}")
                continue
            except RegulatorUnavailable as error:
                self._failed(error)
                continue
            self.rechecked += 1
            if fetched is None or fetched.sha256 == row.sha256:
                self.same.append(row.ref.filing_id)
            else:
                self._take(row, fetched)
            if fetched is not None:
                fetched.path.unlink(missing_ok=True)
        self.commit()

    def commit(self) -> None:
        """Ledger, then lake, then ledger again; a kill between any two leaves what the next call completes."""
        if self.kept:
            self.ledger.fetched_many(self.source, self.kept)
        if self.parsed:
            self.ledger.parsed_many(self.source, self.parsed)
        if self.refusals:
            self.ledger.refused_many(self.source, self.refusals)
        if self.waiting:
            self.ledger.waiting_many(self.source, self.waiting)
        known: list[Fetched | Parsed | Refusal | Waiting] = [*self.kept, *self.parsed, *self.refusals, *self.waiting]
        self.begun -= {one.filing_id for one in known}
        if self.parsed or self.refusals:
            self.publish()
        if self.same:
            self.ledger.checked(self.source, self.same, at=self.clock())
        self.kept, self.parsed, self.refusals, self.waiting, self.same, self.size = [], [], [], [], [], 0

    def give_up(self) -> None:
        """Keep what is known. A filing on which work did not end is not to blame for what ended it: a ban, a full disk."""
        try:
            self.commit()
        finally:
            if self.begun:
                self.ledger.released(self.source, sorted(self.begun), at=self.clock())

    def publish(self) -> None:
        """One commit of the lake for all rows of the day that it is not known to hold."""
        rows = self.ledger.unpublished(self.source, self.day)
        if not rows:
            return
        if self._point_corrections(rows):
            rows = self.ledger.unpublished(self.source, self.day)
        write = self.lake.merge(TABLE, filing_rows(rows), keys=KEYS)
        self.ledger.published(self.source, {row.ref.filing_id: row.version for row in rows}, at=self.clock())
        refused = Counter(row.reason or "" for row in rows if row.state == "refused")
        self.refused += refused
        self.published += len(rows) - refused.total()
        self.say(f"{self.source} {self.day}: {len(rows)} filings in table version {write.version}")

    def result(self, discovered: int, new: int, poll: Poll, named: tuple[date, ...]) -> DayReport:
        return DayReport(
            source=self.source,
            day=self.day,
            discovered=discovered,
            new=new,
            published=self.published,
            refused_by_reason=dict(sorted(self.refused.items())),
            waiting=self.total_waiting,
            bytes=self.total_bytes,
            pages=poll.pages,
            connected=poll.connected,
            rechecked=self.rechecked,
            changed=self.changed,
            named=named,
        )

    # ------------------------------------------------------------------------------------------- one filing

    def _body(self, row: LedgerRow) -> FetchedFiling | None:
        """The body of a row: the one that is kept already, else from the regulator."""
        if row.state == "fetched" and row.uri and row.sha256 and self.objects.exists(row.uri):
            path = self.folder / f"{row.ref.filing_id}.kept"
            with self.objects.open_stream(row.uri) as kept, open(path, "wb") as out:
                while block := kept.read(1 << 20):
                    out.write(block)
            return FetchedFiling(row.ref, path, path.stat().st_size, file_digest(path), etag=row.etag)
        return self._ask(row)

    def _ask(self, row: LedgerRow, *, etag: str | None = None) -> FetchedFiling | None:
        return self.regulator.fetch(row.ref, self.folder / row.ref.filing_id, etag=etag)

    def _outcome(self, row: LedgerRow, future: Future[FetchedFiling | None]) -> FetchedFiling | None:
        """The body, or None where the row waits or is refused. Raises where the regulator cannot be read at all."""
        try:
            fetched = future.result()
        except NotYetThere as error:
            old = row.first_seen_at.date() - row.ref.day > OLD
            self._again(row, "not_served", str(error), BODY_TRIES if old else MOST_TRIES)
            return None
        except RefusedFiling as error:
            self._refuse(row, error.reason, error.detail)
            return None
        except RegulatorUnavailable as error:
            self._failed(error)
            self._again(row, "unreadable", str(error), MOST_TRIES)
            return None
        self.failures = 0
        return fetched

    def _failed(self, error: RegulatorUnavailable) -> None:
        self.failures += 1
        if error.retry_at is not None or self.failures >= FAILURES_IN_A_ROW:
            raise error

    def _take(self, row: LedgerRow, fetched: FetchedFiling) -> None:
        """Check a body, keep its bytes, and note what it becomes."""
        try:
            facts = read_valid_header(self.source, fetched.path)
        except RefusedFiling as error:
            self._take_invalid(row, fetched, error)
            return
        except Exception as error:  # noqa: BLE001 - a body that our own code cannot stand must not stop the day
            self._again(row, "crashed", f"{type(error).__name__} while it was checked: {error}", BODY_TRIES)
            return
        self.changed += row.state == "published"
        form = facts.form or row.ref.form
        self._keep(row, fetched, facts.accepted_at or row.ref.accepted_at, form)
        self.parsed.append(
            Parsed(
                row.ref.filing_id,
                facts.accepted_at,
                facts.form,
                facts.parties,
                facts.period.isoformat() if facts.period else None,
                PARSER_VERSION,
            )
        )

    def _take_invalid(self, row: LedgerRow, fetched: FetchedFiling, error: RefusedFiling) -> None:
        if row.state == "published":
            self.say(f"{row.ref.filing_id} is served as {error.reason} now; the published version stays")
        elif self.regulator.live and row.attempts + 1 < BODY_TRIES and row.state == "discovered":
            self._again(row, error.reason, error.detail, BODY_TRIES)
        else:
            self._keep(row, fetched, row.ref.accepted_at, row.ref.form)
            self._refuse(row, error.reason, error.detail)

    def _keep(self, row: LedgerRow, fetched: FetchedFiling, accepted_at: datetime | None, form: str) -> None:
        uri = self.objects.uri("filings", self.source, row.ref.filing_id, fetched.sha256[:16])
        if row.uri != uri:  # a body that is read back is kept already, and the ledger knows since when
            self.objects.put_file(uri, fetched.path)
            self.total_bytes += fetched.size
        if row.uri != uri or row.state == "discovered":  # or it was fetched again, and is the same
            public_at = fetched.last_modified or self._public_by(row)
            known_from = available_at(accepted_at, row.first_seen_at, public_at, form)
            self.kept.append(Fetched(row.ref.filing_id, fetched.sha256, fetched.size, uri, known_from, fetched.etag))
        self.size += fetched.size
        if fetched.path.parent == self.folder:  # an archive gives out its own files
            fetched.path.unlink(missing_ok=True)

    def _public_by(self, row: LedgerRow) -> datetime | None:
        """By when a filing of DART, which tells no Last-Modified, was public: the close of its day's list; a backfill would
        date all of its filings to today. None where that list was found whole before the filing was seen: it is late."""
        if self.source != "dart":
            return None
        if self.proved_at is None:
            claims = self.ledger.completions(self.source, since=self.day)
            self.proved_at = {claim.day: claim.proved_at for claim in claims}
        proved = self.proved_at.get(row.ref.day)
        return None if proved and proved < row.first_seen_at else dart_public_by(row.ref.day)

    def _point_corrections(self, rows: Sequence[LedgerRow]) -> bool:
        """Let corrections point to what they correct, whichever of both came first; returns whether any does so anew.

        Done before rows are told to the lake, so that whoever is killed before does it again.
        """
        of_form = {row.ref.filing_id: corrected_form(self.source, row.ref.form, row.ref.title) for row in rows}
        parsed = [row for row in rows if row.state == "parsed" and row.ref.parties]
        pointers: dict[str, str] = {}
        for row in parsed:
            if form := of_form[row.ref.filing_id]:
                earlier = self.ledger.by_companies(self.source, [row.ref.parties[0].id], [form], until=row.ref.day)
                if chosen := corrected_filing(row, earlier, period=row.period):
                    pointers[row.ref.filing_id] = chosen
        originals = [row for row in parsed if of_form[row.ref.filing_id] is None]
        if originals:
            later = self.ledger.by_companies(
                self.source,
                sorted({party.id for row in originals for party in row.ref.parties}),
                sorted({correcting_form(self.source, row.ref.form) for row in originals}),
                since=min(row.ref.day for row in originals),
            )
            later = [row for row in later if row.state in ("parsed", "published")]
            targets = self.ledger.rows_of(self.source, sorted({row.corrects for row in later if row.corrects}))
            found = corrected_by_newcomers(later, originals, {row.ref.filing_id: row for row in targets})
            pointers = {**found, **pointers}
        known = {row.ref.filing_id: row.corrects for row in rows}
        pointers = {one: corrected for one, corrected in pointers.items() if known.get(one) != corrected}
        if pointers:
            self.ledger.corrected(self.source, pointers)
        return bool(pointers)

    def _refuse(self, row: LedgerRow, reason: str, detail: str) -> None:
        self.refusals.append(Refusal(row.ref.filing_id, reason, detail))

    def _again(self, row: LedgerRow, reason: str, detail: str, tries: int) -> None:
        """Wait for the next try, or set aside what was tried often enough."""
        tried = row.attempts + 1
        if tried >= tries:
            self._refuse(row, reason, f"{detail} (tried {tried} times)")
            return
        self.waiting.append(Waiting(row.ref.filing_id, f"{reason}: {detail}", self.clock() + next_delay(tried)))
        self.total_waiting += 1
