"""Onboarding on real ports under a virtual clock, and what must hold after any fault. For tests and benchmarks.

A `World` is a folder with ledger, lake and objects, and a client of a local regulator. `findings` compares it with what
the server says it published. What happens to a world (kills, bans, full disks) is in the tests and benchmarks.
"""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

from ledgerline.filings.completeness import Completeness, claim_day, read_index
from ledgerline.filings.onboarding import DayReport, filing_rows, onboard_day
from ledgerline.filings.ports import DayClaim, RegulatorUnavailable
from ledgerline.filings.records import Source
from ledgerline.filings.times import EASTERN, KOREA, available_at
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import DartHttp, EdgarHttp
from tests.servers.dart import DartServer
from tests.servers.edgar import EdgarServer
from tests.servers.wire import LoopbackServer

AGENT = "Ledgerline Tests tests@example.com"
ZONES = {"edgar": EASTERN, "dart": KOREA}
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class SharedClock:
    """Virtual time in memory that forked processes share; `client` is the clock of the machine that onboards.

    Without a lock, since a process that is killed would keep it: of two sleeps at once one may be lost.
    """

    def __init__(self, start: datetime) -> None:
        self._memory = mmap.mmap(-1, 16)
        self.set(start)

    def __call__(self) -> datetime:
        """The regulator's time (aware UTC)."""
        return EPOCH + self._value(0) * MICROSECOND

    def client(self) -> datetime:
        """The time by the onboarding machine's clock, which may be wrong."""
        return self() + self._value(8) * MICROSECOND

    def sleep(self, seconds: float) -> None:
        self.set(self() + timedelta(seconds=max(0.0, seconds)))

    def set(self, moment: datetime) -> None:
        struct.pack_into("<q", self._memory, 0, (moment - EPOCH) // MICROSECOND)

    def advance_to(self, moment: datetime) -> None:
        self.set(max(self(), moment))

    def step(self, off: timedelta) -> None:
        """Let the client's clock be so much ahead of the regulator's."""
        struct.pack_into("<q", self._memory, 8, off // MICROSECOND)

    def _value(self, offset: int) -> int:
        return int(struct.unpack_from("<q", self._memory, offset)[0])


@dataclass(frozen=True)
class Expected:
    """A filing as the server published it. `found_at`: from when a witness names it; `listed_on`: the day whose list
    has it. `versions` are the (UTC from when, sha256) of its bytes, none where it never is served."""

    filing_id: str
    day: date
    found_at: datetime
    listed_on: date | None
    accepted_at: datetime | None
    form: str
    companies: frozenset[str]
    versions: tuple[tuple[datetime, str], ...]


def expected(server: EdgarServer | DartServer) -> dict[str, Expected]:
    """By id, every filing that the server names at some time."""
    if isinstance(server, DartServer):
        return {
            one.rcept_no: Expected(
                one.rcept_no, one.day, one.listed_at, one.day, None, "", frozenset({one.corp_code}),
                ((one.document_at, one.sha256),) if one.document_at else (),
            )
            for one in server.site.reports.values()
        }  # fmt: skip
    found = {}
    for one in server.site.published.values():
        written = server.site.index_written_at(one.index_day) if one.index_day else None
        times = [moment for moment in (one.row_at, written) if moment is not None]
        if times:
            found[one.accession] = Expected(
                one.accession, one.filed, min(times), one.index_day, one.accepted_at, one.form,
                frozenset(party.cik for party in one.parties),
                tuple((version.since, version.sha256) for version in one.versions),
            )  # fmt: skip
    return found


@dataclass
class Findings:
    """What is wrong, one line each; all empty is what every fault must leave in the end."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    false_completeness: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.false_completeness or self.wrong)


class World:
    """Ledger, lake and objects below a folder, and one regulator that is asked by a virtual clock."""

    def __init__(self, source: Source, folder: Path, url: str, clock: SharedClock, *, key: str = "", **ledger: Any):
        self.source: Source = source
        self.folder = folder
        self.clock = clock
        self.ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db", **ledger)
        self.lake = DeltaLake(root=str(folder / "lake"))
        self.objects = DirectoryObjectStore(root=str(folder / "objects"), durable=False)
        settings: dict[str, Any] = {
            "lease": self.ledger, "base_url": url, "clock": clock.client, "sleep": clock.sleep,
        }  # fmt: skip
        self.regulator = EdgarHttp(AGENT, **settings) if source == "edgar" else DartHttp(key, **settings)
        self.lines: list[str] = []
        self._judged: list[DayClaim] = []  # claims that were found true

    def onboard(self, day: date, **changes: Any) -> DayReport:
        ports = {"regulator": self.regulator, "ledger": self.ledger, "objects": self.objects, "lake": self.lake}
        return onboard_day(**{**ports, "day": day, "clock": self.clock.client, "report": self.lines.append, **changes})

    def tick(self, today: date, **changes: Any) -> None:
        """What a schedule does: poll for today, then go on with what is due of earlier days. An outage ends it."""
        try:
            self.onboard(today, **changes)
            for day in self.ledger.pending_days(self.source, due_at=self.clock.client()):
                if day != today:
                    self.onboard(day, **changes)
        except RegulatorUnavailable as outage:
            self.lines.append(str(outage))

    def complete(self, day: date) -> None:
        """The runs of the next morning: what the index has more, other bytes of what is published, then the proof."""
        try:
            self.onboard(day, recheck=True)
        except RegulatorUnavailable as outage:
            self.lines.append(str(outage))
        self.prove(day)

    def today(self) -> date:
        return self.clock.client().astimezone(ZONES[self.source]).date()

    def live(self, until: datetime) -> Iterator[datetime]:
        """Go on by ticks, every 10 minutes by day and 30 by night, and complete the day before once it is closed; yields
        after each tick, so that a caller may look, or harm."""
        while (now := self.clock()) < until:
            self.tick(self.today())
            yesterday = self.today() - timedelta(days=1)
            claimed = {claim.day for claim in self.ledger.completions(self.source, since=yesterday)}
            if yesterday not in claimed and self.clock.client() >= closes(self.source, yesterday):
                self.complete(yesterday)
            yield self.clock()
            night = not 6 <= now.astimezone(ZONES[self.source]).hour < 22
            self.clock.advance_to(now + timedelta(minutes=30 if night else 10))

    def prove(self, day: date) -> Completeness | None:
        """Compare the day with the regulator's list, and claim it where it is complete; None where it cannot be read."""
        try:
            read = read_index(self.regulator, self.ledger, self.lake, day, self.clock.client)
        except RegulatorUnavailable as outage:
            self.lines.append(str(outage))
            return None
        claim = (self.source, self.ledger, self.lake, day, self.clock.client)
        judged = claim_day(*claim)[0] if read.complete else read
        self.lines.append(judged.reason)
        return judged

    def close(self) -> None:
        """Leave the ledger's file, so that it may be copied."""
        if self.ledger._engine is not None:
            self.ledger._engine.dispose()

    # --------------------------------------------------------------------------------------------- what must hold

    def lake_rows(self) -> list[dict[str, Any]]:
        if self.lake.version("filings") is None:
            return []
        return list(self.lake.read("filings", where={"source": self.source}).to_pylist())

    def stored(self) -> list[str]:
        """The URIs of all bodies that are kept."""
        return list(self.objects.list(f"s3://ledgerline/filings/{self.source}/"))

    def state(self) -> tuple[Any, ...]:
        """What a call that finds nothing new must leave as it is: all but the memory of polls, leases and checks."""
        from sqlalchemy import create_engine, text

        tables = ("filings", "filing_versions", "filing_parties", "complete_days")
        left_out = {"checked_at", "attempts", "next_attempt_at", "detail", "proved_at"}
        engine = create_engine(self.ledger.url)
        with engine.connect() as connection:
            held = []
            for table in tables:
                rows = connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")).mappings()
                held.append([{name: row[name] for name in row if name not in left_out} for row in rows])
        engine.dispose()
        versions = [self.lake.version(table) for table in ("filings", "complete_days")]
        return (*held, *versions, self.stored())

    def false_claims(self, truth: Mapping[str, Expected]) -> list[str]:
        """Days that are claimed and not so: too early, another number, or a filing of the list that is not in the lake."""
        claims = self.ledger.completions(self.source)
        if claims == self._judged:
            return []
        settled = {row["filing_id"] for row in self.lake_rows()} if claims else set()
        lines = []
        for claim in claims:
            listed = {one.filing_id for one in truth.values() if one.listed_on == claim.day}
            if listed != settled & listed or claim.filings != len(listed):
                absent = sorted(listed - settled)
                lines.append(f"{claim.day}: {claim.filings} claimed, {len(listed)} listed, not there: {absent[:3]}")
            if self.clock() < closes(self.source, claim.day):
                lines.append(f"{claim.day}: claimed before the regulator had closed it")
        self._judged = [] if lines else claims
        return lines

    def findings(self, truth: Mapping[str, Expected], *, whole: bool = True) -> Findings:
        """Compare with what the server published; `whole`: all that witnesses have named until now must be there."""
        found = Findings(false_completeness=self.false_claims(truth))
        rows = self.lake_rows()
        held = {row["filing_id"]: row for row in rows}
        now = self.clock()
        for one in truth.values():
            if whole and one.found_at <= now and one.filing_id not in held:
                known_as = self.ledger.row(self.source, one.filing_id)
                found.lost.append(f"{one.filing_id} of {one.day}: {known_as.state if known_as else 'not known'}")
        found.doubled += [f"{one}: {n} rows" for one, n in Counter(row["filing_id"] for row in rows).items() if n > 1]
        known: set[str] = set()
        for filing_id, row in held.items():
            if filing_id not in truth:
                found.doubled.append(f"{filing_id}: nobody published it")
                continue
            known |= self._check_filing(truth[filing_id], row, found)
        stored = set(self.stored())
        found.lost += [f"{uri}: its bytes are gone" for uri in sorted(known - stored)]
        served = {sha[:16] for one in truth.values() for _, sha in one.versions}
        found.doubled += [
            f"{uri}: kept for nobody" for uri in sorted(stored - known) if whole and uri[-16:] not in served
        ]
        return found

    def _check_filing(self, one: Expected, row: dict[str, Any], found: Findings) -> set[str]:
        """Versions, bytes, companies and times of a filing in the lake; returns the URIs of its bodies."""
        ledger_row = self.ledger.row(self.source, one.filing_id)
        if ledger_row is None:
            found.lost.append(f"{one.filing_id}: in the lake and not in the ledger")
            return set()
        versions = self.ledger.versions(self.source, one.filing_id)
        digests = [version.sha256 for version in versions]
        if len(set(digests)) != len(digests):
            found.doubled.append(f"{one.filing_id}: versions {[digest[:8] for digest in digests]}")
        good = [sha for _, sha in one.versions]
        if row["state"] == "published" and not set(digests[-1:]) <= set(good):
            found.wrong.append(f"{one.filing_id}: published bytes that were not served")
        for version in versions:
            kept = self.objects.get(version.uri) if self.objects.exists(version.uri) else None
            if kept is not None and hashlib.sha256(kept).hexdigest() != version.sha256:
                found.wrong.append(f"{one.filing_id}: {version.uri} holds other bytes")
        if row["day"] != one.day.isoformat():
            found.wrong.append(f"{one.filing_id}: day {row['day']}, not {one.day}")
        if row["state"] == "published" and set(row["party_ids"]) != one.companies:
            found.wrong.append(f"{one.filing_id}: companies {row['party_ids']}, not {sorted(one.companies)}")
        if row["state"] == "published" and row["sha256"] in good:
            since = {sha: moment for moment, sha in one.versions}[row["sha256"]].replace(microsecond=0)
            modified = since if self.source == "edgar" else closes("dart", one.day)  # DART tells no Last-Modified
            due = available_at(one.accepted_at, ledger_row.first_seen_at, modified, one.form)
            if row["available_at"] != due:
                found.wrong.append(f"{one.filing_id}: available at {row['available_at']}, not {due}")
        told = filing_rows([ledger_row]).to_pylist()[0]
        differ = {name: (row[name], value) for name, value in told.items() if row[name] != value}
        if ledger_row.state in ("published", "refused") and differ:
            found.wrong.append(f"{one.filing_id}: the lake and the ledger differ: {differ}")
        return {version.uri for version in versions}


def closes(source: Source, day: date) -> datetime:
    """From when the regulator adds nothing to its list of the day (UTC)."""
    hour = 6 if source == "edgar" else 1
    moment = datetime.combine(day + timedelta(days=1), time(hour), ZONES[source])
    return moment.astimezone(timezone.utc)


# ----------------------------------------------------------------------------------------- a server of its own process


class ServerProcess:
    """A server in a process of its own, so that it outlives the clients that are killed."""

    def __init__(self, make: Callable[[], LoopbackServer]) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self._process.start()
        self.url: str = self._ours.recv()
        self.pid = self._process.pid

    def do(self, work: Callable[[Any], Any]) -> Any:
        """What `work`, a function of a module, returns for the server."""
        self._ours.send(work)
        return self._ours.recv()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send(None)
        self._process.join(10)


def _serve(make: Callable[[], LoopbackServer], pipe: Any) -> None:
    with make() as server:
        setattr(server._http, "handle_error", lambda *_: None)  # noqa: B010 - clients that are killed hang up
        pipe.send(server.url)
        while (work := pipe.recv()) is not None:
            pipe.send(work(server))
