"""What ticker mapping needs of the world: a candidate index and a knowledge graph, both versioned. See `resources/`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Protocol

from ledgerline.mapping.records import Edge, Hit, Listing, NameEntry


class CandidateIndex(Protocol):
    """A search index over dated names. A version is built aside and becomes visible by one alias swap (`promote`)."""

    def build(self, entries: Iterable[NameEntry]) -> str:
        """Load a new version and return its name; equal entries give an equal name and are not loaded again."""
        ...

    def promote(self, version: str) -> None: ...

    def current(self) -> str | None: ...

    def entries(self, name_ids: Sequence[str]) -> dict[str, NameEntry]: ...

    def search(self, surfaces: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        """For each surface, in order, the hits of the channels exact, bm25 and ngram (each at most `limit` companies)."""
        ...


class KnowledgeGraph(Protocol):
    """Companies, listings, names and people with dated, sourced edges. Every query takes `as_of`."""

    def build(self, edges: Iterable[Edge]) -> str: ...

    def promote(self, version: str) -> None: ...

    def current(self) -> str | None: ...

    def named(self, surfaces: Sequence[str], *, as_of: date) -> list[list[tuple[str, tuple[Edge, ...]]]]:
        """For each surface the companies that bear this name, ticker or alias as of the day, each with its path: the
        edges used (a `named` edge, or `listed_as`, then `succeeded_by` where the bearer was succeeded before the day)."""
        ...

    def listings(self, company_ids: Sequence[str], *, as_of: date) -> dict[str, list[tuple[Listing, Edge]]]:
        """The tickers of each company valid as of the day, the primary one first."""
        ...

    def by_ticker(self, ticker: str, *, as_of: date) -> list[tuple[str, Edge]]:
        """The companies that a ticker meant on that day."""
        ...
