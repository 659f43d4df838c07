"""Evaluate a model on the test rows and write evaluation.json, and requests.jsonl for the endpoints.

Runs as a SageMaker processing job: `evaluation.py --model-dir DIR --test-dir DIR --output-dir DIR`. The handlers of the
model's own code/inference.py answer, so that what is judged is what will be served. The same model and rows give the same
bytes.

    metrics     over documents: r2 (of the logarithms), within_factor_two (share whose length is between half and twice what
                was expected), median_factor (median of the greater through the smaller)
    slices      the same by `source` and by `form`, with the number of documents as `rows`
    residuals   [characters, expected characters] of up to 500 documents
    rows        documents
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

REQUESTS, SHOWN = 100, 500
ASKED = ("document_id", "source", "form", "type", "sequence", "binary_bytes", "bytes")


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


def metrics(truth: np.ndarray, expected: np.ndarray) -> dict[str, float | None]:
    """Of characters and expected characters; r2 is None where all documents have one length."""
    left, right = np.log1p(truth), np.log1p(expected)
    spread = float(((left - left.mean()) ** 2).sum())
    factor = np.exp(np.abs(left - right))
    return {
        "r2": round(1 - float(((left - right) ** 2).sum()) / spread, 6) if spread else None,
        "within_factor_two": round(float((factor <= 2).mean()), 6),
        "median_factor": round(float(np.median(factor)), 6),
    }


def evaluate(rows: list[dict[str, Any]], answers: list[dict[str, Any]], kinds: list[str]) -> dict[str, Any]:
    truth = np.array([row["characters"] for row in rows], dtype=float)
    expected = np.array([answer["characters"] for answer in answers], dtype=float)
    slices = {}
    for by, values in (("source", [row["source"] for row in rows]), ("form", kinds)):
        slices[by] = {
            value: metrics(truth[inside], expected[inside]) | {"rows": int(inside.sum())}
            for value in sorted(set(values))
            if (inside := np.array([one == value for one in values])).any()
        }
    step = max(1, len(rows) // SHOWN)
    pairs = [[int(one), int(other)] for one, other in zip(truth[::step], expected[::step], strict=True)]
    return {"metrics": metrics(truth, expected), "slices": slices, "residuals": pairs[:SHOWN], "rows": len(rows)}


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
        rows = pq.read_table(Path(args.test_dir) / "rows.parquet").to_pylist()
        asked = [{name: row[name] for name in ASKED} for row in rows]
        request = handlers.input_fn(json.dumps(asked), "application/json")
        answers = json.loads(handlers.output_fn(handlers.predict_fn(request, model), "application/json")[0])
        report = evaluate(rows, answers, [handlers.kind(row["form"]) for row in rows])
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / "evaluation.json").write_text(
        json.dumps(report, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    chosen = asked[:: max(1, len(asked) // REQUESTS)][:REQUESTS]
    lines = [json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in chosen]
    (output / "requests.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for name, value in sorted(report["metrics"].items()):
        print(f"{name.replace('_', '-')}={value};")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
