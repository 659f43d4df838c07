"""What every notifier must do. Runs on the log and on Slack, whose API a small server on loopback speaks."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.ports import Notifier
from resources.notifier import LogNotifier, SlackNotifier

Messages = Callable[[], list[str]]


class SlackServer(HTTPServer):
    """Answers chat.postMessage like Slack: HTTP 200 with ok true or false."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SlackHandler)
        self.posts: list[dict[str, str]] = []
        self.error = ""


class SlackHandler(BaseHTTPRequestHandler):
    server: SlackServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        is_json = self.headers["Content-Type"].startswith("application/json")
        post = json.loads(body) if is_json else {key: values[0] for key, values in parse_qs(body).items()}
        if not self.server.error:
            self.server.posts.append({**post, "authorization": self.headers["Authorization"], "path": self.path})
        answer = {"ok": not self.server.error, **({"error": self.server.error} if self.server.error else {})}
        payload = json.dumps(answer).encode()
        self.send_response(200)
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
        lambda: [record.getMessage() for record in caplog.records if "held back" not in record.getMessage()],
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
    assert notifier.notify("o", "t", "x", "run-4")


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
    assert notifier.notify("team:nlp", "t", "x", "1")
