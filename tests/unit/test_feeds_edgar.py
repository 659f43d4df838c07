"""EDGAR's feed pages, index files and refusals as bytes. The real pages are read where the data is at hand."""

from __future__ import annotations

import gzip
import json
import tarfile
from datetime import date, datetime, timezone

import pytest

from ledgerline.filings.feeds import (
    UnreadablePage,
    edgar_refusal,
    parse_feed_page,
    parse_index_listing,
    parse_master_index,
    parse_submissions,
)
from ledgerline.filings.parties import unite_parties, unite_refs
from ledgerline.filings.records import FilingRef, Party
from tests.servers.small_archive import EDGAR, Made, feed_page, master_index
from tests.shared_data import shared_data

DAY = date(2025, 3, 14)
FORD = ("0000037996", "FORD MOTOR CO", "Filer")


def _plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def test_a_feed_row_gives_form_accession_party_day_and_acceptance_in_utc() -> None:
    (ref,) = parse_feed_page(feed_page([Made("0000037996-25-000001", "10-K/A", (FORD,))])).refs
    assert ref == FilingRef(
        "edgar",
        "0000037996-25-000001",
        DAY,
        "10-K/A",
        (Party(*FORD),),
        datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc),
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [("A - B (1) (Filer) CO", "4"), ("X (0000000001) - Y", "SC 13D"), ("MÜLLER & SÖHNE", "4 - A"), ("", "D")],
)
def test_names_with_dashes_and_parentheses_do_not_move_form_or_cik(name: str, form: str) -> None:
    escaped = name.replace("&", "&amp;")
    (ref,) = parse_feed_page(
        feed_page([Made("0000037996-25-000001", form, (("0000037996", escaped, "Filed by"),))])
    ).refs
    assert (ref.form, ref.parties) == (form, (Party("0000037996", name, "Filed by"),))


def test_rows_of_one_accession_become_one_ref_with_all_its_parties() -> None:
    refs = unite_refs(parse_feed_page(feed_page(list(EDGAR))).refs)
    assert len(refs) == len(EDGAR)
    owner = next(ref for ref in refs if ref.form == "4")
    assert [party.role for party in owner.parties] == ["Reporting", "Issuer"]


@pytest.mark.parametrize("cut", [10, 200, 900])
def test_a_feed_page_that_is_cut_off_is_no_short_page(cut: int) -> None:
    body = feed_page(list(EDGAR))
    with pytest.raises(UnreadablePage):
        parse_feed_page(body[:-cut])


@pytest.mark.parametrize("body", [b"", b"<html><title>x</title></html>", b'{"a": 1}', b"<feed></feed>"])
def test_what_is_no_feed_is_unreadable_and_not_empty(body: bytes) -> None:
    with pytest.raises(UnreadablePage):
        parse_feed_page(body)


def test_an_entity_in_a_feed_page_is_not_expanded() -> None:
    bomb = feed_page([]).replace(
        b"<feed", b'<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>\n<feed', 1
    )
    with pytest.raises(UnreadablePage):
        parse_feed_page(bomb.replace(b"2025-03-14T22:00:00-04:00", b"&b;"))


def test_an_index_gives_each_accession_once_with_the_companies_of_all_its_rows() -> None:
    refs = parse_master_index(master_index(list(EDGAR)))
    assert [ref.filing_id for ref in refs] == [made.accession for made in EDGAR]
    assert [party.id for party in refs[1].parties] == ["0001214156", "0000320193"]
    assert {party.role for ref in refs for party in ref.parties} == {""}


def test_the_full_index_with_dashes_in_its_dates_is_read_too() -> None:
    body = (
        b"Description: Master Index\n\n\n\n\nCIK|Company Name|Form Type|Date Filed|Filename\n-----\n"
        b"37996|FORD|A|B MOTOR CO|10-K|1993-12-30|edgar/data/37996/0000037996-93-000001.txt   \n"
    )
    (ref,) = parse_master_index(body)
    assert ref == FilingRef(
        "edgar", "0000037996-93-000001", date(1993, 12, 30), "10-K", (Party("0000037996", "FORD|A|B MOTOR CO", ""),)
    )


def test_an_index_without_rows_is_a_true_answer() -> None:
    assert parse_master_index(master_index([])) == []


def test_an_index_that_is_cut_off_or_none_is_unreadable() -> None:
    whole = master_index(list(EDGAR))
    for body in (b"", whole[:100], whole[:-5], whole[:-5] + b"\n", b"<html></html>"):
        with pytest.raises(UnreadablePage):
            parse_master_index(body)


HTML = b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">\n<html><head><title>SEC.gov | %s</title></head></html>'
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>x</Message></Error>'


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (403, HTML % b"Your Request Originates from an Undeclared Automated Tool", "undeclared"),
        (403, HTML % b"Request Rate Threshold Exceeded", "throttled"),
        (429, HTML % b"Request Rate Threshold Exceeded", "throttled"),
        (200, HTML % b"Request Rate Threshold Exceeded", "throttled"),
        (429, b"", "throttled"),
        (403, S3 % b"AccessDenied", "absent"),
        (404, S3 % b"NoSuchKey", "absent"),
        (404, b"", "absent"),
        (503, HTML % b"File Unavailable", "unavailable"),
        (403, b"something new", "unavailable"),
        (302, b"", "unavailable"),
        (200, b"<SEC-DOCUMENT> Request Rate Threshold Exceeded, says the text of a filing", None),
        (200, b"", None),
    ],
)
def test_refusals_are_told_apart_by_their_body(status: int, body: bytes, meaning: str | None) -> None:
    assert edgar_refusal(status, body) == meaning


def test_the_listing_of_a_quarter_names_the_days_that_have_an_index() -> None:
    items = [{"name": name} for name in ("company.20250313.idx", "master.20250313.idx", "sitemap.20250314.xml")]
    assert parse_index_listing(json.dumps({"directory": {"item": items}}).encode()) == {date(2025, 3, 13)}


SUBMISSIONS = {
    "cik": "320193",
    "name": "Apple Inc.",
    "filings": {
        "recent": {
            "accessionNumber": ["0000320193-25-000001"],
            "filingDate": ["2025-03-14"],
            "acceptanceDateTime": ["2025-03-14T16:30:00.000Z"],  # Eastern, whatever it says
            "form": ["8-K"],
        }
    },
}


def test_the_submissions_of_a_company_give_days_and_no_times() -> None:
    (ref,) = parse_submissions(json.dumps(SUBMISSIONS).encode())
    apple = Party("0000320193", "Apple Inc.", "")
    assert ref == FilingRef("edgar", "0000320193-25-000001", DAY, "8-K", (apple,))


@pytest.mark.parametrize("parse", [parse_index_listing, parse_submissions])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"directory": {}, "filings": {}}', b"<html></html>"])
def test_a_page_that_is_cut_off_or_another_one_is_unreadable_and_not_empty(parse, body: bytes) -> None:
    with pytest.raises(UnreadablePage):
        parse(body)


def test_columns_of_submissions_that_differ_in_length_are_unreadable() -> None:
    recent = {**SUBMISSIONS["filings"]["recent"], "form": []}  # type: ignore[index]
    with pytest.raises(UnreadablePage):
        parse_submissions(json.dumps({**SUBMISSIONS, "filings": {"recent": recent}}).encode())


def test_the_real_submissions_are_read() -> None:
    pages = [path for path in sorted((shared_data("filings") / "edgar/json").glob("*CIK0000320193*")) if path.is_file()]
    assert pages
    for page in pages:
        body = page.read_bytes()
        if b'"filings"' in body[:200_000] and b'"recent"' in body[:200_000] and body.lstrip().startswith(b"{"):
            assert len(parse_submissions(body)) >= 1000


def test_uniting_parties_is_idempotent_and_keeps_order() -> None:
    filer, issuer, bare = Party("1", "A", "Filer"), Party("1", "A", "Issuer"), Party("1", "a", "")
    assert unite_parties((), (bare,)) == (bare,)
    assert unite_parties((bare,), (filer, issuer)) == (filer, issuer)
    assert unite_parties((filer,), (bare, issuer)) == (filer, issuer)
    assert unite_parties((filer, issuer), (filer, Party("1", "other spelling", "Issuer"))) == (filer, issuer)


def test_the_real_feed_walk_is_read_whole() -> None:
    archive = shared_data("filings") / "edgar/feeds/20251212T230234Z_type-all_count100_pages52.tar.gz"
    with tarfile.open(archive) as tar:
        pages = [
            parse_feed_page(tar.extractfile(member).read())  # type: ignore[union-attr]
            for member in tar
            if member.name.endswith("http200.atom.xml")
        ]
    rows = [ref for page in pages for ref in page.refs]
    refs = unite_refs(rows)
    assert (len(pages), len(rows)) == (51, 5100)
    assert 3313 <= len(refs) <= 3409
    assert all(ref.parties and ref.accepted_at and ref.form for ref in refs)


@pytest.mark.parametrize("name", ["sec-edgar__master.20181231.idx", "sec-edgar__master.idx", "keskinmbaha__master.idx"])
def test_real_master_indexes_are_read(name: str) -> None:
    refs = parse_master_index((shared_data("filings") / "edgar/index" / name).read_bytes())
    assert refs
    assert all(ref.form and ref.parties[0].id.isdigit() for ref in refs)


def test_the_recorded_refusals_mean_what_they_say() -> None:
    folder = shared_data("filings") / "edgar/errors"
    told = {
        "http403_undeclared": "undeclared",
        "http403or429_request_rate": "throttled",
        "http403_0a9235": "absent",
        "http404_": "absent",
    }
    for start, meaning in told.items():
        for path in folder.glob(f"{start}*"):
            if not path.name.endswith(".headers.json"):
                status = int(path.name[4:7])
                assert edgar_refusal(status, _plain(path.read_bytes())) == meaning, path.name
