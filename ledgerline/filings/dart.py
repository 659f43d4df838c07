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
from collections.abc import Iterator
from dataclasses import dataclass

from ledgerline.filings.bodies import BLOCK_BYTES, Body
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
# Entries of real directories have about 70 bytes; zipfile reads a directory in one piece.
MAX_DIRECTORY_BYTES = 1024 * 1024

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


def looks_like_zip(body: Body) -> bool:
    """By the first bytes; the regulator's Content-Type says nothing."""
    return body[: len(_ZIP)] == _ZIP


def check_zip(body: Body) -> str:
    """The rcept_no of a body that is the ZIP of one filing, by its directory; no member is read. Raises RefusedFiling."""
    return next(iter(_documents(_directory(body)[1])))[:14]


def _directory(body: Body) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """A body as an open ZIP and its members, within the caps and with a document among them. Raises RefusedFiling."""
    try:
        archive = zipfile.ZipFile(_Seekable(body))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise RefusedFiling("bad_zip", f"{len(body)} bytes that begin like a ZIP: {_short(error)}") from error
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise RefusedFiling("bomb", f"{len(members)} members, the cap is {MAX_MEMBERS}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES:
        raise RefusedFiling("bomb", f"unpacks to {unpacked} bytes, the cap is {MAX_UNPACKED_BYTES}")
    if unpacked > MAX_HARMLESS_BYTES and unpacked > len(body) * MAX_EXPANSION:
        raise RefusedFiling("bomb", f"{len(body)} bytes unpack to {unpacked}, more than {MAX_EXPANSION}:1")
    if not _documents(members):
        names = ", ".join(member.filename[:40] for member in members[:5]) or "no member at all"
        raise RefusedFiling("missing_member", f"no <rcept_no>.xml among {names}")
    return archive, members


class _Seekable(io.RawIOBase):
    """A body as the stream that zipfile wants. What zipfile asks for at once is the directory or a piece of a member."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._body, self._at = body, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Raises ValueError before the start, as files do."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._body)}[whence]
        if at < 0:
            raise ValueError(f"a position of {at}")
        self._at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        """Raises RefusedFiling for a directory so large that it is a bomb of members."""
        end = len(self._body) if size is None or size < 0 else self._at + size
        if end - self._at > MAX_DIRECTORY_BYTES:
            raise RefusedFiling("bomb", f"a ZIP directory of {end - self._at} bytes, the cap is {MAX_DIRECTORY_BYTES}")
        piece = self._body[self._at : end]
        self._at += len(piece)
        return piece


def _documents(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Name -> member of documents: the main one, named exactly <rcept_no>.xml, first; attachments by name."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        match = _MEMBER.search(member.filename)
        if match and not member.is_dir():
            found.setdefault(match.group(1) + (match.group(2) or "") + ".xml", member)
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def read_members(body: Body) -> Iterator[Member]:
    """The documents of a filing's body one by one, main one first; a bare document is a ZIP of one.

    Raises RefusedFiling, also between members: a member that cannot be unpacked refuses the filing.
    """
    if not looks_like_zip(body):
        yield Member("", body[:])
        return
    archive, members = _directory(body)
    for name, info in _documents(members).items():
        yield Member(name, _read(archive, info))


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes: never more than its size in the directory, which is within the caps, however much it holds."""
    try:
        with archive.open(info) as member:
            return b"".join(iter(lambda: member.read(BLOCK_BYTES), b""))
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        raise RefusedFiling("bad_zip", f"member {info.filename[:60]!r} cannot be read: {_short(error)}") from error


def _short(error: Exception) -> str:
    """What zipfile says; it may quote a name of 64 kB."""
    return str(error)[:200]


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
