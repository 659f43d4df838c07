"""`make new-project`: what is written loads, passes its own tests, and nothing is written for a name that cannot be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.load_table import load_table
from cli.new_project import new_project, write_project
from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import SCRIPTS, load_project
from ledgerline.projects.datasets import training_set
from ledgerline.projects.leaks import find_leaks
from local_sagemaker.inside.request_schema import Schema
from platform_assets.components.model_project import model_project_definitions
from resources.environment import ROOT
from resources.lake import DeltaLake


def test_the_written_project_loads_and_gives_assets(tmp_path, capsys):
    assert new_project("churn_risk", tmp_path / "model_projects") == 0
    project = load_project(tmp_path / "model_projects" / "churn_risk")
    assert set(project.code) == {*SCRIPTS, "requirements.txt"}
    keys = {asset.key.path[-1] for asset in model_project_definitions(project).assets or ()}
    assert keys >= {"training_set", "model", "live_endpoint"}
    assert "train_churn_risk" in capsys.readouterr().out
    assert not [path for path in project.folder.rglob("*") if path.is_file() and "PROJECT_NAME" in path.read_text()]
    first = (project.folder / "config.yaml").read_text().splitlines()[0]
    assert (ROOT / "model_projects" / "x" / first.partition("=")[2]).resolve().is_file()
    assert [path.name for path in (tmp_path / "model_projects").iterdir()] == ["churn_risk"]


def test_the_written_project_is_clean_for_make_test(tmp_path):
    folder = write_project("churn_risk", tmp_path / "model_projects")
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", "--config", str(ROOT / "pyproject.toml"), str(folder)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_its_made_up_rows_become_the_table_that_it_learns_from(tmp_path, capsys):
    folder = write_project("churn_risk", tmp_path / "model_projects")
    script, file = folder / "tests" / "made_up_rows.py", tmp_path / "rows.parquet"
    subprocess.run([sys.executable, str(script), str(file)], check=True)
    lake, dataset = DeltaLake(root=str(tmp_path / "lake")), load_project(folder).config.dataset
    assert load_table(dataset.table, file, lake) == 0
    assert "4,000 rows, columns entity, day, size, growth, label, lake version 0" in capsys.readouterr().out
    found = training_set(lake, dataset)
    channels = found.rows["channel"].value_counts().to_pylist()
    assert min(one["counts"] for one in channels) > 100
    assert find_leaks(found.rows, dataset, most=0.999).leaks == ()
    assert (
        Schema.load(trained(folder, found.body, tmp_path) / "schema.json").violations('{"size": 1, "growth": 0}') == []
    )
    with pytest.raises(ConfigurationError, match="has a table churn_risk_examples already"):
        load_table(dataset.table, file, lake)


def trained(project: Path, rows: bytes, scratch: Path) -> Path:
    """The model directory of the project's own scripts, run as jobs do."""
    (scratch / "input").mkdir()
    (scratch / "input" / "rows.parquet").write_bytes(rows)
    channels = {f"SM_CHANNEL_{name.upper()}": str(scratch / "channels" / name) for name in ("train", "validation")}
    for script, arguments in (
        ("preprocessing.py", ["--input-dir", str(scratch / "input"), "--output-dir", str(scratch / "channels")]),
        ("train.py", []),
    ):
        subprocess.run(
            [sys.executable, str(project / script), *arguments],
            env={**os.environ, **channels, "SM_MODEL_DIR": str(scratch / "model")}, check=True,
        )  # fmt: skip
    return scratch / "model"


def test_what_is_no_file_of_rows_becomes_no_table(tmp_path):
    lake = DeltaLake(root=str(tmp_path / "lake"))
    (tmp_path / "page.md").write_text("# A page")
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    for name, said in (("page.md", "cannot be read"), ("none.parquet", "cannot be read"), ("empty.parquet", "no rows")):
        with pytest.raises(ConfigurationError, match=said):
            load_table("examples", tmp_path / name, lake)
    assert lake.version("examples") is None


def test_the_written_project_passes_its_own_tests(tmp_path):
    folder = write_project("churn_risk", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Churn Risk", "churn_risk"), ("churn-risk", "churn_risk"), ("9lives", "lives"), ("", "churn"),
        ("../evil", "evil"), ("a" * 40, "a" * 32), ("a__b", "a_b"), ("x;rm -rf", "x_rm_rf"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_one_is_refused_with_one_that_can(tmp_path, name, suggested):
    with pytest.raises(ConfigurationError, match=f"NAME={suggested}\\."):
        new_project(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert write_project(suggested, tmp_path) == tmp_path / suggested


def test_a_project_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "mine.py").write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already, and nothing was written"):
        new_project("churn", tmp_path)
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["mine.py"]


def test_make_hands_the_name_over_unread(tmp_path: Path):
    done = subprocess.run(
        ["make", "-n", "new-project", "NAME=$(id);x"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "uid=" not in done.stdout
    assert '-m cli new-project -- "$NEW_PROJECT"' in done.stdout
