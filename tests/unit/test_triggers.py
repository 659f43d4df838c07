"""Drift, files and delivered folders: what starts a training, what does not, and what a delivery may not do."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.new_project import write_project
from ledgerline.errors import LedgerlineError
from ledgerline.projects.config import load_delivered, load_project
from ledgerline.projects.delivery import install, take_deliveries
from ledgerline.projects.drift import drift, stability_index
from ledgerline.projects.triggers import Seen, seen_now
from tests.unit.release_fakes import MemoryObjects

# Drift ---------------------------------------------------------------------------------------------------------------


def column(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([list(values)])


def test_psi_is_what_the_formula_says():
    old, new = column(*"a" * 50, *"b" * 50), column(*"a" * 80, *"b" * 20)
    assert round(stability_index(old, new), 4) == 0.4159  # 0.3 ln 1.6 + (-0.3) ln 0.4


def test_equal_rows_have_not_moved_and_a_shift_of_half_a_deviation_is_beyond_the_usual_alarm():
    rng = random.Random(1)
    old = column(*(rng.gauss(0, 1) for _ in range(5_000)))
    assert stability_index(old, old) == 0
    assert stability_index(old, column(*(rng.gauss(0, 1) for _ in range(5_000)))) < 0.02
    assert stability_index(old, column(*(rng.gauss(0.5, 1) for _ in range(5_000)))) > 0.2


def test_nulls_that_were_not_there_before_are_a_shift_of_numbers_and_of_classes():
    assert stability_index(column(*range(100)), column(*range(50), *[None] * 50)) > 0.2
    assert stability_index(column(*"ab" * 50), column(*"ab" * 25, *[None] * 50)) > 0.2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.floats(allow_nan=True), min_size=1, max_size=40),
    st.lists(st.none() | st.floats(allow_nan=True), min_size=1, max_size=40),
)
def test_of_any_numbers_the_index_is_finite_and_not_negative(old, new):
    kind = pa.float64()
    found = stability_index(pa.chunked_array([old], kind), pa.chunked_array([new], kind))
    assert 0 <= found < 40


def test_columns_are_compared_where_both_tables_have_them_greatest_first():
    old = pa.table({"x": ["a"] * 10, "y": ["a"] * 10, "list": [[1]] * 10})
    new = pa.table({"y": ["b"] * 10, "x": ["a"] * 10, "list": [[2]] * 10})
    assert [(one.column, one.index > 1) for one in drift(old, new, ["x", "y", "list", "z"])] == [
        ("y", True),
        ("x", False),
    ]
    assert drift(old, new.slice(0, 0), ["x"]) == []


def test_times_and_ids_are_no_distribution_of_which_new_rows_could_be_said_to_move():
    days = [date(2025, 1, 1) + timedelta(days=n) for n in range(120)]

    def rows(first: int) -> pa.Table:
        chosen = days[first : first + 60]
        return pa.table(
            {
                "available_at": chosen,
                "filing": [f"0000320193-25-{n:06d}" for n in range(first, first + 60)],
                "iso": [str(day) for day in chosen],
                "kind": ["a", "b", "c"] * 20,
                "few": ["x"] * 60,
            }
        )

    found = drift(rows(0), rows(60), rows(0).column_names)
    assert {one.column: one.index for one in found} == {"few": 0, "kind": 0}


def test_a_column_that_is_written_with_another_type_now_is_compared_as_numbers_or_not_at_all():
    old = pa.table({"x": list(range(40)), "y": list(range(40))})
    new = pa.table({"x": [float(n) for n in range(40)], "y": [str(n) for n in range(40)]})
    assert [(one.column, one.index) for one in drift(old, new, ["x", "y"])] == [("x", 0)]
    few = pa.table({"x": [1, 2] * 20}), pa.table({"x": [1.0, 2.0] * 20})
    assert [(one.column, one.index) for one in drift(*few, ["x"])] == [("x", 0)]


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_new_or_changed_object_asks_for_a_training_and_a_deleted_one_does_not():
    first = seen_now(Seen(), [("s3://a/1", "x")])
    assert first.wanted
    assert seen_now(first, [("s3://a/1", "x")]) == first
    second = seen_now(first, [("s3://a/1", "x"), ("s3://a/2", "y")])
    assert second.wanted not in ("", first.wanted)
    assert seen_now(second, [("s3://a/2", "y")]).wanted == second.wanted
    assert seen_now(second, [("s3://a/1", "other"), ("s3://a/2", "y")]).wanted != second.wanted
    assert seen_now(Seen(), []).wanted == ""


# Deliveries ----------------------------------------------------------------------------------------------------------

PREFIX = "s3://test/model_projects"


@pytest.fixture
def objects(tmp_path: Path) -> MemoryObjects:
    """A good project, delivered."""
    found = MemoryObjects()
    folder = write_project("churn", tmp_path / "written")
    for path in folder.rglob("*"):
        if path.is_file():
            found.put(f"{PREFIX}/churn/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return found


def loaded(root: Path) -> list[str]:
    return [project.name for project in load_delivered(root, set())]


def test_a_delivered_folder_is_taken_once_and_loads_and_its_owner_is_told(tmp_path, objects):
    root = tmp_path / "home" / "model_projects"
    (one,), stamps = take_deliveries(objects, PREFIX, root, set(), {})
    assert (one.name, one.owner) == ("churn", "team:quant")
    assert "loaded at the next reload" in one.text
    assert loaded(root) == ["churn"]
    assert take_deliveries(objects, PREFIX, root, set(), stamps) == ([], stamps)
    again, _ = take_deliveries(objects, PREFIX, root, set(), {})  # the cursor was lost
    assert "is there already" in again[0].text


def test_another_version_takes_the_place_of_the_first_and_a_broken_one_does_not(tmp_path, objects):
    root = tmp_path / "models"
    _, stamps = take_deliveries(objects, PREFIX, root, set(), {})
    first = load_project(root / "churn").code_digest
    objects.put(f"{PREFIX}/churn/train.py", objects.get(f"{PREFIX}/churn/train.py") + b"\n# better\n")
    _, stamps = take_deliveries(objects, PREFIX, root, set(), stamps)
    second = load_project(root / "churn").code_digest
    assert second != first
    objects.put(f"{PREFIX}/churn/config.yaml", objects.get(f"{PREFIX}/churn/config.yaml").replace(b"owner:", b"ownr:"))
    (refused,), stamps = take_deliveries(objects, PREFIX, root, set(), stamps)
    assert refused.owner is None
    assert "did you mean `owner`?" in refused.text
    assert load_project(root / "churn").code_digest == second
    assert take_deliveries(objects, PREFIX, root, set(), stamps)[0] == []  # told once


def test_nothing_of_a_delivery_is_run(tmp_path, objects):
    marker = tmp_path / "was run"
    objects.put(f"{PREFIX}/churn/train.py", f"open({str(marker)!r}, 'w')\n".encode())
    objects.put(f"{PREFIX}/churn/sitecustomize.py", f"open({str(marker)!r}, 'w')\n".encode())
    config = objects.get(f"{PREFIX}/churn/config.yaml").decode()
    take_deliveries(objects, PREFIX, tmp_path / "models", set(), {})
    evil = config + f"tags: !!python/object/apply:os.system ['touch {marker}']\n"
    objects.put(f"{PREFIX}/churn/config.yaml", evil.encode())
    (refused,), _ = take_deliveries(objects, PREFIX, tmp_path / "models", set(), {})
    assert refused.owner is None
    assert "no valid YAML" in refused.text
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("ticker_ranker", "config.yaml", "is a project of the platform itself"),
        ("Churn", "config.yaml", "cannot name a model project"),
        ("..", "config.yaml", "cannot name a model project"),
        ("evil", "../../outside.py", "odd name"),
        ("evil", "/etc/outside.py", "odd name"),
        ("evil", "a/./b.py", "odd name"),
    ],
)
def test_a_name_or_a_path_that_must_not_be_written_is_refused(tmp_path, name, file, said):
    objects = MemoryObjects()
    objects.put(f"{PREFIX}/{name}/config.yaml", b"name: x")
    objects.put(f"{PREFIX}/{name}/{file}", b"name: x")
    root = tmp_path / "a" / "b" / "models"
    (refused,), _ = take_deliveries(objects, PREFIX, root, {"ticker_ranker"}, {})
    assert said in refused.text
    assert not list(tmp_path.rglob("outside.py"))
    assert loaded(root) == []


def test_a_folder_without_config_yaml_is_still_being_put_there(tmp_path, objects):
    objects.delete(f"{PREFIX}/churn/config.yaml")
    assert take_deliveries(objects, PREFIX, tmp_path / "models", set(), {})[0] == []


def test_a_disk_that_was_lost_is_filled_again(tmp_path, objects):
    _, stamps = take_deliveries(objects, PREFIX, tmp_path / "one", set(), {})
    (one,), _ = take_deliveries(objects, PREFIX, tmp_path / "two", set(), stamps)
    assert "loaded at the next reload" in one.text


def test_a_folder_that_was_not_delivered_is_never_replaced(tmp_path, objects):
    root = tmp_path / "models"
    (root / "churn").mkdir(parents=True)
    files = {"config.yaml": objects.get(f"{PREFIX}/churn/config.yaml")}
    files |= dict.fromkeys(("preprocessing.py", "train.py", "evaluation.py", "inference.py"), b"#")
    with pytest.raises(LedgerlineError, match="folder of somebody else's"):
        install("churn", files, root)
    assert (root / "churn").is_dir()
    assert not (root / "churn").is_symlink()


def test_a_delivered_project_that_became_wrong_is_left_out_and_the_others_load(tmp_path, caplog):
    for name in ("good", "bad", "taken"):
        write_project(name, tmp_path)
    (tmp_path / "bad" / "train.py").unlink()
    assert [project.name for project in load_delivered(tmp_path, {"taken"})] == ["good"]
    assert "is left out" in caplog.text
