"""Writes `constraints.txt`: the exact versions of every extra, for each supported Python (`make lock`).

Belongs here: resolving with pip and merging the results by environment markers. Installing is the job of `cli.bootstrap`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "aws,dev,sagemaker-sdk"
HEADER = """\
# Exact versions of everything that pyproject.toml asks for, extras included. Written by `make lock`; do not edit.
"""


def resolve(python: str) -> tuple[str, dict[str, str]]:
    """("3.11", {distribution: version}) as that interpreter's pip resolves all extras from nothing."""
    minor = subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run([python, "-m", "venv", f"{folder}/venv"], check=True)
        pip = [f"{folder}/venv/bin/python", "-m", "pip"]
        subprocess.run([*pip, "install", "-q", "-U", "pip"], check=True)
        subprocess.run(
            [*pip, "install", "-q", "--dry-run", "--ignore-installed", "--report", str(report), f"{ROOT}[{EXTRAS}]"],
            check=True,
        )
        installed = json.loads(report.read_text())["install"]
    versions = {re.sub(r"[-_.]+", "-", i["metadata"]["name"]).lower(): i["metadata"]["version"] for i in installed}
    versions.pop("ledgerline")
    return minor, versions


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Constraint lines: one without marker where all Pythons agree, else one for each Python."""
    lines = []
    for name in sorted(set().union(*resolved.values())):
        found = {minor: versions.get(name) for minor, versions in resolved.items()}
        distinct = set(found.values()) - {None}
        if len(distinct) == 1:
            lines.append(f"{name}=={distinct.pop()}")
        else:
            lines += [f'{name}=={version}; python_version == "{minor}"' for minor, version in found.items() if version]
    return lines


def main() -> None:
    """Resolve with each interpreter named on the command line (default: this one) and write the file."""
    resolved = dict(resolve(python) for python in sys.argv[1:] or [sys.executable])
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(merge(dict(sorted(resolved.items())))) + "\n")
    print(f"constraints.txt: {sum(map(len, resolved.values()))} pins for Python {', '.join(resolved)}")


if __name__ == "__main__":
    main()
