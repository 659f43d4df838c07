"""Updates of endpoints under guardrails as unmodified boto3 sees them: alarms, steps, rollbacks, and what clients see."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.unit.local_sagemaker_tools import IMAGE, ROLE, Server, tar_gz, until, variant

MODEL = """
import json, os, time
asked = 0
def model_fn(model_dir):
    return None
def predict_fn(request, model):
    global asked
    asked += 1
    if request == "die":
        os._exit(9)
    {body}
def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
GOOD = MODEL.format(body='return {"release": "RELEASE", "score": asked % 10 / 10}')
BREAKS = MODEL.format(body='raise RuntimeError("a defect")')
SLOW = MODEL.format(body='time.sleep(0.2); return {"release": "slow", "score": asked % 10 / 10}')
DRIFTS = MODEL.format(body='return {"release": "drifts", "score": 5.0}')
CRASHES = MODEL.format(body='asked < 3 or os._exit(9); return {"release": "crashes", "score": asked % 10 / 10}')
BAKE = 3600  # seconds that no test waits for: it ends by what the test does


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("guardrails"))
    yield started
    started.stop()


def archive(program: str, release: str) -> bytes:
    return tar_gz({"code/inference.py": program.replace("RELEASE", release)})


def endpoint(server: Server, name: str) -> None:
    """An endpoint whose first release is good."""
    assert server.endpoint(name, archive(GOOD, f"{name}-1"))["EndpointStatus"] == "InService"


def canary(percent: int = 50, wait: int = BAKE, *alarms: str) -> dict[str, Any]:
    size = {"Type": "CAPACITY_PERCENT", "Value": percent}
    return blue_green({"Type": "CANARY", "WaitIntervalInSeconds": wait, "CanarySize": size}, *alarms)


def blue_green(routing: dict[str, Any], *alarms: str) -> dict[str, Any]:
    config: dict[str, Any] = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


def put_alarm(server: Server, name: str, endpoint: str, config: str | None = None, **changed: Any) -> str:
    """An alarm on any 5xx of the endpoint, or of one of its releases, unless changed."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}]
    if config is not None:
        dimensions.append({"Name": "EndpointConfigName", "Value": config})
    request = {
        "AlarmName": name, "Namespace": "AWS/SageMaker", "MetricName": "Invocation5XXErrors", "Statistic": "Average",
        "Dimensions": dimensions, "Period": 10, "EvaluationPeriods": 1, "Threshold": 0.0,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    } | changed  # fmt: skip
    server.client("cloudwatch").put_metric_alarm(**{key: value for key, value in request.items() if value is not None})
    return name


def update(server: Server, name: str, program: str, deployment: dict[str, Any], **more: Any) -> str:
    """Begin an update to a second release; returns its config."""
    config = server.config(f"{name}-2", archive(program, f"{name}-2"))
    server.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment, **more)
    return config


def releases(server: Server, name: str, count: int) -> list[str]:
    """Which release answered each of so many requests; an error fails the test."""
    return [json.loads(server.ask(name, '"x"')["Body"].read())["release"] for _ in range(count)]


def ask_until_settled(server: Server, name: str) -> dict[str, Any]:
    """Ask, one request after the other, until the update is over; no request may fail."""

    def asked() -> dict[str, Any]:
        releases(server, name, 5)
        return server.sagemaker.describe_endpoint(EndpointName=name)

    return until(asked, lambda described: described["EndpointStatus"] != "Updating")


def rolled_back(described: dict[str, Any], name: str) -> str:
    """The reason, where the endpoint is in service with the release it had."""
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", f"{name}-1"), described
    return str(described["FailureReason"])


def kill_the_old(server: Server, name: str) -> str:
    """End the old fleet's worker: of two requests one is its own, and only it dies of this one. Returns what we saw."""
    for _ in range(2):
        try:
            server.ask(name, '"die"')
        except ClientError as error:
            return str(error.response["Error"]["Code"])
    raise AssertionError("both requests were answered")


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(**request)
    return raised.value.response["Error"]["Code"], raised.value.response["Error"]["Message"]


# Updates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "program", "alarm"),
    [
        ("breaks", BREAKS, {}),
        ("slow", SLOW, {"MetricName": "ModelLatency", "Statistic": None, "ExtendedStatistic": "p99", "Threshold": 1e5}),
        (
            "drifts",
            DRIFTS,
            {
                "Namespace": "Ledgerline/SageMaker",
                "MetricName": "PredictionDrift",
                "Statistic": "Maximum",
                "Threshold": 0.6,
            },
        ),
    ],
)
def test_a_bad_canary_is_taken_back_and_no_client_sees_an_error(
    server: Server, name: str, program: str, alarm: dict[str, Any]
) -> None:
    endpoint(server, name)
    assert releases(server, name, 12) == [f"{name}-1"] * 12
    put_alarm(server, f"{name}-alarm", name, f"{name}-2", **alarm)
    update(server, name, program, canary(50, BAKE, f"{name}-alarm"))
    reason = rolled_back(ask_until_settled(server, name), name)
    assert reason.startswith(f"The alarm {name}-alarm is in ALARM state: 1 of the last 1 datapoints [")
    assert releases(server, name, 4) == [f"{name}-1"] * 4
    summary = server.sagemaker.describe_endpoint(EndpointName=name)
    assert summary["LastDeploymentConfig"] == canary(50, BAKE, f"{name}-alarm")


def test_a_new_worker_that_crashes_in_the_bake_is_taken_back_without_any_alarm(server: Server) -> None:
    endpoint(server, "crashes")
    update(server, "crashes", CRASHES, canary())
    reason = rolled_back(ask_until_settled(server, "crashes"), "crashes")
    assert "The worker of production variant AllTraffic ended while it took over" in reason
    assert releases(server, "crashes", 2) == ["crashes-1"] * 2


@pytest.mark.parametrize(
    "deployment",
    [
        canary(10, 0),
        blue_green(
            {
                "Type": "LINEAR",
                "WaitIntervalInSeconds": 0,
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 30},
            }
        ),
        {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 0,
            }
        },
        blue_green({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 1}),
    ],
    ids=["canary", "linear", "rolling", "all-at-once"],
)
def test_a_good_release_goes_live_by_every_policy(
    server: Server, deployment: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    name = f"good-{request.node.callspec.id}"
    endpoint(server, name)
    config = update(server, name, GOOD, deployment)
    described = ask_until_settled(server, name)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config), described
    assert "FailureReason" not in described
    assert releases(server, name, 4) == [f"{name}-2"] * 4


def test_a_canary_gets_its_share_and_describe_tells_of_the_update(server: Server) -> None:
    endpoint(server, "share")
    put_alarm(server, "share-alarm", "share")
    config = update(server, "share", GOOD, canary(25, BAKE, "share-alarm"))
    until(lambda: releases(server, "share", 1), lambda found: found == ["share-2"])
    assert releases(server, "share", 8).count("share-2") == 2
    described = server.sagemaker.describe_endpoint(EndpointName="share")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "share-1")
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == config
    code, _ = refused(server.sagemaker.update_endpoint, EndpointName="share", EndpointConfigName=config)
    assert code == "ValidationException"
    server.client("cloudwatch").set_alarm_state(AlarmName="share-alarm", StateValue="ALARM", StateReason="a drill")
    assert rolled_back(ask_until_settled(server, "share"), "share") == (
        "The alarm share-alarm is in ALARM state: a drill"
    )
    described = server.sagemaker.describe_endpoint(EndpointName="share")
    assert "PendingDeploymentSummary" not in described


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("alarm-gone", "The alarm alarm-gone-alarm was deleted during the update."),
        ("config-gone", "The endpoint configuration was deleted during the update."),
    ],
)
def test_what_the_update_rests_on_may_not_be_deleted_under_it(server: Server, name: str, reason: str) -> None:
    endpoint(server, name)
    put_alarm(server, f"{name}-alarm", name)
    config = update(server, name, GOOD, canary(50, BAKE, f"{name}-alarm"))
    until(lambda: releases(server, name, 1), lambda found: found == [config])
    if name == "alarm-gone":
        server.client("cloudwatch").delete_alarms(AlarmNames=[f"{name}-alarm"])
    else:
        server.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert rolled_back(ask_until_settled(server, name), name) == reason


def test_an_alarm_that_rings_before_the_update_lets_no_request_reach_the_new_release(server: Server) -> None:
    endpoint(server, "ringing")
    put_alarm(server, "ringing-alarm", "ringing", Period=60)  # for so long the state that is set now holds
    server.client("cloudwatch").set_alarm_state(AlarmName="ringing-alarm", StateValue="ALARM", StateReason="already")
    update(server, "ringing", GOOD, canary(50, BAKE, "ringing-alarm"))
    assert "already" in rolled_back(server.settled("ringing"), "ringing")
    of = [{"Name": "EndpointName", "Value": "ringing"}, {"Name": "VariantName", "Value": "AllTraffic"}]
    assert _count(server, "Invocations", of) == 0


def test_when_the_old_release_is_dead_too_the_rollback_has_failed_and_another_update_mends_it(server: Server) -> None:
    endpoint(server, "dead")
    put_alarm(server, "dead-alarm", "dead", "dead-2")  # of the new release alone: the old one will fail
    update(server, "dead", GOOD.replace("os._exit(9)", "pass"), canary(50, BAKE, "dead-alarm"))
    until(lambda: releases(server, "dead", 1), lambda found: found == ["dead-2"])
    for program in server.home.artifacts.glob("*/model/code/inference.py"):
        if '"dead-1"' in program.read_text():
            program.parent.chmod(0o700)
            program.chmod(0o600)
            program.write_text("changed on disk, so that it is not started again")
    assert kill_the_old(server, "dead") == "ServiceUnavailable"
    server.client("cloudwatch").set_alarm_state(AlarmName="dead-alarm", StateValue="ALARM", StateReason="a drill")
    described = server.settled("dead")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("UpdateRollbackFailed", "dead-1")
    assert described["FailureReason"].endswith("a drill The previous release does not answer any more.")
    config = server.config("dead-3", archive(GOOD, "dead-3"))
    server.sagemaker.update_endpoint(EndpointName="dead", EndpointConfigName=config)
    described = server.settled("dead")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "dead-3")
    assert releases(server, "dead", 3) == ["dead-3"] * 3
    server.sagemaker.delete_endpoint(EndpointName="dead")


def test_the_old_release_may_crash_in_the_bake_and_the_update_goes_on(server: Server) -> None:
    endpoint(server, "shaky")
    config = update(server, "shaky", GOOD.replace("os._exit(9)", "pass"), canary(50, 2))
    until(lambda: releases(server, "shaky", 1), lambda found: found == [config])
    assert kill_the_old(server, "shaky") == "ServiceUnavailable"
    described = ask_until_settled(server, "shaky")  # requests wait for the old fleet's restart
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", config)


def test_a_server_killed_in_the_bake_comes_back_with_the_old_release(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        endpoint(own, "killed")
        put_alarm(own, "killed-alarm", "killed")
        update(own, "killed", GOOD, canary(50, BAKE, "killed-alarm"))
        until(lambda: releases(own, "killed", 1), lambda found: found == ["killed-2"])
        os.kill(own.running.pid, signal.SIGKILL)
        until(own.home.locked, lambda locked: not locked)
        own.start()
        described = own.sagemaker.describe_endpoint(EndpointName="killed")
        assert "the server stopped during the update" in rolled_back(described, "killed")
        assert releases(own, "killed", 4) == ["killed-1"] * 4
        (alarm,) = own.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert alarm["AlarmName"] == "killed-alarm"
        update_again = canary(50, 0, "killed-alarm")
        own.sagemaker.update_endpoint(
            EndpointName="killed", EndpointConfigName="killed-2", DeploymentConfig=update_again
        )
        assert own.settled("killed")["EndpointConfigName"] == "killed-2"
    finally:
        own.stop()


def test_an_update_that_aws_refuses_changes_nothing(server: Server) -> None:
    endpoint(server, "refuses")
    config = server.config("refuses-2", archive(GOOD, "refuses-2"))
    server.sagemaker.create_endpoint_config(
        EndpointConfigName="refuses-3", ProductionVariants=[variant("refuses-2", "Other")]
    )
    for changed, said in (
        ({"DeploymentConfig": canary(60)}, "CanarySize must be between 0% and 50%"),
        ({"DeploymentConfig": canary(50, 3601)}, "less than or equal to 3600"),
        ({"DeploymentConfig": canary(50, 1, "no-such-alarm")}, "Could not find the alarms"),
        ({"DeploymentConfig": canary(50), "EndpointConfigName": "refuses-3"}, "needs the same names in both"),
        ({"DeploymentConfig": canary(50), "RetainDeploymentConfig": True}, "not both"),
        ({"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "Name"}]}, "enum value set"),
    ):
        request = {"EndpointName": "refuses", "EndpointConfigName": config, **changed}
        code, message = refused(server.sagemaker.update_endpoint, **request)
        assert (code, said in message) == ("ValidationException", True), message
    described = server.sagemaker.describe_endpoint(EndpointName="refuses")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "refuses-1")
    request = {"EndpointName": "refuses-new", "EndpointConfigName": config, "DeploymentConfig": canary(60)}
    code, message = refused(server.sagemaker.create_endpoint, **request)
    assert (code, "CanarySize must be between" in message) == ("ValidationException", True)


def test_weights_and_the_deployment_config_are_retained_where_it_is_asked_for(server: Server) -> None:
    for model in ("kept-1", "kept-2"):
        uri = server.put(f"s3://lake/artifacts/{model}.tar.gz", archive(GOOD, model))
        server.sagemaker.create_model(
            ModelName=model, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": uri}, ExecutionRoleArn=ROLE
        )
        variants = [variant(model, "a", 1.0), variant(model, "b", 1.0)]
        server.sagemaker.create_endpoint_config(EndpointConfigName=model, ProductionVariants=variants)
    server.sagemaker.create_endpoint(EndpointName="kept", EndpointConfigName="kept-1")
    assert server.settled("kept")["EndpointStatus"] == "InService"
    server.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="kept",
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 3.0, "DesiredInstanceCount": 2}],
    )

    def weights(**request: Any) -> list[tuple[float, int]]:
        server.sagemaker.update_endpoint(EndpointName="kept", EndpointConfigName="kept-2", **request)
        described = server.settled("kept")
        assert "FailureReason" not in described
        variants = described["ProductionVariants"]
        return [(one["CurrentWeight"], one["DesiredInstanceCount"]) for one in variants]

    deployment = canary(50, 0)
    assert weights(RetainAllVariantProperties=True, DeploymentConfig=deployment) == [(3.0, 2), (1.0, 1)]
    excluded = [{"VariantPropertyType": "DesiredWeight"}]
    assert weights(
        RetainAllVariantProperties=True, ExcludeRetainedVariantProperties=excluded, RetainDeploymentConfig=True
    ) == [(1.0, 2), (1.0, 1)]
    assert server.sagemaker.describe_endpoint(EndpointName="kept")["LastDeploymentConfig"] == deployment
    assert weights() == [(1.0, 1), (1.0, 1)]
    assert "LastDeploymentConfig" not in server.sagemaker.describe_endpoint(EndpointName="kept")


# CloudWatch ----------------------------------------------------------------------------------------------------------


def _count(server: Server, metric: str, dimensions: list[dict[str, str]]) -> float:
    now = datetime.now(timezone.utc)
    points = server.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName=metric, Dimensions=dimensions, Period=60, Statistics=["Sum"],
        StartTime=now - timedelta(minutes=10), EndTime=now + timedelta(minutes=1),
    )["Datapoints"]  # fmt: skip
    return sum(point["Sum"] for point in points)


def test_metrics_of_an_endpoint_are_counted_and_read(server: Server) -> None:
    endpoint(server, "counted")
    releases(server, "counted", 3)
    code, _ = refused(server.ask, endpoint="counted", body="not json")
    assert code == "ModelError"
    of = [{"Name": "EndpointName", "Value": "counted"}, {"Name": "VariantName", "Value": "AllTraffic"}]
    assert _count(server, "Invocations", of) == 4
    assert _count(server, "Invocation4XXErrors", of) == 1
    assert _count(server, "Invocations", [*of, {"Name": "EndpointConfigName", "Value": "counted-1"}]) == 4
    now = datetime.now(timezone.utc)
    window = {"StartTime": now - timedelta(minutes=2), "EndTime": now + timedelta(minutes=1)}
    cloudwatch = server.client("cloudwatch")
    latency = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker", MetricName="ModelLatency", Dimensions=of, Period=3600, Statistics=["Maximum"],
        ExtendedStatistics=["p50"], **window,
    )["Datapoints"]  # fmt: skip
    assert latency[-1]["Unit"] == "Microseconds"
    assert 0 < latency[-1]["ExtendedStatistics"]["p50"] <= latency[-1]["Maximum"] < 60e6
    asked = {"Namespace": "AWS/SageMaker", "MetricName": "ModelLatency", "Period": 60, **window}
    for changed, code in (
        ({}, "MissingParameter"),
        ({"Statistics": ["Sum"], "Period": 7}, "InvalidParameterValue"),
        ({"Statistics": ["Sum"], "Period": 1, "StartTime": now - timedelta(hours=1)}, "InvalidParameterCombination"),
        ({"Statistics": ["Sum"], "StartTime": now, "EndTime": now}, "InvalidParameterCombination"),
        ({"ExtendedStatistics": ["tm90"]}, "ValidationError"),
    ):
        assert refused(cloudwatch.get_metric_statistics, **{**asked, **changed})[0] == code


def test_alarms_are_put_described_set_and_deleted(server: Server) -> None:
    cloudwatch = server.client("cloudwatch")
    for number in range(3):
        put_alarm(server, f"page-{number}", "nobody", DatapointsToAlarm=1, AlarmDescription="größer als null")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix="page-", PaginationConfig={"PageSize": 2}
    )
    found = [[alarm["AlarmName"] for alarm in page["MetricAlarms"]] for page in pages]
    assert found == [["page-0", "page-1"], ["page-2"]]
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["page-1"])["MetricAlarms"]
    assert alarm["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:000000000000:alarm:page-1"
    assert (alarm["AlarmDescription"], alarm["Threshold"], alarm["Period"]) == ("größer als null", 0.0, 10)
    cloudwatch.set_alarm_state(AlarmName="page-1", StateValue="ALARM", StateReason="by hand", StateReasonData="{}")
    put_alarm(server, "page-1", "nobody", Threshold=5.0)
    (alarm,) = cloudwatch.describe_alarms(StateValue="ALARM", AlarmNamePrefix="page-")["MetricAlarms"]
    assert (alarm["AlarmName"], alarm["Threshold"], alarm["StateReason"]) == ("page-1", 5.0, "by hand")
    code, said = refused(cloudwatch.delete_alarms, AlarmNames=["page-0", "page-9"])
    assert (code, "none was deleted" in said) == ("ResourceNotFound", True)
    cloudwatch.delete_alarms(AlarmNames=["page-0", "page-1", "page-2"])
    assert cloudwatch.describe_alarms(AlarmNamePrefix="page-")["MetricAlarms"] == []
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        cloudwatch.set_alarm_state(AlarmName="page-1", StateValue="OK", StateReason="gone")


def test_alarms_that_cloudwatch_refuses_are_refused(server: Server) -> None:
    cloudwatch = server.client("cloudwatch")
    for changed, code, said in (
        ({"Period": 15}, "ValidationError", "10, 20, 30 and any multiple of 60"),
        ({"Period": 0}, "ValidationError", "greater than or equal to 1"),
        ({"Period": 60, "EvaluationPeriods": 1441}, "ValidationError", "longer than a day"),
        ({"Period": 60, "EvaluationPeriods": 61}, "ValidationError", "keeps metrics for 3600 s"),
        ({"DatapointsToAlarm": 2}, "ValidationError", "larger than EvaluationPeriods"),
        ({"TreatMissingData": "sometimes"}, "ValidationError", "TreatMissingData is 'sometimes'"),
        ({"ComparisonOperator": "Equals"}, "ValidationError", "enum value set"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "ValidationError", "does not detect anomalies"),
        ({"ExtendedStatistic": "p99"}, "InvalidParameterCombination", "only one of them"),
        ({"Statistic": None}, "InvalidParameterCombination", "Statistic or ExtendedStatistic"),
        ({"Statistic": None, "ExtendedStatistic": "p101"}, "ValidationError", "from p0 to p100"),
        ({"Threshold": None}, "MissingParameter", "Threshold"),
        ({"AlarmActions": ["arn:aws:sns:us-east-1:1:x"]}, "ValidationError", "does not execute AlarmActions"),
        ({"Dimensions": [{"Name": "a", "Value": "b"}] * 2}, "ValidationError", "given twice"),
    ):
        found = refused(lambda **more: put_alarm(server, "bad", "nobody", **more), **changed)
        assert (found[0], said in found[1]) == (code, True), found
    assert (
        refused(cloudwatch.describe_alarms, AlarmNames=["a"], AlarmNamePrefix="a")[0] == "InvalidParameterCombination"
    )
    assert refused(cloudwatch.describe_alarms, NextToken="guess")[0] == "InvalidNextToken"
    assert refused(cloudwatch.describe_alarms, ChildrenOfAlarmName="a")[0] == "ValidationError"
    put_alarm(server, "not-json", "nobody")
    wrong = {"AlarmName": "not-json", "StateValue": "OK", "StateReason": "x", "StateReasonData": "{"}
    assert refused(cloudwatch.set_alarm_state, **wrong)[0] == "InvalidFormat"
    assert refused(cloudwatch.list_metrics)[0] == "UnknownOperationException"
    assert refused(server.client("cloudwatch", aws_secret_access_key="guess").describe_alarms)[0] == (
        "InvalidSignatureException"
    )


def test_sdks_that_speak_json_to_cloudwatch_are_understood(server: Server) -> None:
    body = json.dumps({"AlarmNamePrefix": "no-such"}).encode()
    host = f"127.0.0.1:{server.running.port}"
    headers = {
        "X-Amz-Target": "GraniteServiceVersion20100801.DescribeAlarms", "Content-Type": "application/x-amz-json-1.0"
    }  # fmt: skip
    request = AWSRequest("POST", f"http://{host}/", data=body, headers=headers)
    keys = server.home.credentials()
    SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "monitoring", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/", body, dict(request.headers))
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"MetricAlarms": [], "CompositeAlarms": []})
    connection.close()


def test_prometheus_scrapes_with_the_token_of_the_home(server: Server) -> None:
    endpoint(server, "scraped")
    releases(server, "scraped", 2)
    put_alarm(server, 'of "quotes"', "scraped")

    def scrape(authorization: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", server.running.port)
        connection.request("GET", "/metrics", headers={"Authorization": authorization})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    assert scrape("Bearer guess")[0] == scrape("Bearer größe".encode().decode("latin-1"))[0] == 401
    path = server.home.path / "metrics-token"
    assert path.stat().st_mode & 0o777 == 0o600
    status, text = scrape(f"Bearer {path.read_text()}")
    assert status == 200
    labels = 'endpoint="scraped",variant="AllTraffic"'
    assert f"sagemaker_endpoint_invocations_total{{{labels}}} 2" in text
    assert f'sagemaker_endpoint_errors_total{{{labels},class="5xx"}} 0' in text
    assert f'sagemaker_endpoint_model_latency_seconds{{{labels},quantile="0.99"}} 0.' in text
    assert 'sagemaker_alarm_firing{alarm="of \\"quotes\\""} 0' in text
    for line in text.splitlines():
        assert line.startswith("# ") or float(line.rsplit(" ", 1)[1]) >= 0, line
