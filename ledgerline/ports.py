"""What every room needs of the world: a lake of versioned tables, an object store, machines that parse. Ports of one room
live in that room."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

# Equality on columns; a list means "one of". Values are compared as they are stored.
Where = Mapping[str, "str | int | Sequence[str]"]


@dataclass(frozen=True, slots=True)
class LakeWrite:
    """What one write did. `version` is the table version that holds the result; it is unchanged if nothing was new."""

    table: str
    version: int
    inserted: int
    updated: int
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Compaction:
    """What folding small files did: partitions that were folded and that are left for the next time, and files of the
    table before and after."""

    table: str
    folded: int
    left: int
    files_before: int
    files_after: int


@dataclass(frozen=True, slots=True)
class Vacuum:
    """What was deleted: files that no kept version needs, and their bytes."""

    table: str
    files: int
    bytes: int


class Lake(Protocol):
    """Versioned tables (Delta Lake). A table is named `filings`, `documents`, ...; a version is a dataset version."""

    def merge(self, table: str, rows: pa.Table, *, keys: Sequence[str]) -> LakeWrite:
        """Insert rows whose `keys` are new, update rows that differ, leave equal rows alone (no new version then)."""
        ...

    def replace(self, table: str, rows: pa.Table, *, where: Where) -> LakeWrite:
        """Replace, in one commit, the rows that match `where` by `rows` (all of which must match it)."""
        ...

    def read(
        self,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, newest version unless told. Raises LedgerlineError naming the asset to materialize if absent."""
        ...

    def version(self, table: str) -> int | None:
        """The newest version, or None where the table was never written."""
        ...

    def tables(self) -> list[str]:
        """The tables that were written, by name."""
        ...

    def compact(self, table: str, *, more_than: int = 1, at_most: int | None = None) -> Compaction:
        """Fold up to `at_most` partitions of more than `more_than` files each; rows and their order stay as they are.

        Never makes another writer fail, and may be killed anywhere.
        """
        ...

    def vacuum(self, table: str, *, retention_hours: int = 168) -> Vacuum:
        """Delete what no version of the last `retention_hours` needs; older versions are then gone."""
        ...


class ObjectStore(Protocol):
    """Bytes under `s3://bucket/key` URIs. A put is atomic: a reader sees the whole new object or what was there before."""

    def uri(self, *parts: str) -> str:
        """The URI of a key in the platform's own bucket: `uri("clusters", "state")`."""
        ...

    def put(self, uri: str, body: bytes) -> str:
        """Store and return the sha256 hex digest of the body."""
        ...

    def put_file(self, uri: str, path: str | Path) -> str:
        """As `put` for a file, a block at a time."""
        ...

    def stamp(self, uri: str) -> str | None:
        """What differs once the object's bytes differ; None where there is no object."""
        ...

    def put_unless_changed(self, uri: str, body: bytes, *, stamp: str | None) -> str:
        """As `put`, if the object still has the stamp that was read before (None: is not there). Raises Overtaken if not."""
        ...

    def get(self, uri: str) -> bytes:
        """The bytes. Raises FileNotFoundError naming the URI."""
        ...

    def open_stream(self, uri: str) -> BinaryIO:
        """The bytes as a binary file to read from and close. Raises FileNotFoundError naming the URI."""
        ...

    def exists(self, uri: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """URIs below a prefix, sorted."""
        ...

    def list_stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(URI, stamp) below a prefix, sorted; the stamp of an object differs once its bytes differ."""
        ...

    def delete(self, uri: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Work for one process or container: the URI of its manifest, the URI at which it puts its result, how much it is."""

    name: str  # sha256 hex of the manifest
    manifest: str
    result: str
    filings: int
    bytes: int


# done: exit code 0. killed: by a signal, for memory or for its time, so that its input may be the cause. failed: it ended
# otherwise or never began, and its input is not the cause. lost: the machine was taken away or never there.
Ended = Literal["done", "killed", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process or container that was given a batch. `why` is empty when done; `log` is the end of its output."""

    where: str  # "process 4711", "FARGATE_SPOT 0f9de17a6465404e8b1b2356dc13c2f8"
    ended: Ended
    exit_code: int | None
    seconds: float  # from its start, which on ECS waits for a machine and an image, to its end
    why: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchRun:
    """A batch and every attempt at it; the last one tells how it ended."""

    batch: Batch
    attempts: tuple[Attempt, ...]


class Compute(Protocol):
    """Processes or containers beside this one. One batch is one of them."""

    @property
    def batch_bytes(self) -> int:
        """How many bytes of filings are worth a start; less is parsed where it is asked for."""
        ...

    @property
    def parallel(self) -> int:
        """How many batches run at once."""
        ...

    def run(self, batches: Sequence[Batch], *, objects: ObjectStore, step: Any) -> Generator[BatchRun, None, None]:
        """Run each batch on its own and yield it when it ended, in the order in which they end.

        What was `lost` is first tried again on a machine that cannot be taken away. Closing the generator stops what
        still runs. `step` is the Dagster step that asks: progress and output go to its log. Raises ConfigurationError
        where a setting is the cause, before anything runs.
        """
        ...


class Notifier(Protocol):
    """Tells the owner of an asset something, at most once per key, in the owner's channel or the one that is named."""

    def notify(self, owner: str, title: str, text: str, key: str, channel: str | None = None) -> bool:
        """Send once: True if it went out now, False if `key` is known already, or waits since it cannot be sent now."""
        ...

    def catch_up(self) -> tuple[int, int]:
        """Send what waits; how many alerts went out, and how many wait still."""
        ...
