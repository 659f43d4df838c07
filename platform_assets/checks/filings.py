"""Checks of `filings`: what a person should know before trusting a day."""

from __future__ import annotations

from datetime import datetime, timezone

import dagster as dg

from ledgerline.filings.ports import FilingLedger, LedgerWithLease, Regulators
from platform_assets.filings import filings

MOST_DAYS = 50  # that the table shows


@dg.asset_check(asset=filings, description="Every filing that was discovered is published or refused; none waits.")
def no_filing_waits(
    regulators: dg.ResourceParam[Regulators], filing_ledger: dg.ResourceParam[FilingLedger]
) -> dg.AssetCheckResult:
    """Warns: a filing that the regulator lists and does not serve yet is normal for minutes, not for hours."""
    from platform_assets.plots import table

    days = [(source, day) for source in regulators.sources() for day in filing_ledger.pending_days(source)]
    waiting = {(source, day): filing_ledger.pending(source, day) for source, day in days[-MOST_DAYS:]}
    return dg.AssetCheckResult(
        passed=not days,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "days": len(days),
            "waiting": sum(len(rows) for rows in waiting.values()),
            "per day": table(
                [
                    {
                        "source": source,
                        "day": day.isoformat(),
                        "waiting": len(rows),
                        "why": rows[0].detail or rows[0].state,
                    }
                    for (source, day), rows in waiting.items()
                ]
            ),
        },
    )


@dg.asset_check(
    asset=filings, description="Every regulator that is read over HTTP was read whole within its last ticks."
)
def onboarding_is_on_time(
    regulators: dg.ResourceParam[Regulators], filing_ledger: dg.ResourceParam[LedgerWithLease]
) -> dg.AssetCheckResult:
    """Warns, with what is late and why. It runs with the monitor, so that it also says so when no tick runs at all."""
    from ledgerline.filings.punctuality import lateness

    now = datetime.now(timezone.utc)
    late = {
        source: lateness(
            source,
            now,
            connected_at=filing_ledger.watermark(source),
            newest=next(iter(filing_ledger.ticks(source)), None),
            ban=filing_ledger.banned_until(source, now),
        )
        for source in regulators.live_sources()
    }
    reasons = [why for why in late.values() if why]
    return dg.AssetCheckResult(
        passed=not reasons,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(reasons) or (f"{', '.join(late)}: on time" if late else "no source is read over HTTP"),
        metadata={source: why or "on time" for source, why in late.items()},
    )
