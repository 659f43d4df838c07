"""The reads of CloudWatch Logs over the logs of jobs and endpoints: groups, streams, events of a stream, events of a group."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

from local_sagemaker import ACCOUNT
from local_sagemaker.errors import ServiceError, validation
from local_sagemaker.logs import Event
from local_sagemaker.operations import common
from local_sagemaker.platform import Platform

EVENTS = 10_000  # CloudWatch's page of events
STREAMS = 50


def describe_log_groups(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    prefix, part = request.get("logGroupNamePrefix"), request.get("logGroupNamePattern")
    if prefix is not None and part is not None:
        raise ServiceError("InvalidParameterException", "Give logGroupNamePrefix or logGroupNamePattern, not both.")
    names = [
        name
        for name in platform.logs.groups()
        if name.startswith(prefix or "") and (part or "").lower() in name.lower()
    ]
    start = int(_token(request, r"g/(\d+)", "0"))
    end = start + request.get("limit", STREAMS)
    groups = [
        {
            "logGroupName": name,
            "arn": f"{_arn(platform, name)}:*",
            "logGroupArn": _arn(platform, name),
            "creationTime": platform.logs.created(name),
            "metricFilterCount": 0,
            "storedBytes": sum(platform.logs.size(name, stream) for stream in platform.logs.streams(name)),
        }
        for name in names[start:end]
    ]
    return {"logGroups": groups, **({"nextToken": f"g/{end}"} if end < len(names) else {})}


def describe_log_streams(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    group = _group(platform, request)
    names = platform.logs.streams(group, request.get("logStreamNamePrefix", ""))
    described = [_described(platform, group, name) for name in names]
    if request.get("orderBy") == "LastEventTime":
        described.sort(key=lambda stream: stream.get("lastEventTimestamp", 0))
    if request.get("descending"):
        described.reverse()
    start = int(_token(request, r"s/(\d+)", "0"))
    end = start + request.get("limit", STREAMS)
    return {"logStreams": described[start:end], **({"nextToken": f"s/{end}"} if end < len(described) else {})}


def _described(platform: Platform, group: str, name: str) -> dict[str, Any]:
    events = platform.logs.read(group, name, limit=1)
    stream: dict[str, Any] = {
        "logStreamName": name,
        "arn": f"{_arn(platform, group)}:log-stream:{name}",
        "storedBytes": 0,
    }
    if events:
        first, last = events[0].timestamp, platform.logs.last_written(group, name)
        stream |= {
            "creationTime": first,
            "firstEventTimestamp": first,
            "lastEventTimestamp": last,
            "lastIngestionTime": last,
        }
    return stream


def get_log_events(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    group = _group(platform, request)
    stream = request["logStreamName"]
    if not platform.logs.has(group, stream):
        raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
    limit = request.get("limit", EVENTS)
    token = request.get("nextToken")
    if token is None and not request.get("startFromHead", False):
        events = [event for event in platform.logs.read(group, stream) if _within(event, request)][-limit:]
    elif token is not None and token.startswith("b/"):
        before = int(_token(request, r"b/(\d+)", "0"))
        events = [
            event for event in platform.logs.read(group, stream) if event.position < before and _within(event, request)
        ][-limit:]
    else:
        events = platform.logs.read(group, stream, start=int(_token(request, r"f/(\d+)", "0")), limit=limit)
        forward = events[-1].end if events else int(_token(request, r"f/(\d+)", "0"))
        kept = [event for event in events if _within(event, request)]
        return _events(kept, backward=events[0].position if events else forward, forward=forward)
    end = platform.logs.size(group, stream)
    return _events(events, backward=events[0].position if events else 0, forward=events[-1].end if events else end)


def _events(events: list[Event], *, backward: int, forward: int) -> dict[str, Any]:
    rows = [
        {"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.timestamp} for event in events
    ]
    return {"events": rows, "nextForwardToken": f"f/{forward}", "nextBackwardToken": f"b/{backward}"}


def filter_log_events(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    group = _group(platform, request)
    prefix = request.get("logStreamNamePrefix", "")
    names = request.get("logStreamNames") or platform.logs.streams(group, prefix)
    matches = _filter(request.get("filterPattern", ""))
    found = [
        event
        for name in names
        if platform.logs.has(group, name)
        for event in platform.logs.read(group, name)
        if _within(event, request) and matches(event.message)
    ]
    found.sort(key=lambda event: (event.timestamp, event.stream, event.position))
    start = int(_token(request, r"e/(\d+)", "0"))
    end = start + request.get("limit", EVENTS)
    rows = [
        {
            "logStreamName": event.stream,
            "timestamp": event.timestamp,
            "message": event.message,
            "ingestionTime": event.timestamp,
            "eventId": f"{event.timestamp}-{event.position}",
        }
        for event in found[start:end]
    ]
    searched = [{"logStreamName": name, "searchedCompletely": True} for name in names]
    return {"events": rows, "searchedLogStreams": searched, **({"nextToken": f"e/{end}"} if end < len(found) else {})}


def _filter(pattern: str) -> Callable[[str], bool]:
    """Unstructured filter patterns: all terms, `?term` any of, `-term` none of, "a phrase" in quotes."""
    if pattern.lstrip().startswith(("{", "[", "%")):
        raise common.unsupported("structured filter patterns", "use terms, ?terms, -terms or a quoted phrase.")
    try:
        terms = shlex.split(pattern)
    except ValueError as error:
        raise ServiceError("InvalidParameterException", f"Invalid filter pattern: {error}.") from error
    anyof = [term[1:] for term in terms if term.startswith("?")]
    noneof = [term[1:] for term in terms if term.startswith("-")]
    allof = [term for term in terms if term[0] not in "?-"] if all(terms) else []

    def matches(message: str) -> bool:
        if any(term in message for term in noneof) or not all(term in message for term in allof):
            return False
        return not anyof or any(term in message for term in anyof)

    return matches


def _within(event: Event, request: dict[str, Any]) -> bool:
    return request.get("startTime", 0) <= event.timestamp < request.get("endTime", float("inf"))


def _group(platform: Platform, request: dict[str, Any]) -> str:
    identifier = request.get("logGroupName") or request.get("logGroupIdentifier")
    if identifier is None:
        raise validation("logGroupName or logGroupIdentifier is required.")
    group = identifier.removeprefix(_arn(platform, ""))
    if not platform.logs.has(group):
        raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
    return group


def _arn(platform: Platform, group: str) -> str:
    return f"arn:aws:logs:{platform.region}:{ACCOUNT}:log-group:{group}"


def _token(request: dict[str, Any], form: str, absent: str) -> str:
    token = request.get("nextToken")
    if token is None:
        return absent
    match = re.fullmatch(form, token)
    if match is None:
        raise ServiceError("InvalidParameterException", "The specified nextToken is invalid.")
    return match.group(1)


OPERATIONS = {
    "DescribeLogGroups": describe_log_groups,
    "DescribeLogStreams": describe_log_streams,
    "GetLogEvents": get_log_events,
    "FilterLogEvents": filter_log_events,
}
