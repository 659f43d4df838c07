"""Which channel a row belongs to: by its entity, by its time, or by both. Pure functions over Arrow tables.

An entity's channel depends on nothing but its name, so that it stays where it is when rows are added. A cut in time falls
between two times, never among rows of one time.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ledgerline.errors import PermanentFailure
from ledgerline.projects.sections import Dataset, Split
from ledgerline.projects.times import UNKNOWN, micros

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = SPLIT_CHANNELS = ("train", "validation", "test")


def split_rows(rows: pa.Table, dataset: Dataset, split: Split) -> pa.Table:
    """The rows with their channel in `split.column`; rows that would break the split are left out.

    Raises PermanentFailure for a row without entity or time where the split needs one, and for a channel without rows.
    """
    if split.by == "entity":
        channel = _by_entity(rows, dataset, split)
    elif split.by == "time":
        channel = _by_time(_times(rows, dataset), split)
    else:
        times = _times(rows, dataset)
        before = times < _test_cut(np.sort(times), split)
        channel = _by_entity(rows, dataset, split)
        channel = np.where((channel == TEST) != before, channel, "")
    found = rows.append_column(split.column, pa.array(channel.tolist(), pa.string()))
    for name in (TRAIN, *((VALIDATION,) if split.validation_share else ()), TEST):
        if not (channel == name).any():
            raise PermanentFailure(
                f"The split by {split.by} of {len(channel)} rows leaves the channel {name} empty. Change dataset.split in "
                "config.yaml, or materialize more rows."
            )
    return found.filter(pa.array(channel != ""))


def entity_share(entity: object) -> float:
    """A number from 0 to 1 that belongs to an entity for good, whatever the machine and the rows around it."""
    return int.from_bytes(hashlib.sha256(str(entity).encode()).digest()[:8], "big") / 2**64


def _by_entity(rows: pa.Table, dataset: Dataset, split: Split) -> NDArray[np.str_]:
    codes = rows[dataset.entity_column].combine_chunks().dictionary_encode()
    if codes.null_count:
        raise PermanentFailure(
            f"{codes.null_count} rows have no {dataset.entity_column}, so nobody can say on which side of the split they "
            "belong. Leave them out with dataset.where, or fill the column."
        )
    shares = np.array([entity_share(entity) for entity in codes.dictionary.to_pylist()])
    bounds = [split.test_share, split.test_share + split.validation_share]
    names = np.array([TEST, VALIDATION, TRAIN])
    return names[np.searchsorted(bounds, shares, side="right")][codes.indices.to_numpy(zero_copy_only=False)]


def _by_time(times: NDArray[np.int64], split: Split) -> NDArray[np.str_]:
    ordered = np.sort(times)
    cut = _test_cut(ordered, split)
    channel = np.where(times >= cut, TEST, TRAIN).astype("<U10")
    if split.validation_share:
        before = ordered[ordered < cut]
        start = _cut(before, len(before) - split.validation_share * len(ordered), split)
        channel[(times >= start) & (times < cut)] = VALIDATION
    return channel


def _test_cut(ordered: NDArray[np.int64], split: Split) -> int:
    """The first time of the test rows."""
    if split.test_from:
        return int(micros(pa.chunked_array([[split.test_from]]), "test_from")[0])
    return _cut(ordered, len(ordered) * (1 - split.test_share), split)


def _cut(ordered: NDArray[np.int64], wanted: float, split: Split) -> int:
    """The time that begins nearest to position `wanted` of the ordered times, never the first of all."""
    starts = np.flatnonzero(np.diff(ordered)) + 1
    if not len(starts):
        raise PermanentFailure(
            f"All {len(ordered)} rows that dataset.split (by {split.by}) would part in time have one time. Materialize "
            "rows of more days, or split by entity."
        )
    return int(ordered[starts[np.argmin(np.abs(starts - wanted))]])


def _times(rows: pa.Table, dataset: Dataset) -> NDArray[np.int64]:
    times = micros(rows[dataset.time_column], dataset.time_column)
    unknown = int((times == UNKNOWN).sum())
    if unknown:
        raise PermanentFailure(
            f"{unknown} rows have no {dataset.time_column}, so they cannot be split by time. Leave them out with "
            "dataset.where, or fill the column."
        )
    return times
