"""The lake on Delta Lake tables (delta-rs), on disk or under an `s3://` root. Implements `ledgerline.ports.Lake`.

A table version is a dataset version. A table that has the columns `source` and `day` is partitioned by them. What a
table holds is decided elsewhere: the Arrow schemas are in `ledgerline/*/tables.py`. No other module imports deltalake.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dagster import ConfigurableResource
from pydantic import Field

from ledgerline.errors import LedgerlineError
from ledgerline.ports import Compaction, LakeWrite, Vacuum, Where

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

PARTITION_COLUMNS = ("source", "day")
# The asset that writes a table, where the two names differ.
ASSET_OF_TABLE = dict.fromkeys(("companies", "securities", "names", "successors"), "listings")
# A commit loses only against a commit that landed in between, so each retry means that somebody made progress.
COMMIT_ATTEMPTS = 20
# Every 20 commits the log is folded into a checkpoint, so that opening a table costs the same after years of commits.
# Until `vacuum` says otherwise, files that were replaced are remembered as long as the log that names them (30 days).
# No statistics in the log: of all columns of each file they are most of it, every reader and writer parses them, and
# what is looked for is a partition; inside of a file Parquet has its own.
TABLE_CONFIGURATION = {
    "delta.checkpointInterval": "20",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.dataSkippingNumIndexedCols": "0",
}
# A merge reads the keys of the partitions it writes to, and each file is one more to open: a tick every 10 minutes makes
# 100 files a day, so a merge that leaves more than this folds them. Half of it costs 3 ms more than one file.
FILES_BEFORE_FOLDING = 16
# delta-rs keeps the order of rows where all files of a partition go into one, and not where they go into several.
FOLDED_BYTES = 128 * 1024 * 1024
QUIET = timedelta(hours=1)
TABLE_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
ROW_SEPARATOR = "\x1f"
NULL_KEY = "\x00"

T = TypeVar("T")


def s3_options(*, region: str, kms_key_id: str = "", kms_bucket_key: bool = True) -> dict[str, str]:
    """Options of delta-rs for a lake on S3, without credentials: these are found as everywhere on AWS.

    A commit is a conditional put, so that of two writers of one version only one succeeds. A request is tried again for
    half a minute: that is longer than S3 slows a prefix down, and shorter than the three minutes of delta-rs.
    """
    options = {"AWS_REGION": region, "AWS_CONDITIONAL_PUT": "etag", "retry_timeout": "30s"}
    if kms_key_id:
        options |= {
            "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "AWS_SSE_KMS_KEY_ID": kms_key_id,
            "AWS_SSE_BUCKET_KEY_ENABLED": "true" if kms_bucket_key else "false",
        }
    return options


class DeltaLake(ConfigurableResource):
    """Delta tables below `root`, a folder or an `s3://bucket/prefix`; `storage_options` are those of delta-rs."""

    root: str
    storage_options: dict[str, str] = Field(default_factory=dict, repr=False)  # may hold credentials

    def merge(self, table: str, rows: pa.Table, *, keys: Sequence[str]) -> LakeWrite:
        """Insert rows whose `keys` are new, update rows that differ, leave equal rows alone (no new version then).

        Columns that the table lacks are added to it; columns that `rows` lack are null in inserted rows and keep their
        values in updated ones. A row may not move to another `source`/`day`: its keys are looked for there only. Safe
        against other writers: on a conflict the comparison is made again on their result. Costs the same whatever the
        table holds elsewhere: a partition of many small files is folded on the way.
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
        try:
            with self._said():
                return _scan(found, columns=columns, where=where)
        except FileNotFoundError as error:
            if version is None:
                raise
            raise self._no_version(table, version) from error

    def version(self, table: str) -> int | None:
        """The newest version, or None where the table was never written."""
        found = self._open(table)
        return None if found is None else found.version()

    def tables(self) -> list[str]:
        """The tables that were written, by name."""
        import pyarrow.fs as fs

        filesystem = _filesystem(_address(self.root), self.storage_options)

        def below(folder: str) -> Iterator[str]:
            inside = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
            folders = [entry for entry in inside if entry.type == fs.FileType.Directory]
            if any(entry.base_name == "_delta_log" for entry in folders):
                yield folder.strip("/")
                return
            for entry in folders:
                yield from below(entry.path)

        return sorted(below(""))

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`."""
        import pyarrow as pa

        table = f"doctor_{uuid.uuid4().hex}"
        yield "write"
        try:
            self.merge(table, pa.table({"probe": [1]}), keys=["probe"])
            yield "read"
            self.read(table)
        finally:
            if table in self.tables():
                _filesystem(_address(self.root), self.storage_options).delete_dir(table)
        yield "delete"
        if table in self.tables():
            raise LedgerlineError(
                f"table {table!r} cannot be deleted from the lake {self.root}: give these credentials the right to."
            )

    def compact(self, table: str, *, more_than: int = 1, at_most: int | None = None) -> Compaction:
        """Fold partitions of more than `more_than` files into one file each; rows and their order stay as they are.

        No more than `at_most` partitions, those first that nobody wrote to within the hour, and of these the newest. Each is
        a commit of its own: whoever is killed has lost nothing. A partition that another writer changes meanwhile, or
        whose rows need more than one file, is left alone.
        """
        found = self._open(table)
        if found is None:
            return Compaction(table, 0, 0, 0, 0)
        before = len(found.file_uris())
        quiet_since = datetime.now(timezone.utc) - QUIET
        many = sorted(
            (part for part in _parts(found) if part.files > more_than and part.fits_one_file),
            key=lambda part: (part.written_at < quiet_since, part.written_at),
            reverse=True,
        )
        folded = sum(_fold(found, part) for part in many[:at_most])
        return Compaction(table, folded, len(many) - folded, before, len(found.file_uris()))

    def vacuum(self, table: str, *, retention_hours: int = 168) -> Vacuum:
        """Delete files that no version of the last `retention_hours` needs, then the log of older versions: these are gone.

        Also what killed writers left. Do not go below the duration of the longest read or write: it may lose its files.
        """
        found = self._open(table)
        if found is None:
            return Vacuum(table, 0, 0)
        self._retrying(table, lambda: self._remember_for(table, retention_hours))
        found.update_incremental()
        options: dict[str, Any] = {
            "retention_hours": retention_hours,
            "enforce_retention_duration": False,
            "full": True,
        }
        needless = found.vacuum(dry_run=True, **options)
        sizes = [entry.size or 0 for entry in _filesystem_of(found).get_file_info(needless)]
        if needless:  # a vacuum that finds nothing would commit twice all the same
            found.vacuum(dry_run=False, **options)
        found.create_checkpoint()
        found.cleanup_metadata()
        return Vacuum(table, len(needless), sum(sizes))

    # ------------------------------------------------------------------------------------------------- one attempt

    def _merge_once(self, table: str, rows: pa.Table, keys: Sequence[str]) -> LakeWrite:
        found = self._open(table)
        if found is None:
            self._create(table, rows)
            return LakeWrite(table, 0, inserted=rows.num_rows, updated=0)
        part = _partition_where(rows)
        # Most merges bring new rows only, and for these the keys are all there is to read.
        existing = _scan(found, columns=keys, where=part)
        if len(compare_rows(existing, rows.select(keys), keys)[0]) < rows.num_rows:
            existing = _scan(found, columns=None, where=part)
        new, changed = compare_rows(existing, rows, keys)
        if not new and not changed:
            return LakeWrite(table, found.version(), inserted=0, updated=0)
        if changed:
            self._merge_into(found, rows.take(sorted(new + changed)), keys, part)
        else:
            _append_unless_overtaken(found, rows.take(new))
        if len(found.file_uris(file_pruning_predicate=_partition_filter(part))) > FILES_BEFORE_FOLDING:
            for crowded in _parts(found):
                if crowded.files > FILES_BEFORE_FOLDING and crowded.fits_one_file and crowded.is_in(part):
                    _fold(found, crowded)
        return LakeWrite(table, found.version(), inserted=len(new), updated=len(changed))

    @staticmethod
    def _merge_into(found: DeltaTable, rows: pa.Table, keys: Sequence[str], part: Mapping[str, Sequence[str]]) -> None:
        match = " AND ".join(f'target."{key}" = source."{key}"' for key in keys)
        merger = found.merge(
            rows,
            " AND ".join([match, *(_sql_condition(f'target."{name}"', value) for name, value in part.items())]),
            source_alias="source",
            target_alias="target",
            merge_schema=not set(rows.schema.names) <= set(_schema(found).names),
        )
        columns = {f'"{name}"': f'source."{name}"' for name in rows.schema.names}
        merger.when_matched_update(columns).when_not_matched_insert(columns).execute()

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
            with self._said():
                return DeltaTable(self._uri(table), version=version, storage_options=self.storage_options or None)
        except TableNotFoundError as error:
            if version is None or self.version(table) is None:
                return None
            raise self._no_version(table, version) from error  # its log is gone
        except DeltaError as error:
            if version is None or self.version(table) is None:
                raise
            raise self._no_version(table, version) from error

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turns what S3 says through delta-rs, on several lines, into one sentence with the remedy."""
        from deltalake.exceptions import CommitFailedError, DeltaError

        try:
            yield
        except (OSError, DeltaError) as error:
            of_http = not isinstance(error, (FileNotFoundError, CommitFailedError)) and "Error performing" in str(error)
            if "://" not in self.root or not of_http:
                raise
            words = ": ".join(re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)).split("\n"))
            raise LedgerlineError(
                f"the lake {self.root} cannot be used now ({' '.join(words.split())}); nothing is lost: check the bucket, "
                "AWS_DEFAULT_REGION, the rights of these credentials on it and the network, then run this again"
            ) from error

    def _no_version(self, table: str, version: int) -> LedgerlineError:
        return LedgerlineError(
            f"table {table!r} in the lake {self.root} has no version {version} (any more): the newest is "
            f"{self.version(table)}; older ones are kept until vacuum removes them"
        )

    def _remember_for(self, table: str, hours: int) -> None:
        """Have the log know for so long which files were replaced: those it does not know look needless."""
        found = self._open(table)
        wanted = {
            **TABLE_CONFIGURATION,  # of today, also for a table that is older
            "delta.deletedFileRetentionDuration": f"interval {hours} hours",
            "delta.logRetentionDuration": f"interval {hours} hours",
        }
        if found is not None and not wanted.items() <= found.metadata().configuration.items():
            found.alter.set_table_properties(wanted)

    def _create(self, table: str, rows: pa.Table) -> None:
        """The first commit holds the first rows: no reader ever sees an empty table in between.

        One attempt: delta-rs would make that of a second creator an append to the table of the first, in spite of its mode.
        """
        from deltalake import CommitProperties, write_deltalake

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
            commit_properties=CommitProperties(max_commit_retries=0),
        )

    def _retrying(self, table: str, attempt: Callable[[], T]) -> T:
        from deltalake.exceptions import CommitFailedError, DeltaError

        for number in range(1, COMMIT_ATTEMPTS + 1):
            try:
                with self._said():
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
    import pyarrow.dataset as ds

    partitioned = found.metadata().partition_columns
    chosen = _partition_filter({name: value for name, value in (where or {}).items() if name in partitioned and value})
    files = found.to_pyarrow_dataset(file_pruning_predicate=chosen, filesystem=_filesystem_of(found))
    # The log names the newest file first, and folding a partition makes it the newest: with the partitions in a fixed
    # order, and each in the order of its files, rows come as they came before.
    fragments = sorted(files.get_fragments(), key=lambda fragment: fragment.path.rpartition("/")[0])
    dataset = ds.FileSystemDataset(fragments, files.schema, files.format, files.filesystem)
    # One thread: several hand over batches as they come, and what reads a table (names, examples) relies on its order.
    return dataset.to_table(
        use_threads=False,
        columns=None if columns is None else list(columns),
        filter=_expression(where) if where else None,
    )


def _schema(found: DeltaTable) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(found.schema().to_arrow())


def _append_unless_overtaken(found: DeltaTable, rows: pa.Table) -> None:
    """Add rows that are new in the version that `found` holds. Raises CommitFailedError if that is not the newest.

    To Delta no two appends conflict, so that two writers could add the same key: without retries of its own, a commit
    is made as the very next version or not at all.
    """
    import pyarrow as pa
    from deltalake import CommitProperties, write_deltalake

    schema = _schema(found)
    fields = [schema.field(field.name) if field.name in schema.names else field for field in rows.schema]
    write_deltalake(
        found,
        in_order(rows.cast(pa.schema(fields))),  # a MERGE casts to the types of the table, an append does not
        mode="append",
        schema_mode=None if rows.schema.names == schema.names else "merge",
        commit_properties=CommitProperties(max_commit_retries=0),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """The files of one partition; `values` of its partition columns, empty where the table has none."""

    values: Mapping[str, str]
    files: int
    bytes: int
    written_at: datetime

    @property
    def fits_one_file(self) -> bool:
        return self.bytes <= FOLDED_BYTES

    def is_in(self, part: Mapping[str, Sequence[str]]) -> bool:
        return all(value in part.get(name, [value]) for name, value in self.values.items())


def _parts(found: DeltaTable) -> list[_Part]:
    import pyarrow as pa

    names = found.metadata().partition_columns
    columns = [f"partition.{name}" for name in names]
    files = pa.table(found.get_add_actions(flatten=True)).select([*columns, "size_bytes", "modification_time"])
    sums = [("size_bytes", "count"), ("size_bytes", "sum"), ("modification_time", "max")]
    return [
        _Part(
            values={name: row[column] for name, column in zip(names, columns, strict=True)},
            files=row["size_bytes_count"],
            bytes=row["size_bytes_sum"] or 0,
            written_at=datetime.fromtimestamp((row["modification_time_max"] or 0) / 1000, timezone.utc),
        )
        for row in files.group_by(columns).aggregate(sums).to_pylist()
        if None not in row.values()  # a partition of nulls cannot be named in a filter
    ]


def _fold(found: DeltaTable, part: _Part) -> bool:
    """Write the files of a partition as one, rows in the same order; False if another writer changed it meanwhile."""
    from deltalake.exceptions import CommitFailedError

    try:
        found.optimize.compact(
            partition_filters=[(name, "=", value) for name, value in part.values.items()] or None,
            target_size=2 * FOLDED_BYTES,
        )
    except CommitFailedError:  # nothing is lost: whoever comes next folds it
        found.update_incremental()
        return False
    return True


def in_order(rows: pa.Table) -> pa.Table:
    """The rows as one batch: delta-rs spreads batches over its workers and writes them in the order in which they end."""
    return rows.combine_chunks()


def _partition_filter(part: Where) -> Any:
    """Of delta-rs: the files of these partitions, None for all."""
    return [(name, "in", [str(one) for one in _as_list(value)]) for name, value in part.items()] or None


def _address(root: str) -> str:
    return root if "://" in root else Path(root).absolute().as_uri()


def _filesystem_of(found: DeltaTable) -> Any:
    return _filesystem(found.table_uri, found._storage_options or {})


def _filesystem(address: str, storage_options: Mapping[str, str]) -> Any:
    """Arrow's own file system below a URI. The one of delta-rs calls back into Python from Arrow's threads, and a
    process that ends soon after a read is then aborted ("terminate called without an active exception", 4 of 25)."""
    from urllib.parse import unquote, urlsplit

    import pyarrow.fs as fs

    uri = urlsplit(address)
    if uri.scheme in ("", "file"):
        return fs.SubTreeFileSystem(unquote(uri.path), fs.LocalFileSystem())
    if uri.scheme not in ("s3", "s3a"):
        return None
    options = {name.upper(): value for name, value in storage_options.items()}
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
