"""The monitor over an onboarded archive, its clock, and the operator jobs on filings, run with Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from jobs.filings import next_tick
from jobs.monitoring import AT_LEAST_EVERY, refresh_due
from jobs.schedules import TICKS
from ledgerline.filings.ports import Refusal
from ledgerline.filings.times import ZONES
from platform_assets.definitions import build_defs
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import RegulatorSet
from tests.servers.small_archive import write_small_archive

EDGAR, DART = "edgar:2025-03-14", "dart:2025-03-14"
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
PUBLISHED, TRUNCATED, NOT_SERVED = (f"0000320193-25-{number:06d}" for number in (1, 8, 5))


class Platform:
    """The code location over ports in one folder, with one day of each source onboarded."""

    def __init__(self, folder: Path) -> None:
        self.ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        self.instance = dg.DagsterInstance.ephemeral()
        self.instance.add_dynamic_partitions("source_day", [EDGAR, DART])
        self.defs = build_defs(
            "local",
            resource_overrides={
                "filing_ledger": self.ledger,
                "lake": DeltaLake(root=str(folder / "lake")),
                "object_store": DirectoryObjectStore(root=str(folder / "objects")),
                "regulators": RegulatorSet(ledger=self.ledger, archive=str(write_small_archive(folder / "archive"))),
            },
        )
        for key in (EDGAR, DART):
            self.onboard(key)

    def onboard(self, key: str) -> None:
        job = self.defs.resolve_job_def("onboard")
        assert job.execute_in_process(instance=self.instance, partition_key=key).success

    def monitor(self, **config: Any) -> dict[str, Any]:
        """The metadata of a new materialization; tables as lists of records."""
        result = self.defs.resolve_job_def("watch_onboarding").execute_in_process(
            instance=self.instance, run_config={"ops": {"onboarding_monitor": {"config": config}}}
        )
        (made,) = result.asset_materializations_for_node("onboarding_monitor")
        return {
            name: [record.data for record in value.records] if isinstance(value, dg.TableMetadataValue) else value.value
            for name, value in made.metadata.items()
        }

    def operate(self, job: str, op: str, config: dict[str, Any]) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
        """A run of an operator job and the metadata of its op's output ({} where it failed)."""
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False
        )
        outputs = [event for event in result.all_events if event.is_successful_output]
        return result, dict(outputs[0].event_specific_data.metadata) if outputs else {}


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    with made.instance:
        yield made


def test_the_monitor_shows_what_became_of_every_filing(platform):
    shown = platform.monitor()
    (edgar,) = [day for day in shown["days"] if day["day"] == EDGAR]
    assert (edgar["listed"], edgar["waiting"], edgar["published"], edgar["refused"], edgar["complete"]) == (
        7, "1 discovered", 5, "1 truncated", "no",
    )  # fmt: skip
    assert {one["source"]: one["state"].split()[0] for one in shown["now"]} == {"edgar": "read", "dart": "read"}
    (refused,) = shown["newest refused"]
    assert (refused["day"], refused["filing"]) == (EDGAR, TRUNCATED)
    assert refused["reason"].startswith("truncated: ")
    assert "reprocess_filings" in refused["remedy"]
    assert [(row["source"], row["reason"], row["filings"]) for row in shown["refused by reason"]] == [
        ("edgar", "truncated", 1)
    ]
    why = {row["day"]: row["why"] for row in shown["completeness"]}
    assert why[EDGAR] == "1 filings are neither published nor refused"
    assert (shown["edgar waiting"], shown["edgar refused"], shown["dart banned"]) == (1, 1, 0)
    assert shown["edgar available to published p95 (s)"] > 0
    assert shown["edgar delays"].startswith("![edgar: delays by day](data:image/png;base64,")
    assert (shown["late"], shown["set aside"]) == ([], [])


def test_what_is_set_aside_or_late_is_named_with_why_and_the_remedy(platform):
    platform.ledger.refused_many("edgar", [Refusal(NOT_SERVED, "not_served", "404 (tried 14 times)")])
    platform.ledger.reopened("edgar", [PUBLISHED])
    with platform.ledger._write() as connection:  # seen two hours ago
        connection.exec_driver_sql("UPDATE filings SET first_seen_at = '2025-03-14 16:00:00'")
    shown = platform.monitor()
    (aside,) = shown["set aside"]
    assert (aside["filing"], aside["reason"]) == (NOT_SERVED, "not_served: 404 (tried 14 times)")
    assert "`reprocess_filings` asks for it again" in aside["remedy"]
    late = {row["filing"]: row for row in shown["late"]}
    assert (late[PUBLISHED]["why"], late[PUBLISHED]["due since"]) == (
        "no run has taken it up yet",
        "2025-03-14 16:00:00 UTC",
    )
    assert shown["edgar set aside"] == 1


def test_a_ban_is_shown_with_its_end_and_reason(platform):
    platform.ledger.ban("dart", datetime.now(timezone.utc) + timedelta(hours=1), "020: the day's requests are used up")
    (dart,) = [one for one in platform.monitor()["now"] if one["source"] == "dart"]
    assert dart["state"].startswith("banned until ")
    assert dart["state"].endswith("UTC: 020: the day's requests are used up")


def test_the_days_that_are_looked_at_can_be_chosen(platform):
    assert {row["day"] for row in platform.monitor(days=1)["days"]} >= {DART}
    assert len(platform.monitor(days=1)["days"]) == 2
    assert platform.monitor(until="2025-03-13")["days"] == []


def test_a_day_that_is_none_is_refused_and_not_tried_again(platform):
    result = platform.defs.resolve_job_def("watch_onboarding").execute_in_process(
        instance=platform.instance,
        run_config={"ops": {"onboarding_monitor": {"config": {"until": "yesterday"}}}},
        raise_on_error=False,
    )
    assert not result.success
    assert platform.instance.get_run_by_id(result.run_id).tags["dagster/max_retries"] == "0"


def test_a_ledger_without_filings_has_an_empty_monitor(tmp_path):
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    job = build_defs("local", resource_overrides={"filing_ledger": ledger}).resolve_job_def("watch_onboarding")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success


# the clock -----------------------------------------------------------------------------------------------------------


def test_the_monitor_is_made_after_polls_and_else_every_hour():
    assert refresh_due(NOON, None, [])
    assert refresh_due(NOON, NOON - timedelta(minutes=10), [NOON - timedelta(minutes=1)])
    assert not refresh_due(NOON, NOON - timedelta(minutes=10), [NOON - timedelta(minutes=11)])
    assert refresh_due(NOON, NOON - AT_LEAST_EVERY, [])


@pytest.mark.parametrize("source", ["edgar", "dart"])
def test_the_next_tick_is_the_one_that_the_schedule_will_make(source):
    now = datetime(2025, 3, 8, 4, 57, 31, tzinfo=timezone.utc)
    ticks = schedule_execution_time_iterator(now.timestamp(), list(TICKS), ZONES[source].key)
    for _ in range(200):  # over a night, and over the change to daylight time
        upcoming = next_tick(source, now)
        assert upcoming == next(moment for moment in ticks if moment > now)
        now = upcoming


# operator jobs -------------------------------------------------------------------------------------------------------


def test_where_a_filing_is_is_answered_in_the_run(platform):
    result, said = platform.operate("where_is_filing", "look_up_filing", {"filing": TRUNCATED.replace("-", "")})
    assert result.success
    assert f"EDGAR filing {TRUNCATED} is refused as truncated" in said["answer"].value
    assert said["form"].value == "8-K"


def test_an_unknown_filing_is_an_answer_and_what_is_no_id_is_a_failure(platform):
    result, said = platform.operate("where_is_filing", "look_up_filing", {"filing": "20250314999999"})
    assert result.success
    assert "2025-03-14 is not proved complete" in said["answer"].value
    result, _ = platform.operate("where_is_filing", "look_up_filing", {"filing": "AAPL"})
    (failure,) = result.get_step_failure_events()
    assert "'AAPL' is no id of a filing" in failure.step_failure_data.user_failure_data.description


def test_filings_that_were_refused_are_taken_up_again_and_onboarded_by_the_next_run(platform, tmp_path):
    config = {"reasons": ["truncated"], "source": "edgar"}
    _, said = platform.operate("reprocess_filings", "take_up_again", {**config, "dry_run": True})
    assert (said["filings"].value, said["dry run"].value) == (1, True)
    assert platform.ledger.row("edgar", TRUNCATED).state == "refused"
    _, said = platform.operate("reprocess_filings", "take_up_again", {**config, "fetch_again": True})
    (day,) = [record.data for record in said["by day and reason"].value.records]
    assert day == {"source": "edgar", "day": "2025-03-14", "why": "truncated", "filings": 1}
    assert "`archive_days`" in said["onboarded by"].value
    assert platform.ledger.row("edgar", TRUNCATED).state == "discovered"
    (cut,) = (tmp_path / "archive").glob(f"edgar/*/{TRUNCATED}.txt")
    whole = (tmp_path / "archive" / "edgar" / "full" / f"{PUBLISHED}.txt").read_bytes()
    cut.write_bytes(whole.replace(PUBLISHED.encode(), TRUNCATED.encode()))
    platform.onboard(EDGAR)
    row = platform.ledger.row("edgar", TRUNCATED)
    assert (row.state, row.version) == ("published", 2)


def test_a_selection_of_nothing_or_of_an_unknown_source_is_refused(platform):
    for config, message in (
        ({}, "nothing is selected"),
        ({"reasons": ["poison"], "source": "sec"}, "'sec' is no source: give edgar or dart"),
        ({"reasons": ["poison"], "since": "1.3."}, "'1.3.' is no day"),
    ):
        result, _ = platform.operate("reprocess_filings", "take_up_again", config)
        (failure,) = result.get_step_failure_events()
        assert message in failure.step_failure_data.user_failure_data.description
