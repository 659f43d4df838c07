"""What every source x day asset does alike: walk its partitions, write a day's rows, and record where they came from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.filings.records import Source
from ledgerline.ports import Lake
from platform_assets.partitions import parse_partition_key
from platform_assets.provenance import DayProvenance, input_digest

if TYPE_CHECKING:
    import pyarrow as pa

# A range of days is one run: a run for each of 7,000 days of a backfill would spend its time on starting.
SINGLE_RUN = dg.BackfillPolicy.single_run()


def keys_of(context: dg.AssetExecutionContext) -> list[str]:
    """The partition keys of this run, oldest day first."""
    return sorted(context.partition_keys, key=lambda key: key.partition(":")[2])


def days_of(context: dg.AssetExecutionContext) -> Iterator[tuple[str, Source, str]]:
    """(partition key, source, ISO day) of each partition of this run, oldest first, said in the log as it goes."""
    keys = keys_of(context)
    started = time.monotonic()
    for number, key in enumerate(keys, start=1):
        source, day = parse_partition_key(key)
        left = (time.monotonic() - started) / (number - 1) * (len(keys) - number + 1) if number > 1 else 0
        context.log.info(
            "%s (%d of %d%s)", key, number, len(keys), f", about {left / 60:.0f} min left" if left > 60 else ""
        )
        yield key, source, day.isoformat()


def record_day(context: dg.AssetExecutionContext, key: str, metadata: Mapping[str, Any]) -> None:
    """Metadata of one partition. In a range it is recorded at once: Dagster itself records a run's partitions at its end,
    and a backfill that is killed would have done nothing. One that is not the run's own is recorded here alone."""
    own = key in context.partition_keys
    if own:
        context.add_asset_metadata(metadata, partition_key=key)
    if not own or len(context.partition_keys) > 1:
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=dict(metadata)))


def derive_days(
    context: dg.AssetExecutionContext,
    lake: Lake,
    *,
    made_from: str,
    table: str,
    make: Callable[[pa.Table, str], tuple[pa.Table, Mapping[str, Any]]],
    also: str = "",
) -> dict[str, int]:
    """For each partition: rows of `made_from`, through `make(rows, partition key)`, replace the day in `table`.

    `make` returns the new rows and metadata for the partition; `also` names what else they depend on (a version, a
    model), so that a plan knows when they are behind it. Returns how many rows were written, by
    partition key: the rows of a backfill of years are more than memory holds.
    """
    from ledgerline.digests import table_digest

    written = {}
    for key, source, day in days_of(context):
        where = {"source": source, "day": day}
        # Read before the rows: if these change in between, the day looks stale and is made again, never the reverse.
        upstream = DayProvenance.latest(context.instance, dg.AssetKey(made_from), key)
        rows = lake.read(made_from, where=where)
        made, metadata = make(rows, key)
        lake.replace(table, made, where=where)
        provenance = DayProvenance(
            rows=made.num_rows,
            digest=table_digest(made),
            input_digest=input_digest(upstream.digest, also) if upstream else "",
            filings_digest=upstream.filings_digest if upstream else "",
        )
        record_day(context, key, {**metadata, **provenance.metadata()})
        written[key] = made.num_rows
    return written
