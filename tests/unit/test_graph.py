"""How facts become edges, on which days an edge is taken to hold, and how a path is said."""

from __future__ import annotations

from ledgerline.mapping.graph import SNAPSHOT_EDGES, days_taken, describe_path, edges_of, listing_of, literal_of
from ledgerline.mapping.records import Edge
from ledgerline.names.facts import facts_from_rows

APPLE, PEAR = "cik:0000320193", "cik:0000000001"


def security(company: str, ticker: str, valid_from: str | None = None, valid_to: str | None = None) -> dict:
    row = {"company_id": company, "ticker": ticker, "exchange": "Nasdaq", "share_class": None, "source": "sec"}
    return {**row, "valid_from": valid_from, "valid_to": valid_to}


def name(company: str, text: str, kind: str = "name") -> dict:
    row = {"company_id": company, "name": text, "kind": kind, "language": "en", "source": "sec"}
    return {**row, "valid_from": "2015-02-15", "valid_to": None}


def facts(**rows: list[dict]):
    companies = [
        {"company_id": company, "name": "x", "country": "US", "listed": True, "size_rank": None}
        for company in (APPLE, PEAR)
    ]
    return facts_from_rows({"companies": companies, **rows})


def listed(company: str, ticker: str, valid_from: str, valid_to: str) -> Edge:
    return Edge(f"company:{company}", "listed_as", f"listing::{ticker}", valid_from, valid_to, "sec")


def look(day: str, prefix: str) -> list[Edge]:
    """A snapshot: as many listings as it takes that were first seen on one day."""
    return [listed(f"cik:{prefix}{number}", f"{prefix}{number}", day, "") for number in range(SNAPSHOT_EDGES)]


LOOKS = [*look("2015-06-01", "P"), *look("2020-01-06", "Q"), *look("2021-12-24", "R")]


def taken(*edges: Edge) -> list[tuple[str, str]]:
    return days_taken([*LOOKS, *edges])[len(LOOKS) :]


def test_each_row_of_the_facts_is_an_edge_with_its_dates_and_source() -> None:
    made = facts(
        names=[name(APPLE, "Apple Inc."), name(APPLE, "Tim Cook", "person"), name(APPLE, "iPhone", "product")],
        securities=[security(APPLE, "AAPL", "1980-12-12")],
        successors=[{"company_id": PEAR, "successor_id": APPLE, "day": "2020-01-01", "source": "sec"}],
    )
    assert list(edges_of(made)) == [
        Edge(f"company:{APPLE}", "led_by", "person:Tim Cook", "2015-02-15", "", "sec"),
        Edge(f"company:{APPLE}", "makes", "product:iPhone", "2015-02-15", "", "sec"),
        Edge(f"company:{APPLE}", "named", "name:Apple Inc.", "2015-02-15", "", "sec"),
        Edge(f"company:{APPLE}", "listed_as", "listing:Nasdaq:AAPL", "1980-12-12", "", "sec"),
        Edge(f"company:{PEAR}", "succeeded_by", f"company:{APPLE}", "2020-01-01", "", "sec"),
    ]


def test_edges_do_not_depend_on_the_order_of_names_but_listings_keep_the_primary_first() -> None:
    rows = [name(APPLE, "Apple Inc."), name(PEAR, "Pear"), name(APPLE, "Apple Computer")]
    assert list(edges_of(facts(names=rows))) == list(edges_of(facts(names=rows[::-1])))
    made = edges_of(facts(securities=[security(APPLE, "ZZ"), security(PEAR, "P"), security(APPLE, "AA")]))
    assert [listing_of(edge)[1] for edge in made] == ["P", "ZZ", "AA"]


def test_a_literal_keeps_its_colons_and_a_ticker_its_dots() -> None:
    assert literal_of(Edge("company:cik:1", "named", "name:Re:Sound", "", "", "")) == "Re:Sound"
    assert literal_of(Edge("company:cik:1", "listed_as", "listing:NYSE:BRK.B", "", "", "")) == "BRK.B"


def test_days_that_were_learned_one_by_one_are_taken_as_they_are() -> None:
    assert taken(listed("cik:1", "A", "2016-03-01", "2017-05-01")) == [("2016-03-01", "2017-05-01")]


def test_what_snapshots_show_is_taken_to_hold_between_the_looks_around_it() -> None:
    assert taken(listed("cik:1", "A", "2020-01-06", "2020-01-06")) == [("2015-06-02", "2021-12-23")]
    assert taken(listed("cik:1", "A", "2015-06-01", "2021-12-24")) == [("", "")]


def test_a_window_stops_where_another_company_is_first_seen_with_the_ticker() -> None:
    earlier, later = listed("cik:1", "A", "2015-06-01", "2020-01-06"), listed("cik:2", "A", "2021-06-15", "")
    assert taken(earlier, later) == [("", "2021-06-14"), ("2021-06-15", "")]


def test_two_windows_that_meet_part_on_the_day_before_the_later_holder_was_seen() -> None:
    earlier, later = listed("cik:1", "A", "2015-06-01", "2015-06-01"), listed("cik:2", "A", "2020-01-06", "")
    assert taken(earlier, later) == [("", "2020-01-05"), ("2020-01-06", "")]


def test_two_windows_of_predecessor_and_successor_part_on_the_day_of_the_succession() -> None:
    earlier, later = listed("cik:1", "A", "2015-06-01", "2015-06-01"), listed("cik:2", "A", "2020-01-06", "")
    succession = Edge("company:cik:1", "succeeded_by", "company:cik:2", "2015-10-02", "", "sec")
    assert taken(earlier, later, succession)[:2] == [("", "2015-10-01"), ("2015-10-02", "")]


def test_a_company_that_changed_its_ticker_keeps_the_old_one_until_the_new_one_was_seen() -> None:
    old, new = listed("cik:1", "FB", "2015-06-01", "2020-01-06"), listed("cik:1", "META", "2021-12-24", "")
    assert taken(old, new) == [("", "2021-12-23"), ("2021-12-24", "")]


def test_a_path_is_said_with_names_dates_and_sources() -> None:
    path = (
        Edge("company:cik:1", "named", "name:Google Inc", "", "2015-10-01", "edgar"),
        Edge("company:cik:1", "succeeded_by", "company:cik:2", "2015-10-02", "", "edgar"),
        Edge("company:cik:2", "listed_as", "listing:Nasdaq:GOOGL", "2015-10-02", "", "sec"),
    )
    assert describe_path(path) == (
        'cik:1 was named "Google Inc" (until 2015-10-01, edgar); '
        "cik:1 was succeeded since 2015-10-02 by cik:2 (edgar); "
        "cik:2 is listed as GOOGL on Nasdaq (since 2015-10-02, sec)"
    )
    assert describe_path(()) == ""
