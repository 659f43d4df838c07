"""A filing's bytes to its header facts and the text and sections of its documents, for EDGAR and DART.

What becomes text: HTML (inline XBRL too), plain text, and forms in XML (ownership, 13F). What is only counted, in
`binary_bytes`: uuencoded and PDF parts, and data for machines - XBRL instances, schemas and linkbases (EX-101.*),
FilingSummary.xml, JSON, style sheets, spreadsheets, archives - since it is no prose and repeats the primary document.
A document of any size is kept: long markup is read in pieces (see `text`). The cap is on the whole filing, above which
it is refused as too_large rather than cut, because a cut text would be taken for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

from ledgerline.filings import dart, sgml, validity
from ledgerline.filings.bodies import Body
from ledgerline.filings.records import Document, ParsedFiling, Party, Source
from ledgerline.filings.sections import sections_of
from ledgerline.filings.sgml import Header, RawDocument
from ledgerline.filings.text import decode, html_to_text, looks_like_html, plain_to_text, xml_to_text

# Changes whenever the same bytes would give another text or other sections; rows can be reprocessed by it.
PARSER_VERSION = "2"

Kind = Literal["binary", "html", "xml", "plain"]

_BINARY_TYPES = frozenset({"GRAPHIC", "ZIP", "EXCEL", "JSON", "PDF"})
_BINARY_SUFFIXES = (".jpg", ".gif", ".png", ".pdf", ".zip", ".xlsx", ".xls", ".css", ".js", ".json", ".xsd")
_DATA_ROOTS = frozenset({"xbrl", "linkbase", "schema", "FilingSummary"})
_WRAPPER = re.compile(rb"\s*<(XBRL|XML|PDF)>\s*", re.I)
_WRAPPER_END = re.compile(rb"</(?:XBRL|XML|PDF)>\s*$", re.I)
_ROOT = re.compile(rb"<(?![?!])(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_UUENCODED = re.compile(rb"\s*begin [0-7]{3,4} ")


def parse_filing(source: Source, body: Body) -> ParsedFiling:
    """Parse a body as its regulator served it: an EDGAR full submission, DART's ZIP, or one bare DART document.

    Raises RefusedFiling with a code of `validity.Reason` for what is not a valid filing, and nothing else.
    """
    header, documents = open_filing(source, body)
    return ParsedFiling(
        header.accession, header.form, header.accepted_at, header.filed_on, header.parties, tuple(documents)
    )


def open_filing(source: Source, body: Body) -> tuple[Header, Iterator[Document]]:
    """As `parse_filing`, with the documents one by one: no more than one is in memory where the body is a `FileBody`.

    A DART member that cannot be read raises RefusedFiling only where it is reached.
    """
    if source == "edgar":
        return _open_edgar(body)
    if source == "dart":
        return _open_dart(body)
    raise ValueError(f"unknown source {source!r}; give 'edgar' or 'dart'")


def _open_edgar(body: Body) -> tuple[Header, Iterator[Document]]:
    submission = sgml.split(body)
    header = sgml.read_header(body, submission)
    documents = enumerate(sgml.read_documents(body, submission), start=1)
    return header, (_edgar_document(body, raw, number, header.form or "") for number, raw in documents)


def _edgar_document(body: Body, raw: RawDocument, number: int, form: str) -> Document:
    kind, payload = _kind(raw, sgml.payload_of(body, raw))
    text = _READERS[kind](payload)
    primary = raw.type == form or number == 1
    return Document(
        sequence=raw.sequence,
        type=raw.type,
        filename=raw.filename,
        description=raw.description,
        text=text,
        language="en",
        sections=sections_of(raw.type, text) if primary and text else (),
        binary_bytes=len(payload) if kind == "binary" else 0,
    )


def _kind(raw: RawDocument, payload: bytes) -> tuple[Kind, bytes]:
    """What a payload is, and the payload without the wrapper tag of its dissemination."""
    wrapper = _WRAPPER.match(payload[:256])
    wrapped = wrapper.group(1).upper() if wrapper else b""
    if wrapper:
        tail = _WRAPPER_END.search(payload[-64:])
        payload = payload[wrapper.end() : len(payload) - (len(payload[-64:]) - tail.start() if tail else 0)]
    if wrapped == b"PDF" or _UUENCODED.match(payload[:64]) or raw.type.upper() in _BINARY_TYPES:
        return "binary", payload
    if raw.filename.lower().endswith(_BINARY_SUFFIXES):
        return "binary", payload
    head = payload[:4096]
    root = _ROOT.search(head)
    name = root.group(1).decode("ascii") if root else ""
    if name.lower() in ("html", "body") or looks_like_html(head.decode("latin-1")):
        return "html", payload
    if name in _DATA_ROOTS or raw.type.upper().startswith("EX-101."):
        return "binary", payload
    if wrapped in (b"XML", b"XBRL") or head.lstrip().startswith(b"<?xml"):
        return "xml", payload
    return "plain", payload


_READERS = {
    "binary": lambda payload: "",
    "html": html_to_text,
    "xml": lambda payload: xml_to_text(decode(payload)),
    "plain": lambda payload: plain_to_text(decode(payload)),
}


def _open_dart(body: Body) -> tuple[Header, Iterator[Document]]:
    header = validity.check("dart", body)
    members = dart.read_members(body)
    first = next(members)
    source = dart.decode(first.body)
    reporting = dart.company(source)
    header = replace(
        header,
        form=dart.document_name(source) or None,
        parties=(Party(reporting[0], reporting[1], "Filer"),) if reporting else (),
    )
    return header, (_dart_document(member, number) for number, member in enumerate(chain([first], members), start=1))


def _dart_document(member: dart.Member, number: int) -> Document:
    source = dart.decode(member.body)
    text, sections = dart.text_and_sections(source)
    name = dart.document_name(source)
    return Document(number, name, member.name, name, text, _language(text), sections)


def _language(text: str) -> Literal["en", "ko"]:
    """Korean unless the text is nearly free of Hangul: some attachments are in English."""
    sample = text[:20_000]
    hangul = sum("가" <= character <= "힣" for character in sample)
    return "ko" if hangul * 20 >= len(sample) else "en"
