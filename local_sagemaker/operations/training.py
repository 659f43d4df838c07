"""Training jobs: create, describe, list, stop. How one runs is in local_sagemaker/training.py."""

from __future__ import annotations

import re
from typing import Any

from local_sagemaker import training
from local_sagemaker.errors import validation
from local_sagemaker.operations import common
from local_sagemaker.platform import Platform

MISSING = "Requested resource not found."


def create_training_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    check(request)
    words = "Training job names must be unique within an AWS account and region, and a training job"
    return common.create_job(platform, training.JOB, request, words, **training.starting(request, platform.now()))


def check(request: dict[str, Any]) -> None:
    """Refuse what AWS refuses beyond the shapes, and what is not executed here."""
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None or "ResourceConfig" not in request:
        raise validation("AlgorithmSpecification and ResourceConfig are required for a training job.")
    if algorithm["TrainingInputMode"] != "File":
        raise common.unsupported(f"TrainingInputMode {algorithm['TrainingInputMode']}", "use File.")
    program = "sagemaker_program" in request.get("HyperParameters", {})
    if not program and "ContainerEntrypoint" not in algorithm:
        raise common.unsupported(
            "an image of its own",
            "give the hyperparameters sagemaker_program and sagemaker_submit_directory, or ContainerEntrypoint.",
        )
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise validation(f"The regex of metric {definition['Name']} is not valid: {error}.") from error
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(names)) != len(names) or any(name.strip(".") == "" for name in names):
        raise validation(f"InputDataConfig: channel names must be unique names of folders, not {names}.")
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source["S3DataType"] != "S3Prefix" or channel.get("InputMode", "File") != "File":
            raise common.unsupported(
                f"the data source of channel {channel['ChannelName']}", "use S3DataSource, S3Prefix and File."
            )
        common.check_uri(source["S3Uri"], f"InputDataConfig {channel['ChannelName']}")
    if request["ResourceConfig"].get("InstanceCount", 1) != 1:
        raise common.unsupported("more than one instance", "set InstanceCount to 1.")
    common.check_uri(request["OutputDataConfig"]["S3OutputPath"], "OutputDataConfig.S3OutputPath")


def describe_training_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return {"ModelArtifacts": {}, **common.get(platform, training.JOB.kind, request["TrainingJobName"], MISSING)}


def list_training_jobs(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    bodies = (body for _, body in platform.store.all(training.JOB.kind))
    rows, token = common.page(
        bodies, request, name="TrainingJobName", sort_by={"Status": "TrainingJobStatus"}, status="TrainingJobStatus"
    )
    members = (
        "TrainingJobName",
        "TrainingJobArn",
        "CreationTime",
        "TrainingEndTime",
        "LastModifiedTime",
        "TrainingJobStatus",
        "SecondaryStatus",
    )
    return {"TrainingJobSummaries": [common.pick(body, *members) for body in rows], **token}


def stop_training_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return common.stop_job(platform, training.JOB, request, MISSING)


OPERATIONS = {
    "CreateTrainingJob": create_training_job,
    "DescribeTrainingJob": describe_training_job,
    "ListTrainingJobs": list_training_jobs,
    "StopTrainingJob": stop_training_job,
}
