"""Tables over hashed features that grow with the number of documents: frequencies, and who had a rare feature lately.

Both are pure functions of the documents in their order of arrival: they are not saved, but built again.
Nothing here knows what a similarity is; that is near_duplicates.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ledgerline.clusters.features import U32

RING = 4  # recent documents per rare feature: what matters is near in time, and every list stays short
# Buckets per document. A document brings some 200 new features; at this size two of them rarely share a count, and the
# memory per document stays the same however many documents there are (256-512 bytes for each of the two tables).
FREQUENCY_BUCKETS = 64
POSTING_BUCKETS = 16
SMALLEST_BITS = 16


class GrowingArray:
    """A one-dimensional array with amortised appends."""

    def __init__(self, values: NDArray) -> None:
        self._values = values
        self.size = values.size

    def extend(self, values: NDArray) -> None:
        needed = self.size + values.size
        if needed > self._values.size:
            larger = np.zeros(max(needed, 2 * self._values.size, 1024), dtype=self._values.dtype)
            larger[: self.size] = self._values[: self.size]
            self._values = larger
        self._values[self.size : needed] = values
        self.size = needed

    @property
    def values(self) -> NDArray:
        """A view of what was appended so far; not to be kept over the next append."""
        return self._values[: self.size]


def buckets(ids: U32, bits: int) -> NDArray[np.int64]:
    """Fibonacci hashing: the upper bits of a product with 2^64 / golden ratio."""
    product = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (product >> np.uint64(64 - bits)).astype(np.int64)


def bits_for(documents: int, per_document: int) -> int:
    return max(SMALLEST_BITS, (documents * per_document - 1).bit_length())


class FeatureIndex:
    """Document frequencies (uint32 per bucket) and rings of recent documents (4 x int32 per bucket, newest first)."""

    def __init__(self, documents: int = 0) -> None:
        """Empty tables, large enough for that many documents."""
        self._frequency_bits = bits_for(documents, FREQUENCY_BUCKETS)
        self._posting_bits = bits_for(documents, POSTING_BUCKETS)
        self._frequencies = np.zeros(1 << self._frequency_bits, dtype=np.uint32)
        self._rings = np.full((1 << self._posting_bits, RING), -1, dtype=np.int32)

    def holds(self, documents: int) -> bool:
        """Whether the tables are large enough for that many documents."""
        return bits_for(documents, FREQUENCY_BUCKETS) <= self._frequency_bits

    def count(self, ids: U32) -> None:
        """Count features of any number of documents: each once for every document that has it."""
        np.add.at(self._frequencies, buckets(ids, self._frequency_bits), np.uint32(1))

    def frequencies(self, ids: U32) -> U32:
        """In how many documents each feature was counted; too high by a little where features share a bucket."""
        return self._frequencies[buckets(ids, self._frequency_bits)]

    def recent(self, ids: U32) -> NDArray[np.int32]:
        """The recent documents of all these features, one entry for each ring that a document is found in."""
        found = self._rings[np.unique(buckets(ids, self._posting_bits))].ravel()
        return found[found >= 0]

    def post(self, ids: U32, documents: NDArray[np.int32]) -> None:
        """Enter documents (ascending, one for each id) in the rings of their features."""
        places = buckets(ids, self._posting_bits)
        order = np.argsort(places, kind="stable")
        places, documents = places[order], documents[order]
        last_of_pair = np.ones(places.size, dtype=bool)
        last_of_pair[:-1] = (places[1:] != places[:-1]) | (documents[1:] != documents[:-1])
        places, documents = places[last_of_pair], documents[last_of_pair]
        if not places.size:
            return
        ends = np.flatnonzero(np.append(places[1:] != places[:-1], True))
        counts = np.diff(ends, prepend=-1)
        age = np.repeat(ends, counts) - np.arange(places.size)  # 0 is the newest of its ring
        fresh = np.minimum(counts, RING)
        for new in range(1, RING + 1):
            rows = places[ends[fresh == new]]
            self._rings[rows, new:] = self._rings[rows, : RING - new]
        enters = age < RING
        self._rings[places[enters], age[enters]] = documents[enters]
