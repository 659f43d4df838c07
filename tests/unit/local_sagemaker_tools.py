"""A running embedded server for tests: unmodified boto3 clients, small scripts, and waiting without long sleeps."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_sagemaker import daemon
from local_sagemaker.home import Home

ROLE = "arn:aws:iam::000000000000:role/SageMaker"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/any:1"

TRAIN = """
import argparse, json, os, pathlib, shutil, sys
parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--name", default="")
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
args, _ = parser.parse_known_args()
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "code").mkdir(parents=True)
rows = pathlib.Path(args.train, "rows.csv").read_text()
(model / "model.json").write_text(json.dumps({"rows": rows, "name": args.name}))
shutil.copy("inference.py", model / "code" / "inference.py")
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "notes.txt").write_text("a note")
print("valid-ndcg=0.25;", file=sys.stderr)  # the same stream: there is no order between two
print("valid-ndcg=%f;" % (args.learning_rate * 5), file=sys.stderr)
"""

INFERENCE = """
import json, os
def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as file:
        return json.load(file)
def input_fn(body, content_type):
    request = json.loads(body)
    if "x" not in request:
        raise ValueError("the field x is missing")
    return request
def predict_fn(request, model):
    if request["x"] == "break":
        raise RuntimeError("a secret of the model")
    if request["x"] == "crash":
        os._exit(7)
    if request["x"] == "type":
        raise ValueError("x is of another model")
    if request["x"] == "library":
        json.loads("{")
    return {"x": request["x"], "name": model["name"]}
def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def tar_gz(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def model_archive(name: str, inference: str = INFERENCE) -> bytes:
    return tar_gz({"model.json": f'{{"rows": "", "name": "{name}"}}', "code/inference.py": inference})


class Server:
    """One server on its own home, with clients for what the tests use; its objects are in a folder, or on an S3."""

    def __init__(self, folder: Path, s3_endpoint: str | None = None) -> None:
        self.home = Home(folder / "home")
        self.object_root = folder / "objects"
        self.s3_endpoint = s3_endpoint
        self.start()

    def start(self) -> None:
        self.running = daemon.start(
            self.home.path, object_root=self.s3_endpoint or self.object_root, stop_grace_seconds=2.0
        )
        self.sagemaker = self.client("sagemaker")
        self.runtime = self.client("sagemaker-runtime")
        self.logs = self.client("logs")

    def stop(self) -> None:
        daemon.stop(self.home.path)

    def client(self, service: str, **changed: str) -> Any:
        found = daemon.environment(self.home.path)
        arguments: dict[str, Any] = {
            "endpoint_url": found["AWS_ENDPOINT_URL_SAGEMAKER"],
            "region_name": found["AWS_DEFAULT_REGION"],
            "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
            **changed,
        }
        # The SDK's own validation is off, so that it is the server that refuses.
        return boto3.client(
            service, config=Config(parameter_validation=False, retries={"total_max_attempts": 1}), **arguments
        )

    def put(self, uri: str, body: bytes | str) -> str:
        if self.s3_endpoint:
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            boto3.client("s3", endpoint_url=self.s3_endpoint).put_object(Bucket=bucket, Key=key, Body=body)
            return uri
        path = self.object_root / uri.removeprefix("s3://")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        return uri

    def read(self, uri: str) -> bytes:
        if self.s3_endpoint:
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            found = boto3.client("s3", endpoint_url=self.s3_endpoint).get_object(Bucket=bucket, Key=key)
            return bytes(found["Body"].read())
        return (self.object_root / uri.removeprefix("s3://")).read_bytes()

    def train(self, name: str, files: Mapping[str, str] | None = None, **changed: Any) -> dict[str, Any]:
        """Create a training job; `files` are the sourcedir's."""
        self.put("s3://lake/train/rows.csv", "1,2")
        source = self.put(
            f"s3://lake/code/{name}.tar.gz", tar_gz(files or {"train.py": TRAIN, "inference.py": INFERENCE})
        )
        hyperparameters = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source}
        request = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "HyperParameters": hyperparameters | changed.pop("HyperParameters", {}),
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "ndcg", "Regex": "valid-ndcg=([-+0-9.eE]+)"}],
            },
            "InputDataConfig": [
                {
                    "ChannelName": "train",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/train"}},
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        } | changed
        return self.sagemaker.create_training_job(**request)

    def trained(self, name: str) -> dict[str, Any]:
        """The job's description once it has ended."""
        return until(
            lambda: self.sagemaker.describe_training_job(TrainingJobName=name),
            lambda job: job["TrainingJobStatus"] not in ("InProgress", "Stopping"),
        )

    def process(self, name: str, script: str, arguments: list[str], **changed: Any) -> None:
        self.put(f"s3://lake/code/{name}/run.py", script)
        app: dict[str, Any] = {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
        }
        if arguments:
            app["ContainerArguments"] = arguments
        request = {
            "ProcessingJobName": name,
            "RoleArn": ROLE,
            "AppSpecification": app,
            "ProcessingInputs": [processing_input("code", f"s3://lake/code/{name}")],
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
        } | changed
        self.sagemaker.create_processing_job(**request)

    def processed(self, name: str) -> dict[str, Any]:
        return until(
            lambda: self.sagemaker.describe_processing_job(ProcessingJobName=name),
            lambda job: job["ProcessingJobStatus"] not in ("InProgress", "Stopping"),
        )

    def config(self, name: str, archive: bytes, **environment: str) -> str:
        """A model and an endpoint config of this name over an archive."""
        uri = self.put(f"s3://lake/artifacts/{name}.tar.gz", archive)
        container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant(name)])
        return name

    def settled(self, endpoint: str) -> dict[str, Any]:
        """The endpoint's description once it is neither being created nor updated."""
        return until(
            lambda: self.sagemaker.describe_endpoint(EndpointName=endpoint),
            lambda described: described["EndpointStatus"] not in ("Creating", "Updating"),
        )

    def endpoint(self, name: str, archive: bytes) -> dict[str, Any]:
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=self.config(f"{name}-1", archive))
        return self.settled(name)

    def ask(self, endpoint: str, body: str = '{"x": 1}', **changed: str) -> dict[str, Any]:
        return self.runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body.encode(), ContentType="application/json", **changed
        )


def processing_input(name: str, uri: str) -> dict[str, Any]:
    source = {
        "S3Uri": uri,
        "LocalPath": f"/opt/ml/processing/input/{name}",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    return {"InputName": name, "S3Input": source}


def processing_output(name: str, uri: str) -> dict[str, Any]:
    target = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": target}


def variant(model: str, name: str = "AllTraffic", weight: float = 1.0) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": weight,
    }


def until(ask: Callable[[], Any], done: Callable[[Any], bool], seconds: float = 30.0) -> Any:
    """The first answer for which `done` holds."""
    deadline = time.monotonic() + seconds
    while not done(answer := ask()):
        assert time.monotonic() < deadline, f"still {answer} after {seconds} s"
        time.sleep(0.01)
    return answer
