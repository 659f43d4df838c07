"""The scripts of model_projects/ticker_ranker, run as a container runs them, on a few made-up rows."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledgerline.mapping.features import FEATURE_SET, FEATURES
from ledgerline.mapping.ranking import Question, parse_answers, request_body
from ledgerline.mapping.tables import LABELLED_CANDIDATES
from local_sagemaker.inside.request_schema import Schema

PROJECT = Path(__file__).resolve().parents[2] / "model_projects" / "ticker_ranker"


def load(script: str, folder: Path = PROJECT) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ticker_ranker_{script}", folder / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(script: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def made_up_rows(mentions: int = 400) -> pa.Table:
    """Mentions with three candidates: the right one has a high `ratio`; a third of the mentions have none."""
    rng = random.Random(5)
    ratio = FEATURES.index("ratio")
    rows = []
    for number in range(mentions):
        truth = f"cik:{number % 60}" if number % 3 else None
        for position in range(3):
            company = truth if position == 1 and truth else f"cik:{900 + position}"
            features = [rng.random() for _ in FEATURES]
            features[ratio] = 0.9 + rng.random() / 10 if company == truth else rng.random() * 0.8
            rows.append(
                {
                    "mention_id": f"m{number:04d}",
                    "surface": "X",
                    "kind": "current_name" if truth else "subsidiary",
                    "group": f"group:{number % 59}",
                    "as_of": f"20{14 + number % 11:02d}-03-01",
                    "truth": truth,
                    "position": position,
                    "company_id": company,
                    "feature_set": FEATURE_SET,
                    "features": features,
                    "label": int(company == truth),
                }
            )
    return pa.Table.from_pylist(rows, schema=LABELLED_CANDIDATES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with training_set/, split/, model/ and evaluation/, made by the scripts."""
    folder = tmp_path_factory.mktemp("ranker")
    (folder / "training_set").mkdir()
    pq.write_table(made_up_rows(), folder / "training_set" / "rows.parquet")
    steps = (
        ("preprocessing", "--input-dir", folder / "training_set", "--output-dir", folder / "split"),
        (*_train(folder / "split", folder / "model"),),
        (
            *("evaluation", "--model-dir", folder / "model", "--test-dir", folder / "split" / "test"),
            *("--output-dir", folder / "evaluation"),
        ),
    )
    for script, *arguments in steps:
        done = run(str(script), *arguments)
        assert done.returncode == 0, done.stderr
        (folder / f"{script}.log").write_text(done.stdout)
    return folder


def _train(split: Path, model: Path) -> tuple[object, ...]:
    channels = ("--train", split / "train", "--validation", split / "validation")
    return ("train", *channels, "--model-dir", model, "--rounds", 30, "--threads", 1)


def test_preprocessing_knows_the_features_of_the_platform() -> None:
    preprocessing = load("preprocessing")
    assert preprocessing.FEATURES == FEATURES
    assert preprocessing.feature_set(preprocessing.FEATURES) == FEATURE_SET


def test_the_split_tears_no_group_apart_and_tests_on_later_days(trained: Path) -> None:
    found = {name: pq.read_table(trained / "split" / name / "rows.parquet") for name in ("train", "validation", "test")}
    groups = {name: set(rows["group"].to_pylist()) for name, rows in found.items()}
    assert not groups["train"] & (groups["validation"] | groups["test"])
    assert max(found["train"]["as_of"].to_pylist()) < min(found["test"]["as_of"].to_pylist())


def test_preprocessing_refuses_rows_with_other_features(tmp_path: Path) -> None:
    rows = made_up_rows(60)
    at = rows.schema.get_field_index("feature_set")
    other = rows.set_column(at, "feature_set", pa.array(["0" * 16] * rows.num_rows))
    pq.write_table(other, tmp_path / "rows.parquet")
    done = run("preprocessing", "--input-dir", tmp_path, "--output-dir", tmp_path / "out")
    assert done.returncode == 1
    assert "materialize labelled_candidates again" in done.stderr


def test_preprocessing_names_an_empty_folder(tmp_path: Path) -> None:
    done = run("preprocessing", "--input-dir", tmp_path, "--output-dir", tmp_path / "out")
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


def test_training_prints_its_metrics_on_lines_that_the_platform_reads(trained: Path) -> None:
    log = (trained / "train.log").read_text()
    assert "validation-accuracy=" in log
    assert float(log.split("validation-accuracy=")[1].split(";")[0]) > 0.8


def test_the_same_rows_give_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    script, *arguments = _train(trained / "split", tmp_path / "model")
    assert run(str(script), *arguments).returncode == 0
    files = sorted(path.relative_to(trained / "model") for path in (trained / "model").rglob("*") if path.is_file())
    assert [str(file) for file in files] == ["calibration.json", "code/inference.py", "model.txt", "schema.json"]
    for file in files:
        assert (tmp_path / "model" / file).read_bytes() == (trained / "model" / file).read_bytes()


def test_hyperparameters_come_from_the_platform_as_json(trained: Path, tmp_path: Path) -> None:
    split = trained / "split"
    env = {
        "SM_CHANNEL_TRAIN": str(split / "train"),
        "SM_CHANNEL_VALIDATION": str(split / "validation"),
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "SM_HPS": json.dumps({"rounds": 3, "threads": 1, "unknown-of-the-platform": "x"}),
    }
    done = run("train", "--unknown-of-the-platform", "x", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.txt").read_text().count("Tree=") == 3


def test_the_model_knows_the_ranges_of_its_training_rows(trained: Path) -> None:
    schema = Schema.load(trained / "model" / "schema.json")
    assert schema is not None
    rows = pq.read_table(trained / "split" / "train" / "rows.parquet").select(FEATURES).to_pylist()
    records = [[row[name] for name in FEATURES] for row in rows if None not in row.values()]

    def asked(found: list[list[float]]) -> str:
        candidates = [{"company_id": "c", "features": features} for features in found]
        mention = {"mention_id": "m", "candidates": candidates}
        return json.dumps({"feature_names": list(FEATURES), "mentions": [mention]})

    assert len(records) > 100
    assert schema.violations(asked(records)) == []
    (said,) = schema.violations(asked([[9.0, *records[0][1:]]]))
    assert said.startswith(f"record 1: {FEATURES[0]} is 9.0, expected at most ")


def test_the_evaluation_has_metrics_slices_and_calibration(trained: Path) -> None:
    report = json.loads((trained / "evaluation" / "evaluation.json").read_text())
    assert report["metrics"]["open_set_accuracy"] > 0.8
    assert set(report["slices"]["kind"]) == {"current_name", "subsidiary"}
    assert report["slices"]["kind"]["subsidiary"]["correct_link_rate"] is None
    assert set(report["slices"]["answer"]) == {"company", "none"}
    for slices in report["slices"].values():
        assert sum(one["rows"] for one in slices.values()) == report["rows"]
    assert sum(count for _, _, count in report["calibration"]) == report["rows"]


def test_the_evaluation_reads_a_packed_model_and_says_the_same(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "model.tar.gz", "w:gz") as tar:
        tar.add(trained / "model", arcname=".")
    arguments = ("--model-dir", tmp_path / "packed", "--test-dir", trained / "split" / "test", "--output-dir", tmp_path)
    done = run("evaluation", *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "evaluation.json").read_bytes() == (trained / "evaluation" / "evaluation.json").read_bytes()


@pytest.fixture(scope="module")
def served(trained: Path) -> tuple[ModuleType, object]:
    handlers = load("inference", trained / "model" / "code")
    return handlers, handlers.model_fn(str(trained / "model"))


def ask(served: tuple[ModuleType, object], body: str | bytes) -> str:
    handlers, model = served
    return handlers.output_fn(handlers.predict_fn(handlers.input_fn(body, "application/json"), model), "*/*")[0]


def test_the_handlers_speak_the_format_of_the_platform(served: tuple[ModuleType, object]) -> None:
    rows = made_up_rows(12).to_pylist()
    questions = []
    for number in range(4):
        of_mention = rows[number * 3 : number * 3 + 3]
        features = pa.array([row["features"] for row in of_mention]).flatten().to_numpy().reshape(3, -1)
        questions.append(Question(f"m{number}", [row["company_id"] for row in of_mention], features))
    answers = parse_answers(ask(served, request_body(questions)), questions)
    assert [answer.company_id for answer in answers] == [None, "cik:1", "cik:2", None]
    assert all(0 <= score <= 1 for answer in answers for score in answer.scores)
    assert all(answer.score == max(answer.scores) for answer in answers)


def test_of_equal_candidates_the_earlier_one_is_taken(served: tuple[ModuleType, object]) -> None:
    row = made_up_rows(3).to_pylist()[4]
    candidates = [{"company_id": name, "features": row["features"]} for name in ("first", "second")]
    body = json.dumps({"feature_names": list(FEATURES), "mentions": [{"mention_id": "m", "candidates": candidates}]})
    (answer,) = json.loads(ask(served, body))["answers"]
    assert answer["company_id"] == "first"


def test_a_mention_without_candidates_is_none(served: tuple[ModuleType, object]) -> None:
    body = json.dumps({"feature_names": list(FEATURES), "mentions": [{"mention_id": "m", "candidates": []}]})
    assert json.loads(ask(served, body))["answers"] == [
        {"mention_id": "m", "company_id": None, "score": 0.0, "scores": []}
    ]


GOOD = {"company_id": "c", "features": [0.0] * len(FEATURES)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mentions": 1}, "mentions must be a list"),
        ({"mentions": [1]}, r"mentions\[0\] must be an object"),
        ({"mentions": [{"candidates": []}]}, r"mentions\[0\] has no mention_id"),
        ({"mentions": [{"mention_id": 1, "candidates": []}]}, r"mentions\[0\].mention_id must be a string"),
        ({"mentions": [{"mention_id": "m", "candidates": [{}]}]}, r"candidates\[0\] has no company_id"),
        ({"mentions": [{"mention_id": "m", "candidates": [GOOD | {"x": 1}]}]}, "unknown field 'x'"),
        ({"mentions": [{"mention_id": "m", "candidates": [GOOD | {"features": [1]}]}]}, r"candidates\[0\].features"),
        (
            {"mentions": [{"mention_id": "m", "candidates": [GOOD | {"features": ["1"] * len(FEATURES)}]}]},
            "must hold numbers only",
        ),
        (
            {"mentions": [{"mention_id": "m", "candidates": [GOOD | {"features": [float("nan")] * len(FEATURES)}]}]},
            "must be finite",
        ),
        ({"feature_names": [*FEATURES[1:], FEATURES[0]]}, r"feature_names\[0\]"),
        ({"feature_names": "x"}, "feature_names must be a list"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_a_request_outside_the_schema_is_refused_with_the_field(
    served: tuple[ModuleType, object], change: dict, field: str
) -> None:
    good = {"feature_names": list(FEATURES), "mentions": [{"mention_id": "m", "candidates": [GOOD]}]}
    with pytest.raises(ValueError, match=field):
        ask(served, json.dumps(good | change))


def test_a_body_that_is_no_json_and_another_content_type_are_refused(served: tuple[ModuleType, object]) -> None:
    handlers, _ = served
    with pytest.raises(ValueError, match="no JSON"):
        ask(served, "{")
    with pytest.raises(ValueError, match="Content-Type"):
        handlers.input_fn("{}", "text/csv")


def test_a_model_folder_whose_parts_disagree_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "model")
    (tmp_path / "model" / "schema.json").write_text('{"feature_names": ["x"]}')
    with pytest.raises(ValueError, match="different features"):
        load("inference").model_fn(str(tmp_path / "model"))


def test_calibration_finds_the_slope_and_intercept_that_made_the_answers() -> None:
    train = load("train")
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.01, 0.99, 20_000)
    chance = 1 / (1 + np.exp(-(0.7 * train.log_odds(scores) - 0.5)))
    slope, intercept = train.platt(scores, rng.random(len(scores)) < chance)
    assert slope == pytest.approx(0.7, abs=0.05)
    assert intercept == pytest.approx(-0.5, abs=0.05)


def test_the_dearer_a_false_link_the_higher_the_threshold() -> None:
    train = load("train")
    even, dear = (train.calibration(1.0, 0.0, cost) for cost in (1.0, 3.0))
    assert even["threshold"] == pytest.approx(0.5)
    assert dear["threshold"] == pytest.approx(0.75)


def test_calibration_points_rise_and_claim_no_certainty() -> None:
    points = load("train").calibration(0.8, -0.3, 2.0)["points"]
    assert points == sorted(points)
    assert all(0 < probability < 1 for _, probability in points)
