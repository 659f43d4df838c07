"""Bodies of submissions for the local EDGAR: made from the accession number in the real container, while they are sent.

A filing of 250 MB costs no memory. The text says that it is generated; nothing of a real filing is in it.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sample import containers
from tests.servers.edgar_filings import Filing, eastern
from tests.servers.wire import BLOCK, Streamed, draw

HEADINGS = {
    "Filer": "FILER",
    "Issuer": "ISSUER",
    "Reporting": "REPORTING-OWNER",
    "Subject": "SUBJECT COMPANY",
    "Filed by": "FILED BY",
    "Filed for": "FILED FOR",
    "Depositor": "DEPOSITOR",
}
XML_FORMS = ("3", "4", "5", "144", "D", "SCHEDULE 13", "NPORT", "N-CEN", "13F", "MA", "C")
PLACE = "\0"  # where a document's text goes in the container
LINE = 128  # bytes of a line of filler
LINES = BLOCK // LINE
CODED = 45  # bytes that a line of uuencode holds
BLOCK_OF_CODE = 1024  # lines
LARGEST_TEXT = 2_000_000  # bytes; the rest of a large filing is in pictures
WORDS = (  # noqa: SIM905 - plain words read best as a sentence
    "the company and its subsidiaries reported that revenue of segment operations during quarter ended was "
    "approximately higher than prior period due to demand for products services in certain regions net income "
    "per share diluted common stock board directors approved agreement under terms of which notes may be redeemed"
).split()


def generated(filing: Filing, size: int, version: int) -> Streamed:
    """The body of about `size` bytes (at least header and one document; exact where it is larger by 1 kB)."""
    label = f"{filing.accession} version {version}"
    head = f"This is generated text of a local test server, no filing. {label}"
    kind = "xml" if filing.form.startswith(XML_FORMS) else "htm"
    text_size = min(size, LARGEST_TEXT)
    parts = [containers.Part(filing.form, f"primary.{kind}", filing.form, PLACE)]
    if size > LARGEST_TEXT:
        parts.append(containers.Part("GRAPHIC", "g1.jpg", "GRAPHIC", PLACE))
    pieces = container(filing, tuple(parts)).split(PLACE.encode())
    fixed = sum(map(len, pieces))
    opening, closing = _wrapping(kind, filing, head)
    rest = max(0, text_size - fixed - len(opening) - len(closing))
    picture = max(0, size - text_size)
    start = draw(label).randrange(LINES)

    def blocks() -> Iterator[bytes]:
        yield pieces[0] + opening
        yield from _filler(rest, start, _lines(kind))
        yield closing + pieces[1]
        if len(pieces) > 2:
            yield from _picture(picture)
            yield pieces[2]

    whole = fixed + len(opening) + len(closing) + rest + (picture if len(pieces) > 2 else 0)
    return Streamed(whole, blocks)


def header_only(filing: Filing) -> Streamed:
    """What EDGAR serves of some filings: the header, and no document behind it."""
    body = container(filing, ()).partition(b"</SEC-DOCUMENT>")[0]
    return Streamed(len(body), lambda: iter((body,)))


def container(filing: Filing, parts: tuple[containers.Part, ...]) -> bytes:
    """The submission with header, roles and the tags of its documents."""
    parties = tuple(
        containers.Party(
            HEADINGS.get(party.role, "FILER"), party.cik, _latin(party.name), person=party.role == "Reporting"
        )
        for party in filing.parties
    )
    items = tuple((number, title) for number, _, title in (item[5:].partition(": ") for item in filing.items))
    made = containers.Filing(
        filing.accession,
        filing.form,
        filing.filed.isoformat(),
        eastern(filing.accepted_at).replace(tzinfo=None),
        parties,
        parts,
        tuple((number, _latin(title)) for number, title in items),
    )
    return containers.submission(made)


def of_file(path: Path) -> Streamed:
    """A body that is a file, which is read while it is sent."""

    def blocks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    return Streamed(path.stat().st_size, blocks)


def _wrapping(kind: str, filing: Filing, head: str) -> tuple[bytes, bytes]:
    if kind == "xml":
        opening = (
            f'<XML>\n<?xml version="1.0"?>\n<edgarSubmission>\n<documentType>{filing.form}</documentType>\n'
            f"<remarks>{head}\n"
        )
        return opening.encode("latin-1"), b"</remarks>\n</edgarSubmission>\n</XML>"
    items = "".join(f"<p><b>{_latin(item).replace(':', '', 1)}</b></p>\n" for item in filing.items)
    opening = f"<html>\n<head><title>{filing.form}</title></head>\n<body>\n<p>{head}</p>\n{items}"
    return opening.encode("latin-1"), b"</body>\n</html>"


def _filler(size: int, start: int, lines: bytes) -> Iterator[bytes]:
    """`size` bytes of whole lines from line `start` on, and blanks for what is less than a line."""
    at, whole = start * LINE, size // LINE * LINE
    while whole > 0:
        block = lines[at : at + whole]
        yield block
        whole -= len(block)
        at = 0
    if size % LINE:
        yield b" " * (size % LINE - 1) + b"\n"


def _picture(size: int) -> Iterator[bytes]:
    head, tail = b"begin 644 g1.jpg\n", b"`\nend"
    line = len(_coded_lines()) // BLOCK_OF_CODE
    rest = max(0, size - len(head) - len(tail))
    count, blanks = divmod(rest, line)
    yield b"\n" * blanks + head
    while count > 0:
        block = _coded_lines()[: count * line]
        yield block
        count -= len(block) // line
    yield tail


@cache
def _coded_lines() -> bytes:
    stream = draw("picture")
    data = [bytes(stream.randrange(256) for _ in range(CODED)) for _ in range(BLOCK_OF_CODE)]
    return b"".join(binascii.b2a_uu(one) for one in data)


@cache
def _lines(kind: str) -> bytes:
    """A block of lines of LINE bytes, plain or each a paragraph."""
    stream = draw("filler")
    made = []
    for _ in range(LINES):
        words = " ".join(stream.choice(WORDS) for _ in range(30))
        line = f"{words[: LINE - 1]}\n" if kind == "xml" else f"<p>{words[: LINE - 8]}</p>\n"
        assert len(line) == LINE
        made.append(line)
    return "".join(made).encode()


def _latin(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
