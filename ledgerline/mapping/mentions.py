"""Mentions: where a text names a listed company. Spans only; which company a span means is decided by the ranker.

Here: the dictionary of dated names and aliases, and the rules of case, word boundary and longest unit. A name is looked
for whatever the date of the text: a former name is still a mention, and the date decides later whom it meant.

Every mention is kept, also the hundredth of one name in one document and those in the filer's own boilerplate: offsets
are the record, the context differs from one to the next, and a reader can drop repeats but not bring them back.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ahocorasick_rs
import numpy as np
import pyarrow as pa

from ledgerline.mapping import ordinary_words
from ledgerline.mapping.records import Span
from ledgerline.mapping.tables import MENTIONS
from ledgerline.names.normalise import STRICT_LEGAL_FORMS, core, has_hangul, stem

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts

CONTEXT = 160  # characters kept on either side of a mention
NAME_KINDS = frozenset({"name", "legal", "english", "alias"})

# What may stand directly after a Korean name; anything else makes a longer unit of which the name is only a part.
_PARTICLE = re.compile(
    r"(?:은|는|이|가|을|를|의|에|와|과|도|로|으로|만|서|측|등|나|이나|까지|부터|보다|처럼|에게|에서|에는|에도|에서는|에서도|에게는|와의|과의|로의|으로의"
    r"|로는|으로는|로부터|으로부터|라고|이라고|라는|이라는|이다|입니다|이며|이고|이란|란|라며|이라며|측은|측이|측의|만의|만은|만이|들|사|주)(?![0-9a-z가-힣])"
)
_FORMS = "|".join(sorted(STRICT_LEGAL_FORMS | {"company"}, key=len, reverse=True))
_SUFFIXES = re.compile(rf"(?:(?: (?:&|and))? (?:{_FORMS})(?=s?[^0-9a-z가-힣]))+")
# Legal forms that make a firm of an everyday word, and those that make one of one or two letters ("IA, CO" are states).
_LONG_FORMS = ("inc", "corp", "ltd", "plc", "llc", "corporation", "company", "incorporated", "limited")
_STRONG_FORMS = (*_LONG_FORMS, "co", "lp", "sa", "nv", "ag", "se")
_ABBREVIATIONS = frozenset({"inc", "corp", "co", "ltd", "cos", "lp", "llc", "sa", "nv", "ag", "plc", "bhd"})
_KOREAN_FORM_BEFORE = re.compile(r"(?:\(주\)|㈜|주식회사) ?$")
_KOREAN_FORM_AFTER = re.compile(r" ?(?:\(주\)|㈜|주식회사)")
# Forms in which a ticker says itself that it is one. Group 1 is the ticker.
_TICKER = r"([A-Z]{1,5}(?:[.\-/][A-Z]{1,2})?|[0-9]{6})"
# Each begins with a literal: only so does the search skip through a text quickly.
_AFTER_EXCHANGE = re.compile(
    r"(?:NASDAQ|Nasdaq|NYSE|New York Stock Exchange|AMEX|OTCQB|OTCQX|OTC|TSX|CBOE|Cboe|KRX|KOSPI|KOSDAQ|KONEX)"
    rf"(?:[ -]?(?:American|Arca|MKT|GS|GM|CM))?\s?:\s?{_TICKER}\b"
)
_CASHTAG = re.compile(r"\$(?<![\w$]\$)([A-Z]{1,5}(?:\.[A-Z])?)\b(?![\d.,]*\d)")
_REUTERS = re.compile(r"[(<]([A-Z]{1,5})\.(?:O|N|OQ|A|K|P|PK)[)>]")
_IN_BRACKETS = re.compile(r"\s?\(([A-Z]{1,5}|[0-9]{6})\)")

# Classes of folded characters that are not letters or digits.
_DELETED, _BARRIER, _BLANK, _AND = 0, 1, 32, 38
_BARRIERS = '\t\v\f;:!?()[]{}<>|"“”«»•…'
_APOSTROPHES = "'’`´‘"


@dataclass(frozen=True, slots=True)
class _Name:
    """What the dictionary knows of one folded name."""

    weak: bool  # an everyday word: needs a legal form beside it
    blocks: bool  # of an unlisted firm: no mention, but it hides the listed name that it begins with
    lower: bool  # written in lower case by the firm itself ("eBay", "iRobot")
    words: int
    length: int  # of the name alone; a weak English name is in the dictionary with a legal form after it


class MentionFinder:
    """Finds names of listed companies in texts. Built once from facts; `find` may be called from several threads."""

    def __init__(self, names: dict[str, _Name], tickers: Iterable[str]) -> None:
        self._tickers = frozenset(tickers)
        self._names = list(names.values())
        # A leading blank keeps the automaton at its root inside words, and a name from beginning in the middle of one.
        patterns = [f" {name}" for name in names]
        self._numbers = {pattern: number for number, pattern in enumerate(patterns)}
        self._automaton = ahocorasick_rs.AhoCorasick(
            patterns,
            matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
            store_patterns=False,
            # Built as fast as the contiguous one, and scanned filings 1.5 times as fast.
            implementation=ahocorasick_rs.Implementation.NoncontiguousNFA,
        )

    @classmethod
    def from_facts(cls, facts: Facts) -> MentionFinder:
        """A finder of every name and alias of the listed companies, and of their tickers in explicit forms."""
        return cls(_dictionary(facts), set(facts.securities["ticker"].to_pylist()) - {None})

    def find(self, text: str, language: str = "en") -> list[Span]:
        """The mentions in a text, in order, none overlapping; offsets are those of `text`. Language is "en" or "ko".

        The longest name wins. A mention keeps its legal form ("Apple Inc."), not its possessive or Korean particle. A
        name must be capitalised unless the firm writes it in lower case; a single word without a legal form is dropped
        where the same text uses that word in lower case more often.
        """
        if not text:
            return []
        folded, offsets = _fold(text)
        lower = _is_lower_case(text, offsets)
        bare: list[tuple[Span, int]] = []  # single words without a legal form, with the number of their pattern
        spans: list[Span] = []
        in_lower_case: Counter[int] = Counter()
        for number, start, end in self._automaton.find_matches_as_indexes(folded):
            if lower[start + 1] and not self._names[number].lower:
                in_lower_case[number] += 1
                continue
            number, end = self._longest_whole(folded, offsets, lower, (number, start, end), language)
            if number < 0 or self._names[number].blocks:
                continue
            name = self._names[number]
            end = min(end, start + 1 + name.length)
            span, has_form = _with_legal_form(text, folded, offsets, lower, start + 1, end)
            if name.weak:
                if has_form and not _is_tail(folded, lower, start):
                    spans.append(span)
            elif has_form or name.words > 1:
                spans.append(span)
            else:
                bare.append((span, number))
        in_capitals = Counter(number for _, number in bare)
        spans += [span for span, number in bare if in_lower_case[number] <= in_capitals[number]]
        spans.sort(key=lambda span: span.start)
        return _merged(spans, self._explicit_tickers(text, spans))

    def _longest_whole(
        self, folded: str, offsets: np.ndarray, lower: bytes, match: tuple[int, int, int], language: str
    ) -> tuple[int, int]:
        """(number, end) of the longest name at a match that ends with its word and is capitalised; number -1 if none.

        The automaton knows no word ends: after "bank of am" of "Bank of American ..." the shorter names are tried.
        """
        number, start, end = match
        while True:
            name = self._names[number] if number >= 0 else None
            if name is not None and _ends_word(folded, end, offsets, language):
                last_word = folded.rfind(" ", start, end) + 1
                if name.words == 1 or name.lower or not lower[last_word]:
                    return number, end
            end = folded.rfind(" ", start, end)
            if end <= start:
                return -1, start
            number = self._numbers.get(folded[start:end], -1)

    def _explicit_tickers(self, text: str, names: list[Span]) -> list[Span]:
        """Tickers that say themselves that they are: "(NASDAQ: AAPL)", "$AAPL", "(AAPL.O)", and "Apple (AAPL)"."""
        found = [*_AFTER_EXCHANGE.finditer(text), *_CASHTAG.finditer(text), *_REUTERS.finditer(text)]
        found += [match for span in names if (match := _IN_BRACKETS.match(text, span.end))]
        known = {match.span(1) for match in found if match.group(1) in self._tickers}
        return [Span(start, end, text[start:end]) for start, end in sorted(known)]


def find_span(text: str, surface: str) -> Span | None:
    """Where a surface that a person named stands in a text, or None where it does not.

    As a whole word in its own case, else in any case, else as a part of a word ("네이버" in "네이버는").
    """
    wanted = re.escape(surface.strip())
    if not wanted:
        return None
    for pattern, flags in (
        (rf"(?<!\w){wanted}(?!\w)", 0),
        (rf"(?<!\w){wanted}(?!\w)", re.IGNORECASE),
        (wanted, 0),
        (wanted, re.IGNORECASE),
    ):
        match = re.search(pattern, text, flags)
        if match:
            return Span(match.start(), match.end(), match.group())
    return None


def mention_rows(documents: pa.Table, finder: MentionFinder) -> pa.Table:
    """The mentions in the text of each document of a DOCUMENTS table, as rows of schema MENTIONS in document order.

    `as_of` is the UTC day of `available_at`, or the document's own day where that is null.
    """
    rows: list[dict[str, Any]] = []
    columns = ["source", "day", "document_id", "language", "text", "available_at"]
    for document in documents.select(columns).to_pylist():
        text, language = document["text"] or "", document["language"] or "en"
        available = document["available_at"]
        as_of = available.date().isoformat() if available else document["day"]
        for span in finder.find(text, language):
            rows.append(
                {
                    "source": document["source"],
                    "day": document["day"],
                    "mention_id": f"{document['document_id']}:{span.start}:{span.end}",
                    "document_id": document["document_id"],
                    "start": span.start,
                    "end": span.end,
                    "surface": span.surface,
                    "left": text[max(0, span.start - CONTEXT) : span.start],
                    "right": text[span.end : span.end + CONTEXT],
                    "language": language,
                    "as_of": as_of,
                }
            )
    return pa.Table.from_pylist(rows, schema=MENTIONS)


# ------------------------------------------------------------------------------------------------------- the dictionary


def _dictionary(facts: Facts) -> dict[str, _Name]:
    is_listed = dict(zip(facts.companies["company_id"].to_pylist(), facts.companies["listed"].to_pylist(), strict=True))
    listed: set[str] = set()
    unlisted: list[str] = []
    columns = [facts.names[column].to_pylist() for column in ("company_id", "name", "kind")]
    for company_id, name, kind in zip(*columns, strict=True):
        if kind not in NAME_KINDS:
            continue
        if not is_listed[company_id]:
            unlisted.append(name)
        else:
            listed.add(name)
    cores = {name: core(name) for name in sorted(listed)}
    dictionary: dict[str, _Name] = {}
    for name, whole in cores.items():
        for form in dict.fromkeys((whole, stem(name))):
            _add(dictionary, form, name)
    _block_longer_units(dictionary, unlisted)
    return dictionary


def _add(dictionary: dict[str, _Name], form: str, name: str) -> None:
    words = form.split()
    everyday = form in ordinary_words.ENGLISH or form in ordinary_words.KOREAN
    weak = form in ordinary_words.PHRASES or (len(words) == 1 and (everyday or _is_tiny(form, name)))
    entry = _Name(weak, False, name[:1].islower() and not name.islower(), len(words), len(form))
    for spelling in _spellings(form, weak=weak):
        known = dictionary.get(spelling)
        # The stronger reading of two equal forms counts.
        if spelling and (known is None or (known.weak and not entry.weak)):
            dictionary[spelling] = entry


def _spellings(form: str, *, weak: bool) -> Iterable[str]:
    """How a name is looked for: as it is and with "&"; an everyday English word only with each legal form after it,
    since it would stop the automaton at every other word of a text."""
    if weak and not has_hangul(form):
        return [f"{form} {legal}" for legal in (_STRONG_FORMS if len(form) > 2 else _LONG_FORMS)]
    return dict.fromkeys((form, form.replace(" and ", " & ")))


def _is_tiny(form: str, name: str) -> bool:
    """One or two characters or digits only; two Hangul syllables or two capitals with a digit ("3M") are a name."""
    if form.isdigit() or len(form) < 2:
        return True
    return len(form) == 2 and not has_hangul(form) and not (any(ch.isdigit() for ch in form) and name.isupper())


def _block_longer_units(dictionary: dict[str, _Name], unlisted: Iterable[str]) -> None:
    """Unlisted firms whose name begins with a listed firm's: "삼성벤처투자" is not 삼성."""
    listed = set(dictionary)
    for name in unlisted:
        form = name.lower() if name.isalnum() else core(name)
        if form not in listed and any(form[:size] in listed for size in range(2, len(form))):
            dictionary[form] = _Name(weak=False, blocks=True, lower=False, words=1, length=len(form))


# ------------------------------------------------------------------------------------------------------- folding a text


@lru_cache(maxsize=1)
def _folding() -> np.ndarray:
    """What each code point below 65,536 is folded to: itself in lower case without accents, or one of the classes."""
    table = np.full(0x10000, _BLANK, dtype=np.uint32)
    for code in range(0x10000):
        char = chr(code)
        if 0xAC00 <= code <= 0xD7A3 or 0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF:
            table[code] = code
        elif char.isalpha() or char.isdecimal():  # "①" is neither: it stands between words
            base = unicodedata.normalize("NFKD", char.lower())[0]
            table[code] = ord(base) if base.isalnum() else code
    for chars, folded in (
        (_BARRIERS, _BARRIER),
        (_APOSTROPHES, _DELETED),
        ("&", _AND),
        ("\u00ad\u200b\ufeff", _DELETED),
    ):
        for char in chars:
            table[ord(char)] = folded
    return table


def _fold(text: str) -> tuple[str, np.ndarray]:
    """The text as the automaton reads it, and for each of its characters the offset in `text`.

    Letters and digits in lower case without accents, one blank for whatever else stands between two words, a barrier
    and a blank where no name goes on (table cells, brackets, blank lines, colons), nothing for apostrophes and the dots
    of "U.S."; "&" is a word. It begins and ends with a blank.
    """
    codes = _codes(text)
    if codes.itemsize == 1:
        folded = _folding()[:128].astype(np.uint8)[codes]
    else:
        folded = _folding()[np.minimum(codes, 0xFFFF)]
        folded[codes > 0xFFFF] = _BLANK
    _mark_blank_lines(codes, folded)
    _delete_inner_dots(codes, folded)
    kept = np.flatnonzero(folded != _DELETED)
    folded = folded[kept]
    # "&" becomes " & ", a barrier becomes itself and a blank: repeat them, then blank what was repeated.
    copies = np.ones(len(folded), dtype=np.int64)
    copies[folded == _AND] = 3
    copies[folded == _BARRIER] = 2
    first = np.cumsum(copies) - copies
    offsets = np.repeat(kept, copies)
    spread = np.full(len(offsets), _BLANK, dtype=folded.dtype)
    middle = first + (folded == _AND)
    spread[middle] = folded
    blank = spread == _BLANK
    needed = np.ones(len(spread), dtype=bool)
    needed[1:] = ~(blank[1:] & blank[:-1])
    spread, offsets = spread[needed], offsets[needed]
    result = np.concatenate(([_BLANK], spread, [_BLANK])).astype(folded.dtype)
    ends = np.concatenate(([0], offsets, [len(text)]))
    encoding = "ascii" if result.itemsize == 1 else "utf-32-le"
    return result.tobytes().decode(encoding, "surrogatepass"), ends


def _codes(text: str) -> np.ndarray:
    """The code points of a text, in one byte each where it is ASCII: most filings are, and four times less to move."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _mark_blank_lines(codes: np.ndarray, folded: np.ndarray) -> None:
    """A blank line is a barrier; a single line break is a blank, because plain-text filings wrap names."""
    breaks = codes == 10
    empty = np.zeros(len(codes), dtype=bool)
    empty[1:] = breaks[1:] & breaks[:-1]
    folded[empty] = _BARRIER


def _delete_inner_dots(codes: np.ndarray, folded: np.ndarray) -> None:
    """A dot after a single letter goes: "U.S. Bancorp" is "us bancorp", "J.P. Morgan" is "jp morgan"."""
    dots = np.flatnonzero(codes == 46)
    dots = dots[dots >= 1]
    letter = folded >= 48
    single = letter[dots - 1] & ~np.where(dots >= 2, letter[np.maximum(dots - 2, 0)], False)
    folded[dots[single]] = _DELETED


def _is_lower_case(text: str, offsets: np.ndarray) -> bytes:
    """For each folded character 1 where the text has a lower-case Latin letter there; b"\\x00\\x01..." by position."""
    codes = _codes(text)
    lower = ((codes >= 97) & (codes <= 122)) | ((codes >= 0xDF) & (codes <= 0xFF))
    return np.append(lower, False)[offsets].astype(np.uint8).tobytes()


# ------------------------------------------------------------------------------------------------------ where names end


def _ends_word(folded: str, end: int, offsets: np.ndarray, language: str) -> bool:
    """Whether a name may end here: at a blank or barrier, before a possessive, or before a Korean particle."""
    if folded[end] in " \x01":
        return True
    # An apostrophe or a dot was deleted: "Apple's", not "Apples".
    if offsets[end] != offsets[end - 1] + 1 and folded[end] == "s" and folded[end + 1] in " \x01":
        return True
    return language == "ko" and _PARTICLE.match(folded, end) is not None


def _with_legal_form(
    text: str, folded: str, offsets: np.ndarray, lower: bytes, start: int, end: int
) -> tuple[Span, bool]:
    """The span in the text, stretched over ".com" and legal forms, and whether it has one (Korean: also before it)."""
    first, last = int(offsets[start]), int(offsets[end - 1]) + 1
    domain = text[last : last + 4].lower() == ".com" and folded[end + 4] in " \x01"
    if domain:
        last, end = last + 4, end + 4
    forms = _legal_forms_end(folded, offsets, lower, end)
    if forms > end:
        last = int(offsets[forms - 1]) + 1
        if text[last : last + 1] == "." and folded[folded.rfind(" ", 0, forms) + 1 : forms] in _ABBREVIATIONS:
            last += 1
        return Span(first, last, text[first:last]), True
    korean = "가" <= text[last - 1] <= "힣" and (
        _KOREAN_FORM_BEFORE.search(text, max(0, first - 6), first) or _KOREAN_FORM_AFTER.match(text, last)
    )
    return Span(first, last, text[first:last]), domain or bool(korean)


def _is_tail(folded: str, lower: bytes, start: int) -> bool:
    """Whether the word before the blank at `start` is capitalised: "First Capital Inc." does not name Capital Inc."""
    before = folded.rfind(" ", 0, start) + 1
    word = folded[before:start]
    return (
        word.isascii()
        and word.isalnum()
        and not lower[before]
        and word not in ("the", "and", "of", "at", "by", "in", "for", "with")
    )


def _legal_forms_end(folded: str, offsets: np.ndarray, lower: bytes, end: int) -> int:
    """Where the legal forms that follow a name end ("& Co", "Inc"), `end` itself where none does."""
    match = _SUFFIXES.match(folded, end)
    stop = match.end() if match else end
    # Forms are capitalised: "SE" and "AS" are some, "as" is not. What looked like one at the end of a word is none.
    while stop > end and (lower[folded.rfind(" ", 0, stop) + 1] or not _ends_word(folded, stop, offsets, "en")):
        stop = folded.rfind(" ", 0, stop)
    return stop


def _merged(names: list[Span], tickers: list[Span]) -> list[Span]:
    """Both lists in order; a ticker that overlaps a name is left out."""
    taken = {at for span in names for at in (span.start, span.end - 1)}
    free = [one for one in tickers if one.start not in taken and one.end - 1 not in taken]
    return sorted([*names, *free], key=lambda span: span.start)
