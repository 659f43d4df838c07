"""Random faults over virtual days: `python -m benchmarks.onboarding_faults --minutes N [--seed S] [--filings N]`.

Each run is a virtual day of EDGAR, or every fourth time of DART, on a real SQLite ledger, Delta tables and folders, asked
by one process after the other over HTTP: real ones, that are forked, that are killed with SIGKILL at a random step, and
begin anew. Meanwhile the server bans, fails, resets and cuts; the disk of the store or the ledger is full; another
process holds the ledger; the lake refuses; the clock steps; two daemons work at once. Every day ends with fault-free
ticks, and is then compared with what the server published: `lost`, `doubled`, `wrong` (bytes, companies, times) and
`false_completeness` must be 0. The last is looked for after every process, too. `asked_while_banned` counts requests that
the server got during a ban: those on their way when it began, and those of a process whose clock was 15 h ahead.
The same seed draws the same days and faults; how threads are scheduled is not drawn.
A line of progress every 10 s; the last line is a flat JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ledgerline.errors import LedgerlineError
from ledgerline.filings.records import Source
from tests.kill_points import Points, forked, hook, warm
from tests.onboarding_world import ZONES, Expected, ServerProcess, SharedClock, World, closes, expected
from tests.servers.dart import KEY, DartServer, korean_reports
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import Filing, a_day_of_filings, thinned
from tests.servers.wire import RESETS

PROGRESS_SECONDS = 10
DART_EVERY = 4
KOREAN_DAY = date(2026, 3, 3)
NETWORK = (*sorted(RESETS), "truncated", "cut_gzip", "gzip_unasked", "page_shift")
OF_EDGAR = ("ban", "throttled_429", "unavailable", "unavailable_gzip", "not_yet", "cut", "header_only", "empty_page")
OF_DART = ("dart_800", "dart_900", "dart_014", "quota")
# Faults of the machine on which a process runs; each process gets one of them.
OF_MACHINE = ("kill", "kill", "kill", "kill", "store_full", "ledger_full", "ledger_locked", "lake_refuses", "clock_back",
    "clock_forward", "two_daemons", "none", "none")  # fmt: skip
PROCESSES = 6  # with faults, over the day
BUSY_SECONDS = 0.2


class Day:
    """A virtual day with its server's process, its truth, and the moments between which processes live."""

    def __init__(self, source: Source, filings: tuple[Filing, ...], folder: Path, seed: int) -> None:
        self.source: Source = source
        self.folder = folder
        self.random = random.Random(seed)
        self.day = KOREAN_DAY if source == "dart" else max(one.filed for one in filings)
        self.start = datetime.combine(self.day, datetime.min.time(), ZONES[source]).astimezone(timezone.utc)
        self.clock = SharedClock(self.start + timedelta(hours=6))
        self.server = ServerProcess(lambda: self._make(filings, seed))
        self.truth: dict[str, Expected] = self.server.do(expected)
        self.faults: Counter[str] = Counter()

    def _make(self, filings: tuple[Filing, ...], seed: int) -> EdgarServer | DartServer:
        if self.source == "dart":
            reports = korean_reports([self.day], per_day=30, seed=seed, without_document=0.0)
            return DartServer(reports, clock=self.clock, seed=seed)
        habits: dict[str, Any] = {
            "feed_misses": 0.05,
            "late_rows": 0.1,
            "late_bodies": 0.2,
            "changed": 0.05,
            "letters": 1,
        }
        return EdgarServer(filings, clock=self.clock, seed=seed, body_scale=0.0005, **habits)

    def world(self) -> World:
        return World(self.source, self.folder, self.server.url, self.clock, key=KEY, busy_seconds=BUSY_SECONDS)

    def arm(self, kind: str) -> None:
        """A fault of the network or the regulator, on one to six requests, or a quarter of an hour of it."""
        arguments: dict[str, Any] = {"kind": kind, "times": self.random.randint(1, 6)}
        if kind in ("ban", "quota"):
            arguments["times"] = 1
        elif kind in ("cut", "header_only"):  # such a body is refused when it is served again and again
            arguments |= {"times": 1, "where": "/Archives/edgar/data/"}
        self.faults[kind] += 1
        self.server.do(_Arm(arguments))


class _Arm:
    """Something for the server's process to do: arm a fault."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments

    def __call__(self, server: Any) -> None:
        server.misbehave(**self.arguments)


def disarm(server: Any) -> None:
    server.faults.clear()
    server.banned_until = None


def asked_while_banned(server: Any) -> int:
    return int(getattr(server, "asked_while_banned", 0) + getattr(server, "asked_over_quota", 0))


def live(day: Day, until: datetime) -> None:
    """A process without faults of its own: ticks until then, whatever the regulator does."""
    world = day.world()
    for _ in world.live(until):
        pass


def killed(day: Day, until: datetime, at: int) -> None:
    hook(Points(kill_at=at), in_turn=False)
    live(day, until)


def with_full_store(day: Day, until: datetime, room: int) -> None:
    world = day.world()
    left = [room]
    put = world.objects.put_file

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(world_objects, name)

        def put_file(self, uri: str, path: Path) -> str:
            left[0] -= 1
            if left[0] < 0:
                raise LedgerlineError("the store is full")
            return put(uri, path)

    world_objects, world.objects = world.objects, Full()  # type: ignore[assignment]
    _through_errors(world, until)


def with_refusing_lake(day: Day, until: datetime, good: int) -> None:
    world = day.world()
    left = [good]
    lake = world.lake

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(lake, name)

        def merge(self, *given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return lake.merge(*given, **named)

    world.lake = Refusing()  # type: ignore[assignment]
    _through_errors(world, until)


def with_full_ledger(day: Day, until: datetime, pages: int) -> None:
    from sqlalchemy import event

    world = day.world()
    engine = world.ledger._open()
    with engine.connect() as connection:
        most = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + pages

    @event.listens_for(engine, "begin")
    def limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={most}")

    _through_errors(world, until)


def with_locked_ledger(day: Day, until: datetime, answers: int) -> None:
    """From some answer on another connection holds the ledger, until an hour later."""
    world = day.world()
    world.ledger.counts()
    left = [answers]
    holder = sqlite3.connect(day.folder / "ledger.db", isolation_level=None, check_same_thread=False)
    asker = world.regulator._asker
    ask = asker._ask

    def locking(*given: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            with suppress(sqlite3.OperationalError):
                holder.execute("BEGIN IMMEDIATE")
        return ask(*given)

    asker._ask = locking  # type: ignore[assignment,method-assign]
    _through_errors(world, until, after_each=lambda: holder.in_transaction and holder.execute("ROLLBACK"))


def _through_errors(world: World, until: datetime, after_each: Callable[[], object] = lambda: None) -> None:
    """Ticks whose errors are sentences: a schedule begins the next one all the same."""
    while world.clock() < until:
        try:
            for _ in world.live(until):
                pass
        except (LedgerlineError, OSError):
            world.clock.sleep(600)
        after_each()


def two_daemons(day: Day, until: datetime) -> None:
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _through_errors(day.world(), until)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0, 0], codes


def a_process(day: Day, kind: str, until: datetime) -> None:
    """Run one process with a fault of its machine. Raises AssertionError where it ends as none may."""
    chance = day.random
    number = int(chance.expovariate(1 / 60))
    work: dict[str, Callable[[], object]] = {
        "kill": lambda: killed(day, until, number),
        "store_full": lambda: with_full_store(day, until, number % 8),
        "ledger_full": lambda: with_full_ledger(day, until, number % 6),
        "ledger_locked": lambda: with_locked_ledger(day, until, 1 + number % 30),
        "lake_refuses": lambda: with_refusing_lake(day, until, number % 3),
        "two_daemons": lambda: two_daemons(day, until),
    }
    off = {"clock_back": timedelta(hours=-1), "clock_forward": timedelta(hours=15)}.get(kind)
    if off:
        day.clock.step(off)
    code = forked(work.get(kind, lambda: live(day, until)))
    day.clock.step(timedelta(0))
    assert code in (0, -signal.SIGKILL), f"a process with {kind} ended with {code}"
    if kind != "none" and not (kind == "kill" and code == 0):
        day.faults[kind] += 1


def check(day: Day, path: Path, *, whole: bool) -> None:
    world = day.world()
    found = world.findings(day.truth, whole=whole)
    claimed = day.day in {claim.day for claim in world.ledger.completions(day.source)}
    lines = {"lost": found.lost, "doubled": found.doubled, "wrong": found.wrong, "false": found.false_completeness}
    path.write_text(json.dumps({**lines, "claimed": claimed, "filings": len(world.lake_rows())}))


def finish(day: Day) -> None:
    """Ticks without faults until all is settled, then the proof; another run adds nothing."""
    world = day.world()
    day.clock.advance_to(closes(day.source, day.day) + timedelta(minutes=30))
    for _ in range(60):
        world.tick(world.today())
        world.complete(day.day)
        # Not before it is proved: the regulator may refuse everything until its day turns, so that nothing is known yet.
        if world.ledger.completions(day.source, since=day.day) and not world.ledger.pending_days(day.source):
            break
        day.clock.sleep(3600)
    before = world.state()
    world.tick(world.today())
    assert world.state() == before, "another run changed something"


def a_run(day: Day, folder: Path) -> tuple[dict[str, Any], int]:
    """(what is wrong after the whole day, how many false claims were seen on the way)."""
    chance = day.random
    regulator = NETWORK + (OF_DART if day.source == "dart" else OF_EDGAR)
    false, report = 0, folder / "report.json"
    hours = sorted(chance.uniform(6.5, 30.9) for _ in range(PROCESSES))
    for hour in hours:
        for _ in range(chance.randint(0, 3)):
            day.arm(chance.choice(regulator))
        a_process(day, chance.choice(OF_MACHINE), day.start + timedelta(hours=hour))
        assert forked(lambda: check(day, report, whole=False)) == 0
        false += len(json.loads(report.read_text())["false"])
    banned = day.server.do(asked_while_banned)
    day.server.do(disarm)
    assert forked(lambda: _clear(day)) == 0
    assert forked(lambda: finish(day)) == 0, "the day could not be finished"
    assert forked(lambda: check(day, report, whole=True)) == 0
    return {**json.loads(report.read_text()), "banned": banned}, false


def _clear(day: Day) -> None:
    """What a clock that was wrong left behind is over at some time: the ban is lifted, as its end would."""
    with sqlite3.connect(day.folder / "ledger.db") as connection:
        connection.execute("DELETE FROM bans")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filings", type=int, default=40, help="of EDGAR's day; 5000 is all of a real walk")
    parser.add_argument("--runs", type=int, help="so many runs, whatever the time")
    arguments = parser.parse_args()
    warm()
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    ends, said = time.monotonic() + arguments.minutes * 60, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ledgerline-faults-") as temporary:
        root = Path(temporary)
        tempfile.tempdir = temporary  # what killed processes leave of bodies goes with it
        _, whole_day = a_day_of_filings(root / "sample")
        filings = thinned(whole_day, arguments.filings)
        while totals["runs"] < arguments.runs if arguments.runs else time.monotonic() < ends:
            number = totals["runs"]
            source: Source = "dart" if number % DART_EVERY == DART_EVERY - 1 else "edgar"
            folder = root / f"run-{number}"
            (folder / "world").mkdir(parents=True)
            day = Day(source, filings, folder / "world", arguments.seed * 100_003 + number)
            with day.server:
                found, false = a_run(day, folder)
            faults += day.faults
            totals += Counter(
                runs=1,
                filings=found["filings"],
                lost=len(found["lost"]),
                doubled=len(found["doubled"]),
                wrong=len(found["wrong"]),
                false_completeness=false + len(found["false"]),
                days_proved=int(found["claimed"]),
                asked_while_banned=found["banned"],
            )
            for line in (*found["lost"], *found["doubled"], *found["wrong"], *found["false"]):
                print(f"seed {arguments.seed}, run {number}, {source}: {line}", file=sys.stderr, flush=True)
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                print(f"{totals['runs']} runs, {faults.total()} faults, {dict(totals)}", file=sys.stderr, flush=True)
    names = ("runs", "filings", "lost", "doubled", "wrong", "false_completeness", "days_proved", "asked_while_banned")
    report = {"faults": faults.total(), **{name: totals[name] for name in names}, "seed": arguments.seed}
    print(json.dumps(report | {f"faults_{kind}": count for kind, count in sorted(faults.items())}))
    return int(bool(totals["lost"] + totals["doubled"] + totals["wrong"] + totals["false_completeness"]))


if __name__ == "__main__":
    sys.exit(main())
