"""From published filings to rows of the `documents` table. Parsing itself is in `parse.py`; no lake, no Dagster here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import Document, RefusedFiling, Section
from ledgerline.filings.tables import DOCUMENTS
from ledgerline.ports import ObjectStore


def document_rows(
    filings: pa.Table, objects: ObjectStore, *, progress: Callable[[int, int], None] | None = None
) -> tuple[pa.Table, dict[str, str]]:
    """Documents of the published filings of a FILINGS table, one row each, in order of filing and sequence.

    Returns the rows (schema DOCUMENTS) and, by filing id, why a filing could not be parsed after all. `progress` is told
    (filings done, filings in all).
    """
    rows: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    published = [filing for filing in filings.to_pylist() if filing["state"] == "published"]
    for done, filing in enumerate(sorted(published, key=lambda filing: filing["filing_id"]), start=1):
        try:
            parsed = parse_filing(filing["source"], objects.get(filing["uri"]))
        except RefusedFiling as refusal:
            refused[filing["filing_id"]] = str(refusal)
            continue
        # The position, not the <SEQUENCE> of the container, names a document: real filings repeat and skip sequences.
        rows.extend(_row(filing, position, document) for position, document in enumerate(parsed.documents, start=1))
        if progress:
            progress(done, len(published))
    return pa.Table.from_pylist(rows, schema=DOCUMENTS), refused


def _row(filing: dict[str, Any], position: int, document: Document) -> dict[str, Any]:
    return {
        "source": filing["source"],
        "day": filing["day"],
        "filing_id": filing["filing_id"],
        "document_id": f"{filing['source']}:{filing['filing_id']}:{position}",
        "form": filing["form"],
        "sequence": document.sequence,
        "type": document.type,
        "filename": document.filename,
        "description": document.description,
        "language": document.language,
        "text": document.text,
        "characters": len(document.text),
        "binary_bytes": document.binary_bytes,
        "sections": [_section(section) for section in document.sections],
        "available_at": filing["available_at"],
    }


def _section(section: Section) -> dict[str, Any]:
    return {"name": section.name, "title": section.title, "start": section.start, "end": section.end}
