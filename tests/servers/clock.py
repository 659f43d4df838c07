"""A clock for servers and clients under test: it stands still until somebody sleeps or moves it. No waiting here."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone


class VirtualClock:
    """`clock()` is the time (aware UTC); `clock.sleep(seconds)` returns at once and moves it. Safe among threads."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"{start.isoformat()} has no zone; give an aware start")
        self._now = start.astimezone(timezone.utc)
        self._lock = threading.Lock()
        self.slept = 0.0  # seconds, over all sleepers

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now += timedelta(seconds=max(0.0, seconds))
            self.slept += max(0.0, seconds)

    def advance_to(self, moment: datetime) -> None:
        """Move forward to `moment`; an earlier one changes nothing. `set` steps back too."""
        with self._lock:
            self._now = max(self._now, moment.astimezone(timezone.utc))

    def set(self, moment: datetime) -> None:
        """Step to `moment`, also backwards, as a machine's clock may."""
        with self._lock:
            self._now = moment.astimezone(timezone.utc)
