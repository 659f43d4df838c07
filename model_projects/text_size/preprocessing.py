"""Part the training set into channels: `preprocessing.py --input-dir DIR --output-dir DIR`.

Runs as a SageMaker processing job. The platform decided which row belongs to which channel (column `channel`). Left out are
documents without text by nature (pictures and other binary parts): there is nothing to expect of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CHANNELS = ("train", "validation", "test")


def channels(rows: pa.Table) -> dict[str, pa.Table]:
    """The text documents of each channel. Raises ValueError naming a channel that would be empty."""
    text = rows.filter(pc.and_(pc.equal(rows["binary_bytes"], 0), pc.is_valid(rows["characters"])))
    found = {name: text.filter(pc.equal(text["channel"], name)).drop_columns(["channel"]) for name in CHANNELS}
    for name, part in found.items():
        if part.num_rows == 0:
            raise ValueError(f"no text document is in the channel {name}; give more filings, or change dataset.split.")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    args = parser.parse_args(arguments)
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(args.input_dir.glob("dataset/*.parquet"))])
    try:
        found = channels(rows)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for name, part in found.items():
        folder = args.output_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(part.replace_schema_metadata(None), folder / "rows.parquet")
        print(f"{name}={part.num_rows};")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
