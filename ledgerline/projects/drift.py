"""How far rows have moved away from the training set of a model: the population stability index (PSI) of each column.

PSI = sum over bins of (new share - old share) * ln(new share / old share); 0.1 is usually called a small shift, 0.2 an
alarm. Bins are tenths of the old values of a number, and the classes of everything else. Pure functions over Arrow tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BINS = 10
CLASSES = 50  # the most frequent ones of the old rows; all others are one class
SMALLEST = 1e-4  # share of an empty bin, so that the logarithm is finite


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """PSI of one column."""

    column: str
    index: float


def drift(old: pa.Table, new: pa.Table, columns: Sequence[str]) -> list[ColumnDrift]:
    """PSI of every column that both tables have and that has a distribution, greatest first; empty without rows.

    Left out: lists, times (new rows have new ones), texts that name a row (most occur once), other types than before.
    """
    if not old.num_rows or not new.num_rows:
        return []
    found = []
    for name in columns:
        if name in old.column_names and name in new.column_names and _comparable(old[name], new[name]):
            found.append(ColumnDrift(name, round(stability_index(old[name], new[name]), 6)))
    return sorted(found, key=lambda item: (-item.index, item.column))


def _comparable(old: pa.ChunkedArray, new: pa.ChunkedArray) -> bool:
    kind = old.type
    if _is_number(kind) and _is_number(new.type):
        return True
    if kind != new.type or pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        return False
    return not _is_text(kind) or 2 * pc.count_distinct(old).as_py() <= len(old)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def stability_index(old: pa.ChunkedArray, new: pa.ChunkedArray) -> float:
    """PSI of two columns of one type, or of numbers; nulls are a bin of their own."""
    if _is_number(old.type) and len(pc.unique(old)) > BINS:
        shares = _number_shares(_numbers(old), _numbers(new))
    elif _is_number(old.type):
        shares = _class_shares(_numbers(old).tolist(), _numbers(new).tolist())
    else:
        shares = _class_shares(old.to_pylist(), new.to_pylist())
    before, after = (np.maximum(np.array(side), SMALLEST) for side in shares)
    return float(((after - before) * np.log(after / before)).sum())


def _numbers(column: pa.ChunkedArray) -> Any:
    return column.cast(pa.float64()).to_numpy().astype(float)


def _number_shares(old: Any, new: Any) -> tuple[list[float], list[float]]:
    edges = np.unique(np.quantile(old[~np.isnan(old)], np.linspace(0, 1, BINS + 1)[1:-1]))

    def shares(values: Any) -> list[float]:
        missing = np.isnan(values)
        counts = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
        return [*(counts / len(values)).tolist(), float(missing.mean())]

    return shares(old), shares(new)


def _class_shares(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[float], list[float]]:
    kept = [value for value, _ in Counter(map(str, old)).most_common(CLASSES)]

    def shares(values: Sequence[Any]) -> list[float]:
        counts = Counter(map(str, values))
        found = [counts[value] / len(values) for value in kept]
        return [*found, 1 - sum(found)]

    return shares(old), shares(new)
