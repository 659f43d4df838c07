"""What a tick costs against the size of the ledger: `python -m benchmarks.tick_cost [--largest N] [--rounds N]`.

Ledgers of 10 k, 1 M and, with `--largest 10000000`, 10 M filings (about 8 GB in the temporary folder, removed at the
end) hold 3,000 filings a day, all published. Each operation runs on each of them in turn, since a shared machine changes
its speed; a ratio compares the fastest rounds with those of the smallest ledger. `ratio_1m` and `ratio_10m` are of the
worst operation, and a tick with nothing new and one with 20 new filings are operations too: on the real ledger, store
and lake, with a regulator in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import cast

from ledgerline.filings.onboarding import onboard_day
from ledgerline.filings.ports import KnownFilings, Poll, Regulator
from ledgerline.filings.records import FetchedFiling, FilingRef, Party, Source
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore

SMALLEST, MIDDLE = 10_000, 1_000_000
PER_DAY = 3_000
TODAY = date(2026, 3, 3)
NOW = datetime(2026, 3, 3, 21, 0, tzinfo=timezone.utc)
NEW = 20
COMPANY = "0000999999"  # has 20 filings in each ledger
SERIES = "WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < :size) "
# The newest filing is n = size - 1, of TODAY; ids grow with time, as EDGAR's and DART's do on the whole.
FILINGS = f"""
INSERT INTO filings (source, filing_id, day, form, title, state, accepted_at, first_seen_at, available_at, sha256, bytes,
    uri, version, published_version, attempts, etag, period, parser_version, witnesses, published_at)
{SERIES}
SELECT 'edgar', printf('%012d-filing', n), date(:today, (-((:size - 1 - n) / {PER_DAY})) || ' days'),
    CASE n % 5 WHEN 0 THEN '4' WHEN 1 THEN '8-K' WHEN 2 THEN '424B2' WHEN 3 THEN '10-Q' ELSE '6-K' END, '', 'published',
    '2026-03-03 15:00:00.000000', '2026-03-03 15:01:00.000000', '2026-03-03 15:00:30.000000',
    printf('%064x', n * 7919), 90000, printf('s3://ledgerline/filings/edgar/%012d-filing/%016x', n, n * 7919), 1, 1, 0,
    printf('"%032x-gzip"', n), '2025-12-31', '3', 'feed,index', '2026-03-03 15:02:00.000000'
FROM series
"""
VERSIONS = """
INSERT INTO filing_versions (source, filing_id, version, sha256, bytes, uri, available_at, etag)
SELECT source, filing_id, 1, sha256, bytes, uri, available_at, etag FROM filings ORDER BY rowid
"""
PARTIES = f"""
INSERT INTO filing_parties (source, filing_id, position, party_id, name, role)
{SERIES}
SELECT 'edgar', printf('%012d-filing', n), 0,
    CASE WHEN :size - n <= 20 THEN '{COMPANY}' ELSE printf('%010d', n * 7919 % 400000) END, 'Company ' || n, 'Filer'
FROM series
"""
SECOND_PARTIES = """
INSERT INTO filing_parties (source, filing_id, position, party_id, name, role)
SELECT source, filing_id, 1, printf('%010d', rowid * 104729 % 400000), 'Owner ' || rowid, 'Reporting'
FROM filings WHERE form = '4' ORDER BY rowid
"""


def build(folder: Path, size: int) -> SqlFilingLedger:
    """A ledger of `size` filings, written by SQLite itself from a series, its indexes last."""
    path = folder / f"ledger-{size}.db"
    ledger = SqlFilingLedger(url=f"sqlite:///{path}")
    ledger.counts(since=TODAY)
    ledger._open().dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''").fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        values = {"size": size, "today": TODAY.isoformat()}
        connection.execute("BEGIN")
        for statement in (FILINGS, VERSIONS, PARTIES, SECOND_PARTIES):
            connection.execute(statement, values)
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    return ledger


class InMemory:
    """A regulator whose newest page has 100 known filings, and as many new ones as it is told."""

    source: Source = "edgar"
    live = True

    def __init__(self, size: int) -> None:
        self.refs = [self._ref(f"{number:012d}-filing") for number in range(size - 100, size)]
        self.made = 0

    def _ref(self, filing_id: str) -> FilingRef:
        return FilingRef("edgar", filing_id, TODAY, "8-K", (Party("0000320193", "Apple Inc.", "Filer"),), NOW)

    def publish(self, count: int) -> None:
        fresh = [self._ref(f"{10**11 + self.made + number}-new") for number in range(count)]
        self.made += count
        self.refs = [*fresh, *self.refs][:100]

    def days(self) -> list[date]:
        return [TODAY]

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        known.known("edgar", [ref.filing_id for ref in self.refs])
        return Poll({"feed": self.refs}, pages=1)

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling:
        body = (
            f"<SEC-DOCUMENT>{ref.filing_id}.txt : 20260303\n<SEC-HEADER>a\n<ACCEPTANCE-DATETIME>20260303100000\n"
            f"ACCESSION NUMBER:\t\t{ref.filing_id}\nCONFORMED SUBMISSION TYPE:\t8-K\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>8-K\n"
            "<TEXT>\nGenerated text of a benchmark.\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"
        ).encode()
        into.write_bytes(body)
        return FetchedFiling(ref, into, len(body), hashlib.sha256(body).hexdigest(), NOW, None)


class Subject:
    """A ledger with its operations by name."""

    def __init__(self, folder: Path, size: int) -> None:
        started = time.perf_counter()
        self.size = size
        self.ledger = build(folder, size)
        self.regulator = InMemory(size)
        self.objects = DirectoryObjectStore(root=str(folder / f"objects-{size}"), durable=False)
        self.lake = DeltaLake(root=str(folder / f"lake-{size}"))
        self.seconds: dict[str, list[float]] = {}
        print(f"ledger of {size}: built in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)

    def operations(self) -> dict[str, Callable[[], object]]:
        since = TODAY - timedelta(days=3)
        return {
            "tick_nothing_new": self.tick,
            "tick_20_new": self.tick_with_new,
            "pending": lambda: self.ledger.pending("edgar", TODAY, due_at=NOW),
            "pending_days": lambda: self.ledger.pending_days("edgar", due_at=NOW),
            "unpublished": lambda: self.ledger.unpublished("edgar", TODAY),
            "counts": lambda: self.ledger.counts(since=since),
            "rows": lambda: self.ledger.rows("edgar", TODAY - timedelta(days=1)),
            "listed": lambda: self.ledger.listed("edgar", TODAY),
            "by_companies": lambda: self.ledger.by_companies("edgar", [COMPANY], ["10-Q"], until=TODAY),
            "lease": lambda: self.ledger.lease("edgar", NOW, per_second=5),
        }

    def tick(self) -> None:
        onboard_day(
            regulator=cast(Regulator, self.regulator),  # a tick asks for no index
            ledger=self.ledger,
            objects=self.objects,
            lake=self.lake,
            day=TODAY,
            clock=lambda: NOW,
        )

    def tick_with_new(self) -> None:
        self.regulator.publish(NEW)
        self.tick()

    def measure(self, name: str) -> None:
        work = self.operations()[name]
        started = time.perf_counter()
        work()
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)

    def best(self, name: str) -> float:
        return min(self.seconds[name])


def report_of(subjects: list[Subject], rounds: int) -> dict[str, float | int]:
    report: dict[str, float | int] = {"rounds": rounds, "largest": subjects[-1].size}
    for name in subjects[0].operations():
        report[f"{name}_ms"] = round(subjects[-1].best(name) * 1000, 2)
    for subject in subjects[1:]:
        label = f"{subject.size // 1_000_000}m"
        ratios = {name: subject.best(name) / subjects[0].best(name) for name in subject.operations()}
        report[f"ratio_{label}"] = round(max(ratios.values()), 3)
        report |= {f"ratio_{label}_{name}": round(ratio, 3) for name, ratio in ratios.items()}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--largest", type=int, default=MIDDLE, help="filings of the largest ledger")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    sizes = sorted({SMALLEST, min(MIDDLE, arguments.largest), arguments.largest})
    with tempfile.TemporaryDirectory(prefix="ledgerline-tick-cost-") as folder:
        subjects = [Subject(Path(folder), size) for size in sizes]
        for number in range(arguments.rounds + 1):
            for name in subjects[0].operations():
                for subject in subjects:
                    subject.measure(name)
            if number == 0:  # statements are compiled, the file is in the cache
                for subject in subjects:
                    subject.seconds.clear()
        print(json.dumps(report_of(subjects, arguments.rounds)))


if __name__ == "__main__":
    main()
