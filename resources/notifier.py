"""Alerts to the owner of an asset: to the log, or to Slack. Implements `ledgerline.ports.Notifier`.

Here: one alert per key, a cap per hour, what waits while Slack is down, and which channel an owner reads. What is worth an
alert, and its key, is decided by the sensors that call it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field, PrivateAttr

from ledgerline.alerts import without_secrets
from ledgerline.errors import LedgerlineError
from resources.secrets import secret

HOUR = 3600.0
MEMORY = ":memory:"
STALE_SECONDS = 600.0  # who claimed an alert and has not sent it by then was killed
PAUSE_SECONDS = 30.0  # after an outage nobody is asked for so long: a storm of alerts must not wait for each of them
SLACK_TIMEOUT = 10
SUMMED_UP = 20  # titles in one message; the others are counted
# Errors of Slack that pass by themselves; every other one is of the settings, and says so.
PASSING = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
  key TEXT PRIMARY KEY, owner TEXT NOT NULL, channel TEXT, title TEXT NOT NULL, text TEXT NOT NULL,
  state TEXT NOT NULL,  -- waiting | sending | sent
  at REAL NOT NULL,     -- since when it is in that state, seconds since 1970
  told REAL NOT NULL,   -- when it was told first
  message TEXT          -- the key of the first alert in the message that it left in
);
CREATE TABLE IF NOT EXISTS pause (one INTEGER PRIMARY KEY CHECK (one = 1), until REAL NOT NULL);
"""


class _Later(Exception):
    """It could not be sent now; after so many seconds it may be tried again."""

    def __init__(self, said: str, seconds: float = PAUSE_SECONDS) -> None:
        super().__init__(said)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Alert:
    key: str
    owner: str
    channel: str | None
    title: str
    text: str


class _Notifier(ConfigurableResource):
    """What both notifiers share.

    `state_path` is a SQLite file that several processes may share; by default alerts are remembered as long as the object
    lives. At most `max_per_hour` messages leave in an hour; what is more waits, and leaves summed up in one.
    """

    state_path: str = MEMORY
    max_per_hour: int = Field(default=30, ge=1)

    _in_memory: sqlite3.Connection | None = PrivateAttr(default=None)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _clock: Callable[[], float] = PrivateAttr(default=time.time)

    def notify(self, owner: str, title: str, text: str, key: str, channel: str | None = None) -> bool:
        """Send once per key: True if it went out now, False if `key` was sent before, or waits: for the next hour, or
        because it cannot be sent at present.

        `channel` is used instead of the owner's. Raises LedgerlineError with the remedy if the settings are wrong; the
        alert waits then too.
        """
        now = self._clock()
        with self._lock, self._database() as database:
            database.execute(
                "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, NULL)",
                (key, owner, channel, title, text, now, now),
            )
            return key in self._send_waiting(database)

    def catch_up(self) -> tuple[int, int]:
        """Send what waits, as far as the hour has room; how many alerts went out, and how many wait still."""
        with self._lock, self._database() as database:
            sent = self._send_waiting(database)
            (waiting,) = database.execute("SELECT count(*) FROM alerts WHERE state != 'sent'").fetchone()
            return len(sent), int(waiting)

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Nobody is alerted."""
        yield "remember"
        with self._lock, self._database() as database:
            database.execute("DELETE FROM alerts WHERE key = ?", (f"doctor-{uuid.uuid4().hex}",))

    def _send(self, channel: str | None, owner: str, title: str, text: str) -> None:
        """Raises _Later, or LedgerlineError where the settings are wrong."""
        raise NotImplementedError

    def _channel(self, alert: _Alert) -> str | None:
        return alert.channel

    def _send_waiting(self, database: sqlite3.Connection) -> set[str]:
        """The keys that went out. Of several processes one claims an alert; each alert is in one message."""
        now = self._clock()
        (until,) = database.execute("SELECT coalesce(max(until), 0) FROM pause").fetchone()
        if until > now:
            return set()
        database.execute(
            "UPDATE alerts SET state = 'waiting' WHERE state = 'sending' AND at < ?", (now - STALE_SECONDS,)
        )
        room = self.max_per_hour - self._left_within_the_hour(database, now)
        found = database.execute(
            "SELECT key, owner, channel, title, text FROM alerts WHERE state = 'waiting' ORDER BY told, key"
        )
        waiting = [_Alert(*row) for row in found.fetchall()]
        sent: set[str] = set()
        wrong: LedgerlineError | None = None
        for alerts in self._messages(waiting, room)[: max(room, 0)]:
            mine = [alert for alert in alerts if self._claim(database, alert, alerts[0].key)]
            if not mine:
                continue
            try:
                self._send(self._channel(mine[0]), *_summed_up(mine))
            except BaseException as error:
                self._move(database, mine, "waiting")
                if isinstance(error, _Later):
                    database.execute("INSERT OR REPLACE INTO pause VALUES (1, ?)", (now + error.seconds,))
                    _log().warning("%d alert(s) wait: %s. They are sent later.", len(waiting) - len(sent), error)
                    break
                if not isinstance(error, LedgerlineError):
                    raise
                wrong = error  # another channel may be right
            else:
                self._move(database, mine, "sent")
                sent |= {alert.key for alert in mine}
        if wrong:
            raise wrong
        if room <= 0 and waiting:
            _log().warning("%d alert(s) wait: %d messages left within the hour.", len(waiting), self.max_per_hour)
        return sent

    def _messages(self, waiting: Sequence[_Alert], room: int) -> list[list[_Alert]]:
        """One for each alert if there is room for them; else one for each channel."""
        if len(waiting) <= room:
            return [[alert] for alert in waiting]
        channels: dict[str | None, list[_Alert]] = {}
        for alert in waiting:
            channels.setdefault(self._channel(alert), []).append(alert)
        return list(channels.values())

    def _left_within_the_hour(self, database: sqlite3.Connection, now: float) -> int:
        """Messages; those that another process is about to send count too."""
        asked = "SELECT count(DISTINCT message) FROM alerts WHERE state != 'waiting' AND at > ?"
        return int(database.execute(asked, (now - HOUR,)).fetchone()[0])

    def _claim(self, database: sqlite3.Connection, alert: _Alert, message: str) -> bool:
        claimed = "UPDATE alerts SET state = 'sending', at = ?, message = ? WHERE key = ? AND state = 'waiting'"
        return bool(database.execute(claimed, (self._clock(), message, alert.key)).rowcount)

    def _move(self, database: sqlite3.Connection, alerts: Sequence[_Alert], state: str) -> None:
        moved = [(state, self._clock(), alert.key) for alert in alerts]
        database.executemany("UPDATE alerts SET state = ?, at = ? WHERE key = ?", moved)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        if self.state_path != MEMORY:
            with closing(_open(self.state_path)) as connection:
                yield connection
            return
        if self._in_memory is None:
            self._in_memory = _open(MEMORY)
        yield self._in_memory


class LogNotifier(_Notifier):
    """Writes alerts to the log as warnings: the embedded twin."""

    def _send(self, channel: str | None, owner: str, title: str, text: str) -> None:
        _log().warning("%s: %s: %s", owner, title, text)


class SlackNotifier(_Notifier):
    """Posts alerts to Slack through dagster-slack. `channels` maps an owner ("team:nlp") to a channel; a channel of a
    project's config.yaml ("#quant-models") is taken as it stands.

    `token` is a bot token with the scope chat:write, or a reference to it, given as `EnvVar("SLACK_BOT_TOKEN")`.
    `base_url` is for tests.
    """

    token: str = Field(repr=False)
    channels: dict[str, str] = Field(default_factory=dict)
    default_channel: str = "#ledgerline"
    base_url: str = ""

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Slack is asked who the bot is; nothing is posted."""
        from slack_sdk.errors import SlackClientError

        yield from super().probe()
        yield "reach, sign"
        try:
            self._client().auth_test()
        except (SlackClientError, OSError) as error:
            said = without_secrets(str(error))
            raise LedgerlineError(f"Slack does not know the bot ({said}); check SLACK_BOT_TOKEN.") from error

    def _client(self) -> Any:
        from dagster_slack import SlackResource

        client = SlackResource(token=secret(self.token, "SLACK_BOT_TOKEN")).get_client()
        client.timeout = SLACK_TIMEOUT
        if self.base_url:
            client.base_url = self.base_url
        return client

    def _channel(self, alert: _Alert) -> str | None:
        return alert.channel or self.channels.get(alert.owner, self.default_channel)

    def _send(self, channel: str | None, owner: str, title: str, text: str) -> None:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            self._client().chat_postMessage(
                channel=str(channel), text=f"*{_plain(title)}*\n{_plain(text)}\n_{_plain(owner)}_"
            )
        except SlackApiError as error:
            code, status, retry_after = _answer(error)
            if status == 429 or status >= 500 or code in PASSING:
                raise _Later(f"Slack answered {status} {code}", max(retry_after, PAUSE_SECONDS)) from error
            raise LedgerlineError(
                f"Alert {title!r} could not be posted to {channel} ({code}); check SLACK_BOT_TOKEN, its scope "
                "chat:write, LEDGERLINE_SLACK_CHANNELS, and that the bot is a member of the channel."
            ) from error
        except (SlackClientError, OSError) as error:
            raise _Later(f"Slack cannot be reached ({without_secrets(str(error))})") from error


def _answer(error: Any) -> tuple[str, int, float]:
    """Slack's error code, the HTTP status, and the seconds to wait that it asks for."""
    response = error.response  # a dict where the body was no JSON
    headers = {name.lower(): text for name, text in (getattr(response, "headers", None) or response["headers"]).items()}
    status = getattr(response, "status_code", None) or response.get("status") or 0
    asked = str(headers.get("retry-after", ""))
    return str(response.get("error") or "no JSON"), int(status), float(asked) if asked.isdigit() else 0.0


def _summed_up(alerts: Sequence[_Alert]) -> tuple[str, str, str]:
    """Owner, title and text of the message over alerts of one channel."""
    first = alerts[0]
    if len(alerts) == 1:
        return first.owner, first.title, first.text
    lines = [f"{alert.title} ({alert.owner}): {alert.text.splitlines()[0][:200]}" for alert in alerts[:SUMMED_UP]]
    if len(alerts) > SUMMED_UP:
        lines.append(f"and {len(alerts) - SUMMED_UP} more")
    return ", ".join(sorted({alert.owner for alert in alerts})), f"{len(alerts)} alerts in one", "\n".join(lines)


def _plain(text: str) -> str:
    """Without what Slack reads as a link or as a call of everybody, as its documentation asks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _open(path: str) -> sqlite3.Connection:
    # Every statement is a transaction of its own: of two processes only one claims an alert.
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
    connection.executescript(_SCHEMA)
    return connection


def _log() -> logging.Logger:
    from dagster import get_dagster_logger

    return get_dagster_logger("alerts")
