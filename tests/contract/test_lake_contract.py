"""What every lake must do. Runs on Delta tables on disk and, where moto can serve S3, on the same tables there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.filings.tables import DOCUMENTS, FILINGS
from ledgerline.mapping.tables import CANDIDATE_SETS, LABELLED_CANDIDATES
from ledgerline.ports import Lake
from resources.lake import DeltaLake

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
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
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


def test_compaction_and_vacuum_keep_the_rows(lake: Lake) -> None:
    for number in range(4):
        lake.merge("filings", filings({"filing_id": str(number)}), keys=KEYS)
    assert isinstance(lake, DeltaLake)
    assert lake.compact("filings") == 3
    lake.vacuum("filings", retention_hours=0)
    assert lake.read("filings").num_rows == 4


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
