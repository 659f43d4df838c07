"""How much loading the code location costs over `import dagster` alone: `python -m benchmarks.imports [--rounds N]`.

Both are measured in fresh processes, alternating, and compared by their medians: the machine is noisy, the ratio is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

DAGSTER = "import dagster"
LOCATION = "from platform_assets.definitions import build_defs; build_defs().resolve_all_asset_specs()"


def seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    seconds(LOCATION), seconds(DAGSTER)  # byte code and disk caches
    pairs = [(seconds(DAGSTER), seconds(LOCATION)) for _ in range(rounds)]
    dagster, location = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        json.dumps(
            {
                "dagster_s": round(dagster, 3),
                "code_location_s": round(location, 3),
                "ratio": round(location / dagster, 3),
                "rounds": rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
