"""The model platform on the SageMaker API: one boto3 code path for AWS and for the embedded server.

In the local environment `local_home` is set: the embedded server is started on demand and its endpoint and credentials
are used; nothing else differs. Implements `ledgerline.release.model_platform.ModelPlatform`.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
import math
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dagster import ConfigurableResource, ResourceDependency
from pydantic import PrivateAttr

from ledgerline.errors import ConfigurationError, PermanentFailure
from ledgerline.ports import ObjectStore
from ledgerline.release.digest import model_digest as digest_of_archive
from ledgerline.release.model_platform import (
    QA_SUFFIX,
    Answer,
    ApprovalStatus,
    DeployFailed,
    EndpointDeployment,
    EndpointState,
    JobFailed,
    LogKind,
    ModelPackage,
    ModelRefused,
    OnLog,
    PlatformFailure,
    ProcessingResult,
    ProcessingSpec,
    TrainingResult,
    TrainingSpec,
    TransformResult,
    TransformSpec,
    Trial,
    TuningRange,
    TuningResult,
    TuningSpec,
)
from ledgerline.release.releases import GateRefusal
from ledgerline.release.rollout import AlarmRule, Rollout

VARIANT = "AllTraffic"
LOCAL_IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/ledgerline:py3"  # never pulled: jobs run as subprocesses
LOCAL_ROLE = "arn:aws:iam::000000000000:role/ledgerline"
_LOG_GROUPS = {
    "processing": "/aws/sagemaker/ProcessingJobs",
    "training": "/aws/sagemaker/TrainingJobs",
    "transform": "/aws/sagemaker/TransformJobs",
}
_JOBS = {"processing": "ProcessingJob", "training": "TrainingJob", "transform": "TransformJob"}
_TUNING_NAME = 32  # AWS's limit for a tuning job's name, which begins the names of its training jobs
DRIFT_NAMESPACE = "Ledgerline/SageMaker"  # on AWS whoever measures the drift must publish it there
_COMPARISONS = {
    ">=": "GreaterThanOrEqualToThreshold",
    ">": "GreaterThanThreshold",
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
}
_DEFAULT_ARGUMENTS = ["--input-dir", "/opt/ml/processing/input", "--output-dir", "/opt/ml/processing/output"]
_SUFFIX_LENGTH = len("-MMDDhhmmss-abcdef")  # what makes a name unique
_NOT_SOURCE = {"__pycache__", "tests", ".git", ".ipynb_checkpoints"}


class _Seen(NamedTuple):
    """An artifact's digest, when it was hashed (monotonic seconds), and the object's stamp then."""

    stamp: str
    at: float
    digest: str


# By URI, for this process: Dagster makes the resource anew for every tick, and `release_drift` ticks every 30 s.
_SEEN_DIGESTS: dict[str, _Seen] = {}
_SEEN_SECONDS = 3600.0


class SageMaker(ConfigurableResource):
    """The platform. `prefix` begins every name that is made. Seconds are waited, then said."""

    object_store: ResourceDependency[ObjectStore]
    region: str = "us-east-1"
    prefix: str = "ledgerline-local"
    role_arn: str = LOCAL_ROLE
    image: str = LOCAL_IMAGE
    endpoint_url: str | None = None
    local_home: str | None = None
    local_object_root: str | None = None
    poll_seconds: float = 5.0
    deploy_seconds: float = 1800.0

    _clients: dict[str, Any] = PrivateAttr(default_factory=dict)
    _local_url: str | None = PrivateAttr(default=None)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Nothing is created: jobs and endpoints cost money."""
        yield "reach, sign, read"
        self.describe_endpoint(f"{self.prefix}-doctor")

    # Jobs ----------------------------------------------------------------------------------------------------------

    def run_processing(self, spec: ProcessingSpec, on_log: OnLog) -> ProcessingResult:
        """Run a processing job to its end."""
        name = self._unique(spec.name)
        with _api_errors(f"processing job {name}"):
            self._sagemaker().create_processing_job(ProcessingJobName=name, **self.processing_request(spec))
        described = self._wait_for_job("processing", name, spec.max_seconds, on_log)
        return ProcessingResult(name, dict(spec.outputs), _seconds(described, "Processing"))

    def processing_request(self, spec: ProcessingSpec) -> dict[str, Any]:
        """CreateProcessingJob as it is sent, but for the job's name. The project's files are stored for it."""
        code = self._upload_files(spec.source_dir)
        inputs = [_processing_input("code", code)] + [_processing_input(key, uri) for key, uri in spec.inputs.items()]
        return {
            "RoleArn": self.role_arn,
            "AppSpecification": {
                "ImageUri": spec.image or self.image,
                "ContainerEntrypoint": ["python3", f"/opt/ml/processing/input/code/{spec.script}"],
                "ContainerArguments": list(spec.arguments) or _DEFAULT_ARGUMENTS,
            },
            "Environment": dict(spec.environment),
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": [_processing_output(key, uri) for key, uri in spec.outputs.items()]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": spec.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30}
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_seconds},
        }  # fmt: skip

    def run_training(self, spec: TrainingSpec, on_log: OnLog) -> TrainingResult:
        """Run a training job to its end."""
        name = self._unique(spec.name)
        with _api_errors(f"training job {name}"):
            self._sagemaker().create_training_job(TrainingJobName=name, **self.training_request(spec))
        described = self._wait_for_job("training", name, spec.max_seconds, on_log)
        uri = described["ModelArtifacts"]["S3ModelArtifacts"]
        metrics = {item["MetricName"]: float(item["Value"]) for item in described.get("FinalMetricDataList", [])}
        return TrainingResult(name, uri, self._digest(uri), metrics, _seconds(described, "Training"))

    def training_request(self, spec: TrainingSpec) -> dict[str, Any]:
        """CreateTrainingJob as it is sent, but for the job's name. The project's files are stored for it."""
        definition = self._training_definition(spec)
        return {"HyperParameters": definition.pop("StaticHyperParameters"), **definition}

    def _training_definition(self, spec: TrainingSpec) -> dict[str, Any]:
        """What a training job and the trials of a tuning job have in common, as CreateHyperParameterTuningJob takes it."""
        hyperparameters = {key: _hyperparameter(value) for key, value in spec.hyperparameters.items()}
        hyperparameters |= {
            "sagemaker_program": spec.script,
            "sagemaker_submit_directory": self._upload_archive(spec.source_dir),
        }
        return {
            "RoleArn": self.role_arn,
            "StaticHyperParameters": hyperparameters,
            "AlgorithmSpecification": {
                "TrainingImage": spec.image or self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": key, "Regex": regex} for key, regex in spec.metrics.items()],
            },
            "InputDataConfig": [_channel(key, uri) for key, uri in spec.inputs.items()],
            "OutputDataConfig": {"S3OutputPath": spec.output_uri},
            "ResourceConfig": {"InstanceType": spec.instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_seconds},
            "Environment": dict(spec.environment),
        }

    def run_tuning(self, spec: TuningSpec, on_log: OnLog) -> TuningResult:
        """Run a tuning job to its end; every trial that ends is a line of the log."""
        name = self._unique(spec.training.name, _TUNING_NAME)
        with _api_errors(f"tuning job {name}"):
            self._sagemaker().create_hyper_parameter_tuning_job(
                HyperParameterTuningJobName=name, **self.tuning_request(spec)
            )
        described = self._wait_for_tuning(name, spec, on_log)
        best = described["BestTrainingJob"]
        return TuningResult(
            name,
            _read_values(best["TunedHyperParameters"], spec.ranges),
            float(best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]),
            self._trials(name, spec),
        )

    def tuning_request(self, spec: TuningSpec) -> dict[str, Any]:
        """CreateHyperParameterTuningJob as it is sent, but for the job's name. The project's files are stored for it."""
        definition = self._training_definition(spec.training)
        for key in spec.ranges:
            definition["StaticHyperParameters"].pop(key, None)  # AWS refuses a name that is also tuned
        limits = {"MaxParallelTrainingJobs": spec.parallel}
        if spec.strategy != "grid":  # a grid ends by itself: AWS refuses any other number
            limits["MaxNumberOfTrainingJobs"] = spec.trials
        config = {
            "Strategy": spec.strategy.capitalize(),
            "HyperParameterTuningJobObjective": {
                "Type": "Maximize" if spec.maximize else "Minimize",
                "MetricName": spec.metric,
            },
            "ResourceLimits": limits,
            "ParameterRanges": _parameter_ranges(spec.ranges),
            "TrainingJobEarlyStoppingType": "Auto" if spec.early_stopping else "Off",
            "RandomSeed": spec.seed,
        }
        return {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": definition}

    def _wait_for_tuning(self, name: str, spec: TuningSpec, on_log: OnLog) -> dict[str, Any]:
        """Log trials as they end. Raises JobFailed unless one of them is the best, PlatformFailure if it never ends."""
        client = self._sagemaker()
        seconds = spec.training.max_seconds * -(-spec.trials // spec.parallel) + self.deploy_seconds
        deadline = time.monotonic() + seconds
        wait, said = _Backoff(self._poll()), set[str]()
        while True:
            with _api_errors(f"tuning job {name}"):
                described = dict(client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name))
            status = described["HyperParameterTuningJobStatus"]
            for trial in self._trials(name, spec):
                if trial.status not in ("InProgress", "Stopping") and trial.job_name not in said:
                    said.add(trial.job_name)
                    values = ", ".join(f"{key}={value}" for key, value in sorted(trial.values.items()))
                    on_log(f"trial {len(said)}: {values} -> {spec.metric} {trial.score} ({trial.status})")
            if status not in ("InProgress", "Stopping"):
                break
            if time.monotonic() > deadline:
                raise PlatformFailure(
                    f"The tuning job {name} is {status} after {seconds:.0f} s: look at its trials, stop it, and "
                    "lower tuning.trials."
                )
            wait.sleep()
        if status == "Completed" and "BestTrainingJob" in described:
            return described
        reason = described.get("FailureReason", "no trial printed the metric")
        raise JobFailed(f"The tuning job {name} ended as {status}: {reason}\nCorrect train.py, and run it again.")

    def _trials(self, name: str, spec: TuningSpec) -> tuple[Trial, ...]:
        """The training jobs of a tuning job, in the order in which they began."""
        pages = self._sagemaker().get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        with _api_errors(f"trials of tuning job {name}"):
            found = [
                summary
                for page in pages.paginate(HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 100})
                for summary in page["TrainingJobSummaries"]
            ]
        found.sort(key=lambda summary: (summary["CreationTime"], summary["TrainingJobName"]))
        return tuple(
            Trial(
                summary["TrainingJobName"],
                summary["TrainingJobStatus"],
                _read_values(summary["TunedHyperParameters"], spec.ranges),
                _objective(summary),
                _seconds(summary, "Training"),
            )
            for summary in found
        )

    def run_transform(self, spec: TransformSpec, on_log: OnLog) -> TransformResult:
        """Run a batch transform job to its end with a model that is made for it and removed again."""
        self._check_bytes(spec.model_uri, spec.model_digest)
        name = self._unique(spec.name)
        source = {"S3DataType": "S3Prefix", "S3Uri": spec.input_uri}
        client = self._sagemaker()
        with _api_errors(f"transform job {name}"):
            client.create_model(
                ModelName=name,
                ExecutionRoleArn=self.role_arn,
                PrimaryContainer=self._container(spec.model_uri, None, spec.image),
            )
            try:
                client.create_transform_job(
                    TransformJobName=name,
                    ModelName=name,
                    BatchStrategy="SingleRecord",
                    TransformInput={
                        "DataSource": {"S3DataSource": source},
                        "ContentType": "application/json",
                        "SplitType": "Line",
                    },
                    TransformOutput={
                        "S3OutputPath": spec.output_uri,
                        "Accept": "application/json",
                        "AssembleWith": "Line",
                    },
                    TransformResources={"InstanceType": spec.instance_type, "InstanceCount": spec.instance_count},
                )
                described = self._wait_for_job("transform", name, spec.max_seconds, on_log)
            finally:
                client.delete_model(ModelName=name)
        return TransformResult(name, _seconds(described, "Transform"))

    def _wait_for_job(self, kind: LogKind, name: str, max_seconds: int, on_log: OnLog) -> dict[str, Any]:
        """Follow the job's log until it ends. Raises JobFailed with its reason, PlatformFailure if it never ends."""
        member = _JOBS[kind]
        describe = self._describer(kind)
        follow = _LogTail(self._client("logs"), _LOG_GROUPS[kind], name, on_log)
        deadline = time.monotonic() + max_seconds + self.deploy_seconds  # the queue and the start-up come on top
        wait = _Backoff(self._poll())
        while True:
            with _api_errors(f"{kind} job {name}"):
                described = describe(name)
            status = described[f"{member}Status"]
            follow.read()
            if status not in ("InProgress", "Stopping"):
                break
            if time.monotonic() > deadline:
                raise PlatformFailure(
                    f"The {kind} job {name} is {status} after {max_seconds + self.deploy_seconds:.0f} s: "
                    "look at its log, stop it, and raise max_seconds if it needs longer."
                )
            wait.sleep()
        if status == "Completed":
            return described
        reason = (
            described.get("FailureReason") or described.get("ExitMessage") or described.get("SecondaryStatus") or ""
        )
        message = (
            f"The {kind} job {name} ended as {status}: {reason}\nCorrect the script or its data, and run it again."
        )
        raise (PlatformFailure if reason.startswith("InternalServerError") else JobFailed)(message)

    def _describer(self, kind: LogKind) -> Any:
        member = _JOBS[kind]
        describe = getattr(self._sagemaker(), f"describe_{kind}_job")
        return lambda name: describe(**{f"{member}Name": name})

    # Registry ------------------------------------------------------------------------------------------------------

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
        """ARN of a version with this artifact, pending approval; the same call again gives the same version."""
        properties = {"model_digest": model_digest, **(metadata or {})}
        properties |= {f"metric.{name}": f"{value:.6g}" for name, value in (metrics or {}).items()}
        for package in self.list_packages(group):
            if package.model_uri == model_uri and dict(package.metadata) == properties:
                return package.arn
        text = description or f"model {model_digest[:12]}"
        request = self.package_request(group, model_uri, text, properties, report_uri=report_uri, image=image)
        with _api_errors(f"model package of {group}"):
            self._ensure_group(group)
            return str(self._sagemaker().create_model_package(**request)["ModelPackageArn"])

    def package_request(
        self,
        group: str,
        model_uri: str,
        description: str,
        properties: Mapping[str, str],
        *,
        report_uri: str | None = None,
        image: str | None = None,
    ) -> dict[str, Any]:
        """CreateModelPackage as it is sent: a version that waits for its approval."""
        container = {"Image": image or self.image, "ModelDataUrl": model_uri, "Environment": _serving_environment(None)}
        request: dict[str, Any] = {
            "ModelPackageGroupName": self._name(group),
            "ModelPackageDescription": description,
            "ModelApprovalStatus": "PendingManualApproval",
            "CustomerMetadataProperties": dict(properties),
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        }
        if report_uri is not None:
            statistics = {"ContentType": "application/json", "S3Uri": report_uri}
            request["ModelMetrics"] = {"ModelQuality": {"Statistics": statistics}}
        return request

    def set_approval(self, package_arn: str, status: ApprovalStatus, description: str) -> None:
        """Set the approval status of a version; the description is cut at AWS's 1024 characters."""
        with _api_errors(f"model package {package_arn}"):
            self._sagemaker().update_model_package(
                ModelPackageArn=package_arn, ModelApprovalStatus=status, ApprovalDescription=description[:1024]
            )

    def describe_package(self, package_arn: str) -> ModelPackage | None:
        """The version, or None if there is none."""
        described = self._described("describe_model_package", ModelPackageName=package_arn)
        return None if described is None else _package(described)

    def list_packages(self, group: str) -> list[ModelPackage]:
        """Versions of a group, newest first; empty if there is no such group."""
        name = self._name(group)
        if self._described("describe_model_package_group", ModelPackageGroupName=name) is None:
            return []
        pages = self._sagemaker().get_paginator("list_model_packages")
        with _api_errors(f"model packages of {group}"):
            arns = [
                summary["ModelPackageArn"]
                for page in pages.paginate(ModelPackageGroupName=name, PaginationConfig={"PageSize": 100})
                for summary in page["ModelPackageSummaryList"]
            ]
        packages = [package for arn in arns if (package := self.describe_package(arn)) is not None]
        return sorted(packages, key=lambda package: package.version, reverse=True)

    def _ensure_group(self, group: str) -> None:
        name = self._name(group)
        if self._described("describe_model_package_group", ModelPackageGroupName=name) is None:
            self._sagemaker().create_model_package_group(ModelPackageGroupName=name)

    # Endpoints -----------------------------------------------------------------------------------------------------

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
        """Create or update an endpoint and wait until it serves what was asked for."""
        started = time.monotonic()
        name = self._name(endpoint)
        self._check_allowed(name, model, model_digest)
        config = self._unique(endpoint)
        client = self._sagemaker()
        before = self._described("describe_endpoint", EndpointName=name)
        if before is not None and before["EndpointStatus"] == "Failed":
            self.delete_endpoint(endpoint)  # AWS refuses to update an endpoint that never served
            self._wait_until_gone(name)
            before = None
        with _api_errors(f"endpoint {name}"):
            client.create_model(
                ModelName=config,
                ExecutionRoleArn=self.role_arn,
                PrimaryContainer=self._container(model, environment, image),
            )
            try:
                client.create_endpoint_config(
                    EndpointConfigName=config,
                    ProductionVariants=[_variant(config, instance_type, instance_count)],
                    **self._capture(name, capture_percent),
                )
                if before is None:
                    client.create_endpoint(EndpointName=name, EndpointConfigName=config)
                else:
                    client.update_endpoint(
                        EndpointName=name, EndpointConfigName=config, **self._deployment(name, config, rollout)
                    )
            except Exception:
                self._remove_release(config)  # nothing half-made is left behind
                raise
        try:
            self._wait_for_endpoint(name, config, rollout.waiting_seconds if rollout else 0)
        except DeployFailed:
            self._remove_release(config)
            raise
        if before is not None and self._is_made_for(endpoint, before["EndpointConfigName"]):
            self._remove_release(before["EndpointConfigName"])
        return EndpointDeployment(name, config, time.monotonic() - started)

    def _deployment(self, name: str, config: str, rollout: Rollout | None) -> dict[str, Any]:
        """The member DeploymentConfig for a rollout; its alarms, on the new release's answers alone, are put first."""
        if rollout is None:
            return {}
        alarms = [_alarm(name, config, number, rule) for number, rule in enumerate(rollout.alarms, start=1)]
        for alarm in alarms:
            self._client("cloudwatch").put_metric_alarm(**alarm)
        return {"DeploymentConfig": _deployment(rollout, [str(alarm["AlarmName"]) for alarm in alarms])}

    def _wait_for_endpoint(self, name: str, config: str, baking_seconds: float) -> None:
        """Raises DeployFailed unless the endpoint is InService with this config and without a failure reason."""
        limit = self.deploy_seconds + baking_seconds
        deadline = time.monotonic() + limit
        wait = _Backoff(self._poll())
        while True:
            described = self._described("describe_endpoint", EndpointName=name)
            if described is None:
                raise DeployFailed(
                    f"Endpoint {name} was deleted while it was deployed: find out by whom, and deploy again."
                )
            status = described["EndpointStatus"]
            if status not in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
                break
            if time.monotonic() > deadline:
                raise PlatformFailure(
                    f"Endpoint {name} is {status} after {limit:.0f} s: look at its log, and deploy again."
                )
            wait.sleep()
        serving, reason = described["EndpointConfigName"], described.get("FailureReason")
        if (status, serving, reason) != ("InService", config, None):
            raise DeployFailed(
                f"Endpoint {name} is {status} with config {serving}, but {config} was asked for"
                f"{f': {reason}' if reason else '.'}\nLook at the endpoint's log, correct the model, and deploy again."
            )

    def describe_endpoint(self, endpoint: str) -> EndpointState | None:
        """What the platform says of the endpoint, with the digest of the artifact that its config names."""
        name = self._name(endpoint)
        described = self._described("describe_endpoint", EndpointName=name)
        if described is None:
            return None
        config = described["EndpointConfigName"]
        uri, package = self._served(config)
        return EndpointState(
            name=name,
            status=described["EndpointStatus"],
            config_name=config,
            failure_reason=described.get("FailureReason"),
            model_uri=uri,
            package_arn=package,
            model_digest=None if uri is None else self._seen_digest(uri),
            changed_at=described["LastModifiedTime"],
        )

    def invocations(self, endpoint: str, since: datetime) -> int:
        """The sum of CloudWatch's metric Invocations over whole hours, the one of `since` with them."""
        name, now = self._name(endpoint), datetime.now(timezone.utc)
        hours = max(1, math.ceil((now - since).total_seconds() / 3600))
        with _api_errors(f"metrics of endpoint {name}"):
            found = self._client("cloudwatch").get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName="Invocations",
                Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": VARIANT}],
                StartTime=since,
                EndTime=now,
                Period=3600 * math.ceil(hours / 1440),  # at most 1,440 points in an answer
                Statistics=["Sum"],
            )
        return round(sum(point["Sum"] for point in found["Datapoints"]))

    def invoke(self, endpoint: str, body: bytes, content_type: str = "application/json") -> Answer:
        """Ask the endpoint."""
        from botocore.exceptions import ClientError

        name = self._name(endpoint)
        try:
            with _transport_errors(f"endpoint {name}"):
                response = self._client("sagemaker-runtime").invoke_endpoint(
                    EndpointName=name, Body=body, ContentType=content_type, Accept="application/json"
                )
        except ClientError as error:
            status = int(error.response.get("OriginalStatusCode", 500))
            told = error.response.get("OriginalMessage", str(error))
            raise ModelRefused(
                f"Endpoint {name} answered {status}: {told}. Correct the request, or the model.", status
            ) from error
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        digest = headers.get("x-ledgerline-model-digest")
        if digest is None:
            state = self.describe_endpoint(endpoint)
            digest = state.model_digest if state is not None else None
        return Answer(
            response["Body"].read(), response.get("ContentType", ""), digest, response["InvokedProductionVariant"]
        )

    def delete_endpoint(self, endpoint: str) -> None:
        """Remove the endpoint, if it is there, with the config and model that were made for it."""
        name = self._name(endpoint)
        described = self._described("describe_endpoint", EndpointName=name)
        if described is None:
            return
        with _api_errors(f"endpoint {name}"):
            self._sagemaker().delete_endpoint(EndpointName=name)
        if self._is_made_for(endpoint, described["EndpointConfigName"]):
            self._remove_release(described["EndpointConfigName"])

    def remove_branch(self) -> int:
        """Remove everything of this prefix: endpoints, models, versions; how much."""
        from resources.sagemaker_removal import remove_all

        with _api_errors(f"removal of {self.prefix}"):
            return remove_all(self._sagemaker(), self.prefix)

    def logs(self, kind: LogKind, name: str) -> list[str]:
        """Lines of a job's or endpoint's log, oldest first."""
        lines: list[str] = []
        if kind == "endpoint":
            _LogTail(self._client("logs"), f"/aws/sagemaker/Endpoints/{self._name(name)}", "", lines.append).read()
        else:
            _LogTail(self._client("logs"), _LOG_GROUPS[kind], name, lines.append).read()
        return lines

    def _container(self, model: str, environment: Mapping[str, str] | None, image: str | None) -> dict[str, Any]:
        if model.startswith("s3://"):
            return {
                "Image": image or self.image,
                "ModelDataUrl": model,
                "Environment": _serving_environment(environment),
            }
        container: dict[str, Any] = {"ModelPackageName": model}
        if environment:
            container["Environment"] = dict(environment)
        return container

    def _check_allowed(self, name: str, model: str, expected: str | None) -> None:
        """Refuse what may not be deployed, before anything is created: whoever calls this, not the gate's code alone."""
        if model.startswith("s3://"):
            if not name.endswith(QA_SUFFIX):
                raise GateRefusal(
                    "approved",
                    f"{model} is an artifact, which nobody can approve, and {name} is no QA endpoint. Register the "
                    "model, have it approved, and deploy its package.",
                )
            self._check_bytes(model, expected)
            return
        package = self.describe_package(model)
        if package is None:
            raise GateRefusal("registered", f"the registry has no model package {model}. Register the model first.")
        if package.approval != "Approved":
            raise GateRefusal(
                "approved",
                f"model package {model} is {package.approval}, and only an Approved version can be deployed. "
                "Have it approved first.",
            )
        registered = package.metadata.get("model_digest")
        if registered is None or expected not in (None, registered):
            raise GateRefusal(
                "same_model",
                f"model package {model} was registered with digest {str(registered)[:12]}, not {str(expected)[:12]}. "
                "Materialize the model version again.",
            )
        self._check_bytes(package.model_uri, registered)

    def _check_bytes(self, uri: str, expected: str | None) -> None:
        found = self._digest(uri)
        if expected is not None and found != expected:
            raise GateRefusal(
                "bytes_unchanged",
                f"the model at {uri} has digest {found[:12]}, but {expected[:12]} was asked for: it was changed. "
                "Materialize the model again, and have it judged and approved.",
            )

    def _capture(self, name: str, percent: int) -> dict[str, Any]:
        if not percent:
            return {}
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": percent,
            "DestinationS3Uri": self.object_store.uri("sagemaker", "capture", name),
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        }
        return {"DataCaptureConfig": capture}

    def _is_made_for(self, endpoint: str, config: str) -> bool:
        """Whether `deploy` made this config for this endpoint: another's (QA's, put on live by hand) may be in use."""
        stem = _valid_name(self._name(endpoint), 63 - _SUFFIX_LENGTH)
        return re.fullmatch(rf"{re.escape(stem)}-\d{{10}}-[0-9a-f]{{6}}", config) is not None

    def _served(self, config: str) -> tuple[str | None, str | None]:
        """URI of the artifact and ARN of the package that an endpoint config names; None where it cannot be said."""
        described = self._described("describe_endpoint_config", EndpointConfigName=config)
        if described is None:
            return None, None
        model = self._described("describe_model", ModelName=described["ProductionVariants"][0]["ModelName"])
        if model is None:
            return None, None
        container = model.get("PrimaryContainer") or model["Containers"][0]
        arn = container.get("ModelPackageName")
        if arn is None:
            return container.get("ModelDataUrl"), None
        package = self.describe_package(arn)
        return (package.model_uri if package is not None else None), arn

    def _remove_release(self, config: str) -> None:
        """Delete the config, the model and the alarms of this name, where they are there."""
        client = self._sagemaker()
        with _api_errors(f"alarms of {config}"):
            cloudwatch = self._client("cloudwatch")
            alarms = cloudwatch.describe_alarms(AlarmNamePrefix=f"{config}-alarm-")["MetricAlarms"]
            if alarms:
                cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in alarms])
        with _api_errors(f"endpoint config {config}"):
            if self._described("describe_endpoint_config", EndpointConfigName=config) is not None:
                client.delete_endpoint_config(EndpointConfigName=config)
            if self._described("describe_model", ModelName=config) is not None:
                client.delete_model(ModelName=config)

    def _wait_until_gone(self, name: str) -> None:
        deadline = time.monotonic() + self.deploy_seconds
        wait = _Backoff(self._poll())
        while self._described("describe_endpoint", EndpointName=name) is not None:
            if time.monotonic() > deadline:
                raise PlatformFailure(
                    f"Endpoint {name} is still being deleted after {self.deploy_seconds:.0f} s: try again."
                )
            wait.sleep()

    # Objects -------------------------------------------------------------------------------------------------------

    def _upload_files(self, source_dir: Path) -> str:
        """Store the files of a project's folder under the digest of their content; returns the prefix."""
        from ledgerline.release.digest import files_digest

        files = _source_files(source_dir)
        prefix = self.object_store.uri("sagemaker", "code", files_digest(files), "files")
        for name, body in files.items():
            if not self.object_store.exists(f"{prefix}/{name}"):
                self.object_store.put(f"{prefix}/{name}", body)
        return prefix

    def _upload_archive(self, source_dir: Path) -> str:
        """Store sourcedir.tar.gz of a project's folder under the digest of its content; returns its URI."""
        from ledgerline.release.digest import files_digest, pack_files

        files = _source_files(source_dir)
        uri = self.object_store.uri("sagemaker", "code", files_digest(files), "sourcedir.tar.gz")
        if not self.object_store.exists(uri):
            self.object_store.put(uri, pack_files(files))
        return uri

    def _digest(self, uri: str) -> str:
        try:
            return digest_of_archive(self.object_store.get(uri))
        except FileNotFoundError as error:
            raise PermanentFailure(f"The model artifact {uri} is gone: materialize the model again.") from error

    def _seen_digest(self, uri: str) -> str | None:
        """`_digest` for who only looks: hashed again when size or stamp of the object changed, else once an hour.

        None for an artifact that was deleted or damaged after it was loaded: the endpoint may well serve.
        """
        stamp = next((stamp for found, stamp in self.object_store.list_stamped(uri) if found == uri), "")
        seen, now = _SEEN_DIGESTS.get(uri), time.monotonic()
        if seen is None or seen.stamp != stamp or now - seen.at > _SEEN_SECONDS:
            try:
                digest = self._digest(uri)
            except PermanentFailure:
                return None
            seen = _SEEN_DIGESTS[uri] = _Seen(stamp, now, digest)
        return seen.digest

    # Names and clients ---------------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        """A name under AWS's rules ([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}), with the environment's prefix."""
        if name.startswith(f"{self.prefix}-"):
            return name
        return _valid_name(f"{self.prefix}-{name}", 63)

    def _unique(self, name: str, limit: int = 63) -> str:
        """`_name` with the time and random digits, so that no two jobs or configs have one name."""
        suffix = f"{time.strftime('%m%d%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
        return f"{_valid_name(self._name(name), limit - _SUFFIX_LENGTH)}-{suffix}"

    def _sagemaker(self) -> Any:
        return self._client("sagemaker")

    def _poll(self) -> float:
        return 0.25 if self.local_home else self.poll_seconds

    def _client(self, service: str) -> Any:
        """A boto3 client, to AWS or to the embedded server, which is started if it does not run (any more)."""
        url, credentials = self._reach()
        if url != self._local_url:
            self._clients.clear()
            self._local_url = url
        if service not in self._clients:
            import boto3
            from botocore.config import Config
            from botocore.session import Session

            # What the user's shell says of AWS is not meant for the embedded server: neither a proxy nor a profile.
            no_profile = Session(session_vars={"profile": (None, None, None, None)}) if url else None
            config = Config(
                retries={"mode": "standard", "max_attempts": 5},
                read_timeout=70,
                connect_timeout=10,
                proxies={} if url else None,
            )
            session = boto3.session.Session(region_name=self.region, botocore_session=no_profile, **credentials)
            self._clients[service] = session.client(service, endpoint_url=url or self.endpoint_url, config=config)
        return self._clients[service]

    def _reach(self) -> tuple[str | None, dict[str, str]]:
        if self.local_home is None:
            return None, {}
        from local_sagemaker import daemon
        from local_sagemaker.errors import ServerError
        from local_sagemaker.home import default_object_root

        home = Path(self.local_home)
        root = self.local_object_root or default_object_root(home)
        try:
            daemon.start(home, object_root=root)
            found = daemon.environment(home)
        except ServerError as error:
            raise ConfigurationError(f"The embedded SageMaker cannot be used: {error}") from error
        return found["AWS_ENDPOINT_URL_SAGEMAKER"], {
            "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
        }

    def _described(self, operation: str, **request: str) -> dict[str, Any] | None:
        """The answer of a describe operation, or None where AWS says that there is no such thing."""
        from botocore.exceptions import ClientError

        try:
            with _transport_errors(", ".join(request.values())):
                return dict(getattr(self._sagemaker(), operation)(**request))
        except ClientError as error:
            code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            missing = re.search(r"(?i)could not find|does not exist|not found", message)
            if code == "ResourceNotFound" or (code == "ValidationException" and missing):
                return None
            raise


class _Backoff:
    """Waits between polls, ever longer up to `limit` seconds: short jobs are seen at once, long ones left alone."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seconds = min(0.05, limit)

    def sleep(self) -> None:
        time.sleep(self._seconds)
        self._seconds = min(self._limit, self._seconds * 1.5)


class _LogTail:
    """Reads what is new in the streams of a group whose names begin with a job's name; the group may come later."""

    def __init__(self, client: Any, group: str, job: str, on_log: OnLog) -> None:
        self._client = client
        self._group = group
        self._prefix = f"{job}/" if job else ""
        self._on_log = on_log
        self._tokens: dict[str, str] = {}

    def read(self) -> None:
        """Hand every new line to `on_log`, stream by stream."""
        from botocore.exceptions import ClientError

        try:
            request = {"logStreamNamePrefix": self._prefix} if self._prefix else {}
            pages = self._client.get_paginator("describe_log_streams").paginate(logGroupName=self._group, **request)
            names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
            for name in names:
                self._read_stream(name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise

    def _read_stream(self, name: str) -> None:
        while True:
            token = {"nextToken": self._tokens[name]} if name in self._tokens else {}
            page = self._client.get_log_events(
                logGroupName=self._group, logStreamName=name, startFromHead=True, **token
            )
            for event in page["events"]:
                self._on_log(event["message"])
            if page["nextForwardToken"] == self._tokens.get(name):
                return
            self._tokens[name] = page["nextForwardToken"]


@contextmanager
def _api_errors(what: str) -> Iterator[None]:
    """`_transport_errors`, and what SageMaker refuses becomes PermanentFailure with its words."""
    from botocore.exceptions import ClientError

    try:
        with _transport_errors(what):
            yield
    except ClientError as error:
        told = error.response["Error"].get("Message", str(error)).rstrip(".")
        raise PermanentFailure(f"SageMaker refuses the {what}: {told}. Correct the request.") from error


@contextmanager
def _transport_errors(what: str) -> Iterator[None]:
    """Lost connections, throttling and limits become PlatformFailure, refused credentials ConfigurationError."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        yield
    except (NoCredentialsError, NoRegionError) as error:
        raise ConfigurationError(
            f"AWS cannot be asked about the {what}: {error}. Set credentials and AWS_DEFAULT_REGION."
        ) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in ("ThrottlingException", "ResourceLimitExceeded", "ServiceUnavailable") or status >= 500:
            raise PlatformFailure(f"SageMaker could not serve the {what}: {error}. Try again.") from error
        if code.startswith(
            ("AccessDenied", "Unrecognized", "InvalidSignature", "ExpiredToken", "MissingAuthentication")
        ):
            raise ConfigurationError(
                f"SageMaker refuses these credentials for the {what}: {error}. Correct them."
            ) from error
        raise
    except BotoCoreError as error:
        raise PlatformFailure(f"SageMaker did not answer about the {what}: {error}. Try again.") from error


def _processing_input(name: str, uri: str) -> dict[str, Any]:
    source = {
        "S3Uri": uri,
        "LocalPath": f"/opt/ml/processing/input/{name}",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    return {"InputName": name, "S3Input": source}


def _processing_output(name: str, uri: str) -> dict[str, Any]:
    target = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": target}


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def _variant(model: str, instance_type: str, instance_count: int) -> dict[str, Any]:
    return {
        "VariantName": VARIANT,
        "ModelName": model,
        "InstanceType": instance_type,
        "InitialInstanceCount": instance_count,
        "InitialVariantWeight": 1.0,
    }


def _deployment(rollout: Rollout, alarms: list[str]) -> dict[str, Any]:
    """A rollout as SageMaker's DeploymentConfig."""
    wait = rollout.interval_seconds
    size = {"Type": "CAPACITY_PERCENT", "Value": rollout.percent}
    config: dict[str, Any]
    if rollout.kind == "rolling":
        config = {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait}}
    else:
        routing: dict[str, Any] = {"Type": rollout.kind.upper(), "WaitIntervalInSeconds": wait}
        member = {"canary": "CanarySize", "linear": "LinearStepSize"}.get(rollout.kind)
        if member is not None:
            routing[member] = size
        config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": alarm} for alarm in alarms]}
    return config


def _alarm(endpoint: str, config: str, number: int, rule: AlarmRule) -> dict[str, Any]:
    """The request for one alarm on the answers of the release with this config."""
    of = {"EndpointName": endpoint, "VariantName": VARIANT, "EndpointConfigName": config}
    return {
        "AlarmName": f"{config}-alarm-{number}",
        "AlarmDescription": f"Takes endpoint {endpoint} back from this release.",
        "Namespace": DRIFT_NAMESPACE if rule.metric == "PredictionDrift" else "AWS/SageMaker",
        "MetricName": rule.metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in of.items()],
        "ExtendedStatistic" if rule.statistic.startswith("p") else "Statistic": rule.statistic,
        "Period": rule.period_seconds,
        "EvaluationPeriods": rule.evaluation_periods,
        "Threshold": rule.threshold,
        "ComparisonOperator": _COMPARISONS[rule.comparison],
        "TreatMissingData": "notBreaching",  # a canary that nobody asked yet is not a bad one
    }


def _serving_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    return {"SAGEMAKER_PROGRAM": "inference.py", **(environment or {})}


def _parameter_ranges(ranges: Mapping[str, TuningRange]) -> dict[str, list[dict[str, Any]]]:
    """Ranges as the API takes them: everything is text."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, one in ranges.items():
        if one.values:
            found.setdefault("CategoricalParameterRanges", []).append(
                {"Name": name, "Values": [str(value) for value in one.values]}
            )
            continue
        whole = isinstance(one.low, int) and isinstance(one.high, int)
        found.setdefault("IntegerParameterRanges" if whole else "ContinuousParameterRanges", []).append(
            {
                "Name": name,
                "MinValue": str(one.low),
                "MaxValue": str(one.high),
                "ScalingType": "Logarithmic" if one.logarithmic else "Linear",
            }
        )
    return found


def _read_values(values: Mapping[str, str], ranges: Mapping[str, TuningRange]) -> dict[str, str | int | float]:
    return {name: ranges[name].read(text) for name, text in values.items() if name in ranges}


def _objective(summary: Mapping[str, Any]) -> float | None:
    found = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
    return float(found["Value"]) if found else None


def _hyperparameter(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _package(described: dict[str, Any]) -> ModelPackage:
    container = described["InferenceSpecification"]["Containers"][0]
    return ModelPackage(
        arn=described["ModelPackageArn"],
        version=int(described["ModelPackageVersion"]),
        approval=described["ModelApprovalStatus"],
        approval_description=described.get("ApprovalDescription", ""),
        model_uri=container["ModelDataUrl"],
        image=container.get("Image", ""),
        metadata=described.get("CustomerMetadataProperties", {}),
    )


def _seconds(described: dict[str, Any], kind: str) -> float:
    start, end = described.get(f"{kind}StartTime"), described.get(f"{kind}EndTime")
    return (end - start).total_seconds() if start and end else 0.0


def _valid_name(name: str, limit: int) -> str:
    cleaned = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:limit].rstrip("-")
    if not cleaned:
        raise PermanentFailure(f"{name!r} cannot be made a name of SageMaker: use letters, digits and hyphens.")
    return cleaned


def _source_files(folder: Path) -> dict[str, bytes]:
    """Relative posix name -> content of a project's files, without caches, tests and hidden files."""
    if not folder.is_dir():
        raise PermanentFailure(f"The project folder {folder} does not exist: correct its name.")
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part in _NOT_SOURCE or part.startswith(".") for part in parts):
            files["/".join(parts)] = path.read_bytes()
    return files
