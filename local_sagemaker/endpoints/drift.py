"""How far the predictions of a new release are from those of the old one: one number from 0 (alike) to 1 (disjoint).

For numbers it is the Kolmogorov-Smirnov distance, the largest gap between the two empirical distribution functions; for
labels the total variation distance, half the sum of the differences of their shares. It compares distributions, not
answers to the same request, so it holds where both releases are asked alike, as the share of a canary is. With few
answers it is noisy: 10 against 100 of one and the same release reach .51 in 1 case of 100, .60 in 1 of 1,000.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

RECENT = 256  # answers that are compared, the last of each release
FEWEST = 10  # answers of each, below which there is no distance
_PER_ANSWER = 8  # predictions; the first are as good as any
_NAMES = frozenset(
    {
        "prediction",
        "predictions",
        "predicted_label",
        "predicted_value",
        "label",
        "labels",
        "score",
        "scores",
        "probability",
        "probabilities",
    }
)  # fmt: skip - the members of the answers of SageMaker's built-in algorithms and of most models


def predictions(body: bytes) -> list[float | str]:
    """The numbers and labels that an answer predicts: members of the usual names anywhere in it, or a bare list or CSV.

    Empty for an answer that is neither JSON nor CSV.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return _of_csv(body)
    return list(islice(_leaves(found, not isinstance(found, dict)), _PER_ANSWER))


def _leaves(value: Any, wanted: bool) -> Iterator[float | str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, name in _NAMES)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, wanted)
    elif wanted and isinstance(value, (bool, str)):
        yield str(value)
    elif wanted and isinstance(value, (int, float)) and math.isfinite(value):
        yield float(value)


def _of_csv(body: bytes) -> list[float | str]:
    cells = body[:1024].decode("utf-8", "replace").replace("\n", ",").split(",")
    try:
        values = [float(cell) for cell in cells if cell.strip()][:_PER_ANSWER]
    except ValueError:
        return []
    return [value for value in values if math.isfinite(value)]


def distance(old: Sequence[list[float | str]], new: Sequence[list[float | str]]) -> float | None:
    """The drift between two sets of answers, None while there are too few with a prediction."""
    if min(sum(map(bool, old)), sum(map(bool, new))) < FEWEST:
        return None
    one, other = _numbers(old), _numbers(new)
    return kolmogorov_smirnov(one, other) if one and other else total_variation(_labels(old), _labels(new))


def _numbers(answers: Sequence[list[float | str]]) -> list[float]:
    return sorted(value for answer in answers for value in answer if isinstance(value, float))


def _labels(answers: Sequence[list[float | str]]) -> Counter[str]:
    return Counter(str(value) for answer in answers for value in answer)


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest distance between the distribution functions of two sorted samples."""
    furthest = 0.0
    at = to = 0
    while at < len(one) and to < len(other):
        value = min(one[at], other[to])
        while at < len(one) and one[at] == value:
            at += 1
        while to < len(other) and other[to] == value:
            to += 1
        furthest = max(furthest, abs(at / len(one) - to / len(other)))
    return furthest


def total_variation(one: Counter[str], other: Counter[str]) -> float:
    """Half the sum of the differences of the labels' shares."""
    first, second = one.total(), other.total()
    return sum(abs(one[label] / first - other[label] / second) for label in {*one, *other}) / 2
