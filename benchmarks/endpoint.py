"""The embedded endpoint under load: CPU per request, latency, updates while clients ask, and a killed server.

    python -m benchmarks.endpoint [--requests N] [--updates N] [--clients N]
    python -m benchmarks.endpoint --soak [--requests N] [--replacements N]
    python -m benchmarks.endpoint --kill [--kills N]

Serves the inference code of model_projects/ticker_ranker over a LightGBM model that is trained here on seeded noise; a
request holds one mention with 20 candidates of 20 features. Clients are in a process of their own, keep their
connections, and sign. All guards are on: signatures, the training schema, and the capture of 1 % of the requests.
CPU is that of the server and the worker, from /proc, in the steady phase; latencies too. In the same run are measured:
`bare_us_per_request`, without schema and capture; `handlers_us_per_request`, the project's own code alone, which no
server can be cheaper than; and `mlflow_us_per_request`, the same trees and rows behind `mlflow models serve`, one
worker, without any guard. Then the model is replaced again and again under the same load.

`--soak` replaces the model while so many requests are answered in all, and fails on any error or on any answer of an
old version to a request that was sent after DescribeEndpoint had shown the new one. `--kill` kills the server
(SIGKILL) under load, starts it again, and says what clients saw and what came back.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "model_projects" / "ticker_ranker"
CANDIDATES, FEATURES, TREES = 20, 20, 350
NAMES = [f"feature_{number}" for number in range(FEATURES)]
ROLE = "arn:aws:iam::000000000000:role/benchmark"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/benchmark:1"
NAME = "ranker"


def train_model(folder: Path, trees: int = TREES) -> None:
    """What train.py of the project leaves, over seeded noise: the time of a prediction does not depend on the data."""
    import lightgbm
    import numpy

    random = numpy.random.default_rng(7)
    rows = random.normal(size=(5000, FEATURES)).astype(numpy.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.5).astype(int)
    data = lightgbm.Dataset(rows, labels, feature_name=NAMES)
    parameters = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 7}
    lightgbm.train(parameters, data, num_boost_round=trees).save_model(str(folder / "model.txt"))
    columns = [{"name": name, "type": "number", "min": -9, "max": 9} for name in NAMES]
    schema = {"feature_names": NAMES, "at": ["mentions", "candidates", "features"], "columns": columns}
    (folder / "schema.json").write_text(json.dumps(schema))
    (folder / "calibration.json").write_text(json.dumps({"points": [[0.0, 0.1], [1.0, 0.9]], "threshold": 0.5}))
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_bytes((PROJECT / "inference.py").read_bytes())


def archive(folder: Path, version: int) -> bytes:
    """model.tar.gz of the folder with the version in a file, so that every version has a digest of its own."""
    (folder / "version").write_text(str(version))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.add(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()


def features() -> list[list[float]]:
    """The rows of the request, one per candidate."""
    return [[round(((row * 31 + at * 17) % 97) / 48.5 - 1, 4) for at in range(FEATURES)] for row in range(CANDIDATES)]


def request_body() -> bytes:
    candidates = [{"company_id": f"us:{row:010d}", "features": found} for row, found in enumerate(features())]
    mention = {"mention_id": "m1", "candidates": candidates}
    return json.dumps({"feature_names": NAMES, "mentions": [mention]}, separators=(",", ":")).encode()


# The load, in a process of its own -----------------------------------------------------------------------------------


@dataclass
class Seen:
    """What clients saw: (sent, seconds, digest) of every right answer, other answers, and connections without one."""

    rows: list[tuple[float, float, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lost: int = 0  # requests whose connection ended before the answer
    refused: int = 0  # connections that could not be made

    def add(self, other: Seen) -> None:
        self.rows += other.rows
        self.errors += other.errors
        self.lost += other.lost
        self.refused += other.refused


class Client(asyncio.Protocol):
    """One keep-alive connection: the next request is sent when the answer is whole."""

    def __init__(self, request: bytes, expected: bytes, limit: int, seen: Seen) -> None:
        self._request = request
        self._expected = expected
        self._limit = limit
        self._buffer = b""
        self._sent = 0.0
        self._seen = seen
        self.closed = asyncio.get_running_loop().create_future()
        self.stopping = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    @property
    def done(self) -> bool:
        return self.stopping or bool(self._limit and len(self._seen.rows) + len(self._seen.errors) >= self._limit)

    def _send(self) -> None:
        if self.done:
            self._transport.close()
            return
        self._sent = time.monotonic()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        if len(body) < int(headers["content-length"]):
            return
        if head.startswith(b"HTTP/1.1 200 ") and body.startswith(self._expected):
            digest = sys.intern(headers.get("x-ledgerline-model-digest", ""))
            self._seen.rows.append((self._sent, time.monotonic() - self._sent, digest))
        else:
            self._seen.errors.append(self._buffer[:300].decode("utf-8", "replace"))
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.lost += not self.done
        self.closed.set_result(None)


def load(port: int, request: bytes, expected: bytes, clients: int, limit: int, pipe: Connection) -> None:
    """Run clients for `limit` requests in all (0: until told to stop) and send back what they saw.

    The pipe takes "count" (answers so far are sent back) and "stop". A client whose connection ends makes a new one.
    """
    asyncio.run(_load(port, request, expected, clients, limit, pipe))


async def _load(port: int, request: bytes, expected: bytes, clients: int, limit: int, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    seen = [Seen() for _ in range(clients)]
    current: dict[int, Client] = {}
    stopping = asyncio.Event()

    async def keep_asking(number: int) -> None:
        def make() -> Client:
            return Client(request, expected, limit // clients, seen[number])

        while not stopping.is_set():
            try:
                _, current[number] = await loop.create_connection(make, "127.0.0.1", port)
            except OSError:
                seen[number].refused += 1
                await asyncio.sleep(0.02)
                continue
            await current[number].closed
            if current[number].done:
                return

    tasks = [loop.create_task(keep_asking(number)) for number in range(clients)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.02)
        if pipe.poll():
            if pipe.recv() == "count":
                pipe.send(sum(len(one.rows) for one in seen))
            else:
                stopping.set()
                for client in current.values():
                    client.stopping = True
    await asyncio.gather(*tasks)
    whole = Seen()
    for one in seen:
        whole.add(one)
    pipe.send(whole)


ANSWER = b'{"answers":[{"mention_id":"m1"'


class Load:
    """The load process; `result` waits for its end."""

    def __init__(self, port: int, request: bytes, clients: int, limit: int, expected: bytes = ANSWER) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (port, request, expected, clients, limit, theirs)
        self._process = context.Process(target=load, args=arguments, daemon=True)
        self._process.start()

    def wait_for(self, answers: int) -> None:
        """Until so many requests were answered."""
        while self._count() < answers:
            time.sleep(0.02)

    def _count(self) -> int:
        self._pipe.send("count")
        return int(self._pipe.recv())

    def stop(self) -> Seen:
        self._pipe.send("stop")
        return self.result()

    def result(self) -> Seen:
        found: Seen = self._pipe.recv()
        self._process.join()
        return found


def handlers_us(folder: Path) -> float:
    """CPU of the project's handlers alone, in this process: what no server can be cheaper than."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("inference_alone", folder / "code" / "inference.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{folder} has no code/inference.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    model, body, kind = module.model_fn(str(folder)), request_body().decode(), "application/json"
    begin = time.process_time()
    for _ in range(2000):
        module.output_fn(module.predict_fn(module.input_fn(body, kind), model), kind)
    return (time.process_time() - begin) / 2000 * 1e6


# Measuring -----------------------------------------------------------------------------------------------------------


def cpu_seconds(root: int) -> float | None:
    """User and system CPU of a process and of all that descend from it; None where there is no /proc."""
    if not Path("/proc/self/stat").exists():
        return None
    parents: dict[int, tuple[int, float]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            parents[int(folder.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    family, size = {root}, 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, (parent, _) in parents.items() if parent in family}
    return sum(parents[pid][1] for pid in family if pid in parents)


def signed_request(port: int, credentials: Any, body: bytes) -> bytes:
    """The whole request as bytes, signed by botocore; a signature is good for 15 minutes."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    path = f"/endpoints/{NAME}/invocations"
    request = AWSRequest(
        "POST", f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": "application/json"}
    )
    keys = Credentials(credentials.access_key_id, credentials.secret_access_key)
    SigV4Auth(keys, "sagemaker", "us-east-1").add_auth(request)
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 1,
    "DestinationS3Uri": "s3://benchmark/captured",
    "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
}


@dataclass
class Served:
    """A running server whose endpoint serves version 0 of a model."""

    home: Path
    objects: Path
    model: Path
    client: Any
    pid: int
    port: int
    request: bytes

    def create_version(self, version: int, *, guards: bool = True) -> str:
        """A model and a config of this version; returns the config's name."""
        path = self._archive(version)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive(self.model, version))
        name = f"{NAME}-{version}" if guards else f"{NAME}-{version}-bare"
        container: dict[str, Any] = {"Image": IMAGE, "ModelDataUrl": f"s3://benchmark/model-{version}.tar.gz"}
        if not guards:
            container["Environment"] = {"LEDGERLINE_SCHEMA_MODE": "off"}
        self.client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        more = {"DataCaptureConfig": CAPTURE} if guards else {}
        self.client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **more)
        return name

    def update(self, version: int, *, guards: bool = True) -> tuple[float, str]:
        """Replace the model; returns when DescribeEndpoint said so (monotonic seconds), and the new digest."""
        config = self.create_version(version, guards=guards)
        self.client.update_endpoint(EndpointName=NAME, EndpointConfigName=config)
        wait(self.client, config)
        return time.monotonic(), self.digest(version)

    def digest(self, version: int) -> str:
        from ledgerline.release.digest import model_digest

        return model_digest(self._archive(version).read_bytes())

    def _archive(self, version: int) -> Path:
        return self.objects / "benchmark" / f"model-{version}.tar.gz"

    def start(self) -> None:
        """Start the server again, on the port that it had."""
        from local_sagemaker import daemon

        self.pid = daemon.start(self.home, object_root=self.objects, port=self.port).pid


@contextmanager
def serving(folder: Path, trees: int = TREES) -> Iterator[Served]:
    """A server in the folder, stopped at the end."""
    import boto3

    from local_sagemaker import daemon
    from local_sagemaker.home import Home

    home, objects, model = folder / "home", folder / "objects", folder / "model"
    model.mkdir()
    train_model(model, trees)
    running = daemon.start(home, object_root=objects)
    try:
        found = daemon.environment(home)
        client = boto3.client(
            "sagemaker",
            endpoint_url=running.url,
            region_name="us-east-1",
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        request = signed_request(running.port, Home(home).credentials(), request_body())
        served = Served(home, objects, model, client, running.pid, running.port, request)
        config = served.create_version(0)
        client.create_endpoint(EndpointName=NAME, EndpointConfigName=config)
        wait(client, config)
        yield served
    finally:
        daemon.stop(home)


def wait(client: Any, config: str) -> None:
    """Until the endpoint serves the config. Raises RuntimeError if it does not."""
    while (found := client.describe_endpoint(EndpointName=NAME))["EndpointStatus"] in ("Creating", "Updating"):
        time.sleep(0.02)
    if (found["EndpointStatus"], found["EndpointConfigName"], found.get("FailureReason")) != (
        "InService",
        config,
        None,
    ):
        raise RuntimeError(f"the endpoint does not serve {config}: {found}")


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def answers_of_old_versions(rows: list[tuple[float, float, str]], switches: list[tuple[float, str]]) -> int:
    """Answers to requests sent after a switch was acknowledged that came from a version before it."""
    order = {digest: number for number, (_, digest) in enumerate(switches)}
    stale = 0
    for sent, _, digest in rows:
        acknowledged = max((number for number, (at, _) in enumerate(switches) if at < sent), default=0)
        stale += order[digest] < acknowledged
    return stale


def cpu_us(pid: int, port: int, request: bytes, clients: int, requests: int, expected: bytes) -> tuple[Any, Seen]:
    """CPU per request of the process and its children, after a warm-up; and what the clients saw."""
    Load(port, request, clients, 500, expected).result()
    before = cpu_seconds(pid)
    seen = Load(port, request, clients, requests, expected).result()
    after = cpu_seconds(pid)
    if before is None or after is None or not seen.rows:
        return None, seen
    return round((after - before) / len(seen.rows) * 1e6, 1), seen


def measure_mlflow(model: Path, clients: int, requests: int) -> float | None:
    """The same trees and rows behind MLflow's own server: CPU per request in microseconds; None where it fails."""
    with tempfile.TemporaryDirectory(prefix="mlflow-") as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        save = (
            "import sys, lightgbm, mlflow.lightgbm; "
            "mlflow.lightgbm.save_model(lightgbm.Booster(model_file=sys.argv[1]), sys.argv[2])"
        )
        saved = Path(scratch) / "model"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # it calls uvicorn
        environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        subprocess.run([sys.executable, "-c", save, str(model / "model.txt"), str(saved)], check=True, **silent)
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(saved), "--port", str(port)]
        server = subprocess.Popen([*command, "--env-manager", "local", "--workers", "1"], cwd=scratch, **silent)
        try:
            if not _listening(port, server):
                return None
            rows = {"columns": NAMES, "data": features()}
            body = json.dumps({"dataframe_split": rows}, separators=(",", ":")).encode()
            lines = ["POST /invocations HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
            request = "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body
            found, seen = cpu_us(server.pid, port, request, clients, requests, b'{"predictions"')
            for error in seen.errors[:2]:
                print(f"mlflow: {error}")
            return found
        finally:
            server.terminate()
            server.wait(30)


def _listening(port: int, server: subprocess.Popen[bytes]) -> bool:
    for _ in range(600):
        if server.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


def measure(folder: Path, requests: int, updates: int, clients: int) -> dict[str, Any]:
    with serving(folder) as served:
        measured, steady = cpu_us(served.pid, served.port, served.request, clients, requests, ANSWER)
        switches = [(0.0, served.digest(0))]
        under_load = Load(served.port, served.request, clients, 0)
        switches += [served.update(version) for version in range(1, updates + 1)]
        updated = under_load.stop()
        served.update(updates + 1, guards=False)
        bare, _ = cpu_us(served.pid, served.port, served.request, clients, requests, ANSWER)
        captured = sum(
            len(path.read_text().splitlines()) for path in (served.objects / "benchmark" / "captured").rglob("*.jsonl")
        )
    peer = measure_mlflow(served.model, clients, max(1000, requests // 10))
    for error in [*steady.errors, *updated.errors][:5]:
        print(error)
    latencies = [latency * 1000 for _, latency, _ in steady.rows]
    last = max(sent + latency for sent, latency, _ in steady.rows)
    return {
        "cpu_us_per_request": measured,
        "bare_us_per_request": bare,
        "handlers_us_per_request": round(handlers_us(served.model), 1),
        "mlflow_us_per_request": peer,
        "times_cheaper_than_mlflow": round(peer / measured, 2) if peer and measured else None,
        "p50_ms": round(statistics.median(latencies), 3),
        "p99_ms": round(percentile(latencies, 0.99), 3),
        "requests_per_s": round(len(steady.rows) / (last - steady.rows[0][0])),
        "requests": len(steady.rows) + len(updated.rows),
        "captured": captured,
        "updates": updates,
        "errors": sum(len(seen.errors) + seen.lost + seen.refused for seen in (steady, updated)),
        "answers_of_old_versions": answers_of_old_versions(updated.rows, switches),
        "p99_ms_under_updates": round(percentile([latency * 1000 for _, latency, _ in updated.rows], 0.99), 3),
        "request_bytes": len(served.request),
        "clients": clients,
    }


def soak(folder: Path, requests: int, replacements: int, clients: int, trees: int = TREES) -> dict[str, Any]:
    """Answer so many requests over so many replacements of the model, evenly spread."""
    with serving(folder, trees) as served:
        switches = [(0.0, served.digest(0))]
        begin = time.monotonic()
        under_load = Load(served.port, served.request, clients, 0)
        for version in range(1, replacements + 1):
            under_load.wait_for(requests * version // (replacements + 1))
            switches.append(served.update(version))
        under_load.wait_for(requests)
        seen = under_load.stop()
        seconds = time.monotonic() - begin
    for error in seen.errors[:5]:
        print(error)
    return {
        "requests": len(seen.rows),
        "replacements": len({digest for _, _, digest in seen.rows}) - 1,
        "errors": len(seen.errors) + seen.lost + seen.refused,
        "answers_of_old_versions": answers_of_old_versions(seen.rows, switches),
        "requests_per_s": round(len(seen.rows) / seconds),
        "p99_ms": round(percentile([latency * 1000 for _, latency, _ in seen.rows], 0.99), 3),
        "max_ms": round(max(latency for _, latency, _ in seen.rows) * 1000, 1),
        "clients": clients,
    }


def kill(folder: Path, kills: int, clients: int, trees: int = TREES) -> dict[str, Any]:
    """Kill the server under load so many times, and start it again each time."""
    from local_sagemaker.home import Home

    with serving(folder, trees) as served:
        under_load = Load(served.port, served.request, clients, 0)
        answered = 0
        down = []
        for _ in range(kills):
            answered += 300
            under_load.wait_for(answered)
            begin = time.monotonic()
            os.kill(served.pid, signal.SIGKILL)
            while Home(served.home).locked():
                time.sleep(0.001)
            served.start()
            down.append(time.monotonic() - begin)
        under_load.wait_for(answered + 300)
        seen = under_load.stop()
        status = served.client.describe_endpoint(EndpointName=NAME)["EndpointStatus"]
        digest = served.digest(0)
    sent = sorted(sent + latency for sent, latency, _ in seen.rows)
    return {
        "kills": kills,
        "answers": len(seen.rows),
        "requests_without_answer": seen.lost,
        "refused_connections": seen.refused,
        "wrong_answers": len(seen.errors),
        "other_digests": sum(found != digest for _, _, found in seen.rows),
        "status_after": status,
        "server_back_s": round(max(down), 3),
        "longest_silence_s": round(max(after - before for before, after in itertools.pairwise(sent)), 3),
        "clients": clients,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, help="steady phase: 20,000; --soak: 1,000,000")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--soak", action="store_true")
    parser.add_argument("--replacements", type=int, default=100, help="of --soak (default: %(default)s)")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--kills", type=int, default=3, help="of --kill (default: %(default)s)")
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="endpoint-") as name:
        folder = Path(name)
        if found.soak:
            result = soak(folder, found.requests or 1_000_000, found.replacements, found.clients)
            failed = bool(result["errors"] or result["answers_of_old_versions"])
        elif found.kill:
            result = kill(folder, found.kills, found.clients)
            failed = bool(result["wrong_answers"] or result["other_digests"])
        else:
            result, failed = measure(folder, found.requests or 20_000, found.updates, found.clients), False
    print(json.dumps(result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
