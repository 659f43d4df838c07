"""That a change of what the parser gives is never released under the old PARSER_VERSION."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from ledgerline.filings.parse import PARSER_VERSION, parse_filing
from ledgerline.filings.records import RefusedFiling
from sample.generate_archive import archive_files
from tests.unit.parse_samples import AWKWARD_PAGE, DART, VARIANTS, dart_zip, document, plain

# Of the bodies below and of what the parser of this version gives for them. Replace all of it together.
BODIES = "8258f6b2296e1902"
VERSION, GIVEN = "2", "ec90cf6f763f85fa"


def bodies():
    """(source, name, body) of the sample archive's filings and of the tests' own, which are more awkward."""
    for name, body in sorted(archive_files().items()):
        if name.startswith("edgar/") and name.endswith((".txt", ".nc")):
            yield "edgar", name, body
        elif name.startswith("dart/document/"):
            yield "dart", name, body
    for name, body in VARIANTS.items():
        yield "edgar", name, body
    for kind in ("8-K", "10-K", "10-Q"):
        yield "edgar", f"awkward {kind}", plain(content=document(kind, AWKWARD_PAGE))
    yield "dart", "bare", DART.encode()
    yield "dart", "packed", dart_zip()


def given(source, body):
    try:
        filing = asdict(parse_filing(source, body))
    except RefusedFiling as refusal:
        return refusal.reason
    return json.dumps(filing, sort_keys=True, default=str)


def digest_of(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_a_parser_that_gives_something_else_has_another_version():
    read = list(bodies())
    assert len(read) > 300
    now = digest_of(f"{name} {hashlib.sha256(body).hexdigest()}" for _, name, body in read)
    texts = digest_of(f"{name} {given(source, body)}" for source, name, body in read)
    assert (now, PARSER_VERSION) == (BODIES, VERSION), (
        f"the bodies of this test or the version are new: BODIES is {now!r}, VERSION {PARSER_VERSION!r}, GIVEN {texts!r}"
    )
    assert texts == GIVEN, (
        "the same bodies give other texts or sections: raise PARSER_VERSION in ledgerline/filings/parse.py, so that "
        f"filings are reprocessed, then set VERSION to it and GIVEN to {texts!r} here"
    )
