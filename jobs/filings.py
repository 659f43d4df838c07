"""Operator jobs on filings: `where_is_filing` says where one is, `reprocess_filings` takes filings up again, and
`register_days` makes days known, so that they can be backfilled.

Thin: `ledgerline.filings.whereabouts` and `.reprocess` do it. From a shell: `make where FILING=0000320193-25-000001`, and
`dagster job execute -m platform_assets.definitions -j reprocess_filings -c reprocess.yaml` with

    ops: {take_up_again: {config: {reasons: [not_served], source: edgar, since: 2025-03-14, dry_run: true}}}
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, get_args

import dagster as dg
from pydantic import Field

from jobs.schedules import day_of
from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import FilingLedger, LedgerWithLease, Regulators
from ledgerline.filings.records import Source
from ledgerline.filings.times import SATURDAY, ZONES
from platform_assets.failures import NO_RUN_RETRY, permanent_failures
from platform_assets.onboarding_monitor import parse_day
from platform_assets.partitions import partition_key, source_day

if TYPE_CHECKING:
    from ledgerline.filings.whereabouts import Whereabouts

SOURCES: tuple[Source, ...] = get_args(Source)


class WhereConfig(dg.Config):
    """Which filing."""

    filing: str = Field(description="An accession number (0000320193-25-000001) or a rcept_no (20250314000020).")
    day: str = Field(default="", description="ISO day on which it was filed, for a number that is not known.")


class ReprocessConfig(dg.Config):
    """Which filings: either `filings`, or those refused for `reasons` or read by an outdated parser."""

    filings: list[str] = Field(default=[], description="Accession numbers and rcept_nos.")
    reasons: list[str] = Field(default=[], description="Refused for one of these, e.g. not_served, poison, truncated.")
    outdated_parser: bool = Field(default=False, description="Published, and read by another version of the parser.")
    source: str = Field(default="", description="edgar or dart; empty: both.")
    since: str = Field(default="", description="ISO day, the first one; empty: from the oldest on.")
    until: str = Field(default="", description="ISO day, the last one; empty: to the newest.")
    fetch_again: bool = Field(default=False, description="Ask the regulator for refused bodies that are kept, too.")
    dry_run: bool = Field(default=False, description="Only say what would be taken up.")


def where_is(config: WhereConfig, *, filing_ledger: LedgerWithLease, regulators: Regulators) -> "Whereabouts":
    """Where a filing is. Also for the command line. Raises ConfigurationError for what is no id or no day."""
    from ledgerline.filings import whereabouts

    now = datetime.now(timezone.utc)
    return whereabouts.where_is(
        filing_ledger,
        config.filing,
        now=now,
        day=_day(config.day),
        read_next={source: read_next(source, regulators.live_sources(), now) for source in SOURCES},
    )


def read_next(source: Source, live: Iterable[Source], now: datetime) -> str:
    """A sentence: when a source is read again, and what is due of its days taken up."""
    from ledgerline.filings.whereabouts import in_both_zones

    if source not in live:
        return "The sensor `archive_days` looks into the archive folder every 5 minutes."
    return f"The schedule `onboard_{source}` ticks next at {in_both_zones(next_tick(source, now), source)}."


def next_tick(source: Source, now: datetime) -> datetime:
    """The next moment that `TICKS` of the onboarding schedules name."""
    moment = now.replace(second=0, microsecond=0)
    while True:
        moment += timedelta(minutes=1)
        local = moment.astimezone(ZONES[source])
        if local.minute % (10 if 6 <= local.hour <= 22 else 30) == 0:
            return moment


@dg.op(description="Says where a filing is, and why, in the log and in the metadata of its output.")
def look_up_filing(
    context: dg.OpExecutionContext,
    config: WhereConfig,
    filing_ledger: dg.ResourceParam[LedgerWithLease],
    regulators: dg.ResourceParam[Regulators],
) -> None:
    with permanent_failures(context):
        found = where_is(config, filing_ledger=filing_ledger, regulators=regulators)
    log = context.log.info if found.known else context.log.warning
    log("\n".join([found.sentence, *(f"{name}: {value}" for name, value in found.facts)]))
    context.add_output_metadata({"answer": found.sentence, **dict(found.facts)})


@dg.job(
    name="where_is_filing",
    description="Where is a filing, and why: its state, times, versions, corrections, and when its source is read next.",
    tags=NO_RUN_RETRY,
)
def where_is_filing() -> None:
    look_up_filing()


@dg.op(description="Takes the selected filings up again; the next tick of their source onboards them.")
def take_up_again(
    context: dg.OpExecutionContext,
    config: ReprocessConfig,
    filing_ledger: dg.ResourceParam[FilingLedger],
    regulators: dg.ResourceParam[Regulators],
) -> None:
    from ledgerline.filings.reprocess import Selection, days_of, reprocess
    from platform_assets.plots import table

    with permanent_failures(context):
        selection = Selection(
            filing_ids=tuple(config.filings),
            reasons=tuple(config.reasons),
            outdated=config.outdated_parser,
            sources=_sources(config.source),
            since=_day(config.since),
            until=_day(config.until),
        )
        done = reprocess(
            filing_ledger,
            selection,
            dry_run=config.dry_run,
            fetch_again=config.fetch_again,
            report=context.log.info,
        )
    for filing_id, why in done.left.items():
        context.log.warning(f"{filing_id} is left alone: {why}")
    now = datetime.now(timezone.utc)
    live = regulators.live_sources()
    upcoming = [read_next(source, live, now) for source in sorted({source for source, _ in done.days})]
    verb = "would be taken up" if config.dry_run else "are taken up again"
    said = f"{done.filings} filing(s) of {len(done.days)} day(s) {verb}."
    context.log.info(" ".join([said] if config.dry_run else [said, *upcoming]))
    context.add_output_metadata(
        {
            "filings": done.filings,
            "days": len(done.days),
            "dry run": config.dry_run,
            "by day and reason": table(days_of(done)),
            "left alone": table([{"filing": one, "why": why} for one, why in done.left.items()]),
            "onboarded by": "nobody: this was a dry run" if config.dry_run else " ".join(upcoming) or "nobody",
        }
    )


@dg.job(
    name="reprocess_filings",
    description="Take filings up again: by number, by the reason of their refusal, or by the parser that read them.",
    tags=NO_RUN_RETRY,
)
def reprocess_filings() -> None:
    take_up_again()


class RegisterConfig(dg.Config):
    """Which days, both ends included."""

    source: str = Field(description="edgar or dart.")
    since: str = Field(description="ISO day, the first one.")
    until: str = Field(description="ISO day, the last one; not later than the source's today.")


def weekdays(since: date, until: date) -> list[date]:
    """The days on which a regulator publishes; a holiday among them is a day with an empty index."""
    days = (since + timedelta(days=number) for number in range((until - since).days + 1))
    return [day for day in days if day.weekday() < SATURDAY]


@dg.op(description="Registers the weekdays of a range as partitions; what is registered already stays as it is.")
def make_days_known(context: dg.OpExecutionContext, config: RegisterConfig) -> None:
    with permanent_failures(context):
        since, until = _day(config.since), _day(config.until)
        (source,) = _sources(config.source) if config.source else (None,)
        if source is None or since is None or until is None:
            raise ConfigurationError(
                "source, since and until are all needed: {source: edgar, since: 2024-01-01, until: ...}"
            )
        today = day_of(source, datetime.now(timezone.utc))
        if not since <= until <= today:
            raise ConfigurationError(
                f"{since} to {until} is no range of past days: give since <= until <= {today}, the day at {source} now"
            )
    keys = [partition_key(source, day) for day in weekdays(since, until)]
    known = set(context.instance.get_dynamic_partitions(str(source_day.name)))
    new = [key for key in keys if key not in known]
    context.instance.add_dynamic_partitions(str(source_day.name), new)
    of_new = f"{new[0]}...{new[-1]}" if new else ""
    context.log.info(f"{len(new)} of {len(keys)} days are new{f'; backfill the range {of_new}' if new else ''}.")
    if known & set(keys):  # Dagster's ranges follow the order of registration
        context.log.info(
            f"{len(known & set(keys))} days were known before and are not in that range; choose them by name."
        )
    context.add_output_metadata({"days": len(keys), "new": len(new), "range": of_new})


@dg.job(
    name="register_days",
    description="Make the weekdays of a source known, so that they can be materialized as a range (a backfill).",
    tags=NO_RUN_RETRY,
)
def register_days() -> None:
    make_days_known()


FILING_JOBS = [where_is_filing, reprocess_filings, register_days]


def _day(text: str) -> date | None:
    return parse_day(text) if text else None


def _sources(text: str) -> tuple[Source, ...]:
    if text and text not in SOURCES:
        raise ConfigurationError(f"{text!r} is no source: give {' or '.join(SOURCES)}, or leave it out for all.")
    return tuple(source for source in SOURCES if text in ("", source))
