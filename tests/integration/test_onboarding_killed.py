"""A day is onboarded by processes that are killed with SIGKILL at every step boundary, one after the other.

The boundaries of a small day are counted in a dry run. Then for each of them a process is killed there, and the next
one finishes the day: nothing is lost, doubled or claimed complete that is not, and one more run adds nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

from ledgerline.filings.times import EASTERN
from tests.kill_points import Points, forked, hook, warm
from tests.onboarding_world import SharedClock, World, expected
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import Filing, Party

WORKERS = 2
DAY = date(2026, 3, 3)
APPLE = Party("0000320193", "Apple Inc.", "Filer")
COOK = Party("0001214156", "COOK TIMOTHY D", "Reporting")
ISSUER = Party("0000320193", "Apple Inc.", "Issuer")


def at(hour: int, minute: int = 0, day: int = 3) -> datetime:
    """A time of March 2026, Eastern, as UTC."""
    return datetime(2026, 3, day, hour, minute, tzinfo=EASTERN).astimezone(timezone.utc)


def filing(number: int, form: str, accepted: datetime, *rows: Party, **more) -> Filing:
    return Filing(f"0000320193-26-{number:06d}", form, DAY, accepted, rows or (APPLE,), size="400 KB", **more)


FILINGS = (
    filing(1, "4", at(9, 30), COOK, ISSUER),
    filing(2, "10-Q", at(9, 40)),  # is served with other bytes later
    filing(3, "6-K", at(9, 50)),  # is cut off, and refused in the end
    filing(4, "10-K", at(16, 20), in_feed=False),
    filing(5, "10-K/A", at(21, 30)),
)
CHANGED, CUT = FILINGS[1].accession, FILINGS[2].accession
# A poll of the feed, the evening's with the index, and the next morning's that reads bodies again and proves the day.
TICKS = (at(10), at(22, 30), at(6, 30, day=4))


def live(
    folder: Path, first: int, *, late: timedelta = timedelta(0), begin: Callable[[int, World], None] | None = None
) -> World:
    """A process: the ticks from `first` on, over HTTP; the first of them is `late`. Ends with a claim, or dies."""
    clock = SharedClock(TICKS[first])
    server = a_server(clock).__enter__()  # for as long as the process lives
    world = World("edgar", folder, server.url, clock)
    for number in range(first, len(TICKS)):
        if begin:
            begin(number, world)
        clock.set(TICKS[number] + (late if number == first else timedelta(0)))
        last = number == len(TICKS) - 1
        world.tick(DAY, batch_filings=2, recheck=last)
        if last:
            world.prove(DAY)
    return world


def a_server(clock: SharedClock) -> EdgarServer:
    server = EdgarServer(FILINGS, clock=clock, seed=5)
    server.change_body(CHANGED, at(23))
    server.misbehave("cut", where=CUT, times=None)
    return server


TRUTH = expected(a_server(SharedClock(TICKS[0])))


def count(folder: Path) -> None:
    """The dry run: writes `boundaries.json`, per tick its boundaries, and beside it what is there as a tick begins."""
    points, begun = Points(), []
    hook(points)

    def begin(tick: int, world: World) -> None:
        begun.append(len(points.labels))
        world.close()
        shutil.copytree(world.folder, folder / str(tick))

    (folder / "dry").mkdir()
    world = live(folder / "dry", 0, begin=begin)
    begun.append(len(points.labels))
    assert_whole(world)
    parts = [points.labels[start:end] for start, end in pairwise(begun)]
    (folder / "boundaries.json").write_text(json.dumps(parts))


def die(folder: Path, tick: int, boundary: int) -> None:
    hook(Points(kill_at=boundary))
    live(folder, tick)


def recover(folder: Path, tick: int) -> None:
    """The next process. What the killed one left may be too little, and never a false claim."""
    left = World("edgar", folder, "", SharedClock(TICKS[-1]))
    assert left.false_claims(TRUTH) == []
    assert_whole(live(folder, tick, late=timedelta(minutes=5)))


def assert_whole(world: World) -> None:
    """All is there, once, and proved; another run adds nothing, not even a version of the table."""
    findings = world.findings(TRUTH)
    assert not findings, findings
    assert [claim.day for claim in world.ledger.completions("edgar")] == [DAY], world.lines
    states = {row["filing_id"][-1]: (row["reason"] or row["state"], row["version"]) for row in world.lake_rows()}
    assert states == {**dict.fromkeys("145", ("published", 1)), "2": ("published", 2), "3": ("truncated", 1)}
    before = world.state()
    world.clock.sleep(1200)
    world.tick(DAY, recheck=True)
    assert world.state() == before
    assert world.prove(DAY).complete  # type: ignore[union-attr]


def kill_everywhere(folder: Path, worker: int) -> None:
    """Every WORKERS-th boundary, each in a copy of what was there as its tick began; one line of JSON per boundary."""
    parts = json.loads((folder / "boundaries.json").read_text())
    boundaries = [(tick, number, label) for tick, part in enumerate(parts) for number, label in enumerate(part)]
    for tick, number, label in boundaries[worker::WORKERS]:
        place = folder / f"{tick}-{number}"
        shutil.copytree(folder / str(tick), place)
        killed = forked(lambda place=place, tick=tick, number=number: die(place, tick, number))
        recovered = forked(lambda place=place, tick=tick: recover(place, tick))
        print(json.dumps([f"tick {tick}, boundary {number}, {label}", killed, recovered]), flush=True)
        shutil.rmtree(place)


def run(step: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own, whose bodies under way are left below the folder, too."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.test_onboarding_killed", step, str(folder), *arguments],
        cwd=Path(__file__).resolve().parents[2], env={**os.environ, "TMPDIR": str(folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_whatever_the_step_at_which_a_process_is_killed_the_next_one_finishes_the_day_once(tmp_path: Path) -> None:
    counting = run("count", tmp_path)
    _, errors = counting.communicate(timeout=60)
    assert counting.returncode == 0, errors
    parts = json.loads((tmp_path / "boundaries.json").read_text())
    labels = Counter(label for part in parts for label in part)
    assert len(labels) == 9, labels
    assert min(labels.values()) >= 4, labels
    workers = [run("kill", tmp_path, str(worker)) for worker in range(WORKERS)]
    outcomes = []
    for worker in workers:
        printed, errors = worker.communicate(timeout=280)
        lines = [json.loads(line) for line in printed.splitlines()]
        assert [line for line in lines if line[1:] != [-signal.SIGKILL, 0]] == [], errors
        outcomes += lines
    assert len(outcomes) == labels.total()


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count(Path(sys.argv[2]))
    else:
        warm()
        kill_everywhere(Path(sys.argv[2]), int(sys.argv[3]))
