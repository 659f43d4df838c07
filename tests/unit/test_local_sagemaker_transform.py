"""Batch transform: the record rules as pure functions, and whole jobs as unmodified boto3 sees them."""

from __future__ import annotations

import gzip
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import json_path
from local_sagemaker.errors import JobError
from local_sagemaker.transform import Plan
from tests.unit.local_sagemaker_tools import IMAGE, ROLE, Server, tar_gz, until

# Doubles each line of the request, in the order asked; some words make it misbehave.
DOUBLE = """
import json, os, sys, time
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    text = body if isinstance(body, str) else body.decode()
    if "bad" in text:
        raise ValueError("a bad record")
    return text, content_type
def predict_fn(data, model):
    text, content_type = data
    if "crash" in text:
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(9)
    if "break" in text:
        raise RuntimeError("weights are broken")
    if "slow" in text:
        print("asked", flush=True)
        time.sleep(60)
    if "env" in text:
        return json.dumps({k: v for k, v in os.environ.items() if k.startswith(("SAGEMAKER_", "MINE"))})
    if content_type == "text/csv":
        return "\\n".join(str(sum(float(x) for x in line.split(","))) for line in text.splitlines()) + "\\n"
    return "\\n".join(json.dumps([json.loads(line), len(text.splitlines())]) for line in text.splitlines())
def output_fn(prediction, accept):
    return prediction, accept
"""


# Filters -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value", "selected"),
    [
        ("$.features", {"id": 1, "features": [2]}, [2]),
        ("$['id','x']", {"id": 1, "x": 2, "y": 3}, {"id": 1, "x": 2}),
        ("$.a.['b','c']", {"a": {"b": 1, "c": 2, "d": 3}}, {"b": 1, "c": 2}),
        ("$[1:]", ["id", "1", "2"], ["1", "2"]),
        ("$[:2]", ["id", "1", "2"], ["id", "1"]),
        ("$[0,-1]", ["id", "1", "2"], ["id", "2"]),
        ("$[-1]", ["id", "1", "2"], "2"),
        ("$.a[1].b", {"a": [{}, {"b": 7}]}, 7),
    ],
)
def test_a_filter_keeps_the_shape_of_what_it_selects(expression: str, value: Any, selected: Any) -> None:
    select = json_path.compiled(expression)
    assert select is not None
    assert select(value) == selected


@pytest.mark.parametrize("expression", ["$..a", "$.*", "$[*]", "$[0:4:2]", "$[?(@.a>1)]", "$[", "", "nonsense here"])
def test_a_filter_that_is_not_executed_is_refused_by_name(expression: str) -> None:
    with pytest.raises(ValueError, match=r"JSONPath|do not execute"):
        json_path.compiled(expression)


def test_the_whole_record_needs_no_filter() -> None:
    assert json_path.compiled("$") is None


# Records -------------------------------------------------------------------------------------------------------------


def plan(content_type: str = "application/jsonlines", **changed: Any) -> Plan:
    request: dict[str, Any] = {
        "TransformInput": {"ContentType": content_type, "SplitType": changed.pop("SplitType", "Line")},
        "TransformOutput": {"Accept": content_type, "AssembleWith": changed.pop("AssembleWith", "Line")},
        "DataProcessing": changed.pop("DataProcessing", {}),
    }
    return Plan.of(request | changed)


def batches(plan: Plan, body: bytes) -> list[list[bytes]]:
    return list(plan.batches(io.BytesIO(body), "rows"))


def test_records_fill_a_mini_batch_up_to_its_size_and_never_beyond() -> None:
    million = b"x" * 400_000
    found = batches(plan(MaxPayloadInMB=1), b"\n".join([million] * 5) + b"\n")
    assert [len(batch) for batch in found] == [2, 2, 1]
    assert [len(batch) for batch in batches(plan(BatchStrategy="SingleRecord"), b"1\n2\n\n3")] == [1, 1, 1, 1]
    assert batches(plan(), b"") == []
    with pytest.raises(JobError, match="Record 2 of rows is longer than MaxPayloadInMB"):
        batches(plan(MaxPayloadInMB=1), b"1\n" + b"x" * (1024**2 + 1))
    with pytest.raises(JobError, match="set SplitType to Line"):
        batches(plan(MaxPayloadInMB=1, SplitType="None"), b"x" * (1024**2 + 1))


def test_an_answer_with_another_number_of_lines_is_an_error_not_a_shifted_join() -> None:
    with pytest.raises(JobError, match="3 records were sent and 2 came back"):
        plan().result([b"1", b"2", b"3"], b"1\n2\n")
    with pytest.raises(JobError, match="1 records were sent and 0 came back"):
        plan().result([b"1"], b"")
    whole = plan(BatchStrategy="SingleRecord", AssembleWith="None").result([b"1"], b"two\nlines")
    assert whole == b"two\nlines"


def test_csv_is_filtered_joined_and_filtered_again() -> None:
    rows = plan("text/csv", DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"})
    batch = [b'"a,b",1,2', b"c,3,4"]
    assert rows.payload(batch) == b"1,2\n3,4"
    assert rows.result(batch, b"0.1\n0.2\n") == b'"a,b",0.1\nc,0.2\n'
    with pytest.raises(JobError, match=r"OutputFilter finds nothing in .*list index out of range"):
        plan("text/csv", DataProcessing={"OutputFilter": "$[5]"}).result([b"c"], b"1\n")


def test_json_is_joined_under_the_names_of_the_guide() -> None:
    joined = plan(DataProcessing={"JoinSource": "Input"})
    assert joined.result([b'{"id":1}', b"[2]"], b"0.5\n{}\n") == (
        b'{"id":1,"SageMakerOutput":0.5}\n{"SageMakerInput":[2],"SageMakerOutput":{}}\n'
    )
    filtered = plan(
        DataProcessing={
            "InputFilter": "$.x", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"
        }
    )  # fmt: skip
    batch = ['{"id":"회사","x":[1]}'.encode()]
    assert filtered.payload(batch) == b"[1]"
    assert filtered.result(batch, b"7") == '{"id":"회사","SageMakerOutput":7}\n'.encode()
    with pytest.raises(JobError, match="is no record of application/jsonlines"):
        filtered.payload([b"{"])


def test_a_whole_json_object_is_one_record() -> None:
    whole = plan("application/json", SplitType="None", AssembleWith="None", DataProcessing={"JoinSource": "Input"})
    (batch,) = batches(whole, b'{\n "id": 1\n}')
    assert whole.result(batch, b"[\n1\n]") == b'{"id":1,"SageMakerOutput":[1]}'


# Jobs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("sagemaker"))
    model(started)
    yield started
    started.stop()


def model(server: Server) -> None:
    uri = server.put("s3://lake/artifacts/double.tar.gz", tar_gz({"code/inference.py": DOUBLE}))
    container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": {"MINE": "model", "MINE_TOO": "model"}}
    server.sagemaker.create_model(ModelName="double", PrimaryContainer=container, ExecutionRoleArn=ROLE)


def transform(server: Server, name: str, files: dict[str, str | bytes], **changed: Any) -> None:
    """Create a job over the files; `TransformInput` and `TransformOutput` are merged into the usual ones."""
    for key, body in files.items():
        server.put(f"s3://lake/in/{name}/{key}", body)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://lake/in/{name}"}
    request = {
        "TransformJobName": name,
        "ModelName": "double",
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
            **changed.pop("TransformInput", {}),
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://lake/out/{name}",
            "Accept": "application/jsonlines",
            "AssembleWith": "Line",
            **changed.pop("TransformOutput", {}),
        },
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    } | changed
    server.sagemaker.create_transform_job(**request)


def transformed(server: Server, name: str) -> dict[str, Any]:
    return until(
        lambda: server.sagemaker.describe_transform_job(TransformJobName=name),
        lambda job: job["TransformJobStatus"] not in ("InProgress", "Stopping"),
    )


def outputs(server: Server, name: str) -> dict[str, bytes]:
    folder = server.object_root / "lake/out" / name
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call: Any, *args: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(*args, **request)
    error = raised.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_every_object_below_the_prefix_gets_an_output_beside_it(server: Server) -> None:
    rows = "".join(f"{number}\n" for number in range(50))
    transform(
        server, "many", {"a.jsonl": rows, "sub/b.jsonl": "7\n8"}, MaxConcurrentTransforms=4, MaxPayloadInMB=1,
        BatchStrategy="SingleRecord", Tags=[{"Key": "owner", "Value": "quant"}],
    )  # fmt: skip
    job = transformed(server, "many")
    assert job["TransformJobStatus"] == "Completed", job
    assert "TransformStartTime" in job
    assert outputs(server, "many") == {
        "a.jsonl.out": b"".join(b"[%d, 1]\n" % number for number in range(50)),
        "sub/b.jsonl.out": b"[7, 1]\n[8, 1]\n",
    }
    assert server.sagemaker.list_tags(ResourceArn=job["TransformJobArn"])["Tags"][0]["Value"] == "quant"
    assert not list((server.home.jobs / "transform").iterdir())
    assert not list((server.home.path / "run").glob("*.sock"))


def test_gzip_csv_is_read_filtered_and_joined(server: Server) -> None:
    transform(
        server, "csv", {"rows.csv.gz": gzip.compress(b"a,1,2\nb,3,4\n")},
        TransformInput={"CompressionType": "Gzip", "ContentType": "text/csv"}, TransformOutput={"Accept": "text/csv"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )  # fmt: skip
    assert transformed(server, "csv")["TransformJobStatus"] == "Completed"
    assert outputs(server, "csv") == {"rows.csv.gz.out": b"a,3.0\nb,7.0\n"}


def test_the_worker_gets_the_environment_of_model_and_job(server: Server) -> None:
    transform(server, "env", {"env.jsonl": '"env"\n'}, Environment={"MINE": "job"}, BatchStrategy="SingleRecord")
    assert transformed(server, "env")["TransformJobStatus"] == "Completed"
    seen = outputs(server, "env")["env.jsonl.out"].decode()
    for wanted in ('"MINE": "job"', '"MINE_TOO": "model"', '"SAGEMAKER_BATCH": "true"', '"SINGLE_RECORD"'):
        assert wanted in seen
    assert "SAGEMAKER_MAX_PAYLOAD_IN_MB" not in seen


def test_an_object_with_a_bad_record_has_no_output_and_the_others_do(server: Server) -> None:
    transform(server, "partly", {"1.jsonl": '1\n"bad"\n', "2.jsonl": "2\n", "3.jsonl": '"break"\n'})
    job = transformed(server, "partly")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: 1.jsonl: status 400 from the model: ")
    assert "a bad record" in job["FailureReason"]
    assert job["FailureReason"].endswith("(1 more objects failed)")
    assert outputs(server, "partly") == {"2.jsonl.out": b"[2, 1]\n"}
    group = "/aws/sagemaker/TransformJobs"
    logged = server.logs.filter_log_events(logGroupName=group, filterPattern='"RuntimeError: weights"')["events"]
    assert len(logged) == 4  # asked once, and again three times


def test_a_model_that_dies_or_never_starts_gives_its_last_lines(server: Server) -> None:
    transform(server, "dies", {"1.jsonl": '"crash"\n', "2.jsonl": "2\n"})
    reason = transformed(server, "dies")["FailureReason"]
    assert reason == "AlgorithmError: 1.jsonl: its process ended: exit code 9: out of memory"
    uri = server.put("s3://lake/artifacts/broken.tar.gz", tar_gz({"code/inference.py": "raise RuntimeError('no GPU')"}))
    container = {"Image": IMAGE, "ModelDataUrl": uri}
    server.sagemaker.create_model(ModelName="broken", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    transform(server, "never", {"1.jsonl": "1\n"}, ModelName="broken")
    job = transformed(server, "never")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: the model was not loaded: exit code 1: ")
    assert job["FailureReason"].endswith("RuntimeError: no GPU")


@pytest.mark.parametrize(
    ("name", "files", "changed", "reason"),
    [
        ("none", {}, {}, "No object under s3://lake/in/none"),
        ("no-gzip", {"a.gz": "1\n"}, {"TransformInput": {"CompressionType": "Gzip"}}, "not a readable gzip file"),
    ],
)
def test_input_that_cannot_be_read_is_a_client_error(
    server: Server, name: str, files: dict, changed: dict, reason: str
) -> None:
    transform(server, name, files, **changed)
    job = transformed(server, name)
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert reason in job["FailureReason"]


def test_a_transform_job_is_stopped_while_the_model_works(server: Server) -> None:
    transform(server, "stopped", {"1.jsonl": '"slow"\n', "2.jsonl": "2\n"})
    group = {"logGroupName": "/aws/sagemaker/TransformJobs", "logStreamNamePrefix": "stopped/"}
    until(lambda: server.home.logs.exists() and _asked(server, group), bool)
    server.sagemaker.stop_transform_job(TransformJobName="stopped")
    assert transformed(server, "stopped")["TransformJobStatus"] == "Stopped"
    assert outputs(server, "stopped") == {}
    assert "ValidationException" in refused(server.sagemaker.stop_transform_job, TransformJobName="stopped")
    assert "ValidationException" in refused(server.sagemaker.stop_transform_job, TransformJobName="nobody")


def _asked(server: Server, group: dict[str, str]) -> list[Any]:
    try:
        return server.logs.filter_log_events(filterPattern="asked", **group)["events"]
    except server.logs.exceptions.ResourceNotFoundException:
        return []


def test_transform_jobs_are_listed_page_by_page(server: Server) -> None:
    for name in ("page-a", "page-b", "page-c"):
        transform(server, name, {}, TransformInput={"SplitType": "None"})
        transformed(server, name)
    pages = server.sagemaker.get_paginator("list_transform_jobs").paginate(
        NameContains="page-", StatusEquals="Failed", SortBy="Name", SortOrder="Ascending",
        PaginationConfig={"PageSize": 2},
    )  # fmt: skip
    names = [[job["TransformJobName"] for job in page["TransformJobSummaries"]] for page in pages]
    assert names == [["page-a", "page-b"], ["page-c"]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"TransformInput": {"SplitType": "RecordIO"}}, "does not execute SplitType RecordIO"),
        ({"TransformInput": {"SplitType": "TFRecord"}}, "does not execute SplitType TFRecord"),
        ({"MaxPayloadInMB": 60, "MaxConcurrentTransforms": 2}, "is 120 MB; it cannot exceed 100 MB"),
        ({"MaxPayloadInMB": 0}, "does not execute MaxPayloadInMB 0"),
        ({"DataProcessing": {"InputFilter": "$..x"}}, "uses descendants, which the filters do not execute"),
        ({"DataProcessing": {"JoinSource": "Input"}, "TransformOutput": {"Accept": "text/csv"}}, "of one kind"),
        ({"DataProcessing": {"InputFilter": "$.x"}, "TransformInput": {"ContentType": "image/png"}}, "needs a Content"),
        ({"TransformOutput": {"S3OutputPath": "s3://lake/../x"}}, "TransformOutput.S3OutputPath"),
        ({"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 2}}, "more than one instance"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://lake/c"}}, "DataCaptureConfig"),
        ({"ModelName": "nobody"}, 'Could not find model "'),
        ({"Environment": {f"E{number}": "" for number in range(17)}}, "less than or equal to 16"),
        ({"BatchStrategy": "Both"}, "enum value set: [MultiRecord, SingleRecord]"),
    ],
)
def test_what_cannot_be_transformed_is_refused_at_once(server: Server, changed: dict, said: str) -> None:
    answer = refused(transform, server, "refused", {}, **changed)
    assert answer.startswith("ValidationException: ")
    assert said in answer
    assert "ValidationException" in refused(server.sagemaker.describe_transform_job, TransformJobName="refused")


def test_a_name_is_taken_for_good(server: Server) -> None:
    transform(server, "twice", {}, TransformInput={"SplitType": "None"})
    assert refused(transform, server, "twice", {}).startswith("ResourceInUse: Job name must be unique")


def test_after_kill_9_a_running_transform_job_has_failed_and_a_waiting_one_runs(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        model(own)
        group = {"logGroupName": "/aws/sagemaker/TransformJobs"}
        for name in ("first", "second"):
            transform(own, name, {"1.jsonl": '"slow"\n'})
            until(lambda name=name: _asked(own, group | {"logStreamNamePrefix": f"{name}/"}), bool)
        transform(own, "waits", {"1.jsonl": "1\n"})
        os.kill(own.running.pid, signal.SIGKILL)
        until(own.home.locked, lambda locked: not locked)
        own.start()
        for name in ("first", "second"):
            job = own.sagemaker.describe_transform_job(TransformJobName=name)
            assert job["TransformJobStatus"] == "Failed"
            assert "the server was killed while the job was running" in job["FailureReason"]
            assert outputs(own, name) == {}
        assert transformed(own, "waits")["TransformJobStatus"] == "Completed"
    finally:
        own.stop()
