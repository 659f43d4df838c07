"""Failures that no retry can mend, as Dagster sees them."""

from __future__ import annotations

import dagster as dg

from platform_assets.filings import filings
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import RegulatorSet

KEY = "edgar:2025-03-14"


def test_filings_of_a_folder_that_is_not_there_are_not_tried_again(tmp_path):
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("source_day", [KEY])
        ran = dg.materialize(
            [filings],
            instance=instance,
            partition_key=KEY,
            resources={
                "regulators": RegulatorSet(ledger=ledger, archive=str(tmp_path / "nowhere")),
                "filing_ledger": ledger,
                "lake": DeltaLake(root=str(tmp_path / "lake")),
                "object_store": DirectoryObjectStore(root=str(tmp_path / "objects")),
            },
            raise_on_error=False,
        )
        assert not ran.success
        (failed,) = ran.get_step_failure_events()
        assert (
            "nowhere does not exist: give an existing folder" in failed.step_failure_data.user_failure_data.description
        )
        assert not [event for event in ran.all_events if event.is_step_up_for_retry]
        assert instance.get_run_by_id(ran.run_id).tags["dagster/max_retries"] == "0"
