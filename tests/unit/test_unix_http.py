"""The server of the worker: requests in pieces and in a row, connections that end, and its own end."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_sagemaker_tools import until

GET = b"GET /ping HTTP/1.1\r\nhost: model\r\n\r\n"


SCRIPT = """
import sys
from local_sagemaker.inside import unix_http
def answer(method, path, headers, body):
    return 200, [("x-asked", f"{method} {path} {headers.get('content-type', '')}")], body[::-1]
unix_http.serve(sys.argv[1], answer)
"""


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server in a process of its own; at the end it is asked to end, and does so well."""
    socket_path = tmp_path_factory.mktemp("s") / "s"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(socket_path)]) as process:
        until(socket_path.exists, bool)
        yield socket_path
        process.terminate()
        assert process.wait(10) == 0
    assert not socket_path.exists()


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    until(lambda: _tried(connection, path), bool)
    return connection


def _tried(connection: socket.socket, path: Path) -> bool:
    try:
        connection.connect(str(path))
    except ConnectionRefusedError:  # bound, not yet listening
        return False
    return True


def read(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        more = connection.recv(65536)
        assert more, data
        data += more
    return data


def test_a_request_in_pieces_is_answered_when_it_is_whole(path: Path) -> None:
    connection = connected(path)
    for piece in (b"POST /invocations HTT", b"P/1.1\r\nContent-Type:  a/b\r\ncontent-length: 3\r\n", b"\r\nab", b"c"):
        connection.sendall(piece)
    data = read(connection, b"cba")
    assert data == b"HTTP/1.1 200 OK\r\nx-asked: POST /invocations a/b\r\ncontent-length: 3\r\n\r\ncba"


def test_a_connection_is_kept_unless_the_request_closes_it(path: Path) -> None:
    connection = connected(path)
    for _ in range(2):
        connection.sendall(GET)
        read(connection, b"content-length: 0\r\n\r\n")
    connection.sendall(GET.replace(b"host: model", b"connection: close"))
    read(connection, b"content-length: 0\r\n\r\n")
    assert connection.recv(1) == b""


def test_many_megabytes_go_both_ways_while_others_are_answered(path: Path) -> None:
    big, small = connected(path), connected(path)
    body = bytes(range(256)) * 2**15  # 8 MiB
    request = f"POST / HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    sender = threading.Thread(target=big.sendall, args=(request,))
    sender.start()
    small.sendall(GET)
    read(small, b"content-length: 0\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nx-asked: POST / \r\ncontent-length: {len(body)}\r\n\r\n".encode()
    received = bytearray()
    while len(received) < len(head) + len(body):
        received += big.recv(2**20)
    sender.join()
    assert received == head + body[::-1]


def test_a_client_that_goes_away_in_the_middle_of_its_request_harms_nobody(path: Path) -> None:
    gone = connected(path)
    gone.sendall(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
    gone.close()
    connection = connected(path)
    connection.sendall(GET)
    assert read(connection, b"content-length: 0\r\n\r\n").startswith(b"HTTP/1.1 200")
