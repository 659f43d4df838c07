"""A filing of 250 MB through all states, in a process of its own, whose memory is looked at."""

from __future__ import annotations

from benchmarks.onboard_day import LARGE, in_a_process

LIMIT_MB = 200
MOST_GROWTH_MB = 25  # what two runs of the same differ by, and a few blocks


def test_a_filing_of_250_mb_is_kept_within_200_mb_and_costs_what_a_small_one_does() -> None:
    large, small = in_a_process(LARGE), in_a_process(25_000)
    assert (large["published"], large["bytes"]) == (1, LARGE)
    assert large["peak_rss_mb_kept"] <= LIMIT_MB
    assert large["peak_rss_mb"] - small["peak_rss_mb"] <= MOST_GROWTH_MB
