"""A day is claimed complete only when the regulator's index of it is matched, whichever way the claim is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ledgerline.filings.completeness import still_asked_for
from ledgerline.filings.times import EASTERN
from platform_assets.definitions import build_defs
from platform_assets.provenance import DayProvenance
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import EdgarHttp
from tests.servers.clock import VirtualClock
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import a_day_of_filings

ASSETS = ("filings", "day_index", "complete_days")


@dataclass
class OneRegulator:
    """EDGAR over HTTP by the clock of the test."""

    regulator: EdgarHttp

    def sources(self) -> list[str]:
        return ["edgar"]

    def live_sources(self) -> list[str]:
        return ["edgar"]

    def of(self, source: str) -> EdgarHttp:
        return self.regulator


@dataclass
class Edgar:
    server: EdgarServer
    clock: VirtualClock
    day: date
    ledger: SqlFilingLedger
    lake: DeltaLake
    defs: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, *assets: str, recheck: bool = False) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def("prove_complete").execute_in_process(
            instance=self.instance,
            partition_key=f"edgar:{self.day}",
            asset_selection=[dg.AssetKey(asset) for asset in assets or ASSETS],
            run_config={"ops": {"filings": {"config": {"recheck": recheck}}}}
            if "filings" in (assets or ASSETS)
            else None,
            raise_on_error=False,
        )

    def claims(self) -> list[date]:
        kept = self.lake.read("complete_days") if self.lake.version("complete_days") is not None else None
        in_lake = [date.fromisoformat(day) for day in kept["day"].to_pylist()] if kept is not None else []
        assert [claim.day for claim in self.ledger.completions("edgar")] == in_lake
        return in_lake


@pytest.fixture
def edgar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edgar]:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=40)
    clock = VirtualClock(datetime(day.year, day.month, day.day, 21, 0, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    lake = DeltaLake(root=str(tmp_path / "lake"))
    monkeypatch.setattr("platform_assets.filings._utc_now", clock)
    monkeypatch.setattr("platform_assets.completeness._utc_now", clock)
    with EdgarServer(filings, clock=clock, letters=4) as server, dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("source_day", [f"edgar:{day}"])
        regulator = EdgarHttp(
            "Ledgerline Tests tests@example.com", lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep
        )
        resources = {
            "filing_ledger": ledger,
            "lake": lake,
            "object_store": DirectoryObjectStore(root=str(tmp_path / "objects")),
            "regulators": OneRegulator(regulator),
        }
        defs = build_defs("local", resource_overrides=resources)
        yield Edgar(server, clock, day, ledger, lake, defs, instance)


def the_next_morning(edgar: Edgar) -> None:
    edgar.clock.advance_to(
        datetime.combine(edgar.day + timedelta(days=1), datetime.min.time(), EASTERN).replace(hour=7)
    )


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "day_is_complete"]
    return check


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def test_a_day_whose_index_is_not_there_yet_is_not_complete_and_its_claim_is_blocked(edgar: Edgar) -> None:
    result = edgar.run()
    assert not check_of(result).passed
    assert "has not written its list" in str(check_of(result).description)
    assert materialized(result) == {"filings", "day_index"}
    assert edgar.claims() == []


def test_an_index_that_may_still_grow_proves_nothing(edgar: Edgar) -> None:
    edgar.clock.advance_to(edgar.clock() + timedelta(hours=2))  # 23:00 Eastern
    result = edgar.run()
    assert "may still add" in str(check_of(result).description)
    assert edgar.claims() == []


def test_the_next_morning_the_day_is_proved_once(edgar: Edgar) -> None:
    the_next_morning(edgar)
    result = edgar.run()
    assert result.success, check_of(result).description
    assert edgar.claims() == [edgar.day]
    versions = [edgar.lake.version(table) for table in ("filings", "complete_days")]
    (claim,) = edgar.ledger.completions("edgar")
    assert claim.filings == len(edgar.server.index_truth(edgar.day))
    edgar.clock.sleep(3600)
    assert edgar.run().success
    assert [edgar.lake.version(table) for table in ("filings", "complete_days")] == versions
    assert edgar.ledger.completions("edgar") == [claim]


def test_a_listed_filing_that_is_not_served_is_named_and_blocks_the_claim(edgar: Edgar) -> None:
    the_next_morning(edgar)
    listed = sorted(edgar.server.index_truth(edgar.day))[0]
    edgar.server.misbehave("not_yet", where=listed, times=None)
    result = edgar.run()
    assert not result.success
    assert listed in str(check_of(result).description)
    assert listed in str(check_of(result).metadata["lacking"].value)
    assert edgar.claims() == []


def test_the_claim_alone_judges_by_itself(edgar: Edgar) -> None:
    the_next_morning(edgar)
    edgar.server.misbehave("not_yet", where=sorted(edgar.server.index_truth(edgar.day))[0], times=None)
    edgar.run("filings", "day_index")
    result = edgar.run("complete_days")  # no check stands in the way of this run
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert "neither published nor refused" in str(failure.user_failure_data.description)
    assert edgar.claims() == []


def letters(edgar: Edgar) -> dict[str, date]:
    """What the index of the day names and is dated weeks before it."""
    listed = edgar.server.index_truth(edgar.day).values()
    return {one.accession: one.filed for one in listed if one.filed != edgar.day}


def test_filings_of_other_days_that_the_index_names_are_onboarded_before_the_first_proof(edgar: Edgar) -> None:
    the_next_morning(edgar)
    result = edgar.run()
    assert result.success, check_of(result).description
    assert letters(edgar)
    rows = {row["filing_id"]: row for row in edgar.lake.read("filings").to_pylist()}
    assert {one: rows[one]["day"] for one in letters(edgar)} == {
        one: day.isoformat() for one, day in letters(edgar).items()
    }
    named = {f"edgar:{day}" for day in letters(edgar).values()}
    events = result.get_asset_materialization_events()
    told = [event.partition for event in events if event.asset_key == dg.AssetKey("filings")]
    assert named | {f"edgar:{edgar.day}"} <= set(told)
    assert len(told) == len(set(told))
    assert named <= set(edgar.instance.get_dynamic_partitions("source_day"))
    assert DayProvenance.latest(edgar.instance, dg.AssetKey("filings"), min(named)) is not None


def test_a_proof_waits_for_filings_of_other_days_that_its_index_names(edgar: Edgar) -> None:
    the_next_morning(edgar)
    ports = ("edgar", edgar.ledger, edgar.lake, edgar.day)
    assert not still_asked_for(*ports)
    edgar.server.misbehave("not_yet", where=min(letters(edgar)).replace("-", ""), times=1)
    assert not edgar.run().success
    assert not edgar.ledger.pending("edgar", edgar.day)
    assert still_asked_for(*ports)
    edgar.clock.sleep(3600)
    assert edgar.defs.resolve_job_def("onboard").execute_in_process(
        instance=edgar.instance, partition_key=f"edgar:{letters(edgar)[min(letters(edgar))]}"
    )
    assert not still_asked_for(*ports)
    assert edgar.run().success


def test_a_ban_while_other_days_are_taken_up_leaves_them_to_the_next_tick(edgar: Edgar) -> None:
    edgar.clock.advance_to(edgar.clock() + timedelta(hours=2))
    edgar.server.misbehave("ban", where=min(letters(edgar)).replace("-", ""))
    assert edgar.run("filings").success
    assert min(letters(edgar).values()) in edgar.ledger.pending_days("edgar")


def test_a_claim_before_the_index_was_read_names_the_asset_to_materialize(edgar: Edgar) -> None:
    result = edgar.run("complete_days")
    assert not result.success
    assert edgar.claims() == []


def test_bytes_that_changed_since_are_a_new_version_after_the_proving_run(edgar: Edgar) -> None:
    edgar.run("filings")
    changed = sorted(edgar.server.truth(edgar.day))[0]
    edgar.server.change_body(changed, edgar.clock() + timedelta(hours=1))
    the_next_morning(edgar)
    assert edgar.run(recheck=True).success
    rows = {row["filing_id"]: row for row in edgar.lake.read("filings").to_pylist()}
    assert rows[changed]["sha256"] == edgar.server.truth(edgar.day)[changed].sha256
    assert rows[changed]["version"] == 2
    assert {row["version"] for row in rows.values()} == {1, 2}
