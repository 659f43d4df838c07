"""Whether a day is complete: the regulator's own list of the day against the ledger. Who asks when is elsewhere.

A claim of completeness is only made from a list that was read whole and that the regulator has closed; what the list
names is in the ledger and settled: published, or refused with a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ledgerline.errors import LedgerlineError
from ledgerline.filings.ports import DayClaim, DayIndex, FilingLedger, LedgerRow, Regulator
from ledgerline.filings.records import FilingRef, Source
from ledgerline.filings.tables import COMPLETE_DAYS, DAY_INDEX
from ledgerline.ports import Lake

SETTLED = ("published", "refused")
# More filings that the index lacks than this are not withdrawn filings but an index that is not whole.
MOST_UNLISTED = 20


# The index is written over minutes; what became public while it was may be in the next one.
WRITING = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Completeness:
    """The index of a day against the ledger, as filing ids: `missing` are listed and not known, `unsettled` are listed
    and at work, `unlisted` should be listed and are not, `contradicted` are those of them that a second witness dates to
    the day. `reason` is one sentence that says why the day is not complete; empty where it is."""

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


def read_index(
    regulator: Regulator, ledger: FilingLedger, lake: Lake, day: date, clock: Callable[[], datetime]
) -> Completeness:
    """Read the day's index, ask a second witness about what it lacks, keep both in the lake, and judge the day.

    Raises RegulatorUnavailable where a read failed: then nothing is kept and nothing is claimed.
    """
    index = regulator.index(day)
    if index is None:
        return compare(regulator.source, day, None, [])
    rows = _rows(ledger, index)
    extra = unlisted(index, rows)
    confirmed = regulator.confirm([row.ref for row in extra]) if len(extra) <= MOST_UNLISTED else set()
    lake.replace("day_index", index_row(index, confirmed, read_at=clock()), where=_where(regulator.source, day))
    return compare(regulator.source, day, index, rows, confirmed=confirmed)


def claim_day(
    source: Source, ledger: FilingLedger, lake: Lake, day: date, clock: Callable[[], datetime]
) -> tuple[Completeness, DayClaim | None]:
    """Judge the day again, on the index that the lake holds, and claim it where it is complete.

    A claim of the same filings is made once. Raises LedgerlineError where the day's index was never read.
    """
    kept = lake.read("day_index", where=_where(source, day)).to_pylist()
    if not kept:
        raise LedgerlineError(f"the index of {source} {day} was not read yet: materialize day_index of that day first")
    index, confirmed = index_of(kept[0])
    found = compare(source, day, index, _rows(ledger, index), confirmed=confirmed)
    if not found.complete:
        return found, None
    claim = claim_of(index, proved_at=clock())
    known = {one.day: one for one in ledger.completions(source, since=day)}.get(day)
    if known and known.index_digest == claim.index_digest:
        claim = known
    row = {"source": source, "day": day.isoformat(), "filings": claim.filings, "index_digest": claim.index_digest}
    rows = pa.Table.from_pylist([{**row, "proved_at": claim.proved_at}], schema=COMPLETE_DAYS)
    lake.replace("complete_days", rows, where=_where(source, day))
    if claim is not known:
        ledger.completed(claim)  # the last step: a day that the ledger calls complete is not looked at again
    return found, claim


def still_asked_for(source: Source, ledger: FilingLedger, lake: Lake, day: date) -> bool:
    """Whether a proof of the day would fail now: a filing of it, or one that its index named when it was last read, is
    neither published nor refused."""
    if ledger.pending(source, day):
        return True
    kept = (
        lake.read("day_index", where=_where(source, day)).to_pylist() if lake.version("day_index") is not None else []
    )
    return any(row.state not in SETTLED for one in kept for row in ledger.rows_of(source, one["filing_ids"]))


def index_row(index: DayIndex, confirmed: Collection[str], *, read_at: datetime) -> pa.Table:
    """The row of `day_index` (schema DAY_INDEX)."""
    return pa.Table.from_pylist(
        [
            {
                "source": index.source,
                "day": index.day.isoformat(),
                "filing_ids": _listed(index),
                "confirmed": sorted(confirmed),
                "final": index.final,
                "written_at": index.written_at,
                "read_at": read_at,
            }
        ],
        schema=DAY_INDEX,
    )


def index_of(row: dict[str, Any]) -> tuple[DayIndex, set[str]]:
    """The index of a row of `day_index`, by ids alone, and what a second witness confirmed."""
    day = date.fromisoformat(row["day"])
    refs = tuple(FilingRef(row["source"], one, day, "", ()) for one in row["filing_ids"])
    return DayIndex(row["source"], day, refs, row["final"], row["written_at"]), set(row["confirmed"])


def unlisted(index: DayIndex, rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Rows of the day that were seen before its index was written, and that neither it nor another index lists."""
    listed = set(_listed(index))
    return [
        row
        for row in rows
        if row.ref.day == index.day
        and row.ref.filing_id not in listed
        and not {"index", "archive"} & set(row.witnesses)
        and not (index.written_at and row.first_seen_at >= index.written_at - WRITING)
    ]


def compare(
    source: Source, day: date, index: DayIndex | None, rows: Sequence[LedgerRow], *, confirmed: Collection[str] = ()
) -> Completeness:
    """Judge a day by rows of the ledger: those of the day, and those of the filings that its index lists.

    `confirmed` are ids of `unlisted` rows that a second witness dates to the day as well.
    """
    if index is None:
        return Completeness(source, day, 0, 0, (), (), (), (), f"{source} has not written its list of {day} yet")
    states = {row.ref.filing_id: row.state for row in rows}
    ids = _listed(index)
    missing = tuple(one for one in ids if one not in states)
    unsettled = tuple(one for one in ids if one in states and states[one] not in SETTLED)
    extra = tuple(row.ref.filing_id for row in unlisted(index, rows))
    contradicted = tuple(one for one in extra if one in confirmed)
    reasons = []
    if not index.final:
        reasons.append(f"{source} may still add to its list of {day}")
    if missing:
        reasons.append(f"{len(missing)} of {len(ids)} listed filings are not known: {_some(missing)}")
    if unsettled:
        at_work = set(unsettled)
        others = sorted(
            {row.ref.day.isoformat() for row in rows if row.ref.filing_id in at_work and row.ref.day != day}
        )
        reasons.append(
            f"{len(unsettled)} of {len(ids)} listed filings are neither published nor refused: {_some(unsettled)}"
            + (f" (some are dated to {_some(others)}: materialize filings of these days)" if others else "")
        )
    if contradicted:
        reasons.append(f"the list lacks {len(contradicted)} filings of the day: {_some(contradicted)}")
    elif len(extra) > MOST_UNLISTED:
        reasons.append(f"the list lacks {len(extra)} filings that were seen on the day: {_some(extra)}")
    settled = sum(states.get(one) in SETTLED for one in ids)
    return Completeness(source, day, len(ids), settled, missing, unsettled, extra, contradicted, "; ".join(reasons))


def claim_of(index: DayIndex, *, proved_at: datetime) -> DayClaim:
    """The claim that a complete day makes, with the digest of the ids that its index lists."""
    ids = _listed(index)
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return DayClaim(index.source, index.day, len(ids), digest, proved_at)


def _listed(index: DayIndex) -> list[str]:
    return sorted({ref.filing_id for ref in index.refs})


def _rows(ledger: FilingLedger, index: DayIndex) -> list[LedgerRow]:
    """Rows of the day, and of filings that its index lists under other days."""
    rows = ledger.rows(index.source, index.day)
    of_day = {row.ref.filing_id for row in rows}
    return rows + ledger.rows_of(index.source, [one for one in _listed(index) if one not in of_day])


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _where(source: Source, day: date) -> dict[str, str]:
    return {"source": source, "day": day.isoformat()}
