"""What releases need of a model platform: jobs, a registry with approval, endpoints. See resources/sagemaker.py.

The words are SageMaker's, since one implementation serves the embedded server and AWS. Whether a model may be deployed
is not decided here: the gate asks for it in deploy.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from ledgerline.errors import LedgerlineError, PermanentFailure
from ledgerline.release.rollout import Rollout

ApprovalStatus = Literal["PendingManualApproval", "Approved", "Rejected"]
LogKind = Literal["processing", "training", "transform", "endpoint"]
QA_SUFFIX = "-qa"  # of the names of endpoints that may serve what nobody approved
OnLog = Callable[[str], None]  # gets every line of a job's log while the job runs


class JobFailed(PermanentFailure):
    """A job ended as Failed or Stopped for a reason of its own (script, data): a retry would end the same way."""


class PlatformFailure(LedgerlineError):
    """The platform did not do its part (killed server, time-out, throttling): a retry may mend it."""


class DeployFailed(PermanentFailure):
    """The endpoint does not serve what was asked for; what it served before it serves still."""


class ModelRefused(PermanentFailure):
    """The endpoint answered that the request, or the model, is wrong. `status` is the model's own HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProcessingSpec:
    """A script of a project's folder over objects.

    `inputs` and `outputs` map names to s3:// URIs (an input is one object or a prefix). Input `x` lies in the folder
    /opt/ml/processing/input/x, what the script writes to /opt/ml/processing/output/y is output `y`; the embedded server
    relocates these paths. `arguments` are passed as they are; without any, `--input-dir /opt/ml/processing/input
    --output-dir /opt/ml/processing/output` is.
    """

    name: str  # of the kind of job, e.g. "ticker-ranker-preprocessing"; the job's own name adds what makes it unique
    source_dir: Path
    script: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None  # the resource's own unless given
    instance_type: str = "ml.m5.large"
    max_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class ProcessingResult:
    job_name: str
    outputs: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """A training script of a project's folder. Channel `x` is at SM_CHANNEL_X, a hyperparameter as `--name value`.

    `metrics` maps names to regular expressions whose first group is the number in a line of the log. The model is
    written to `output_uri`/<job name>/output/model.tar.gz.
    """

    name: str
    source_dir: Path
    inputs: Mapping[str, str]
    output_uri: str
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    script: str = "train.py"
    environment: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    instance_type: str = "ml.m5.large"
    max_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`model_digest` is that of the bytes at `model_uri` (see digest.py); metrics are the last value of each."""

    job_name: str
    model_uri: str
    model_digest: str
    metrics: Mapping[str, float]
    seconds: float


Value = str | int | float  # of a hyperparameter


@dataclass(frozen=True, slots=True)
class TuningRange:
    """Where to look for one hyperparameter: `values`, or from `low` to `high` (whole numbers if both are)."""

    values: tuple[Value, ...] = ()
    low: int | float = 0
    high: int | float = 0
    logarithmic: bool = False

    def read(self, text: str) -> Value:
        """The value that the platform, which knows text only, gave back."""
        if self.values:
            return next((value for value in self.values if str(value) == text), text)
        return int(text) if isinstance(self.low, int) and isinstance(self.high, int) else float(text)


@dataclass(frozen=True, slots=True)
class TuningSpec:
    """A search: training jobs as `training` says, with hyperparameters out of `ranges`, judged by one of its metrics."""

    training: TrainingSpec
    metric: str
    maximize: bool
    ranges: Mapping[str, TuningRange]
    strategy: Literal["bayesian", "random", "grid"]
    trials: int
    parallel: int
    early_stopping: bool = False
    seed: int = 7  # the same search again


@dataclass(frozen=True, slots=True)
class Trial:
    """One training job of a search. `score` is None where it failed or printed no metric."""

    job_name: str
    status: str
    values: Mapping[str, Value]
    score: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class TuningResult:
    """`values` and `score` are those of the best trial; `trials` are in the order in which they began."""

    job_name: str
    values: Mapping[str, Value]
    score: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class TransformSpec:
    """A model over the objects below `input_uri`: every line is a JSON request of its own, every answer a line of
    `output_uri`/<name>.out, in the same order. The model's bytes are compared with `model_digest` first."""

    name: str
    model_uri: str
    model_digest: str
    input_uri: str
    output_uri: str
    image: str | None = None
    instance_type: str = "ml.m5.large"
    instance_count: int = 1
    max_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class TransformResult:
    job_name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A version in the registry."""

    arn: str
    version: int
    approval: ApprovalStatus
    approval_description: str
    model_uri: str
    image: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What the platform says of an endpoint. `model_digest`: of the artifact at `model_uri` now, None if it is gone."""

    name: str
    status: str
    config_name: str
    failure_reason: str | None
    model_uri: str | None
    package_arn: str | None
    model_digest: str | None
    changed_at: datetime | None = None  # aware; when the endpoint was made or updated last


@dataclass(frozen=True, slots=True)
class EndpointDeployment:
    """A deployment that succeeded: InService, with the config that was asked for, without a failure reason."""

    endpoint: str
    config_name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An endpoint's answer. `model_digest`: what the serving side says (embedded), else of its artifact (AWS)."""

    body: bytes
    content_type: str
    model_digest: str | None
    variant: str


class ModelPlatform(Protocol):
    """Trains, registers and serves models. Blocking calls; waiting has a time limit that the error names."""

    def run_processing(self, spec: ProcessingSpec, on_log: OnLog) -> ProcessingResult:
        """Run the job to its end. Raises JobFailed with the failure reason, PlatformFailure."""
        ...

    def run_training(self, spec: TrainingSpec, on_log: OnLog) -> TrainingResult:
        """Run the job to its end. Raises JobFailed with the failure reason, PlatformFailure."""
        ...

    def run_tuning(self, spec: TuningSpec, on_log: OnLog) -> TuningResult:
        """Search to its end. Raises JobFailed if no trial gave the metric, PlatformFailure."""
        ...

    def run_transform(self, spec: TransformSpec, on_log: OnLog) -> TransformResult:
        """Run the job to its end. Raises JobFailed with the failure reason, PermanentFailure (bytes), PlatformFailure."""
        ...

    def register(
        self,
        group: str,
        model_uri: str,
        *,
        model_digest: str,
        report_uri: str | None = None,
        metrics: Mapping[str, float] | None = None,
        metadata: Mapping[str, str] | None = None,
        description: str = "",
        image: str | None = None,
    ) -> str:
        """ARN of a version with this artifact, pending approval; the same call again gives the same version.

        The group is made if it is not there. Metrics and metadata become at most 50 properties of 256 characters.
        """
        ...

    def set_approval(self, package_arn: str, status: ApprovalStatus, description: str) -> None: ...

    def describe_package(self, package_arn: str) -> ModelPackage | None: ...

    def list_packages(self, group: str) -> list[ModelPackage]:
        """Versions of a group, newest first; empty if there is no such group."""
        ...

    def deploy(
        self,
        endpoint: str,
        model: str,
        *,
        model_digest: str | None = None,
        instance_type: str = "ml.m5.large",
        instance_count: int = 1,
        environment: Mapping[str, str] | None = None,
        image: str | None = None,
        capture_percent: int = 0,
        rollout: Rollout | None = None,
    ) -> EndpointDeployment:
        """Create or update an endpoint and wait. `model`: ARN of an approved package; for a QA endpoint (a name that
        ends with QA_SUFFIX) also the s3:// URI of a model, which nobody can approve.

        The artifact's bytes are compared first with the digest that the package was registered with, and with
        `model_digest`. `capture_percent` of requests and answers are kept in the object store. An update moves the
        traffic as `rollout` says, all of it at once without one; its alarms stay with the release, and the first
        release of an endpoint has none. Succeeds only if InService with the config asked for and no failure reason:
        boto3's waiter checks the first alone, and takes a silent rollback for success.
        Raises DeployFailed (the old release still answers), PermanentFailure (refused), PlatformFailure.
        """
        ...

    def invocations(self, endpoint: str, since: datetime) -> int:
        """How many requests the endpoint got since then; counted by the hour, so rather too many than too few."""
        ...

    def describe_endpoint(self, endpoint: str) -> EndpointState | None: ...

    def invoke(self, endpoint: str, body: bytes, content_type: str = "application/json") -> Answer:
        """Raises ModelRefused (the model answered 4xx or 5xx), PlatformFailure (nobody answered)."""
        ...

    def delete_endpoint(self, endpoint: str) -> None:
        """Remove the endpoint, if it is there, with the configs and models that were made for it."""
        ...

    def logs(self, kind: LogKind, name: str) -> list[str]:
        """Lines of a job's or endpoint's log, oldest first; empty if there is none."""
        ...
