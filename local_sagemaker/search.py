"""How a tuning job chooses hyperparameters: ranges, the strategies Random, Bayesian and Grid, and early stopping.

Nothing is run here and nothing is stored. Values are strings, as hyperparameters are. Bayesian is optuna's TPE sampler
over all parameters together; the trials under way count as bad ones, so that parallel trials do not crowd.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MAX_PARAMETERS = 30  # quota of AWS: hyperparameters that one tuning job searches
_LISTED = 10_000  # combinations; a space of no more is listed, so that none of them is tried twice
_STARTUP_TRIALS = 5  # random ones before the first informed one
_EARLIER_TRIALS = 3  # completed ones before a median means anything
_LOG_FROM = 100.0  # ScalingType Auto: logarithmic where the bounds are two orders of magnitude apart

Values = dict[str, str]


@dataclass(frozen=True, slots=True)
class Range:
    """One hyperparameter: numbers from `low` to `high` on a scale, or one of `choices` where there are any."""

    name: str
    integer: bool = False
    low: float = 0.0
    high: float = 0.0
    scale: str = "Linear"
    choices: tuple[str, ...] = ()

    @property
    def count(self) -> float:
        """How many values it has."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if self.integer else math.inf

    def values(self) -> list[str]:
        return list(self.choices) or [str(number) for number in range(int(self.low), int(self.high) + 1)]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.scale == "Logarithmic")
        if self.scale == "ReverseLogarithmic":
            return FloatDistribution(1 - self.high, 1 - self.low, log=True)
        return FloatDistribution(self.low, self.high, log=self.scale == "Logarithmic")

    def to_value(self, sampled: Any) -> str:
        """A sample of the distribution as the hyperparameter's value."""
        if self.scale == "ReverseLogarithmic":
            sampled = min(max(1 - sampled, self.low), self.high)
        return str(sampled)

    def to_sample(self, value: str) -> Any:
        """The inverse of `to_value`, for the values of a listed space."""
        return int(value) if self.integer else value


def read_ranges(ranges: Mapping[str, Any]) -> list[Range]:
    """The ParameterRanges of a request. Raises ValueError for what cannot be searched."""
    found = [_numeric(item, integer=True) for item in ranges.get("IntegerParameterRanges", [])]
    found += [_numeric(item, integer=False) for item in ranges.get("ContinuousParameterRanges", [])]
    found += [
        Range(item["Name"], choices=tuple(dict.fromkeys(item["Values"])))
        for item in ranges.get("CategoricalParameterRanges", [])
    ]
    names = [item.name for item in found]
    if len(set(names)) != len(names):
        raise ValueError(f"The hyperparameters of the ranges must be unique: {', '.join(sorted(names))}.")
    if not 1 <= len(found) <= MAX_PARAMETERS:
        raise ValueError(f"A tuning job searches from 1 to {MAX_PARAMETERS} hyperparameters, not {len(found)}.")
    return found


def _numeric(item: Mapping[str, str], *, integer: bool) -> Range:
    name, scale = item["Name"], item.get("ScalingType", "Auto")
    try:
        low, high = (int(item[end]) if integer else float(item[end]) for end in ("MinValue", "MaxValue"))
    except ValueError as error:
        raise ValueError(f"The bounds of {name} are no {'integers' if integer else 'numbers'} ({error}).") from error
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"MinValue {low} of {name} must not be greater than its MaxValue {high}.")
    if scale == "Logarithmic" and low <= 0:
        raise ValueError(f"Logarithmic scaling of {name} needs a MinValue greater than 0, not {low}.")
    if scale == "ReverseLogarithmic" and (integer or not 0 <= low <= high < 1):
        raise ValueError(f"Reverse logarithmic scaling of {name} needs a continuous range within 0 <= x < 1.")
    if scale == "Auto":
        scale = "Logarithmic" if low > 0 and high / low >= _LOG_FROM else "Linear"
    return Range(name, integer, low, high, scale)


def combinations(ranges: Sequence[Range]) -> float:
    return math.prod(item.count for item in ranges)


class Search(Protocol):
    """`ask` gives a number and values to try, None where all were tried; `tell` its objective, None if it has none."""

    def ask(self) -> tuple[int, Values] | None: ...

    def tell(self, number: int, objective: float | None) -> None: ...


def begin(strategy: str, ranges: Sequence[Range], *, maximize: bool, seed: int | None) -> Search:
    return Grid(ranges) if strategy == "Grid" else Sampled(strategy, ranges, maximize=maximize, seed=seed)


class Grid:
    """Every combination once, in order."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._names = [item.name for item in ranges]
        self._left = enumerate(itertools.product(*(item.values() for item in ranges)))

    def ask(self) -> tuple[int, Values] | None:
        number, values = next(self._left, (-1, ()))
        return (number, dict(zip(self._names, values, strict=True))) if values else None

    def tell(self, number: int, objective: float | None) -> None:
        """A grid learns nothing."""


class Sampled:
    """Random or Bayesian (TPE) samples; in a space of few combinations none is tried twice."""

    def __init__(self, strategy: str, ranges: Sequence[Range], *, maximize: bool, seed: int | None) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._failed = optuna.trial.TrialState.FAIL
        self._ranges = {item.name: item for item in ranges}
        self._distributions = {item.name: item.distribution() for item in ranges}
        self._random = random.Random(seed)  # noqa: S311 - a search, no secret
        sampler: Any = optuna.samplers.RandomSampler(seed=seed)
        if strategy == "Bayesian":
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP_TRIALS
            )
        self._study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
        self._untried: dict[tuple[str, ...], None] | None = None
        if combinations(ranges) <= _LISTED:
            self._untried = dict.fromkeys(itertools.product(*(item.values() for item in ranges)))

    def ask(self) -> tuple[int, Values] | None:
        if self._untried is not None and not self._untried:
            return None
        number, values = self._sample()
        if self._untried is not None and tuple(values.values()) not in self._untried:
            self._study.tell(number, state=self._failed)
            chosen = dict(zip(self._ranges, self._random.choice(list(self._untried)), strict=True))
            self._study.enqueue_trial({name: self._ranges[name].to_sample(value) for name, value in chosen.items()})
            number, values = self._sample()
        if self._untried is not None:
            del self._untried[tuple(values.values())]
        return number, values

    def _sample(self) -> tuple[int, Values]:
        trial = self._study.ask(self._distributions)
        return trial.number, {name: item.to_value(trial.params[name]) for name, item in self._ranges.items()}

    def tell(self, number: int, objective: float | None) -> None:
        if objective is None:
            self._study.tell(number, state=self._failed)
        else:
            self._study.tell(number, objective)


def worse_than_median(series: Sequence[float], earlier: Sequence[Sequence[float]], *, maximize: bool) -> bool:
    """AWS's rule of early stopping: the last value against the median of the running averages of earlier trials.

    `series` are the objective's values of a trial under way, one per epoch; the averages are those up to this epoch.
    """
    epoch = len(series)
    averages = [statistics.fmean(one[:epoch]) for one in earlier if len(one) >= epoch]
    if len(averages) < _EARLIER_TRIALS:
        return False
    median = statistics.median(averages)
    return series[-1] < median if maximize else series[-1] > median
