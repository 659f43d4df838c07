"""Runs a processing job: inputs in, the container's command with /opt/ml relocated, outputs and exit message out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from local_sagemaker import contract, training
from local_sagemaker.environments import clean_environment
from local_sagemaker.errors import JobError
from local_sagemaker.jobs import Control, execute
from local_sagemaker.logs import Stream
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

_log = logging.getLogger(__name__)
KIND = "processing-job"
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
MESSAGE_LIMIT = 1024  # bytes of ExitMessage


def submit(platform: Platform, name: str) -> None:
    platform.jobs.submit(f"{KIND}/{name}", lambda control: run(platform, name, control), owner="direct")


def recover(platform: Platform) -> None:
    """After a start: jobs that were running when the server died have failed; those that waited are queued again."""
    for name, body in platform.store.all(KIND):
        if body["ProcessingJobStatus"] not in ("InProgress", "Stopping"):
            continue
        if body["ProcessingJobStatus"] == "Stopping":
            _finish(platform, name, "Stopped", None, None)
        elif "ProcessingStartTime" in body:
            _finish(
                platform, name, "Failed", "InternalServerError: the server was killed while the job was running.", None
            )
        else:
            submit(platform, name)
            continue
        shutil.rmtree(_base(platform, name), ignore_errors=True)


def run(platform: Platform, name: str, control: Control) -> None:
    """Run the job to its end and record it. Never raises for what the job did."""
    body = platform.store.get(KIND, name)
    if body is None or control.stopped == "shutdown":
        return  # one that only waited is run by the next server
    if control.stopped:
        _finish(platform, name, "Stopped", None, None)
        return
    base = _base(platform, name)
    stream = platform.logs.open(LOG_GROUP, f"{name}/{contract.HOST}-{int(platform.now())}")
    try:
        with platform.store.edit(KIND, name) as started:
            if started is not None:
                started["ProcessingStartTime"] = started["LastModifiedTime"] = platform.now()
        status, reason, message = _process(platform, body, base, control, stream)
    except JobError as error:
        stream.write(f"ClientError: {error}")
        status, reason, message = "Failed", f"ClientError: {error}", None
    except Exception:  # noqa: BLE001 - the job must end with a status, whatever happened
        _log.exception("processing job %s", name)
        status, reason, message = (
            "Failed",
            "InternalServerError: the server could not run the job; see server.log.",
            None,
        )
    stream.close()
    shutil.rmtree(base, ignore_errors=True)
    _finish(platform, name, status, reason, message)


def _process(
    platform: Platform, body: Body, base: Path, control: Control, stream: Stream
) -> tuple[str, str | None, str | None]:
    """Status, failure reason and exit message of the job."""
    shutil.rmtree(base, ignore_errors=True)
    contract.write_processing_config(base, body, arn=body["ProcessingJobArn"])
    _download_inputs(platform, body, base)
    outputs = body.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for output in outputs:
        Path(contract.relocated(base, output["S3Output"]["LocalPath"])).mkdir(parents=True, exist_ok=True)
    app = body["AppSpecification"]
    command = contract.relocated(base, [*app["ContainerEntrypoint"], *app.get("ContainerArguments", [])])
    outcome = execute(
        control,
        training.with_python(platform, command, stream),
        env=clean_environment(platform.home.container_home, contract.relocated(base, body.get("Environment", {}))),
        cwd=base,
        grace_seconds=platform.stop_grace_seconds,
        max_seconds=body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", training.DEFAULT_MAX_SECONDS),
        on_line=stream.write,
    )
    message = _exit_message(base)
    if outcome.stopped in ("stop", "timeout"):
        return "Stopped", "Max runtime exceeded." if outcome.stopped == "timeout" else None, message
    if outcome.code or outcome.stopped:
        return "Failed", training.failure_reason(base / "output" / "failure", outcome), message
    for output in outputs:
        target = output["S3Output"]
        platform.objects.upload(Path(contract.relocated(base, target["LocalPath"])), target["S3Uri"])
    return "Completed", None, message


def _download_inputs(platform: Platform, body: Body, base: Path) -> None:
    for item in body.get("ProcessingInputs", []):
        source = item["S3Input"]
        target = Path(contract.relocated(base, source["LocalPath"]))
        target.mkdir(parents=True, exist_ok=True)
        if not platform.objects.download(source["S3Uri"], target):
            raise JobError(
                f"Data download failed: no object under {source['S3Uri']} (input {item['InputName']}); put it there."
            )


def _exit_message(base: Path) -> str | None:
    """The first kilobyte of output/message. Raises JobError if it is not UTF-8, as AWS fails such a job."""
    path = base / "output" / "message"
    if not path.is_file() or path.is_symlink():
        return None
    try:
        return path.read_bytes().decode("utf-8").encode()[:MESSAGE_LIMIT].decode("utf-8", "ignore")
    except UnicodeDecodeError as error:
        raise JobError("output/message is not UTF-8; write text.") from error


def _base(platform: Platform, name: str) -> Path:
    return platform.home.jobs / "processing" / name


def _finish(platform: Platform, name: str, status: str, reason: str | None, message: str | None) -> None:
    with platform.store.edit(KIND, name) as body:
        if body is None:
            return
        body["ProcessingJobStatus"] = status
        body["ProcessingEndTime"] = body["LastModifiedTime"] = platform.now()
        if reason:
            body["FailureReason"] = reason[: training.REASON_LIMIT]
        if message:
            body["ExitMessage"] = message
