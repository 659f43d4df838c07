"""Filings for tests of batches: rows of the table filings with their bodies in an object store, small ones by default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from ledgerline.filings.tables import FILINGS
from ledgerline.ports import ObjectStore
from tests.servers.small_archive import APPLE, DAY, Made, submission

SEEN = datetime(2025, 3, 14, 21, 0, 0, 123456, tzinfo=timezone.utc)


def accession(number: int) -> str:
    return f"0000320193-25-{number:06}"


def body_of(number: int, text: str = "") -> bytes:
    """A submission whose text is a word for each filing, and `text`."""
    made = submission(Made(accession(number), "8-K", (APPLE,)))
    return made.replace(b"This is generated", f"{text} filing number {number}".encode())


def put_filings(
    objects: ObjectStore, bodies: Mapping[int, bytes], *, day: str = DAY.isoformat(), **changed: Any
) -> pa.Table:
    """FILINGS rows of bodies by number, published; `changed` are other values of all rows."""
    rows = []
    for number, body in bodies.items():
        uri = objects.uri("filings", "edgar", accession(number))
        row = dict.fromkeys(FILINGS.names) | {
            "source": "edgar",
            "day": day,
            "filing_id": accession(number),
            "form": "8-K",
            "title": "",
            "first_seen_at": SEEN,
            "available_at": SEEN,
            "sha256": objects.put(uri, body),
            "bytes": len(body),
            "uri": uri,
            "state": "published",
            "version": 1,
        }
        rows.append(row | changed)
    return pa.Table.from_pylist(rows, schema=FILINGS)
