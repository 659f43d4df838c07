"""Serve the ranker: the handlers that a SageMaker inference container calls.

Request (application/json):  {"feature_names": [...], "mentions": [{"mention_id": "..", "candidates":
                              [{"company_id": "..", "features": [..]}, ..]}, ..]}
Response (application/json): {"answers": [{"mention_id", "company_id": str | null, "score", "scores": [..]}, ..]}

`score` is the calibrated probability that the best candidate is right, `scores` the same for each candidate in the
order of the request. `company_id` is null where the best stays below the model's threshold, or where there is no
candidate. Of candidates with equal scores the earlier one is the best. A request outside this schema raises
ValueError that names the field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

CONTENT_TYPE = "application/json"
MAX_ROWS = 50_000  # candidates in one request: about 15 MB of JSON, half a second of one core


@dataclass(frozen=True)
class Model:
    booster: lgb.Booster
    feature_names: list[str]
    raw: np.ndarray  # ascending raw scores and the probabilities they stand for
    probability: np.ndarray
    threshold: float


@dataclass(frozen=True)
class Request:
    mention_ids: list[str]
    company_ids: list[list[str]]
    features: np.ndarray  # one row per candidate, mention by mention
    feature_names: list[str]


def model_fn(model_dir: str) -> Model:
    """Read a model directory. Raises FileNotFoundError or ValueError where it is not one of train.py."""
    folder = Path(model_dir)
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    if booster.feature_name() != schema["feature_names"]:
        raise ValueError(f"model.txt and schema.json of {folder} name different features; train the model again.")
    points = np.array(calibration["points"], dtype=np.float64).reshape(-1, 2)
    return Model(booster, schema["feature_names"], points[:, 0], points[:, 1], float(calibration["threshold"]))


def model_warmup_fn(model_dir: str, model: Model) -> None:
    """The first prediction allocates; let no client wait for it."""
    model.booster.predict(np.zeros((1, len(model.feature_names))), num_threads=1)


def input_fn(body: str | bytes, content_type: str) -> Request:
    """Parse and check a request against the schema above (its features against the model's: `predict_fn`)."""
    if content_type.split(";")[0].strip().lower() != CONTENT_TYPE:
        raise ValueError(f"Content-Type is {content_type!r}; send {CONTENT_TYPE}.")
    try:
        request = json.loads(body)
    except ValueError as error:
        raise ValueError(f"The body is no JSON ({error}); send an object with feature_names and mentions.") from error
    _known_keys(request, ("feature_names", "mentions"), "the request")
    names = request["feature_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("feature_names must be a list of strings.")
    if not isinstance(request["mentions"], list):
        raise ValueError("mentions must be a list.")
    mention_ids: list[str] = []
    company_ids: list[list[str]] = []
    rows: list[list[float]] = []
    for at, mention in enumerate(request["mentions"]):
        where = f"mentions[{at}]"
        _known_keys(mention, ("mention_id", "candidates"), where)
        mention_ids.append(_text(mention["mention_id"], f"{where}.mention_id"))
        if not isinstance(mention["candidates"], list):
            raise ValueError(f"{where}.candidates must be a list.")
        company_ids.append([])
        for number, candidate in enumerate(mention["candidates"]):
            place = f"{where}.candidates[{number}]"
            _known_keys(candidate, ("company_id", "features"), place)
            company_ids[-1].append(_text(candidate["company_id"], f"{place}.company_id"))
            rows.append(_features(candidate["features"], len(names), f"{place}.features"))
        if len(rows) > MAX_ROWS:
            raise ValueError(f"mentions holds more than {MAX_ROWS} candidates; send smaller batches.")
    features = np.array(rows, dtype=np.float32).reshape(len(rows), len(names))
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f"features of candidate {int(np.argmin(finite))} (counted through) must be finite numbers.")
    return Request(mention_ids, company_ids, features, names)


def predict_fn(request: Request, model: Model) -> dict[str, Any]:
    """Score every candidate and pick one or none for every mention."""
    if request.feature_names != model.feature_names:
        raise ValueError(_other_features(request.feature_names, model.feature_names))
    raw = np.empty(0)
    if len(request.features):
        raw = np.asarray(model.booster.predict(request.features, num_threads=1, validate_features=False))
    answers: list[dict[str, Any]] = []
    start = 0
    for mention_id, companies in zip(request.mention_ids, request.company_ids, strict=True):
        of_mention = raw[start : start + len(companies)]
        start += len(companies)
        if not companies:
            answers.append({"mention_id": mention_id, "company_id": None, "score": 0.0, "scores": []})
            continue
        best = int(np.argmax(of_mention))
        probabilities = np.interp(of_mention, model.raw, model.probability).round(6).tolist()
        answers.append(
            {
                "mention_id": mention_id,
                "company_id": companies[best] if of_mention[best] >= model.threshold else None,
                "score": probabilities[best],
                "scores": probabilities,
            }
        )
    return {"answers": answers}


def output_fn(prediction: dict[str, Any], accept: str) -> tuple[str, str]:
    wanted = [part.split(";")[0].strip().lower() for part in (accept or "*/*").split(",")]
    if not {CONTENT_TYPE, "*/*", "application/*"} & set(wanted):
        raise ValueError(f"Accept is {accept!r}; ask for {CONTENT_TYPE}.")
    return json.dumps(prediction, separators=(",", ":")), CONTENT_TYPE


def _known_keys(value: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object with {' and '.join(keys)}.")
    for key in keys:
        if key not in value:
            raise ValueError(f"{where} has no {key}.")
    for key in value:
        if key not in keys:
            raise ValueError(f"{where} has an unknown field {key!r}; known are {', '.join(keys)}.")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a string.")
    return value


def _features(value: Any, length: int, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{where} must be a list of {length} numbers, one per feature_names.")
    if not all(type(one) is float or type(one) is int for one in value):
        raise ValueError(f"{where} must hold numbers only.")
    return value


def _other_features(given: list[str], wanted: list[str]) -> str:
    for at, (one, other) in enumerate(zip(given, wanted, strict=False)):
        if one != other:
            return f"feature_names[{at}] is {one!r}, this model wants {other!r}."
    return f"feature_names has {len(given)} names, this model wants {len(wanted)}."
