"""What the local regulators share: answers, faults, a log of what was asked, and HTTP on loopback that can break off.

A server is a `LoopbackServer` whose `answer` says which bytes a request gets; that part knows no sockets. What a fault
does to an answer on its way (a reset, a cut, gzip) is here; what it means for the answer itself is in the servers.
Only the standard library.
"""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

BLOCK = 1 << 16
SLOW_SECONDS = 30.0  # by which a slow answer moves the clock
# Where a connection is reset, as the share of head and of body that left before (None: one byte of the body is missing).
RESETS: dict[str, tuple[float, float | None]] = {
    "reset": (0, 0),
    "reset_before_headers": (0, 0),
    "reset_in_headers": (0.5, 0),
    "reset_first_byte": (1, 0),
    "reset_mid_body": (1, 0.5),
    "reset_last_byte": (1, None),
}
TRANSPORT = frozenset(
    {*RESETS, "truncated", "gzip_unasked", "gzip_encoded", "gzip_members", "cut_gzip", "slow", "stalled"}
)


@dataclass(frozen=True)
class Streamed:
    """A body that is made while it is sent: `blocks` yields exactly `size` bytes, the same each time."""

    size: int
    blocks: Callable[[], Iterator[bytes]]

    def whole(self) -> bytes:
        return b"".join(self.blocks())

    def first(self, size: int) -> Streamed:
        return Streamed(min(size, self.size), lambda: _first(self.blocks(), size))


def _first(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for block in blocks:
        if size <= 0:
            return
        yield block[:size]
        size -= len(block)


def streamed(body: bytes) -> Streamed:
    return Streamed(len(body), lambda: (body[at : at + BLOCK] for at in range(0, len(body), BLOCK)))


@dataclass(frozen=True)
class Answer:
    """What a request gets. `kind` names it in the log: "ok", a refusal's name, "dart_013" ..."""

    status: int
    body: bytes | Streamed
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "ok"

    def size(self) -> int:
        return self.body.size if isinstance(self.body, Streamed) else len(self.body)


NO_ANSWER = Answer(200, b"", "", kind="reset")  # the connection is reset before a byte is sent


@dataclass(frozen=True)
class Request:
    """A GET as it arrived: `target` is path and query as sent, `at` the virtual time."""

    at: datetime
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}


@dataclass(frozen=True)
class Asked:
    """A line of the log of a server: when and what was asked, which fault was applied, and what was answered."""

    at: datetime
    target: str
    status: int
    kind: str
    fault: str | None = None


@dataclass
class Fault:
    """One way to misbehave: `kind` names it, on requests whose path and query hold `where`.

    At most `times` times (None: for ever), each with `probability`, and only while `since` <= virtual time < `until`.
    """

    kind: str
    where: str = ""
    times: int | None = 1
    probability: float = 1.0
    since: datetime | None = None
    until: datetime | None = None

    def fits(self, target: str, now: datetime) -> bool:
        in_time = (self.since is None or self.since <= now) and (self.until is None or now < self.until)
        return self.times != 0 and self.where in target and in_time


Server = TypeVar("Server", bound="LoopbackServer")


class LoopbackServer:
    """HTTP on a free port of loopback while entered: `url`. `misbehave` arms faults, `asked` is the log."""

    kinds: frozenset[str] = TRANSPORT | {"none"}  # what `misbehave` knows

    def __init__(self, *, clock: Callable[[], datetime] | None = None, seed: int = 0) -> None:
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        self.seed = seed
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.user_agents: list[str] = []
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self._draws: Counter[tuple[int, str]] = Counter()

    def misbehave(
        self,
        kind: str,
        *,
        where: str = "",
        times: int | None = 1,
        probability: float = 1.0,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Fault:
        """Arm a fault (see `Fault`); the first that fits a request is applied. Raises ValueError for an unknown kind."""
        if not self.knows(kind):
            raise ValueError(f"{kind!r} is no fault of {type(self).__name__}: it knows {', '.join(sorted(self.kinds))}")
        self.faults.append(Fault(kind, where, times, probability, since, until))
        return self.faults[-1]

    def knows(self, kind: str) -> bool:
        return kind in self.kinds

    def take_fault(self, target: str, now: datetime) -> str | None:
        for number, fault in enumerate(self.faults):
            if not fault.fits(target, now):
                continue
            if fault.probability < 1:  # by the nth request of this target, so that the order among threads is no matter
                self._draws[number, target] += 1
                draw = Random(f"{self.seed} {number} {target} {self._draws[number, target]}")
                if draw.random() >= fault.probability:
                    continue
            if fault.times is not None:
                fault.times -= 1
            return fault.kind
        return None

    def answer(self, request: Request, fault: str | None) -> Answer:
        """Which bytes the request gets, apart from what happens to them on their way."""
        raise NotImplementedError

    def handle(self, request: Request) -> tuple[Answer, str | None]:
        """The answer and what happens to it on its way; writes the log."""
        with self.lock:
            fault = self.take_fault(request.target, request.at)
            answer = self.answer(request, fault)
            self.asked.append(Asked(request.at, request.target, answer.status, answer.kind, fault))
            self.user_agents.append(request.headers.get("User-Agent", ""))
        return answer, "reset" if answer is NO_ANSWER else fault if fault in TRANSPORT else None

    def __enter__(self: Server) -> Server:
        owner = self

        class Handler(_Handler):
            server_state = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: LoopbackServer

    def log_message(self, *_: Any) -> None:
        """Silent: the test looks at `asked`."""

    def do_GET(self) -> None:
        state = self.server_state
        answer, fault = state.handle(Request(state.clock(), self.path, cast(Mapping[str, str], self.headers)))
        try:
            self._send(answer, fault)
        except (BrokenPipeError, ConnectionResetError):  # the client hung up: a test may do that
            self.close_connection = True

    def _send(self, answer: Answer, fault: str | None) -> None:
        if fault in ("gzip_unasked", "gzip_encoded", "gzip_members", "cut_gzip"):
            said, members = fault in ("gzip_encoded", "gzip_members"), 2 if fault == "gzip_members" else 1
            answer = compressed(answer, cut=20 if fault == "cut_gzip" else 0, said=said, members=members)
        body = answer.body if isinstance(answer.body, Streamed) else streamed(answer.body)
        head = self._head(answer)
        if fault in RESETS:
            of_head, of_body = RESETS[fault]
            self.connection.sendall(head[: int(len(head) * of_head)])
            self._send_blocks(
                body.first(body.size - 1 if of_body is None else int(body.size * of_body) or int(of_head))
            )
            self._reset()
        elif fault in ("truncated", "stalled"):
            self.connection.sendall(head)
            self._send_blocks(body.first(body.size // 2))
            self.close_connection = True
            if fault == "stalled":
                self._wait_until_the_client_gives_up()
        elif isinstance(answer.body, bytes) and fault is None:
            self.connection.sendall(head + answer.body)
        else:
            self.connection.sendall(head)
            if fault == "slow":
                sleep = getattr(self.server_state.clock, "sleep", None)
                if sleep is not None:
                    sleep(SLOW_SECONDS)
            self._send_blocks(body)
        if answer.headers.get("Connection") == "close":
            self.close_connection = True

    def _head(self, answer: Answer) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} {self.responses[answer.status][0]}", f"Content-Type: {answer.content_type}"]
        lines.append(f"Date: {format_datetime(self.server_state.clock().astimezone(timezone.utc), usegmt=True)}")
        if answer.status != 304:
            lines.append(f"Content-Length: {answer.size()}")
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send_blocks(self, body: Streamed) -> None:
        for block in body.blocks():
            self.connection.sendall(block)

    def _reset(self) -> None:
        """RST instead of FIN: what the client gets after the bytes that left is an error, not an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _wait_until_the_client_gives_up(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server_state.stopping.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue


def compressed(answer: Answer, *, cut: int = 0, said: bool = False, members: int = 1) -> Answer:
    """The answer with a gzip body of so many members, which has lost its last `cut` bytes; `said`: with Content-Encoding."""
    plain = answer.body.whole() if isinstance(answer.body, Streamed) else answer.body
    size = -(-len(plain) // members) or 1
    parts = [plain[at : at + size] for at in range(0, len(plain), size)] or [b""]
    packed = b"".join(gzip.compress(part, compresslevel=1, mtime=0) for part in parts)
    headers = {**answer.headers, "Content-Encoding": "gzip"} if said else answer.headers
    return replace(answer, body=packed[: len(packed) - cut], headers=headers)


def assert_key_never_logged(text: str, key: str) -> None:
    """Fail, without repeating the key, where `text` (logs, errors, metadata) holds it or most of it."""
    at = min((found for found in (text.find(key), text.find(key[:16]), text.find(key[-16:])) if found >= 0), default=-1)
    if at >= 0:
        line = text[:at].count("\n") + 1
        before = text[max(0, at - 60) : at]
        raise AssertionError(f"the key is in line {line} of {text.count(chr(10)) + 1}, after {before!r}")


def draw(*label: object) -> Random:
    """A stream of random numbers named by its label, the same in every process."""
    return Random(int.from_bytes(hashlib.sha256(" ".join(map(str, label)).encode()).digest()[:8], "big"))
