"""What endpoints answered, counted per variant and configuration in buckets of one second, kept for an hour.

The names, units and dimensions are AWS's ("Amazon SageMaker AI metrics in Amazon CloudWatch"): namespace AWS/SageMaker,
EndpointName and VariantName, and EndpointConfigName for one release alone; latencies in microseconds, errors 0 or 1 per
request, so that their average is a rate. PredictionDrift is our own, in DRIFT_NAMESPACE; see drift.py. `record` is on
the data path and costs some microseconds. Nothing here is on disk: a restart begins anew. Alarms are in alarms.py.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from local_sagemaker.endpoints.drift import RECENT, predictions
from local_sagemaker.endpoints.upstream import Answer

KEPT_SECONDS = 3600
NAMESPACE = "AWS/SageMaker"
DRIFT_NAMESPACE = "Ledgerline/SageMaker"
DRIFT = "PredictionDrift"
UNITS = {
    "Invocations": "None",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "InvocationModelErrors": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    DRIFT: "None",
}
_LONGEST_BODY = 16 * 1024  # bytes of an answer that is kept for the drift; RECENT of them per release
_PER_E = 50  # bins per factor of e: a percentile is right to 2 %
_ZERO = -(10**6)


class Distribution:
    """Count, sum, extremes and a logarithmic histogram of values >= 0."""

    __slots__ = ("bins", "count", "high", "low", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.low = math.inf
        self.high = 0.0
        self.bins: dict[int, int] = {}

    def add(self, value: float, times: int = 1) -> None:
        if not times:
            return
        self.count += times
        self.total += value * times
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value
        found = int(math.log(value) * _PER_E) if value > 0 else _ZERO
        self.bins[found] = self.bins.get(found, 0) + times

    def merge(self, other: Distribution) -> None:
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        for number, times in dict(other.bins).items():  # a copy: the event loop may be adding to it
            self.bins[number] = self.bins.get(number, 0) + times

    def percentile(self, percent: float) -> float:
        """The value that `percent` of the values do not exceed; 0 where there is none."""
        wanted = self.count * percent / 100
        seen = 0
        for number in sorted(self.bins):
            seen += self.bins[number]
            if seen >= wanted:
                upper = 0.0 if number == _ZERO else math.exp((number + 1) / _PER_E)
                return min(max(upper, self.low), self.high)
        return self.high if self.count else 0.0

    def statistic(self, name: str) -> float:
        """SampleCount, Average, Sum, Minimum, Maximum or a percentile such as 'p99' of at least one value."""
        if name.startswith("p"):
            return self.percentile(float(name[1:]))
        return {
            "SampleCount": float(self.count),
            "Average": self.total / self.count,
            "Sum": self.total,
            "Minimum": self.low,
            "Maximum": self.high,
        }[name]


class Second:
    """The answers of one second."""

    __slots__ = ("at", "drift", "errors_4xx", "errors_5xx", "model", "overhead")

    def __init__(self, at: int) -> None:
        self.at = at
        self.errors_4xx = 0
        self.errors_5xx = 0
        self.model = Distribution()
        self.overhead = Distribution()
        self.drift = Distribution()

    def merge_into(self, found: Distribution, metric: str) -> None:
        """Add what this second says of a metric."""
        if metric == "ModelLatency":
            found.merge(self.model)
        elif metric == "OverheadLatency":
            found.merge(self.overhead)
        elif metric == DRIFT:
            found.merge(self.drift)
        elif metric == "Invocations":
            found.add(1.0, self.model.count)
        else:
            errors = {
                "Invocation4XXErrors": self.errors_4xx,
                "Invocation5XXErrors": self.errors_5xx,
                "InvocationModelErrors": self.errors_4xx + self.errors_5xx,
            }[metric]
            found.add(1.0, errors)
            found.add(0.0, self.model.count - errors)


class Totals:
    """Of one variant since the server started: what Prometheus counts."""

    __slots__ = ("errors_4xx", "errors_5xx", "invocations", "model_us", "overhead_us")

    def __init__(self) -> None:
        self.invocations = 0
        self.errors_4xx = 0
        self.errors_5xx = 0
        self.model_us = 0.0
        self.overhead_us = 0.0


class Series:
    """One variant of one release. Written on the event loop; its windows may be read in any thread."""

    def __init__(self, totals: Totals, clock: Callable[[], float]) -> None:
        self._totals = totals
        self._clock = clock
        self._bodies: deque[bytes] = deque(maxlen=RECENT)
        self._predictions: deque[list[float | str]] = deque(maxlen=RECENT)
        self.seconds: deque[Second] = deque(maxlen=KEPT_SECONDS)
        self.answered: asyncio.Event | None = None  # set with every answer, for who watches an update

    def record(self, status: int, model_us: float, overhead_us: float, body: bytes) -> None:
        """Note one answer of the model; status 0 is that there was none, which counts as a 5xx."""
        second = self._second()
        second.model.add(model_us)
        second.overhead.add(overhead_us)
        totals = self._totals
        totals.invocations += 1
        totals.model_us += model_us
        totals.overhead_us += overhead_us
        if status == 200:
            if len(body) <= _LONGEST_BODY:
                self._bodies.append(body)
        elif 400 <= status < 500:
            second.errors_4xx += 1
            totals.errors_4xx += 1
        elif status == 0 or status >= 500:
            second.errors_5xx += 1
            totals.errors_5xx += 1
        if self.answered is not None:
            self.answered.set()

    def record_drift(self, value: float) -> None:
        self._second().drift.add(value)

    def predictions(self) -> list[list[float | str]]:
        """Of the last RECENT good answers, one list per answer. They are parsed here, not while requests wait."""
        while self._bodies:
            self._predictions.append(predictions(self._bodies.popleft()))
        return list(self._predictions)

    def forget_answers(self) -> None:
        self._bodies.clear()
        self._predictions.clear()

    def _second(self) -> Second:
        now = int(self._clock())
        if not self.seconds or self.seconds[-1].at != now:
            self.seconds.append(Second(now))
        return self.seconds[-1]


class Metrics:
    """The series of every endpoint; `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._series: dict[tuple[str, str, str], Series] = {}
        self._totals: dict[tuple[str, str], Totals] = {}
        self._of_fleet: dict[Hashable, Series] = {}

    def attach(self, fleet: Hashable, endpoint: str, variant: str, config: str) -> Series:
        """The series that the answers of a fleet go to from now on."""
        horizon = self._clock() - KEPT_SECONDS
        served = set(map(id, self._of_fleet.values()))
        for key, series in list(self._series.items()):
            if id(series) not in served and (not series.seconds or series.seconds[-1].at < horizon):
                del self._series[key]
        totals = self._totals.setdefault((endpoint, variant), Totals())
        series = self._series.setdefault((endpoint, variant, config), Series(totals, self._clock))
        self._of_fleet[fleet] = series
        return series

    def detach(self, fleet: Hashable) -> None:
        """The fleet serves no more; what it answered is kept for its hour."""
        series = self._of_fleet.pop(fleet, None)
        if series is not None and series not in self._of_fleet.values():
            series.forget_answers()

    def of(self, fleet: Hashable) -> Series | None:
        return self._of_fleet.get(fleet)

    def note(self, fleet: Hashable, answer: Answer | None, model_seconds: float, overhead_seconds: float) -> None:
        """Count what a fleet answered, or that it did not."""
        series = self._of_fleet.get(fleet)
        if series is not None:
            status, body = (0, b"") if answer is None else (answer.status, answer.body)
            series.record(status, model_seconds * 1e6, overhead_seconds * 1e6, body)

    def totals(self) -> list[tuple[str, str, Totals]]:
        return [(endpoint, variant, totals) for (endpoint, variant), totals in sorted(self._totals.items())]

    def window(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], start: int, end: int
    ) -> Distribution | None:
        """The values of a metric in the seconds start <= t < end; None where there are none."""
        if metric not in UNITS or namespace != (DRIFT_NAMESPACE if metric == DRIFT else NAMESPACE):
            return None
        found = Distribution()
        for series in self._selected(dimensions):
            for second in _between(list(series.seconds), start, end):
                second.merge_into(found, metric)
        return found if found.count else None

    def _selected(self, dimensions: Mapping[str, str]) -> Iterator[Series]:
        names = {"EndpointName", "VariantName"}
        if set(dimensions) - {"EndpointConfigName"} != names:
            return
        for (endpoint, variant, config), series in list(self._series.items()):
            if (endpoint, variant) == (dimensions["EndpointName"], dimensions["VariantName"]) and (
                dimensions.get("EndpointConfigName", config) == config
            ):
                yield series


def _between(seconds: list[Second], start: int, end: int) -> Iterable[Second]:
    for second in reversed(seconds):
        if second.at < start:
            return
        if second.at < end:
            yield second
