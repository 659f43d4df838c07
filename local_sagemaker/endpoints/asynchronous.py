"""InvokeEndpointAsync: requests that wait on disk, are read from and answered into the object store.

A request is accepted when its row is in the store, and the row goes when its result or its failure is written. So what
was accepted survives the server: the next one does it again (at least once, into the same object). Limits of the
developer guide, "Asynchronous inference": input up to 1 GB, up to one hour.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from local_sagemaker.answers import gone, model_error, refuse
from local_sagemaker.endpoints.options import Asynchronous
from local_sagemaker.endpoints.upstream import Answer
from local_sagemaker.endpoints.worker import Fleet
from local_sagemaker.errors import JobError, ServiceError
from local_sagemaker.http1 import Connection, Request
from local_sagemaker.objects import split_uri

if TYPE_CHECKING:
    from local_sagemaker.endpoints.supervisor import Route
    from local_sagemaker.endpoints.update import Shift
    from local_sagemaker.platform import Platform

_log = logging.getLogger(__name__)
KIND = "async-invocation"
MAX_INPUT = 1024**3  # bytes
MAX_WAITING = 10_000  # per endpoint
ATTEMPTS = 2  # where the worker goes away: it may have been another request's fault
_HEADER = "x-amzn-sagemaker-"
_TTL = (6 * 3600, 60, 6 * 3600)  # seconds a request may wait: default, least, most
_TIMEOUT = (15 * 60, 1, 3600)  # seconds a model may work


class AsyncQueue:
    """The waiting and running requests of every endpoint. All methods run on the event loop."""

    def __init__(self, platform: Platform, loop: asyncio.AbstractEventLoop) -> None:
        self._platform = platform
        self._loop = loop
        self._waiting: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self._running: dict[str, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False

    def accept(self, connection: Connection, request: Request, endpoint: str, route: Route | Shift) -> None:
        """Write the request down, then answer 202. Raises ServiceError where it cannot be accepted."""
        row = self._row(request, endpoint, route)
        done = self._loop.run_in_executor(None, self._platform.store.create, KIND, row["id"], row)
        done.add_done_callback(lambda future: self._accepted(connection, request, row, future))

    def recover(self) -> None:
        """After a start: take up what the last server had accepted, in its order."""
        for _, row in sorted(self._platform.store.all(KIND), key=lambda item: item[1]["accepted"]):
            self._waiting[row["endpoint"]].append(row)
        for endpoint in list(self._waiting):
            self._pump(endpoint)

    def pause(self) -> None:
        """Start no more; what is under way may end while its variants are drained."""
        self._paused = True

    async def close(self) -> None:
        """Give up what is still under way: its rows stay for the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _row(self, request: Request, endpoint: str, route: Route | Shift) -> dict[str, Any]:
        settings = _settings(route)
        if settings is None:
            raise _invalid(f"Endpoint {endpoint} has no AsyncInferenceConfig; use InvokeEndpoint.")
        if len(self._waiting[endpoint]) >= MAX_WAITING:
            message = f"{MAX_WAITING} requests wait for endpoint {endpoint}; try again later."
            raise ServiceError("ServiceUnavailable", message, 503)
        headers = request.headers
        location = headers.get(f"{_HEADER}inputlocation", "")
        try:
            split_uri(location)
        except JobError as error:
            raise _invalid(f"InputLocation: {error}") from error
        if request.body:
            raise _invalid("local_sagemaker takes no Body in InvokeEndpointAsync; put it at the InputLocation.")
        number = str(uuid.uuid4())
        return {
            "id": number,
            "inference_id": headers.get(f"{_HEADER}inference-id", number),
            "endpoint": endpoint,
            "input": location,
            "headers": {
                "content-type": headers.get(f"{_HEADER}content-type", "application/octet-stream"),
                "accept": headers.get(f"{_HEADER}accept"),
                f"{_HEADER}custom-attributes": headers.get(f"{_HEADER}custom-attributes"),
                f"{_HEADER}inference-id": headers.get(f"{_HEADER}inference-id"),
            },
            "output": f"{settings.output}/{number}.out",
            "failure": f"{settings.failure}/{number}-error.out" if settings.failure else None,
            "accepted": time.time(),
            "ttl": _seconds(headers, "requestttlseconds", _TTL),
            "timeout": _seconds(headers, "invocationtimeoutseconds", _TIMEOUT),
        }

    def _accepted(
        self, connection: Connection, request: Request, row: dict[str, Any], done: asyncio.Future[None]
    ) -> None:
        problem = done.exception()
        if problem is not None:
            _log.error("request %s cannot be written down", request.id, exc_info=problem)
            message = f"The server could not accept request {request.id}; see server.log in its home."
            refuse(connection, request, ServiceError("InternalFailure", message, 500))
            return
        head = f"x-amzn-requestid: {request.id}\r\ncontent-type: application/json\r\n"
        head += f"{_HEADER}outputlocation: {row['output']}\r\n"
        if row["failure"]:
            head += f"{_HEADER}failurelocation: {row['failure']}\r\n"
        connection.respond(202, head, json.dumps({"InferenceId": row["inference_id"]}).encode())
        self._waiting[row["endpoint"]].append(row)
        self._pump(row["endpoint"])

    def _pump(self, endpoint: str) -> None:
        """Start what may run now."""
        route, waiting = self._platform.endpoints.routes.get(endpoint), self._waiting[endpoint]
        settings = _settings(route)
        limit = settings.concurrency if settings is not None else 1
        while waiting and self._running[endpoint] < limit and not self._paused:
            self._running[endpoint] += 1
            task = self._loop.create_task(self._run(waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, row: dict[str, Any]) -> None:
        """Perform one request and write down how it ended."""
        try:
            try:
                answer = await self._answer(row)
                await self._in_thread(self._platform.objects.put, row["output"], answer)
            except (JobError, OSError) as error:
                await self._in_thread(self._fail, row, str(error))
            await self._in_thread(self._platform.store.delete, KIND, row["id"])
        except Exception:  # noqa: BLE001 - the line must move on; the row stays, so that the next server tries again
            _log.exception("the asynchronous request %s could not be ended", row["id"])
        finally:
            self._running[row["endpoint"]] -= 1
            self._pump(row["endpoint"])

    async def _answer(self, row: dict[str, Any]) -> bytes:
        """The model's answer. Raises JobError with the words of the failure file."""
        if time.time() > row["accepted"] + row["ttl"]:
            raise JobError(f"The request waited longer than its RequestTTLSeconds of {row['ttl']} s.")
        data = await self._in_thread(self._request, row)
        problem, other = "", None
        for _ in range(ATTEMPTS):
            route = self._platform.endpoints.routes.get(row["endpoint"])
            fleet = other or (route.choose() if route is not None else None)
            if fleet is None:
                raise JobError(f"Endpoint {row['endpoint']} is gone; create it, and send the request again.")
            answer = await self._ask(fleet, data, row["timeout"])
            if answer is not None and answer.status == 200:
                return answer.body
            failed = answer is None or answer.status >= 500
            other = route.fallback(fleet) if failed and route is not None else None
            if answer is None:
                if self._paused:  # it was not the worker's fault
                    raise asyncio.CancelledError
                problem = str(gone(fleet))
            else:
                problem = str(model_error(self._platform.region, row["endpoint"], answer)["Message"])
                if other is None:  # it is the model's own answer, not that of a release in an update
                    break
        raise JobError(problem)

    async def _ask(self, fleet: Fleet, data: bytes, seconds: float) -> Answer | None:
        """What the fleet answers, counted as any invocation. Raises JobError after so many seconds."""
        future: asyncio.Future[Answer | None] = self._loop.create_future()
        began = time.perf_counter()
        fleet.send(data, lambda answer: None if future.done() else future.set_result(answer))
        try:
            answer = await asyncio.wait_for(future, seconds)
        except asyncio.TimeoutError as error:
            self._note(fleet, Answer(504, {}, b""), began)
            raise JobError(f"The model did not answer within InvocationTimeoutSeconds, {seconds} s.") from error
        self._note(fleet, answer, began)
        return answer

    def _note(self, fleet: Fleet, answer: Answer | None, began: float) -> None:
        self._platform.endpoints.metrics.note(fleet, answer, time.perf_counter() - began, 0.0)

    def _request(self, row: dict[str, Any]) -> bytes:
        """The request to the worker, with the input read. Raises JobError."""
        path = self._platform.objects.path(row["input"])
        if not path.is_file():
            raise JobError(f"No object at {row['input']}; put it there, or correct InputLocation.")
        size = path.stat().st_size
        if size > MAX_INPUT:
            raise JobError(f"{row['input']} has {size} bytes, more than the {MAX_INPUT} of an asynchronous request.")
        body = path.read_bytes()
        lines = "".join(f"{name}: {value}\r\n" for name, value in row["headers"].items() if value is not None)
        head = f"POST /invocations HTTP/1.1\r\nhost: model\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        return head.encode("latin-1") + body

    def _fail(self, row: dict[str, Any], reason: str) -> None:
        """Write the failure file, if there is a place for it, and a line in the endpoint's log."""
        stream = self._platform.logs.open(f"/aws/sagemaker/Endpoints/{row['endpoint']}", "async/data-log")
        stream.write(f"asynchronous request {row['id']} of {row['input']} failed: {reason}")
        stream.close()
        if row["failure"]:
            self._platform.objects.put(row["failure"], reason.encode())

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await self._loop.run_in_executor(None, function, *arguments)


def _settings(route: Route | Shift | None) -> Asynchronous | None:
    """Those of the route's variants, which are the same for all; None where they are not asynchronous."""
    fleets = route.fleets if route is not None else []
    return next((fleet.options.asynchronous for fleet in fleets if fleet.options.asynchronous is not None), None)


def _invalid(message: str) -> ServiceError:
    return ServiceError("ValidationError", message)


def _seconds(headers: dict[str, str], name: str, bounds: tuple[int, int, int]) -> int:
    """A header's number of seconds between its bounds, or its default."""
    default, least, most = bounds
    text = headers.get(f"{_HEADER}{name}", str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise _invalid(f"The header {_HEADER}{name} is {text!r}; give {least} to {most} seconds.")
    return int(text)
