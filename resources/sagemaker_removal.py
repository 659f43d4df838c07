"""Removes all that lives in SageMaker under a prefix: what a branch deployment leaves when its branch is gone.

Endpoints first, because they cost by the hour. Jobs that ended cannot be deleted and cost nothing; running ones are
stopped. What is made, and under which names, is in `sagemaker.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# operation that lists, its list, the name in an item, operation that removes, its argument. In this order: an endpoint
# uses a config, which names models; a group has to be empty.
_THINGS = (
    ("list_endpoints", "Endpoints", "EndpointName", "delete_endpoint", "EndpointName"),
    ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "delete_endpoint_config", "EndpointConfigName"),
    ("list_models", "Models", "ModelName", "delete_model", "ModelName"),
)
_JOBS = (
    ("list_training_jobs", "TrainingJobSummaries", "TrainingJobName", "stop_training_job", "TrainingJobName"),
    ("list_processing_jobs", "ProcessingJobSummaries", "ProcessingJobName", "stop_processing_job", "ProcessingJobName"),
    ("list_transform_jobs", "TransformJobSummaries", "TransformJobName", "stop_transform_job", "TransformJobName"),
    (
        "list_hyper_parameter_tuning_jobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJobName",
        "stop_hyper_parameter_tuning_job",
        "HyperParameterTuningJobName",
    ),
)


def remove_all(client: Any, prefix: str) -> int:
    """Remove what has a name that begins with `<prefix>-`; returns how much. What is gone already is no error."""
    removed = 0
    for listing, items, name, stop, argument in _JOBS:
        for one in list(_names(client, listing, items, name, prefix, StatusEquals="InProgress")):
            removed += _done(client, stop, {argument: one})
    for listing, items, name, delete, argument in _THINGS:
        for one in list(_names(client, listing, items, name, prefix)):
            removed += _done(client, delete, {argument: one})
    groups = "ModelPackageGroupSummaryList"
    for group in list(_names(client, "list_model_package_groups", groups, "ModelPackageGroupName", prefix)):
        pages = client.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        for arn in [one["ModelPackageArn"] for page in pages for one in page["ModelPackageSummaryList"]]:
            removed += _done(client, "delete_model_package", {"ModelPackageName": arn})
        removed += _done(client, "delete_model_package_group", {"ModelPackageGroupName": group})
    return removed


def _names(client: Any, listing: str, items: str, name: str, prefix: str, **request: Any) -> Iterator[str]:
    """NameContains finds the prefix anywhere in a name: another environment's names may hold it, too."""
    for page in client.get_paginator(listing).paginate(NameContains=prefix, **request):
        yield from (item[name] for item in page[items] if item[name].startswith(f"{prefix}-"))


def _done(client: Any, operation: str, request: dict[str, str]) -> int:
    """1, or 0 where somebody else removed the thing meanwhile."""
    from botocore.exceptions import ClientError

    try:
        getattr(client, operation)(**request)
    except ClientError as error:
        told = error.response["Error"]
        gone = ("could not find", "does not exist", "not found")
        if told["Code"] == "ResourceNotFound" or any(words in told.get("Message", "").lower() for words in gone):
            return 0
        raise
    return 1
