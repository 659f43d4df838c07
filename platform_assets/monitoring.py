"""Monitoring assets: how good and how healthy what is live is. They read; they change nothing."""

import dagster as dg

from ledgerline.ports import Lake
from platform_assets.owners import QUANT
from platform_assets.ticker_mappings import ticker_mappings


@dg.asset(
    deps=[dg.AssetDep(ticker_mappings, partition_mapping=dg.AllPartitionMapping())],
    group_name="monitoring",
    owners=[QUANT],
    kinds={"python"},
)
def mapping_quality(lake: dg.ResourceParam[Lake]) -> dg.MaterializeResult:
    """How mentions were mapped, per source and day: linked, none and why, and how the scores are spread."""
    from ledgerline.mapping.quality import summarise
    from platform_assets.plots import histogram, table

    rows = lake.read(
        "ticker_mappings",
        columns=["source", "day", "surface", "company_id", "ticker", "score", "none_reason", "model_digest"],
    )
    summary = summarise(rows)
    return dg.MaterializeResult(
        metadata={
            "mentions": rows.num_rows,
            "linked": summary.linked,
            "none": rows.num_rows - summary.linked,
            "per day": table(summary.per_day),
            "why none": table(summary.none_reasons),
            "most linked": table(summary.most_linked),
            "scores": histogram("Score of the best candidate", summary.scores, x="score"),
        }
    )
