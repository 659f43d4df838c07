"""Endpoints: create, describe, list, update, delete. How an update is done is in local_sagemaker/endpoints/."""

from __future__ import annotations

from typing import Any

from local_sagemaker.endpoints.alarms import KIND as ALARM
from local_sagemaker.endpoints.deployment import plan
from local_sagemaker.endpoints.supervisor import KIND
from local_sagemaker.errors import validation
from local_sagemaker.operations import common, endpoint_configs, models
from local_sagemaker.platform import Platform


def create_endpoint(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    arn = platform.arn(f"endpoint/{name}")
    release = _release(platform, request)
    now = platform.now()
    body = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": request["EndpointConfigName"],
        "EndpointStatus": "Creating",
        "LastDeploymentConfig": _deployment(platform, request, {}, release),
        "CreationTime": now,
        "LastModifiedTime": now,
        "_pending": release,
    }
    duplicate = validation(f'Cannot create already existing endpoint "{arn}".')
    common.create(platform, KIND, name, body, duplicate, request)
    platform.endpoints.begin(name)
    return {"EndpointArn": arn}


def update_endpoint(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    release = _release(platform, request)
    with platform.store.edit(KIND, name) as body:
        if body is None:
            raise validation(_missing(platform, name))
        if body["EndpointStatus"] not in ("InService", "UpdateRollbackFailed"):
            raise validation(
                f'Cannot update endpoint "{body["EndpointArn"]}" in state "{body["EndpointStatus"]}"; wait.'
            )
        if request.get("RetainAllVariantProperties"):
            _retain(request, body["_release"], release)
        deployment = _deployment(platform, request, body, release)
        body["EndpointStatus"] = "Updating"
        body["LastModifiedTime"] = platform.now()
        body["LastDeploymentConfig"] = deployment
        body["_pending"] = release
        body.pop("FailureReason", None)
    platform.endpoints.begin(name)
    return {"EndpointArn": platform.arn(f"endpoint/{name}")}


def _deployment(
    platform: Platform, request: dict[str, Any], body: dict[str, Any], release: dict[str, Any]
) -> dict[str, Any] | None:
    """The DeploymentConfig of a request, checked against the release and, in an update, against the one that serves.

    Raises ValidationException.
    """
    config = request.get("DeploymentConfig")
    if request.get("RetainDeploymentConfig"):
        if config is not None:
            raise validation("Give either DeploymentConfig or RetainDeploymentConfig, not both.")
        config = body.get("LastDeploymentConfig")
    how = plan(config, min(variant["instances"] for variant in release["variants"]))
    now, then = ({variant["name"] for variant in each["variants"]} for each in (body.get("_release", release), release))
    if how.guarded and now != then:
        raise validation(
            f"The variants of {release['config']} are {sorted(then)}, those of endpoint {body['EndpointName']} "
            f"{sorted(now)}; an update in steps, with a wait or with alarms needs the same names in both."
        )
    absent = [alarm for alarm in how.alarms if platform.store.get(ALARM, alarm) is None]
    if absent:
        raise validation(f"Could not find the alarms {absent} of AutoRollbackConfiguration; put them first.")
    return config


def _retain(request: dict[str, Any], served: dict[str, Any], release: dict[str, Any]) -> None:
    """Give variants that are served now their present weight and number of instances."""
    replaced = {item["VariantPropertyType"] for item in request.get("ExcludeRetainedVariantProperties", [])}
    present = {variant["name"]: variant for variant in served["variants"]}
    for variant in release["variants"]:
        for kind, member in (("DesiredWeight", "weight"), ("DesiredInstanceCount", "instances")):
            if kind not in replaced and variant["name"] in present:
                variant[member] = present[variant["name"]][member]


def update_endpoint_weights_and_capacities(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    """Weights count from the next request on; a number of instances is kept and shown, as that of a config is."""
    name = request["EndpointName"]
    desired = {item["VariantName"]: item for item in request["DesiredWeightsAndCapacities"]}
    if any("ServerlessUpdateConfig" in item for item in desired.values()):
        raise common.unsupported("ServerlessUpdateConfig", "leave it out.")
    with platform.store.edit(KIND, name) as body:
        if body is None:
            raise validation(_missing(platform, name))
        if body["EndpointStatus"] != "InService":
            raise validation(
                f'Cannot update endpoint "{body["EndpointArn"]}" in state "{body["EndpointStatus"]}"; wait.'
            )
        variants = {variant["name"]: variant for variant in body["_release"]["variants"]}
        unknown = sorted(set(desired) - set(variants))
        if unknown:
            raise validation(f"The variants {unknown} are not of endpoint {name}, which has {sorted(variants)}.")
        for variant_name, item in desired.items():
            variant = variants[variant_name]
            variant["weight"] = item.get("DesiredWeight", variant["weight"])
            variant["instances"] = item.get("DesiredInstanceCount", variant["instances"])
        if sum(variant["weight"] for variant in variants.values()) <= 0:
            raise validation("The weights of the production variants must not all be 0.")
        body["LastModifiedTime"] = platform.now()
        arn = body["EndpointArn"]
    platform.endpoints.reweigh(name, {variant["name"]: variant["weight"] for variant in variants.values()})
    return {"EndpointArn": arn}


def _release(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    """Everything that is needed to serve a configuration, so that a restart does not depend on models deleted since."""
    config = endpoint_configs.get(platform, request["EndpointConfigName"])
    variants = []
    for variant in config["ProductionVariants"]:
        model = common.get(platform, models.KIND, variant["ModelName"], models.missing(platform, variant["ModelName"]))
        container = models.container(platform, model)
        variants.append(
            {
                "name": variant["VariantName"],
                "weight": variant["InitialVariantWeight"],
                "instances": variant.get("InitialInstanceCount", 1),
                "startup_seconds": variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 480),
                "model_data_url": container.model_data_url,
                "image": container.image,
                "environment": container.environment,
            }
        )
    return {"config": request["EndpointConfigName"], "variants": variants}


def describe_endpoint(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    body = common.get(platform, KIND, name, _missing(platform, name))
    pending, release = body.get("_pending"), body.get("_release")
    if pending is not None:
        body["PendingDeploymentSummary"] = {
            "EndpointConfigName": pending["config"],
            "StartTime": body["LastModifiedTime"],
        }
    if release is None:
        return body
    total = sum(variant["weight"] for variant in release["variants"])
    variants = [
        {
            "VariantName": variant["name"],
            "DeployedImages": [{"SpecifiedImage": variant["image"], "ResolvedImage": variant["image"]}]
            if variant["image"]
            else [],
            "CurrentWeight": variant["weight"],
            "DesiredWeight": variant["weight"],
            "CurrentInstanceCount": variant["instances"],
            "DesiredInstanceCount": variant["instances"],
        }
        for variant in release["variants"]
        if total
    ]
    return {**body, "ProductionVariants": variants}


def list_endpoints(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    bodies = (body for _, body in platform.store.all(KIND))
    rows, token = common.page(
        bodies, request, name="EndpointName", sort_by={"Status": "EndpointStatus"}, status="EndpointStatus"
    )
    members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
    return {"Endpoints": [common.pick(body, *members) for body in rows], **token}


def delete_endpoint(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    with platform.store.edit(KIND, name) as body:
        if body is None:
            raise validation(_missing(platform, name))
        if body["EndpointStatus"] in ("Creating", "Updating"):
            raise validation(
                f'Cannot delete endpoint "{body["EndpointArn"]}" in state "{body["EndpointStatus"]}"; wait.'
            )
        body["EndpointStatus"] = "Deleting"
    platform.endpoints.delete(name)
    platform.store.remove_tags(platform.arn(f"endpoint/{name}"))
    return {}


def _missing(platform: Platform, name: str) -> str:
    return f'Could not find endpoint "{platform.arn(f"endpoint/{name}")}".'


OPERATIONS = {
    "CreateEndpoint": create_endpoint,
    "DescribeEndpoint": describe_endpoint,
    "ListEndpoints": list_endpoints,
    "UpdateEndpoint": update_endpoint,
    "UpdateEndpointWeightsAndCapacities": update_endpoint_weights_and_capacities,
    "DeleteEndpoint": delete_endpoint,
}
