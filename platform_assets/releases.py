"""The `release_ledger` asset: what went live when, by whom, and that nobody altered it. It reads; it changes nothing."""

import dagster as dg

from ledgerline.release.ports import ReleaseLedger
from platform_assets.failures import permanent_failures
from platform_assets.owners import DATA_PLATFORM

ROWS = 100  # of the table; the ledger itself keeps all


class LedgerConfig(dg.Config):
    """What is shown."""

    project: str = ""  # rows of one project; empty: of all


@dg.asset(name="release_ledger", group_name="monitoring", owners=[DATA_PLATFORM], kinds={"python", "sqlite"})
def release_ledger_asset(
    context: dg.AssetExecutionContext, config: LedgerConfig, release_ledger: dg.ResourceParam[ReleaseLedger]
) -> dg.MaterializeResult:
    """The newest rows of the release ledger: candidates, QA, decisions, deployments, deleted endpoints of all projects.

    Reading checks the hash chain from the first row to the last; a row that was altered fails this asset by its number.
    """
    from ledgerline.release.history import counts, newest_rows
    from platform_assets.plots import table

    with permanent_failures(context):
        entries = release_ledger.entries(config.project or None)
    number, head = release_ledger.head()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(head or "empty"),
        metadata={
            "newest rows": table(newest_rows(entries, ROWS)),
            "rows": number,
            "chain": f"verified from row 1 to row {number}" if number else "no row yet",
            "head": head,
            "kinds": dict(counts(entries)),
        },
    )
