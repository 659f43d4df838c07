"""The leak gate: what a training set must not hold, because nobody knows it at the time at which the model is asked.

Two questions: was a feature's value knowable only after its row's time (`dataset.available`), and does one feature alone
tell the label so well that it must have been written with the answer in hand? `refuse_leaks` is called before every
training and tuning and once more before a model is registered; the blocking check `no_leak` shows the same `find_leaks`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ledgerline.errors import PermanentFailure
from ledgerline.projects.sections import Dataset
from ledgerline.projects.splits import entity_share
from ledgerline.projects.times import UNKNOWN, micros

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 10  # a number with at most so many values is a class
ENOUGH = 10  # rows of a class, and outside of it, below which a perfect score may be chance
BINS = 64
REMEDY = (
    "Take the column out of dataset.columns, join it point-in-time (dataset.joins), or, where one column may well tell "
    "the label, raise gate.max_single_feature_score in config.yaml."
)
FIRST_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Leak:
    """One column that must not be learned from, why, and how many rows show it."""

    column: str
    rows: int
    why: str


@dataclass(frozen=True, slots=True)
class FeatureScore:
    """How well one feature alone tells the label: 0.5 to 1 (area under the ROC curve), or 0 to 1 for a number."""

    column: str
    score: float


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What was found, and the score of every feature, greatest first (none without `dataset.label_column`)."""

    leaks: tuple[Leak, ...]
    scores: tuple[FeatureScore, ...]


def refuse_leaks(rows: pa.Table, dataset: Dataset, *, most: float, project: str) -> None:
    """Raises PermanentFailure that names every leaking column of a training set."""
    leaks = find_leaks(rows, dataset, most=most).leaks
    if leaks:
        raise PermanentFailure(
            f"The training set of {project} leaks what is not known in time, so nothing is trained on it:\n"
            + "\n".join(f"  {leak.column}: {leak.why}" for leak in leaks)
            + f"\n{REMEDY}"
        )


def find_leaks(rows: pa.Table, dataset: Dataset, *, most: float) -> LeakReport:
    """Columns of the training set that were knowable too late, or tell the label better than `most`."""
    leaks = list(_too_late(rows, dataset))
    scores = feature_scores(rows, dataset) if dataset.label_column else []
    for found in scores:
        if found.score > most:
            why = f"alone it tells {dataset.label_column} with {found.score:.4f}, which is more than {most:g}"
            leaks.append(Leak(found.column, rows.num_rows, why))
    return LeakReport(tuple(leaks), tuple(scores))


def _too_late(rows: pa.Table, dataset: Dataset) -> Iterator[Leak]:
    for feature, column in dataset.available.items():
        times = micros(rows[dataset.time_column], dataset.time_column)
        available = micros(rows[column], column)
        late = ((available > times) | (times == UNKNOWN)) & rows[feature].is_valid().to_numpy()
        if not late.any():
            continue
        first = int(np.flatnonzero(late)[0])
        entity = rows[dataset.entity_column][first].as_py()
        known = "nobody says when" if available[first] == UNKNOWN else f"only at {_shown(available[first])}"
        yield Leak(
            feature,
            int(late.sum()),
            f"{int(late.sum())} of {rows.num_rows} rows hold a value that was not knowable at {dataset.time_column}, e.g. "
            f"{dataset.entity_column} {entity!r} at {rows[dataset.time_column][first].as_py()}: {column} says {known}",
        )


def _shown(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=int(time))).isoformat()


# One feature alone ---------------------------------------------------------------------------------------------------


def feature_scores(rows: pa.Table, dataset: Dataset) -> list[FeatureScore]:
    """How well each feature alone tells the label, greatest first.

    A number is judged by its order, with nulls below and above all others; text by its order and by the first number in
    it. Both are judged once more by the label's mean of equal values (of a number: of its bin) in the other half of the
    entities, so that an id that occurs once tells nothing.
    The fixed entries of a list and the fields of a struct are features of their own.
    """
    labels = rows[dataset.label_column]
    known = rows.filter(pc.invert(pc.is_null(labels, nan_is_null=True)))
    targets, numeric = _targets(known[dataset.label_column])
    half = _halves(known[dataset.entity_column])
    not_features = {dataset.label_column, dataset.entity_column, dataset.time_column}
    not_features |= {dataset.split.column} if dataset.split else set()
    found = []
    for name in known.column_names:
        if name not in not_features:
            for feature, values in _features(name, known[name].combine_chunks()):
                found.append(FeatureScore(feature, round(_score(values, half, targets, numeric), 6)))
    return sorted(found, key=lambda item: (-item.score, item.column))


def _targets(labels: pa.ChunkedArray) -> tuple[list[NDArray[np.float64]], bool]:
    """The label as numbers: itself, or for classes one column of 0 and 1 per class with enough rows on both sides."""
    kind = labels.type
    distinct = pc.unique(labels)
    if _is_number(kind) and len(distinct) > CLASSES:
        return [_numbers(labels.combine_chunks())], True
    codes = pc.index_in(labels, value_set=distinct).to_numpy()
    counts = np.bincount(codes, minlength=len(distinct))
    enough = [code for code, count in enumerate(counts) if min(count, len(codes) - count) >= ENOUGH]
    return [(codes == code).astype(float) for code in enough], False


def _halves(entities: pa.ChunkedArray) -> NDArray[np.bool_]:
    codes = entities.combine_chunks().dictionary_encode()
    sides = np.array([entity_share(f"half {entity}") < 0.5 for entity in codes.dictionary.to_pylist()] + [False])
    return sides[pc.fill_null(codes.indices, len(codes.dictionary)).to_numpy(zero_copy_only=False)]


def _features(name: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = values.type
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _features(f"{name}.{field.name}", pc.struct_field(values, [field.name]))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.unique(pc.list_value_length(values)).drop_null()
        if len(lengths) == 1:
            for at in range(lengths[0].as_py()):
                yield from _features(f"{name}[{at}]", pc.list_element(values, at))
        else:
            yield name, pa.array([json.dumps(one, default=str) for one in values.to_pylist()])
    else:
        yield name, values


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(float)


def _score(values: pa.Array, half: NDArray[np.bool_], targets: list[NDArray[np.float64]], numeric: bool) -> float:
    """The best that the feature tells of any of the targets."""
    columns = list(_orders_of(values))
    ranks: list[NDArray[np.float64]] = []
    for numbers in columns:
        missing = np.isnan(numbers)
        if missing.any():
            ranks += [_ranks(np.where(missing, edge, numbers)) for edge in (-np.inf, np.inf)]
        else:
            ranks.append(_ranks(numbers))
    # Text is judged by what is equal, not by what is near.
    codes = _codes(values) if len(columns) > 1 else _bins(ranks[0])
    best = 0.0 if numeric else 0.5
    for target in targets:
        means = _ranks(_means_of_the_other_half(codes, half, target))
        if numeric:
            right = _ranks(target)
            best = max(
                best, *(_correlation(one, right) ** 2 for one in ranks), max(0.0, _correlation(means, right)) ** 2
            )
        else:
            areas = [_area(one, target) for one in ranks]
            # An order may tell either way round; the means of other rows tell upwards, or what they tell is chance.
            best = max(best, *areas, *(1 - area for area in areas), _area(means, target))
    return best


def _orders_of(values: pa.Array) -> Iterator[NDArray[np.float64]]:
    """A column as numbers, NaN where null: one for numbers and times, two (order, number in it) for everything else."""
    kind = values.type
    if _is_number(kind):
        yield _numbers(values)
    elif pa.types.is_boolean(kind):
        yield _numbers(values.cast(pa.int8()))
    elif pa.types.is_temporal(kind):
        yield _numbers(values.cast(pa.int32() if kind.bit_width == 32 else pa.int64()))
    else:
        codes = _codes(values)
        yield np.where(values.is_valid().to_numpy(zero_copy_only=False), codes.astype(float), np.nan)
        found = (FIRST_NUMBER.search(text) if text else None for text in _text(values).to_pylist())
        yield np.array([float(match[0]) if match else np.nan for match in found])


def _text(values: pa.Array) -> pa.Array:
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _codes(values: pa.Array) -> NDArray[np.int64]:
    return np.unique(np.array(pc.fill_null(_text(values), "").to_pylist(), dtype=str), return_inverse=True)[1]


def _bins(ranks: NDArray[np.float64]) -> NDArray[np.int64]:
    """Few values: one bin each; else bins of equally many rows."""
    distinct, codes = np.unique(ranks, return_inverse=True)
    return codes if len(distinct) <= BINS else (ranks * BINS / (len(ranks) + 1)).astype(np.int64)


def _means_of_the_other_half(
    codes: NDArray[np.int64], half: NDArray[np.bool_], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Per row the target's mean over the rows of the same code on the other side; the overall mean where there are none."""
    encoded = np.full(len(target), float(target.mean()))
    for side in (half, ~half):
        counts = np.bincount(codes[~side], minlength=int(codes.max()) + 1)
        sums = np.bincount(codes[~side], weights=target[~side], minlength=len(counts))
        seen = side & (counts[codes] > 0)
        encoded[seen] = sums[codes[seen]] / counts[codes[seen]]
    return encoded


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _area(ranks: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a row of the class stands above one outside of it."""
    inside = target == 1
    positive, negative = int(inside.sum()), int((~inside).sum())
    return float((ranks[inside].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Of two rankings; 0 where one of them is constant."""
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def as_table(scores: tuple[FeatureScore, ...], most: int = 30) -> list[dict[str, Any]]:
    """Rows for a metadata table."""
    return [{"feature": item.column, "score alone": item.score} for item in scores[:most]]
