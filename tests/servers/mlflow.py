"""A real MLflow server of the package on loopback, for the contract suites: `with MlflowServer() as server:`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 120


class NoMlflow(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


class MlflowServer:
    """An empty server, its data in a temporary folder that ends with the block; `url` is its address. Raises NoMlflow.

    For tests of outages it may be killed, and started again on the same data and port, or paused as if it hung.
    """

    def __enter__(self) -> MlflowServer:
        try:
            import flask  # noqa: F401 - mlflow-skinny has the client only
        except ImportError:
            raise NoMlflow("the MLflow server is not installed: pip install mlflow") from None
        self._home = Path(tempfile.mkdtemp(prefix="mlflow-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def log(self) -> Path:
        return self._home / "log"

    def start(self) -> None:
        """Start and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        stores = ["--backend-store-uri", f"sqlite:///{self._home}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self._home / "artifacts"), "--workers", "1"]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self._home / "log", "ab") as log:
            self._server = subprocess.Popen(
                command + stores + artifacts,
                cwd=self._home,
                env={**os.environ, **quiet},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it has children, which are paused and killed with it
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"MLflow did not start:\n{(self._home / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        if self._server is not None:
            self._signal(signal.SIGKILL)
            self._server.wait()
            self._server = None

    def pause(self) -> None:
        """It accepts connections and answers nothing, as a server that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
