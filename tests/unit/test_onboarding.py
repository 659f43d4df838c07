"""Onboarding a day over hand-written fakes: what is published, what is refused, and what a kill at each step leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from ledgerline.filings.onboarding import DayReport, onboard_day
from ledgerline.filings.ports import NotYetThere, RegulatorUnavailable
from ledgerline.filings.records import FetchedFiling, FilingRef, Party, RefusedFiling
from ledgerline.ports import LakeWrite
from resources.filing_ledger import SqlFilingLedger
from tests.servers.small_archive import APPLE, Made, submission

DAY = date(2025, 3, 14)
NOW = datetime(2025, 3, 20, 12, 0, tzinfo=timezone.utc)
ACCEPTED = datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, so whatever was not stored is gone."""


@dataclass
class FakeRegulator:
    """Serves `bodies`; an exception in place of a body is raised."""

    bodies: dict[str, bytes | Exception]
    source: str = "edgar"
    fetches: list[str] = field(default_factory=list)

    def days(self) -> list[date]:
        return [DAY]

    def discover(self, day: date) -> list[FilingRef]:
        return [FilingRef("edgar", one, day, "8-K", (Party(*APPLE),)) for one in sorted(self.bodies)]

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        self.fetches.append(ref.filing_id)
        body = self.bodies[ref.filing_id]
        if isinstance(body, Exception):
            raise body
        return FetchedFiling(ref, body, ACCEPTED)


@dataclass
class FakeObjects:
    held: dict[str, bytes] = field(default_factory=dict)

    def uri(self, *parts: str) -> str:
        return "s3://ledgerline/" + "/".join(parts)

    def put(self, uri: str, body: bytes) -> str:
        self.held[uri] = body
        return ""

    def get(self, uri: str) -> bytes:
        return self.held[uri]

    def exists(self, uri: str) -> bool:
        return uri in self.held

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(self.held)

    def delete(self, uri: str) -> None:
        del self.held[uri]


@dataclass
class FakeLake:
    """One table; a version per merge that changes something."""

    held: dict[tuple, dict] = field(default_factory=dict)
    newest: int = -1

    def merge(self, table: str, rows: pa.Table, *, keys) -> LakeWrite:
        before = dict(self.held)
        self.held.update({tuple(row[key] for key in keys): row for row in rows.to_pylist()})
        self.newest += before != self.held
        return LakeWrite(table, self.newest, inserted=len(self.held) - len(before), updated=0)

    def replace(self, table: str, rows: pa.Table, *, where) -> LakeWrite:
        raise AssertionError("onboarding merges")

    def read(self, table: str, *, columns=None, where=None, version=None) -> pa.Table:
        return pa.Table.from_pylist(list(self.held.values()))

    def version(self, table: str) -> int | None:
        return self.newest

    def states(self) -> dict[str, str]:
        return {row["filing_id"]: row["reason"] or row["state"] for row in self.held.values()}


@dataclass
class World:
    regulator: FakeRegulator
    ledger: SqlFilingLedger
    objects: FakeObjects
    lake: FakeLake
    lines: list[str] = field(default_factory=list)

    def onboard(self, **changes) -> DayReport:
        ports = {
            "regulator": self.regulator,
            "ledger": self.ledger,
            "objects": self.objects,
            "lake": self.lake,
            **changes,
        }
        return onboard_day(**ports, day=DAY, clock=lambda: NOW, report=self.lines.append, batch_filings=2)


def accession(number: int) -> str:
    return f"0000320193-25-{number:06d}"


def body(number: int) -> bytes:
    return submission(Made(accession(number), "8-K", (APPLE,)))


@pytest.fixture
def world(tmp_path) -> World:
    bodies: dict[str, bytes | Exception] = {accession(number): body(number) for number in range(1, 6)}
    bodies[accession(6)] = body(6)[:-60]
    bodies[accession(7)] = NotYetThere("later")
    return World(FakeRegulator(bodies), SqlFilingLedger(url=f"sqlite:///{tmp_path}/l.db"), FakeObjects(), FakeLake())


WHOLE = {**{accession(number): "published" for number in range(1, 6)}, accession(6): "truncated"}


def test_a_day_is_published_refused_with_reasons_and_waited_for(world: World) -> None:
    report = world.onboard()
    assert (report.discovered, report.new, report.published, report.waiting) == (7, 7, 5, 1)
    assert report.refused_by_reason == {"truncated": 1}
    assert report.bytes == sum(len(one) for one in world.regulator.bodies.values() if isinstance(one, bytes))
    assert world.lake.states() == WHOLE
    assert set(world.objects.held.values()) == {
        one for one in world.regulator.bodies.values() if isinstance(one, bytes)
    }


def test_a_row_has_its_times_digest_and_parties_from_the_header(world: World) -> None:
    world.onboard()
    row = world.lake.held["edgar", accession(1)]
    assert (row["accepted_at"], row["available_at"], row["first_seen_at"]) == (ACCEPTED, ACCEPTED, NOW)
    assert row["uri"] == f"s3://ledgerline/filings/edgar/{accession(1)}/{row['sha256'][:16]}"
    assert (row["party_ids"], row["party_roles"], row["version"], row["bytes"]) == (
        ["0000320193"], ["Filer"], 1, len(body(1)),
    )  # fmt: skip
    refused = world.lake.held["edgar", accession(6)]
    assert (refused["state"], refused["reason"], refused["available_at"]) == ("refused", "truncated", ACCEPTED)
    assert world.objects.held[refused["uri"]] == world.regulator.bodies[accession(6)]


def test_a_second_call_fetches_only_what_is_waiting_and_changes_nothing(world: World) -> None:
    world.onboard()
    version, fetched = world.lake.newest, len(world.regulator.fetches)
    report = world.onboard()
    assert (report.new, report.published, report.refused, report.bytes, report.waiting) == (0, 0, 0, 0, 1)
    assert world.lake.newest == version
    assert world.regulator.fetches[fetched:] == [accession(7)]


def test_a_filing_that_is_served_later_is_published_then(world: World) -> None:
    world.onboard()
    world.regulator.bodies[accession(7)] = body(7)
    assert world.onboard().published == 1
    assert world.lake.states() == {**WHOLE, accession(7): "published"}
    row = world.ledger.row("edgar", accession(7))
    assert row is not None
    assert row.attempts == 2


def test_a_body_that_is_too_large_to_take_is_a_row_too(world: World) -> None:
    world.regulator.bodies[accession(1)] = RefusedFiling("too_large", "more than the cap")
    world.onboard()
    assert world.lake.states()[accession(1)] == "too_large"
    assert world.lake.held["edgar", accession(1)]["uri"] is None


def test_one_body_that_cannot_be_read_does_not_stop_the_day(world: World) -> None:
    world.regulator.bodies[accession(1)] = RegulatorUnavailable("503")
    report = world.onboard()
    assert (report.published, report.waiting) == (4, 2)


def test_a_regulator_that_is_down_stops_the_day_and_keeps_what_was_read(world: World) -> None:
    for number in range(10, 16):
        world.regulator.bodies[accession(number)] = RegulatorUnavailable("503")
    with pytest.raises(RegulatorUnavailable):
        world.onboard()
    assert world.lake.states() == WHOLE
    assert world.regulator.fetches[-1] == accession(14)


def test_a_ban_stops_the_day_at_once_and_keeps_what_was_read(world: World) -> None:
    world.regulator.bodies[accession(4)] = RegulatorUnavailable("banned", retry_at=NOW + timedelta(seconds=600))
    with pytest.raises(RegulatorUnavailable):
        world.onboard()
    assert world.lake.states() == {accession(number): "published" for number in range(1, 4)}
    assert world.regulator.fetches[-1] == accession(4)


def test_a_failed_discovery_changes_nothing(world: World) -> None:
    def fail(day: date) -> list[FilingRef]:
        raise RegulatorUnavailable("503")

    world.regulator.discover = fail  # type: ignore[method-assign]
    with pytest.raises(RegulatorUnavailable):
        world.onboard()
    assert world.ledger.counts() == {}


class Killer:
    """Wraps a port: raises Killed before or after the n-th call of all its wrapped methods, counted together."""

    def __init__(self, deadline: list[int], after: bool) -> None:
        self.deadline = deadline
        self.after = after

    def wrap(self, port: object, names: tuple[str, ...]) -> object:
        class Proxy:
            def __getattr__(proxy, name: str):
                method = getattr(port, name)
                return self.counted(method) if name in names else method

        return Proxy()

    def counted(self, method: Callable) -> Callable:
        def call(*positional, **named):
            self.deadline[0] -= 1
            if self.deadline[0] == 0 and not self.after:
                raise Killed
            result = method(*positional, **named)
            if self.deadline[0] == 0:
                raise Killed
            return result

        return call


STEPS = {
    "ledger": ("discovered", "fetched_many", "parsed_many", "refused_many", "waiting", "published"),
    "objects": ("put",),
    "lake": ("merge",),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_and_started_again_nothing_is_lost_and_nothing_doubled(tmp_path, after: bool) -> None:
    step = 0
    while True:
        step += 1
        bodies: dict[str, bytes | Exception] = {accession(number): body(number) for number in range(1, 6)}
        bodies[accession(6)] = body(6)[:-60]
        ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/{step}.db")
        world = World(FakeRegulator(bodies), ledger, FakeObjects(), FakeLake())
        deadline = [step]
        killer = Killer(deadline, after)
        ports = {name: killer.wrap(getattr(world, name), methods) for name, methods in STEPS.items()}
        with contextlib.suppress(Killed):
            world.onboard(**ports)
        if deadline[0] > 0:
            break  # the day has fewer steps than this: every one was tried
        world.onboard()
        assert world.lake.states() == WHOLE
        assert {row["version"] for row in world.lake.held.values()} == {1}
        assert len(world.objects.held) == 6
        assert {row.state for row in ledger.rows("edgar", DAY)} == {"published", "refused"}
        assert ledger.unpublished("edgar", DAY) == []
        version = world.lake.newest
        report = world.onboard()
        assert (report.new, report.published, report.refused, world.lake.newest) == (0, 0, 0, version)
    assert step > 15
