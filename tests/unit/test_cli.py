"""What the command line refuses before it does anything."""

from __future__ import annotations

import socket

import pytest

from cli.__main__ import parser
from cli.dev import dev
from ledgerline.errors import ConfigurationError


@pytest.mark.parametrize("given", ["0", "65536", "-1", "abc", ""])
def test_what_is_no_port_is_refused_with_an_example(given, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["dev", f"--port={given}"])
    assert f"{given!r} is no port; give a number from 1 to 65535, e.g. PORT=3001." in capsys.readouterr().err


def test_a_port_in_use_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} cannot be used .*make dev PORT=<another port>"):
            dev(port)
