"""The bytes of one filing, in memory or in a file, read by slices. What the bytes mean is in `sgml` and `dart`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

# What is read at a time where the whole of a body is looked through; fits the second cache of a core, twice as fast.
BLOCK_BYTES = 256 * 1024


class Body(Protocol):
    """What `bytes` and `FileBody` have in common: a length, and slices without a step that are bytes."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class FileBody:
    """A file as a body; only the slices that are asked for are in memory. Close it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened."""
        self._path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._size = os.fstat(self._file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        """Raises OSError where the file is shorter than it was when it was opened."""
        start, end, step = part.indices(self._size)
        if step != 1:
            raise ValueError(f"a body has no step of {step}")
        pieces: list[bytes] = []
        while start < end:
            piece = os.pread(self._file.fileno(), end - start, start)
            if not piece:
                raise OSError(f"{self._path} was cut while it was read; write a body whole before it is read")
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __enter__(self) -> FileBody:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()


def find_all(body: Body, token: bytes, lead: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, the at most `lead` bytes before it) of every `token` of a body, in order, reading block by block."""
    for base in range(0, len(body), BLOCK_BYTES):
        first = max(0, base - lead)
        block = body[first : base + BLOCK_BYTES + len(token) - 1]  # as long as a token that begins in this block
        at = block.find(token, base - first)
        while at >= 0:
            yield first + at, block[max(0, at - lead) : at]
            at = block.find(token, at + 1)


def content_end(body: Body, blanks: bytes) -> int:
    """The length of a body without the `blanks` at its end."""
    end = len(body)
    while end:
        start = max(0, end - BLOCK_BYTES)
        kept = len(body[start:end].rstrip(blanks))
        if kept:
            return start + kept
        end = start
    return 0
