"""Alerts to the owner of an asset: to the log, or to Slack. Implements `ledgerline.ports.Notifier`.

Here: one alert per key, a cap per hour, and which channel an owner reads. What is worth an alert, and its key, is
decided by the sensors and hooks that call it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field, PrivateAttr

from ledgerline.errors import LedgerlineError

HOUR = 3600.0
MEMORY = ":memory:"


class _Notifier(ConfigurableResource):
    """What both notifiers share.

    `state_path` is a SQLite file that several processes may share; by default the keys are remembered as long as the
    object lives. `max_per_hour` caps a storm of alerts; what it holds back may be sent later.
    """

    state_path: str = MEMORY
    max_per_hour: int = Field(default=30, ge=1)

    _in_memory: sqlite3.Connection | None = PrivateAttr(default=None)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)
    _clock: Callable[[], float] = PrivateAttr(default=time.time)

    def notify(self, owner: str, title: str, text: str, key: str) -> bool:
        """Send once per key: True if it went out, False if `key` was sent before or the hour is full.

        Raises LedgerlineError if it could not be sent; the key is then free again.
        """
        with self._lock:
            if not self._claim(key):
                return False
            try:
                self._send(owner, title, text)
            except BaseException:
                self._execute("DELETE FROM sent WHERE key = ?", key)
                raise
            return True

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. Nobody is alerted."""
        yield "remember"
        self._execute("DELETE FROM sent WHERE key = ?", f"doctor-{uuid.uuid4().hex}")

    def _send(self, owner: str, title: str, text: str) -> None:
        raise NotImplementedError

    def _claim(self, key: str) -> bool:
        now = self._clock()
        # One statement, so that of two processes only one claims a key.
        claimed = self._execute(
            "INSERT OR IGNORE INTO sent SELECT ?, ? WHERE (SELECT count(*) FROM sent WHERE at > ?) < ?",
            key,
            now,
            now - HOUR,
            self.max_per_hour,
        )
        if not claimed and not self._execute("UPDATE sent SET key = key WHERE key = ?", key):
            _log().warning("Alert %r was held back: %d were sent within the hour.", key, self.max_per_hour)
        return bool(claimed)

    def _execute(self, statement: str, *values: object) -> int:
        """Run one statement in its own transaction; the number of rows it touched."""
        if self.state_path == MEMORY:
            if self._in_memory is None:
                self._in_memory = _open(MEMORY)
            with self._in_memory:
                return self._in_memory.execute(statement, values).rowcount
        with closing(_open(self.state_path)) as connection, connection:
            return connection.execute(statement, values).rowcount


class LogNotifier(_Notifier):
    """Writes alerts to the log as warnings: the embedded twin."""

    def _send(self, owner: str, title: str, text: str) -> None:
        _log().warning("%s: %s: %s", owner, title, text)


class SlackNotifier(_Notifier):
    """Posts alerts to Slack through dagster-slack. `channels` maps an owner ("team:nlp") to a channel.

    `token` is a bot token with the scope chat:write, given as `EnvVar("SLACK_BOT_TOKEN")`. `base_url` is for tests.
    """

    token: str
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
            raise LedgerlineError(f"Slack does not know the bot ({error}); check SLACK_BOT_TOKEN.") from error

    def _client(self) -> Any:
        from dagster_slack import SlackResource

        client = SlackResource(token=self.token).get_client()
        if self.base_url:
            client.base_url = self.base_url
        return client

    def _send(self, owner: str, title: str, text: str) -> None:
        from slack_sdk.errors import SlackClientError

        channel = self.channels.get(owner, self.default_channel)
        try:
            self._client().chat_postMessage(channel=channel, text=f"*{title}*\n{text}\n_{owner}_")
        except (SlackClientError, OSError) as error:
            raise LedgerlineError(
                f"Alert {title!r} could not be posted to {channel} ({error}); check SLACK_BOT_TOKEN, its scope "
                "chat:write, and that the bot is a member of the channel."
            ) from error


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    connection.execute("CREATE TABLE IF NOT EXISTS sent (key TEXT PRIMARY KEY, at REAL NOT NULL)")
    return connection


def _log() -> logging.Logger:
    from dagster import get_dagster_logger

    return get_dagster_logger("alerts")
