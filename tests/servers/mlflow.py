"""A real MLflow server on loopback: `with MlflowServer() as server: server.url`. Its runs lie in SQLite, its artifacts in a
folder, both in a temporary home that ends with the block. For tests of outages it may be killed, started again on the same
data and port, or paused as if it hung.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.servers.ports import free_port

START_SECONDS = 120.0  # the first start makes the schema, migration by migration


class NoMlflow(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


class MlflowServer:
    """An empty server; `url` is its address, `log` its log. Raises NoMlflow where the package is missing."""

    def __enter__(self) -> MlflowServer:
        from importlib.util import find_spec

        if find_spec("mlflow") is None:
            raise NoMlflow("no MLflow: pip install mlflow")
        self._home = Path(tempfile.mkdtemp(prefix="ledgerline-mlflow-"))
        self.log = self._home / "log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start the process and wait until it answers. Raises RuntimeError with the end of its log."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        stores = [
            f"--backend-store-uri=sqlite:///{self._home}/mlflow.db",
            f"--artifacts-destination={self._home}/files",
        ]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*command, *stores, "--workers", "1"],
                cwd=self._home,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its workers are ended, and paused, with it
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"MLflow did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, as a lost machine would; its data stays."""
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It keeps its connections and answers nothing any more."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, which: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        os.killpg(self._process.pid, which)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
