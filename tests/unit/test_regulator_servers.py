"""The local EDGAR and DART behave as the real ones were seen to: their bytes, their times, their refusals."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import logging
import re
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from ledgerline.filings import dart as dart_documents
from ledgerline.filings.feeds import (
    CORRECTION,
    edgar_refusal,
    parse_dart_error,
    parse_dart_list,
    parse_feed_page,
    parse_master_index,
)
from ledgerline.filings.records import RefusedFiling
from ledgerline.filings.sgml import read_header, split
from ledgerline.filings.times import EASTERN, KOREA, eastern_day
from ledgerline.filings.validity import check
from sample.generate_archive import ensure_archive
from tests.servers.clock import VirtualClock
from tests.servers.dart import KEY, DartServer, DartSite, Report, korean_reports
from tests.servers.edgar import EdgarServer, EdgarSite
from tests.servers.edgar_filings import (
    WALKS,
    Filing,
    a_day_of_filings,
    archive_filings,
    drawn_size,
    entries,
    moved,
    read_walk,
    real_walk_filings,
    thinned,
)
from tests.servers.wire import Fault, LoopbackServer, Request, assert_key_never_logged
from tests.shared_data import shared_data

AGENT = {"User-Agent": "Ledgerline Tests tests@example.com"}
DAY = date(2026, 3, 3)  # the second day of the sample archive, a Tuesday
FEED = "/cgi-bin/browse-edgar?action=getcurrent&type=&owner=include&start={start}&count={count}&output=atom"


def _plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def at(hour: int, minute: int = 0, second: int = 0, *, day: date = DAY) -> datetime:
    """An Eastern clock time as UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=EASTERN).astimezone(timezone.utc)


@pytest.fixture(scope="module")
def filings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Filing, ...]:
    return archive_filings(ensure_archive(tmp_path_factory.mktemp("archive") / "sample"))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(at(18))


@pytest.fixture
def server(filings: tuple[Filing, ...], clock: VirtualClock) -> Iterator[EdgarServer]:
    with EdgarServer(filings, clock=clock, seed=7) as running:
        yield running


CLIENT = httpx.Client(trust_env=False, verify=False, timeout=10)  # no TLS here, and it is dear to set up


def get(server: LoopbackServer, path: str, **headers: str) -> httpx.Response:
    return CLIENT.get(server.url + path, headers={**AGENT, **headers})


def feed(site: EdgarSite, now: datetime, start: int = 0, count: int = 100):
    answer = site.answer(Request(now, FEED.format(start=start, count=count)))
    assert isinstance(answer.body, bytes)
    return parse_feed_page(answer.body)


def walk(site: EdgarSite, now: datetime) -> list:
    refs: list = []
    for start in range(0, 5100, 100):
        page = feed(site, now, start)
        refs += page.refs
        if not page.refs:
            break
    return refs


def address(accession: str, site: EdgarSite) -> str:
    cik = int(site.published[accession].parties[0].cik)
    return f"/Archives/edgar/data/{cik}/{accession.replace('-', '')}/{accession}.txt"


# ------------------------------------------------------------------------------------------------------ EDGAR: the feed


def test_a_row_is_seen_25_to_70_seconds_after_acceptance_and_never_before_an_older_one(filings) -> None:
    site = EdgarSite(filings, seed=3)
    rows = sorted((one for one in site.published.values() if one.row_at), key=lambda one: one.accepted_at)
    waits = [(one.row_at - one.accepted_at).total_seconds() for one in rows]
    assert min(waits) >= 25
    assert max(waits) <= 70
    assert [one.row_at for one in rows] == sorted(one.row_at for one in rows)
    some = rows[len(rows) // 2]
    assert some.accession not in {ref.filing_id for ref in walk(site, some.row_at - timedelta(seconds=1))}
    assert some.accession in {ref.filing_id for ref in walk(site, some.row_at)}


def test_the_feed_has_a_row_for_each_role_newest_first_and_its_time_is_eastern(filings) -> None:
    site = EdgarSite(filings, seed=3)
    now = at(18)
    refs = walk(site, now)
    shown = site.truth(by=now)
    assert Counter(ref.filing_id for ref in refs) == {
        one.accession: len(one.filing.rows) for one in shown.values() if one.row_at and one.row_at <= now
    }
    times = [ref.accepted_at for ref in refs]
    assert times == sorted(times, reverse=True)
    assert feed(site, now).updated == now
    body = site.answer(Request(now, FEED.format(start=0, count=10))).body
    assert body.startswith(b'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed')
    assert b"<title>Latest Filings - Tue, 03 Mar 2026 18:00:00 EST</title>" in body


def test_rows_move_to_later_pages_as_others_arrive(filings) -> None:
    site = EdgarSite(filings, seed=3)
    before = walk(site, at(16, 20))
    after = walk(site, at(16, 40))
    arrived = len(after) - len(before)
    assert arrived > 0
    assert after[arrived:] == before


@pytest.mark.parametrize(("asked", "rows"), [(10, 10), (20, 20), (40, 40), (80, 80), (100, 100), (37, 40), (1000, 40)])
def test_a_page_has_one_of_the_counts_that_edgar_knows(filings, asked: int, rows: int) -> None:
    assert len(feed(EdgarSite(filings), at(18), count=asked).refs) == rows


def test_type_is_a_prefix_and_owner_selects_ownership_forms(filings) -> None:
    site = EdgarSite(filings)
    for query, fits in (
        ("type=4&owner=include", lambda form: form.startswith("4")),
        ("type=&owner=only", lambda form: form.partition("/")[0] in ("3", "4", "5")),
        ("type=&owner=exclude", lambda form: form.partition("/")[0] not in ("3", "4", "5")),
    ):
        body = site.answer(Request(at(18), f"/cgi-bin/browse-edgar?action=getcurrent&{query}&start=0&count=100")).body
        forms = {ref.form for ref in parse_feed_page(body).refs}
        assert forms
        assert all(map(fits, forms))
    assert {"4", "424B5"} <= {one.form for one in filings}


def test_past_its_end_the_feed_is_empty_and_from_5100_on_it_is_the_page_of_maintenance(server: EdgarServer) -> None:
    assert parse_feed_page(get(server, FEED.format(start=5000, count=100)).content).refs == ()
    beyond = get(server, FEED.format(start=5100, count=100))
    assert (beyond.status_code, beyond.headers["Server"]) == (503, "AkamaiNetStorage")
    assert edgar_refusal(503, beyond.content) == "unavailable"
    assert b"SEC.gov | File Unavailable" in beyond.content


def test_late_rows_are_inserted_between_older_ones(filings) -> None:
    site = EdgarSite(filings, seed=3, late_rows=0.5)
    before, after = walk(site, at(16, 50)), walk(site, at(17, 20))
    new = [ref for ref in after if ref.filing_id not in {ref.filing_id for ref in before}]
    newest_before = max(ref.accepted_at for ref in before)
    assert any(ref.accepted_at < newest_before for ref in new)


def test_an_effect_is_seen_after_midnight_with_the_date_of_the_day_before_and_stands_in_the_next_index(filings) -> None:
    site = EdgarSite(filings, seed=3)
    effects = [one for one in site.published.values() if one.form == "EFFECT"]
    assert effects
    for one in effects:
        assert one.filed == DAY - timedelta(days=1)
        assert at(0, 15) < one.row_at < at(0, 17)
        assert one.index_day == DAY


def test_the_replay_is_the_real_walk_row_by_row_at_the_time_of_the_walk() -> None:
    archive = shared_data("filings")
    filings = real_walk_filings(archive)
    walks = [read_walk(path) for path in sorted((archive / "edgar/feeds").glob(WALKS))]
    rows = {entry for one in filings for entry in entries(one)}
    assert {entry for pages in walks for page in pages for entry in page.entries} == rows  # byte for byte
    site = EdgarSite(filings, seed=7)
    for pages in walks:
        real = [ref for page in pages for ref in _refs(page.entries)]
        replayed = walk(site, pages[0].at)
        if pages is walks[0]:  # four rows came in while it went on
            assert {ref.filing_id for ref in real} - {ref.filing_id for ref in replayed} == set()
        else:
            assert Counter(replayed) == Counter(real)
            assert [ref.accepted_at for ref in replayed] == [ref.accepted_at for ref in real]
    assert len(replayed) == 5100
    repeats = len(replayed) - len(set(replayed))
    assert repeats == 43


def _refs(rows: tuple[bytes, ...]):
    return parse_feed_page(
        b"<feed xmlns='http://www.w3.org/2005/Atom'><updated>2025-12-12T00:00:00Z</updated>"
        + b"".join(rows)
        + b"</feed>"
    ).refs


def test_a_day_is_real_where_the_data_is_at_hand_and_else_of_the_sample_archive(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tests.servers.edgar_filings.find_shared_data", lambda name: None)
    day, few = a_day_of_filings(tmp_path / "sample", limit=50)
    assert (day, len(few)) == (DAY, 50)
    monkeypatch.undo()
    shared_data("filings")
    day, whole = a_day_of_filings(tmp_path / "sample")
    assert (day, len(whole)) == (date(2025, 12, 12), 3318)
    assert len(EdgarSite(whole).truth(day)) == 2549


def test_a_thinned_day_keeps_its_shape_and_a_moved_one_its_clock_times_across_dst(filings) -> None:
    few = thinned(filings, 30)
    assert len(few) == 30
    later = moved(few, 7)  # the clocks change on Sunday the 8th
    assert not {one.accession for one in few} & {one.accession for one in later}
    for old, new in zip(few, later, strict=True):
        assert new.accepted_at - old.accepted_at == timedelta(days=7) - timedelta(hours=1)
        assert new.filed - old.filed == timedelta(days=7)


# ------------------------------------------------------------------------------------------------- EDGAR: submissions


def test_every_body_is_a_whole_filing_of_its_accession_form_parties_and_time(filings) -> None:
    made = [one for one in filings if not (one.body and "malformed" in one.body.parts)]
    site = EdgarSite([replace(one, body=None) for one in made], seed=7)
    for accession, one in site.truth().items():
        body = one.versions[0].body.whole()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (one.size, one.sha256)
        check("edgar", body)
        header = read_header(body, split(body))
        assert (header.accession, header.form, header.filed_on) == (accession, one.form, one.filed)
        assert header.accepted_at == one.accepted_at
        assert {(party.id, party.name, party.role) for party in header.parties} == {
            (party.cik, party.name, party.role) for party in one.parties
        }


def test_a_filing_of_the_archive_is_served_from_its_file_under_every_cik_of_it(server: EdgarServer, filings) -> None:
    filing = next(one for one in filings if len(one.parties) > 1 and one.form == "4")
    for party in filing.parties:
        response = get(server, f"/Archives/edgar/data/{int(party.cik)}/{filing.accession}.txt")
        assert response.content == filing.body.read_bytes()
        assert hashlib.sha256(response.content).hexdigest() == server.truth()[filing.accession].sha256
        assert re.fullmatch(r'"[0-9a-f]{32}-gzip"', response.headers["ETag"])
        assert response.headers["Accept-Ranges"] == "bytes"
    assert get(server, f"/Archives/edgar/data/1/{filing.accession}.txt").status_code in (403, 404)


def test_a_body_that_did_not_change_is_304(server: EdgarServer, filings) -> None:
    path = address(filings[0].accession, server.site)
    first = get(server, path)
    for headers in ({"If-None-Match": first.headers["ETag"]}, {"If-Modified-Since": first.headers["Last-Modified"]}):
        again = get(server, path, **headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    assert get(server, path, **{"If-None-Match": '"other"'}).status_code == 200


def test_a_submission_is_there_from_its_last_modified_on_and_absent_before(filings) -> None:
    site = EdgarSite(filings, seed=7)
    for one in list(site.published.values())[:40]:
        path = address(one.accession, site)
        before = site.answer(Request(one.public_at - timedelta(seconds=1), path))
        assert edgar_refusal(before.status, before.body) == "absent"
        there = site.answer(Request(one.public_at, path))
        assert (there.status, parsedate_to_datetime(there.headers["Last-Modified"])) == (200, one.public_at)


def test_a_late_body_is_absent_for_25_seconds_after_its_row(filings) -> None:
    site = EdgarSite(filings, seed=7, late_bodies=1.0)
    for one in site.published.values():
        if one.row_at is not None:
            assert one.public_at - one.row_at >= timedelta(seconds=25)
    assert site.truth(by=at(18)).keys() >= {ref.filing_id for ref in walk(site, at(18))}


def test_sizes_are_drawn_from_the_real_ones_of_the_form(filings) -> None:
    many = [drawn_size("8-K", f"{number}") for number in range(2000)]
    assert 250_000 < sorted(many)[1000] < 420_000
    assert 5_000_000 < sorted(many)[1900] < 11_000_000
    assert drawn_size("8-K/A", "1") == drawn_size("8-K", "1") != drawn_size("10-K", "1")
    small, whole = (EdgarSite(moved(filings, 7), body_scale=scale).truth() for scale in (0.01, 0.5))
    assert sum(one.size for one in whole.values()) > 10 * sum(one.size for one in small.values())


def test_delays_are_as_measured_and_letters_come_out_weeks_later_in_the_index_alone(filings) -> None:
    site = EdgarSite(filings, seed=7, letters=20)
    letters = [one for one in site.published.values() if one.form in ("CORRESP", "UPLOAD")]
    others = [one for one in site.published.values() if one not in letters]
    delays = sorted((one.public_at - one.accepted_at).total_seconds() for one in others)
    assert 20 <= delays[len(delays) // 2] <= 32
    assert 0.80 <= sum(delay <= 60 for delay in delays) / len(delays) <= 0.95
    assert max(delays) >= 1238
    assert len(letters) > 20
    for one in letters:
        assert one.row_at is None
        assert timedelta(days=27) <= one.public_at - one.accepted_at <= timedelta(days=74)
        assert one.index_day >= eastern_day(one.public_at)
    released = [one for one in letters if one.index_day == DAY]
    assert released
    rows = parse_master_index(
        site.answer(Request(at(23), "/Archives/edgar/daily-index/2026/QTR1/master.20260303.idx")).body
    )
    filed = {ref.filing_id: ref.day for ref in rows}
    assert all(filed[one.accession] == one.filed < DAY for one in released)


def test_a_body_changes_under_a_new_etag_at_the_time_it_is_said(
    server: EdgarServer, clock: VirtualClock, filings
) -> None:
    accession = next(one.accession for one in filings if one.form == "8-K" and "full" in one.body.parts)
    path = address(accession, server.site)
    server.change_body(accession, at(19))
    first = get(server, path)
    clock.advance_to(at(19))
    second = get(server, path, **{"If-None-Match": first.headers["ETag"]})
    assert second.status_code == 200
    assert second.headers["ETag"] != first.headers["ETag"]
    assert parsedate_to_datetime(second.headers["Last-Modified"]) == at(19)
    assert hashlib.sha256(second.content).hexdigest() == server.truth()[accession].sha256
    check("edgar", second.content)


def test_a_filing_of_250_mb_costs_the_server_no_memory(filings) -> None:
    accession = filings[0].accession
    site = EdgarSite(filings[:1], large={accession: 250_000_000})
    body = site.published[accession].versions[0].body
    assert body.size == 250_000_000
    tracemalloc.start()
    sent, first, last = 0, b"", b""
    for block in body.blocks():
        sent, first, last = sent + len(block), first or block[:16], block
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sent == body.size
    assert first.startswith(b"<SEC-DOCUMENT>")
    assert last.endswith(b"</SEC-DOCUMENT>\n")
    assert peak < 2_000_000


# ----------------------------------------------------------------------------------------------------- EDGAR: indexes


def test_the_daily_index_is_written_after_2206_of_a_business_day_and_is_denied_before(filings) -> None:
    site = EdgarSite(filings, seed=7)
    path = "/Archives/edgar/daily-index/2026/QTR1/master.20260303.idx"
    written = site.index_written_at(DAY)
    assert at(22, 6) <= written <= at(22, 23)
    before = site.answer(Request(written - timedelta(seconds=1), path))
    assert (before.status, before.content_type) == (403, "application/xml")
    assert b"<Code>AccessDenied</Code>" in before.body
    there = site.answer(Request(written, path))
    assert {ref.filing_id for ref in parse_master_index(there.body)} == set(site.index_truth(DAY))
    assert parsedate_to_datetime(there.headers["Last-Modified"]) == written
    for none in ("20260307", "20260308", "20260227", "20990105"):
        assert site.answer(Request(at(23, day=date(2026, 4, 30)), path.replace("20260303", none))).status == 403


def test_an_index_holds_nothing_that_became_public_after_it_was_written(filings) -> None:
    site = EdgarSite(filings, seed=7, letters=20)
    late = replace(filings[0], accepted_at=at(21, 59), filed=DAY, public_at=at(22, 30))
    site_of_one = EdgarSite([late], seed=7)
    assert site_of_one.published[late.accession].index_day == DAY + timedelta(days=1)
    for one in site.published.values():
        assert one.public_at < site.index_written_at(one.index_day)


def test_no_index_on_weekends_and_holidays_and_an_empty_one_on_a_day_without_filings(filings) -> None:
    span = [*thinned(filings, 20), *moved(thinned(filings, 20), 14)]
    site = EdgarSite(span, holidays=frozenset({date(2026, 3, 5)}))
    late = at(12, day=date(2026, 4, 30))
    path = "/Archives/edgar/daily-index/2026/QTR1/master.{}.idx"
    for day in ("20260305", "20260307", "20260308"):
        assert site.answer(Request(late, path.format(day))).status == 403
    assert parse_master_index(site.answer(Request(late, path.format("20260306"))).body) == []


def test_an_index_has_a_row_for_each_cik_and_some_twice(filings) -> None:
    site = EdgarSite([*filings, *(one for days in range(7, 71, 7) for one in moved(filings, days))], seed=7)
    body = site.answer(Request(at(12, day=date(2026, 7, 1)), "/Archives/edgar/full-index/2026/QTR1/master.idx")).body
    rows = [line for line in body.decode("latin-1").split("\n")[11:] if line]
    assert 0 < len(rows) - len(set(rows)) < len(rows) * 0.02
    assert b"|Filename\n" in body
    assert all(re.fullmatch(r"\d+\|[^|]*\|[^|]+\|2026-\d\d-\d\d\|edgar/data/\d+/[\d-]+\.txt", row) for row in rows)
    packed = site.answer(Request(at(12, day=date(2026, 7, 1)), "/Archives/edgar/full-index/2026/QTR1/master.gz"))
    assert gzip.decompress(packed.body) == body
    several = next(one for one in filings if len({party.cik for party in one.parties}) > 1 and one.in_index)
    assert sum(several.accession in row for row in set(rows)) == len({party.cik for party in several.parties})


def test_an_index_that_did_not_change_is_304_and_a_future_quarter_denied(
    server: EdgarServer, clock: VirtualClock
) -> None:
    clock.advance_to(at(23))
    path = "/Archives/edgar/full-index/2026/QTR1/form.gz"
    first = get(server, path)
    again = get(server, path, **{"If-Modified-Since": first.headers["Last-Modified"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert get(server, "/Archives/edgar/full-index/2099/QTR1/form.gz").status_code == 403


@pytest.mark.parametrize("kind", ["form", "company"])
def test_form_and_company_index_have_the_fixed_columns_of_the_real_ones(filings, kind: str) -> None:
    site = EdgarSite(filings, seed=7)
    body = site.answer(Request(at(23), f"/Archives/edgar/daily-index/2026/QTR1/{kind}.20260303.idx")).body.decode()
    header = (
        "Form Type   Company Name"
        if kind == "form"
        else "Company Name".ljust(62) + "Form Type   CIK\n      Date Filed  File Name\n"
    )
    assert header in body
    assert "Last Data Received:    Mar  3, 2026\n" in body
    paths = re.findall(r"edgar/data/\d+/(\d{10}-\d{2}-\d{6})\.txt", body)
    assert set(paths) == set(site.index_truth(DAY))


def test_the_listing_of_a_quarter_names_the_files_that_are_there_with_their_eastern_times(filings) -> None:
    site = EdgarSite(filings, seed=7)
    path = "/Archives/edgar/daily-index/2026/QTR1/index.json"
    listed = json.loads(site.answer(Request(at(23), path)).body)["directory"]
    names = {item["name"] for item in listed["item"]}
    assert {"master.20260302.idx", "master.20260303.idx", "form.20260303.idx"} <= names
    stamps = [datetime.strptime(item["last-modified"], "%m/%d/%Y %I:%M:%S %p") for item in listed["item"]]
    assert all(stamp.hour == 22 and 6 <= stamp.minute <= 23 for stamp in stamps)
    assert "master.20260303.idx" not in site.answer(Request(at(20), path)).body.decode()


def test_some_filings_are_in_the_index_and_never_in_the_feed_and_the_reverse(filings) -> None:
    site = EdgarSite(filings, seed=7, feed_misses=0.1, index_misses=0.1)
    fed = {ref.filing_id for ref in walk(site, at(23))}
    indexed = {one for day in (DAY - timedelta(days=1), DAY) for one in site.index_truth(day)}
    assert indexed - fed
    assert fed - indexed
    assert all(site.published[one].row_at is None for one in indexed - fed)
    assert all(site.published[one].index_day is None for one in fed - indexed)


# ------------------------------------------------------------------------------------------------- EDGAR: submissions API


def test_the_submissions_list_lags_and_three_in_ten_of_its_times_are_eastern_and_say_utc(filings) -> None:
    site = EdgarSite(filings, seed=7)
    flipped, honest = 0, 0
    for one in site.published.values():
        cik = int(one.parties[0].cik)
        at_once = site.answer(Request(one.public_at, f"/submissions/CIK{cik:010d}.json"))
        if at_once.status == 200:
            assert one.accession not in json.loads(at_once.body)["filings"]["recent"]["accessionNumber"]
        later = json.loads(
            site.answer(Request(one.public_at + timedelta(hours=6), f"/submissions/CIK{cik:010d}.json")).body
        )
        columns = later["filings"]["recent"]
        assert len({len(column) for column in columns.values()}) == 1
        place = columns["accessionNumber"].index(one.accession)
        said = datetime.fromisoformat(columns["acceptanceDateTime"][place].replace("Z", "+00:00"))
        assert said - one.accepted_at in (timedelta(0), -timedelta(hours=5))
        flipped, honest = flipped + (said != one.accepted_at), honest + (said == one.accepted_at)
    assert 0.2 < flipped / (flipped + honest) < 0.38


def test_older_submissions_are_on_bare_pages_that_the_first_one_names(filings) -> None:
    cik = Counter(party.cik for one in filings for party in one.parties).most_common(1)[0][0]
    site = EdgarSite(filings, recent_rows=2)
    late = at(12, day=date(2026, 6, 30))
    first = json.loads(site.answer(Request(late, f"/submissions/CIK{cik}.json")).body)
    listed = list(first["filings"]["recent"]["accessionNumber"])
    assert len(listed) == 2
    for page in first["filings"]["files"]:
        columns = json.loads(site.answer(Request(late, f"/submissions/{page['name']}")).body)
        assert len(columns["accessionNumber"]) == page["filingCount"]
        listed += columns["accessionNumber"]
    assert sorted(listed) == sorted(one.accession for one in filings if cik in {party.cik for party in one.parties})


def test_an_unknown_company_is_the_s3_error_that_names_its_key(server: EdgarServer) -> None:
    response = get(server, "/submissions/CIK0000000001.json")
    assert response.status_code == 404
    assert b"<Code>NoSuchKey</Code>" in response.content
    assert b"<Key>submissions/CIK0000000001.json</Key>" in response.content
    assert edgar_refusal(404, response.content) == "absent"


def test_the_list_of_tickers_is_served_in_columns(server: EdgarServer) -> None:
    listed = get(server, "/files/company_tickers_exchange.json").json()
    assert listed["fields"] == ["cik", "name", "ticker", "exchange"]
    assert any(row[0] == 320193 and row[2] == "AAPL" for row in listed["data"])


# ------------------------------------------------------------------------------------------------------ EDGAR: faults


@pytest.mark.parametrize(
    ("kind", "status", "meaning"),
    [
        ("undeclared", 403, "undeclared"),
        ("throttled", 403, "throttled"),
        ("throttled_plain_429", 429, "throttled"),
        ("throttled_429", 429, "throttled"),
        ("throttled_gzip", 403, "throttled"),
        ("access_denied", 403, "absent"),
        ("no_such_key", 404, "absent"),
        ("unavailable", 503, "unavailable"),
        ("unavailable_gzip", 503, "unavailable"),
    ],
)
def test_each_refusal_has_the_status_and_the_body_that_tell_it_apart(
    server: EdgarServer, kind, status, meaning
) -> None:
    server.misbehave(kind)
    refused = get(server, FEED.format(start=0, count=10))
    assert refused.status_code == status
    assert "Retry-After" not in refused.headers
    assert refused.content.startswith(b"\x1f\x8b") == (kind.endswith("_gzip") or kind == "throttled_429")
    assert edgar_refusal(refused.status_code, _plain(refused.content)) == meaning
    assert get(server, FEED.format(start=0, count=10)).status_code == 200


def test_the_refusals_have_the_titles_of_the_real_ones() -> None:
    from tests.servers.refusals import REFUSALS

    for pattern, kind in (("errors/http403_undeclared*", "undeclared"), ("errors/http403or429*", "throttled")):
        (real,) = (shared_data("filings") / "edgar").glob(pattern)
        title = re.search(rb"<title>[^<]*</title>", real.read_bytes()).group()
        assert title in REFUSALS[kind].body


def test_a_client_without_contact_is_undeclared(server: EdgarServer) -> None:
    response = CLIENT.get(server.url + FEED.format(start=0, count=10))
    assert edgar_refusal(response.status_code, response.content) == "undeclared"


def test_a_ban_lasts_600_seconds_from_the_last_request_during_it(server: EdgarServer, clock: VirtualClock) -> None:
    page = FEED.format(start=0, count=10)
    server.misbehave("ban")
    assert get(server, page).status_code == 403
    clock.sleep(599)
    assert get(server, page).status_code == 403  # which begins the ten minutes anew
    clock.sleep(599)
    assert get(server, page).status_code == 403
    assert server.asked_while_banned == 2
    clock.sleep(600)
    assert get(server, page).status_code == 200
    assert [kind for _, _, kind in server.requests] == ["throttled", "banned", "banned", "ok"]


def test_more_than_ten_requests_in_a_virtual_second_are_a_ban(filings, clock: VirtualClock) -> None:
    with EdgarServer(filings, clock=clock, per_second=10) as server:
        page = FEED.format(start=0, count=10)
        for _ in range(30):
            assert get(server, page).status_code == 200
            clock.sleep(0.1)
        clock.sleep(1)
        assert [get(server, page).status_code for _ in range(11)] == [200] * 10 + [403]
        assert server.banned_until == clock() + timedelta(seconds=600)


def test_a_submission_may_not_be_there_yet_or_have_only_its_header_or_lack_its_end(
    server: EdgarServer, filings
) -> None:
    accession = next(one.accession for one in filings if one.form == "10-K" and "full" in one.body.parts)
    path = address(accession, server.site)
    server.misbehave("not_yet", where=accession)
    refused = get(server, path)
    assert edgar_refusal(refused.status_code, refused.content) == "absent"
    for kind, reason in (("header_only", "header_only"), ("cut", "truncated")):
        server.misbehave(kind, where=accession)
        broken = get(server, path)
        assert broken.status_code == 200
        assert int(broken.headers["Content-Length"]) == len(broken.content)
        with pytest.raises(RefusedFiling) as caught:
            check("edgar", broken.content)
        assert caught.value.reason == reason
    check("edgar", get(server, path).content)


def test_an_empty_page_and_a_shifted_one(server: EdgarServer) -> None:
    rows = parse_feed_page(get(server, FEED.format(start=0, count=20)).content).refs
    server.misbehave("empty_page")
    assert parse_feed_page(get(server, FEED.format(start=0, count=20)).content).refs == ()
    server.misbehave("page_shift", where="start=10")
    assert parse_feed_page(get(server, FEED.format(start=10, count=10)).content).refs[0] == rows[9]


@pytest.mark.parametrize(
    ("kind", "error", "got"),
    [
        ("reset_before_headers", httpx.ReadError, 0),
        ("reset_in_headers", httpx.ReadError, 0),
        ("reset_first_byte", httpx.ReadError, 1),
        ("reset_mid_body", httpx.ReadError, None),
        ("reset_last_byte", httpx.ReadError, -1),
        ("truncated", httpx.RemoteProtocolError, None),
    ],
)
def test_a_connection_breaks_off_where_it_is_told_to(server: EdgarServer, filings, kind, error, got) -> None:
    path = address(filings[0].accession, server.site)
    whole = get(server, path).content
    server.misbehave(kind)
    received = bytearray()

    def read() -> None:
        with CLIENT.stream("GET", server.url + path, headers=AGENT) as response:
            for block in response.iter_raw():
                received.extend(block)

    with pytest.raises(error):
        read()
    assert len(received) == {None: len(whole) // 2, -1: len(whole) - 1}.get(got, got)
    assert whole.startswith(received)
    assert get(server, path).content == whole


def test_gzip_comes_unasked_declared_and_cut_off(server: EdgarServer, filings) -> None:
    path = address(filings[0].accession, server.site)
    whole = get(server, path).content
    server.misbehave("gzip_unasked")
    packed = get(server, path, **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in packed.headers
    assert gzip.decompress(packed.content) == whole
    server.misbehave("gzip_encoded")
    assert get(server, path).content == whole
    server.misbehave("cut_gzip")
    with pytest.raises(EOFError):
        gzip.decompress(get(server, path).content)


def test_a_slow_answer_moves_the_clock_and_a_stalled_one_waits_for_the_client(
    server: EdgarServer, clock, filings
) -> None:
    path = address(filings[0].accession, server.site)
    before = clock()
    server.misbehave("slow")
    assert get(server, path).status_code == 200
    assert clock() - before == timedelta(seconds=30)
    server.misbehave("stalled")
    with pytest.raises(httpx.ReadTimeout):
        CLIENT.get(server.url + path, headers=AGENT, timeout=0.2)


def test_faults_come_by_script_by_window_and_by_seeded_chance(filings, clock: VirtualClock) -> None:
    def answers(seed: int) -> list[int]:
        clock.set(at(18))
        window = Fault("unavailable", times=None, since=at(18, 10), until=at(18, 20))
        by_chance = Fault("access_denied", where="start=10", times=None, probability=0.3)
        with EdgarServer(filings, clock=clock, seed=seed, faults=[window, by_chance]) as server:
            seen = [get(server, FEED.format(start=10, count=10)).status_code for _ in range(40)]
            clock.set(at(18, 10))
            assert get(server, FEED.format(start=0, count=10)).status_code == 503
            clock.set(at(18, 20))
            assert get(server, FEED.format(start=0, count=10)).status_code == 200
        return seen

    first = answers(1)
    assert first == answers(1)
    assert first != answers(2)
    assert 4 <= first.count(403) <= 20


def test_a_fault_that_the_server_does_not_know_is_refused(server: EdgarServer) -> None:
    with pytest.raises(ValueError, match=r"'throtled' is no fault of EdgarServer: it knows .*throttled"):
        server.misbehave("throtled")


def test_many_requests_share_a_connection(server: EdgarServer) -> None:
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    for _ in range(50):
        connection.request("GET", FEED.format(start=0, count=100), headers=AGENT)
        assert len(connection.getresponse().read()) > 1000
    connection.close()


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock(at(9))
    assert clock() == clock() == at(9)
    clock.sleep(1.5)
    assert clock() == at(9) + timedelta(seconds=1.5)
    clock.advance_to(at(8))
    assert clock() == at(9) + timedelta(seconds=1.5)
    clock.set(at(8))
    assert clock() == at(8)
    with pytest.raises(ValueError, match="has no zone"):
        VirtualClock(datetime(2026, 3, 3))


def test_the_archive_folder_of_the_module_is_only_read(filings) -> None:
    assert all(one.body is None or isinstance(one.body, Path) for one in filings)


# ---------------------------------------------------------------------------------------------------------------- DART


def kst(hour: int, minute: int = 0, *, day: date = DAY) -> datetime:
    """A Korean clock time as UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=KOREA).astimezone(timezone.utc)


@pytest.fixture(scope="module")
def reports() -> tuple[Report, ...]:
    return korean_reports([DAY - timedelta(days=1), DAY], per_day=320, seed=5)


@pytest.fixture
def dart(reports: tuple[Report, ...]) -> Iterator[DartServer]:
    with DartServer(reports, clock=VirtualClock(kst(20)), seed=5) as running:
        yield running


def listing(page: int = 1, *, day: date = DAY, count: int = 100, key: str = KEY, more: str = "") -> str:
    window = f"bgn_de={day:%Y%m%d}&end_de={day:%Y%m%d}"
    return f"/api/list.json?crtfc_key={key}&{window}&page_no={page}&page_count={count}{more}"


def document(rcept_no: str, key: str = KEY) -> str:
    return f"/api/document.xml?crtfc_key={key}&rcept_no={rcept_no}"


def rows_of(site: DartSite, now: datetime, more: str = "") -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    while True:
        body = json.loads(site.answer(Request(now, listing(len(rows) // 100 + 1, more=more))).body)
        rows += body.get("list", [])
        if len(rows) == body.get("total_count", 0):
            return rows


def test_a_day_of_dart_has_hundreds_of_rows_in_pages_with_padded_names(dart: DartServer) -> None:
    first = get(dart, listing()).json()
    assert (first["status"], first["total_count"], first["total_page"], len(first["list"])) == ("000", 320, 4, 100)
    rows = rows_of(dart.site, kst(20))
    assert {row["rcept_no"] for row in rows} == set(dart.truth(DAY))
    assert all(row["rcept_dt"] == "20260303" and row["report_nm"].endswith(" ") for row in rows)
    assert any(row["stock_code"] == "" for row in rows)
    page = parse_dart_list(get(dart, listing(4)).content)
    assert (page.page_no, page.total_count, len(page.refs)) == (4, 320, 20)


def test_rows_are_in_no_order_of_their_numbers_and_are_inserted_between_others(reports) -> None:
    site = DartSite(reports)
    numbers = [row["rcept_no"] for row in rows_of(site, kst(20)) if row["rcept_no"][8] == "0"]
    assert numbers != sorted(numbers)
    assert numbers != sorted(numbers, reverse=True)
    for order in ("", "&sort_mth=asc"):
        before = [row["rcept_no"] for row in rows_of(site, kst(16, 30), order)]
        after = [row["rcept_no"] for row in rows_of(site, kst(16, 40), order)]
        assert [one for one in after if one in set(before)] == before
        places = [after.index(one) for one in after if one not in set(before)]
        assert places
        edge = range(len(places)) if order == "" else range(len(before), len(after))
        assert set(places) != set(edge)  # not only at the end where the newest are


def test_counts_change_while_the_day_goes_on_and_a_day_without_reports_is_013(reports) -> None:
    site = DartSite(reports)
    counts = [len(rows_of(site, kst(hour))) for hour in (6, 9, 12, 16, 20)]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1] < counts[-1] == 320
    nothing = site.answer(Request(kst(20), listing(day=date(2026, 3, 8)))).body
    assert nothing == '{"status":"013","message":"조회된 데이타가 없습니다."}'.encode()
    digest = hashlib.sha256(nothing).hexdigest()
    assert (len(nothing), digest[:8]) == (65, "5b9f4487")  # of a live answer


def test_a_correction_is_a_new_report_of_the_company_and_marks_the_old_one_later(reports) -> None:
    site = DartSite(reports)
    corrections = [one for one in site.truth(DAY).values() if one.corrects]
    assert len(corrections) > 10
    for one in corrections:
        old = site.reports[one.corrects]
        assert one.corp_code == old.corp_code
        assert one.received_at >= old.received_at
        assert CORRECTION.sub("", one.title) == CORRECTION.sub("", old.title) != one.title
    one = next(one for one in corrections if site.reports[one.corrects].day == DAY)
    first = min(other.listed_at for other in corrections if other.corrects == one.corrects)

    def remark(now: datetime) -> str:
        return next(row["rm"] for row in rows_of(site, now) if row["rcept_no"] == one.corrects)

    assert remark(first) == remark(first - timedelta(seconds=1)) + "정"


def test_a_document_is_014_for_the_first_minutes_and_then_a_zip_that_looks_as_bad_as_real_ones(reports) -> None:
    site = DartSite(reports)
    encodings, absolute, attached, never = Counter(), 0, 0, 0
    for one in site.truth(DAY).values():
        if one.document_at is None:
            never += 1
            assert parse_dart_error(site.answer(Request(kst(23), document(one.rcept_no))).body)[0] == "014"
            continue
        early = site.answer(Request(one.document_at - timedelta(seconds=1), document(one.rcept_no)))
        assert (early.status, early.content_type) == (200, "application/xml;charset=UTF-8")
        assert parse_dart_error(early.body) == ("014", "파일이 존재하지 않습니다.")
        body = site.answer(Request(one.document_at, document(one.rcept_no))).body
        assert (len(body), hashlib.sha256(body).hexdigest()) == (one.size, one.sha256)
        check("dart", body)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries_of_zip = archive.infolist()
            assert {entry.date_time[:3] for entry in entries_of_zip} == {(2107, 15, 14)}
            main = next(entry for entry in entries_of_zip if entry.filename.endswith(f"{one.rcept_no}.xml"))
            absolute += main.filename.startswith("/")
            attached += entries_of_zip[0].filename.endswith("_00760.xml")
            encodings[one.encoding] += 1
            source = archive.read(main)
        text = dart_documents.decode(source)
        assert text == source.decode(one.encoding)
        assert re.search(r"&(?![a-zA-Z#])", text)  # ill-formed
        if one.encoding == "cp949" and one.kind == "dart":
            assert text.startswith('<?xml version="1.0" encoding="utf-8"?>')
    assert never > 0
    assert absolute > 20
    assert attached > 5
    assert encodings["cp949"] > 50 < encodings["utf-8"]


def test_a_wrong_key_and_wrong_fields_are_errors_that_repeat_the_key(dart: DartServer) -> None:
    wrong = "f" * 40
    for path in (listing(key=wrong), document("20260303000001", key=wrong)):
        status, message = parse_dart_error(get(dart, path).content)
        assert (status, wrong in message) == ("010", True)
    for path in (listing(count=101), listing(0), listing(more="&end_de=x").replace("&end_de=20260303", "")):
        assert get(dart, path).json()["status"] == "100"
    long = listing().replace("bgn_de=20260303", "bgn_de=20251101")
    assert get(dart, long).json()["status"] == "100"
    assert get(dart, long + "&corp_code=00126380").json()["status"] in ("000", "013")


def test_the_list_of_corporations_is_a_zip_with_one_member(dart: DartServer) -> None:
    answer = get(dart, f"/api/corpCode.xml?crtfc_key={KEY}")
    assert answer.headers["Content-Type"] == "application/x-msdownload;charset=UTF-8"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["CORPCODE.xml"]
        text = archive.read("CORPCODE.xml").decode()
    assert "<corp_code>00126380</corp_code>" in text
    assert "<stock_code> </stock_code>" in text


def test_020_in_the_middle_of_page_3_and_800_for_an_hour(dart: DartServer) -> None:
    dart.misbehave("dart_020", where="page_no=3")
    assert [get(dart, listing(page)).json()["status"] for page in (1, 2, 3, 3)] == ["000", "000", "020", "000"]
    dart.misbehave("dart_800", times=None, since=kst(20), until=kst(21))
    number = next(iter(dart.truth(DAY)))
    assert get(dart, listing()).json()["status"] == "800"
    assert parse_dart_error(get(dart, document(number)).content)[0] == "800"
    dart.clock.advance_to(kst(21))
    assert get(dart, listing()).json()["status"] == "000"


def test_a_used_up_quota_is_020_until_the_korean_day_turns(reports) -> None:
    clock = VirtualClock(kst(22))
    with DartServer(reports, clock=clock, per_day=3) as server:
        assert [get(server, listing()).json()["status"] for _ in range(5)] == ["000"] * 3 + ["020"] * 2
        assert server.asked_over_quota == 2
        clock.advance_to(kst(23, 59))
        assert get(server, listing()).json()["status"] == "020"
        clock.advance_to(kst(0, day=DAY + timedelta(days=1)))
        assert get(server, listing()).json()["status"] == "000"
        server.misbehave("quota")
        assert [get(server, listing()).json()["status"] for _ in range(2)] == ["020"] * 2


def test_the_1001st_request_of_a_minute_is_reset_and_the_address_stays_blocked(reports) -> None:
    clock = VirtualClock(kst(20))
    with DartServer(reports, clock=clock) as server:
        for _ in range(1000):
            assert get(server, listing(count=1)).status_code == 200
        with pytest.raises(httpx.TransportError):
            get(server, listing())
        clock.sleep(3600)
        with pytest.raises(httpx.TransportError):
            get(server, listing())
        assert server.asked_while_blocked == 1
        clock.sleep(24 * 3600)
        assert get(server, listing()).status_code == 200


def test_a_page_that_shifted_lacks_the_row_that_moved(dart: DartServer) -> None:
    dart.misbehave("page_shift")
    assert get(dart, listing()).json()["total_count"] == 319
    assert get(dart, listing()).json()["total_count"] == 320


def test_the_key_is_found_in_logs_and_not_repeated_by_the_failure(dart: DartServer, caplog) -> None:
    assert_key_never_logged("list.json?crtfc_key=***", KEY)
    caplog.set_level(logging.INFO, logger="httpx")
    logger = logging.getLogger("httpx")
    filters, logger.filters = logger.filters, []  # what masks the key in the client under test
    try:
        get(dart, listing())
    finally:
        logger.filters = filters
    with pytest.raises(AssertionError, match="the key is in line 1 of") as caught:
        assert_key_never_logged(caplog.text, KEY)
    assert KEY not in str(caught.value)
