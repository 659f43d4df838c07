"""How long model projects take to become definitions: `python -m benchmarks.projects [--projects 100] [--rounds N]`.

Each time in a fresh process, with what Dagster itself does when it loads a code location: the code location without any
project is measured beside it and taken off, so that the figures are those of the projects. `load_1_s` is one folder more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cli.new_project import write_project

LOCATION = (
    "import sys, pathlib\nfrom platform_assets.definitions import build_defs\n"
    "build_defs('local', projects=pathlib.Path(sys.argv[1])).get_repository_def().get_all_jobs()\n"
)


def seconds(root: Path) -> tuple[float, float]:
    """Of the clock, and of the processor: on a machine with other work the second is the one that is ours."""
    started, used = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOCATION, str(root)], check=True)
    now = os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    return time.perf_counter() - started, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        roots = {count: Path(scratch) / f"of{count}" for count in (0, 1, args.projects)}
        for count, root in roots.items():
            root.mkdir()
            for number in range(count):
                write_project(f"project_{number}", root)
        seconds(roots[0])  # byte code and disk caches
        times = {count: [seconds(root) for _ in range(args.rounds)] for count, root in sorted(roots.items())}
    found: dict[str, float] = {"rounds": args.rounds}
    for unit, at in (("s", 0), ("cpu_s", 1)):
        median = {count: statistics.median(one[at] for one in measured) for count, measured in times.items()}
        found[f"without_{unit}"] = round(median[0], 3)
        for count in (1, args.projects):
            found[f"load_{count}_{unit}"] = round(median[count] - median[0], 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
