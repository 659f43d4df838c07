"""Spelling rules of company names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgerline.names.normalise import (
    char_ngrams,
    compact,
    core,
    form_family,
    has_hangul,
    has_legal_form,
    loosest,
    normalise,
    stem,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Amazon.com, Inc.", "amazon com inc"),
        ("NORTHROP GRUMMAN CORP /DE/", "northrop grumman corp"),
        ("DEVON ENERGY CORP/DE", "devon energy corp"),
        ("Procter & Gamble Co", "procter and gamble co"),
        ("U.S. Bancorp", "us bancorp"),
        ("McDonald's", "mcdonalds"),
        ("L'Oréal S.A.", "loreal sa"),
        ("Great Mills III, L.L.C.", "great mills iii llc"),
        ("Novo Nordisk A/S", "novo nordisk as"),
        ("(주)카카오", "카카오"),
        ("삼성전자 주식회사", "삼성전자"),
        ("VODAFONE GROUP PUBLIC LTD CO", "vodafone group plc"),
        ("!!!", ""),
    ],
)
def test_a_name_is_lower_case_words(name: str, expected: str) -> None:
    assert normalise(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AMAZON COM INC", "amazon"),
        ("The Boeing Company", "boeing"),
        ("Apogee Corp Class A Ordinary Shares", "apogee"),
        ("Controladora Vuela S.A. de C.V.", "controladora vuela"),
        ("Expedia Group, Inc.", "expedia group"),
        ("The Inc", "inc"),
        ("Co", "co"),
    ],
)
def test_a_core_has_no_legal_form_but_always_a_word(name: str, expected: str) -> None:
    assert core(name) == expected


def test_a_stem_drops_group_and_holdings_too() -> None:
    assert stem("Expedia Group, Inc.") == "expedia"
    assert stem("Lincoln Electric Holdings Inc") == "lincoln electric"


def test_blanks_do_not_count_in_compact_keys() -> None:
    assert compact("Face Book Inc") == compact("Facebook")
    assert loosest("Net App Group") == loosest("NetApp, Inc.")


def test_a_legal_form_belongs_to_a_family() -> None:
    assert [form_family(name) for name in ("Apple", "Apple Inc.", "BP plc", "X, LLC", "Siemens AG")] == [0, 1, 2, 3, 4]
    assert has_legal_form("Apple Inc.")
    assert not has_legal_form("Expedia Group")


def test_ngrams_fit_the_script() -> None:
    assert char_ngrams("삼성전자") == ["삼성", "성전", "전자"]
    assert char_ngrams("3M Co") == ["_3m", "3m_"]
    assert char_ngrams("") == []


@given(st.text(max_size=60))
def test_any_text_has_its_keys_and_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once or "/" in text
    assert (core(text) == "") == (once == "")
    assert loosest(text) == stem(text).replace(" ", "")
    assert has_hangul(text) or not has_hangul(once)
