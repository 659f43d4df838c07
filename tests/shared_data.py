"""Where tests find the real development data, which is never committed. Not for sample data, which is in `sample/`."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def find_shared_data(name: str) -> Path | None:
    """The unpacked folder `name` (filings, ticker, clusters), or None where neither it nor its archive is at hand.

    `LEDGERLINE_TEST_DATA` names a folder that holds the unpacked folders; without it the archive
    `../shared/data/<name>.tar.xz` beside the checkout is unpacked once into the user's temporary folder.
    """
    given = os.environ.get("LEDGERLINE_TEST_DATA")
    if given:
        for folder in (Path(given) / name / name, Path(given) / name):
            if folder.is_dir():
                return folder
    archive = SHARED / f"{name}.tar.xz"
    if not archive.is_file():
        return None
    stamp = hashlib.sha256(f"{archive.stat().st_size}:{archive.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    unpacked = Path(tempfile.gettempdir()) / f"ledgerline-test-data-{os.getuid()}" / f"{name}-{stamp}"
    if not unpacked.is_dir():
        unpacked.parent.mkdir(mode=0o700, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=unpacked.parent))
        with tarfile.open(archive, "r:xz") as tar:
            tar.extractall(aside, filter="data")
        try:
            aside.rename(unpacked)
        except OSError:  # another worker was first
            if not unpacked.is_dir():
                raise
    return unpacked / name


def shared_data(name: str) -> Path:
    """As `find_shared_data`, but skips the test with the reason where the data is absent."""
    folder = find_shared_data(name)
    if folder is None:
        pytest.skip(f"real data '{name}' is absent: neither LEDGERLINE_TEST_DATA nor {name}.tar.xz beside the checkout")
    return folder
