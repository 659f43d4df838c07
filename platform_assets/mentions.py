"""The `mentions` asset: where documents name companies. The rules are in `ledgerline.mapping.mentions`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.ports import Lake
from platform_assets.days import SINGLE_RUN, derive_days
from platform_assets.documents import documents
from platform_assets.listings import listings
from platform_assets.owners import NLP
from platform_assets.partitions import source_day

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    deps=[documents, listings],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="nlp",
    owners=[NLP],
    kinds={"python", "deltalake"},
)
def mentions(context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """Spans of company names in the text of documents, English and Korean, with the text around them.

    A dictionary of dated names and aliases, longest match, case kept. Which company a span means is decided later.
    """
    from ledgerline.mapping.mentions import MentionFinder, mention_rows
    from ledgerline.names.lake import facts_from_lake
    from platform_assets.plots import table

    finder = MentionFinder.from_facts(facts_from_lake(lake))

    def make(rows: "pa.Table", key: str) -> "tuple[pa.Table, Mapping[str, Any]]":
        made = mention_rows(rows, finder)
        surfaces = sorted(made["surface"].value_counts().to_pylist(), key=lambda c: (-c["counts"], c["values"]))
        characters = sum(rows["characters"].to_pylist())
        return made, {
            "documents": rows.num_rows,
            "mentions per 1,000 characters": round(1000 * made.num_rows / max(1, characters), 3),
            "most frequent": table([{"surface": c["values"], "mentions": c["counts"]} for c in surfaces[:15]]),
            "preview": table(made.select(["surface", "left", "right", "language", "as_of"]).slice(0, 8).to_pylist()),
        }

    written = derive_days(context, lake, made_from="documents", table="mentions", make=make)
    return dg.MaterializeResult(metadata={"mentions in run": sum(written.values())})
