"""Named partitions. A partition is one regulator's calendar day of filing: `edgar:2026-03-02`, `dart:2026-03-03`.

The days are dynamic, registered when an archive is known to hold them, or by the clock on weekdays: a weekend is no
partition that looks missing for ever, and a backfill of years registers its days first. Never one per document.
"""

from __future__ import annotations

from datetime import date
from typing import get_args

import dagster as dg

from ledgerline.errors import LedgerlineError
from ledgerline.filings.records import Source

source_day = dg.DynamicPartitionsDefinition(name="source_day")


def partition_key(source: str, day: date) -> str:
    return f"{source}:{day.isoformat()}"


def parse_partition_key(key: str) -> tuple[Source, date]:
    """("edgar", date(2026, 3, 2)) of `edgar:2026-03-02`. Raises LedgerlineError for what is no such key."""
    source, _, day = key.partition(":")
    try:
        if source in get_args(Source):
            return source, date.fromisoformat(day)  # type: ignore[return-value]  # checked above
    except ValueError:
        pass
    raise LedgerlineError(f"{key!r} is no partition; write <source>:<day>, e.g. edgar:2026-03-02 or dart:2026-03-03.")
