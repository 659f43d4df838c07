"""Airflow's own SageMaker operators (amazon provider, in an environment of their own) against the embedded server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from local_sagemaker import daemon
from tests.environments import python_with
from tests.unit.local_sagemaker_tools import IMAGE, INFERENCE, ROLE, TRAIN, Server, tar_gz

SCRIPT = Path(__file__).parent / "airflow_operators.py"
REQUIREMENTS = ["apache-airflow==3.3.2", "apache-airflow-providers-amazon==9.39.0"]


@pytest.fixture
def server(tmp_path: Path, s3_endpoint: str) -> Iterator[Server]:
    """On an S3, since the operators look there themselves for what a job is to read."""
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket="lake")
    found = Server(tmp_path, s3_endpoint)
    found.put("s3://lake/code/airflow.tar.gz", tar_gz({"train.py": TRAIN, "inference.py": INFERENCE}))
    found.put("s3://lake/train/rows.csv", "1,2")
    found.put("s3://lake/batch/requests.jsonl", '{"x": 1}\n{"x": 2}\n')
    yield found
    found.stop()


def test_airflows_operators_train_tune_transform_and_deploy_unmodified(server: Server, tmp_path: Path) -> None:
    python = python_with("airflow", REQUIREMENTS)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **daemon.environment(server.home.path),
        "AWS_ENDPOINT_URL_S3": str(server.s3_endpoint),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
    }
    done = subprocess.run(
        [python, SCRIPT, IMAGE, ROLE],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    ran = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"operator"')]
    assert [one["operator"] for one in ran] == [
        *("processing", "training", "tuning", "model", "model", "transform", "endpoint config", "endpoint config"),
        *("endpoint create", "endpoint update", "register model version"),
    ]
    returned = {one["operator"]: one["returned"] for one in ran}
    assert returned["training"]["Training"]["TrainingJobStatus"] == "Completed"
    assert returned["training"]["Training"]["FinalMetricDataList"][0]["Value"] == 0.5
    assert returned["tuning"]["Tuning"]["TrainingJobStatusCounters"]["Completed"] == 2
    assert server.read("s3://lake/answers/requests.jsonl.out") == b'{"x": 1, "name": ""}\n{"x": 2, "name": ""}\n'
    live = server.sagemaker.describe_endpoint(EndpointName="airflow")
    assert (live["EndpointStatus"], live["EndpointConfigName"]) == ("InService", "airflow-2")
    assert json.loads(server.ask("airflow")["Body"].read()) == {"x": 1, "name": ""}
