"""A model project as the definition of a SageMaker Pipeline: the same jobs, run by SageMaker instead of Dagster.

Needs the extra `sagemaker-sdk`. Nothing is sent to AWS: the definition is text (version 2020-12-01), and the requests in
it are those of resources/sagemaker.py, with pipeline variables where a run of ours has URIs. What a pipeline cannot judge
is said and left out. Starting one, and putting live what it registers, do not belong here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import ModelProject
from ledgerline.projects.pipeline import evaluation_spec, preprocessing_spec, training_spec
from ledgerline.projects.sections import TEST_CHANNEL
from ledgerline.projects.tuning import tuning_spec
from ledgerline.release.gate import GateRule
from resources.environment import kept_variables
from resources.sagemaker import SageMaker

_JSON_PATH_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_TEXT = 1024  # AWS's limit for the description of a model package


@dataclass(frozen=True, slots=True)
class PipelineExport:
    """`definition`: JSON, as CreatePipeline takes it. `not_exported`: what of the gate and the release is not in it."""

    name: str
    definition: str
    not_exported: tuple[str, ...]


def export_pipeline(project: ModelProject, platform: SageMaker) -> PipelineExport:
    """The pipeline of a project; its files are stored where `platform` has its objects, under their digest.

    Raises ConfigurationError where the SDK is not installed, or where the gate has no rule that a pipeline can judge.
    """
    judged = [rule for rule in project.policy.rules if _is_exported(rule)]
    if not judged:
        raise ConfigurationError(
            f"A pipeline can judge no rule of the gate of {project.name}, so it would register everything. Add one with "
            "at_least or at_most to gate.rules in config.yaml."
        )
    sdk, left_out = _sdk(platform.region), tuple(_not_exported(project))
    parameters, steps = _steps(sdk, project, platform, judged, left_out)
    pipeline = sdk.Pipeline(
        name=f"{platform.prefix}-{project.aws_name}",
        parameters=parameters,
        steps=steps,
        sagemaker_session=_NoSession(platform.region),
        pipeline_experiment_config=None,
    )
    definition = json.dumps(json.loads(pipeline.definition()), indent=2)
    return PipelineExport(pipeline.name, definition, left_out)


def _is_exported(rule: GateRule) -> bool:
    absolute = rule.comparison in ("at_least", "at_most") and rule.by is None
    return absolute and _JSON_PATH_NAME.fullmatch(rule.metric) is not None


def _not_exported(project: ModelProject) -> Iterator[str]:
    """What the platform asks of a model and a pipeline does not."""
    config, policy = project.config, project.policy
    for rule in policy.rules:
        if rule.comparison == "not_worse_than_live_by":
            yield f"{rule.text} (needs the live model)"
        elif rule.by is not None:
            yield f"{rule.text} (a pipeline does not know the values of {rule.by})"
        elif not _is_exported(rule):
            yield f"{rule.text} (no JSON path leads to a metric of that name)"
    measured = {
        "max_calibration_error": policy.max_calibration_error,
        "max_size_mb": policy.max_size_mb,
        "max_latency_p99_ms": policy.max_latency_p99_ms,
    }
    for name, limit in measured.items():
        if limit is not None:
            yield f"gate.{name} {limit:g} (measured by the platform)"
    if config.dataset.label_column or config.dataset.available:
        yield "the leak gate before training"
    if config.approval == "automatic":
        yield "approval: automatic (what a pipeline registers waits for a person)"
    if config.batch_transform:
        yield "batch_transform"
    yield "triggers and schedule, the QA endpoint, approvals and the way to live"


def _steps(
    sdk: Any, project: ModelProject, platform: SageMaker, judged: list[GateRule], left_out: tuple[str, ...]
) -> tuple[list[Any], list[Any]]:
    config = project.config
    group = platform.package_request(project.aws_name, "", "", {})["ModelPackageGroupName"]
    root = platform.object_store.uri("projects", project.name, "pipeline")
    dataset = sdk.ParameterString(name="DatasetUri")
    output = sdk.ParameterString(name="OutputUri", default_value=root)
    role = sdk.ParameterString(name="RoleArn", default_value=platform.role_arn)
    image = sdk.ParameterString(name="ImageUri", default_value=config.image or platform.image)
    instance = sdk.ParameterString(name="InstanceType", default_value=config.instance_type)
    packages = sdk.ParameterString(name="ModelPackageGroupName", default_value=group)
    ours = {"image": image, "instance_type": instance}

    def below(*parts: str) -> Any:
        """A prefix of this execution's own."""
        return sdk.Join(on="/", values=[output, sdk.ExecutionVariables.PIPELINE_EXECUTION_ID, *parts])

    def job(kind: str, name: str, request: dict[str, Any], **more: Any) -> Any:
        return sdk.RequestStep(name, kind, {**request, "RoleArn": role}, **more)

    channels = {name: below("channels", name) for name in config.dataset.channels}
    prepared = job(
        "PROCESSING",
        "Preprocess",
        platform.processing_request(replace(preprocessing_spec(project, dataset, channels), **ours)),
    )
    written = prepared.properties.ProcessingOutputConfig.Outputs
    training = replace(
        training_spec(
            project,
            {name: written[name].S3Output.S3Uri for name in channels},
            config.hyperparameters,
            below("training"),
        ),
        **ours,
    )
    request = platform.training_request(training)
    steps = [prepared]
    if config.tuning is not None:
        search = platform.tuning_request(tuning_spec(project, config.tuning, training))
        search["TrainingJobDefinition"]["RoleArn"] = role
        tuned = sdk.RequestStep("Tune", "TUNING", search)
        found = tuned.properties.BestTrainingJob.TunedHyperParameters
        request["HyperParameters"] |= {name: found[name] for name in config.tuning.ranges}
        steps.append(tuned)
    trained = job("TRAINING", "Train", request)
    model = trained.properties.ModelArtifacts.S3ModelArtifacts
    report = sdk.PropertyFile(name="Evaluation", output_name="report", path="evaluation.json")
    evaluation = evaluation_spec(project, model, written[TEST_CHANNEL].S3Output.S3Uri, below("evaluation"))
    evaluated = job(
        "PROCESSING",
        "Evaluate",
        platform.processing_request(replace(evaluation, **ours)),
        property_files=[report],
    )
    measured = evaluated.properties.ProcessingOutputConfig.Outputs["report"].S3Output.S3Uri
    report_uri = sdk.Join(on="/", values=[measured, "evaluation.json"])
    asked = "; ".join(rule.text for rule in judged)
    registered = platform.package_request(
        project.aws_name,
        model,
        f"{project.name} by a pipeline. Judged: {asked}. Not judged: {'; '.join(left_out)}."[:_LONGEST_TEXT],
        {"code_digest": project.code_digest, "policy_digest": project.policy.digest},
        report_uri=report_uri,
        image=image,
    )
    gate = sdk.ConditionStep(
        name="Gate",
        conditions=[_condition(sdk, rule, report) for rule in judged],
        if_steps=[sdk.RequestStep("Register", "REGISTER_MODEL", {**registered, "ModelPackageGroupName": packages})],
        else_steps=[
            sdk.FailStep(
                name="Refuse",
                error_message=sdk.Join(
                    on="", values=[f"The gate of {project.name} asks: {asked}. Measured: ", report_uri]
                ),
            )
        ],
    )
    return [dataset, output, role, image, instance, packages], [*steps, trained, evaluated, gate]


def _condition(sdk: Any, rule: GateRule, report: Any) -> Any:
    made = sdk.ConditionGreaterThanOrEqualTo if rule.comparison == "at_least" else sdk.ConditionLessThanOrEqualTo
    value = sdk.JsonGet(step_name="Evaluate", property_file=report, json_path=f"metrics.{rule.metric}")
    return made(left=value, right=rule.threshold)


# The SDK -------------------------------------------------------------------------------------------------------------


class _NoSession:
    """What `Pipeline` reads of a session while it is written; the SDK's own would ask AWS who it is."""

    def __init__(self, region: str) -> None:
        import boto3

        self.boto_session = boto3.session.Session(region_name=region)
        self.boto_region_name = region


def _sdk(region: str) -> Any:
    """The parts of the SDK that are used (importing it takes seconds), and the step that they lack."""
    with kept_variables("AWS_DEFAULT_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", region)  # the SDK makes clients while it is imported
        try:
            from sagemaker.core.workflow import conditions, execution_variables, functions, parameters, properties
            from sagemaker.mlops.workflow import condition_step, fail_step, pipeline
            from sagemaker.mlops.workflow import steps as sdk_steps
        except ImportError as error:
            raise ConfigurationError(
                f"A pipeline cannot be exported without the SageMaker SDK ({error}). Install it: "
                "pip install -e '.[sagemaker-sdk]' -c constraints.txt"
            ) from error

    shapes = {
        "PROCESSING": "DescribeProcessingJobResponse",
        "TRAINING": "DescribeTrainingJobResponse",
        "TUNING": "DescribeHyperParameterTuningJobResponse",
        "REGISTER_MODEL": "DescribeModelPackageOutput",
    }

    class RequestStep(sdk_steps.Step):
        """A step with a request of ours: the SDK's take theirs from its own estimators only."""

        def __init__(self, name: str, kind: str, request: dict[str, Any], property_files: Any = ()) -> None:
            super().__init__(name, step_type=sdk_steps.StepTypeEnum[kind])
            self._request = request
            self._property_files = property_files
            self._properties = properties.Properties(step_name=name, step=self, shape_name=shapes[kind])

        @property
        def arguments(self) -> dict[str, Any]:
            return self._request

        @property
        def properties(self) -> Any:
            return self._properties

        def to_request(self) -> dict[str, Any]:
            files = [file.expr for file in self._property_files]
            return {**super().to_request(), **({"PropertyFiles": files} if files else {})}

    return SimpleNamespace(
        RequestStep=RequestStep,
        Pipeline=pipeline.Pipeline,
        ConditionStep=condition_step.ConditionStep,
        FailStep=fail_step.FailStep,
        ConditionGreaterThanOrEqualTo=conditions.ConditionGreaterThanOrEqualTo,
        ConditionLessThanOrEqualTo=conditions.ConditionLessThanOrEqualTo,
        ExecutionVariables=execution_variables.ExecutionVariables,
        Join=functions.Join,
        JsonGet=functions.JsonGet,
        ParameterString=parameters.ParameterString,
        PropertyFile=properties.PropertyFile,
    )
