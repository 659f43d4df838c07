"""Runs a training job: data and code in, the script under the contract, model.tar.gz and metrics out."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_sagemaker import archives, contract
from local_sagemaker.environments import clean_environment
from local_sagemaker.errors import JobError
from local_sagemaker.jobs import Control, Outcome, execute
from local_sagemaker.logs import Stream
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

_log = logging.getLogger(__name__)
KIND = "training-job"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DEFAULT_MAX_SECONDS = 86400
REASON_LIMIT = 1024  # characters of FailureReason


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: status, secondary status, failure reason, and members for its description."""

    status: str
    secondary: str
    reason: str | None = None
    extra: Body = field(default_factory=dict)


def submit(platform: Platform, name: str) -> None:
    platform.jobs.submit(f"{KIND}/{name}", lambda control: run(platform, name, control), owner="direct")


def recover(platform: Platform) -> None:
    """After a start: jobs that were running when the server died have failed; those that waited are queued again."""
    for name, body in platform.store.all(KIND):
        if body["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            continue
        if body["TrainingJobStatus"] == "Stopping":
            _finish(platform, name, End("Stopped", "Stopped"))
        elif "TrainingStartTime" in body:
            _finish(
                platform,
                name,
                End("Failed", "Failed", "InternalServerError: the server was killed while the job was running."),
            )
        else:
            submit(platform, name)
            continue
        shutil.rmtree(_base(platform, name), ignore_errors=True)


def run(platform: Platform, name: str, control: Control) -> None:
    """Run the job to its end and record it. Never raises for what the job did."""
    body = platform.store.get(KIND, name)
    if body is None:
        return
    if control.stopped == "shutdown":
        return  # it only waited: the next server runs it
    if control.stopped:
        _finish(platform, name, End("Stopped", "Stopped"))
        return
    base = _base(platform, name)
    stream = platform.logs.open(LOG_GROUP, f"{name}/{contract.HOST}-{int(platform.now())}")
    try:
        end = _train(platform, name, body, base, control, stream)
    except JobError as error:
        stream.write(f"ClientError: {error}")
        end = End("Failed", "Failed", f"ClientError: {error}")
    except Exception:  # noqa: BLE001 - the job must end with a status, whatever happened
        _log.exception("training job %s", name)
        end = End("Failed", "Failed", "InternalServerError: the server could not run the job; see server.log.")
    # The status comes last: whoever sees it finds the whole log, and nothing of the job left on this machine.
    stream.close()
    shutil.rmtree(base, ignore_errors=True)
    _finish(platform, name, end)


def _train(platform: Platform, name: str, body: Body, base: Path, control: Control, stream: Stream) -> End:
    _step(platform, name, "Downloading", "Downloading input data", TrainingStartTime=platform.now())
    command, env, cwd = _prepare(platform, body, base, stream)
    _step(platform, name, "Training", "Training image download completed. Training in progress.")
    metrics = _Metrics(body)

    def on_line(line: str) -> None:
        stream.write(line)
        metrics.read(line, platform.now())

    outcome = execute(
        control,
        command,
        env=env,
        cwd=cwd,
        grace_seconds=platform.stop_grace_seconds,
        max_seconds=_max_seconds(body),
        on_line=on_line,
    )
    return _conclude(platform, name, body, base, outcome, metrics)


def _prepare(platform: Platform, body: Body, base: Path, stream: Stream) -> tuple[list[str], dict[str, str], Path]:
    """The command, environment and folder of the script; its data and code lie ready."""
    shutil.rmtree(base, ignore_errors=True)
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


def _conclude(platform: Platform, name: str, body: Body, base: Path, outcome: Outcome, metrics: _Metrics) -> End:
    """Upload what the script left and say how it ended."""
    _step(platform, name, "Uploading", "Uploading generated training model")
    paths = contract.training_paths(base)
    target = f"{body['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}/output"
    extra: Body = {"FinalMetricDataList": metrics.final()}
    if archives.files_of(paths["output_data"]):
        platform.objects.put(f"{target}/output.tar.gz", archives.pack(paths["output_data"]))
    completed = outcome.code == 0 and outcome.stopped is None
    if completed or outcome.stopped in ("stop", "timeout"):
        platform.objects.put(f"{target}/model.tar.gz", archives.pack(paths["model"]))
        extra["ModelArtifacts"] = {"S3ModelArtifacts": f"{target}/model.tar.gz"}
    if completed:
        return End("Completed", "Completed", None, extra)
    if outcome.stopped == "stop":
        return End("Stopped", "Stopped", None, extra)
    if outcome.stopped == "timeout":
        return End("Stopped", "MaxRuntimeExceeded", None, extra)
    return End("Failed", "Failed", failure_reason(paths["output"] / "failure", outcome), extra)


def failure_reason(file: Path, outcome: Outcome) -> str:
    """What the script wrote into its failure file, else the exit code and the last lines of its stderr."""
    if outcome.stopped == "shutdown":
        return "InternalServerError: the server was stopped while the job was running."
    written = (
        file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() and not file.is_symlink() else ""
    )
    if written:
        return f"AlgorithmError: {written}"[:REASON_LIMIT]
    head = f"AlgorithmError: exit code {outcome.code}"
    if not outcome.errors:
        return f"{head}; it wrote nothing to stderr, see its log."
    return f"{head}: {outcome.errors[-(REASON_LIMIT - len(head) - 2) :]}"


class _Metrics:
    """The metric definitions of a job, applied to every line of its log; the last value of each counts."""

    def __init__(self, body: Body) -> None:
        definitions = body["AlgorithmSpecification"].get("MetricDefinitions", [])
        self._patterns = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._last: dict[str, dict[str, Any]] = {}

    def read(self, line: str, now: float) -> None:
        for name, pattern in self._patterns:
            for match in pattern.finditer(line):
                try:
                    value = float(match.group(1) if pattern.groups else match.group(0))
                except (ValueError, TypeError):
                    continue  # AWS passes over what is no number
                self._last[name] = {"MetricName": name, "Value": value, "Timestamp": now}

    def final(self) -> list[dict[str, Any]]:
        return list(self._last.values())


def _base(platform: Platform, name: str) -> Path:
    return platform.home.jobs / "training" / name


def _max_seconds(body: Body) -> float:
    return body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_SECONDS)


def _step(platform: Platform, name: str, secondary: str, message: str, **members: Any) -> None:
    with platform.store.edit(KIND, name) as body:
        if body is not None:
            body.update(members)
            _transition(body, secondary, message, platform.now())


def _finish(platform: Platform, name: str, end: End) -> None:
    now = platform.now()
    with platform.store.edit(KIND, name) as body:
        if body is None:
            return
        body.update(end.extra)
        body["TrainingJobStatus"] = end.status
        body["TrainingEndTime"] = now
        body["TrainingTimeInSeconds"] = max(1, round(now - body.get("TrainingStartTime", now)))
        body["BillableTimeInSeconds"] = body["TrainingTimeInSeconds"]
        if end.reason:
            body["FailureReason"] = end.reason[:REASON_LIMIT]
        _transition(body, end.secondary, end.reason or f"Training job {end.status.lower()}", now)
        body["SecondaryStatusTransitions"][-1]["EndTime"] = now


def _transition(body: Body, secondary: str, message: str, now: float) -> None:
    transitions = body.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", now)
    transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    body["SecondaryStatus"] = secondary
    body["LastModifiedTime"] = now
