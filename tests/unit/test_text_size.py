"""The scripts of the project text_size from end to end, as jobs run them, on rows that are made here."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledgerline.projects.config import load_project
from local_sagemaker.inside.request_schema import Schema
from resources.environment import ROOT

PROJECT = ROOT / "model_projects" / "text_size"
REQUEST = {"source": "edgar", "form": "10-K", "type": "10-K", "sequence": 1, "binary_bytes": 0, "bytes": 40_000}


def run(script: str, *arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / script), *map(str, arguments)],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def rows(count: int = 400) -> pa.Table:
    """Documents whose text is a share of the bytes that belongs to the form; every tenth is a picture."""
    rng = random.Random(7)
    shares = {"10-K": 0.6, "8-K": 0.2, "사업보고서 (2025.12)": 0.4}
    found = []
    for number in range(count):
        form, size, binary = rng.choice(list(shares)), int(rng.lognormvariate(10, 1)), number % 10 == 9
        found.append(
            {
                "document_id": f"d{number}",
                "filing_id": f"f{number}",
                "source": "dart" if "보고서" in form else "edgar",
                "form": form,
                "type": "GRAPHIC" if binary else form,
                "sequence": 1 + binary,
                "binary_bytes": 900 * binary,
                "characters": 0 if binary else int(size * shares[form] * rng.uniform(0.9, 1.1)),
                "bytes": None if number % 50 == 0 else size,
                "channel": ("train", "train", "validation", "test")[number % 4],
            }
        )
    return pa.Table.from_pylist(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_size")
    (folder / "input" / "dataset").mkdir(parents=True)
    pq.write_table(rows(), folder / "input" / "dataset" / "dataset.parquet")
    done = run("preprocessing.py", "--input-dir", folder / "input", "--output-dir", folder / "channels")
    assert done.returncode == 0, done.stderr
    for name in ("model", "again"):
        done = run(
            "train.py", "--_tuning_objective_metric", "x", SM_HPS='{"rounds": 80}', SM_MODEL_DIR=folder / name,
            SM_CHANNEL_TRAIN=folder / "channels" / "train", SM_CHANNEL_VALIDATION=folder / "channels" / "validation",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    done = run(
        "evaluation.py", "--model-dir", folder / "model", "--test-dir", folder / "channels" / "test",
        "--output-dir", folder / "report",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def served(made: Path) -> tuple[ModuleType, object]:
    spec = importlib.util.spec_from_file_location("text_size_inference", made / "model" / "code" / "inference.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, module.model_fn(str(made / "model"))


def ask(served: tuple[ModuleType, object], request: object) -> object:
    handlers, model = served
    read = handlers.input_fn(json.dumps(request), "application/json")
    return json.loads(handlers.output_fn(handlers.predict_fn(read, model), "application/json")[0])


def test_pictures_are_in_no_channel_and_no_document_is_lost(made):
    parts = {name: pq.read_table(made / "channels" / name / "rows.parquet") for name in ("train", "validation", "test")}
    assert sum(part.num_rows for part in parts.values()) == 360
    assert all(part["binary_bytes"].to_pylist() == [0] * part.num_rows for part in parts.values())


def test_the_same_rows_give_the_same_bytes_and_nothing_is_pickled(made):
    files = sorted(path.relative_to(made / "model") for path in (made / "model").rglob("*") if path.is_file())
    assert [str(file) for file in files] == ["code/inference.py", "codes.json", "model.txt", "schema.json"]
    assert all((made / "model" / file).read_bytes() == (made / "again" / file).read_bytes() for file in files)


def test_the_report_has_what_the_gate_asks_for_and_residuals_for_people(made):
    report = json.loads((made / "report" / "evaluation.json").read_text())
    config = load_project(PROJECT).config
    assert {rule.metric for rule in config.gate.rules} <= set(report["metrics"])
    assert report["metrics"]["within_factor_two"] > 0.8
    assert set(report["slices"]["form"]) == {"10-K", "8-K", "사업보고서"}
    assert sum(one["rows"] for one in report["slices"]["source"].values()) == report["rows"]
    assert all(len(pair) == 2 for pair in report["residuals"])


def test_the_requests_are_what_the_endpoint_takes_one_a_line(made, served):
    lines = (made / "report" / "requests.jsonl").read_text().splitlines()
    assert 50 <= len(lines) <= 100
    assert all(ask(served, json.loads(line))["characters"] > 0 for line in lines)


def test_a_batch_request_of_config_yaml_has_every_feature(served):
    batch = load_project(PROJECT).config.batch_transform
    sent = {*batch.columns, *(column for join in batch.joins for column in join.columns)}
    assert sent >= set(served[0].FEATURES) | {"binary_bytes"}


def test_a_list_gets_a_list_and_a_picture_has_no_text(served):
    answers = ask(served, [REQUEST, {**REQUEST, "binary_bytes": 5}, {**REQUEST, "bytes": None, "form": "never seen"}])
    assert answers[1] == {"characters": 0}
    assert isinstance(answers[2]["characters"], int)
    assert answers[0] == ask(served, REQUEST)


def test_the_schema_says_types_nulls_ranges_and_classes(made):
    schema = Schema.load(made / "model" / "schema.json")  # as the endpoint reads it
    assert schema.violations(json.dumps(REQUEST | {"bytes": None})) == []
    found = schema.violations(json.dumps(REQUEST | {"form": "99-X", "sequence": 0, "bytes": -1}))
    assert [one.split(" is ")[0].removeprefix("record 1: ") for one in found] == ["form", "sequence", "bytes"]
    assert "one of " in found[0]
    assert "10-K" in found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"form": None}, "form of row 0 must be text"),
        ({"sequence": "1"}, "sequence of row 0 must be a number"),
        ({"bytes": -1}, "bytes of row 0 must be a number from 0"),
        ({"bytes": True}, "bytes of row 0"),
        ({"binary_bytes": None}, "binary_bytes of row 0"),
    ],
)
def test_a_request_outside_the_schema_is_refused_with_the_field(served, change, said):
    with pytest.raises(ValueError, match=said):
        ask(served, {**REQUEST, **change})


@pytest.mark.parametrize(("request_", "said"), [([], "0 rows"), ([1], "no object"), ({}, "has no source")])
def test_what_is_no_row_is_refused(served, request_, said):
    with pytest.raises(ValueError, match=said):
        ask(served, request_)


def test_a_channel_without_text_is_refused_by_name(tmp_path):
    (tmp_path / "dataset").mkdir()
    pq.write_table(rows(8).slice(0, 2), tmp_path / "dataset" / "rows.parquet")
    done = run("preprocessing.py", "--input-dir", tmp_path, "--output-dir", tmp_path / "out")
    assert done.returncode == 1
    assert "no text document is in the channel validation" in done.stderr
    assert not (tmp_path / "out").exists()
