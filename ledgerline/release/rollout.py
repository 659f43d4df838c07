"""How an endpoint is moved to a new release, and which of its metrics take it back. Pure; see resources/sagemaker.py.

What belongs here: what a project may ask for, checked as AWS would check it. How the shift is done belongs to the model
platform, whether a model may be deployed at all to gate.py.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ledgerline.errors import ConfigurationError

Kind = Literal["all_at_once", "canary", "linear", "rolling"]
Comparison = Literal[">=", ">", "<", "<="]

# Of an endpoint's variant. Latencies are in microseconds, errors are 0 or 1 per request (so that their average is a
# rate), drift is the distance between the new and the old release's answers, 0 to 1 (docs/local_sagemaker.md).
METRICS = (
    "Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors", "ModelLatency",
    "OverheadLatency", "PredictionDrift",
)  # fmt: skip
_SIZES = {"canary": (1, 50), "linear": (10, 50), "rolling": (5, 50)}  # percent; API reference, CapacitySize's users
_MAX_WAIT_SECONDS = 3600  # API reference, WaitIntervalInSeconds
_MAX_ALARMS = 10  # API reference, AutoRollbackConfig
_STATISTIC = re.compile(r"SampleCount|Average|Sum|Minimum|Maximum|p(\d{1,2}(\.\d{1,10})?|100)")


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """The endpoint is taken back if `statistic` of `metric` over `period_seconds` compares so with `threshold`.

    `statistic`: SampleCount, Average, Sum, Minimum, Maximum, or a percentile such as "p99". The period is 10, 20, 30
    or a multiple of 60 seconds, as CloudWatch has them. Raises ConfigurationError.
    """

    metric: str
    threshold: float
    comparison: Comparison = ">="
    statistic: str = "Average"
    period_seconds: int = 10
    evaluation_periods: int = 1

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigurationError(f"An endpoint has no metric {self.metric!r}; choose one of {', '.join(METRICS)}.")
        if self.comparison not in (">=", ">", "<", "<="):
            raise ConfigurationError(f"The alarm on {self.metric} compares by {self.comparison!r}; use >=, >, < or <=.")
        if not _STATISTIC.fullmatch(self.statistic):
            raise ConfigurationError(
                f"The alarm on {self.metric} asks for the statistic {self.statistic!r}; "
                "use SampleCount, Average, Sum, Minimum, Maximum or a percentile such as p99."
            )
        if self.period_seconds not in (10, 20, 30) and (self.period_seconds <= 0 or self.period_seconds % 60):
            raise ConfigurationError(
                f"The alarm on {self.metric} has a period of {self.period_seconds} s; use 10, 20, 30 or a multiple of 60."
            )
        if self.evaluation_periods < 1:
            raise ConfigurationError(f"The alarm on {self.metric} must look at one period or more.")


@dataclass(frozen=True, slots=True)
class Rollout:
    """The steps to a new release.

    `all_at_once` moves all traffic in one step, `canary` `percent` of it and then the rest, `linear` and `rolling`
    `percent` more with every step. After each step but the last the platform watches the alarms for `wait_seconds`,
    after the last for `bake_seconds` (SageMaker has one such time: the longer of the two is used for every step). Any
    alarm takes the release back at once, and on the embedded server a crash of it too. Raises ConfigurationError.
    """

    kind: Kind = "all_at_once"
    percent: int = 100
    wait_seconds: int = 0
    bake_seconds: int = 0
    alarms: tuple[AlarmRule, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("all_at_once", *_SIZES):
            raise ConfigurationError(f"There is no rollout {self.kind!r}; use all_at_once, {', '.join(_SIZES)}.")
        low, high = _SIZES.get(self.kind, (100, 100))
        if not low <= self.percent <= high:
            raise ConfigurationError(
                f"A rollout of kind {self.kind} moves {low} to {high} percent at a time, not {self.percent}."
            )
        for name in ("wait_seconds", "bake_seconds"):
            if not 0 <= getattr(self, name) <= _MAX_WAIT_SECONDS:
                raise ConfigurationError(f"{name} of a rollout is 0 to {_MAX_WAIT_SECONDS}, not {getattr(self, name)}.")
        if len(self.alarms) > _MAX_ALARMS:
            raise ConfigurationError(f"A rollout has at most {_MAX_ALARMS} alarms, not {len(self.alarms)}.")

    @property
    def interval_seconds(self) -> int:
        """The time after every step in which the alarms are watched."""
        return max(self.wait_seconds, self.bake_seconds)

    @property
    def waiting_seconds(self) -> int:
        """All of these times together: what the rollout takes at least."""
        steps = {"all_at_once": 1, "canary": 2}.get(self.kind, math.ceil(100 / self.percent))
        return steps * self.interval_seconds
