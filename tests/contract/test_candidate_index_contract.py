"""What every candidate index must do: tantivy in process, and OpenSearch where it can be had."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.ports import CandidateIndex
from ledgerline.mapping.records import Hit, NameEntry
from resources.candidate_index import TantivyCandidateIndex
from resources.opensearch_index import OpenSearchCandidateIndex


def entry(company: str, name: str, kind: str = "name", language: str = "en", valid_to: str = "") -> NameEntry:
    return NameEntry(f"{company}|{name}", company, name, kind, language, "", valid_to, "edgar")


APPLE, PINEAPPLE, META, KAKAO, STYLE, EXPEDIA = "cik:1", "cik:2", "cik:3", "dart:4", "dart:5", "cik:6"
ENTRIES = [
    entry(APPLE, "Apple Inc."),
    entry(APPLE, "apple", "alias"),
    entry(PINEAPPLE, "Pineapple Energy Inc"),
    entry(META, "Facebook Inc", valid_to="2021-10-27"),
    entry(META, "Meta Platforms, Inc."),
    entry(KAKAO, "카카오", language="ko"),
    entry(STYLE, "카카오스타일", "legal", "ko"),
    entry(EXPEDIA, "Expedia Group, Inc."),
    *(
        entry(f"cik:1{number:03d}", f"General {word} Corp")
        for number, word in enumerate(("Mills", "Motors", "Electric"))
    ),
]


@pytest.fixture(params=["tantivy", "opensearch"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], CandidateIndex]]:
    """A new reader, and writer, of the store of that name."""
    if request.param == "tantivy":
        yield lambda name: TantivyCandidateIndex(root=str(tmp_path / name))
        return
    url, prefix = request.getfixturevalue("opensearch_url"), f"test-{uuid.uuid4().hex[:8]}"
    yield lambda name: OpenSearchCandidateIndex(url=url, prefix=f"{prefix}-{name}")
    import opensearchpy

    opensearchpy.OpenSearch(url).indices.delete(index=f"{prefix}-*")


@pytest.fixture
def new_index(open_store: Callable[[str], CandidateIndex]) -> Callable[[], CandidateIndex]:
    numbers = count(1)
    return lambda: open_store(f"new{next(numbers)}")


@pytest.fixture
def index(open_store: Callable[[str], CandidateIndex]) -> CandidateIndex:
    made = open_store("shared")
    made.promote(made.build(ENTRIES))
    return made


def of_channel(hits: list[Hit], channel: str) -> list[Hit]:
    return [hit for hit in hits if hit.channel == channel]


def companies(hits: list[Hit], channel: str) -> list[str]:
    return [hit.company_id for hit in of_channel(hits, channel)]


def test_constructing_does_no_io(tmp_path: Path) -> None:
    assert TantivyCandidateIndex(root=str(tmp_path / "absent")).current() is None
    assert not (tmp_path / "absent").exists()


def test_equal_entries_in_any_order_give_one_version(index: CandidateIndex) -> None:
    assert index.build(reversed(ENTRIES)) == index.current()


def test_another_name_is_another_version(index: CandidateIndex) -> None:
    assert index.build([*ENTRIES, entry(APPLE, "Apple Computer")]) != index.current()


def test_a_version_is_invisible_until_it_is_promoted(index: CandidateIndex) -> None:
    version = index.build([entry("cik:9", "Zebra Technologies")])
    assert companies(index.search(["Apple"])[0], "exact") == [APPLE]
    index.promote(version)
    assert index.current() == version
    assert companies(index.search(["Apple"])[0], "exact") == []
    assert companies(index.search(["Zebra Technologies"])[0], "exact") == ["cik:9"]


def test_a_promoted_version_is_seen_by_other_readers(
    index: CandidateIndex, open_store: Callable[[str], CandidateIndex]
) -> None:
    other = open_store("shared")
    assert other.current() == index.current()
    assert companies(other.search(["Facebook"])[0], "exact") == [META]


def test_readers_in_many_threads_get_whole_answers_of_one_version_or_the_other_while_it_is_swapped(
    index: CandidateIndex,
) -> None:
    versions = [str(index.current()), index.build([entry("cik:9", "Apple Hospitality")])]
    answers = []
    for version in versions:
        index.promote(version)
        answers.append(index.search(["Apple", "Facebook"]))
    known = {(f"{APPLE}|Apple Inc.",): 0, ("cik:9|Apple Hospitality",): 1}
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert index.search(["Apple", "Facebook"]) in answers
            assert tuple(index.entries([one for ids in known for one in ids])) in known

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for number in range(30):
                index.promote(versions[number % 2])
        finally:
            stop.set()
    for reader in readers:
        reader.result()


def test_promoting_what_was_never_built_is_refused(index: CandidateIndex) -> None:
    before = index.current()
    with pytest.raises(LedgerlineError, match="build it first"):
        index.promote("names-0000")
    assert index.current() == before


def test_searching_without_a_version_names_the_asset(new_index: Callable[[], CandidateIndex]) -> None:
    with pytest.raises(LedgerlineError, match="materialize `candidate_index`"):
        new_index().search(["Apple"])


def test_no_names_at_all_are_refused(new_index: Callable[[], CandidateIndex]) -> None:
    with pytest.raises(LedgerlineError, match="no names"):
        new_index().build([])


def test_two_names_with_one_id_are_refused(new_index: Callable[[], CandidateIndex]) -> None:
    with pytest.raises(LedgerlineError, match="share the id"):
        new_index().build([entry(APPLE, "Apple Inc."), entry(APPLE, "Apple Inc.")])


def test_answers_come_in_the_order_of_the_surfaces(index: CandidateIndex) -> None:
    found = index.search(["카카오", "Apple Inc.", "카카오"])
    assert [companies(hits, "exact") for hits in found] == [[KAKAO], [APPLE], [KAKAO]]


def test_a_company_is_found_once_per_channel_by_its_best_name(index: CandidateIndex) -> None:
    hits = index.search(["Apple Inc."])[0]
    for channel in ("exact", "bm25", "ngram"):
        assert companies(hits, channel).count(APPLE) == 1
    assert of_channel(hits, "exact")[0].name == "Apple Inc."


def test_an_exact_hit_scores_by_how_strictly_the_names_are_equal(index: CandidateIndex) -> None:
    surfaces = ["EXPEDIA GROUP, INC.", "Expedia Group", "Expedia", "Ex Pedia"]
    scores = [of_channel(hits, "exact")[0].score for hits in index.search(surfaces)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_words_find_names_that_share_them(index: CandidateIndex) -> None:
    assert companies(index.search(["Meta Quest"])[0], "bm25") == [META]


def test_character_ngrams_find_misspelt_names(index: CandidateIndex) -> None:
    assert companies(index.search(["Facebok"])[0], "ngram")[0] == META
    assert companies(index.search(["Facebok"])[0], "bm25") == []


def test_korean_names_share_syllable_pairs(index: CandidateIndex) -> None:
    assert set(companies(index.search(["카카오뱅크"])[0], "ngram")) == {KAKAO, STYLE}


def test_each_channel_is_limited_and_best_first(index: CandidateIndex) -> None:
    hits = of_channel(index.search(["General Motors"], limit=2)[0], "bm25")
    assert len(hits) == 2
    assert hits[0].name == "General Motors Corp"
    assert hits[0].score > hits[1].score


def test_entries_of_a_version_that_is_not_promoted_are_not_given(index: CandidateIndex) -> None:
    zebra = entry("cik:9", "Zebra Technologies")
    index.search(["Apple Inc."])
    index.build([zebra])
    assert index.entries([zebra.name_id]) == {}


def test_entries_of_another_version_are_no_longer_given(index: CandidateIndex) -> None:
    index.search(["Apple Inc."])
    index.promote(index.build([entry("cik:9", "Zebra Technologies")]))
    assert index.entries([ENTRIES[0].name_id]) == {}


LONG = " ".join(f"word{number}" for number in range(5_000))


@pytest.mark.parametrize("surface", ["", " ", "!!!", "()", '"', "AND OR NOT", "a:b^2", "한", "x" * 50_000, LONG])
def test_no_surface_is_taken_for_a_query_language(index: CandidateIndex, surface: str) -> None:
    assert len(index.search([surface])) == 1


def test_a_surface_that_comes_twice_is_answered_twice(index: CandidateIndex) -> None:
    assert index.search([]) == []
    one, other = index.search(["Apple", "Apple"])
    assert one == other != []


def test_a_name_of_any_length_is_kept(new_index: Callable[[], CandidateIndex]) -> None:
    made = new_index()
    long = entry("cik:8", "Endless " * 5_000)
    made.promote(made.build([*ENTRIES, long]))
    assert made.entries([long.name_id]) == {long.name_id: long}
    assert companies(made.search(["Endless"])[0], "bm25") == ["cik:8"]


def test_entries_are_given_back_as_they_were(index: CandidateIndex) -> None:
    wanted = ENTRIES[3]
    assert index.entries([]) == index.entries(["unknown"]) == {}
    assert index.entries([wanted.name_id, "unknown"]) == {wanted.name_id: wanted}


def test_a_damaged_version_says_what_to_do(tmp_path: Path) -> None:
    index = TantivyCandidateIndex(root=str(tmp_path))
    version = index.build(ENTRIES)
    index.promote(version)
    folder = Path(index.root) / "versions" / version
    other = TantivyCandidateIndex(root=index.root)
    (folder / "entries.parquet").write_bytes(b"")
    with pytest.raises(LedgerlineError, match="rebuild it"):
        other.search(["Apple"])
