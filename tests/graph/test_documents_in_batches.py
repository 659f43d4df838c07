"""`documents` of the sample archive: what batches of other processes make is what this process makes, to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.definitions import build_defs
from platform_assets.partitions import partition_key
from platform_assets.provenance import DayProvenance
from resources.compute import SubprocessCompute
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.sample_archive import SampleRegulators

DOCUMENTS = dg.AssetKey("documents")


class Sample:
    """The filings of the sample archive, onboarded, and an instance that knows its days."""

    def __init__(self, folder: Path) -> None:
        ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        regulators = SampleRegulators(ledger=ledger, archive=str(folder / "archive"))
        self.lake = DeltaLake(root=str(folder / "lake"))
        self.objects = DirectoryObjectStore(root=str(folder / "objects"), durable=False)
        self._resources = {
            "filing_ledger": ledger,
            "lake": self.lake,
            "object_store": self.objects,
            "regulators": regulators,
        }
        self.instance = dg.DagsterInstance.ephemeral()
        days = [(day, source) for source in regulators.sources() for day in regulators.of(source).days()]
        self.keys = [partition_key(source, day) for day, source in sorted(days)]
        self.instance.add_dynamic_partitions("source_day", self.keys)

    def run(self, job: str, asset: str, compute: SubprocessCompute, *keys: str) -> None:
        """One run of an asset over the partition, or over the range from the first to the last."""
        ends = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        defs = build_defs("local", resource_overrides={**self._resources, "compute": compute})
        result = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset)],
            partition_key=keys[0] if len(keys) == 1 else None,
            tags=ends if len(keys) > 1 else {},
        )
        assert result.success

    def newest(self, key: str) -> dict[str, Any]:
        """The metadata of the newest materialization of `documents` of a day."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=DOCUMENTS, asset_partitions=[key]), limit=1
        ).records
        assert records[0].asset_materialization is not None
        return dict(records[0].asset_materialization.metadata)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("sample"))


def test_a_range_in_batches_is_what_its_days_are_in_process_and_makes_no_new_version(sample: Sample) -> None:
    here = SubprocessCompute()
    sample.run("onboard", "filings", here, *sample.keys)
    for key in sample.keys:
        sample.run("map_filings", "documents", here, key)
    records = {key: DayProvenance.latest(sample.instance, DOCUMENTS, key) for key in sample.keys}
    version = sample.lake.version("documents")
    assert all(record is not None and record.rows for record in records.values())

    sample.run("map_filings", "documents", SubprocessCompute(batch_bytes=300_000), *sample.keys)
    assert {key: DayProvenance.latest(sample.instance, DOCUMENTS, key) for key in sample.keys} == records
    assert sample.lake.version("documents") == version
    kept = {row.data["batch"]: row.data for key in sample.keys for row in sample.newest(key)["batches"].value.records}
    assert len(kept) > 1
    assert {one["ended"] for one in kept.values()} == {"done"}
    assert list(sample.objects.list(sample.objects.uri("batches"))) == []
    (run,) = sample.instance.get_run_records(limit=1)
    said = [entry.message for entry in sample.instance.all_logs(run.dagster_run.run_id)]
    assert any(f"{len(sample.keys) - 1} of {len(sample.keys)} days, {len(kept)} batches" in line for line in said)


def test_the_asset_claims_the_pool_of_processors() -> None:
    (assets,) = [one for one in build_defs("local").assets or [] if DOCUMENTS in getattr(one, "keys", ())]
    assert assets.op.pool == "compute"  # type: ignore[union-attr]
