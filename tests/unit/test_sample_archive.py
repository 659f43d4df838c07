"""The sample archive: the same bytes on every run, every container variant, and every document says what it is."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import sample.generate_archive
from ledgerline.errors import LedgerlineError
from sample.dart_day import REPORTS
from sample.draws import Draw
from sample.english import DISCLAIMER, FOOTERS
from sample.generate_archive import COMMITTED, MANIFEST, archive_files, ensure_archive, manifest
from sample.korean import DISCLAIMER as KOREAN_DISCLAIMER
from sample.korean import TOPICS, with_particles

FORM = re.compile(rb"(?:CONFORMED SUBMISSION TYPE:\t|[\r\n]<TYPE>)([^\r\n]+)")
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def files() -> Files:
    return archive_files()


@pytest.fixture(scope="module")
def submissions(files: Files) -> Files:
    return {path: body for path, body in files.items() if re.match(r"edgar/(full|nc|malformed)/", path)}


@pytest.fixture(scope="module")
def korean(files: Files) -> dict[str, dict[str, bytes]]:
    """rcept_no -> members of its ZIP, for those that are whole."""
    found = {}
    for path, body in files.items():
        if path.startswith("dart/document/"):
            try:
                with zipfile.ZipFile(io.BytesIO(body)) as archive:
                    found[Path(path).stem] = {name: archive.read(name) for name in archive.namelist()}
            except zipfile.BadZipFile:
                continue
    return found


def hangul(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp949")


def test_the_archive_is_byte_for_byte_the_committed_one(files: Files) -> None:
    assert manifest(files) == COMMITTED.read_text(encoding="ascii")


def test_another_process_with_another_hash_seed_makes_the_same_bytes(files: Files) -> None:
    program = "from sample.generate_archive import archive_files, manifest; print(manifest(archive_files()), end='')"
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Seoul"}
    root = Path(sample.generate_archive.__file__).resolve().parents[1]
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=root
    )
    assert other.stdout == manifest(files)


def test_there_are_two_american_days_and_a_korean_one(files: Files, submissions: Files) -> None:
    assert len(submissions) >= 300
    assert len([path for path in files if path.startswith("dart/document/")]) >= 40
    assert {path for path in files if path.startswith("edgar/index/")} == {
        "edgar/index/master.20260302.idx",
        "edgar/index/master.20260303.idx",
    }
    assert {path.split("/")[2] for path in files if path.startswith("dart/list/")} == {"20260303"}


def test_the_archive_is_small(files: Files) -> None:
    assert sum(map(len, files.values())) < 3_000_000


def test_there_are_more_than_twelve_forms_with_amendments(submissions: Files) -> None:
    forms = {FORM.findall(body)[0].decode() for body in submissions.values()}
    wanted = {
        "10-K",
        "10-Q",
        "8-K",
        "8-K/A",
        "4",
        "3",
        "SC 13D",
        "SC 13G/A",
        "13F-HR",
        "S-1",
        "424B5",
        "DEF 14A",
        "6-K",
    }
    assert wanted | {"10-K/A", "CORRESP", "UPLOAD", "EFFECT"} <= forms


@pytest.mark.parametrize(
    ("variant", "at_least"),
    [
        (rb"\A<SEC-DOCUMENT>", 250),
        (rb"\A-----BEGIN PRIVACY-ENHANCED MESSAGE-----[\s\S]*\n<SEC-DOCUMENT>", 5),
        (rb"\A-----BEGIN PRIVACY-ENHANCED MESSAGE-----[\s\S]*\n<IMS-DOCUMENT>", 5),
        (rb"\A<SUBMISSION>\n", 3),
        (rb"\A<SUBMISSION>\r<ACCESSION-NUMBER>", 5),
        (rb"\nbegin 644 logo\d\.gif\n", 15),
        (rb"<PDF>\nbegin 644 ", 3),
        (rb"<XBRL>\n<\?xml", 15),
        (rb"<ownershipDocument>", 50),
        (rb"<informationTable ", 10),
        (rb"<ix:nonNumeric ", 15),
        (rb"<B>[A-Za-z]</B>[a-z]", 30),
        (rb"FORMER CONFORMED NAME:", 10),
    ],
)
def test_every_variant_of_the_container_is_there(submissions: Files, variant: bytes, at_least: int) -> None:
    assert sum(bool(re.search(variant, body)) for body in submissions.values()) >= at_least


def test_malformed_filings_are_cut_off_or_a_header_alone(files: Files) -> None:
    malformed = [body for path, body in files.items() if path.startswith("edgar/malformed/")]
    cut = [body for body in malformed if b"<DOCUMENT>" in body]
    assert len(cut) >= 3
    assert not any(body.rstrip().endswith(b"</SEC-DOCUMENT>") for body in cut)
    headers = [body for body in malformed if b"<DOCUMENT>" not in body]
    assert {body.rstrip().endswith(b"</SEC-DOCUMENT>") for body in headers} == {True, False}


def test_every_filing_of_edgar_says_that_it_is_none(submissions: Files) -> None:
    assert [path for path, body in submissions.items() if DISCLAIMER.encode() not in body] == []


def test_every_textual_document_of_edgar_says_that_it_is_none(submissions: Files) -> None:
    for path, body in submissions.items():
        for document in re.findall(rb"<DOCUMENT>.*?</DOCUMENT>", body, re.DOTALL):
            if b"begin 644" not in document:
                assert DISCLAIMER.encode() in document.replace(b"\r", b" ").replace(b"\n     ", b" "), path


def test_every_document_of_dart_says_that_it_is_none(korean: dict[str, dict[str, bytes]]) -> None:
    assert len(korean) >= 40
    for members in korean.values():
        for name, body in members.items():
            assert KOREAN_DISCLAIMER in hangul(body), name


def test_dart_documents_are_in_utf_8_and_in_cp949_whatever_they_declare(korean: dict[str, dict[str, bytes]]) -> None:
    seen = Counter()
    for members in korean.values():
        for body in members.values():
            try:
                body.decode("utf-8")
                encoding = "utf-8"
            except UnicodeDecodeError:
                encoding = "cp949"
            seen["krx" if b"charset=euc-kr" in body else "dart", encoding] += 1
    assert set(seen) == {("krx", "utf-8"), ("krx", "cp949"), ("dart", "utf-8"), ("dart", "cp949")}


def test_dart_documents_are_no_well_formed_xml(korean: dict[str, dict[str, bytes]]) -> None:
    main = [hangul(members[f"{number}.xml"]) for number, members in korean.items()]
    assert sum("R&D &cr; " in text and "기준 < 5%" in text for text in main) >= 15


def test_attachments_come_before_the_document_that_they_belong_to(korean: dict[str, dict[str, bytes]]) -> None:
    attached = [list(members) for number, members in korean.items() if f"{number}_00760.xml" in members]
    assert len(attached) >= 5
    assert all(re.fullmatch(r"\d{14}_00760\.xml", names[0]) for names in attached)


def test_zip_dates_are_no_dates(files: Files) -> None:
    with zipfile.ZipFile(io.BytesIO(files["dart/corpCode.zip"])) as archive:
        assert archive.infolist()[0].date_time[:3] == (2107, 15, 14)


def test_feed_and_index_name_every_filing_and_repeat_some(files: Files, submissions: Files) -> None:
    stored = {Path(path).stem for path in submissions}
    feed = b"".join(body for path, body in files.items() if path.startswith("edgar/feeds/"))
    rows = re.findall(rb"<id>urn:tag:sec\.gov,2008:accession-number=([\d-]+)</id>", feed)
    assert {row.decode() for row in rows} == stored
    assert len(rows) > len(stored) * 1.2
    index = b"".join(body for path, body in files.items() if path.startswith("edgar/index/"))
    assert {row.decode() for row in re.findall(rb"/([\d-]+)\.txt$", index, re.MULTILINE)} == stored


def test_no_feed_page_has_more_rows_than_edgar_gives(files: Files) -> None:
    pages = [body.count(b"<entry>") for path, body in files.items() if path.startswith("edgar/feeds/")]
    assert max(pages) == 100


def test_an_effect_is_seen_after_midnight_and_filed_the_day_before(files: Files) -> None:
    page = b"".join(body for path, body in files.items() if path.startswith("edgar/feeds/20260303/")).decode("latin-1")
    late = [entry for entry in page.split("<entry>") if 'term="EFFECT"' in entry]
    assert late
    assert all("2026-03-02" in entry and "2026-03-03T00:15" in entry for entry in late)


def test_dart_pages_count_what_they_hold(files: Files) -> None:
    pages = [json.loads(body) for path, body in sorted(files.items()) if path.startswith("dart/list/")]
    rows = [row for page in pages for row in page["list"]]
    assert {page["total_count"] for page in pages} == {len(rows)}
    assert {f"dart/document/{row['rcept_no']}.zip" for row in rows} <= set(files)
    assert [row["rcept_no"] for row in rows] != sorted(row["rcept_no"] for row in rows)
    assert any(row["report_nm"].startswith("[기재정정]") for row in rows)


def test_legal_footers_are_shared_by_filings_of_different_companies(submissions: Files) -> None:
    footer = re.escape(FOOTERS[1][-40:]).encode()
    assert sum(bool(re.search(footer, body)) for body in submissions.values()) >= 20


def test_the_archive_appears_in_an_empty_place_and_stays(tmp_path: Path, files: Files) -> None:
    folder = ensure_archive(tmp_path / "archive")
    first = {path: (folder / path).stat().st_mtime_ns for path in files}
    assert (folder / MANIFEST).read_text(encoding="ascii") == manifest(files)
    assert ensure_archive(folder) == folder
    assert {path: (folder / path).stat().st_mtime_ns for path in files} == first
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_stale_archive_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / MANIFEST).write_text("of older facts\n", encoding="ascii")
    (folder / "left-over.txt").write_text("old", encoding="ascii")
    ensure_archive(folder)
    assert not (folder / "left-over.txt").exists()
    assert (folder / "dart" / "corpCode.zip").is_file()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="ascii")
    with pytest.raises(LedgerlineError, match="not a sample archive and not empty"):
        ensure_archive(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="ascii") == "mine"


def test_streams_of_choices_depend_on_their_label_alone() -> None:
    assert [Draw("one").number(0, 10**6) for _ in range(2)] == [811040, 811040]
    assert Draw("two").number(0, 10**6) != 811040


def test_choices_inside_choices_are_made() -> None:
    text = Draw("choices").fill("[a|b] [x [1|2]|x 3] {name}", {"name": lambda: "N"})
    assert re.fullmatch(r"[ab] x [123] N", text)


def test_every_report_has_topics_that_exist() -> None:
    assert {topic for _, _, topics in REPORTS.values() for topic in topics} <= set(TOPICS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("삼성전자_와", "삼성전자와"), ("롯데쇼핑_와", "롯데쇼핑과"), ("현대차_는", "현대차는"), ("두산_는", "두산은"),
     ("기아_로", "기아로"), ("서울_로", "서울로"), ("두산_로", "두산으로")],
)  # fmt: skip
def test_a_particle_fits_the_sound_before_it(text: str, expected: str) -> None:
    assert with_particles(text) == expected
