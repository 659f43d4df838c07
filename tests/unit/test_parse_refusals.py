"""Which bodies are refused, with which code; and that mutated and hostile bodies are refused or read, never more."""

from __future__ import annotations

import io
import time
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledgerline.filings import sgml, text, validity
from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import RefusedFiling
from tests.unit.parse_samples import DART, HEADER, VARIANTS, dart_zip, document, plain

ERROR_REPLY = (
    '<?xml version="1.0"?><result><status>014</status><message>파일이 존재하지 않습니다.</message></result>'.encode()
)

REFUSED = [
    ("edgar", b"", "empty"),
    ("edgar", b" \r\n\x00", "empty"),
    ("edgar", b"<html><title>Request Rate Threshold Exceeded</title></html>", "no_container"),
    ("edgar", b"<Error><Code>AccessDenied</Code></Error>", "no_container"),
    ("edgar", plain(content=""), "header_only"),
    ("edgar", f"<SEC-DOCUMENT>a.txt\n{HEADER}".encode(), "header_only"),
    ("edgar", plain(content="The document tags of this body were lost.\n"), "no_documents"),
    ("edgar", plain().replace(b"\n<DOCUMENT>", b"\n  <DOCUMENT>").replace(b"\n</D", b"\n  </D"), "no_documents"),
    ("edgar", plain()[:-200], "truncated"),
    ("edgar", plain()[: -len("</SEC-DOCUMENT>\n")], "truncated"),
    ("edgar", plain()[:60], "truncated"),
    ("edgar", plain().replace(b"</DOCUMENT>", b"", 1), "truncated"),
    ("edgar", plain(content=document("8-K", "a\n") + "</DOCUMENT>\n"), "unbalanced"),
    ("edgar", plain(content="</DOCUMENT>\n" + document("8-K", "a\n")), "unbalanced"),
    ("dart", b"", "empty"),
    ("dart", ERROR_REPLY, "error_reply"),
    ("dart", b"not a document at all", "no_container"),
    ("dart", dart_zip()[:-30], "bad_zip"),
    ("dart", b"PK\x03\x04" + b"\0" * 50, "bad_zip"),
    ("dart", dart_zip({"readme.txt": b"x"}), "missing_member"),
    ("dart", DART.encode()[:-20], "truncated"),
    ("dart", dart_zip({"20240311000001.xml": b"\0" * (64 * 1024 * 1024)}), "bomb"),
]


def on_disk(folder, reads):
    """`reads(source, path)` as a function of a body."""

    def read(source, body):
        path = folder / "body"
        path.write_bytes(body)
        return reads(source, path)

    return read


@pytest.mark.parametrize(
    ("source", "body", "reason"), REFUSED, ids=[f"{s}-{r}-{n}" for n, (s, _, r) in enumerate(REFUSED)]
)
def test_a_bad_body_is_refused_with_its_reason_in_memory_and_on_disk(source, body, reason, tmp_path):
    assert reason in validity.REASONS
    for refuses in (validity.check, parse_filing, on_disk(tmp_path, validity.read_valid_header)):
        with pytest.raises(RefusedFiling) as refusal:
            refuses(source, body)
        assert refusal.value.reason == reason
        assert refusal.value.detail


def test_a_dart_member_in_no_known_encoding_is_refused():
    with pytest.raises(RefusedFiling) as refusal:
        parse_filing("dart", dart_zip({"20240311000001.xml": b"<DOCUMENT>\xff\xff\xfe</DOCUMENT>"}))
    assert refusal.value.reason == "undecodable"


def test_a_zip_whose_directory_understates_a_member_is_refused_and_no_more_than_that_is_unpacked():
    size, understated = (4 * 1024 * 1024).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    body = dart_zip({"20240311000001.xml": bytes(4 * 1024 * 1024)})
    assert body.count(size) == 2  # the member's own header and the directory
    with pytest.raises(RefusedFiling) as refusal:
        parse_filing("dart", body.replace(size, understated))
    assert refusal.value.reason == "bad_zip"


def test_a_zip_with_a_directory_of_more_than_any_filing_is_refused_before_it_is_read():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(12_000):
            archive.writestr(f"{number:050}", b"")
    with pytest.raises(RefusedFiling) as refusal:
        validity.check("dart", stream.getvalue())
    assert refusal.value.reason == "bomb"


def test_a_body_above_the_cap_is_refused(monkeypatch):
    monkeypatch.setattr(sgml, "MAX_FILING_BYTES", 100)
    for source in ("edgar", "dart"):
        with pytest.raises(RefusedFiling) as refusal:
            validity.check(source, b"<" * 101)
        assert refusal.value.reason == "too_large"


def test_more_documents_than_any_filing_has_are_refused(monkeypatch):
    monkeypatch.setattr(sgml, "MAX_DOCUMENTS", 1)
    with pytest.raises(RefusedFiling) as refusal:
        parse_filing("edgar", plain())
    assert refusal.value.reason == "bomb"


def test_an_unknown_source_is_named():
    with pytest.raises(ValueError, match="edinet"):
        parse_filing("edinet", b"")
    with pytest.raises(ValueError, match="edinet"):
        validity.check("edinet", b"")


N = 20_000
HOSTILE = {
    "nested blocks": "<div>" * N,
    "nested formatting": "".join(f"<b a={n}>" for n in range(N)),
    "formatting repeated in every block": "<p>" + "".join(f"<b a={n}>" for n in range(600)) + "</p>" + "<p>x</p>" * N,
    "hidden formatting": "<p>" + "<f<b>ont a=1>" * 600 + "</p>" + "<p>x</p>" * N,
    "one wide cell over many rows": "<table><tr><td>" + "x" * N + "</td><td>y</td></tr>" + "<tr><td>a<td>b</tr>" * N,
    "wide cell in mixed case": "<tAbLe><Tr><tD>" + "x" * N + "</td><td>y</td></tr>" + "<tr><td>a<td>b</tr>" * N,
    "nested tables": "<table><tr><td>" * N,
    "tags without an end": "<b " * N,
    "titles without an end": "<TITLE " * N + "<TITLE>" * N,
    "comments": "<!--" * N,
    "entities of a document type": "<!DOCTYPE a [" + '<!ENTITY a "&a;&a;">' * N + "]><p>&a;</p>",
    "hidden headers": "<ix:header>" * N,
    "item lines": "Item 1\n" * N,
    "control characters": "\x00\x01\x02\x03" * N,
    "uuencoded without an end": "begin 644 a\n" + "M" * N,
    "ampersands": "&" * N + "&#x110000;" * N,
}


@pytest.mark.parametrize("kind", ["10-K", "8-K", "4"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_markup_is_read_within_seconds(name, kind):
    started = time.process_time()
    for wrapped in (HOSTILE[name], f"<html><body>{HOSTILE[name]}", f"<XML>\n<?xml version='1.0'?>{HOSTILE[name]}"):
        parse_filing("edgar", plain(content=document(kind, wrapped + "\n")))
    assert time.process_time() - started < 15  # 5 s of CPU a body is the cap of a hang; these take a hundredth of it


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_markup_in_a_dart_document_is_read_within_seconds(name):
    started = time.process_time()
    parse_filing("dart", DART.replace("위젯을", HOSTILE[name]).encode())
    assert time.process_time() - started < 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    variant=st.sampled_from([*sorted(VARIANTS), "dart", "dart zip"]),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 60), st.binary(max_size=20)), min_size=1, max_size=8),
)
def test_a_mutated_body_is_read_or_refused_with_a_known_reason(variant, edits):
    source = "dart" if variant.startswith("dart") else "edgar"
    body = {"dart": DART.encode(), "dart zip": dart_zip()}.get(variant) or VARIANTS[variant]
    for at, length, replacement in edits:
        body = body[: at % (len(body) + 1)] + replacement + body[at % (len(body) + 1) + length :]
    try:
        filing = parse_filing(source, body)
    except RefusedFiling as refused:
        reason = refused.reason
    else:
        reason = None
        assert filing.documents
        for part in filing.documents:
            assert all(0 <= section.start <= section.end <= len(part.text) for section in part.sections)
    assert reason is None or reason in validity.REASONS


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/&;#\"'= abtdrhpISITEM12.\n\t\x01\x02\x03é\u200b\xa0"), max_size=300))
def test_any_markup_gives_text_in_the_normal_form_with_both_engines(markup):
    for extracted in (text.html_to_text(markup), text.html_to_text(f"<html><body>{markup}</body></html>")):
        assert not any(ord(character) < 32 and character not in "\t\n" for character in extracted)
        assert extracted == "\n".join(line for line in extracted.split("\n") if line.strip())
