"""From published filings to rows of the `documents` table. Parsing itself is in `parse.py`, which filings are parsed by
another process in `batches.py`; no lake, no Dagster here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import Document, RefusedFiling, Section
from ledgerline.filings.tables import DOCUMENTS
from ledgerline.ports import ObjectStore

# What one filing became: its rows (schema DOCUMENTS) and None, or no rows and why it was not parsed.
Parsed = tuple[pa.Table, "str | None"]


def document_rows(
    filings: pa.Table,
    objects: ObjectStore,
    *,
    elsewhere: Mapping[tuple[str, str], Parsed] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pa.Table, dict[str, str]]:
    """Documents of the published filings of a FILINGS table of one source, one row each, by filing and position.

    What `elsewhere` holds under (filing id, sha256) is taken from there, the rest is parsed here. Returns the rows
    (schema DOCUMENTS) and, by filing id, why a filing could not be parsed after all. `progress` is told (filings done,
    filings in all).
    """
    tables: list[pa.Table] = [DOCUMENTS.empty_table()]
    refused: dict[str, str] = {}
    pending: list[dict[str, Any]] = []
    filings_in_order = published(filings)
    for done, filing in enumerate(filings_in_order, start=1):
        made = elsewhere.get((filing["filing_id"], filing["sha256"])) if elsewhere else None
        if made is None:
            rows, why = filing_rows(filing, objects.get(filing["uri"]))
            pending.extend(rows)
        else:
            tables += [pa.Table.from_pylist(pending, schema=DOCUMENTS), made[0]] if pending else [made[0]]
            pending, why = [], made[1]
        if why is not None:
            refused[filing["filing_id"]] = why
        if progress:
            progress(done, len(filings_in_order))
    return pa.concat_tables([*tables, pa.Table.from_pylist(pending, schema=DOCUMENTS)]), refused


def published(filings: pa.Table) -> list[dict[str, Any]]:
    """The published rows of a FILINGS table, by filing id."""
    rows = [filing for filing in filings.to_pylist() if filing["state"] == "published"]
    return sorted(rows, key=lambda filing: filing["filing_id"])


def filing_rows(filing: Mapping[str, Any], body: bytes) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of one filing and None, or no rows and why: a reason of `validity.Reason`, or `crashed`.

    `filing` has source, day, filing_id, form and available_at of its FILINGS row.
    """
    try:
        parsed = parse_filing(filing["source"], body)
    except RefusedFiling as refusal:
        return [], str(refusal)
    except Exception as error:  # noqa: BLE001 - a fault of the parser costs its filing, not the day; it is shown by name
        return [], f"crashed: {type(error).__name__}: {error}"
    # The position, not the <SEQUENCE> of the container, names a document: real filings repeat and skip sequences.
    return [_row(filing, position, document) for position, document in enumerate(parsed.documents, start=1)], None


def _row(filing: Mapping[str, Any], position: int, document: Document) -> dict[str, Any]:
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
