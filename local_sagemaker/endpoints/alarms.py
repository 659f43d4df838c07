"""Alarms over the metrics of endpoints: how CloudWatch decides, and the states of those that are stored.

A period ends now and slides, instead of beginning at a full minute, so that an alarm is as quick as its data. Source of
the rules: CloudWatch User Guide, "Evaluating an alarm" and "Configuring how CloudWatch alarms treat missing data".
The API is in local_sagemaker/operations/alarms.py.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from local_sagemaker.endpoints.metrics import UNITS, Metrics
from local_sagemaker.store import Store

KIND = "alarm"
State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def decide(breaching: Sequence[bool | None], to_alarm: int, missing: str, current: State) -> State:
    """The state that follows from the evaluation periods, newest first; None is a period without data.

    `missing` is TreatMissingData. With `missing` and `ignore` an alarm may also ring early: when its oldest breaching
    period is at least `to_alarm` old and all newer ones breach or are missing.
    """
    found = [value for value in breaching if value is not None]
    absent = len(breaching) - len(found)
    if not found:
        return {"breaching": "ALARM", "notBreaching": "OK", "ignore": current}.get(missing, "INSUFFICIENT_DATA")  # type: ignore[return-value]
    if sum(found) + (absent if missing == "breaching" else 0) >= to_alarm:
        return "ALARM"
    if absent and missing == "ignore":
        return current
    if absent and missing == "missing" and _rings_early(breaching, to_alarm):
        return "ALARM"
    return "OK"


def _rings_early(breaching: Sequence[bool | None], to_alarm: int) -> bool:
    for age, value in enumerate(breaching, start=1):
        if value is False:
            return False
        if value and age >= to_alarm:
            return True
    return False


class Alarms:
    """The stored alarms, evaluated on the event loop: by who watches an update, and once a second those that are due."""

    def __init__(self, store: Store, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._evaluated: dict[str, float] = {}

    def evaluate(self, name: str) -> tuple[State, str] | None:
        """State and reason of an alarm now, None if there is none of this name. A change is stored."""
        alarm = self._store.get(KIND, name)
        return None if alarm is None else self._evaluate(name, alarm)

    def states(self) -> list[tuple[str, State]]:
        """Every alarm with its state of the last look."""
        return [(name, alarm["StateValue"]) for name, alarm in self._store.all(KIND)]

    def evaluate_due(self) -> None:
        """Evaluate every alarm whose last look is a tenth of its period ago: an hour's data are not read every second."""
        now, last = self._clock(), self._evaluated
        self._evaluated = {}
        for name, alarm in self._store.all(KIND):
            due = now - last.get(name, 0.0) >= alarm["Period"] / 10
            self._evaluated[name] = now if due else last[name]
            if due:
                self._evaluate(name, alarm)

    def _evaluate(self, name: str, alarm: dict[str, Any]) -> tuple[State, str]:
        now = self._clock()
        current: State = alarm["StateValue"]
        values = None if now < alarm.get("_held_until", 0) else self._values(alarm, int(now) + 1)
        if values is None:
            return current, alarm["StateReason"]
        compare, threshold = OPERATORS[alarm["ComparisonOperator"]], alarm["Threshold"]
        breaching = [None if value is None else compare(value, threshold) for value in values]
        state = decide(
            breaching, alarm.get("DatapointsToAlarm", len(values)), alarm.get("TreatMissingData", "missing"), current
        )
        if state == current:
            return current, alarm["StateReason"]
        shown = ", ".join("missing" if value is None else f"{value:.6g}" for value in values)
        reason = f"{sum(map(bool, breaching))} of the last {len(values)} datapoints [{shown}] breached the threshold "
        reason += f"({alarm['ComparisonOperator']} {threshold:.6g})."
        with self._store.edit(KIND, name) as stored:
            if stored is not None:
                set_state(stored, state, reason, now)
        return state, reason

    def _values(self, alarm: dict[str, Any], end: int) -> list[float | None] | None:
        """The statistic of each evaluation period, newest first; None where the state is to stay as it is."""
        metric, period = alarm["MetricName"], alarm["Period"]
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        dimensions = {item["Name"]: item["Value"] for item in alarm.get("Dimensions", [])}
        values: list[float | None] = []
        for number in range(alarm["EvaluationPeriods"]):
            until = end - number * period
            found = self._metrics.window(alarm["Namespace"], metric, dimensions, until - period, until)
            if alarm.get("Unit", UNITS.get(metric)) != UNITS.get(metric):
                found = None  # CloudWatch: data of another unit is no data
            few = found is not None and statistic.startswith("p") and found.count < significant(float(statistic[1:]))
            if few and alarm.get("EvaluateLowSampleCountPercentile") == "ignore":
                return None
            values.append(None if found is None else found.statistic(statistic))
        return values


def significant(percent: float) -> float:
    """How many values a percentile needs to mean anything: 10 beyond it (User Guide, "low data samples")."""
    beyond = min(percent, 100 - percent) / 100
    return 10 / beyond if beyond else float("inf")


def set_state(alarm: dict[str, Any], state: State, reason: str, now: float) -> None:
    """Change the members of DescribeAlarms that tell of the state."""
    if state != alarm.get("StateValue"):
        alarm["StateTransitionedTimestamp"] = round(now, 3)
    alarm.update(StateValue=state, StateReason=reason[:1023], StateUpdatedTimestamp=round(now, 3))
