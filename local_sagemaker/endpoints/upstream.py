"""The proxy's side towards a worker: pooled HTTP/1.1 connections over a unix socket, framed by Content-Length."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

MAX_CONNECTIONS = 128


@dataclass(slots=True)
class Answer:
    """A worker's whole response; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


Done = Callable[["Answer | None"], None]  # None: the worker went away before it answered
UNDELIVERED = Answer(0, {}, b"")  # the worker could not be reached at all: the request may be sent to its successor


class _Connection(asyncio.Protocol):
    """One connection, at most one request on it at a time."""

    __slots__ = ("_buffer", "_done", "_head", "_length", "_pool", "_transport", "closed")

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool
        self._done: Done | None = None
        self._buffer = bytearray()
        self._head: tuple[int, dict[str, str]] | None = None
        self._length = 0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, done: Done) -> None:
        self._done = done
        self._transport.write(request)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._head is None:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = _parse_head(bytes(buffer[:end]))
            self._length = int(self._head[1].get("content-length", "0"))
            del buffer[: end + 4]
        if len(buffer) < self._length:
            return
        status, headers = self._head
        body = bytes(buffer[: self._length])
        done, self._done, self._head, self._buffer = self._done, None, None, bytearray()
        if done is None:
            self.abort()
            return
        self._pool.release(self)
        done(Answer(status, headers, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        done, self._done = self._done, None
        self._pool.forget(self)
        if done is not None:
            done(None)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(lines[0].split(" ", 2)[1]), headers


class Upstream:
    """The connections to one worker. `send` answers through its callback, on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket_path: str) -> None:
        self._loop = loop
        self._path = socket_path
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, done: Done) -> None:
        if self._idle:
            self._idle.pop().send(request, done)
        elif self._open < MAX_CONNECTIONS:
            self._open += 1
            task = self._loop.create_task(self._connect(request, done))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._waiting.append((request, done))

    def release(self, connection: _Connection) -> None:
        """The connection has its answer: it takes the next waiting request, or idles."""
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Abort every connection; requests that wait are handed back."""
        for connection in list(self._idle):
            connection.abort()
        while self._waiting:
            self._waiting.popleft()[1](UNDELIVERED)

    async def _connect(self, request: bytes, done: Done) -> None:
        try:
            _, connection = await self._loop.create_unix_connection(lambda: _Connection(self), self._path)
        except OSError:
            self._open -= 1
            done(UNDELIVERED)
            return
        connection.send(request, done)
