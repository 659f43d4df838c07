"""A day from its filings to its candidates, materialized with Dagster over the real ports in a folder of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError, PermanentFailure
from ledgerline.filings import onboarding
from ledgerline.names.facts import Facts, facts_from_rows
from platform_assets.definitions import build_defs
from platform_assets.partitions import parse_partition_key, partition_key
from platform_assets.provenance import DayProvenance
from resources.candidate_index import TantivyCandidateIndex
from resources.filing_ledger import SqlFilingLedger
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import RegulatorSet
from tests.servers.small_archive import APPLE, DAY, Made, feed_page, submission, write_small_archive

EDGAR, NEXT, DART = "edgar:2025-03-14", "edgar:2025-03-17", "dart:2025-03-14"
KEYS = [DART, EDGAR, NEXT]
OF_A_DAY = ("documents", "clusters", "mentions", "candidate_sets")
BUILT_ONCE = ("listings", "knowledge_graph", "candidate_index")


def two_companies() -> Facts:
    apple, samsung = "cik:0000320193", "dart:00126380"
    return facts_from_rows(
        {
            "companies": [
                {"company_id": apple, "name": "Apple Inc.", "country": "US", "listed": True, "size_rank": 1},
                {"company_id": samsung, "name": "삼성전자", "country": "KR", "listed": True, "size_rank": 2},
            ],
            "names": [
                {"company_id": apple, "name": "Apple Inc.", "kind": "name", "language": "en", "source": "test"},
                {"company_id": samsung, "name": "삼성전자", "kind": "name", "language": "ko", "source": "test"},
            ],
            "securities": [
                {"company_id": apple, "ticker": "AAPL", "exchange": "Nasdaq", "source": "test"},
                {"company_id": samsung, "ticker": "005930", "exchange": "KRX", "source": "test"},
            ],
        }
    )


class TwoCompanies(dg.ConfigurableResource):
    """A source of listings that knows two companies."""

    def load(self, report: Callable[[str], None], known: Facts | None = None) -> Facts:
        return two_companies()


class Days:
    """The platform over ports in one folder, an archive of three small days, and an instance of Dagster."""

    def __init__(self, folder: Path) -> None:
        self.archive = write_small_archive(folder / "archive")
        for body in (self.archive / "edgar").glob("*/*.txt"):  # text that names a company
            body.write_bytes(body.read_bytes().replace(b"This is generated", b"Apple Inc. says: this is generated"))
        self.ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        self.lake = DeltaLake(root=str(folder / "lake"))
        self.objects = DirectoryObjectStore(root=str(folder / "objects"))
        self.instance = dg.DagsterInstance.ephemeral()
        self.instance.add_dynamic_partitions("source_day", KEYS)
        self.defs = build_defs(
            "local",
            resource_overrides={
                "filing_ledger": self.ledger,
                "lake": self.lake,
                "object_store": self.objects,
                "regulators": RegulatorSet(ledger=self.ledger, archive=str(self.archive)),
                "listings_source": TwoCompanies(),
                "candidate_index_store": TantivyCandidateIndex(root=str(folder / "index")),
                "knowledge_graph_store": SqliteKnowledgeGraph(root=str(folder / "graph")),
            },
        )

    def run(self, job: str, *assets: str, key: str = "", last: str = "") -> dg.ExecuteInProcessResult:
        """Assets of a job for one partition, or for the range from `key` to `last`."""
        ends = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": last} if last else {}
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            partition_key=key if key and not last else None,
            tags=ends,
        )
        assert result.success
        return result

    def build(self) -> None:
        built = {dg.AssetKey(asset) for asset in BUILT_ONCE}
        job = self.defs.resolve_job_def("refresh_listings")
        # Without their checks: one of them tries every port, the embedded SageMaker too.
        job = job.get_subset(asset_selection=built, asset_check_selection=set())
        assert job.execute_in_process(instance=self.instance).success

    def day(self, key: str, last: str = "") -> None:
        self.run("onboard", "filings", key=key, last=last)
        self.run("map_filings", *OF_A_DAY, key=key, last=last)

    def record(self, asset: str, key: str) -> DayProvenance:
        found = DayProvenance.latest(self.instance, dg.AssetKey(asset), key)
        assert found is not None, f"{asset} of {key} was not materialized"
        return found

    def rows(self, table: str, key: str) -> pa.Table:
        source, day = parse_partition_key(key)
        return self.lake.read(table, where={"source": source, "day": day.isoformat()})

    def versions(self) -> dict[str, int | None]:
        return {table: self.lake.version(table) for table in ("filings", *OF_A_DAY)}


@pytest.fixture
def days(tmp_path: Path) -> Iterator[Days]:
    made = Days(tmp_path)
    with made.instance:
        yield made


def test_a_day_goes_from_filings_to_candidates_and_a_second_time_adds_no_version(days: Days) -> None:
    days.build()
    days.day(EDGAR)
    counts = {asset: days.record(asset, EDGAR).rows for asset in ("filings", *OF_A_DAY)}
    assert all(counts.values()), counts
    assert counts["documents"] == counts["clusters"]
    assert {row["surface"] for row in days.rows("mentions", EDGAR).to_pylist()} == {"Apple Inc."}
    assert {row["company_id"] for row in days.rows("candidate_sets", EDGAR).to_pylist()} == {"cik:0000320193"}
    versions, records = days.versions(), [days.record(asset, EDGAR) for asset in ("filings", *OF_A_DAY)]
    days.day(EDGAR)
    assert days.versions() == versions
    assert [days.record(asset, EDGAR) for asset in ("filings", *OF_A_DAY)] == records


def test_a_range_of_days_is_one_run_and_gives_what_each_day_alone_gives(days: Days, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Days(tmp_path / "alone")
    for one in (days, alone):
        one.build()
    days.day(DART, last=NEXT)
    assert days.instance.get_runs_count() == 3  # listings, filings, what follows
    for key in sorted(KEYS, key=lambda key: key.partition(":")[2]):
        alone.day(key)
        for asset in ("filings", "documents", "clusters", "mentions", "candidate_sets"):
            assert days.record(asset, key) == alone.record(asset, key), (asset, key)
    assert days.rows("documents", DART).num_rows == 4  # two filings with an attachment each
    assert days.rows("filings", NEXT).num_rows == 1


def test_each_day_records_its_rows_and_what_they_were_made_from(days: Days) -> None:
    days.build()
    days.day(EDGAR)
    filings = days.record("filings", EDGAR)
    assert filings.digest == filings.filings_digest
    for asset, upstream in (("documents", "filings"), ("clusters", "documents"), ("mentions", "documents")):
        record = days.record(asset, EDGAR)
        assert record.input_digest == days.record(upstream, EDGAR).digest
        assert record.filings_digest == filings.digest
        assert record.rows == days.rows(asset, EDGAR).num_rows
    assert days.record("candidate_sets", EDGAR).input_digest.startswith(days.record("mentions", EDGAR).digest + "+")


def test_a_refused_filing_is_a_row_with_its_reason_and_the_day_goes_on(days: Days) -> None:
    days.run("onboard", "filings", key=EDGAR)
    rows = {row["filing_id"]: row for row in days.rows("filings", EDGAR).to_pylist()}
    refused = rows["0000320193-25-000008"]
    assert (refused["state"], refused["reason"]) == ("refused", "truncated")
    assert days.objects.get(refused["uri"])
    assert [row["state"] for row in rows.values()].count("published") >= 4
    days.run("map_filings", "documents", key=EDGAR)
    assert "0000320193-25-000008" not in set(days.rows("documents", EDGAR)["filing_id"].to_pylist())


def test_a_filing_that_is_listed_and_not_served_yet_is_a_warning_of_the_check(days: Days) -> None:
    result = days.run("onboard", "filings", key=EDGAR)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    waits = checks["no_filing_waits"]
    assert (waits.passed, waits.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert waits.metadata["waiting"].value == 1
    assert checks["onboarding_is_on_time"].description == "no source is read over HTTP"


def test_a_day_that_grew_is_made_again_and_other_days_are_left_alone(days: Days) -> None:
    days.build()
    days.day(DART, last=NEXT)
    before = {key: days.record("documents", key) for key in KEYS}
    late = Made("0000320193-25-000009", "8-K", (APPLE,), day=date(2025, 3, 17))
    (days.archive / "edgar/full" / f"{late.accession}.txt").write_bytes(submission(late))
    effect = Made("0000320193-25-000007", "EFFECT", (APPLE,), day=late.day)
    (days.archive / "edgar/feeds/20250317/page_0.atom.xml").write_bytes(feed_page([late, effect]))
    days.day(NEXT)
    assert days.record("filings", NEXT).input_digest == "2"
    assert days.record("documents", NEXT).rows == before[NEXT].rows + 1
    assert {key: days.record("documents", key) for key in (DART, EDGAR)} == {key: before[key] for key in (DART, EDGAR)}
    days.day(EDGAR)
    assert days.record("documents", EDGAR) == before[EDGAR]


def test_what_is_upstream_and_not_there_is_named_with_the_command(days: Days) -> None:
    with pytest.raises(LedgerlineError, match="materialize the asset 'filings' first"):
        days.run("map_filings", "documents", key=EDGAR)


def test_a_day_without_filings_is_a_day_with_no_rows(days: Days) -> None:
    empty = "edgar:2025-03-15"
    days.instance.add_dynamic_partitions("source_day", [empty])
    days.build()
    days.run("onboard", "filings", key=EDGAR)
    days.day(empty)
    assert {days.record(asset, empty).rows for asset in ("filings", *OF_A_DAY)} == {0}


@pytest.mark.parametrize("key", ["edgar", "edgar:", "edgar:2026-02-30", "nyse:2026-03-02", "2026-03-02", ""])
def test_what_is_no_partition_is_refused_with_examples(key: str) -> None:
    with pytest.raises(LedgerlineError, match=r"write <source>:<day>, e.g. edgar:2026-03-02"):
        parse_partition_key(key)


@pytest.mark.parametrize("source", ["edgar", "dart"])
def test_partition_keys_round_trip(source: str) -> None:
    assert parse_partition_key(partition_key(source, DAY)) == (source, DAY)


def test_a_range_that_is_killed_has_recorded_the_days_that_it_finished(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onboarding.onboard_day

    def dies(**ports):
        if ports["day"] == parse_partition_key(NEXT)[1]:
            raise PermanentFailure("killed")  # which Dagster does not try again
        return real(**ports)

    monkeypatch.setattr(onboarding, "onboard_day", dies)
    ends = {"dagster/asset_partition_range_start": EDGAR, "dagster/asset_partition_range_end": NEXT}
    result = days.defs.resolve_job_def("onboard").execute_in_process(
        instance=days.instance, tags=ends, raise_on_error=False
    )
    assert not result.success
    assert days.record("filings", EDGAR).rows > 0
    assert DayProvenance.latest(days.instance, dg.AssetKey("filings"), NEXT) is None
