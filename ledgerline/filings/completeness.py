"""Whether a day is complete: the regulator's own list of the day against the ledger. Pure; who asks is elsewhere.

A claim of completeness is only made from a list that was read whole and that the regulator has closed; what the list
names is in the ledger and settled: published, or refused with a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ledgerline.filings.ports import DayClaim, DayIndex, LedgerRow
from ledgerline.filings.records import Source

SETTLED = ("published", "refused")
# More filings that the index lacks than this are not withdrawn filings but an index that is not whole.
MOST_UNLISTED = 20


@dataclass(frozen=True, slots=True)
class Completeness:
    """The index of a day against the ledger, as filing ids: `missing` are not known, `unsettled` are at work, `unlisted`
    are known of the day and not in its index, `contradicted` are those of them that a second witness dates to the day.
    `reason` is one sentence that says why the day is not complete; empty where it is."""

    source: Source
    day: date
    listed: int
    settled: int
    missing: tuple[str, ...]
    unsettled: tuple[str, ...]
    unlisted: tuple[str, ...]
    contradicted: tuple[str, ...]
    reason: str

    @property
    def complete(self) -> bool:
        return not self.reason


def unlisted(index: DayIndex, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Rows of the day that its index should list and does not: known before it was written, and by another witness."""
    listed = {ref.filing_id for ref in index.refs}
    return [
        row
        for row in rows
        if row.ref.filing_id not in listed
        and row.witnesses != ("archive",)
        and not (index.written_at and row.ref.accepted_at and row.ref.accepted_at >= index.written_at)
    ]


def compare(
    source: Source, day: date, index: DayIndex | None, rows: Sequence[LedgerRow], *, confirmed: Collection[str] = ()
) -> Completeness:
    """Judge a day. `confirmed` are ids of `unlisted` rows that a second witness dates to the day as well."""
    if index is None:
        return Completeness(source, day, 0, 0, (), (), (), (), f"{source} has not written its list of {day} yet")
    states = {row.ref.filing_id: row.state for row in rows}
    ids = sorted(ref.filing_id for ref in index.refs if ref.day == day)
    missing = tuple(one for one in ids if one not in states)
    unsettled = tuple(one for one in sorted(states) if states[one] not in SETTLED)
    extra = tuple(row.ref.filing_id for row in unlisted(index, rows))
    contradicted = tuple(one for one in extra if one in confirmed)
    reasons = []
    if not index.final:
        reasons.append(f"{source} may still add to its list of {day}")
    if missing:
        reasons.append(f"{len(missing)} of {len(ids)} listed filings are not known: {_some(missing)}")
    if unsettled:
        reasons.append(f"{len(unsettled)} filings are neither published nor refused: {_some(unsettled)}")
    if contradicted:
        reasons.append(f"the list lacks {len(contradicted)} filings of the day: {_some(contradicted)}")
    elif len(extra) > MOST_UNLISTED:
        reasons.append(f"the list lacks {len(extra)} filings that were seen on the day: {_some(extra)}")
    settled = sum(states.get(one) in SETTLED for one in ids)
    return Completeness(source, day, len(ids), settled, missing, unsettled, extra, contradicted, "; ".join(reasons))


def claim_of(index: DayIndex, *, proved_at: datetime) -> DayClaim:
    """The claim that a complete day makes, with the digest of the ids that its index lists."""
    ids = sorted({ref.filing_id for ref in index.refs if ref.day == index.day})
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return DayClaim(index.source, index.day, len(ids), digest, proved_at)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
