"""CloudWatch as guardrails need it: alarms over the metrics of endpoints, and reads of these metrics.

How an alarm is evaluated is in local_sagemaker/endpoints/alarms.py. Source of the rules: CloudWatch API reference.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from local_sagemaker import ACCOUNT
from local_sagemaker.endpoints.alarms import KIND, OPERATORS, set_state
from local_sagemaker.endpoints.hours import HOUR
from local_sagemaker.endpoints.hours import KEPT_SECONDS as HOURS_KEPT_SECONDS
from local_sagemaker.endpoints.metrics import KEPT_SECONDS, NAMESPACE, UNITS, Distribution
from local_sagemaker.errors import ServiceError
from local_sagemaker.operations import common
from local_sagemaker.platform import Platform

PAGE = 50  # DescribeAlarms' default
DATAPOINTS = 1440  # of one GetMetricStatistics
_REQUIRED = ("MetricName", "Namespace", "Period", "EvaluationPeriods", "Threshold", "ComparisonOperator")
_UNSUPPORTED = (
    "Metrics", "ThresholdMetricId", "EvaluationWindow", "WarmUpConfiguration", "EvaluationCriteria",
    "EvaluationInterval", "ActionConfiguration", "OKActions", "AlarmActions", "InsufficientDataActions", "Tags",
)  # fmt: skip
_PERCENTILE = re.compile(r"p(\d{1,2}(\.\d{1,10})?|100)")
_DAY = 86_400
_HELD_SECONDS = 60  # at most, for a state that was set by hand


def put_metric_alarm(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    """Store an alarm; one of the name that is there is replaced, but keeps its state."""
    _check(request)
    name, now = request["AlarmName"], platform.now()
    body = {
        "ActionsEnabled": True,
        **request,
        "AlarmArn": f"arn:aws:cloudwatch:{platform.region}:{ACCOUNT}:alarm:{name}",
        "AlarmConfigurationUpdatedTimestamp": now,
    }
    with platform.store.transaction():
        before = platform.store.get(KIND, name)
        if before is None:
            set_state(body, "INSUFFICIENT_DATA", "Unchecked: Initial alarm creation", now)
        else:
            body |= {member: value for member, value in before.items() if member.startswith("State")}
        platform.store.delete(KIND, name)
        platform.store.create(KIND, name, body)
    return {}


def _check(request: dict[str, Any]) -> None:
    for member in _UNSUPPORTED:
        if request.get(member):
            raise _invalid(f"local_sagemaker does not execute {member} of an alarm; leave it out.")
    for member in _REQUIRED:
        if member not in request:
            raise _error("MissingParameter", f"The parameter {member} is required for an alarm on one metric.")
    if ("Statistic" in request) == ("ExtendedStatistic" in request):
        raise _error("InvalidParameterCombination", "Give either Statistic or ExtendedStatistic, and only one of them.")
    _check_percentile(request.get("ExtendedStatistic", "p50"))
    if request["ComparisonOperator"] not in OPERATORS:
        raise _invalid(
            f"local_sagemaker does not detect anomalies ({request['ComparisonOperator']}); use {', '.join(OPERATORS)}."
        )
    period, periods = request["Period"], request["EvaluationPeriods"]
    if period not in (10, 20, 30) and period % 60:
        raise _invalid(f"Period is {period}; valid are 10, 20, 30 and any multiple of 60.")
    if period * periods > (_DAY if period < 3600 else 7 * _DAY):
        raise _invalid("Period multiplied by EvaluationPeriods is longer than a day (a week from 3600 s on).")
    if period * periods > KEPT_SECONDS:
        raise _invalid(f"local_sagemaker keeps metrics for {KEPT_SECONDS} s; choose a shorter Period or fewer of them.")
    if request.get("DatapointsToAlarm", 1) > periods:
        raise _invalid("DatapointsToAlarm must not be larger than EvaluationPeriods.")
    _one_of(request, "TreatMissingData", "breaching", "notBreaching", "ignore", "missing")
    _one_of(request, "EvaluateLowSampleCountPercentile", "evaluate", "ignore")
    _dimensions(request)


def _check_percentile(statistic: str) -> None:
    if not _PERCENTILE.fullmatch(statistic):
        raise _invalid(f"ExtendedStatistic is {statistic!r}; local_sagemaker has percentiles from p0 to p100.")


def _one_of(request: dict[str, Any], member: str, *values: str) -> None:
    if request.get(member, values[0]) not in values:
        raise _invalid(f"{member} is {request[member]!r}; valid are {', '.join(values)}.")


def _dimensions(request: dict[str, Any]) -> dict[str, str]:
    dimensions = {item["Name"]: item["Value"] for item in request.get("Dimensions", [])}
    if len(dimensions) != len(request.get("Dimensions", [])):
        raise _invalid("A dimension is given twice.")
    return dimensions


def describe_alarms(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    for member in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
        if member in request:
            raise _invalid(f"local_sagemaker has no composite alarms; leave {member} out.")
    if "AlarmNames" in request and "AlarmNamePrefix" in request:
        raise _error("InvalidParameterCombination", "Give either AlarmNames or AlarmNamePrefix, not both.")
    names, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix", "")
    rows = [
        alarm
        for name, alarm in platform.store.all(KIND)
        if name.startswith(prefix)
        and (not names or name in names)
        and request.get("StateValue", alarm["StateValue"]) == alarm["StateValue"]
        and "ActionPrefix" not in request
        and "MetricAlarm" in request.get("AlarmTypes", ["MetricAlarm"])
    ]
    after = request.get("NextToken")
    if after is not None and not any(alarm["AlarmName"] == after for alarm in rows):
        raise _error("InvalidNextToken", "The next token specified is invalid.")
    rest = [alarm for alarm in rows if after is None or alarm["AlarmName"] > after]
    page = rest[: request.get("MaxRecords", PAGE)]
    more = {"NextToken": page[-1]["AlarmName"]} if len(page) < len(rest) else {}
    return {"MetricAlarms": page, "CompositeAlarms": [], **more}


def delete_alarms(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    """Delete all of them, or none if one is not there."""
    names = request["AlarmNames"]
    with platform.store.transaction():
        absent = [name for name in names if platform.store.get(KIND, name) is None]
        if absent:
            raise _error("ResourceNotFound", f"Unknown alarms {absent}; none was deleted.", 404)
        for name in names:
            platform.store.delete(KIND, name)
    return {}


def set_alarm_state(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    """Set a state by hand; it holds for one period, then the metric decides again."""
    if "StateReasonData" in request:
        try:
            json.loads(request["StateReasonData"])
        except ValueError as error:
            raise _error("InvalidFormat", "StateReasonData is not JSON.") from error
    with platform.store.edit(KIND, request["AlarmName"]) as alarm:
        if alarm is None:
            raise _error("ResourceNotFound", f"Unknown alarm {request['AlarmName']!r}.", 404)
        now = platform.now()
        set_state(alarm, request["StateValue"], request["StateReason"], now)
        alarm["_held_until"] = now + min(alarm["Period"], _HELD_SECONDS)
        if "StateReasonData" in request:
            alarm["StateReasonData"] = request["StateReasonData"]
    return {}


def get_metric_statistics(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    metric, period = request["MetricName"], request["Period"]
    plain, extended = request.get("Statistics", []), request.get("ExtendedStatistics", [])
    if not plain and not extended:
        raise _error("MissingParameter", "Give Statistics or ExtendedStatistics.")
    for statistic in extended:
        _check_percentile(statistic)
    if period not in (1, 5, 10, 20, 30) and period % 60:
        raise _error("InvalidParameterValue", f"Period is {period}; valid are 1, 5, 10, 20, 30 and multiples of 60.")
    start, end = (common.seconds(request[member], 0.0) for member in ("StartTime", "EndTime"))
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise _error("InvalidParameterCombination", "StartTime must be before EndTime.")
    if (end - start) / period > DATAPOINTS:
        raise _error(
            "InvalidParameterCombination",
            f"This range holds more than {DATAPOINTS} datapoints; ask for a longer Period or a shorter range.",
        )
    points, dimensions, now = [], _dimensions(request), int(platform.now())
    of_endpoint = request["Namespace"] == NAMESPACE and metric == "Invocations"
    by_hour = of_endpoint and period % HOUR == 0 and set(dimensions) == {"EndpointName", "VariantName"}
    if by_hour:
        counts = platform.endpoints.hours.counts(dimensions["EndpointName"], dimensions["VariantName"])
    kept_seconds = HOURS_KEPT_SECONDS if by_hour else KEPT_SECONDS
    for at in range(int(max(start, now - kept_seconds)) // period * period, math.ceil(min(end, now + 1)), period):
        if by_hour:
            found = _ones(sum(count for hour, count in counts.items() if at <= hour < at + period))
        else:
            found = platform.endpoints.metrics.window(request["Namespace"], metric, dimensions, at, at + period)
        if found is not None and request.get("Unit", UNITS[metric]) == UNITS[metric]:
            point: dict[str, Any] = {"Timestamp": at, "Unit": UNITS[metric]}
            point |= {statistic: found.statistic(statistic) for statistic in plain}
            if extended:
                point["ExtendedStatistics"] = {statistic: found.statistic(statistic) for statistic in extended}
            points.append(point)
    return {"Label": metric, "Datapoints": points}


def _ones(count: int) -> Distribution | None:
    """So many requests as values of the metric Invocations, which are all 1."""
    found = Distribution()
    found.add(1.0, count)
    return found if count else None


def _invalid(message: str) -> ServiceError:
    return _error("ValidationError", message)


def _error(code: str, message: str, status: int = 400) -> ServiceError:
    return ServiceError(code, message, status)


OPERATIONS = {
    "PutMetricAlarm": put_metric_alarm,
    "DescribeAlarms": describe_alarms,
    "DeleteAlarms": delete_alarms,
    "SetAlarmState": set_alarm_state,
    "GetMetricStatistics": get_metric_statistics,
}
