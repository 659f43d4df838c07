"""The data path: an invocation is verified, given to the worker of the variant that the route names, and answered.

Replacing the route is all that an update does to it. What happens beside it (a copy for the shadow variant, a captured
event) is bounded and never delays an answer.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable

from local_sagemaker import ACCOUNT
from local_sagemaker.answers import gone, model_error, payload_parts, refuse
from local_sagemaker.endpoints.asynchronous import AsyncQueue
from local_sagemaker.endpoints.capture import CaptureWriter, Event
from local_sagemaker.endpoints.supervisor import Route
from local_sagemaker.endpoints.update import Shift
from local_sagemaker.endpoints.upstream import Answer
from local_sagemaker.endpoints.worker import Fleet
from local_sagemaker.errors import ServiceError
from local_sagemaker.http1 import Connection, Request
from local_sagemaker.operations import data_path
from local_sagemaker.platform import Platform

INVOCATION_SECONDS = 60.0  # API reference, InvokeEndpoint: the model must answer within 60 s
INVOKE = "invocations"
STREAMED = "invocations-response-stream"  # InvokeEndpointWithResponseStream
ASYNCHRONOUS = "async-invocations"
MAX_SHADOWED = 100  # copies of requests that wait for the shadow's worker; what comes beyond is dropped
MAX_SHADOWED_BYTES = 64 * 1024**2
SCHEMA_VIOLATIONS = "schema-violations="  # how inside/serve.py begins the custom attributes of its answer
_CUSTOM = "x-amzn-sagemaker-custom-attributes"
_FORWARDED = ("content-type", _CUSTOM, "x-amzn-sagemaker-inference-id", "x-amzn-sagemaker-target-variant")
_REFUSED = tuple(
    f"x-amzn-sagemaker-{name}"
    for name in (
        "target-model",
        "target-container-hostname",
        "enable-explanations",
        "inference-component",
        "session-id",
        "s3outputpathextension",
        "filename",
    )
)


class Invocations:
    """Everything below /endpoints/. `verify` checks the signature of a request and raises ServiceError."""

    def __init__(
        self, platform: Platform, verify: Callable[[Request], None], captures: CaptureWriter, queue: AsyncQueue
    ) -> None:
        self._platform = platform
        self._verify = verify
        self._routes = platform.endpoints.routes
        self.metrics = platform.endpoints.metrics
        self._captures = captures
        self._queue = queue

    def handle(self, connection: Connection, request: Request) -> None:
        try:
            self._invoke(connection, request)
        except ServiceError as error:
            refuse(connection, request, error)

    def _invoke(self, connection: Connection, request: Request) -> None:
        """Verify, choose the variant, forward. Raises ServiceError before anything was forwarded."""
        began = time.perf_counter()
        self._verify(request)
        name, _, action = request.path[len("/endpoints/") :].partition("/")
        if action == "counts" and request.method == "GET":
            self._count(connection, request, self._route(name))
            return
        if action not in (INVOKE, STREAMED, ASYNCHRONOUS) or request.method != "POST":
            raise ServiceError(
                "UnknownOperationException", f"local_sagemaker has no operation {request.method} {request.path!r}."
            )
        headers = request.headers
        for header in _REFUSED:
            if header in headers:
                raise ServiceError("ValidationError", f"The endpoint does not take the header {header}; leave it out.")
        route = self._route(name)
        if action == ASYNCHRONOUS:
            self._queue.accept(connection, request, name, route)
            return
        target = headers.get("x-amzn-sagemaker-target-variant")
        fleet = route.choose(target)
        if fleet is None:
            raise ServiceError("ValidationError", f"Variant {target} not found for Endpoint {name}.")
        if fleet.options.asynchronous is not None:
            raise data_path.async_endpoint(name)
        lines = [f"POST /invocations HTTP/1.1\r\nhost: model\r\ncontent-length: {len(request.body)}\r\n"]
        accept = "x-amzn-sagemaker-accept" if action == STREAMED else "accept"
        if accept in headers:
            lines.append(f"accept: {headers[accept]}\r\n")
        lines += [f"{header}: {headers[header]}\r\n" for header in _FORWARDED if header in headers]
        data = "".join(lines).encode("latin-1") + b"\r\n" + request.body
        Invocation(self, connection, request, name, fleet, began).send(data)
        if route.shadow is not None:
            self._copy(request, name, route.shadow, fleet, data)

    def _route(self, name: str) -> Route | Shift:
        route = self._routes.get(name)
        if route is None:
            raise ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        return route

    def _count(self, connection: Connection, request: Request, route: Route | Shift) -> None:
        """What was dropped and flagged since the route's variants were started, by variant."""
        counts = {fleet.name: dict(fleet.counts) for fleet in route.fleets}
        head = f"x-amzn-requestid: {request.id}\r\ncontent-type: application/json\r\n"
        connection.respond(200, head, json.dumps(counts).encode())

    def _copy(self, request: Request, name: str, shadow: Fleet, chosen: Fleet, data: bytes) -> None:
        """Send a sampled copy to the shadow variant: in the share of its weight in that of the production variant."""
        if random.random() * chosen.weight >= shadow.weight:  # noqa: S311 - a sample, not a secret
            return
        if shadow.in_flight >= MAX_SHADOWED or shadow.bytes_in_flight + len(data) > MAX_SHADOWED_BYTES:
            shadow.counts["shadow_requests_dropped"] += 1
            return
        shadow.counts["shadow_requests"] += 1
        shadow.send(data, lambda answer: self.capture(request, name, shadow, answer))

    def capture(self, request: Request, endpoint: str, fleet: Fleet, answer: Answer | None) -> None:
        """Put the invocation in line to be captured, if it is one of the sample and succeeded."""
        capture = fleet.options.capture
        if capture is None or answer is None or answer.status != 200 or not capture.chosen():
            return
        headers = request.headers
        self._captures.add(
            Event(
                capture=capture,
                endpoint=endpoint,
                variant=fleet.name,
                id=request.id,
                at=time.time(),
                request=request.body,
                request_type=headers.get("content-type", "application/octet-stream"),
                answer=answer.body,
                answer_type=answer.headers.get("content-type", "application/octet-stream"),
                inference_id=headers.get("x-amzn-sagemaker-inference-id"),
                custom_attributes=headers.get(_CUSTOM),
                counts=fleet.counts,
            )
        )

    def fallback(self, endpoint: str, fleet: Fleet, answer: Answer | None) -> Fleet | None:
        """Who is to be asked instead of a fleet that failed, where it is not the live one: in an update, or after it."""
        if answer is not None and answer.status < 500:
            return None
        route = self._routes.get(endpoint)
        return None if route is None else route.fallback(fleet)

    def answer(
        self, connection: Connection, request: Request, endpoint: str, fleet: Fleet, answer: Answer | None
    ) -> None:
        """The worker's answer as InvokeEndpoint gives it; what is not 200 becomes ModelError."""
        if answer is None:
            refuse(connection, request, gone(fleet), fleet.head)
            return
        head = f"x-amzn-requestid: {request.id}\r\n{fleet.head}"
        custom = answer.headers.get(_CUSTOM)
        if custom is not None:
            head += f"{_CUSTOM}: {custom}\r\n"
            if custom.startswith(SCHEMA_VIOLATIONS):
                fleet.counts["schema_flagged" if answer.status == 200 else "schema_refused"] += 1
        if answer.status != 200:
            body = model_error(self._platform.region, endpoint, answer)
            head += "content-type: application/json\r\nx-amzn-errortype: ModelError\r\n"
            connection.respond(424, head, json.dumps(body).encode())
            return
        content_type = answer.headers.get("content-type", "application/octet-stream")
        if request.path.endswith(STREAMED):
            head += f"x-amzn-sagemaker-content-type: {content_type}\r\n"
            head += "content-type: application/vnd.amazon.eventstream\r\n"
            connection.respond(200, head, payload_parts(answer.body))
        else:
            connection.respond(200, f"{head}content-type: {content_type}\r\n", answer.body)
        self.capture(request, endpoint, fleet, answer)


class Invocation:
    """One invocation under way: answered once, by a worker or by the time limit.

    What a fleet in an update could not answer (5xx, connection lost) is asked again of the live one: a bad release
    costs its callers time, not errors. So a model may be asked twice, as by any client that tries again.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_data",
        "_endpoint",
        "_fleet",
        "_overhead",
        "_owner",
        "_request",
        "_sent",
        "_timer"
    )  # fmt: skip

    def __init__(
        self, owner: Invocations, connection: Connection, request: Request, endpoint: str, fleet: Fleet, began: float
    ) -> None:
        self._owner = owner
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
        other = self._owner.fallback(self._endpoint, fleet, answer)
        if other is None:
            self._end(answer)
        self._owner.metrics.note(fleet, answer, now - self._sent, self._overhead + time.perf_counter() - now)
        if other is not None:
            self._began = now
            self._ask(other)

    def _end(self, answer: Answer | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owner.answer(self._connection, self._request, self._endpoint, self._fleet, answer)

    def _too_late(self) -> None:
        text = f'{{"error": "the model did not answer within {INVOCATION_SECONDS:.0f} s"}}'
        answer = Answer(504, {}, text.encode())
        self._end(answer)
        self._owner.metrics.note(self._fleet, answer, time.perf_counter() - self._sent, self._overhead)
