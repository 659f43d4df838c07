"""The front: SigV4 on every request, the control API in threads, the data path (invocations.py) on the event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

from local_sagemaker import protocol, sigv4
from local_sagemaker.endpoints.asynchronous import AsyncQueue
from local_sagemaker.endpoints.capture import CaptureWriter
from local_sagemaker.endpoints.exposition import Scraper
from local_sagemaker.errors import ServiceError
from local_sagemaker.http1 import Connection, Request
from local_sagemaker.invocations import Invocations
from local_sagemaker.operations import ALL
from local_sagemaker.platform import Platform

_log = logging.getLogger(__name__)


class Front:
    """Dispatches requests; `connections` are the open ones, for the drain at the end."""

    def __init__(
        self, platform: Platform, credentials: sigv4.Credentials, captures: CaptureWriter, queue: AsyncQueue
    ) -> None:
        self._platform = platform
        self._credentials = credentials
        self._scraper = Scraper(platform.home.metrics_token(), platform.endpoints)
        self._invocations = Invocations(platform, self._verify, captures, queue)
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
            self._invocations.handle(connection, request)
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
