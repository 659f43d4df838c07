"""Train gradient-boosted trees on the logarithm of the characters, as a SageMaker training job.

Reads the channels `train` and `validation` (rows.parquet). Writes model.txt (LightGBM's text format), codes.json (class ->
number), schema.json (what a request may hold, for the endpoint's validation) and code/inference.py. The same rows and
hyperparameters give the same bytes. Nothing is pickled.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq
from inference import CLASSES, FEATURES, kind, matrix

SEEN = 3  # rows of a class below which it is no class of its own
DETERMINISTIC = {"objective": "regression", "deterministic": True, "force_row_wise": True, "verbosity": -1}


def read_channel(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "rows.parquet").to_pylist()


def class_codes(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Number of each class that occurs often enough, in the order of their names."""
    found = {}
    for name in CLASSES:
        counts = Counter(kind(row[name]) for row in rows)
        kept = sorted(value for value, count in counts.items() if count >= SEEN)
        found[name] = {value: number for number, value in enumerate(kept)}
    return found


def request_schema(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the requests looked like in training: types, nulls, ranges and classes of each column."""
    columns: list[dict[str, Any]] = [
        {"name": name, "type": "string", "classes": sorted({row[name] for row in rows})} for name in CLASSES
    ]
    columns.append({"name": "sequence", "type": "integer", "min": 1})
    columns.append({"name": "binary_bytes", "type": "integer", "min": 0})
    size: dict[str, Any] = {"name": "bytes", "type": "integer", "nullable": True, "min": 0}
    if seen := [row["bytes"] for row in rows if row["bytes"] is not None]:
        size["max"] = 10 * max(seen)  # beyond, the trees know no more than at the greatest they saw
    columns.append(size)
    return {"columns": columns}


def train(rows: list[dict[str, Any]], codes: dict[str, dict[str, int]], args: argparse.Namespace) -> lgb.Booster:
    parameters = DETERMINISTIC | {
        "learning_rate": args.learning_rate,
        "num_leaves": args.leaves,
        "min_data_in_leaf": args.min_rows_per_leaf,
        "min_data_per_group": args.min_rows_per_leaf,
        "cat_smooth": 2.0,
        "num_threads": args.threads,
        "seed": args.seed,
    }
    data = lgb.Dataset(
        matrix(rows, codes), targets(rows), feature_name=list(FEATURES), categorical_feature=list(CLASSES)
    )
    return lgb.train(parameters, data, num_boost_round=args.rounds)


def targets(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.log1p(np.array([row["characters"] for row in rows], dtype=float))


def r2(truth: np.ndarray, expected: np.ndarray) -> float:
    """Share of the variance of the logarithms that is explained."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - expected) ** 2).sum()) / spread if spread else 0.0


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    rows, validation = read_channel(args.train), read_channel(args.validation)
    codes = class_codes(rows)
    model = train(rows, codes, args)
    expected = np.asarray(model.predict(matrix(validation, codes), num_threads=args.threads))
    args.model_dir.mkdir(parents=True, exist_ok=True)
    model.save_model(str(args.model_dir / "model.txt"))
    write_json(args.model_dir / "codes.json", codes)
    write_json(args.model_dir / "schema.json", request_schema(rows))
    code = args.model_dir / "code"
    code.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).resolve().with_name("inference.py"), code / "inference.py")
    print(f"rows={len(rows)}; validation-rows={len(validation)};")
    print(f"validation-r2={r2(targets(validation), expected):.6f};")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    given = json.loads(os.environ.get("SM_HPS", "{}"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind_, default in (
        ("rounds", int, 200),
        ("learning-rate", float, 0.08),
        ("leaves", int, 15),
        ("min-rows-per-leaf", int, 5),
        ("threads", int, 1),
        ("seed", int, 7),
    ):
        parser.add_argument(f"--{name}", type=kind_, default=kind_(given.get(name, default)))
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
