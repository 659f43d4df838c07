"""The grounding rule: no ticker without proof, and none that was not valid on the day."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from ledgerline.mapping.features import name_stats
from ledgerline.mapping.grounding import Mapped, ground, map_mentions, ungrounded
from ledgerline.mapping.ranking import Answer
from ledgerline.mapping.records import Candidate, Mention
from ledgerline.mapping.tables import TICKER_MAPPINGS
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


def row(**changes: object) -> pa.Table:
    listing = {"from_id": f"company:{META}", "label": "listed_as", "to_id": "listing:Nasdaq:FB"}
    edge = listing | {"valid_from": "", "valid_to": "", "source": "test"}
    good = {"mention_id": "m", "surface": "Facebook", "company_id": META, "ticker": "FB", "score": 0.9}
    good |= {"none_reason": None, "path": [edge]}
    schema = pa.schema([TICKER_MAPPINGS.field(name) for name in good])
    return pa.Table.from_pylist([good | changes], schema=schema)


def test_a_proven_ticker_and_a_reasoned_none_keep_the_rule() -> None:
    assert ungrounded(row()) == []
    assert ungrounded(row(company_id=None, ticker=None, none_reason="below_threshold", path=[])) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"path": []}, "no path"),
        ({"path": None}, "no path"),
        ({"ticker": "META"}, "does not end in a listing"),
        ({"company_id": "cik:9"}, "does not end in a listing"),
        ({"score": 1.2}, "no probability"),
        ({"score": None}, "no probability"),
        ({"ticker": None}, "without a ticker"),
        ({"ticker": None, "company_id": None}, "without a reason"),
        ({"none_reason": "not_grounded"}, "for none"),
    ],
)
def test_a_broken_promise_is_found_and_said(changes: dict, why: str) -> None:
    (broken,) = ungrounded(row(**changes))
    assert why in str(broken["why"])
    assert broken["mention_id"] == "m"
