"""The grounding rule: no ticker without proof, and none that was not valid on the day."""

from __future__ import annotations

import json

import pytest

from ledgerline.mapping.features import name_stats
from ledgerline.mapping.grounding import Mapped, ground, map_mentions
from ledgerline.mapping.ranking import Answer
from ledgerline.mapping.records import Candidate, Mention
from tests.unit.mapping_fakes import META, FakeGraph, FakeIndex, mention, small_facts


def pick(company: str | None):
    """An endpoint that picks one company where it is offered, else none."""

    def ask(body: bytes) -> str:
        answers = []
        for asked in json.loads(body)["mentions"]:
            companies = [candidate["company_id"] for candidate in asked["candidates"]]
            scores = [0.9 if one == company else 0.2 for one in companies]
            chosen = company if company in companies else None
            best = max(scores, default=0.0)
            answers.append({"mention_id": asked["mention_id"], "company_id": chosen, "score": best, "scores": scores})
        return json.dumps({"answers": answers})

    return ask


def mapped(asked: Mention, company: str | None) -> Mapped:
    facts = small_facts()
    graph, stats = FakeGraph(facts), name_stats(facts)
    (answer,) = map_mentions([asked], index=FakeIndex(facts), graph=graph, stats=stats, ask=pick(company))
    return answer


def test_the_ticker_is_the_one_of_the_day() -> None:
    assert mapped(mention("Facebook", "2017-07-25"), META).ticker == "FB"
    assert mapped(mention("Facebook", "2024-07-25"), META).ticker == "META"


def test_the_path_leads_from_the_name_to_the_listing() -> None:
    answer = mapped(mention("Facebook", "2017-07-25"), META)
    assert [edge.label for edge in answer.path] == ["named", "listed_as"]
    assert answer.path[-1].to_id == "listing:Nasdaq:FB"
    assert answer.none_reason is None


def test_the_ranker_can_say_none() -> None:
    answer = mapped(mention("Facebook"), None)
    assert (answer.ticker, answer.none_reason) == (None, "below_threshold")
    assert answer.best is not None


def test_an_unknown_name_has_no_candidate() -> None:
    assert mapped(mention("Qxzzq"), META).none_reason == "no_candidate"


def test_a_company_that_was_not_listed_on_the_day_gets_no_ticker() -> None:
    answer = mapped(mention("Facebook", "2010-01-04"), META)
    assert (answer.company_id, answer.ticker, answer.none_reason) == (None, None, "not_listed_as_of")
    assert answer.best is not None
    assert answer.best.company_id == META


def test_a_firm_without_a_listing_gets_no_ticker() -> None:
    assert mapped(mention("카카오스타일"), "dart:6").none_reason == "not_listed_as_of"


def test_without_a_literal_name_or_a_path_there_is_no_ticker() -> None:
    graph = FakeGraph(small_facts())
    asked = mention("Metallica", "2023-01-03")
    unproven = Candidate(META, "Meta Platforms, Inc.", "name", True, {"ngram": 9.0}, {"ngram": 1})
    (answer,) = ground([asked], [[unproven]], [Answer("m", META, 0.99, (0.99,))], graph)
    assert (answer.company_id, answer.ticker, answer.none_reason) == (None, None, "not_grounded")


@pytest.mark.parametrize(
    ("right", "ticker"), [(" (NASDAQ: GOOG) rose", "GOOG"), (" rose", "GOOGL"), (" (XYZ)", "GOOGL")]
)
def test_the_share_class_that_the_text_names_is_taken_last(right: str, ticker: str) -> None:
    answer = mapped(mention("Alphabet", "2020-01-02", right=right), "cik:2")
    assert answer.ticker == ticker


def test_a_ticker_in_the_text_is_its_own_proof() -> None:
    answer = mapped(mention("GOOG", "2016-05-01"), "cik:2")
    assert answer.ticker == "GOOG"
    assert [edge.label for edge in answer.path] == ["listed_as"]
