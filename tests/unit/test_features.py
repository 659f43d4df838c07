"""What the ranker looks at."""

from __future__ import annotations

import numpy as np
import pytest

from ledgerline.mapping.candidates import candidate_sets
from ledgerline.mapping.features import DECIMALS, FEATURE_SET, FEATURES, NameStats, feature_matrix, name_stats
from ledgerline.mapping.records import Mention
from tests.unit.mapping_fakes import ALPHABET, CISCO, META, STYLE, FakeGraph, FakeIndex, mention, small_facts


def row_of(asked: Mention, company: str) -> dict[str, float]:
    """The features of one candidate by name."""
    facts = small_facts()
    (found,) = candidate_sets([asked], index=FakeIndex(facts), graph=FakeGraph(facts))
    matrix = feature_matrix(asked, found, name_stats(facts))
    assert matrix.shape == (len(found), len(FEATURES))
    at = [candidate.company_id for candidate in found].index(company)
    return dict(zip(FEATURES, matrix[at].tolist(), strict=True))


def test_every_feature_has_a_name_of_its_own() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert len(FEATURE_SET) == 16


def test_no_candidates_give_no_rows() -> None:
    matrix = feature_matrix(mention("x"), [], name_stats(small_facts()))
    assert matrix.shape == (0, len(FEATURES))
    assert matrix.dtype == np.float32


def test_case_is_seen() -> None:
    assert row_of(mention("cisco"), CISCO)["surface_lower"] == 1
    assert row_of(mention("Cisco"), CISCO)["surface_lower"] == 0
    assert row_of(mention("CISCO"), CISCO)["surface_upper"] == 1


def test_a_short_name_begins_the_long_one() -> None:
    row = row_of(mention("Cisco"), CISCO)
    assert row["surface_starts_name"] == 1
    assert row["name_words_right"] == 1
    assert row["surface_covered"] == 1
    assert row["name_covered"] < 1


def test_words_behind_the_name_are_counted_apart_from_words_before_it() -> None:
    behind = row_of(mention("Cisco Systems Travel Nederland BV"), CISCO)
    before = row_of(mention("Traders Sell Cisco Systems Inc"), CISCO)
    assert (behind["words_left"], behind["words_right"]) == (0, 2)
    assert (before["words_left"], before["words_right"]) == (2, 0)


def test_a_foreign_legal_form_disagrees_with_an_american_one() -> None:
    assert row_of(mention("Cisco Systems BV"), CISCO)["same_form"] == -1
    assert row_of(mention("Cisco Systems Corp"), CISCO)["same_form"] == 1
    assert row_of(mention("Cisco Systems"), CISCO)["same_form"] == 0


def test_days_outside_a_name_are_counted_in_years() -> None:
    inside, after = row_of(mention("Facebook", "2020-01-02"), META), row_of(mention("Facebook", "2023-10-27"), META)
    assert inside["name_years_late"] == 0
    assert after["name_years_late"] == pytest.approx(2, abs=0.01)
    assert row_of(mention("Alphabet", "2014-10-02"), ALPHABET)["name_years_early"] == pytest.approx(1, abs=0.01)


def test_a_firm_without_a_listing_is_marked_and_weighs_on_its_rivals() -> None:
    asked = mention("카카오스타일")
    assert row_of(asked, STYLE)["is_listed"] == 0
    rival = row_of(asked, "dart:5")
    assert rival["is_listed"] == 1
    assert rival["unlisted_lead"] > 0


def test_a_ticker_in_brackets_speaks_for_its_company_and_against_others() -> None:
    asked = mention("Cisco", right=" (NASDAQ: CSCO) rose")
    assert row_of(asked, CISCO)["ticker_in_context"] == 1
    assert row_of(mention("Cisco", right=" (NASDAQ: META) rose"), CISCO)["ticker_in_context"] == -1
    assert row_of(mention("Cisco", right=" rose"), CISCO)["ticker_in_context"] == 0


def test_the_rest_of_a_name_right_before_the_span_is_seen() -> None:
    assert row_of(mention("Systems Inc", left="shares of Cisco "), CISCO)["context_completes"] == 1
    assert row_of(mention("Systems Inc", left="shares of Acme "), CISCO)["context_completes"] == 0


def test_an_article_before_the_word_is_seen() -> None:
    assert row_of(mention("cisco", left="bought the "), CISCO)["after_article"] == 1
    assert row_of(mention("cisco", left="bought "), CISCO)["after_article"] == 0


def test_a_possessive_does_not_hide_the_name() -> None:
    assert row_of(mention("Cisco Systems's"), CISCO)["ratio"] == 1


def test_features_do_not_depend_on_the_mentions_before() -> None:
    first = row_of(mention("Facebook"), META)
    row_of(mention("Cisco"), CISCO)
    assert row_of(mention("Facebook"), META) == first


def test_rows_are_rounded_so_that_json_carries_them_exactly() -> None:
    facts = small_facts()
    asked = mention("Facebook Group")
    (found,) = candidate_sets([asked], index=FakeIndex(facts), graph=FakeGraph(facts))
    matrix = feature_matrix(asked, found, name_stats(facts))
    assert np.array_equal(np.round(matrix.astype(np.float64), DECIMALS).astype(np.float32), matrix)


def test_statistics_survive_json_and_count_listed_companies_only() -> None:
    stats = name_stats(small_facts())
    assert NameStats.from_json(stats.to_json()) == stats
    assert stats.unlisted == {STYLE}
    assert stats.rarity("cisco") < stats.rarity("neverseen") == 1
    assert "스타" not in stats.word_rarity
    assert stats.listed_days[META] == ("2012-05-18", "")
