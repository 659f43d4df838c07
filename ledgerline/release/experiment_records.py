"""What a step says to an experiment store, as a record that can be written late, and the place where late ones wait.

A record holds what was said and when, so that written an hour later, or twice, it gives the same run. How it is written to
MLflow is in `resources/experiments.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

from ledgerline.errors import LedgerlineError
from ledgerline.ports import ObjectStore

Status = Literal["FINISHED", "FAILED"]


@dataclass(slots=True)
class ExperimentRecord:
    """What one step of a Dagster run logged. Times are milliseconds since 1970, as MLflow has them.

    `left_open` is no step: it says that what the Dagster run left open anywhere is to end as FAILED.
    """

    experiment: str
    dagster_run_id: str
    started: int
    ended: int = 0
    status: Status = "FAILED"
    left_open: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)

    def to_json(self) -> bytes:
        artifacts = {name: base64.b64encode(body).decode("ascii") for name, body in self.artifacts.items()}
        return json.dumps({**asdict(self), "artifacts": artifacts}, sort_keys=True).encode()

    @staticmethod
    def from_json(body: bytes) -> ExperimentRecord:
        """Raises LedgerlineError for what is no record."""
        try:
            values = json.loads(body)
            values["artifacts"] = {name: base64.b64decode(text) for name, text in values["artifacts"].items()}
            return ExperimentRecord(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LedgerlineError(f"this is no record of an experiment ({error}): remove it") from error


@dataclass(frozen=True, slots=True)
class Spool:
    """Records that wait for their store, below `experiments/` of the object store; the oldest comes first."""

    objects: ObjectStore

    def keep(self, record: ExperimentRecord) -> str:
        """The URI; an equal record is kept once."""
        body = record.to_json()
        uri = self.objects.uri(
            "experiments", "waiting", f"{record.ended:015d}-{hashlib.sha256(body).hexdigest()[:16]}.json"
        )
        self.objects.put(uri, body)
        return uri

    def waiting(self) -> Iterator[str]:
        yield from list(self.objects.list(self.objects.uri("experiments", "waiting/")))

    def read(self, uri: str) -> ExperimentRecord:
        return ExperimentRecord.from_json(self.objects.get(uri))

    def drop(self, uri: str) -> None:
        self.objects.delete(uri)

    def set_aside(self, uri: str) -> str:
        """Move what can never be written, so that it holds up nobody; returns where it lies."""
        aside = self.objects.uri("experiments", "refused", uri.rsplit("/", 1)[-1])
        self.objects.put(aside, self.objects.get(uri))
        self.objects.delete(uri)
        return aside
