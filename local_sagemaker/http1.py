"""HTTP/1.1 as the server speaks it: connections, the framing of requests by head and Content-Length, answers.

What a request means is for the Dispatcher to say; here is no AWS but the form of a refusal.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

MAX_HEAD = 32 * 1024
MAX_BODY = 6_291_456  # bytes of an invocation, as BodyBlob in botocore's model; control requests are far smaller
LINGER_SECONDS = 5.0
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    411: "Length Required",
    413: "Payload Too Large",
    424: "Failed Dependency",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(slots=True)
class Request:
    """One whole request. Header names are lower case; `path` is still percent-encoded, as it was signed."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    id: str


class Dispatcher(Protocol):
    """Who answers requests. `connections` are the open ones; a draining one closes each after its answer."""

    connections: set[Connection]
    draining: bool

    def new_id(self) -> str: ...

    def dispatch(self, connection: Connection, request: Request) -> None: ...


class Connection(asyncio.Protocol):
    """One client connection: requests in order, one at a time; the next one waits in the buffer."""

    __slots__ = ("_buffer", "_busy", "_close", "_front", "_head", "_length", "_paused", "_refused", "_transport")

    def __init__(self, front: Dispatcher) -> None:
        self._front = front
        self._buffer = bytearray()
        self._busy = False
        self._close = False
        self._paused = False
        self._refused = False
        self._head: tuple[str, str, str, dict[str, str]] | None = None
        self._length = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._front.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._front.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # the rest of what was refused
        self._buffer += data
        if not self._busy:
            self._advance()
        elif len(self._buffer) > MAX_HEAD and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()  # a client that pipelines without reading must not fill the memory

    def close_when_idle(self) -> None:
        self._close = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def respond(self, status: int, head: str, body: bytes) -> None:
        """Write the answer (`head` is whole header lines) and go on with the next request of the connection."""
        if self._transport is None:
            return  # the client has gone
        closing = self._close or self._front.draining
        tail = "connection: close\r\n\r\n" if closing else "\r\n"
        start = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n{head}content-length: {len(body)}\r\n{tail}"
        self._transport.write(start.encode("latin-1", "replace") + body)
        self._busy = False
        if closing:
            self._transport.close()
        elif self._buffer:
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        if self._busy or self._transport is None:
            return
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    self._refuse(431, "the request's head is longer than 32 KiB")
                return
            problem = self._read_head(bytes(self._buffer[:end]))
            if problem is not None:
                self._refuse(*problem)
                return
            del self._buffer[: end + 4]
        if self._head is None or len(self._buffer) < self._length:
            return
        method, path, query, headers = self._head
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._head, self._busy = None, True
        self._front.dispatch(self, Request(method, path, query, headers, body, self._front.new_id()))

    def _read_head(self, head: bytes) -> tuple[int, str] | None:
        """Set the head and the body's length, or say what is wrong with it."""
        lines = head.decode("latin-1").split("\r\n")
        start = lines[0].split(" ")
        if len(start) != 3 or not start[2].startswith("HTTP/1."):
            return 400, "the request line is not of HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or name in headers or name != name.strip():
                return 400, f"the header line {name[:40]!r} is malformed or repeated"
            headers[name] = value.strip()
        if "transfer-encoding" in headers:
            return 411, "chunked bodies are not taken; send Content-Length"
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, "Content-Length is not a number"
        if int(length) > MAX_BODY:
            return 413, f"the body is longer than {MAX_BODY} bytes"
        self._close = self._close or headers.get("connection", "").lower() == "close" or start[2] == "HTTP/1.0"
        if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        path, _, query = start[1].partition("?")
        self._head, self._length = (start[0], path, query, headers), int(length)
        return None

    def _refuse(self, status: int, problem: str) -> None:
        """Answer what is not a request, and close: where the next one begins is unknown.

        The rest is read and thrown away for a while, since a client that still writes into a closed connection gets a
        reset, and may lose the answer to it.
        """
        transport = self._transport
        if transport is None:
            return
        self._busy = self._refused = True
        # The runtime's model has ValidationError, the control API's ValidationException.
        code = "ValidationError" if b" /endpoints/" in self._buffer[:MAX_HEAD] else "ValidationException"
        body = json.dumps({"__type": code, "message": problem, "Message": problem}).encode()
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nx-amzn-requestid: {self._front.new_id()}\r\n"
            f"x-amzn-errortype: {code}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self._buffer.clear()
        transport.write(head.encode("latin-1") + body)
        transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.close)


def connection_factory(front: Dispatcher) -> Callable[[], Connection]:
    return lambda: Connection(front)
