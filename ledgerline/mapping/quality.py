"""Counts over ticker mappings that a person wants to see. Nothing is judged here."""

from __future__ import annotations

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
    rows = mappings.select(["source", "day", "surface", "ticker", "score", "none_reason"]).to_pandas()
    rows["linked"] = rows["ticker"].notna()
    linked, none = rows[rows["linked"]], rows[~rows["linked"]]
    days = rows.groupby(["source", "day"], as_index=False).agg(mentions=("linked", "size"), linked=("linked", "sum"))
    reasons = none["none_reason"].value_counts().rename_axis("reason").reset_index(name="mentions")
    pairs = linked.groupby(["ticker", "surface"], as_index=False).size().rename(columns={"size": "mentions"})
    pairs = pairs.sort_values(["mentions", "ticker", "surface"], ascending=[False, True, True]).head(most)
    return MappingSummary(
        linked=len(linked),
        per_day=days.to_dict("records"),
        none_reasons=reasons.to_dict("records"),
        most_linked=pairs.to_dict("records"),
        scores=rows["score"].dropna().tolist(),
    )
