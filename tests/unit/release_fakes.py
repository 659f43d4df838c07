"""Hand-written fakes of the release room: objects in memory, a platform that fails where told, a tiny project."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ledgerline.errors import Overtaken, PermanentFailure
from ledgerline.projects.config import SCRIPTS, ModelProject, load_project
from ledgerline.release.approvals import Approval
from ledgerline.release.deploy import Deployer
from ledgerline.release.digest import model_digest, pack_files
from ledgerline.release.gate import EvaluationReport
from ledgerline.release.model_platform import (
    Answer,
    DeployFailed,
    EndpointDeployment,
    EndpointState,
    JobFailed,
    ModelPackage,
    PlatformFailure,
    ProcessingResult,
    TrainingResult,
    TransformResult,
    Trial,
    TuningResult,
)
from ledgerline.release.releases import Candidate, Evaluated, QaServed
from resources.release_ledger import SqlReleaseLedger

CONFIG = """\
name: demo
description: A demonstration.
owner: team:mapping
dataset: {table: examples, columns: [group, as_of, x], entity_column: group, time_column: as_of}
image: python:3.11-slim
metrics: [{name: accuracy, direction: maximize, regex: 'accuracy=([0-9.]+)'}]
gate: {rules: [{metric: accuracy, at_least: 0.9}, {metric: accuracy, not_worse_than_live_by: 0.05}]}
approval: manual
approvals: {expires_days: null}
"""
LATER = datetime(2026, 1, 2, tzinfo=timezone.utc)  # than what a World of these tests does


class Killed(BaseException):
    """A process that dies: nothing in the code under test may catch it."""


@dataclass
class MemoryObjects:
    bodies: dict[str, bytes] = field(default_factory=dict)

    def uri(self, *parts: str) -> str:
        return "s3://test/" + "/".join(parts)

    def put(self, uri: str, body: bytes) -> str:
        self.bodies[uri] = body
        return ""

    def stamp(self, uri: str) -> str | None:
        return hashlib.sha256(self.bodies[uri]).hexdigest() if uri in self.bodies else None

    def put_unless_changed(self, uri: str, body: bytes, *, stamp: str | None) -> str:
        if self.stamp(uri) != stamp:
            raise Overtaken(f"{uri} was written meanwhile: run this again.")
        return self.put(uri, body)

    def get(self, uri: str) -> bytes:
        if uri not in self.bodies:
            raise FileNotFoundError(uri)
        return self.bodies[uri]

    def exists(self, uri: str) -> bool:
        return uri in self.bodies

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(uri for uri in self.bodies if uri.startswith(prefix))

    def list_stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        yield from ((uri, str(hash(self.bodies[uri]))) for uri in self.list(prefix))

    def delete(self, uri: str) -> None:
        self.bodies.pop(uri, None)


@dataclass
class FakePlatform:
    """Serves what it is told to from `objects`. `faults`: names of what goes wrong, each used up by its first use."""

    objects: MemoryObjects
    accuracy: float = 0.95
    weights: bytes = b"weights"
    faults: list[str] = field(default_factory=list)
    packages: dict[str, ModelPackage] = field(default_factory=dict)
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    configs: int = 0
    requests: int = 0  # that each endpoint is said to have got
    report: dict[str, Any] | None = None  # that evaluation.py writes, instead of a good one
    answer: bytes = b'{"y": 1}'

    def _fault(self, name: str) -> bool:
        if name in self.faults:
            self.faults.remove(name)
            return True
        return False

    def run_processing(self, spec: Any, on_log: Any) -> ProcessingResult:
        on_log(f"{spec.script} runs")
        if self._fault(spec.script):
            raise JobFailed(f"The processing job {spec.name} ended as Failed: wrong rows. Correct them.")
        if spec.script == "evaluation.py":
            accuracy = json.loads(self.objects.get(spec.inputs["model"][: -len("model.tar.gz")] + "accuracy"))
            report: dict[str, Any] = {"metrics": {"accuracy": accuracy}, "calibration": [[0.5, 0.6, 10]]}
            report["slices"] = {"kind": {"a": {"rows": 10, "accuracy": accuracy}}}
            self.objects.put(spec.outputs["report"] + "/evaluation.json", json.dumps(self.report or report).encode())
            self.objects.put(spec.outputs["report"] + "/requests.jsonl", b'{"x": 1}\n{"x": 2}\n')
        else:
            for name, uri in spec.outputs.items():
                self.objects.put(f"{uri}/rows.parquet", name.encode())
        return ProcessingResult(spec.name, spec.outputs, 0.1)

    def run_training(self, spec: Any, on_log: Any) -> TrainingResult:
        on_log(f"accuracy={self.accuracy}")
        self.jobs.append(f"trained with {dict(spec.hyperparameters)}")
        if self._fault("train.py"):
            raise JobFailed(f"The training job {spec.name} ended as Failed: no rows. Correct the script.")
        body = pack_files({"model.txt": self.weights, "code/inference.py": b"#"})
        uri = f"{spec.output_uri}/job/output/model.tar.gz"
        self.objects.put(uri, body)
        digest = model_digest(body)
        self.objects.put(
            self.objects.uri("projects", "demo", "models", digest, "accuracy"), str(self.accuracy).encode()
        )
        return TrainingResult("job-1", uri, digest, {"accuracy": self.accuracy}, 0.1)

    def run_tuning(self, spec: Any, on_log: Any) -> TuningResult:
        if self._fault("tuning"):
            raise JobFailed(f"The tuning job of {spec.training.name} ended as Failed: no metric. Correct train.py.")
        trials = [
            Trial(f"trial-{number}", "Completed", {name: value}, 0.8 + number / 100, 1.0)
            for name, one in spec.ranges.items()
            for number, value in enumerate(one.values)
        ]
        self.jobs.append(f"tuned {spec.metric} maximize={spec.maximize} on {sorted(spec.training.inputs)}")
        return TuningResult("tuning-1", trials[-1].values, trials[-1].score, tuple(trials))

    def run_transform(self, spec: Any, on_log: Any) -> TransformResult:
        if self.digest(spec.model_uri) != spec.model_digest:
            raise PermanentFailure(f"The model at {spec.model_uri} was changed. Materialize it again.")
        lines = self.objects.get(spec.input_uri).splitlines()
        answers = [b'{"y": %d}' % len(line) for line in lines]
        if self._fault("one answer lost"):
            answers.pop()
        if self._fault("no JSON"):
            answers[0] = b"oops"
        name = spec.input_uri.rsplit("/", 1)[-1]
        self.objects.put(f"{spec.output_uri}/{name}.out", b"".join(answer + b"\n" for answer in answers))
        return TransformResult("transform-1", 0.1)

    def register(self, group: str, model_uri: str, *, model_digest: str, metadata: Any = None, **_: Any) -> str:
        arn = f"arn:{group}/{model_digest[:8]}"
        if arn not in self.packages:
            self.packages[arn] = ModelPackage(arn, 1, "PendingManualApproval", "", model_uri, "", metadata or {})
        return arn

    def set_approval(self, package_arn: str, status: Any, description: str) -> None:
        if self._fault("set_approval"):
            raise PlatformFailure("throttled. Try again.")
        old = self.packages[package_arn]
        self.packages[package_arn] = ModelPackage(
            old.arn, old.version, status, description, old.model_uri, old.image, old.metadata
        )

    def describe_package(self, package_arn: str) -> ModelPackage | None:
        return self.packages.get(package_arn)

    def list_packages(self, group: str) -> list[ModelPackage]:
        return list(self.packages.values())

    def deploy(self, endpoint: str, model: str, *, model_digest: str | None = None, **_: Any) -> EndpointDeployment:
        self.calls.append(f"deploy {endpoint}")
        if endpoint in self.endpoints and self.endpoints[endpoint].status == "Updating":
            raise DeployFailed(f"Endpoint {endpoint} is being updated already. Wait.")
        if self._fault("refused"):
            raise DeployFailed(f"Endpoint {endpoint} keeps its old config. Deploy again.")
        if self._fault("killed before deploy"):
            raise Killed
        uri = model if model.startswith("s3://") else self.packages[model].model_uri
        self.configs += 1
        config = f"{endpoint}-{self.configs}"
        status = "Updating" if self._fault("stuck") else "InService"
        reason = "alarm" if self._fault("rolled back") else None
        served = "other" if self._fault("wrong bytes") else self.digest(uri)
        self.endpoints[endpoint] = EndpointState(endpoint, status, config, reason, uri, None, served)
        if self._fault("killed after deploy"):
            raise Killed
        if status == "Updating":
            raise PlatformFailure(f"Endpoint {endpoint} is Updating. Look at its log.")
        return EndpointDeployment(endpoint, config, 0.1)

    def digest(self, uri: str) -> str:
        return model_digest(self.objects.get(uri))

    def describe_endpoint(self, endpoint: str) -> EndpointState | None:
        return self.endpoints.get(endpoint)

    def invoke(self, endpoint: str, body: bytes, content_type: str = "application/json") -> Answer:
        if self._fault("no answer"):
            raise PlatformFailure(f"Endpoint {endpoint} did not answer. Try again.")
        state = self.endpoints[endpoint]
        return Answer(self.answer, "application/json", state.model_digest, "AllTraffic")

    def invocations(self, endpoint: str, since: datetime) -> int:
        return self.requests

    def delete_endpoint(self, endpoint: str) -> None:
        self.endpoints.pop(endpoint, None)

    def logs(self, kind: Any, name: str) -> list[str]:
        return []

    def finish_update(self, endpoint: str = "demo") -> None:
        self.endpoints[endpoint] = dataclasses.replace(self.endpoints[endpoint], status="InService")

    def serves(self, endpoint: str = "demo") -> str | None:
        state = self.endpoints.get(endpoint)
        return state.model_digest if state else None


class World:
    """A project, its ports, and short ways to the states that tests begin with."""

    def __init__(self, folder: Path, config: str = CONFIG, *, database: str = "sqlite://") -> None:
        self.folder = folder / "model_projects" / "demo"
        self.folder.mkdir(parents=True)
        for script in SCRIPTS:
            (self.folder / script).write_text("#\n")
        self.write_config(config)
        self.objects = MemoryObjects()
        self.platform = FakePlatform(self.objects)
        self.ledger = SqlReleaseLedger(database_url=database)  # in memory unless told
        self.now = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.said: list[str] = []

    def write_config(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(text)
        self.project: ModelProject = load_project(self.folder)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def deployer(self) -> Deployer:
        return Deployer(self.project, self.ledger, self.platform, self.objects, self.clock, self.said.append)

    def records(self) -> list[Any]:
        return [entry.record for entry in self.ledger.entries("demo")]

    def candidate(self, name: str, accuracy: float = 0.95, *, qa: bool = True) -> Candidate:
        """A registered candidate that was evaluated and, unless told, seen on QA. Not approved."""
        body = pack_files({"model.txt": name.encode()})
        digest = model_digest(body)
        uri = self.objects.uri("models", digest, "model.tar.gz")
        self.objects.put(uri, body)
        report = EvaluationReport(digest, "rows", {"accuracy": accuracy})
        report_uri = self.objects.uri("reports", report.digest)
        self.objects.put(report_uri, report.to_json())
        requests_uri = self.objects.uri("requests")
        self.objects.put(requests_uri, b'{"x": 1}\n')
        arn = self.platform.register("demo", uri, model_digest=digest)
        self.ledger.append(
            Evaluated(
                project="demo",
                model_digest=digest,
                data_digest="rows",
                report_uri=report_uri,
                report_digest=report.digest,
                at=self.clock(),
            )
        )
        found = Candidate(
            project="demo",
            model_digest=digest,
            model_uri=uri,
            package_arn=arn,
            report_uri=report_uri,
            report_digest=report.digest,
            data_digest="rows",
            requests_uri=requests_uri,
            policy_digest=self.project.policy.digest,
            dataset_table="examples",
            dataset_version=3,
            dataset_digest="d",
            training_job="job-1",
            at=self.clock(),
        )
        self.ledger.append(found)
        if qa:
            self.qa(found, digest)
        return found

    def qa(self, candidate: Candidate, served: str, p99_ms: float | None = None) -> None:
        self.ledger.append(
            QaServed(
                project="demo",
                endpoint="demo-qa",
                model_digest=candidate.model_digest,
                served_digest=served,
                requests=1,
                p99_ms=p99_ms,
                at=self.clock(),
            )
        )

    def decide(self, candidate: Candidate, decision: Any = "approve", **changes: str) -> None:
        values: dict[str, Any] = {
            "project": "demo",
            "model_digest": candidate.model_digest,
            "report_digest": candidate.report_digest,
            "policy_digest": self.project.policy.digest,
            "decision": decision,
            "approver": "Kim",
            "reason": "looked at it",
            "at": self.clock(),
        }
        self.ledger.append(Approval(**{**values, **changes}))
