"""The training set of a model project: rows of lake tables at recorded versions, as Parquet bytes that can be made again.

Point-in-time joins are here, the split is in splits.py (a project may leave it to its own preprocessing.py), and what a
training set must not hold is in leaks.py.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledgerline.errors import ConfigurationError, LedgerlineError, PermanentFailure
from ledgerline.ports import Lake
from ledgerline.projects.sections import Dataset, Join
from ledgerline.projects.splits import split_rows
from ledgerline.projects.times import UNKNOWN, micros

_TEXT = "__text"


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows in a fixed order. `digest` is the sha256 of `body`; `version` is the lake table's version they come from, and
    `joined` the version of each table that was joined. `left_out` rows would have broken the split."""

    table: str
    version: int
    joined: dict[str, int]
    rows: pa.Table
    left_out: int
    body: bytes
    digest: str


def training_set(
    lake: Lake, dataset: Dataset, *, version: int | None = None, joined: Mapping[str, int] | None = None
) -> TrainingSet:
    """The rows that config.yaml asks for, at the newest versions unless told; equal rows give equal bytes.

    `version` and `joined` (table -> version) make an earlier training set again: with `version`, every joined table
    needs its own. Raises LedgerlineError if a table was never written, lacks a column or has no matching row,
    PermanentFailure for rows that cannot be joined or split.
    """
    joined = dict(joined or {})
    tables = [join.table for join in dataset.joins]
    if version is not None and (missing := sorted(set(tables) - set(joined))):
        raise ConfigurationError(
            f"Version {version} of {dataset.table} was asked for, but no version of {', '.join(missing)}, which is joined: "
            "the same rows could not be made again. Give the versions that the materialization recorded."
        )
    version = _newest(lake, dataset.table, dataset.asset) if version is None else version
    rows = read_rows(lake, dataset, version=version, joined=joined)
    whole = rows.num_rows
    if dataset.split is not None:
        rows = split_rows(rows, dataset, dataset.split)
    rows = in_fixed_order(rows, dataset)
    body = to_parquet(rows)
    digest = hashlib.sha256(body).hexdigest()
    versions = {table: joined[table] for table in sorted(set(tables))}
    return TrainingSet(dataset.table, version, versions, rows, whole - rows.num_rows, body, digest)


def read_rows(lake: Lake, dataset: Dataset, *, version: int, joined: dict[str, int]) -> pa.Table:
    """The rows with their joins, before split and order. The versions of joined tables that were read stand in `joined`
    afterwards. Raises LedgerlineError without a matching row."""
    found = lake.read(dataset.table, columns=dataset.columns, where=dataset.where or None, version=version)
    if found.num_rows == 0:
        raise LedgerlineError(
            f"No row of {dataset.table} version {version} matches {dict(dataset.where)}, so there is nothing to learn "
            "from. Correct dataset.where in config.yaml, or materialize the asset that writes the table."
        )
    rows = found.select(dataset.columns)
    for join in dataset.joins:
        if join.table not in joined:
            joined[join.table] = _newest(lake, join.table)
        columns = list(dict.fromkeys([*join.keys, join.available_column, *join.columns]))
        other = lake.read(join.table, columns=columns, version=joined[join.table])
        rows = join_as_of(rows, other, join, time_column=dataset.time_column)
    return rows


def _newest(lake: Lake, table: str, asset: str | None = None) -> int:
    version = lake.version(table)
    if version is None:
        raise LedgerlineError(
            f"The lake has no table {table}. Materialize the asset that writes it"
            f"{f' ({asset})' if asset else ''}, then this one."
        )
    return version


def join_as_of(rows: pa.Table, other: pa.Table, join: Join, *, time_column: str) -> pa.Table:
    """`rows` with `join.columns` of the newest row of `other` with equal keys that was available at the row's own time.

    At exactly that time counts. Null where there is none, where a key is null or where nobody knows when. Of rows that
    became available at one moment, the last one in the order of the joined columns counts: always the same one.
    Raises PermanentFailure naming a column of other types on the two sides.
    """
    for key in join.keys:
        if rows.schema.field(key).type != other.schema.field(key).type:
            raise PermanentFailure(
                f"{key} is {rows.schema.field(key).type} in the dataset, but {other.schema.field(key).type} in "
                f"{join.table}, so nothing would match. Write both tables with one type."
            )
    available = micros(other[join.available_column], f"{join.table}.{join.available_column}")
    usable = (available != UNKNOWN) & np.logical_and.reduce([other[key].is_valid().to_numpy() for key in join.keys])
    other, available = other.filter(pa.array(usable)), available[usable]
    times = micros(rows[time_column], time_column)
    ours, theirs = _entity_codes(rows, other, join.keys)
    # One number per row that grows with the entity and, within it, with the time.
    moments = np.unique(np.concatenate([times, available]))
    ours = ours * len(moments) + np.searchsorted(moments, times)
    theirs = theirs * len(moments) + np.searchsorted(moments, available)
    order = np.lexsort([*(_order(other[name]) for name in reversed(join.columns)), theirs])
    theirs = theirs[order]
    at = np.searchsorted(theirs, ours, side="right") - 1
    found = (at >= 0) & (times != UNKNOWN)
    if len(theirs):
        found &= theirs[at] // len(moments) == ours // len(moments)
    position = pa.array(np.where(found, order[at] if len(order) else 0, 0), mask=~found)
    for name in join.columns:
        column = other[name].combine_chunks()
        rows = rows.append_column(name, column.take(position))
    return rows


def _entity_codes(rows: pa.Table, other: pa.Table, keys: Sequence[str]) -> tuple[Any, Any]:
    """The same number for equal keys on both sides; -1 for a row of ours that no row of theirs can match."""
    known = other.select(keys).group_by(list(keys)).aggregate([])
    known = known.append_column(_TEXT, pa.array(range(known.num_rows), pa.int64()))

    def codes(side: pa.Table) -> Any:
        numbered = side.select(keys).append_column("__row", pa.array(range(side.num_rows), pa.int64()))
        joined = numbered.join(known, keys=list(keys), join_type="left outer").sort_by("__row")
        return pc.fill_null(joined[_TEXT], -1).to_numpy()

    return codes(rows), codes(other)


def _order(column: pa.ChunkedArray) -> Any:
    """A number per row that sorts as the values do, nulls first; lists and structs sort as their text."""
    if pa.types.is_nested(column.type):
        column = pa.chunked_array([[json.dumps(value, sort_keys=True, default=str) for value in column.to_pylist()]])
    distinct = pc.unique(column)
    ordered = distinct.take(pc.array_sort_indices(distinct, null_placement="at_start"))
    return pc.index_in(column, value_set=ordered).to_numpy()


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
