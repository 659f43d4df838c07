"""Python environments of their own for programs whose pins do not agree with ours (Airflow, AWS's container toolkits).

Each is made once, by pip, in a cache outside the checkout, and named by what is in it. A test that needs one is skipped
where it cannot be made, except in CI, where that is a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

MAKE_SECONDS = 900.0


def python_with(name: str, requirements: Sequence[str], *, our_packages: bool = False, deps: bool = True) -> Path:
    """The interpreter of an environment that has these (`our_packages`: and behind them all that this one has).

    `deps=False` installs the named packages alone. Skips the test (fails it in CI) with pip's last lines if that fails.
    """
    wanted = "\0".join((sys.version, sys.prefix if our_packages else "", str(deps), *requirements))
    folder = _cache() / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if not (folder / "whole").exists():
        problem = _made(folder, requirements, our_packages=our_packages, deps=deps)
        if problem is not None:
            said = f"the environment {name} ({', '.join(requirements)}) cannot be made: {problem}"
            pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    return folder / "bin" / "python"


def _made(folder: Path, requirements: Sequence[str], *, our_packages: bool, deps: bool) -> str | None:
    """Make it where it will stay, since scripts name their interpreter; `whole` is written last. Returns what failed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    command = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        *([] if deps else ["--no-deps"]),
        *requirements,
    ]
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=MAKE_SECONDS, check=False)
        output.seek(0)
        if done.returncode:
            return "; ".join(output.read().strip().splitlines()[-3:])
    if our_packages:
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site,) = (folder / "lib").glob("python*/site-packages")
        (site / "ours.pth").write_text("\n".join(ours) + "\n")
    (folder / "whole").touch()
    return None


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ledgerline" / "environments"
