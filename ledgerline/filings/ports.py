"""What onboarding needs of the world: a regulator to read and a ledger that remembers. Implemented in `resources/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from ledgerline.errors import LedgerlineError
from ledgerline.filings.records import FetchedFiling, FilingRef, Party, Source

# What was asked for in vain is asked for again at the latest after it.
LONGEST_DELAY = timedelta(hours=4)
# EDGAR limits access for 10 minutes, asking during them lengthens it; DART until the Korean day turns.
LONGEST_BAN: Mapping[Source, timedelta] = {"edgar": timedelta(minutes=10), "dart": timedelta(days=1)}

State = Literal["discovered", "fetched", "parsed", "published", "refused"]
# Who named a filing: EDGAR's feed, daily index or submissions of a company; DART's list; an archive folder.
Witness = Literal["feed", "index", "submissions", "list", "archive"]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger knows of one filing.

    `attempts` counts how often work on it was begun since it last came to an end; `next_attempt_at`: not before then.
    `reason`/`detail` are set when refused, `detail` also while it waits. `etag` is the server's for the newest version.
    `published_at`: when the lake first held it. `checked_at`: when the published bytes were last compared with what the
    regulator serves.
    """

    ref: FilingRef
    state: State
    first_seen_at: datetime
    available_at: datetime | None
    sha256: str | None
    bytes: int | None
    uri: str | None
    reason: str | None
    detail: str | None
    version: int
    attempts: int
    next_attempt_at: datetime | None = None
    etag: str | None = None
    period: str | None = None
    corrects: str | None = None
    parser_version: str | None = None
    witnesses: tuple[str, ...] = ()
    published_at: datetime | None = None
    checked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body that is kept: its digest, size in bytes, object URI, and the moment it could be known (UTC)."""

    filing_id: str
    sha256: str
    size: int
    uri: str
    available_at: datetime
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the header of a valid body adds; None or empty where it does not say. `period` is an ISO day."""

    filing_id: str
    accepted_at: datetime | None
    form: str | None = None
    parties: tuple[Party, ...] = ()
    period: str | None = None
    parser_version: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A body that is not a valid filing: a reason code and a sentence."""

    filing_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A filing that was asked for in vain: why, and when it is asked for again (UTC)."""

    filing_id: str
    detail: str
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class Poll:
    """What one incremental read of a regulator found.

    `seen` are refs by witness. `connected`: every filing since the last connected poll is among what is known now.
    `gap` is the stretch (UTC) that the regulator's feed does not reach back to any more; only the day's index closes
    it. `asked_at`: when its first page was answered, by the regulator's clock. `failure` is why the read stopped early:
    what it had read until then is in `seen`, and true.
    """

    seen: Mapping[Witness, Sequence[FilingRef]]
    connected: bool = True
    gap: tuple[datetime, datetime] | None = None
    pages: int = 0
    asked_at: datetime | None = None
    failure: RegulatorUnavailable | None = None

    @property
    def refs(self) -> list[FilingRef]:
        return [ref for refs in self.seen.values() for ref in refs]


@dataclass(frozen=True, slots=True)
class DayIndex:
    """The regulator's own list of a day, read whole. `final`: the regulator adds nothing to it any more.

    EDGAR's index of a day lists what it made public on that day, whatever day a filing is dated to: letters dated weeks
    before, and what became effective the evening before. DART's list of a day is of the filings received on it.
    """

    source: Source
    day: date
    refs: tuple[FilingRef, ...]
    final: bool
    written_at: datetime | None = None  # UTC; a filing that became public later is not in it


@dataclass(frozen=True, slots=True)
class Tick:
    """One poll as the ledger remembers it, failed ones too. `new` are filings; `pages` were read.

    It started when its first page was answered, by the regulator's clock where that was told: our own may be wrong.
    """

    source: Source
    started_at: datetime
    ended_at: datetime
    connected: bool
    new: int
    pages: int
    gap: tuple[datetime, datetime] | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class DayClaim:
    """That a day is complete: how many filings the regulator's index of it lists, the digest of their ids, and when it
    was proved (UTC). What is dated to the day and made public later is listed in the index of that later day."""

    source: Source
    day: date
    filings: int
    index_digest: str
    proved_at: datetime


@dataclass(frozen=True, slots=True)
class DayTotal:
    """Filings of one day in one state, refused ones by reason: how many, their bytes, how many of them have more than
    one version, and how many are `late`: open, and due for longer than the caller allows."""

    day: date
    state: State
    reason: str | None
    filings: int
    bytes: int
    changed: int
    late: int


@dataclass(frozen=True, slots=True)
class Moments:
    """When a published filing was accepted (None where the regulator does not say), its first version available, and it was
    first published (UTC)."""

    day: date
    accepted_at: datetime | None
    available_at: datetime
    published_at: datetime


class KnownFilings(Protocol):
    """What is known already, as far as a poll needs it to know where it may stop."""

    def known(self, source: Source, filing_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the ledger holds."""
        ...

    def listed(self, source: Source, day: date) -> int:
        """How many filings of the day the ledger holds."""
        ...


class Regulator(Protocol):
    """One source of filings over HTTP, or over an archive folder in the same wire formats.

    What a further regulator must do is spelled out by `tests/contract/test_regulator_contract.py`, which EDGAR and DART
    pass over both. No method answers a failed or partial read with an empty list.
    """

    source: Source
    live: bool  # a server that may serve other bytes later; an archive never does

    def days(self) -> list[date]:
        """The days that this regulator holds, oldest first: an archive's days; over HTTP today and the previous one."""
        ...

    def discover(self, day: date) -> list[FilingRef]:
        """Every filing of the day, read whole, one per accession with all its parties. A failed read raises.

        Filings of other days that the same pages list may be among them: they are remembered under their own day.
        """
        ...

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        """What is new, read from the newest back until all is known and older than `since`, with an overlap.

        `since` is the start of the last connected poll; None: back to the start of `day`. Raises RegulatorUnavailable
        or ConfigurationError where not even the first page could be read.
        """
        ...

    def index(self, day: date) -> DayIndex | None:
        """The regulator's list of the day by which completeness is proved; None where it has not been written yet."""
        ...

    def confirm(self, refs: Sequence[FilingRef]) -> set[str]:
        """Those of the filings that a second witness also dates to their day, asked one company at a time.

        For filings that the day's index does not list. Without a second witness (DART, archives) nothing is confirmed.
        """
        ...

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling | None:
        """Stream the bytes as served to the file `into`; None where the server says that they still have this `etag`.

        Holds one block in memory. Raises NotYetThere for what the regulator lists but does not serve yet, RefusedFiling
        (too_large) for what is over the cap, and RegulatorUnavailable where the read failed.
        """
        ...


class NotYetThere(Exception):
    """Listed, but not served yet (EDGAR AccessDenied/404, DART 014): it stays `discovered` and is tried again."""


class RegulatorUnavailable(LedgerlineError):
    """A read that failed and says nothing about what exists. `retry_at`: nobody may ask before it (a ban)."""

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class Regulators(Protocol):
    """The regulators that are configured, by source."""

    def sources(self) -> list[Source]: ...

    def live_sources(self) -> list[Source]:
        """Those of `sources()` that are read over HTTP; the others are archives."""
        ...

    def of(self, source: Source) -> Regulator:
        """Raises ConfigurationError, before any request, where a setting of this source is missing or wrong."""
        ...


class FilingLedger(KnownFilings, Protocol):
    """Remembers every filing and its state. All transitions are idempotent; (source, filing_id) is unique."""

    def discovered(self, refs: Iterable[FilingRef], *, seen_at: datetime, witness: Witness = "list") -> int:
        """Remember refs; parties and witnesses of a known filing are united. Returns how many were new."""
        ...

    def pending(self, source: Source, day: date, *, due_at: datetime | None = None) -> list[LedgerRow]:
        """Rows of the day that are neither published nor refused, and whose next attempt is due at `due_at` (None: all)."""
        ...

    def pending_days(self, source: Source, *, due_at: datetime | None = None) -> list[date]:
        """The days that have rows which `pending` would give, oldest first."""
        ...

    def begun(self, source: Source, filing_ids: Sequence[str]) -> None:
        """Count an attempt before it is made, so that a filing that kills its worker is known by its attempts."""
        ...

    def released(self, source: Source, filing_ids: Sequence[str], *, at: datetime) -> None:
        """Take back the count of attempts that something else than these filings ended; they are due again from `at`."""
        ...

    def fetched_many(self, source: Source, items: Sequence[Fetched]) -> None:
        """Bodies that are kept, in one transaction. Other bytes are a new version; known bytes change nothing, unless the
        filing was to be fetched again: then it is fetched."""
        ...

    def parsed_many(self, source: Source, items: Sequence[Parsed]) -> None:
        """Fetched becomes parsed; in any other state nothing changes. Header facts complete what discovery knew."""
        ...

    def refused_many(self, source: Source, items: Sequence[Refusal]) -> None:
        """What is not published becomes refused, with its reason; a published filing is left alone."""
        ...

    def waiting_many(self, source: Source, items: Sequence[Waiting]) -> None:
        """Filings that were asked for in vain stay as they are until their next attempt."""
        ...

    def published(self, source: Source, versions: Mapping[str, int], *, at: datetime) -> None:
        """The lake holds these versions (filing id -> version): parsed becomes published; refused stays refused.

        A newer version, parsed meanwhile by another process, stays to be published; one that the lake held already, and
        that an older one may just have overwritten, is to be published again.
        """
        ...

    def corrected(self, source: Source, pointers: Mapping[str, str]) -> None:
        """Corrections (correction -> corrected filing, as ids) point to what they correct from now on, in the lake too."""
        ...

    def checked(self, source: Source, filing_ids: Sequence[str], *, at: datetime) -> None:
        """The bytes of these filings were compared with what the regulator serves."""
        ...

    def unpublished(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are parsed or refused and whose newest version is not confirmed to be in the lake."""
        ...

    def reopened(self, source: Source, filing_ids: Sequence[str], *, fetch_again: bool = False) -> int:
        """Take closed filings up again from the start of parsing (from fetching, where no body is kept, or of a refused
        one with `fetch_again`); returns how many. A published filing is never asked for again: its body is good."""
        ...

    def rows(self, source: Source, day: date) -> list[LedgerRow]: ...

    def rows_of(self, source: Source, filing_ids: Sequence[str]) -> list[LedgerRow]:
        """Rows by filing id, of whatever day; an unknown id has none."""
        ...

    def row(self, source: Source, filing_id: str) -> LedgerRow | None: ...

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
        ...

    def versions(self, source: Source, filing_id: str) -> list[Fetched]:
        """Every body that was kept of a filing, oldest first."""
        ...

    def corrections_of(self, source: Source, filing_id: str) -> list[LedgerRow]:
        """The filings that correct this one, oldest first."""
        ...

    def days(
        self, source: Source, *, since: date | None = None, until: date | None = None, newest: int | None = None
    ) -> list[date]:
        """The days (both ends included; only the `newest` so many) that have filings, oldest first."""
        ...

    def day_totals(self, source: Source, *, since: date, until: date, late_before: datetime) -> list[DayTotal]:
        """Totals of each day, state and reason, by day. Late: open, and due (or, never tried, seen) before a moment."""
        ...

    def moments(self, source: Source, *, since: date, until: date) -> list[Moments]:
        """The times of every published filing of these days, by day."""
        ...

    def late(self, source: Source, *, before: datetime, limit: int) -> list[LedgerRow]:
        """Open filings of any day that are due (or, never tried, seen) before a moment: the longest due first."""
        ...

    def refused(
        self, source: Source, reasons: Sequence[str], *, since: date, until: date, limit: int
    ) -> list[LedgerRow]:
        """Filings of these days that are refused for one of the reasons, the newest day first."""
        ...

    def closed(
        self, source: Source, day: date, *, reasons: Sequence[str] = (), parsed_by_another: str | None = None
    ) -> dict[str, str | None]:
        """Filing id -> reason of the filings of the day that are refused for one of the reasons, or published and parsed
        by another version of the parser than this (reason None)."""
        ...

    def counts(self, *, since: date | None = None) -> dict[tuple[str, str, str], int]:
        """(source, day, state) -> filings, of days from `since` on, for the monitor and the sensors."""
        ...

    def ticked(self, tick: Tick) -> None:
        """Remember a poll."""
        ...

    def ticks(self, source: Source, *, limit: int = 1, since: datetime | None = None) -> list[Tick]:
        """The newest polls (that began at `since` or later), newest first."""
        ...

    def watermark(self, source: Source) -> datetime | None:
        """The start of the last connected poll, or of one that read all that the feed still held; None before any."""
        ...

    def completed(self, claim: DayClaim) -> None:
        """Remember that a day was proved complete; a later proof replaces an earlier one."""
        ...

    def completions(self, source: Source, *, since: date | None = None) -> list[DayClaim]:
        """The days that were proved complete, oldest first."""
        ...


class RateLease(Protocol):
    """The right to ask a regulator, shared by every process and machine; it lives in the ledger's database."""

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

        Slots are given in the order in which they are asked for, to whoever asks. A slot whose taker dies is only lost.
        `day` is the regulator's own calendar day, and needed with `per_day`. A `backfill` gets at most half of the rate,
        and of the day's requests, while the live feed is read.
        """
        ...

    def ban(self, source: Source, until: datetime, reason: str) -> None:
        """Nobody may ask before `until`; an earlier end than the known one changes nothing."""
        ...

    def banned_until(self, source: Source, now: datetime) -> tuple[datetime, str] | None:
        """The end and the reason of the ban that holds at `now`, or None. A ban that seems longer than LONGEST_BAN was set
        by a clock that was ahead, and ends LONGEST_BAN after it is first asked for; unless `now` is before the watermark,
        which is of the regulator's clock: then it is this one that is wrong."""
        ...


class LedgerWithLease(FilingLedger, RateLease, Protocol):
    """The ledger's database is where both live."""
