"""What Neptune adds to Gremlin Server, in front of one: `with NeptuneFront(server_url, objects) as front: front.url`.

A websocket is opened only for a signature that verifies: Signature Version 4 of the service neptune-db, computed here from
the request as it arrived and AWS's description of the algorithm, not by the library that signs. `/status` tells the reason
as Neptune does. `/loader` loads the CSV files of an object store through Gremlin, by the rules of Neptune's format.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import hmac
import io
import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from ledgerline.ports import ObjectStore

ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIATESTTESTTESTTEST", "a-secret-of-the-tests", "a-token-of-the-tests"
SERVICE = "neptune-db"
VALID = timedelta(minutes=5)
HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)"
)


class NeptuneFront:
    """Neptune's side of the port, on loopback while entered. `refusals` lists why requests were refused, `handshakes` counts
    those that were not; `loads` are the bodies of `/loader`, of which the next `fail_loads` fail."""

    def __init__(self, server_url: str, objects: ObjectStore | None = None, *, region: str = "us-east-1") -> None:
        self.server_url, self.objects, self.region = server_url, objects, region
        self.refusals: list[str] = []
        self.handshakes = 0
        self.loads: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.fail_loads = 0
        self.clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
        self._open: list[web.WebSocketResponse] = []
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> NeptuneFront:
        started = threading.Event()

        def serve() -> None:
            self._loop.run_until_complete(self._start())
            started.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def drop_connections(self) -> None:
        """Cut every open websocket, as a failover does."""

        async def cut() -> None:
            for socket in self._open:
                transport = socket._req.transport if socket._req is not None else None
                if transport is not None:
                    transport.abort()
            self._open.clear()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(10)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/gremlin", self._gremlin)
        app.router.add_get("/status", self._status)
        app.router.add_post("/loader", self._load)
        app.router.add_get("/loader/{load}", self._load_status)
        app.router.add_delete("/loader/{load}", self._cancel)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"ws://127.0.0.1:{self.port}/gremlin"

    async def _stop(self) -> None:
        await self._runner.cleanup()

    async def _refusal(self, request: web.Request) -> web.Response | None:
        reason = refusal_of(request, await request.read(), region=self.region, now=self.clock())
        if reason is None:
            return None
        self.refusals.append(reason)
        body = {"code": "AccessDeniedException", "detailedMessage": reason, "requestId": "0"}
        return web.json_response(body, status=403, headers={"x-amzn-ErrorType": "AccessDeniedException"})

    async def _gremlin(self, request: web.Request) -> web.StreamResponse:
        if refused := await self._refusal(request):
            return refused
        self.handshakes += 1
        async with aiohttp.ClientSession() as session, session.ws_connect(self.server_url, max_msg_size=0) as upstream:
            downstream = web.WebSocketResponse(max_msg_size=0)
            await downstream.prepare(request)
            self._open.append(downstream)
            await asyncio.wait(
                [asyncio.create_task(_pump(downstream, upstream)), asyncio.create_task(_pump(upstream, downstream))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            await downstream.close()
        return downstream

    async def _status(self, request: web.Request) -> web.Response:
        return await self._refusal(request) or web.json_response({"status": "healthy", "role": "writer"})

    async def _load(self, request: web.Request) -> web.Response:
        if refused := await self._refusal(request):
            return refused
        body = json.loads(await request.read())
        self.loads.append(body)
        if self.fail_loads == 0:
            await asyncio.get_running_loop().run_in_executor(None, self._load_files, body["source"])
        return web.json_response({"status": "200 OK", "payload": {"loadId": f"load-{len(self.loads)}"}})

    async def _load_status(self, request: web.Request) -> web.Response:
        if refused := await self._refusal(request):
            return refused
        payload: dict[str, Any] = {"feedCount": [], "overallStatus": {"status": "LOAD_COMPLETED"}}
        if self.fail_loads:
            self.fail_loads -= 1
            payload["overallStatus"]["status"] = "LOAD_FAILED"
            payload["errors"] = {"errorLogs": [{"errorCode": "PARSING_ERROR", "errorMessage": "a row of the tests"}]}
        return web.json_response({"status": "200 OK", "payload": payload})

    async def _cancel(self, request: web.Request) -> web.Response:
        if refused := await self._refusal(request):
            return refused
        self.cancelled.append(request.match_info["load"])
        return web.json_response({"status": "200 OK"})

    def _load_files(self, source: str) -> None:
        from gremlin_python.driver.client import Client

        assert self.objects is not None
        tables = [list(csv.reader(io.StringIO(self.objects.get(uri).decode()))) for uri in self.objects.list(source)]
        client = Client(self.server_url, "g", pool_size=1)
        try:
            for header, *rows in sorted(tables, key=lambda table: "~from" in table[0]):  # vertices before edges
                for start in range(0, len(rows), 40):
                    batch = [_element(header, row) for row in rows[start : start + 40]]
                    client.submit(_creation(batch).bytecode).all().result()
        finally:
            client.close()


async def _pump(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is not aiohttp.WSMsgType.BINARY:
            return
        await target.send_bytes(message.data)


def _element(header: list[str], row: list[str]) -> dict[str, Any]:
    """A row by its header: system columns as they stand, `name:Int` and `name:String`; an empty field is no property."""
    values: dict[str, Any] = {}
    for column, field in zip(header, row, strict=True):
        name, _, kind = column.partition(":")
        if column.startswith("~"):
            values[column] = field
        elif field:
            values[name] = {"Int": int, "String": str}[kind](field)
    return values


def _creation(elements: list[dict[str, Any]]) -> Any:
    from gremlin_python.process.graph_traversal import GraphTraversalSource
    from gremlin_python.process.traversal import Direction, Merge, T, TraversalStrategies
    from gremlin_python.structure.graph import Graph

    traversal: Any = GraphTraversalSource(Graph(), TraversalStrategies())
    for element in elements:
        about = {name: value for name, value in element.items() if not name.startswith("~")}
        key = {T.id: element["~id"]}
        created = {**key, T.label: element["~label"]}
        if "~from" in element:
            created |= {Direction.OUT: element["~from"], Direction.IN: element["~to"]}
            traversal = traversal.merge_e(created).option(Merge.on_create, {**created, **about})
        else:
            traversal = traversal.merge_v(key).option(Merge.on_create, {**created, **about})
    return traversal.count()


def refusal_of(request: web.Request, body: bytes, *, region: str, now: datetime) -> str | None:
    """Why the signature of a request does not hold, in the words of AWS; None if it does."""
    matched = HEADER.fullmatch(request.headers.get("Authorization", ""))
    if matched is None:
        return "Missing Authentication Token"
    access_key, day, scope_region, scope_service, signed, signature = matched.groups()
    if access_key != ACCESS_KEY or request.headers.get("X-Amz-Security-Token", SESSION_TOKEN) != SESSION_TOKEN:
        return "The security token included in the request is invalid."
    if scope_region != region:
        return f"Credential should be scoped to a valid region, not '{scope_region}'."
    if scope_service != SERVICE:
        return f"Credential should be scoped to correct service: '{SERVICE}'."
    stamp = request.headers["X-Amz-Date"]
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    if at < now - VALID:
        return f"Signature expired: {stamp} is now earlier than {now - VALID:%Y%m%dT%H%M%SZ}"
    if at > now + VALID:
        return f"Signature not yet current: {stamp} is still later than {now + VALID:%Y%m%dT%H%M%SZ}"
    names = signed.split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return "'Host' and 'X-Amz-Date' must be signed headers."
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    path, _, query = request.raw_path.partition("?")
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join([request.method, quote(path, safe="/~"), query, headers, signed, digest])
    scope = f"{day}/{scope_region}/{SERVICE}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (day, scope_region, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest(), signature):
        return "The request signature we calculated does not match the signature you provided."
    return None
