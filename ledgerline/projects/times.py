"""Columns of times as whole microseconds since 1970 UTC, so that a join, a split and the leak gate compare alike.

What a lake table may hold: Arrow timestamps (without a zone: UTC), Arrow dates, and ISO text. A day counts from its first
moment in UTC: what was knowable in the course of a day was not knowable at `2025-07-01`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ledgerline.errors import PermanentFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = np.iinfo(np.int64).max  # after everything: what nobody knows the time of was known at no time


def micros(column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    """Microseconds per row, UNKNOWN where null. Raises PermanentFailure naming the column and the first bad value."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        found = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    elif pa.types.is_date(kind):
        found = column.cast(pa.timestamp("us"))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = _parsed(column, name)
    elif pa.types.is_null(kind):
        return np.full(len(column), UNKNOWN)
    else:
        raise PermanentFailure(f"The column {name} holds {kind}, no times. Name a column of timestamps or ISO days.")
    return pc.fill_null(found.cast(pa.int64()), UNKNOWN).to_numpy(zero_copy_only=False)


def _parsed(column: pa.ChunkedArray, name: str) -> Any:
    import pandas as pd

    distinct = pc.unique(column).drop_null().to_pylist()
    parsed = pd.to_datetime(pd.Series(distinct, dtype="object"), utc=True, format="ISO8601", errors="coerce")
    wrong = [text for text, time in zip(distinct, parsed, strict=True) if time is pd.NaT]
    if wrong:
        raise PermanentFailure(
            f"The column {name} holds {wrong[0]!r}, which is no ISO time. Write e.g. 2025-07-01 or 2025-07-01T09:30:00Z."
        )
    times = pa.array(parsed.dt.tz_localize(None), type=pa.timestamp("us"), from_pandas=True)
    return times.take(pc.index_in(column, value_set=pa.array(distinct, column.type)).combine_chunks())
