"""Kill -9 at a chosen step: the boundaries of onboarding's real ports are counted, and at one of them the process ends.

A boundary is every commit of the ledger that wrote something (before and after it), every object (before it, between
its staging file and the rename, after it), every commit of the lake (before it, with its data file written and no log
entry, after it) and every answer of the regulator. For forked children only: what is hooked stays hooked.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any


class Points:
    """Counts boundaries as they are passed; the process dies at number `kill_at` (from 0)."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.labels: list[str] = []

    def __call__(self, label: str) -> None:
        self.labels.append(label)
        if self.kill_at is not None and len(self.labels) > self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def hook(point: Callable[[str], None], *, in_turn: bool = True) -> None:
    """Call `point` at every boundary. `in_turn`: bodies are fetched in the thread that works on them, so that the
    boundaries come in the same order each time."""
    from sqlalchemy.engine.default import DefaultDialect

    from ledgerline.filings import onboarding
    from resources.lake import DeltaLake
    from resources.object_store import DirectoryObjectStore
    from resources.regulators import _Asker

    written: dict[int, int] = {}  # rows that a connection had changed at its last commit
    commit, rename = DefaultDialect.do_commit, os.replace
    put, ask = DirectoryObjectStore._put, _Asker._ask

    def do_commit(dialect: Any, connection: Any) -> None:
        driver = connection.driver_connection
        writes = driver.total_changes != written.get(id(driver), 0)
        if writes:
            point("ledger: before a commit")
        commit(dialect, connection)
        if writes:
            written[id(driver)] = driver.total_changes
            point("ledger: after a commit")

    def staged_rename(source: Any, target: Any) -> None:
        point("objects: written and not renamed")
        rename(source, target)

    def do_put(store: Any, *given: Any) -> str:
        point("objects: before a put")
        digest = put(store, *given)
        point("objects: after a put")
        return digest

    def hooked(write: Callable[..., Any]) -> Callable[..., Any]:
        def commit(lake: Any, table: str, *given: Any, **named: Any) -> Any:
            point("lake: before a write")
            before = lake.version(table)
            written = write(lake, table, *given, **named)
            if written.version != before:
                log = Path(lake.root) / table / "_delta_log" / f"{written.version:020d}.json"
                entry = log.read_bytes()
                log.unlink()
                point("lake: data written and no log entry")
                log.write_bytes(entry)
            point("lake: after a write")
            return written

        return commit

    def do_ask(asker: Any, *given: Any) -> Any:
        answer = ask(asker, *given)
        point("regulator: after an answer")
        return answer

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    os.replace = staged_rename  # type: ignore[assignment]
    DirectoryObjectStore._put = do_put  # type: ignore[assignment]
    DeltaLake.merge = hooked(DeltaLake.merge)  # type: ignore[method-assign]
    DeltaLake.replace = hooked(DeltaLake.replace)  # type: ignore[method-assign]
    _Asker._ask = do_ask  # type: ignore[assignment,method-assign]
    if in_turn:
        onboarding.ThreadPoolExecutor = InTurn  # type: ignore[assignment,misc]


class InTurn:
    """An executor without threads."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given))
        except Exception as error:  # noqa: BLE001 - it is the future's, as with threads
            future.set_exception(error)
        return future


def warm() -> None:
    """Import and make once what every child would. No thread may be started here: a fork does not take it along."""
    import tempfile

    import deltalake  # noqa: F401
    import httpx
    import numpy  # noqa: F401
    import pyarrow.compute
    import pyarrow.dataset  # noqa: F401

    import ledgerline.filings.feeds
    import ledgerline.filings.sgml  # noqa: F401
    from resources.filing_ledger import SqlFilingLedger

    httpx.Client().close()
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        ledger.counts()
        ledger._open().dispose()


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a forked child; returns its exit code, negative for a signal. An exception is printed, and 1."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the child may reach the parent's code
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)
    raise AssertionError("unreachable")
