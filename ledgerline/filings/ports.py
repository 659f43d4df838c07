"""What onboarding needs of the world: a regulator to read and a ledger that remembers. Implemented in `resources/`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from ledgerline.errors import LedgerlineError
from ledgerline.filings.records import FetchedFiling, FilingRef, Party, Source

State = Literal["discovered", "fetched", "parsed", "published", "refused"]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger knows of one filing. `attempts` counts fetches; `reason`/`detail` are set when refused."""

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


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body that is kept: its digest, size in bytes, object URI, and the moment it could be known (UTC)."""

    filing_id: str
    sha256: str
    size: int
    uri: str
    available_at: datetime


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the header of a valid body adds; None or empty where it does not say."""

    filing_id: str
    accepted_at: datetime | None
    form: str | None = None
    parties: tuple[Party, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A body that is not a valid filing: a reason code and a sentence."""

    filing_id: str
    reason: str
    detail: str


class Regulator(Protocol):
    """One source of filings (EDGAR or DART), over HTTP or over an archive folder in the same wire formats."""

    source: Source

    def days(self) -> list[date]:
        """The days that this regulator holds, oldest first: an archive's days; over HTTP today and the previous one."""
        ...

    def discover(self, day: date) -> list[FilingRef]:
        """Every filing of the day, one per accession with all its parties. A failed read raises; it is never empty.

        Filings of other days that the same pages list may be among them: they are remembered under their own day.
        """
        ...

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        """The bytes as served. Raises NotYetThere for what the regulator lists but does not serve yet."""
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


class FilingLedger(Protocol):
    """Remembers every filing and its state. All transitions are idempotent; (source, filing_id) is unique."""

    def discovered(self, refs: Iterable[FilingRef], *, seen_at: datetime) -> int:
        """Remember refs; parties of a known filing are united. Returns how many were new."""
        ...

    def pending(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are neither published nor refused."""
        ...

    def fetched(
        self, source: Source, filing_id: str, *, sha256: str, size: int, uri: str, available_at: datetime
    ) -> None: ...

    def parsed(self, source: Source, filing_id: str, *, accepted_at: datetime | None) -> None: ...

    def refused(self, source: Source, filing_id: str, *, reason: str, detail: str) -> None: ...

    def fetched_many(self, source: Source, items: Sequence[Fetched]) -> None:
        """`fetched` of many filings in one transaction. Known bytes change nothing; other bytes are a new version."""
        ...

    def parsed_many(self, source: Source, items: Sequence[Parsed]) -> None: ...

    def refused_many(self, source: Source, items: Sequence[Refusal]) -> None: ...

    def waiting(self, source: Source, filing_ids: Sequence[str], *, detail: str) -> None:
        """Count an attempt on filings that are listed but not served yet; they stay `discovered`."""
        ...

    def published(self, source: Source, filing_ids: Sequence[str]) -> None:
        """The lake holds the newest version of these filings: parsed becomes published; refused stays refused."""
        ...

    def unpublished(self, source: Source, day: date) -> list[LedgerRow]:
        """Rows of the day that are parsed or refused and whose newest version is not confirmed to be in the lake."""
        ...

    def rows(self, source: Source, day: date) -> list[LedgerRow]: ...

    def row(self, source: Source, filing_id: str) -> LedgerRow | None: ...

    def counts(self) -> dict[tuple[str, str, str], int]:
        """(source, day, state) -> filings, for the monitor and the sensors."""
        ...


class RateLease(Protocol):
    """The right to ask a regulator, shared by every process and machine; it lives in the ledger's database."""

    def lease(
        self, source: Source, now: datetime, *, per_second: float, per_day: int | None = None, day: date | None = None
    ) -> float | None:
        """Take the next free slot and return the seconds to wait for it; None where `per_day` of `day` is used up.

        A slot whose taker dies is only lost. `day` is the regulator's own calendar day, and needed with `per_day`.
        """
        ...

    def ban(self, source: Source, until: datetime, reason: str) -> None:
        """Nobody may ask before `until`; an earlier end than the known one changes nothing."""
        ...

    def banned_until(self, source: Source, now: datetime) -> tuple[datetime, str] | None:
        """The end and the reason of the ban that holds at `now`, or None."""
        ...
