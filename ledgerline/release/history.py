"""The release ledger for people: one line per row. What the rows mean for a deployment is in releases.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ledgerline.release.approvals import Approval
from ledgerline.release.ports import LedgerEntry
from ledgerline.release.releases import (
    PAST_TENSE,
    Candidate,
    EndpointDeleted,
    Evaluated,
    Intent,
    IntentEnded,
    LedgerRecord,
    QaServed,
    Release,
)


def newest_rows(entries: Sequence[LedgerEntry], most: int) -> list[dict[str, object]]:
    """Number, time, project, model, what happened and digest of the newest rows, the newest first."""
    return [_row(entry) for entry in reversed(entries[-most:])]


def counts(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Kind of row -> how many, in the order of their first."""
    found: dict[str, int] = {}
    for entry in entries:
        found[entry.record.kind] = found.get(entry.record.kind, 0) + 1
    return found


def _row(entry: LedgerEntry) -> dict[str, object]:
    record = entry.record
    model, at = _model_and_time(record)
    return {
        "row": entry.number,
        "at (UTC)": f"{at:%Y-%m-%d %H:%M:%S}",
        "project": record.project,
        "model": (model or "")[:12],
        "what": _what(record),
        "digest": entry.digest[:12],
    }


def _model_and_time(record: LedgerRecord) -> tuple[str | None, datetime]:
    if isinstance(record, Intent):
        return record.planned.model_digest, record.planned.at
    return record.model_digest, record.at


def _what(record: LedgerRecord) -> str:
    if isinstance(record, Approval):
        return f"{record.approver} {PAST_TENSE[record.decision]} it: {record.reason}"
    if isinstance(record, Release):
        back = f", back from {record.rolled_back_from[:12]}" if record.rolled_back_from else ""
        return f"live on {record.endpoint}, approved by {record.approver}{back}; by {record.actor}"
    if isinstance(record, Intent):
        return f"a deployment to {record.planned.endpoint} began; by {record.planned.actor}"
    if isinstance(record, IntentEnded):
        return f"deployment of row {record.intent} {record.status}: {record.detail}"
    if isinstance(record, QaServed):
        took = f" within {record.p99_ms:.1f} ms (99 of 100)" if record.p99_ms is not None else ""
        return f"{record.endpoint} answered {record.requests} requests{took} with {record.served_digest[:12]}"
    if isinstance(record, EndpointDeleted):
        saved = f"; saves {record.usd_per_month:.2f} USD a month (estimate)" if record.usd_per_month else ""
        return f"{record.endpoint} was deleted: {record.reason}{saved}"
    if isinstance(record, Candidate):
        package = record.package_arn.rsplit(":", 1)[-1]
        return f"registered as {package}, trained on {record.dataset_table}@{record.dataset_version}"
    assert isinstance(record, Evaluated)
    return f"evaluated: report {record.report_digest[:12]} on rows {record.data_digest[:12]}"
