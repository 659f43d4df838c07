"""Processes and containers that run batches: subprocesses of this machine, or tasks of ECS on Fargate. Both implement
`ledgerline.ports.Compute` and start `resources.parse_worker`; what a batch is, and what follows when it dies, is not here.

Sessions are Dagster Pipes', as is what carries them: temporary files, or S3. They are opened here, because the clients of
dagster and dagster-aws run one process and wait for it in the main thread, which alone hears that a run is cancelled; and
PipesECSClient takes a container without an exit code, which is how a Spot loss looks, for one that succeeded, meets a lack
of capacity with an IndexError, and reads the container's log only where messages come through it too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from dagster import ConfigurableResource, PipesTempFileContextInjector, PipesTempFileMessageReader, open_pipes_session
from pydantic import Field

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.ports import Attempt, Batch, BatchRun, Ended, ObjectStore
from resources.environment import ROOT, worker_variables
from resources.object_store import DirectoryObjectStore, S3ObjectStore, split_uri

WORKER = "resources.parse_worker"
LOG_LINES = 20  # of a worker's output that are kept with its attempt
STOP_SECONDS = 10.0
ON_DEMAND, SPOT = "FARGATE", "FARGATE_SPOT"
NO_CAPACITY = ("capacity is unavailable", "capacity is not available", "resource:", "number of vcpus")
TAKEN_AWAY = ("SpotInterruption", "TerminationNotice", "InfrastructureHealth")
PIPES_PREFIX = "batches/pipes"


class _Task(Protocol):
    """A started batch."""

    batch: Batch
    on_demand: bool

    def look(self) -> Attempt | None:
        """The attempt once it has ended; None while it runs."""
        ...

    def stop(self) -> None: ...

    def close(self) -> None:
        """Read the last messages and remove what carried them."""
        ...


class _Compute(ConfigurableResource):
    """What both have in common: so many at once, and watching them until they end or the caller leaves."""

    parallel: int = Field(default=2, ge=1, le=100)
    batch_bytes: int = Field(default=100_000_000, gt=0)
    batch_seconds: float = 3600.0  # a batch that takes longer hangs, and is killed
    poll_seconds: float = 0.1
    worker: str = WORKER

    def run(self, batches: Sequence[Batch], *, objects: ObjectStore, step: Any) -> Generator[BatchRun, None, None]:
        """Run each batch on its own; see `ledgerline.ports.Compute`."""
        store = _store(objects)
        start = self._starter(store, objects, step)
        waiting = deque((batch, False) for batch in batches)
        attempts: dict[str, tuple[Attempt, ...]] = {batch.name: () for batch in batches}
        running: list[_Task] = []
        try:
            while waiting or running:
                ended: list[BatchRun] = []
                for task in list(running):
                    attempt = task.look()
                    if attempt is None:
                        continue
                    running.remove(task)
                    task.close()
                    attempts[task.batch.name] += (attempt,)
                    if attempt.ended == "lost" and not task.on_demand:
                        step.log.info("batch %s: %s; it runs again on %s", task.batch.name[:12], attempt.why, ON_DEMAND)
                        waiting.appendleft((task.batch, True))
                    else:
                        ended.append(BatchRun(task.batch, attempts[task.batch.name]))
                while waiting and len(running) < self.parallel:  # before the caller is busy with what ended
                    running.append(start(*waiting.popleft()))
                yield from ended
                if not ended:
                    time.sleep(self.poll_seconds)
        finally:
            for task in running:
                task.stop()
            for task in running:
                task.close()

    def _starter(self, store: Mapping[str, Any], objects: ObjectStore, step: Any) -> Any:
        raise NotImplementedError

    def _extras(self, batch: Batch, store: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "batch": batch.name,
            "manifest": batch.manifest,
            "result": batch.result,
            "store": dict(store),
            "seconds": self.batch_seconds + 60,  # this process notices first, unless it is gone
        }


class SubprocessCompute(_Compute):
    """A process of this machine per batch, `parallel` at once. Its output is that of the step."""

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. A process starts as those of batches do, and ends at once."""
        yield "start a process"
        done = subprocess.run(
            [sys.executable, "-c", ""], env=worker_variables(aws=False), capture_output=True, check=False
        )
        if done.returncode:
            raise LedgerlineError(
                f"{sys.executable} ends with {done.returncode} as soon as it starts: make the environment anew."
            )

    def _starter(self, store: Mapping[str, Any], objects: ObjectStore, step: Any) -> Any:
        return lambda batch, on_demand: _Process(self, batch, self._extras(batch, store), step)


class _Process:
    on_demand = True  # nobody takes a process away to sell its place

    def __init__(self, compute: SubprocessCompute, batch: Batch, extras: dict[str, Any], step: Any) -> None:
        self.batch = batch
        self._seconds = compute.batch_seconds
        self._started = time.monotonic()
        with ExitStack() as stack:
            session = stack.enter_context(
                open_pipes_session(
                    context=step,
                    extras=extras,
                    context_injector=PipesTempFileContextInjector(),
                    message_reader=PipesTempFileMessageReader(),
                )
            )
            # A file and not a pipe: it never fills up, whoever is busy, and its end is there when the process is not.
            self._output = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-m", compute.worker],
                cwd=ROOT,
                env={
                    **worker_variables(aws="folder" not in extras["store"]),
                    **session.get_bootstrap_env_vars(),
                },
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal reaches this process, which stops its workers
            )
            self._stack = stack.pop_all()
        self._log = _Output()
        self._read = 0

    def look(self) -> Attempt | None:
        code = self._process.poll()
        seconds = time.monotonic() - self._started
        self._forward()
        if code is None and seconds < self._seconds:
            return None
        if code is None:
            self.stop()
            return self._attempt("killed", self._process.returncode, f"it took longer than {self._seconds:.0f} s")
        if code == 0:
            return self._attempt("done", 0, "")
        return self._attempt("killed" if code < 0 or code >= 128 else "failed", code, f"exit code {code}")

    def _attempt(self, ended: Ended, code: int | None, why: str) -> Attempt:
        seconds = time.monotonic() - self._started
        return Attempt(f"process {self._process.pid}", ended, code, seconds, why, self._log.end())

    def _forward(self) -> None:
        self._output.seek(self._read)
        self._log.write(self._output.read().decode(errors="replace"))
        self._read = self._output.tell()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self._stack.close()


class EcsCompute(_Compute):
    """A Fargate task per batch: on Spot, and on demand where Spot has none or takes it away.

    The task definition's container `container` runs the image of this platform; only its command is overridden. Objects
    must be in S3. `subnets` need a way to S3, ECR and CloudWatch Logs.
    """

    region: str
    cluster: str
    task_definition: str
    container: str
    subnets: list[str]
    security_groups: list[str]
    parallel: int = Field(default=20, ge=1, le=100)
    # A start takes 30 to 60 s, in which 3.5 to 7 GB are parsed here: batches are larger than those of processes.
    batch_bytes: int = Field(default=500_000_000, gt=0)
    poll_seconds: float = 5.0
    start_seconds: float = 300.0  # without a machine by then, there is none

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. No task is run: it costs money."""
        import boto3

        yield "reach, sign, read the task definition"
        with _ecs_errors(self):
            client = boto3.client("ecs", region_name=self.region)
            client.describe_task_definition(taskDefinition=self.task_definition)

    def _starter(self, store: Mapping[str, Any], objects: ObjectStore, step: Any) -> Any:
        if not isinstance(objects, S3ObjectStore):
            raise ConfigurationError(
                "tasks of ECS cannot reach an object store in a folder: use LEDGERLINE_ENV=prod or branch, which keep "
                "objects in S3, or LEDGERLINE_COMPUTE=subprocess"
            )
        aws = _Aws(self, objects, step)
        return lambda batch, on_demand: _FargateTask(aws, batch, self._extras(batch, store), step, on_demand=on_demand)


class _Aws:
    """Clients, and what the task definition says of the container's log."""

    def __init__(self, compute: EcsCompute, objects: S3ObjectStore, step: Any) -> None:
        import boto3
        from botocore.config import Config

        patient = Config(retries={"mode": "standard", "max_attempts": 10})
        self.compute = compute
        self.bucket = objects.bucket
        self.objects = objects
        self.ecs = boto3.client("ecs", region_name=compute.region, config=patient)
        self.s3 = boto3.client("s3", region_name=objects.region, endpoint_url=objects.endpoint_url, config=patient)
        with _ecs_errors(compute):
            definition = self.ecs.describe_task_definition(taskDefinition=compute.task_definition)["taskDefinition"]
        containers = {one["name"]: one for one in definition["containerDefinitions"]}
        if compute.container not in containers:
            raise ConfigurationError(
                f"ECS_CONTAINER is {compute.container!r} and task definition {compute.task_definition} has "
                f"{', '.join(containers)}: name the one that has this platform's image"
            )
        log = containers[compute.container].get("logConfiguration", {})
        options = log.get("options", {})
        self.log_group = options.get("awslogs-group") if log.get("logDriver") == "awslogs" else None
        self.log_prefix = options.get("awslogs-stream-prefix", "")
        self.logs: Any = None
        if self.log_group:
            self.logs = boto3.client("logs", region_name=options.get("awslogs-region", compute.region), config=patient)
        else:
            step.log.warning(
                "container %s of %s writes no awslogs: the output of its tasks is not shown here",
                compute.container,
                compute.task_definition,
            )


class _FargateTask:
    def __init__(self, aws: _Aws, batch: Batch, extras: dict[str, Any], step: Any, *, on_demand: bool) -> None:
        self.batch = batch
        self.on_demand = on_demand
        self._aws = aws
        self._step = step
        self._provider = ON_DEMAND if on_demand else SPOT
        self._started = time.monotonic()
        self._messages = aws.objects.uri(PIPES_PREFIX, uuid.uuid4().hex)
        self._log, self._token = _Output(), ""
        self._arn, self._refusal = "", ""
        self._ran = False
        with ExitStack() as stack:
            stack.callback(self._remove_messages)
            session = stack.enter_context(
                _s3_session(aws.bucket, aws.s3, aws.compute.poll_seconds, split_uri(self._messages)[1], extras, step)
            )
            self._launch(session.get_bootstrap_env_vars(), step)
            self._stack = stack.pop_all()

    def _launch(self, pipes: Mapping[str, str], step: Any) -> None:
        compute = self._aws.compute
        variables = {"AWS_DEFAULT_REGION": compute.region, **pipes}
        with _ecs_errors(compute):
            try:
                answer = self._aws.ecs.run_task(
                    cluster=compute.cluster,
                    taskDefinition=compute.task_definition,
                    count=1,
                    capacityProviderStrategy=[{"capacityProvider": self._provider, "weight": 1}],
                    networkConfiguration={
                        "awsvpcConfiguration": {"subnets": compute.subnets, "securityGroups": compute.security_groups}
                    },
                    overrides={
                        "containerOverrides": [
                            {
                                "name": compute.container,
                                "command": ["python", "-m", compute.worker],
                                "environment": [{"name": name, "value": value} for name, value in variables.items()],
                            }
                        ]
                    },
                    startedBy=step.run_id,
                    tags=[
                        {"key": "dagster/run-id", "value": step.run_id},
                        {"key": "ledgerline/batch", "value": self.batch.name},
                    ],
                )
            except self._aws.ecs.exceptions.ClientError as error:
                if not _lacks_capacity(str(error)):
                    raise
                self._refusal = str(error)
                return
        if not answer["tasks"]:
            self._refusal = "; ".join(failure.get("reason", "no reason given") for failure in answer["failures"])
            return
        self._arn = answer["tasks"][0]["taskArn"]
        step.log.info(
            "batch %s runs on %s: https://%s.console.aws.amazon.com/ecs/v2/clusters/%s/tasks/%s",
            self.batch.name[:12], self._provider, compute.region, compute.cluster.rpartition("/")[2], self._id,
        )  # fmt: skip

    @property
    def _id(self) -> str:
        return self._arn.rpartition("/")[2]

    def look(self) -> Attempt | None:
        compute = self._aws.compute
        if not self._arn:
            return self._attempt("lost" if _lacks_capacity(self._refusal) else "failed", None, self._refusal)
        # A task is not known everywhere at once, nor for ever; without an answer the clock decides.
        found = self._aws.ecs.describe_tasks(cluster=compute.cluster, tasks=[self._arn])["tasks"]
        task = found[0] if found else {}
        self._ran = self._ran or "startedAt" in task
        if self._ran:
            self._forward()
        if task.get("lastStatus") == "STOPPED":
            return self._attempt(*verdict(task, compute.container))
        seconds = time.monotonic() - self._started
        if not self._ran and seconds >= compute.start_seconds:
            self.stop()
            return self._attempt("lost", None, f"it had no machine after {compute.start_seconds:.0f} s")
        if seconds >= compute.start_seconds + compute.batch_seconds:
            self.stop()
            return self._attempt("killed", None, f"it took longer than {compute.batch_seconds:.0f} s")
        return None

    def _attempt(self, ended: Ended, code: int | None, why: str) -> Attempt:
        where = f"{self._provider} {self._id}".strip()
        return Attempt(where, ended, code, time.monotonic() - self._started, why, self._log.end())

    def _forward(self) -> None:
        """Append what the container wrote since to the step's own output. A log that cannot be read fails no batch."""
        from botocore.exceptions import BotoCoreError, ClientError

        aws = self._aws
        stream = f"{aws.log_prefix}/{aws.compute.container}/{self._id}"
        while aws.logs is not None:
            after = {"nextToken": self._token} if self._token else {}
            try:
                answer = aws.logs.get_log_events(
                    logGroupName=aws.log_group, logStreamName=stream, startFromHead=True, **after
                )
            except aws.logs.exceptions.ResourceNotFoundException:
                return  # it has written nothing yet
            except (BotoCoreError, ClientError) as error:
                self._step.log.warning("output of tasks is not shown from here on: %s", error)
                aws.logs = None
                return
            self._log.write("".join(event["message"] + "\n" for event in answer["events"]))
            if answer["nextForwardToken"] == self._token:
                return
            self._token = answer["nextForwardToken"]

    def stop(self) -> None:
        from botocore.exceptions import ClientError

        if not self._arn:
            return
        try:
            self._aws.ecs.stop_task(
                cluster=self._aws.compute.cluster,
                task=self._arn,
                reason="the Dagster run does not wait for it any more",
            )
        except ClientError as error:  # it may have ended just now; others are to be stopped too
            self._step.log.warning("task %s was not stopped: %s", self._arn, error)

    def close(self) -> None:
        self._stack.close()

    def _remove_messages(self) -> None:
        for uri in list(self._aws.objects.list(self._messages)):
            self._aws.objects.delete(uri)


def verdict(task: Mapping[str, Any], container: str) -> tuple[Ended, int | None, str]:
    """(how a stopped task ended, the exit code of its container, why) from what DescribeTasks says of it."""
    of_container: Mapping[str, Any] = next((one for one in task["containers"] if one["name"] == container), {})
    code, stop = of_container.get("exitCode"), task.get("stopCode", "")
    if code == 0:
        return "done", 0, ""
    reasons = (task.get("stoppedReason"), of_container.get("reason"), None if code is None else f"exit code {code}")
    why = "; ".join(reason for reason in (stop, *reasons) if reason)
    if stop in TAKEN_AWAY or (stop == "TaskFailedToStart" and _lacks_capacity(why)):
        return "lost", code, why
    by_signal = code is not None and code >= 128 and stop != "UserInitiated"
    return "killed" if by_signal or "OutOfMemory" in why else "failed", code, why


def _lacks_capacity(why: str) -> bool:
    return any(words in why.lower() for words in NO_CAPACITY)


@contextmanager
def _ecs_errors(compute: EcsCompute) -> Iterator[None]:
    """A request that ECS refuses is refused the next time too: its words, and where the settings are."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except BotoCoreError as error:  # no way there, no credentials
        raise LedgerlineError(
            f"ECS in {compute.region} cannot be asked ({error}): check the network, the credentials and AWS_DEFAULT_REGION, "
            "then run this again."
        ) from error
    except ClientError as error:
        raise ConfigurationError(
            f"ECS refused {error.operation_name} for task definition {compute.task_definition} in cluster "
            f"{compute.cluster}: {error}. Correct the ECS_* variables or the role's permissions (docs/operations.md)."
        ) from error


@contextmanager
def _s3_session(
    bucket: str, client: Any, interval: float, prefix: str, extras: dict[str, Any], step: Any
) -> Iterator[Any]:
    """A Pipes session through S3, all of it below `prefix`: a role then needs no more of the bucket."""
    from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

    class Messages(PipesS3MessageReader):
        @contextmanager
        def get_params(self) -> Iterator[dict[str, Any]]:
            with super().get_params() as params:
                yield {**params, "key_prefix": f"{prefix}/messages"}

    with open_pipes_session(
        context=step,
        extras=extras,
        context_injector=PipesS3ContextInjector(bucket=bucket, client=client, key_prefix=f"{prefix}/context/"),
        message_reader=Messages(bucket=bucket, client=client, interval=interval),
    ) as session:
        yield session


class _Output:
    """What a worker writes: passed on to this process's output, which is the step's, its last lines kept."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._rest = ""

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        self._lines.extend(lines)

    def end(self) -> tuple[str, ...]:
        return (*self._lines, self._rest) if self._rest else tuple(self._lines)


def _store(objects: ObjectStore) -> dict[str, Any]:
    """How a worker opens the object store. No credentials: it has those of its user or its role."""
    if isinstance(objects, DirectoryObjectStore):
        return {"folder": objects.root}
    if isinstance(objects, S3ObjectStore):
        return {"region": objects.region, "endpoint_url": objects.endpoint_url}
    raise ConfigurationError(
        f"a worker cannot open the object store {type(objects).__name__}: use DirectoryObjectStore or S3ObjectStore"
    )
