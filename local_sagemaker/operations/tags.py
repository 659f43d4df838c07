"""Tags of any resource: add, list, delete."""

from __future__ import annotations

from typing import Any

from local_sagemaker import processing, training, transform, tuning
from local_sagemaker.endpoints.supervisor import KIND as ENDPOINT
from local_sagemaker.errors import validation
from local_sagemaker.operations import endpoint_configs, model_packages, models
from local_sagemaker.platform import Platform

LIMIT = 50
_BY_NAME = {kind.kind for kind in (training.JOB, processing.JOB, transform.JOB, tuning.JOB)} | {
    models.KIND,
    endpoint_configs.KIND,
    ENDPOINT,
    model_packages.GROUP,
}


def add_tags(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    arn = request["ResourceArn"]
    _check(platform, arn)
    with platform.store.transaction():
        platform.store.set_tags(arn, request["Tags"])
        tags = platform.store.tags(arn)
        if len(tags) > LIMIT:
            raise validation(f"{arn} would have {len(tags)} tags; at most {LIMIT} are allowed.")
    return {"Tags": tags}


def list_tags(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    _check(platform, request["ResourceArn"])
    return {"Tags": platform.store.tags(request["ResourceArn"])}


def delete_tags(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    _check(platform, request["ResourceArn"])
    platform.store.remove_tags(request["ResourceArn"], request["TagKeys"])
    return {}


def _check(platform: Platform, arn: str) -> None:
    prefix = platform.arn("")
    kind, _, name = arn.removeprefix(prefix).partition("/")
    if kind == model_packages.PACKAGE:
        name = arn
    known = arn.startswith(prefix) and (kind in _BY_NAME or kind == model_packages.PACKAGE)
    if not known or platform.store.get(kind, name) is None:
        raise validation(f"Could not find resource with ARN {arn}.")


OPERATIONS = {"AddTags": add_tags, "ListTags": list_tags, "DeleteTags": delete_tags}
