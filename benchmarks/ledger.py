"""The filing ledger on SQLite and PostgreSQL in one run: `python -m benchmarks.ledger [--filings N] [--batch N]`.

Filings go from unknown to published in batches, five transitions each, by 1 worker and by 4 processes at once, each with a
day of its own, as runs of days are. `bare` is SQLAlchemy Core sending the statements that these transitions need, without
any rule: what it takes to have the database do the work. Ratios are seconds of the ledger over seconds of the bare client.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta, timezone
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from ledgerline.filings.ports import Fetched, Parsed
from ledgerline.filings.records import FilingRef, Party
from resources.filing_ledger import SqlFilingLedger, _tables
from tests.servers.postgres import running_postgres

NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
PARTY = Party("0000320193", "Apple Inc.", "Filer")
TRANSITIONS = 5
ROUNDS = 3

Work = Callable[[SqlFilingLedger, list[FilingRef]], None]


def refs_of(day: date, count: int, batch: int) -> Iterator[list[FilingRef]]:
    refs = [FilingRef("edgar", f"{day:%Y%m%d}-{number:07d}", day, "8-K", (PARTY,)) for number in range(count)]
    for start in range(0, count, batch):
        yield refs[start : start + batch]


def by_ledger(ledger: SqlFilingLedger, refs: list[FilingRef]) -> None:
    ids = [ref.filing_id for ref in refs]
    ledger.discovered(refs, seen_at=NOON)
    ledger.begun("edgar", ids)
    ledger.fetched_many("edgar", [Fetched(one, "a" * 64, 7, "s3://b/a", NOON, None) for one in ids])
    ledger.parsed_many("edgar", [Parsed(one, NOON) for one in ids])
    ledger.published("edgar", dict.fromkeys(ids, 1), at=NOON)


def by_bare_client(ledger: SqlFilingLedger, refs: list[FilingRef]) -> None:
    """Five transactions with the statements that the transitions cannot do without."""
    from sqlalchemy import bindparam, insert, select, update

    tables = _tables()
    filings, key = tables.filings, tables.filings.c.filing_id
    ids = [ref.filing_id for ref in refs]
    one = update(filings).where(filings.c.source == "edgar", key == bindparam("id"))
    read = select(filings).where(filings.c.source == "edgar", key.in_(ids)).with_for_update()
    engine = ledger._open().execution_options(ledger_write=True)
    with engine.begin() as connection:
        connection.execute(read).all()
        connection.execute(
            insert(filings),
            [
                {
                    "source": "edgar", "filing_id": ref.filing_id, "day": ref.day, "form": ref.form, "title": "",
                    "state": "discovered", "first_seen_at": NOON, "version": 0, "published_version": -1, "attempts": 0,
                    "witnesses": "list",
                }
                for ref in refs
            ],
        )  # fmt: skip
        values = {"source": "edgar", "position": 0, "party_id": PARTY.id, "name": PARTY.name, "role": PARTY.role}
        connection.execute(insert(tables.parties), [{**values, "filing_id": name} for name in ids])
    with engine.begin() as connection:
        connection.execute(update(filings).where(key.in_(ids)).values(attempts=filings.c.attempts + 1))
    with engine.begin() as connection:
        connection.execute(read).all()
        body = {"sha256": "a" * 64, "bytes": 7, "uri": "s3://b/a", "available_at": NOON, "version": 1}
        connection.execute(one.values(state="fetched", **body), [{"id": name} for name in ids])
        connection.execute(insert(tables.versions), [{"source": "edgar", "filing_id": name, **body} for name in ids])
    ends: tuple[tuple[str, dict[str, Any]], ...] = (
        ("parsed", {"accepted_at": NOON}),
        ("published", {"published_at": NOON, "attempts": 0}),
    )
    for state, changes in ends:
        with engine.begin() as connection:
            connection.execute(read).all()
            connection.execute(one.values(state=state, **changes), [{"id": name} for name in ids])


def worker(url: str, bare: bool, day: date, count: int, batch: int, together: Barrier, spans: Queue[Any]) -> None:
    ledger = SqlFilingLedger(url=url)
    ledger.known("edgar", [])  # connected, tables made
    work: Work = by_bare_client if bare else by_ledger
    together.wait()
    begin = time.monotonic()
    for refs in refs_of(day, count, batch):
        work(ledger, refs)
    spans.put((begin, time.monotonic()))


def seconds(url: str, bare: bool, days: list[date], count: int, batch: int) -> float:
    """From the moment at which all workers may begin to the end of the last one; a worker for each day."""
    context = multiprocessing.get_context("fork")  # a worker connects by itself, and importing costs seconds
    together, spans = context.Barrier(len(days)), context.Queue()
    workers = [context.Process(target=worker, args=(url, bare, day, count, batch, together, spans)) for day in days]
    for one in workers:
        one.start()
    found = [spans.get(timeout=600) for _ in workers]
    for one in workers:
        one.join()
    return max(end for _, end in found) - min(begin for begin, _ in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filings", type=int, default=2000, help="of each worker (default 2000)")
    parser.add_argument("--batch", type=int, default=100, help="in one transaction (default 100)")
    given = parser.parse_args()
    found: dict[str, float] = {"filings": given.filings, "batch": given.batch}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ledgerline-ledger-")))
        urls = {"sqlite": f"sqlite:///{folder}/ledger.db", "postgresql": stack.enter_context(running_postgres())}
        day = date(2000, 1, 1)
        for name, url in urls.items():
            SqlFilingLedger(url=url).known("edgar", [])
            for workers in (1, 4):
                took: dict[bool, list[float]] = {False: [], True: []}
                for _ in range(ROUNDS):  # the two in turn, so that what else the machine does meets both
                    for bare in (False, True):
                        days = [day + timedelta(days=number) for number in range(workers)]
                        day += timedelta(days=workers)
                        took[bare].append(seconds(url, bare, days, given.filings, given.batch))
                rate = workers * given.filings * TRANSITIONS / statistics.median(took[False])
                ratio = statistics.median(one / other for one, other in zip(took[False], took[True], strict=True))
                found |= {
                    f"{name}_{workers}_transitions_per_s": round(rate),
                    f"{name}_{workers}_over_bare": round(ratio, 2),
                }
                print(f"{name}, {workers} workers: {rate:,.0f} transitions/s, {ratio:.2f} x bare", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
