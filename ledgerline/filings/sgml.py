"""EDGAR's full-submission container: split into header and documents, without reading what the documents hold.

Format: the EDGAR Public Dissemination Service technical specification, and real submissions of 1994-2026. Four
variants are read: bare `<SEC-DOCUMENT>`, the same inside a PEM wrapper, `<IMS-DOCUMENT>` (1990s), and the dissemination
form `<SUBMISSION>` whose header is tags and whose lines may end in a bare CR. Text extraction is in `text`; nothing
here decodes more than the header, and no more of a body is in memory than a block, the header or one document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

from ledgerline.filings.bodies import Body, content_end, find_all
from ledgerline.filings.records import Party, RefusedFiling
from ledgerline.filings.times import parse_acceptance, parse_day

Container = Literal["SEC-DOCUMENT", "IMS-DOCUMENT", "PEM", "SUBMISSION"]

# The largest filing of 271,974 measured had 410 MB; more than this is not a filing but an attack on the disk.
MAX_FILING_BYTES = 512 * 1024 * 1024
# The largest real submissions have a few thousand documents; each costs a row.
MAX_DOCUMENTS = 20_000
# A header of 114 parties has about 100 kB; what is beyond this is not read, and holds no more facts than memory bears.
MAX_HEADER_BYTES = 1024 * 1024
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
    """Facts of a filing's header; None or empty where it does not say.

    `form` and `accession` as they stand (DART: the rcept_no); `period` is the last day that is reported on; `items` are
    titles (8-K), or numbers in the dissemination form.
    """

    accession: str | None = None
    form: str | None = None
    accepted_at: datetime | None = None  # UTC
    filed_on: date | None = None
    period: date | None = None
    parties: tuple[Party, ...] = ()
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One `<DOCUMENT>`: its tags, and where its inside lies in the body (bytes, end exclusive)."""

    sequence: int
    type: str
    filename: str
    description: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid container: the header is the bytes before the first document; `spans` are the insides of documents."""

    container: Container
    header_end: int
    spans: tuple[tuple[int, int], ...]


def split(body: Body) -> Submission:
    """Check a full submission and locate its documents. Raises RefusedFiling.

    Valid is: at least one `<DOCUMENT>` at the start of a line, as many closed as opened, and a closing token at the
    very end. PUBLIC DOCUMENT COUNT is no part of it: it is wrong in 2.6 % of good filings.
    """
    container = _container(body)
    spans = _document_spans(body)
    if not spans:
        _refuse_without_documents(body)
    if not _is_closed(body):
        raise RefusedFiling(
            "truncated", f"{len(spans)} documents, but no closing token at the end of {len(body)} bytes"
        )
    return Submission(container, spans[0][0], spans)


def read_header(body: Body, submission: Submission) -> Header:
    """The header's facts. A header that cannot be read gives empty facts, never an error: the documents still count."""
    head = body[: min(submission.header_end, MAX_HEADER_BYTES)].decode("latin-1")
    return _header(head, _TAGS if submission.container == "SUBMISSION" else _NAMES)


def read_documents(body: Body, submission: Submission) -> tuple[RawDocument, ...]:
    """The tags of every document; none of their texts is read.

    Sequence numbers are as filed where they are distinct, else the documents' order: `sequence` identifies a document.
    """
    found = [_raw_document(body, span, number) for number, span in enumerate(submission.spans, start=1)]
    if len({document.sequence for document in found}) < len(found):
        found = [replace(document, sequence=number) for number, document in enumerate(found, start=1)]
    return tuple(found)


def payload_of(body: Body, document: RawDocument) -> bytes:
    """The bytes between the first `<TEXT>` and the last `</TEXT>` of a document; none where it has no text."""
    inside = body[document.start : document.end]
    opened = inside.find(b"<TEXT>")
    if opened < 0:
        return b""
    closed = inside.rfind(b"</TEXT>", opened)
    return inside[opened + len(b"<TEXT>") : closed if closed >= 0 else len(inside)]


def _container(body: Body) -> Container:
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


def _document_spans(body: Body) -> tuple[tuple[int, int], ...]:
    """(start, end) of what lies between `<DOCUMENT>` and `</DOCUMENT>`; refuses where they do not alternate."""
    spans: list[tuple[int, int]] = []
    opened = -1
    for at, closing in _document_tags(body):
        if closing and opened < 0:
            raise RefusedFiling(
                "unbalanced", f"a </DOCUMENT> at byte {at} closes nothing, after {len(spans)} documents"
            )
        if not closing and opened >= 0:
            break
        if not closing:
            opened = at + len(b"<DOCUMENT>")
            continue
        spans.append((opened, at))
        opened = -1
        if len(spans) > MAX_DOCUMENTS:
            raise RefusedFiling("bomb", f"more than {MAX_DOCUMENTS} documents in one submission")
    if opened >= 0:
        raise RefusedFiling("truncated", f"document {len(spans) + 1} of a body of {len(body)} bytes is not closed")
    return tuple(spans)


def _document_tags(body: Body) -> Iterator[tuple[int, bool]]:
    """(offset, whether it closes) of each document tag that begins a line. One search finds both tags."""
    for at, before in find_all(body, b"DOCUMENT>", lead=len(b"\n</")):
        for mark in (b"<", b"</"):
            if before.endswith(mark) and before[: -len(mark)][-1:] in (b"\n", b"\r", b""):
                yield at - len(mark), mark == b"</"


def _is_closed(body: Body) -> bool:
    end = content_end(body, _WHITE)
    return body[max(0, end - len(_CLOSING[-1])) : end].endswith(_CLOSING)


def _refuse_without_documents(body: Body) -> None:
    ends = list(_HEADER_END.finditer(body[:MAX_HEADER_BYTES]))
    end = content_end(body, _WHITE)
    if ends and end - ends[-1].end() < 1024:
        rest = body[ends[-1].end() : end]
        for token in _CLOSING:
            rest = rest.replace(token, b"")
        if not rest.strip(_WHITE):
            raise RefusedFiling("header_only", f"a header of {ends[-1].end()} bytes and no document behind it")
    if not _is_closed(body):
        raise RefusedFiling("truncated", f"{len(body)} bytes without a document and without a closing token")
    raise RefusedFiling("no_documents", f"{len(body)} bytes, none of them in a <DOCUMENT> at the start of a line")


def _raw_document(body: Body, span: tuple[int, int], number: int) -> RawDocument:
    start, end = span
    head = body[start : min(end, start + MAX_DOCUMENT_HEAD_BYTES)]
    tags: dict[str, str] = {}
    for line in re.split(rb"[\r\n]+", head.partition(b"<TEXT>")[0]):
        if line.startswith(b"<"):
            name, closed, value = line[1:].partition(b">")
            if closed:
                tags.setdefault(name.decode("latin-1"), decode_line(value))
    sequence = tags.get("SEQUENCE", "")
    if sequence.isascii() and sequence.isdigit() and len(sequence) <= 9:
        number = int(sequence)
    return RawDocument(number, tags.get("TYPE", ""), tags.get("FILENAME", ""), tags.get("DESCRIPTION", ""), start, end)


def decode_line(value: bytes) -> str:
    """A header value: UTF-8 where it is, else Latin-1; trimmed."""
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


# What a line of a header is about, by its name in the two kinds of headers.
_NAMES = {
    "SEC-DOCUMENT": "opening",
    "IMS-DOCUMENT": "opening",
    "ACCESSION NUMBER": "accession",
    "CONFORMED SUBMISSION TYPE": "form",
    "ACCEPTANCE-DATETIME": "accepted",
    "FILED AS OF DATE": "filed",
    "CONFORMED PERIOD OF REPORT": "period",
    "ITEM INFORMATION": "item",
    "COMPANY CONFORMED NAME": "name",
    "CENTRAL INDEX KEY": "cik",
}
_TAGS = {
    "ACCESSION-NUMBER": "accession",
    "TYPE": "form",
    "ACCEPTANCE-DATETIME": "accepted",
    "FILING-DATE": "filed",
    "PERIOD": "period",
    "ITEMS": "item",
    "CONFORMED-NAME": "name",
    "CIK": "cik",
}
_HEADER_LINE = re.compile(r"^(?:[ \t]*<([A-Z][A-Z0-9-]*)>|([^:\n]*):)([^\n]*)", re.M)


def _header(head: str, keys: dict[str, str]) -> Header:
    """The facts of `NAME:<tabs>value` and `<NAME>value` lines. A role without a value opens a party's block.

    A role stands at the margin. Names of sections (`COMPANY DATA:`) stand there too, without their indent, in headers
    of the 1990s. Of a fact that is repeated the first counts.
    """
    facts: dict[str, str] = {}
    items: list[str] = []
    parties: dict[Party, None] = {}  # a set that keeps order
    role, name = "", ""
    for line in _HEADER_LINE.finditer(head.replace("\r", "\n")):
        key, value = line[1] or line[2], line[3].strip()
        fact = keys.get(key.strip())
        if not value:
            if opened := _known_role(key):
                role, name = opened, ""
        elif fact == "item":
            items.append(value)
        elif fact == "name":
            name = value
        elif fact == "cik":
            if role and value.isascii() and value.isdigit() and len(value) <= 10:
                parties[Party(value.zfill(10), name, role)] = None
        elif fact:
            facts.setdefault(fact, value)
    accession, suffix, _ = facts.get("opening", "").partition(".txt")
    return Header(
        accession=facts.get("accession") or (accession.strip() if suffix else "") or None,
        form=facts.get("form"),
        accepted_at=parse_acceptance(facts.get("accepted", "")),
        filed_on=parse_day(facts.get("filed", "")),
        period=parse_day(facts.get("period", "")),
        parties=tuple(parties),
        items=tuple(items),
    )


def _known_role(name: str) -> str:
    """The role that a name at the margin opens, as the feeds spell it, or ""; a tag has hyphens for blanks."""
    return _ROLES.get(name) or _ROLES.get(name.replace("-", " "), "")
