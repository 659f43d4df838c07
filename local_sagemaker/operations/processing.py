"""Processing jobs: create, describe, list, stop. How one runs is in local_sagemaker/processing.py."""

from __future__ import annotations

import posixpath
from typing import Any

from local_sagemaker import processing
from local_sagemaker.errors import validation
from local_sagemaker.operations import common
from local_sagemaker.platform import Platform


def create_processing_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    _check(request)
    return common.create_job(platform, processing.JOB, request, common.DUPLICATE)


def _check(request: dict[str, Any]) -> None:
    """Refuse what AWS refuses beyond the shapes, and what is not executed here."""
    if "ContainerEntrypoint" not in request["AppSpecification"]:
        raise common.unsupported(
            "an image of its own", "give AppSpecification.ContainerEntrypoint, e.g. python3 and the script."
        )
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1:
        raise common.unsupported("more than one instance", "set InstanceCount to 1.")
    for item in request.get("ProcessingInputs", []):
        source = item.get("S3Input")
        if source is None or source["S3DataType"] != "S3Prefix" or "LocalPath" not in source:
            raise common.unsupported(
                f"the source of input {item['InputName']}", "use S3Input with S3Prefix and a LocalPath."
            )
        common.check_uri(source["S3Uri"], f"ProcessingInputs {item['InputName']}")
        _check_local_path(source["LocalPath"], item["InputName"])
    for output in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
        target = output.get("S3Output")
        if target is None or "LocalPath" not in target:
            raise common.unsupported(f"the target of output {output['OutputName']}", "use S3Output with a LocalPath.")
        common.check_uri(target["S3Uri"], f"Outputs {output['OutputName']}")
        _check_local_path(target["LocalPath"], output["OutputName"])


def _check_local_path(path: str, name: str) -> None:
    if not posixpath.normpath(path).startswith("/opt/ml/processing/") or ".." in path.split("/"):
        raise validation(
            f"LocalPath {path!r} of {name} is not below /opt/ml/processing/; choose e.g. /opt/ml/processing/{name}."
        )


def describe_processing_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["ProcessingJobName"]
    return common.get(platform, processing.JOB.kind, name, _missing(name))


def list_processing_jobs(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    bodies = (body for _, body in platform.store.all(processing.JOB.kind))
    rows, token = common.page(
        bodies,
        request,
        name="ProcessingJobName",
        sort_by={"Status": "ProcessingJobStatus"},
        status="ProcessingJobStatus",
    )
    members = (
        "ProcessingJobName", "ProcessingJobArn", "CreationTime", "ProcessingEndTime", "LastModifiedTime",
        "ProcessingJobStatus", "FailureReason", "ExitMessage",
    )  # fmt: skip
    return {"ProcessingJobSummaries": [common.pick(body, *members) for body in rows], **token}


def stop_processing_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return common.stop_job(platform, processing.JOB, request, _missing(request["ProcessingJobName"]))


def _missing(name: str) -> str:
    return f"Could not find requested job with name: {name}"


OPERATIONS = {
    "CreateProcessingJob": create_processing_job,
    "DescribeProcessingJob": describe_processing_job,
    "ListProcessingJobs": list_processing_jobs,
    "StopProcessingJob": stop_processing_job,
}
