"""Batch transform jobs: create, describe, list, stop. How one runs is in local_sagemaker/transform.py."""

from __future__ import annotations

from typing import Any

from local_sagemaker import transform
from local_sagemaker.errors import validation
from local_sagemaker.operations import common, models
from local_sagemaker.platform import Platform


def create_transform_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    _check(request)
    name = request["ModelName"]
    container = models.container(platform, common.get(platform, models.KIND, name, models.missing(platform, name)))
    # Kept with the job, so that it does not depend on a model that is deleted while it waits.
    model = {
        "model_data_url": container.model_data_url,
        "environment": container.environment | request.get("Environment", {}) | _own_environment(request),
    }
    return common.create_job(platform, transform.JOB, request, common.DUPLICATE, _model=model)


def _own_environment(request: dict[str, Any]) -> dict[str, str]:
    """Developer guide, "Use Your Own Inference Code with Batch Transform": what was not asked for is not set."""
    strategies = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}
    given = {
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": request.get("MaxPayloadInMB"),
        "SAGEMAKER_BATCH_STRATEGY": strategies.get(request.get("BatchStrategy", "")),
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": request.get("MaxConcurrentTransforms"),
    }
    return {"SAGEMAKER_BATCH": "true"} | {name: str(value) for name, value in given.items() if value is not None}


def _check(request: dict[str, Any]) -> None:
    """Refuse what AWS refuses beyond the shapes, and what is not executed here."""
    source, target = request["TransformInput"], request["TransformOutput"]
    if "DataCaptureConfig" in request:
        raise common.unsupported("DataCaptureConfig of a transform job", "leave it out.")
    if request["TransformResources"]["InstanceCount"] != 1:
        raise common.unsupported("more than one instance", "set InstanceCount to 1.")
    data = source["DataSource"]["S3DataSource"]
    if data["S3DataType"] != "S3Prefix":
        raise common.unsupported(f"S3DataType {data['S3DataType']}", "use S3Prefix.")
    split = source.get("SplitType", "None")
    if split not in ("None", "Line"):
        raise common.unsupported(f"SplitType {split}", "use Line or None.")
    common.check_uri(data["S3Uri"], "TransformInput")
    common.check_uri(target["S3OutputPath"], "TransformOutput.S3OutputPath")
    _check_payload(request)
    _check_processing(request)


def _check_payload(request: dict[str, Any]) -> None:
    payload, limit = request.get("MaxPayloadInMB", 6), transform.MAX_PAYLOAD_MB
    if payload == 0:
        raise common.unsupported("MaxPayloadInMB 0 (chunked requests)", f"give a size from 1 to {limit}.")
    concurrent = request.get("MaxConcurrentTransforms") or 1
    if payload * concurrent > limit:
        raise validation(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {payload * concurrent} MB; it cannot exceed {limit} MB."
        )


def _check_processing(request: dict[str, Any]) -> None:
    try:
        plan = transform.Plan.of(request)
    except ValueError as error:
        raise validation(f"DataProcessing: {error}") from error
    given = transform.media_type(plan.content_type)
    wanted = transform.media_type(plan.accept or plan.content_type)
    if plan.processes and (given not in transform.JOINABLE or wanted not in transform.JOINABLE):
        raise validation(
            f"DataProcessing needs a ContentType and an Accept of {', '.join(transform.JOINABLE)}, not "
            f"{plan.content_type!r} and {plan.accept!r}."
        )
    if plan.join and ("csv" in given) != ("csv" in wanted):
        raise validation(f"JoinSource Input needs ContentType and Accept of one kind, not {given} and {wanted}.")


def describe_transform_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TransformJobName"]
    body = common.get(platform, transform.JOB.kind, name, _missing(name))
    return {key: value for key, value in body.items() if key != "LastModifiedTime"}  # only the list has it


def list_transform_jobs(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    bodies = (body for _, body in platform.store.all(transform.JOB.kind))
    rows, token = common.page(
        bodies, request, name="TransformJobName", sort_by={"Status": "TransformJobStatus"}, status="TransformJobStatus"
    )
    members = (
        "TransformJobName", "TransformJobArn", "CreationTime", "TransformEndTime", "LastModifiedTime",
        "TransformJobStatus", "FailureReason",
    )  # fmt: skip
    return {"TransformJobSummaries": [common.pick(body, *members) for body in rows], **token}


def stop_transform_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return common.stop_job(platform, transform.JOB, request, _missing(request["TransformJobName"]))


def _missing(name: str) -> str:
    return f"Could not find requested job with name: {name}"


OPERATIONS = {
    "CreateTransformJob": create_transform_job,
    "DescribeTransformJob": describe_transform_job,
    "ListTransformJobs": list_transform_jobs,
    "StopTransformJob": stop_transform_job,
}
