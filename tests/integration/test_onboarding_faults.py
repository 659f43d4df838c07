"""What else can happen to a day: a full disk, a locked database, a store that refuses, clocks that step, two daemons.

Each on the real ports and a local EDGAR; kill -9 is in `test_onboarding_killed.py`. After each fault the day is finished
by the next ticks, and compared with what the server published.
"""

from __future__ import annotations

import io
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.times import EASTERN
from resources.object_store import DirectoryObjectStore, S3ObjectStore
from tests.onboarding_world import ServerProcess, SharedClock, World, expected
from tests.servers.edgar import BAN_SECONDS, EdgarServer
from tests.servers.edgar_filings import Filing, Party
from tests.servers.wire import RESETS

DAY = date(2026, 3, 3)
APPLE = Party("0000320193", "Apple Inc.", "Filer")


def at(hour: int, minute: int = 0, day: int = 3) -> datetime:
    """A time of March 2026, Eastern, as UTC."""
    return datetime(2026, 3, day, hour, minute, tzinfo=EASTERN).astimezone(timezone.utc)


FILINGS = tuple(
    Filing(f"0000320193-26-{number:06d}", "8-K", DAY, at(10) + timedelta(minutes=30 * number), (APPLE,), size="300 KB")
    for number in range(12)
)
EVENING, MORNING = at(17), at(6, 30, day=4)


@pytest.fixture
def clock() -> SharedClock:
    return SharedClock(EVENING)


@pytest.fixture
def server(clock: SharedClock) -> Iterator[EdgarServer]:
    with EdgarServer(FILINGS, clock=clock, seed=5) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, server: EdgarServer, clock: SharedClock) -> World:
    return World("edgar", tmp_path, server.url, clock)


def finish(world: World, server: EdgarServer) -> None:
    """The next morning's runs: all is there, once, and proved, and another run adds nothing."""
    world.clock.advance_to(MORNING)
    world.tick(DAY)
    assert world.prove(DAY) is not None, world.lines
    assert [claim.filings for claim in world.ledger.completions("edgar")] == [len(FILINGS)], world.lines
    findings = world.findings(expected(server))
    assert not findings, findings
    assert {row["state"] for row in world.lake_rows()} == {"published"}
    before = world.state()
    world.tick(DAY)
    assert world.state() == before


def is_one_sentence_with_a_remedy(error: BaseException) -> bool:
    text = str(error)
    return "\n" not in text and "nothing is lost" in text and text.endswith(("again", "again in some minutes"))


# ------------------------------------------------------------------------------------------------------- a full disk


class FullAfter:
    """A disk that has room for so many more writes of the store; then each fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        real = os.fdopen

        def fdopen(handle: int, mode: str):
            stream = real(handle, mode)
            if mode == "wb":
                stream = _Writer(stream, self)
            return stream

        monkeypatch.setattr("resources.object_store.os.fdopen", fdopen)


class _Writer:
    def __init__(self, stream: io.BufferedWriter, disk: FullAfter) -> None:
        self._stream, self._disk = stream, disk

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, block: bytes) -> int:
        self._disk.room -= 1
        if self._disk.room < 0:
            raise OSError(28, "No space left on device")
        return self._stream.write(block)


def test_a_disk_that_is_full_at_any_write_of_a_body_loses_nothing(
    tmp_path: Path, server: EdgarServer, clock: SharedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more body fits each time, until all do; a store that was full for hours sets no filing aside."""
    world = World("edgar", tmp_path, server.url, clock)
    for room in (0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4):
        disk = FullAfter(monkeypatch, room)
        with pytest.raises(LedgerlineError, match="No space left") as caught:
            world.tick(DAY)
        assert is_one_sentence_with_a_remedy(caught.value)
        assert not world.findings(expected(server), whole=False)
        clock.sleep(600)
        monkeypatch.undo()
    assert disk.room < 0
    assert len(world.stored()) == 10
    finish(world, server)


def test_a_full_disk_below_the_bodies_under_way_loses_nothing(tmp_path: Path, clock: SharedClock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EdgarServer(FILINGS, clock=clock, seed=5, large={FILINGS[5].accession: 3_000_000}) as server:
        world = World("edgar", tmp_path, server.url, clock)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))  # the ledger's file is smaller
        try:
            with pytest.raises(LedgerlineError, match="TMPDIR") as caught:
                world.tick(DAY)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert is_one_sentence_with_a_remedy(caught.value)
        assert len(world.lake_rows()) == 5
        finish(world, server)


def test_a_ledger_whose_disk_is_full_for_hours_loses_nothing(world: World, server: EdgarServer) -> None:
    """Its file may grow by no page, then by one, and so on until a tick comes to its end."""
    from sqlalchemy import event

    engine = world.ledger._open()
    with engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    pages = [0] * 7 + list(range(1, 40))  # more often than a filing may kill its worker
    failed = 0
    for more in pages:

        def limit(connection, most: int = used + more) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

        event.listen(engine, "begin", limit)
        try:
            world.tick(DAY)
        except LedgerlineError as error:
            assert "full" in str(error)  # noqa: PT017 - it comes to an end at some number
            assert is_one_sentence_with_a_remedy(error)  # noqa: PT017
            failed += 1
        event.remove(engine, "begin", limit)
        assert not world.findings(expected(server), whole=False)
        world.clock.sleep(600)
        if failed == 0 or len(world.lake_rows()) == len(FILINGS):
            break
    assert failed >= 8
    engine.dispose()
    finish(world, server)


# ------------------------------------------------------------------------------------------------ a locked database


@contextmanager
def another_process_holds(ledger_file: Path) -> Iterator[None]:
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(ledger_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    yield
    holder.kill()
    holder.communicate()


def gives_up_soon(world: World, *, when: Callable[[], bool]) -> None:
    """Let the ledger wait for a writer 0.1 s instead of 30 where somebody holds its file: for no other reason, since its own
    threads may be slower than that on a busy machine."""
    from sqlalchemy import event

    def patience(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={100 if when() else 30_000}")

    event.listen(world.ledger._open(), "checkout", patience)


def test_a_ledger_that_another_process_holds_for_too_long_is_one_sentence_and_nothing_is_lost(
    world: World, server: EdgarServer, tmp_path: Path
) -> None:
    gives_up_soon(world, when=lambda: True)
    with another_process_holds(tmp_path / "ledger.db"):
        with pytest.raises(LedgerlineError, match=r"locked.*end the process that is stuck") as caught:
            world.tick(DAY)
        assert is_one_sentence_with_a_remedy(caught.value)
    finish(world, server)


@pytest.mark.parametrize("answers", [1, 2, 5, 9])
def test_a_ledger_that_is_locked_in_the_middle_of_a_tick_loses_nothing(
    world: World, server: EdgarServer, tmp_path: Path, answers: int
) -> None:
    left = [answers]
    holder: list[sqlite3.Connection] = []
    gives_up_soon(world, when=lambda: bool(holder))
    real = server.answer

    def answer(request, fault):
        left[0] -= 1
        if left[0] == 0:
            holder.append(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False))
            holder[0].execute("BEGIN IMMEDIATE")
        return real(request, fault)

    server.answer = answer  # type: ignore[method-assign]
    with pytest.raises(LedgerlineError, match="locked"):
        world.tick(DAY)
    holder.pop().close()
    assert not world.findings(expected(server), whole=False)
    finish(world, server)


# ------------------------------------------------------------------------------------- stores that refuse


class Refusing:
    """A port of which one method fails the first `times` times that it is called, after `good` good calls."""

    def __init__(self, port: object, method: str, error: Exception, *, good: int, times: int) -> None:
        self._port, self._method, self._error, self._good, self._times = port, method, error, good, times

    def __getattr__(self, name: str):
        method: Callable = getattr(self._port, name)
        if name != self._method:
            return method

        def call(*given, **named):
            self._good -= 1
            if self._good < 0 < self._times:
                self._times -= 1
                raise self._error
            return method(*given, **named)

        return call


@pytest.mark.parametrize("good", range(5))
@pytest.mark.parametrize(
    ("port", "method", "error"),
    [
        ("objects", "put_file", LedgerlineError("S3 refuses s3://b/k (SlowDown); nothing is lost: run this again")),
        ("objects", "put_file", ConfigurationError("S3 denies access to s3://b/k")),
        ("lake", "merge", OSError(28, "No space left on device")),
    ],
    ids=["slow_down", "permission", "lake_full"],
)
def test_a_store_that_refuses_for_an_hour_loses_nothing_and_keeps_what_it_took(
    world: World, server: EdgarServer, port: str, method: str, error: Exception, good: int
) -> None:
    refusing = Refusing(getattr(world, port), method, error, good=good, times=14)
    setattr(world, port, refusing)
    for _ in range(7):
        try:
            world.tick(DAY, batch_filings=3)
        except (LedgerlineError, OSError) as raised:
            assert raised is error  # noqa: PT017 - the lake may have what is refused the first times
        world.clock.sleep(600)
    setattr(world, port, refusing._port)
    assert not world.findings(expected(server), whole=False)
    finish(world, server)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir(mode=0o500)
    with pytest.raises(LedgerlineError, match="let it be written to") as caught:
        DirectoryObjectStore(root=str(tmp_path / "objects")).put("s3://b/x", b"x")
    assert is_one_sentence_with_a_remedy(caught.value)


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable", "InternalError"])
def test_s3_that_refuses_is_one_sentence(code: str) -> None:
    from botocore.exceptions import ClientError

    class Client:
        def put_object(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": code}}, "PutObject")

    store = S3ObjectStore()
    store._client = Client()
    with pytest.raises(LedgerlineError, match=code) as caught:
        store.put("s3://b/x", b"x")
    assert is_one_sentence_with_a_remedy(caught.value)


# ------------------------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize("off", [timedelta(hours=-1), timedelta(hours=15)], ids=["back_1h", "forward_15h"])
@pytest.mark.parametrize("inside", [False, True], ids=["between_polls", "inside_a_poll"])
def test_a_clock_that_steps_makes_no_day_complete_and_loses_nothing(
    world: World, server: EdgarServer, off: timedelta, inside: bool
) -> None:
    if inside:
        answers = [0]
        real = server.answer

        def answer(request, fault):
            answers[0] += 1
            if answers[0] == 4:
                world.clock.step(off)
            return real(request, fault)

        server.answer = answer  # type: ignore[method-assign]
    else:
        world.clock.set(at(13))
        world.tick(DAY)
        world.clock.set(EVENING)
        world.clock.step(off)
    for _ in range(3):
        world.tick(DAY)
        world.prove(DAY)
        world.clock.sleep(600)
    world.clock.set(at(22, 40))  # the index is there, and may still grow
    world.tick(DAY)
    world.prove(DAY)
    assert world.ledger.completions("edgar") == []
    world.clock.step(timedelta(0))
    finish(world, server)


def test_what_waits_by_a_clock_that_was_wrong_waits_no_longer_than_the_longest_delay(
    world: World, server: EdgarServer
) -> None:
    server.misbehave("not_yet", where=FILINGS[2].accession, times=1)
    world.clock.step(timedelta(hours=15))
    world.tick(DAY)
    world.clock.step(timedelta(0))
    world.clock.sleep(600)
    world.tick(DAY)
    row = world.ledger.row("edgar", FILINGS[2].accession)
    assert row is not None
    assert row.state == "published"


def test_a_poll_by_a_clock_that_was_ahead_does_not_shorten_the_next_ones(tmp_path: Path, clock: SharedClock) -> None:
    """A page that failed while the clock was right again is read by the next poll, whatever the poll before noted."""
    many = tuple(
        Filing(
            f"0000320193-26-{number:06d}", "8-K", DAY, at(10) + timedelta(seconds=30 * number), (APPLE,), size="9 KB"
        )
        for number in range(400)
    )
    clock.set(at(10, 30))
    with EdgarServer(many, clock=clock, seed=5) as server:
        world = World("edgar", tmp_path, server.url, clock)
        clock.step(timedelta(hours=15))
        world.tick(DAY)
        clock.step(timedelta(0))
        clock.set(at(14, 30))
        server.misbehave("unavailable", where="start=100", times=1)
        world.tick(DAY)
        world.tick(DAY)
        found = world.findings(expected(server))
        assert not found, found.lost[:3]


def test_a_read_of_a_day_of_the_past_does_not_say_that_the_feed_was_read(world: World) -> None:
    world.onboard(DAY - timedelta(days=20))
    assert world.ledger.watermark("edgar") is None


# ------------------------------------------------------------------------------------------------------ daemons


def test_two_daemons_at_once_have_one_result(tmp_path: Path) -> None:
    clock = SharedClock(EVENING)
    with ServerProcess(lambda: EdgarServer(FILINGS, clock=clock, seed=5)) as server:
        command = [sys.executable, "-m", "tests.integration.test_onboarding_faults", str(tmp_path), server.url]
        root = Path(__file__).resolve().parents[2]
        daemons = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for daemon in daemons:
            _, errors = daemon.communicate(timeout=120)
            assert daemon.returncode == 0, errors
        truth = server.do(expected)
        world = World("edgar", tmp_path, server.url, clock)
        assert not world.findings(truth), world.findings(truth)
        assert len(world.stored()) == len(FILINGS)
        clock.set(MORNING)
        world.tick(DAY)
        judged = world.prove(DAY)
        assert judged is not None
        assert judged.complete


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("where", ["browse-edgar", FILINGS[3].accession, "master."])
@pytest.mark.parametrize(
    ("kind", "times"),
    [(kind, 5) for kind in sorted({*RESETS, "truncated", "cut_gzip"})] + [("cut", 2), ("header_only", 2)],
)
def test_a_connection_that_breaks_at_any_byte_loses_nothing(
    world: World, server: EdgarServer, kind: str, times: int, where: str
) -> None:
    """More often than a request is made anew, so that the tick itself meets it; a whole answer that is cut off is not."""
    world.clock.set(at(22, 40))
    server.misbehave(kind, where=where, times=times)
    for _ in range(4):
        world.tick(DAY)
        assert not world.findings(expected(server), whole=False)
        world.clock.sleep(600)
    finish(world, server)


@pytest.mark.parametrize("fetchers", [1, 4])
def test_nobody_is_asked_during_a_ban_whichever_process_begins(
    world: World, server: EdgarServer, tmp_path: Path, fetchers: int
) -> None:
    server.misbehave("ban", where=FILINGS[4].accession)
    world.tick(DAY, fetchers=fetchers)
    asked = len(server.asked)
    assert server.asked_while_banned <= fetchers - 1  # those that were on their way when the ban began
    another = World("edgar", tmp_path, server.url, world.clock)
    for one in (world, another, world):
        one.tick(DAY, fetchers=fetchers)
        one.prove(DAY)
        world.clock.sleep(100)
    assert len(server.asked) == asked
    world.clock.sleep(BAN_SECONDS)
    another.tick(DAY)
    assert len(server.asked) > asked
    finish(world, server)


if __name__ == "__main__":
    folder, url = sys.argv[1:]
    World("edgar", Path(folder), url, SharedClock(EVENING)).onboard(DAY, batch_filings=2)
