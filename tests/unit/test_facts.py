"""Facts: the record and its folder, what the bundled ones say on a day, and regulators' files that join them."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sample.companies
from ledgerline.errors import LedgerlineError
from ledgerline.names.facts import Facts, facts_from_rows, load_facts, save_facts, valid_on
from ledgerline.names.listings import dart_listings, edgar_listings, merge_facts
from ledgerline.names.tables import TABLES


@pytest.fixture(scope="module")
def facts() -> Facts:
    return load_facts(sample.companies.FACTS)


def holders(facts: Facts, ticker: str, day: str) -> list[str]:
    rows = facts.securities.filter(pa.compute.equal(facts.securities["ticker"], ticker)).to_pylist()
    return sorted({row["company_id"] for row in rows if valid_on(day, row["valid_from"], row["valid_to"])})


def names(facts: Facts, company: str, day: str, *kinds: str) -> set[str]:
    rows = facts.names.filter(pa.compute.equal(facts.names["company_id"], company)).to_pylist()
    return {row["name"] for row in rows if row["kind"] in kinds and valid_on(day, row["valid_from"], row["valid_to"])}


def company(one: str, name: str, *, country: str = "US") -> dict[str, object]:
    return {"company_id": one, "name": name, "country": country, "listed": True, "size_rank": None}


def test_the_bundled_facts_have_the_schemas_of_the_listings_tables(facts: Facts) -> None:
    for name, schema in TABLES.items():
        assert getattr(facts, name).schema.equals(schema)


def test_the_bundled_facts_are_a_few_megabytes() -> None:
    assert sum(path.stat().st_size for path in sample.companies.FACTS.glob("*.parquet")) < 5_000_000


@pytest.mark.parametrize("table", ["securities", "names"])
def test_no_edge_ends_before_it_begins(facts: Facts, table: str) -> None:
    rows = getattr(facts, table).to_pylist()
    assert [row for row in rows if row["valid_from"] and row["valid_to"] and row["valid_from"] > row["valid_to"]] == []


@pytest.mark.parametrize(
    ("ticker", "day", "expected"),
    [
        ("META", "2021-12-01", ["cik:0001683471"]),  # the Roundhill ETF
        ("META", "2022-03-01", []),
        ("META", "2022-06-09", ["cik:0001326801"]),
        ("FB", "2017-07-25", ["cik:0001326801"]),
        ("FB", "2024-01-02", []),
        ("GOOGL", "2015-10-01", ["cik:0001288776"]),
        ("GOOGL", "2015-10-02", ["cik:0001652044"]),
        ("AA", "2015-05-01", ["cik:0000004281"]),
        ("AA", "2024-01-02", ["cik:0001675149"]),
        ("T", "2019-01-02", ["cik:0000732717"]),
        ("005930", "2010-01-04", ["dart:00126380"]),
        ("005930", "2026-03-03", ["dart:00126380"]),
        ("005935", "2026-03-03", ["dart:00126380"]),  # the preferred share
    ],
)
def test_a_ticker_means_the_company_that_held_it_on_the_day(
    facts: Facts, ticker: str, day: str, expected: list[str]
) -> None:
    assert holders(facts, ticker, day) == expected


def test_a_former_name_ends_where_the_next_one_begins(facts: Facts) -> None:
    assert "Facebook" in names(facts, "cik:0001326801", "2017-07-25", "alias", "name")
    assert names(facts, "cik:0001326801", "2024-01-02", "name") == {"Meta Platforms, Inc."}
    assert names(facts, "dart:00106641", "2021-03-02", "legal", "name") == {"기아자동차"}
    assert names(facts, "dart:00106641", "2024-03-04", "legal", "name") == {"기아"}


def test_google_was_succeeded_by_alphabet(facts: Facts) -> None:
    known = {(row["company_id"], row["successor_id"]): row["day"] for row in facts.successors.to_pylist()}
    assert known["cik:0001288776", "cik:0001652044"] == "2015-10-02"
    assert known["cik:0001001039", "cik:0001744489"] == "2019-03-20"


@pytest.mark.parametrize(
    ("one", "alias"),
    [("cik:0000051143", "IBM"), ("cik:0000002488", "AMD"), ("cik:0001652044", "Google"), ("dart:00266961", "네이버"),
     ("dart:00164779", "하이닉스"), ("dart:00159193", "한전"), ("dart:00126380", "삼성")],
)  # fmt: skip
def test_everyday_names_are_aliases(facts: Facts, one: str, alias: str) -> None:
    assert alias in names(facts, one, "2026-03-02", "alias")


def test_the_largest_companies_come_first_in_their_market(facts: Facts) -> None:
    first = {row["country"]: row["company_id"] for row in facts.companies.to_pylist() if row["size_rank"] == 1}
    assert first == {"US": "cik:0001045810", "KR": "dart:00126380"}


def test_unlisted_korean_firms_are_companies_with_a_name_and_no_security(facts: Facts) -> None:
    unlisted = facts.companies.filter(pa.compute.invert(facts.companies["listed"]))
    korean = {one for one in unlisted["company_id"].to_pylist() if one.startswith("dart:")}
    assert len(korean) > 100_000
    assert not korean & set(facts.securities["company_id"].to_pylist())
    assert korean <= set(facts.names["company_id"].to_pylist())


def test_saved_facts_are_loaded_again_as_they_were(tmp_path: Path) -> None:
    made = facts_from_rows({"companies": [company("cik:0000000001", "One")]})
    save_facts(made, tmp_path)
    assert load_facts(tmp_path) == made


def test_a_folder_without_facts_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(LedgerlineError, match=r"no companies\.parquet .*build_facts"):
        load_facts(tmp_path)


def test_a_table_with_other_columns_is_refused_with_their_names(tmp_path: Path) -> None:
    save_facts(facts_from_rows({}), tmp_path)
    pq.write_table(pa.table({"company_id": ["a"], "colour": ["red"]}), tmp_path / "names.parquet")
    with pytest.raises(LedgerlineError, match=r"names\.parquet .*missing: name.*unknown: colour"):
        load_facts(tmp_path)


def test_a_file_that_is_no_parquet_is_refused_with_its_path(tmp_path: Path) -> None:
    save_facts(facts_from_rows({}), tmp_path)
    (tmp_path / "securities.parquet").write_bytes(b"not parquet")
    with pytest.raises(LedgerlineError, match=r"securities\.parquet cannot be read"):
        load_facts(tmp_path)


def test_a_name_of_an_unknown_company_is_refused() -> None:
    row = {"company_id": "cik:0000000009", "name": "Nine", "kind": "name", "language": "en"}
    with pytest.raises(LedgerlineError, match=r"names\.company_id .* cik:0000000009"):
        facts_from_rows({"names": [row]})


def test_a_company_that_is_twice_is_refused() -> None:
    with pytest.raises(LedgerlineError, match="cik:0000000001 is twice"):
        facts_from_rows({"companies": [company("cik:0000000001", "One"), company("cik:0000000001", "Uno")]})


# Regulators' own files ------------------------------------------------------------------------------------------------


def exchange_file(*rows: tuple[int, str, str, str | None]) -> bytes:
    return json.dumps({"fields": ["cik", "name", "ticker", "exchange"], "data": rows}).encode()


def corp_code_file(*rows: tuple[str, str, str, str]) -> bytes:
    items = "".join(
        f"<list><corp_code>{code}</corp_code><corp_name>{name}</corp_name><corp_eng_name>{english}</corp_eng_name>"
        f"<stock_code>{stock}</stock_code></list>"
        for code, name, english, stock in rows
    )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("CORPCODE.xml", f'<?xml version="1.0" encoding="UTF-8"?><result>{items}</result>'.encode())
    return sink.getvalue()


def test_the_sec_list_becomes_companies_ranked_in_its_order() -> None:
    body = exchange_file((2, "Two Inc", "TWO", "NYSE"), (1, "One Corp", "ONE", None), (2, "Two Inc", "TWO-PA", "NYSE"))
    made = edgar_listings(body, seen_on=date(2026, 3, 2))
    assert [(row["company_id"], row["size_rank"]) for row in made.companies.to_pylist()] == [
        ("cik:0000000002", 1), ("cik:0000000001", 2),
    ]  # fmt: skip
    assert [(row["ticker"], row["exchange"]) for row in made.securities.to_pylist()] == [
        ("TWO", "NYSE"), ("ONE", "US"), ("TWO-PA", "NYSE"),
    ]  # fmt: skip


def test_former_names_of_a_submissions_file_keep_their_days() -> None:
    filer = {"cik": "0000000001", "formerNames": [
        {"name": "Uno Corp", "from": "2012-01-05T00:00:00.000Z", "to": "2020-06-30T00:00:00.000Z"}]}  # fmt: skip
    body = exchange_file((1, "One Corp", "ONE", "NYSE"))
    made = edgar_listings(body, seen_on=date(2026, 3, 2), submissions=[json.dumps(filer).encode()])
    old = next(row for row in made.names.to_pylist() if row["name"] == "Uno Corp")
    assert (old["valid_from"], old["valid_to"]) == ("2012-01-05", "2020-06-30")


def test_dart_firms_without_a_stock_code_are_not_listed() -> None:
    body = corp_code_file(("00126380", "삼성전자", "SAMSUNG", "005930"), ("00434003", "다코", "Daco", " "))
    made = dart_listings(body, seen_on=date(2026, 3, 3))
    assert {row["company_id"]: row["listed"] for row in made.companies.to_pylist()} == {
        "dart:00126380": True, "dart:00434003": False,
    }  # fmt: skip
    assert made.securities["ticker"].to_pylist() == ["005930"]


@pytest.mark.parametrize("body", [b"", b"<html>Request Rate Threshold Exceeded</html>", b'{"fields":[],"data":[]}'])
def test_a_body_that_is_no_ticker_list_is_refused_with_the_remedy(body: bytes) -> None:
    with pytest.raises(LedgerlineError, match=r"company_tickers_exchange\.json .*fetch it again"):
        edgar_listings(body, seen_on=date(2026, 3, 2))


# Named, since a zip holds the time: two processes that collect the tests must find the same names.
@pytest.mark.parametrize(
    "body",
    [b"", b"<result><status>020</status></result>", corp_code_file()[:40]],
    ids=["empty", "a refusal", "half a zip"],
)
def test_a_body_that_is_no_corp_code_zip_is_refused_with_the_remedy(body: bytes) -> None:
    with pytest.raises(LedgerlineError, match=r"corpCode\.xml .*fetch it again"):
        dart_listings(body, seen_on=date(2026, 3, 3))


def test_a_merge_ends_what_the_list_no_longer_gives_and_keeps_first_days() -> None:
    before = edgar_listings(
        exchange_file((1, "Facebook Inc", "FB", "Nasdaq"), (2, "Two", "TWO", "NYSE")), seen_on=date(2020, 1, 2)
    )
    after = edgar_listings(
        exchange_file((1, "Meta Inc", "META", "Nasdaq"), (2, "TWO", "TWO", "NYSE")), seen_on=date(2022, 6, 9)
    )
    merged = merge_facts(before, after, seen_on=date(2022, 6, 9))
    assert [(row["ticker"], row["valid_from"], row["valid_to"]) for row in merged.securities.to_pylist()] == [
        ("FB", "2020-01-02", "2022-06-08"), ("TWO", "2020-01-02", None), ("META", "2022-06-09", None),
    ]  # fmt: skip
    assert [(row["name"], row["valid_from"], row["valid_to"]) for row in merged.names.to_pylist()] == [
        ("Facebook Inc", "2020-01-02", "2022-06-08"), ("Two", "2020-01-02", None), ("Meta Inc", "2022-06-09", None),
    ]  # fmt: skip


def test_merging_the_same_list_again_changes_nothing() -> None:
    body = exchange_file((1, "One Corp", "ONE", "NYSE"))
    first = edgar_listings(body, seen_on=date(2026, 3, 2))
    assert merge_facts(first, edgar_listings(body, seen_on=date(2026, 3, 3)), seen_on=date(2026, 3, 3)) == first


def test_a_sec_list_leaves_korean_tickers_and_preferred_shares_alone(facts: Facts) -> None:
    fresh = dart_listings(corp_code_file(("00126380", "삼성전자", "SAMSUNG", "005930")), seen_on=date(2026, 4, 1))
    samsung = facts_from_rows({
        name: [row for row in getattr(facts, name).to_pylist() if row.get("company_id") == "dart:00126380"]
        for name in TABLES
    })  # fmt: skip
    merged = merge_facts(samsung, fresh, seen_on=date(2026, 4, 1))
    assert holders(merged, "005935", "2026-05-01") == ["dart:00126380"]
    assert holders(merged, "005930", "1990-01-04") == ["dart:00126380"]


def test_a_delisted_korean_share_is_not_opened_again_by_the_code_that_dart_leaves_it() -> None:
    ended = {"company_id": "dart:00000003", "ticker": "000030", "exchange": "KOSPI", "share_class": "common",
             "valid_from": "2003-01-02", "valid_to": "2021-05-06", "source": "krx"}  # fmt: skip
    base = facts_from_rows({"companies": [company("dart:00000003", "세기", country="KR")], "securities": [ended]})
    fresh = dart_listings(corp_code_file(("00000003", "세기", "", "000030")), seen_on=date(2026, 4, 1))
    assert merge_facts(base, fresh, seen_on=date(2026, 4, 1)).securities.to_pylist() == [ended]
