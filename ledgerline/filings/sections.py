"""Where the items of a form begin and end in a document's text. Pure rules on text; DART's titles are in `dart`.

Names of sections: 8-K "2.02" (before August 2004 "5"); 10-K "1A", "7"; 10-Q "I.2", "II.1A", since both of its parts
count from 1. A section runs from its heading to the next heading (or the signatures), so
`text[section.start:section.end]` begins with the word Item. Other forms have no sections.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from ledgerline.filings.records import Section

# A title is one line; what is longer is a paragraph that goes on behind the heading.
MAX_TITLE_CHARACTERS = 200

_SIGNATURES = re.compile(r"^[ \t]*SIGNATURES?[ \t]*:?[ \t]*(?:PAGE)?$", re.M | re.I)
_ITEM_8K = re.compile(r"^[^\w\n]{0,8}Items?[\s]{0,4}(\d{1,2})[ \t]{0,2}\.[ \t]{0,2}(\d{2})(?!\d)", re.M | re.I)
# A heading goes on with a stop, a capital or the line's end; "Item 5 hereof" and "Item 5) which" are references.
_HEADING = r"(?=[ \t]*(?:[.:\-–—]|[^\w\s,;)\]]|[A-Z(]|$))"
_ITEM = r"I[Tt][Ee][Mm][Ss]?\s{0,4}(\d{1,2})(?!\d)"
_ITEM_8K_OLD = re.compile(r"^[^\w\n]{0,8}" + _ITEM + r"(?!\.\d)" + _HEADING, re.M)
_ITEM_10 = re.compile(
    r"^[^\w\n]{0,8}(?:P[Aa][Rr][Tt][ \t]+(I{1,3}V?)[ \t,.:;\-–—]{0,8})?"
    + _ITEM
    + r"[ \t]{0,2}(\(?[ABCabc]\)?(?![A-Za-z]))?"
    + _HEADING,
    re.M,
)
_PART = re.compile(r"^[^\w\n]{0,8}PART[ \t]+(I{1,3}V?)\b", re.M | re.I)

ITEMS_8K = frozenset(
    f"{section}.{number:02d}"
    for section, last in enumerate((5, 6, 3, 2, 8, 10, 1, 1, 1), start=1)
    for number in range(1, last + 1)
)
ITEMS_10K = frozenset({"1A", "1B", "1C", "7A", "9A", "9B", "9C", *map(str, range(1, 17))})


def sections_of(form: str, text: str) -> tuple[Section, ...]:
    """The sections of a primary document's text for its form; empty for forms without items."""
    family = form.upper().partition("/")[0].strip()
    if family in ("8-K", "8-K12B", "8-K12G3", "8-K15D5"):
        return _sections_8k(text)
    if family in ("10-K", "10-K405", "10-KSB", "10-KT", "10-K405T"):
        return _sections_10(text, parts=False)
    if family in ("10-Q", "10-QSB", "10-QT"):
        return _sections_10(text, parts=True)
    return ()


def _sections_8k(text: str) -> tuple[Section, ...]:
    found = [
        (f"{int(match.group(1))}.{match.group(2)}", match.start(), match.end())
        for match in _ITEM_8K.finditer(text)
        if f"{int(match.group(1))}.{match.group(2)}" in ITEMS_8K
    ]
    if not found:
        found = [
            (str(int(match.group(1))), match.start(), match.end())
            for match in _ITEM_8K_OLD.finditer(text)
            if 1 <= int(match.group(1)) <= 12
        ]
    return _longest(_between(text, found))


def _sections_10(text: str, *, parts: bool) -> tuple[Section, ...]:
    found = []
    headings = [(match.start(), match.group(1).upper()) for match in _PART.finditer(text)]
    for match in _ITEM_10.finditer(text):
        name = f"{int(match.group(2))}{(match.group(3) or '').strip('()').upper()}"
        if name not in ITEMS_10K or "(continued)" in _title(text, match.end()).lower():
            continue
        if parts:
            before = bisect_right(headings, (match.start(), "Z"))
            name = f"{headings[before - 1][1] if before else 'I'}.{name}"
        found.append((name, match.start(), match.end()))
    sections = _between(text, found)
    first = next((section.start for section in _longest(sections) if section.name in ("1", "I.1")), 0)
    # Before it is only the contents, whose last line goes on to it and so is long.
    return _longest(tuple(section for section in sections if section.start >= first))


def _between(text: str, found: list[tuple[str, int, int]]) -> tuple[Section, ...]:
    """From each heading to the next one or to signatures before it; these end the contents, too."""
    ends = sorted(
        [start for _, start, _ in found] + [line.start() for line in _SIGNATURES.finditer(text)] + [len(text)]
    )
    return tuple(
        Section(name, _title(text, after), start, ends[bisect_right(ends, start)]) for name, start, after in found
    )


def _title(text: str, after: int) -> str:
    """The words behind the item's number: on its line, or on the next where its line has no more."""
    line = text[after : after + MAX_TITLE_CHARACTERS].lstrip(" \t\n.:)-–—").split("\n", 1)[0]
    return " ".join(line.split())


def _longest(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """Of the sections of one name the longest: the others are lines of a table of contents or references."""
    best: dict[str, Section] = {}
    for section in sections:
        known = best.get(section.name)
        if known is None or section.end - section.start > known.end - known.start:
            best[section.name] = section
    return tuple(sorted(best.values(), key=lambda section: section.start))
