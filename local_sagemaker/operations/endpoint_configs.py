"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from typing import Any

from local_sagemaker.errors import validation
from local_sagemaker.operations import common, data_path, models
from local_sagemaker.platform import Platform

KIND = "endpoint-config"


def create_endpoint_config(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    arn = platform.arn(f"endpoint-config/{name}")
    if "ExplainerConfig" in request:
        raise common.unsupported("ExplainerConfig", "leave it out.")
    data_path.check(request)
    variants = [{"InitialVariantWeight": 1.0, **variant} for variant in request["ProductionVariants"]]
    shadows = [{"InitialVariantWeight": 1.0, **variant} for variant in request.get("ShadowProductionVariants", [])]
    names = [variant["VariantName"] for variant in [*variants, *shadows]]
    if len(set(names)) != len(names):
        raise validation(f"Production variant names must be unique within an endpoint configuration: {names}.")
    if sum(variant["InitialVariantWeight"] for variant in variants) <= 0:
        raise validation("The weights of the production variants must not all be 0.")
    for variant in [*variants, *shadows]:
        if "ModelName" not in variant or "ServerlessConfig" in variant:
            raise common.unsupported(
                f"variant {variant['VariantName']} without a model or instances", "give ModelName and InstanceType."
            )
        common.get(platform, models.KIND, variant["ModelName"], models.missing(platform, variant["ModelName"]))
    body = {key: value for key, value in request.items() if key != "Tags"} | {
        "EndpointConfigArn": arn,
        "ProductionVariants": variants,
        "ShadowProductionVariants": shadows or None,
        "CreationTime": platform.now(),
    }
    duplicate = validation(f'Cannot create already existing endpoint configuration "{arn}".')
    common.create(platform, KIND, name, body, duplicate, request)
    return {"EndpointConfigArn": arn}


def describe_endpoint_config(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return get(platform, request["EndpointConfigName"])


def get(platform: Platform, name: str) -> dict[str, Any]:
    return common.get(platform, KIND, name, _missing(platform, name))


def list_endpoint_configs(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    rows, token = common.page((body for _, body in platform.store.all(KIND)), request, name="EndpointConfigName")
    members = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
    return {"EndpointConfigs": [common.pick(body, *members) for body in rows], **token}


def delete_endpoint_config(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    if not platform.store.delete(KIND, name):
        raise validation(_missing(platform, name))
    platform.store.remove_tags(platform.arn(f"endpoint-config/{name}"))
    return {}


def _missing(platform: Platform, name: str) -> str:
    return f'Could not find endpoint configuration "{platform.arn(f"endpoint-config/{name}")}".'


OPERATIONS = {
    "CreateEndpointConfig": create_endpoint_config,
    "DescribeEndpointConfig": describe_endpoint_config,
    "ListEndpointConfigs": list_endpoint_configs,
    "DeleteEndpointConfig": delete_endpoint_config,
}
