"""Training examples made from facts alone."""

from __future__ import annotations

from collections import Counter

import pytest

from ledgerline.mapping.features import FEATURE_SET, FEATURES, name_stats
from ledgerline.mapping.labelled import LabelledMention, labelled_candidate_rows, labelled_mentions, labelled_table
from ledgerline.mapping.tables import LABELLED_CANDIDATES
from ledgerline.names.facts import Facts, facts_from_rows
from ledgerline.names.normalise import core
from tests.unit.mapping_fakes import ALPHABET, GOOGLE, META, FakeGraph, FakeIndex, mention, small_facts


@pytest.fixture(scope="module")
def facts() -> Facts:
    return small_facts()


@pytest.fixture(scope="module")
def examples(facts: Facts) -> list[LabelledMention]:
    return labelled_mentions(facts, seed=3, count=600)


def test_the_same_seed_gives_the_same_examples(facts: Facts, examples: list[LabelledMention]) -> None:
    assert labelled_mentions(facts, seed=3, count=600) == examples
    assert labelled_mentions(facts, seed=4, count=600) != examples


def test_there_are_positives_and_negatives_of_many_kinds(examples: list[LabelledMention]) -> None:
    kinds = Counter(example.kind for example in examples)
    assert {"current_name", "former_name", "lower_case_word", "subsidiary", "hidden_company", "korean_name"} <= set(
        kinds
    )
    positives = sum(example.truth is not None for example in examples)
    assert 0.2 < positives / len(examples) < 0.8


def test_a_hidden_company_is_among_the_hidden_and_has_no_truth(examples: list[LabelledMention]) -> None:
    hidden = [example for example in examples if example.kind == "hidden_company"]
    assert hidden
    assert all(example.truth is None and example.group in example.hidden for example in hidden)


def test_a_lower_case_word_is_lower_case_and_no_company(examples: list[LabelledMention]) -> None:
    words = [example for example in examples if example.kind == "lower_case_word"]
    assert words
    assert all(example.mention.surface.islower() and example.truth is None for example in words)


def test_no_negative_bears_the_name_of_a_listed_company(facts: Facts, examples: list[LabelledMention]) -> None:
    listed = {core(row["name"]) for row in facts.names.to_pylist() if row["company_id"] != "dart:6"}
    made = [example for example in examples if example.kind in ("subsidiary", "invented", "near_name", "shared_words")]
    assert made
    assert not [example for example in made if core(example.mention.surface) in listed]


def test_a_name_means_the_successor_once_there_is_one(examples: list[LabelledMention]) -> None:
    of_google = [example for example in examples if example.group == GOOGLE and example.truth]
    later = [example for example in of_google if example.mention.as_of.isoformat() >= "2015-10-02"]
    earlier = [example for example in of_google if example.mention.as_of.isoformat() < "2015-10-02"]
    assert later
    assert {example.truth for example in later} == {ALPHABET}
    assert {example.truth for example in earlier} <= {GOOGLE}


def test_sentences_carry_the_surface_between_left_and_right(examples: list[LabelledMention]) -> None:
    assert any(example.mention.left and example.mention.right for example in examples)
    assert not any("{" in example.mention.left + example.mention.right for example in examples)


def test_rows_have_the_schema_one_label_at_most_and_the_feature_set(facts: Facts) -> None:
    rows = labelled_candidate_rows(
        facts, index=FakeIndex(facts), graph=FakeGraph(facts), stats=name_stats(facts), count=120
    )
    assert rows.schema == LABELLED_CANDIDATES
    assert rows["feature_set"].unique().to_pylist() == [FEATURE_SET]
    assert {len(features) for features in rows["features"].to_pylist()} == {len(FEATURES)}
    labels: Counter[str] = Counter()
    for row in rows.to_pylist():
        labels[row["mention_id"]] += row["label"]
        assert row["label"] == (row["company_id"] is not None and row["company_id"] == row["truth"])
    assert len(labels) == 120
    assert max(labels.values()) == 1


def test_a_hidden_company_is_taken_out_of_the_candidates(facts: Facts) -> None:
    example = LabelledMention(mention("Facebook"), None, "hidden_company", META, frozenset({META}))
    rows = labelled_table([example], index=FakeIndex(facts), graph=FakeGraph(facts), stats=name_stats(facts))
    assert META not in rows["company_id"].to_pylist()


def test_a_mention_without_candidates_keeps_a_row(facts: Facts) -> None:
    example = LabelledMention(mention("Qxzzq"), META, "typo", META)
    rows = labelled_table(
        [example], index=FakeIndex(facts), graph=FakeGraph(facts), stats=name_stats(facts)
    ).to_pylist()
    assert [(row["company_id"], row["truth"], row["label"]) for row in rows] == [(None, META, 0)]


def test_facts_without_a_listed_company_are_refused() -> None:
    with pytest.raises(ValueError, match="no listed company"):
        labelled_mentions(facts_from_rows({}), seed=1, count=1)
