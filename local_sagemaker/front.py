"""The front: HTTP/1.1 on loopback, SigV4 on every request, the control API in threads, the data path on the event loop.

Framing is by head and Content-Length only. An invocation is forwarded to the worker of the variant that the route names
at that moment; replacing the route is all that an update does to the data path.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import struct
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote

from local_sagemaker import ACCOUNT, protocol, sigv4
from local_sagemaker.endpoints.exposition import Scraper
from local_sagemaker.endpoints.upstream import Answer
from local_sagemaker.endpoints.worker import Fleet
from local_sagemaker.errors import ServiceError
from local_sagemaker.operations import ALL
from local_sagemaker.platform import Platform

_log = logging.getLogger(__name__)
MAX_HEAD = 32 * 1024
MAX_BODY = 6_291_456  # bytes of an invocation, as BodyBlob in botocore's model; control requests are far smaller
INVOCATION_SECONDS = 60.0  # API reference, InvokeEndpoint: the model must answer within 60 s
_REASONS = {
    200: "OK",
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
STREAMED = "invocations-response-stream"  # the path of InvokeEndpointWithResponseStream
_PART = 64 * 1024  # bytes of one PayloadPart
_FORWARDED = ("x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id", "x-amzn-sagemaker-target-variant")


@dataclass(slots=True)
class Request:
    """One whole request. Header names are lower case; `path` is still percent-encoded, as it was signed."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    id: str


class Front:
    """Dispatches requests; `connections` are the open ones, for the drain at the end."""

    def __init__(self, platform: Platform, credentials: sigv4.Credentials) -> None:
        self._platform = platform
        self._credentials = credentials
        self._routes = platform.endpoints.routes
        self._metrics = platform.endpoints.metrics
        self._scraper = Scraper(platform.home.metrics_token(), platform.endpoints)
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="control")
        self._id_prefix = secrets.token_hex(10)
        self._ids = itertools.count(1)
        self.connections: set[Connection] = set()
        self.draining = False

    def new_id(self) -> str:
        """A request id in the form of a UUID: random per server, counted per request."""
        head, number = self._id_prefix, next(self._ids)
        return f"{head[:8]}-{head[8:12]}-{head[12:16]}-{head[16:20]}-{number:012x}"

    def dispatch(self, connection: Connection, request: Request) -> None:
        if request.path.startswith("/endpoints/"):
            try:
                self._invoke(connection, request)
            except ServiceError as error:
                self._answer_runtime_error(connection, request, error)
        elif request.method == "GET" and request.path == "/ping":
            connection.respond(200, f"x-amzn-requestid: {request.id}\r\n", b"ok")
        elif request.method == "GET" and request.path == "/metrics":
            connection.respond(*self._scraper.answer(request.headers.get("authorization", "")))
        else:
            future = self._loop.run_in_executor(self._threads, self._control, request)
            future.add_done_callback(lambda done: connection.respond(*done.result()))

    async def drain(self, seconds: float) -> None:
        """Answer what was asked, close what idles, give up after `seconds`."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_when_idle()
        deadline = self._loop.time() + seconds
        while self.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, request: Request) -> None:
        sigv4.verify(
            self._credentials, request.method, request.path, request.query, request.headers, request.body, time.time()
        )

    def _control(self, request: Request) -> tuple[int, str, bytes]:
        """Status, header lines and body of a control request; runs in a thread and never raises."""
        wire, prefix, name = protocol.operation_of(request.method, request.path, request.headers)
        head = f"x-amzn-requestid: {request.id}\r\n{wire.head}"
        try:
            self._verify(request)
            return 200, head, self._operate(request, wire, prefix, name)
        except ServiceError as error:
            return error.status, head + protocol.error_head(error, wire), protocol.serialize_error(error, wire)
        except Exception:  # noqa: BLE001 - no traceback to a client; it is logged whole
            _log.exception("request %s failed", request.id)
            told = f"The server failed on request {request.id}; see server.log in its home."
            failure = ServiceError("InternalFailure", told, 500)
            return 500, head + protocol.error_head(failure, wire), protocol.serialize_error(failure, wire)

    def _operate(self, request: Request, wire: protocol.Wire, prefix: str, name: str) -> bytes:
        service_name, operations = ALL.get(prefix, ("", {}))
        if name not in operations:
            asked = request.headers.get("x-amz-target") or f"{request.method} {unquote(request.path)}"
            remedy = "`python -m local_sagemaker operations` lists those it has."
            raise ServiceError("UnknownOperationException", f"local_sagemaker has no operation {asked!r}; {remedy}")
        operation = protocol.service(service_name).operation_model(name)
        response = operations[name](self._platform, protocol.parse(operation, request.body, wire))
        return protocol.serialize(operation, response, wire)

    def _invoke(self, connection: Connection, request: Request) -> None:
        """Verify, choose the variant, forward. Raises ServiceError before anything was forwarded."""
        began = time.perf_counter()
        self._verify(request)
        name, _, action = request.path[len("/endpoints/") :].partition("/")
        if action not in ("invocations", STREAMED) or request.method != "POST":
            raise ServiceError(
                "UnknownOperationException", f"local_sagemaker has no operation {request.method} {request.path!r}."
            )
        headers = request.headers
        for header in (
            "target-model",
            "target-container-hostname",
            "enable-explanations",
            "inference-component",
            "session-id",
        ):
            if f"x-amzn-sagemaker-{header}" in headers:
                raise ServiceError(
                    "ValidationError", f"The endpoint does not take the header x-amzn-sagemaker-{header}; leave it out."
                )
        route = self._routes.get(name)
        if route is None:
            raise ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        target = headers.get("x-amzn-sagemaker-target-variant")
        fleet = route.choose(target)
        if fleet is None:
            raise ServiceError("ValidationError", f"Variant {target} not found for Endpoint {name}.")
        lines = [f"POST /invocations HTTP/1.1\r\nhost: model\r\ncontent-length: {len(request.body)}\r\n"]
        accept = "x-amzn-sagemaker-accept" if action == STREAMED else "accept"
        if accept in headers:
            lines.append(f"accept: {headers[accept]}\r\n")
        lines += [f"{header}: {headers[header]}\r\n" for header in ("content-type", *_FORWARDED) if header in headers]
        _Invocation(self, connection, request, name, fleet, began).send(
            "".join(lines).encode("latin-1") + b"\r\n" + request.body
        )

    def _answer_runtime_error(self, connection: Connection, request: Request, error: ServiceError) -> None:
        head = f"x-amzn-requestid: {request.id}\r\ncontent-type: application/json\r\nx-amzn-errortype: {error.code}\r\n"
        connection.respond(error.status, head, json.dumps({"message": str(error), "Message": str(error)}).encode())

    def fallback(self, endpoint: str, fleet: Fleet, answer: Answer | None) -> Fleet | None:
        """Who is to be asked instead of a fleet that failed, where it is not the live one: in an update, or after it."""
        if answer is not None and answer.status < 500:
            return None
        route = self._routes.get(endpoint)
        return None if route is None else route.fallback(fleet)

    def note(self, fleet: Fleet, answer: Answer | None, model_seconds: float, overhead_seconds: float) -> None:
        """Count what a fleet answered, or that it did not."""
        series = self._metrics.of(fleet)
        if series is not None:
            status, body = (0, b"") if answer is None else (answer.status, answer.body)
            series.record(status, model_seconds * 1e6, overhead_seconds * 1e6, body)

    def answer(
        self, connection: Connection, request: Request, endpoint: str, fleet: Fleet, answer: Answer | None
    ) -> None:
        """The worker's answer as InvokeEndpoint gives it; what is not 200 becomes ModelError."""
        if answer is None:
            message = f"The worker of variant {fleet.name} went away before it answered; it is restarted. Try again."
            self._answer_runtime_error(connection, request, ServiceError("ServiceUnavailable", message, 503))
            return
        head = (
            f"x-amzn-requestid: {request.id}\r\nx-amzn-invoked-production-variant: {fleet.name}\r\n"
            f"x-ledgerline-model-digest: {fleet.digest}\r\n"
        )
        if answer.status == 200:
            content_type = answer.headers.get("content-type", "application/octet-stream")
            if request.path.endswith(STREAMED):
                head += f"x-amzn-sagemaker-content-type: {content_type}\r\n"
                head += "content-type: application/vnd.amazon.eventstream\r\n"
                connection.respond(200, head, payload_parts(answer.body))
            else:
                connection.respond(200, f"{head}content-type: {content_type}\r\n", answer.body)
            return
        text = answer.body.decode("utf-8", "replace")
        side = "client" if answer.status < 500 else "server"
        group = f"/aws/sagemaker/Endpoints/{endpoint}"
        body = {
            "Message": f'Received {side} error ({answer.status}) from primary with message "{text}". See {group}.',
            "OriginalStatusCode": answer.status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:aws:logs:{self._platform.region}:{ACCOUNT}:log-group:{group}",
        }
        head += "content-type: application/json\r\nx-amzn-errortype: ModelError\r\n"
        connection.respond(424, head, json.dumps(body).encode())


def payload_parts(body: bytes) -> bytes:
    """A body as PayloadPart events of the encoding application/vnd.amazon.eventstream (Smithy, "Event stream").

    A message is its length, the length of its headers, the CRC of both, headers, payload, and the CRC of all of it.
    """
    headers = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)  # 7: a string
        for name, value in (
            (b":event-type", b"PayloadPart"),
            (b":content-type", b"application/octet-stream"),
            (b":message-type", b"event"),
        )
    )
    messages = []
    for start in range(0, len(body), _PART):
        payload = body[start : start + _PART]
        lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
        message = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
        messages.append(message + struct.pack("!I", zlib.crc32(message)))
    return b"".join(messages)


class _Invocation:
    """One invocation under way: answered once, by a worker or by the time limit.

    What a fleet in an update could not answer (5xx, connection lost) is asked again of the live one: a bad release
    costs its callers time, not errors. So a model may be asked twice, as by any client that tries again.
    """

    __slots__ = (
        "_began", "_connection", "_data", "_endpoint", "_fleet", "_front", "_overhead", "_request", "_sent", "_timer"
    )  # fmt: skip

    def __init__(
        self, front: Front, connection: Connection, request: Request, endpoint: str, fleet: Fleet, began: float
    ) -> None:
        self._front = front
        self._connection = connection
        self._request = request
        self._endpoint = endpoint
        self._fleet = fleet
        self._began = began
        self._timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> None:
        self._timer = asyncio.get_running_loop().call_later(INVOCATION_SECONDS, self._too_late)
        self._data = data
        self._ask(self._fleet)

    def _ask(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._sent = time.perf_counter()
        self._overhead = self._sent - self._began
        fleet.send(self._data, self._answered)

    def _answered(self, answer: Answer | None) -> None:
        if self._timer is None:
            return  # it comes too late
        now, fleet = time.perf_counter(), self._fleet
        other = self._front.fallback(self._endpoint, fleet, answer)
        if other is None:
            self._end(answer)
        self._front.note(fleet, answer, now - self._sent, self._overhead + time.perf_counter() - now)
        if other is not None:
            self._began = now
            self._ask(other)

    def _end(self, answer: Answer | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._front.answer(self._connection, self._request, self._endpoint, self._fleet, answer)

    def _too_late(self) -> None:
        text = f'{{"error": "the model did not answer within {INVOCATION_SECONDS:.0f} s"}}'
        answer = Answer(504, {}, text.encode())
        self._end(answer)
        self._front.note(self._fleet, answer, time.perf_counter() - self._sent, self._overhead)


class Connection(asyncio.Protocol):
    """One client connection: requests in order, one at a time; the next one waits in the buffer."""

    __slots__ = ("_buffer", "_busy", "_close", "_front", "_head", "_length", "_paused", "_transport")

    def __init__(self, front: Front) -> None:
        self._front = front
        self._buffer = b""
        self._busy = False
        self._close = False
        self._paused = False
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
        self._buffer = self._buffer + data if self._buffer else data
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
            problem = self._read_head(self._buffer[:end])
            if problem is not None:
                self._refuse(*problem)
                return
            self._buffer = self._buffer[end + 4 :]
        if self._head is None or len(self._buffer) < self._length:
            return
        method, path, query, headers = self._head
        body, self._buffer = self._buffer[: self._length], self._buffer[self._length :]
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
        """Answer what is not a request, and close: where the next one begins is unknown."""
        self._close, self._busy = True, True
        body = json.dumps({"__type": "ValidationException", "message": problem, "Message": problem}).encode()
        head = f"x-amzn-requestid: {self._front.new_id()}\r\nx-amzn-errortype: ValidationException\r\n"
        head += "content-type: application/json\r\n"
        self.respond(status, head, body)


def connection_factory(front: Front) -> Callable[[], Connection]:
    return lambda: Connection(front)
