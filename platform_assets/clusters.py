"""The `clusters` asset: near-duplicate documents. The method is in `ledgerline.clusters`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.engines import Engine
from ledgerline.ports import Lake, ObjectStore
from platform_assets.days import SINGLE_RUN, days_of, derive_days
from platform_assets.documents import documents
from platform_assets.owners import NLP
from platform_assets.partitions import parse_partition_key, source_day

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    deps=[documents],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="nlp",
    owners=[NLP],
    kinds={"python", "deltalake", "numpy"},
    pool="clusters",  # one state for all days: two runs at once would each lose the other's documents
)
def clusters(
    context: dg.AssetExecutionContext,
    object_store: dg.ResourceParam[ObjectStore],
    lake: dg.ResourceParam[Lake],
    engine: dg.ResourceParam[Engine],
) -> dg.MaterializeResult:
    """The cluster of each document, the document it was linked to, how alike they are, and the rare words they share.

    Incremental: a cluster's id is the id of its first document and never changes. Legal footers do not merge documents.
    """
    from ledgerline.clusters.rows import cluster_rows, load_state
    from platform_assets.plots import bars, table

    uri = object_store.uri("clusters", "near_duplicates.state")
    stamp = object_store.stamp(uri)
    state = load_state(object_store, uri)
    # All days are assigned and the state is kept before the lake has a row: if the run dies in between, the next one gives
    # the same answers again. Writing it once and not per day is what a backfill of many days lives on.
    for _, source, day in days_of(context):
        cluster_rows(*day_rows(lake, source, day), state, engine)
    # The pool keeps runs of one instance apart; a run from a shell, beside it, is refused here before it loses documents.
    object_store.put_unless_changed(uri, state.to_bytes(), stamp=stamp)

    def make(rows: "pa.Table", key: str) -> "tuple[pa.Table, Mapping[str, Any]]":
        source, day = parse_partition_key(key)
        made = cluster_rows(rows, parties_of(lake, source, day.isoformat()), state)
        sizes = sorted((c["counts"] for c in made["cluster_id"].value_counts().to_pylist()), reverse=True)
        linked = [row for row in made.to_pylist() if row["linked_to"]]
        return made, {
            "clusters": len(sizes),
            "documents in clusters of two or more": sum(size for size in sizes if size > 1),
            "cluster sizes": bars("Cluster sizes", _size_counts(sizes), x="documents in cluster", y="clusters"),
            "strongest links": table(
                [
                    {
                        name: row[name]
                        for name in ("document_id", "linked_to", "similarity", "relation", "shared_features")
                    }
                    for row in sorted(linked, key=lambda row: -row["similarity"])[:10]
                ]
            ),
        }

    written = derive_days(context, lake, made_from="documents", table="clusters", make=make)
    return dg.MaterializeResult(metadata={"documents in run": sum(written.values())})


def day_rows(lake: Lake, source: str, day: str) -> "tuple[pa.Table, pa.Table]":
    """The documents of a day, and the parties of its filings."""
    return lake.read("documents", where={"source": source, "day": day}), parties_of(lake, source, day)


def parties_of(lake: Lake, source: str, day: str) -> "pa.Table":
    return lake.read("filings", columns=["filing_id", "party_ids"], where={"source": source, "day": day})


def _size_counts(sizes: list[int]) -> dict[str, float]:
    from collections import Counter

    return {str(size): count for size, count in sorted(Counter(sizes).items())}
