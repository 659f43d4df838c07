"""A hand-written index and graph for the tests of mapping: a few companies, everything in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from ledgerline.mapping.candidates import name_entries
from ledgerline.mapping.records import Edge, Hit, Listing, Mention, NameEntry
from ledgerline.names.facts import Facts, facts_from_rows, valid_on
from ledgerline.names.normalise import core

META, GOOGLE, ALPHABET, CISCO, KAKAO, STYLE = "cik:3", "cik:1", "cik:2", "cik:4", "dart:5", "dart:6"


def small_facts() -> Facts:
    """Two companies that were renamed or succeeded, one with a short name, a Korean one and its unlisted affiliate."""

    def name(company: str, text: str, first: str | None = None, last: str | None = None, kind: str = "name") -> dict:
        language = "ko" if company.startswith("dart") else "en"
        dates = {"valid_from": first, "valid_to": last}
        return {"company_id": company, "name": text, "kind": kind, "language": language, "source": "test", **dates}

    def ticker(company: str, symbol: str, first: str | None = None, last: str | None = None) -> dict:
        dates = {"valid_from": first, "valid_to": last}
        return {"company_id": company, "ticker": symbol, "exchange": "Nasdaq", "source": "test", **dates}

    def company(company_id: str, text: str, rank: int | None, listed: bool = True) -> dict:
        country = "KR" if company_id.startswith("dart") else "US"
        return {"company_id": company_id, "name": text, "country": country, "listed": listed, "size_rank": rank}

    return facts_from_rows(
        {
            "companies": [
                company(META, "Meta Platforms, Inc.", 6),
                company(GOOGLE, "Google Inc.", None),
                company(ALPHABET, "Alphabet Inc.", 3),
                company(CISCO, "Cisco Systems, Inc.", 40),
                company(KAKAO, "카카오", None),
                company(STYLE, "카카오스타일", None, listed=False),
            ],
            "names": [
                name(META, "Facebook Inc", None, "2021-10-27"),
                name(META, "Meta Platforms, Inc.", "2021-10-28"),
                name(GOOGLE, "Google Inc.", None, "2015-10-01"),
                name(ALPHABET, "Alphabet Inc.", "2015-10-02"),
                name(CISCO, "Cisco Systems, Inc."),
                name(KAKAO, "카카오"),
                name(STYLE, "카카오스타일", kind="legal"),
            ],
            "securities": [
                ticker(META, "FB", "2012-05-18", "2022-06-08"),
                ticker(META, "META", "2022-06-09"),
                ticker(GOOGLE, "GOOG", "2004-08-19", "2015-10-01"),
                ticker(ALPHABET, "GOOGL", "2015-10-02"),
                ticker(ALPHABET, "GOOG", "2015-10-02"),
                ticker(CISCO, "CSCO"),
                ticker(KAKAO, "035720"),
            ],
            "successors": [
                {"company_id": GOOGLE, "successor_id": ALPHABET, "day": "2015-10-02", "source": "test"},
            ],
        }
    )


def mention(surface: str, day: str = "2020-01-02", left: str = "", right: str = "", number: str = "m") -> Mention:
    language = "ko" if any("가" <= letter <= "힣" for letter in surface) else "en"
    return Mention(number, surface, left, right, language, date.fromisoformat(day))  # type: ignore[arg-type]


class FakeIndex:
    """Exact by core, bm25 by shared words, ngram by shared letter pairs; scores are counts."""

    def __init__(self, facts: Facts) -> None:
        self.names = name_entries(facts)

    def build(self, entries: Iterable[NameEntry]) -> str:
        self.names = list(entries)
        return "fake"

    def promote(self, version: str) -> None: ...

    def current(self) -> str | None:
        return "fake"

    def entries(self, name_ids: Sequence[str]) -> dict[str, NameEntry]:
        return {entry.name_id: entry for entry in self.names if entry.name_id in name_ids}

    def search(self, surfaces: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        return [self._hits(core(surface), limit) for surface in surfaces]

    def _hits(self, surface: str, limit: int) -> list[Hit]:
        hits = []
        for channel, parts in (
            ("exact", lambda text: {text}),
            ("bm25", lambda text: set(text.split())),
            ("ngram", _pairs),
        ):
            scored = [(len(parts(surface) & parts(core(entry.name))), entry) for entry in self.names]
            for score, entry in sorted(scored, key=lambda pair: (-pair[0], pair[1].name_id))[:limit]:
                if score:
                    hits.append(Hit(entry.company_id, entry.name_id, entry.name, channel, float(score)))  # type: ignore[arg-type]
        return hits


def _pairs(text: str) -> set[str]:
    return {text[at : at + 2] for at in range(len(text) - 1)}


class FakeGraph:
    """Names and tickers of the facts, valid on the days that they say; successors followed once."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.asked_days: list[date] = []

    def build(self, edges: Iterable[Edge]) -> str:
        return "fake"

    def promote(self, version: str) -> None: ...

    def current(self) -> str | None:
        return "fake"

    def named(self, surfaces: Sequence[str], *, as_of: date) -> list[list[tuple[str, tuple[Edge, ...]]]]:
        self.asked_days.append(as_of)
        return [self._bearers(surface, as_of) for surface in surfaces]

    def _bearers(self, surface: str, day: date) -> list[tuple[str, tuple[Edge, ...]]]:
        found: list[tuple[str, tuple[Edge, ...]]] = []
        for row in self.facts.names.to_pylist():
            edge = _edge(row, "named", f"name:{row['name']}")
            if core(row["name"]) == core(surface):
                if valid_on(day, edge.valid_from, edge.valid_to):
                    found.append((row["company_id"], (edge,)))
                for successor in self.facts.successors.to_pylist():
                    if successor["company_id"] == row["company_id"] and successor["day"] <= day.isoformat():
                        node = f"company:{successor['successor_id']}"
                        step = Edge(edge.from_id, "succeeded_by", node, successor["day"], "", "test")
                        found.append((successor["successor_id"], (edge, step)))
        found += [(company_id, (edge,)) for company_id, edge in self.by_ticker(surface, as_of=day)]
        return found

    def listings(self, company_ids: Sequence[str], *, as_of: date) -> dict[str, list[tuple[Listing, Edge]]]:
        found: dict[str, list[tuple[Listing, Edge]]] = {}
        for row in self.facts.securities.to_pylist():
            edge = _edge(row, "listed_as", f"listing:{row['exchange']}:{row['ticker']}")
            if row["company_id"] in company_ids and valid_on(as_of, edge.valid_from, edge.valid_to):
                listing = Listing(row["ticker"], row["exchange"], edge.valid_from, edge.valid_to, "test")
                found.setdefault(row["company_id"], []).append((listing, edge))
        return found

    def by_ticker(self, ticker: str, *, as_of: date) -> list[tuple[str, Edge]]:
        found = []
        for row in self.facts.securities.to_pylist():
            edge = _edge(row, "listed_as", f"listing:{row['exchange']}:{row['ticker']}")
            if row["ticker"] == ticker and valid_on(as_of, edge.valid_from, edge.valid_to):
                found.append((row["company_id"], edge))
        return found


def _edge(row: dict, label: str, to_id: str) -> Edge:
    return Edge(f"company:{row['company_id']}", label, to_id, row["valid_from"] or "", row["valid_to"] or "", "test")
