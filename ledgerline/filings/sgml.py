"""EDGAR's full-submission container: split into header and documents, without reading what the documents hold.

Format: the EDGAR Public Dissemination Service technical specification, and real submissions of 1994-2026. Four
variants are read: bare `<SEC-DOCUMENT>`, the same inside a PEM wrapper, `<IMS-DOCUMENT>` (1990s), and the dissemination
form `<SUBMISSION>` whose header is tags and whose lines may end in a bare CR. Text extraction is in `text`; nothing
here decodes more than the header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from ledgerline.filings.records import Party, RefusedFiling
from ledgerline.filings.times import parse_acceptance, parse_day

Container = Literal["SEC-DOCUMENT", "IMS-DOCUMENT", "PEM", "SUBMISSION"]

# The largest filing of 271,974 measured had 410 MB; more than this is not a filing but an attack on the disk.
MAX_FILING_BYTES = 512 * 1024 * 1024
# The largest real submissions have a few thousand documents; each costs a row.
MAX_DOCUMENTS = 20_000
# A header of 114 parties has about 100 kB.
MAX_HEADER_BYTES = 8 * 1024 * 1024
# The tags before <TEXT> are a handful of lines; what is longer is not looked at for tags.
MAX_DOCUMENT_HEAD_BYTES = 16 * 1024

_PEM = b"-----BEGIN PRIVACY-ENHANCED MESSAGE-----"
_CLOSING = (b"</SEC-DOCUMENT>", b"</IMS-DOCUMENT>", b"</SUBMISSION>", b"-----END PRIVACY-ENHANCED MESSAGE-----")
_OPENING = re.compile(rb"^[ \t]*<(SEC-DOCUMENT|IMS-DOCUMENT|SUBMISSION)>", re.M)
_HEADER_END = re.compile(rb"</(?:SEC|IMS)-HEADER>")
_WHITE = b" \t\r\n\0\x1a"

# The words that EDGAR's feeds use for the roles, so that parties of the feed and of the header unite.
_ROLES = {
    "FILER": "Filer",
    "ISSUER": "Issuer",
    "REPORTING-OWNER": "Reporting",
    "SUBJECT COMPANY": "Subject",
    "FILED BY": "Filed by",
    "FILED FOR": "Filed for",
    "DEPOSITOR": "Depositor",
    "SECURITIZER": "Securitizer",
    "ISSUING ENTITY": "Issuing entity",
    "UNDERWRITER": "Underwriter",
    "GROUP MEMBER": "Group member",
    "SERIAL COMPANY": "Serial company",
}


@dataclass(frozen=True, slots=True)
class Header:
    """Facts of a submission's header; None or empty where it does not say. `items` are titles as they stand."""

    accession: str | None
    form: str | None
    accepted_at: datetime | None  # UTC
    filed_on: date | None
    parties: tuple[Party, ...]
    items: tuple[str, ...]
    period: date | None = None


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One `<DOCUMENT>`: its tags, and where the payload of `<TEXT>` lies in the body (bytes, end exclusive)."""

    sequence: int | None
    type: str
    filename: str
    description: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid container. The header is the bytes before the first document."""

    container: Container
    header_end: int
    documents: tuple[RawDocument, ...]


def split(body: bytes) -> Submission:
    """Check a full submission and locate its documents. Raises RefusedFiling.

    Valid is: at least one `<DOCUMENT>` at the start of a line, as many closed as opened, and a closing token at the
    very end. PUBLIC DOCUMENT COUNT is no part of it: it is wrong in 2.6 % of good filings.
    """
    container = _container(body)
    spans = _document_spans(body)
    if not spans:
        _refuse_without_documents(body)
    if not body.rstrip(_WHITE).endswith(_CLOSING):
        raise RefusedFiling(
            "truncated", f"{len(spans)} documents, but no closing token at the end of {len(body)} bytes"
        )
    return Submission(container, spans[0][0], tuple(_raw_document(body, start, end) for start, end in spans))


def read_header(body: bytes, submission: Submission) -> Header:
    """The header's facts. A header that cannot be read gives empty facts, never an error: the documents still count."""
    head = (
        body[: min(submission.header_end, MAX_HEADER_BYTES)].decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    )
    if submission.container == "SUBMISSION":
        return _tagged_header(head)
    return _named_header(head)


def _container(body: bytes) -> Container:
    if len(body) > MAX_FILING_BYTES:
        raise RefusedFiling("too_large", f"{len(body)} bytes, the cap is {MAX_FILING_BYTES}")
    start = body[:65536].lstrip(_WHITE + b"\xef\xbb\xbf")
    if not start:
        raise RefusedFiling("empty", f"{len(body)} bytes and nothing in them")
    found = _OPENING.search(start.replace(b"\r", b"\n"))
    if start.startswith(_PEM):
        return "PEM"
    if found is None:
        kind = "a web page" if b"<html" in start[:2048].lower() else "no EDGAR container"
        raise RefusedFiling("no_container", f"{kind}: starts with {start[:40]!r}")
    return found.group(1).decode("ascii")  # type: ignore[return-value]


def _document_spans(body: bytes) -> list[tuple[int, int]]:
    """(start, end) of what lies between `<DOCUMENT>` and `</DOCUMENT>`; refuses where they do not alternate."""
    spans: list[tuple[int, int]] = []
    opened = _find_tag(body, b"<DOCUMENT>", 0)
    closed = _find_tag(body, b"</DOCUMENT>", 0)
    while opened >= 0:
        if 0 <= closed < opened:
            break
        start = opened + len(b"<DOCUMENT>")
        opened = _find_tag(body, b"<DOCUMENT>", start)
        if closed < 0 or 0 <= opened < closed:
            raise RefusedFiling("truncated", f"document {len(spans) + 1} of a body of {len(body)} bytes is not closed")
        spans.append((start, closed))
        if len(spans) > MAX_DOCUMENTS:
            raise RefusedFiling("bomb", f"more than {MAX_DOCUMENTS} documents in one submission")
        closed = _find_tag(body, b"</DOCUMENT>", closed + 1)
    if closed >= 0:
        raise RefusedFiling(
            "unbalanced", f"a </DOCUMENT> at byte {closed} closes nothing, after {len(spans)} documents"
        )
    return spans


def _find_tag(body: bytes, tag: bytes, start: int) -> int:
    """The next `tag` that begins a line, or -1."""
    at = body.find(tag, start)
    while at > 0 and body[at - 1] not in b"\r\n":
        at = body.find(tag, at + 1)
    return at


def _refuse_without_documents(body: bytes) -> None:
    ends = list(_HEADER_END.finditer(body, 0, MAX_HEADER_BYTES))
    rest = body[ends[-1].end() :] if ends else b""
    for token in _CLOSING:
        rest = rest.replace(token, b"") if len(rest) < 1024 else rest
    if ends and not rest.strip(_WHITE):
        raise RefusedFiling("header_only", f"a header of {ends[-1].end()} bytes and no document behind it")
    if not body.rstrip(_WHITE).endswith(_CLOSING):
        raise RefusedFiling("truncated", f"{len(body)} bytes without a document and without a closing token")
    raise RefusedFiling("no_documents", f"{len(body)} bytes, none of them in a <DOCUMENT> at the start of a line")


def _raw_document(body: bytes, start: int, end: int) -> RawDocument:
    opened = body.find(b"<TEXT>", start, end)
    if opened < 0:
        return _with_tags(body[start : min(end, start + MAX_DOCUMENT_HEAD_BYTES)], end, end)
    closed = body.rfind(b"</TEXT>", opened, end)
    head = body[start : min(opened, start + MAX_DOCUMENT_HEAD_BYTES)]
    return _with_tags(head, opened + len(b"<TEXT>"), end if closed < 0 else closed)


def _with_tags(head: bytes, start: int, end: int) -> RawDocument:
    tags: dict[str, str] = {}
    for line in re.split(rb"[\r\n]+", head):
        if line.startswith(b"<"):
            name, closed, value = line[1:].partition(b">")
            if closed:
                tags.setdefault(name.decode("latin-1"), decode_line(value))
    sequence = tags.get("SEQUENCE", "")
    number = int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) <= 9 else None
    return RawDocument(number, tags.get("TYPE", ""), tags.get("FILENAME", ""), tags.get("DESCRIPTION", ""), start, end)


def decode_line(value: bytes) -> str:
    """A header value: UTF-8 where it is, else Latin-1; trimmed."""
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _named_header(head: str) -> Header:
    """`NAME:<tabs>value` lines; a role at the margin, `FILER:` or `<REPORTING-OWNER>`, opens a party's block.

    Names of sections (`COMPANY DATA:`) stand at the margin too, without their indent, in headers of the 1990s.
    """
    facts: dict[str, str] = {}
    items: list[str] = []
    parties: dict[Party, None] = {}  # a set that keeps order
    role, name = "", ""
    for line in head.split("\n"):
        stamp = line.strip()
        if stamp.startswith(("<ACCEPTANCE-DATETIME>", "<SEC-DOCUMENT>", "<IMS-DOCUMENT>")):
            tag, _, value = stamp[1:].partition(">")
            facts.setdefault(tag, value)
            continue
        opened = _role_opened_by(line)
        if opened:
            role, name = opened, ""
            continue
        before, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = before.strip(), value.strip()
        if not value:
            continue
        if key == "ITEM INFORMATION":
            items.append(value)
        elif key == "COMPANY CONFORMED NAME":
            name = value
        elif key == "CENTRAL INDEX KEY" and role:
            _add_party(parties, value, name, role)
        else:
            facts.setdefault(key, value)
    accession = facts.get("ACCESSION NUMBER") or _accession_of(facts)
    return Header(
        accession or None,
        facts.get("CONFORMED SUBMISSION TYPE") or None,
        parse_acceptance(facts.get("ACCEPTANCE-DATETIME", "")),
        parse_day(facts.get("FILED AS OF DATE", "")),
        tuple(parties),
        tuple(items),
        parse_day(facts.get("CONFORMED PERIOD OF REPORT", "")),
    )


def _role_opened_by(line: str) -> str:
    """The known role that a line at the margin names without a value, or ""."""
    stamp = line.rstrip()
    if stamp.endswith(":"):
        return stamp[:-1] if stamp[:-1] in _ROLES else ""
    if stamp.startswith("<") and stamp.endswith(">"):
        return _known_role(stamp[1:-1])
    return ""


def _known_role(tag: str) -> str:
    """The role of a tag, in which blanks are hyphens (`SUBJECT-COMPANY`), or ""."""
    spaced = tag if tag in _ROLES else tag.replace("-", " ")
    return spaced if spaced in _ROLES else ""


def _accession_of(facts: dict[str, str]) -> str:
    opening = facts.get("SEC-DOCUMENT") or facts.get("IMS-DOCUMENT") or ""
    return opening.split(".txt")[0].strip() if ".txt" in opening else ""


_TAG_LINE = re.compile(r"^<(/?)([A-Z][A-Z0-9-]*)>[ \t]*(.*)$")


def _tagged_header(head: str) -> Header:
    """`<NAME>value` lines; a role's tag opens a party's block. Block tags have no value."""
    facts: dict[str, str] = {}
    items: list[str] = []
    parties: dict[Party, None] = {}  # a set that keeps order
    role, name = "", ""
    for line in head.split("\n"):
        match = _TAG_LINE.match(line.strip())
        if match is None or match.group(1):
            continue
        key, value = match.group(2), match.group(3).strip()
        opened = "" if value else _known_role(key)
        if opened:
            role, name = opened, ""
        elif key == "ITEMS":
            items.append(value)
        elif key == "CONFORMED-NAME":
            name = value
        elif key == "CIK" and role:
            _add_party(parties, value, name, role)
        else:
            facts.setdefault(key, value)
    return Header(
        facts.get("ACCESSION-NUMBER") or None,
        facts.get("TYPE") or None,
        parse_acceptance(facts.get("ACCEPTANCE-DATETIME", "")),
        parse_day(facts.get("FILING-DATE", "")),
        tuple(parties),
        tuple(items),
    )


def _add_party(parties: dict[Party, None], cik: str, name: str, role: str) -> None:
    if cik.isascii() and cik.isdigit() and len(cik) <= 10:
        parties[Party(cik.zfill(10), name, _ROLES[role])] = None
