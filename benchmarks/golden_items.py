"""The items of 8-K and 10-K pages against those of independent tools, and of 8-K pages against EDGAR's own headers.

Golden are edgar-crawler's extractions in `edgar/golden` (`*_EXTRACTED_items_<form>_*.zip` beside `*_RAW_<form>_*.zip`),
for each form that is there. 10-K pages of the archive are also compared with edgartools, where its environment is
given. What both name is agreed; the plain share of it is reported. A difference is listed with a verdict by rule, never
by file: the other tool is wrong where it leaves out a line that begins with the item's number and the title that the
form prescribes for that number, or where it names an item whose text begins with no such line. `*_judged` is the share
with these differences left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ledgerline.filings import sgml
from ledgerline.filings.records import RefusedFiling
from ledgerline.filings.sections import sections_of
from ledgerline.filings.text import decode, html_to_text, looks_like_html, plain_to_text

Form = Literal["8-K", "10-K"]

# The first words of the titles that Form 8-K and Form 10-K prescribe, now and formerly; EDGAR's headers spell them alike.
_TITLES_8K = """
    1.01 entry into a material | 1.02 termination of a material | 1.03 bankruptcy | 1.04 mine safety
    1.05 material cybersecurity | 2.01 completion of acquisition | 2.02 results of operations
    2.03 creation of a direct | 2.04 triggering events | 2.05 cost | 2.06 material impairment | 3.01 notice of delisting
    3.02 unregistered sale | 3.03 material modification | 4.01 changes in registrant | 4.02 non reliance
    5.01 changes in control | 5.02 departure of director | 5.02 election of director | 5.03 amendment
    5.04 temporary suspension | 5.05 amendments to the registrant | 5.06 change in shell | 5.07 submission of matters
    5.08 shareholder | 6.01 abs | 6.02 change of servicer | 6.03 change in credit | 6.04 failure to make
    6.05 securities act | 7.01 regulation fd | 8.01 other event | 9.01 financial statement
    1 changes in control | 2 acquisition or disposition | 3 bankruptcy | 4 changes in registrant | 5 other event
    6 resignation | 7 financial | 8 change in fiscal | 9 regulation fd | 10 amendment | 11 temporary suspension
    12 results of operations | 12 disclosure of results
"""
_TITLES_10K = """
    1 business | 1 description of business | 1A risk factor | 1B unresolved staff | 1C cybersecurity | 2 propert
    2 description of propert | 3 legal proceeding | 4 submission of matters | 4 mine safety | 4 reserved
    4 removed and reserved | 5 market for | 6 selected | 6 reserved | 7 management | 7A quantitative and qualitative
    8 financial statement | 8 consolidated financial | 9 changes in and disagreement | 9 disagreements | 9A controls and
    9A t controls and | 9B other information | 9C disclosure regarding | 10 director | 11 executive compensation
    12 security ownership | 13 certain relationship | 14 principal account | 14 exhibit | 15 exhibit | 16 form 10 k
    16 summary
"""


def _titles(table: str) -> dict[str, list[str]]:
    titles: dict[str, list[str]] = {}
    for entry in re.split(r"[|\n]", table):
        number, _, words = entry.strip().partition(" ")
        if number:
            titles.setdefault(number, []).append(_letters(words))
    return titles


def _letters(text: str) -> str:
    """Letters and digits in lower case: what stays of a text whatever a tool does with its blanks and marks."""
    return re.sub(r"[\W_]+", "", text.lower())


TITLES: dict[Form, dict[str, list[str]]] = {"8-K": _titles(_TITLES_8K), "10-K": _titles(_TITLES_10K)}
START = 60  # letters of an item's text that are compared


def begins_as_prescribed(form: Form, number: str, text: str) -> bool:
    """Whether the text begins with `Item <number>` and the title that the form prescribes for it."""
    head = _letters(text[:400])
    headings = (word + _letters(number) + title for word in ("item", "items") for title in TITLES[form].get(number, ()))
    return head.startswith(tuple(headings))


@dataclass
class Comparison:
    """Sums over the pages of one form: items of both, and of one of the two with the rule's verdict on the other tool."""

    form: Form
    pages: int = 0
    both: int = 0
    starts: int = 0  # of those of both: the text begins alike
    texts: int = 0  # and is as long, to a twentieth
    ours: int = 0
    theirs: int = 0
    wrong: int = 0  # of the differences: the other tool is wrong by the rule
    listed: list[str] = field(default_factory=list)

    def add(self, name: str, text: str, theirs: Mapping[str, str]) -> None:
        """Compare the items of a page with the other tool's (number -> text)."""
        ours = {section.name: text[section.start : section.end] for section in sections_of(self.form, text)}
        self.pages += 1
        for number in sorted(ours.keys() | theirs.keys()):
            if number in ours and number in theirs:
                self.both += 1
                one, other = _letters(ours[number]), _letters(theirs[number])
                self.starts += one[:START] == other[:START] or other.startswith(one) or one.startswith(other)
                self.texts += (
                    one[:START] == other[:START] and abs(len(one) - len(other)) <= max(len(one), len(other)) / 20
                )
                continue
            is_heading = begins_as_prescribed(self.form, number, ours.get(number) or theirs[number])
            wrong = is_heading if number in ours else not is_heading
            self.ours += number in ours
            self.theirs += number in theirs
            self.wrong += wrong
            start = " ".join((ours.get(number) or theirs[number]).split())[:60]
            verdict = "theirs is wrong by the rule" if wrong else "not judged"
            self.listed.append(
                f"{name}: item {number} only {'ours' if number in ours else 'theirs'}, {verdict}: {start!r}"
            )

    def flat(self, prefix: str) -> dict[str, Any]:
        every = self.both + self.ours + self.theirs
        figures: dict[str, Any] = {
            "pages": self.pages,
            "items": every,
            "only_ours": self.ours,
            "only_theirs": self.theirs,
        }
        figures["agreement"] = round(self.both / every, 5) if every else None
        figures["judged"] = round(self.both / (every - self.wrong), 5) if every > self.wrong else None
        figures["starts"] = round(self.starts / self.both, 5) if self.both else None
        figures["texts"] = round(self.texts / self.both, 5) if self.both else None
        return {f"{prefix}_{name}": value for name, value in figures.items()}


def golden(archive: Path, form: Form) -> Comparison:
    """The pages of a form against edgar-crawler's extractions; no pages where there are none in the archive."""
    compared = Comparison(form)
    folder = archive / "edgar" / "golden"
    for extracted in sorted(folder.glob(f"*_EXTRACTED_items_{form}_*.zip")):
        raw = extracted.with_name(extracted.name.replace("EXTRACTED_items", "RAW"))
        with zipfile.ZipFile(extracted) as items, zipfile.ZipFile(raw) as pages:
            files = {name.rpartition(".")[0]: name for name in pages.namelist()}
            for name in sorted(name for name in items.namelist() if name.endswith(".json")):
                facts = json.loads(items.read(name))
                theirs = {key[5:]: value for key, value in facts.items() if key.startswith("item_") and value.strip()}
                compared.add(name, text_of(pages.read(files[name.rpartition(".")[0]])), theirs)
    return compared


def text_of(page: bytes) -> str:
    source = decode(page)
    return html_to_text(source) if looks_like_html(source) else plain_to_text(source)


_PEER_PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
from edgar.files.htmltools import ChunkedDocument
for path in json.load(sys.stdin):
    try:
        document = ChunkedDocument(open(path, encoding="utf-8").read())
        items = {item: document[item] or "" for item in document.list_items()}
    except Exception as error:
        items = {}
        print(path, repr(error), file=sys.stderr)
    print("ITEMS " + json.dumps(items), flush=True)
"""


def against_peer(archive: Path, python: Path) -> Comparison:
    """The 10-K pages of the archive in HTML against edgartools; pages where it finds nothing are said and left out."""
    compared = Comparison("10-K")
    pages = dict(_pages_10k(archive))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.htm" for number in range(len(pages))]
        for path, page in zip(paths, pages.values(), strict=True):
            path.write_text(decode(page), encoding="utf-8")
        ran = subprocess.run(
            [str(python), "-c", _PEER_PROGRAM], input=json.dumps([str(path) for path in paths]), text=True,
            stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
    lines = [line[len("ITEMS ") :] for line in ran.stdout.splitlines() if line.startswith("ITEMS ")]
    for (name, page), line in zip(pages.items(), lines, strict=True):
        theirs = {key.removeprefix("Item "): value for key, value in json.loads(line).items()}
        if theirs:
            compared.add(name, text_of(page), theirs)
        else:
            compared.listed.append(f"{name}: the other tool names no item; left out")
    return compared


def _pages_10k(archive: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted((archive / "edgar" / "html").glob("*10-?k*.htm")) + sorted(
        (archive / "edgar" / "html").glob("*10k*.htm")
    ):
        yield path.name, path.read_bytes()
    for path, body, header, submission in _filings(archive):
        if (header.form or "").startswith("10-K"):
            page = sgml.payload_of(body, sgml.read_documents(body, submission)[0])
            if looks_like_html(decode(page[:4096])):
                yield path.name, page


def _filings(archive: Path) -> Iterable[tuple[Path, bytes, sgml.Header, sgml.Submission]]:
    for folder in ("full", "nc"):
        for path in sorted((archive / "edgar" / folder).glob("*.*")):
            body = path.read_bytes()
            try:
                submission = sgml.split(body)
            except RefusedFiling:
                continue
            yield path, body, sgml.read_header(body, submission), submission


def header_items(archive: Path) -> dict[str, Any]:
    """How many of the items that the headers of 8-K filings name are found in their pages."""
    filings = named = found = 0
    for path, body, header, submission in _filings(archive):
        if not (header.form or "").startswith("8-K") or not header.items:
            continue
        filings += 1
        text = text_of(sgml.payload_of(body, sgml.read_documents(body, submission)[0]))
        ours = {section.name for section in sections_of("8-K", text)}
        for title in header.items:
            numbers = numbers_of(title)
            named += 1
            found += bool(numbers & ours)
            if not numbers & ours:
                say(f"header {path.name}: {title!r} ({sorted(numbers)}) is not among {sorted(ours)}")
    return {
        "header_8k_filings": filings,
        "header_8k_items": named,
        "header_8k_found": round(found / named, 5) if named else None,
    }


def numbers_of(title: str) -> set[str]:
    """The numbers, of today and of before 2004, for which an 8-K header gives this title; a number is its own title."""
    letters = _letters(title)
    if title in TITLES["8-K"]:
        return {title}
    return {number for number, titles in TITLES["8-K"].items() if any(letters.startswith(words) for words in titles)}


def report(archive: Path, peer: Path | None) -> dict[str, Any]:
    """The flat figures; differences are listed on standard error."""
    comparisons = {"golden_8k": golden(archive, "8-K"), "golden_10k": golden(archive, "10-K")}
    if peer:
        comparisons["peer_10k"] = against_peer(archive, peer)
    figures: dict[str, Any] = {}
    for prefix, compared in comparisons.items():
        for line in compared.listed:
            say(f"{prefix} {line}")
        if not compared.pages:
            say(f"{prefix}: no pages of a {compared.form} with extractions in {archive}")
        figures |= compared.flat(prefix)
    return figures | header_items(archive)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
