"""Markup to readable text with stable offsets. The HTML parser is hidden behind `html_to_text`; callers never see it.

The normal form, which the offsets of sections index (Python characters of the returned string):
- one line per block (paragraph, list item, heading, table row), lines separated by one "\\n", no blank lines;
- within a line runs of white space are one blank, no-break and other wide blanks are blanks, soft hyphens and
  zero-width characters are gone;
- the cells of a row are separated by one tab, empty cells are left out;
- scripts, styles, comments and the hidden header of inline XBRL (`ix:header`) are left out.
Plain text (`plain_to_text`) keeps its own lines and columns, since they are its layout.

The same markup gives the same text with both engines on the golden pages of the tests. Everything is linear in the
markup: tables become marked blocks *before* the parse, because turbohtml pads columns to their widest cell, which
makes 1 TB of 1 MB; formatting is dropped, because HTML repeats what stays open in every later block.
"""

from __future__ import annotations

import html
import re
from typing import Any

from lxml import etree

try:
    import turbohtml
except ImportError:  # no wheel for this platform: lxml does the work, at a third of the speed
    turbohtml = None  # type: ignore[assignment]

_LAYOUT = None if turbohtml is None else turbohtml.PlainText(bullet="", layout="strict")

# A tree costs about 20 times its markup; pieces of this size bound the memory of a 400 MB document.
MAX_PIECE_CHARACTERS = 4 * 1024 * 1024

_ROW, _CELL, _END = "\x01", "\x02", "\x03"


def _any_case(names: str) -> str:
    """An alternation of names in any case; character classes are three times faster than re.IGNORECASE."""
    return "|".join("".join(f"[{letter}{letter.upper()}]" for letter in name) for name in names.split())


# The elements of which HTML keeps a list, to open them again in every later block while they are not closed.
_LETTERS = "a b i s u"
_WORDS = "big code em font nobr small strike strong tt"
# The look at what most tags begin with, </, <d and <p, spares the alternation for them.
_MARKED = re.compile(
    f"(<(?![/dDpP](?![tT][aA]))(?:[tT][rRdDhH]|/?{_any_case('table')}|(?:[abisuABISU]|{_any_case(_WORDS)})(?=[\\s/>])))"
)


def _spellings(name: str) -> list[str]:
    spelled = [""]
    for letter in name:
        spelled = [start + case for start in spelled for case in (letter, letter.upper())]
    return spelled


def _marks() -> dict[str, str]:
    """What _MARKED finds -> what stands for it before the parse."""
    marks = {}
    for name, opened in (("tr", _ROW), ("td", _CELL), ("th", _CELL)):
        for spelled in _spellings(name):
            marks[f"<{spelled}"] = f"{opened}<{spelled}"
    for spelled in _spellings("table"):
        marks[f"<{spelled}"] = f"{_END}<div"
        marks[f"</{spelled}"] = f"{_END}</div"
    for name in f"{_LETTERS} {_WORDS}".split():
        # A <frame> outside a frameset is no element for either engine; nor is the end tag of what was not opened.
        marks |= dict.fromkeys((f"<{spelled}" for spelled in _spellings(name)), "<frame")
    return marks


_MARKS = _marks()
_IX_HEADER, _IX_HEADER_END = "<ix:header", "</ix:header>"  # XHTML: the case is as it is
_INVISIBLE = "\xad\u200b\u200c\u200d\u2060\ufeff"
_EMPTY_CELLS = re.compile(f"{_CELL}[ {_CELL}]*")
_WIDE_BLANKS = [chr(code) for code in range(128, 0x3001) if chr(code).isspace()]
_CONTROLS = dict.fromkeys([*range(9), 11, *range(14, 32), 127])
_CONTROL_CHARACTERS = "".join(map(chr, _CONTROLS))
_PIECE_END = re.compile(r"</(?:p|div|tr|table|li)\s*>", re.I)


def decode(raw: bytes) -> str:
    """Bytes of a US document as text: UTF-8 where valid (ASCII in practice), else Windows-1252, never an error."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def html_to_text(markup: bytes | str) -> str:
    """The text of an HTML page in the normal form of this module. Never raises for any markup."""
    source = markup if isinstance(markup, str) else decode(markup)
    visible = _without_ix_header(_without_controls(source))
    pieces = [_tidy(_extract(_prepared(piece))) for piece in _pieces(visible)]
    return "\n".join(piece for piece in pieces if piece)


def looks_like_html(source: str) -> bool:
    """Whether a document's beginning is that of an HTML page."""
    head = source[:4096].lower()
    return "<html" in head or "<!doctype html" in head or "<body" in head or ("<div" in head and "</" in head)


_SGML_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9:-]{0,30}(?:\s[^<>]{0,500})?>")


def plain_to_text(source: str) -> str:
    """The text of a plain document of the 1990s: tags such as <PAGE>, <TABLE>, <S>, <C> go, lines and columns stay."""
    lines = _without_controls(source).replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    text = html.unescape(_SGML_TAG.sub("", lines)) if "<" in lines or "&" in lines else lines
    return "\n".join(line.rstrip() for line in _plain_blanks(text).split("\n")).strip("\n")


# Every repetition stops at the next "<", so that markup without an end costs no more than its length.
_XML_VALUE = re.compile(
    r"<(?:[A-Za-z_][\w.-]{0,99}:)?([A-Za-z_][\w.-]{0,99})(?:\s[^<>]*)?>\s*"
    r"(?:<(?:[A-Za-z_][\w.-]{0,99}:)?value(?:\s[^<>]*)?>\s*)?([^<\s][^<]*)"
)
_XML_HOLDING = re.compile(r"<(/?)(?:[A-Za-z_][\w.-]{0,99}:)?infoTable(?:\s[^<>]*)?>")
_XML_TEXT = re.compile(r">\s*([^<>\s][^<>]*)<")


def xml_to_text(source: str) -> str:
    """The text of a form in XML (ownership, 13F): a line `name: value` per element with a value, in document order.

    An element that only wraps `<value>` gives its own name. The holdings of a 13F information table are one line each,
    values separated by tabs. Entities of a document type are never expanded: there is no XML parser here.
    """
    lines: list[str] = []
    inside = False
    parts = _XML_HOLDING.split(source.replace("<![CDATA[", "").replace("]]>", ""))
    for part, closing in zip(parts[::2], [*parts[1::2], ""], strict=True):
        if inside:
            lines.append("\t".join([" ".join(value.split()) for value in _XML_TEXT.findall(part)]))
        else:
            lines += [f"{name}: {' '.join(value.split())}" for name, value in _XML_VALUE.findall(part)]
        inside = not closing  # the tag behind this part: "/" where it closes a holding
    text = _plain_blanks(_without_controls("\n".join(filter(None, lines))))
    return html.unescape(text) if "&" in text else text


def _plain_blanks(text: str) -> str:
    """Wide blanks become blanks, invisible characters go. ASCII text is returned as it is."""
    if text.isascii():
        return text
    for blank in _WIDE_BLANKS:
        if blank in text:
            text = text.replace(blank, " ")
    for invisible in _INVISIBLE:
        if invisible in text:
            text = text.replace(invisible, "")
    return text


def _without_controls(source: str) -> str:
    """Control characters other than tab and line ends go: they are no text, and three of them mark tables here."""
    if not any(mark in source for mark in _CONTROL_CHARACTERS):
        return source
    return source.translate(_CONTROLS)


def _without_ix_header(source: str) -> str:
    """Cut `<ix:header>...</ix:header>`: facts hidden from the reader. An unclosed one is left alone."""
    opened = source.find(_IX_HEADER)
    if opened < 0:
        return source
    kept: list[str] = []
    position = 0
    while opened >= 0:
        closed = source.find(_IX_HEADER_END, opened)
        if closed < 0:
            break
        kept.append(source[position:opened])
        position = closed + len(_IX_HEADER_END)
        opened = source.find(_IX_HEADER, position)
    kept.append(source[position:])
    return "".join(kept)


def _prepared(piece: str) -> str:
    """Tables become blocks with a mark before each row and cell; formatting is no element any more."""
    parts = _MARKED.split(piece)
    parts[1::2] = map(_MARKS.__getitem__, parts[1::2])
    return "".join(parts)


def _pieces(source: str) -> list[str]:
    """Cut long markup after closing tags, so that no tree is built of more than one piece."""
    pieces: list[str] = []
    start = 0
    while len(source) - start > MAX_PIECE_CHARACTERS:
        wanted = start + MAX_PIECE_CHARACTERS
        found = _PIECE_END.search(source, wanted, wanted + MAX_PIECE_CHARACTERS)
        end = found.end() if found else wanted
        pieces.append(source[start:end])
        start = end
    pieces.append(source[start:])
    return pieces


def _extract(piece: str) -> str:
    if turbohtml is not None:
        try:
            return turbohtml.parse(piece, positions=False).to_text(_LAYOUT)
        except (ValueError, RuntimeError, RecursionError):
            pass  # young parser: what it cannot read, lxml reads
    return _lxml_text(piece)


_BLOCK_NAMES = """
    address article aside blockquote body br center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 head
    header hr html li main nav ol option p pre section table tbody td tfoot th thead title tr ul xbrl text
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_SILENT = frozenset(("script", "style", "head", "title"))


class _TextTarget:
    """A SAX target that writes text with a line end around blocks; keeps no tree."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.silent = 0
        self.preformatted = 0

    def start(self, tag: Any, _attributes: Any) -> None:
        if tag in _SILENT:
            self.silent += 1
        elif tag in _BLOCKS:
            self.preformatted += tag == "pre"
            self.parts.append("\n")

    def end(self, tag: Any) -> None:
        if tag in _SILENT:
            self.silent = max(0, self.silent - 1)
        elif tag in _BLOCKS:
            self.preformatted = max(0, self.preformatted - (tag == "pre"))
            self.parts.append("\n")

    def data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data if self.preformatted else data.replace("\n", " "))

    def comment(self, _text: str) -> None:
        """Comments are no text."""

    def close(self) -> str:
        return "".join(self.parts)


def _lxml_text(piece: str) -> str:
    parser = etree.HTMLParser(target=_TextTarget(), huge_tree=True, encoding="utf-8", remove_pis=True)
    parser.feed(piece.encode("utf-8", errors="replace"))
    return parser.close()


def _tidy(text: str) -> str:
    """Bring an engine's text into the normal form: rows on one line, cells by tabs, no blank lines."""
    text = _plain_blanks(text)
    for blank in "\t\r\f":
        text = text.replace(blank, " ")
    lines: list[str] = []
    for part in text.split(_END):
        outside, row, rows = part.partition(_ROW)
        lines += _lines(outside.replace(_CELL, " "))
        if row:
            cells = _EMPTY_CELLS.sub("\t", " ".join(rows.split())).replace(" \t", "\t")
            lines += [line.strip(" \t") for line in cells.split(_ROW)]
    return "\n".join(filter(None, lines))


def _lines(text: str) -> list[str]:
    """Lines with single blanks. The quicker engine leaves hardly a run of blanks, except of those that were wide."""
    return [" ".join(line.split()) if "  " in line else line.strip() for line in text.split("\n")]
