"""Sensors and schedules: fire once, say why they do not, and double nothing when they are killed and replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from dagster._utils.schedules import schedule_execution_time_iterator  # how the daemon reads cron lists

from jobs.monitoring import onboarding_watch
from jobs.schedules import (
    CATCH_UP,
    MOST_DAYS,
    PROVE_DAYS,
    TICKS,
    day_of,
    days_to_prove,
    onboarding_schedule,
    proving_schedule,
)
from jobs.selections import map_filings, onboard
from ledgerline.filings.plan import MAX_ATTEMPTS
from ledgerline.filings.ports import DayClaim
from ledgerline.filings.ports import Tick as Poll
from ledgerline.filings.times import ZONES
from ledgerline.release.deploy import deploy_release
from ledgerline.release.ports import LedgerEntry
from ledgerline.release.releases import Release, current_release
from platform_assets.provenance import DayProvenance
from resources.filing_ledger import SqlFilingLedger
from sensors import releases
from sensors.days import SWEEP_DAYS, WANTED, archive_days, map_new_filings, new_filings, recent_keys
from sensors.releases import approved_models, waiting_candidates
from tests.unit.release_fakes import World

FRIDAY, MONDAY, TUESDAY = "edgar:2026-02-27", "edgar:2026-03-02", "edgar:2026-03-03"
LIVE = "ab" * 32
NEW_YORK, SEOUL = ZoneInfo("America/New_York"), ZoneInfo("Asia/Seoul")
FAILED, CANCELED, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS
UNFINISHED = [  # and QUEUED, which Dagster records only for a run of a code server
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass
class Recorded:
    """An instance of Dagster and the short way to what was recorded in it."""

    instance: dg.DagsterInstance

    def onboarded(self, key: str, filings: str, listed: str = "1") -> None:
        self._made("filings", key, filings, listed, filings)

    def mapped(self, key: str, filings: str, model: str = LIVE) -> None:
        self._made("ticker_mappings", key, f"rows of {filings}", f"candidates+{model}", filings)

    def _made(self, asset: str, key: str, digest: str, made_from: str, filings: str) -> None:
        self.instance.add_dynamic_partitions("source_day", [key])
        record = DayProvenance(rows=1, digest=digest, input_digest=made_from, filings_digest=filings)
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=key, metadata=record.metadata())
        )

    def ran(self, request: dg.RunRequest, status: dg.DagsterRunStatus, job: str = "map_filings") -> None:
        """The run that the daemon makes of a request."""
        self.run(status, job, {**request.tags, "dagster/partition": str(request.partition_key)})

    def run(
        self,
        status: dg.DagsterRunStatus,
        job: str,
        tags: Mapping[str, str],
        assets: frozenset[dg.AssetKey] | None = None,
    ) -> None:
        run = dg.DagsterRun(job, run_id=make_new_run_id(), status=status, tags=dict(tags), asset_selection=assets)
        self.instance.add_run(run)


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[dg.DagsterInstance]:
    """On disk: a context of a schedule takes no ephemeral instance. One for all tests, since making it is slow."""
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("dagster"))) as made:
        yield made


@pytest.fixture
def recorded(instance) -> Recorded:
    """Nothing is recorded yet."""
    instance.wipe()
    for key in instance.get_dynamic_partitions("source_day"):
        instance.delete_dynamic_partition("source_day", key)
    return Recorded(instance)


@dataclass
class Tick:
    keys: list[str]
    run_keys: list[str]
    requests: list[dg.RunRequest]
    reason: str
    cursor: str | None


def outcome(found: object) -> Tick:
    """What a tick gave, whether it came as a result, a list or a reason."""
    if isinstance(found, dg.SkipReason):
        return Tick([], [], [], str(found.skip_message), None)
    requests, reason, cursor = found, "", None
    if isinstance(found, dg.SensorResult):
        requests, cursor = found.run_requests or [], found.cursor
        reason = str(found.skip_reason.skip_message) if found.skip_reason else ""
    elif isinstance(found, dg.RunRequest):
        requests = [found]
    return Tick([r.partition_key for r in requests], [r.run_key for r in requests], list(requests), reason, cursor)


class FakeLedger(dg.ConfigurableResource):
    """A release ledger in which one model is live, or none."""

    live: str | None = LIVE

    def entries(self, project: str) -> list[LedgerEntry]:
        release = Release.model_construct(project=project, model_digest=self.live)
        return [LedgerEntry(1, release, "", "")] if self.live else []


def after_onboarding(recorded: Recorded, cursor: str | None = None, live: str | None = LIVE) -> Tick:
    context = dg.build_sensor_context(instance=recorded.instance, cursor=cursor)
    return outcome(new_filings(context, release_ledger=FakeLedger(live=live)))


def sweep(recorded: Recorded, live: str | None = LIVE) -> Tick:
    context = dg.build_schedule_context(instance=recorded.instance)
    return outcome(map_new_filings(context, release_ledger=FakeLedger(live=live)))


# new_filings ---------------------------------------------------------------------------------------------------------


def test_days_that_were_onboarded_are_mapped_once(recorded):
    recorded.onboarded(MONDAY, "a")
    recorded.onboarded(TUESDAY, "b")
    first = after_onboarding(recorded)
    assert first.keys == [MONDAY, TUESDAY]
    again = after_onboarding(recorded, first.cursor)
    assert (again.keys, again.reason) == ([], "No day was onboarded since the last tick.")


def test_a_day_that_was_onboarded_again_without_news_is_not_mapped_again(recorded):
    recorded.onboarded(MONDAY, "a")
    first = after_onboarding(recorded)
    recorded.mapped(MONDAY, "a")
    recorded.onboarded(MONDAY, "a")
    again = after_onboarding(recorded, first.cursor)
    assert (again.keys, again.reason) == ([], "1 day(s): nothing is new")
    assert int(again.cursor) > int(first.cursor)


def test_a_day_that_grew_is_mapped_again_under_another_run_key(recorded):
    recorded.onboarded(MONDAY, "a")
    first = after_onboarding(recorded)
    recorded.mapped(MONDAY, "a")
    recorded.onboarded(MONDAY, "b")
    again = after_onboarding(recorded, first.cursor)
    assert again.keys == [MONDAY]
    assert again.run_keys != first.run_keys


def test_killed_before_its_cursor_was_kept_the_sensor_asks_with_the_same_run_keys(recorded):
    recorded.onboarded(MONDAY, "a")
    assert after_onboarding(recorded).run_keys == after_onboarding(recorded).run_keys


def test_killed_after_its_runs_began_the_sensor_starts_none_twice(recorded):
    recorded.onboarded(MONDAY, "a")
    (request,) = after_onboarding(recorded).requests
    recorded.ran(request, dg.DagsterRunStatus.STARTED)
    again = after_onboarding(recorded)
    assert (again.keys, again.reason) == ([], "1 day(s): a run is under way")


def test_a_cursor_that_was_lost_or_is_old_repeats_nothing_that_was_done(recorded):
    recorded.onboarded(MONDAY, "a")
    old = after_onboarding(recorded).cursor
    recorded.onboarded(TUESDAY, "b")
    recorded.mapped(MONDAY, "a")
    recorded.mapped(TUESDAY, "b")
    for cursor in (None, old):
        assert after_onboarding(recorded, cursor).keys == []


def test_another_day_waits_for_no_run_of_this_one(recorded):
    recorded.onboarded(MONDAY, "a")
    recorded.onboarded(TUESDAY, "b")
    first = after_onboarding(recorded)
    recorded.ran(first.requests[0], dg.DagsterRunStatus.STARTED)
    assert after_onboarding(recorded).keys == [TUESDAY]


def test_before_a_model_is_live_days_wait_and_are_mapped_once_it_is(recorded):
    recorded.onboarded(MONDAY, "one")
    waiting = after_onboarding(recorded, live=None)
    assert waiting.keys == []
    assert "No model of ticker_ranker is live yet" in waiting.reason
    assert "live yet" in sweep(recorded, live=None).reason
    assert after_onboarding(recorded, waiting.cursor).keys == [MONDAY]


def test_a_new_release_has_the_recent_days_mapped_again(recorded):
    recorded.onboarded(MONDAY, "one")
    recorded.mapped(MONDAY, "one")
    assert sweep(recorded).keys == []
    assert sweep(recorded, live="cd" * 32).keys == [MONDAY]


# map_new_filings -----------------------------------------------------------------------------------------------------


def test_the_sweep_says_that_no_day_is_known(recorded):
    assert sweep(recorded).reason == "No day is known yet."


def test_the_sweep_finds_what_the_sensor_passed_while_a_run_was_under_way(recorded):
    recorded.onboarded(MONDAY, "a")
    (request,) = after_onboarding(recorded).requests
    recorded.ran(request, dg.DagsterRunStatus.STARTED)
    recorded.onboarded(MONDAY, "b")
    passed = after_onboarding(recorded)
    assert passed.keys == []
    (run,) = recorded.instance.get_runs()
    recorded.instance.report_run_failed(run)
    recorded.mapped(MONDAY, "a")
    assert after_onboarding(recorded, passed.cursor).keys == []
    assert sweep(recorded).keys == [MONDAY]


@pytest.mark.parametrize("status", [FAILED, CANCELED])
def test_failures_are_tried_again_under_new_run_keys_and_then_left_to_a_person(recorded, status):
    recorded.onboarded(MONDAY, "a")
    run_keys = set()
    for _ in range(MAX_ATTEMPTS):
        found = sweep(recorded)
        run_keys.update(found.run_keys)
        recorded.ran(found.requests[0], status)
    assert len(run_keys) == MAX_ATTEMPTS
    given_up = sweep(recorded)
    assert given_up.keys == []
    assert "materialize by hand" in given_up.reason


def test_new_filings_of_a_day_that_was_given_up_are_tried(recorded):
    recorded.onboarded(MONDAY, "a")
    for _ in range(MAX_ATTEMPTS):
        recorded.ran(sweep(recorded).requests[0], FAILED)
    recorded.onboarded(MONDAY, "b")
    assert sweep(recorded).keys == [MONDAY]


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_day_with_a_run_in_any_unfinished_state_is_left_alone(recorded, status):
    recorded.onboarded(MONDAY, "a")
    recorded.ran(sweep(recorded).requests[0], status)
    assert sweep(recorded).reason == "1 day(s): a run is under way"


def test_a_run_that_was_made_and_never_launched_is_asked_for_again_with_its_run_key(recorded):
    recorded.onboarded(MONDAY, "a")
    first = after_onboarding(recorded)
    recorded.ran(first.requests[0], dg.DagsterRunStatus.NOT_STARTED)
    assert after_onboarding(recorded).run_keys == first.run_keys


def test_a_day_within_a_backfill_under_way_is_left_alone(recorded):
    wednesday = "edgar:2026-03-04"
    for key in (MONDAY, TUESDAY, wednesday):
        recorded.onboarded(key, "a")
    range_of_days = {"dagster/asset_partition_range_start": MONDAY, "dagster/asset_partition_range_end": TUESDAY}
    recorded.run(dg.DagsterRunStatus.STARTED, "map_filings", range_of_days)
    assert sweep(recorded).keys == [wednesday]


def test_a_day_that_a_person_maps_by_hand_is_left_alone_and_one_who_does_other_things_is_not_in_the_way(recorded):
    recorded.onboarded(MONDAY, "a")
    recorded.onboarded(TUESDAY, "a")
    for key, asset in ((MONDAY, "ticker_mappings"), (TUESDAY, "filings")):
        tags = {"dagster/partition": key}
        recorded.run(dg.DagsterRunStatus.STARTED, "__ASSET_JOB", tags, frozenset({dg.AssetKey(asset)}))
    assert sweep(recorded).keys == [TUESDAY]


def test_a_backfill_that_ended_holds_nobody_up(recorded):
    recorded.onboarded(MONDAY, "a")
    range_of_days = {"dagster/asset_partition_range_start": MONDAY, "dagster/asset_partition_range_end": MONDAY}
    recorded.run(SUCCESS, "map_filings", range_of_days)
    assert sweep(recorded).keys == [MONDAY]


def test_the_sweep_looks_at_the_newest_days_of_each_source():
    days = [date(2026, 1, day).isoformat() for day in range(1, 31)]
    found = recent_keys([f"{source}:{day}" for source in ("edgar", "dart") for day in days])
    assert found == [f"{source}:{day}" for source in ("dart", "edgar") for day in days[-SWEEP_DAYS:]]


# archive_days --------------------------------------------------------------------------------------------------------


@dataclass
class FakeRegulator:
    listed: dict[date, int]

    def days(self) -> list[date]:
        return sorted(self.listed)

    def discover(self, day: date) -> list[int]:
        return list(range(self.listed[day]))


class FakeRegulators(dg.ConfigurableResource):
    """`listed`: source -> ISO day -> how many filings it lists; `live`: sources that are read over HTTP."""

    listed: dict[str, dict[str, int]]
    live: list[str]

    def sources(self) -> list[str]:
        return sorted({*self.listed, *self.live})

    def live_sources(self) -> list[str]:
        return self.live

    def of(self, source: str) -> FakeRegulator:
        assert source not in self.live, "a tick must not ask a server"
        return FakeRegulator({date.fromisoformat(day): count for day, count in self.listed[source].items()})


def folder(
    recorded: Recorded,
    listed: dict[str, dict[str, int]],
    live: list[str] | None = None,
    waiting: list[str] | None = None,
) -> object:
    regulators, ledger = FakeRegulators(listed=listed, live=live or []), FakeFilingLedger(waiting=waiting or [])
    context = dg.build_sensor_context(instance=recorded.instance)
    return archive_days(context, regulators=regulators, filing_ledger=ledger)


def test_days_of_an_archive_are_registered_and_onboarded_once(recorded):
    listed = {"edgar": {"2026-03-02": 3}, "dart": {"2026-03-03": 2}}
    found = folder(recorded, listed)
    assert outcome(found).keys == ["dart:2026-03-03", MONDAY]
    (registered,) = found.dynamic_partitions_requests
    assert sorted(registered.partition_keys) == ["dart:2026-03-03", MONDAY]
    recorded.onboarded("dart:2026-03-03", "x", listed="2")
    recorded.onboarded(MONDAY, "y", listed="3")
    assert outcome(folder(recorded, listed)).reason == "2 day(s): nothing is new"


def test_a_day_of_an_archive_that_grew_is_onboarded_again(recorded):
    recorded.onboarded(MONDAY, "y", listed="3")
    assert outcome(folder(recorded, {"edgar": {"2026-03-02": 4}})).keys == [MONDAY]


def test_an_archive_day_under_way_is_left_alone_and_a_failed_one_is_tried_up_to_the_limit(recorded):
    listed = {"edgar": {"2026-03-02": 3}}
    for _ in range(MAX_ATTEMPTS):
        recorded.ran(outcome(folder(recorded, listed)).requests[0], FAILED, "onboard")
    assert "materialize by hand" in outcome(folder(recorded, listed)).reason
    grown = outcome(folder(recorded, {"edgar": {"2026-03-02": 4}}))
    recorded.ran(grown.requests[0], dg.DagsterRunStatus.STARTING, "onboard")
    assert outcome(folder(recorded, {"edgar": {"2026-03-02": 4}})).reason == "1 day(s): a run is under way"


def test_a_day_of_an_archive_with_filings_to_take_up_again_is_onboarded_anew_after_each_materialization(recorded):
    listed, due = {"edgar": {"2026-03-02": 3, "2026-03-03": 1}}, ["2026-03-02"]
    recorded.onboarded(MONDAY, "y", listed="3")
    recorded.onboarded(TUESDAY, "z", listed="1")
    first = outcome(folder(recorded, listed, waiting=due))
    assert first.keys == [MONDAY]
    assert outcome(folder(recorded, listed, waiting=due)).run_keys == first.run_keys  # killed before it was launched
    recorded.onboarded(MONDAY, "y", listed="3")
    assert outcome(folder(recorded, listed)).keys == []
    again = outcome(folder(recorded, listed, waiting=due))
    assert (again.keys, again.run_keys == first.run_keys) == ([MONDAY], False)
    for _ in range(MAX_ATTEMPTS):
        recorded.ran(outcome(folder(recorded, listed, waiting=due)).requests[0], FAILED, "onboard")
    assert "materialize by hand" in outcome(folder(recorded, listed, waiting=due)).reason


def test_sources_over_http_are_left_to_their_schedules(recorded):
    assert "onboard_edgar" in outcome(folder(recorded, {}, live=["edgar", "dart"])).reason


def test_an_empty_archive_is_no_error(recorded):
    assert outcome(folder(recorded, {"edgar": {}})).reason == "No day is known yet."


# onboard_<source> ----------------------------------------------------------------------------------------------------


class FakeFilingLedger(dg.ConfigurableResource):
    """Days on which filings wait and days that are proved complete, ISO, of every source."""

    waiting: list[str] = []  # noqa: RUF012 - pydantic copies it
    proved: list[str] = []  # noqa: RUF012
    banned_for: float | None = None  # seconds from the afternoon on

    def pending_days(self, source: str, *, due_at: datetime) -> list[date]:
        return [date.fromisoformat(day) for day in self.waiting]

    def pending(self, source: str, day: date) -> list[str]:
        return ["a filing"] if day.isoformat() in self.waiting else []

    def completions(self, source: str, *, since: date | None = None) -> list[DayClaim]:
        days = [date.fromisoformat(day) for day in self.proved]
        return [DayClaim("edgar", day, 1, "", datetime.now(timezone.utc)) for day in days if since and day >= since]

    def banned_until(self, source: str, now: datetime) -> tuple[datetime, str] | None:
        if self.banned_for is None or source != "edgar":
            return None
        until = AFTERNOON.astimezone(timezone.utc) + timedelta(seconds=self.banned_for)
        return (until, "rate threshold") if now < until else None


class NoIndexYet(dg.ConfigurableResource):
    """A lake without the table `day_index`."""

    def version(self, table: str) -> None:
        return None


AFTERNOON = datetime(2026, 3, 2, 16, 30, tzinfo=NEW_YORK)  # a Monday


def clock(
    recorded: Recorded,
    moment: datetime = AFTERNOON,
    *,
    live: tuple[str, ...] = ("edgar", "dart"),
    waiting: tuple[str, ...] = (),
    proved: tuple[str, ...] | None = None,
    banned_for: float | None = None,
) -> Tick:
    """A tick of `onboard_edgar`, or of `prove_edgar` where it is said which days are proved."""
    schedule = onboarding_schedule("edgar") if proved is None else proving_schedule("edgar")
    context = dg.build_schedule_context(instance=recorded.instance, scheduled_execution_time=moment)
    regulators = FakeRegulators(listed={}, live=list(live))
    ledger = FakeFilingLedger(waiting=list(waiting), proved=list(proved or ()), banned_for=banned_for)
    lake = {} if proved is None else {"lake": NoIndexYet()}
    return outcome(schedule(context, regulators=regulators, filing_ledger=ledger, **lake))


def test_the_clock_starts_the_regulators_day_and_registers_it(recorded):
    found = clock(recorded)
    assert found.keys == [MONDAY]
    assert recorded.instance.get_dynamic_partitions("source_day") == [MONDAY]


def test_days_of_which_filings_wait_are_worked_on_behind_today(recorded):
    found = clock(recorded, waiting=("2026-02-27", "2026-03-02", "2026-03-03"))
    assert found.keys == [MONDAY, TUESDAY, FRIDAY]
    assert [request.tags["dagster/priority"] for request in found.requests] == ["10", "5", "5"]
    assert [request.tags.get(CATCH_UP) for request in found.requests] == [None, "edgar", "edgar"]


@pytest.mark.parametrize("proved", [None, ()])
def test_nothing_is_started_during_a_ban_and_the_first_tick_after_it_goes_on(recorded, proved):
    recorded.instance.add_dynamic_partitions("source_day", [FRIDAY])
    banned = clock(recorded, waiting=("2026-02-26",), proved=proved, banned_for=1)
    assert banned.keys == []
    assert banned.reason == (
        "edgar may not be asked before 2026-03-02 21:30:01 UTC (rate threshold); the first tick after it goes on."
    )
    assert clock(recorded, proved=proved, banned_for=0).keys != []


def test_no_more_days_are_started_at_once_than_a_machine_can_bear(recorded):
    waiting = tuple(f"2026-02-{day:02d}" for day in range(2, 21))
    assert len(clock(recorded, waiting=waiting).keys) == MOST_DAYS


def test_weekends_are_no_days_but_what_waits_is_not_left_until_monday(recorded):
    saturday = datetime(2026, 2, 28, 12, tzinfo=NEW_YORK)
    assert "nothing at weekends" in clock(recorded, saturday).reason
    assert clock(recorded, saturday, waiting=("2026-03-02",)).keys == [MONDAY]


def test_two_ticks_have_two_run_keys_and_one_tick_replayed_has_one(recorded):
    early, late = (datetime(2026, 3, 2, 16, minute, tzinfo=NEW_YORK) for minute in (30, 40))
    first, again, next_one = (clock(recorded, moment) for moment in (early, early, late))
    assert first.run_keys == again.run_keys
    assert first.run_keys != next_one.run_keys


@pytest.mark.parametrize("job", ["onboard", "prove_complete"])
@pytest.mark.parametrize("status", UNFINISHED)
def test_a_tick_is_skipped_while_a_run_of_the_day_is_at_work(recorded, status, job):
    recorded.ran(clock(recorded).requests[0], status, job)
    found = clock(recorded, waiting=("2026-02-27",))  # which the run may have named, and then takes along
    assert found.keys == []
    assert "still at work" in found.reason


def test_a_failed_run_does_not_stop_the_next_tick(recorded):
    recorded.ran(clock(recorded).requests[0], FAILED, "onboard")
    assert clock(recorded).keys == [MONDAY]


@pytest.mark.parametrize("proved", [None, ()])
def test_a_source_of_an_archive_is_left_to_its_sensor(recorded, proved):
    found = clock(recorded, live=("dart",), proved=proved)
    assert found.keys == []
    assert "archive_days" in found.reason
    assert recorded.instance.get_dynamic_partitions("source_day") == []


# prove_<source> ------------------------------------------------------------------------------------------------------


def test_a_day_that_ended_is_proved_from_the_next_morning_on_and_rechecked(recorded):
    recorded.instance.add_dynamic_partitions("source_day", [FRIDAY, MONDAY])
    early, morning = (datetime(2026, 2, 28, hour, 25, tzinfo=NEW_YORK) for hour in (5, 6))
    assert clock(recorded, early, proved=()).reason == "Every ended day of edgar is proved complete."
    found = clock(recorded, morning, proved=())
    assert found.keys == [FRIDAY]
    assert found.requests[0].run_config["ops"] == {"filings": {"config": {"recheck": True}}}
    assert found.requests[0].tags == {"dagster/priority": "3", CATCH_UP: "edgar"}
    assert clock(recorded, morning, proved=("2026-02-27",)).keys == []


def test_a_weekday_over_which_the_machine_slept_is_registered_and_proved(recorded):
    recorded.instance.add_dynamic_partitions("source_day", ["edgar:2026-02-26", "dart:2026-02-20"])
    found = clock(recorded, proved=("2026-02-26",))
    assert found.keys == [FRIDAY]
    assert FRIDAY in recorded.instance.get_dynamic_partitions("source_day")


def test_a_day_of_which_filings_are_still_asked_for_is_not_tried_yet(recorded):
    recorded.instance.add_dynamic_partitions("source_day", [FRIDAY])
    found = clock(recorded, proved=(), waiting=("2026-02-27",))
    assert (found.keys, found.reason) == ([], "Filings that belong to 2026-02-27 are still asked for.")


def test_nothing_is_proved_before_anything_was_onboarded(recorded):
    assert clock(recorded, proved=()).keys == []


def test_a_proof_asks_for_each_day_once_an_hour_and_not_while_its_run_is_at_work(recorded):
    recorded.instance.add_dynamic_partitions("source_day", [FRIDAY])
    first = clock(recorded, proved=())
    assert clock(recorded, proved=()).run_keys == first.run_keys
    assert clock(recorded, datetime(2026, 3, 2, 17, 25, tzinfo=NEW_YORK), proved=()).run_keys != first.run_keys
    recorded.ran(first.requests[0], dg.DagsterRunStatus.STARTED, "prove_complete")
    assert "still at work" in clock(recorded, proved=()).reason


@pytest.mark.parametrize(
    ("registered", "proved", "days"),
    [
        ((), (), []),
        ((27,), (), [27]),
        ((24,), (25,), [24, 26, 27]),
        ((24, 28), (24, 25, 26, 27), [28]),  # a Saturday only if something is dated to it
    ],
)
def test_the_days_to_prove_are_the_ended_ones_since_the_first_that_is_known(registered, proved, days):
    def of(numbers) -> set[date]:
        return {date(2026, 2, number) for number in numbers}

    found = days_to_prove("edgar", AFTERNOON, registered=of(registered), proved=of(proved))
    assert found == sorted(of(days))


def test_days_long_ago_are_left_to_a_person():
    long_ago = date(2026, 3, 2) - timedelta(days=PROVE_DAYS + 1)
    assert days_to_prove("edgar", AFTERNOON, registered={long_ago}, proved=set()) == []


@pytest.mark.parametrize(
    ("source", "moment", "day"),
    [
        ("edgar", datetime(2026, 3, 3, 4, 59, tzinfo=timezone.utc), date(2026, 3, 2)),  # 23:59 in New York
        ("edgar", datetime(2026, 3, 3, 5, 0, tzinfo=timezone.utc), date(2026, 3, 3)),
        ("dart", datetime(2026, 3, 2, 14, 59, tzinfo=timezone.utc), date(2026, 3, 2)),  # 23:59 in Seoul
        ("dart", datetime(2026, 3, 2, 15, 0, tzinfo=timezone.utc), date(2026, 3, 3)),
        ("edgar", datetime(2026, 3, 9, 3, 59, tzinfo=timezone.utc), date(2026, 3, 8)),  # the clocks went forward
        ("edgar", datetime(2026, 3, 9, 4, 0, tzinfo=timezone.utc), date(2026, 3, 9)),
        ("edgar", datetime(2026, 11, 2, 4, 30, tzinfo=timezone.utc), date(2026, 11, 1)),  # and back
        ("edgar", datetime(2026, 11, 2, 5, 0, tzinfo=timezone.utc), date(2026, 11, 2)),
    ],
)
def test_the_day_is_the_regulators_own_across_midnight_and_when_the_clocks_change(source, moment, day):
    assert day_of(source, moment) == day


@pytest.mark.parametrize("day", [date(2026, 3, 2), date(2026, 3, 8), date(2026, 11, 1)])
def test_the_clock_ticks_every_10_minutes_by_day_and_every_30_by_night_also_when_the_clocks_change(day):
    schedule = onboarding_schedule("edgar")
    assert schedule.cron_schedule == list(TICKS)
    midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    ticks = []
    zone = str(schedule.execution_timezone)
    for tick in schedule_execution_time_iterator(midnight.timestamp(), schedule.cron_schedule, zone):
        local = tick.astimezone(NEW_YORK)
        if local.date() != day:
            break
        ticks.append(local)
    by_day = [tick for tick in ticks if 6 <= tick.hour <= 22]
    by_night = [tick for tick in ticks if tick not in by_day]
    assert len(by_day) == 17 * 6
    assert {tick.minute for tick in by_night} == {0, 30}
    assert len({tick.astimezone(timezone.utc) for tick in ticks}) == len(ticks)
    assert sorted({tick.hour for tick in by_night} | {2}) == [0, 1, 2, 3, 4, 5, 23]  # 02:xx may not exist


def test_each_source_ticks_in_its_own_zone():
    assert {source: onboarding_schedule(source).execution_timezone for source in ZONES} == {
        "edgar": "America/New_York",
        "dart": "Asia/Seoul",
    }


# approved_models -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path, database=f"sqlite:///{tmp_path}/ledger.db")


def approvals(recorded: Recorded, world: World) -> Tick:
    context = dg.build_sensor_context(instance=recorded.instance)
    return outcome(approved_models([world.project])(context, release_ledger=world.ledger))


def deployed(recorded: Recorded, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    recorded.run(status, "map_filings", request.tags)


def test_only_an_approved_model_is_put_live_and_only_once(recorded, world):
    assert approvals(recorded, world).reason == "No approved model waits to go live."
    candidate = world.candidate("first")
    assert approvals(recorded, world).run_keys == []
    world.decide(candidate)
    (request,) = approvals(recorded, world).requests
    assert request.asset_selection == [dg.AssetKey([world.project.name, "live_endpoint"])]
    deployed(recorded, request, dg.DagsterRunStatus.STARTED)
    assert approvals(recorded, world).run_keys == []


def test_killed_and_replayed_the_approval_sensor_asks_with_the_same_run_key(recorded, world):
    world.decide(world.candidate("first"))
    assert approvals(recorded, world).run_keys == approvals(recorded, world).run_keys != []


def test_a_rejected_model_is_not_asked_for(recorded, world):
    candidate = world.candidate("first")
    world.decide(candidate)
    world.decide(candidate, "reject")
    assert approvals(recorded, world).run_keys == []


def test_a_model_whose_deployment_fails_is_tried_under_new_run_keys_up_to_the_limit(recorded, world):
    world.decide(world.candidate("first"))
    run_keys = set()
    for _ in range(releases.MAX_ATTEMPTS):
        found = approvals(recorded, world)
        run_keys.update(found.run_keys)
        deployed(recorded, found.requests[0], FAILED)
    assert len(run_keys) == releases.MAX_ATTEMPTS
    assert approvals(recorded, world).run_keys == []


def test_a_new_approval_gives_a_model_whose_deployments_failed_new_attempts(recorded, world):
    candidate = world.candidate("first")
    world.decide(candidate)
    run_keys = []
    for _ in range(releases.MAX_ATTEMPTS):
        (request,) = approvals(recorded, world).requests
        run_keys.append(request.run_key)
        deployed(recorded, request, FAILED)
    world.qa(candidate, candidate.model_digest)  # a row that nobody decided is no reason to try again
    assert approvals(recorded, world).run_keys == []
    world.decide(candidate, reason="the cause is mended")
    (run_key,) = approvals(recorded, world).run_keys
    assert run_key not in run_keys


def test_a_tick_reads_the_ledger_once_whatever_the_number_of_projects(recorded, world):
    reads = []

    class Counted:
        def entries(self, project=None):
            reads.append(project)
            return world.ledger.entries(project)

    context = dg.build_sensor_context(instance=recorded.instance)
    approved_models([world.project] * 5)(context, release_ledger=Counted())
    waiting_candidates([world.project] * 5)(
        context, release_ledger=Counted(), object_store=world.objects, notifier=None
    )
    assert reads == [None, None]


def test_a_model_that_is_live_is_not_asked_for_again(recorded, world):
    candidate = world.candidate("first")
    world.decide(candidate)
    deploy_release(world.deployer(), actor="a test", pins={})
    assert current_release(world.records()).model_digest == candidate.model_digest
    assert approvals(recorded, world).run_keys == []


def test_the_jobs_that_ticks_start_are_those_of_the_code_location():
    assert (map_filings.name, onboard.name, WANTED) == ("map_filings", "onboard", "ledgerline/wanted")


# watch_onboarding ----------------------------------------------------------------------------------------------------


def watch(recorded: Recorded, moment: datetime, ledger: SqlFilingLedger) -> object:
    context = dg.build_schedule_context(instance=recorded.instance, scheduled_execution_time=moment)
    return onboarding_watch(context, filing_ledger=ledger)


def test_the_monitor_is_made_after_a_poll_by_one_run_and_by_none_without_news(recorded, tmp_path):
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    now = datetime.now(NEW_YORK)
    assert isinstance(watch(recorded, now, ledger), dg.RunRequest)
    recorded.run(dg.DagsterRunStatus.STARTED, "watch_onboarding", {})
    assert "is still at work" in outcome(watch(recorded, now, ledger)).reason
    (run,) = recorded.instance.get_runs()
    recorded.instance.report_run_failed(run)
    recorded.instance.report_runless_asset_event(dg.AssetMaterialization("onboarding_monitor"))
    assert outcome(watch(recorded, now, ledger)).reason == "No regulator was polled since the monitor was made."
    later = now + timedelta(minutes=5)
    ledger.ticked(Poll("edgar", later, later, connected=True, new=0, pages=1))
    assert isinstance(watch(recorded, later, ledger), dg.RunRequest)
