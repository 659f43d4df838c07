"""What every regulator must do: EDGAR and DART, each over an archive folder and over HTTP against a local server."""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from dagster import EnvVar

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import NotYetThere, Regulator, RegulatorUnavailable
from ledgerline.filings.records import FilingRef, Party
from ledgerline.filings.times import EASTERN
from resources.filing_ledger import SqlFilingLedger
from resources.regulators import DartArchive, DartHttp, EdgarArchive, EdgarHttp, RegulatorSet, _unpacked
from tests.servers.clock import VirtualClock
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import a_day_of_filings, moved
from tests.servers.regulator_server import KEY, RegulatorServer
from tests.servers.small_archive import DART_LIST, DAY, EDGAR, NEXT_DAY, write_small_archive
from tests.shared_data import shared_data

USER_AGENT = "Ledgerline Tests tests@example.com"
EVENING = datetime(2025, 3, 15, 2, 30, tzinfo=timezone.utc)  # 22:30 Eastern of the day; 11:30 of the next day in Korea


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, now: datetime = EVENING) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@dataclass
class Case:
    regulator: Regulator
    listed: list[str]  # what the day must hold
    missing: str  # listed, and not served
    body_of: dict[str, Path]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_small_archive(tmp_path / "archive")


@pytest.fixture
def ledger(tmp_path: Path) -> SqlFilingLedger:
    return SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def server(archive: Path) -> Iterator[RegulatorServer]:
    with RegulatorServer(archive) as running:
        yield running


@pytest.fixture
def edgar(server: RegulatorServer, ledger: SqlFilingLedger) -> EdgarHttp:
    clock = Clock()
    return EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)


@pytest.fixture
def dart(server: RegulatorServer, ledger: SqlFilingLedger) -> DartHttp:
    clock = Clock()
    return DartHttp(KEY, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)


@pytest.fixture(params=["edgar over archive", "edgar over http", "dart over archive", "dart over http"])
def case(request: pytest.FixtureRequest, archive: Path) -> Case:
    source, _, way = request.param.partition(" over ")
    if way == "http":
        regulator = request.getfixturevalue(source)
    else:
        regulator = EdgarArchive(archive) if source == "edgar" else DartArchive(archive)
    if source == "dart":
        served = [row[0] for row in DART_LIST[:2]]
        return Case(
            regulator,
            sorted(row[0] for row in DART_LIST),
            DART_LIST[2][0],
            {rcept_no: archive / f"dart/document/{rcept_no}.zip" for rcept_no in served},
        )
    listed = [made.accession for made in EDGAR if made.day == DAY and (made.feed or made.index)]
    if way == "archive":  # a body that nothing lists is a filing too
        listed += ["0000320193-25-000006", "0000320193-25-000008"]
    bodies = {made.accession: archive / f"edgar/full/{made.accession}.txt" for made in EDGAR if made.body}
    return Case(
        regulator, sorted(listed), "0000320193-25-000005", {one: path for one, path in bodies.items() if one in listed}
    )


@dataclass
class Got:
    """A fetched filing with its bytes read."""

    body: bytes
    last_modified: datetime | None
    etag: str | None


def got(regulator: Regulator, ref: FilingRef, etag: str | None = None) -> Got:
    """Fetch a filing; its size and digest must be those of the file."""
    with TemporaryDirectory() as folder:
        fetched = regulator.fetch(ref, Path(folder) / "body", etag=etag)
        assert fetched is not None
        body = fetched.path.read_bytes()
    assert (fetched.size, fetched.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert fetched.ref == ref
    return Got(body, fetched.last_modified, fetched.etag)


def ref_of(case: Case, filing_id: str) -> FilingRef:
    return next(ref for ref in case.regulator.discover(DAY) if ref.filing_id == filing_id)


# ------------------------------------------------------------------------------------------------------ every regulator


def test_the_days_are_in_order_and_hold_the_day(case: Case) -> None:
    days = case.regulator.days()
    assert DAY in days
    assert days == sorted(set(days))


def test_a_day_is_discovered_whole_and_each_filing_once(case: Case) -> None:
    refs = [ref for ref in case.regulator.discover(DAY) if ref.day == DAY]
    assert sorted(ref.filing_id for ref in refs) == case.listed
    assert {ref.source for ref in refs} == {case.regulator.source}
    assert all(ref.parties and ref.form for ref in refs)


def test_discovering_again_gives_the_same(case: Case) -> None:
    assert case.regulator.discover(DAY) == case.regulator.discover(DAY)


def test_a_day_without_filings_is_empty_and_no_error(case: Case) -> None:
    assert case.regulator.discover(date(2025, 3, 9)) == []


def test_a_filing_is_fetched_as_it_is_served_with_the_time_it_became_public(case: Case) -> None:
    for filing_id, path in case.body_of.items():
        fetched = got(case.regulator, ref_of(case, filing_id))
        assert fetched.body == path.read_bytes()
        assert fetched.last_modified is not None
        assert fetched.last_modified.tzinfo is not None


def test_a_filing_that_is_listed_and_not_served_is_not_yet_there(case: Case) -> None:
    with pytest.raises(NotYetThere):
        got(case.regulator, ref_of(case, case.missing))


# ------------------------------------------------------------------------------------------------------------ archives


def test_feed_and_index_and_header_are_united(archive: Path) -> None:
    refs = {ref.filing_id: ref for ref in EdgarArchive(archive).discover(DAY)}
    owner = refs["0000320193-25-000002"]
    assert owner.parties == (
        Party("0001214156", "COOK - TIMOTHY (D)", "Reporting"),
        Party("0000320193", "Apple Inc.", "Issuer"),
    )
    assert owner.accepted_at == datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc)
    assert refs["0000320193-25-000003"].parties == (Party("0000320193", "APPLE INC.", ""),)
    assert refs["0000320193-25-000006"].parties == (Party("0000320193", "Apple Inc.", "Filer"),)


def test_an_archive_says_when_a_filing_was_public_and_not_when_it_was_replayed(archive: Path) -> None:
    edgar, dart = EdgarArchive(archive), DartArchive(archive)
    refs = {ref.filing_id: ref for ref in (*edgar.discover(DAY), *dart.discover(DAY))}
    accepted = datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc)
    assert got(edgar, refs["0000320193-25-000001"]).last_modified == accepted
    assert got(edgar, refs["0000320193-25-000004"]).last_modified == accepted + timedelta(days=73)  # CORRESP
    assert got(dart, refs["20250314000010"]).last_modified == datetime(2025, 3, 14, 16, tzinfo=timezone.utc)


def test_a_second_body_of_one_accession_is_a_filing_of_its_own(archive: Path) -> None:
    (archive / "edgar/malformed/0000320193-25-000001.txt").write_bytes(
        b"<SEC-DOCUMENT>0000320193-25-000001.txt : 20250314"
    )
    edgar = EdgarArchive(archive)
    refs = {ref.filing_id: ref for ref in edgar.discover(DAY)}
    assert got(edgar, refs["0000320193-25-000001.malformed"]).body.startswith(b"<SEC-DOCUMENT>")
    assert got(edgar, refs["0000320193-25-000001"]).body.endswith(b"</SEC-DOCUMENT>\n")


def test_a_file_that_says_nothing_of_its_day_is_still_a_filing(archive: Path) -> None:
    (archive / "edgar/malformed/0000320193-99-000001.txt").write_bytes(b"")
    (archive / "edgar/malformed/strange.tar.gz").write_bytes(b"\x1f\x8b\x08")
    edgar = EdgarArchive(archive)
    assert [ref.filing_id for ref in edgar.discover(date(1999, 12, 31))] == ["0000320193-99-000001"]
    assert [ref.filing_id for ref in edgar.discover(date(1993, 1, 1))] == ["strange.tar.gz"]


def test_a_file_that_appears_later_is_seen(archive: Path) -> None:
    edgar = EdgarArchive(archive)
    before = len(edgar.discover(DAY))
    body = (archive / "edgar/full/0000320193-25-000006.txt").read_bytes()
    (archive / "edgar/full/0000320193-25-000099.txt").write_bytes(body.replace(b"25-000006", b"25-000099"))
    assert len(edgar.discover(DAY)) == before + 1


def test_bare_dart_documents_are_given_out_as_the_zip_of_theirs(archive: Path) -> None:
    head = (
        '<DOCUMENT><DOCUMENT-NAME ACODE="11012">반기보고서</DOCUMENT-NAME><COMPANY-NAME AREGCIK="00126380">삼성전자(주)'
    )
    (archive / "dart/dart-20220816001711.xhml").write_bytes(head.encode("cp949"))
    (archive / "dart/document_20230309000761.xml").write_bytes(head.encode())
    (archive / "dart/document_20230309000761_00760.xml").write_bytes(b"<DOCUMENT/>")
    dart = DartArchive(archive)
    for day in (date(2022, 8, 16), date(2023, 3, 9)):
        (ref,) = dart.discover(day)
        assert (ref.form, ref.parties) == ("반기보고서", (Party("00126380", "삼성전자(주)", "Filer"),))
        assert got(dart, ref).body.startswith(b"PK\x03\x04")
        assert got(dart, ref).body == got(DartArchive(archive), ref).body


def test_every_file_of_the_real_archive_is_a_filing_once_and_can_be_fetched() -> None:
    folder = shared_data("filings")
    files = [path for name in ("full", "nc", "malformed") for path in (folder / "edgar" / name).iterdir()]
    edgar, dart = EdgarArchive(folder), DartArchive(folder)
    refs = [ref for day in edgar.days() for ref in edgar.discover(day)]
    assert len(refs) == len({ref.filing_id for ref in refs}) == len(files) == 428
    assert sum(len(got(edgar, ref).body) for ref in refs) == sum(path.stat().st_size for path in files)
    assert [ref.filing_id for day in dart.days() for ref in dart.discover(day)] == [
        "20220816001711",
        "20230309000761",
        "20230315001104",
    ]


@pytest.mark.parametrize("make", [EdgarArchive, DartArchive])
def test_a_folder_that_is_no_archive_says_what_was_looked_for(make: type, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"looked for edgar/full/\*.txt.*give a folder that has some"):
        make(tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        make(tmp_path / "nowhere")
    write_small_archive(tmp_path / "inner")
    with pytest.raises(ConfigurationError, match=r"did you mean .*inner"):
        make(tmp_path)


def test_a_cut_off_page_in_an_archive_is_named_and_not_read_as_a_short_list(archive: Path) -> None:
    page = archive / "edgar/feeds/20250314/page_0.atom.xml"
    page.write_bytes(page.read_bytes()[:-30])
    with pytest.raises(RegulatorUnavailable, match=r"page_0\.atom\.xml.*replace the file"):
        EdgarArchive(archive).days()


# ---------------------------------------------------------------------------------------------------- EDGAR over HTTP


def test_edgar_is_asked_with_the_user_agent_and_walks_no_further_than_the_day(
    edgar: EdgarHttp, server: RegulatorServer
):
    edgar.discover(DAY)
    assert set(server.user_agents) == {USER_AGENT}
    assert [one.partition("?")[0] for one in server.requests] == [
        "/cgi-bin/browse-edgar",  # the archive's rows fit on one page; the next one is empty and ends the walk
        "/cgi-bin/browse-edgar",
        "/Archives/edgar/daily-index/2025/QTR1/master.20250314.idx",
    ]


def test_an_older_day_is_read_from_its_index_alone(edgar: EdgarHttp, server: RegulatorServer) -> None:
    edgar._clock.now = EVENING + timedelta(days=30)  # type: ignore[attr-defined]
    refs = edgar.discover(DAY)
    assert sorted(ref.filing_id for ref in refs) == [made.accession for made in EDGAR if made.index and made.day == DAY]
    assert len(server.requests) == 1


def test_a_weekend_has_no_index_and_that_is_no_error(edgar: EdgarHttp) -> None:
    assert edgar.discover(date(2025, 3, 8)) == []


def test_an_undeclared_tool_is_a_setting_to_correct(edgar: EdgarHttp, server: RegulatorServer) -> None:
    server.misbehave("undeclared")
    with pytest.raises(ConfigurationError, match="EDGAR_USER_AGENT"):
        edgar.discover(DAY)


@pytest.mark.parametrize("kind", ["throttled", "throttled_429"])
def test_throttling_stops_every_process_for_ten_minutes(
    edgar: EdgarHttp, server: RegulatorServer, ledger: SqlFilingLedger, kind: str
) -> None:
    server.misbehave(kind)
    with pytest.raises(RegulatorUnavailable) as caught:
        edgar.discover(DAY)
    assert caught.value.retry_at == EVENING + timedelta(seconds=600)
    asked = len(server.requests)
    clock = Clock(EVENING + timedelta(seconds=599))
    other = EdgarHttp(
        USER_AGENT, lease=SqlFilingLedger(url=ledger.url), base_url=server.url, clock=clock, sleep=clock.sleep
    )
    with pytest.raises(RegulatorUnavailable):
        other.discover(DAY)
    assert len(server.requests) == asked
    clock.now = EVENING + timedelta(seconds=600)
    assert other.discover(DAY)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("unavailable", "browse-edgar"),
        ("unavailable", "daily-index"),
        ("unavailable", "start=100"),
        ("access_denied", "browse-edgar"),
        ("empty_page", "start=0"),  # the real feed always has rows
    ],
)
def test_a_failed_read_is_never_an_empty_or_a_short_list(
    edgar: EdgarHttp, server: RegulatorServer, kind: str, where: str
) -> None:
    server.misbehave(kind, where=where, times=99)
    with pytest.raises(RegulatorUnavailable):
        edgar.discover(DAY)


@pytest.mark.parametrize("kind", ["truncated", "reset", "cut_gzip"])
def test_a_body_that_is_cut_off_is_asked_for_again(edgar: EdgarHttp, server: RegulatorServer, kind: str, archive: Path):
    ref = next(ref for ref in edgar.discover(DAY) if ref.filing_id == "0000320193-25-000001")
    server.misbehave(kind, where=".txt", times=2)
    assert got(edgar, ref).body == (archive / "edgar/full/0000320193-25-000001.txt").read_bytes()
    server.misbehave(kind, where=".txt", times=3)
    with pytest.raises(RegulatorUnavailable, match="failed 3 times"):
        got(edgar, ref)


@pytest.mark.parametrize("kind", ["gzip_unasked", "gzip_encoded", "gzip_members"])
def test_gzip_is_unpacked_whole_whether_it_was_asked_for_or_not(
    edgar: EdgarHttp, server: RegulatorServer, archive: Path, kind: str
) -> None:
    server.misbehave(kind, times=99)
    ref = next(ref for ref in edgar.discover(DAY) if ref.filing_id == "0000320193-25-000001")
    assert got(edgar, ref).body == (archive / "edgar/full/0000320193-25-000001.txt").read_bytes()


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_gzip_members_are_read_to_the_last_one_wherever_a_block_ends(block: int) -> None:
    packed = gzip.compress(b"one" * 500) + gzip.compress(b"") + gzip.compress(b"two" * 500) + bytes(9)

    def blocks(body: bytes) -> Iterator[bytes]:
        return (body[at : at + block] for at in range(0, len(body), block))

    assert b"".join(_unpacked(blocks(packed))) == b"one" * 500 + b"two" * 500
    for broken in (packed[:-20], packed + b"no gzip"):
        with pytest.raises(httpx.DecodingError):
            b"".join(_unpacked(blocks(broken)))


def test_requests_keep_the_distance_of_the_lease(edgar: EdgarHttp) -> None:
    edgar.discover(DAY)
    assert edgar._clock.slept == pytest.approx([0.2, 0.2])  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------------------- DART over HTTP


def test_dart_titles_lose_their_correction_prefix_in_the_form(dart: DartHttp) -> None:
    forms = {ref.filing_id: (ref.form, ref.title) for ref in dart.discover(DAY)}
    assert forms["20250314000020"] == ("사업보고서 (2024.12)", "[기재정정]사업보고서 (2024.12)")


def test_dart_pages_are_all_read_and_read_again_when_the_count_changed(
    dart: DartHttp, server: RegulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.regulators.PAGE", 1)
    server.misbehave("page_shift", where="page_no=1")  # the third filing arrives after page 1 was read
    assert len(dart.discover(DAY)) == 3
    pages = [one.partition("page_no=")[2][0] for one in server.requests]
    assert pages == ["1", "2", "1", "1", "2", "3", "1"]


def test_a_dart_list_that_never_stands_still_is_a_failed_read(
    dart: DartHttp, server: RegulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.regulators.PAGE", 1)
    for _ in range(3):
        server.misbehave("none", where="page_no=1", times=1)
        server.misbehave("page_shift", where="page_no=1", times=1)
    with pytest.raises(RegulatorUnavailable, match="changed during each"):
        dart.discover(DAY)


def test_the_used_up_quota_stops_until_the_korean_day_turns(
    dart: DartHttp, server: RegulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.regulators.PAGE", 1)
    server.misbehave("dart_020", where="page_no=3")
    with pytest.raises(RegulatorUnavailable) as caught:
        dart.discover(DAY)
    assert caught.value.retry_at == datetime(2025, 3, 15, 15, 0, tzinfo=timezone.utc)  # midnight in Korea
    asked = len(server.requests)
    with pytest.raises(RegulatorUnavailable):
        dart.discover(DAY)
    assert len(server.requests) == asked
    dart._clock.now = caught.value.retry_at  # type: ignore[attr-defined]
    assert len(dart.discover(DAY)) == 3


@pytest.mark.parametrize("status", ["010", "011", "012", "901"])
def test_a_key_that_dart_refuses_is_a_setting_to_correct(dart: DartHttp, server: RegulatorServer, status: str) -> None:
    server.misbehave(f"dart_{status}")
    with pytest.raises(ConfigurationError, match="DART_API_KEY"):
        dart.discover(DAY)


def test_maintenance_of_dart_is_a_failed_read_in_lists_and_documents(dart: DartHttp, server: RegulatorServer) -> None:
    ref = dart.discover(DAY)[0]
    server.misbehave("dart_800", times=2)
    with pytest.raises(RegulatorUnavailable, match="800"):
        dart.discover(DAY)
    with pytest.raises(RegulatorUnavailable, match="800"):
        got(dart, ref)


def test_the_dart_key_is_in_no_log_message_error_or_repr(
    dart: DartHttp, server: RegulatorServer, caplog: pytest.LogCaptureFixture, ledger: SqlFilingLedger
) -> None:
    caplog.set_level(logging.DEBUG)
    said = [repr(dart), repr(RegulatorSet(ledger=ledger, dart_api_key=KEY))]
    ref = dart.discover(DAY)[0]
    for kind in ("dart_900", "dart_012", "dart_100", "unavailable", "truncated", "reset"):
        for ask in (lambda: dart.discover(DAY), lambda: got(dart, ref)):
            server.misbehave(kind, times=3)
            with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is tested above
                ask()
            server.faults.clear()
            chain: list[BaseException] = []
            error: BaseException | None = caught.value
            while error is not None and error not in chain:
                chain.append(error)
                error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            said += [f"{one!r} {one} {vars(one)}" for one in chain]
    text = "\n".join([*said, caplog.text])
    assert "list.json" in caplog.text
    assert "crtfc_key=***" in text
    assert KEY not in text


# ------------------------------------------------------------------------------------------------------- the resource


def test_a_missing_or_unusable_credential_is_said_before_any_request(ledger: SqlFilingLedger) -> None:
    for settings, source, words in (
        ({}, "edgar", "EDGAR_USER_AGENT"),
        ({}, "dart", "DART_API_KEY"),
        ({"edgar_user_agent": "Mozilla/5.0"}, "edgar", "contact e-mail"),
        ({"dart_api_key": "secret"}, "dart", "40 hexadecimal"),
        ({}, "edinet", "no regulator"),
    ):
        with pytest.raises(ConfigurationError, match=words) as caught:
            RegulatorSet(ledger=ledger, **settings).of(source)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)


def test_a_credential_that_is_named_by_its_variable_is_read_outside_of_runs_too(
    ledger: SqlFilingLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGAR_USER_AGENT", USER_AGENT)
    monkeypatch.setenv("DART_API_KEY", "too short")
    named = RegulatorSet(
        ledger=ledger, edgar_user_agent=EnvVar("EDGAR_USER_AGENT"), dart_api_key=EnvVar("DART_API_KEY")
    )
    assert isinstance(named.of("edgar"), EdgarHttp)
    with pytest.raises(ConfigurationError, match="DART_API_KEY has 9 characters"):
        named.of("dart")


def test_sources_are_read_over_http_where_there_is_a_credential_and_else_from_the_archive(
    archive: Path, ledger: SqlFilingLedger
) -> None:
    assert RegulatorSet(ledger=ledger).sources() == []
    both = RegulatorSet(ledger=ledger, archive=str(archive))
    assert (both.sources(), both.live_sources()) == (["edgar", "dart"], [])
    mixed = RegulatorSet(ledger=ledger, archive=str(archive), edgar_user_agent=USER_AGENT)
    assert (mixed.sources(), mixed.live_sources()) == (["edgar", "dart"], ["edgar"])
    assert isinstance(mixed.of("edgar"), EdgarHttp)
    assert isinstance(mixed.of("dart"), DartArchive)
    assert mixed.of("dart") is mixed.of("dart")
    with pytest.raises(ConfigurationError, match="no archive of filings"):
        RegulatorSet(ledger=ledger, archive=str(archive / "edgar")).sources()


def test_days_over_http_are_yesterday_and_today_of_the_regulator(edgar: EdgarHttp, dart: DartHttp) -> None:
    assert edgar.days() == [DAY - timedelta(days=1), DAY]
    assert dart.days() == [DAY, DAY + timedelta(days=1)]
    assert NEXT_DAY not in edgar.days()


# ------------------------------------------------------------------------------------------------------- polls and index


class Known:
    """What a ledger would know."""

    def __init__(self, *refs: FilingRef) -> None:
        self.refs = refs

    def known(self, source: str, filing_ids: Sequence[str]) -> set[str]:
        return {ref.filing_id for ref in self.refs} & set(filing_ids)

    def listed(self, source: str, day: date) -> int:
        return len({ref.filing_id for ref in self.refs if ref.day == day})


def test_a_poll_that_knows_nothing_finds_what_a_whole_read_finds(case: Case) -> None:
    poll = case.regulator.poll(DAY, known=Known(), since=None)
    assert poll.connected
    assert poll.failure is None
    assert {ref.filing_id for ref in poll.refs if ref.day == DAY} == set(case.listed)


def test_a_poll_that_knows_everything_adds_nothing(case: Case) -> None:
    known = Known(*case.regulator.discover(DAY))
    poll = case.regulator.poll(DAY, known=known, since=EVENING)
    assert poll.connected
    ids = sorted({ref.filing_id for ref in poll.refs})
    assert known.known(case.regulator.source, ids) == set(ids)


def test_a_dart_filing_that_came_in_place_of_a_withdrawn_one_is_found_by_the_next_poll(
    dart: DartHttp, server: RegulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.regulators.PAGE", 1)
    first, second, third = dart.discover(DAY)
    withdrawn = replace(second, filing_id="20250314999999")
    poll = dart.poll(DAY, known=Known(first, second, withdrawn), since=EVENING)
    assert third in poll.refs
    asked = len(server.requests)
    assert dart.poll(DAY, known=Known(first, second, third), since=EVENING).pages == 2
    assert len(server.requests) == asked + 2


def test_a_page_without_rows_in_the_middle_of_the_feed_is_not_its_end(tmp_path: Path) -> None:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=150)
    clock = VirtualClock(datetime(day.year, day.month, day.day, 21, 30, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    with EdgarServer(filings, clock=clock) as server:
        edgar = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)
        server.misbehave("empty_page", where="start=100")
        broken, whole = (edgar.poll(day, known=Known(), since=None) for _ in range(2))
        assert (broken.connected, broken.gap, broken.failure) == (False, None, None)
        assert whole.connected
        assert len(whole.refs) > len(broken.refs) == 100


def test_the_index_of_the_day_lists_its_filings_and_is_whole(case: Case) -> None:
    index = case.regulator.index(DAY)
    assert index is not None
    assert (index.source, index.day) == (case.regulator.source, DAY)
    assert {ref.filing_id for ref in index.refs} <= set(case.listed) | {"0000320193-25-000007"}
    assert index.refs


def test_an_index_that_cannot_be_read_is_no_empty_one(
    edgar: EdgarHttp, dart: DartHttp, server: RegulatorServer
) -> None:
    for regulator, kind in ((edgar, "unavailable"), (dart, "dart_800")):
        server.misbehave(kind, times=99)
        with pytest.raises(RegulatorUnavailable):
            regulator.index(DAY)
        server.faults.clear()


def test_a_filing_whose_etag_is_known_is_not_sent_again(tmp_path: Path) -> None:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=5)
    clock = VirtualClock(datetime(day.year, day.month, day.day, 22, 30, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    with EdgarServer(filings, clock=clock) as server:
        edgar = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)
        ref = edgar.discover(day)[0]
        first = edgar.fetch(ref, tmp_path / "body")
        assert first is not None
        assert edgar.fetch(ref, tmp_path / "body", etag=first.etag) is None
        assert edgar.fetch(ref, tmp_path / "body", etag='"another"') is not None


def test_a_holiday_has_an_empty_index_and_a_day_that_goes_on_has_none(tmp_path: Path) -> None:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=5)
    clock = VirtualClock(datetime(day.year, day.month, day.day, 12, 0, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    saturday = day + timedelta(days=(5 - day.weekday()) % 7)
    with EdgarServer(filings, clock=clock) as server:
        edgar = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)
        assert edgar.index(day) is None
        weekend = edgar.index(saturday)
        assert weekend is not None
        assert (weekend.refs, weekend.final) == ((), False)

        def ahead() -> datetime:
            return clock() + timedelta(days=2)

        early = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=ahead, sleep=clock.sleep).index(saturday)
        assert early is not None
        assert not early.final  # by the regulator's clock
        clock.advance_to(datetime(saturday.year, saturday.month, saturday.day, 7, tzinfo=EASTERN) + timedelta(days=1))
        weekend = edgar.index(saturday)
        assert weekend is not None
        assert weekend.final


def test_a_holiday_at_the_end_of_a_quarter_is_told_by_the_index_of_the_next_one(tmp_path: Path) -> None:
    day, holiday = date(2027, 12, 30), date(2027, 12, 31)  # a Friday; 1 January is a Saturday
    recorded, filings = a_day_of_filings(tmp_path / "sample", limit=5)
    after = [*moved(filings, (day - recorded).days), *moved(filings, (date(2028, 1, 3) - recorded).days)]
    clock = VirtualClock(datetime(2028, 1, 3, 12, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    with EdgarServer(after, clock=clock, holidays=frozenset({holiday})) as server:
        edgar = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)
        assert edgar.index(holiday) is None
        clock.advance_to(datetime(2028, 1, 3, 23, tzinfo=EASTERN))
        index = edgar.index(holiday)
        assert index is not None
        assert (index.refs, index.final) == ((), True)


def test_a_second_witness_confirms_only_what_it_dates_to_the_day(tmp_path: Path) -> None:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=5)
    clock = VirtualClock(datetime(day.year, day.month, day.day, 22, 30, tzinfo=EASTERN))
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    with EdgarServer(filings, clock=clock) as server:
        edgar = EdgarHttp(USER_AGENT, lease=ledger, base_url=server.url, clock=clock, sleep=clock.sleep)
        refs = [ref for ref in edgar.discover(day) if ref.day == day]
        clock.advance_to(clock() + timedelta(days=1))  # submissions lag by hours
        other_day = [replace(ref, day=day - timedelta(days=1)) for ref in refs]
        nobody = replace(refs[0], parties=())
        assert edgar.confirm(refs) == {ref.filing_id for ref in refs}
        assert edgar.confirm([*other_day, nobody]) == set()


def test_a_rate_over_the_ceiling_is_refused_before_any_request(ledger: SqlFilingLedger) -> None:
    for rate in (0.0, 8.1):
        with pytest.raises(ConfigurationError, match=f"EDGAR_PER_SECOND is {rate:g}.*up to 8"):
            EdgarHttp(USER_AGENT, lease=ledger, per_second=rate)
