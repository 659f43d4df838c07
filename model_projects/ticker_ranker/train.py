"""Train the ranker: a LightGBM classifier of (mention, candidate) rows, a calibration and a threshold for "none".

Runs as a SageMaker training job: channels `train` and `validation` (rows.parquet of preprocessing.py),
hyperparameters as arguments or in SM_HPS. The model directory gets

    model.txt          the trees, as LightGBM's text
    calibration.json   raw score of the best candidate -> probability that it is right; and the threshold
    schema.json        the names of the features, in order, and the range of each that training saw
    code/inference.py  what serves it, so that model.tar.gz is complete

The same rows and hyperparameters give the same bytes. Nothing here is pickled.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq

NOT_FEATURES = {"mention_id", "surface", "kind", "group", "as_of", "truth", "position", "company_id", "label"}
# The candidate number 1 of a mention must win by its evidence, so that rows are weighted equally: no class weights.
FIXED = {"objective": "binary", "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 2.0, "verbosity": -1}
EDGE = 1e-4  # raw scores beyond are no more certain than this
NEWTON_STEPS, GRID_POINTS = 50, 61
DETERMINISTIC = {"deterministic": True, "force_row_wise": True}


@dataclass(frozen=True)
class Channel:
    """Rows of one channel: features (rows x features), labels, and where each mention begins (`starts`, plus end)."""

    names: list[str]
    features: np.ndarray
    labels: np.ndarray
    candidates: np.ndarray  # False for the placeholder row of a mention without any candidate
    starts: np.ndarray
    has_truth: np.ndarray  # per mention


def read_channel(folder: Path) -> Channel:
    table = pq.read_table(folder / "rows.parquet")
    names = [name for name in table.column_names if name not in NOT_FEATURES]
    features = np.column_stack([table[name].to_numpy() for name in names]).astype(np.float32)
    mentions = np.array(table["mention_id"].to_pylist())
    starts = np.flatnonzero(np.r_[True, mentions[1:] != mentions[:-1]])
    truth = np.array([one is not None for one in table["truth"].to_pylist()])
    return Channel(
        names,
        features,
        table["label"].to_numpy().astype(np.int8),
        np.array([one is not None for one in table["company_id"].to_pylist()]),
        np.r_[starts, len(mentions)],
        truth[starts],
    )


def best_of_mentions(channel: Channel, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per mention the score of its best candidate (0 where it has none), and whether that candidate is right.

    Equal scores: the earlier candidate, which is the one that retrieval found better.
    """
    best, right = [], []
    for start, end in zip(channel.starts[:-1], channel.starts[1:], strict=True):
        at = start + int(np.argmax(scores[start:end]))
        best.append(scores[at] if channel.candidates[at] else 0.0)
        right.append(bool(channel.labels[at]))
    return np.array(best), np.array(right)


def platt(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the probability in log odds: sigmoid(slope * log_odds(score) + intercept).

    Platt 1999 with his smoothed targets, by Newton's method. Two numbers fitted to all mentions move less from one
    training to the next than steps or a threshold chosen on the few mentions near it.
    """
    odds = log_odds(scores)
    positives = float(right.sum())
    high, low = (positives + 1) / (positives + 2), 1 / (len(right) - positives + 2)
    targets = np.where(right, high, low)
    design = np.column_stack([odds, np.ones_like(odds)])
    found = np.array([1.0, 0.0])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-design @ found))
        weight = np.maximum(chance * (1 - chance), 1e-9)
        curvature = design.T @ (design * weight[:, None]) + 1e-6 * np.eye(2)
        found = found - np.linalg.solve(curvature, design.T @ (chance - targets))
    return float(max(found[0], 1e-3)), float(found[1])


def log_odds(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, EDGE, 1 - EDGE)
    return np.log(clipped / (1 - clipped))


def calibration(slope: float, intercept: float, false_link_cost: float) -> dict[str, object]:
    """Points (raw score, probability), rising, and the raw score from which linking costs less than not linking.

    Linking with probability p costs (1 - p) * false_link_cost, not linking p: the limit is at cost / (1 + cost).
    """
    limit = math.log(false_link_cost)  # log odds of cost / (1 + cost)
    edge = float(log_odds(np.array([1.0]))[0])
    grid = np.linspace(-edge, edge, GRID_POINTS)
    points = np.column_stack([1 / (1 + np.exp(-grid)), 1 / (1 + np.exp(-(slope * grid + intercept)))])
    threshold = 1 / (1 + math.exp(-(limit - intercept) / slope))
    return {"points": points.round(6).tolist(), "threshold": round(threshold, 6)}


def train(train_rows: Channel, args: argparse.Namespace) -> lgb.Booster:
    parameters = FIXED | DETERMINISTIC
    parameters |= {
        "learning_rate": args.learning_rate,
        "num_leaves": args.leaves,
        "min_data_in_leaf": args.min_rows_per_leaf,
        "feature_fraction": args.feature_fraction,
        "num_threads": args.threads,
        "seed": args.seed,
    }
    used = train_rows.candidates
    data = lgb.Dataset(train_rows.features[used], train_rows.labels[used], feature_name=train_rows.names)
    return lgb.train(parameters, data, num_boost_round=args.rounds)


def schema_of(rows: Channel) -> dict[str, object]:
    """What a request is checked by where the model is served (docs/local_sagemaker.md): ranges, one step of float32 wide
    of what was seen, since a request has the unrounded values."""
    seen = rows.features[rows.candidates]
    low = np.nextafter(seen.min(axis=0), np.float32(-np.inf)).tolist()
    high = np.nextafter(seen.max(axis=0), np.float32(np.inf)).tolist()
    columns = [
        {"name": name, "type": "number", "min": least, "max": most}
        for name, least, most in zip(rows.names, low, high, strict=True)
    ]
    return {"feature_names": rows.names, "at": ["mentions", "candidates", "features"], "columns": columns}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    rows, validation = read_channel(args.train), read_channel(args.validation)
    if rows.names != validation.names:
        print("The channels train and validation have different features; run preprocessing.py again.", file=sys.stderr)
        return 1
    model = train(rows, args)
    scores = np.asarray(model.predict(validation.features, num_threads=args.threads))
    best, right = best_of_mentions(validation, scores)
    found = calibration(*platt(best, right), args.false_link_cost)
    threshold = found["threshold"]
    linked = best >= threshold
    accuracy = float(np.mean(np.where(linked, right, ~validation.has_truth)))
    chance = np.clip(scores[validation.candidates], 1e-7, 1 - 1e-7)
    labels = validation.labels[validation.candidates]
    loss = float(-np.mean(np.where(labels == 1, np.log(chance), np.log(1 - chance))))
    args.model_dir.mkdir(parents=True, exist_ok=True)
    model.save_model(str(args.model_dir / "model.txt"))
    write_json(args.model_dir / "calibration.json", found)
    write_json(args.model_dir / "schema.json", schema_of(rows))
    code = args.model_dir / "code"
    code.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).resolve().with_name("inference.py"), code / "inference.py")
    print(f"rows={len(rows.labels)}; mentions={len(rows.has_truth)}; features={len(rows.names)};")
    print(f"validation-accuracy={accuracy:.6f};")
    print(f"validation-log-loss={loss:.6f};")
    print(f"threshold={threshold:.6f};")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    given = json.loads(os.environ.get("SM_HPS", "{}"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, default in (
        ("rounds", int, 350),
        ("learning-rate", float, 0.06),
        ("leaves", int, 31),
        ("min-rows-per-leaf", int, 20),
        ("feature-fraction", float, 0.7),
        ("false-link-cost", float, 2.0),
        ("threads", int, 2),
        ("seed", int, 7),
    ):
        parser.add_argument(f"--{name}", type=kind, default=kind(given.get(name, default)))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--validation", type=Path, default=os.environ.get("SM_CHANNEL_VALIDATION"))
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    args, _ = parser.parse_known_args(arguments)  # platforms may add hyperparameters of their own
    for name in ("train", "validation", "model_dir"):
        if getattr(args, name) is None:
            parser.error(f"--{name.replace('_', '-')} is needed where the platform sets no SM_ variable for it")
    args.train, args.validation, args.model_dir = Path(args.train), Path(args.validation), Path(args.model_dir)
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
