"""The pure parts of the embedded SageMaker: contract, archives, objects, protocol, signatures, log pages."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from ledgerline.errors import PermanentFailure
from ledgerline.release import digest as release_digest
from local_sagemaker import archives, contract, environments, protocol, sigv4
from local_sagemaker.errors import JobError, ServiceError
from local_sagemaker.jobs import JobQueue
from local_sagemaker.logs import Logs
from local_sagemaker.objects import Objects

CREDENTIALS = sigv4.Credentials("AKIATEST", "secret")


def tar_of(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


# Archives ------------------------------------------------------------------------------------------------------------


def test_the_same_folder_gives_the_same_archive_bytes_whatever_its_times(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "code").mkdir(parents=True)
        (tmp_path / name / "code" / "inference.py").write_text("x = 1")
        (tmp_path / name / "model.txt").write_text("trees")
    (tmp_path / "b" / "model.txt").touch()
    assert archives.pack(tmp_path / "a") == archives.pack(tmp_path / "b")


def test_the_server_and_the_domain_give_a_model_the_same_digest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_bytes(b"x = 1")
    (folder / "model.txt").write_bytes(b"trees")
    packed = archives.pack(folder)
    other_packing = tar_of(("./model.txt", b"trees"), ("./code/inference.py", b"x = 1"))
    assert archives.digest(folder) == release_digest.model_digest(packed) == release_digest.model_digest(other_packing)
    assert release_digest.model_digest(tar_of(("model.txt", b"treesX"))) != archives.digest(folder)


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/etc/evil", b"x")],
        [("a/../../evil", b"x")],
        [link("evil", "/etc/passwd")],
        [link("folder", ".."), ("folder/evil", b"x")],
    ],
)
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path, members: list) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(tar_of(*members))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(JobError, match="pack"):
        archives.unpack(archive, target, called="s3://b/model.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tar.gz", "target"]
    with pytest.raises(PermanentFailure, match="pack only regular files"):
        release_digest.model_digest(archive.read_bytes())


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"not an archive")
    with pytest.raises(JobError, match="is not a readable tar"):
        archives.unpack(archive, tmp_path, called="s3://b/k")


def test_a_read_only_folder_can_be_removed_by_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "model"
    folder.mkdir(parents=True)
    (folder / "m").write_text("x")
    archives.make_read_only(folder)
    assert (folder / "m").stat().st_mode & 0o222 == 0
    archives.remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()


# Objects -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    ["s3://bucket/../x", "s3://bucket/a/../../x", "s3://../x", "file:///etc/passwd", "s3://bucket/a//b", "s3://b"],
)
def test_a_uri_that_leads_out_of_its_bucket_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(JobError):
        Objects(tmp_path).path(uri)


def test_a_link_in_a_bucket_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "outside").write_text("secret")
    (tmp_path / "bucket" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(JobError, match="through a link"):
        Objects(tmp_path).read("s3://bucket/link")
    assert list(Objects(tmp_path).list("s3://bucket")) == []


def test_a_link_in_a_job_output_is_not_uploaded(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / "rows.csv").write_text("1")
    (output / "leak").symlink_to("/etc/passwd")
    assert Objects(tmp_path / "root").upload(output, "s3://bucket/rows") == 1
    assert [name for name, _ in Objects(tmp_path / "root").list("s3://bucket/rows")] == ["rows.csv"]


# Contract ------------------------------------------------------------------------------------------------------------


def training_request() -> dict:
    return {
        "TrainingJobName": "job",
        "HyperParameters": {
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": "s3://b/sourcedir.tar.gz",
            "sagemaker_parameter_server": "true",
            "learning-rate": "0.1",
            "n": "3",
            "name": "it's $(touch /tmp/x)",
            "flag": "true",
        },
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/train"}},
            }
        ],
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge"},
        "Environment": {"SM_MODEL_DIR": "cannot be overridden", "MINE": "1"},
    }


def test_the_training_environment_has_both_spellings_and_hides_what_is_the_platforms(tmp_path: Path) -> None:
    env = contract.training_environment(tmp_path, training_request(), region="us-east-1", arn="arn")
    assert env["SM_HP_LEARNING-RATE"] == env["SM_HP_LEARNING_RATE"] == "0.1"
    assert env["SM_MODEL_DIR"] == str(tmp_path / "model")
    assert env["SM_CHANNEL_TRAIN"] == str(tmp_path / "input" / "data" / "train")
    assert json.loads(env["SM_CHANNELS"]) == ["train"]
    assert json.loads(env["SM_HPS"]) == {"learning-rate": 0.1, "n": 3, "name": "it's $(touch /tmp/x)", "flag": True}
    assert json.loads(env["SM_FRAMEWORK_PARAMS"]) == {"sagemaker_parameter_server": True}
    assert (env["SM_USER_ENTRY_POINT"], env["SM_MODULE_NAME"]) == ("train.py", "train")
    assert env["SM_CURRENT_INSTANCE_TYPE"] == "ml.m5.xlarge"
    assert env["MINE"] == "1"


def test_arguments_are_sorted_and_one_letter_names_take_one_dash() -> None:
    arguments = contract.command_line({"b-c": True, "n": 3, "a": {"y": 2, "x": 1}, "name": "it's"})
    assert arguments == ["-a", "x=1,y=2", "--b-c", "True", "-n", "3", "--name", "it's"]


def test_the_config_files_of_a_training_job_are_those_of_the_contract(tmp_path: Path) -> None:
    contract.write_training_config(tmp_path, training_request())
    config = tmp_path / "input" / "config"
    assert json.loads((config / "hyperparameters.json").read_text())["learning-rate"] == "0.1"
    assert json.loads((config / "inputdataconfig.json").read_text()) == {
        "train": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    }
    assert json.loads((config / "resourceconfig.json").read_text())["hosts"] == ["algo-1"]
    assert (tmp_path / "model").is_dir()
    assert (tmp_path / "output" / "data").is_dir()


def test_opt_ml_is_relocated_at_the_head_of_a_path_only(tmp_path: Path) -> None:
    given = ["/opt/ml/processing/x.py", "--in=/opt/ml/input", "/opt/mlx", "/srv/opt/ml/x", "/opt/ml"]
    assert contract.relocated(tmp_path, given) == [
        f"{tmp_path}/processing/x.py", f"--in={tmp_path}/input", "/opt/mlx", "/srv/opt/ml/x", str(tmp_path),
    ]  # fmt: skip


def test_requirements_that_this_environment_meets_need_no_other() -> None:
    assert environments.satisfied("# comment\nboto3>=1.0  # why\npytest\n\nnothing==1; python_version < '3'\n")
    assert not environments.satisfied("boto3<1.0\n")
    assert not environments.satisfied("no-such-package-here\n")
    assert not environments.satisfied("-r other.txt\n")


# Protocol ------------------------------------------------------------------------------------------------------------


def refusal(operation: str, request: dict) -> str:
    with pytest.raises(ServiceError) as raised:
        protocol.parse(protocol.service("sagemaker").operation_model(operation), json.dumps(request).encode())
    assert raised.value.code == "ValidationException"
    return str(raised.value)


def test_every_pattern_of_the_service_models_is_understood() -> None:
    for name in ("sagemaker", "sagemaker-runtime", "logs"):
        service = protocol.service(name)
        for shape_name in service.shape_names:
            pattern = service.shape_for(shape_name).metadata.get("pattern")
            if pattern:
                protocol.compiled(pattern)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            {"EndpointName": "under_score", "EndpointConfigName": "c"},
            "Value 'under_score' at 'endpointName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ",
        ),
        ({"EndpointName": "a" * 64, "EndpointConfigName": "c"}, "Member must have length less than or equal to 63"),
        (
            {"EndpointName": "a"},
            "Value null at 'endpointConfigName' failed to satisfy constraint: Member must not be null",
        ),
        ({"EndpointName": 7, "EndpointConfigName": "c"}, "Member must be of type string"),
        ({"EndpointName": "a", "EndpointConfigName": "c", "Nonsense": 1}, "at 'nonsense'"),
        ({"EndpointName": "a_", "EndpointConfigName": "c_"}, "2 validation errors detected"),
        ({"EndpointName": "a", "EndpointConfigName": "c", "Tags": [{"Key": "\0", "Value": ""}]}, "'tags.1.member.key'"),
    ],
)
def test_what_aws_refuses_is_refused_in_its_words(request_: dict, said: str) -> None:
    assert said in refusal("CreateEndpoint", request_)


def test_enums_and_numbers_are_checked() -> None:
    assert "enum value set: [Approved, Rejected, PendingManualApproval]" in refusal(
        "UpdateModelPackage",
        {
            "ModelPackageArn": "arn:aws:sagemaker:us-east-1:000000000000:model-package/a/1",
            "ModelApprovalStatus": "approved",
        },
    )
    assert "less than or equal to 100" in refusal("ListTrainingJobs", {"MaxResults": 1000})


def test_letters_of_any_script_are_allowed_in_tags() -> None:
    operation = protocol.service("sagemaker").operation_model("AddTags")
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model/m"
    tags = [{"Key": "회사", "Value": "삼성 é 1"}]
    assert protocol.parse(operation, json.dumps({"ResourceArn": arn, "Tags": tags}).encode())["Tags"] == tags


# Signatures ----------------------------------------------------------------------------------------------------------


def signed(secret: str = "secret", path: str = "/endpoints/a%20b/invocations", body: bytes = b"{}") -> tuple[dict, str]:
    request = AWSRequest("POST", f"http://127.0.0.1:80{path}?b=2&a=1%20x", data=body, headers={"Content-Type": "a/b"})
    SigV4Auth(BotoCredentials("AKIATEST", secret), "sagemaker", "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()} | {"host": "127.0.0.1"}
    return headers, path


def epoch(headers: dict) -> float:
    return sigv4._epoch(headers["x-amz-date"])


def test_a_request_signed_by_botocore_is_accepted() -> None:
    headers, path = signed()
    sigv4.verify(CREDENTIALS, "POST", path, "b=2&a=1%20x", headers, b"{}", epoch(headers))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"authorization": None}, "MissingAuthenticationTokenException"),
        ({"authorization": "Basic x"}, "IncompleteSignatureException"),
        ({"authorization": ("AKIATEST", "AKIAOTHER")}, "UnrecognizedClientException"),
        ({"content-type": "changed"}, "InvalidSignatureException"),
        ({"x-amz-content-sha256": "0" * 64}, "InvalidSignatureException"),
    ],
)
def test_a_changed_request_is_refused(change: dict, code: str) -> None:
    headers, path = signed()
    now = epoch(headers)
    for name, value in change.items():
        if value is None:
            del headers[name]
        else:
            headers[name] = headers[name].replace(*value) if isinstance(value, tuple) else value
    with pytest.raises(ServiceError) as raised:
        sigv4.verify(CREDENTIALS, "POST", path, "b=2&a=1%20x", headers, b"{}", now)
    assert raised.value.code == code


def test_wrong_secret_wrong_body_and_old_signatures_are_refused() -> None:
    headers, path = signed(secret="guess")
    with pytest.raises(ServiceError, match="does not match"):
        sigv4.verify(CREDENTIALS, "POST", path, "b=2&a=1%20x", headers, b"{}", epoch(headers))
    headers, path = signed()
    with pytest.raises(ServiceError, match="does not match"):
        sigv4.verify(CREDENTIALS, "POST", path, "b=2&a=1%20x", headers, b"{!}", epoch(headers))
    with pytest.raises(ServiceError, match="expired"):
        sigv4.verify(CREDENTIALS, "POST", path, "b=2&a=1%20x", headers, b"{}", epoch(headers) + 901)


# Logs ----------------------------------------------------------------------------------------------------------------


def test_a_stream_is_read_on_from_where_the_last_read_ended(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    stream = logs.open("/aws/group", "job/../algo-1")
    stream.write("one")
    first = logs.read("/aws/group", "job/../algo-1")
    stream.write("two\u2028é")
    again = logs.read("/aws/group", "job/../algo-1", start=first[-1].end)
    assert ([event.message for event in first], [event.message for event in again]) == (["one"], ["two\u2028é"])
    assert logs.streams("/aws/group", "job/") == ["job/../algo-1"]
    assert {path.parent.parent for path in tmp_path.rglob("*.jsonl")} == {tmp_path}


# The queue -----------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_stopped_without_its_turn() -> None:
    jobs, release, seen = JobQueue(1), threading.Event(), []
    jobs.submit("long", lambda control: seen.append(release.wait(10)), owner="a")
    jobs.submit("waits", lambda control: seen.append(control.stopped), owner="a")
    jobs.submit("after", lambda control: seen.append("after"), owner="a")
    jobs.stop("waits")
    jobs.stop("nobody")
    assert seen == ["stop"]
    release.set()
    deadline = time.monotonic() + 10
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen == ["stop", True, "after"]
    jobs.close(1.0)


# Environments --------------------------------------------------------------------------------------------------------


def test_a_variable_that_no_process_can_be_given_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="SM_HP_A=B"):
        environments.clean_environment(tmp_path, {"SM_HP_A=B": "1"})


def test_requirements_that_are_not_met_are_installed_once_into_an_environment_of_their_own(tmp_path: Path) -> None:
    wheel = tmp_path / "tinyproject-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinyproject.py", "answer = 42\n")
        archive.writestr(
            "tinyproject-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyproject\nVersion: 1.0\n"
        )
        archive.writestr(
            "tinyproject-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinyproject-1.0.dist-info/RECORD", "")
    (tmp_path / "requirements.txt").write_text("--no-index\n--find-links .\ntinyproject==1.0\n")
    lines: list[str] = []
    cache = environments.Environments(tmp_path / "cache")
    python = cache.python(tmp_path, lines.append)
    assert cache.python(tmp_path, lines.append) == python != sys.executable
    assert len(lines) == 1
    done = subprocess.run(
        [python, "-c", "import tinyproject; print(tinyproject.answer)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "42"
    (tmp_path / "requirements.txt").write_text("--no-index\nno-such-package-at-all\n")
    with pytest.raises(JobError, match=r"requirements\.txt cannot be installed: .*no-such-package-at-all"):
        cache.python(tmp_path, lines.append)
