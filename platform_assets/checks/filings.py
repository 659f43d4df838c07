"""Checks of `filings`: what a person should know before trusting a day."""

from __future__ import annotations

import dagster as dg

from ledgerline.filings.ports import FilingLedger
from platform_assets.filings import filings


@dg.asset_check(asset=filings, description="Every filing that was discovered is published or refused; none waits.")
def no_filing_waits(filing_ledger: dg.ResourceParam[FilingLedger]) -> dg.AssetCheckResult:
    """Warns: a filing that the regulator lists and does not serve yet is normal for minutes, not for hours."""
    from platform_assets.plots import table

    waiting: dict[tuple[str, str], int] = {}
    for (source, day, state), count in filing_ledger.counts().items():
        if state not in ("published", "refused") and count:
            waiting[source, day] = waiting.get((source, day), 0) + count
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "waiting": sum(waiting.values()),
            "days": table(
                [{"source": source, "day": day, "waiting": n} for (source, day), n in sorted(waiting.items())]
            ),
        },
    )
