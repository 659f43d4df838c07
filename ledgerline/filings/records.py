"""Records that pass between discovery, fetching and parsing. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

Source = Literal["edgar", "dart"]


@dataclass(frozen=True, slots=True)
class Party:
    """A company or person of a filing: `id` is a CIK of 10 digits or a DART corp_code of 8; `role` e.g. Filer, Issuer."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class FilingRef:
    """One logical filing as discovered: an accession number (EDGAR) or rcept_no (DART), once, with all its parties."""

    source: Source
    filing_id: str
    day: date  # the partition: the regulator's own calendar day of filing
    form: str  # "10-K"; DART: report_nm stripped of its correction prefix and blanks
    parties: tuple[Party, ...]
    accepted_at: datetime | None = None  # UTC; DART rows carry none
    title: str = ""  # DART report_nm as it stands; EDGAR: empty


@dataclass(frozen=True, slots=True)
class FetchedFiling:
    """The bytes of a filing as served, in a file: an EDGAR full submission, or the ZIP of DART's document.xml."""

    ref: FilingRef
    path: Path
    size: int  # bytes
    sha256: str
    last_modified: datetime | None = None  # UTC
    etag: str | None = None


class RefusedFiling(Exception):
    """A body that is not a valid filing. It becomes a row with `reason` (a code) and `detail`; it never stops a day."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of a document's text: `name` is an item number ("2.02", "1A") or a DART title; offsets in characters."""

    name: str
    title: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a filing. `text` is empty for a binary part, which is counted in `binary_bytes` and not decoded."""

    sequence: int
    type: str
    filename: str
    description: str
    text: str
    language: Literal["en", "ko"]
    sections: tuple[Section, ...] = ()
    binary_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ParsedFiling:
    """A valid filing: header facts (None where the container does not say) and its documents in order."""

    filing_id: str | None
    form: str | None
    accepted_at: datetime | None  # UTC, from the SGML header's Eastern stamp
    filed_on: date | None
    parties: tuple[Party, ...]
    documents: tuple[Document, ...] = field(default=())
