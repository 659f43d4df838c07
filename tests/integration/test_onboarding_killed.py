"""A process that onboards a day is killed with SIGKILL at a step; the next process finishes the day, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ledgerline.filings.onboarding import DayReport, onboard_day
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import EdgarArchive
from tests.servers.small_archive import DAY, write_small_archive


def onboard(folder: Path, die_at: str = "", after: bool = False) -> DayReport:
    """Onboard the day; with `die_at` ("<port>.<method>") the process ends before or after its first such call."""
    ports = {
        "ledger": SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db"),
        "lake": DeltaLake(root=str(folder / "lake")),
        "objects": DirectoryObjectStore(root=str(folder / "objects")),
    }
    if die_at:
        name, _, method = die_at.partition(".")
        ports[name] = Deadly(ports[name], method, after)  # type: ignore[assignment]
    return onboard_day(
        **ports,  # type: ignore[arg-type]
        regulator=EdgarArchive(folder / "archive"),
        day=DAY,
        clock=lambda: datetime(2025, 3, 20, tzinfo=timezone.utc),
    )


class Deadly:
    """A port of which one method kills the process."""

    def __init__(self, port: object, method: str, after: bool) -> None:
        self._port, self._method, self._after = port, method, after

    def __getattr__(self, name: str):
        method = getattr(self._port, name)
        if name != self._method:
            return method

        def call(*positional, **named):
            if self._after:
                method(*positional, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        return call


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("objects.put_file", True),
        ("ledger.fetched_many", True),
        ("ledger.refused_many", True),
        ("lake.merge", False),
        ("lake.merge", True),
    ],
)
def test_a_killed_process_leaves_a_day_that_the_next_one_finishes_once(tmp_path: Path, step: str, after: bool) -> None:
    write_small_archive(tmp_path / "archive")
    command = [
        sys.executable,
        "-m",
        "tests.integration.test_onboarding_killed",
        str(tmp_path),
        step,
        "after" if after else "",
    ]
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run(command, cwd=root, timeout=120, check=False).returncode == -signal.SIGKILL
    onboard(tmp_path)
    rows = DeltaLake(root=str(tmp_path / "lake")).read("filings").to_pylist()
    states = {row["filing_id"][-1]: row["reason"] or row["state"] for row in rows}
    assert len(rows) == len(states) == 6
    assert states == {**dict.fromkeys("12346", "published"), "8": "truncated"}
    assert {row["version"] for row in rows} == {1}
    assert len(list(DirectoryObjectStore(root=str(tmp_path / "objects")).list("s3://ledgerline/"))) == 6
    again = onboard(tmp_path)
    assert (again.new, again.published, again.refused, again.bytes) == (0, 0, 0, 0)


if __name__ == "__main__":
    onboard(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "after")
