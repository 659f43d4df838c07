"""HTTP/1.1 on a unix socket, in one thread: one request is answered after the other, as one Python process can.

Only the server's own front and its jobs connect here, so a request is trusted to be well formed: its head, then
Content-Length bytes. Routes and handlers are serve.py's. Standard library only: it runs in a project's environment.
"""

import selectors
import signal
import socket
from pathlib import Path

CHUNK = 256 * 1024
SEND_SECONDS = 60.0  # the front reads at once; one that does not for so long is gone
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}


class Connection:
    """A connection and the request that is arriving on it; `end` is the length of all of it, once its head is read."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()
        self.head = None
        self.end = 0

    def receive(self):
        """The next request as (method, path, headers, body), None while it is incomplete. Raises OSError at the end."""
        data = self.socket.recv(CHUNK)
        if not data:
            raise ConnectionResetError
        self.buffer += data
        if self.head is None:
            length = self.buffer.find(b"\r\n\r\n")
            if length < 0:
                return None
            self.head = parse_head(self.buffer[:length].decode("latin-1"))
            self.end = length + 4 + int(self.head[2].get("content-length", "0"))
        if len(self.buffer) < self.end:
            return None
        method, path, headers = self.head
        body = bytes(self.buffer[self.end - int(headers.get("content-length", "0")) : self.end])
        del self.buffer[: self.end]
        self.head = None
        return method, path, headers, body

    def send(self, status, headers, body):
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n{lines}content-length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode("latin-1", "replace") + body)


def parse_head(text):
    """Method, path and headers (lower-case names) of a request's head."""
    lines = text.split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, path, headers


def serve(socket_path, answer):
    """Listen until SIGTERM, then answer what has come in, and return.

    `answer(method, path, headers, body)` gives status, header pairs and body.
    """
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    signal.set_wakeup_fd(wake_write.fileno())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(socket_path))
    listener.listen(256)
    arriving: set = set()  # connections with a part of a request
    with selectors.DefaultSelector() as selector:
        selector.register(wake_read, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            ready = selector.select(0 if stopping and not arriving else None)
            if stopping and not ready and not arriving:
                break
            for key, _ in ready:
                if key.fileobj is wake_read:
                    wake_read.recv(4096)
                elif key.fileobj is listener:
                    accepted, _ = listener.accept()
                    accepted.settimeout(SEND_SECONDS)
                    selector.register(accepted, selectors.EVENT_READ, Connection(accepted))
                elif not advance(key.data, answer, arriving):
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
    listener.close()
    Path(socket_path).unlink(missing_ok=True)


def advance(connection, answer, arriving):
    """Read what is there and answer the request if it is whole; False where the connection is at its end."""
    try:
        request = connection.receive()
        if request is None:
            arriving.add(connection)
            return True
        arriving.discard(connection)
        connection.send(*answer(*request))
    except OSError:
        arriving.discard(connection)
        return False
    return request[2].get("connection") != "close"
