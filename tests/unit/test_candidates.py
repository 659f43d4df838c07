"""The names that the index holds, and the union of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.candidates import MAX_CANDIDATES, candidate_sets, is_literal, name_entries
from ledgerline.mapping.records import Hit
from ledgerline.names.facts import facts_from_rows
from tests.unit.mapping_fakes import (
    ALPHABET,
    CISCO,
    GOOGLE,
    KAKAO,
    META,
    STYLE,
    FakeGraph,
    FakeIndex,
    mention,
    small_facts,
)


def test_equal_spellings_of_a_company_are_one_entry_with_their_days_united() -> None:
    def row(name: str, first: str | None, last: str | None) -> dict:
        dates = {"valid_from": first, "valid_to": last, "source": "test"}
        return {"company_id": "cik:1", "name": name, "kind": "name", "language": "en", **dates}

    facts = facts_from_rows(
        {
            "companies": [{"company_id": "cik:1", "name": "AAR CORP", "country": "US", "listed": True}],
            "names": [row("AAR Corp.", "2015-01-01", "2016-01-01"), row("AAR CORP", "2017-01-01", None)],
        }
    )
    (entry,) = name_entries(facts)
    assert (entry.name, entry.valid_from, entry.valid_to) == ("AAR CORP", "2015-01-01", "")


class Swapped(FakeIndex):
    """An index that is promoted anew behind the first `times` searches: its names have other ids then."""

    def __init__(self, times: int) -> None:
        super().__init__(small_facts())
        self.times = times

    def search(self, surfaces: Sequence[str], *, limit: int = 10) -> list[list[Hit]]:
        found = super().search(surfaces, limit=limit)
        self.times -= 1
        return found if self.times < 0 else [[replace(hit, name_id="of before") for hit in hits] for hits in found]


def test_candidates_are_of_one_version_of_the_index_also_where_it_is_swapped_meanwhile() -> None:
    graph = FakeGraph(small_facts())
    (found,) = candidate_sets([mention("Cisco Systems")], index=Swapped(1), graph=graph)
    assert found == candidate_sets([mention("Cisco Systems")], index=FakeIndex(small_facts()), graph=graph)[0]
    with pytest.raises(LedgerlineError, match="materialize `candidate_index`"):
        candidate_sets([mention("Cisco Systems")], index=Swapped(9), graph=graph)


def test_people_and_products_are_no_names_of_a_company() -> None:
    row = {"company_id": "cik:1", "name": "Jane Roe", "kind": "person", "language": "en", "source": "test"}
    company = {"company_id": "cik:1", "name": "X", "country": "US", "listed": True}
    assert name_entries(facts_from_rows({"companies": [company], "names": [row]})) == []


def sets_of(*mentions: object) -> list:
    facts = small_facts()
    return candidate_sets(list(mentions), index=FakeIndex(facts), graph=FakeGraph(facts))  # type: ignore[arg-type]


def test_a_former_name_finds_its_company_with_the_edge_that_proves_it() -> None:
    (found,) = sets_of(mention("Facebook", "2017-07-25"))
    assert found[0].company_id == META
    assert found[0].path[0].to_id == "name:Facebook Inc"
    assert {"exact", "graph"} <= set(found[0].scores)


def test_a_name_that_ended_still_proves_its_company_and_is_not_current() -> None:
    (found,) = sets_of(mention("Facebook", "2024-01-01"))
    assert found[0].company_id == META
    assert not found[0].name_is_current
    assert found[0].path[0].valid_to == "2021-10-27"


def test_a_name_that_the_company_did_not_have_yet_proves_nothing() -> None:
    (found,) = sets_of(mention("Meta Platforms", "2019-01-01"))
    assert found[0].company_id == META
    assert found[0].path == ()


def test_a_successor_is_a_candidate_through_the_graph() -> None:
    (found,) = sets_of(mention("Google", "2016-05-01"))
    of_successor = next(candidate for candidate in found if candidate.company_id == ALPHABET)
    assert [edge.label for edge in of_successor.path] == ["named", "succeeded_by"]


def test_a_ticker_means_the_company_that_had_it_on_the_day() -> None:
    before, after = sets_of(mention("GOOG", "2014-05-01"), mention("GOOG", "2016-05-01"))
    assert [found[0].company_id for found in (before, after)] == [GOOGLE, ALPHABET]
    assert before[0].best_name_kind == "ticker"


def test_an_unlisted_firm_stays_among_the_candidates() -> None:
    (found,) = sets_of(mention("카카오스타일"))
    assert [candidate.company_id for candidate in found[:2]] == [STYLE, KAKAO]


def test_a_possessive_is_looked_up_with_and_without_it() -> None:
    (found,) = sets_of(mention("Cisco Systems'"))
    assert found[0].company_id == CISCO
    assert "exact" in found[0].scores


def test_the_graph_is_asked_once_per_day() -> None:
    facts = small_facts()
    graph = FakeGraph(facts)
    asked = [mention("Facebook"), mention("Google"), mention("Facebook", "2021-01-01")]
    candidate_sets(asked, index=FakeIndex(facts), graph=graph)
    assert graph.asked_days == [date(2020, 1, 2), date(2021, 1, 1)]


def test_an_unknown_name_has_no_candidates_and_no_proof() -> None:
    (found,) = sets_of(mention("Qxzzq"))
    assert found == []


def test_the_union_is_cut_to_its_best() -> None:
    def rows(number: int) -> tuple[dict, dict]:
        company = {"company_id": f"cik:{number}", "name": f"General {number}", "country": "US", "listed": True}
        return company, {
            "company_id": f"cik:{number}",
            "name": f"General Part{number}",
            "kind": "name",
            "language": "en",
        }

    pairs = [rows(number) for number in range(30)]
    facts = facts_from_rows({"companies": [a for a, _ in pairs], "names": [b for _, b in pairs]})
    (found,) = candidate_sets([mention("General Part7")], index=FakeIndex(facts), graph=FakeGraph(facts))
    assert len(found) <= MAX_CANDIDATES
    assert found[0].company_id == "cik:7"


@pytest.mark.parametrize(
    ("surface", "name", "expected"),
    [
        ("cisco", "cisco systems", True),
        ("shares of facebook", "facebook", True),
        ("gamble", "procter and gamble", True),
        ("northrop gruman", "northrop grumman", True),
        ("nikkei", "nike", False),
        ("metal", "meta", False),
        ("app", "apple", False),
    ],
)
def test_what_counts_as_a_literal_name(surface: str, name: str, expected: bool) -> None:
    assert is_literal(surface, name) is expected
