"""Tables of a team's own database that are copied into the lake, so that a model project can name them as its dataset.

Here: the file that declares them, and how rows become a table of the lake at a recorded version. How a database is asked
is a port, `RowSource`, implemented in `resources/sql_source.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.ports import Lake

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal["string", "int64", "double", "bool", "date", "timestamp"]
MOST_ROWS = 5_000_000  # of one table: its Arrow columns are held in memory before they are written in one commit


class SqlTable(BaseModel):
    """A query whose rows become the lake table `name`. Types are declared: an empty column of a chunk has none of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # `sql_` keeps these apart from the platform's own tables, which nobody may overwrite.
    name: str = Field(pattern=r"^sql_[a-z][a-z0-9_]{0,40}$")
    query: str = Field(min_length=1)
    columns: dict[str, ColumnType] = Field(min_length=1)  # a timestamp is UTC
    owner: str = "team:data-platform"
    cron: str | None = None  # when it is copied by itself, UTC; else by hand


class RowSource(Protocol):
    """A database that is read with a query, never written to."""

    def chunks(self, query: str, columns: Mapping[str, ColumnType]) -> Iterator[pa.Table]:
        """Rows with these columns, a bounded number at a time. Raises LedgerlineError or ConfigurationError that ends with
        the remedy: no database, a wrong query, a column that is missing or of another type, a time-out."""
        ...

    def tables(self) -> list[SqlTable]:
        """What is declared to be copied."""
        ...


@dataclass(frozen=True, slots=True)
class SqlCopy:
    """What a copy came to: the version of the lake table that holds the rows, and their digest."""

    table: str
    version: int
    digest: str
    rows: int
    changed: bool


def load_sql_tables(path: Path) -> list[SqlTable]:
    """The tables that a YAML file declares: a list under `tables`. Raises ConfigurationError that names file and place."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"LEDGERLINE_SQL_TABLES: {path} cannot be read ({error}); correct the file."
        ) from error
    if not isinstance(found, dict) or set(found) != {"tables"} or not isinstance(found["tables"], list):
        raise ConfigurationError(
            f"{path} declares no tables: write a list under `tables:`, as docs/operations.md shows."
        )
    tables = []
    for number, one in enumerate(found["tables"], 1):
        try:
            tables.append(SqlTable.model_validate(one))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"{path}: table {number}, {where or 'all of it'}: {first['msg']}; correct it."
            ) from error
    names = [table.name for table in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{path} declares {', '.join(twice)} twice: give each table a name of its own.")
    return tables


def copy_table(table: SqlTable, source: RowSource, lake: Lake) -> SqlCopy:
    """Replace the lake table by the query's rows, in one commit; equal rows, in whatever order, make no new version.

    Raises LedgerlineError for a query without rows, or with more than MOST_ROWS, and leaves the lake alone then.
    """
    import pyarrow as pa

    from ledgerline.digests import table_digest

    chunks: list[pa.Table] = []
    count = 0
    for chunk in source.chunks(table.query, table.columns):
        chunks.append(chunk)
        count += chunk.num_rows
        if count > MOST_ROWS:
            raise LedgerlineError(
                f"The query of {table.name} has more than {MOST_ROWS:,} rows: narrow it, e.g. to the days that are trained on."
            )
    if not count:
        raise LedgerlineError(
            f"The query of {table.name} has no rows, and a table is never emptied by itself: correct the query."
        )
    rows = pa.concat_tables(chunks)
    rows = rows.sort_by([(name, "ascending") for name in rows.column_names])  # a database has no order of its own
    digest = table_digest(rows)
    known = lake.version(table.name)
    if known is not None and table_digest(lake.read(table.name, version=known)) == digest:
        return SqlCopy(table.name, known, digest, count, changed=False)
    return SqlCopy(table.name, lake.replace(table.name, rows, where={}).version, digest, count, changed=True)
