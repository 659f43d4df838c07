"""Shadow variants, data capture and asynchronous inference in an endpoint's configuration: checked, and described."""

from __future__ import annotations

from typing import Any

from local_sagemaker.errors import ServiceError, validation
from local_sagemaker.operations import common


def check(request: dict[str, Any]) -> None:
    """Refuse what CreateEndpointConfig refuses in these members, and what is not executed here."""
    shadows = request.get("ShadowProductionVariants", [])
    if shadows and (len(shadows) > 1 or len(request["ProductionVariants"]) > 1):
        raise validation("A shadow variant needs exactly one production variant and one shadow variant; leave one out.")
    if shadows and "AsyncInferenceConfig" in request:
        raise validation("Shadow variants are not supported with AsyncInferenceConfig; leave one of the two out.")
    if "DataCaptureConfig" in request:
        _check_capture(request["DataCaptureConfig"])
    if "AsyncInferenceConfig" in request:
        _check_asynchronous(request["AsyncInferenceConfig"])


def _check_capture(config: dict[str, Any]) -> None:
    if "KmsKeyId" in config:
        raise common.unsupported("DataCaptureConfig.KmsKeyId", "leave it out.")
    common.check_uri(config["DestinationS3Uri"], "DataCaptureConfig.DestinationS3Uri")


def _check_asynchronous(config: dict[str, Any]) -> None:
    output = config["OutputConfig"]
    for member in ("KmsKeyId", "NotificationConfig"):
        if member in output:
            raise common.unsupported(f"AsyncInferenceConfig.OutputConfig.{member}", "leave it out.")
    if not output.get("S3OutputPath"):
        raise validation("AsyncInferenceConfig.OutputConfig has no S3OutputPath; give the place for the results.")
    for member in ("S3OutputPath", "S3FailurePath"):
        if output.get(member):
            common.check_uri(output[member], f"AsyncInferenceConfig.OutputConfig.{member}")


def options(config: dict[str, Any], *, shadow: bool) -> dict[str, Any]:
    """What a variant of a release keeps of the configuration; endpoints/options.py reads it."""
    capture = config.get("DataCaptureConfig", {})
    return {
        "shadow": shadow,
        "capture": capture if capture.get("EnableCapture", bool(capture)) else None,
        "asynchronous": config.get("AsyncInferenceConfig"),
    }


def described(variants: list[dict[str, Any]]) -> dict[str, Any]:
    """The members DataCaptureConfig and AsyncInferenceConfig of DescribeEndpoint, from the variants of its release."""
    found = variants[0].get("options", {})
    capture, asynchronous = found.get("capture"), found.get("asynchronous")
    members: dict[str, Any] = {"AsyncInferenceConfig": asynchronous}
    if capture:
        members["DataCaptureConfig"] = {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": "",
        }
    return members


def is_shadow(variant: dict[str, Any]) -> bool:
    return bool(variant.get("options", {}).get("shadow"))


def async_endpoint(name: str) -> ServiceError:
    return ServiceError("ValidationError", f"Endpoint {name} is asynchronous; use InvokeEndpointAsync.")
