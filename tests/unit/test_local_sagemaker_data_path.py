"""What an endpoint does beside answering: shadow, capture, asynchronous requests, the schema; and its limits."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from benchmarks import endpoint as benchmark
from local_sagemaker import invocations
from local_sagemaker.endpoints import worker
from local_sagemaker.endpoints.asynchronous import KIND, MAX_INPUT, AsyncQueue
from local_sagemaker.endpoints.capture import CaptureWriter, Event
from local_sagemaker.endpoints.metrics import Metrics
from local_sagemaker.endpoints.options import Capture, Options
from local_sagemaker.endpoints.supervisor import Route
from local_sagemaker.endpoints.update import Shift
from local_sagemaker.endpoints.upstream import Answer
from local_sagemaker.endpoints.worker import Fleet
from local_sagemaker.http1 import MAX_BODY, Request
from local_sagemaker.invocations import Invocation, Invocations
from local_sagemaker.logs import Logs
from local_sagemaker.objects import Objects
from local_sagemaker.store import Store
from tests.unit.local_sagemaker_tools import INFERENCE, Server, model_archive, tar_gz, until, variant

# A model that answers while the file named by x exists not; so a test decides when it does.
GATED = """
import json, os, time
def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as file:
        return json.load(file)["name"]
def transform_fn(model, body, content_type, accept):
    gate = json.loads(body)["x"]
    open(gate + ".asked", "w").close()
    while not os.path.exists(gate):
        time.sleep(0.005)
    return json.dumps({"name": model}), "application/json"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("sagemaker"))
    yield started
    started.stop()


def refused(call: Any, **request: Any) -> dict[str, Any]:
    """The response of a call that must fail."""
    with pytest.raises(ClientError) as raised:
        call(**request)
    return raised.value.response


def deploy(server: Server, name: str, archive: bytes, environment: dict | None = None, **config: Any) -> None:
    """An endpoint of one variant whose configuration has further members."""
    server.config(name, archive)
    if environment is not None:
        container = server.sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
        server.sagemaker.delete_model(ModelName=name)
        server.sagemaker.create_model(ModelName=name, PrimaryContainer={**container, "Environment": environment})
    server.sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-more", **{"ProductionVariants": [variant(name)], **config}
    )
    server.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-more")
    described = server.settled(name)
    assert described["EndpointStatus"] == "InService", described


def counts(server: Server, endpoint: str) -> dict[str, dict[str, int]]:
    import urllib.request

    keys = server.home.credentials()
    request = AWSRequest("GET", f"{server.running.url}/endpoints/{endpoint}/counts")
    SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "sagemaker", "us-east-1").add_auth(request)
    with urllib.request.urlopen(urllib.request.Request(request.url, headers=dict(request.headers.items()))) as answer:
        return json.loads(answer.read())


def in_background(call: Any) -> tuple[threading.Thread, list[Any]]:
    """A call that is under way, and where its result will be."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


# Shadow --------------------------------------------------------------------------------------------------------------


def test_the_shadow_gets_a_copy_and_its_answer_goes_to_the_capture_only(server: Server) -> None:
    server.config("shadowed-candidate", model_archive("candidate"))
    capture = {"InitialSamplingPercentage": 100, "DestinationS3Uri": "s3://lake/captured",
               "CaptureOptions": [{"CaptureMode": "Output"}],
               "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]}}  # fmt: skip
    deploy(
        server, "shadowed", model_archive("live"), DataCaptureConfig=capture,
        ShadowProductionVariants=[variant("shadowed-candidate", "Shadow")],
    )  # fmt: skip
    described = server.sagemaker.describe_endpoint(EndpointName="shadowed")
    assert [item["VariantName"] for item in described["ProductionVariants"]] == ["AllTraffic"]
    assert [item["VariantName"] for item in described["ShadowProductionVariants"]] == ["Shadow"]
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Started"
    for _ in range(5):
        answer = server.ask("shadowed")
        assert (json.loads(answer["Body"].read())["name"], answer["InvokedProductionVariant"]) == ("live", "AllTraffic")
    assert refused(server.ask, endpoint="shadowed", TargetVariant="Shadow")["Error"]["Code"] == "ValidationError"
    lines = until(lambda: captured(server, "captured/shadowed/Shadow"), lambda found: len(found) == 5)
    assert {json.loads(line["captureData"]["endpointOutput"]["data"])["name"] for line in lines} == {"candidate"}
    assert counts(server, "shadowed")["Shadow"] == {"shadow_requests": 5}


def test_a_shadow_that_hangs_costs_copies_but_no_answer(server: Server, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    hanging = GATED.replace('json.loads(body)["x"]', repr(gate))
    server.config("hangs-candidate", model_archive("candidate", hanging))
    deploy(
        server, "hangs", model_archive("live"),
        ShadowProductionVariants=[variant("hangs-candidate", "Shadow")],
    )  # fmt: skip
    for _ in range(invocations.MAX_SHADOWED + 5):
        assert json.loads(server.ask("hangs")["Body"].read())["name"] == "live"
    told = counts(server, "hangs")["Shadow"]
    Path(gate).touch()
    assert told == {"shadow_requests": invocations.MAX_SHADOWED, "shadow_requests_dropped": 5}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"ShadowProductionVariants": [variant("refusing", "A"), variant("refusing", "B")]},
            "one production variant and one shadow",
        ),
        (
            {
                "ProductionVariants": [variant("refusing", "A"), variant("refusing", "B")],
                "ShadowProductionVariants": [variant("refusing", "C")],
            },
            "one production variant and one shadow",
        ),
        ({"ShadowProductionVariants": [variant("refusing")]}, "must be unique"),
        ({"ShadowProductionVariants": [variant("nobody", "Shadow")]}, "Could not find model"),
        (
            {
                "ShadowProductionVariants": [variant("refusing", "Shadow")],
                "AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://lake/out"}},
            },
            "not supported with AsyncInferenceConfig",
        ),
        (
            {
                "DataCaptureConfig": {
                    "InitialSamplingPercentage": 1,
                    "DestinationS3Uri": "s3://lake/../other",
                    "CaptureOptions": [{"CaptureMode": "Input"}],
                }
            },
            "could lead out of its bucket",
        ),
        ({"AsyncInferenceConfig": {"OutputConfig": {}}}, "no S3OutputPath"),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://lake/out", "NotificationConfig": {}}}},
            "does not execute AsyncInferenceConfig.OutputConfig.NotificationConfig",
        ),
    ],
)
def test_a_configuration_of_the_data_path_that_cannot_be_executed_is_refused(
    server: Server, config: dict, said: str
) -> None:
    server.config("refusing", model_archive("one")) if not _has(server, "refusing") else None
    create = server.sagemaker.create_endpoint_config
    error = refused(create, EndpointConfigName="never", **{"ProductionVariants": [variant("refusing")], **config})
    assert error["Error"]["Code"] == "ValidationException"
    assert said in error["Error"]["Message"]


def _has(server: Server, model: str) -> bool:
    return any(found["ModelName"] == model for found in server.sagemaker.list_models(MaxResults=100)["Models"])


# Capture -------------------------------------------------------------------------------------------------------------


def captured(server: Server, prefix: str) -> list[dict[str, Any]]:
    folder = server.object_root / "lake" / prefix
    files = sorted(folder.rglob("*.jsonl"))
    for file in files:
        assert re.fullmatch(r"\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", str(file.relative_to(folder)))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_requests_and_answers_are_captured_as_sagemaker_writes_them(server: Server) -> None:
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": "s3://lake/whole/",
               "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
               "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]}}  # fmt: skip
    deploy(server, "captures", model_archive("one"), DataCaptureConfig=capture)
    request = server.ask("captures", InferenceId="mine")["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    refused(server.ask, endpoint="captures", body="{}")  # is no answer, and not captured
    (line,) = until(lambda: captured(server, "whole/captures/AllTraffic"), bool)
    metadata = line["eventMetadata"]
    assert (line["eventVersion"], metadata["eventId"], metadata["inferenceId"]) == ("0", request, "mine")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["inferenceTime"])
    sides = line["captureData"]
    assert base64.b64decode(sides["endpointInput"].pop("data")) == b'{"x": 1}'
    assert sides["endpointInput"] == {
        "observedContentType": "application/json",
        "mode": "INPUT",
        "encoding": "BASE64",  # AWS: where no content type is named as JSON
    }
    assert json.loads(base64.b64decode(sides["endpointOutput"]["data"])) == {"x": 1, "name": "one"}


def event(counts: Any, capture: Capture, body: bytes = b"1,2", kind: str = "text/csv") -> Event:
    return Event(capture, "e", "v", "id", 1_700_000_000.0, body, kind, b"\xff", "text/csv", None, None, counts)


def test_captured_bytes_are_told_by_their_content_type_and_never_lost_to_it() -> None:
    capture = Capture("s3://lake/c", 1.0, True, True, frozenset({"text/csv"}), frozenset({"application/json"}))
    sides = json.loads(event({}, capture, kind="text/csv; charset=utf-8").line())["captureData"]
    assert (sides["endpointInput"]["encoding"], sides["endpointInput"]["data"]) == ("CSV", "1,2")
    assert (sides["endpointOutput"]["encoding"], sides["endpointOutput"]["data"]) == ("BASE64", "/w==")
    assert (
        json.loads(event({}, capture, kind="application/json").line())["captureData"]["endpointInput"]["encoding"]
        == "JSON"
    )
    only_input = json.loads(event({}, Capture("s3://lake/c", 1.0, True, False)).line())["captureData"]
    assert list(only_input) == ["endpointInput"]


def test_events_beyond_the_bound_or_the_disk_are_counted_and_the_rest_is_flushed_at_the_end(tmp_path: Path) -> None:
    from collections import Counter

    told: Counter[str] = Counter()
    capture = Capture("s3://lake/c", 1.0, True, True)
    size = event(told, capture).size
    writer = CaptureWriter(Objects(tmp_path), max_bytes=2 * size)
    for _ in range(3):
        writer.add(event(told, capture))
    writer.close()
    assert told == {"captures_dropped": 1}
    (file,) = tmp_path.rglob("*.jsonl")
    assert file.parent == tmp_path / "lake/c/e/v/2023/11/14/22"
    assert len(file.read_text().splitlines()) == 2
    (tmp_path / "other").write_text("a file where the bucket should be")
    writer = CaptureWriter(Objects(tmp_path))
    writer.add(event(told, Capture("s3://other/c", 1.0, True, True)))
    writer.close()
    assert told == {"captures_dropped": 2}


def test_the_sample_of_a_capture_has_its_share() -> None:
    chosen = [Capture("s3://lake/c", share, True, True).chosen() for share in (0.0, 1.0) for _ in range(100)]
    assert (sum(chosen[:100]), sum(chosen[100:])) == (0, 100)


# Asynchronous --------------------------------------------------------------------------------------------------------

ASYNC = {"OutputConfig": {"S3OutputPath": "s3://lake/results", "S3FailurePath": "s3://lake/failures"}}


def ask_async(server: Server, endpoint: str, uri: str, **more: Any) -> dict[str, Any]:
    return server.runtime.invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=uri, ContentType="application/json", **more
    )


def written(server: Server, uri: str) -> bytes | None:
    path = server.object_root / uri.removeprefix("s3://")
    return path.read_bytes() if path.is_file() else None


def test_an_asynchronous_request_is_answered_into_the_object_store(server: Server) -> None:
    deploy(server, "later", model_archive("one"), AsyncInferenceConfig=ASYNC)
    assert "AsyncInferenceConfig" in server.sagemaker.describe_endpoint(EndpointName="later")
    uri = server.put("s3://lake/asked/one.json", '{"x": 1}')
    accepted = ask_async(server, "later", uri, InferenceId="mine")
    assert (accepted["ResponseMetadata"]["HTTPStatusCode"], accepted["InferenceId"]) == (202, "mine")
    assert re.fullmatch(r"s3://lake/results/[0-9a-f-]{36}\.out", accepted["OutputLocation"])
    answer = until(lambda: written(server, accepted["OutputLocation"]), bool)
    assert json.loads(answer) == {"x": 1, "name": "one"}
    assert written(server, accepted["FailureLocation"]) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"y": 1}', 'Received client error (400) from primary with message "{"error": "the field x is missing"}"'),
        (None, "No object at s3://lake/asked/failing.json"),
        ('{"x": "crash"}', "went away before it answered"),
    ],
)
def test_a_failed_asynchronous_request_is_reported_where_it_was_asked_for(
    server: Server, body: str | None, said: str
) -> None:
    if not any(row["EndpointName"] == "failing" for row in server.sagemaker.list_endpoints(MaxResults=99)["Endpoints"]):
        deploy(server, "failing", model_archive("one"), AsyncInferenceConfig=ASYNC)
    uri = "s3://lake/asked/failing.json"
    (server.object_root / "lake/asked/failing.json").unlink(missing_ok=True)
    if body is not None:
        server.put(uri, body)
    accepted = ask_async(server, "failing", uri)
    reason = until(lambda: written(server, accepted["FailureLocation"]), bool).decode()
    assert said in reason
    assert written(server, accepted["OutputLocation"]) is None


def test_asynchronous_requests_that_cannot_be_accepted_are_refused(server: Server) -> None:
    deploy(server, "strict", model_archive("one"), AsyncInferenceConfig=ASYNC)
    deploy(server, "at-once", model_archive("one"))
    uri = "s3://lake/asked/one.json"
    for endpoint, request, said in (
        ("nobody", {"uri": uri}, "not found"),
        ("at-once", {"uri": uri}, "use InvokeEndpoint"),
        ("strict", {"uri": "s3://lake/../x"}, "lead out of its bucket"),
        ("strict", {"uri": "https://lake.s3.amazonaws.com/x"}, "is not an s3://bucket/key URI"),
        ("strict", {"uri": uri, "RequestTTLSeconds": 1}, "give 60 to 21600 seconds"),
        ("strict", {"uri": uri, "InvocationTimeoutSeconds": 4000}, "give 1 to 3600 seconds"),
        ("strict", {"uri": uri, "Filename": "a.json"}, "does not take the header"),
    ):
        error = refused(ask_async, server=server, endpoint=endpoint, **request)["Error"]
        assert (error["Code"], said in error["Message"]) == ("ValidationError", True), error
    assert "use InvokeEndpointAsync" in refused(server.ask, endpoint="strict")["Error"]["Message"]


def waiting_row(**changed: Any) -> dict[str, Any]:
    """A request as an older server left it in its store."""
    return {
        "id": "1", "inference_id": "1", "endpoint": "e", "input": "s3://lake/in", "headers": {}, "accepted": time.time(),
        "output": "s3://lake/1.out", "failure": "s3://lake/1-error.out", "ttl": 60, "timeout": 1, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "routes", "said"),
    [
        ({"accepted": 0.0}, True, "waited longer than its RequestTTLSeconds of 60 s"),
        ({}, False, "Endpoint e is gone; create it"),
        ({"input": "s3://lake/huge"}, True, "more than the 1073741824 of an asynchronous request"),
        ({"failure": None}, True, "did not answer within InvocationTimeoutSeconds, 1 s"),
    ],
)
def test_an_accepted_request_that_cannot_be_done_ends_in_a_failure(
    tmp_path: Path, changed: dict, routes: bool, said: str
) -> None:
    store, objects, logs = Store(tmp_path / "state"), Objects(tmp_path), Logs(tmp_path / "logs")
    objects.put("s3://lake/in", b"1")
    objects.put("s3://lake/huge", b"")
    os.truncate(tmp_path / "lake/huge", MAX_INPUT + 1)  # without a byte on the disk
    row = waiting_row(**changed)
    store.create(KIND, "1", row)

    async def run() -> None:
        hanging = Hanging()

        async def start(on_exit: Any) -> Any:
            return hanging

        fleet = Fleet("AllTraffic", 1.0, "d" * 64, start, Options())
        await fleet.start()
        endpoints = SimpleNamespace(routes={"e": Route([fleet])} if routes else {}, metrics=Metrics())
        platform: Any = SimpleNamespace(store=store, objects=objects, logs=logs, endpoints=endpoints, region="r")
        queue = AsyncQueue(platform, asyncio.get_running_loop())
        queue.recover()
        while store.all(KIND):
            await asyncio.sleep(0.01)
        await queue.close()

    asyncio.run(run())
    (event,) = logs.read("/aws/sagemaker/Endpoints/e", "async/data-log")
    assert said in event.message
    if row["failure"]:
        assert said in objects.read(row["failure"]).decode()


class Answering:
    """A worker and its connections at once: answers every request with one status."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.upstream = self

    def send(self, request: bytes, done: Any) -> None:
        done(Answer(self._status, {}, b'{"score": 1}'))

    def close(self) -> None: ...

    async def stop(self) -> None: ...


def test_asynchronous_requests_count_and_in_an_update_the_old_release_answers_for_a_bad_one(tmp_path: Path) -> None:
    store, objects, logs = Store(tmp_path / "state"), Objects(tmp_path), Logs(tmp_path / "logs")
    objects.put("s3://lake/in", b"1")
    store.create(KIND, "1", waiting_row())
    metrics = Metrics()

    async def started(status: int, config: str) -> Fleet:
        async def start(on_exit: Any) -> Any:
            return Answering(status)

        fleet = Fleet("AllTraffic", 1.0, "d" * 64, start, Options())
        await fleet.start()
        metrics.attach(fleet, "e", "AllTraffic", config)
        return fleet

    async def run() -> None:
        old, bad = await started(200, "old"), await started(500, "bad")
        endpoints = SimpleNamespace(routes={"e": Shift(Route([old]), Route([bad]), 1.0)}, metrics=metrics)
        platform: Any = SimpleNamespace(store=store, objects=objects, logs=logs, endpoints=endpoints, region="r")
        queue = AsyncQueue(platform, asyncio.get_running_loop())
        queue.recover()
        while store.all(KIND):
            await asyncio.sleep(0.01)
        await queue.close()

    asyncio.run(run())
    assert objects.read("s3://lake/1.out") == b'{"score": 1}'
    counted = {}
    for config in ("old", "bad"):
        of = {"EndpointName": "e", "VariantName": "AllTraffic", "EndpointConfigName": config}
        found = metrics.window("AWS/SageMaker", "Invocation5XXErrors", of, 0, 2**40)
        counted[config] = (found.count, found.total) if found else None
    assert counted == {"old": (1, 0.0), "bad": (1, 1.0)}


def test_what_was_accepted_is_done_after_kill_9(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        gate = str(tmp_path / "gate")
        deploy(own, "durable", model_archive("one", GATED), AsyncInferenceConfig=ASYNC)
        uri = own.put("s3://lake/asked/gated.json", json.dumps({"x": gate}))
        accepted = [ask_async(own, "durable", uri) for _ in range(5)]
        until(lambda: Path(f"{gate}.asked").exists(), bool)  # one is in the model, the others wait
        os.kill(own.running.pid, signal.SIGKILL)
        until(own.home.locked, lambda locked: not locked)
        assert [written(own, one["OutputLocation"]) for one in accepted] == [None] * 5
        Path(gate).touch()
        own.start()
        for one in accepted:
            answer = until(lambda uri=one["OutputLocation"]: written(own, uri), bool)
            assert json.loads(answer) == {"name": "one"}
    finally:
        own.stop()


# The schema ----------------------------------------------------------------------------------------------------------


def with_schema(schema: Any) -> bytes:
    return tar_gz({"model.json": '{"name": "one"}', "schema.json": json.dumps(schema), "code/inference.py": INFERENCE})


SCHEMA = {"columns": [{"name": "x", "type": "integer", "min": 0, "max": 9}]}


def test_a_request_outside_the_schema_is_flagged_refused_or_let_through(server: Server) -> None:
    for mode in ("flag", "refuse", "off"):
        environment = {"LEDGERLINE_SCHEMA_MODE": mode}
        deploy(server, f"schema-{mode}", with_schema(SCHEMA), environment=environment)
    flagged = server.ask("schema-flag", '{"x": 10}')
    assert json.loads(flagged["Body"].read())["x"] == 10
    assert flagged["CustomAttributes"] == "schema-violations=1; record 1: x is 10, expected at most 9"
    assert "CustomAttributes" not in server.ask("schema-flag", '{"x": 9}')
    refusal = refused(server.ask, endpoint="schema-refuse", body='{"x": 10}')
    assert (refusal["OriginalStatusCode"], json.loads(refusal["OriginalMessage"])["error"]) == (
        400, "the request is outside the model's schema: schema-violations=1; record 1: x is 10, expected at most 9",
    )  # fmt: skip
    assert json.loads(server.ask("schema-refuse", '{"x": 9}')["Body"].read())["x"] == 9
    assert "CustomAttributes" not in server.ask("schema-off", '{"x": 10}')
    assert counts(server, "schema-flag") == {"AllTraffic": {"schema_flagged": 1}}
    assert counts(server, "schema-refuse") == {"AllTraffic": {"schema_refused": 1}}
    group = "/aws/sagemaker/Endpoints/schema-flag"
    found = until(lambda: server.logs.filter_log_events(logGroupName=group, filterPattern="x is 10")["events"], bool)
    assert found[0]["message"].startswith("schema-violations=1")


@pytest.mark.parametrize(
    ("name", "schema", "environment", "reason"),
    [
        (
            "bad-schema",
            {"columns": [{"name": "x", "type": "date"}]},
            {},
            "schema.json of the model is no request schema",
        ),
        ("bad-mode", SCHEMA, {"LEDGERLINE_SCHEMA_MODE": "warn"}, "set it to one of flag, refuse, off"),
    ],
)
def test_a_model_whose_schema_cannot_be_used_is_not_served(
    server: Server, name: str, schema: dict, environment: dict, reason: str
) -> None:
    with pytest.raises(AssertionError):
        deploy(server, name, with_schema(schema), environment=environment)
    assert reason in server.sagemaker.describe_endpoint(EndpointName=name)["FailureReason"]


# Limits --------------------------------------------------------------------------------------------------------------


def test_every_answer_has_a_request_id_and_one_of_a_model_its_digest(server: Server) -> None:
    deploy(server, "named", model_archive("one"))
    good = server.ask("named")["ResponseMetadata"]["HTTPHeaders"]
    model_error = refused(server.ask, endpoint="named", body="{}")["ResponseMetadata"]["HTTPHeaders"]
    crash = refused(server.ask, endpoint="named", body='{"x": "crash"}')["ResponseMetadata"]["HTTPHeaders"]
    digest = good["x-ledgerline-model-digest"]
    assert [headers["x-ledgerline-model-digest"] for headers in (model_error, crash)] == [digest, digest]
    others = [
        refused(server.ask, endpoint="nobody"),
        refused(server.sagemaker.describe_endpoint, EndpointName="nobody"),
        refused(server.client("sagemaker", aws_secret_access_key="wrong").list_models),
        refused(
            server.client("sagemaker-runtime", aws_secret_access_key="wrong").invoke_endpoint, EndpointName="named"
        ),
    ]
    identifiers = [headers["x-amzn-requestid"] for headers in (good, model_error, crash)]
    identifiers += [response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] for response in others]
    assert len(set(identifiers)) == len(identifiers)


def test_a_body_of_the_greatest_length_is_answered_and_a_longer_one_refused(server: Server) -> None:
    deploy(server, "sized", model_archive("one"))
    edge = '{"x": "' + "a" * (MAX_BODY - 9) + '"}'
    assert len(edge) == MAX_BODY
    assert len(json.loads(server.ask("sized", edge)["Body"].read())["x"]) == MAX_BODY - 9
    for _ in range(3):
        response = refused(server.ask, endpoint="sized", body=edge + " ")
        assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("ValidationError", 413)


def test_a_client_that_writes_all_before_it_reads_still_gets_its_refusal(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.running.port), timeout=10) as connection:
        connection.sendall(f"POST /endpoints/e/invocations HTTP/1.1\r\ncontent-length: {4 * MAX_BODY}\r\n\r\n".encode())
        for _ in range(4):
            connection.sendall(b"a" * MAX_BODY)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"x-amzn-requestid: " in answer


def test_an_update_answers_what_the_old_worker_was_asked(server: Server, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    server.endpoint("drained", model_archive("old", GATED))
    thread, results = in_background(
        lambda: json.loads(server.ask("drained", json.dumps({"x": gate}))["Body"].read())["name"]
    )
    until(lambda: Path(f"{gate}.asked").exists(), bool)
    new = server.config("drained-2", model_archive("new"))
    server.sagemaker.update_endpoint(EndpointName="drained", EndpointConfigName=new)
    assert server.settled("drained")["EndpointConfigName"] == new
    assert json.loads(server.ask("drained")["Body"].read())["name"] == "new"
    assert results == []
    Path(gate).touch()
    thread.join(10)
    assert results == ["old"]


def test_a_short_soak_loses_no_request_and_no_answer_is_of_an_old_version(tmp_path: Path) -> None:
    result = benchmark.soak(tmp_path, requests=600, replacements=3, clients=3, trees=5)
    assert result["requests"] >= 600
    assert (result["replacements"], result["errors"], result["answers_of_old_versions"]) == (3, 0, 0)


def test_after_a_kill_under_load_clients_get_the_same_bytes_again(tmp_path: Path) -> None:
    result = benchmark.kill(tmp_path, kills=1, clients=3, trees=5)
    assert (result["status_after"], result["wrong_answers"], result["other_digests"]) == ("InService", 0, 0)
    assert 0 < result["requests_without_answer"] <= result["clients"] * 2  # those under way, and while it comes back


def test_an_answer_of_an_old_version_after_its_replacement_would_be_counted() -> None:
    switches = [(0.0, "old"), (10.0, "new")]
    rows = [(9.0, 0.1, "old"), (9.9, 0.5, "new"), (11.0, 0.1, "old"), (11.0, 0.1, "new")]
    assert benchmark.answers_of_old_versions(rows, switches) == 1


class Silent:
    """A connection that notes what it is told to write."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, bytes]] = []

    def respond(self, status: int, head: str, body: bytes) -> None:
        self.answers.append((status, head, body))


class Hanging:
    """A worker that never answers, and says when it was told to stop."""

    def __init__(self) -> None:
        self.upstream = self
        self.stopped = False

    def send(self, request: bytes, done: Any) -> None:
        self.done = done

    def close(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True


def test_a_model_that_does_not_answer_in_time_is_an_error_and_its_late_answer_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invocations, "INVOCATION_SECONDS", 0.01)

    async def run() -> Silent:
        hanging, connection = Hanging(), Silent()
        written_to: Any = connection

        async def start(on_exit: Any) -> Any:
            return hanging

        fleet = Fleet("AllTraffic", 1.0, "d" * 64, start, Options())
        await fleet.start()
        platform: Any = SimpleNamespace(region="us-east-1", endpoints=SimpleNamespace(routes={}, metrics=Metrics()))
        unused: Any = None
        owner = Invocations(platform, lambda request: None, unused, unused)
        request = Request("POST", "/endpoints/e/invocations", "", {}, b"", "id-1")
        Invocation(owner, written_to, request, "e", fleet, time.perf_counter()).send(b"request")
        while not connection.answers:
            await asyncio.sleep(0.005)
        hanging.done(None)
        return connection

    ((status, head, body),) = asyncio.run(run()).answers
    assert (status, json.loads(body)["OriginalStatusCode"]) == (424, 504)
    assert "x-amzn-requestid: id-1\r\n" in head
    assert f"x-ledgerline-model-digest: {'d' * 64}\r\n" in head


def test_a_drain_gives_up_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.01)

    async def run() -> tuple[int, bool]:
        hanging = Hanging()

        async def start(on_exit: Any) -> Any:
            return hanging

        fleet = Fleet("AllTraffic", 1.0, "d" * 64, start)
        await fleet.start()
        fleet.send(b"request", lambda answer: None)
        await fleet.drain()
        return fleet.in_flight, hanging.stopped

    assert asyncio.run(run()) == (1, True)
