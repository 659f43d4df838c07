"""The lake on Delta Lake tables (delta-rs), on disk or under an `s3://` root. Implements `ledgerline.ports.Lake`.

A table version is a dataset version. A table that has the columns `source` and `day` is partitioned by them. What a
table holds is decided elsewhere: the Arrow schemas are in `ledgerline/*/tables.py`. No other module imports deltalake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dagster import ConfigurableResource
from pydantic import Field

from ledgerline.errors import LedgerlineError
from ledgerline.ports import LakeWrite, Where

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

PARTITION_COLUMNS = ("source", "day")
# The asset that writes a table, where the two names differ.
ASSET_OF_TABLE = dict.fromkeys(("companies", "securities", "names", "successors"), "listings")
# A commit loses only against a commit that landed in between, so each retry means that somebody made progress.
COMMIT_ATTEMPTS = 20
# Every 20 commits the log is folded into a checkpoint, so that opening a table costs the same after years of commits.
TABLE_CONFIGURATION = {"delta.checkpointInterval": "20"}
TABLE_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
ROW_SEPARATOR = "\x1f"
NULL_KEY = "\x00"

T = TypeVar("T")


class DeltaLake(ConfigurableResource):
    """Delta tables below `root`, a folder or an `s3://bucket/prefix`; `storage_options` are those of delta-rs."""

    root: str
    storage_options: dict[str, str] = Field(default_factory=dict)

    def merge(self, table: str, rows: pa.Table, *, keys: Sequence[str]) -> LakeWrite:
        """Insert rows whose `keys` are new, update rows that differ, leave equal rows alone (no new version then).

        Columns that the table lacks are added to it; columns that `rows` lack are null in inserted rows and keep their
        values in updated ones. A row may not move to another `source`/`day`: its keys are looked for there only. Safe
        against other writers: on a conflict the comparison is made again on their result.
        Raises LedgerlineError if two rows have the same keys or a key column is missing.
        """
        _check_keys(table, rows, keys)
        return self._retrying(table, lambda: self._merge_once(table, rows, keys))

    def replace(self, table: str, rows: pa.Table, *, where: Where) -> LakeWrite:
        """Replace, in one commit, the rows that match `where` by `rows` (all of which must match it).

        An empty `where` replaces the whole table and its schema. Equal rows in the same order make no new version.
        Raises LedgerlineError if a row does not match `where`.
        """
        strays = rows.num_rows - (rows.filter(_expression(where)).num_rows if where else rows.num_rows)
        if strays:
            raise LedgerlineError(
                f"{strays} of {rows.num_rows} rows for table {table!r} do not match {dict(where)}: give only rows of "
                "the part that is replaced"
            )
        return self._retrying(table, lambda: self._replace_once(table, rows, where))

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, newest version unless told. Filters and columns are pushed down to partitions and files.

        Raises LedgerlineError naming the asset to materialize if the table is absent, and naming the versions that are
        kept if `version` is not one of them.
        """
        found = self._open(table, version)
        if found is None:
            asset = ASSET_OF_TABLE.get(table, table)
            raise LedgerlineError(
                f"table {table!r} is not in the lake {self.root}: materialize the asset {asset!r} first "
                f"(dagster asset materialize --select {asset})"
            )
        return _scan(found, columns=columns, where=where)

    def version(self, table: str) -> int | None:
        """The newest version, or None where the table was never written."""
        found = self._open(table)
        return None if found is None else found.version()

    def compact(self, table: str) -> int:
        """Fold small files of each partition into larger ones; returns how many files were folded away."""
        found = self._open(table)
        if found is None:
            return 0
        metrics = found.optimize.compact()
        return int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])

    def vacuum(self, table: str, *, retention_hours: int = 168) -> int:
        """Delete files that no version of the last `retention_hours` needs; older versions are then gone."""
        found = self._open(table)
        if found is None:
            return 0
        return len(found.vacuum(retention_hours, dry_run=False, enforce_retention_duration=False))

    # ------------------------------------------------------------------------------------------------- one attempt

    def _merge_once(self, table: str, rows: pa.Table, keys: Sequence[str]) -> LakeWrite:
        found = self._open(table)
        if found is None:
            self._create(table, rows)
            return LakeWrite(table, 0, inserted=rows.num_rows, updated=0)
        part = _partition_where(rows)
        existing = _scan(found, columns=None, where=part)
        new, changed = compare_rows(existing, rows, keys)
        if not new and not changed:
            return LakeWrite(table, found.version(), inserted=0, updated=0)
        match = " AND ".join(f'target."{key}" = source."{key}"' for key in keys)
        merger = found.merge(
            rows.take(sorted(new + changed)),
            " AND ".join([match, *(_sql_condition(f'target."{name}"', value) for name, value in part.items())]),
            source_alias="source",
            target_alias="target",
            merge_schema=not set(rows.schema.names) <= set(existing.schema.names),
        )
        columns = {f'"{name}"': f'source."{name}"' for name in rows.schema.names}
        merger.when_matched_update(columns).when_not_matched_insert(columns).execute()
        return LakeWrite(table, found.version(), inserted=len(new), updated=len(changed))

    def _replace_once(self, table: str, rows: pa.Table, where: Where) -> LakeWrite:
        from deltalake import write_deltalake

        found = self._open(table)
        if found is None:
            self._create(table, rows)
            return LakeWrite(table, 0, inserted=rows.num_rows, updated=0)
        existing = _scan(found, columns=None, where=where)
        if (
            existing.schema.equals(rows.schema)
            and existing.num_rows == rows.num_rows
            and equal_rows(existing, rows).all()
        ):
            return LakeWrite(table, found.version(), inserted=0, updated=0)
        write_deltalake(
            found,
            in_order(rows),
            mode="overwrite",
            predicate=" AND ".join(_sql_condition(f'"{name}"', value) for name, value in where.items()) or None,
            schema_mode=_schema_mode(existing.schema, rows.schema, whole_table=not where),
        )
        found.update_incremental()
        return LakeWrite(table, found.version(), inserted=rows.num_rows, updated=0, deleted=existing.num_rows)

    # ---------------------------------------------------------------------------------------------------- plumbing

    def _uri(self, table: str) -> str:
        if not TABLE_NAME.fullmatch(table):
            raise LedgerlineError(
                f"{table!r} is no table name: use letters, digits, '_' and '-', and '/' between parts"
            )
        return f"{self.root.rstrip('/')}/{table}"

    def _open(self, table: str, version: int | None = None) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self._uri(table), version=version, storage_options=self.storage_options or None)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            newest = None if version is None else self.version(table)
            if version is None or newest is None:
                raise
            raise LedgerlineError(
                f"table {table!r} in the lake {self.root} has no version {version} (any more): the newest is {newest}; "
                "older ones are kept until vacuum removes them"
            ) from error

    def _create(self, table: str, rows: pa.Table) -> None:
        """The first commit holds the first rows: no reader ever sees an empty table in between."""
        from deltalake import write_deltalake

        partition_by = [name for name in PARTITION_COLUMNS if name in rows.schema.names]
        if "://" not in self.root:
            Path(self._uri(table)).mkdir(parents=True, exist_ok=True)
        write_deltalake(
            self._uri(table),
            in_order(rows),
            mode="error",
            partition_by=partition_by if len(partition_by) == len(PARTITION_COLUMNS) else None,
            configuration=TABLE_CONFIGURATION,
            storage_options=self.storage_options or None,
        )

    def _retrying(self, table: str, attempt: Callable[[], LakeWrite]) -> LakeWrite:
        from deltalake.exceptions import CommitFailedError, DeltaError

        for number in range(1, COMMIT_ATTEMPTS + 1):
            try:
                return attempt()
            except CommitFailedError as error:
                if number == COMMIT_ATTEMPTS:
                    raise LedgerlineError(
                        f"table {table!r} in the lake {self.root}: {COMMIT_ATTEMPTS} commits were overtaken by other "
                        "writers; run this asset in a pool of 1 per table"
                    ) from error
            except (
                DeltaError
            ) as error:  # two processes created the table at once: the loser starts again on the winner's
                if number == COMMIT_ATTEMPTS or "already exists" not in str(error):
                    raise
        raise AssertionError("unreachable")


# ---------------------------------------------------------------------------------------------------- pure helpers


def compare_rows(existing: pa.Table, rows: pa.Table, keys: Sequence[str]) -> tuple[list[int], list[int]]:
    """Positions in `rows` whose keys are new, and positions whose keys exist with another value in some column.

    Columns that only one side has count as different only if the rows bring a value that is not null.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    position = pc.index_in(_key_column(rows, keys), value_set=_key_column(existing, keys))
    known = np.flatnonzero(pc.is_valid(position).to_numpy(zero_copy_only=False))
    new = np.flatnonzero(pc.is_null(position).to_numpy(zero_copy_only=False))
    there = existing.take(pc.take(position, pa.array(known)))
    here = rows.take(pa.array(known))
    for name in rows.schema.names:
        if name not in there.schema.names:
            there = there.append_column(rows.schema.field(name), pa.nulls(there.num_rows, rows.schema.field(name).type))
    same = equal_rows(there.select(rows.schema.names), here)
    return new.tolist(), known[~same].tolist()


def equal_rows(left: pa.Table, right: pa.Table) -> Any:
    """Which rows (numpy booleans) are equal in every column; null equals null and NaN equals NaN."""
    import numpy as np

    same = np.ones(left.num_rows, dtype=bool)
    for name in right.schema.names:
        same &= _equal_values(left[name], right[name])
    return same


def _equal_values(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Any:
    """Equality by value, inside lists and structs too, where Arrow itself has no comparison."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    both_null = pc.and_(pc.is_null(left), pc.is_null(right)).to_numpy(zero_copy_only=False)
    if pa.types.is_null(right.type):
        return both_null
    if not pa.types.is_nested(right.type):
        same = pc.fill_null(pc.equal(left.cast(right.type), right), False)
        if pa.types.is_floating(right.type):
            same = pc.or_(same, pc.fill_null(pc.and_(pc.is_nan(left), pc.is_nan(right)), False))
        return same.to_numpy(zero_copy_only=False) | both_null

    same = both_null
    both_there = pc.and_(pc.is_valid(left), pc.is_valid(right)).to_numpy(zero_copy_only=False)
    if pa.types.is_struct(right.type):
        fields = [
            _equal_values(pc.struct_field(left, [field.name]), pc.struct_field(right, [field.name]))
            for field in (right.type.field(index) for index in range(right.type.num_fields))
        ]
        return same | (both_there & np.logical_and.reduce(fields))
    lengths = pc.fill_null(pc.equal(pc.list_value_length(left), pc.list_value_length(right)), False)
    rows = np.flatnonzero(both_there & lengths.to_numpy(zero_copy_only=False))
    left, right = left.take(pa.array(rows)), right.take(pa.array(rows))
    values = _equal_values(pc.list_flatten(left), pc.list_flatten(right))
    parents = pc.list_parent_indices(right.combine_chunks()).to_numpy(zero_copy_only=False)
    same[rows] = np.bincount(parents[~values], minlength=len(rows)) == 0
    return same


def _key_column(rows: pa.Table, keys: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [pc.fill_null(rows[key].cast(pa.string()), NULL_KEY) for key in keys]
    return pc.binary_join_element_wise(*parts, ROW_SEPARATOR)


def _check_keys(table: str, rows: pa.Table, keys: Sequence[str]) -> None:
    import pyarrow.compute as pc

    missing = [key for key in keys if key not in rows.schema.names]
    if missing or not keys:
        raise LedgerlineError(f"rows for table {table!r} lack the key columns {missing}: name columns they have")
    if any(rows[key].null_count for key in keys):
        raise LedgerlineError(f"rows for table {table!r} have nulls in the key columns {list(keys)}: a key has a value")
    column = _key_column(rows, keys)
    if len(pc.unique(column)) != rows.num_rows:
        raise LedgerlineError(f"rows for table {table!r} repeat the keys {list(keys)}: give each key once")


def _partition_where(rows: pa.Table) -> dict[str, list[str]]:
    """The partitions that `rows` touch, so that only these are read and rewritten."""
    import pyarrow.compute as pc

    if not set(PARTITION_COLUMNS) <= set(rows.schema.names):
        return {}
    return {name: sorted(pc.unique(rows[name]).to_pylist()) for name in PARTITION_COLUMNS}


def _schema_mode(existing: pa.Schema, rows: pa.Schema, *, whole_table: bool) -> Any:
    if existing.equals(rows):
        return None
    return "overwrite" if whole_table else "merge"


def _scan(found: DeltaTable, *, columns: Sequence[str] | None, where: Where | None) -> pa.Table:
    """The matching rows. Partitions are chosen from the log before any file is looked at: a day costs the same in a
    table of one day and of ten years."""
    partitioned = found.metadata().partition_columns
    partitions = [
        (name, "in", [str(one) for one in _as_list(value)])
        for name, value in (where or {}).items()
        if name in partitioned and value
    ]
    dataset = found.to_pyarrow_dataset(file_pruning_predicate=partitions or None, filesystem=_filesystem(found))
    # One thread: several hand over batches as they come, and what reads a table (names, examples) relies on its order.
    return dataset.to_table(
        use_threads=False,
        columns=None if columns is None else list(columns),
        filter=_expression(where) if where else None,
    )


def in_order(rows: pa.Table) -> pa.Table:
    """The rows as one batch: delta-rs spreads batches over its workers and writes them in the order in which they end."""
    return rows.combine_chunks()


def _filesystem(found: DeltaTable) -> Any:
    """Arrow's own file system below the table. The one of delta-rs calls back into Python from Arrow's threads, and a
    process that ends soon after a read is then aborted ("terminate called without an active exception", 4 of 25)."""
    from urllib.parse import unquote, urlsplit

    import pyarrow.fs as fs

    uri = urlsplit(found.table_uri)
    if uri.scheme in ("", "file"):
        return fs.SubTreeFileSystem(unquote(uri.path), fs.LocalFileSystem())
    if uri.scheme not in ("s3", "s3a"):
        return None
    options = {name.upper(): value for name, value in (found._storage_options or {}).items()}
    settings = {
        "access_key": options.get("AWS_ACCESS_KEY_ID"),
        "secret_key": options.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": options.get("AWS_SESSION_TOKEN"),
        "region": options.get("AWS_REGION") or options.get("AWS_DEFAULT_REGION"),
        "endpoint_override": options.get("AWS_ENDPOINT_URL"),
    }
    return fs.SubTreeFileSystem(
        f"{uri.netloc}{uri.path}", fs.S3FileSystem(**{name: value for name, value in settings.items() if value})
    )


def _expression(where: Mapping[str, Any]) -> Any:
    import pyarrow.dataset as ds

    def term(name: str, value: Any) -> Any:
        if not _is_list(value):
            return ds.field(name) == value
        return ds.field(name).isin(list(value)) if value else ds.scalar(False)  # an empty list has no type to compare

    terms = [term(name, value) for name, value in where.items()]
    whole = terms[0]
    for term in terms[1:]:
        whole = whole & term
    return whole


def _sql_condition(column: str, value: Any) -> str:
    if _is_list(value):
        return f"{column} IN ({', '.join(_sql_literal(one) for one in value)})" if value else "FALSE"
    return f"{column} = {_sql_literal(value)}"


def _sql_literal(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _as_list(value: Any) -> list[Any]:
    return list(value) if _is_list(value) else [value]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
