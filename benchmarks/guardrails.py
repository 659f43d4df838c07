"""Bad canaries under load: how soon each is out, how many requests it got, and whether any client saw an error.

    python -m benchmarks.guardrails [--clients N] [--rounds N]

One embedded server, an endpoint with a light model, clients that keep their connections and ask without pause. Against
them an update with a canary of 10 % and an alarm on one of three defects: every answer a 5xx, every answer slow, scores
that drifted. The clock starts with the canary's first request, which its model prints, and stops when the endpoint is
seen InService with its old configuration again. `canary_requests` are all that the canary got. Both are the worst of
all rounds; that a rollback's reason names its alarm is checked, as are the limits: the exit code is 1 beyond them.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::000000000000:role/benchmark"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/benchmark:1"
NAME = "guarded"
PERCENT = 10
LIMITS = {"seconds_to_rollback": 2.0, "canary_requests": 20, "client_errors": 0}
_MODEL = """
import json, time
asked = 0
def model_fn(model_dir):
    return None
def predict_fn(request, model):
    global asked
    asked += 1
    if asked == 1:
        print("first request at", time.time(), flush=True)
    {body}
def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""
GOOD = 'return {"score": asked * 37 % 100 / 100}'
# Defect -> the bad model's body, and the alarm on it.
DEFECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "5xx": (
        'raise RuntimeError("a defect")',
        {"MetricName": "Invocation5XXErrors", "Statistic": "Average", "Threshold": 0.05},
    ),
    "slow": (
        f"time.sleep(0.3); {GOOD}",
        {"MetricName": "ModelLatency", "ExtendedStatistic": "p99", "Threshold": 250_000.0},
    ),
    "drift": (
        'return {"score": asked * 37 % 100 / 100 + 0.9}',
        {
            "Namespace": "Ledgerline/SageMaker",
            "MetricName": "PredictionDrift",
            "Statistic": "Maximum",
            "Threshold": 0.65,
        },
    ),
}


@dataclass
class Load:
    """Clients in threads that ask without pause, and every error that one of them saw."""

    make_client: Any
    clients: int
    errors: list[str] = field(default_factory=list)
    requests: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        client = self.make_client("sagemaker-runtime")
        while not self.stop.is_set():
            try:
                client.invoke_endpoint(EndpointName=NAME, Body=b'{"x": 1}', ContentType="application/json")
            except Exception as error:  # noqa: BLE001 - whatever a client sees is what is counted
                self.errors.append(repr(error))
            self.requests += 1


def archive(body: str, version: str) -> bytes:
    program = f"# {version}\n" + _MODEL.format(body=body)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        member = tarfile.TarInfo("code/inference.py")
        member.size = len(program.encode())
        packed.addfile(member, io.BytesIO(program.encode()))
    return buffer.getvalue()


def create_release(client: Any, objects: Path, body: str, version: str) -> str:
    """A model and a config of this version; returns the config's name."""
    path = objects / "benchmark" / f"{version}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(body, version))
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://benchmark/{version}.tar.gz"}
    client.create_model(ModelName=version, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "AllTraffic", "ModelName": version, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1
    }  # fmt: skip
    client.create_endpoint_config(EndpointConfigName=version, ProductionVariants=[variant])
    return version


def canary(alarm: str) -> dict[str, Any]:
    routing = {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 60,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": PERCENT},
    }
    return {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm}]},
    }


def put_alarm(cloudwatch: Any, config: str, alarm: dict[str, Any]) -> str:
    of = {"EndpointName": NAME, "VariantName": "AllTraffic", "EndpointConfigName": config}
    request = {
        "AlarmName": f"{config}-alarm",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": name, "Value": value} for name, value in of.items()],
        "Period": 10,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **alarm,
    }
    cloudwatch.put_metric_alarm(**request)
    return f"{config}-alarm"


def canary_requests(cloudwatch: Any, config: str) -> int:
    """How many requests a release got."""
    of = {"EndpointName": NAME, "VariantName": "AllTraffic", "EndpointConfigName": config}
    now = time.time()
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": name, "Value": value} for name, value in of.items()],
        Period=60,
        Statistics=["Sum"],
        StartTime=now - 600,
        EndTime=now + 60,
    )["Datapoints"]
    return int(sum(point["Sum"] for point in points))


def first_request(logs: Any, since: float) -> float:
    """When the newest release got its first request, as its model printed it (epoch seconds)."""
    events = logs.filter_log_events(
        logGroupName=f"/aws/sagemaker/Endpoints/{NAME}", filterPattern='"first request at"', startTime=int(since * 1000)
    )["events"]
    return float(events[-1]["message"].split()[-1])


def settle(client: Any) -> dict[str, Any]:
    """The endpoint's description once it is neither created nor updated."""
    while (found := client.describe_endpoint(EndpointName=NAME))["EndpointStatus"] in ("Creating", "Updating"):
        time.sleep(0.02)
    return dict(found)


def one_round(make_client: Any, objects: Path, defect: str, number: int, clients: int) -> dict[str, float]:
    """One bad canary: seconds until it was out, its requests, errors of clients. Raises RuntimeError if it was not."""
    sagemaker, cloudwatch = make_client("sagemaker"), make_client("cloudwatch")
    body, alarm = DEFECTS[defect]
    config = create_release(sagemaker, objects, body, f"bad-{defect}-{number}")
    name = put_alarm(cloudwatch, config, alarm)
    before = sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    with Load(make_client, clients) as load:
        while load.requests < 20 * clients:
            time.sleep(0.02)
        began = time.time()
        sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName=config, DeploymentConfig=canary(name))
        found = settle(sagemaker)
        ended = time.time()
        time.sleep(0.5)  # clients go on, on the release that is back
    if (found["EndpointStatus"], found["EndpointConfigName"]) != ("InService", before) or name not in found.get(
        "FailureReason", ""
    ):
        raise RuntimeError(f"the bad canary {config} was not taken back by its alarm: {found}")
    for error in load.errors[:3]:
        print(error)
    return {
        "seconds_to_rollback": round(ended - first_request(make_client("logs"), began), 3),
        "canary_requests": canary_requests(cloudwatch, config),
        "client_errors": len(load.errors),
        "requests": load.requests,
    }


def measure(folder: Path, clients: int, rounds: int) -> dict[str, Any]:
    import boto3
    from botocore.config import Config

    from local_sagemaker import daemon

    home, objects = folder / "home", folder / "objects"
    running = daemon.start(home, object_root=objects)
    found = daemon.environment(home)

    def make_client(service: str) -> Any:
        return boto3.session.Session().client(
            service,
            endpoint_url=running.url,
            region_name="us-east-1",
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    try:
        sagemaker = make_client("sagemaker")
        sagemaker.create_endpoint(
            EndpointName=NAME, EndpointConfigName=create_release(sagemaker, objects, GOOD, "good")
        )
        settle(sagemaker)
        rows: dict[str, list[dict[str, float]]] = {}
        for defect in DEFECTS:
            rows[defect] = [one_round(make_client, objects, defect, number, clients) for number in range(rounds)]
            print(defect, json.dumps(rows[defect]))
    finally:
        daemon.stop(home)
    every = [row for of_defect in rows.values() for row in of_defect]
    return {
        "seconds_to_rollback": max(row["seconds_to_rollback"] for row in every),
        "canary_requests": max(row["canary_requests"] for row in every),
        "client_errors": sum(row["client_errors"] for row in every),
        "rollbacks": len(every),
        "requests": sum(row["requests"] for row in every),
        "clients": clients,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3, help="of each defect (default: %(default)s)")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guardrails-") as folder:
        figures = measure(Path(folder), found.clients, found.rounds)
    print(json.dumps(figures))
    return int(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
