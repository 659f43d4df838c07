"""The operations, one module per resource family. `ALL` maps a target prefix to its service and its operations by name.

An operation is a function (platform, request) -> response, both plain dicts in the shape of botocore's model. To add
one, write the function and name it in its module's `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local_sagemaker.operations import (
    alarms,
    endpoint_configs,
    endpoints,
    log_events,
    model_packages,
    models,
    processing,
    search,
    tags,
    training,
    transform,
    tuning,
)
from local_sagemaker.platform import Platform

Operation = Callable[[Platform, dict[str, Any]], dict[str, Any]]

SAGEMAKER: dict[str, Operation] = {
    **training.OPERATIONS,
    **processing.OPERATIONS,
    **transform.OPERATIONS,
    **tuning.OPERATIONS,
    **models.OPERATIONS,
    **endpoint_configs.OPERATIONS,
    **endpoints.OPERATIONS,
    **model_packages.OPERATIONS,
    **tags.OPERATIONS,
    **search.OPERATIONS,
}

# target prefix of X-Amz-Target -> (botocore's name of the service, its operations)
ALL: dict[str, tuple[str, Mapping[str, Operation]]] = {
    "SageMaker": ("sagemaker", SAGEMAKER),
    "Logs_20140328": ("logs", log_events.OPERATIONS),
    "GraniteServiceVersion20100801": ("cloudwatch", alarms.OPERATIONS),
}
