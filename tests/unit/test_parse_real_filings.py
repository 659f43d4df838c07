"""All real submissions and DART originals: no crash, only the malformed ones are refused, offsets are stable."""

from __future__ import annotations

from collections import Counter

from ledgerline.filings import text
from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import RefusedFiling
from tests.shared_data import shared_data


def _outcome(source, path):
    try:
        return parse_filing(source, path.read_bytes())
    except RefusedFiling as refusal:
        return refusal.reason


def test_every_real_submission_is_read_and_exactly_the_malformed_ones_are_refused():
    edgar = shared_data("filings") / "edgar"
    refused = Counter()
    for folder in ("full", "nc"):
        for path in sorted((edgar / folder).iterdir()):
            filing = _outcome("edgar", path)
            assert not isinstance(filing, str), f"{path.name}: {filing}"
            assert filing.filing_id
            assert filing.form
            assert filing.parties
            assert filing.filed_on
            for document in filing.documents:
                assert bool(document.text) != bool(document.binary_bytes) or not document.text
                for section in document.sections:
                    assert "item" in document.text[section.start : section.start + 60].lower()
    for path in sorted((edgar / "malformed").glob("*.[tn][xc]*")):
        outcome = _outcome("edgar", path)
        assert isinstance(outcome, str), path.name
        refused[outcome] += 1
    assert refused == {"header_only": 6, "no_documents": 4, "truncated": 4}


def test_every_real_dart_original_has_korean_text_and_the_sections_of_its_contents():
    paths = [
        path for path in (shared_data("filings") / "dart").iterdir() if path.name.startswith(("document_", "dart-"))
    ]
    assert len(paths) == 7
    for path in paths:
        filing = _outcome("dart", path)
        (document,) = filing.documents
        assert document.language == "ko"
        assert len(document.sections) >= 4
        assert filing.parties
        for section in document.sections:
            assert document.text[section.start :].startswith(section.title)


def test_both_engines_read_real_pages_alike(monkeypatch):
    folder = shared_data("filings") / "edgar" / "html"
    pages = [path.read_bytes() for path in sorted(folder.glob("*.htm"))]
    assert pages
    first = [text.html_to_text(page) for page in pages]
    monkeypatch.setattr(text, "turbohtml", None)
    assert [text.html_to_text(page) for page in pages] == first
