"""Evaluate a model on the test rows and write evaluation.json, and requests.jsonl for the endpoints.

Runs as a SageMaker processing job: `evaluation.py --model-dir DIR --test-dir DIR --output-dir DIR`. The model folder
may hold the unpacked model or its model.tar.gz. The handlers of the model's own code/inference.py answer, so that
what is judged is what will be served. The same model and rows give the same bytes; nothing is timed here.

    metrics            over mentions: open_set_accuracy (right company, or none where none is right), correct_link_rate
                       (of mentions with a company), false_link_rate (linked, of mentions without one), wrong_link_rate
                       (linked to another company, of mentions with one), calibration_error (expected, 10 equal bins)
    slices             the same by `kind` (how the example was made) and by `answer` (company or none), with the number
                       of mentions as `rows`
    calibration        [mean probability, share that is right, mentions] of each bin that is not empty
    roc                [false positive rate, true positive rate] of the score, and precision_recall [recall, precision]
    confusion          what is true against what was answered
    rows               mentions

requests.jsonl holds request bodies made of test mentions from end to end, one a line: QA and live are asked them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq

NOT_FEATURES = {"mention_id", "surface", "kind", "group", "as_of", "truth", "position", "company_id", "label"}
BINS = 10
BATCH = 2_000  # mentions per request
REQUESTS = 100  # of one mention each
POINTS = 50  # of a curve


def open_model(model_dir: Path, scratch: Path) -> Path:
    """The folder of the unpacked model."""
    archive = model_dir if model_dir.is_file() else model_dir / "model.tar.gz"
    if not archive.is_file():
        return model_dir
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(scratch, filter="data")
    return scratch


def load_handlers(model_dir: Path) -> ModuleType:
    path = model_dir / "code" / "inference.py"
    spec = importlib.util.spec_from_file_location("served_inference", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"{path} is missing; train the model again, train.py puts it there.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def read_mentions(folder: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Feature names, and per mention its kind, truth and candidates as a request holds them."""
    table = pq.read_table(folder / "rows.parquet")
    names = [name for name in table.column_names if name not in NOT_FEATURES]
    matrix = np.column_stack([table[name].to_numpy() for name in names]).astype(float).tolist()
    plain = {name: table[name].to_pylist() for name in ("mention_id", "kind", "truth", "company_id")}
    mentions: list[dict[str, Any]] = []
    for at, mention_id in enumerate(plain["mention_id"]):
        if not mentions or mentions[-1]["mention_id"] != mention_id:
            mentions.append({"mention_id": mention_id, "kind": plain["kind"][at], "truth": plain["truth"][at]})
            mentions[-1]["candidates"] = []
        if plain["company_id"][at] is not None:
            candidate = {"company_id": plain["company_id"][at], "features": matrix[at]}
            mentions[-1]["candidates"].append(candidate)
    return names, mentions


def answer(handlers: ModuleType, model: Any, names: list[str], mentions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the served handlers, through their own request and response format."""
    answers: list[dict[str, Any]] = []
    for start in range(0, len(mentions), BATCH):
        batch = [{key: one[key] for key in ("mention_id", "candidates")} for one in mentions[start : start + BATCH]]
        body = json.dumps({"feature_names": names, "mentions": batch})
        response, _ = handlers.output_fn(
            handlers.predict_fn(handlers.input_fn(body, "application/json"), model), "application/json"
        )
        answers += json.loads(response)["answers"]
    return answers


def sample_requests(names: list[str], mentions: list[dict[str, Any]]) -> str:
    """Up to REQUESTS request bodies, evenly over the mentions, one per line."""
    chosen = mentions[:: max(1, len(mentions) // REQUESTS)][:REQUESTS]
    bodies = [
        {"feature_names": names, "mentions": [{key: one[key] for key in ("mention_id", "candidates")}]}
        for one in chosen
    ]
    return "".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies)


def rates(truths: list[str | None], answers: list[str | None]) -> dict[str, float | None]:
    pairs = list(zip(truths, answers, strict=True))
    with_company = [(truth, given) for truth, given in pairs if truth is not None]
    without = [given for truth, given in pairs if truth is None]
    return {
        "open_set_accuracy": _share(sum(truth == given for truth, given in pairs), len(pairs)),
        "correct_link_rate": _share(sum(truth == given for truth, given in with_company), len(with_company)),
        "false_link_rate": _share(sum(given is not None for given in without), len(without)),
        "wrong_link_rate": _share(sum(given not in (None, truth) for truth, given in with_company), len(with_company)),
    }


def _share(count: int, total: int) -> float | None:
    return round(count / total, 6) if total else None


def calibration(scores: np.ndarray, right: np.ndarray) -> tuple[float, list[list[float]]]:
    """Expected calibration error over equal bins of the probability that the best candidate is right, and the bins."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    found, error = [], 0.0
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            mean, share = float(scores[inside].mean()), float(right[inside].mean())
            error += abs(mean - share) * inside.mean()
            found.append([round(mean, 6), round(share, 6), int(inside.sum())])
    return round(float(error), 6), found


def evaluate(mentions: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, Any]:
    truths = [mention["truth"] for mention in mentions]
    given = [one["company_id"] for one in answers]
    best = [_best(mention, one) for mention, one in zip(mentions, answers, strict=True)]
    right = np.array([truth is not None and truth == one for truth, one in zip(truths, best, strict=True)])
    error, bins = calibration(np.array([one["score"] for one in answers]), right)
    slices = {
        "kind": sliced([mention["kind"] for mention in mentions], truths, given),
        "answer": sliced(["none" if truth is None else "company" for truth in truths], truths, given),
    }
    metrics = rates(truths, given) | {"calibration_error": error}
    found = {"metrics": metrics, "slices": slices, "calibration": bins, "rows": len(mentions)}
    return found | curves(np.array([one["score"] for one in answers]), right) | {"confusion": confusion(truths, given)}


def curves(scores: np.ndarray, right: np.ndarray) -> dict[str, list[list[float]]]:
    """Points of the ROC curve and of precision over recall: does the score tell best candidates that are right?"""
    order = np.argsort(-scores, kind="stable")
    hits, shown = np.cumsum(right[order]), np.arange(1, len(right) + 1)
    if not len(hits) or hits[-1] in (0, len(hits)):
        return {"roc": [], "precision_recall": []}
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # equal scores are one point
    at = last[np.unique(np.linspace(0, len(last) - 1, POINTS).astype(int))]
    true_rate, false_rate = hits[at] / hits[-1], (shown - hits)[at] / (len(hits) - hits[-1])
    roc = np.column_stack([np.r_[0, false_rate], np.r_[0, true_rate]])
    precision = np.column_stack([true_rate, hits[at] / shown[at]])
    return {"roc": roc.round(6).tolist(), "precision_recall": precision.round(6).tolist()}


def confusion(truths: list[str | None], given: list[str | None]) -> dict[str, Any]:
    """What is true (rows) against what was answered (columns)."""
    labels = ["the company", "another company", "none"]
    counts = [[0] * 3 for _ in labels]
    for truth, one in zip(truths, given, strict=True):
        answered = 2 if one is None else 0 if one == truth else 1
        counts[2 if truth is None else 0][answered] += 1
    return {"labels": labels, "counts": counts}


def sliced(values: list[str], truths: list[str | None], given: list[str | None]) -> dict[str, dict[str, Any]]:
    """The rates over the mentions of each value, and how many they are."""
    found: dict[str, dict[str, Any]] = {}
    for value in sorted(set(values)):
        inside = [at for at, one in enumerate(values) if one == value]
        found[value] = rates([truths[at] for at in inside], [given[at] for at in inside]) | {"rows": len(inside)}
    return found


def _best(mention: dict[str, Any], one: dict[str, Any]) -> str | None:
    """The candidate that `score` speaks of, whether or not it passed the threshold."""
    if not one["scores"]:
        return None
    if one["company_id"] is not None:
        return one["company_id"]
    return mention["candidates"][int(np.argmax(one["scores"]))]["company_id"]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-dir", type=Path, help="given to every processing job; the two below say more")
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("PROCESSING_MODEL_DIR"))
    parser.add_argument("--test-dir", type=Path, default=os.environ.get("PROCESSING_TEST_DIR"))
    parser.add_argument("--output-dir", type=Path, default=os.environ.get("PROCESSING_OUTPUT_DIR"))
    args = parser.parse_args(arguments)
    if None in (args.model_dir, args.test_dir, args.output_dir):
        parser.error("--model-dir, --test-dir and --output-dir are needed")
    with tempfile.TemporaryDirectory() as scratch:
        model_dir = open_model(Path(args.model_dir), Path(scratch))
        handlers = load_handlers(model_dir)
        model = handlers.model_fn(str(model_dir))
        names, mentions = read_mentions(Path(args.test_dir))
        report = evaluate(mentions, answer(handlers, model, names, mentions))
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / "evaluation.json").write_text(json.dumps(report, sort_keys=True, indent=1) + "\n", encoding="utf-8")
    (output / "requests.jsonl").write_text(sample_requests(names, mentions), encoding="utf-8")
    for name, value in sorted(report["metrics"].items()):
        print(f"{name.replace('_', '-')}={value};")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
