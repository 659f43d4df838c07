"""The training set of a model project: rows of a lake table at one version, as Parquet bytes that can be made again.

How rows are split into train and test is the project's own preprocessing.py.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledgerline.errors import LedgerlineError
from ledgerline.ports import Lake
from ledgerline.projects.sections import Dataset

_TEXT = "__text"


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows in a fixed order. `digest` is the sha256 of `body`; `version` is the lake table's version they come from."""

    table: str
    version: int
    rows: pa.Table
    body: bytes
    digest: str


def training_set(lake: Lake, dataset: Dataset, *, version: int | None = None) -> TrainingSet:
    """The rows that config.yaml asks for, at the newest version unless told; equal rows give equal bytes.

    Raises LedgerlineError if the table was never written, lacks a column or has no matching row.
    """
    if version is None:
        version = lake.version(dataset.table)
    if version is None:
        raise LedgerlineError(
            f"The lake has no table {dataset.table}. Materialize the asset that writes it"
            f"{f' ({dataset.asset})' if dataset.asset else ''}, then this one."
        )
    rows = lake.read(dataset.table, columns=dataset.columns, where=dataset.where or None, version=version)
    if rows.num_rows == 0:
        raise LedgerlineError(
            f"No row of {dataset.table} version {version} matches {dict(dataset.where)}, so there is nothing to learn "
            "from. Correct dataset.where in config.yaml, or materialize the asset that writes the table."
        )
    rows = in_fixed_order(rows.select(dataset.columns), dataset)
    body = to_parquet(rows)
    return TrainingSet(dataset.table, version, rows, body, hashlib.sha256(body).hexdigest())


def in_fixed_order(rows: pa.Table, dataset: Dataset) -> pa.Table:
    """Sorted by entity, time, then every other column; the lake promises no order of its own."""
    simple = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
    keys = sorted(simple, key=lambda name: (name != dataset.entity_column, name != dataset.time_column, name))
    if len(keys) == len(rows.schema) or rows.group_by(keys).aggregate([]).num_rows == rows.num_rows:
        return _sorted_by(rows, keys)
    # Arrow cannot compare lists and structs. Where rows differ in nothing else, their text decides.
    nested = [name for name in rows.column_names if name not in keys]
    texts = [json.dumps(row, sort_keys=True, default=str) for row in rows.select(nested).to_pylist()]
    return _sorted_by(rows.append_column(_TEXT, pa.array(texts)), [*keys, _TEXT]).drop_columns([_TEXT])


def _sorted_by(rows: pa.Table, keys: list[str]) -> pa.Table:
    return rows.take(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in keys]))


def to_parquet(rows: pa.Table) -> bytes:
    """Parquet without the schema's free-form metadata: equal rows give equal bytes under one version of pyarrow."""
    buffer = io.BytesIO()
    pq.write_table(
        rows.replace_schema_metadata(None).combine_chunks(), buffer, compression="zstd", row_group_size=65_536
    )
    return buffer.getvalue()
