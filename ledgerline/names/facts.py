"""Facts about companies as four Arrow tables, and how they are kept in a folder.

Here: the record, its check against the schemas, reading and writing a folder. How regulators' own files become facts is
in `ledgerline.names.listings`; how the bundled facts were made is in `sample.build_facts`.

How dates are read: an edge holds on the days valid_from <= day <= valid_to, both ends included; null is open. Rows of
one company in `securities` come with the preferred ticker first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ledgerline.errors import LedgerlineError
from ledgerline.names.tables import TABLES


@dataclass(frozen=True, slots=True)
class Facts:
    """Dated companies, securities, names and successors, in the schemas of `ledgerline.names.tables`."""

    companies: pa.Table
    securities: pa.Table
    names: pa.Table
    successors: pa.Table


def valid_on(day: date | str, valid_from: str | None, valid_to: str | None) -> bool:
    """Whether an edge holds on a day: both ends belong to it, None or "" is open."""
    iso = day if isinstance(day, str) else day.isoformat()
    return (not valid_from or valid_from <= iso) and (not valid_to or iso <= valid_to)


def facts_from_rows(rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> Facts:
    """Facts from rows by table name; a table that is not given is empty."""
    tables = {name: pa.Table.from_pylist(list(rows.get(name, [])), schema=schema) for name, schema in TABLES.items()}
    return check_facts(Facts(**tables), "the given rows")


def load_facts(folder: Path) -> Facts:
    """Facts of a folder that holds <table>.parquet for each of the four tables.

    Raises LedgerlineError naming the file, the column or the company that is wrong.
    """
    tables = {}
    for name, schema in TABLES.items():
        path = folder / f"{name}.parquet"
        if not path.is_file():
            wanted = ", ".join(f"{table}.parquet" for table in TABLES)
            raise LedgerlineError(
                f"Facts folder {folder} has no {path.name} (looked for {wanted}); rebuild it with "
                "`python -m sample.build_facts --ticker-data DIR` or restore it with git."
            )
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise LedgerlineError(f"Facts file {path} cannot be read ({error}); restore it with git.") from error
        tables[name] = _in_schema(table, schema, path)
    return check_facts(Facts(**tables), str(folder))


def save_facts(facts: Facts, folder: Path) -> None:
    """Write <table>.parquet for each table; equal facts and an equal pyarrow give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = getattr(facts, name)
        repeated = [field.name for field in table.schema if field.name not in ("company_id", "name", "successor_id")]
        plain = {field.name: "DELTA_BYTE_ARRAY" for field in table.schema if field.name not in repeated}
        pq.write_table(
            table,
            folder / f"{name}.parquet",
            compression="zstd",
            compression_level=19,
            use_dictionary=repeated,
            column_encoding=plain,
            write_statistics=False,
            store_schema=False,
            row_group_size=max(1, table.num_rows),
        )


def check_facts(facts: Facts, where: str) -> Facts:
    """The same facts, checked: company ids are unique, and every row speaks of a known company."""
    ids = facts.companies["company_id"].to_pylist()
    known = set(ids)
    if len(known) != len(ids):
        seen: set[str] = set()
        twice = next(one for one in ids if one in seen or seen.add(one))  # type: ignore[func-returns-value]
        raise LedgerlineError(f"Company {twice} is twice in companies of {where}; keep one row for it.")
    for name, column in (
        ("securities", "company_id"),
        ("names", "company_id"),
        ("successors", "company_id"),
        ("successors", "successor_id"),
    ):
        for one in getattr(facts, name)[column].unique().to_pylist():
            if one not in known:
                raise LedgerlineError(
                    f"{name}.{column} of {where} names {one}, which is not in companies; "
                    "add the company or drop the row."
                )
    return facts


def _in_schema(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if missing or extra:
        raise LedgerlineError(
            f"Facts file {path} does not have the columns of ledgerline.names.tables "
            f"(missing: {', '.join(missing) or '-'}; unknown: {', '.join(extra) or '-'}); "
            "rebuild it with `python -m sample.build_facts --ticker-data DIR`."
        )
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LedgerlineError(f"Facts file {path} does not fit its schema ({error}); rebuild it.") from error
