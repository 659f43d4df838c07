"""Where a text names a listed company: case, word ends, legal forms, longest unit, tickers, Korean."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgerline.filings.tables import DOCUMENTS
from ledgerline.mapping.mentions import MentionFinder, find_span, mention_rows
from ledgerline.mapping.records import Span
from ledgerline.mapping.tables import MENTIONS
from ledgerline.names.facts import facts_from_rows

LISTED = {
    "Apple Inc.": "AAPL", "AMAZON COM INC": "AMZN", "BANK OF AMERICA CORP /DE/": "BAC", "Bank of Marin Bancorp": "BMRC",
    "PROCTER & GAMBLE Co": "PG", "McDONALDS CORP": "MCD", "eBay Inc.": "EBAY", "Gap Inc": "GAP", "Visa Inc.": "V",
    "U.S. Bancorp": "USB", "Nestlé S.A.": "NSRGY", "Expedia Group, Inc.": "EXPE", "Ford Motor Co": "F", "Ford": "F",
    "BOX INC": "BOX", "HP INC": "HPQ", "S-1 CORPORATION": "SONE",
}  # fmt: skip
LISTED_KO = {"삼성전자": "005930", "삼성": "028260", "네이버": "035420", "대상": "001680", "LG전자": "066570"}
UNLISTED_KO = ["삼성이앤씨", "네이버파이낸셜"]


@pytest.fixture(scope="module")
def finder() -> MentionFinder:
    companies, names, securities = [], [], []
    names_of = [*((one, "en", True) for one in LISTED), *((one, "ko", True) for one in LISTED_KO)]
    for number, (name, language, listed) in enumerate([*names_of, *((one, "ko", False) for one in UNLISTED_KO)]):
        company = {"company_id": f"cik:{number}"}
        companies.append({**company, "name": name, "country": "US", "listed": listed, "size_rank": None})
        names.append({**company, "name": name, "kind": "name", "language": language, "source": "sec"})
        if ticker := {**LISTED, **LISTED_KO}.get(name):
            securities.append({**company, "ticker": ticker, "exchange": "Nasdaq", "source": "sec"})
    return MentionFinder.from_facts(facts_from_rows({"companies": companies, "names": names, "securities": securities}))


def surfaces(finder: MentionFinder, text: str, language: str = "en") -> list[str]:
    spans = finder.find(text, language)
    assert all(text[span.start : span.end] == span.surface for span in spans)
    return [span.surface for span in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apple and Visa rose.", ["Apple", "Visa"]),
        ("Form S-1 was filed; S-1 Corporation did not.", ["S-1 Corporation"]),
        ("APPLE INC. reports", ["APPLE INC."]),
        ("Shares of Apple, Inc. rose", ["Apple, Inc."]),
        ("Amazon.com, Inc. and Amazon.com", ["Amazon.com, Inc.", "Amazon.com"]),
        ("The Procter & Gamble Company", ["Procter & Gamble Company"]),
        ("Procter and Gamble", ["Procter and Gamble"]),
        ("U.S. Bancorp, US Bancorp", ["U.S. Bancorp", "US Bancorp"]),
        ("Nestle and Nestlé", ["Nestle", "Nestlé"]),
        ("Bank of\nAmerica Corporation", ["Bank of\nAmerica Corporation"]),
        ("Expedia beat Expedia Group.", ["Expedia", "Expedia Group"]),
        ("Ford Motor Company, Ford", ["Ford Motor Company", "Ford"]),
    ],
)
def test_names_are_found_with_their_legal_form_in_every_usual_spelling(
    finder: MentionFinder, text: str, expected: list[str]
) -> None:
    assert surfaces(finder, text) == expected


@pytest.mark.parametrize("text", ["Applebee", "Pineapple", "an apple", "bank of america", "BoxApple", "Apple2"])
def test_a_part_of_a_word_or_a_word_in_lower_case_is_no_mention(finder: MentionFinder, text: str) -> None:
    assert surfaces(finder, text) == []


def test_a_name_that_its_firm_writes_in_lower_case_is_found_so(finder: MentionFinder) -> None:
    assert surfaces(finder, "sold on eBay and ebay") == ["eBay", "ebay"]


def test_a_possessive_is_not_part_of_a_name_unless_the_name_has_it(finder: MentionFinder) -> None:
    assert surfaces(finder, "Apple's phone, Visa’s card, McDonald's fries") == ["Apple", "Visa", "McDonald's"]


def test_after_a_longer_name_that_does_not_end_with_its_word_the_shorter_one_is_found(finder: MentionFinder) -> None:
    assert surfaces(finder, "Ford Motorcade") == ["Ford"]


def test_an_everyday_word_needs_its_legal_form_and_no_word_before_it(finder: MentionFinder) -> None:
    assert surfaces(finder, "Box the Gap: Gap Inc. and the Box, Inc.") == ["Gap Inc.", "Box, Inc."]
    assert surfaces(finder, "Wide Gap Inc. is another firm; HP said; HP Inc. said") == ["HP Inc."]


def test_a_single_word_that_the_text_uses_in_lower_case_more_often_is_dropped(finder: MentionFinder) -> None:
    assert surfaces(finder, "Visa. A visa is a visa.") == []
    assert surfaces(finder, "Visa. A visa is a visa, said Visa Inc.") == ["Visa Inc."]


def test_no_name_goes_on_over_a_table_cell_a_bracket_or_a_blank_line(finder: MentionFinder) -> None:
    assert surfaces(finder, "Ford\tMotor, Ford (Motor), Ford\n\nMotor Co") == ["Ford", "Ford", "Ford"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(NASDAQ: AAPL)", ["AAPL"]),
        ("(NYSE:BAC)", ["BAC"]),
        ("buy $AAPL at $5", ["AAPL"]),
        ("<AAPL.O> up", ["AAPL"]),
        ("Apple (AAPL) rose", ["Apple", "AAPL"]),
        ("(KOSPI: 005930)", ["005930"]),
        ("the (AAPL) and $ZZZZ and NASDAQ: ZZZZ", []),
    ],
)
def test_a_ticker_is_a_mention_only_where_it_says_that_it_is_one(
    finder: MentionFinder, text: str, expected: list[str]
) -> None:
    assert surfaces(finder, text) == expected


@pytest.mark.parametrize("particle", ["", "은", "는", "이", "가", "을", "를", "의", "에", "와", "과", "도", "에서는"])
def test_a_korean_name_may_be_followed_by_a_particle(finder: MentionFinder, particle: str) -> None:
    assert surfaces(finder, f"오늘 삼성전자{particle} 올랐다", "ko") == ["삼성전자"]


@pytest.mark.parametrize("text", ["삼성전자서비스", "구삼성전자", "네이버파이낸셜", "삼성이앤씨는", "네이버웹툰이"])
def test_a_longer_korean_unit_is_not_the_shorter_firm(finder: MentionFinder, text: str) -> None:
    assert surfaces(finder, f"오늘 {text} 발표", "ko") == []


def test_a_korean_everyday_word_needs_its_legal_form(finder: MentionFinder) -> None:
    assert surfaces(finder, "대상 기업은 ㈜대상, 대상(주), 주식회사 대상 등", "ko") == ["대상"] * 3
    assert surfaces(finder, "LG전자·네이버", "ko") == ["LG전자", "네이버"]


@given(st.text(alphabet="Ap ple\n\t.'’é가㈜&😀(Inc", max_size=60))
def test_any_text_gives_ordered_spans_that_do_not_overlap(text: str) -> None:
    spans = MENTION_FINDER.find(text, "ko")
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert all(text[span.start : span.end] == span.surface != "" for span in spans)


MENTION_FINDER = MentionFinder.from_facts(
    facts_from_rows(
        {
            "companies": [{"company_id": "cik:1", "name": "Apple", "country": "US", "listed": True}],
            "names": [{"company_id": "cik:1", "name": "Apple Inc.", "kind": "name", "language": "en"}],
        }
    )
)


def test_a_surface_is_found_as_a_word_first_then_in_any_case_then_inside_a_word() -> None:
    assert find_span("Applebee, apple, Apple", "Apple") == Span(17, 22, "Apple")
    assert find_span("Applebee ate an apple", "Apple") == Span(16, 21, "apple")
    assert find_span("네이버는 올랐다", "네이버") == Span(0, 3, "네이버")
    assert find_span("nothing here", "Apple") is None
    assert find_span("nothing here", " ") is None


def test_mention_rows_keep_every_mention_with_its_context_and_the_day_the_document_was_available() -> None:
    text = "x" * 200 + " Apple " + "y" * 200 + " Apple"
    document = {
        "source": "edgar", "day": "2025-03-14", "document_id": "edgar:1:1", "language": "en", "text": text,
        "available_at": datetime(2025, 3, 15, 1, tzinfo=timezone.utc),
    }  # fmt: skip
    undated = {**document, "document_id": "edgar:1:2", "text": "Apple", "available_at": None}
    empty = {**document, "document_id": "edgar:1:3", "text": None}
    rows = mention_rows(pa.Table.from_pylist([document, undated, empty], schema=DOCUMENTS), MENTION_FINDER)
    assert rows.schema.equals(MENTIONS)
    first, second, third = rows.to_pylist()
    assert (first["mention_id"], first["surface"], first["as_of"]) == ("edgar:1:1:201:206", "Apple", "2025-03-15")
    assert (len(first["left"]), len(first["right"])) == (160, 160)
    assert (second["start"], second["right"]) == (408, "")
    assert third["as_of"] == "2025-03-14"
