"""Which filing an amendment amends."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pytest

from ledgerline.filings.corrections import corrected_filing, corrected_form
from ledgerline.filings.ports import LedgerRow
from ledgerline.filings.records import FilingRef, Party, Source

SEEN = datetime(2025, 3, 14, tzinfo=timezone.utc)
APPLE, COOK = Party("0000320193", "Apple Inc.", "Issuer"), Party("0001214156", "COOK TIMOTHY D", "Reporting")


@pytest.mark.parametrize(
    ("source", "form", "title", "corrected"),
    [
        ("edgar", "10-K/A", "", "10-K"),
        ("edgar", "4/A", "", "4"),
        ("edgar", "10-K", "", None),
        ("dart", "사업보고서 (2024.12)", "[기재정정]사업보고서 (2024.12)", "사업보고서 (2024.12)"),
        ("dart", "사업보고서 (2024.12)", "[첨부추가]사업보고서 (2024.12)", "사업보고서 (2024.12)"),
        ("dart", "사업보고서 (2024.12)", "사업보고서 (2024.12)", None),
        ("dart", "증권발행실적보고서", "[발행조건확정]증권발행실적보고서", None),
    ],
)
def test_the_form_that_is_corrected(source: Source, form: str, title: str, corrected: str | None) -> None:
    assert corrected_form(source, form, title) == corrected


def row(number: int, day: int, *parties: Party, period: str | None = None, title: str = "") -> LedgerRow:
    source: Source = "dart" if title else "edgar"
    ref = FilingRef(source, f"{number:06d}", date(2025, 3, day), "10-K", parties or (APPLE,), title=title)
    return LedgerRow(ref, "published", SEEN, None, None, None, None, None, None, 1, 0, period=period)


def test_the_newest_earlier_filing_is_corrected() -> None:
    earlier = [row(1, 1), row(2, 5), row(9, 20)]
    assert corrected_filing(row(8, 14), earlier, period=None) == "000002"


def test_a_filing_of_the_same_period_is_preferred_to_a_newer_one() -> None:
    earlier = [row(1, 1, period="2023-12-31"), row(2, 5, period="2024-12-31")]
    assert corrected_filing(row(8, 14), earlier, period="2023-12-31") == "000001"
    assert corrected_filing(row(8, 14), earlier, period="2022-12-31") == "000002"


def test_a_filing_of_the_same_companies_is_preferred_to_one_of_another_owner() -> None:
    earlier = [row(1, 1, COOK, APPLE), row(2, 5, APPLE, Party("1", "SOMEBODY ELSE", "Reporting"))]
    assert corrected_filing(row(8, 14, COOK, APPLE), earlier, period=None) == "000001"


def test_a_correction_of_a_korean_report_points_to_the_original_and_not_to_another_correction() -> None:
    earlier = [row(1, 1, title="사업보고서"), row(2, 5, title="[기재정정]사업보고서")]
    assert corrected_filing(row(8, 14, title="[기재정정]사업보고서"), earlier, period=None) == "000001"


def test_what_is_not_known_is_not_guessed() -> None:
    assert corrected_filing(row(8, 14), [], period="2024-12-31") is None
