"""Checks of `ticker_mappings`: the promises that a reader of the table relies on."""

from __future__ import annotations

import dagster as dg

from ledgerline.ports import Lake
from platform_assets.ticker_mappings import ticker_mappings


@dg.asset_check(
    asset=ticker_mappings,
    blocking=True,
    description="Every ticker has a company, a score and a dated path that proves it; every none has a reason.",
)
def every_ticker_is_grounded(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """The grounding rule, read back from what was written rather than trusted."""
    from ledgerline.mapping.grounding import ungrounded
    from platform_assets.plots import table

    rows = lake.read(
        "ticker_mappings", columns=["mention_id", "surface", "company_id", "ticker", "score", "none_reason", "path"]
    )
    wrong = ungrounded(rows)
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={"mappings": rows.num_rows, "ungrounded": len(wrong), "examples": table(wrong[:10])},
    )
