"""A day of each regulator is lived through, tick by tick, while it bans, fails and shifts its pages.

EDGAR replays real walks of its feed where they are at hand, thinned out, else the sample archive. In the end the ledger
equals what the server published; until then no day is claimed complete. The whole walk: `benchmarks.onboarding_faults`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path

import pytest

from ledgerline.filings.times import EASTERN, KOREA
from tests.onboarding_world import SharedClock, World, expected
from tests.servers.dart import DartServer, korean_reports
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import a_day_of_filings
from tests.servers.wire import assert_key_never_logged

FILINGS = 300
KOREAN_DAY = date(2026, 3, 3)


def moment(day: date, hour: int, minute: int = 0, zone=EASTERN) -> datetime:
    return datetime.combine(day, time(hour, minute), zone).astimezone(timezone.utc)


def test_edgars_real_day_with_bans_and_outages_ends_as_what_was_published(tmp_path: Path) -> None:
    day, filings = a_day_of_filings(tmp_path / "sample", limit=FILINGS)
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    clock = SharedClock(moment(day, 0, 10))
    habits = {"feed_misses": 0.03, "late_rows": 0.05, "late_bodies": 0.1, "changed": 0.05}
    server = EdgarServer(filings, clock=clock, seed=11, body_scale=0.001, letters=3, **habits)
    for kind, probability in (
        ("page_shift", 0.2),
        ("reset_mid_body", 0.03),
        ("truncated", 0.03),
        ("gzip_unasked", 0.1),
    ):
        server.misbehave(kind, times=None, probability=probability)
    server.misbehave("unavailable", times=None, since=moment(day, 13), until=moment(day, 14))
    server.misbehave("throttled_429", where="browse-edgar", since=moment(day, 10, 20))
    server.misbehave("ban", where="/Archives/edgar/data/", since=moment(day, 15))
    server.misbehave("ban", where="browse-edgar", since=moment(day, 16, 30))
    server.misbehave("unavailable", where="daily-index", times=2)
    server.misbehave("cut", where="/Archives/edgar/data/", times=None, probability=0.02)
    (tmp_path / "world").mkdir()
    with server:
        world = World("edgar", tmp_path / "world", server.url, clock)
        truth = expected(server)
        for now in world.live(moment(after, 9)):
            assert world.false_claims(truth) == []
            if now < moment(after, 6):
                assert day not in {claim.day for claim in world.ledger.completions("edgar")}
        findings = world.findings(truth)
    assert not findings, findings
    assert {before, day} <= {claim.day for claim in world.ledger.completions("edgar")}, world.lines[-5:]
    assert server.asked_while_banned <= 2 * 3  # on their way when a ban began
    assert sum(one.fault == "ban" for one in server.asked) == 2
    rows = world.lake_rows()
    assert {row["filing_id"] for row in rows} == {one.filing_id for one in truth.values() if one.found_at <= clock()}
    changed = [one for one in truth.values() if len(one.versions) > 1]
    assert changed
    version, objects = world.lake.version("filings"), world.stored()
    world.tick(after)
    assert (world.lake.version("filings"), world.stored()) == (version, objects)


def test_darts_day_with_quota_and_outages_ends_as_what_was_published_and_its_key_is_in_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    day, after = KOREAN_DAY, KOREAN_DAY + timedelta(days=1)
    clock = SharedClock(moment(day, 6, 30, KOREA))
    server = DartServer(korean_reports([day], per_day=220, seed=4), clock=clock, seed=12)
    for kind, probability in (("page_shift", 0.1), ("reset_mid_body", 0.03), ("truncated", 0.03), ("dart_900", 0.03)):
        server.misbehave(kind, times=None, probability=probability)
    server.misbehave("dart_800", times=None, since=moment(day, 10, 0, KOREA), until=moment(day, 11, 0, KOREA))
    server.misbehave("quota", where="page_no=3", since=moment(day, 16, 0, KOREA))
    with server:
        world = World("dart", tmp_path, server.url, clock, key=server.key)
        truth = expected(server)
        for now in world.live(moment(after, 8, 0, KOREA)):
            assert world.false_claims(truth) == []
            if now < moment(after, 1, zone=KOREA):
                assert day not in {claim.day for claim in world.ledger.completions("dart")}
        while world.ledger.pending("dart", day):  # what has no document is asked for until a day later
            clock.sleep(3600)
            world.tick(world.today())
        world.complete(day)
        findings = world.findings(truth)
    assert not findings, findings
    assert {claim.day: claim.filings for claim in world.ledger.completions("dart")}[day] == len(truth), world.lines[-5:]
    assert {row["filing_id"]: row["state"] for row in world.lake_rows()} == {
        one.filing_id: "published" if one.versions else "refused" for one in truth.values()
    }
    assert server.asked_over_quota == 0
    said = [*world.lines, *(record.getMessage() for record in caplog.records), caplog.text]
    said.append(json.dumps([str(row) for row in world.ledger.rows("dart", day)]))
    said += [str(tick) for tick in world.ledger.ticks("dart", limit=1000)]
    assert_key_never_logged("\n".join(said), server.key)
    assert any("crtfc_key=***" in one for one in said)


def test_darts_days_of_long_ago_are_available_since_their_lists_closed_and_what_is_late_since_it_was_seen(
    tmp_path: Path,
) -> None:
    """DART tells neither a time of day nor a Last-Modified: a backfill must date nothing to today, nor before it was there."""
    closed = moment(KOREAN_DAY + timedelta(days=1), 1, zone=KOREA)
    clock = SharedClock(closed + timedelta(days=20))
    *reports, late = korean_reports([KOREAN_DAY], per_day=8, seed=4, without_document=0)
    appears = clock() + timedelta(days=1)
    server = DartServer([*reports, replace(late, listed_at=appears, document_at=appears)], clock=clock, seed=12)
    with server:
        world = World("dart", tmp_path, server.url, clock, key=server.key)
        world.complete(KOREAN_DAY)
        assert {row["available_at"] for row in world.lake_rows()} == {closed}
        assert [claim.filings for claim in world.ledger.completions("dart")] == [len(reports)]
        clock.advance_to(appears + timedelta(hours=1))
        world.onboard(KOREAN_DAY)
        rows = {row["filing_id"]: row for row in world.lake_rows()}
    newcomer = rows.pop(late.rcept_no)
    assert newcomer["available_at"] == newcomer["first_seen_at"] > appears
    assert {row["available_at"] for row in rows.values()} == {closed}
