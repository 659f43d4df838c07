"""`python -m cli load-table`: a Parquet file as a new table of the lake, to try a model project on rows of one's own.

Only a table that is not there yet: what is there has an asset, or a person, that writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ledgerline.errors import ConfigurationError

if TYPE_CHECKING:
    from ledgerline.ports import Lake


def load_table(table: str, path: Path, lake: Lake) -> int:
    """Write the rows of the file as version 0 of `table`. Raises ConfigurationError, and writes nothing, if the lake has
    the table already or the file holds no rows that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    version = lake.version(table)
    if version is not None:
        raise ConfigurationError(
            f"the lake has a table {table} already (version {version}), and nothing was written. Choose another name."
        )
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"{path} cannot be read as a Parquet file ({error}). Give one that can.") from error
    if rows.num_rows == 0:
        raise ConfigurationError(f"{path} has no rows, and nothing was written. Give a file that has some.")
    written = lake.replace(table, rows, where={})
    print(f"{table}: {written.inserted:,} rows, columns {', '.join(rows.schema.names)}, lake version {written.version}")
    return 0
