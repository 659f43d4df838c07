"""s3:// URIs read from and written to a directory per bucket. No URI leads out of its bucket, by name or by link."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from local_sagemaker.errors import JobError

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URI. Raises JobError for what is no such URI or would lead out of the bucket."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise JobError(f"{uri!r} is not an s3://bucket/key URI; give the bucket and the key of the object.")
    bucket, key = match.group(1), match.group(2) or ""
    parts = key.rstrip("/").split("/") if key else []
    if ".." in bucket or "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in parts):
        raise JobError(
            f"{uri!r} has an empty, '.' or '..' part; such a key could lead out of its bucket. Rename the object."
        )
    return bucket, key


class Objects:
    """The buckets below one directory. Writes are atomic: the file is made aside and renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, uri: str) -> Path:
        """Where the object lies. Raises JobError where a link in the bucket leads out of it."""
        bucket, key = split_uri(uri)
        home = (self.root / bucket).resolve()
        path = home / key
        if not path.resolve().is_relative_to(home):
            raise JobError(f"{uri!r} leads out of its bucket through a link; remove the link.")
        return path

    def read(self, uri: str) -> bytes:
        path = self.path(uri)
        if not path.is_file():
            raise JobError(f"No object at {uri}; put it there, or correct the URI.")
        return path.read_bytes()

    def list(self, uri: str) -> Iterator[tuple[str, Path]]:
        """Name relative to the URI, and path, of the object at the URI or of all objects below it, sorted."""
        path = self.path(uri)
        if path.is_file():
            yield path.name, path
            return
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                found = Path(folder) / name
                if not found.is_symlink():
                    yield found.relative_to(path).as_posix(), found

    def download(self, uri: str, target: Path) -> int:
        """Copy the object, or all objects below a prefix, into the folder `target`; returns how many files."""
        count = 0
        for name, source in self.list(uri):
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            count += 1
        return count

    def put(self, uri: str, body: bytes) -> None:
        path = self.path(uri)
        temporary = self._temporary()
        temporary.write_bytes(body)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)

    def upload_file(self, source: Path, uri: str) -> None:
        target, temporary = self.path(uri), self._temporary()
        shutil.copyfile(source, temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)

    def upload(self, source: Path, uri: str) -> int:
        """Store every regular file below the folder `source` under the URI; returns how many."""
        count = 0
        for folder, folders, files in os.walk(source):
            folders.sort()
            for name in sorted(files):
                found = Path(folder) / name
                if found.is_symlink():
                    continue  # a job could point it at any file of this machine
                self.upload_file(found, f"{uri.rstrip('/')}/{found.relative_to(source).as_posix()}")
                count += 1
        return count

    def _temporary(self) -> Path:
        folder = self.root / ".incoming"  # no bucket can have this name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / secrets.token_hex(8)
