"""The sensors around a release, ticked over fake ports: drift is told once, new rows are shown, days are mapped anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
import pytest

from jobs.releases import release_jobs, tidy_endpoints_job
from ledgerline.release.deploy import deploy_release
from ledgerline.release.model_platform import PlatformFailure
from platform_assets.provenance import DayProvenance
from platform_assets.releases import release_ledger_asset
from sensors.releases import mappings_after_release, release_drift, release_ledger_rows
from tests.unit.release_fakes import CONFIG, World


@dataclass
class Told:
    heard: list[tuple[str | None, str, str, str]] = field(default_factory=list)  # channel, title, text, key

    def notify(self, owner: str, title: str, text: str, key: str, channel: str | None = None) -> bool:
        self.heard.append((channel, title, text, key))
        return True


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path, CONFIG + 'slack: "#quant-models"\n', database=f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def released(world: World, name: str) -> None:
    world.decide(world.candidate(name))
    deploy_release(world.deployer(), actor="test", pins={})


def look(world: World, instance: dg.DagsterInstance, told: Told, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    sensor = release_drift([world.project])
    return sensor(
        context,
        object_store=world.objects,
        sagemaker=world.platform,
        release_ledger=world.ledger,
        notifier=told,
    )


def test_a_drift_is_reported_and_told_within_a_tick_once_and_its_end_too(world, instance):
    told = Told()
    released(world, "a")
    first = look(world, instance, told, None)
    assert [event.passed for event in first.asset_events] == [True]
    world.platform.endpoints["demo"] = dataclasses.replace(world.platform.endpoints["demo"], config_name="by-hand")
    second = look(world, instance, told, first.cursor)
    (evaluation,) = second.asset_events
    assert (evaluation.passed, evaluation.check_name) == (False, "drift_from_release")
    assert "serves config by-hand" in evaluation.description
    assert "python -m cli restore --project demo" in evaluation.description
    assert [channel for channel, *_ in told.heard] == ["#quant-models"]
    third = look(world, instance, told, second.cursor)
    assert (third.asset_events, len(told.heard)) == ([], 1)
    world.platform.endpoints["demo"] = dataclasses.replace(world.platform.endpoints["demo"], config_name="demo-1")
    assert [event.passed for event in look(world, instance, told, third.cursor).asset_events] == [True]


def test_a_platform_that_does_not_answer_changes_nothing_that_is_known(world, instance):
    from ledgerline.release.model_platform import PlatformFailure

    released(world, "a")
    first = look(world, instance, Told(), None)

    def silent(endpoint):
        raise PlatformFailure("throttled. Try again.")

    world.platform.describe_endpoint = silent
    again = look(world, instance, Told(), first.cursor)
    assert (again.asset_events, json.loads(again.cursor)) == ([], {"demo": ""})


def test_the_platform_is_not_asked_about_a_project_that_nobody_trained(world, instance):
    world.platform.describe_endpoint = None  # asking would fail
    assert look(world, instance, Told(), None).asset_events == []


def test_new_rows_of_the_ledger_are_shown_once(world, instance):
    def tick(cursor):
        return release_ledger_rows(
            dg.build_sensor_context(instance=instance, cursor=cursor), release_ledger=world.ledger
        )

    assert isinstance(tick(None), dg.SkipReason)
    released(world, "a")
    found = tick(None)
    assert [request.run_key for request in found.run_requests] == [f"row {found.cursor}"]
    assert isinstance(tick(found.cursor), dg.SkipReason)


def test_the_ledger_asset_shows_the_newest_rows_and_that_the_chain_holds(world, instance):
    released(world, "a")
    done = dg.materialize([release_ledger_asset], resources={"release_ledger": world.ledger}, instance=instance)
    (event,) = done.get_asset_materialization_events()
    number = world.ledger.head()[0]
    assert event.materialization.metadata["chain"].value == f"verified from row 1 to row {number}"
    assert event.materialization.metadata["newest rows"].records[0].data["row"] == number


def test_an_altered_row_fails_the_ledger_asset_by_its_number(world, instance):
    import sqlite3

    released(world, "a")
    path = world.ledger.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER release_ledger_no_update")
        connection.execute("UPDATE release_ledger SET record = replace(record, 'Kim', 'Eve') WHERE kind = 'approval'")
    done = dg.materialize(
        [release_ledger_asset], resources={"release_ledger": world.ledger}, instance=instance, raise_on_error=False
    )
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "row 4 of the release ledger is not what was written" in str(failure.step_failure_data.error)


def test_a_new_release_of_the_ranker_has_the_recent_days_mapped_newest_first_and_is_answered_once(
    world, instance, monkeypatch
):
    monkeypatch.setattr("sensors.releases.RANKER", "demo")
    days = [f"edgar:2026-03-{day:02d}" for day in range(1, 21)] + ["dart:2026-03-19"]
    instance.add_dynamic_partitions("source_day", days)
    for key in days:
        record = DayProvenance(rows=1, digest="f", input_digest="1", filings_digest="f")
        instance.report_runless_asset_event(
            dg.AssetMaterialization("filings", partition=key, metadata=record.metadata())
        )

    def tick(cursor):
        return mappings_after_release(
            dg.build_sensor_context(instance=instance, cursor=cursor), release_ledger=world.ledger
        )

    assert "No model of" in tick(None).skip_message
    released(world, "a")
    found = tick(None)
    wanted = [request.partition_key for request in found.run_requests]
    assert wanted[:3] == ["edgar:2026-03-20", "dart:2026-03-19", "edgar:2026-03-19"]
    assert (len(wanted), wanted[-1]) == (15, "edgar:2026-03-07")
    assert isinstance(tick(found.cursor), dg.SkipReason)
    assert [one.run_key for one in tick(None).run_requests] == [one.run_key for one in found.run_requests]
    released(world, "b")
    assert len(tick(found.cursor).run_requests) == 15


def run_job(world: World, job: dg.JobDefinition, run_config=None) -> dg.ExecuteInProcessResult:
    resources = {
        "object_store": world.objects,
        "sagemaker": world.platform,
        "release_ledger": world.ledger,
    }
    defs = dg.Definitions(jobs=[job], resources=resources)
    return defs.resolve_job_def(job.name).execute_in_process(run_config=run_config or {}, raise_on_error=False)


def test_the_restore_job_puts_the_release_back(world):
    released(world, "a")
    before = world.platform.serves()
    world.platform.endpoints.clear()
    (job,) = [one for one in release_jobs([world.project]) if one.name == "restore_release"]
    config = {"project": "demo", "approver": "Kim", "reason": "deleted by hand"}
    assert run_job(world, job, {"ops": {"restore_endpoint": {"config": config}}}).success
    assert world.platform.serves() == before


def test_the_withdraw_job_takes_an_approval_back(world):
    released(world, "a")
    (job,) = [one for one in release_jobs([world.project]) if one.name == "withdraw"]
    config = {"project": "demo", "model_digest": world.platform.serves()[:12], "approver": "Kim", "reason": "wrong"}
    assert run_job(world, job, {"ops": {"withdraw_model": {"config": config}}}).success
    assert [package.approval for package in world.platform.packages.values()] == ["Rejected"]
    assert world.records()[-1].decision == "withdraw"


def throttled(endpoint: str, since: object) -> int:
    raise PlatformFailure("the requests cannot be counted. Try again.")


def test_one_projects_trouble_does_not_keep_the_other_steps_from_deleting(world):
    world.write_config(CONFIG + "serving: {qa_hours: 1, idle_hours: 1}\n")
    released(world, "a")
    for endpoint in ("demo", "demo-qa"):
        if endpoint not in world.platform.endpoints:
            world.platform.deploy(endpoint, world.records()[1].model_uri)
        state = world.platform.endpoints[endpoint]
        world.platform.endpoints[endpoint] = dataclasses.replace(state, changed_at=world.now)
    world.platform.invocations = throttled
    result = run_job(world, tidy_endpoints_job([world.project]))
    assert not result.success
    assert set(world.platform.endpoints) == {"demo"}
