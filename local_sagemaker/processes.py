"""Subprocesses under the guard: a job or an endpoint's worker, its output read line by line, its end reported once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).parent / "inside" / "guard.py"
_KEPT_LINES = 40


class Guarded:
    """A running command. `on_line(text)` gets each line of its output; `on_exit(code)` is called once, in a thread."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        grace_seconds: float,
        on_line: Callable[[str], None],
        on_exit: Callable[[int], None] | None = None,
    ) -> None:
        self._on_line = on_line
        self._on_exit = on_exit
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)
        argv = [sys.executable, "-I", "-S", str(_GUARD), str(grace_seconds), *command]
        self._process = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, None), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self._errors), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None if the command still runs after `timeout` seconds."""
        self._waiter.join(timeout)
        return self.returncode

    def terminate(self) -> None:
        """SIGTERM to the whole group; the guard follows with SIGKILL after the grace."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def last_errors(self) -> str:
        """The last lines of stderr."""
        return "\n".join(self._errors)

    def _read(self, pipe: IO[bytes], kept: deque[str] | None) -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if kept is not None:
                    kept.append(line)
                self._on_line(line)

    def _wait(self) -> None:
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.returncode = code
        if self._on_exit is not None:
            self._on_exit(code)
