"""The Python of a job or worker: this one if it satisfies requirements.txt, else a venv cached by its hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from local_sagemaker.errors import JobError

_INSTALL_SECONDS = 1800


def satisfied(requirements: str) -> bool:
    """True if every line is a plain requirement that this environment meets (options and URLs are not plain)."""
    for line in requirements.splitlines():
        text = line.split(" #")[0].strip()
        if text and not text.startswith("#") and not _meets(text):
            return False
    return True


def _meets(text: str) -> bool:
    try:
        requirement = Requirement(text)
        if requirement.url or (requirement.marker and not requirement.marker.evaluate()):
            return requirement.url is None
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return False


class Environments:
    """The cache of venvs below one folder. One installation at a time; a half-made venv is made again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()

    def python(self, folder: Path, on_line: Callable[[str], None]) -> str:
        """The interpreter for the code in `folder`."""
        path = folder / "requirements.txt"
        if not path.is_file():
            return sys.executable
        text = path.read_text(encoding="utf-8", errors="replace")
        if satisfied(text):
            return sys.executable
        key = hashlib.sha256("\n".join([text, sys.version]).encode()).hexdigest()[:24]
        venv = self._root / key
        with self._lock:
            if not (venv / ".complete").exists():
                self._install(venv, path, on_line)
        return str(venv / "bin" / "python")

    def _install(self, venv: Path, requirements: Path, on_line: Callable[[str], None]) -> None:
        on_line(f"installing {requirements.name} into a cached environment {venv.name}")
        shutil.rmtree(venv, ignore_errors=True)
        venv.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(venv)], requirements.parent, on_line)
        pip = [
            str(venv / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
        ]
        _run([*pip, "-r", str(requirements)], requirements.parent, on_line)
        (venv / ".complete").touch()


def _run(command: list[str], folder: Path, on_line: Callable[[str], None]) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(
            f"Installing requirements.txt took longer than {_INSTALL_SECONDS} s; look at the network."
        ) from error
    for line in (done.stdout + done.stderr).splitlines():
        on_line(line)
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise JobError(
            f"requirements.txt cannot be installed: {tail[0]}. Correct the file, or the package index of pip."
        )


def clean_environment(container_home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a container: little of this machine's, nothing of the server's, then `extra` (which wins).

    Raises JobError for what no process can be given.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")
    base = {name: os.environ[name] for name in kept if name in os.environ}
    base |= {
        "HOME": str(container_home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
    }
    whole = base | dict(extra)
    for name, value in whole.items():
        if "=" in name or "\0" in name + value:
            raise JobError(
                f"The environment variable {name!r} has '=' or NUL in it, which no process can be given; rename it."
            )
    return whole
