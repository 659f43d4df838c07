"""When things run by the clock. Each schedule calls a pure function or says in one line why its tick is skipped."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, time, timedelta

import dagster as dg

from jobs.selections import onboard, prove_complete, refresh_listings
from ledgerline.filings.ports import LedgerWithLease, Regulators
from ledgerline.filings.records import Source
from ledgerline.filings.times import SATURDAY, ZONES
from ledgerline.ports import Lake
from platform_assets.partitions import parse_partition_key, partition_key, source_day
from platform_assets.runs import days_under_way

RUNNING = dg.DefaultScheduleStatus.RUNNING
# EDGAR takes filings from 06:00 to 22:00 Eastern, DART from 07:00 to 19:00; what is late is found by the slow ticks.
FILINGS = dg.AssetKey("filings")
ONBOARDING_JOBS = (onboard.name, prove_complete.name)
WHOLE_AT = time(6)  # on the next day: EDGAR's daily index is written after 22:06, and EFFECT rows come after midnight
TICKS = ("*/10 6-22 * * *", "*/30 0-5,23 * * *")
PROVE_DAYS = 14  # what is older and was never proved needs a person: materialize complete_days of its range
MOST_DAYS = 5  # that one tick starts
PRIORITY = "dagster/priority"  # in the queue of runs: see these three; a backfill has 0
LIVE, LEFTOVERS, PROOF = "10", "5", "3"  # a day is first onboarded, then proved
# Of the runs with this tag one is at work at a time (`dagster.yaml`): a proof asks again for every body of its day, and
# several of them would fill the slots before the next tick of the live feed.
CATCH_UP = "ledgerline/catch_up"
BANNED = "{source} may not be asked before {until:%Y-%m-%d %H:%M:%S} UTC ({reason}); the first tick after it goes on."
AT_WORK = "The run {run} of {key} is still at work."
NOT_LIVE = "{source} is not read over HTTP here; the sensor `archive_days` reads the archive folder."


def onboarding_schedule(source: Source) -> dg.ScheduleDefinition:
    """Every 10 minutes by day and every 30 by night, in the regulator's own zone; see `days_due` for which days.

    A tick starts nothing while today's run is at work, which takes along what it finds of other days, and nothing for a
    day whose own run is. What came meanwhile is read by the next tick, since a poll goes back to the last one that
    connected. The run key carries the moment: each tick is an attempt of its own.
    """

    @dg.schedule(
        name=f"onboard_{source}",
        job=onboard,
        cron_schedule=list(TICKS),
        execution_timezone=ZONES[source].key,
        default_status=RUNNING,
        description=f"Reads what {source} published, and fetches what waits. Skipped for an archive folder.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
        regulators: dg.ResourceParam[Regulators],
        filing_ledger: dg.ResourceParam[LedgerWithLease],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        moment = context.scheduled_execution_time
        if held := hold(source, moment, regulators, filing_ledger):
            return held
        days = days_due(source, moment, filing_ledger.pending_days(source, due_at=moment))
        if not days:
            return dg.SkipReason(f"{source} publishes nothing at weekends, and no filing waits.")
        today = day_of(source, moment)
        under_way = days_under_way(context.instance, ONBOARDING_JOBS, FILINGS)
        if run := under_way.get(partition_key(source, today)):
            return dg.SkipReason(AT_WORK.format(run=run, key=partition_key(source, today)))
        tags = {day: {PRIORITY: LIVE} if day == today else catching_up(source, LEFTOVERS) for day in days}
        return requests(context, source, days, tags, under_way)

    return tick


def proving_schedule(source: Source) -> dg.ScheduleDefinition:
    """Once an hour: the ended days of the last weeks that are not proved complete yet, oldest first."""

    @dg.schedule(
        name=f"prove_{source}",
        job=prove_complete,
        cron_schedule="25 * * * *",
        execution_timezone=ZONES[source].key,
        default_status=RUNNING,
        description=f"Compares ended days with {source}'s own list of them, until they are proved complete.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext,
        regulators: dg.ResourceParam[Regulators],
        filing_ledger: dg.ResourceParam[LedgerWithLease],
        lake: dg.ResourceParam[Lake],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        from ledgerline.filings.completeness import still_asked_for

        moment = context.scheduled_execution_time
        if held := hold(source, moment, regulators, filing_ledger):
            return held
        keys = map(parse_partition_key, context.instance.get_dynamic_partitions(str(source_day.name)))
        registered = {day for of_source, day in keys if of_source == source}
        since = day_of(source, moment) - timedelta(days=PROVE_DAYS)
        proved = {claim.day for claim in filing_ledger.completions(source, since=since)}
        days = days_to_prove(source, moment, registered=registered, proved=proved)
        at_work = {day for day in days if still_asked_for(source, filing_ledger, lake, day)}
        free = [day for day in days if day not in at_work]
        if not free:
            return dg.SkipReason(
                f"Filings that belong to {', '.join(map(str, sorted(at_work)))} are still asked for."
                if at_work
                else f"Every ended day of {source} is proved complete."
            )
        config = dg.RunConfig(ops={"filings": {"config": {"recheck": True}}})
        tags = dict.fromkeys(free, catching_up(source, PROOF))
        return requests(context, source, free, tags, days_under_way(context.instance, ONBOARDING_JOBS, FILINGS), config)

    return tick


def hold(source: Source, moment: datetime, regulators: Regulators, ledger: LedgerWithLease) -> dg.SkipReason | None:
    """Why a tick starts nothing, whatever waits: the source is an archive, or bans us, so that its runs would fail."""
    if source not in regulators.live_sources():
        return dg.SkipReason(NOT_LIVE.format(source=source))
    if ban := ledger.banned_until(source, moment):
        return dg.SkipReason(BANNED.format(source=source, until=ban[0], reason=ban[1]))
    return None


def catching_up(source: Source, priority: str) -> dict[str, str]:
    """Tags of a run that is not of the live feed."""
    return {PRIORITY: priority, CATCH_UP: source}


def requests(
    context: dg.ScheduleEvaluationContext,
    source: Source,
    days: list[date],
    tags: dict[date, dict[str, str]],
    under_way: dict[str, str],
    config: dg.RunConfig | None = None,
) -> list[dg.RunRequest] | dg.SkipReason:
    """A run for each day that none is at work on, registered as a partition; the reason where there is none."""
    keys = {day: partition_key(source, day) for day in days}
    free = [day for day in days if keys[day] not in under_way][:MOST_DAYS]
    if not free:
        return dg.SkipReason(AT_WORK.format(run=under_way[keys[days[0]]], key=keys[days[0]]))
    context.instance.add_dynamic_partitions(str(source_day.name), [keys[day] for day in free])
    moment = context.scheduled_execution_time.isoformat()
    return [
        dg.RunRequest(
            run_key=f"{keys[day]}@{moment}",
            partition_key=keys[day],
            tags=tags[day],
            run_config=config,
        )
        for day in free
    ]


def day_of(source: Source, moment: datetime) -> date:
    """The regulator's calendar day at a moment."""
    return moment.astimezone(ZONES[source]).date()


def days_due(source: Source, moment: datetime, waiting: Iterable[date]) -> list[date]:
    """The days that a tick works on: today if it is a weekday, and those of which a filing waits, newest first.

    What EDGAR accepts after 17:30 is dated to the next business day, so that a day may have filings before it begins.
    """
    today = day_of(source, moment)
    due = [today] if today.weekday() < SATURDAY else []
    return due + sorted(set(waiting) - set(due), reverse=True)


def days_to_prove(
    source: Source, moment: datetime, *, registered: Collection[date], proved: Collection[date]
) -> list[date]:
    """The days that have ended and are not proved, oldest first: weekdays since the first one that is registered within
    PROVE_DAYS, so that a machine that slept over a day still proves it, and registered days of weekends."""
    today = day_of(source, moment)
    ended = [today - timedelta(days=back) for back in range(PROVE_DAYS, 0, -1)]
    ended = [day for day in ended if moment >= datetime.combine(day + timedelta(days=1), WHOLE_AT, ZONES[source])]
    first = min((day for day in registered if day in ended), default=None)
    return [
        day
        for day in ended
        if first is not None and day >= first and day not in proved and (day.weekday() < SATURDAY or day in registered)
    ]


daily_listings = dg.ScheduleDefinition(
    name="daily_listings",
    job=refresh_listings,
    cron_schedule="0 5 * * *",
    execution_timezone="America/New_York",
    default_status=RUNNING,
    description="Companies, names and tickers, before the market opens.",
)
