"""What the ranker looks at: one row of numbers per (mention, candidate), in the order of FEATURES.

Pure functions of the mention, its candidates and `NameStats`. Nothing here knows the answer, reads a clock or asks an
index; how examples are made is in `labelled`, what the numbers are worth is learned in `model_projects/ticker_ranker`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import JaroWinkler, LCSseq

from ledgerline.mapping.records import Candidate, Mention
from ledgerline.names.normalise import char_ngrams, core, form_family, has_hangul, normalise, stem

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts

SURFACE_FEATURES = (
    "surface_chars",
    "surface_words",
    "surface_lower",  # no upper-case letter at all
    "surface_upper",  # all letters upper case
    "surface_lower_words",  # share of its words that start in lower case
    "surface_digits",  # holds a digit or ends in a roman numeral
    "surface_hangul",
    "surface_form",  # family of its legal form, see normalise.form_family
    "surface_rarest",  # how rare its rarest word is among companies, 1 = in no company's name
    "surface_first_rarity",
    "surface_known_words",  # share of its words that some company's name holds
)
CONTEXT_FEATURES = (
    "after_article",  # "a", "an", "the" right before it
    "after_lower_word",
    "after_capital",  # a capitalised word right before it, nothing between: the name may be longer to the left
    "before_capital",  # the same to the right
    "before_company_word",  # "shares", "stock", "said", "CEO", ... or a possessive right after it
)
PAIR_FEATURES = (
    "equal_normal",
    "equal_core",
    "equal_stem",
    "equal_compact",
    "ratio",
    "partial_ratio",
    "token_set_ratio",
    "jaro_winkler",
    "common_subsequence",
    "same_first_word",
    "surface_starts_name",  # the name begins with the whole surface, at a word boundary
    "name_starts_surface",
    "initials",  # the surface is the initials of the name
    "same_form",  # 1 the same family of legal form, -1 another, 0 where one of the two has none
    "words_left",  # words of the surface before the first that the name has too
    "words_inside",
    "words_right",
    "name_words_left",  # words of the name before the first that the surface has too
    "name_words_right",
    "name_words",
    "surface_covered",  # share of the surface's words, weighted by rarity, that the name has
    "name_covered",
    "context_completes",  # share of the rest of the name that stands right before or after the surface
    "right_rarity",  # rarity-weighted words of the surface after the last common one
)
CANDIDATE_FEATURES = (
    "exact",
    "bm25",
    "bm25_of_best",
    "bm25_rank",
    "ngram",
    "ngram_of_best",
    "ngram_rank",
    "graph",
    "name_kind",  # 0 name, 1 legal, 2 English, 3 alias, 4 ticker
    "name_is_current",
    "name_years_early",  # years by which the mention precedes the name
    "name_years_late",
    "listing_years_early",
    "listing_years_late",
    "is_listed",  # 0 for firms known to have no listing
    "size_rank",  # log of the rank by market capitalisation
    "same_start_companies",  # log of how many companies' names begin with the common words
    "ticker_in_context",  # 1 its ticker in brackets near by, -1 another one, 0 none
)
SET_FEATURES = (
    "ratio_lead",  # its ratio minus the best ratio of the others
    "covered_lead",
    "size_lead",  # log rank of the largest other candidate with the same first word minus its own
    "equal_core_candidates",
    "unlisted_lead",  # the best ratio of a firm without a listing, minus its own
    "candidates",
)
FEATURES: tuple[str, ...] = SURFACE_FEATURES + CONTEXT_FEATURES + PAIR_FEATURES + CANDIDATE_FEATURES + SET_FEATURES

# Rows say by which features they were made; a model project that knows others refuses them.
FEATURE_SET = hashlib.sha256("\n".join(FEATURES).encode()).hexdigest()[:16]

LEAST_WEIGHT = 0.05  # of a word in every name, so that names of common words only still cover something
DECIMALS = 4  # rows are rounded, so that a request in JSON carries exactly the numbers that were learned from
UNKNOWN_SIZE_RANK = 20_000  # beyond the last known one (about 8,000)
LOG_UNKNOWN_SIZE = math.log(UNKNOWN_SIZE_RANK)
_KINDS = {"name": 0, "legal": 1, "english": 2, "alias": 3, "ticker": 4}
_ROMAN = re.compile(r"\b(?:[IVX]{2,5}|\d+)\W*(?:,?\s*(?:Inc|Corp|Ltd|LLC|L\.?L\.?C|LP|L\.P|Co)\.?)?$|\d")
_TICKER_IN_BRACKETS = re.compile(r"\((?:[A-Za-z]{3,8}\s?:\s?)?\$?([A-Z]{1,5}(?:[.\-][A-Z])?|\d{6})(?:\.[A-Z]{1,2})?\)")
_POSSESSIVE = re.compile(r"['’]s?$")
_WORD_BEFORE = re.compile(r"(\S+)\s*$")
_WORD_AFTER = re.compile(r"^(\s?)(\S+)")
_COMPANY_WORDS = frozenset(
    [
        "shares",
        "share",
        "stock",
        "stocks",
        "said",
        "says",
        "ceo",
        "cfo",
        "reported",
        "reports",
        "announced",
        "executives",
    ]
)


@dataclass(frozen=True, slots=True)
class NameStats:
    """What is known of all companies together: rarity of words, shared beginnings, size and days of listing.

    Only listed companies count. `listed_days` holds per company the ISO days from its first to its last known
    ticker, "" where open; `tickers` every ticker it ever had.
    """

    word_rarity: dict[
        str, float
    ]  # 1 for a word in no name, 0 for one in every name (scaled inverse document frequency)
    start_companies: dict[str, int]  # the first one to three words of a name -> companies whose names begin so
    size_ranks: dict[str, int]
    unlisted: frozenset[str]
    listed_days: dict[str, tuple[str, str]]
    tickers: dict[str, tuple[str, ...]]

    def rarity(self, word: str) -> float:
        return self.word_rarity.get(word, 1.0)

    def to_json(self) -> str:
        """Deterministic JSON; `from_json` gives an equal object."""
        plain = {name: getattr(self, name) for name in self.__slots__} | {"unlisted": sorted(self.unlisted)}
        return json.dumps(plain, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> NameStats:
        plain = json.loads(text)
        plain["unlisted"] = frozenset(plain["unlisted"])
        plain["listed_days"] = {key: tuple(days) for key, days in plain["listed_days"].items()}
        plain["tickers"] = {key: tuple(tickers) for key, tickers in plain["tickers"].items()}
        return cls(**plain)


def name_stats(facts: Facts) -> NameStats:
    """Count over the names of listed companies; a company counts once per word, however many names it had."""
    company = facts.companies.to_pydict()
    unlisted = frozenset(c for c, listed in zip(company["company_id"], company["listed"], strict=True) if not listed)
    names = facts.names.to_pydict()
    words: dict[str, set[str]] = {}
    starts: dict[str, set[str]] = {}
    for company_id, name, kind in zip(names["company_id"], names["name"], names["kind"], strict=True):
        if company_id in unlisted or kind in ("person", "product"):
            continue
        tokens = _tokens(core(name))
        words.setdefault(company_id, set()).update(tokens)
        starts.setdefault(company_id, set()).update(" ".join(tokens[:length]) for length in (1, 2, 3))
    counts = Counter(word for of_company in words.values() for word in of_company)
    days, tickers = _listed_days(facts)
    return NameStats(
        word_rarity={
            word: round(1.0 - math.log1p(count) / math.log1p(len(words)), 4) for word, count in counts.items()
        },
        start_companies=dict(Counter(start for of_company in starts.values() for start in of_company)),
        size_ranks={
            c: rank for c, rank in zip(company["company_id"], company["size_rank"], strict=True) if rank is not None
        },
        unlisted=unlisted,
        listed_days=days,
        tickers=tickers,
    )


def _listed_days(facts: Facts) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, ...]]]:
    security = facts.securities.to_pydict()
    days: dict[str, tuple[str, str]] = {}
    tickers: dict[str, set[str]] = {}
    rows = zip(*(security[name] for name in ("company_id", "ticker", "valid_from", "valid_to")), strict=True)
    for company_id, ticker, valid_from, valid_to in rows:
        first, last = valid_from or "", valid_to or ""
        if company_id in days:
            known_first, known_last = days[company_id]
            first = min(first, known_first)
            last = "" if not last or not known_last else max(last, known_last)
        days[company_id] = (first, last)
        tickers.setdefault(company_id, set()).add(ticker)
    return days, {company_id: tuple(sorted(of_company)) for company_id, of_company in tickers.items()}


def feature_matrix(mention: Mention, candidates: Sequence[Candidate], stats: NameStats) -> np.ndarray:
    """One row per candidate in their order, float32, shape (len(candidates), len(FEATURES))."""
    if not candidates:
        return np.empty((0, len(FEATURES)), dtype=np.float32)
    surface = _surface(mention.surface)
    shared = _surface_features(surface, stats) + _context_features(mention)
    bracketed = _TICKER_IN_BRACKETS.findall(mention.right[:40])
    day = mention.as_of.isoformat()
    pairs = [_pair(mention.surface, candidate.best_name) for candidate in candidates]
    best_bm25 = max((c.scores.get("bm25", 0.0) for c in candidates), default=0.0) or 1.0
    best_ngram = max((c.scores.get("ngram", 0.0) for c in candidates), default=0.0) or 1.0
    near = frozenset(core(f"{mention.left[-40:]} {mention.right[:40]}").split())
    coverage = [_coverage(pair, stats, near) for pair in pairs]
    sizes = [_log_size(stats.size_ranks.get(c.company_id, UNKNOWN_SIZE_RANK)) for c in candidates]
    of_set = _set_features(candidates, pairs, coverage, sizes, stats)
    rows = []
    for at, candidate in enumerate(candidates):
        of_candidate = _candidate_features(
            candidate, pairs[at], stats, best_bm25, best_ngram, bracketed, day, sizes[at]
        )
        rows.append((*shared, *pairs[at].features, *coverage[at], *of_candidate, *of_set[at]))
    return np.round(np.array(rows, dtype=np.float64), DECIMALS).astype(np.float32)


@lru_cache(maxsize=UNKNOWN_SIZE_RANK)
def _log_size(rank: int) -> float:
    return math.log(rank)


class _Surface(NamedTuple):
    core: str
    words: tuple[str, ...]
    first_word: str
    flags: tuple[float, ...]


@lru_cache(maxsize=100_000)
def _surface(text: str) -> _Surface:
    plain = core(text)
    words = _tokens(plain)
    letters = [ch for ch in text if ch.isalpha()]
    raw_words = [word for word in text.split() if word[0].isalpha()]
    lower_words = sum(word[0].islower() for word in raw_words)
    flags = (
        float(len(plain)),
        float(len(words)),
        float(bool(letters) and not any(ch.isupper() for ch in letters) and not has_hangul(text)),
        float(bool(letters) and all(ch.isupper() for ch in letters)),
        lower_words / len(raw_words) if raw_words else 0.0,
        float(bool(_ROMAN.search(text))),
        float(has_hangul(text)),
        float(form_family(text)),
    )
    return _Surface(plain, words, words[0] if words else "", flags)


def _tokens(plain: str) -> tuple[str, ...]:
    """Words of a core; for Hangul, which is written without blanks, its syllable pairs."""
    return tuple(char_ngrams(plain)) if has_hangul(plain) else tuple(plain.split())


def _surface_features(surface: _Surface, stats: NameStats) -> tuple[float, ...]:
    if not surface.words:
        return (*surface.flags, 1.0, 1.0, 0.0)
    known = sum(word in stats.word_rarity for word in surface.words)
    rarest = max(stats.rarity(word) for word in surface.words)
    return (*surface.flags, rarest, stats.rarity(surface.first_word), known / len(surface.words))


def _context_features(mention: Mention) -> tuple[float, ...]:
    before = _WORD_BEFORE.search(mention.left)
    word_before = before.group(1) if before else ""
    after = _WORD_AFTER.match(mention.right)
    blank, word_after = after.groups() if after else ("", "")
    adjacent = bool(blank) or not word_after
    return (
        float(word_before.lower() in ("a", "an", "the")),
        float(word_before.isalpha() and word_before.islower()),
        float(word_before.isalpha() and word_before[0].isupper() and word_before.lower() != "the"),
        float(adjacent and word_after[:1].isupper()),
        float(word_after[:2] in ("'s", "’s") or word_after.lower().strip(".,;:") in _COMPANY_WORDS),
    )


class _Pair(NamedTuple):
    features: tuple[float, ...]  # those of PAIR_FEATURES that need no statistics
    ratio: float
    equal_core: bool
    surface_words: tuple[str, ...]
    name_words: tuple[str, ...]
    common: frozenset[str]
    last_common: int  # position in surface_words, -1 where nothing is common
    start: str  # the common words with which both begin


def _pair(surface_text: str, name: str) -> _Pair:
    """How alike the two are; a possessive counts as such where that fits better ("Apple's", but "McDonald's")."""
    pair = _pair_as_written(surface_text, name)
    bare = _POSSESSIVE.sub("", surface_text)
    if bare in ("", surface_text):
        return pair
    return max(pair, _pair_as_written(bare, name), key=lambda one: one.ratio)


@lru_cache(maxsize=400_000)
def _pair_as_written(surface_text: str, name: str) -> _Pair:
    surface = _surface(surface_text)
    name_core = core(name)
    name_words = _tokens(name_core)
    common = frozenset(surface.words) & frozenset(name_words)
    at_surface = [at for at, word in enumerate(surface.words) if word in common]
    at_name = [at for at, word in enumerate(name_words) if word in common]
    first, last = (at_surface[0], at_surface[-1]) if common else (len(surface.words), -1)
    one, other = surface.core, name_core
    ratio = fuzz.ratio(one, other) / 100
    family, name_family = form_family(surface_text), form_family(name)
    longest = max(len(one), len(other)) or 1
    features = (
        float(normalise(surface_text) == normalise(name)),
        float(one == other),
        float(stem(surface_text) == stem(name)),
        float(one.replace(" ", "") == other.replace(" ", "")),
        ratio,
        fuzz.partial_ratio(one, other) / 100,
        fuzz.token_set_ratio(one, other) / 100,
        JaroWinkler.similarity(one, other),
        LCSseq.similarity(one, other) / longest,
        float(bool(name_words) and surface.first_word == name_words[0]),
        float(other.startswith(one) and (len(other) == len(one) or other[len(one)] == " ")),
        float(one.startswith(other) and (len(one) == len(other) or one[len(other)] == " ")),
        float(_is_initials(one, name_words)),
        0.0 if not family or not name_family else (1.0 if family == name_family else -1.0),
        float(first if common else len(surface.words)),
        float(last - first + 1 - len(at_surface)) if common else 0.0,
        float(len(surface.words) - 1 - last) if common else float(len(surface.words)),
        float(at_name[0]) if common else float(len(name_words)),
        float(len(name_words) - 1 - at_name[-1]) if common else float(len(name_words)),
        float(len(name_words)),
    )
    start = []
    for word, other_word in zip(surface.words, name_words, strict=False):
        if word != other_word:
            break
        start.append(word)
    return _Pair(features, ratio, one == other, surface.words, name_words, common, last, " ".join(start[:3]))


def _is_initials(plain: str, name_words: Sequence[str]) -> bool:
    letters = plain.replace(" ", "")
    return len(letters) >= 2 and letters == "".join(word[0] for word in name_words if word not in ("and", "of"))


def _coverage(pair: _Pair, stats: NameStats, near: frozenset[str]) -> tuple[float, float, float, float]:
    """Weighted by rarity: the share of the surface that the name has, the reverse, the share of the rest of the name
    that stands near by, and the weight of the surface right of the common part."""
    rarity, common = stats.word_rarity, pair.common
    surface_total = surface_common = right = 0.0
    for at, word in enumerate(pair.surface_words):
        weight = rarity.get(word, 1.0) + LEAST_WEIGHT
        surface_total += weight
        if word in common:
            surface_common += weight
        elif at > pair.last_common:
            right += weight
    name_total = name_common = completed = 0.0
    for word in pair.name_words:
        weight = rarity.get(word, 1.0) + LEAST_WEIGHT
        name_total += weight
        if word in common:
            name_common += weight
        elif word in near:
            completed += weight
    rest = name_total - name_common
    return (
        surface_common / (surface_total or 1.0),
        name_common / (name_total or 1.0),
        completed / rest if common and rest > 0 else 0.0,
        right,
    )


def _candidate_features(
    candidate: Candidate,
    pair: _Pair,
    stats: NameStats,
    best_bm25: float,
    best_ngram: float,
    bracketed: Sequence[str],
    day: str,
    size: float,
) -> tuple[float, ...]:
    bm25, ngram = candidate.scores.get("bm25", 0.0), candidate.scores.get("ngram", 0.0)
    name_early, name_late = _years_outside(day, candidate.name_valid_from, candidate.name_valid_to)
    listing_early, listing_late = _years_outside(day, *stats.listed_days.get(candidate.company_id, ("", "")))
    ticker = 0.0
    if bracketed:
        ticker = 1.0 if set(bracketed) & set(stats.tickers.get(candidate.company_id, ())) else -1.0
    return (
        candidate.scores.get("exact", 0.0),
        bm25,
        bm25 / best_bm25,
        float(candidate.ranks.get("bm25", 99)),
        ngram,
        ngram / best_ngram,
        float(candidate.ranks.get("ngram", 99)),
        float("graph" in candidate.scores),
        float(_KINDS.get(candidate.best_name_kind, 0)),
        float(candidate.name_is_current),
        name_early,
        name_late,
        listing_early,
        listing_late,
        float(candidate.company_id not in stats.unlisted),
        size,
        math.log1p(stats.start_companies.get(pair.start, 0)) if pair.start else 9.0,
        ticker,
    )


def _years_outside(day: str, first: str, last: str) -> tuple[float, float]:
    """How many years the day lies before the first and after the last, 0 inside; an open end is never exceeded."""
    early = _years(day, first) if first and day < first else 0.0
    late = _years(last, day) if last and day > last else 0.0
    return early, late


@lru_cache(maxsize=50_000)
def _years(one: str, other: str) -> float:
    return (date.fromisoformat(other) - date.fromisoformat(one)).days / 365.25


def _set_features(
    candidates: Sequence[Candidate],
    pairs: Sequence[_Pair],
    coverage: Sequence[tuple[float, float, float, float]],
    sizes: Sequence[float],
    stats: NameStats,
) -> list[tuple[float, ...]]:
    """For each candidate how far it leads the others of its mention."""
    listed = [candidate.company_id not in stats.unlisted for candidate in candidates]
    ratios = [pair.ratio for pair in pairs]
    covered = [both[0] + both[1] for both in coverage]
    first_words = [pair.name_words[:1] for pair in pairs]
    best_ratios, best_covered = _two_best(ratios, listed), _two_best(covered, listed)
    unlisted = max((ratio for ratio, one in zip(ratios, listed, strict=True) if not one), default=None)
    equal = float(sum(pair.equal_core for pair in pairs))
    rows: list[tuple[float, ...]] = []
    for at in range(len(candidates)):
        alike = [
            sizes[other]
            for other, words in enumerate(first_words)
            if other != at and listed[other] and words == first_words[at]
        ]
        rows.append(
            (
                ratios[at] - _best_other(at, best_ratios),
                covered[at] - _best_other(at, best_covered),
                min(alike, default=LOG_UNKNOWN_SIZE) - sizes[at],
                equal,
                -1.0 if unlisted is None or not listed[at] else unlisted - ratios[at],
                float(len(candidates)),
            )
        )
    return rows


def _two_best(values: Sequence[float], counted: Sequence[bool]) -> list[tuple[float, int]]:
    found = [(value, at) for at, (value, one) in enumerate(zip(values, counted, strict=True)) if one]
    return sorted(found, reverse=True)[:2]


def _best_other(at: int, best: Sequence[tuple[float, int]]) -> float:
    return next((value for value, position in best if position != at), 0.0)
