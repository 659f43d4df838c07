"""Counts over ticker mappings."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ledgerline.mapping.quality import summarise
from ledgerline.mapping.tables import TICKER_MAPPINGS


def row(surface: str, ticker: str | None, score: float | None, **more: Any) -> dict[str, Any]:
    reason = None if ticker else "below_threshold"
    place = {"source": "edgar", "day": "2026-03-02"}
    return {**place, "surface": surface, "ticker": ticker, "score": score, "none_reason": reason, **more}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TICKER_MAPPINGS)


ROWS = table(
    row("Apple", "AAPL", 0.9),
    row("Apple", "AAPL", 0.8),
    row("Apple Inc.", "AAPL", 0.7),
    row("apple", None, 0.2),
    row("Nobody", None, None, none_reason="no_candidate"),
    row("삼성전자", "005930", 0.95, source="dart", day="2026-03-03"),
)


def test_linked_and_none_are_counted_per_source_and_day() -> None:
    found = summarise(ROWS)
    assert found.linked == 4
    assert sorted(found.per_day, key=lambda day: day["source"]) == [
        {"source": "dart", "day": "2026-03-03", "mentions": 1, "linked": 1},
        {"source": "edgar", "day": "2026-03-02", "mentions": 5, "linked": 3},
    ]


def test_reasons_for_none_are_counted() -> None:
    found = {one["reason"]: one["mentions"] for one in summarise(ROWS).none_reasons}
    assert found == {"below_threshold": 1, "no_candidate": 1}


def test_the_most_linked_pairs_come_first_equal_ones_in_a_fixed_order() -> None:
    assert summarise(ROWS).most_linked == [
        {"ticker": "AAPL", "surface": "Apple", "mentions": 2},
        {"ticker": "005930", "surface": "삼성전자", "mentions": 1},
        {"ticker": "AAPL", "surface": "Apple Inc.", "mentions": 1},
    ]
    assert len(summarise(ROWS, most=1).most_linked) == 1


def test_scores_are_those_that_there_are() -> None:
    assert sorted(summarise(ROWS).scores) == [0.2, 0.7, 0.8, 0.9, 0.95]


def test_no_mappings_are_no_error() -> None:
    found = summarise(TICKER_MAPPINGS.empty_table())
    assert (found.linked, found.per_day, found.none_reasons, found.most_linked, found.scores) == (0, [], [], [], [])
