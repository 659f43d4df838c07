"""One worker process that serves one model version, and the fleet that keeps a variant's worker alive."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker.endpoints.upstream import UNDELIVERED, Answer, Done, Upstream
from local_sagemaker.logs import Stream
from local_sagemaker.processes import Guarded

_log = logging.getLogger(__name__)
DRAIN_SECONDS = 30.0  # AWS: SIGKILL 30 s after SIGTERM
_PING = b"GET /ping HTTP/1.1\r\nhost: model\r\nconnection: close\r\n\r\n"
_POLL_SECONDS = 0.02
_BACKOFF = (0.05, 0.2, 1.0, 5.0)  # seconds before each restart of a worker that keeps crashing
_MAX_WAITING = 1000


class StartError(Exception):
    """A worker did not come up; the message holds the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a variant's worker."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    startup_seconds: float


class Worker:
    """A running process that answered /ping, and the connections to it."""

    def __init__(self, process: Guarded, upstream: Upstream, socket_path: Path) -> None:
        self.process = process
        self.upstream = upstream
        self._socket_path = socket_path

    @classmethod
    async def start(cls, launch: Launch, socket_path: Path, stream: Stream, on_exit: Callable[[int], None]) -> Worker:
        """Start the process and wait until it is loaded, warmed and answers /ping. Raises StartError."""
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(
            None,
            lambda: Guarded(
                [*launch.command, str(socket_path)],
                env=launch.env,
                cwd=launch.cwd,
                grace_seconds=DRAIN_SECONDS,
                on_line=stream.write,
                on_exit=lambda code: _ended(loop, stream, on_exit, code),
            ),
        )
        try:
            process = await asyncio.shield(starting)
            worker = cls(process, Upstream(loop, str(socket_path)), socket_path)
            deadline = loop.time() + launch.startup_seconds
            while not await _answers(socket_path):
                if process.returncode is not None:
                    raise StartError(f"its process ended with exit code {process.returncode}: {_tail(process)}")
                if loop.time() > deadline:
                    await worker.stop()
                    raise StartError(f"it did not answer /ping within {launch.startup_seconds:.0f} s: {_tail(process)}")
                await asyncio.sleep(_POLL_SECONDS)
        except asyncio.CancelledError:  # its fleet is drained while it starts: the process must not stay
            starting.add_done_callback(_terminate)
            raise
        return worker

    async def stop(self) -> None:
        """SIGTERM, SIGKILL after the drain time; returns when the process is gone."""
        self.process.terminate()
        await asyncio.get_running_loop().run_in_executor(None, self.process.wait, DRAIN_SECONDS + 5)
        self.upstream.close()
        self._socket_path.unlink(missing_ok=True)


def _terminate(started: asyncio.Future[Guarded]) -> None:
    if started.exception() is None:
        started.result().terminate()


def _ended(loop: asyncio.AbstractEventLoop, stream: Stream, on_exit: Callable[[int], None], code: int) -> None:
    stream.close()
    if not loop.is_closed():
        loop.call_soon_threadsafe(on_exit, code)


def _tail(process: Guarded) -> str:
    return process.last_errors()[-700:] or "it wrote nothing to stderr."


async def _answers(socket_path: Path) -> bool:
    if not socket_path.exists():
        return False
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket_path))
    except OSError:
        return False
    try:
        writer.write(_PING)
        line = await asyncio.wait_for(reader.readline(), timeout=2)  # AWS: /ping answers within 2 s
        return line.startswith(b"HTTP/1.1 200")
    except (OSError, asyncio.TimeoutError):
        return False
    finally:
        writer.close()


class Fleet:
    """The worker of one variant of one release: started, restarted when it crashes, drained when it is replaced.

    Requests that come while no worker is ready wait for it, up to a bound.
    """

    def __init__(
        self, name: str, weight: float, digest: str, start: Callable[[Callable[[int], None]], Awaitable[Worker]]
    ) -> None:
        self.name = name
        self.weight = weight
        self.digest = digest
        self._start = start
        self._worker: Worker | None = None
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._crashes = 0
        self._restart: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """A worker is up."""
        return self._worker is not None

    @property
    def crashes(self) -> int:
        """How often the worker ended by itself, or did not start again after that."""
        return self._crashes

    async def start(self) -> None:
        """Bring the first worker up. Raises StartError."""
        self._ready(await self._start(self._exited))

    def start_until_ready(self) -> None:
        """Bring a worker up in the background, trying again for ever: a release that was live before."""
        self._restart = asyncio.get_running_loop().create_task(self._keep_starting())

    def send(self, request: bytes, done: Done) -> None:
        """Forward one request; `done` gets the answer, or None if no worker could give one."""
        self._in_flight += 1
        self._idle.clear()

        def finished(answer: Answer | None) -> None:
            if answer is UNDELIVERED and self._wait(request, finished):
                return
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()
            done(None if answer is UNDELIVERED else answer)

        if self._worker is not None:
            self._worker.upstream.send(request, finished)
        elif not self._wait(request, finished):
            finished(None)

    def _wait(self, request: bytes, finished: Done) -> bool:
        """Keep the request for the next worker, if there will be one and the line is not too long."""
        if self._closing or len(self._waiting) >= _MAX_WAITING:
            return False
        self._waiting.append((request, finished))
        return True

    async def withdraw(self) -> None:
        """Drain a fleet that is taken back: it is not restarted, and what waits for it is handed back at once."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        self._refuse_waiting()
        await self.drain()

    async def drain(self) -> None:
        """Let the requests in flight finish, for at most 30 s, then stop the worker."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout=DRAIN_SECONDS)
        except asyncio.TimeoutError:
            _log.warning("variant %s still had %d requests after %.0f s", self.name, self._in_flight, DRAIN_SECONDS)
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        if self._worker is not None:
            await self._worker.stop()
        self._refuse_waiting()

    def _ready(self, worker: Worker) -> None:
        self._worker = worker
        while self._waiting:
            worker.upstream.send(*self._waiting.popleft())

    def _exited(self, code: int) -> None:
        worker, self._worker = self._worker, None
        if worker is None or self._closing:
            return  # it never was ready, and whoever starts it is told; or it was meant to end
        worker.upstream.close()
        self._crashes += 1
        _log.warning("the worker of variant %s ended with code %d; it is restarted", self.name, code)
        self.start_until_ready()

    async def _keep_starting(self) -> None:
        while not self._closing:
            await asyncio.sleep(_BACKOFF[min(self._crashes, len(_BACKOFF) - 1)])
            try:
                self._ready(await self._start(self._exited))
            except StartError as error:
                self._crashes += 1
                _log.warning("the worker of variant %s does not start: %s", self.name, error)
                self._refuse_waiting()
            else:
                return

    def _refuse_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()[1](None)
