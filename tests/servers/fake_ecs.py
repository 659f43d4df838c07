"""The part of the ECS API that runs one task, over HTTP, for an unmodified boto3: a task is a process of this machine.

Requests are validated with botocore's own model of the service, and by the rules that it does not know: one capacity
provider of Fargate, subnets, 8,192 characters of overrides. A task's output goes to CloudWatch Logs, as moto serves it.
What Fargate does to tasks is told beforehand, in the order of RunTask: `fake.next("spot", "no capacity", "exit 137")`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

ROOT = Path(__file__).resolve().parents[2]
ARN = "arn:aws:ecs:us-east-1:123456789012:task/batches"
GROUP = "/ledgerline/batches"
DEFINITION = {
    "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/ledgerline:1",
    "containerDefinitions": [
        {
            "name": "ledgerline",
            "image": "ledgerline",
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": GROUP,
                    "awslogs-region": "us-east-1",
                    "awslogs-stream-prefix": "batch",
                },
            },
        }
    ],
}


class Refused(Exception):
    """An error of the API: its code and its message."""


@dataclass
class Task:
    arn: str
    provider: str
    behaviour: str
    process: subprocess.Popen[bytes] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    looks: int = 0


class FakeEcs:
    """`requests` holds every request as (operation, parameters); `tasks` every task by its ARN."""

    def __init__(self, folder: Path, aws_endpoint: str) -> None:
        import boto3

        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.tasks: dict[str, Task] = {}
        self._folder = folder
        self._endpoint = aws_endpoint
        self._behaviours: deque[str] = deque()
        self._model = botocore.session.get_session().get_service_model("ecs")
        self._logs = boto3.client("logs", endpoint_url=aws_endpoint, region_name="us-east-1")
        if not self._logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]:
            self._logs.create_log_group(logGroupName=GROUP)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for task in self.tasks.values():
            if task.process is not None:
                task.process.kill()
                task.process.wait()

    def next(self, *behaviours: str) -> None:
        """What happens to the next tasks, one each; later ones run."""
        self._behaviours.extend(behaviours)

    def providers(self) -> list[str]:
        """The capacity provider of each RunTask, in order."""
        return [
            asked["capacityProviderStrategy"][0]["capacityProvider"]
            for name, asked in self.requests
            if name == "RunTask"
        ]

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        report = ParamValidator().validate(asked, self._model.operation_model(operation).input_shape)
        if report.has_errors():
            raise Refused("InvalidParameterException", report.generate_report())
        self.requests.append((operation, asked))
        return {
            "DescribeTaskDefinition": self._describe_definition,
            "RunTask": self._run,
            "DescribeTasks": self._describe,
            "StopTask": self._stop,
        }[operation](asked)

    def _describe_definition(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["taskDefinition"] != "ledgerline":
            raise Refused("ClientException", "Unable to describe task definition.")
        return {"taskDefinition": DEFINITION}

    def _run(self, asked: dict[str, Any]) -> dict[str, Any]:
        (strategy,) = asked["capacityProviderStrategy"]
        provider = strategy["capacityProvider"]
        if provider not in ("FARGATE", "FARGATE_SPOT") or "launchType" in asked:
            raise Refused("InvalidParameterException", "The capacity provider strategy is not valid.")
        if not asked["networkConfiguration"]["awsvpcConfiguration"]["subnets"]:
            raise Refused("InvalidParameterException", "subnets can not be empty.")
        (container,) = asked["overrides"]["containerOverrides"]
        if len(json.dumps(asked["overrides"])) > 8192:
            raise Refused("InvalidParameterException", "Container Overrides length must be at most 8192")
        if container["name"] != "ledgerline":
            raise Refused("InvalidParameterException", "Override for container which is not in the task definition.")
        behaviour = self._behaviours.popleft() if self._behaviours else "run"
        if behaviour == "no capacity":
            return {"tasks": [], "failures": [{"arn": ARN, "reason": "Capacity is unavailable at this time."}]}
        if behaviour == "capacity error":
            raise Refused("ClientException", "Capacity is unavailable at this time. Please try again later")
        task = Task(f"{ARN}/{uuid.uuid4().hex}", provider, behaviour)
        self.tasks[task.arn] = task
        if behaviour in ("run", "spot"):
            task.process = self._start(task, container)
        return {"tasks": [self._about(task, "PROVISIONING")], "failures": []}

    def _start(self, task: Task, container: dict[str, Any]) -> subprocess.Popen[bytes]:
        role = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        environment = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL_S3": self._endpoint, **role}
        environment |= {one["name"]: one["value"] for one in container["environment"]}
        _, *arguments = container["command"]
        output = self._folder / f"{task.arn.rpartition('/')[2]}.log"
        with output.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
            )

    def _describe(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = [arn for arn in asked["tasks"] if arn in self.tasks]
        failures = [{"arn": arn, "reason": "MISSING"} for arn in asked["tasks"] if arn not in known]
        return {"tasks": [self._look(self.tasks[arn]) for arn in known], "failures": failures}

    def _look(self, task: Task) -> dict[str, Any]:
        task.looks += 1
        if "stopCode" in task.about:
            return self._about(task, "STOPPED")
        if task.behaviour == "never start":
            return self._about(task, "PROVISIONING")
        if task.looks == 1:
            return self._about(task, "PENDING")
        if task.behaviour == "spot":
            self._kill(task)
            return self._ended(task, "SpotInterruption", "Your Spot Task was interrupted.", None)
        if task.behaviour.startswith("exit "):
            return self._ended(
                task, "EssentialContainerExited", "Essential container in task exited", int(task.behaviour[5:])
            )
        if task.behaviour.startswith("does not start: "):
            return self._ended(task, "TaskFailedToStart", task.behaviour[16:], None)
        assert task.process is not None
        code = task.process.poll()
        if code is None:
            return self._about(task, "RUNNING")
        self._ship(task)
        code = 128 - code if code < 0 else code
        return self._ended(task, "EssentialContainerExited", "Essential container in task exited", code)

    def _stop(self, asked: dict[str, Any]) -> dict[str, Any]:
        task = self.tasks[asked["task"]]
        self._kill(task)
        return {"task": self._ended(task, "UserInitiated", asked["reason"], 143)}

    def _kill(self, task: Task) -> None:
        if task.process is not None:
            task.process.kill()
            task.process.wait()
            self._ship(task)

    def _ended(self, task: Task, stop: str, why: str, code: int | None) -> dict[str, Any]:
        task.about = {"stopCode": stop, "stoppedReason": why, "exitCode": code}
        return self._about(task, "STOPPED")

    def _about(self, task: Task, status: str) -> dict[str, Any]:
        container = {"name": "ledgerline", "lastStatus": status}
        if task.about.get("exitCode") is not None:
            container["exitCode"] = task.about["exitCode"]
        about = {
            "taskArn": task.arn,
            "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/batches",
            "lastStatus": status,
            "capacityProviderName": task.provider,
            "containers": [container],
            **{name: value for name, value in task.about.items() if name != "exitCode"},
        }
        started = status in ("RUNNING", "STOPPED") and task.behaviour in ("run", "spot")
        return about | ({"startedAt": time.time()} if started else {})

    def _ship(self, task: Task) -> None:
        name = task.arn.rpartition("/")[2]
        lines = (self._folder / f"{name}.log").read_text(errors="replace").splitlines()
        stream = {"logGroupName": GROUP, "logStreamName": f"batch/ledgerline/{name}"}
        self._logs.create_log_stream(**stream)
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines if line]
        if events:
            self._logs.put_log_events(**stream, logEvents=events)


def _handler(fake: FakeEcs) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            try:
                with lock:
                    status, answer = 200, fake.answer(operation, asked)
            except Refused as refused:
                status, answer = 400, {"__type": refused.args[0], "message": refused.args[1]}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    return Handler
