"""Runs a training job: data and code in, the script under the contract, model.tar.gz and metrics out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from local_sagemaker import archives, contract
from local_sagemaker.environments import clean_environment
from local_sagemaker.errors import JobError
from local_sagemaker.jobs import Outcome, execute
from local_sagemaker.lifecycle import End, Job, JobKind, cut_short, failure_reason
from local_sagemaker.logs import Stream
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

DEFAULT_MAX_SECONDS = 86400


def starting(request: dict[str, Any], now: float) -> Body:
    """The members of a job that waits, beyond those that all jobs have."""
    return {
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": now, "StatusMessage": "Waiting for a free slot"}
        ],
        "StoppingCondition": {"MaxRuntimeInSeconds": DEFAULT_MAX_SECONDS, **request.get("StoppingCondition", {})},
    }


def work(job: Job, on_metric: Callable[[str, float], None] = lambda name, value: None) -> End:
    """Run the script; `on_metric` gets each value of a metric as soon as its line is there."""
    platform, body = job.platform, job.body
    _step(job, "Downloading", "Downloading input data")
    command, env, cwd = _prepare(platform, body, job.base, job.stream)
    _step(job, "Training", "Training image download completed. Training in progress.")
    metrics = _Metrics(body, on_metric)

    def on_line(line: str) -> None:
        job.stream.write(line)
        metrics.read(line, platform.now())

    outcome = execute(
        job.control,
        command,
        env=env,
        cwd=cwd,
        grace_seconds=platform.stop_grace_seconds,
        max_seconds=body["StoppingCondition"]["MaxRuntimeInSeconds"],
        on_line=on_line,
    )
    return _conclude(job, outcome, metrics)


def _prepare(platform: Platform, body: Body, base: Path, stream: Stream) -> tuple[list[str], dict[str, str], Path]:
    """The command, environment and folder of the script; its data and code lie ready."""
    contract.write_training_config(base, body)
    paths = contract.training_paths(base)
    for channel in body.get("InputDataConfig", []):
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        if not platform.objects.download(uri, paths["data"] / channel["ChannelName"]):
            raise JobError(
                f"Data download failed: no object under {uri} (channel {channel['ChannelName']}); put the data there."
            )
    env = contract.training_environment(base, body, region=platform.region, arn=body["TrainingJobArn"])
    hyperparameters = contract.decoded_hyperparameters(body.get("HyperParameters", {}))
    if "sagemaker_program" in hyperparameters:
        _fetch_code(platform, hyperparameters, paths["code"])
        python = platform.environments.python(paths["code"], stream.write)
        arguments = contract.command_line(contract.user_hyperparameters(body.get("HyperParameters", {})))
        command, cwd = [python, str(hyperparameters["sagemaker_program"]), *arguments], paths["code"]
    else:
        algorithm = body["AlgorithmSpecification"]
        entry = contract.relocated(base, [*algorithm["ContainerEntrypoint"], *algorithm.get("ContainerArguments", [])])
        command, cwd = with_python(platform, entry, stream), base
    return command, clean_environment(platform.home.container_home, env), cwd


def with_python(platform: Platform, command: list[str], stream: Stream) -> list[str]:
    """`python` or `python3` at the head replaced by the interpreter that meets the script's requirements.txt."""
    if Path(command[0]).name not in ("python", "python3"):
        return command
    script = next((Path(part) for part in command[1:] if part.endswith(".py")), None)
    folder = script.parent if script is not None else Path("/nonexistent")
    return [platform.environments.python(folder, stream.write), *command[1:]]


def _fetch_code(platform: Platform, hyperparameters: dict[str, Any], code: Path) -> None:
    uri = str(hyperparameters.get("sagemaker_submit_directory", ""))
    if not uri.startswith("s3://"):
        raise JobError(f"sagemaker_submit_directory is {uri!r}; give the s3:// URI of sourcedir.tar.gz.")
    archive = platform.objects.path(uri)
    if not archive.is_file():
        raise JobError(f"No object at {uri} (sagemaker_submit_directory); upload sourcedir.tar.gz there.")
    archives.unpack(archive, code, called=uri)
    program = code / str(hyperparameters["sagemaker_program"])
    if not program.resolve().is_relative_to(code.resolve()) or not program.is_file():
        raise JobError(
            f"{uri} has no {hyperparameters['sagemaker_program']!r} (sagemaker_program); add it to the archive."
        )


def _conclude(job: Job, outcome: Outcome, metrics: _Metrics) -> End:
    """Upload what the script left and say how it ended."""
    _step(job, "Uploading", "Uploading generated training model")
    platform, paths = job.platform, contract.training_paths(job.base)
    target = f"{job.body['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output"
    members: Body = {"FinalMetricDataList": metrics.final()}
    if archives.files_of(paths["output_data"]):
        platform.objects.put(f"{target}/output.tar.gz", archives.pack(paths["output_data"]))
    completed = outcome.code == 0 and outcome.stopped is None
    if completed or outcome.stopped in ("stop", "timeout"):
        platform.objects.put(f"{target}/model.tar.gz", archives.pack(paths["model"]))
        members["ModelArtifacts"] = {"S3ModelArtifacts": f"{target}/model.tar.gz"}
    if completed:
        return End("Completed", None, members)
    if outcome.stopped == "timeout":
        return End("Stopped", None, members | {"SecondaryStatus": "MaxRuntimeExceeded"})
    end = cut_short(job.control) or End("Failed", failure_reason(paths["output"] / "failure", outcome))
    return replace(end, members=members)


class _Metrics:
    """The metric definitions of a job, applied to every line of its log; the last value of each counts."""

    def __init__(self, body: Body, on_value: Callable[[str, float], None]) -> None:
        definitions = body["AlgorithmSpecification"].get("MetricDefinitions", [])
        self._patterns = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._last: dict[str, dict[str, Any]] = {}
        self._on_value = on_value

    def read(self, line: str, now: float) -> None:
        for name, pattern in self._patterns:
            for match in pattern.finditer(line):
                try:
                    value = float(match.group(1) if pattern.groups else match.group(0))
                except (ValueError, TypeError):
                    continue  # AWS passes over what is no number
                self._last[name] = {"MetricName": name, "Value": value, "Timestamp": now}
                self._on_value(name, value)

    def final(self) -> list[dict[str, Any]]:
        return list(self._last.values())


def _step(job: Job, secondary: str, message: str) -> None:
    with job.platform.store.edit(JOB.kind, job.name) as body:
        if body is not None:
            body["LastModifiedTime"] = job.platform.now()
            _transition(body, secondary, message)


def _ended(body: Body, end: End) -> None:
    now = body["LastModifiedTime"]
    body["TrainingTimeInSeconds"] = max(1, round(now - body.get("TrainingStartTime", now)))
    body["BillableTimeInSeconds"] = body["TrainingTimeInSeconds"]
    secondary = end.members.get("SecondaryStatus", end.status)
    _transition(body, secondary, end.reason or f"Training job {end.status.lower()}")
    body["SecondaryStatusTransitions"][-1]["EndTime"] = now


def _transition(body: Body, secondary: str, message: str) -> None:
    transitions, now = body["SecondaryStatusTransitions"], body["LastModifiedTime"]
    transitions[-1].setdefault("EndTime", now)
    transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    body["SecondaryStatus"] = secondary


JOB = JobKind(
    kind="training-job",
    prefix="TrainingJob",
    start="TrainingStartTime",
    end="TrainingEndTime",
    log_group="/aws/sagemaker/TrainingJobs",
    work=work,
    ended=_ended,
)
