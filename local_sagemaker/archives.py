"""tar.gz archives: packed so that equal folders give equal bytes, unpacked so that no member's name is trusted."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path, PurePosixPath

from local_sagemaker.errors import JobError

MAX_MEMBERS = 100_000
MAX_BYTES = 20 * 1024**3  # unpacked; a small archive that claims more is a bomb


def pack(folder: Path) -> bytes:
    """A tar.gz of the regular files of a folder: sorted, without times and owners, so that only content counts."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in files_of(folder):
            body = (folder / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(body)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def files_of(folder: Path) -> list[str]:
    """Relative posix names of the regular files below a folder (links are left out), sorted."""
    names = []
    for parent, _, files in os.walk(folder):
        for name in files:
            path = Path(parent) / name
            if stat.S_ISREG(path.lstat().st_mode):
                names.append(path.relative_to(folder).as_posix())
    return sorted(names)


def unpack(archive: Path, target: Path, *, called: str) -> None:
    """Unpack regular files and folders of a tar.gz into `target`. `called` names the archive in the error.

    Raises JobError for absolute names, '..', links, devices, too many members or bytes, and for what is no tar.gz.
    """
    members, total = 0, 0
    try:
        with tarfile.open(archive, mode="r:*") as opened:
            for member in opened:
                members += 1
                total += member.size
                if members > MAX_MEMBERS or total > MAX_BYTES:
                    raise JobError(
                        f"{called} unpacks to more than {MAX_MEMBERS} files or {MAX_BYTES} bytes; it is refused."
                    )
                _unpack_member(opened, member, target, called)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise JobError(f"{called} is not a readable tar.gz archive ({error}); pack it again.") from error


def _unpack_member(opened: tarfile.TarFile, member: tarfile.TarInfo, target: Path, called: str) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise JobError(f"{called} has the member {member.name!r}, which leads out of its folder; pack it again.")
    place = target.joinpath(*name.parts)
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    source = opened.extractfile(member) if member.isreg() else None
    if source is None:
        raise JobError(
            f"{called} has the member {member.name!r}, which is a link or a device; pack only regular files."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    with source, place.open("wb") as out:
        while block := source.read(1 << 20):
            out.write(block)
    if member.mode & stat.S_IXUSR:
        place.chmod(0o755)


def digest(folder: Path) -> str:
    """sha256 hex over the sorted names and contents of a folder: the same for every tar.gz that unpacks to it.

    For each file: the sha256 of its posix name, then the sha256 of its content, both raw, fed to one sha256.
    """
    whole = hashlib.sha256()
    for name in files_of(folder):
        whole.update(hashlib.sha256(name.encode()).digest())
        with (folder / name).open("rb") as file:
            content = hashlib.sha256()
            while block := file.read(1 << 20):
                content.update(block)
        whole.update(content.digest())
    return whole.hexdigest()


def make_read_only(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chmod(Path(parent) / name, 0o444)
        os.chmod(parent, 0o555)  # noqa: S103 - read and enter, write for nobody


def remove(folder: Path) -> None:
    """Remove a folder that may have been made read-only."""
    if not folder.exists():
        return
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o700)
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(Path(parent) / name)
        for name in folders:
            path = Path(parent) / name
            path.unlink() if path.is_symlink() else path.rmdir()
    folder.rmdir()
