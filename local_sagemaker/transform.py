"""Runs a batch transform job: one worker of the model, every object in mini-batches through it, `<key>.out` out.

The rules of splitting, batching, joining and assembling are those of the API reference (CreateTransformJob,
TransformInput, DataProcessing). An object with a bad record gets no output; the others do, and the job has failed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from local_sagemaker import json_path
from local_sagemaker.errors import JobError
from local_sagemaker.json_path import Select
from local_sagemaker.lifecycle import End, Job, JobKind, cut_short, died
from local_sagemaker.processes import Guarded
from local_sagemaker.store import Body

if TYPE_CHECKING:
    import httpx

STARTUP_SECONDS = 480.0  # as the default of an endpoint's health check
MAX_PAYLOAD_MB = 100
_CSV, _JSON, _JSON_LINES = "text/csv", "application/json", "application/jsonlines"
JOINABLE = (_CSV, _JSON, _JSON_LINES)
_POLL_SECONDS = 0.02

Batch = list[bytes]


class ModelError(Exception):
    """The model failed on a request that it could be sent: an answer that is not 200, or none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the request says of objects, records and answers; `max_bytes` is the payload of one request."""

    content_type: str
    accept: str
    split: bool
    single: bool
    assemble: bool
    join: bool
    compressed: bool
    max_bytes: int
    concurrency: int
    input_filter: Select | None
    output_filter: Select | None

    @classmethod
    def of(cls, request: Body) -> Plan:
        """Raises ValueError for a filter that cannot be executed."""
        source, target = request["TransformInput"], request["TransformOutput"]
        processing = request.get("DataProcessing", {})
        return cls(
            content_type=source.get("ContentType", ""),
            accept=target.get("Accept", ""),
            split=source.get("SplitType", "None") == "Line",
            single=request.get("BatchStrategy") == "SingleRecord",
            assemble=target.get("AssembleWith", "None") == "Line",
            join=processing.get("JoinSource", "None") == "Input",
            compressed=source.get("CompressionType", "None") == "Gzip",
            max_bytes=request.get("MaxPayloadInMB", 6) * 1024**2,
            concurrency=request.get("MaxConcurrentTransforms") or 1,
            input_filter=json_path.compiled(processing.get("InputFilter", "$")),
            output_filter=json_path.compiled(processing.get("OutputFilter", "$")),
        )

    @property
    def processes(self) -> bool:
        return self.join or self.input_filter is not None or self.output_filter is not None

    @property
    def whole_json(self) -> bool:
        """The object is one JSON value, not lines of them."""
        return not self.split and media_type(self.content_type) == _JSON

    def batches(self, file: IO[bytes], called: str) -> Iterator[Batch]:
        """The records of an object in mini-batches of at most `max_bytes`."""
        if not self.split:
            body = file.read(self.max_bytes + 1)
            if len(body) > self.max_bytes:
                raise JobError(f"{called} is longer than MaxPayloadInMB; raise it, or set SplitType to Line.")
            if body:
                yield _lines(body) if self.processes and not self.whole_json else [body]
            return
        batch: Batch = []
        size = 0
        for number, line in enumerate(iter(lambda: file.readline(self.max_bytes + 2), b""), start=1):
            record = line.removesuffix(b"\n")
            if len(record) > self.max_bytes:
                raise JobError(f"Record {number} of {called} is longer than MaxPayloadInMB; raise it.")
            if batch and (self.single or size + len(record) + 1 > self.max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(record)
            size += len(record) + 1
        if batch:
            yield batch

    def payload(self, batch: Batch) -> bytes:
        """The body of the request for a mini-batch."""
        if self.input_filter is None:
            return b"\n".join(batch)
        kind = media_type(self.content_type)
        return b"\n".join(
            _written(_selected(self.input_filter, _read(record, kind), "InputFilter"), kind) for record in batch
        )

    def result(self, batch: Batch, answer: bytes) -> bytes:
        """What a mini-batch adds to the output. Raises JobError where the answer has another number of records."""
        if (self.split and not (self.single and not self.assemble and not self.processes)) or self.processes:
            lines = [answer] if self.whole_json else _lines(answer)
            if len(lines) != len(batch):
                raise JobError(
                    f"{len(batch)} records were sent and {len(lines)} came back; let the model answer one line per "
                    "record, or set BatchStrategy to SingleRecord."
                )
            if self.join or self.output_filter is not None:
                lines = [self._joined(record, line) for record, line in zip(batch, lines, strict=True)]
            answer = b"\n".join(lines)
        return answer.removesuffix(b"\n") + b"\n" if self.assemble else answer

    def _joined(self, record: bytes, line: bytes) -> bytes:
        kind = media_type(self.accept or self.content_type)
        value = _read(line, kind)
        if self.join:
            given = _read(record, kind)
            if kind == _CSV:
                value = [*given, *value]
            elif isinstance(given, dict):
                value = given | {"SageMakerOutput": value}
            else:
                value = {"SageMakerInput": given, "SageMakerOutput": value}
        if self.output_filter is not None:
            value = _selected(self.output_filter, value, "OutputFilter")
        return _written(value, kind)


def media_type(content_type: str) -> str:
    return content_type.split(";")[0].strip().lower()


def _lines(body: bytes) -> Batch:
    return body.removesuffix(b"\n").split(b"\n") if body else []


def _read(text: bytes, kind: str) -> Any:
    """A record as a value: a CSV row is a list of strings."""
    try:
        if kind == _CSV:
            return next(csv.reader([text.decode()]), [])
        return json.loads(text)
    except (ValueError, csv.Error) as error:
        raise JobError(f"{_shown(text)} is no record of {kind} ({error}); correct it, or the content type.") from error


def _written(value: Any, kind: str) -> bytes:
    if kind != _CSV:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(value if isinstance(value, list) else [value])
    return row.getvalue().encode()


def _selected(select: Select, value: Any, called: str) -> Any:
    try:
        return select(value)
    except (LookupError, TypeError) as error:
        raise JobError(f"{called} finds nothing in {_shown(str(value).encode())} ({error}); correct it.") from error


def _shown(text: bytes) -> str:
    return repr(text[:200].decode("utf-8", "replace"))


def work(job: Job) -> End:
    """Start the model's worker, send every object through it, and end with the first failure if there was one."""
    platform, body = job.platform, job.body
    launch, socket_path = platform.endpoints.launch(body["_model"], job.stream.write)
    process = Guarded(
        [*launch.command, str(socket_path)],
        env=launch.env,
        cwd=launch.cwd,
        grace_seconds=platform.stop_grace_seconds,
        on_line=job.stream.write,
    )
    job.control.attach(process)
    try:
        return cut_short(job.control) or _transform_all(job, process, socket_path)
    finally:
        process.terminate()
        process.wait()
        socket_path.unlink(missing_ok=True)


def _transform_all(job: Job, process: Guarded, socket_path: Path) -> End:
    import httpx

    plan, objects = Plan.of(job.body), job.platform.objects
    source_uri = job.body["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    target = job.body["TransformOutput"]["S3OutputPath"].rstrip("/")
    failures: list[str] = []
    found = 0
    client_config = job.body.get("ModelClientConfig", {})
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(socket_path)),
        base_url="http://model",
        timeout=client_config.get("InvocationsTimeoutInSeconds", 600),
    ) as client:
        try:
            _wait_until_ready(client, process)
            invoke = _invoker(client, plan, process, client_config.get("InvocationsMaxRetries", 3))
            for name, source in objects.list(source_uri):
                found += 1
                output = job.base / "output" / f"{name}.out"
                output.parent.mkdir(parents=True, exist_ok=True)
                try:
                    _transform(plan, source, output, invoke)
                except (JobError, ModelError) as error:
                    failures.append(f"{_side(error)}: {name}: {error}")
                    job.stream.write(failures[-1])
                else:
                    objects.upload_file(output, f"{target}/{name}.out")
                output.unlink(missing_ok=True)
                if job.control.stopped or process.returncode is not None:
                    break  # it is not for this object alone
        except ModelError as error:
            failures.append(f"{_side(error)}: {error}")
    if end := cut_short(job.control):
        return end
    if not found and not failures:
        raise JobError(f"No object under {source_uri}; put the data there.")
    if failures:
        more = f" ({len(failures) - 1} more objects failed)" if len(failures) > 1 else ""
        return End("Failed", failures[0] + more)
    return End("Completed")


def _side(error: Exception) -> str:
    return "ClientError" if isinstance(error, JobError) else "AlgorithmError"


def _wait_until_ready(client: httpx.Client, process: Guarded) -> None:
    """Until the worker answers /ping, which it does when its model is loaded. Raises ModelError."""
    import httpx

    deadline = time.monotonic() + STARTUP_SECONDS
    while process.returncode is None:
        try:
            if client.get("/ping").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        if time.monotonic() > deadline:
            raise ModelError(f"the model was not loaded within {STARTUP_SECONDS:.0f} s; look at its log.")
        time.sleep(_POLL_SECONDS)
    raise ModelError(f"the model was not loaded: {died(process.returncode, process.last_errors())}")


def _invoker(client: httpx.Client, plan: Plan, process: Guarded, retries: int) -> Callable[[Batch], bytes]:
    """A function that gets the model's answer to a mini-batch; failures that may pass are tried again."""
    import httpx

    headers = {"content-type": plan.content_type, "accept": plan.accept}
    headers = {name: value for name, value in headers.items() if value}

    def invoke(batch: Batch) -> bytes:
        payload = plan.payload(batch)
        problem = ""
        for _ in range(retries + 1):
            try:
                response = client.post("/invocations", content=payload, headers=headers)
            except httpx.TransportError as error:
                if process.wait(1.0) is not None:
                    raise ModelError(
                        f"its process ended: {died(process.returncode or 0, process.last_errors())}"
                    ) from error
                problem = f"no answer ({type(error).__name__})"
                continue
            if response.status_code == 200:
                return response.content
            problem = f"status {response.status_code} from the model: {response.text[:500]}"
            if response.status_code < 500:
                raise JobError(problem)
        raise ModelError(problem)

    return invoke


def _transform(plan: Plan, source: Path, output: Path, invoke: Callable[[Batch], bytes]) -> None:
    try:
        with gzip.open(source) if plan.compressed else source.open("rb") as file, output.open("wb") as out:
            batches = plan.batches(cast(IO[bytes], file), source.name)
            for batch, answer in _in_order(invoke, batches, plan.concurrency):
                out.write(plan.result(batch, answer))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise JobError(f"it is not a readable gzip file ({error}); correct CompressionType.") from error


def _in_order(
    invoke: Callable[[Batch], bytes], batches: Iterable[Batch], concurrency: int
) -> Iterator[tuple[Batch, bytes]]:
    """Every mini-batch with its answer, in order; at most `concurrency` requests are under way."""
    with ThreadPoolExecutor(concurrency) as pool:
        under_way: deque[tuple[Batch, Future[bytes]]] = deque()
        for batch in batches:
            if len(under_way) == concurrency:
                first, future = under_way.popleft()
                yield first, future.result()
            under_way.append((batch, pool.submit(invoke, batch)))
        for first, future in under_way:
            yield first, future.result()


JOB = JobKind(
    kind="transform-job",
    prefix="TransformJob",
    start="TransformStartTime",
    end="TransformEndTime",
    log_group="/aws/sagemaker/TransformJobs",
    work=work,
)
