"""The digest of a model: what was judged, what QA saw and what is live are compared by it, never by archive bytes.

A tar.gz of the same files differs with every packing (times, owners, gzip header), so the digest covers the names and
contents of the members only. The embedded SageMaker computes the same of the files that its worker serves.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from ledgerline.errors import PermanentFailure


def model_digest(archive: bytes) -> str:
    """sha256 hex over the sorted member names and contents of a model.tar.gz.

    Raises PermanentFailure if it is no tar archive, or holds links or names that lead out of their folder.
    """
    return files_digest(archive_files(archive))


def files_digest(files: Mapping[str, bytes]) -> str:
    """For each file, by name: the sha256 of its posix name, then that of its content, both raw, fed to one sha256."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(hashlib.sha256(name.encode()).digest())
        whole.update(hashlib.sha256(files[name]).digest())
    return whole.hexdigest()


def archive_files(archive: bytes) -> dict[str, bytes]:
    """Name -> content of the regular files of a tar or tar.gz; of two members with one name the later counts."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as opened:
            for member in opened:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
                    raise PermanentFailure(
                        f"The model archive has the member {member.name!r}, a link or a name that leads out of "
                        "its folder: pack only regular files below the model's folder."
                    )
                source = opened.extractfile(member)
                if source is not None:
                    files[name.as_posix()] = source.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PermanentFailure(f"The model archive is no readable tar.gz ({error}): train the model again.") from error
    return files


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of the files, without times and owners, so that equal files give equal bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()
