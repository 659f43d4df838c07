"""The training set that config.yaml asks for: the same rows give the same bytes, in whatever order they are read."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.projects.datasets import training_set
from ledgerline.projects.sections import Dataset

ROWS = [{"group": f"g{n % 7}", "as_of": "2020-01-01", "features": [float(n), 1.0], "label": n % 2} for n in range(50)]
DATASET = Dataset(
    table="examples", columns=["group", "as_of", "features", "label"], entity_column="group", time_column="as_of"
)


class FakeLake:
    def __init__(self, rows: list[dict], version: int | None = 4) -> None:
        self.rows, self.newest = rows, version

    def version(self, table: str) -> int | None:
        return self.newest

    def read(self, table: str, **_: object) -> pa.Table:
        return pa.Table.from_pylist(self.rows) if self.rows else pa.table({name: [] for name in DATASET.columns})


def test_rows_in_another_order_give_the_same_bytes_even_where_only_a_list_tells_them_apart():
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    first, second = training_set(FakeLake(ROWS), DATASET), training_set(FakeLake(shuffled, 9), DATASET)
    assert (first.body, first.digest) == (second.body, second.digest)
    assert (first.version, second.version, first.rows.num_rows) == (4, 9, 50)


def test_one_changed_value_gives_another_digest():
    changed = [*ROWS[:-1], {**ROWS[-1], "features": [49.0, 2.0]}]
    assert training_set(FakeLake(changed), DATASET).digest != training_set(FakeLake(ROWS), DATASET).digest


@pytest.mark.parametrize(
    ("lake", "said"),
    [(FakeLake(ROWS, None), "The lake has no table examples"), (FakeLake([]), "No row of examples version 4 matches")],
)
def test_a_table_that_is_absent_or_has_no_matching_row_is_refused_with_the_remedy(lake, said):
    with pytest.raises(LedgerlineError, match=said):
        training_set(lake, DATASET)
