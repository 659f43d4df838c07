"""The `documents` asset: the text of each document of a filing. Parsing is in `ledgerline.filings`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.ports import Compute, Lake, ObjectStore
from platform_assets.days import SINGLE_RUN, derive_days, keys_of
from platform_assets.filings import filings
from platform_assets.owners import NLP
from platform_assets.partitions import parse_partition_key, source_day

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    deps=[filings],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="nlp",
    owners=[NLP],
    kinds={"python", "deltalake"},
    pool="compute",  # processors; how many runs may start batches of their own is a limit of the instance
)
def documents(
    context: dg.AssetExecutionContext,
    object_store: dg.ResourceParam[ObjectStore],
    lake: dg.ResourceParam[Lake],
    compute: dg.ResourceParam[Compute],
) -> dg.MaterializeResult:
    """One row per document of a published filing: type, sequence, text with stable offsets, sections or items.

    Binary parts are counted in bytes and not decoded into text. Large filings of a day, and all filings of a range of
    days, are parsed in batches beside this process, where they are enough to be worth a start.
    """
    from ledgerline.filings.batches import Batches
    from ledgerline.filings.documents import document_rows
    from platform_assets.plots import table

    def filings_of(key: str) -> "pa.Table":
        source, day = parse_partition_key(key)
        return lake.read("filings", where={"source": source, "day": day.isoformat()})

    def make(rows: "pa.Table", key: str) -> "tuple[pa.Table, Mapping[str, Any]]":
        made, refused = document_rows(rows, object_store, elsewhere=batches.parsed(key))
        for filing_id, why in refused.items():
            context.log.warning("%s %s was not parsed: %s", key, filing_id, why)
        types = sorted(made["type"].value_counts().to_pylist(), key=lambda count: -count["counts"])
        return made, {
            "filings": rows.num_rows,
            "not parsed": refused,
            "characters": sum(made["characters"].to_pylist()),
            "binary bytes": sum(made["binary_bytes"].to_pylist()),
            "batches": table(batches.rows(key)),
            "documents with sections": sum(bool(sections) for sections in made["sections"].to_pylist()),
            "documents per type": table([{"type": c["values"], "documents": c["counts"]} for c in types[:20]]),
            "preview": table(
                [
                    {**document, "text": document["text"][:200]}
                    for document in made.select(["document_id", "form", "type", "characters", "text"])
                    .slice(0, 5)
                    .to_pylist()
                ]
            ),
        }

    with Batches(keys_of(context), filings_of, object_store, compute, step=context, report=context.log.info) as batches:
        written = derive_days(context, lake, made_from="filings", table="documents", make=make)
    return dg.MaterializeResult(metadata={"documents in run": sum(written.values())})
