"""A whole day of EDGAR through all states: `python -m benchmarks.onboard_day [--archive DIR] [--body-scale X]`.

The 5,100 rows of a real feed walk (3,300 and more accessions), or those of the sample archive where real filings are
not at hand, are served by a local EDGAR in a process of its own, over HTTP. They are onboarded on SQLite, Delta and
folders, every object synced to disk. Bodies are the archive's where it has them, and generated to the real size
otherwise, times `--body-scale`: 0.02 is some 60 MB, 1.0 some 3 GB.
Time is virtual: what the rate lease would make the client wait is not waited. `lease_s` is what the requests take at the
lease's rate, `share_outside_lease` = seconds / (seconds + lease_s) the share of a day's work that is ours, as if none of
it overlapped. Then a tick with nothing new, of today and of the day whose index is there (it is read whole), and one
filing of 250 MB in a process of its own. `peak_rss_mb` is of the onboarding process. `peak_rss_mb_250mb_filing` is its
process's peak until the body is fetched, checked, kept and known to the ledger; the first write of the lake then maps
pandas and delta-rs, which costs some 90 MB more whatever the size of the filing (`rss_of_250mb_over_25kb`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from ledgerline.filings.ports import Parsed
from ledgerline.filings.records import Source
from resources.filing_ledger import SqlFilingLedger
from resources.object_store import DirectoryObjectStore
from resources.regulators import EDGAR_PER_SECOND
from sample.generate_archive import ensure_archive
from tests.onboarding_world import ServerProcess, SharedClock, World, closes, expected
from tests.servers.edgar import EdgarServer
from tests.servers.edgar_filings import Filing, Party, archive_filings, real_walk_filings
from tests.shared_data import find_shared_data

LARGE = 250_000_000
LARGE_AT = datetime(2026, 3, 3, 15, 0, tzinfo=timezone.utc)


def served(archive: Path | None, sample: Path, clock: SharedClock, body_scale: float) -> EdgarServer:
    """The walk's server; sets the clock to the end of the walk."""
    filings = real_walk_filings(archive) if archive else archive_filings(ensure_archive(sample))
    clock.set(max(one.accepted_at for one in filings) + timedelta(minutes=2))
    return EdgarServer(filings, clock=clock, seed=1, body_scale=body_scale)


def last_day(server: EdgarServer) -> date:
    return max(one.filed for one in server.truth(by=server.clock()).values())


def asked(server: EdgarServer) -> int:
    return len(server.asked)


def peak_mb() -> float:
    """The most that this process had resident. Linux's rusage would tell that of its parent too."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def a_world(folder: Path, url: str, clock: SharedClock) -> World:
    world = World("edgar", folder, url, clock)
    world.objects = DirectoryObjectStore(root=str(folder / "objects"))  # each object is synced to disk
    return world


def whole_day(archive: Path | None, folder: Path, body_scale: float) -> dict[str, Any]:
    clock = SharedClock(LARGE_AT)
    with ServerProcess(lambda: served(archive, folder / "sample", clock, body_scale)) as server:
        day = server.do(last_day)
        world = a_world(folder, server.url, clock)
        world.ledger.counts()  # makes the tables
        requests, started, cpu = server.do(asked), time.perf_counter(), time.process_time()
        size = world.onboard(day).bytes
        clock.advance_to(
            closes("edgar", day)
        )  # the next morning: the index, with what no page of the feed had any more
        size += world.onboard(day).bytes
        while due := world.ledger.pending_days(
            "edgar", due_at=clock.client()
        ):  # the days before, and what is served late
            size += sum(world.onboard(one).bytes for one in due)
            clock.sleep(600)
        seconds, cpu, requests = time.perf_counter() - started, time.process_time() - cpu, server.do(asked) - requests
        peak = peak_mb()
        before = server.do(asked)
        started = time.perf_counter()
        world.onboard(day + timedelta(days=1))
        tick, tick_requests = time.perf_counter() - started, server.do(asked) - before
        started = time.perf_counter()
        world.onboard(day)
        tick_with_index = time.perf_counter() - started
        tick_with_index_requests = server.do(asked) - before - tick_requests
        findings = world.findings(server.do(expected))
        filings = len(world.lake_rows())
    for line in (findings.lost + findings.doubled + findings.wrong)[:10]:
        print(line, file=sys.stderr)
    lease = requests / EDGAR_PER_SECOND
    return {
        "filings": filings,
        "lost": len(findings.lost),
        "doubled": len(findings.doubled),
        "wrong": len(findings.wrong),
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu, 2),
        "filings_per_s": round(filings / seconds, 1),
        "requests": requests,
        "lease_s": round(lease, 1),
        "share_outside_lease": round(seconds / (seconds + lease), 4),
        "bytes": size,
        "body_scale": body_scale,
        "peak_rss_mb": peak,
        "tick_s": round(tick, 4),
        "tick_requests": tick_requests,
        "tick_with_index_s": round(tick_with_index, 4),
        "tick_with_index_requests": tick_with_index_requests,
    }


class Watched(SqlFilingLedger):
    """Notes what the process had used at its most when a body was kept and known; the lake comes next."""

    _peak: float = PrivateAttr(default=0.0)

    def parsed_many(self, source: Source, items: Sequence[Parsed]) -> None:
        super().parsed_many(source, items)
        self._peak = peak_mb()


def one_large(folder: Path, size: int) -> dict[str, Any]:
    """A single filing of `size` bytes; the server is forked first and counts for itself."""
    apple = Party("0000320193", "Apple Inc.", "Filer")
    filing = Filing("0000320193-26-000001", "10-K", LARGE_AT.date(), LARGE_AT, (apple,))
    clock = SharedClock(LARGE_AT + timedelta(hours=1))
    with ServerProcess(lambda: EdgarServer([filing], clock=clock, large={filing.accession: size})) as server:
        world = a_world(folder, server.url, clock)
        ledger = world.ledger = Watched(url=world.ledger.url)
        started = time.perf_counter()
        report = world.onboard(filing.filed)
        return {
            "published": report.published,
            "bytes": report.bytes,
            "seconds": round(time.perf_counter() - started, 2),
            "peak_rss_mb_kept": ledger._peak,
            "peak_rss_mb": peak_mb(),
        }


def in_a_process(size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.onboard_day", "--large", str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--archive", type=Path, help="the unpacked folder of real filings")
    parser.add_argument("--body-scale", type=float, default=0.02)
    parser.add_argument("--large", type=int, help="only one filing of so many bytes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledgerline-onboard-day-") as folder:
        if arguments.large:
            print(json.dumps(one_large(Path(folder), arguments.large)))
            return
        archive = arguments.archive or find_shared_data("filings")
        report = whole_day(archive, Path(folder), arguments.body_scale)
    large, small = in_a_process(LARGE), in_a_process(LARGE // 10_000)
    report |= {
        "peak_rss_mb_250mb_filing": large["peak_rss_mb_kept"],
        "peak_rss_mb_250mb_filing_and_lake": large["peak_rss_mb"],
        "rss_of_250mb_over_25kb": round(large["peak_rss_mb"] - small["peak_rss_mb"], 1),
        "seconds_250mb_filing": large["seconds"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
