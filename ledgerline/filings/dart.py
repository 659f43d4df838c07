"""DART's document.xml: a ZIP of pseudo-XML members. Which members count, their encoding, text and section titles.

None of the real documents is well-formed (bare `&`, `&cr;`, `<` in text), so there is no XML parser here: the text
comes from `text.html_to_text`. Members are only ever read by name into memory, never extracted; ZIP dates are garbage
and are never looked at.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from bisect import bisect_left
from dataclasses import dataclass

from ledgerline.filings.records import RefusedFiling, Section
from ledgerline.filings.text import html_to_text

# The largest real originals unpack to about 60 MB; ten times that is no filing.
MAX_UNPACKED_BYTES = 512 * 1024 * 1024
# Korean prose packs about 12:1 and empty tables 40:1; deflate's limit of 1032:1 is only reached by bombs.
MAX_EXPANSION = 200
# Below this size a high ratio harms nobody.
MAX_HARMLESS_BYTES = 8 * 1024 * 1024
# A report has a main document and a handful of attachments.
MAX_MEMBERS = 1_000

_ZIP = b"PK\x03\x04"
_MEMBER = re.compile(r"(?:^|[/\\])(\d{14})(_\d{5})?\.xml$", re.I)
# Every repetition stops at the next "<" or after a bound, so that tags without an end cost no more than their length.
_TITLE_TAG = re.compile(r"<(/?)TITLE\b([^<>]*)>", re.I)
_CELL_TAG = re.compile(r"<(/?)T[EU](?=[\s>])", re.I)  # cells with a figure or a unit
_TAG = re.compile(r"<[^<>]*>")
_DOCUMENT_NAME = re.compile(r"<DOCUMENT-NAME\b[^<>]*>([^<]*)<", re.I)
_COMPANY_NAME = re.compile(r"<COMPANY-NAME\b([^<>]*)>([^<]*)<", re.I)
_AREGCIK = re.compile(r'AREGCIK\s*=\s*"(\d{8})"', re.I)


@dataclass(frozen=True, slots=True)
class Member:
    """One document of the ZIP: its name without folders, and its bytes."""

    name: str
    body: bytes


def looks_like_zip(body: bytes) -> bool:
    """By the first bytes; the regulator's Content-Type says nothing."""
    return body.startswith(_ZIP)


def check_zip(body: bytes) -> zipfile.ZipFile:
    """Open a body as the ZIP of one filing without unpacking it. Raises RefusedFiling."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
        members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise RefusedFiling("bad_zip", f"{len(body)} bytes that begin like a ZIP: {error}") from error
    if len(members) > MAX_MEMBERS:
        raise RefusedFiling("bomb", f"{len(members)} members, the cap is {MAX_MEMBERS}")
    unpacked = sum(member.file_size for member in members)
    _check_size(unpacked, len(body))
    if not _documents(archive):
        names = ", ".join(member.filename[:40] for member in members[:5]) or "no member at all"
        raise RefusedFiling("missing_member", f"no <rcept_no>.xml among {names}")
    return archive


def _check_size(unpacked: int, packed: int) -> None:
    if unpacked > MAX_UNPACKED_BYTES:
        raise RefusedFiling("bomb", f"unpacks to {unpacked} bytes, the cap is {MAX_UNPACKED_BYTES}")
    if unpacked > MAX_HARMLESS_BYTES and unpacked > packed * MAX_EXPANSION:
        raise RefusedFiling("bomb", f"{packed} bytes unpack to {unpacked}, more than {MAX_EXPANSION}:1")


def _documents(archive: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    """(name, member) of documents: the main one, named exactly <rcept_no>.xml, first; attachments by name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        match = _MEMBER.search(member.filename)
        if match and not member.is_dir():
            found.setdefault(match.group(1) + (match.group(2) or "") + ".xml", member)
    return sorted(found.items(), key=lambda item: (len(item[0]), item[0]))


def read_members(body: bytes) -> list[Member]:
    """The documents of a filing's body, main one first; a bare document is a ZIP of one. Raises RefusedFiling."""
    if not looks_like_zip(body):
        return [Member("", body)]
    members: list[Member] = []
    total = 0
    with check_zip(body) as archive:
        for name, info in _documents(archive):
            content = _read(archive, info, MAX_UNPACKED_BYTES - total)
            total += len(content)
            _check_size(total, len(body))
            members.append(Member(name, content))
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: int) -> bytes:
    """A member's bytes, at most `room` whatever the directory says of its size."""
    try:
        with archive.open(info) as member:
            content = member.read(room + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        raise RefusedFiling("bad_zip", f"member {info.filename[:60]!r} cannot be read: {error}") from error
    if len(content) > room:
        raise RefusedFiling("bomb", f"member {info.filename[:60]!r} unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    return content


def decode(body: bytes) -> str:
    """Strict UTF-8, then CP949; declarations lie and are ignored. Raises RefusedFiling where it is neither."""
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise RefusedFiling("undecodable", f"{len(body)} bytes that are neither UTF-8 nor CP949")


def document_name(source: str) -> str:
    """The name that the document gives itself, e.g. 사업보고서; empty where it gives none."""
    match = _DOCUMENT_NAME.search(source[:65536])
    return _plain(match.group(1)) if match else ""


def company(source: str) -> tuple[str, str] | None:
    """(corp_code, name) of the reporting company, or None where the document does not say."""
    match = _COMPANY_NAME.search(source[:65536])
    code = _AREGCIK.search(match.group(1)) if match else None
    return (code.group(1), _plain(match.group(2))) if match and code else None


def text_and_sections(source: str) -> tuple[str, tuple[Section, ...]]:
    """The text in the normal form, and a section for each title of the contents (ATOC); it ends where the next begins.

    The name of a section is its title. HTML keeps `<TITLE>` out of a page, so titles are headings here.
    """
    parts = _TITLE_TAG.split(source)
    titles: list[str] = []
    closings, attributes, contents = parts[1::3], parts[2::3], parts[3::3]
    for closing, attribute, content in zip(closings, attributes, contents, strict=True):
        if not closing and 'ATOC="Y"' in attribute:
            titles.append(_plain(content))
    text = html_to_text(_CELL_TAG.sub(r"<\1TD", _TITLE_TAG.sub(r"<\1h2>", source)))
    starts = _title_lines(text, titles)
    sections = [
        Section(title, title, start, end)
        for (title, start), (_, end) in zip(starts, [*starts[1:], ("", len(text))], strict=False)
    ]
    return text, tuple(sections)


def _title_lines(text: str, titles: list[str]) -> list[tuple[str, int]]:
    """(title, offset) of the lines that are the titles, in order; a title without such a line is left out."""
    lines: dict[str, list[int]] = {title: [] for title in titles if title}
    offset = 0
    for line in text.split("\n"):
        if line in lines:
            lines[line].append(offset)
        offset += len(line) + 1
    found: list[tuple[str, int]] = []
    position = 0
    for title in titles:
        offsets = lines.get(title, [])
        index = bisect_left(offsets, position)
        if index < len(offsets):
            found.append((title, offsets[index]))
            position = offsets[index] + 1
    return found


def _plain(markup: str) -> str:
    return html_to_text(_TAG.sub(" ", markup)).replace("\n", " ")
