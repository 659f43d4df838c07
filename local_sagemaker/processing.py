"""Runs a processing job: inputs in, the container's command with /opt/ml relocated, outputs and exit message out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from local_sagemaker import contract, training
from local_sagemaker.environments import clean_environment
from local_sagemaker.errors import JobError
from local_sagemaker.jobs import execute
from local_sagemaker.lifecycle import End, Job, JobKind, cut_short, failure_reason
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

MESSAGE_LIMIT = 1024  # bytes of ExitMessage


def work(job: Job) -> End:
    platform, body, base = job.platform, job.body, job.base
    contract.write_processing_config(base, body, arn=body["ProcessingJobArn"])
    _download_inputs(platform, body, base)
    outputs = body.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for output in outputs:
        Path(contract.relocated(base, output["S3Output"]["LocalPath"])).mkdir(parents=True, exist_ok=True)
    app = body["AppSpecification"]
    command = contract.relocated(base, [*app["ContainerEntrypoint"], *app.get("ContainerArguments", [])])
    outcome = execute(
        job.control,
        training.with_python(platform, command, job.stream),
        env=clean_environment(platform.home.container_home, contract.relocated(base, body.get("Environment", {}))),
        cwd=base,
        grace_seconds=platform.stop_grace_seconds,
        max_seconds=body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", training.DEFAULT_MAX_SECONDS),
        on_line=job.stream.write,
    )
    message = _exit_message(base)
    members = {"ExitMessage": message} if message else {}
    if outcome.stopped == "timeout":
        return End("Stopped", "Max runtime exceeded.", members)
    if outcome.code or outcome.stopped:
        end = cut_short(job.control) or End("Failed", failure_reason(base / "output" / "failure", outcome))
        return replace(end, members=members)
    for output in outputs:
        target = output["S3Output"]
        platform.objects.upload(Path(contract.relocated(base, target["LocalPath"])), target["S3Uri"])
    return End("Completed", None, members)


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


JOB = JobKind(
    kind="processing-job",
    prefix="ProcessingJob",
    start="ProcessingStartTime",
    end="ProcessingEndTime",
    log_group="/aws/sagemaker/ProcessingJobs",
    work=work,
)
