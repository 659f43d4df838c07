"""What the families share: pages of a listing, unknown and duplicate names, tags at creation."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from local_sagemaker import lifecycle
from local_sagemaker.errors import JobError, ServiceError, in_use, validation
from local_sagemaker.lifecycle import JobKind
from local_sagemaker.objects import split_uri
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body, Exists

DUPLICATE = "Job name must be unique within an AWS account and region, and a job"
PAGE = 10  # AWS's default for the List operations of SageMaker


def create(
    platform: Platform, kind: str, name: str, body: Body, duplicate: ServiceError, request: dict[str, Any]
) -> None:
    """Store a new resource and its tags, or raise `duplicate`."""
    try:
        with platform.store.transaction():
            platform.store.create(kind, name, body)
            arn = next(
                value
                for key, value in body.items()
                if key.endswith("Arn") and key != "RoleArn" and ":role/" not in value
            )
            platform.store.set_tags(arn, request.get("Tags", []))
    except Exists as error:
        raise duplicate from error


def create_job(
    platform: Platform, kind: JobKind, request: dict[str, Any], duplicate: str, **members: Any
) -> dict[str, Any]:
    """Record a job and queue it; `duplicate` begins the message for a name that is taken."""
    name = request[f"{kind.prefix}Name"]
    try:
        arn = lifecycle.create(platform, kind, request, **members)
    except Exists as error:
        raise in_use(f"{duplicate} with this name already exists ({platform.arn(kind.key(name))})") from error
    lifecycle.submit(platform, kind, name)
    return {f"{kind.prefix}Arn": arn}


def stop_job(platform: Platform, kind: JobKind, request: dict[str, Any], missing: str) -> dict[str, Any]:
    """Ask a job to stop. Raises ValidationException if there is none (`missing`), or if it has ended."""
    status = lifecycle.stop(platform, kind, request[f"{kind.prefix}Name"])
    if status is None:
        raise validation(missing)
    if status not in ("InProgress", "Stopping"):
        noun = kind.kind.replace("-", " ")
        raise validation(f"The request was rejected because the {noun} is in status {status}.")
    return {}


def get(platform: Platform, kind: str, name: str, missing: str) -> Body:
    """The body, or ValidationException with the words AWS uses for this kind."""
    body = platform.store.get(kind, name)
    if body is None:
        raise validation(missing)
    return body


def page(
    bodies: Iterable[Body],
    request: dict[str, Any],
    *,
    name: str,
    sort_by: dict[str, str] | None = None,
    descending: bool = True,
    status: str | None = None,
    keep: Callable[[Body], bool] = lambda _: True,
) -> tuple[list[Body], dict[str, str]]:
    """One page of a listing and the members {NextToken} of its answer.

    `name` is the member that NameContains filters; `sort_by` maps SortBy's other values than Name and CreationTime to
    members; `status` is the member that StatusEquals filters. The token is the place after the last row, not a number,
    so that a resource made meanwhile moves no page.
    """
    member = {"CreationTime": "CreationTime", "Name": name, **(sort_by or {})}[request.get("SortBy", "CreationTime")]
    chosen = [body for body in bodies if keep(body) and _matches(body, request, name, status)]
    chosen.sort(key=lambda body: (body.get(member, 0), body[name]))
    if request.get("SortOrder", "Descending" if descending else "Ascending") == "Descending":
        chosen.reverse()
    start = _start(chosen, request.get("NextToken"), member, name)
    end = start + request.get("MaxResults", PAGE)
    if end >= len(chosen):
        return chosen[start:], {}
    last = chosen[end - 1]
    token = base64.urlsafe_b64encode(json.dumps([last.get(member, 0), last[name]]).encode()).decode()
    return chosen[start:end], {"NextToken": token}


def _start(chosen: list[Body], token: str | None, member: str, name: str) -> int:
    if token is None:
        return 0
    try:
        place = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise validation("The NextToken is not one that this operation gave.") from error
    for index, body in enumerate(chosen):
        if [body.get(member, 0), body[name]] == place:
            return index + 1
    raise validation("The NextToken has expired: the row it names is gone. List again from the start.")


def _matches(body: Body, request: dict[str, Any], name: str, status: str | None) -> bool:
    created: float = body["CreationTime"]
    modified: float = body.get("LastModifiedTime", created)
    return (
        request.get("NameContains", "").lower() in str(body[name]).lower()
        and (status is None or request.get("StatusEquals", body[status]) == body[status])
        and created > seconds(request.get("CreationTimeAfter"), float("-inf"))
        and created < seconds(request.get("CreationTimeBefore"), float("inf"))
        and modified > seconds(request.get("LastModifiedTimeAfter"), float("-inf"))
        and modified < seconds(request.get("LastModifiedTimeBefore"), float("inf"))
    )


def seconds(timestamp: Any, absent: float) -> float:
    """A timestamp of a request (epoch seconds, or ISO 8601 as some clients send) as epoch seconds."""
    if timestamp is None:
        return absent
    if isinstance(timestamp, str):
        try:
            return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
        except ValueError as error:
            raise ServiceError("SerializationException", f"{timestamp!r} is not a timestamp.") from error
    return float(timestamp)


def pick(body: Body, *members: str) -> Body:
    return {member: body[member] for member in members if member in body}


def check_uri(uri: str, member: str) -> None:
    """Refuse an s3 URI that would lead out of its bucket, or that this server cannot read."""
    try:
        split_uri(uri)
    except JobError as error:
        raise validation(f"{member}: {error}") from error


def unsupported(what: str, remedy: str) -> ServiceError:
    """What AWS accepts and this server does not execute; it is refused rather than passed over in silence."""
    return validation(f"local_sagemaker does not execute {what}; {remedy}")
