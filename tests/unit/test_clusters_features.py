"""Tokens, hashes and samples: the numbers must be the same on every machine, or saved states would be worthless."""

from __future__ import annotations

import numpy as np
import pytest

from ledgerline.clusters import features as module
from ledgerline.clusters.features import FIGURE_BIT, LEVEL_SHIFT, Features, extract, tokenize


def words(text: str) -> list[str]:
    tokens = tokenize(text)
    return [tokens.text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]


def phrases(features: Features) -> set[str]:
    return {features.phrase(index) for index in range(features.ids.size)}


def test_points_and_commas_belong_to_a_token_only_between_digits() -> None:
    assert words("Acme, Inc. paid $1,234.56, or 5.") == ["acme", "inc", "paid", "1,234.56", "or", "5"]


def test_korean_words_are_tokens_and_so_are_their_figures() -> None:
    assert words("삼성전자는 1,200억원을 (투자)했다.") == ["삼성전자는", "1,200억원을", "투자", "했다"]


def test_decomposed_hangul_is_the_same_as_composed() -> None:
    composed, decomposed = "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"
    assert tokenize(composed).hashes.tolist() == tokenize(decomposed).hashes.tolist()


def test_ascii_and_other_texts_hash_the_same_word_alike() -> None:
    assert tokenize("revenue").hashes[0] == tokenize("revenue – 매출").hashes[0]


def test_the_hash_of_a_word_never_changes() -> None:
    assert [hex(value) for value in tokenize("Revenue 매출 1,234").hashes] == [
        "0x7dea2d5dc8918812",
        "0x39b7473f9451d9f9",
        "0x6757cebceae2ae6b",
    ]


def test_a_text_without_letters_and_digits_has_no_features() -> None:
    for text in ("", " \n\t", "--- *** ...", "🙂🙂"):
        assert extract(text).ids.size == 0


def test_a_short_text_keeps_all_its_one_to_three_grams_once() -> None:
    assert phrases(extract("a b c a b c")) == {"a", "b", "c", "a b", "b c", "c a", "a b c", "b c a", "c a b"}


def test_only_single_words_that_begin_with_a_digit_are_figures() -> None:
    features = extract("net income of 1,250 in q1")
    assert [features.phrase(i) for i in range(features.ids.size) if features.ids[i] & FIGURE_BIT] == ["1,250"]


def test_ids_are_ascending_and_unique() -> None:
    ids = extract("one two three four five six seven eight nine ten " * 3).ids
    assert (np.diff(ids.astype(np.int64)) > 0).all()


def test_a_long_text_keeps_a_bounded_sample_from_its_level_up() -> None:
    features = extract(" ".join(f"w{number}" for number in range(20_000)), limit=384)
    assert 384 / 3 < features.ids.size <= 384
    assert features.level == int(features.ids[0] >> LEVEL_SHIFT)
    assert features.level > 5


def test_a_long_text_and_its_half_keep_the_same_features_of_what_they_share() -> None:
    half = " ".join(f"w{number}" for number in range(8_000))
    whole = half + " " + " ".join(f"w{number}" for number in range(8_000, 20_000))
    of_half, of_whole = extract(half), extract(whole)
    sampled = of_half.ids[of_half.ids >= np.uint32(of_whole.level << LEVEL_SHIFT)]
    assert sampled.size > 50
    assert np.isin(sampled, of_whole.ids).all()


def test_a_text_that_repeats_itself_keeps_all_it_has() -> None:
    once = " ".join(f"w{number % 50}" for number in range(50))
    features = extract(" ".join([once] * 2_000))
    assert features.level == 0
    assert features.ids.size == 150


def test_a_text_hashed_in_pieces_gives_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The quick 갈색 fox paid 1,234.56 for 12 ducks.\n" * 20
    whole = tokenize(text)
    monkeypatch.setattr(module, "_CHUNK", 37)
    pieces = tokenize(text)
    assert pieces.hashes.tolist() == whole.hashes.tolist()
    assert pieces.starts.tolist() == whole.starts.tolist()
    assert pieces.ends.tolist() == whole.ends.tolist()
    assert pieces.figures.tolist() == whole.figures.tolist()


def test_a_phrase_is_one_short_line_whatever_stands_between_and_inside_its_words() -> None:
    features = extract("Total:\n" + "-" * 500 + "\n 1,250 " + "x" * 5_000)
    found = phrases(features)
    assert "total 1,250" in found
    assert max(len(phrase) for phrase in found) <= 100
