"""The lake on disk and on S3 in one run: `python -m benchmarks.lake [--rows N] [--batches N]`.

`publish` adds batches of new filings to a day, as ticks do; `merge` changes half of the newest batch and adds as many rows.
`bare` is deltalake doing the same to a table of its own: an append, and a MERGE on the key within the partition. It does not
look whether rows are there already, which a publication must, so that it is made once. The S3 is moto's, on this machine:
what a request costs on AWS is not in it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from socket import socket
from typing import Any

import pyarrow as pa

from ledgerline.filings.tables import FILINGS
from resources.lake import DeltaLake, s3_options

KEYS = ("source", "filing_id")
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
START_SECONDS = 60.0
BUCKET = "benchmark"


def rows_of(batch: int, count: int, *, form: str = "8-K") -> pa.Table:
    row = {
        "source": "edgar", "day": "2025-03-14", "form": form, "title": "", "party_ids": ["0000320193"],
        "party_names": ["Apple Inc."], "party_roles": ["Filer"], "accepted_at": NOON, "first_seen_at": NOON,
        "available_at": NOON, "sha256": "a" * 64, "bytes": 7, "uri": "s3://b/a", "state": "published", "version": 1,
    }  # fmt: skip
    return pa.Table.from_pylist([{**row, "filing_id": f"{batch:06}-{n:06}"} for n in range(count)], schema=FILINGS)


def changed(batch: int, count: int) -> pa.Table:
    """Half of a batch with another form, and as many new rows."""
    half = rows_of(batch, count // 2, form="8-K/A")
    return pa.concat_tables([half, rows_of(100_000 + batch, count // 2)])


class Bare:
    """deltalake, told what is to be done."""

    def __init__(self, root: str, options: dict[str, str]) -> None:
        self.root, self.options = f"{root}/bare", options

    def publish(self, rows: pa.Table) -> None:
        from deltalake import write_deltalake

        write_deltalake(
            self.root, rows, mode="append", partition_by=["source", "day"], storage_options=self.options or None
        )

    def merge(self, rows: pa.Table) -> None:
        from deltalake import DeltaTable

        within = "t.source = 'edgar' AND t.day = '2025-03-14' AND t.filing_id = s.filing_id"
        merger = DeltaTable(self.root, storage_options=self.options or None).merge(
            rows, within, source_alias="s", target_alias="t"
        )
        merger.when_matched_update_all().when_not_matched_insert_all().execute()


def milliseconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def measure(root: str, options: dict[str, str], count: int, batches: int) -> dict[str, float]:
    lake, bare = DeltaLake(root=root, storage_options=options), Bare(root, options)
    took: dict[str, list[float]] = {"publish": [], "bare_publish": [], "merge": [], "bare_merge": []}
    for batch in range(batches):  # in turn, so that what else the machine does meets both
        rows = rows_of(batch, count)
        took["publish"].append(milliseconds(lambda: lake.merge("filings", rows, keys=KEYS)))  # noqa: B023
        took["bare_publish"].append(milliseconds(lambda: bare.publish(rows)))  # noqa: B023
    for batch in range(batches):
        rows = changed(batch, count)
        took["merge"].append(milliseconds(lambda: lake.merge("filings", rows, keys=KEYS)))  # noqa: B023
        took["bare_merge"].append(milliseconds(lambda: bare.merge(rows)))  # noqa: B023
    same = lake.read("filings").num_rows == DeltaLake(root=root, storage_options=options).read("bare").num_rows
    median = {name: statistics.median(values[1:]) for name, values in took.items()}  # the first makes the table
    return {
        "publish_ms": round(median["publish"], 1),
        "publish_over_bare": round(median["publish"] / median["bare_publish"], 2),
        "merge_ms": round(median["merge"], 1),
        "merge_over_bare": round(median["merge"] / median["bare_merge"], 2),
        "same_rows": int(same),
    }


@contextmanager
def running_s3() -> Iterator[dict[str, str]]:
    """The options of delta-rs for a bucket on moto's S3, in a process of its own on a free port."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                if server.poll() is not None or time.monotonic() > end:
                    raise SystemExit("moto's S3 did not start: pip install 'moto[server]'") from None
                time.sleep(0.1)
        os.environ.update(keys)
        import boto3

        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=BUCKET)
        yield {**s3_options(region="us-east-1"), **keys, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
    finally:
        server.kill()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200, help="in a batch (default 200)")
    parser.add_argument("--batches", type=int, default=9)
    given = parser.parse_args()
    found: dict[str, float] = {"rows": given.rows, "batches": given.batches}
    with tempfile.TemporaryDirectory(prefix="ledgerline-lake-") as folder, running_s3() as options:
        places: dict[str, tuple[str, dict[str, str]]] = {
            "disk": (str(Path(folder) / "lake"), {}),
            "s3": (f"s3://{BUCKET}/lake", options),
        }
        for name, (root, chosen) in places.items():
            figures = measure(root, chosen, given.rows, given.batches)
            print(name, figures, flush=True)
            found |= {f"{name}_{figure}": value for figure, value in figures.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
