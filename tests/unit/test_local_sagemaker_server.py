"""The embedded SageMaker as unmodified boto3 sees it: every operation, refusals, failures, recovery and updates."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local_sagemaker import daemon
from local_sagemaker.__main__ import main
from local_sagemaker.errors import ServerError
from local_sagemaker.operations import ALL
from tests.unit.local_sagemaker_tools import (
    IMAGE,
    INFERENCE,
    ROLE,
    Server,
    model_archive,
    processing_input,
    processing_output,
    tar_gz,
    until,
    variant,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("sagemaker"))
    yield started
    started.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill."""
    started = Server(tmp_path)
    yield started
    started.stop()


def refused(call: Any, **request: Any) -> tuple[str, str]:
    """Error code and message of a call that must fail."""
    with pytest.raises(ClientError) as raised:
        call(**request)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


# The server ----------------------------------------------------------------------------------------------------------


def test_starting_again_finds_the_running_server(server: Server) -> None:
    assert daemon.start(server.home.path, object_root=server.object_root) == server.running
    assert main(["status", "--home", str(server.home.path)]) == 0


def test_credentials_are_readable_by_their_owner_only(server: Server) -> None:
    for name in ("credentials.json", "server.json"):
        assert stat.S_IMODE((server.home.path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.path.stat().st_mode) == 0o700


def test_a_bare_boto3_program_works_with_the_printed_environment(server: Server) -> None:
    program = "import boto3; print(boto3.client('sagemaker').list_models()['Models'][:0])"
    script = f'{daemon.exports(server.home.path)}\n"{sys.executable}" -c "{program}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_a_wrong_secret_or_key_is_refused(server: Server) -> None:
    code, _ = refused(server.client("sagemaker", aws_secret_access_key="guess").list_models)
    assert code == "InvalidSignatureException"
    code, said = refused(server.client("sagemaker", aws_access_key_id="AKIAGUESS").list_models)
    assert code == "UnrecognizedClientException"
    assert "local_sagemaker env" in said
    code, _ = refused(
        server.client("sagemaker-runtime", aws_secret_access_key="guess").invoke_endpoint, EndpointName="e", Body=b""
    )
    assert code == "InvalidSignatureException"


def test_an_unknown_operation_is_named(server: Server) -> None:
    code, said = refused(server.sagemaker.create_notebook_instance, NotebookInstanceName="x")
    assert code == "UnknownOperationException"
    assert "SageMaker.CreateNotebookInstance" in said


def test_a_port_in_use_and_another_object_root_are_said(server: Server, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match="is in use; choose another with --port"):
            daemon.start(tmp_path / "home", object_root=tmp_path, port=taken.getsockname()[1])
    with pytest.raises(ServerError, match="keeps its objects in"):
        daemon.start(server.home.path, object_root=tmp_path)


def test_without_a_server_the_command_line_says_how_to_start_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["env", "--home", str(tmp_path / "none")]) == 1
    assert "start it with `python -m local_sagemaker start`" in capsys.readouterr().err
    assert main(["status", "--home", str(tmp_path / "none")]) == 1
    assert main(["stop", "--home", str(tmp_path / "none")]) == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000, 431),
    ],
)
def test_what_is_no_request_is_answered_and_the_connection_closed(server: Server, request_: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.running.port), timeout=5) as connection:
        connection.sendall(request_)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Traceback" not in answer


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.running.port), timeout=5) as connection:
        ping, last = b"GET /ping HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /ping HTTP/1.0\r\n\r\n"
        connection.sendall(ping + b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}" + ping + last)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200", b"403", b"200", b"200"]


def test_many_that_start_it_at_once_get_one_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local_sagemaker", "start", "--home", str(tmp_path / "home")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=30)[0] for process in started}
    daemon.stop(tmp_path / "home")
    assert len(said) == 1
    assert [process.returncode for process in started] == [0, 0, 0]


# Training ------------------------------------------------------------------------------------------------------------


def test_a_training_job_runs_under_the_contract(server: Server) -> None:
    tricky = 'it\'s $(touch /tmp/never) `x` "q"'
    server.train("job-good", HyperParameters={"learning-rate": "0.15", "name": tricky})
    job = server.trained("job-good")
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed", job
    assert [(item["MetricName"], item["Value"]) for item in job["FinalMetricDataList"]] == [("ndcg", 0.75)]
    phases = [item["Status"] for item in job["SecondaryStatusTransitions"]]
    assert phases == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://lake/models/job-good/output/model.tar.gz"
    server.train("job-again", HyperParameters={"learning-rate": "0.15", "name": tricky})
    again = server.trained("job-again")["ModelArtifacts"]["S3ModelArtifacts"]
    assert server.read(again) == server.read(uri)
    assert server.read("s3://lake/models/job-good/output/output.tar.gz")
    assert json.loads(_member(server.read(uri), "model.json")) == {"rows": "1,2", "name": tricky}
    assert not list((server.home.jobs / "training").iterdir())
    streams = server.logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="job-good/"
    )["logStreams"]
    (name,) = [stream["logStreamName"] for stream in streams]
    page = server.logs.get_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=name, startFromHead=True, limit=1
    )
    rest = server.logs.get_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=name, nextToken=page["nextForwardToken"]
    )
    lines = [event["message"] for event in page["events"] + rest["events"]]
    assert sorted(lines) == ["valid-ndcg=0.25;", "valid-ndcg=0.750000;"]
    end = server.logs.get_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=name, nextToken=rest["nextForwardToken"]
    )
    assert (end["events"], end["nextForwardToken"]) == ([], rest["nextForwardToken"])
    found = server.logs.filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs",
        logStreamNamePrefix="job-good/",
        filterPattern='"ndcg=0.25" -nothing',
    )
    assert [event["message"] for event in found["events"]] == ["valid-ndcg=0.25;"]


def test_log_groups_are_found_by_prefix_and_by_part_a_page_at_a_time(server: Server) -> None:
    server.process("grouped", "print('a line')", [])
    server.train("grouped")
    server.processed("grouped"), server.trained("grouped")
    groups = {group["logGroupName"]: group for group in server.logs.describe_log_groups()["logGroups"]}
    assert {"/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs"} <= set(groups)
    assert all(group["storedBytes"] > 0 for group in groups.values())
    by_part = server.logs.describe_log_groups(logGroupNamePattern="trainingJ")["logGroups"]
    assert by_part == [groups["/aws/sagemaker/TrainingJobs"]]
    first = server.logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/", limit=1)
    second = server.logs.describe_log_groups(
        logGroupNamePrefix="/aws/sagemaker/", limit=1, nextToken=first["nextToken"]
    )
    assert [page["logGroups"][0]["logGroupName"] for page in (first, second)] == sorted(groups)[:2]
    with pytest.raises(ClientError, match="InvalidParameterException"):
        server.logs.describe_log_groups(logGroupNamePrefix="/aws", logGroupNamePattern="x")


def _member(archive: bytes, name: str) -> bytes:
    from ledgerline.release.digest import archive_files

    return archive_files(archive)[name]


def test_a_failing_script_gives_its_reason(server: Server) -> None:
    server.train("job-fails", {"train.py": "raise SystemExit('no rows of 2017 in channel train')"})
    job = server.trained("job-fails")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: exit code 1: no rows of 2017 in channel train"
    assert job["ModelArtifacts"] == {}
    told = "import os; open(os.environ['SM_OUTPUT_FAILURE'], 'w').write('told in the file' * 200); raise SystemExit(3)"
    server.train("job-tells", {"train.py": told})
    reason = server.trained("job-tells")["FailureReason"]
    assert reason.startswith("AlgorithmError: told in the file")
    assert len(reason) == 1024


def test_missing_data_and_code_are_client_errors(server: Server) -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/nothing-here"}
    server.train("job-no-data", InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}])
    assert "no object under s3://lake/nothing-here" in server.trained("job-no-data")["FailureReason"]
    server.train("job-no-program", {"other.py": ""})
    assert "has no 'train.py' (sagemaker_program)" in server.trained("job-no-program")["FailureReason"]


def test_a_job_that_is_stopped_gets_sigterm_and_keeps_its_model(server: Server) -> None:
    script = """
import os, pathlib, signal, sys, time
def stop(number, frame):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "partial").write_text("half")
    print("stopping", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""
    server.train("job-stopped", {"train.py": script})
    until(lambda: _lines(server, "TrainingJobs", "job-stopped"), lambda lines: "ready" in lines)
    server.sagemaker.stop_training_job(TrainingJobName="job-stopped")
    job = server.trained("job-stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert _member(server.read(job["ModelArtifacts"]["S3ModelArtifacts"]), "partial") == b"half"
    code, _ = refused(server.sagemaker.stop_training_job, TrainingJobName="job-stopped")
    assert code == "ValidationException"


def test_a_job_beyond_its_time_is_killed_with_all_it_started(server: Server) -> None:
    script = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""
    server.train("job-slow", {"train.py": script}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = server.trained("job-slow")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    child = int(_lines(server, "TrainingJobs", "job-slow")[0].split()[1])
    until(lambda: _alive(child), lambda alive: not alive, seconds=5)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" if Path("/proc").is_dir() else True


def _lines(server: Server, kind: str, job: str) -> list[str]:
    return _events(server, f"/aws/sagemaker/{kind}", "", logStreamNamePrefix=f"{job}/")


def _events(server: Server, group: str, pattern: str, **more: str) -> list[str]:
    """Messages of a group that match; none where the group is not there yet."""
    try:
        found = server.logs.filter_log_events(logGroupName=group, filterPattern=pattern, **more)
    except server.logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in found["events"]]


def test_training_jobs_are_listed_page_by_page(server: Server) -> None:
    for name in ("page-a", "page-b", "page-c"):
        server.train(name, {"train.py": ""})
        server.trained(name)
    pages = server.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="page-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert names == [["page-a", "page-b"], ["page-c"]]
    assert (
        server.sagemaker.list_training_jobs(NameContains="page-", StatusEquals="Failed")["TrainingJobSummaries"] == []
    )


def test_training_jobs_are_found_by_any_property(server: Server) -> None:
    for name, rate in (("found-a", "0.1"), ("found-b", "0.15")):
        tags = [{"Key": "owner", "Value": name[-1]}]
        server.train(name, HyperParameters={"learning-rate": rate}, Tags=tags)
        server.trained(name)

    def found(*filters: dict[str, str], **more: Any) -> list[str]:
        ours = {"Name": "TrainingJobName", "Operator": "Contains", "Value": "FOUND-"}
        expression = {"Filters": [ours], "SubExpressions": [{"Filters": list(filters), **more}]}
        answer = server.sagemaker.search(
            Resource="TrainingJob", SearchExpression=expression, SortBy="Metrics.ndcg", SortOrder="Ascending"
        )
        return [item["TrainingJob"]["TrainingJobName"] for item in answer["Results"]]

    def where(name: str, operator: str, value: str) -> dict[str, str]:
        return {"Name": name, "Operator": operator, "Value": value}

    both = ["found-a", "found-b"]
    assert found(where("TrainingJobStatus", "Equals", "Completed")) == both
    assert found(where("Metrics.ndcg", "GreaterThan", "0.6")) == ["found-b"]
    assert found(where("Tags.owner", "Equals", "a")) == ["found-a"]
    assert found(where("HyperParameters.learning-rate", "In", "0.1,0.2")) == ["found-a"]
    assert found(where("CreationTime", "GreaterThan", "2020-01-01T00:00:00Z")) == both
    assert found({"Name": "FailureReason", "Operator": "NotExists"}) == both
    a, b = where("Tags.owner", "Equals", "a"), where("Tags.owner", "Equals", "b")
    assert (found(a, b), found(a, b, Operator="Or")) == ([], both)
    pages = server.sagemaker.get_paginator("search").paginate(
        Resource="TrainingJob", SearchExpression={"Filters": [where("TrainingJobName", "Contains", "found-")]},
        PaginationConfig={"PageSize": 1},
    )  # fmt: skip
    assert sorted(item["TrainingJob"]["TrainingJobName"] for page in pages for item in page["Results"]) == both
    assert refused(server.sagemaker.search, Resource="ModelCard")[0] == "ValidationException"
    wrong = {"Filters": [where("Metrics.ndcg", "GreaterThan", "much")]}
    assert refused(server.sagemaker.search, Resource="TrainingJob", SearchExpression=wrong)[0] == "ValidationException"
    for resource in ("Endpoint", "ModelPackage", "ModelPackageGroup", "HyperParameterTuningJob"):
        assert "Results" in server.sagemaker.search(Resource=resource)


def test_requests_that_aws_refuses_are_refused(server: Server) -> None:
    code, said = refused(server.train, name="under_score")
    assert code == "ValidationException"
    assert "1 validation error detected: Value 'under_score' at 'trainingJobName'" in said
    server.train("job-twice", {"train.py": ""})
    code, said = refused(server.train, name="job-twice", files={"train.py": ""})
    assert (code, "training-job/job-twice" in said) == ("ResourceInUse", True)
    assert refused(server.sagemaker.describe_training_job, TrainingJobName="no-such-job") == (
        "ValidationException",
        "Requested resource not found.",
    )
    for changed in (
        {"OutputDataConfig": {"S3OutputPath": "s3://lake/../../etc"}},
        {"HyperParameters": {"a": "x" * 2501}},
        {"Environment": {"1BAD": "x"}},
        {"ResourceConfig": {"InstanceType": "ml.none", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}},
    ):
        assert refused(server.train, name="job-bad", files={"train.py": ""}, **changed)[0] == "ValidationException", (
            changed
        )


# Processing ----------------------------------------------------------------------------------------------------------

PROCESS = """
import json, os, pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
(target / "sub").mkdir()
(target / "sub" / "rows.csv").write_text((source / "rows.csv").read_text().upper())
(target / "leak").symlink_to("/etc/hostname")
base = target.parents[2]
config = json.loads((base / "config" / "processingjobconfig.json").read_text())
pathlib.Path(base / "output").mkdir(exist_ok=True)
pathlib.Path(base / "output" / "message").write_text(config["ProcessingJobName"] + " " + os.environ["MINE"])
print("done", [name for name in os.environ if name.startswith(("SM_", "AWS_SECRET"))])
"""


def test_a_processing_job_runs_its_container_command(server: Server) -> None:
    server.put("s3://lake/raw/rows.csv", "a,b")
    server.process(
        "proc-good",
        PROCESS,
        ["/opt/ml/processing/input/raw", "/opt/ml/processing/output/rows"],
        ProcessingInputs=[
            processing_input("code", "s3://lake/code/proc-good"),
            processing_input("raw", "s3://lake/raw/rows.csv"),
        ],
        ProcessingOutputConfig={"Outputs": [processing_output("rows", "s3://lake/processed/rows")]},
        Environment={"MINE": "/opt/ml/mine"},
    )
    job = server.processed("proc-good")
    assert job["ProcessingJobStatus"] == "Completed", job
    assert server.read("s3://lake/processed/rows/sub/rows.csv") == b"A,B"
    assert not (server.object_root / "lake/processed/rows/leak").exists()
    assert job["ExitMessage"].startswith("proc-good /")
    assert _lines(server, "ProcessingJobs", "proc-good") == ["done []"]
    listed = server.sagemaker.list_processing_jobs(NameContains="proc-good")["ProcessingJobSummaries"]
    assert [item["ProcessingJobStatus"] for item in listed] == ["Completed"]


def test_processing_jobs_fail_stop_and_are_refused_as_on_aws(server: Server) -> None:
    server.process("proc-fails", "import sys; sys.exit('column x is missing')", [])
    assert server.processed("proc-fails")["FailureReason"] == "AlgorithmError: exit code 1: column x is missing"
    server.process("proc-slow", "import time; print('ready', flush=True); time.sleep(60)", [])
    until(lambda: _lines(server, "ProcessingJobs", "proc-slow"), lambda lines: "ready" in lines)
    server.sagemaker.stop_processing_job(ProcessingJobName="proc-slow")
    assert server.processed("proc-slow")["ProcessingJobStatus"] == "Stopped"
    outside = processing_output("x", "s3://lake/x")
    outside["S3Output"]["LocalPath"] = "/opt/ml/processing/../../../etc"
    code, said = refused(
        server.process, name="proc-out", script="", arguments=[], ProcessingOutputConfig={"Outputs": [outside]}
    )
    assert (code, "is not below /opt/ml/processing/" in said) == ("ValidationException", True)
    code, said = refused(server.sagemaker.describe_processing_job, ProcessingJobName="none")
    assert (code, said) == ("ValidationException", "Could not find requested job with name: none")


# Registry and tags ---------------------------------------------------------------------------------------------------


def package_request(group: str, uri: str, **changed: Any) -> dict[str, Any]:
    return {
        "ModelPackageGroupName": group,
        "InferenceSpecification": {
            "Containers": [{"Image": IMAGE, "ModelDataUrl": uri}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        "ModelApprovalStatus": "PendingManualApproval",
        "CustomerMetadataProperties": {"digest": "abc"},
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://lake/e.json"}}
        },
        **changed,
    }


def test_versions_are_registered_approved_and_only_then_deployable(server: Server) -> None:
    sm = server.sagemaker
    sm.create_model_package_group(ModelPackageGroupName="ranker", ModelPackageGroupDescription="of tickers")
    assert refused(sm.create_model_package_group, ModelPackageGroupName="ranker")[0] == "ValidationException"
    uri = server.put("s3://lake/artifacts/ranker.tar.gz", model_archive("ranker"))
    request = package_request("ranker", uri, ClientToken="a" * 36)
    first = sm.create_model_package(**request)["ModelPackageArn"]
    assert first.endswith(":model-package/ranker/1")
    assert sm.create_model_package(**request)["ModelPackageArn"] == first
    changed = request | {"ModelPackageDescription": "another"}
    assert refused(sm.create_model_package, **changed)[0] == "ConflictException"
    second = sm.create_model_package(**package_request("ranker", uri))["ModelPackageArn"]
    listed = sm.list_model_packages(ModelPackageGroupName="ranker", SortOrder="Descending")["ModelPackageSummaryList"]
    assert [item["ModelPackageVersion"] for item in listed] == [2, 1]
    both = sm.batch_describe_model_package(ModelPackageArnList=[first, f"{second}9"])
    assert both["ModelPackageSummaries"][first]["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == uri
    assert both["BatchDescribeModelPackageErrorMap"][f"{second}9"]["ErrorCode"] == "ValidationException"
    container = {"ModelPackageName": first}
    code, said = refused(sm.create_model, ModelName="from-package", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    assert (code, "only an Approved version" in said) == ("ValidationException", True)
    sm.update_model_package(
        ModelPackageArn=first, ModelApprovalStatus="Approved", ApprovalDescription="by a person",
        CustomerMetadataProperties={"approver": "someone"}, CustomerMetadataPropertiesToRemove=["digest"],
    )  # fmt: skip
    package = sm.describe_model_package(ModelPackageName=first)
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Approved", "by a person")
    assert package["CustomerMetadataProperties"] == {"approver": "someone"}
    sm.create_model(ModelName="from-package", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    many = {str(number): "" for number in range(60)}
    code, said = refused(sm.update_model_package, ModelPackageArn=first, CustomerMetadataProperties=many)
    assert (code, "less than or equal to 50" in said) == ("ValidationException", True)
    assert refused(sm.delete_model_package_group, ModelPackageGroupName="ranker")[0] == "ConflictException"
    for arn in (first, second):
        sm.delete_model_package(ModelPackageName=arn)
    assert refused(sm.describe_model_package, ModelPackageName=first)[0] == "ValidationException"
    assert [g["ModelPackageGroupName"] for g in sm.list_model_package_groups()["ModelPackageGroupSummaryList"]] == [
        "ranker"
    ]
    assert sm.describe_model_package_group(ModelPackageGroupName="ranker")["ModelPackageGroupStatus"] == "Completed"
    sm.delete_model_package_group(ModelPackageGroupName="ranker")


def test_tags_are_kept_with_their_resource(server: Server) -> None:
    sm = server.sagemaker
    uri = server.put("s3://lake/artifacts/tagged.tar.gz", model_archive("tagged"))
    arn = sm.create_model(
        ModelName="tagged", PrimaryContainer={"Image": IMAGE, "ModelDataUrl": uri}, ExecutionRoleArn=ROLE,
        Tags=[{"Key": "owner", "Value": "quant"}],
    )["ModelArn"]  # fmt: skip
    sm.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "qa"}])
    sm.delete_tags(ResourceArn=arn, TagKeys=["owner"])
    assert sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "qa"}]
    assert sm.describe_model(ModelName="tagged")["PrimaryContainer"]["ModelDataUrl"] == uri
    assert refused(sm.list_tags, ResourceArn=arn + "x")[0] == "ValidationException"
    assert "tagged" in [model["ModelName"] for model in sm.list_models(MaxResults=100)["Models"]]
    sm.delete_model(ModelName="tagged")
    assert refused(sm.describe_model, ModelName="tagged")[1].startswith('Could not find model "arn:aws:sagemaker')


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_an_endpoint_answers_with_its_variant_and_digest(server: Server) -> None:
    described = server.endpoint("answers", model_archive("one"))
    assert described["EndpointStatus"] == "InService", described
    response = server.ask("answers")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert json.loads(response["Body"].read()) == {"x": 1, "name": "one"}
    assert (response["InvokedProductionVariant"], response["ContentType"]) == ("AllTraffic", "application/json")
    from ledgerline.release.digest import model_digest

    assert headers["x-ledgerline-model-digest"] == model_digest(model_archive("one"))
    assert "x-amzn-requestid" in headers
    assert "answers" in [item["EndpointName"] for item in server.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]]
    configs = server.sagemaker.list_endpoint_configs(NameContains="answers")["EndpointConfigs"]
    assert [item["EndpointConfigName"] for item in configs] == ["answers-1"]
    variants = server.sagemaker.describe_endpoint_config(EndpointConfigName="answers-1")["ProductionVariants"]
    assert variants[0]["ModelName"] == "answers-1"
    assert refused(server.ask, endpoint="answers", TargetVariant="other")[0] == "ValidationError"
    assert refused(server.ask, endpoint="nobody")[0] == "ValidationError"
    server.sagemaker.delete_endpoint(EndpointName="answers")
    server.sagemaker.delete_endpoint_config(EndpointConfigName="answers-1")
    assert refused(server.sagemaker.describe_endpoint, EndpointName="answers")[0] == "ValidationException"
    assert refused(server.ask, endpoint="answers")[0] == "ValidationError"


def test_a_streamed_answer_comes_in_parts(server: Server) -> None:
    server.endpoint("streams", model_archive("one"))
    ask = server.runtime.invoke_endpoint_with_response_stream
    long = {"x": "é" * 100_000}
    body = json.dumps(long, ensure_ascii=False).encode()
    response = ask(EndpointName="streams", Body=body, ContentType="application/json", Accept="application/json")
    parts = [event["PayloadPart"]["Bytes"] for event in response["Body"]]
    assert json.loads(b"".join(parts)) == {**long, "name": "one"}
    assert len(parts) > 1
    assert (response["ContentType"], response["InvokedProductionVariant"]) == ("application/json", "AllTraffic")
    assert refused(ask, EndpointName="streams", Body=b"{}", ContentType="application/json")[0] == "ModelError"
    assert refused(ask, EndpointName="nobody", Body=b"{}")[0] == "ValidationError"


def test_errors_of_the_model_become_model_errors_without_a_traceback(server: Server) -> None:
    server.endpoint("errors", model_archive("one"))

    def original(body: str) -> tuple[int, str]:
        with pytest.raises(ClientError) as raised:
            server.ask("errors", body)
        response = raised.value.response
        assert response["Error"]["Code"] == "ModelError"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
        return response["OriginalStatusCode"], json.loads(response["OriginalMessage"])["error"]

    assert original('{"y": 1}') == (400, "the field x is missing")
    assert original("{")[0] == 400
    assert original('{"x": "type"}') == (400, "x is of another model")
    status, said = original('{"x": "break"}')
    assert (status, "secret" in said) == (500, False)
    assert original('{"x": "library"}')[0] == 500
    logged = until(lambda: _events(server, "/aws/sagemaker/Endpoints/errors", "secret"), lambda lines: len(lines) == 2)
    assert logged[-1] == "RuntimeError: a secret of the model"


def test_a_failed_update_leaves_the_old_release_answering(server: Server) -> None:
    server.endpoint("keeps", model_archive("old"))
    broken = server.config("keeps-broken", model_archive("new", "raise RuntimeError('no such file: weights')"))
    server.sagemaker.update_endpoint(EndpointName="keeps", EndpointConfigName=broken)
    described = server.settled("keeps")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "keeps-1")
    assert "AllTraffic did not pass the ping health check" in described["FailureReason"]
    assert "no such file: weights" in described["FailureReason"]
    assert json.loads(server.ask("keeps")["Body"].read())["name"] == "old"
    good = server.config("keeps-good", model_archive("new"))
    server.sagemaker.update_endpoint(EndpointName="keeps", EndpointConfigName=good)
    described = server.settled("keeps")
    assert described["EndpointConfigName"] == "keeps-good"
    assert "FailureReason" not in described
    assert json.loads(server.ask("keeps")["Body"].read())["name"] == "new"


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        ("unsafe", {"../evil.py": "x"}, "leads out of its folder"),
        ("no-code", {"model.json": "{}"}, "no inference.py in the model's code/ folder"),
        ("no-model-fn", {"code/inference.py": "x = 1"}, "no model_fn"),
        ("both", {"code/inference.py": f"{INFERENCE}\ndef transform_fn(m, b, c, a): return b"}, "use one or the other"),
    ],
)
def test_a_model_that_cannot_be_served_fails_with_its_reason(
    server: Server, name: str, files: dict, reason: str
) -> None:
    described = server.endpoint(name, tar_gz({"model.json": '{"name": ""}', **files}))
    assert described["EndpointStatus"] == "Failed"
    assert reason in described["FailureReason"]
    server.sagemaker.delete_endpoint(EndpointName=name)


def test_what_is_not_executed_is_refused_not_ignored(server: Server) -> None:
    config = server.config("refuses", model_archive("one"))
    code, said = refused(
        server.sagemaker.create_endpoint_config, EndpointConfigName="serverless",
        ProductionVariants=[{**variant(config), "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}],
    )  # fmt: skip
    assert (code, "does not execute variant AllTraffic without" in said) == ("ValidationException", True)
    assert (
        refused(server.sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="none")[0]
        == "ValidationException"
    )
    assert refused(
        server.sagemaker.create_endpoint_config, EndpointConfigName="c", ProductionVariants=[variant("no-such-model")]
    )[1].startswith('Could not find model "')


def test_two_variants_share_the_traffic_and_can_be_named(server: Server) -> None:
    for name in ("left", "right"):
        server.config(name, model_archive(name))
    server.sagemaker.create_endpoint_config(
        EndpointConfigName="two", ProductionVariants=[variant("left", "Left", 0.0), variant("right", "Right", 1.0)]
    )
    server.sagemaker.create_endpoint(EndpointName="two", EndpointConfigName="two")
    assert server.settled("two")["EndpointStatus"] == "InService"
    assert {server.ask("two")["InvokedProductionVariant"] for _ in range(20)} == {"Right"}
    assert json.loads(server.ask("two", TargetVariant="Left")["Body"].read())["name"] == "left"
    turned = [{"VariantName": "Left", "DesiredWeight": 1.0}, {"VariantName": "Right", "DesiredWeight": 0.0}]
    change = server.sagemaker.update_endpoint_weights_and_capacities
    change(EndpointName="two", DesiredWeightsAndCapacities=turned)
    assert {server.ask("two")["InvokedProductionVariant"] for _ in range(20)} == {"Left"}
    shown = server.sagemaker.describe_endpoint(EndpointName="two")["ProductionVariants"]
    assert [(item["VariantName"], item["CurrentWeight"]) for item in shown] == [("Left", 1.0), ("Right", 0.0)]
    for wrong in ([{"VariantName": "Left", "DesiredWeight": 0.0}], [{"VariantName": "Middle", "DesiredWeight": 1.0}]):
        code, _ = refused(change, EndpointName="two", DesiredWeightsAndCapacities=wrong)
        assert code == "ValidationException"
    assert {server.ask("two")["InvokedProductionVariant"] for _ in range(20)} == {"Left"}


def test_a_crashed_worker_is_restarted(server: Server) -> None:
    server.endpoint("crashes", model_archive("one"))
    assert refused(server.ask, endpoint="crashes", body='{"x": "crash"}')[0] == "ServiceUnavailable"
    for _ in range(100):
        try:
            answer = server.ask("crashes")
            break
        except ClientError as error:  # the process that ends may still take a connection, and says: try again
            if error.response["Error"]["Code"] != "ServiceUnavailable":
                raise
            time.sleep(0.1)
    else:
        pytest.fail("the worker was not restarted within ten seconds")
    assert json.loads(answer["Body"].read())["name"] == "one"


# Under load and after a kill -----------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Asks one endpoint over one keep-alive connection until told to stop; notes statuses and model names."""

    def __init__(self, server: Server, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.statuses: list[int] = []
        self.names: list[str] = []
        self._path = f"/endpoints/{endpoint}/invocations"
        self._port = server.running.port
        keys = server.home.credentials()
        self._credentials = Credentials(keys.access_key_id, keys.secret_access_key)

    def run(self) -> None:
        body = b'{"x": 1}'
        request = AWSRequest(
            "POST",
            f"http://127.0.0.1:{self._port}{self._path}",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        SigV4Auth(self._credentials, "sagemaker", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while not self.stop.is_set():
            connection.request("POST", self._path, body=body, headers=dict(request.headers.items()))
            response = connection.getresponse()
            answer = json.loads(response.read())
            self.statuses.append(response.status)
            self.names.append(answer.get("name", ""))


def test_updates_under_load_lose_no_request_and_switch_once(server: Server) -> None:
    server.endpoint("loaded", model_archive("v0"))
    configs = [server.config(f"loaded-v{number}", model_archive(f"v{number}")) for number in (1, 2, 3)]
    clients = [Client(server, "loaded") for _ in range(3)]
    for client in clients:
        client.start()
    for config in configs:
        server.sagemaker.update_endpoint(EndpointName="loaded", EndpointConfigName=config)
        assert server.settled("loaded")["EndpointConfigName"] == config
        assert json.loads(server.ask("loaded")["Body"].read())["name"] == config.removeprefix("loaded-")
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(10)
        assert set(client.statuses) == {200}
        assert client.names == sorted(client.names)
        assert {client.names[0], client.names[-1]} == {"v0", "v3"}


def test_after_kill_9_endpoints_are_back_and_nothing_is_reported_as_done(own_server: Server) -> None:
    own = own_server
    own.endpoint("survives", model_archive("old"))
    digest = own.ask("survives")["ResponseMetadata"]["HTTPHeaders"]["x-ledgerline-model-digest"]
    own.put("s3://lake/artifacts/survives-1.tar.gz", model_archive("changed since"))
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    own.train("running", {"train.py": script})
    own.train("running-too", {"train.py": script})
    until(lambda: _lines(own, "TrainingJobs", "running-too"), bool)
    job = int(until(lambda: _lines(own, "TrainingJobs", "running"), bool)[0])
    own.train("waiting", {"train.py": ""})
    slow = own.config("survives-2", model_archive("new", f"import time; time.sleep(60)\n{INFERENCE}"))
    own.sagemaker.update_endpoint(EndpointName="survives", EndpointConfigName=slow)
    own.sagemaker.create_endpoint(EndpointName="half-made", EndpointConfigName=slow)
    key = own.home.credentials()
    os.kill(own.running.pid, signal.SIGKILL)
    until(own.home.locked, lambda locked: not locked)
    until(lambda: _alive(job), lambda alive: not alive, seconds=5)

    own.start()
    assert own.home.credentials() == key
    described = own.sagemaker.describe_endpoint(EndpointName="survives")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "survives-1")
    assert "the server stopped during the update" in described["FailureReason"]
    response = own.ask("survives")
    assert json.loads(response["Body"].read())["name"] == "old"
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-ledgerline-model-digest"] == digest
    assert own.sagemaker.describe_endpoint(EndpointName="half-made")["EndpointStatus"] == "Failed"
    for name in ("running", "running-too"):
        failed = own.sagemaker.describe_training_job(TrainingJobName=name)
        assert failed["TrainingJobStatus"] == "Failed"
        assert "the server was killed while the job was running" in failed["FailureReason"]
    assert own.trained("waiting")["TrainingJobStatus"] == "Completed"


def test_a_model_changed_on_disk_is_not_served_after_a_restart(own_server: Server) -> None:
    own_server.endpoint("tampered", model_archive("old"))
    own_server.stop()
    (model,) = own_server.home.artifacts.glob("*/model/model.json")
    model.chmod(0o644)
    model.write_text('{"name": "evil"}')
    own_server.start()
    refused_ = until(lambda: _try(own_server, "tampered"), lambda answer: answer is not None)
    assert refused_ == "ServiceUnavailable"


def _try(server: Server, endpoint: str) -> str | None:
    try:
        server.ask(endpoint)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "answered"


def test_stop_answers_what_was_asked_and_leaves_no_process(tmp_path: Path) -> None:
    own = Server(tmp_path)
    slow = "import time\n" + INFERENCE.replace('return {"x"', 'time.sleep(0.5)\n    return {"x"')
    own.endpoint("slow", model_archive("one", slow))
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(json.loads(own.ask("slow")["Body"].read())))
    asking.start()
    time.sleep(0.2)  # the request is in the worker now, for another 0.3 s
    own.stop()
    asking.join(5)
    assert answers == [{"x": 1, "name": "one"}]
    assert not own.home.locked()
    assert not list((own.home.path / "run").glob("*.sock"))


def test_stop_gives_up_what_is_under_way_and_says_so_after_the_next_start(own_server: Server) -> None:
    own_server.endpoint("kept", model_archive("old"))
    own_server.train("cut-short", {"train.py": "import time; print('ready', flush=True); time.sleep(60)"})
    until(lambda: _lines(own_server, "TrainingJobs", "cut-short"), bool)
    slow = own_server.config("kept-2", model_archive("new", f"import time; time.sleep(60)\n{INFERENCE}"))
    own_server.sagemaker.update_endpoint(EndpointName="kept", EndpointConfigName=slow)
    own_server.stop()
    own_server.start()
    described = own_server.sagemaker.describe_endpoint(EndpointName="kept")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "kept-1")
    assert json.loads(own_server.ask("kept")["Body"].read())["name"] == "old"
    job = own_server.sagemaker.describe_training_job(TrainingJobName="cut-short")
    assert job["FailureReason"] == "InternalServerError: the server was stopped while the job was running."


def test_every_operation_of_the_server_is_executed_by_a_test_here() -> None:
    text = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("*local_sagemaker*.py")))
    from botocore import xform_name

    missing = [name for _, operations in ALL.values() for name in operations if xform_name(name) not in text]
    assert missing == []
