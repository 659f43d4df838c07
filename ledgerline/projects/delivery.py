"""Model projects that are put into the object store: checked in a folder of their own, then laid where they are loaded.

Nothing of a delivery is run: config.yaml is read as plain YAML, scripts are bytes. A folder that has a mistake is left where
it is and the mistake is told; the version before it stays. A good one becomes a version of its own, named by the digest of
its files, and then, by one rename of a link, the one that is loaded. The code location reads it when it is loaded next.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ledgerline.errors import LedgerlineError
from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject, load_project
from ledgerline.projects.sections import NAME_PATTERN
from ledgerline.release.digest import files_digest

LARGEST = 50_000_000  # bytes of all files: a project is code, its data is in the lake
MOST_FILES = 1_000
VERSIONS = ".versions"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of one folder, to be told once: `owner` of config.yaml where that could be read."""

    name: str
    digest: str
    owner: str | None
    title: str
    text: str
    new: bool = False  # it is another version than the one before


def take_deliveries(
    objects: ObjectStore, prefix: str, root: Path, taken: Collection[str], known: Mapping[str, str]
) -> tuple[list[Delivery], dict[str, str]]:
    """Take every folder below `prefix` whose stamps are not those of `known`; returns what came of each, and the stamps.

    Taking the same files again changes nothing. `taken`: names of the platform's own projects, which no delivery replaces.
    """
    folders: dict[str, list[tuple[str, str, str]]] = {}
    for uri, stamp in objects.list_stamped(f"{prefix.rstrip('/')}/"):
        name, _, file = uri.removeprefix(f"{prefix.rstrip('/')}/").partition("/")
        if file:
            folders.setdefault(name, []).append((file, uri, stamp))
    stamps = {name: files_digest({file: stamp.encode() for file, _, stamp in found}) for name, found in folders.items()}
    done = []
    for name in sorted(folders):
        before, refused = known.get(name), f"{stamps[name]} {REFUSED}"
        if before == refused:
            stamps[name] = refused
            continue
        whole = any(file == "config.yaml" for file, _, _ in folders[name])  # else it is still being put there
        if whole and (before != stamps[name] or not (root / name).exists()):  # its disk may be another one than before
            done.append(_take(objects, name, folders[name], root, taken, stamps[name]))
            if done[-1].owner is None:
                stamps[name] = refused
    return done, stamps


def _take(
    objects: ObjectStore, name: str, found: list[tuple[str, str, str]], root: Path, taken: Collection[str], stamp: str
) -> Delivery:
    try:
        files = _files(objects, name, found, taken)
        project, changed = install(name, files, root)
    except (LedgerlineError, FileNotFoundError) as error:
        return Delivery(name, stamp, None, f"The delivered model project {name} was not taken", str(error))
    what = "is loaded at the next reload of the code location" if changed else "is there already"
    text = f"{name} ({project.code_digest[:12]}) {what} (in the UI: Deployment, Reload). Then run train_{name}."
    title = f"The delivered model project {name} was taken"
    return Delivery(name, files_digest(files), project.config.owner, title, text, new=changed)


def _files(
    objects: ObjectStore, name: str, found: list[tuple[str, str, str]], taken: Collection[str]
) -> dict[str, bytes]:
    """Relative name -> bytes. Raises LedgerlineError for a name or a path that must not be written, or too much."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise LedgerlineError(f"{name!r} cannot name a model project. Rename the folder, e.g. to churn.")
    if name in taken:
        raise LedgerlineError(
            f"{name} is a project of the platform itself. Rename the folder and `name` in config.yaml."
        )
    if len(found) > MOST_FILES:
        raise LedgerlineError(f"{name} has {len(found)} files, more than {MOST_FILES}. Put data into the lake.")
    files: dict[str, bytes] = {}
    for file, uri, _ in found:
        parts = PurePosixPath(file).parts
        if file != "/".join(parts) or any(part in ("..", ".") or "\\" in part or "\0" in part for part in parts):
            raise LedgerlineError(f"{name} holds an object of the odd name {file!r}. Delete it, or rename it.")
        files[file] = objects.get(uri)
        if sum(map(len, files.values())) > LARGEST:
            raise LedgerlineError(f"{name} is larger than {LARGEST:,} bytes. Put data into the lake.")
    return files


def install(name: str, files: Mapping[str, bytes], root: Path) -> tuple[ModelProject, bool]:
    """Check the files and make them the version of `root`/`name`; returns the project and whether anything changed.

    Raises ProjectMistakes, and leaves what was there. Killed anywhere, the next call goes on.
    """
    versions = root / VERSIONS / name
    versions.mkdir(parents=True, exist_ok=True)
    version = versions / files_digest(files)[:16] / name
    link = root / name
    if not version.is_dir():
        with tempfile.TemporaryDirectory(dir=versions, prefix=".") as scratch:
            made = Path(scratch) / "of" / name
            for file, body in files.items():
                (made / file).parent.mkdir(parents=True, exist_ok=True)
                (made / file).write_bytes(body)
            load_project(made)
            shutil.move(made.parent, version.parent)
    project = load_project(version)
    if link.is_symlink() and Path(os.readlink(link)) == version.relative_to(root):
        return project, False
    if link.exists() and not link.is_symlink():
        raise LedgerlineError(
            f"{link} was not delivered: it is a folder of somebody else's. Move it away, or rename yours."
        )
    with tempfile.TemporaryDirectory(dir=root, prefix=".") as scratch:
        made = Path(scratch) / name
        made.symlink_to(version.relative_to(root))
        made.replace(link)
    return project, True
