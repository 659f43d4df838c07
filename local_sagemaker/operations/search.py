"""Search over the resources of a family: filters on any property, combined with And and Or."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_sagemaker import protocol, training, tuning
from local_sagemaker.endpoints.supervisor import KIND as ENDPOINT
from local_sagemaker.errors import validation
from local_sagemaker.operations import common, model_packages
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

_KINDS = {
    "TrainingJob": training.JOB.kind,
    "HyperParameterTuningJob": tuning.JOB.kind,
    "ModelPackage": model_packages.PACKAGE,
    "ModelPackageGroup": model_packages.GROUP,
    "Endpoint": ENDPOINT,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda found, value: found == value,
    "NotEquals": lambda found, value: found != value,
    "GreaterThan": lambda found, value: found > value,
    "GreaterThanOrEqualTo": lambda found, value: found >= value,
    "LessThan": lambda found, value: found < value,
    "LessThanOrEqualTo": lambda found, value: found <= value,
}


def search(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    resource = request["Resource"]
    for member in ("CrossAccountFilterOption", "VisibilityConditions"):
        if member in request:
            raise common.unsupported(f"{member} in Search", "leave it out.")
    if resource not in _KINDS:
        raise common.unsupported(f"Search of {resource}", f"search one of {', '.join(_KINDS)}.")
    members = protocol.service("sagemaker").shape_for("SearchRecord").members[resource].members
    by = request.get("SortBy", "LastModifiedTime")
    found = []
    for _, body in platform.store.all(_KINDS[resource]):
        record = common.pick(body, *members) | {"Tags": platform.store.tags(body[f"{resource}Arn"])}
        if _matches(record, request.get("SearchExpression", {})):
            found.append(record | {"_by": str(_property(record, by) or "")})
    rows, token = common.page(
        found, {**request, "SortBy": by}, name=f"{resource}Arn", sort_by={by: "_by", "Name": f"{resource}Name"}
    )
    return {"Results": [{resource: common.pick(row, *members)} for row in rows], **token}


def _matches(record: Body, expression: dict[str, Any]) -> bool:
    if "NestedFilters" in expression:
        raise common.unsupported("NestedFilters in Search", "use Filters and SubExpressions.")
    found = [_passes(record, item) for item in expression.get("Filters", [])]
    found += [_matches(record, item) for item in expression.get("SubExpressions", [])]
    return any(found) if expression.get("Operator") == "Or" and found else all(found)


def _passes(record: Body, item: dict[str, str]) -> bool:
    """Whether a property is there and is what the filter says; times and numbers are compared as such."""
    operator = item.get("Operator", "Equals")
    found = _property(record, item["Name"])
    if operator in ("Exists", "NotExists"):
        return (found is None) == (operator == "NotExists")
    if "Value" not in item:
        raise validation(f"The filter on {item['Name']} needs a Value for the operator {operator}.")
    if found is None:
        return operator == "NotEquals"
    if operator == "Contains":
        return item["Value"].lower() in str(found).lower()
    if operator == "In":
        return str(found) in item["Value"].split(",")
    return _COMPARISONS[operator](found, _as(found, item))


def _as(found: Any, item: dict[str, str]) -> Any:
    """The filter's value in the type of the property."""
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return item["Value"]
    try:
        return common.seconds(item["Value"], 0.0) if item["Name"].endswith("Time") else float(item["Value"])
    except ValueError as error:
        raise validation(f"{item['Value']!r} is no number, which {item['Name']} is.") from error


def _property(record: Body, path: str) -> Any:
    """E.g. TrainingJobName, HyperParameters.eta, Tags.owner or Metrics.auc; None where there is none."""
    head, _, rest = path.partition(".")
    if head == "Tags":
        return next((tag["Value"] for tag in record["Tags"] if tag["Key"] == rest), None)
    if head == "Metrics":
        found = record.get("FinalMetricDataList", [])
        return next((item["Value"] for item in found if item["MetricName"] == rest), None)
    value = record.get(head)
    if not rest:
        return value
    return _property({"Tags": [], **value}, rest) if isinstance(value, dict) else None


OPERATIONS = {"Search": search}
