"""The assets that say whether a day is whole: the regulator's index beside the ledger, and the claim that rests on it.

What makes a day complete is in `ledgerline.filings.completeness`. The blocking check keeps an incomplete day from being
claimed in its run; the claim judges again by itself, so that no other way leads to it.
"""

from datetime import date, datetime, timezone

import dagster as dg

from ledgerline.filings.ports import FilingLedger, Regulators
from ledgerline.ports import Lake
from platform_assets.days import SINGLE_RUN, days_of
from platform_assets.failures import permanent_failures
from platform_assets.filings import filings
from platform_assets.owners import DATA_PLATFORM
from platform_assets.partitions import source_day

DAY_IS_COMPLETE = dg.AssetCheckSpec(
    "day_is_complete",
    asset="day_index",
    blocking=True,
    description="The regulator's own list of the day is closed, and every filing in it is published or refused.",
)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dg.asset(
    deps=[filings],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    check_specs=[DAY_IS_COMPLETE],
    group_name="onboarding",
    owners=[DATA_PLATFORM],
    kinds={"python", "deltalake"},
)
def day_index(
    context: dg.AssetExecutionContext,
    regulators: dg.ResourceParam[Regulators],
    filing_ledger: dg.ResourceParam[FilingLedger],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """The regulator's own list of a day (EDGAR's daily index, DART's list read whole) against the filings that are known.

    The check `day_is_complete` fails with a list of what is missing. It blocks `complete_days`, and nothing else: the
    filings of a day that goes on are of use before it ends.
    """
    from ledgerline.filings.completeness import read_index
    from platform_assets.plots import table

    found = []
    for key, source, day in days_of(context):
        with permanent_failures(context):
            one = read_index(regulators.of(source), filing_ledger, lake, date.fromisoformat(day), _utc_now)
        found.append(one)
        context.log.info("%s: %s", key, one.reason or f"complete, {one.listed} filings")
        context.add_asset_metadata(
            {
                "listed": one.listed,
                "published or refused": one.settled,
                "missing": len(one.missing),
                "at work": len(one.unsettled),
                "not listed": len(one.unlisted),
                "complete": one.complete,
                "verdict": one.reason or "complete",
            },
            partition_key=key,
        )
    open_days = [one for one in found if not one.complete]
    lacking = [
        {"source": one.source, "day": one.day.isoformat(), "filing": filing, "why": why}
        for one in open_days
        for why, filings in (
            ("not known", one.missing),
            ("neither published nor refused", one.unsettled),
            ("dated to this day by a second witness, and not in the index", one.contradicted),
        )
        for filing in filings
    ]
    check = dg.AssetCheckResult(
        check_name=DAY_IS_COMPLETE.name,
        passed=not open_days,
        description="; ".join(f"{one.source} {one.day}: {one.reason}" for one in open_days[:5]) or "complete",
        metadata={"days": len(found), "not complete": len(open_days), "lacking": table(lacking[:200])},
    )
    return dg.MaterializeResult(metadata={"days in run": len(found)}, check_results=[check])


@dg.asset(
    deps=[day_index],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="onboarding",
    owners=[DATA_PLATFORM],
    kinds={"python", "deltalake"},
)
def complete_days(
    context: dg.AssetExecutionContext,
    filing_ledger: dg.ResourceParam[FilingLedger],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """Days that are proved complete: every filing that the regulator lists is published, or refused with its reason.

    A day whose index was not read whole, is not closed, or names a filing that is not settled is never among them.
    """
    from ledgerline.filings.completeness import claim_day

    refused, claimed = [], 0
    for key, source, day in days_of(context):
        with permanent_failures(context):
            found, claim = claim_day(source, filing_ledger, lake, date.fromisoformat(day), _utc_now)
        if claim is None:
            refused.append(f"{key}: {found.reason}")
            continue
        claimed += 1
        context.add_asset_metadata(
            {
                "filings": claim.filings,
                "index digest": claim.index_digest,
                "proved at": claim.proved_at.isoformat(timespec="seconds"),
            },
            partition_key=key,
        )
    if refused:
        raise dg.Failure(
            f"{len(refused)} of {len(refused) + claimed} days are not complete: {'; '.join(refused[:5])}. Materialize "
            "filings and day_index of these days again once what is named there has come.",
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata={"days in run": claimed})
