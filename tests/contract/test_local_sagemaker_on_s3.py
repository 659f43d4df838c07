"""The embedded SageMaker where its s3:// URIs lie on an S3 endpoint instead of in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local_sagemaker.errors import JobError
from local_sagemaker.s3_objects import S3Objects
from tests.unit.local_sagemaker_tools import Server, processing_input, processing_output

COPY = """
import pathlib, sys
for file in sorted(pathlib.Path(sys.argv[1]).rglob("*.txt")):
    pathlib.Path(sys.argv[2], file.name).write_text(file.read_text().upper())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[Server]:
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket="lake")
    found = Server(tmp_path_factory.mktemp("sagemaker"), s3_endpoint)
    yield found
    found.stop()


@pytest.fixture
def objects(tmp_path: Path, s3_endpoint: str) -> S3Objects:
    return S3Objects(s3_endpoint, tmp_path / "copies", region="us-east-1")


def test_a_job_trains_from_s3_and_an_endpoint_serves_its_model_from_there(server: Server) -> None:
    server.train("on-s3", HyperParameters={"name": "trained on S3"})
    trained = server.trained("on-s3")
    assert trained["TrainingJobStatus"] == "Completed", trained
    uri = trained["ModelArtifacts"]["S3ModelArtifacts"]
    described = server.endpoint("on-s3", server.read(uri))
    assert described["EndpointStatus"] == "InService", described
    assert json.loads(server.ask("on-s3")["Body"].read())["name"] == "trained on S3"


def test_a_processing_job_reads_a_prefix_and_writes_what_it_made(server: Server) -> None:
    for name in ("a.txt", "deep/b.txt"):
        server.put(f"s3://lake/texts/{name}", name)
    server.put("s3://lake/texts-of-others/c.txt", "not below the prefix")
    server.put("s3://lake/texts/folder/", "")
    server.process(
        "copy-on-s3",
        COPY,
        ["/opt/ml/processing/input/texts", "/opt/ml/processing/output/loud"],
        ProcessingInputs=[
            processing_input("code", "s3://lake/code/copy-on-s3"),
            processing_input("texts", "s3://lake/texts"),
        ],
        ProcessingOutputConfig={"Outputs": [processing_output("loud", "s3://lake/loud")]},
    )
    assert server.processed("copy-on-s3")["ProcessingJobStatus"] == "Completed"
    written = boto3.client("s3", endpoint_url=server.s3_endpoint).list_objects_v2(Bucket="lake", Prefix="loud/")
    assert [(found["Key"], server.read(f"s3://lake/{found['Key']}")) for found in written["Contents"]] == [
        ("loud/a.txt", b"A.TXT"),
        ("loud/b.txt", b"DEEP/B.TXT"),
    ]


def test_an_object_that_was_replaced_or_deleted_is_not_read_from_the_copy(
    objects: S3Objects, s3_bucket: tuple[str, str]
) -> None:
    uri = f"s3://{s3_bucket[1]}/a/b.txt"
    for body in (b"first", b"second"):
        objects.put(uri, body)
        assert objects.read(uri) == body
    boto3.client("s3", endpoint_url=s3_bucket[0]).delete_object(Bucket=s3_bucket[1], Key="a/b.txt")
    with pytest.raises(JobError, match="No object at"):
        objects.read(uri)


def test_more_than_a_page_of_objects_is_listed(objects: S3Objects, s3_bucket: tuple[str, str]) -> None:
    objects.page_size = 2
    for number in range(5):
        objects.put(f"s3://{s3_bucket[1]}/many/{number}", b"")
    assert [name for name, _ in objects.list(f"s3://{s3_bucket[1]}/many")] == ["0", "1", "2", "3", "4"]


def test_a_bucket_that_is_not_there_is_said_with_the_remedy(server: Server) -> None:
    server.train("no-bucket", OutputDataConfig={"S3OutputPath": "s3://nobody-has-this/models"})
    failed = server.trained("no-bucket")
    assert failed["TrainingJobStatus"] == "Failed"
    assert (
        "refused s3://nobody-has-this/models/no-bucket/output/output.tar.gz (NoSuchBucket); see that"
        in failed["FailureReason"]
    )


def test_an_endpoint_that_nobody_listens_at_is_said_with_the_remedy(tmp_path: Path) -> None:
    objects = S3Objects("http://127.0.0.1:9", tmp_path / "copies", region="us-east-1")
    with pytest.raises(
        JobError, match=r"127.0.0.1:9 cannot be asked for s3://lake/x \(EndpointConnectionError\); see that"
    ):
        objects.read("s3://lake/x")
