"""Records that pass between mentions, candidates, the ranker and grounding. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Channel = Literal["exact", "bm25", "ngram", "graph"]


@dataclass(frozen=True, slots=True)
class Span:
    """A company name found in a text: character offsets, the surface as it stands there (case kept)."""

    start: int
    end: int
    surface: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A span with what the ranker may look at: up to 160 characters of text before and after it, and the date."""

    mention_id: str
    surface: str
    left: str
    right: str
    language: Literal["en", "ko"]
    as_of: date


@dataclass(frozen=True, slots=True)
class NameEntry:
    """A dated name of a company as the candidate index stores it; `valid_*` are ISO days, "" where open or unknown."""

    name_id: str
    company_id: str
    name: str
    kind: str
    language: str
    valid_from: str
    valid_to: str
    source: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of the candidate index: `score` is comparable only inside its channel."""

    company_id: str
    name_id: str
    name: str
    channel: Channel
    score: float


@dataclass(frozen=True, slots=True)
class Edge:
    """A dated edge of the knowledge graph. `from_id`/`to_id` are node ids such as company:cik:0000320193, name:apple inc,
    listing:Nasdaq:AAPL, person:...; `valid_*` are ISO days, "" where open."""

    from_id: str
    label: str  # named | listed_as | succeeded_by | led_by | makes
    to_id: str
    valid_from: str
    valid_to: str
    source: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A ticker on an exchange with the days on which it is known to have been valid."""

    ticker: str
    exchange: str
    valid_from: str
    valid_to: str
    source: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A company that a mention may mean, with the evidence of every channel that found it.

    `best_name` is the name that found it best. `path` is the proof: edges from the literal name (or ticker) in the text to
    the company, as of the mention's date; empty where no literal alias or graph path supports it.
    """

    company_id: str
    best_name: str
    best_name_kind: str
    name_is_current: bool
    scores: dict[str, float]  # channel -> score
    ranks: dict[str, int]  # channel -> 1-based rank
    path: tuple[Edge, ...] = ()
    name_valid_from: str = ""  # ISO days of the best name, "" where open or unknown
    name_valid_to: str = ""
