"""`make ask`: what it refuses, and what it prints, with a hand-written endpoint behind it."""

from __future__ import annotations

import json
from datetime import date
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cli.ask import WHY_NONE, Asked, answer, ask, parse_day, show
from cli.progress import Progress
from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.mapping.features import name_stats
from tests.unit.mapping_fakes import META, FakeGraph, FakeIndex, small_facts
from tests.unit.release_fakes import MemoryObjects

DAY = date(2017, 7, 25)
TEXT = "Facebook shares rose after its report."
DIGEST = "c" * 64


class Ranker:
    """An endpoint that prefers META with `score`, and answers it if that is at least a half."""

    def __init__(self, score: float = 0.9, *, live: bool = True) -> None:
        self.score, self.live = score, live

    def describe_endpoint(self, endpoint: str) -> Any:
        return SimpleNamespace(model_digest=DIGEST) if self.live else None

    def invoke(self, endpoint: str, body: bytes, content_type: str) -> Any:
        answers = []
        for mention in json.loads(body)["mentions"]:
            companies = [candidate["company_id"] for candidate in mention["candidates"]]
            scores = [self.score if company == META else 0.01 for company in companies]
            best = META if META in companies and self.score >= 0.5 else None
            one = {"mention_id": mention["mention_id"], "company_id": best, "score": max(scores, default=0.0)}
            answers.append({**one, "scores": scores})
        return SimpleNamespace(body=json.dumps({"answers": answers}).encode(), model_digest=DIGEST)


def resources(ranker: Ranker) -> dict[str, Any]:
    facts, objects = small_facts(), MemoryObjects()
    objects.put(objects.uri("candidate_index", "fake.stats.json"), name_stats(facts).to_json().encode())
    return {
        "candidate_index_store": FakeIndex(facts),
        "knowledge_graph_store": FakeGraph(facts),
        "object_store": objects,
        "sagemaker": ranker,
    }


def printed(surface: str, asked: Asked, day: date = DAY) -> str:
    out = StringIO()
    show(Progress(Console(file=out, highlight=False, soft_wrap=True)), surface, day, asked)
    return out.getvalue()


def test_a_day_is_an_iso_day_and_today_where_none_is_given() -> None:
    assert parse_day("2017-07-25") == DAY
    assert parse_day("") == date.today()


@pytest.mark.parametrize("text", ["25.7.2017", "2017-02-30", "yesterday", "2017"])
def test_what_is_no_day_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"AS_OF='{text}' is no day; write it as 2017-07-25"):
        parse_day(text)


@pytest.mark.parametrize("mention", ["", "  "])
def test_a_question_without_a_mention_is_refused_with_an_example(mention: str) -> None:
    with pytest.raises(ConfigurationError, match="make ask MENTION="):
        ask(mention, "text", "2017-07-25")


def test_a_text_without_the_mention_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the text does not hold the mention 'Google'; give a TEXT"):
        answer(resources(Ranker()), "Google", TEXT, DAY)


def test_before_anything_is_live_the_remedy_is_said() -> None:
    with pytest.raises(LedgerlineError, match="the endpoint ticker-ranker is not live; run `make demo`"):
        answer(resources(Ranker(live=False)), "Facebook", TEXT, DAY)


def test_an_answer_is_the_ticker_of_that_day_with_its_proof_model_and_runners_up() -> None:
    asked = answer(resources(Ranker()), "Facebook", TEXT, DAY)
    assert (asked.mapped.ticker, asked.model_digest) == ("FB", DIGEST)
    lines = printed("Facebook", asked).splitlines()
    assert lines[0] == f"Facebook as of 2017-07-25 -> FB (Nasdaq), {META}, score 0.900"
    assert any(line.startswith("  proof: ") for line in lines)
    assert lines[-1].startswith(f"  model {DIGEST[:12]}, ")
    assert not [line for line in lines if line.startswith("  runner-up: ") and META in line]


def test_none_says_why() -> None:
    asked = answer(resources(Ranker(0.2)), "Facebook", TEXT, DAY)
    assert asked.mapped.ticker is None
    first = printed("Facebook", asked).splitlines()[0]
    assert first == f"Facebook as of 2017-07-25 -> none: {WHY_NONE['below_threshold']} (best score 0.200)"


def test_every_reason_for_none_has_words() -> None:
    from typing import get_args

    from ledgerline.mapping.grounding import NoneReason

    assert set(WHY_NONE) == set(get_args(NoneReason))
