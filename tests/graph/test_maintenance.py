"""The job that takes care of the lake, on real tables: what it folds, what it keeps, what a person reads of it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import ValidationError

from jobs.maintenance import MaintenanceConfig, maintain_lake_job, maintain_lake_schedule
from ledgerline.projects.config import load_projects
from resources.environment import ROOT
from resources.lake import DeltaLake

NIGHT = datetime(2026, 3, 3, 7, 15, tzinfo=timezone.utc)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(root=str(tmp_path / "lake"))


@pytest.fixture
def job() -> dg.JobDefinition:
    return maintain_lake_job(load_projects(ROOT / "model_projects"))


def publish(lake: DeltaLake, table: str, merges: int) -> None:
    for number in range(merges):
        rows = pa.table({"source": ["edgar"], "day": ["2026-03-02"], "filing_id": [str(number)]})
        lake.merge(table, rows, keys=("source", "filing_id"))


def test_a_night_without_a_table_is_skipped_and_says_so(lake: DeltaLake, job: dg.JobDefinition) -> None:
    schedule = maintain_lake_schedule(job)
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=NIGHT, resources={"lake": lake})
        assert schedule.evaluate_tick(context).skip_message == "The lake has no table yet."
        publish(lake, "filings", 1)
        assert len(schedule.evaluate_tick(context).run_requests) == 1


def test_a_run_folds_crowded_days_and_says_what_it_did_to_each_table(lake: DeltaLake, job: dg.JobDefinition) -> None:
    publish(lake, "filings", 6)
    publish(lake, "labelled_candidates", 2)
    before = {table: lake.read(table) for table in lake.tables()}
    result = job.execute_in_process(resources={"lake": lake})
    metadata = next(event for event in result.all_events if event.is_successful_output).step_output_data.metadata
    rows = {record.data["table"]: record.data for record in metadata["tables"].records}
    assert (rows["filings"]["files before"], rows["filings"]["files after"]) == (6, 1)
    assert (rows["labelled_candidates"]["files before"], rows["labelled_candidates"]["files after"]) == (2, 2)
    assert (rows["filings"]["kept for days"], rows["labelled_candidates"]["kept for days"]) == (1, 365)
    assert all(lake.read(table).equals(rows) for table, rows in before.items())


def test_a_retention_under_a_day_is_refused() -> None:
    with pytest.raises(ValidationError, match="retention_days"):
        MaintenanceConfig(retention_days=0)
