"""What a person can do about a filing that was refused or set aside: one sentence per reason. Why it is refused is in
`validity.py` (the body is no filing) and in `onboarding.py` (it was tried too often)."""

from __future__ import annotations

from collections.abc import Mapping

# Nothing is known against these filings; they were tried as often as is sensible.
SET_ASIDE = ("not_served", "unreadable", "crashed", "poison")

_SERVED_SO = "the regulator serves it so"
_IF_MENDED = "if it serves another body by now, `reprocess_filings` with `fetch_again` takes that one"

REMEDIES: Mapping[str, str] = {
    "not_served": "It is listed and was never served; a withdrawn filing stays so. Once its page opens in a browser, "
    "`reprocess_filings` asks for it again.",
    "unreadable": "Reading it failed each time, though the regulator answered for others; `reprocess_filings` asks again.",
    "crashed": "The parser itself failed on it: report the detail as a bug, and run `reprocess_filings` with the version "
    "that mends it.",
    "poison": "Workers died with it, most likely for want of memory; give them more, then run `reprocess_filings` for it "
    "alone.",
    "empty": f"There is nothing in it and {_SERVED_SO}; {_IF_MENDED}.",
    "no_container": f"It is an error page or another file, no filing, and {_SERVED_SO}; {_IF_MENDED}.",
    "header_only": f"Nothing: {_SERVED_SO}, as it does many filings of 1996, and the facts of the header are kept.",
    "no_documents": f"Its documents lost their tags and {_SERVED_SO}; {_IF_MENDED}.",
    "truncated": f"It ends in the middle and {_SERVED_SO}; {_IF_MENDED}.",
    "unbalanced": f"It closes more documents than it opens and {_SERVED_SO}; {_IF_MENDED}.",
    "too_large": "It is above the cap on size; if it is needed, raise `MAX_FILING_BYTES` and run `reprocess_filings`.",
    "bomb": "It expands or nests beyond every real filing; look at the kept bytes before anything else opens them.",
    "bad_zip": f"It begins like a ZIP and is none, and {_SERVED_SO}; {_IF_MENDED}.",
    "missing_member": f"The ZIP lacks the document itself, and {_SERVED_SO}; {_IF_MENDED}.",
    "undecodable": f"It is neither UTF-8 nor CP949, and {_SERVED_SO}; {_IF_MENDED}.",
    "error_reply": "DART answered with a status instead of the document; `reprocess_filings` with `fetch_again` asks anew.",
}


def remedy(reason: str | None) -> str:
    """What to do about a reason; a reason of a newer program has its detail and no remedy here."""
    return REMEDIES.get(reason or "", "Look at its detail; `reprocess_filings` takes it up again.")
