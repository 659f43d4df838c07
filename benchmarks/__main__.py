"""`make bench`: every benchmark that needs no argument, and those on real data where that is at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.shared_data import find_shared_data


def commands() -> list[list[str]]:
    """Module and arguments of each benchmark; one whose data is absent is left out and said."""
    chosen = [
        ["imports"],
        ["projects"],
        ["endpoint"],
        ["publish_cost"],
        ["tick_cost"],
        ["onboard_day"],
        ["rollback"],
        ["lake"],
    ]
    chosen.append(["onboarding_faults", "--minutes", "1"])
    chosen += [["guardrails"], ["updates", "--updates", "100"]]
    if Path("/usr/lib/postgresql").is_dir():
        chosen.append(["ledger"])
    else:
        print("ledger: left out, PostgreSQL is not installed (apt-get install postgresql-15)")
    for name, data, arguments in (
        ("parse_filings", "filings", ["--archive", "{}"]),
        ("ticker_mapping", "ticker", ["--data", "{}", "--split", "dev"]),
        ("clusters", "clusters", ["--data", "{}", "--file", "neardup_dev.jsonl"]),
    ):
        folder = find_shared_data(data)
        if folder is None:
            print(f"{name}: left out, the real data '{data}' is absent (see CONTRIBUTING.md)")
        else:
            chosen.append([name, *(argument.format(folder) for argument in arguments)])
    return chosen


def main() -> int:
    failed = 0
    for command in commands():
        print(f"== python -m benchmarks.{' '.join(command)}", flush=True)
        failed += subprocess.call([sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]]) != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
