"""The embedded endpoint under load: CPU per request, latency, and updates while clients ask.

    python -m benchmarks.endpoint [--requests N] [--updates N] [--clients N]

Serves the inference code of model_projects/ticker_ranker over a LightGBM model that is trained here on seeded noise; a
request holds one mention with 20 candidates of 20 features. Clients are in a process of their own, keep their
connections, and sign; the server checks every signature. CPU is that of the server and the worker, from /proc, in the
steady phase; latencies too. `handlers_us_per_request` is the share of the project's own code, measured alone in the
same run. Then the model is replaced again and again under the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "model_projects" / "ticker_ranker"
CANDIDATES, FEATURES, TREES = 20, 20, 350
ROLE = "arn:aws:iam::000000000000:role/benchmark"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/benchmark:1"
NAME = "ranker"


def train_model(folder: Path) -> None:
    """What train.py of the project leaves, over seeded noise: the time of a prediction does not depend on the data."""
    import lightgbm
    import numpy

    random = numpy.random.default_rng(7)
    rows = random.normal(size=(5000, FEATURES)).astype(numpy.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.5).astype(int)
    names = [f"feature_{number}" for number in range(FEATURES)]
    data = lightgbm.Dataset(rows, labels, feature_name=names)
    parameters = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "num_threads": 1, "seed": 7}
    lightgbm.train(parameters, data, num_boost_round=TREES).save_model(str(folder / "model.txt"))
    (folder / "schema.json").write_text(json.dumps({"feature_names": names}))
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


def request_body() -> bytes:
    names = [f"feature_{number}" for number in range(FEATURES)]
    features = [
        [round(((row * 31 + at * 17) % 97) / 48.5 - 1, 4) for at in range(FEATURES)] for row in range(CANDIDATES)
    ]
    candidates = [{"company_id": f"us:{row:010d}", "features": features[row]} for row in range(CANDIDATES)]
    mention = {"mention_id": "m1", "candidates": candidates}
    return json.dumps({"feature_names": names, "mentions": [mention]}, separators=(",", ":")).encode()


# The load, in a process of its own -----------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """One keep-alive connection: the next request is sent when the answer is whole. Notes (sent, seconds, digest)."""

    def __init__(self, request: bytes, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._buffer = b""
        self._sent = 0.0
        self.rows: list[tuple[float, float, str]] = []
        self.errors: list[str] = []
        self.done = asyncio.get_running_loop().create_future()
        self.stopping = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if self.stopping or (self._limit and len(self.rows) + len(self.errors) >= self._limit):
            self.done.set_result(None)
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
        if head.startswith(b"HTTP/1.1 200 ") and body.startswith(b'{"answers":[{"mention_id":"m1"'):
            self.rows.append((self._sent, time.monotonic() - self._sent, headers["x-ledgerline-model-digest"]))
        else:
            self.errors.append(self._buffer[:300].decode("utf-8", "replace"))
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.errors.append(f"connection lost: {exc}")
            self.done.set_result(None)


def load(port: int, request: bytes, clients: int, limit: int, pipe: Connection) -> None:
    """Run clients for `limit` requests in all (0: until told to stop) and send back their rows and errors."""
    asyncio.run(_load(port, request, clients, limit, pipe))


async def _load(port: int, request: bytes, clients: int, limit: int, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    running = []
    for _ in range(clients):
        _, client = await loop.create_connection(lambda: Client(request, limit // clients), "127.0.0.1", port)
        running.append(client)
    while not all(client.done.done() for client in running):
        await asyncio.sleep(0.05)
        if pipe.poll():
            pipe.recv()
            for client in running:
                client.stopping = True
    rows = [row for client in running for row in client.rows]
    pipe.send((rows, [error for client in running for error in client.errors]))


class Load:
    """The load process; `result` waits for its end."""

    def __init__(self, port: int, request: bytes, clients: int, limit: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=load, args=(port, request, clients, limit, theirs), daemon=True)
        self._process.start()

    def stop(self) -> None:
        self._pipe.send("stop")

    def result(self) -> tuple[list[tuple[float, float, str]], list[str]]:
        found = self._pipe.recv()
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


def create_version(client: Any, objects: Path, model: Path, version: int) -> str:
    """A model and a config of this version; returns the config's name."""
    path = objects / "benchmark" / f"model-{version}.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(model, version))
    name = f"{NAME}-{version}"
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://benchmark/model-{version}.tar.gz"}
    client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


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


def measure(folder: Path, requests: int, updates: int, clients: int) -> dict[str, Any]:
    import boto3

    from ledgerline.release.digest import model_digest
    from local_sagemaker import daemon
    from local_sagemaker.home import Home

    home, objects, model = folder / "home", folder / "objects", folder / "model"
    model.mkdir()
    train_model(model)
    begin = time.monotonic()
    running = daemon.start(home, object_root=objects)
    server_start = time.monotonic() - begin
    try:
        found = daemon.environment(home)
        client = boto3.client(
            "sagemaker",
            endpoint_url=running.url,
            region_name="us-east-1",
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        config = create_version(client, objects, model, 0)
        begin = time.monotonic()
        client.create_endpoint(EndpointName=NAME, EndpointConfigName=config)
        wait(client, config)
        worker_start = time.monotonic() - begin
        request = signed_request(running.port, Home(home).credentials(), request_body())
        Load(running.port, request, clients, 500).result()
        cpu = cpu_seconds(running.pid)
        begin = time.monotonic()
        steady, errors = Load(running.port, request, clients, requests).result()
        seconds = time.monotonic() - begin
        cpu_after = cpu_seconds(running.pid)
        digests = [model_digest((objects / "benchmark" / "model-0.tar.gz").read_bytes())]
        switches = [(0.0, digests[0])]
        under_load = Load(running.port, request, clients, 0)
        for version in range(1, updates + 1):
            config = create_version(client, objects, model, version)
            client.update_endpoint(EndpointName=NAME, EndpointConfigName=config)
            wait(client, config)
            switches.append(
                (time.monotonic(), model_digest((objects / "benchmark" / f"model-{version}.tar.gz").read_bytes()))
            )
        under_load.stop()
        rows, more_errors = under_load.result()
    finally:
        daemon.stop(home)
    for error in [*errors, *more_errors][:5]:
        print(error)
    latencies = [latency * 1000 for _, latency, _ in steady]
    measured = None if cpu is None or cpu_after is None else round((cpu_after - cpu) / len(steady) * 1e6, 1)
    return {
        "cpu_us_per_request": measured,
        "handlers_us_per_request": round(handlers_us(model), 1),
        "p50_ms": round(statistics.median(latencies), 3),
        "p99_ms": round(percentile(latencies, 0.99), 3),
        "requests_per_s": round(len(steady) / seconds),
        "requests": len(steady) + len(rows),
        "updates": updates,
        "errors": len(errors) + len(more_errors),
        "answers_of_old_versions": answers_of_old_versions(rows, switches),
        "p99_ms_under_updates": round(percentile([latency * 1000 for _, latency, _ in rows], 0.99), 3)
        if rows
        else None,
        "server_start_s": round(server_start, 3),
        "worker_start_s": round(worker_start, 3),
        "request_bytes": len(request),
        "clients": clients,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=20_000, help="of the steady phase (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--clients", type=int, default=6)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="endpoint-") as folder:
        print(json.dumps(measure(Path(folder), found.requests, found.updates, found.clients)))


if __name__ == "__main__":
    main()
