"""Model artifacts, unpacked read-only under the digest of their content, so that a restart serves the same bytes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local_sagemaker import archives
from local_sagemaker.errors import JobError
from local_sagemaker.objects import Objects


@dataclass(frozen=True, slots=True)
class Artifact:
    """An unpacked archive: its content's digest, and the folder whose `model/` holds the files."""

    digest: str
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "model"


class Artifacts:
    """The cache below one folder, one sub-folder per digest."""

    def __init__(self, root: Path, objects: Objects) -> None:
        self._root = root
        self._objects = objects

    def fetch(self, uri: str) -> Artifact:
        """Unpack the archive at the URI, or find it unpacked. Raises JobError if it is absent, unsafe or no archive."""
        archive = self._objects.path(uri)
        if not archive.is_file():
            raise JobError(f"No object at {uri}; train a model, or correct ModelDataUrl.")
        aside = self._root / f".making-{secrets.token_hex(8)}"
        try:
            (aside / "model").mkdir(parents=True)
            archives.unpack(archive, aside / "model", called=uri)
            digest = archives.digest(aside / "model")
            if not (self._root / digest).exists():
                os.replace(aside, self._root / digest)
                archives.make_read_only(self._root / digest / "model")
        finally:
            archives.remove(aside)
        return self.open(digest)

    def open(self, digest: str) -> Artifact:
        """An artifact of the cache, its content hashed again. Raises JobError if it is gone or was changed on disk."""
        artifact = Artifact(digest, self._root / digest)
        if not artifact.model.is_dir():
            raise JobError(
                f"The unpacked model {digest[:12]} is gone from {self._root}; update the endpoint to fetch it again."
            )
        if archives.digest(artifact.model) != digest:
            raise JobError(
                f"The unpacked model {digest[:12]} was changed on disk; remove {artifact.base} and update the endpoint."
            )
        return artifact

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove what no endpoint serves any more."""
        kept = set(digests)
        if self._root.is_dir():
            for folder in self._root.iterdir():
                if folder.name not in kept:
                    archives.remove(folder)
