"""The grounding rule: no ticker without a literal name in the text or a path in the graph, and none that was not valid.

From the ranker's answer to a row of `ticker_mappings`: the company must be proven by a path of dated edges, then,
as the last and separate step, one of its listings that were valid on the mention's day is picked. Which company is
meant is not decided here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ledgerline.mapping.candidates import candidate_sets
from ledgerline.mapping.features import NameStats, feature_matrix
from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.mapping.ranking import Answer, Question, rank
from ledgerline.mapping.records import Candidate, Edge, Listing, Mention

if TYPE_CHECKING:
    import pyarrow as pa

NoneReason = Literal["no_candidate", "below_threshold", "not_grounded", "not_listed_as_of"]
_TICKER_LIKE = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,9}")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a mention was mapped to. `path` ends in the listing where there is one; `best` is the ranker's favourite."""

    mention_id: str
    company_id: str | None
    ticker: str | None
    exchange: str | None
    score: float
    none_reason: NoneReason | None
    path: tuple[Edge, ...]
    best: Candidate | None  # also where the answer is none: what it would have been


def map_mentions(
    mentions: Sequence[Mention],
    *,
    index: CandidateIndex,
    graph: KnowledgeGraph,
    stats: NameStats,
    ask: Callable[[bytes], bytes | str],
) -> list[Mapped]:
    """Candidates, features, the ranker's answers (`ask` sends one request body) and grounding, for each mention."""
    sets = candidate_sets(mentions, index=index, graph=graph)
    questions = [question(mention, found, stats) for mention, found in zip(mentions, sets, strict=True)]
    return ground(mentions, sets, rank(questions, ask), graph)


def question(mention: Mention, candidates: Sequence[Candidate], stats: NameStats) -> Question:
    features = feature_matrix(mention, candidates, stats)
    return Question(mention.mention_id, [candidate.company_id for candidate in candidates], features)


def ground(
    mentions: Sequence[Mention],
    candidates: Sequence[Sequence[Candidate]],
    answers: Sequence[Answer],
    graph: KnowledgeGraph,
) -> list[Mapped]:
    """Apply the rule to each mention, in order. The graph is asked once per day, for all companies linked on it."""
    wanted = defaultdict(set)
    for mention, answer in zip(mentions, answers, strict=True):
        if answer.company_id is not None:
            wanted[mention.as_of].add(answer.company_id)
    listings = {day: graph.listings(sorted(companies), as_of=day) for day, companies in wanted.items()}
    return [
        _grounded(mention, found, answer, listings.get(mention.as_of, {}))
        for mention, found, answer in zip(mentions, candidates, answers, strict=True)
    ]


def _grounded(
    mention: Mention,
    candidates: Sequence[Candidate],
    answer: Answer,
    listings: dict[str, list[tuple[Listing, Edge]]],
) -> Mapped:
    if answer.best is None:
        return _none(mention, answer, "no_candidate", None)
    if answer.company_id is None:
        return _none(mention, answer, "below_threshold", candidates[answer.best])
    chosen = next(candidate for candidate in candidates if candidate.company_id == answer.company_id)
    if not chosen.path:
        return _none(mention, answer, "not_grounded", chosen)
    valid = listings.get(answer.company_id, [])
    if not valid:
        return _none(mention, answer, "not_listed_as_of", chosen)
    listing, edge = _share_class(mention, valid)
    path = chosen.path if edge in chosen.path else (*chosen.path, edge)
    return Mapped(
        mention.mention_id, answer.company_id, listing.ticker, listing.exchange, answer.score, None, path, chosen
    )


def _none(mention: Mention, answer: Answer, reason: NoneReason, best: Candidate | None) -> Mapped:
    path = best.path if best else ()
    return Mapped(mention.mention_id, None, None, None, answer.score, reason, path, best)


def _share_class(mention: Mention, valid: Sequence[tuple[Listing, Edge]]) -> tuple[Listing, Edge]:
    """The listing whose ticker the text itself gives (in the span or right behind it), else the primary one."""
    literal = set(_TICKER_LIKE.findall(f"{mention.surface} {mention.right[:24]}"))
    return next((pair for pair in valid if pair[0].ticker in literal), valid[0])


def ungrounded(rows: pa.Table) -> list[dict[str, str | None]]:
    """The rows of `ticker_mappings` that break the rule, each with mention_id, surface, ticker and why.

    Needs the columns mention_id, surface, company_id, ticker, score, none_reason and path.
    """
    columns = ["mention_id", "surface", "company_id", "ticker", "score", "none_reason", "path"]
    found: list[dict[str, str | None]] = []
    for row in rows.select(columns).to_pylist():
        why = _broken_promise(row)
        if why:
            found.append(
                {"mention_id": row["mention_id"], "surface": row["surface"], "ticker": row["ticker"], "why": why}
            )
    return found


def _broken_promise(row: dict[str, Any]) -> str | None:
    if row["score"] is None or not 0 <= row["score"] <= 1:
        return f"the score {row['score']} is no probability"
    if row["ticker"] is None:
        if row["company_id"] is not None:
            return "a company without a ticker"
        return None if row["none_reason"] else "none without a reason"
    if row["none_reason"] is not None:
        return f"a ticker with the reason {row['none_reason']} for none"
    path = row["path"] or []
    if not path:
        return "no path proves it"
    listing = path[-1]
    node = f"company:{row['company_id']}"
    if (
        listing["label"] != "listed_as"
        or listing["from_id"] != node
        or not listing["to_id"].endswith(f":{row['ticker']}")
    ):
        return "the path does not end in a listing of the company under the ticker"
    return None
