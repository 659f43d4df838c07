"""Candidates: which companies a mention may mean, from every channel, with the evidence of each.

Here: the names that the index holds, and the union of exact, BM25, n-gram and graph candidates. Not here: how alike a
surface and a name are (`features`), and which candidate is right (the ranker).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from rapidfuzz import fuzz

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.mapping.records import Candidate, Channel, Edge, Hit, Mention, NameEntry
from ledgerline.names.normalise import core

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts

MAX_CANDIDATES = 10
HITS_PER_CHANNEL = 6
SWAPS = 3  # of the index's version while one batch is asked for: it is made anew once a day
MIN_SPELLING, LONG_NAME = 0.88, 8  # two slips in ten letters
# What each channel's first place is worth when the union is cut to MAX_CANDIDATES; a literal name always stays.
_CHANNEL_WEIGHT: dict[Channel, float] = {"exact": 4.0, "graph": 4.0, "bm25": 1.0, "ngram": 1.0}
_KIND_ORDER = {"name": 0, "legal": 1, "english": 2, "alias": 3}
_POSSESSIVE = re.compile(r"['’]s?$")


def name_entries(facts: Facts) -> list[NameEntry]:
    """What the candidate index holds: one entry per company and spelling, its days united over equal spellings.

    Spellings are equal when their `core` and language are; the newest one is kept. Names of people and products are
    left to the graph: they are no names of the company.
    """
    united: dict[tuple[str, str, str], NameEntry] = {}
    columns = [facts.names.column(name).to_pylist() for name in facts.names.schema.names]
    for company_id, name, kind, language, valid_from, valid_to, source in zip(*columns, strict=True):
        key = core(name)
        if kind not in _KIND_ORDER or not key:
            continue
        name_id = f"{company_id}|{language}|{key}"
        entry = NameEntry(name_id, company_id, name, kind, language, valid_from or "", valid_to or "", source)
        known = united.get((company_id, language, key))
        united[company_id, language, key] = entry if known is None else _unite(known, entry)
    return list(united.values())


def _unite(one: NameEntry, other: NameEntry) -> NameEntry:
    newest = max(one, other, key=lambda e: (e.valid_to or "9999", -_KIND_ORDER[e.kind], e.name))
    kind = min(one.kind, other.kind, key=_KIND_ORDER.__getitem__)
    # An alias without days says nothing about when; it must not open the days of a dated name.
    dated = [e for e in (one, other) if e.kind == kind] if one.kind != other.kind else [one, other]
    return NameEntry(
        newest.name_id,
        newest.company_id,
        newest.name,
        kind,
        newest.language,
        min(e.valid_from for e in dated),
        "" if any(not e.valid_to for e in dated) else max(e.valid_to for e in dated),
        newest.source,
    )


def candidate_sets(
    mentions: Sequence[Mention], *, index: CandidateIndex, graph: KnowledgeGraph
) -> list[list[Candidate]]:
    """For each mention, in order, at most MAX_CANDIDATES companies, best first; an unknown name may have none.

    A company keeps the one name that fits best; where two fit equally, the one that was valid at the mention's date.
    Its path is the graph's, else the edge of that name where the text carries it and the company had it by then.
    Companies without a listing stay in: that the text means *them* is what the ranker must be able to see.
    """
    wanted = [_spellings(mention.surface) for mention in mentions]
    distinct = list(dict.fromkeys(spelling for spellings in wanted for spelling in spellings))
    hits, entries = _found(index, distinct)
    paths = _paths(mentions, wanted, graph)
    return [
        _candidates(mention, [hits[spelling] for spelling in spellings], entries, path)
        for mention, spellings, path in zip(mentions, wanted, paths, strict=True)
    ]


def _found(index: CandidateIndex, surfaces: Sequence[str]) -> tuple[dict[str, list[Hit]], dict[str, NameEntry]]:
    """The hits of each surface and the entries that they name, of one version of the index: where another one was promoted
    between both questions, which may lack a name, both are asked again."""
    for _ in range(SWAPS):
        hits = dict(zip(surfaces, index.search(surfaces, limit=HITS_PER_CHANNEL), strict=True))
        name_ids = {hit.name_id for found in hits.values() for hit in found}
        entries = index.entries(sorted(name_ids))
        if entries.keys() >= name_ids:
            return hits, entries
    raise LedgerlineError(
        f"The candidate index names entries that it does not have, {SWAPS} times in a row: it is damaged, or promoted "
        "again and again; materialize `candidate_index`, then this again."
    )


def _spellings(surface: str) -> list[str]:
    """The surface, and where it ends in a possessive also without it: "Apple's" is Apple, "McDonald's" is a name."""
    bare = _POSSESSIVE.sub("", surface)
    return [surface] if bare in ("", surface) else [surface, bare]


def _paths(
    mentions: Sequence[Mention], wanted: Sequence[list[str]], graph: KnowledgeGraph
) -> list[dict[str, tuple[Edge, ...]]]:
    """For each mention the companies that the graph names by its surface on its day, each with its path."""
    by_day: dict[date, dict[str, list[tuple[str, tuple[Edge, ...]]]]] = defaultdict(dict)
    for mention, spellings in zip(mentions, wanted, strict=True):
        for spelling in spellings:
            by_day[mention.as_of][spelling] = []
    for day, surfaces in by_day.items():
        by_day[day] = dict(zip(surfaces, graph.named(list(surfaces), as_of=day), strict=True))
    found = []
    for mention, spellings in zip(mentions, wanted, strict=True):
        paths: dict[str, tuple[Edge, ...]] = {}
        for spelling in spellings:
            for company_id, path in by_day[mention.as_of][spelling]:
                paths.setdefault(company_id, path)
        found.append(paths)
    return found


@dataclass(slots=True)
class _Evidence:
    names: dict[str, str] = field(default_factory=dict)  # name_id -> name
    scores: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    weight: float = 0.0

    def add(self, channel: Channel, score: float, rank: int) -> None:
        if channel not in self.ranks or rank < self.ranks[channel]:
            self.ranks[channel] = rank
            self.scores[channel] = score
            self.weight += _CHANNEL_WEIGHT[channel] / rank


def _candidates(
    mention: Mention,
    found: Sequence[Sequence[Hit]],
    entries: dict[str, NameEntry],
    paths: dict[str, tuple[Edge, ...]],
) -> list[Candidate]:
    evidence: dict[str, _Evidence] = {}
    for hits in found:
        ranks: dict[str, int] = {}
        for hit in hits:
            rank = ranks[hit.channel] = ranks.get(hit.channel, 0) + 1
            of_company = evidence.setdefault(hit.company_id, _Evidence())
            of_company.names.setdefault(hit.name_id, hit.name)
            of_company.add(hit.channel, hit.score, rank)
    for company_id in paths:
        evidence.setdefault(company_id, _Evidence()).add("graph", 1.0, 1)
    best = sorted(evidence.items(), key=lambda item: (-item[1].weight, item[0]))[:MAX_CANDIDATES]
    day = mention.as_of.isoformat()
    surface = core(mention.surface)
    return [
        _candidate(company_id, of_company, entries, paths.get(company_id, ()), surface, day)
        for company_id, of_company in best
    ]


def _candidate(
    company_id: str,
    evidence: _Evidence,
    entries: dict[str, NameEntry],
    path: tuple[Edge, ...],
    surface: str,
    day: str,
) -> Candidate:
    if not evidence.names or (path and "exact" not in evidence.scores):
        return _named_by_path(company_id, evidence, path, day)
    names = [entries[name_id] for name_id in evidence.names]
    if len(names) == 1:
        best = names[0]
    else:
        best = max(names, key=lambda e: (round(fuzz.ratio(surface, core(e.name))), _valid(e, day), e.name_id))
    # A former name is still used later; a name that the company did not yet have proves nothing.
    if not path and best.valid_from <= day and is_literal(surface, core(best.name)):
        edge = Edge(f"company:{company_id}", "named", f"name:{best.name}", best.valid_from, best.valid_to, best.source)
        path = (edge,)
    return Candidate(
        company_id,
        best.name,
        best.kind,
        not best.valid_to,
        evidence.scores,
        evidence.ranks,
        path,
        best.valid_from,
        best.valid_to,
    )


def is_literal(surface: str, name: str) -> bool:
    """Whether a surface carries a name literally, both as `core`: the name in it, a run of its words, or a misspelling.

    A misspelling keeps MIN_SPELLING of the letters of a name that is long enough for a slip to leave no doubt.
    """
    if f" {name} " in f" {surface} " or f" {surface} " in f" {name} ":
        return True
    one, other = surface.replace(" ", ""), name.replace(" ", "")
    return one == other or (min(len(one), len(other)) >= LONG_NAME and fuzz.ratio(one, other) >= 100 * MIN_SPELLING)


def _named_by_path(company_id: str, evidence: _Evidence, path: tuple[Edge, ...], day: str) -> Candidate:
    """A company that only the graph knows literally by this surface: its ticker, or the name of its predecessor."""
    first = path[0]
    kind = "ticker" if first.label == "listed_as" else "name"
    literal = first.to_id.rpartition(":")[2]
    current = not first.valid_to or first.valid_to >= day
    return Candidate(
        company_id,
        literal,
        kind,
        current,
        evidence.scores,
        evidence.ranks,
        path,
        first.valid_from,
        first.valid_to,
    )


def _valid(entry: NameEntry, day: str) -> bool:
    return entry.valid_from <= day and (not entry.valid_to or entry.valid_to >= day)
