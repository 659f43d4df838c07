"""Calls the present versions of filings published, as onboarding does after it merged them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ledgerline.filings.ports import FilingLedger
from ledgerline.filings.records import Source


def publish(ledger: FilingLedger, source: Source, filing_ids: Sequence[str], *, at: datetime) -> None:
    versions = {row.ref.filing_id: row.version for row in ledger.rows_of(source, filing_ids)}
    ledger.published(source, versions, at=at)
