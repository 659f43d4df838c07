"""The server process: `python -m local_sagemaker.server --home DIR`. daemon.py starts it detached."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from local_sagemaker import lifecycle, processing, protocol, s3_objects, training, transform, tuning
from local_sagemaker.endpoints.asynchronous import AsyncQueue
from local_sagemaker.endpoints.capture import CaptureWriter
from local_sagemaker.endpoints.supervisor import Supervisor
from local_sagemaker.environments import Environments
from local_sagemaker.errors import ServerError
from local_sagemaker.front import Front
from local_sagemaker.home import EXIT_REFUSED, REGION, Home, Running
from local_sagemaker.http1 import connection_factory
from local_sagemaker.jobs import JobQueue
from local_sagemaker.logs import Logs
from local_sagemaker.objects import Objects
from local_sagemaker.platform import Platform
from local_sagemaker.store import Store

DRAIN_SECONDS = 30.0
TUNERS = 8  # tuning jobs at once; each is a thread that waits for its trials


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. `port` 0 means: the last one if it is free, else any."""

    home: Path
    object_root: str  # a folder, or the URL of an S3 endpoint
    port: int = 0
    slots: int = 2
    stop_grace_seconds: float = 120.0


def listen(port: int, preferred: int) -> socket.socket:
    """A listening socket on loopback. Raises ServerError if the port that was asked for is taken."""
    for candidate in [port] if port else [preferred, 0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(512)
        except OSError:
            listener.close()
            continue
        return listener
    raise ServerError(f"Port {port} is in use; choose another with --port, or leave --port out for a free one.")


async def serve(home: Home, settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain."""
    last = home.last_running()
    (home.path / "server.json").unlink(missing_ok=True)
    listener = listen(settings.port, last.port if last else 0)
    credentials = home.credentials()
    for folder in (home.container_home, home.jobs):
        folder.mkdir(parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    platform = Platform(
        home=home,
        store=Store(home.state),
        objects=_objects(home, settings.object_root),
        logs=Logs(home.logs),
        jobs=JobQueue(settings.slots),
        tuners=JobQueue(TUNERS),
        environments=Environments(home.environments),
        stop_grace_seconds=settings.stop_grace_seconds,
    )
    supervisor = Supervisor(platform, loop)
    platform.attach(supervisor)
    await supervisor.recover()
    # Tuning comes last: a job that waited starts new trials, which are not to be taken for those of the dead server.
    for kind in (training.JOB, processing.JOB, transform.JOB, tuning.JOB):
        lifecycle.recover(platform, kind)
    protocol.service("sagemaker")  # 50 ms that the first request need not wait for
    captures, queue = CaptureWriter(platform.objects), AsyncQueue(platform, loop)
    queue.recover()
    front = Front(platform, credentials, captures, queue)
    server = await loop.create_server(connection_factory(front), sock=listener)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    home.write_running(Running(os.getpid(), listener.getsockname()[1], s3_objects.resolved(settings.object_root)))
    logging.info("listening on 127.0.0.1:%d", listener.getsockname()[1])
    await stop.wait()
    logging.info("stopping")
    server.close()
    await front.drain(DRAIN_SECONDS)
    queue.pause()
    await supervisor.close()
    await queue.close()
    await loop.run_in_executor(None, captures.close)
    await loop.run_in_executor(None, platform.tuners.close, 5.0)  # first, so that no trial is started any more
    await loop.run_in_executor(None, platform.jobs.close, settings.stop_grace_seconds + 5)
    platform.store.close()
    logging.info("stopped")


def _objects(home: Home, object_root: str) -> Objects:
    if s3_objects.is_endpoint(object_root):
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
        return s3_objects.S3Objects(object_root, home.path / "s3", region=region)
    Path(object_root).mkdir(parents=True, exist_ok=True)
    return Objects(Path(object_root).absolute())


def parse_arguments(argv: list[str]) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m local_sagemaker.server")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--object-root", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--stop-grace", type=float, default=120.0)
    found = parser.parse_args(argv)
    return Settings(found.home, found.object_root, found.port, found.slots, found.stop_grace)


def main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = parse_arguments(argv)
    home = Home(settings.home)
    home.prepare()
    try:
        lock = home.lock()
        with lock:
            uvloop.run(serve(home, settings))
    except ServerError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
