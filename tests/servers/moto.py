"""AWS by moto on loopback: S3, ECS, SNS, Secrets Manager, SSM, CloudWatch: `with MotoServer() as server: server.url`.

It keeps everything in memory and takes any credentials. It is a process of its own: some calls of delta-rs hold Python's
lock while they wait for S3, which would wait for them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.servers.ports import free_port

START_SECONDS = 60.0
REGION = "us-east-1"
# Services of which boto3 reads an endpoint of its own in the environment; SageMaker is not one of them: it is embedded.
SERVICES = ("S3", "ECS", "SNS", "SECRETS_MANAGER", "SSM", "CLOUDWATCH", "CLOUDWATCH_LOGS")


class NoMoto(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


class MotoServer:
    """An empty account; `url` is the endpoint of all services, `log` its log. Raises NoMoto where the package is missing."""

    def __enter__(self) -> MotoServer:
        if find_spec("moto") is None or find_spec("flask") is None:
            raise NoMoto("no moto: pip install 'moto[server]'")
        self._home = Path(tempfile.mkdtemp(prefix="ledgerline-moto-"))
        self.log = self._home / "log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def variables(self) -> dict[str, str]:
        """What points boto3 and delta-rs at it."""
        endpoints = {f"AWS_ENDPOINT_URL_{service}": self.url for service in SERVICES}
        return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION, **endpoints}

    def _wait_until_ready(self, port: int) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"moto did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
