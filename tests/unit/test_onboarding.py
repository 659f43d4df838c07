"""Onboarding a day over hand-written fakes: what is published, what is refused, and what a kill at each step leaves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

from ledgerline.errors import Overtaken
from ledgerline.filings import onboarding
from ledgerline.filings.onboarding import KILLS, MOST_TRIES, DayReport, next_delay, onboard_day
from ledgerline.filings.ports import KnownFilings, NotYetThere, Poll, RegulatorUnavailable
from ledgerline.filings.records import FetchedFiling, FilingRef, Party, RefusedFiling
from ledgerline.filings.sgml import Header
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
    live: bool = False
    fetches: list[str] = field(default_factory=list)
    polled_since: list[datetime | None] = field(default_factory=list)
    poll_failure: RegulatorUnavailable | None = None

    def days(self) -> list[date]:
        return [DAY]

    def discover(self, day: date) -> list[FilingRef]:
        return [FilingRef("edgar", one, day, "8-K", (Party(*APPLE),)) for one in sorted(self.bodies)]

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        self.polled_since.append(since)
        return Poll({"feed": self.discover(day)}, connected=self.poll_failure is None, failure=self.poll_failure)

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling | None:
        self.fetches.append(ref.filing_id)
        body = self.bodies[ref.filing_id]
        if isinstance(body, Exception):
            raise body
        digest = hashlib.sha256(body).hexdigest()
        if etag == digest:
            return None
        into.write_bytes(body)
        return FetchedFiling(ref, into, len(body), digest, ACCEPTED, digest)


@dataclass
class FakeObjects:
    held: dict[str, bytes] = field(default_factory=dict)

    def uri(self, *parts: str) -> str:
        return "s3://ledgerline/" + "/".join(parts)

    def put(self, uri: str, body: bytes) -> str:
        self.held[uri] = body
        return ""

    def put_file(self, uri: str, path: str | Path) -> str:
        return self.put(uri, Path(path).read_bytes())

    def stamp(self, uri: str) -> str | None:
        return hashlib.sha256(self.held[uri]).hexdigest() if uri in self.held else None

    def put_unless_changed(self, uri: str, body: bytes, *, stamp: str | None) -> str:
        if self.stamp(uri) != stamp:
            raise Overtaken(f"{uri} was written meanwhile: run this again.")
        return self.put(uri, body)

    def get(self, uri: str) -> bytes:
        return self.held[uri]

    def open_stream(self, uri: str) -> BinaryIO:
        return io.BytesIO(self.held[uri])

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
    now: datetime = NOW

    def onboard(self, **changes) -> DayReport:
        ports = {
            "regulator": self.regulator,
            "ledger": self.ledger,
            "objects": self.objects,
            "lake": self.lake,
            "batch_filings": 2,
            **changes,
        }
        return onboard_day(day=DAY, clock=lambda: self.now, report=self.lines.append, **ports)


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
    assert world.onboard().waiting == 0  # its next attempt is not due
    world.now += timedelta(seconds=30)
    report = world.onboard()
    assert (report.new, report.published, report.refused, report.bytes, report.waiting) == (0, 0, 0, 0, 1)
    assert world.lake.newest == version
    assert world.regulator.fetches[fetched:] == [accession(7)]


def test_a_filing_that_is_served_later_is_published_then(world: World) -> None:
    world.onboard()
    world.regulator.bodies[accession(7)] = body(7)
    world.now += timedelta(seconds=30)
    assert world.onboard().published == 1
    assert world.lake.states() == {**WHOLE, accession(7): "published"}
    row = world.ledger.row("edgar", accession(7))
    assert row is not None
    assert (row.attempts, row.published_at) == (0, world.now)


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


def test_a_failed_discovery_changes_nothing_but_is_remembered(world: World) -> None:
    def fail(day: date) -> list[FilingRef]:
        raise RegulatorUnavailable("503")

    world.regulator.discover = fail  # type: ignore[method-assign]
    with pytest.raises(RegulatorUnavailable):
        world.onboard()
    assert world.ledger.counts() == {}
    (tick,) = world.ledger.ticks("edgar")
    assert (tick.connected, tick.failure) == (False, "503")
    assert world.ledger.watermark("edgar") is None


def test_the_next_poll_reads_back_to_the_last_one_that_connected(world: World) -> None:
    world.onboard()
    world.now += timedelta(minutes=10)
    world.regulator.poll_failure = RegulatorUnavailable("page 3: 503")
    with pytest.raises(RegulatorUnavailable, match="page 3"):
        world.onboard()
    world.now += timedelta(minutes=10)
    world.regulator.poll_failure = None
    world.onboard()
    assert world.regulator.polled_since == [None, NOW, NOW]
    assert world.ledger.watermark("edgar") == world.now


def test_what_a_poll_read_before_it_failed_is_published_and_the_failure_is_told(world: World) -> None:
    world.regulator.poll_failure = RegulatorUnavailable("page 3: 503")
    with pytest.raises(RegulatorUnavailable, match="page 3"):
        world.onboard()
    assert world.lake.states() == WHOLE


def test_a_cut_off_body_of_a_server_is_asked_for_again_before_it_is_refused(world: World) -> None:
    world.regulator.live = True
    asked = [world.onboard().waiting]
    for _ in range(2):
        world.now += timedelta(minutes=10)
        asked.append(world.onboard().waiting)
    assert asked == [2, 2, 1]
    assert world.lake.states() == WHOLE
    row = world.lake.held["edgar", accession(6)]
    assert world.objects.held[row["uri"]] == world.regulator.bodies[accession(6)]


def test_a_cut_off_body_that_the_server_mends_is_published(world: World) -> None:
    world.regulator.live = True
    world.onboard()
    world.regulator.bodies[accession(6)] = body(6)
    world.now += timedelta(minutes=10)
    world.onboard()
    assert world.lake.states() == {**WHOLE, accession(6): "published"}
    assert world.lake.held["edgar", accession(6)]["version"] == 1


@pytest.mark.parametrize("mended", [True, False])
def test_a_refused_filing_that_is_fetched_again_is_what_the_server_has_by_now(world: World, mended: bool) -> None:
    world.onboard()
    world.ledger.reopened("edgar", [accession(6)], fetch_again=True)
    if mended:
        world.regulator.bodies[accession(6)] = body(6)
    fetched = len(world.regulator.fetches)
    report = world.onboard()
    assert world.regulator.fetches[fetched:] == [accession(6)]
    assert (report.published, report.refused) == ((1, 0) if mended else (0, 1))
    assert world.lake.states() == WHOLE | ({accession(6): "published"} if mended else {})
    assert len(world.ledger.versions("edgar", accession(6))) == (2 if mended else 1)


def test_a_refused_filing_that_a_mended_check_accepts_is_published_with_the_bytes_it_had(
    world: World, monkeypatch
) -> None:
    world.regulator.bodies[accession(1)] = b"x" + body(1)
    accept = onboarding.read_valid_header

    def strict(source, path):
        if path.name == accession(1) or path.name == f"{accession(1)}.kept":
            raise RefusedFiling("no_container", "the bug")
        return accept(source, path)

    with monkeypatch.context() as patched:
        patched.setattr(onboarding, "read_valid_header", strict)
        world.onboard()
    assert world.lake.states()[accession(1)] == "no_container"
    monkeypatch.setattr(onboarding, "read_valid_header", lambda source, path: Header(accession=accession(1)))
    world.ledger.reopened("edgar", [accession(1)], fetch_again=True)
    assert world.onboard().published == 1
    row = world.ledger.row("edgar", accession(1))
    assert row is not None
    assert (row.state, row.version) == ("published", 1)


def test_what_is_never_served_is_set_aside_after_a_day_and_says_how_often_it_was_tried(world: World) -> None:
    for _ in range(MOST_TRIES):
        world.onboard()
        world.now += next_delay(MOST_TRIES)
    row = world.lake.held["edgar", accession(7)]
    assert (row["reason"], row["detail"]) == ("not_served", "later (tried 14 times)")
    assert world.now - NOW > timedelta(days=1)


def test_bodies_under_way_of_a_process_that_was_killed_are_removed_a_day_later(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young = tmp_path / f"{onboarding.BODIES_UNDER_WAY}old", tmp_path / f"{onboarding.BODIES_UNDER_WAY}young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "0000320193-25-000001").write_bytes(b"half a body")
    (tmp_path / f"{onboarding.BODIES_UNDER_WAY}link").symlink_to(young)
    os.utime(old, (0, 0))
    world.onboard()
    assert [path.name.rpartition("-")[2] for path in sorted(tmp_path.glob(f"{onboarding.BODIES_UNDER_WAY}*"))] == [
        "link",
        "young",
    ]


def test_delays_grow_to_four_hours() -> None:
    assert [next_delay(tries).total_seconds() for tries in (1, 2, 3, 9, 10, 1000)] == [30, 60, 120, 7680, 14400, 14400]


def test_a_filing_with_which_workers_die_is_set_aside_and_its_neighbours_are_published(world: World) -> None:
    class Deadly:
        live, source = False, "edgar"

        def __getattr__(self, name: str):
            return getattr(world.regulator, name)

        def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling | None:
            if ref.filing_id == accession(3):
                raise Killed
            return world.regulator.fetch(ref, into, etag=etag)

    deaths = 0
    while True:
        try:
            world.onboard(regulator=Deadly(), batch_filings=500)
            break
        except Killed:
            deaths += 1
    assert deaths == KILLS
    assert world.lake.states() == {**WHOLE, accession(3): "poison"}


@pytest.mark.parametrize("way", ["ban", "disk"])
def test_what_stops_the_day_again_and_again_sets_no_filing_aside(world: World, way: str) -> None:
    real = world.objects.put
    body_of_1 = world.regulator.bodies[accession(1)]

    def full(uri: str, body: bytes) -> str:
        raise OSError(28, "No space left on device")

    for _ in range(4 * KILLS):
        if way == "ban":
            world.regulator.bodies[accession(1)] = RegulatorUnavailable("banned", retry_at=NOW)
        else:
            world.objects.put = full  # type: ignore[method-assign]
        with pytest.raises((RegulatorUnavailable, OSError)):
            world.onboard()
        world.now += timedelta(minutes=10)
    world.regulator.bodies[accession(1)], world.objects.put = body_of_1, real  # type: ignore[method-assign]
    world.onboard()
    assert world.lake.states() == WHOLE


def test_a_full_store_keeps_what_was_stored_before(world: World) -> None:
    real = world.objects.put

    def put(uri: str, body: bytes) -> str:
        if accession(4) in uri:
            raise OSError(28, "No space left on device")
        return real(uri, body)

    world.objects.put = put  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        world.onboard(batch_filings=500)
    assert set(world.lake.states()) == {accession(number) for number in range(1, 4)}


def test_a_body_that_our_own_code_cannot_stand_does_not_stop_the_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onboarding.read_valid_header

    def check(source, path):
        if path.name == accession(2):
            raise RecursionError("too deep")
        return real(source, path)

    monkeypatch.setattr(onboarding, "read_valid_header", check)
    for _ in range(3):
        world.onboard()
        world.now += timedelta(minutes=10)
    assert world.lake.states() == {**WHOLE, accession(2): "crashed"}
    assert "RecursionError" in world.lake.held["edgar", accession(2)]["detail"]


def test_changed_bytes_are_found_by_a_recheck_and_become_a_new_version(world: World) -> None:
    world.regulator.live = True
    world.onboard()
    world.regulator.bodies[accession(2)] = body(2).replace(b"generated", b"corrected")
    world.regulator.bodies[accession(3)] = body(3)[:-60]  # what is not valid replaces nothing
    world.regulator.bodies[accession(4)] = NotYetThere("gone")
    report = world.onboard(recheck=True)
    assert (report.rechecked, report.changed) == (4, 1)
    assert [world.lake.held["edgar", accession(number)]["version"] for number in range(1, 6)] == [1, 2, 1, 1, 1]
    assert [one.sha256 for one in world.ledger.versions("edgar", accession(2))] == [
        hashlib.sha256(one).hexdigest()
        for one in (body(2), world.regulator.bodies[accession(2)])  # type: ignore[arg-type]
    ]
    assert world.onboard(recheck=True).changed == 0


def test_a_rechecked_filing_is_not_asked_for_again(world: World) -> None:
    world.regulator.live = True
    world.onboard()
    assert world.onboard(recheck=True).rechecked == 5
    asked = len(world.regulator.fetches)
    assert world.onboard(recheck=True).rechecked == 0
    assert len(world.regulator.fetches) == asked


def test_an_amendment_points_to_the_filing_that_it_amends(world: World) -> None:
    world.regulator.bodies = {
        accession(number): submission(Made(accession(number), form, (APPLE,)))
        for number, form in enumerate(("8-K", "8-K/A"), start=1)
    }
    forms = {accession(1): "8-K", accession(2): "8-K/A"}
    world.regulator.discover = lambda day: [  # type: ignore[method-assign]
        FilingRef("edgar", one, day, form, (Party(*APPLE),)) for one, form in forms.items()
    ]
    world.onboard()
    assert [world.lake.held["edgar", accession(number)]["corrects"] for number in (1, 2)] == [None, accession(1)]


AMENDED_ON = DAY + timedelta(days=9)


def amended(world: World, *originals: date, form: str = "8-K/A") -> Callable[..., DayReport]:
    """A regulator with an 8-K on each of the days and an amendment, filing 9, days after DAY; onboards a day of it."""
    listed = {day: [(accession(number), "8-K")] for number, day in enumerate(originals, start=1)}
    listed[AMENDED_ON] = [(accession(9), form)]
    world.regulator.bodies = {
        one: submission(Made(one, kind, (APPLE,))) for filings in listed.values() for one, kind in filings
    }
    world.regulator.discover = lambda day: [  # type: ignore[method-assign]
        FilingRef("edgar", one, day, kind, (Party(*APPLE),)) for one, kind in listed[day]
    ]

    def onboard(day: date, **changes) -> DayReport:
        ports = {"regulator": world.regulator, "ledger": world.ledger, "objects": world.objects, "lake": world.lake}
        return onboard_day(day=day, clock=lambda: world.now, **{**ports, **changes})

    return onboard


def corrects(world: World) -> str | None:
    return world.lake.held["edgar", accession(9)]["corrects"]


def test_an_amendment_that_came_first_points_to_its_original_once_that_is_there(world: World) -> None:
    onboard = amended(world, DAY)
    onboard(AMENDED_ON)
    assert corrects(world) is None
    onboard(DAY)
    assert world.ledger.pending_days("edgar", due_at=NOW) == [AMENDED_ON]
    onboard(AMENDED_ON, poll=False)
    assert corrects(world) == accession(1)
    assert world.regulator.fetches == [accession(9), accession(1)]
    version = world.lake.newest
    for day in (DAY, AMENDED_ON):
        onboard(day)
    assert world.ledger.reopened("edgar", [accession(1)]) == 1  # read again by another parser
    onboard(DAY)
    assert world.ledger.pending_days("edgar") == []
    assert world.lake.newest == version


def test_a_backfill_that_brings_a_nearer_original_lets_the_amendment_point_to_it(world: World) -> None:
    before, long_before = DAY - timedelta(days=1), DAY - timedelta(days=300)
    onboard = amended(world, long_before, before, DAY)
    pointed = []
    for day in (long_before, AMENDED_ON, DAY, before):
        onboard(day)
        onboard(AMENDED_ON, poll=False)
        pointed.append(corrects(world) if day != long_before else None)
    assert pointed == [None, accession(1), accession(3), accession(3)]


@pytest.mark.parametrize("form", ["8-K", "10-K/A"])
def test_what_amends_nothing_of_it_is_left_alone_by_an_original(world: World, form: str) -> None:
    onboard = amended(world, DAY, form=form)
    onboard(AMENDED_ON)
    onboard(DAY)
    assert world.ledger.pending_days("edgar") == []
    assert corrects(world) is None


@pytest.mark.parametrize("step", ["corrected", "merge", "published"])
@pytest.mark.parametrize("after", [False, True])
def test_killed_while_an_amendment_gets_its_original_it_gets_it_from_the_next_call(
    world: World, step: str, after: bool
) -> None:
    onboard = amended(world, DAY)
    onboard(AMENDED_ON)
    killer = Killer([1], after)
    ports = {"ledger": killer.wrap(world.ledger, (step,)), "lake": killer.wrap(world.lake, (step,))}
    with pytest.raises(Killed):
        onboard(DAY, **ports)
    onboard(DAY)
    onboard(AMENDED_ON, poll=False)
    assert corrects(world) == accession(1)
    assert {row.state for day in (DAY, AMENDED_ON) for row in world.ledger.rows("edgar", day)} == {"published"}


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
    "ledger": ("ticked", "discovered", "begun", "fetched_many", "parsed_many", "refused_many", "published"),
    "objects": ("put_file",),
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
