"""The `filings` asset: every filing of a regulator's day, once. How, is in `ledgerline.filings.onboarding`."""

from datetime import date, datetime, timezone

import dagster as dg

from ledgerline.filings.ports import FilingLedger, Regulators
from ledgerline.ports import Lake, ObjectStore
from platform_assets.days import SINGLE_RUN, days_of
from platform_assets.failures import permanent_failures
from platform_assets.owners import DATA_PLATFORM
from platform_assets.partitions import source_day
from platform_assets.provenance import DayProvenance

# Bounds how many runs ask a regulator at once; the rate itself is one lease in the ledger, whatever their number.
REGULATOR_POOL = "regulator"


class OnboardingConfig(dg.Config):
    """`recheck`: also compare what is published, once, with what the regulator serves now."""

    recheck: bool = False


@dg.asset(
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="onboarding",
    owners=[DATA_PLATFORM],
    kinds={"python", "deltalake"},
    pool=REGULATOR_POOL,
    retry_policy=dg.RetryPolicy(max_retries=2, delay=60),  # an outage of a regulator; a ban is waited for by the lease
)
def filings(
    context: dg.AssetExecutionContext,
    config: OnboardingConfig,
    regulators: dg.ResourceParam[Regulators],
    filing_ledger: dg.ResourceParam[FilingLedger],
    object_store: dg.ResourceParam[ObjectStore],
    lake: dg.ResourceParam[Lake],
) -> dg.MaterializeResult:
    """Filings of one source and day: discovered, fetched, checked, kept with their digest, published to the lake once.

    A second materialization of the same day adds nothing. A body that is no valid filing is a row with its reason.
    Rows carry when a filing was accepted, first seen and available (UTC): point-in-time joins use `available_at`.
    """
    from ledgerline.digests import table_digest
    from ledgerline.filings.onboarding import onboard_day
    from platform_assets.plots import table

    reports = []
    for key, source, day in days_of(context):
        with permanent_failures(context):
            report = onboard_day(
                regulator=regulators.of(source),
                ledger=filing_ledger,
                objects=object_store,
                lake=lake,
                day=date.fromisoformat(day),
                clock=lambda: datetime.now(timezone.utc),
                report=context.log.info,
                recheck=config.recheck,
            )
        rows = lake.read("filings", where={"source": source, "day": day}).sort_by("filing_id")
        digest = table_digest(rows.select(["filing_id", "version", "state", "sha256", "parser_version"]))
        provenance = DayProvenance(
            rows=rows.num_rows, digest=digest, input_digest=str(report.discovered), filings_digest=digest
        )
        refused = dict(sorted(report.refused_by_reason.items()))
        context.add_asset_metadata(
            {
                "new": report.new,
                "published": report.published,
                "waiting": report.waiting,
                "refused": refused,
                "pages read": report.pages,
                "connected": report.connected,
                "rechecked": report.rechecked,
                "changed": report.changed,
                "bytes": sum(rows["bytes"].to_pylist()),
                "filings per form": table(_per_form(rows["form"].to_pylist())),
                "newest": table(
                    rows.select(
                        ["filing_id", "form", "party_names", "accepted_at", "available_at", "bytes", "state", "reason"]
                    )
                    .slice(max(0, rows.num_rows - 10))
                    .to_pylist()
                ),
                **provenance.metadata(),
            },
            partition_key=key,
        )
        reports.append(report)
    return dg.MaterializeResult(
        metadata={"days in run": len(reports), "new in run": sum(report.new for report in reports)}
    )


def _per_form(forms: list[str]) -> list[dict[str, object]]:
    from collections import Counter

    return [{"form": form, "filings": count} for form, count in Counter(forms).most_common()]
