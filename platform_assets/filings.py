"""The `filings` asset: every filing of a regulator's day, once. How, is in `ledgerline.filings.onboarding`."""

from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from ledgerline.filings.ports import FilingLedger, Regulators
from ledgerline.filings.times import EASTERN
from ledgerline.ports import Lake, ObjectStore
from platform_assets.days import SINGLE_RUN, days_of, record_day
from platform_assets.failures import permanent_failures
from platform_assets.owners import DATA_PLATFORM
from platform_assets.partitions import partition_key, source_day
from platform_assets.provenance import DayProvenance

if TYPE_CHECKING:
    from ledgerline.filings.onboarding import DayReport


class OnboardingConfig(dg.Config):
    """`recheck`: also compare what is published, once, with what the regulator serves now."""

    recheck: bool = False


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dg.asset(
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="onboarding",
    owners=[DATA_PLATFORM],
    kinds={"python", "deltalake"},
    retry_policy=dg.RetryPolicy(max_retries=2, delay=60),  # an outage; a ban outlasts them: ticks wait for its end
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
    from ledgerline.filings.onboarding import onboard_day
    from ledgerline.filings.ports import RegulatorUnavailable

    reports = []
    to_come = set(context.partition_keys)
    for key, source, day in days_of(context):
        to_come.remove(key)
        with permanent_failures(context):
            regulator = regulators.of(source)
        onboard = partial(
            onboard_day,
            regulator=regulator,
            ledger=filing_ledger,
            objects=object_store,
            lake=lake,
            clock=_utc_now,
            report=context.log.info,
        )
        with permanent_failures(context):
            report = onboard(day=date.fromisoformat(day), recheck=config.recheck)
        reports.append(report)
        _record(context, lake, key, report)
        # A list of a day names filings of others, of each a few: they belong to this run, so that a proof after it finds
        # them there. What cannot be read now is left to the next tick.
        for other in report.named:
            other_key = partition_key(source, other)
            if other_key in to_come:
                continue
            try:
                with permanent_failures(context):
                    report = onboard(day=other, poll=False)
            except RegulatorUnavailable as outage:
                context.log.warning("%s is left to the next tick: %s", other_key, outage)
                break
            context.instance.add_dynamic_partitions(str(source_day.name), [other_key])
            reports.append(report)
            _record(context, lake, other_key, report)
    return dg.MaterializeResult(
        metadata={"days in run": len(reports), "new in run": sum(report.new for report in reports)}
    )


def _record(context: dg.AssetExecutionContext, lake: Lake, key: str, report: "DayReport") -> None:
    from ledgerline.digests import table_digest
    from platform_assets.plots import table

    day = report.day.isoformat()
    rows = lake.read("filings", where={"source": report.source, "day": day}).sort_by("filing_id")
    digest = table_digest(rows.select(["filing_id", "version", "state", "sha256", "parser_version"]))
    provenance = DayProvenance(
        rows=rows.num_rows, digest=digest, input_digest=str(report.discovered), filings_digest=digest
    )
    refused = dict(sorted(report.refused_by_reason.items()))
    record_day(
        context,
        key,
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
    )


def fresh() -> dg.AssetsDefinition:
    """The asset with its freshness policy, for filings that come over HTTP.

    At weekends nothing is published, so a window of hours would call every Sunday stale: what counts is the evening of a
    weekday. Which source is late, and why, says the check `onboarding_is_on_time`.
    """
    policy = dg.FreshnessPolicy.cron("0 22 * * 1-5", lower_bound_delta=timedelta(hours=1), timezone=EASTERN.key)
    return filings.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=policy))


def _per_form(forms: list[str]) -> list[dict[str, object]]:
    from collections import Counter

    return [{"form": form, "filings": count} for form, count in Counter(forms).most_common()]
