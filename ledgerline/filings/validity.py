"""The validity test before a body is committed: cheap, no text is extracted. What it says is in `parse`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from ledgerline.filings import dart, sgml
from ledgerline.filings.bodies import Body, FileBody
from ledgerline.filings.records import RefusedFiling, Source
from ledgerline.filings.sgml import Header
from ledgerline.filings.times import parse_day

# Why a body is refused. A closed set: rows, monitors and `reprocess` select by it.
Reason = Literal[
    "empty",  # no bytes, or only blanks
    "no_container",  # neither an EDGAR container nor a DART document: an error page, another file
    "header_only",  # EDGAR served the header and no document
    "no_documents",  # a container whose document tags were lost
    "truncated",  # a document or the container is not closed
    "unbalanced",  # more documents are closed than opened
    "too_large",  # above sgml.MAX_FILING_BYTES
    "bomb",  # expands, nests or repeats beyond the caps
    "bad_zip",  # begins like a ZIP and is none that can be read
    "missing_member",  # a ZIP without <rcept_no>.xml
    "undecodable",  # neither UTF-8 nor CP949
    "error_reply",  # DART's XML with a status instead of a document
]
REASONS: tuple[str, ...] = get_args(Reason)


def read_valid_header(source: Source, path: Path) -> Header:
    """The header's facts of a filing in a file, read block by block. Raises RefusedFiling as `check` does, and OSError."""
    with FileBody(path) as body:
        return check(source, body)


def check(source: Source, body: Body) -> Header:
    """The header's facts of a body; raises RefusedFiling with a code of `Reason` unless it is a whole filing as served.

    EDGAR: documents opened and closed in turn, a closing token last. DART: a ZIP whose directory is sound, within the
    caps on size and expansion, with a member <rcept_no>.xml; or one bare document. Of DART's facts only the rcept_no and
    its day are known without unpacking, and nothing of a bare document.
    """
    if source == "edgar":
        return sgml.read_header(body, sgml.split(body))
    if source == "dart":
        return _check_dart(body)
    raise ValueError(f"unknown source {source!r}; give 'edgar' or 'dart'")


def _check_dart(body: Body) -> Header:
    if len(body) > sgml.MAX_FILING_BYTES:
        raise RefusedFiling("too_large", f"{len(body)} bytes, the cap is {sgml.MAX_FILING_BYTES}")
    start = body[:65536].lstrip(b"\xef\xbb\xbf \t\r\n\0")
    if not start:
        raise RefusedFiling("empty", f"{len(body)} bytes and nothing in them")
    if dart.looks_like_zip(body):
        rcept_no = dart.check_zip(body)
        return Header(accession=rcept_no, filed_on=parse_day(rcept_no[:8]))
    if b"<result>" in start[:2048] and b"<status>" in start[:2048]:
        raise RefusedFiling("error_reply", f"a status instead of a document: {start[:160]!r}")
    lowered = start.lower()
    if not any(tag in lowered for tag in (b"<document", b"<html", b"<body", b"<section")):
        raise RefusedFiling("no_container", f"neither a ZIP nor a document: starts with {start[:40]!r}")
    closing = b"</document>" if b"<document" in lowered else b"</html>" if b"<html" in lowered else b""
    if closing and closing not in body[max(0, len(body) - 65536) :].lower():
        raise RefusedFiling("truncated", f"{len(body)} bytes without {closing.decode('ascii')} at the end")
    return Header()
