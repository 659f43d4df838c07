"""What an amendment amends: EDGAR's forms with "/A", DART's reports with a correction prefix. Pure rules.

Neither regulator names the corrected filing in the correction, so it is found among the earlier filings of the same
companies: the original of the same form and period. Asking the ledger for these is in `onboarding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledgerline.filings.ports import LedgerRow
from ledgerline.filings.records import Source

AMENDED = "/A"
# DART puts these before the report's name; the others ([변경등록], [연장결정], ...) name an event, not a correction.
CORRECTION_PREFIXES = ("[기재정정]", "[첨부정정]", "[첨부추가]", "[정정명령부과]", "[정정제출요구]")


def corrected_form(source: Source, form: str, title: str) -> str | None:
    """The form of the filing that such a filing corrects, or None where it corrects nothing.

    "10-K/A" -> "10-K"; DART: "[기재정정]사업보고서 (2024.12)" -> "사업보고서 (2024.12)", which names the period too.
    """
    if source == "edgar":
        return form.removesuffix(AMENDED) if form.endswith(AMENDED) else None
    return form if title.strip().startswith(CORRECTION_PREFIXES) else None


def correcting_form(source: Source, form: str) -> str:
    """The form that corrections of such a filing have: "10-K" -> "10-K/A"; at DART the same."""
    return form + AMENDED if source == "edgar" else form


def corrected_by_newcomers(
    corrections: Sequence[LedgerRow], originals: Sequence[LedgerRow], targets: Mapping[str, LedgerRow]
) -> dict[str, str]:
    """Correction -> corrected filing, as ids, of those corrections for which one of `originals`, which came after them, is
    it rather than what they point to now. `targets` are the rows of the latter, by id."""
    by_company: dict[tuple[str, str], list[LedgerRow]] = {}
    for row in originals:
        for party in row.ref.parties:
            by_company.setdefault((party.id, row.ref.form), []).append(row)
    found = {}
    for one in corrections:
        form = corrected_form(one.ref.source, one.ref.form, one.ref.title)
        if form is None or not one.ref.parties:
            continue
        earlier = by_company.get((one.ref.parties[0].id, form), [])
        if (
            one.corrects and one.corrects in targets
        ):  # the choice is a maximum, so that the others that lost to it need no second look
            earlier = [*earlier, targets[one.corrects]]
        chosen = corrected_filing(one, earlier, period=one.period)
        if chosen and chosen != one.corrects:
            found[one.ref.filing_id] = chosen
    return found


def corrected_filing(correction: LedgerRow, earlier: Sequence[LedgerRow], *, period: str | None) -> str | None:
    """The id of the corrected filing among earlier ones of the same company and form, or None.

    Filings of the same `period` (an ISO day of the header) come first where one is known, then those of exactly the same
    companies; the newest of these is it. A filing that is a correction itself is never the answer.
    """
    before = (correction.ref.day, correction.ref.filing_id)
    companies = {party.id for party in correction.ref.parties}
    candidates = [
        row
        for row in earlier
        if (row.ref.day, row.ref.filing_id) < before
        and not (row.ref.source == "dart" and row.ref.title.strip().startswith(CORRECTION_PREFIXES))
    ]
    if period and any(row.period == period for row in candidates):
        candidates = [row for row in candidates if row.period == period]
    same_companies = [row for row in candidates if {party.id for party in row.ref.parties} == companies]
    chosen = max(same_companies or candidates, key=lambda row: (row.ref.day, row.ref.filing_id), default=None)
    return chosen.ref.filing_id if chosen else None
