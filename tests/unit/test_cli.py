"""What the command line refuses before it does anything."""

from __future__ import annotations

import socket

import pytest

from cli.__main__ import parser
from cli.dev import dev
from cli.home import open_instance
from ledgerline.errors import ConfigurationError
from resources.environment import read_settings


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


def test_a_new_home_has_a_slot_for_the_live_feed_beside_a_backfill_and_keeps_what_a_person_set(tmp_path):
    settings = read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)})

    def slots() -> int:
        with open_instance(settings) as instance:
            return instance.event_log_storage.get_concurrency_info("compute").slot_count

    assert slots() == 2
    with open_instance(settings) as instance:
        instance.event_log_storage.set_concurrency_slots("compute", 5)
    (settings.dagster_home / "dagster.yaml").write_text("")  # that of another version of this project
    assert slots() == 5
