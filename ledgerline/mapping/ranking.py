"""What is asked of the ranker's endpoint and what it answers: batches of JSON, no network.

Pure: whoever has an endpoint (the `ticker_mappings` asset, `ask`, a benchmark) sends the bytes and hands the answer
back. The format is that of `model_projects/ticker_ranker/inference.py`; what an answer is worth is decided in
`grounding`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.features import DECIMALS, FEATURES

CONTENT_TYPE = "application/json"
BATCH_MENTIONS = 200  # about 1 MB of JSON: well below the endpoint's limit of 6 MB, and some 100 ms of its time


@dataclass(frozen=True, slots=True)
class Question:
    """A mention with the companies that it may mean and their features, one row each in the order of FEATURES."""

    mention_id: str
    company_ids: Sequence[str]
    features: np.ndarray


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ranker says: the company, or None, and the calibrated probability that its best candidate is right."""

    mention_id: str
    company_id: str | None
    score: float
    scores: tuple[float, ...]  # per candidate, in the order of the question

    @property
    def best(self) -> int | None:
        """The position of the best candidate, whether or not it was good enough; None without candidates."""
        return int(np.argmax(self.scores)) if self.scores else None


def request_body(questions: Sequence[Question]) -> bytes:
    """One request as the endpoint wants it. Raises ValueError where a row does not have one number per feature."""
    mentions = []
    for question in questions:
        if question.features.shape != (len(question.company_ids), len(FEATURES)):
            raise ValueError(
                f"Mention {question.mention_id} has features of shape {question.features.shape}, expected "
                f"({len(question.company_ids)}, {len(FEATURES)}); make its candidate set again."
            )
        rows = np.round(question.features.astype(np.float64), DECIMALS).tolist()
        candidates = [
            {"company_id": company_id, "features": row}
            for company_id, row in zip(question.company_ids, rows, strict=True)
        ]
        mentions.append({"mention_id": question.mention_id, "candidates": candidates})
    return json.dumps({"feature_names": list(FEATURES), "mentions": mentions}, separators=(",", ":")).encode()


def parse_answers(body: bytes | str, questions: Sequence[Question]) -> list[Answer]:
    """The answers to the questions, in their order. Raises LedgerlineError for an answer that is not to them."""
    try:
        given = json.loads(body)["answers"]
        answers = [
            Answer(one["mention_id"], one["company_id"], float(one["score"]), tuple(map(float, one["scores"])))
            for one in given
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerlineError(
            f"The ranker answered something that is no list of answers ({error!r}); look at the endpoint's log."
        ) from error
    asked = [question.mention_id for question in questions]
    if [answer.mention_id for answer in answers] != asked:
        raise LedgerlineError("The ranker answered other mentions than were asked; look at the endpoint's log.")
    for answer, question in zip(answers, questions, strict=True):
        known = answer.company_id is None or answer.company_id in question.company_ids
        if not known or len(answer.scores) != len(question.company_ids):
            raise LedgerlineError(
                f"The ranker answered {answer.company_id} for {answer.mention_id}, which is none of its candidates; "
                "look at the endpoint's log."
            )
    return answers


def rank(questions: Sequence[Question], ask: Callable[[bytes], bytes | str]) -> list[Answer]:
    """All answers, asked for in batches; `ask` sends one request body and returns the response body."""
    answers: list[Answer] = []
    for batch in batches(questions):
        answers += parse_answers(ask(request_body(batch)), batch)
    return answers


def batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    for start in range(0, len(questions), BATCH_MENTIONS):
        yield questions[start : start + BATCH_MENTIONS]
