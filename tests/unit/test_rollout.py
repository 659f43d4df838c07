"""A rollout and its alarm rules refuse what SageMaker and CloudWatch would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.release.rollout import AlarmRule, Kind, Rollout


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"kind": "sudden"}, "no rollout 'sudden'; use all_at_once, canary, linear, rolling"),
        ({"kind": "canary"}, "canary moves 1 to 50 percent at a time, not 100"),
        ({"kind": "canary", "percent": 0}, "canary moves 1 to 50"),
        ({"kind": "linear", "percent": 9}, "linear moves 10 to 50"),
        ({"kind": "rolling", "percent": 4}, "rolling moves 5 to 50"),
        ({"percent": 50}, "all_at_once moves 100 to 100"),
        ({"wait_seconds": -1}, "wait_seconds of a rollout is 0 to 3600"),
        ({"bake_seconds": 3601}, "bake_seconds of a rollout is 0 to 3600"),
        ({"alarms": (AlarmRule("ModelLatency", 1.0),) * 11}, "at most 10 alarms"),
    ],
)
def test_a_rollout_that_sagemaker_refuses_is_refused(made: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Rollout(**made)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metric": "Latency"}, "no metric 'Latency'; choose one of Invocations, "),
        ({"comparison": "=="}, "use >=, >, < or <="),
        ({"statistic": "median"}, "a percentile such as p99"),
        ({"statistic": "p101"}, "a percentile such as p99"),
        ({"period_seconds": 15}, "use 10, 20, 30 or a multiple of 60"),
        ({"period_seconds": 0}, "use 10, 20, 30 or a multiple of 60"),
        ({"evaluation_periods": 0}, "one period or more"),
    ],
)
def test_an_alarm_rule_that_cloudwatch_refuses_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AlarmRule(**{"metric": "ModelLatency", "threshold": 1.0, **changed})


STEPS: list[tuple[Kind, int]] = [("all_at_once", 100), ("canary", 10), ("linear", 30), ("rolling", 5)]


def test_the_longer_of_the_two_times_follows_every_step() -> None:
    rules = (AlarmRule("ModelLatency", 5e5, ">", "p99", 30), AlarmRule("Invocation5XXErrors", 0.01))
    assert Rollout("canary", 10, wait_seconds=60, bake_seconds=300, alarms=rules).interval_seconds == 300
    assert Rollout().interval_seconds == 0
    assert [Rollout(kind, percent, 60).waiting_seconds for kind, percent in STEPS] == [60, 120, 240, 1200]
