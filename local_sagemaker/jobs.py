"""The job queue: at most so many jobs at once, owners of waiting jobs served in turn, every job stoppable at any time.

What becomes of a job is in lifecycle.py; here is only when it runs and how it is stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from local_sagemaker.processes import Guarded

_log = logging.getLogger(__name__)
Why = Literal["stop", "timeout", "shutdown"]


class Stoppable(Protocol):
    """What a job runs, and what can be told to end."""

    def terminate(self) -> None: ...


class Control:
    """The handle of one job: whether and why it must stop, and the process to tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Stoppable | None = None
        self.stopped: Why | None = None

    def stop(self, why: Why) -> None:
        """Ask the job to stop; the first reason counts."""
        with self._lock:
            self.stopped = self.stopped or why
            if self._process is not None:
                self._process.terminate()

    def attach(self, process: Stoppable) -> None:
        with self._lock:
            self._process = process
            if self.stopped:
                process.terminate()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit code, why it was stopped if it was, and the last lines of its stderr."""

    code: int
    stopped: Why | None
    errors: str


def execute(
    control: Control,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    grace_seconds: float,
    max_seconds: float,
    on_line: Callable[[str], None],
) -> Outcome:
    """Run a command to its end, to the stop of its owner, or to its time limit: SIGTERM, the grace, SIGKILL."""
    process = Guarded(command, env=env, cwd=cwd, grace_seconds=grace_seconds, on_line=on_line)
    control.attach(process)
    code = process.wait(max_seconds)
    if code is None:
        control.stop("timeout")
        code = process.wait()
    return Outcome(1 if code is None else code, control.stopped, process.last_errors())


class JobQueue:
    """Runs jobs in `slots` threads. A job is a callable that records its own end; it must not raise."""

    def __init__(self, slots: int) -> None:
        self._condition = threading.Condition()
        self._waiting: OrderedDict[str, deque[tuple[str, Callable[[Control], None]]]] = OrderedDict()
        self._controls: dict[str, Control] = {}
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"job-slot-{n}", daemon=True) for n in range(slots)]
        for thread in self._threads:
            thread.start()

    def submit(self, key: str, run: Callable[[Control], None], *, owner: str) -> None:
        """Queue a job. `key` names it for `stop`; owners take turns, the jobs of one owner run in their order."""
        with self._condition:
            self._waiting.setdefault(owner, deque()).append((key, run))
            self._controls[key] = Control()
            self._condition.notify()

    def stop(self, key: str) -> None:
        """Stop a job, if it is here. One that waits is run at once, outside of the line, and finds itself stopped."""
        with self._condition:
            control = self._controls.get(key)
            waiting = self._withdraw(key)
        if control is not None:
            control.stop("stop")
            if waiting is not None:
                self._run(key, waiting)

    def _withdraw(self, key: str) -> Callable[[Control], None] | None:
        """Take a job out of the line; None if it does not wait in it."""
        for owner, jobs in self._waiting.items():
            for job in jobs:
                if job[0] == key:
                    jobs.remove(job)
                    if not jobs:
                        del self._waiting[owner]
                    return job[1]
        return None

    def close(self, timeout: float) -> None:
        """Stop the running jobs, and start no more; waiting ones stay in the store for the next server."""
        with self._condition:
            self._closed = True
            for control in self._controls.values():
                control.stop("shutdown")
            self._condition.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _next(self) -> tuple[str, Callable[[Control], None]] | None:
        with self._condition:
            while not self._waiting and not self._closed:
                self._condition.wait()
            if self._closed:
                return None
            owner, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[owner] = jobs  # to the end of the line
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._run(*job)

    def _run(self, key: str, run: Callable[[Control], None]) -> None:
        try:
            run(self._controls[key])
        except Exception:  # noqa: BLE001 - a slot must outlive any job; it is logged whole
            _log.exception("job %s escaped", key)
        finally:
            with self._condition:
                self._controls.pop(key, None)
