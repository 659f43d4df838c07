"""DART's list.json, its error answers and the names of its reports."""

from __future__ import annotations

import json
from datetime import date

import pytest

from ledgerline.filings.feeds import UnreadablePage, dart_form, parse_dart_error, parse_dart_list
from ledgerline.filings.records import FilingRef, Party
from tests.shared_data import shared_data

ROW = {
    "corp_code": "00126380", "corp_name": "삼성전자", "stock_code": "005930", "corp_cls": "Y", "rm": "유정",
    "report_nm": "[기재정정]사업보고서 (2022.12)        ", "rcept_no": "20230207800704", "flr_nm": "삼성전자",
    "rcept_dt": "20230207",
}  # fmt: skip
PAGE = {
    "status": "000",
    "message": "정상",
    "page_no": 1,
    "page_count": 3,
    "total_count": 15,
    "total_page": 5,
    "list": [ROW],
}
EMPTY = '{"status":"013","message":"조회된 데이타가 없습니다."}'.encode()


def test_a_row_becomes_a_ref_without_what_changes_later() -> None:
    page = parse_dart_list(json.dumps(PAGE).encode())
    assert (page.status, page.page_no, page.total_count, page.total_page) == ("000", 1, 15, 5)
    assert page.refs == (
        FilingRef(
            "dart", "20230207800704", date(2023, 2, 7), "사업보고서 (2022.12)",
            (Party("00126380", "삼성전자", "Filer"),), title="[기재정정]사업보고서 (2022.12)",
        ),
    )  # fmt: skip


def test_013_is_an_empty_page_and_no_error() -> None:
    assert len(EMPTY) == 65
    page = parse_dart_list(EMPTY)
    assert (page.status, page.total_count, page.refs) == ("013", 0, ())


def test_other_statuses_are_handed_on_with_their_message() -> None:
    page = parse_dart_list('{"status":"020","message":"요청 제한을 초과하였습니다."}'.encode())
    assert (page.status, page.message) == ("020", "요청 제한을 초과하였습니다.")


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_list_that_is_cut_off_is_no_short_list(cut: int) -> None:
    with pytest.raises(UnreadablePage):
        parse_dart_list(json.dumps(PAGE).encode()[:-cut])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"<html/>", b'{"status":"000"}', json.dumps({**PAGE, "list": [{}]}).encode()]
)
def test_what_is_no_list_is_unreadable_and_not_empty(body: bytes) -> None:
    with pytest.raises(UnreadablePage):
        parse_dart_list(body)


@pytest.mark.parametrize(
    "number", ["../../../etc/cron.d/x", "2023020780070", "２０２３０２０７８００７０４", 20230207800704]
)
def test_a_number_that_is_none_is_unreadable_since_it_names_files(number: object) -> None:
    with pytest.raises(UnreadablePage, match=r"rcept_no|cannot be read"):
        parse_dart_list(json.dumps({**PAGE, "list": [{**ROW, "rcept_no": number}]}).encode())


@pytest.mark.parametrize(
    ("title", "form"),
    [
        ("[기재정정]사업보고서", "사업보고서"),
        ("[첨부추가][기재정정] 분기보고서 (2024.09) ", "분기보고서 (2024.09)"),
        ("증권발행실적보고서(집합투자증권)(신탁[주식])", "증권발행실적보고서(집합투자증권)(신탁[주식])"),
    ],
)
def test_correction_prefixes_are_no_part_of_the_form(title: str, form: str) -> None:
    assert dart_form(title) == form


def test_a_document_answer_is_told_by_its_first_bytes() -> None:
    missing = '<?xml version="1.0" encoding="UTF-8"?>'
    missing += "<result><status>014</status><message>파일이 존재하지 않습니다.</message></result>"
    assert parse_dart_error(b"PK\x03\x04rest") is None
    assert parse_dart_error(missing.encode()) == ("014", "파일이 존재하지 않습니다.")
    assert parse_dart_error(EMPTY) == ("013", "조회된 데이타가 없습니다.")
    for body in (b"", b"<html></html>", missing.encode()[:-5], b"<result></result>"):
        with pytest.raises(UnreadablePage):
            parse_dart_error(body)


def test_real_lists_are_read() -> None:
    for path in sorted((shared_data("filings") / "dart/list_real").glob("list_*.json")):
        page = parse_dart_list(path.read_bytes())
        assert page.status == "000"
        assert page.refs
        assert page.total_count >= len(page.refs)
