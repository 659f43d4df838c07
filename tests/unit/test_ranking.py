"""Requests to the ranker and its answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.features import FEATURES
from ledgerline.mapping.ranking import BATCH_MENTIONS, Question, parse_answers, rank, request_body


def question(number: str, companies: list[str]) -> Question:
    return Question(number, companies, np.full((len(companies), len(FEATURES)), 0.1234, dtype=np.float32))


def answer_first(body: bytes) -> str:
    """An endpoint that always picks the first candidate."""
    answers = []
    for mention in json.loads(body)["mentions"]:
        companies = [candidate["company_id"] for candidate in mention["candidates"]]
        picked = companies[0] if companies else None
        scores = [0.9, *[0.1] * (len(companies) - 1)] if companies else []
        score = scores[0] if scores else 0.0
        answers.append({"mention_id": mention["mention_id"], "company_id": picked, "score": score, "scores": scores})
    return json.dumps({"answers": answers})


def test_a_request_names_the_features_and_carries_them_exactly() -> None:
    body = json.loads(request_body([question("m1", ["a", "b"])]))
    assert body["feature_names"] == list(FEATURES)
    assert body["mentions"][0]["candidates"][1] == {"company_id": "b", "features": [0.1234] * len(FEATURES)}


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="m1 has features of shape"):
        request_body([Question("m1", ["a"], np.zeros((1, 3)))])


def test_many_questions_are_asked_in_batches_and_answered_in_order() -> None:
    sizes = []

    def ask(body: bytes) -> str:
        sizes.append(len(json.loads(body)["mentions"]))
        return answer_first(body)

    questions = [question(f"m{number}", ["a"]) for number in range(BATCH_MENTIONS + 1)]
    answers = rank(questions, ask)
    assert sizes == [BATCH_MENTIONS, 1]
    assert [answer.mention_id for answer in answers] == [one.mention_id for one in questions]


def test_a_mention_without_candidates_is_answered_with_none() -> None:
    (answer,) = rank([question("m1", [])], answer_first)
    assert (answer.company_id, answer.best) == (None, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("not json", "no list of answers"),
        ('{"error": "x"}', "no list of answers"),
        ('{"answers": []}', "other mentions"),
        ('{"answers": [{"mention_id": "m2", "company_id": null, "score": 0, "scores": [0.1]}]}', "other mentions"),
        ('{"answers": [{"mention_id": "m1", "company_id": "z", "score": 1, "scores": [1]}]}', "none of its candidates"),
        ('{"answers": [{"mention_id": "m1", "company_id": "a", "score": 1, "scores": []}]}', "none of its candidates"),
    ],
)
def test_an_answer_to_something_else_is_refused(body: str, said: str) -> None:
    with pytest.raises(LedgerlineError, match=said):
        parse_answers(body, [question("m1", ["a"])])
