"""Projects on the embedded server, each with a release that is live and a candidate that must not follow it.

`SITUATIONS` are what is wrong with the candidate. Reports are written by hand, since what evaluates a model is tested
elsewhere; packages, endpoints, ledger and bytes are real.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from ledgerline.projects.config import SCRIPTS, ModelProject, load_project
from ledgerline.projects.pipeline import Pipeline, compare, put_on_qa
from ledgerline.release.approvals import Approval
from ledgerline.release.decisions import decide
from ledgerline.release.deploy import Deployer, deploy_release
from ledgerline.release.digest import model_digest, pack_files
from ledgerline.release.gate import EvaluationReport
from ledgerline.release.releases import Candidate, Evaluated, QaServed, latest_candidate
from platform_assets.components import model_project as component
from platform_assets.components.model_project import model_project_definitions
from resources.object_store import DirectoryObjectStore
from resources.release_ledger import SqlReleaseLedger
from resources.sagemaker import SageMaker
from sensors.releases import approved_models

CONFIG = """\
name: {name}
description: A demonstration.
owner: team:mapping
dataset: {{table: examples, columns: [group, as_of, x], entity_column: group, time_column: as_of}}
metrics: [{{name: accuracy, direction: maximize}}]
gate: {{rules: [{{metric: accuracy, at_least: {floor}}}]}}
approval: manual
"""
INFERENCE = b"""\
import os
def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.txt")) as file:
        return file.read()
def predict_fn(request, model):
    return {"model": model}
"""
FLOOR = 0.9


def archive(text: str) -> bytes:
    return pack_files({"model.txt": text.encode(), "code/inference.py": INFERENCE})


def now() -> datetime:
    return datetime.now(timezone.utc)


class OnePlatform:
    """The same platform object in every run: Dagster copies its own resources, and each copy makes clients anew."""

    def __init__(self, platform: SageMaker) -> None:
        self._platform = platform

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)


@dataclass
class GateWorld:
    """A project with `live`, the release that must stay, `withdrawn`, an earlier one, and the newest candidate."""

    name: str
    folder: Path
    objects: DirectoryObjectStore
    platform: OnePlatform
    database: Path
    floor: float = FLOOR
    pack: Callable[[str], bytes] = archive  # a model of that name
    request: bytes = b"{}"  # that such a model answers
    project: ModelProject = field(init=False)
    live: Candidate = field(init=False)
    withdrawn: Candidate = field(init=False)

    def __post_init__(self) -> None:
        self.load()

    def load(self) -> None:
        """Write config.yaml and read the project."""
        home = self.folder / self.name
        home.mkdir(parents=True, exist_ok=True)
        for script in SCRIPTS:
            (home / script).write_text("#\n")
        (home / "config.yaml").write_text(CONFIG.format(name=self.name, floor=self.floor))
        self.project = load_project(home)

    @property
    def ledger(self) -> SqlReleaseLedger:
        return SqlReleaseLedger(database_url=f"sqlite:///{self.database}")

    def records(self) -> list[Any]:
        return [entry.record for entry in self.ledger.entries(self.name)]

    def candidate(self) -> Candidate:
        found = latest_candidate(self.records())
        assert found is not None
        return found

    def deployer(self) -> Deployer:
        return Deployer(self.project, self.ledger, self.platform, self.objects, now, lambda text: None)

    def served(self) -> str | None:
        """The digest that the live endpoint answers with."""
        return self.platform.invoke(self.project.endpoint, self.request).model_digest

    def fork(self, folder: Path, *, floor: float) -> GateWorld:
        """The same endpoints and objects with a ledger and a config.yaml of their own."""
        database = folder / "fork.db"
        shutil.copy(self.database, database)
        forked = GateWorld(self.name, folder / "projects", self.objects, self.platform, database, floor)
        forked.live, forked.withdrawn = self.live, self.withdrawn
        return forked

    # Making history --------------------------------------------------------------------------------------------------

    def register(self, text: str, accuracy: float, *, on_qa: bool) -> Candidate:
        body = self.pack(text)
        digest = model_digest(body)
        uri = self.objects.uri("projects", self.name, "models", digest, "model.tar.gz")
        self.objects.put(uri, body)
        arn = self.platform.register(self.project.aws_name, uri, model_digest=digest)
        candidate = self.record(digest, uri, arn, accuracy)
        if on_qa:
            pipeline = Pipeline(self.project, self.objects, self.platform, self.ledger, now, lambda text: None, "run")
            put_on_qa(pipeline, candidate)
            compare(pipeline, candidate)
        else:  # what is live only so that others can follow it
            served: dict[str, Any] = {"model_digest": digest, "served_digest": digest, "requests": 1}
            row = QaServed(project=self.name, endpoint=self.project.qa_endpoint, at=now(), **served)
            self.ledger.append(row)
        return candidate

    def record(self, digest: str, uri: str, arn: str, accuracy: float) -> Candidate:
        """Evaluate and register in the ledger."""
        report = EvaluationReport(digest, "rows", {"accuracy": accuracy})
        report_uri = self.objects.uri("projects", self.name, "reports", f"{report.digest}.json")
        self.objects.put(report_uri, report.to_json())
        requests_uri = self.objects.uri("projects", self.name, "requests.jsonl")
        self.objects.put(requests_uri, self.request + b"\n")
        known: dict[str, Any] = {
            "project": self.name,
            "model_digest": digest,
            "report_uri": report_uri,
            "data_digest": "rows",
        }
        self.ledger.append(Evaluated(report_digest=report.digest, at=now(), **known))
        candidate = Candidate(
            **known,
            model_uri=uri,
            package_arn=arn,
            report_digest=report.digest,
            requests_uri=requests_uri,
            policy_digest=self.project.policy.digest,
            dataset_table="examples",
            dataset_version=1,
            dataset_digest="d",
            training_job="job",
            at=now(),
        )
        self.ledger.append(candidate)
        return candidate

    def decide(self, candidate: Candidate, decision: Any = "approve") -> None:
        decide(
            decision,
            project=self.project,
            ledger=self.ledger,
            platform=self.platform,
            objects=self.objects,
            digest_prefix=candidate.model_digest[:12],
            approver="Kim",
            reason="looked at it",
            at=now(),
        )

    def approval_by_hand(self, candidate: Candidate) -> None:
        """A row that says approved, past the code that refuses to approve what fails."""
        digests = {name: getattr(candidate, name) for name in ("model_digest", "report_digest")}
        self.ledger.append(
            Approval(
                **digests,
                project=self.name,
                policy_digest=self.project.policy.digest,
                decision="approve",
                approver="Eve",
                reason="trust me",
                at=now(),
            )
        )

    def release(self, text: str) -> Candidate:
        candidate = self.register(text, 0.95, on_qa=False)
        self.decide(candidate)
        deploy_release(self.deployer(), actor="setup", pins={})
        return candidate

    # Dagster ---------------------------------------------------------------------------------------------------------

    def definitions(self) -> dg.Definitions:
        resources = {"object_store": self.objects, "sagemaker": self.platform, "release_ledger": self.ledger}
        others = dict.fromkeys(("lake", "experiments"), dg.ResourceDefinition.none_resource())
        key = dg.AssetKey([self.name, "live_endpoint"])
        checks = dg.AssetSelection.all_asset_checks() - dg.AssetSelection.checks(
            dg.AssetCheckKey(key, "drift_from_release")
        )
        jobs = [
            dg.define_asset_job("live", selection=dg.AssetSelection.assets(key)),
            dg.define_asset_job("checks", selection=checks),
        ]
        extra = dg.Definitions(
            jobs=jobs,
            sensors=[approved_models([self.project])],
            resources={**resources, **others},
            executor=dg.in_process_executor,
        )
        return dg.Definitions.merge(extra, model_project_definitions(self.project))

    def materialized_upstream(self, instance: dg.DagsterInstance) -> None:
        """Record in Dagster what the ledger says: everything before the live endpoint was made for this candidate."""
        made = self.candidate()
        shared = {"model_digest": made.model_digest, "report_digest": made.report_digest}
        evaluation = component.EvaluationProvenance(
            **shared, report_uri=made.report_uri, requests_uri=made.requests_uri, verdict_digest="v", passed=True
        )
        for step in ("training_set", "model", "evaluation", "model_version", "qa_endpoint", "qa_report"):
            metadata = evaluation.metadata() if step == "evaluation" else {}
            key = dg.AssetKey([self.name, step])
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))
        job = self.definitions().resolve_job_def("checks")
        job.execute_in_process(instance=instance, raise_on_error=False)


def failing(world: GateWorld) -> None:
    """It fails its gate, and a row of the ledger says approved in spite of that."""
    world.approval_by_hand(world.register("failing", FLOOR - 0.4, on_qa=True))


def unapproved(world: GateWorld) -> None:
    """It passes its gate, and nobody approved it."""
    world.register("unapproved", 0.97, on_qa=True)


def retrained(world: GateWorld) -> None:
    """One was approved, then the model was trained again: the newest has other bytes."""
    world.decide(world.register("approved", 0.96, on_qa=False))
    world.register("retrained", 0.97, on_qa=True)


def tampered(world: GateWorld) -> None:
    """It was approved, then its bytes were changed."""
    candidate = world.register("tampered", 0.97, on_qa=True)
    world.decide(candidate)
    world.objects.put(candidate.model_uri, archive("evil"))


SITUATIONS: dict[str, Callable[[GateWorld], None]] = {
    "failing": failing,
    "unapproved": unapproved,
    "re-trained": retrained,
    "tampered": tampered,
}
CURRENT: list[GateWorld] = []  # the newest is the world that `defs` and `live_job` speak of


def defs() -> dg.Definitions:
    """What `dagster asset materialize -m tests.integration.gate_world -a defs` loads."""
    return CURRENT[-1].definitions()


def live_job(project: str) -> dg.JobDefinition:
    """The job that re-execution loads. Dagster keeps what it loaded by the arguments, so the project is one."""
    assert CURRENT[-1].name == project
    return defs().resolve_job_def("live")
