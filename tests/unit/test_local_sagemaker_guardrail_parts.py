"""Metrics, drift, alarms, deployment plans and CBOR of the embedded SageMaker, without a server."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

from local_sagemaker import cbor, protocol
from local_sagemaker.endpoints import drift
from local_sagemaker.endpoints.alarms import Alarms, State, decide
from local_sagemaker.endpoints.deployment import Plan, plan
from local_sagemaker.endpoints.hours import HOUR, KEPT_SECONDS, Hours
from local_sagemaker.endpoints.metrics import DRIFT, DRIFT_NAMESPACE, NAMESPACE, Distribution, Metrics
from local_sagemaker.endpoints.options import Options
from local_sagemaker.endpoints.supervisor import Route, _answering
from local_sagemaker.endpoints.update import Shift, Update
from local_sagemaker.endpoints.worker import Launch, Worker
from local_sagemaker.errors import ServiceError
from local_sagemaker.logs import Logs
from local_sagemaker.store import Store
from tests.unit.local_sagemaker_tools import until


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Metrics -------------------------------------------------------------------------------------------------------------


def test_a_percentile_is_right_to_two_percent_and_within_the_extremes() -> None:
    chance = random.Random(7)
    values = sorted(chance.lognormvariate(8, 1) for _ in range(5000))
    found = Distribution()
    for value in values:
        found.add(value)
    for percent in (0, 50, 90, 99, 100):
        exact = values[max(0, int(len(values) * percent / 100) - 1)]
        assert found.percentile(percent) == pytest.approx(exact, rel=0.021), percent
    assert (found.statistic("Minimum"), found.statistic("Maximum")) == (values[0], values[-1])
    assert found.statistic("Average") == pytest.approx(sum(values) / 5000)
    assert Distribution().percentile(99) == 0.0


def test_requests_are_counted_by_the_hour_across_restarts_and_forgotten_in_time(tmp_path: Path) -> None:
    clock, store = Clock(), Store(tmp_path / "state.db")

    def served(times: int) -> Hours:
        """A server that was started anew, and how often it answered."""
        metrics = Metrics(clock)
        series = metrics.attach("fleet", "e", "v", "c1")
        for _ in range(times):
            series.record(200, 1000.0, 10.0, b"1")
        return Hours(store, metrics, clock)

    hours = served(3)
    for _ in range(2):  # what was written once is not added again
        hours.write()
    assert served(0).counts("e", "v") == {0: 3}
    clock.now += HOUR
    assert served(2).counts("e", "v") == {0: 3, HOUR: 2}
    assert served(1).counts("e", "v") == {0: 3, HOUR: 3}
    assert served(0).counts("e", "other") == {}
    clock.now = KEPT_SECONDS + HOUR - 1
    hours = served(0)
    hours.forget_old()
    assert hours.counts("e", "v") == {HOUR: 3}


def test_errors_are_zero_or_one_per_request_so_that_their_average_is_a_rate() -> None:
    metrics = Metrics(Clock())
    series = metrics.attach("fleet", "e", "v", "c1")
    for status in (200, 200, 404, 500, 0):
        series.record(status, 1000.0, 10.0, b"1")
    of = {"EndpointName": "e", "VariantName": "v"}

    def statistic(metric: str, name: str) -> float:
        found = metrics.window(NAMESPACE, metric, of, 990, 1001)
        assert found is not None
        return found.statistic(name)

    assert statistic("Invocations", "Sum") == 5
    assert statistic("Invocation5XXErrors", "Average") == 0.4
    assert statistic("Invocation4XXErrors", "Sum") == 1
    assert statistic("InvocationModelErrors", "Sum") == 3
    assert statistic("Invocation4XXErrors", "SampleCount") == 5
    assert statistic("OverheadLatency", "p50") == 10.0


def test_a_window_holds_its_seconds_only_and_a_configuration_can_be_asked_for_alone() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    old, new = metrics.attach("old", "e", "v", "c1"), metrics.attach("new", "e", "v", "c2")
    old.record(200, 1.0, 1.0, b"")
    clock.now = 1005.5
    new.record(500, 1.0, 1.0, b"")
    both = {"EndpointName": "e", "VariantName": "v"}

    def count(dimensions: dict[str, str], start: int, end: int, namespace: str = NAMESPACE) -> int:
        found = metrics.window(namespace, "Invocations", dimensions, start, end)
        return 0 if found is None else found.count

    assert count(both, 1000, 1006) == 2
    assert count(both, 1000, 1005) == count(both, 1001, 1006) == 1
    assert count({**both, "EndpointConfigName": "c2"}, 1000, 1006) == 1
    assert count({**both, "EndpointConfigName": "c3"}, 1000, 1006) == 0
    assert count({"EndpointName": "e"}, 1000, 1006) == count({**both, "Other": "x"}, 1000, 1006) == 0
    assert count(both, 1000, 1006, "AWS/Other") == 0
    assert metrics.window(NAMESPACE, "Unknown", both, 1000, 1006) is None


def test_series_of_releases_long_gone_are_dropped_but_their_totals_stay() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    metrics.attach("old", "e", "v", "c1").record(200, 1.0, 1.0, b"")
    metrics.detach("old")
    clock.now += 3700
    metrics.attach("new", "e", "v", "c2").record(200, 1.0, 1.0, b"")
    of = {"EndpointName": "e", "VariantName": "v", "EndpointConfigName": "c1"}
    assert metrics.window(NAMESPACE, "Invocations", of, 0, 10_000) is None
    assert [(endpoint, variant, row.invocations) for endpoint, variant, row in metrics.totals()] == [("e", "v", 2)]
    assert metrics.of("old") is None


# Drift ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"predictions": [{"score": 0.5, "mention_id": "m1"}, {"score": 1}]}', [0.5, 1.0]),
        (b'{"answers": [{"scores": [0.25, 0.75], "company_id": "x"}]}', [0.25, 0.75]),
        (b'{"predicted_label": "up", "probability": 0.9}', ["up", 0.9]),
        (b'{"label": true}', ["True"]),
        (b"[0.1, [0.2]]", [0.1, 0.2]),
        (b"7", [7.0]),
        (b"0.1,0.2\n0.3\n", [0.1, 0.2, 0.3]),
        (b"[" + b"1," * 50 + b"1]", [1.0] * 8),
        (b'{"id": 3, "score": null}', []),
        (b'{"score": NaN}', []),
        (b"nan,inf", []),
        (b"\xff\xfe", []),
        (b"a,b", []),
        (b"[" * 100_000, []),
    ],
)
def test_predictions_are_found_in_the_usual_answers_and_nothing_in_others(body: bytes, found: list[Any]) -> None:
    assert drift.predictions(body) == found


def test_the_drift_is_zero_for_the_same_answers_one_for_disjoint_ones_and_absent_for_few() -> None:
    chance = random.Random(3)
    old: list[list[float | str]] = [[chance.random()] for _ in range(200)]
    same: list[list[float | str]] = [[chance.random()] for _ in range(200)]
    near, far = drift.distance(old, same), drift.distance(old, [[value[0] + 2] for value in same])  # type: ignore[operator]
    assert near is not None
    assert near < 0.15
    assert far == 1.0
    assert drift.distance(old, same[:9]) is None
    assert drift.distance([[]] * 50, same) is None
    up: list[list[float | str]] = [["up"]] * 10
    assert drift.distance(up, up) == 0.0
    assert drift.distance(up, up[:5] + [["down"]] * 5) == 0.5
    assert drift.distance(old, up) == pytest.approx(1.0)  # numbers before, labels now


def test_both_distances_agree_with_their_definition() -> None:
    assert drift.kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6]) == 0.5
    assert drift.kolmogorov_smirnov([1, 1, 1], [1]) == 0.0
    assert drift.total_variation(Counter("aab"), Counter("abb")) == pytest.approx(1 / 3)


# Alarms --------------------------------------------------------------------------------------------------------------

X, F, N = True, False, None  # a period that breaches, one that is fine, one without data


@pytest.mark.parametrize(
    ("newest_first", "to_alarm", "states"),
    [  # states for missing, ignore, breaching, notBreaching; the table of the CloudWatch User Guide
        ([N, N, N], 3, "INSUFFICIENT_DATA now ALARM OK"),
        ([X, X, X], 3, "ALARM ALARM ALARM ALARM"),
        ([X, F, X], 3, "OK OK OK OK"),
        ([N, N, X], 3, "ALARM now ALARM OK"),
        ([F, N, N], 3, "OK now OK OK"),
        ([X, N, F], 2, "OK now ALARM OK"),
        ([X, F, X], 2, "ALARM ALARM ALARM ALARM"),
        ([X], 1, "ALARM ALARM ALARM ALARM"),
    ],
)
def test_an_alarm_decides_by_the_rules_of_cloudwatch(newest_first: list[Any], to_alarm: int, states: str) -> None:
    current: State = "OK"
    found = [
        decide(newest_first, to_alarm, missing, current)
        for missing in ("missing", "ignore", "breaching", "notBreaching")
    ]
    assert found == [current if state == "now" else state for state in states.split()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.sqlite")


def test_an_alarm_follows_its_metric_and_a_state_set_by_hand_holds_for_a_period(store: Store) -> None:
    clock = Clock()
    metrics = Metrics(clock)
    series = metrics.attach("fleet", "e", "v", "c1")
    dimensions = [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]
    alarm = {
        "AlarmName": "slow", "Namespace": NAMESPACE, "MetricName": "ModelLatency", "ExtendedStatistic": "p99",
        "Dimensions": dimensions, "Period": 10, "EvaluationPeriods": 1, "Threshold": 500.0,
        "ComparisonOperator": "GreaterThanThreshold", "StateValue": "INSUFFICIENT_DATA", "StateReason": "new",
    }  # fmt: skip
    store.create("alarm", "slow", alarm)
    store.create("alarm", "careful", {**alarm, "EvaluateLowSampleCountPercentile": "ignore"})
    store.create("alarm", "other-unit", {**alarm, "Unit": "Seconds"})
    alarms = Alarms(store, metrics, clock)

    def states() -> list[State]:
        clock.now += 1
        alarms.evaluate_due()
        return [state for _, state in alarms.states()]

    assert alarms.evaluate("none") is None
    assert states() == ["INSUFFICIENT_DATA"] * 3
    series.record(200, 900.0, 1.0, b"")
    assert states() == ["INSUFFICIENT_DATA", "INSUFFICIENT_DATA", "ALARM"]
    found = alarms.evaluate("slow")
    assert found is not None
    assert found[1] == "1 of the last 1 datapoints [900] breached the threshold (GreaterThanThreshold 500)."
    clock.now += 10
    assert states()[2] == "INSUFFICIENT_DATA"
    series.record(200, 100.0, 1.0, b"")
    assert states()[2] == "OK"
    with store.edit("alarm", "slow") as body:
        assert body is not None
        body.update(StateValue="ALARM", StateReason="a drill", _held_until=clock.now + 10)
    assert alarms.evaluate("slow") == ("ALARM", "a drill")
    clock.now += 11
    series.record(200, 100.0, 1.0, b"")
    assert states()[2] == "OK"


def test_the_drift_of_a_release_can_be_an_alarm(store: Store) -> None:
    metrics = Metrics(Clock())
    metrics.attach("new", "e", "v", "c2").record_drift(0.8)
    of = {"EndpointName": "e", "VariantName": "v", "EndpointConfigName": "c2"}
    found = metrics.window(DRIFT_NAMESPACE, DRIFT, of, 990, 1001)
    assert found is not None
    assert found.statistic("Maximum") == 0.8
    assert metrics.window(NAMESPACE, DRIFT, of, 990, 1001) is None


# Deployment plans ----------------------------------------------------------------------------------------------------


def routing(kind: str, wait: int = 0, **sizes: tuple[str, int]) -> dict[str, Any]:
    made = {member: {"Type": type_, "Value": value} for member, (type_, value) in sizes.items()}
    return {"TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **made}}


PERCENT, COUNT = "CAPACITY_PERCENT", "INSTANCE_COUNT"


@pytest.mark.parametrize(
    ("config", "instances", "expected"),
    [
        (None, 1, Plan()),
        ({}, 1, Plan()),
        ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}, 1, Plan(alarms=("a",))),
        ({"BlueGreenUpdatePolicy": routing("ALL_AT_ONCE", 60)}, 1, Plan(wait_seconds=60)),
        (
            {
                "BlueGreenUpdatePolicy": {
                    **routing("CANARY", 5, CanarySize=(PERCENT, 10)),
                    "TerminationWaitInSeconds": 9,
                }
            },
            1,
            Plan((0.1, 1.0), 5, 9),
        ),
        ({"BlueGreenUpdatePolicy": routing("CANARY", CanarySize=(COUNT, 1))}, 4, Plan((0.25, 1.0))),
        ({"BlueGreenUpdatePolicy": routing("LINEAR", LinearStepSize=(PERCENT, 30))}, 1, Plan((0.3, 0.6, 0.9, 1.0))),
        ({"BlueGreenUpdatePolicy": routing("LINEAR", LinearStepSize=(COUNT, 1))}, 3, Plan((0.333333, 0.666667, 1.0))),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": PERCENT, "Value": 50},
                    "WaitIntervalInSeconds": 1,
                    "MaximumExecutionTimeoutInSeconds": 600,
                }
            },
            1,
            Plan((0.5, 1.0), 1, 0, 600),
        ),
    ],
)
def test_a_deployment_config_becomes_steps(config: dict[str, Any] | None, instances: int, expected: Plan) -> None:
    assert plan(config, instances) == expected


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"BlueGreenUpdatePolicy": routing("CANARY")}, "needs CanarySize"),
        ({"BlueGreenUpdatePolicy": routing("LINEAR", CanarySize=(PERCENT, 10))}, "CanarySize cannot be given"),
        ({"BlueGreenUpdatePolicy": routing("ALL_AT_ONCE", CanarySize=(PERCENT, 10))}, "CanarySize cannot be given"),
        ({"BlueGreenUpdatePolicy": routing("CANARY", CanarySize=(PERCENT, 51))}, "between 0% and 50%"),
        ({"BlueGreenUpdatePolicy": routing("CANARY", CanarySize=(COUNT, 1))}, "of 1 instances is 100%"),
        ({"BlueGreenUpdatePolicy": routing("LINEAR", LinearStepSize=(PERCENT, 9))}, "between 10% and 50%"),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": PERCENT, "Value": 4},
                    "WaitIntervalInSeconds": 0,
                }
            },
            "between 5% and 50%",
        ),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": PERCENT, "Value": 50},
                    "RollbackMaximumBatchSize": {"Type": PERCENT, "Value": 101},
                    "WaitIntervalInSeconds": 0,
                }
            },
            "RollbackMaximumBatchSize must be between",
        ),
        ({"BlueGreenUpdatePolicy": routing("ALL_AT_ONCE"), "RollingUpdatePolicy": {"x": 1}}, "not both"),
        (
            {"BlueGreenUpdatePolicy": {**routing("ALL_AT_ONCE", 600), "MaximumExecutionTimeoutInSeconds": 600}},
            "larger than the total waiting time",
        ),
        ({"AutoRollbackConfiguration": {"Alarms": [{}]}}, "without an AlarmName"),
    ],
)
def test_a_deployment_config_that_aws_refuses_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError, match=said) as raised:
        plan(config, 1)
    assert raised.value.code == "ValidationException"


# The traffic ---------------------------------------------------------------------------------------------------------


class Named:
    """A fleet as a route sees it."""

    def __init__(self, name: str, release: str, *, shadow: bool = False) -> None:
        self.name = name
        self.release = release
        self.weight = 1.0
        self.crashes = 0
        self.ready = True
        self.options = Options(shadow=shadow)


def test_a_canary_gets_exactly_its_share_and_only_its_failures_are_answered_by_the_old_fleet() -> None:
    old, new, gone = Named("v", "old"), Named("v", "new"), Named("v", "gone")
    route = Shift(Route([old]), Route([new]), 0.1)  # type: ignore[list-item]
    chosen = Counter(route.choose().release for _ in range(1000))  # type: ignore[union-attr]
    assert chosen == {"old": 900, "new": 100}
    assert route.fallback(new) is old  # type: ignore[arg-type, comparison-overlap]
    assert route.fallback(old) is None  # type: ignore[arg-type]
    assert route.fallback(gone) is old  # type: ignore[arg-type, comparison-overlap]
    assert Shift(Route([old]), Route([new]), 1.0).choose("v") is new  # type: ignore[list-item, comparison-overlap]
    after = Route([new])  # type: ignore[list-item]
    assert (after.fallback(old), after.fallback(new)) == (new, None)  # type: ignore[arg-type, comparison-overlap]


def run_update(store: Store, how: Plan, **options: Any) -> tuple[str | None, list[float]]:
    """What an update that nobody asks says in the end, and the shares that it gave the new fleet."""
    shares: list[float] = []
    old, new, shadow = Named("v", "old"), Named("v", "new"), Named("s", "new", shadow=True)
    metrics = Metrics()
    update = Update(
        how,
        Route([old]),  # type: ignore[list-item]
        Route([new, shadow]),  # type: ignore[list-item]
        route=lambda route: shares.append(route._share),  # type: ignore[union-attr]
        wanted=options.get("wanted", lambda: True),
        alarms=Alarms(store, metrics),
        metrics=metrics,
    )

    async def run() -> str | None:
        if "crash_after" in options:
            crashing = shadow if options.get("of_the_shadow") else new
            asyncio.get_running_loop().call_later(options["crash_after"], setattr, crashing, "crashes", 1)
        return await update.run()

    return asyncio.run(run()), shares


def test_an_update_goes_step_by_step_and_stops_at_the_first_reason(store: Store) -> None:
    assert run_update(store, Plan((0.25, 0.5, 1.0))) == (None, [0.25, 0.5, 1.0])
    reason, shares = run_update(store, Plan((0.25, 1.0), wait_seconds=60), crash_after=0.05)
    assert reason is not None
    assert (reason[:38], shares) == ("The worker of production variant v end", [0.25])
    reason, shares = run_update(store, Plan((0.5, 1.0), wait_seconds=60, timeout_seconds=0.05))
    assert (reason, shares) == ("The deployment took longer than its 0 s.", [0.5])
    reason, shares = run_update(store, Plan(alarms=("nobody",)))
    assert (reason, shares) == ("The alarm nobody was deleted during the update.", [])
    reason, shares = run_update(store, Plan(), wanted=lambda: False)
    assert (reason, shares) == ("The endpoint configuration was deleted during the update.", [])


def test_a_shadow_that_crashes_says_nothing_of_the_release(store: Store) -> None:
    how = Plan((0.5, 1.0), wait_seconds=0.1)
    assert run_update(store, how, crash_after=0.0, of_the_shadow=True) == (None, [0.5, 1.0])


def test_a_shadow_that_is_down_does_not_keep_the_old_release_from_coming_back() -> None:
    old, shadow = Named("v", "old"), Named("s", "old", shadow=True)
    route = Route([old, shadow])  # type: ignore[list-item]
    shadow.ready, shadow.crashes = False, 3
    asyncio.run(asyncio.wait_for(_answering(route.answering), 1))
    assert [fleet.name for fleet in Shift(route, Route([old]), 0.5).answering] == ["v", "v"]  # type: ignore[list-item]


def test_a_worker_that_is_given_up_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    program = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    told = tmp_path / "pid"
    launch = Launch([sys.executable, "-c", program, str(told)], {}, tmp_path, 60.0)
    stream = Logs(tmp_path / "logs").open("group", "stream")

    async def start_and_give_up() -> None:
        starting = asyncio.create_task(Worker.start(launch, tmp_path / "socket", stream, lambda code: None))
        while not (told.exists() and told.read_text()):
            await asyncio.sleep(0.01)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    asyncio.run(start_and_give_up())

    def alive() -> bool:
        try:
            os.kill(int(told.read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    until(alive, lambda found: not found, seconds=10)


# CBOR ----------------------------------------------------------------------------------------------------------------


def test_botocore_reads_what_we_write_and_we_read_what_it_writes() -> None:
    operation = protocol.service("cloudwatch").operation_model("DescribeAlarms")
    alarm = {"AlarmName": "größe" * 60, "Threshold": 1, "Period": 70_000, "EvaluationPeriods": 300,
             "ActionsEnabled": False, "StateUpdatedTimestamp": 1700000000.25, "_own": 1}  # fmt: skip
    body = protocol.serialize(operation, {"MetricAlarms": [alarm]}, protocol.CBOR)
    response = {"body": body, "headers": {}, "status_code": 200}
    (read,) = RpcV2CBORParser().parse(response, operation.output_shape)["MetricAlarms"]
    assert read["StateUpdatedTimestamp"] == datetime.fromtimestamp(1700000000.25, timezone.utc)
    del read["StateUpdatedTimestamp"]
    assert read == {**{key: alarm[key] for key in read}, "Threshold": 1.0}
    asked = {
        "Namespace": "n",
        "MetricName": "m",
        "Period": 60,
        "StartTime": 1.5,
        "EndTime": 2**34,
        "Statistics": ["Sum"],
    }
    operation = protocol.service("cloudwatch").operation_model("GetMetricStatistics")
    sent = RpcV2CBORSerializer().serialize_to_request(asked, operation)["body"]
    assert protocol.parse(operation, bytes(sent), protocol.CBOR)["EndTime"] == 2**34
    assert cbor.loads(cbor.dumps(-500)) == -500


@pytest.mark.parametrize(
    "body", [b"\xff", b"\x9b" + b"\xff" * 8, b"\x81" * 100_000, b"\xa1\x80\x01", b"\xc1\x61a", b"\xa0\x00", b"\x1c"]
)
def test_what_is_not_cbor_is_refused(body: bytes) -> None:
    with pytest.raises(ServiceError) as raised:
        cbor.loads(body)
    assert raised.value.code == "SerializationException"


def test_json_nested_without_end_is_refused() -> None:
    operation = protocol.service("sagemaker").operation_model("ListModels")
    with pytest.raises(ServiceError) as raised:
        protocol.parse(operation, json.dumps({}).encode()[:1] + b'"a":' + b"[" * 100_000)
    assert raised.value.code == "SerializationException"
