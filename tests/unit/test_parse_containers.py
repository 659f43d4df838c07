"""Container variants, header facts and documents of EDGAR submissions and DART ZIPs, on generated bodies."""

from __future__ import annotations

import os
import re
from datetime import date, datetime, timezone

import pytest

from ledgerline.filings import bodies, sgml, validity
from ledgerline.filings.parse import open_filing, parse_filing
from ledgerline.filings.records import Party
from tests.unit.parse_samples import DART, HEADER, VARIANTS, dart_zip, document, plain


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_container_variant_gives_the_same_facts_and_text(variant):
    filing = parse_filing("edgar", VARIANTS[variant])
    assert filing.filing_id == "0000000001-24-000001"
    assert filing.form == "8-K"
    assert filing.accepted_at == datetime(2024, 3, 11, 20, 30, 15, tzinfo=timezone.utc)
    assert filing.filed_on == date(2024, 3, 11)
    assert filing.parties == (
        Party("0000000001", "GENERATED WIDGETS INC", "Filer"),
        Party("0000000002", "OTHER WIDGETS CORP", "Subject"),
    )
    page, logo = filing.documents
    assert page.text.split("\n") == [
        "Generated sample text, no filing.",
        "Item 2.02\tResults of Operations",
        "Sales of widgets were as expected.",
        "Item 9.01. Financial Statements and Exhibits.",
        "A list of widgets.",
        "SIGNATURES",
        "Nobody signed.",
    ]
    assert [(section.name, section.title) for section in page.sections] == [
        ("2.02", "Results of Operations"),
        ("9.01", "Financial Statements and Exhibits."),
    ]
    assert (logo.type, logo.text, logo.sections) == ("GRAPHIC", "", ())
    assert logo.binary_bytes > 60


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_validity_test_of_a_file_gives_the_facts_of_the_header(variant, tmp_path):
    path = tmp_path / "body"
    path.write_bytes(VARIANTS[variant])
    header = validity.read_valid_header("edgar", path)
    filing = parse_filing("edgar", VARIANTS[variant])
    assert (header.accession, header.form) == (filing.filing_id, filing.form)
    assert (header.accepted_at, header.filed_on, header.parties) == (
        filing.accepted_at,
        filing.filed_on,
        filing.parties,
    )
    assert header.period == date(2024, 3, 8)
    assert header.items == (
        ("2.02", "9.01")
        if variant.startswith("dissemination")
        else ("Results of Operations and Financial Condition", "Financial Statements and Exhibits")
    )


@pytest.mark.parametrize("variant", [*VARIANTS, "nothing", "no document", "a tag at the start"])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_tags_are_found_wherever_the_blocks_of_a_body_end(variant, block, monkeypatch):
    odd = {"nothing": b"", "no document": b"x" * 200, "a tag at the start": b"<DOCUMENT>\n</DOCUMENT></DOCUMENT>"}
    body = odd.get(variant, VARIANTS.get(variant))
    expected = [(at.start(1), at[1].startswith(b"</")) for at in re.finditer(rb"(?:^|[\r\n])(</?DOCUMENT>)", body)]
    assert len(expected) == {"nothing": 0, "no document": 0, "a tag at the start": 2}.get(variant, 4)
    monkeypatch.setattr(bodies, "BLOCK_BYTES", block)
    assert list(sgml._document_tags(body)) == expected
    assert bodies.content_end(body + b"\n" * 10, b"\n") == len(body.rstrip(b"\n"))


def test_a_file_and_its_bytes_are_the_same_body(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(plain())
    with bodies.FileBody(path) as body:
        assert len(body) == len(plain())
        for part in (slice(None), slice(5, 9), slice(-9, None), slice(0, 10**9), slice(9, 5)):
            assert body[part] == plain()[part]
        assert parse_filing("edgar", body) == parse_filing("edgar", plain())
        os.truncate(path, 10)
        with pytest.raises(OSError, match="was cut"):
            body[5:100]


def test_the_documents_of_a_file_are_read_one_by_one(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(plain())
    with bodies.FileBody(path) as body:
        header, documents = open_filing("edgar", body)
        assert header.form == "8-K"
        assert next(documents).type == "8-K"
    with pytest.raises(ValueError, match="closed file"):
        next(documents)


def test_the_number_of_a_dart_zip_is_known_without_unpacking_it():
    header = validity.check("dart", dart_zip())
    assert (header.accession, header.filed_on, header.form) == ("20240311000001", date(2024, 3, 11), None)
    assert validity.check("dart", DART.encode()) == sgml.Header()


def test_roles_are_spelled_as_in_the_feeds():
    header = HEADER.replace("FILER:", "REPORTING-OWNER:\t").replace("SUBJECT COMPANY:", "ISSUER:")
    roles = [party.role for party in parse_filing("edgar", plain(header)).parties]
    assert roles == ["Reporting", "Issuer"]


@pytest.mark.parametrize("opening", ["REPORTING-OWNER:", "<REPORTING-OWNER>"])
def test_a_section_without_its_indent_opens_no_party_of_its_own(opening):
    margin = HEADER.replace("SUBJECT COMPANY:", opening)
    before, line, after = margin.rpartition("\tCOMPANY DATA:\t\n")
    header = before + "COMPANY DATA:\n" + after.replace("\t\t", "\t").replace("</SEC", "\nFILING VALUES:\n\n</SEC")
    assert line
    assert [party.role for party in parse_filing("edgar", plain(header)).parties] == ["Filer", "Reporting"]


def test_a_company_before_any_role_is_no_party():
    header = HEADER.replace("FILER:\n", "CONFIRMING COPY:\n")
    assert [party.role for party in parse_filing("edgar", plain(header)).parties] == ["Subject"]


def test_an_accession_number_missing_from_the_header_is_taken_from_the_container():
    header = "\n".join(line for line in HEADER.split("\n") if not line.startswith("ACCESSION"))
    assert parse_filing("edgar", plain(header)).filing_id == "0000000001-24-000001"


def test_an_unreadable_header_leaves_its_facts_empty_and_keeps_the_documents():
    header = "<SEC-HEADER>\n<ACCEPTANCE-DATETIME>20249999999999\nFILED AS OF DATE:\t\tsoon\n</SEC-HEADER>\n"
    filing = parse_filing("edgar", plain(header))
    assert (filing.form, filing.accepted_at, filing.filed_on, filing.parties) == (None, None, None, ())
    assert len(filing.documents) == 2


def test_repeated_sequence_numbers_are_replaced_by_the_order_of_the_documents():
    body = plain(content=document("8-K", "a\n", sequence=1) + document("EX-99", "b\n", sequence=1))
    assert [item.sequence for item in parse_filing("edgar", body).documents] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "filename", "text"),
    [
        ("EX-101.INS", "a.xml", "<XBRL>\n<?xml version='1.0'?><xbrli:xbrl><a>1</a></xbrli:xbrl>\n</XBRL>\n"),
        ("EX-101.SCH", "a.xsd", "<XBRL>\n<?xml version='1.0'?><schema/>\n</XBRL>\n"),
        ("XML", "FilingSummary.xml", "<XML>\n<?xml version='1.0'?><FilingSummary><a>1</a></FilingSummary>\n</XML>\n"),
        ("LETTER", "a.pdf", "<PDF>\nbegin 644 a.pdf\nM000\n`\nend\n</PDF>\n"),
        ("JSON", "MetaLinks.json", '{"a": 1}\n'),
        ("10-K", "a.txt", "begin 644 a.zip\nM000\n`\nend\n"),
    ],
)
def test_binary_parts_and_data_for_machines_are_counted_and_have_no_text(kind, filename, text):
    (part,) = parse_filing("edgar", plain(content=document(kind, text, filename=filename))).documents
    assert part.text == ""
    assert part.binary_bytes > 0


def test_inline_xbrl_is_text_without_its_hidden_header():
    page = (
        "<XBRL>\n<?xml version='1.0'?><html><body><div style='display:none'><ix:header><ix:hidden>SECRET</ix:hidden>"
        "</ix:header></div><p>Item 2.02. <ix:nonNumeric>Shown</ix:nonNumeric></p></body></html>\n</XBRL>\n"
    )
    (part,) = parse_filing("edgar", plain(content=document("8-K", page))).documents
    assert part.text == "Item 2.02. Shown"
    assert [section.name for section in part.sections] == ["2.02"]


def test_an_ownership_form_reads_as_lines_of_name_and_value():
    form = (
        "<XML>\n<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>\n"
        "<ownershipDocument><issuer><issuerName>Widgets &amp; Co</issuerName></issuer>"
        "<transactionShares><value>5</value></transactionShares><empty/></ownershipDocument>\n</XML>\n"
    )
    (part,) = parse_filing("edgar", plain(content=document("4", form))).documents
    assert part.text == "issuerName: Widgets & Co\ntransactionShares: 5"


def test_the_holdings_of_an_information_table_are_one_line_each():
    table = (
        "<XML>\n<n1:informationTable><n1:infoTable><n1:nameOfIssuer>WIDGETS</n1:nameOfIssuer><n1:value>7</n1:value>"
        "</n1:infoTable>\n<n1:infoTable><n1:nameOfIssuer>GADGETS</n1:nameOfIssuer></n1:infoTable></n1:informationTable></XML>\n"
    )
    (part,) = parse_filing("edgar", plain(content=document("INFORMATION TABLE", table))).documents
    assert part.text == "WIDGETS\t7\nGADGETS"


def test_plain_text_keeps_its_columns_and_loses_its_tags():
    text = "<PAGE>\n<TABLE>\n<S>      <C>\nWidgets   1 < 2 &amp; 3\n</TABLE>\n"
    (part,) = parse_filing("edgar", plain(content=document("10-K", text))).documents
    assert part.text == "Widgets   1 < 2 & 3"


def test_bytes_that_are_not_utf8_are_read_as_windows_1252():
    body = plain(content=document("8-K", "Widgets\n")).replace(b"Widgets", "Widgets’".encode("cp1252"))
    assert parse_filing("edgar", body).documents[0].text == "Widgets’"


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_dart_document_is_read_in_either_encoding_whatever_it_declares(encoding, packed):
    content = DART.encode(encoding)
    body = dart_zip({"20240311000001.xml": content}) if packed else content
    filing = parse_filing("dart", body)
    (document_,) = filing.documents
    assert filing.form == "사업보고서"
    assert filing.parties == (Party("00000001", "견본위젯(주)", "Filer"),)
    assert filing.filing_id == ("20240311000001" if packed else None)
    assert filing.filed_on == (date(2024, 3, 11) if packed else None)
    assert document_.language == "ko"
    assert [section.title for section in document_.sections] == ["I. 회사의 개요", "II. 사업의 내용"]
    assert "A & B" in document_.text
    assert document_.text[document_.sections[1].start :] == "II. 사업의 내용\n위젯을 만든다."


def test_the_cells_of_a_dart_table_are_separated_by_tabs():
    assert "매출\t1,000" in parse_filing("dart", dart_zip()).documents[0].text


def test_the_main_dart_member_comes_first_and_names_with_folders_are_only_read():
    members = {
        "/etc/20240311000001_00760.xml": DART.replace("사업보고서", "감사보고서").encode(),
        "../../20240311000001.xml": DART.encode(),
        "image.jpg": b"\xff",
    }
    filing = parse_filing("dart", dart_zip(members))
    assert [document.filename for document in filing.documents] == ["20240311000001.xml", "20240311000001_00760.xml"]
    assert filing.form == "사업보고서"
