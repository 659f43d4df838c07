"""An HTTP proxy in front of a server under test, which may look at, change, refuse or hold back what passes.

`meddle(request, forward)` gives the answer to each request; `forward(request)` asks the server. What is done to requests
is in the tests. Only the standard library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # with its query
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)  # others than its type and length


Forward = Callable[[Request], Answer]


def pass_on(request: Request, forward: Forward) -> Answer:
    return forward(request)


class Proxy:
    """`with Proxy(server_url) as proxy:`; `proxy.meddle` may be changed at any time, `proxy.requests` is what came."""

    def __init__(self, target: str, meddle: Callable[[Request, Forward], Answer] = pass_on) -> None:
        self.target = urlsplit(target)
        self.meddle = meddle
        self.requests: list[Request] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                proxy.requests.append(request)
                answer = proxy.meddle(request, proxy._forward)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                # Of the answer to HEAD it is the length of what is not sent.
                length = answer.headers.get("Content-Length") if request.method == "HEAD" else None
                if length is None:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body if request.method != "HEAD" else b"")

            def log_message(self, *_: object) -> None:
                """Not to the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _forward(self, request: Request) -> Answer:
        connection = HTTPConnection(str(self.target.hostname), self.target.port, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
            connection.request(request.method, request.path, body=request.body, headers=headers)
            answer = connection.getresponse()
            ours = {"content-type", "transfer-encoding", "connection", "date", "server"}
            ours |= set() if request.method == "HEAD" else {"content-length"}
            others = {name: value for name, value in answer.headers.items() if name.lower() not in ours}
            return Answer(answer.status, answer.read(), answer.headers.get("Content-Type", "application/json"), others)
        finally:
            connection.close()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
