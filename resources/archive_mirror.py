"""An archive of filings that lies under a prefix of the object store: mirrored into a folder and read as an archive.

The layout is that of an archive folder (`resources.regulators`). Only what a listing shows as new or changed is
fetched; what the prefix no longer holds is removed here too. Which prefix it is is a setting, decided elsewhere.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from dagster import ResourceDependency
from pydantic import PrivateAttr

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.ports import Regulator
from ledgerline.filings.records import Source
from resources.regulators import RegulatorSet

FOLDERS = ("edgar/", "dart/")  # an archive is in these two; what else lies under the prefix is left alone
SAVE_EVERY = 500  # objects; what a killed mirror has fetched since is fetched again

log = logging.getLogger(__name__)


class StampedStore(Protocol):
    """What a mirror needs of an object store."""

    def list_stamped(self, prefix: str) -> Iterator[tuple[str, str]]: ...

    def open_stream(self, uri: str) -> BinaryIO: ...


class MirroredRegulators(RegulatorSet):
    """As RegulatorSet; `archive` is a mirror of `archive_uri`, brought up to date whenever the sources are asked for."""

    object_store: ResourceDependency[StampedStore]
    archive_uri: str

    _fresh: bool = PrivateAttr(default=False)

    def sources(self) -> list[Source]:
        self._refresh()
        return super().sources()

    def _make(self, source: Source) -> Regulator:
        if not self._fresh:
            self._refresh()
        return super()._make(source)

    def _refresh(self) -> None:
        mirror(self.object_store, self.archive_uri, Path(str(self.archive)))
        self._fresh = True


def mirror(store: StampedStore, uri: str, folder: Path) -> tuple[int, int]:
    """Make `folder` hold what lies below `uri`; returns how many objects were (fetched, removed).

    A file appears whole or not at all. Raises ConfigurationError if the prefix holds no archive, and LedgerlineError
    naming an object that cannot be a file. A listing that fails raises and changes nothing.
    """
    prefix = uri.rstrip("/") + "/"
    wanted = {name: stamp for name, stamp in _listed(store, prefix) if name.startswith(FOLDERS)}
    if not wanted:
        raise ConfigurationError(
            f"{uri} holds no archive of filings: looked for objects below {prefix}edgar/ and {prefix}dart/; "
            "correct LEDGERLINE_ARCHIVE or put the archive there."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.with_suffix(".lock")):
        state = folder.with_suffix(".json")
        held = _read_state(state)
        scratch = folder.with_suffix(".fetching")
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed mirror left
        scratch.mkdir()
        fetched = removed = 0
        try:
            for name in sorted(held.keys() - wanted.keys()):
                (folder / name).unlink(missing_ok=True)
                del held[name]
                removed += 1
            for name, stamp in sorted(wanted.items()):
                if held.get(name) == stamp and (folder / name).is_file():
                    continue
                _fetch(store, prefix + name, folder / name, scratch=scratch)
                held[name] = stamp
                fetched += 1
                if fetched % SAVE_EVERY == 0:
                    _write_state(state, held)
        finally:
            if fetched or removed:
                _write_state(state, held)
    return fetched, removed


def _listed(store: StampedStore, prefix: str) -> Iterator[tuple[str, str]]:
    """(name below the prefix, stamp) of every object whose name is a plain relative path."""
    for uri, stamp in store.list_stamped(prefix):
        name = uri.removeprefix(prefix)
        if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or "\0" in name:
            if not name.endswith("/"):  # which only marks a folder
                log.warning("%r is passed over: its name is no plain path below %s; rename the object", uri, prefix)
            continue
        yield name, stamp


def _fetch(store: StampedStore, uri: str, path: Path, *, scratch: Path) -> None:
    handle, made = tempfile.mkstemp(dir=scratch)
    try:
        with os.fdopen(handle, "wb") as out, store.open_stream(uri) as body:
            shutil.copyfileobj(body, out, 1 << 20)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(made, path)
    except FileNotFoundError:
        Path(made).unlink(missing_ok=True)
        raise LedgerlineError(f"{uri} was removed while the archive was mirrored; run it again.") from None
    except OSError as error:
        Path(made).unlink(missing_ok=True)
        raise LedgerlineError(
            f"{uri} cannot be kept as the file {path} ({error.strerror or error}): rename the object, or make room."
        ) from error
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """One process mirrors at a time; the others wait and then find nothing to do. The lock dies with its holder."""
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_state(path: Path) -> dict[str, str]:
    """name -> stamp of what the mirror holds; nothing where it is not readable: all is fetched again then."""
    try:
        held = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _write_state(path: Path, held: dict[str, str]) -> None:
    scrap = path.with_suffix(".writing")
    scrap.write_text(json.dumps(held))
    os.replace(scrap, path)
