"""Content digests of tables and files, so that equal content is known to be equal wherever it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa


def table_digest(table: pa.Table) -> str:
    """sha256 hex of the rows in their order, independent of chunking and of schema metadata."""
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def combined_digest(digests: Mapping[str, str]) -> str:
    """One digest of several, whatever their order."""
    return hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes, read a block at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
