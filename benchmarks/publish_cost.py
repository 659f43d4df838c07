"""What publishing filings costs in an empty table and in one of a million: `python -m benchmarks.publish_cost [--rows N]`.

The large table has a day of 4,000 filings in each partition. Batches of new filings (1, and the median, the 99th
percentile and the most of a tick) are published to both in turn, to a day that both begin with nothing and, `full_day`,
to one of 4,000 filings in the large table; a day is also replaced and read. Twice: `neglected_`, after a week of a
commit every 10 minutes that nobody folded and nobody cleaned up; then as on schedule: compacted and vacuumed, with the
commits of two days since. `ratio` is the worst ratio of the medians of publishing on schedule.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pyarrow as pa

from ledgerline.filings.onboarding import KEYS
from ledgerline.filings.tables import FILINGS
from resources import lake as lake_module
from resources.lake import DeltaLake

TABLE = "filings"
DAY_FILINGS = 4_000
TICKS_OF_A_DAY = 100
WEEK = 5
SIZES = (1, 20, 259, 500)
TODAY = date(2026, 3, 2)


def filings(day: date, first: int, count: int) -> pa.Table:
    """Rows as onboarding writes them, of an owner's form each; accession numbers are those of many filer agents."""
    numbers = range(first, first + count)
    ids = [f"{number * 7919 % 9_999_991:010d}-{day:%y}-{number:06d}" for number in numbers]
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in ids]
    opening = datetime(day.year, day.month, day.day, 11, tzinfo=timezone.utc)
    times = [opening + timedelta(seconds=8 * (number % 5_000)) for number in numbers]
    columns: dict[str, list[Any]] = {
        "source": ["edgar"] * count,
        "day": [day.isoformat()] * count,
        "filing_id": ids,
        "form": [("4", "8-K", "424B2", "SC 13G")[number % 4] for number in numbers],
        "title": [""] * count,
        "party_ids": [[f"{number:010d}", f"{number + 1:010d}"] for number in numbers],
        "party_names": [[f"Company {number} Inc.", f"Person {number}"] for number in numbers],
        "party_roles": [["issuer", "reporting owner"]] * count,
        "accepted_at": times,
        "first_seen_at": times,
        "available_at": times,
        "sha256": digests,
        "bytes": [3_000 + number * 17 % 90_000 for number in numbers],
        "uri": [
            f"s3://ledgerline/filings/edgar/{name}/{digest[:16]}" for name, digest in zip(ids, digests, strict=True)
        ],
        "state": ["published"] * count,
        "version": [1] * count,
    }
    nulls: list[None] = [None] * count
    return pa.table({name: columns.get(name, nulls) for name in FILINGS.names}, schema=FILINGS)


def days_before(day: date) -> Iterator[date]:
    while True:
        day -= timedelta(days=1)
        if day.weekday() < WEEK:
            yield day


def tick(lake: DeltaLake, day: date) -> None:
    """A day of filings, a commit every 10 minutes."""
    size = DAY_FILINGS // TICKS_OF_A_DAY
    for number in range(TICKS_OF_A_DAY):
        lake.merge(TABLE, filings(day, number * size, size), keys=KEYS)


def build(lake: DeltaLake, rows: int) -> None:
    """A table of so many rows: whole days as compacted ones, and a last week in commits of one tick each."""
    earlier = days_before(TODAY)
    week = [next(earlier) for _ in range(WEEK)]
    days = [next(earlier) for _ in range(max(1, rows // DAY_FILINGS - WEEK))]
    for start in range(0, len(days), 10):
        some = days[start : start + 10]
        block = pa.concat_tables([filings(day, 0, DAY_FILINGS) for day in some])
        lake.replace(TABLE, block, where={"source": "edgar", "day": [day.isoformat() for day in some]})
    print(f"{len(days)} days of {DAY_FILINGS} filings", flush=True)
    folding, lake_module.FILES_BEFORE_FOLDING = lake_module.FILES_BEFORE_FOLDING, TICKS_OF_A_DAY
    try:
        for day in reversed(week):
            tick(lake, day)
    finally:
        lake_module.FILES_BEFORE_FOLDING = folding
    print(f"and {WEEK} days in {TICKS_OF_A_DAY} commits each", flush=True)


def in_turn(
    rounds: int, one: Callable[[int], object], other: Callable[[int], object]
) -> tuple[list[float], list[float]]:
    """Milliseconds of each round of both; who goes first alternates."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            gc.collect()
            begin = time.perf_counter()
            (one, other)[which](number)
            times[which].append(1000 * (time.perf_counter() - begin))
    return times


def publisher(lake: DeltaLake, day: date, size: int, first: int) -> Callable[[int], object]:
    def publish(number: int) -> None:
        write = lake.merge(TABLE, filings(day, first + number * size, size), keys=KEYS)
        assert (write.inserted, write.updated) == (size, 0)

    return publish


def figures(name: str, empty: list[float], large: list[float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for table, times in (("empty", empty), ("1m", large)):
        found[f"ms_{table}_{name}"] = round(statistics.median(times), 1)
        found[f"p95_{table}_{name}"] = round(statistics.quantiles(times, n=20)[-1], 1)
    found[f"ratio_{name}"] = round(statistics.median(large) / statistics.median(empty), 2)
    return found


def measure(large: DeltaLake, folder: str, rounds: int, prefix: str, today: date, full: date) -> dict[str, float]:
    """All figures against an empty table that is new for each size."""
    found: dict[str, float] = {}
    days = [today + timedelta(days=number) for number in range(len(SIZES))]
    for name, day, size in [
        *((str(size), day, size) for day, size in zip(days, SIZES, strict=True)),
        ("full_day", full, 20),
    ]:
        empty = DeltaLake(root=f"{folder}/{prefix}empty_{name}")
        empty.merge(TABLE, filings(TODAY - timedelta(days=365), 0, 1), keys=KEYS)
        times = in_turn(rounds, publisher(empty, day, size, 10_000), publisher(large, day, size, 10_000))
        found |= figures(f"{prefix}{name}", *times)
        print(f"{prefix}{name}: ratio {found[f'ratio_{prefix}{name}']}", flush=True)
    replaced = today + timedelta(days=20)
    where = {"source": "edgar", "day": replaced.isoformat()}
    versions = [filings(replaced, 0, 500), filings(replaced, 500, 500)]
    for name, use in (
        ("replace", lambda lake, number: lake.replace(TABLE, versions[number % 2], where=where)),
        ("read", lambda lake, number: lake.read(TABLE, where=where)),
    ):
        found |= figures(f"{prefix}{name}", *in_turn(rounds, partial(use, empty), partial(use, large)))
        print(f"{prefix}{name}: ratio {found[f'ratio_{prefix}{name}']}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledgerline-publish-cost-") as folder:
        large = DeltaLake(root=f"{folder}/large")
        begin = time.perf_counter()
        build(large, arguments.rows)
        found: dict[str, float] = {"build_s": round(time.perf_counter() - begin, 1)}
        neglected = next(days_before(TODAY))
        found |= measure(large, folder, arguments.rounds, "neglected_", TODAY, neglected)
        begin = time.perf_counter()
        compaction = large.compact(TABLE, more_than=4)
        large.vacuum(TABLE, retention_hours=0)  # as if the week were over for longer than versions are kept
        print(f"{compaction.files_before} files are {compaction.files_after}", flush=True)
        found["maintain_s"] = round(time.perf_counter() - begin, 1)
        found |= {"files_before": compaction.files_before, "files_after": compaction.files_after}
        later = TODAY + timedelta(days=100)
        tick(large, later - timedelta(days=2))
        tick(large, later - timedelta(days=1))
        found |= measure(large, folder, arguments.rounds, "", later, later - timedelta(days=1))
        found["rows"] = large.read(TABLE, columns=["version"]).num_rows
    for prefix in ("neglected_", ""):
        found[f"{prefix}ratio"] = max(found[f"ratio_{prefix}{name}"] for name in (*map(str, SIZES), "full_day"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
