"""What every notifier must do. Runs on the log and on Slack, whose API a small server on loopback speaks."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import dagster as dg
import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.ports import Notifier
from resources import build_resources
from resources.environment import read_settings
from resources.notifier import LogNotifier, SlackNotifier
from sensors.catch_up import catch_up_alerts

Messages = Callable[[], list[str]]


class SlackServer(HTTPServer):
    """Answers chat.postMessage like Slack: HTTP 200 with ok true or false, 429 with Retry-After, or 503 with a page."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SlackHandler)
        self.posts: list[dict[str, str]] = []
        self.error = ""
        self.status = 200
        self.requests = 0
        self.refused_channel = ""


class SlackHandler(BaseHTTPRequestHandler):
    server: SlackServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_json = self.headers["Content-Type"].startswith("application/json")
        post = json.loads(body) if is_json else {key: values[0] for key, values in parse_qs(body).items()}
        self.server.requests += 1
        error = "not_in_channel" if post["channel"] == self.server.refused_channel else self.server.error
        if not error and self.server.status == 200:
            self.server.posts.append({**post, "authorization": self.headers["Authorization"], "path": self.path})
        payload = json.dumps({"ok": False, "error": error} if error else {"ok": True}).encode()
        if self.server.status == 503:
            payload = b"<html>busy</html>"
        self.send_response(self.server.status)
        if self.server.status == 429:
            self.send_header("Retry-After", "120")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Silent: the posts are what is looked at."""


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    server = SlackServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def slack_notifier(slack: SlackServer, **settings: object) -> SlackNotifier:
    return SlackNotifier(
        token="xoxb-test",
        channels={"team:nlp": "#nlp"},
        base_url=f"http://127.0.0.1:{slack.server_port}/api/",
        **settings,
    )


@pytest.fixture(params=["log", "slack"])
def notifier_and_messages(
    request: pytest.FixtureRequest, slack: SlackServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> Iterator[tuple[Notifier, Messages]]:
    settings: dict = {"state_path": str(tmp_path / "alerts.db"), "max_per_hour": 3}
    if request.param == "slack":
        yield slack_notifier(slack, **settings), lambda: [post["text"] for post in slack.posts]
        return
    logger = logging.getLogger("dagster.alerts")
    logger.addHandler(caplog.handler)
    yield (
        LogNotifier(**settings),
        lambda: [record.getMessage() for record in caplog.records if "left within the hour" not in record.getMessage()],
    )
    logger.removeHandler(caplog.handler)


def test_an_alert_says_title_text_and_owner(notifier_and_messages: tuple[Notifier, Messages]) -> None:
    notifier, messages = notifier_and_messages
    assert notifier.notify("team:nlp", "mentions failed", "2 documents", "run-1")
    (message,) = set(messages())
    assert "mentions failed" in message
    assert "2 documents" in message
    assert "team:nlp" in message


def test_a_key_is_sent_once_and_another_key_is_sent_too(notifier_and_messages: tuple[Notifier, Messages]) -> None:
    notifier, messages = notifier_and_messages
    assert notifier.notify("team:nlp", "failed", "first", "run-1")
    assert not notifier.notify("team:nlp", "failed", "again", "run-1")
    assert notifier.notify("team:nlp", "failed", "second", "run-2")
    assert not any("again" in message for message in messages())


def test_a_storm_is_capped_and_what_was_held_back_may_go_out_an_hour_later(
    notifier_and_messages: tuple[Notifier, Messages],
) -> None:
    notifier, _ = notifier_and_messages
    assert isinstance(notifier, LogNotifier | SlackNotifier)
    notifier._clock = lambda: 1000.0
    assert [notifier.notify("o", "t", "x", f"run-{number}") for number in range(5)] == [True] * 3 + [False] * 2
    notifier._clock = lambda: 1000.0 + 3601
    assert notifier.catch_up() == (2, 0)
    assert not notifier.notify("o", "t", "x", "run-4")


def test_what_is_more_than_an_hour_has_room_for_is_summed_up_in_one_message(
    notifier_and_messages: tuple[Notifier, Messages],
) -> None:
    notifier, messages = notifier_and_messages
    assert isinstance(notifier, LogNotifier | SlackNotifier)
    notifier._clock = lambda: 1000.0
    for number in range(30):
        notifier.notify("team:nlp", f"failure {number} of", "no\nsecond line", f"run-{number:02}")
    notifier._clock = lambda: 1000.0 + 3601
    assert notifier.catch_up() == (27, 0)
    *first, summary = messages()
    assert len(first) == 3
    assert all(f"failure {number} of" in summary for number in range(3, 23))
    assert ("27 alerts in one" in summary, "and 7 more" in summary, "second line" in summary) == (True, True, False)


def test_another_process_with_the_same_state_does_not_send_it_again(tmp_path: Path) -> None:
    state = str(tmp_path / "alerts.db")
    assert LogNotifier(state_path=state).notify("o", "t", "x", "run-1")
    assert not LogNotifier(state_path=state).notify("o", "t", "x", "run-1")


def test_without_a_state_file_keys_are_remembered_by_the_object_only() -> None:
    notifier = LogNotifier()
    assert notifier.notify("o", "t", "x", "run-1")
    assert not notifier.notify("o", "t", "x", "run-1")
    assert LogNotifier().notify("o", "t", "x", "run-1")


def test_slack_posts_to_the_channel_of_the_owner_with_its_token(slack: SlackServer) -> None:
    notifier = slack_notifier(slack)
    notifier.notify("team:nlp", "t", "x", "1")
    notifier.notify("team:unknown", "t", "x", "2")
    assert [post["channel"] for post in slack.posts] == ["#nlp", "#ledgerline"]
    assert slack.posts[0]["authorization"] == "Bearer xoxb-test"
    assert slack.posts[0]["path"] == "/api/chat.postMessage"


def test_a_refused_post_names_the_remedy_and_can_be_sent_again(slack: SlackServer) -> None:
    notifier = slack_notifier(slack)
    slack.error = "not_in_channel"
    with pytest.raises(LedgerlineError, match=r"not_in_channel.*member of the channel"):
        notifier.notify("team:nlp", "t", "x", "1")
    slack.error = ""
    assert notifier.catch_up() == (1, 0)
    assert len(slack.posts) == 1


def test_a_channel_that_is_wrong_holds_up_no_other(slack: SlackServer) -> None:
    notifier = slack_notifier(slack)
    slack.refused_channel = "#nlp"
    with pytest.raises(LedgerlineError, match="not_in_channel"):
        notifier.notify("team:nlp", "t", "x", "1")
    with pytest.raises(LedgerlineError, match="not_in_channel"):
        notifier.notify("team:quant", "t", "x", "2")  # the other one still waits
    assert [post["channel"] for post in slack.posts] == ["#ledgerline"]


@pytest.mark.parametrize(("status", "seconds"), [(429, 120), (503, 30)])
def test_slack_that_is_down_or_busy_is_left_alone_for_a_while_and_caught_up_after_a_restart(
    slack: SlackServer, tmp_path: Path, status: int, seconds: int
) -> None:
    notifier = slack_notifier(slack, state_path=str(tmp_path / "alerts.db"))
    notifier._clock = lambda: 1000.0
    slack.status = status
    assert [notifier.notify("team:nlp", "t", f"<!channel> {key}", key) for key in "ab"] == [False, False]
    assert slack.requests == 1
    slack.status = 200
    again = slack_notifier(slack, state_path=str(tmp_path / "alerts.db"))
    again._clock = lambda: 1000.0 + seconds - 1
    assert again.catch_up() == (0, 2)
    again._clock = lambda: 1000.0 + seconds
    assert again.catch_up() == (2, 0)
    assert [post["text"].splitlines()[1] for post in slack.posts] == ["&lt;!channel&gt; a", "&lt;!channel&gt; b"]


def test_slack_that_cannot_be_reached_fails_nothing(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        notifier = SlackNotifier(token="xoxb-test", base_url=f"http://127.0.0.1:{probe.getsockname()[1]}/api/")
        assert not notifier.notify("team:nlp", "t", "x", "1")
    assert notifier.catch_up() == (0, 1)


def test_an_alert_may_name_its_channel(slack: SlackServer) -> None:
    slack_notifier(slack).notify("team:nlp", "t", "x", "1", channel="#models")
    assert [post["channel"] for post in slack.posts] == ["#models"]


def test_an_alert_whose_process_was_killed_while_it_sent_goes_out_later(tmp_path: Path) -> None:
    state = str(tmp_path / "alerts.db")

    class Killed(LogNotifier):
        def _send(self, channel: str | None, owner: str, title: str, text: str) -> None:
            os._exit(9)

    child = multiprocessing.get_context("fork").Process(
        target=lambda: Killed(state_path=state).notify("o", "t", "x", "run-1")
    )
    child.start()
    child.join()
    assert child.exitcode == 9
    notifier = LogNotifier(state_path=state)
    assert notifier.catch_up() == (0, 1)  # it may still be at work
    now = time.time()
    notifier._clock = lambda: now + 601
    assert notifier.catch_up() == (1, 0)


def test_the_sensor_sends_what_waits_and_says_so(slack: SlackServer, tmp_path: Path) -> None:
    notifier = slack_notifier(slack, state_path=str(tmp_path / "alerts.db"))
    notifier._clock = lambda: 1000.0  # long ago; Dagster copies resources for each tick, with the real clock
    slack.status = 503
    notifier.notify("team:nlp", "t", "x", "1")
    slack.status = 200

    def tick() -> str:
        with dg.build_sensor_context(resources={"notifier": notifier}) as context:
            return str(catch_up_alerts.evaluate_tick(context).skip_message)

    assert [tick(), tick()] == ["1 alert(s) sent late, 0 wait.", "No alert waits."]


def test_channels_come_from_the_settings_and_the_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "LEDGERLINE_ENV": "prod", "LEDGERLINE_BUCKET": "b", "SAGEMAKER_ROLE_ARN": "r", "SAGEMAKER_IMAGE_URI": "i",
        "SLACK_BOT_TOKEN": "xoxb-1", "LEDGERLINE_SLACK_CHANNELS": '{"team:quant": "#quant"}',
        "LEDGERLINE_SLACK_DEFAULT_CHANNEL": "#data",
    }  # fmt: skip
    notifier = build_resources(settings=read_settings(variables=given))["notifier"]
    assert (notifier.channels, notifier.default_channel) == ({"team:quant": "#quant"}, "#data")
    assert notifier.state_path.endswith("alerts.db")
    assert "xoxb" not in repr(SlackNotifier(token="xoxb-1"))


@pytest.mark.parametrize("text", ["#quant", '["#quant"]', '{"team:quant": 1}', '{"team:quant": ""}'])
def test_channels_that_cannot_be_read_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r'JSON object, e\.g\. {"team:quant"'):
        read_settings(variables={"LEDGERLINE_SLACK_CHANNELS": text})
