"""The doctor's findings, on patients written by hand. The real ports are tried in tests/contract/test_doctor_contract.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli import doctor as command
from ledgerline.doctor import PORTS, examine, rows
from ledgerline.errors import LedgerlineError
from resources import build_resources
from resources.environment import read_settings


class Healthy:
    def probe(self) -> Iterator[str]:
        yield "write"
        yield "read"


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def probe(self) -> Iterator[str]:
        yield "write"
        yield "read"
        raise self.error


def test_one_broken_port_keeps_no_other_from_being_tried():
    sentence = "the lake is away: see that it runs"
    found = examine({"lake": Broken(LedgerlineError(sentence)), "object_store": Healthy(), "notifier": Healthy()})
    assert [(one.port, one.works, one.said) for one in found] == [
        ("object_store", True, ""),
        ("lake", False, sentence),
        ("notifier", True, ""),
    ]


def test_the_table_says_what_was_tried_up_to_the_failure():
    (row,) = rows(examine({"lake": Broken(LedgerlineError("it is\nfull: free space"))}))
    assert row == {
        "port": "lake",
        "implementation": "Broken",
        "works": "no",
        "tried": "write, read: failed",
        "remedy": "it is full: free space",
    }


def test_what_nobody_foresaw_is_a_finding_too_and_ends_with_a_remedy():
    (found,) = examine({"lake": Broken(ZeroDivisionError("by zero"))})
    assert found.said == "ZeroDivisionError: by zero: see the settings of lake, and its log."


def test_a_password_in_an_error_is_not_shown():
    (found,) = examine({"lake": Broken(ValueError("cannot open postgresql://someone:hunter2@host/db"))})
    assert "hunter2" not in found.said
    assert "postgresql://someone:***@host/db" in found.said


def test_an_implementation_without_a_probe_is_said_and_does_not_pass():
    (found,) = examine({"lake": object()})
    assert not found.works


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_every_implementation_that_is_chosen_can_be_tried(tmp_path, environment):
    given = {
        "LEDGERLINE_HOME": str(tmp_path),
        "LEDGERLINE_ENV": environment,
        "LEDGERLINE_BUCKET": "a-bucket",
        "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
        "SAGEMAKER_IMAGE_URI": "image",
        "SLACK_BOT_TOKEN": "xoxb-1",
        "OPENSEARCH_URL": "https://search.example.com",
        "NEPTUNE_ENDPOINT": "wss://graph.example.com:8182/gremlin",
    }
    if environment == "prod":
        given |= {
            "LEDGERLINE_COMPUTE": "ecs",
            "ECS_CLUSTER": "c",
            "ECS_TASK_DEFINITION": "t",
            "ECS_SUBNETS": "s",
            "ECS_SECURITY_GROUPS": "g",
        }
    made = build_resources(settings=read_settings(variables=given))
    assert [port for port in PORTS if not callable(getattr(made[port], "probe", None))] == []


@pytest.mark.parametrize(("sick", "code"), [({}, 0), ({"lake": Broken(LedgerlineError("away: look"))}, 1)])
def test_the_command_fails_where_a_port_is_broken_and_says_the_sentence(monkeypatch, capsys, tmp_path, sick, code):
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path))
    monkeypatch.delenv("LEDGERLINE_ENV", raising=False)
    healthy = dict.fromkeys(PORTS, Healthy())
    monkeypatch.setattr("resources.build_resources", lambda **_: healthy | sick)
    assert command.doctor() == code
    said = capsys.readouterr().out
    assert ("lake: away: look" in said) == bool(sick)
    assert f"{len(PORTS) - len(sick)} of {len(PORTS)} ports work" in said
