"""Runs the commands of a page, as a newcomer would type them: `python -m tests.readme README.md`.

Every line of a ```console block that begins with "$ " is run, in one shell and in order; the first that fails ends it.
`make test` and `make demo` are left out: whoever runs this has just run them, or is run by them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

LEFT_OUT = ("make test", "make demo")


def commands(page: str) -> list[str]:
    """The commands of all console blocks, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if line not in LEFT_OUT]


def main() -> int:
    wanted = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    shown = [f"printf '%s\\n' {shlex.quote('$ ' + line)}\n{line}" for line in wanted]
    script = "set -eo pipefail\n" + "\n".join(shown)
    result = subprocess.run(["bash", "-c", script], cwd=Path(sys.argv[1]).resolve().parent)
    print(f"{len(wanted)} commands of {sys.argv[1]}: {'all ran' if result.returncode == 0 else 'one FAILED'}")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
