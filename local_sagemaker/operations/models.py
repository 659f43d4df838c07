"""Models: create, describe, list, delete; and what a model is served from (`container`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_sagemaker.errors import validation
from local_sagemaker.operations import common, model_packages
from local_sagemaker.platform import Platform

KIND = "model"


@dataclass(frozen=True, slots=True)
class Container:
    """What a worker needs of a model: the artifact's URI, the image's name and the environment."""

    model_data_url: str
    image: str
    environment: dict[str, str]


def create_model(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["ModelName"]
    arn = platform.arn(f"model/{name}")
    body = {key: value for key, value in request.items() if key != "Tags"} | {
        "ModelArn": arn,
        "CreationTime": platform.now(),
    }
    container(platform, body)
    duplicate = validation(f'Cannot create already existing model "{arn}".')
    common.create(platform, KIND, name, body, duplicate, request)
    return {"ModelArn": arn}


def container(platform: Platform, body: dict[str, Any]) -> Container:
    """The one container of a model. Raises ServiceError where it has none, or one that cannot be served."""
    containers = [body["PrimaryContainer"]] if "PrimaryContainer" in body else body.get("Containers", [])
    if len(containers) != 1:
        raise common.unsupported("a model of several containers or none", "give one PrimaryContainer.")
    definition = dict(containers[0])
    own = definition.get("Environment", {})
    if "ModelPackageName" in definition:
        package = model_packages.deployable(platform, definition["ModelPackageName"])
        definition = package["InferenceSpecification"]["Containers"][0]
    if definition.get("Mode", "SingleModel") != "SingleModel":
        raise common.unsupported("multi-model containers", "use Mode SingleModel.")
    if "ModelDataUrl" not in definition:
        raise common.unsupported("a model without ModelDataUrl", "give the s3:// URI of model.tar.gz.")
    common.check_uri(definition["ModelDataUrl"], "ModelDataUrl")
    environment = {**definition.get("Environment", {}), **own}
    return Container(definition["ModelDataUrl"], definition.get("Image", ""), environment)


def describe_model(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return common.get(platform, KIND, request["ModelName"], missing(platform, request["ModelName"]))


def list_models(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    rows, token = common.page((body for _, body in platform.store.all(KIND)), request, name="ModelName")
    return {"Models": [common.pick(body, "ModelName", "ModelArn", "CreationTime") for body in rows], **token}


def delete_model(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    if not platform.store.delete(KIND, request["ModelName"]):
        raise validation(missing(platform, request["ModelName"]))
    platform.store.remove_tags(platform.arn(f"model/{request['ModelName']}"))
    return {}


def missing(platform: Platform, name: str) -> str:
    return f'Could not find model "{platform.arn(f"model/{name}")}".'


OPERATIONS = {
    "CreateModel": create_model,
    "DescribeModel": describe_model,
    "ListModels": list_models,
    "DeleteModel": delete_model,
}
