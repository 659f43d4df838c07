"""What a model project's assets do, step by step, over ports: training set, model, evaluation, candidate, QA.

Pure of Dagster, so that a notebook or a test can run a project. Every result names its inputs by digest and says where
its bytes are. Going live is not here: ledgerline/release/deploy.py.

The contract of the scripts: preprocessing.py reads --input-dir and writes one folder per channel of config.yaml to
--output-dir; train.py gets all channels but `test`; evaluation.py gets --model-dir and --test-dir and writes
evaluation.json and requests.jsonl (requests made of test rows, for QA and the smoke request) to --output-dir.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ledgerline.errors import ConfigurationError, LedgerlineError, PermanentFailure
from ledgerline.ports import Lake, ObjectStore
from ledgerline.projects import datasets
from ledgerline.projects.comparison import intact_report
from ledgerline.projects.config import ModelProject, check_unchanged
from ledgerline.projects.leaks import refuse_leaks
from ledgerline.projects.sections import TEST_CHANNEL
from ledgerline.release.approvals import AUTOMATIC_APPROVER, Approval
from ledgerline.release.deploy import measured_size, recorded_reports
from ledgerline.release.digest import model_digest
from ledgerline.release.gate import EvaluationReport, Verdict, judge
from ledgerline.release.model_platform import Answer, ModelPlatform, ProcessingSpec, TrainingSpec
from ledgerline.release.ports import ReleaseLedger
from ledgerline.release.releases import (
    Candidate,
    Evaluated,
    GateRefusal,
    QaServed,
    Release,
    approvals,
    asleep,
    current_release,
    decision_refusals,
    latest_candidate,
    latest_evaluation,
    latest_qa,
)

CONTAINER = "/opt/ml/processing"  # the embedded server relocates it
QA_REQUESTS = 100  # enough to see changed answers, few enough for a second on one worker
LATENCY_REQUESTS = 300  # where the gate has a limit: three answers may be slower than the 99th percentile of so many


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A project with the ports that its steps use. `run` names the run that asks: its scratch objects lie under it."""

    project: ModelProject
    objects: ObjectStore
    platform: ModelPlatform
    ledger: ReleaseLedger
    clock: Callable[[], datetime]
    log: Callable[[str], None]
    run: str

    def uri(self, *parts: str) -> str:
        return self.objects.uri("projects", self.project.name, *parts)

    def records(self) -> list[Any]:
        return [entry.record for entry in self.ledger.entries(self.project.name)]


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A training set in the object store, named by its digest. `joined`: versions of the tables that were joined."""

    table: str
    version: int
    rows: int
    digest: str
    uri: str
    joined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model by the digest of the files in its archive, and the test rows that belong to it."""

    model_digest: str
    model_uri: str
    test_uri: str
    data_digest: str  # of the test rows
    training_job: str
    code_digest: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A report on a candidate, the live model's on the same rows where one is live, and the verdict."""

    report: EvaluationReport
    report_uri: str
    requests_uri: str
    live: EvaluationReport | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """One request answered by QA and by live (None where no live endpoint answers)."""

    request: int
    qa: str
    live: str | None

    @property
    def same(self) -> bool:
        return self.qa == self.live


@dataclass(frozen=True, slots=True)
class QaReport:
    """What the QA endpoint served and how its answers differ from live."""

    served_digest: str
    live_digest: str | None
    comparisons: tuple[Comparison, ...]
    p99_ms: float

    @property
    def changed(self) -> tuple[Comparison, ...]:
        return tuple(item for item in self.comparisons if item.live is not None and not item.same)


# Training set --------------------------------------------------------------------------------------------------------


def store_training_set(
    project: ModelProject,
    lake: Lake,
    objects: ObjectStore,
    *,
    version: int | None = None,
    joined: Mapping[str, int] | None = None,
    digest: str | None = None,
) -> tuple[StoredDataset, datasets.TrainingSet]:
    """Read the training set from the lake and keep its bytes under their digest.

    With the versions that an earlier one recorded, that very training set is made again. With its digest too, its kept
    bytes are taken, whether or not the lake still has these versions.
    Raises ConfigurationError for a digest without a version, or one that is not kept.
    """
    if digest is not None:
        found = _kept_training_set(project, objects, digest, version, joined or {})
    else:
        found = datasets.training_set(lake, project.config.dataset, version=version, joined=joined)
    uri = objects.uri("projects", project.name, "training_sets", found.digest, "dataset.parquet")
    if not objects.exists(uri):
        objects.put(uri, found.body)
    return StoredDataset(found.table, found.version, found.rows.num_rows, found.digest, uri, found.joined), found


def _kept_training_set(
    project: ModelProject, objects: ObjectStore, digest: str, version: int | None, joined: Mapping[str, int]
) -> datasets.TrainingSet:
    uri = objects.uri("projects", project.name, "training_sets", digest, "dataset.parquet")
    if version is None or not objects.exists(uri):
        what = "needs the version that was recorded with it" if version is None else "is not kept"
        raise ConfigurationError(
            f"The training set {digest[:12]} of {project.name} {what}. Give digest, version and joined as the "
            f"materialization of {project.name}/training_set recorded them."
        )
    table = project.config.dataset.table
    stored = StoredDataset(table, version, 0, digest, uri, dict(joined))
    return datasets.TrainingSet(table, version, dict(joined), stored_rows(stored, objects), 0, objects.get(uri), digest)


def stored_rows(dataset: StoredDataset, objects: ObjectStore) -> pa.Table:
    """The rows of a stored training set. Raises PermanentFailure where its bytes are not those that were stored."""
    body = objects.get(dataset.uri)
    if hashlib.sha256(body).hexdigest() != dataset.digest:
        raise PermanentFailure(
            f"The training set at {dataset.uri} was changed since it was stored: its digest is not {dataset.digest[:12]}. "
            "Delete the object and materialize training_set again."
        )
    return pq.read_table(io.BytesIO(body))


# Model ---------------------------------------------------------------------------------------------------------------


def prepare(pipeline: Pipeline, dataset: StoredDataset) -> dict[str, str]:
    """The leak gate, then preprocessing.py as a processing job. Returns the prefix of each channel.

    Raises PermanentFailure naming the columns that leak, before any job runs.
    """
    project, config = pipeline.project, pipeline.project.config
    check_unchanged(project)
    _refuse_leaks(pipeline, dataset)
    prefix = pipeline.uri("runs", pipeline.run, "channels", dataset.digest)
    channels = {name: f"{prefix}/{name}" for name in config.dataset.channels}
    pipeline.platform.run_processing(preprocessing_spec(project, dataset.uri, channels), pipeline.log)
    return channels


def preprocessing_spec(project: ModelProject, dataset_uri: str, channels: Mapping[str, str]) -> ProcessingSpec:
    """preprocessing.py on a stored training set."""
    return ProcessingSpec(
        name=f"{project.aws_name}-preprocessing",
        source_dir=project.folder,
        script="preprocessing.py",
        inputs={"dataset": dataset_uri},
        outputs=channels,
        image=project.config.image,
        instance_type=project.config.instance_type,
    )


def _refuse_leaks(pipeline: Pipeline, dataset: StoredDataset) -> None:
    project, config = pipeline.project, pipeline.project.config
    rows = stored_rows(dataset, pipeline.objects)
    refuse_leaks(rows, config.dataset, most=config.gate.max_single_feature_score, project=project.name)


def training_spec(
    project: ModelProject, channels: Mapping[str, str], hyperparameters: Mapping[str, object], output_uri: str
) -> TrainingSpec:
    """train.py on every channel but `test`."""
    config = project.config
    return TrainingSpec(
        name=f"{project.aws_name}-train",
        source_dir=project.folder,
        inputs={name: uri for name, uri in channels.items() if name != TEST_CHANNEL},
        output_uri=output_uri,
        hyperparameters=hyperparameters,
        metrics={metric.name: metric.regex for metric in config.metrics if metric.regex},
        image=config.image,
        instance_type=config.instance_type,
    )


def train(
    pipeline: Pipeline, dataset: StoredDataset, hyperparameters: Mapping[str, object] | None = None
) -> TrainedModel:
    """preprocessing.py as a processing job, then train.py as a training job; the model is kept under its digest.

    `hyperparameters`: instead of those of config.yaml.
    """
    project = pipeline.project
    channels = prepare(pipeline, dataset)
    given = project.config.hyperparameters if hyperparameters is None else hyperparameters
    output = pipeline.uri("runs", pipeline.run, "training")
    trained = pipeline.platform.run_training(training_spec(project, channels, given, output), pipeline.log)
    body = pipeline.objects.get(trained.model_uri)
    digest = model_digest(body)
    # Kept by digest: a later run that trains the same model finds, and had somebody changed it mends, the same object.
    model_uri = pipeline.uri("models", digest, "model.tar.gz")
    pipeline.objects.put(model_uri, body)
    data_digest, test_uri = _keep_test_rows(pipeline, channels[TEST_CHANNEL])
    return TrainedModel(
        model_digest=digest,
        model_uri=model_uri,
        test_uri=test_uri,
        data_digest=data_digest,
        training_job=trained.job_name,
        code_digest=project.code_digest,
        metrics=dict(trained.metrics),
    )


def _keep_test_rows(pipeline: Pipeline, prefix: str) -> tuple[str, str]:
    """Digest of the test rows and the prefix under which they are kept by it."""
    bodies = {uri.removeprefix(f"{prefix}/"): pipeline.objects.get(uri) for uri in pipeline.objects.list(f"{prefix}/")}
    hasher = hashlib.sha256()
    for name in sorted(bodies):
        hasher.update(f"{name}\0{hashlib.sha256(bodies[name]).hexdigest()}\n".encode())
    digest = hasher.hexdigest()
    kept = pipeline.uri("test_rows", digest)
    for name, body in bodies.items():
        pipeline.objects.put(f"{kept}/{name}", body)
    return digest, kept


# Evaluation ----------------------------------------------------------------------------------------------------------


def evaluate(pipeline: Pipeline, trained: TrainedModel) -> Evaluation:
    """evaluation.py on the candidate and, where the gate compares, on the live model with the same test rows."""
    records = pipeline.records()
    live = current_release(records)
    live_report = None
    if live is not None and pipeline.project.policy.needs_live_report and live.model_digest != trained.model_digest:
        live_report = _evaluate_live(pipeline, live, trained, records)
    report, report_uri, requests_uri = _run_evaluation(pipeline, trained.model_digest, trained.model_uri, trained)
    if live is not None and live.data_digest != trained.data_digest:
        _evaluate_on_known_rows(pipeline, live, trained)
    if live is not None and live.model_digest == trained.model_digest:
        live_report = report
    verdict = _judged(pipeline, trained, report, live_report)
    return Evaluation(report, report_uri, requests_uri, live_report, verdict)


def _judged(
    pipeline: Pipeline, trained: TrainedModel, report: EvaluationReport, live: EvaluationReport | None
) -> Verdict:
    policy = pipeline.project.policy
    size = measured_size(policy, pipeline.objects, trained.model_uri)
    return judge(report, policy, live, size_bytes=size)


def recorded_evaluation(pipeline: Pipeline, trained: TrainedModel, requests_uri: str) -> Evaluation:
    """The newest recorded evaluation of a model on its test rows, read again and judged again.

    Raises GateRefusal where there is none, or where its report was changed since it was written.
    """
    records = pipeline.records()
    recorded = latest_evaluation(records, trained.model_digest, trained.data_digest)
    if recorded is None:
        name = pipeline.project.name
        raise GateRefusal(
            "gate", f"model {trained.model_digest[:12]} of {name} was not evaluated. Materialize {name}/evaluation."
        )
    report, live = recorded_reports(pipeline.project, recorded, records, pipeline.objects)
    verdict = _judged(pipeline, trained, report, live)
    return Evaluation(report, recorded.report_uri, requests_uri, live, verdict)


def _evaluate_live(
    pipeline: Pipeline, live: Release, trained: TrainedModel, records: Sequence[Any]
) -> EvaluationReport:
    recorded = latest_evaluation(records, live.model_digest, trained.data_digest)
    if recorded is not None and recorded.code_digest == pipeline.project.code_digest:
        report = intact_report(recorded, pipeline.objects)
        if report is not None:
            return report
    pipeline.log(f"Evaluating the live model {live.model_digest[:12]} on the same test rows.")
    return _run_evaluation(pipeline, live.model_digest, live.model_uri, trained)[0]


def _evaluate_on_known_rows(pipeline: Pipeline, live: Release, trained: TrainedModel) -> None:
    """The candidate on the test rows that live was judged on, where these are kept and it was not done before."""
    rows = pipeline.uri("test_rows", live.data_digest)
    done = latest_evaluation(pipeline.records(), trained.model_digest, live.data_digest)
    if done is None and any(pipeline.objects.list(f"{rows}/")):
        pipeline.log(f"Evaluating model {trained.model_digest[:12]} on the rows that the live model was judged on.")
        known = replace(trained, data_digest=live.data_digest, test_uri=rows)
        _run_evaluation(pipeline, trained.model_digest, trained.model_uri, known)


def _run_evaluation(
    pipeline: Pipeline, digest: str, model_uri: str, trained: TrainedModel
) -> tuple[EvaluationReport, str, str]:
    """Run the job, stamp what it wrote with the digests of the bytes it was given, keep it by digest, record it."""
    project = pipeline.project
    if model_digest(pipeline.objects.get(model_uri)) != digest:
        raise GateRefusal(
            "bytes_unchanged",
            f"the bytes at {model_uri} are not model {digest[:12]} of {project.name}. "
            f"Materialize {project.name}/model again.",
        )
    check_unchanged(project)
    output = pipeline.uri("runs", pipeline.run, "evaluation", digest, trained.data_digest)
    pipeline.platform.run_processing(evaluation_spec(project, model_uri, trained.test_uri, output), pipeline.log)
    report = _stamped(_written(pipeline, f"{output}/evaluation.json"), digest, trained.data_digest, project.name)
    report_uri = pipeline.uri("evaluations", digest, f"{report.digest}.json")
    pipeline.objects.put(report_uri, report.to_json())
    requests = _written(pipeline, f"{output}/requests.jsonl")
    requests_uri = pipeline.uri("requests", f"{hashlib.sha256(requests).hexdigest()}.jsonl")
    pipeline.objects.put(requests_uri, requests)
    record = Evaluated(
        project=project.name,
        model_digest=digest,
        data_digest=trained.data_digest,
        report_uri=report_uri,
        report_digest=report.digest,
        code_digest=project.code_digest,
        at=pipeline.clock(),
    )
    _append_if_new(pipeline.ledger, record, latest_evaluation(pipeline.records(), digest, trained.data_digest))
    return report, report_uri, requests_uri


def evaluation_spec(project: ModelProject, model_uri: str, test_uri: str, output_uri: str) -> ProcessingSpec:
    """evaluation.py on a model and test rows."""
    return ProcessingSpec(
        name=f"{project.aws_name}-evaluation",
        source_dir=project.folder,
        script="evaluation.py",
        inputs={"model": model_uri, "test": test_uri},
        outputs={"report": output_uri},
        # Given after the platform's own --output-dir, so that these count.
        arguments=(
            *("--model-dir", f"{CONTAINER}/input/model"),
            *("--test-dir", f"{CONTAINER}/input/test"),
            *("--output-dir", f"{CONTAINER}/output/report"),
        ),
        image=project.config.image,
        instance_type=project.config.instance_type,
    )


def _written(pipeline: Pipeline, uri: str) -> bytes:
    try:
        return pipeline.objects.get(uri)
    except FileNotFoundError as error:
        name = uri.rsplit("/", 1)[-1]
        raise LedgerlineError(
            f"evaluation.py of {pipeline.project.name} wrote no {name}. Let it write {name} to --output-dir."
        ) from error


def _stamped(body: bytes, digest: str, data_digest: str, project: str) -> EvaluationReport:
    try:
        written = json.loads(body)
        metrics, slices = written.pop("metrics"), written.pop("slices", {})
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise _no_report(project, f"it is no JSON object with `metrics` ({error!r})") from error
    _check_numbers(metrics, "metrics", project)
    for column, values in _mapping(slices, "slices", project).items():
        for value, measured in _mapping(values, f"slices.{column}", project).items():
            _check_numbers(measured, f"slices.{column}.{value}", project)
    return EvaluationReport(digest, data_digest, metrics, slices, details=written)


def _check_numbers(values: Any, place: str, project: str) -> None:
    for name, value in _mapping(values, place, project).items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _no_report(project, f"{place}.{name} is {value!r}, no number")


def _mapping(values: Any, place: str, project: str) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise _no_report(project, f"`{place}` is {type(values).__name__}, no object of names and values")
    return values


def _no_report(project: str, problem: str) -> LedgerlineError:
    return LedgerlineError(
        f"evaluation.json of {project}: {problem}. "
        'Let evaluation.py write {"metrics": {"accuracy": 0.9}, "slices": {"kind": {"a": {"rows": 40, "accuracy": 0.9}}}}.'
    )


# Candidate -----------------------------------------------------------------------------------------------------------


def register(pipeline: Pipeline, dataset: StoredDataset, trained: TrainedModel, evaluation: Evaluation) -> Candidate:
    """Register the model as a package and remember it as the newest candidate; approve it where the policy does.

    `dataset` is what it was trained on; the leak gate looks again, since config.yaml may have let more pass back then.
    A model that is the newest candidate already is not registered twice. An automatic approval never overrules a
    person: it is not given to a model that somebody rejected or withdrew.
    """
    _refuse_leaks(pipeline, dataset)
    project, records = pipeline.project, pipeline.records()
    newest = latest_candidate(records)
    package_arn = pipeline.platform.register(
        project.aws_name,
        trained.model_uri,
        model_digest=trained.model_digest,
        report_uri=evaluation.report_uri,
        metadata=_package_metadata(dataset, trained, evaluation),
        description=f"{project.name} {trained.model_digest[:12]}: {evaluation.verdict.summary}",
        image=project.config.image,
    )
    candidate = Candidate(
        project=project.name,
        model_digest=trained.model_digest,
        model_uri=trained.model_uri,
        package_arn=package_arn,
        report_uri=evaluation.report_uri,
        report_digest=evaluation.report.digest,
        data_digest=trained.data_digest,
        requests_uri=evaluation.requests_uri,
        policy_digest=project.policy.digest,
        dataset_table=dataset.table,
        dataset_version=dataset.version,
        dataset_digest=dataset.digest,
        training_job=trained.training_job,
        at=pipeline.clock(),
    )
    candidate = _append_if_new(pipeline.ledger, candidate, newest, ignored=("at", "training_job"))
    if project.policy.approval == "automatic" and evaluation.verdict.passed:
        _approve_automatically(pipeline, candidate, pipeline.records())
    return candidate


def _package_metadata(dataset: StoredDataset, trained: TrainedModel, evaluation: Evaluation) -> dict[str, str]:
    return {
        "report_digest": evaluation.report.digest,
        "data_digest": trained.data_digest,
        "code_digest": trained.code_digest,
        "dataset": f"{dataset.table}@{dataset.version}",
        "dataset_digest": dataset.digest,
        "verdict": "passed" if evaluation.verdict.passed else "failed",
    }


def _approve_automatically(pipeline: Pipeline, candidate: Candidate, records: Sequence[Any]) -> None:
    digest, decisions = candidate.model_digest, approvals(records)
    if any(decision.model_digest == digest and decision.decision != "approve" for decision in decisions):
        return
    if not decision_refusals(candidate, records, pipeline.project.policy, pipeline.clock()):
        return
    reason = "every rule of the gate passed"
    pipeline.ledger.append(
        Approval(
            project=candidate.project,
            model_digest=digest,
            report_digest=candidate.report_digest,
            policy_digest=candidate.policy_digest,
            decision="approve",
            approver=AUTOMATIC_APPROVER,
            reason=reason,
            at=pipeline.clock(),
        )
    )
    pipeline.platform.set_approval(candidate.package_arn, "Approved", reason)


def _append_if_new(ledger: ReleaseLedger, record: Any, newest: Any, ignored: tuple[str, ...] = ("at",)) -> Any:
    """Append a record unless the newest of its kind says the same; returns the one that is in the ledger."""
    excluded = set(ignored)
    if newest is not None and newest.model_dump(exclude=excluded) == record.model_dump(exclude=excluded):
        return newest
    ledger.append(record)
    return record


# QA ------------------------------------------------------------------------------------------------------------------


def put_on_qa(pipeline: Pipeline, candidate: Candidate) -> str:
    """Serve the candidate's artifact on the QA endpoint (a package would have to be approved); returns its config."""
    return pipeline.platform.deploy(
        pipeline.project.qa_endpoint,
        candidate.model_uri,
        model_digest=candidate.model_digest,
        instance_type=pipeline.project.config.serving.instance_type,
        image=pipeline.project.config.image,
        environment=pipeline.project.serving_environment,
    ).config_name


def compare(pipeline: Pipeline, candidate: Candidate) -> QaReport:
    """Send the same requests to QA and to live and record which bytes QA served, and how fast.

    The digest is the one that the QA endpoint itself gives with every answer; answers of two digests are refused. Times
    are those of a client that asks one after the other; the first answer is not timed.
    """
    requests = pipeline.objects.get(candidate.requests_uri).splitlines()[:QA_REQUESTS]
    records = pipeline.records()
    live = None if asleep(records) else current_release(records)
    served: set[str] = set()
    comparisons = []
    times: list[float] = []

    def ask(request: bytes) -> Answer:
        started = time.perf_counter()
        answer = pipeline.platform.invoke(pipeline.project.qa_endpoint, request)
        times.append(time.perf_counter() - started)
        served.add(answer.model_digest or "unknown")
        return answer

    for request in requests[:1]:
        ask(request)
    times.clear()
    for number, request in enumerate(requests):
        answer = ask(request)
        live_text = _text(pipeline.platform.invoke(live.endpoint, request)) if live else None
        comparisons.append(Comparison(number, _text(answer), live_text))
    if pipeline.project.policy.max_latency_p99_ms is not None:
        for number in range(LATENCY_REQUESTS - len(requests)) if requests else ():
            ask(requests[number % len(requests)])
    if len(served) != 1:
        raise LedgerlineError(
            f"The QA endpoint {pipeline.project.qa_endpoint} answered {len(requests)} requests with {len(served)} "
            f"different models ({', '.join(sorted(served)) or 'none'}). "
            f"Materialize {pipeline.project.name}/qa_endpoint again."
        )
    (digest,) = served
    record = QaServed(
        project=pipeline.project.name,
        endpoint=pipeline.project.qa_endpoint,
        model_digest=candidate.model_digest,
        served_digest=digest,
        requests=len(requests),
        p99_ms=percentile_99(times) * 1000,
        at=pipeline.clock(),
    )
    # A time is a new fact only where the gate asks for it: else the same model on QA again is the same row.
    ignored = ("at",) if pipeline.project.policy.max_latency_p99_ms is not None else ("at", "p99_ms")
    _append_if_new(pipeline.ledger, record, latest_qa(pipeline.records(), candidate.model_digest), ignored)
    return QaReport(digest, live.model_digest if live else None, tuple(comparisons), record.p99_ms or 0.0)


def _text(answer: Answer) -> str:
    """For people, and to be compared: other bytes give another text."""
    return answer.body.decode("utf-8", "backslashreplace")


def percentile_99(values: Sequence[float]) -> float:
    """The 99th percentile by nearest rank: a value that was measured."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]
