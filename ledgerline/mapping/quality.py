"""Counts over ticker mappings that a person wants to see. Nothing is judged here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class MappingSummary:
    """Counts of TICKER_MAPPINGS rows; each list is ready to be shown as a table, `scores` are those of all mentions."""

    linked: int
    per_day: list[dict[str, Any]]
    none_reasons: list[dict[str, Any]]
    most_linked: list[dict[str, Any]]
    scores: list[float]


def summarise(mappings: pa.Table, most: int = 15) -> MappingSummary:
    """Summarise rows of TICKER_MAPPINGS (the columns that are read: source, day, surface, ticker, score, none_reason)."""
    rows = mappings.to_pylist()
    linked = [row for row in rows if row["ticker"]]
    days = Counter((row["source"], row["day"]) for row in rows)
    days_linked = Counter((row["source"], row["day"]) for row in linked)
    return MappingSummary(
        linked=len(linked),
        per_day=[
            {"source": source, "day": day, "mentions": count, "linked": days_linked[source, day]}
            for (source, day), count in sorted(days.items())
        ],
        none_reasons=[
            {"reason": reason, "mentions": count}
            for reason, count in Counter(row["none_reason"] for row in rows if not row["ticker"]).most_common()
        ],
        most_linked=[
            {"ticker": ticker, "surface": surface, "mentions": count}
            for (ticker, surface), count in Counter((row["ticker"], row["surface"]) for row in linked).most_common(most)
        ],
        scores=[row["score"] for row in rows if row["score"] is not None],
    )
