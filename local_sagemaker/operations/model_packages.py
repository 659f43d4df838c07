"""Model package groups and versioned packages with approval: create, describe, list, update, delete."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from local_sagemaker import ACCOUNT
from local_sagemaker.errors import ServiceError, conflict, validation
from local_sagemaker.operations import common
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

GROUP = "model-package-group"
PACKAGE = "model-package"
_TOKEN = "client-token"  # noqa: S105 - the kind of a stored row
_USER: dict[str, Any] = {"IamIdentity": {"Arn": f"arn:aws:iam::{ACCOUNT}:user/local", "PrincipalId": "local"}}


def create_group(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["ModelPackageGroupName"]
    arn = platform.arn(f"model-package-group/{name}")
    body = common.pick(request, "ModelPackageGroupName", "ModelPackageGroupDescription") | {
        "ModelPackageGroupArn": arn,
        "ModelPackageGroupStatus": "Completed",
        "CreationTime": platform.now(),
        "CreatedBy": _USER,
        "_versions": 0,
    }
    common.create(platform, GROUP, name, body, validation(f"Model Package Group already exists: {arn}"), request)
    return {"ModelPackageGroupArn": arn}


def describe_group(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return _group(platform, request["ModelPackageGroupName"])


def list_groups(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    bodies = (body for _, body in platform.store.all(GROUP))
    rows, token = common.page(bodies, request, name="ModelPackageGroupName")
    members = (
        "ModelPackageGroupName",
        "ModelPackageGroupArn",
        "ModelPackageGroupDescription",
        "CreationTime",
        "ModelPackageGroupStatus",
    )
    return {"ModelPackageGroupSummaryList": [common.pick(body, *members) for body in rows], **token}


def delete_group(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    with platform.store.transaction():
        group = _group(platform, request["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if any(body["ModelPackageGroupName"] == name for _, body in platform.store.all(PACKAGE)):
            raise conflict(
                f"Model Package Group {group['ModelPackageGroupArn']} has model packages; delete them first."
            )
        platform.store.delete(GROUP, name)
        platform.store.remove_tags(group["ModelPackageGroupArn"])
    return {}


def create_package(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    if "ModelPackageGroupName" not in request:
        raise common.unsupported("unversioned model packages", "give ModelPackageGroupName.")
    if "InferenceSpecification" not in request:
        raise common.unsupported(
            "a model package without InferenceSpecification", "give one with a container and ModelDataUrl."
        )
    for container in request["InferenceSpecification"]["Containers"]:
        if "ModelDataUrl" in container:
            common.check_uri(container["ModelDataUrl"], "ModelDataUrl")
    with platform.store.transaction():
        known = _replayed(platform, request)
        if known is not None:
            return {"ModelPackageArn": known}
        group_name = _group(platform, request["ModelPackageGroupName"])["ModelPackageGroupName"]
        with platform.store.edit(GROUP, group_name) as group:
            if group is None:
                raise RuntimeError("a group vanished inside its own transaction")
            group["_versions"] += 1
            version = group["_versions"]
        arn = platform.arn(f"model-package/{group_name}/{version}")
        kept = {key: value for key, value in request.items() if key not in ("Tags", "ClientToken", "ModelPackageName")}
        body = kept | {
            "ModelPackageGroupName": group_name,
            "ModelPackageName": group_name,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
            "CreationTime": platform.now(),
            "CreatedBy": _USER,
        }
        platform.store.create(PACKAGE, arn, body)
        platform.store.set_tags(arn, request.get("Tags", []))
        _remember(platform, request, arn)
    return {"ModelPackageArn": arn}


def describe_package(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return get(platform, request["ModelPackageName"])


def batch_describe_packages(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    members = (
        "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription", "CreationTime",
        "InferenceSpecification", "ModelPackageStatus", "ModelApprovalStatus",
    )  # fmt: skip
    found, errors = {}, {}
    for arn in request["ModelPackageArnList"]:
        try:
            found[arn] = common.pick(get(platform, arn), *members)
        except ServiceError as error:
            errors[arn] = {"ErrorCode": error.code, "ErrorResponse": str(error)}
    return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": errors}


def list_packages(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    group = request.get("ModelPackageGroupName")
    name = _group(platform, group)["ModelPackageGroupName"] if group else None
    approval = request.get("ModelApprovalStatus")

    def keep(body: Body) -> bool:
        return name in (None, body["ModelPackageGroupName"]) and approval in (None, body["ModelApprovalStatus"])

    bodies = (body for _, body in platform.store.all(PACKAGE))
    rows, token = common.page(bodies, request, name="ModelPackageArn", descending=False, keep=keep)
    members = (
        "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription", "CreationTime",
        "ModelPackageStatus", "ModelApprovalStatus",
    )  # fmt: skip
    return {"ModelPackageSummaryList": [common.pick(body, *members) for body in rows], **token}


def update_package(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    arn = request["ModelPackageArn"]
    with platform.store.edit(PACKAGE, arn) as body:
        if body is None:
            raise validation(f"ModelPackage {arn} does not exist.")
        body.update(common.pick(request, "ModelApprovalStatus", "ApprovalDescription", "SourceUri"))
        metadata = {**body.get("CustomerMetadataProperties", {}), **request.get("CustomerMetadataProperties", {})}
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            metadata.pop(key, None)
        if len(metadata) > 50:
            raise validation("CustomerMetadataProperties: a model package holds at most 50 of them; remove some.")
        body["CustomerMetadataProperties"] = metadata
        body["LastModifiedTime"] = platform.now()
        body["LastModifiedBy"] = _USER
    return {"ModelPackageArn": arn}


def delete_package(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    arn = get(platform, request["ModelPackageName"])["ModelPackageArn"]
    platform.store.delete(PACKAGE, arn)
    platform.store.remove_tags(arn)
    return {}


def get(platform: Platform, arn: str) -> Body:
    return common.get(platform, PACKAGE, arn, f"ModelPackage {arn} does not exist.")


def deployable(platform: Platform, arn: str) -> Body:
    """The package, if it may be deployed: a versioned one must be Approved (API reference, CreateModelPackage)."""
    body = get(platform, arn)
    status = body["ModelApprovalStatus"]
    if status != "Approved":
        raise validation(
            f"ModelPackage {arn} has the ModelApprovalStatus {status}; only an Approved version can be deployed."
        )
    return body


def _group(platform: Platform, name_or_arn: str) -> Body:
    name = name_or_arn.rsplit("/", 1)[-1]
    arn = platform.arn(f"model-package-group/{name}")
    return common.get(platform, GROUP, name, f"ModelPackageGroup {arn} does not exist.")


def _fingerprint(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _replayed(platform: Platform, request: dict[str, Any]) -> str | None:
    """The ARN that an earlier request with the same client token made; a different request with it is a conflict."""
    token = request.get("ClientToken")
    seen = platform.store.get(_TOKEN, token) if token else None
    if seen is None:
        return None
    if seen["fingerprint"] != _fingerprint(request):
        raise conflict("The ClientToken was used with other parameters; use a new one.")
    return seen["arn"]


def _remember(platform: Platform, request: dict[str, Any], arn: str) -> None:
    if "ClientToken" in request:
        platform.store.create(_TOKEN, request["ClientToken"], {"fingerprint": _fingerprint(request), "arn": arn})


OPERATIONS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "ListModelPackageGroups": list_groups,
    "DeleteModelPackageGroup": delete_group,
    "CreateModelPackage": create_package,
    "DescribeModelPackage": describe_package,
    "BatchDescribeModelPackage": batch_describe_packages,
    "ListModelPackages": list_packages,
    "UpdateModelPackage": update_package,
    "DeleteModelPackage": delete_package,
}
