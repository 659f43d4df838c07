"""What every lake must do. Runs on Delta tables on disk and, where moto can serve S3, on the same tables there."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.filings.tables import DOCUMENTS, FILINGS
from ledgerline.mapping.tables import CANDIDATE_SETS, LABELLED_CANDIDATES
from ledgerline.ports import Lake, Vacuum
from resources import lake as lake_module
from resources.lake import FILES_BEFORE_FOLDING, DeltaLake

NOON = datetime(2025, 3, 14, 12, 30, 15, 123456, tzinfo=timezone.utc)
ROW = {
    "source": "edgar", "day": "2025-03-14", "filing_id": "0000320193-25-000001", "form": "8-K", "title": "",
    "party_ids": ["0000320193"], "party_names": ["Apple Inc."], "party_roles": ["Filer"], "accepted_at": NOON,
    "first_seen_at": NOON, "available_at": NOON, "sha256": "ab", "bytes": 7, "uri": "s3://b/k", "state": "published",
    "reason": None, "detail": None, "version": 1,
}  # fmt: skip
KEYS = ("source", "filing_id")


def filings(*changes: dict) -> pa.Table:
    return pa.Table.from_pylist([{**ROW, **change} for change in changes], schema=FILINGS)


@pytest.fixture(params=["disk", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeltaLake]:
    if request.param == "disk":
        yield DeltaLake(root=str(tmp_path / "lake"))
        return
    endpoint, bucket = request.getfixturevalue("s3_bucket")
    options = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    yield DeltaLake(root=f"s3://{bucket}/lake", storage_options=options)


def test_a_table_that_was_never_written_has_no_version_and_names_the_asset_to_materialize(lake: Lake) -> None:
    assert lake.version("names") is None
    with pytest.raises(LedgerlineError, match="materialize the asset 'listings'"):
        lake.read("names")


def test_a_merge_inserts_new_rows_updates_changed_ones_and_leaves_equal_ones_alone(lake: Lake) -> None:
    first = lake.merge("filings", filings({}, {"filing_id": "b"}), keys=KEYS)
    assert (first.inserted, first.updated) == (2, 0)
    second = lake.merge("filings", filings({"form": "8-K/A"}, {"filing_id": "b"}, {"filing_id": "c"}), keys=KEYS)
    assert (second.inserted, second.updated) == (1, 1)
    assert second.version > first.version
    forms = {row["filing_id"]: row["form"] for row in lake.read("filings").to_pylist()}
    assert forms == {"0000320193-25-000001": "8-K/A", "b": "8-K", "c": "8-K"}


def test_a_merge_of_equal_rows_makes_no_new_version(lake: Lake) -> None:
    rows = filings(
        {}, {"filing_id": "b", "party_ids": [], "party_names": None, "available_at": None, "reason": "truncated"}
    )
    before = lake.merge("filings", rows, keys=KEYS)
    again = lake.merge("filings", rows, keys=KEYS)
    assert (again.version, again.inserted, again.updated) == (before.version, 0, 0)
    assert lake.version("filings") == before.version


@pytest.mark.parametrize(
    "change",
    [{"reason": "truncated"}, {"party_ids": ["1", "2"]}, {"accepted_at": None}, {"bytes": 8}, {"party_names": []}],
)
def test_a_change_in_any_kind_of_column_is_an_update(lake: Lake, change: dict) -> None:
    lake.merge("filings", filings({}), keys=KEYS)
    assert lake.merge("filings", filings(change), keys=KEYS).updated == 1
    (name, value), *_ = change.items()
    assert lake.read("filings")[name].to_pylist() == [value]


def test_rows_keep_their_types_nulls_and_nested_values(lake: Lake) -> None:
    document = {
        "source": "dart", "day": "2025-03-14", "filing_id": "20250314000001", "document_id": "dart:20250314000001:1",
        "sequence": 1, "text": "사업보고서", "sections": [{"name": "1", "title": "회사의 개요", "start": 0, "end": 5}],
        "available_at": NOON,
    }  # fmt: skip
    label = {"mention_id": "m", "position": 1, "features": [0.5, float("nan"), -1.0], "label": 1}
    for table, schema, row, keys in (
        ("documents", DOCUMENTS, document, ("document_id",)),
        ("labelled_candidates", LABELLED_CANDIDATES, label, ("mention_id", "position")),
        (
            "candidate_sets",
            CANDIDATE_SETS,
            {**document, "mention_id": "m", "path": [{"from_id": "a", "label": None}]},
            None,
        ),
    ):
        rows = pa.Table.from_pylist([{key: value for key, value in row.items() if key in schema.names}], schema=schema)
        if keys:
            lake.merge(table, rows, keys=keys)
            assert lake.merge(table, rows, keys=keys).updated == 0
        else:
            lake.replace(table, rows, where={"day": "2025-03-14"})
        back = lake.read(table)
        assert back.schema.equals(schema)
        assert str(back.to_pylist()) == str(rows.to_pylist())


def test_keys_that_repeat_or_are_null_are_refused_before_anything_is_written(lake: Lake) -> None:
    with pytest.raises(LedgerlineError, match="repeat the keys"):
        lake.merge("filings", filings({}, {}), keys=KEYS)
    with pytest.raises(LedgerlineError, match="nulls in the key columns"):
        lake.merge("filings", filings({"filing_id": None}), keys=KEYS)
    with pytest.raises(LedgerlineError, match="lack the key columns"):
        lake.merge("filings", filings({}), keys=("accession",))
    assert lake.version("filings") is None


def test_a_replace_swaps_one_part_in_one_commit_and_leaves_the_others(lake: Lake) -> None:
    lake.replace("filings", filings({}, {"filing_id": "b"}), where={"source": "edgar", "day": "2025-03-14"})
    other = lake.replace("filings", filings({"day": "2025-03-17", "filing_id": "c"}), where={"day": "2025-03-17"})
    write = lake.replace("filings", filings({"filing_id": "d"}), where={"source": "edgar", "day": "2025-03-14"})
    assert (write.inserted, write.deleted, write.version) == (1, 2, other.version + 1)
    assert sorted(lake.read("filings")["filing_id"].to_pylist()) == ["c", "d"]


def test_a_replace_by_equal_rows_makes_no_new_version(lake: Lake) -> None:
    where = {"source": "edgar", "day": "2025-03-14"}
    before = lake.replace("filings", filings({}, {"filing_id": "b"}), where=where)
    again = lake.replace("filings", filings({}, {"filing_id": "b"}), where=where)
    assert (again.version, again.inserted, again.deleted) == (before.version, 0, 0)


def test_a_replace_by_nothing_empties_the_part_and_keeps_the_table(lake: Lake) -> None:
    lake.replace("filings", filings({}, {"day": "2025-03-17", "filing_id": "c"}), where={})
    lake.replace("filings", filings(), where={"day": ["2025-03-14"]})
    assert lake.read("filings")["filing_id"].to_pylist() == ["c"]


def test_a_replace_refuses_rows_outside_the_part_it_replaces(lake: Lake) -> None:
    with pytest.raises(LedgerlineError, match="1 of 2 rows"):
        lake.replace("filings", filings({}, {"day": "2025-03-17", "filing_id": "c"}), where={"day": "2025-03-14"})
    assert lake.version("filings") is None


def test_reads_filter_on_values_and_lists_and_select_columns(lake: Lake) -> None:
    lake.merge("filings", filings({}, {"filing_id": "b", "form": "4"}, {"filing_id": "c", "form": "it's"}), keys=KEYS)
    assert lake.read("filings", columns=["filing_id"], where={"form": ["4", "it's"]}).num_rows == 2
    assert lake.read("filings", columns=["form"], where={"form": "it's"}).to_pylist() == [{"form": "it's"}]
    assert lake.read("filings", where={"version": 1, "source": "edgar"}).num_rows == 3
    assert lake.read("filings", where={"form": []}).num_rows == 0


def test_an_older_version_can_be_read_and_an_unknown_one_says_which_is_newest(lake: Lake) -> None:
    first = lake.merge("filings", filings({}), keys=KEYS)
    second = lake.merge("filings", filings({"form": "8-K/A"}), keys=KEYS)
    assert lake.read("filings", version=first.version)["form"].to_pylist() == ["8-K"]
    assert lake.read("filings", version=second.version)["form"].to_pylist() == ["8-K/A"]
    with pytest.raises(LedgerlineError, match=f"no version 99.*newest is {second.version}"):
        lake.read("filings", version=99)


def test_a_new_column_is_added_and_older_rows_are_null_in_it(lake: Lake) -> None:
    lake.merge("filings", filings({}), keys=KEYS)
    wider = filings({"filing_id": "b"}).append_column("correction_of", pa.array(["a"]))
    lake.merge("filings", wider, keys=KEYS)
    by_id = {row["filing_id"]: row for row in lake.read("filings").to_pylist()}
    assert (by_id["b"]["correction_of"], by_id["0000320193-25-000001"]["correction_of"]) == ("a", None)


def test_a_writer_that_was_overtaken_merges_onto_the_result_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = DeltaLake(root=str(tmp_path))
    lake.merge("filings", filings({}), keys=KEYS)
    looked = DeltaLake._open
    overtaken: list[bool] = []

    def open_then_be_overtaken(self: DeltaLake, table: str, version: int | None = None):
        found = looked(self, table, version)
        if not overtaken:
            overtaken.append(True)
            DeltaLake(root=self.root).merge("filings", filings({"filing_id": "b"}, {"filing_id": "c"}), keys=KEYS)
        return found

    monkeypatch.setattr(DeltaLake, "_open", open_then_be_overtaken)
    write = lake.merge("filings", filings({"filing_id": "b"}, {"filing_id": "d"}), keys=KEYS)
    assert (write.inserted, write.updated) == (1, 0)
    assert sorted(lake.read("filings")["filing_id"].to_pylist()) == ["0000320193-25-000001", "b", "c", "d"]


def test_two_writers_that_create_the_same_table_lose_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = DeltaLake(root=str(tmp_path))
    created = DeltaLake._create

    def be_overtaken_while_creating(self: DeltaLake, table: str, rows: pa.Table) -> None:
        monkeypatch.setattr(DeltaLake, "_create", created)
        DeltaLake(root=self.root).merge("filings", filings({"filing_id": "b"}), keys=KEYS)
        created(self, table, rows)

    monkeypatch.setattr(DeltaLake, "_create", be_overtaken_while_creating)
    lake.merge("filings", filings({"filing_id": "b"}, {"filing_id": "d"}), keys=KEYS)
    assert sorted(lake.read("filings")["filing_id"].to_pylist()) == ["b", "d"]


def test_new_rows_take_the_types_of_the_table_and_nulls_where_they_lack_a_column(lake: Lake) -> None:
    lake.merge("filings", filings({}), keys=KEYS)
    wide = filings({"filing_id": "b", "version": 2})
    narrow = wide.set_column(wide.schema.get_field_index("version"), "version", pa.array([2], pa.int64()))
    lake.merge("filings", narrow.drop_columns(["title", "party_ids"]), keys=KEYS)
    back = lake.read("filings", where={"filing_id": "b"})
    assert back.schema.equals(FILINGS)
    assert back.select(["version", "title", "party_ids"]).to_pylist() == [
        {"version": 2, "title": None, "party_ids": None}
    ]


PUBLISHED = [[f"{batch}-{number}" for number in range(8)] for batch in range(6)]


def publish_all(root: str, options: dict[str, str], together: Barrier) -> None:
    lake = DeltaLake(root=root, storage_options=options)
    for batch in PUBLISHED:
        together.wait(timeout=60)
        lake.merge("filings", filings(*({"filing_id": name} for name in batch)), keys=KEYS)


def test_processes_that_publish_the_same_filings_at_once_publish_each_once(lake: DeltaLake) -> None:
    lake.merge("filings", filings({"filing_id": "first"}), keys=KEYS)
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(3)
    writers = [
        spawn.Process(target=publish_all, args=(lake.root, lake.storage_options, together), daemon=True)
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    published = sorted(lake.read("filings")["filing_id"].to_pylist())
    assert published == sorted(["first", *(name for batch in PUBLISHED for name in batch)])


def create_all(root: str, options: dict[str, str], together: Barrier) -> None:
    lake = DeltaLake(root=root, storage_options=options)
    for number, batch in enumerate(PUBLISHED):
        together.wait(timeout=60)
        lake.merge(f"created_{number}", filings(*({"filing_id": name} for name in batch)), keys=KEYS)


def test_processes_that_create_the_same_table_at_once_write_each_row_once(lake: DeltaLake) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    given = (lake.root, lake.storage_options, together)
    creators = [spawn.Process(target=create_all, args=given, daemon=True) for _ in range(2)]
    for creator in creators:
        creator.start()
    for creator in creators:
        creator.join(timeout=120)
    assert [creator.exitcode for creator in creators] == [0, 0]
    for number, batch in enumerate(PUBLISHED):
        assert sorted(lake.read(f"created_{number}")["filing_id"].to_pylist()) == sorted(batch)


def files_of(lake: DeltaLake, table: str = "filings") -> int:
    found = lake._open(table)
    assert found is not None
    return len(found.file_uris())


def test_a_day_of_many_small_merges_stays_a_few_files_in_the_order_of_many(
    lake: DeltaLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = []
    for most in (FILES_BEFORE_FOLDING, 1000):
        monkeypatch.setattr(lake_module, "FILES_BEFORE_FOLDING", most)
        table = f"filings_{most}"
        for number in range(FILES_BEFORE_FOLDING + 4):
            lake.merge(table, filings({"filing_id": f"{number}a"}, {"filing_id": f"{number}b"}), keys=KEYS)
        orders.append(lake.read(table)["filing_id"].to_pylist())
    assert orders[0] == orders[1]
    assert files_of(lake, f"filings_{FILES_BEFORE_FOLDING}") == 4
    assert files_of(lake, "filings_1000") == FILES_BEFORE_FOLDING + 4


def fill_days(lake: Lake, days: int = 3, merges: int = 4) -> None:
    for number in range(merges):
        for day in range(days):
            rows = ({"day": f"2025-03-{day + 10}", "filing_id": f"{day}-{number}-{letter}"} for letter in "zay")
            lake.merge("filings", filings(*rows), keys=KEYS)


def test_compaction_keeps_the_rows_and_their_order(lake: DeltaLake) -> None:
    fill_days(lake)
    lake.merge("filings", filings({"day": "2025-03-10", "filing_id": "0-1-a", "form": "8-K/A"}), keys=KEYS)
    before = lake.read("filings")
    done = lake.compact("filings")
    assert (done.folded, done.left, done.files_after) == (3, 0, 3)
    assert done.files_before >= 12
    assert lake.read("filings").equals(before)
    lake.merge("filings", filings({"day": "2025-03-11", "filing_id": "new"}), keys=KEYS)
    before = lake.read("filings")
    assert lake.compact("filings").folded == 1
    assert lake.read("filings").equals(before)


def test_compaction_does_nothing_where_there_is_nothing_to_fold(lake: Lake) -> None:
    assert lake.compact("filings").folded == 0
    fill_days(lake, merges=2)
    version = lake.version("filings")
    assert lake.compact("filings", more_than=2).files_after == 6
    assert lake.version("filings") == version


def test_compaction_is_bounded_and_goes_on_the_next_time(lake: Lake) -> None:
    fill_days(lake)
    first = lake.compact("filings", at_most=2)
    assert (first.folded, first.left) == (2, 1)
    assert lake.compact("filings", at_most=2).folded == 1


def test_compaction_begins_with_the_newest_days_that_nobody_writes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = DeltaLake(root=str(tmp_path))
    fill_days(lake)
    parts = lake_module._parts
    hours_ago = {"2025-03-10": 30, "2025-03-11": 6, "2025-03-12": 0}

    def aged(found):
        now = datetime.now(timezone.utc)
        return [replace(part, written_at=now - timedelta(hours=hours_ago[part.values["day"]])) for part in parts(found)]

    monkeypatch.setattr(lake_module, "_parts", aged)
    folded: list[str] = []
    monkeypatch.setattr(lake_module, "_fold", lambda found, part: folded.append(part.values["day"]) or True)
    lake.compact("filings")
    assert folded == ["2025-03-11", "2025-03-10", "2025-03-12"]


def test_rows_that_need_more_than_one_file_are_left_alone(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_days(lake)
    monkeypatch.setattr(lake_module, "FOLDED_BYTES", 1000)
    assert lake.compact("filings").files_after == 12


def test_a_compaction_that_a_writer_overtakes_leaves_the_day_to_the_next(
    lake: DeltaLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_days(lake)
    fold = lake_module._fold

    def fold_overtaken(found, part):
        monkeypatch.setattr(lake_module, "_fold", fold)
        change = {"day": part.values["day"], "filing_id": f"{int(part.values['day'][-2:]) - 10}-0-a", "form": "8-K/A"}
        lake.merge("filings", filings(change), keys=KEYS)
        return fold(found, part)

    monkeypatch.setattr(lake_module, "_fold", fold_overtaken)
    done = lake.compact("filings")
    assert (done.folded, done.left) == (2, 1)
    rows = lake.read("filings")
    assert (rows.num_rows, rows["form"].to_pylist().count("8-K/A")) == (36, 1)


@pytest.mark.parametrize("change", [{"filing_id": "new"}, {"filing_id": "0-0-a", "form": "8-K/A"}])
def test_a_writer_that_a_compaction_overtakes_publishes_all_the_same(
    lake: DeltaLake, monkeypatch: pytest.MonkeyPatch, change: dict
) -> None:
    fill_days(lake, days=1)
    scan = lake_module._scan

    def scan_then_be_compacted(*args, **kwargs):
        rows = scan(*args, **kwargs)
        monkeypatch.setattr(lake_module, "_scan", scan)
        assert DeltaLake(root=lake.root, storage_options=lake.storage_options).compact("filings").folded == 1
        return rows

    monkeypatch.setattr(lake_module, "_scan", scan_then_be_compacted)
    lake.merge("filings", filings({"day": "2025-03-10", **change}), keys=KEYS)
    names = lake.read("filings")["filing_id"].to_pylist()
    assert len(names) == len(set(names)) == 12 + (change["filing_id"] == "new")


def compact_until_killed(root: str) -> None:
    DeltaLake(root=root).compact("filings")
    os._exit(1)  # it was to be killed before


def test_a_compaction_that_is_killed_changes_nothing_that_readers_see(tmp_path: Path) -> None:
    lake = DeltaLake(root=str(tmp_path))
    fill_days(lake, days=20, merges=2)
    before, version = lake.read("filings"), lake.version("filings")
    worker = multiprocessing.get_context("spawn").Process(target=compact_until_killed, args=(lake.root,), daemon=True)
    worker.start()
    while lake.version("filings") == version and worker.is_alive():
        time.sleep(0.001)
    worker.kill()
    worker.join(timeout=30)
    assert lake.version("filings") != version
    assert lake.read("filings").equals(before)
    lake.compact("filings")
    assert lake.read("filings").equals(before)
    assert files_of(lake) == 20


def test_vacuum_deletes_what_no_kept_version_needs_and_says_how_much(lake: Lake) -> None:
    fill_days(lake, days=1)
    rows = lake.read("filings")
    lake.compact("filings")
    assert lake.vacuum("filings", retention_hours=24).files == 0
    gone = lake.vacuum("filings", retention_hours=0)
    assert gone.files == 4
    assert gone.bytes > 4_000
    assert lake.read("filings").equals(rows)
    assert lake.vacuum("names") == Vacuum("names", 0, 0)


def test_a_vacuum_that_finds_nothing_makes_no_version(lake: Lake) -> None:
    fill_days(lake, days=1)
    lake.vacuum("filings", retention_hours=24)
    version = lake.version("filings")
    lake.vacuum("filings", retention_hours=24)
    assert lake.version("filings") == version


def test_vacuum_keeps_old_files_of_a_version_that_was_the_newest_within_the_retention(tmp_path: Path) -> None:
    lake = DeltaLake(root=str(tmp_path))
    fill_days(lake, days=1)
    version, rows = lake.version("filings"), lake.read("filings")
    killed = tmp_path / "filings" / "source=edgar" / "day=2025-03-10" / "part-of-a-killed-writer.parquet"
    killed.write_bytes(b"half")
    long_ago = time.time() - 90 * 24 * 3600
    for file in tmp_path.rglob("*.parquet"):
        os.utime(file, (long_ago, long_ago))
    lake.compact("filings")
    assert lake.vacuum("filings", retention_hours=48) == Vacuum("filings", 1, 4)
    assert not killed.exists()
    assert lake.vacuum("filings", retention_hours=48).files == 0
    assert lake.read("filings", version=version).equals(rows)


def test_a_version_whose_files_are_gone_is_refused_like_an_unknown_one(lake: Lake) -> None:
    fill_days(lake, days=1)
    version = lake.version("filings")
    lake.compact("filings")
    lake.vacuum("filings", retention_hours=0)
    with pytest.raises(LedgerlineError, match=f"no version {version} .*until vacuum removes them"):
        lake.read("filings", version=version)


def test_the_tables_are_those_that_were_written(lake: Lake) -> None:
    assert lake.tables() == []
    lake.replace("names", pa.table({"name": ["a"]}), where={})
    lake.replace("projects/ranker", pa.table({"name": ["a"]}), where={})
    lake.merge("filings", filings({}), keys=KEYS)
    assert lake.tables() == ["filings", "names", "projects/ranker"]


@pytest.mark.parametrize("name", ["../filings", "/filings", "a/../b", "", "a b"])
def test_a_table_name_cannot_leave_the_lake(lake: Lake, name: str) -> None:
    with pytest.raises(LedgerlineError, match="is no table name"):
        lake.version(name)


def test_rows_come_in_the_order_in_which_they_were_written(lake: Lake) -> None:
    names = [f"name {number:07d}" for number in reversed(range(150_000))]
    written = pa.concat_tables([pa.table({"name": names[start : start + 5_000]}) for start in range(0, 150_000, 5_000)])
    lake.replace("names", written, where={})
    assert lake.read("names").equals(written)
    again = pa.concat_tables([written.slice(5_000), written.slice(0, 5_000)])
    lake.replace("names", again, where={})
    assert lake.read("names").equals(again)
