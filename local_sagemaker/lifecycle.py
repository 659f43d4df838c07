"""What all jobs share: how one is recorded, run once, stopped, ended with a status, and recovered after a start.

What a job of a family does is in training.py, processing.py, transform.py and tuning.py (`JobKind.work`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_sagemaker import contract
from local_sagemaker.errors import JobError
from local_sagemaker.jobs import Control, JobQueue, Outcome
from local_sagemaker.logs import Stream
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

_log = logging.getLogger(__name__)
REASON_LIMIT = 1024  # characters of FailureReason
_ACTIVE = ("InProgress", "Stopping")


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: its status, the reason of a failure, and members for its description."""

    status: str
    reason: str | None = None
    members: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One job under way: what was asked, its own folder (absent at first), its log and the handle that stops it."""

    platform: Platform
    name: str
    body: Body
    base: Path
    stream: Stream
    control: Control


def _nothing_more(body: Body, end: End) -> None:
    """Most families end with the members that all have."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """A family of jobs: what its members are called, and what one does.

    `kind` names it in the store and in ARNs, `prefix` begins its members Name, Arn and Status; `start` and `end` are
    the members of its times. `work` does the job and may raise JobError; `ended` adds members to an ended job's body.
    """

    kind: str
    prefix: str
    start: str
    end: str
    log_group: str | None
    work: Callable[[Job], End]
    ended: Callable[[Body, End], None] = _nothing_more
    queue: Callable[[Platform], JobQueue] = lambda platform: platform.jobs

    def key(self, name: str) -> str:
        """The job's name in the queue; the path of its ARN too."""
        return f"{self.kind}/{name}"


def create(platform: Platform, kind: JobKind, request: Mapping[str, Any], **members: Any) -> str:
    """Record a job that waits, with its tags; returns its ARN. Raises store.Exists."""
    name, now = request[f"{kind.prefix}Name"], platform.now()
    arn = platform.arn(kind.key(name))
    body = {key: value for key, value in request.items() if key != "Tags"} | {
        f"{kind.prefix}Arn": arn,
        f"{kind.prefix}Status": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        **members,
    }
    with platform.store.transaction():
        platform.store.create(kind.kind, name, body)
        platform.store.set_tags(arn, request.get("Tags", []))
    return arn


def submit(platform: Platform, kind: JobKind, name: str) -> None:
    kind.queue(platform).submit(kind.key(name), lambda control: run(platform, kind, name, control), owner="direct")


def stop(platform: Platform, kind: JobKind, name: str) -> str | None:
    """Ask a job to stop. Returns the status that it had, None if there is no such job; one that has ended stays so."""
    with platform.store.edit(kind.kind, name) as body:
        if body is None:
            return None
        status = str(body[f"{kind.prefix}Status"])
        if status not in _ACTIVE:
            return status
        body[f"{kind.prefix}Status"] = "Stopping"
        if "SecondaryStatus" in body:
            body["SecondaryStatus"] = "Stopping"
        body["LastModifiedTime"] = platform.now()
    kind.queue(platform).stop(kind.key(name))
    return status


def run(platform: Platform, kind: JobKind, name: str, control: Control) -> None:
    """Run the job to its end and record it. Never raises for what the job did."""
    body = platform.store.get(kind.kind, name)
    if body is None or control.stopped == "shutdown":
        return  # one that only waited is run by the next server
    if control.stopped:
        finish(platform, kind, name, End("Stopped"))
        return
    base = _base(platform, kind, name)
    shutil.rmtree(base, ignore_errors=True)
    stream = platform.logs.open(kind.log_group, f"{name}/{contract.HOST}-{int(platform.now())}")
    try:
        with platform.store.edit(kind.kind, name) as started:
            if started is not None:
                started[kind.start] = started["LastModifiedTime"] = platform.now()
        end = kind.work(Job(platform, name, body, base, stream, control))
    except JobError as error:
        stream.write(f"ClientError: {error}")
        end = cut_short(control) or End("Failed", f"ClientError: {error}")
    except Exception:  # noqa: BLE001 - the job must end with a status, whatever happened
        _log.exception("%s", kind.key(name))
        end = End("Failed", "InternalServerError: the server could not run the job; see server.log.")
    # The status comes last: whoever sees it finds the whole log, and nothing of the job left on this machine.
    stream.close()
    shutil.rmtree(base, ignore_errors=True)
    finish(platform, kind, name, end)


def cut_short(control: Control) -> End | None:
    """The end of a job that was told to stop, by its owner or with the server; None if it was not."""
    if control.stopped == "shutdown":
        return End("Failed", "InternalServerError: the server was stopped while the job was running.")
    return End("Stopped") if control.stopped == "stop" else None


def finish(platform: Platform, kind: JobKind, name: str, end: End) -> None:
    with platform.store.edit(kind.kind, name) as body:
        if body is None:
            return
        body.update(end.members)
        body[f"{kind.prefix}Status"] = end.status
        body[kind.end] = body["LastModifiedTime"] = platform.now()
        if end.reason:
            body["FailureReason"] = end.reason[:REASON_LIMIT]
        kind.ended(body, end)


def recover(platform: Platform, kind: JobKind) -> None:
    """After a start: jobs that ran when the server died have failed; those that waited are queued again.

    A waiting trial is lost with its tuning job, which ran: nobody would read its result.
    """
    for name, body in platform.store.all(kind.kind):
        status = body[f"{kind.prefix}Status"]
        if status not in _ACTIVE:
            continue
        if status == "Stopping":
            finish(platform, kind, name, End("Stopped"))
        elif kind.start in body or "TuningJobArn" in body:
            what = "the job" if kind.start in body else "its tuning job"
            reason = f"InternalServerError: the server was killed while {what} was running."
            finish(platform, kind, name, End("Failed", reason))
        else:
            submit(platform, kind, name)
            continue
        shutil.rmtree(_base(platform, kind, name), ignore_errors=True)


def failure_reason(file: Path, outcome: Outcome) -> str:
    """What the script wrote into its failure file, else the exit code and the last lines of its stderr."""
    written = (
        file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() and not file.is_symlink() else ""
    )
    if written:
        return f"AlgorithmError: {written}"
    return f"AlgorithmError: {died(outcome.code, outcome.errors)}"


def died(code: int, errors: str) -> str:
    """The exit code of a process and the end of its stderr, short enough for a FailureReason."""
    head = f"exit code {code}"
    return (
        f"{head}: {errors[-(REASON_LIMIT - 100) :]}" if errors else f"{head}; it wrote nothing to stderr, see its log."
    )


def _base(platform: Platform, kind: JobKind, name: str) -> Path:
    return platform.home.jobs / kind.kind.removesuffix("-job") / name
