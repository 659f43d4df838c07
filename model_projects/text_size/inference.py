"""Serve the model: the handlers that a SageMaker inference container calls.

Request (application/json):  {"source": "edgar", "form": "10-K", "type": "10-K", "sequence": 1, "binary_bytes": 0,
                              "bytes": 120000}, or a list of such objects; `bytes` may be null, other keys are passed over.
Response (application/json): {"characters": 80512} per object, a list for a list: the expected characters of text. 0 for a
                              document that is binary. Anything else raises ValueError that names the field.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

CONTENT_TYPE = "application/json"
CLASSES = ("source", "form", "type")
NUMBERS = ("sequence", "bytes")
FEATURES = (*CLASSES, *NUMBERS)
MAX_ROWS = 100_000
PERIOD = re.compile(r" \(\d{4}\.\d{2}\)$")  # DART writes the period behind the name of a report


@dataclass(frozen=True)
class Model:
    booster: lgb.Booster
    codes: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Request:
    rows: list[dict[str, Any]]
    single: bool


def kind(text: object) -> str:
    """A form or type without its period, upper case: what is one class."""
    return PERIOD.sub("", str(text)).strip().upper()


def matrix(rows: list[dict[str, Any]], codes: dict[str, dict[str, int]]) -> np.ndarray:
    """Features of rows, one row each in the order of FEATURES; a class that training did not know is missing (NaN)."""
    found = np.full((len(rows), len(FEATURES)), np.nan)
    for at, row in enumerate(rows):
        for column, name in enumerate(CLASSES):
            found[at, column] = codes[name].get(kind(row[name]), np.nan)
        found[at, -2] = row["sequence"]
        if row["bytes"] is not None:
            found[at, -1] = math.log1p(row["bytes"])
    return found


def model_fn(model_dir: str) -> Model:
    """Read a model directory. Raises FileNotFoundError or ValueError where it is not one of train.py."""
    folder = Path(model_dir)
    codes = json.loads((folder / "codes.json").read_text(encoding="utf-8"))
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    if booster.feature_name() != list(FEATURES) or set(codes) != set(CLASSES):
        raise ValueError(f"model.txt and codes.json of {folder} are of another train.py; train the model again.")
    return Model(booster, codes)


def model_warmup_fn(model_dir: str, model: Model) -> None:
    """The first prediction allocates; let no client wait for it."""
    model.booster.predict(np.zeros((1, len(FEATURES))), num_threads=1)


def input_fn(body: str | bytes, content_type: str) -> Request:
    """Parse and check a request against the schema above."""
    if content_type.split(";")[0].strip().lower() != CONTENT_TYPE:
        raise ValueError(f"Content-Type is {content_type!r}; send {CONTENT_TYPE}.")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise ValueError(f"The body is no JSON ({error}); send an object or a list of objects.") from error
    rows = request if isinstance(request, list) else [request]
    if not 1 <= len(rows) <= MAX_ROWS:
        raise ValueError(f"{len(rows)} rows in one request; send 1 to {MAX_ROWS}.")
    for number, row in enumerate(rows):
        _check(row, number)
    return Request(rows, single=not isinstance(request, list))


def _check(row: object, number: int) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"Row {number} is no object; send one with {', '.join((*FEATURES, 'binary_bytes'))}.")
    for name in (*FEATURES, "binary_bytes"):
        if name not in row:
            raise ValueError(f"Row {number} has no {name}; send it.")
    for name in CLASSES:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} of row {number} must be text, not {row[name]!r}.")
    for name in (*NUMBERS, "binary_bytes"):
        value = row[name]
        number_ = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        if not number_ and not (name == "bytes" and value is None):
            raise ValueError(f"{name} of row {number} must be a number from 0, not {value!r}.")


def predict_fn(request: Request, model: Model) -> Any:
    logs = np.asarray(model.booster.predict(matrix(request.rows, model.codes), num_threads=1))
    answers = [
        {"characters": 0 if row["binary_bytes"] else max(0, round(math.expm1(min(log, 30.0))))}
        for row, log in zip(request.rows, logs, strict=True)
    ]
    return answers[0] if request.single else answers


def output_fn(prediction: Any, accept: str) -> tuple[str, str]:
    return json.dumps(prediction, separators=(",", ":")), CONTENT_TYPE
