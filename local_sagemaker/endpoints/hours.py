"""How many requests each variant got, by the hour, on disk: what is asked of weeks, across restarts.

Kept as long as CloudWatch keeps points of an hour. Written every WRITE_SECONDS, so that a killed server forgets no more.
What is asked of seconds is in metrics.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from local_sagemaker.endpoints.metrics import Metrics
from local_sagemaker.store import Store

KIND = "invocations-of-hour"
HOUR = 3600
KEPT_SECONDS = 455 * 86_400  # CloudWatch API reference, GetMetricStatistics
WRITE_SECONDS = 10.0


class Hours:
    """The counts of every endpoint; `clock` gives epoch seconds. Thread-safe."""

    def __init__(self, store: Store, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[tuple[str, str], int] = {}  # of what `metrics` counted since the server started

    def write(self) -> None:
        """Add what was counted since the last time to the present hour."""
        hour = int(self._clock()) // HOUR * HOUR
        with self._lock:
            counted = {(endpoint, variant): totals.invocations for endpoint, variant, totals in self._metrics.totals()}
            with self._store.transaction():
                for (endpoint, variant), count in counted.items():
                    new = count - self._written.get((endpoint, variant), 0)
                    if new:
                        self._add(f"{endpoint}/{variant}/{hour}", new)
            self._written = counted

    def _add(self, name: str, count: int) -> None:
        with self._store.edit(KIND, name) as body:
            if body is not None:
                body["count"] += count
        if body is None:
            self._store.create(KIND, name, {"count": count})

    def counts(self, endpoint: str, variant: str) -> dict[int, int]:
        """Epoch second at which an hour begins -> requests in it, to this moment."""
        self.write()
        found = {}
        for name, body in self._store.all(KIND):
            *of, hour = name.split("/")
            if of == [endpoint, variant]:
                found[int(hour)] = body["count"]
        return found

    def forget_old(self) -> None:
        """Delete what is past its time."""
        horizon = self._clock() - KEPT_SECONDS
        for name, _ in self._store.all(KIND):
            if int(name.rsplit("/", 1)[1]) < horizon:
                self._store.delete(KIND, name)
