"""Where a pure function over many texts runs: in this process, or on an engine of many machines (`resources/engine.py`).

The answers are the same and in the same order, wherever they are computed: what a text comes to depends on nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

R = TypeVar("R")


class Engine(Protocol):
    def map(self, function: Callable[[str], R], texts: Sequence[str]) -> Iterator[R]:
        """What `function` says of each text, in their order, a bounded number ahead of the reader.

        `function` is pure and can be imported by its name. Raises what it raises, and LedgerlineError with the remedy
        where the engine cannot be reached or lost its workers.
        """
        ...


class OneProcess:
    """Here, one after the other."""

    def map(self, function: Callable[[str], R], texts: Sequence[str]) -> Iterator[R]:
        return map(function, texts)


def by_content(texts: Sequence[str], shards: int) -> list[list[int]]:
    """The places of the texts of each shard. A text's shard is that of its digest: equal texts share one, everywhere."""
    places: list[list[int]] = [[] for _ in range(shards)]
    for place, text in enumerate(texts):
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        places[int.from_bytes(digest[:8], "big") % shards].append(place)
    return places
