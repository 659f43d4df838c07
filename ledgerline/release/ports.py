"""What releases need of the world: a ledger that only grows, and a place that remembers experiments. See `resources/`.

The platform that trains and serves is a port of its own: model_platform.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ledgerline.release.releases import LedgerRecord


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A row of the release ledger: `digest` covers the record and the digest of the row before it."""

    number: int  # 1, 2, 3, ...
    record: LedgerRecord
    previous: str
    digest: str


class ReleaseLedger(Protocol):
    """Append-only and hash-chained: candidates, evaluations, approvals, intents and releases of all projects."""

    def append(self, record: LedgerRecord) -> LedgerEntry:
        """Add a row. Raises PermanentFailure if the record concludes an intent that is already concluded."""
        ...

    def entries(self, project: str | None = None) -> list[LedgerEntry]:
        """Rows, oldest first, of a project or of all. Raises PermanentFailure naming the first row that was altered."""
        ...

    def head(self) -> tuple[int, str]:
        """Number and digest of the newest row, (0, "") if there is none."""
        ...


class ExperimentRun(Protocol):
    """One open run. Values are kept as they are logged; `artifact` keeps a file under the run."""

    run_id: str

    def params(self, values: Mapping[str, object]) -> None: ...

    def metrics(self, values: Mapping[str, float]) -> None: ...

    def tags(self, values: Mapping[str, str]) -> None: ...

    def artifact(self, name: str, body: bytes) -> None: ...


class Experiments(Protocol):
    """Remembers what was trained with what and how good it was. Steps of one Dagster run share one run."""

    def warm_up(self) -> None:
        """Start what is slow (imports, schema) in the background; may be called at any time, returns at once."""
        ...

    def run(
        self, experiment: str, *, dagster_run_id: str, tags: Mapping[str, str]
    ) -> AbstractContextManager[ExperimentRun]:
        """Open the run; it ends FINISHED, or FAILED if the block raises."""
        ...

    def mark_failed(self, dagster_run_id: str) -> int:
        """End every run that this Dagster run left RUNNING as FAILED (a killed process). Returns how many."""
        ...
