"""Regulators' clocks to UTC, across daylight saving, and the moment a filing could be known."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from ledgerline.filings.times import available_at, eastern_day, eastern_to_utc, korean_day, parse_acceptance, parse_day

UTC = timezone.utc
NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("eastern", "utc"),
    [
        (datetime(2024, 3, 9, 16, 30), datetime(2024, 3, 9, 21, 30, tzinfo=UTC)),  # winter
        (datetime(2024, 3, 11, 16, 30), datetime(2024, 3, 11, 20, 30, tzinfo=UTC)),  # summer
        (datetime(2024, 3, 10, 2, 30), datetime(2024, 3, 10, 7, 30, tzinfo=UTC)),  # skipped by the clock
        (datetime(2024, 11, 3, 1, 30), datetime(2024, 11, 3, 5, 30, tzinfo=UTC)),  # passed twice
        (datetime(2005, 4, 1, 12), datetime(2005, 4, 1, 17, tzinfo=UTC)),  # before the rule of 2007
    ],
)
def test_eastern_time_becomes_utc_across_daylight_saving(eastern, utc):
    assert eastern_to_utc(eastern) == utc


def test_a_stamp_with_a_zone_is_not_taken_for_eastern():
    with pytest.raises(ValueError, match="already has a zone"):
        eastern_to_utc(NOON)


@pytest.mark.parametrize("stamp", ["", "2024031116301", "20241399000000", "2024031116301x", "00000000000000"])
def test_what_is_no_acceptance_stamp_is_none(stamp):
    assert parse_acceptance(stamp) is None


def test_days_are_the_regulators_own():
    late = datetime(2024, 3, 11, 23, 30, tzinfo=UTC)
    assert korean_day(late) == date(2024, 3, 12)
    assert eastern_day(datetime(2024, 3, 12, 2, tzinfo=UTC)) == date(2024, 3, 11)
    assert parse_day("20240311") == date(2024, 3, 11)
    assert parse_day("20240231") is None
    with pytest.raises(ValueError, match="has no zone"):
        korean_day(datetime(2024, 3, 11))


@pytest.mark.parametrize(
    ("accepted", "seen", "modified", "form", "expected"),
    [
        (0, 60, 25, "8-K", 25),  # public before we looked
        (0, 10, 25, "8-K", 10),  # seen before the server's stamp
        (30, 10, 5, "8-K", 30),  # never before acceptance
        (0, 60, None, "8-K", 60),
        (None, 60, None, "사업보고서", 60),
        (0, 60, 3_000_000, "UPLOAD", 3_000_000),
        (0, 60, 3_000_000, "CORRESP", 3_000_000),
        (0, 60, None, "CORRESP", 60),
    ],
)
def test_a_filing_is_available_when_it_could_be_known(accepted, seen, modified, form, expected):
    def at(seconds):
        return None if seconds is None else NOON + timedelta(seconds=seconds)

    assert available_at(at(accepted), at(seen), at(modified), form) == at(expected)
