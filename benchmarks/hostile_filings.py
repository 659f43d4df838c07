"""Hostile and damaged filings by seed: real or generated bodies that are mutated, and bodies that are built to harm.

`case(corpus, seed, number)` gives the same bytes for the same corpus, seed and number; `benchmarks.fuzz_filings` runs
them. A maker is one function per kind of harm. Nothing here parses.
"""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledgerline.filings.records import Source
from sample.containers import uuencoded
from sample.generate_archive import archive_files

MAX_BASE_BYTES = 1024 * 1024  # larger files are no other code, and slow
MAX_BODY_BYTES = 16 * 1024 * 1024  # what the memory cap of the fuzzer is stated for


@dataclass(frozen=True)
class Case:
    """A body, and the names of the makers that it went through."""

    source: Source
    name: str
    body: bytes


Corpus = dict[Source, list[bytes]]


def read_corpus(archive: Path | None) -> Corpus:
    """Bodies to mutate: the sample archive's and, where a folder is given, its real ones (`edgar/*`, `dart/document*`)."""
    corpus: Corpus = {"edgar": [], "dart": []}
    for name, body in sorted(archive_files().items()):
        if name.startswith("edgar/") and name.endswith((".txt", ".nc")):
            corpus["edgar"].append(body)
        elif name.startswith("dart/document/"):
            corpus["dart"].append(body)
    if archive is not None:
        for folder in ("full", "nc", "malformed"):
            for path in sorted((archive / "edgar" / folder).glob("*")):
                if path.suffix in (".txt", ".nc") and path.stat().st_size <= MAX_BASE_BYTES:
                    corpus["edgar"].append(path.read_bytes())
        for path in sorted((archive / "dart").glob("d*")):
            if path.name.startswith(("document", "dart-")) and path.is_file():
                corpus["dart"].append(path.read_bytes()[:MAX_BASE_BYTES])
    return corpus


def case(corpus: Corpus, seed: int, number: int) -> Case:
    """The case of this number: a built or mutated body; one of three is mutated once more."""
    draw = random.Random(f"{seed}:{number}")
    source: Source = draw.choice(("edgar", "edgar", "edgar", "dart"))
    makers = (EDGAR if source == "edgar" else DART) + MUTATIONS * 3
    maker = draw.choice(makers)
    names = [maker.__name__]
    body = maker(draw, draw.choice(corpus[source]))
    if draw.random() < 0.3:
        again = draw.choice(MUTATIONS)
        names.append(again.__name__)
        body = again(draw, body)
    return Case(source, " + ".join(names), body[:MAX_BODY_BYTES])


def _many(draw: random.Random, most: int = 1_000_000) -> int:
    """A number of repetitions, small and large ones equally likely."""
    return int(most ** draw.uniform(0.1, 1.0))


def _place(draw: random.Random, body: bytes) -> int:
    """An offset, where the container's tags and headers are more often than elsewhere."""
    if draw.random() < 0.5:
        return draw.randrange(min(len(body), 4000) + 1)
    return draw.randrange(len(body) + 1)


# ---------------------------------------------------------------------------------------------------- any body

_TOKENS = (
    b"<DOCUMENT>\n", b"\n<DOCUMENT>\n", b"\n</DOCUMENT>\n", b"<TEXT>", b"</TEXT>", b"<TYPE>", b"<SEQUENCE>99999999999\n",
    b"</SEC-HEADER>", b"</SEC-DOCUMENT>", b"<SUBMISSION>\r", b"-----BEGIN PRIVACY-ENHANCED MESSAGE-----\n", b"\0", b"\r",
    b"\x01\x02\x03", b"\x1a", b"<", b">", b"&", b"&#", b"]]>", b"<!--", b"-->", b"<![CDATA[", b"<script>", b"<plaintext>",
    b"<table>", b"</table>", b"<tr>", b"<td>", b"<ix:header>", b"</ix:header>", b"<XBRL>", b"<XML>\n", b"<PDF>\n",
    b"\nbegin 644 a\n", b"\xff\xfe", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"Item 1.01", b"PK\x03\x04",
    b"PK\x05\x06", b"PK\x01\x02",
    b"<TITLE ATOC=\"Y\">", b"<COMPANY-NAME AREGCIK=\"", b"CENTRAL INDEX KEY:", b"<result><status>",
)  # fmt: skip


def flip_bytes(draw: random.Random, body: bytes) -> bytes:
    flipped = bytearray(body)
    for _ in range(_many(draw, 200)):
        at = _place(draw, body)
        if at < len(flipped):
            flipped[at] = draw.randrange(256)
    return bytes(flipped)


def insert_tokens(draw: random.Random, body: bytes) -> bytes:
    for _ in range(draw.randint(1, 8)):
        at = _place(draw, body)
        body = body[:at] + draw.choice(_TOKENS) * draw.choice((1, 1, 1, 2, 1000)) + body[at:]
    return body


def cut_out(draw: random.Random, body: bytes) -> bytes:
    for _ in range(draw.randint(1, 5)):
        at = _place(draw, body)
        body = body[:at] + body[at + _many(draw, 20_000) :]
    return body


def cut_off(draw: random.Random, body: bytes) -> bytes:
    return body[: _place(draw, body)]


def repeat_a_part(draw: random.Random, body: bytes) -> bytes:
    at = _place(draw, body)
    part = body[at : at + _many(draw, 50_000)]
    return body[:at] + part * max(1, min(_many(draw, 1000), 2_000_000 // max(1, len(part)))) + body[at:]


def move_a_part(draw: random.Random, body: bytes) -> bytes:
    at, to = sorted((_place(draw, body), _place(draw, body)))
    return body[at:to] + body[:at] + body[to:]


def end_lines_otherwise(draw: random.Random, body: bytes) -> bytes:
    return body.replace(b"\n", draw.choice((b"\r", b"\r\n", b"\n\n", b" ", b"\0", b"\x85", b"\n\r")))


def other_encoding(draw: random.Random, body: bytes) -> bytes:
    encoding = draw.choice(("utf-16", "utf-16-le", "utf-32", "cp949", "utf-7", "cp037"))
    return body.decode("latin-1").encode(encoding, errors="replace")


def blanks_behind(draw: random.Random, body: bytes) -> bytes:
    return body + draw.choice((b" ", b"\n", b"\0", b"\x1a", b"x")) * _many(draw, 2_000_000)


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flip_bytes, insert_tokens, cut_out, cut_off, repeat_a_part, move_a_part, end_lines_otherwise, other_encoding,
    blanks_behind,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- EDGAR

_HEADER_END = re.compile(rb"</(?:SEC|IMS)-HEADER>|\n<DOCUMENT>")


def _in_header(body: bytes, lines: bytes) -> bytes:
    found = _HEADER_END.search(body)
    at = found.start() if found else 0
    return body[:at] + b"\n" + lines + b"\n" + body[at:]


def _with_document(draw: random.Random, body: bytes, text: bytes) -> bytes:
    """The text as a document of a form with items, behind the header, in one of the wrappers of real documents."""
    kind = draw.choice((b"8-K", b"10-K", b"10-Q", b"4", b"EX-99.1", b"GRAPHIC", b"INFORMATION TABLE", b""))
    before, behind = draw.choice(
        (
            (b"<html><body>", b"</body></html>"),
            (b"<HTML><BODY><TABLE><TR><TD>", b"</TD></TR></TABLE></BODY></HTML>"),
            (b"<XBRL>\n<?xml version='1.0'?><html><body>", b"</body></html>\n</XBRL>"),
            (b"<XML>\n<?xml version='1.0'?>\n", b"\n</XML>"),
            (b"<PDF>\n", b"\n</PDF>"),
            (b"", b""),
        )
    )
    found = re.search(rb"[\r\n]<DOCUMENT>", body)
    at = found.start() + 1 if found else len(body)
    document = b"<DOCUMENT>\n<TYPE>%b\n<SEQUENCE>1\n<FILENAME>a.htm\n<TEXT>\n%b\n</TEXT>\n</DOCUMENT>\n"
    return body[:at] + document % (kind, before + text + behind) + body[at:]


def many_parties(draw: random.Random, body: bytes) -> bytes:
    block = "FILER:\n\n\tCOMPANY DATA:\n\t\tCOMPANY CONFORMED NAME:\t\tW {0}\n\t\tCENTRAL INDEX KEY:\t\t\t{0:010}\n"
    return _in_header(body, "".join(map(block.format, range(_many(draw)))).encode())


def long_header(draw: random.Random, body: bytes) -> bytes:
    line = draw.choice(
        (b"N%d:1\n", b"<N%d>1\n", b":%d", b"<", b"%d", b"\n", b"<FILER>\n%d", b"ITEM INFORMATION:\t%d\n", b"\t")
    )
    count = _many(draw, 500_000)
    return _in_header(body, b"".join(line % n if b"%d" in line else line for n in range(count)))


def absurd_facts(draw: random.Random, body: bytes) -> bytes:
    value = draw.choice(
        ("9" * 400, "99999999", "00000000", "20240231", "-1", "٣" * 14, "²" * 8, "1e9", "\ud800", "0" * 14)
    )
    names = "ACCEPTANCE-DATETIME|ACCESSION NUMBER|FILED AS OF DATE|CONFORMED PERIOD OF REPORT|CENTRAL INDEX KEY|SEQUENCE|TYPE|CIK"
    pattern = rf"((?:{names})[>:][ \t]*)[^\r\n]*"
    facts = re.sub(pattern.encode(), lambda found: found[1] + value.encode("utf-8", "surrogatepass"), body)
    return (
        facts if facts != body else _in_header(body, b"<ACCEPTANCE-DATETIME>" + value.encode("utf-8", "surrogatepass"))
    )


def many_documents(draw: random.Random, body: bytes) -> bytes:
    found = re.search(rb"[\r\n]<DOCUMENT>", body)
    at = found.start() + 1 if found else len(body)
    document = draw.choice(
        (
            b"<DOCUMENT>\n</DOCUMENT>\n",
            b"<DOCUMENT>\n",
            b"</DOCUMENT>\n",
            b"<DOCUMENT>\n<TYPE>8-K\n<TEXT>\na</TEXT>\n</DOCUMENT>\n",
        )
    )
    return body[:at] + document * _many(draw, 60_000) + body[at:]


def long_document_head(draw: random.Random, body: bytes) -> bytes:
    return body.replace(
        b"<TEXT>", draw.choice((b"<A>1\n", b"<", b"\n", b"<SEQUENCE>1\n", b"x")) * _many(draw) + b"<TEXT>", 1
    )


def damaged_uuencode(draw: random.Random, body: bytes) -> bytes:
    good = uuencoded("a.gif", draw.randbytes(_many(draw, 100_000))).encode()
    damage = draw.choice(
        (
            good.replace(b"\nend", b""),
            good.replace(b"begin 644", draw.choice((b"begin", b"begin 999", b"begin 0644 ", b" begin 644"))),
            b"begin 644 " + b"a" * _many(draw) + b"\n",
            b"begin 644 a\n" + b"M" * _many(draw),
            b"begin 644 a\n" * _many(draw, 50_000),
            good.replace(b"M", b"\xff"),
        )
    )
    return _with_document(draw, body, damage)


_NAMES = """
    div p span b i u font a em strong nobr table tr td tbody ul ol li dl dd blockquote pre h1 center form fieldset select
    option button template svg math mi foreignObject title textarea script style noscript iframe object ruby rt frameset
    head body html x ix:header infoTable CENTER DIV
"""
_NESTED = _NAMES.split()


def nesting_bomb(draw: random.Random, body: bytes) -> bytes:
    names = draw.choices(_NESTED, k=draw.randint(1, 3))
    count = _many(draw)
    opened = "".join(f"<{name}{draw.choice(('', ' a=1', f' a={number}'))}>" for number, name in enumerate(names))
    ends = "".join(f"</{name}>" for name in reversed(names)) if draw.random() < 0.5 else ""
    return _with_document(draw, body, (opened * count + "text" + ends * count).encode())


def repeated_formatting(draw: random.Random, body: bytes) -> bytes:
    name = draw.choice(("b", "i", "u", "a", "font", "em", "strong", "tt", "small"))
    opened = "".join(f"<{name} a={number}>" for number in range(_many(draw, 3_000)))
    block = draw.choice(("<p>x</p>", "<div>x", "<tr><td>x", "</p>", "<li>", "</b>", "x<br>", "<b>x</i>"))
    return _with_document(draw, body, f"<p>{opened}</p>{block * _many(draw, 100_000)}".encode())


def entity_bomb(draw: random.Random, body: bytes) -> bytes:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))
    doctype = f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{laughs}]><lolz><a>&l19;</a></lolz>'
    external = (
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd"><!ENTITY % c SYSTEM "http://127.0.0.1:9/">%c;]><a>&b;</a>'
    )
    other = draw.choice(
        ("&", "&amp;", "&#x110000;", "&#", "&#99999999999999999999;", "&notin", "&#0;", "&" + "a" * 1000)
    )
    return _with_document(draw, body, draw.choice((doctype, external, other * _many(draw))).encode())


def huge_table(draw: random.Random, body: bytes) -> bytes:
    rows, columns = _many(draw, 20_000), _many(draw, 1_000)
    columns = max(1, min(columns, 2_000_000 // rows))
    span = draw.choice(("", " colspan=999999999", " rowspan=65534 colspan=1000", ' colspan="-1"'))
    wide = "x" * draw.choice((0, 10, 100_000))
    cell = draw.choice((f"<td{span}>1", f"<TD{span}>&nbsp;</TD>", f"<th{span}>"))
    text = f"<table><tr><td>{wide}</td></tr>" + ("<tr>" + cell * columns) * rows + draw.choice(("", "</table>"))
    return _with_document(draw, body, text.encode())


_LONG = (
    b"a", b"<", b">", b"&", b'"', b"'", b"\0", b"\xff", b"\x01", b"\x02", b"\x03", b"-", b"/", b"=", b" ", b"\n", b"\t", b"<!--",
    b"<?", b"</", b"<a ", b"<a/", b"a=1 ", b"]]>", b"\xc2\xa0", b"\xe2\x80\x8b", b"<TITLE ", b"Item 1\n", b"ITEM 1A. ",
    b"PART I\n", b"SIGNATURES\n", b"<infoTable>", b"<value>", b"<a><value>1",
)  # fmt: skip
_OPEN = (b"", b"<p>", b"<a ", b'<a b="', b"<!--", b"<", b"<script>", b"<textarea>", b"<![CDATA[", b"<?xml ")


def long_token(draw: random.Random, body: bytes) -> bytes:
    token = draw.choice(_LONG)
    return _with_document(draw, body, draw.choice(_OPEN) + token * _many(draw, 12_000_000 // len(token)))


def many_attributes(draw: random.Random, body: bytes) -> bytes:
    attributes = "".join(f" a{number}='{number}'" for number in range(_many(draw)))
    return _with_document(draw, body, f"<{draw.choice(_NESTED)}{attributes}>text".encode())


def cut_characters(draw: random.Random, body: bytes) -> bytes:
    text = "“Wörter” – 유가증권 €\U0001f600".encode() * _many(draw, 5_000)
    return _with_document(draw, body, text[draw.randint(0, 3) : len(text) - draw.randint(0, 3)])


EDGAR: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    many_parties, long_header, absurd_facts, many_documents, long_document_head, damaged_uuencode, nesting_bomb,
    nesting_bomb, repeated_formatting, entity_bomb, huge_table, huge_table, long_token, long_token, many_attributes,
    cut_characters,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------- DART

_MAIN = "20240311000001.xml"
_PAGE = (
    '<DOCUMENT><DOCUMENT-NAME ACODE="11011">사업보고서</DOCUMENT-NAME><BODY>'
    '<TITLE ATOC="Y">I. 개요</TITLE><P>글</P>{}</BODY></DOCUMENT>'
)


def _zip(members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that names repeat is what is wanted
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), body, compression)
    return stream.getvalue()


def dart_page(draw: random.Random, body: bytes) -> bytes:
    """A page of harm as EDGAR's, in DART's markup and either of its encodings, packed or bare."""
    maker = draw.choice(
        (nesting_bomb, repeated_formatting, entity_bomb, huge_table, long_token, many_attributes, cut_characters)
    )
    start, end = (part.encode(draw.choice(("utf-8", "cp949"))) for part in _PAGE.split("{}"))
    page = start + maker(draw, b"") + end
    return page if draw.random() < 0.3 else _zip([(_MAIN, page)])


def many_titles(draw: random.Random, body: bytes) -> bytes:
    title = draw.choice(
        (
            '<TITLE ATOC="Y">가</TITLE>',
            '<TITLE ATOC="Y">',
            "<TITLE ",
            '<TITLE ATOC="Y">{}</TITLE>',
            "</TITLE>",
            "<TE>",
            "<TU ",
        )
    )
    titles = "".join(title.format(number) for number in range(_many(draw, 50_000)))
    return _zip([(_MAIN, _PAGE.format(titles).encode())])


def zip_bomb(draw: random.Random, body: bytes) -> bytes:
    """A ZIP of one member that packs as well as deflate can."""
    size = _many(draw, 64 * 1024 * 1024)
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = (draw.choice((b"\0", b"<P>", b"a")) * size)[:size]
    content = packed.compress(plain) + packed.flush()
    name = _MAIN.encode()
    fields = (20, 0, 8, 0, 33, zlib.crc32(plain), len(content), size, len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields) + name + content
    central = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + name
    return local + central + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local), 0)


def member_names(draw: random.Random, body: bytes) -> bytes:
    names = (
        _MAIN, "/etc/" + _MAIN, "../../" + _MAIN, "C:\\" + _MAIN, "\0" + _MAIN, _MAIN + "\0.exe", _MAIN + "/", _MAIN.upper(),
        "a" * 65_000 + _MAIN, "2024031100000１.xml", "20240311000001_00760.xml", "readme.txt", "가.xml", "",
    )  # fmt: skip
    chosen = [draw.choice(names) for _ in range(_many(draw, 1_500))]
    return _zip([(name, _PAGE.encode(draw.choice(("utf-8", "cp949", "utf-16")))) for name in chosen])


def nested_zip(draw: random.Random, body: bytes) -> bytes:
    for _ in range(draw.randint(1, 20)):
        body = _zip([(_MAIN, body)])
    return body


def other_compression(draw: random.Random, body: bytes) -> bytes:
    return _zip(
        [(_MAIN, _PAGE.encode() * _many(draw, 20_000))],
        draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    )


# Offsets and sizes of the fields of ZIP records: flags, method, time, date, CRC, sizes, lengths, offsets.
_FIELDS = {
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x01\x02": (
        (4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4),
    ),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}  # fmt: skip


def wrong_zip_fields(draw: random.Random, body: bytes) -> bytes:
    """Encryption, sizes, dates of 2107, offsets, counts: fields of a sound ZIP set to what they should not be."""
    if not body.startswith(b"PK"):
        body = _zip([(_MAIN, body), ("20240311000001_00760.xml", body[:1000])])
    damaged = bytearray(body)
    for _ in range(draw.randint(1, 4)):
        signature = draw.choice(list(_FIELDS))
        records = [found.start() for found in re.finditer(re.escape(signature), body)]
        if not records:
            continue
        offset, size = draw.choice(_FIELDS[signature])
        at = draw.choice(records) + offset
        limit = 256**size
        value = draw.choice(
            (0, 1, 8, 9, 12, 14, 99, 0xEFFF % limit, limit - 1, limit // 2, len(body) % limit, draw.randrange(limit))
        )
        damaged[at : at + size] = value.to_bytes(size, "little")
    return bytes(damaged)


def overlapping_members(draw: random.Random, body: bytes) -> bytes:
    """Many directory entries for one packed member, the way of the bombs that unpack without nesting."""
    one = _zip([(_MAIN, b"a" * _many(draw, 1_000_000))])
    start = one.index(b"PK\x01\x02")
    entry, end = one[start : one.index(b"PK\x05\x06", start)], bytearray(one[-22:])
    count = _many(draw, 30_000)
    end[8:16] = struct.pack("<2HI", count % 65_536, count % 65_536, len(entry) * count)
    return one[:start] + entry * count + bytes(end)


DART: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    dart_page, dart_page, many_titles, zip_bomb, member_names, nested_zip, other_compression, wrong_zip_fields, wrong_zip_fields,
    overlapping_members,
)  # fmt: skip
