"""Point-in-time joins and splits: nothing of a row's future reaches it, and no entity and no moment is on two sides."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgerline.errors import ConfigurationError, PermanentFailure
from ledgerline.projects.datasets import join_as_of, training_set
from ledgerline.projects.sections import Dataset, Join, Split
from ledgerline.projects.splits import entity_share, split_rows
from ledgerline.projects.times import UNKNOWN, micros

JOIN = Join(table="facts", keys=["company"], columns=["sector"], available_column="known_at")
DAY = datetime(2025, 1, 1, tzinfo=timezone.utc)


def days(*numbers: int | None) -> list[datetime | None]:
    return [None if number is None else DAY + timedelta(days=number) for number in numbers]


def facts(*rows: tuple[str | None, int | None, str | None]) -> pa.Table:
    schema = pa.schema([("company", pa.string()), ("known_at", pa.timestamp("us", tz="UTC")), ("sector", pa.string())])
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table([list(columns[0]), days(*columns[1]), list(columns[2])], schema=schema)


def asked(*rows: tuple[str | None, int | None]) -> pa.Table:
    schema = pa.schema([("company", pa.string()), ("at", pa.timestamp("us", tz="UTC"))])
    return pa.table([[row[0] for row in rows], days(*(row[1] for row in rows))], schema=schema)


def joined(rows: pa.Table, other: pa.Table, join: Join = JOIN) -> list[object]:
    return join_as_of(rows, other, join, time_column="at")["sector"].to_pylist()


def test_the_newest_value_that_was_known_at_the_row_s_own_time_counts_and_at_exactly_that_time_it_was():
    known = facts(("a", 3, "late"), ("a", 1, "early"), ("b", 0, "other"))
    assert joined(asked(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 9)), known) == [
        None, "early", "early", "late", "late",
    ]  # fmt: skip


def test_what_nobody_knows_the_time_of_and_what_has_no_key_is_never_joined():
    known = facts(("a", None, "when?"), (None, 0, "whose?"))
    assert joined(asked(("a", 5), (None, 5), ("a", None)), known) == [None, None, None]
    assert joined(asked(("a", 5)), facts()) == [None]


def test_of_rows_known_at_one_moment_the_same_one_counts_in_whatever_order_they_are_read():
    rows = [("a", 1, "x"), ("a", 1, "z"), ("a", 1, None), ("a", 1, "y")]
    assert joined(asked(("a", 1)), facts(*rows)) == joined(asked(("a", 1)), facts(*reversed(rows))) == ["z"]


def test_values_keep_their_type_and_a_list_is_joined_as_it_is():
    other = pa.table(
        {"company": ["a"], "known_at": ["2025-01-01"], "sector": [[1, 2]], "size": pa.array([7], pa.int8())}
    )
    join = Join(table="facts", keys=["company"], columns=["sector", "size"], available_column="known_at")
    found = join_as_of(asked(("a", 3), ("b", 3)), other, join, time_column="at")
    assert found["sector"].to_pylist() == [[1, 2], None]
    assert found.schema.field("size").type == pa.int8()


def test_keys_of_other_types_are_refused_by_name():
    with pytest.raises(PermanentFailure, match="company is string in the dataset, but int64 in facts"):
        joined(asked(("a", 1)), pa.table({"company": [1], "known_at": ["2025-01-01"], "sector": ["x"]}))


moments = st.integers(0, 6) | st.none()
companies = st.sampled_from(["a", "b", None])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(companies, moments), min_size=1, max_size=12),
    st.lists(st.tuples(companies, moments, st.sampled_from("xyz") | st.none()), max_size=12),
)
def test_the_join_is_what_a_reader_who_looks_at_every_row_would_find(rows, others):
    def by_hand(company, at):
        known = [
            (when, sector is not None, sector or "")
            for other, when, sector in others
            if None not in (company, at, when) and other == company and when <= at
        ]
        return (max(known)[2] or None) if known else None

    assert joined(asked(*rows), facts(*others)) == [by_hand(*row) for row in rows]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.chunked_array([["1970-01-01", "1970-01-01T00:00:01Z", "1970-01-01T01:00:00+01:00", None]]), [0, 10**6, 0]),
        (pa.chunked_array([pa.array([date(1970, 1, 2), None])]), [86_400 * 10**6]),
        (pa.chunked_array([pa.array([datetime(1970, 1, 1, 0, 0, 2), None])]), [2 * 10**6]),
    ],
)
def test_days_times_and_text_are_one_scale_and_null_is_after_everything(column, expected):
    assert micros(column, "at").tolist() == [*expected, UNKNOWN]


@pytest.mark.parametrize(("values", "said"), [(["soon"], "'soon', which is no ISO time"), ([1.5], "holds double")])
def test_a_column_without_times_is_refused_by_name(values, said):
    with pytest.raises(PermanentFailure, match=f"The column at .*{said}"):
        micros(pa.chunked_array([values]), "at")


# Splits --------------------------------------------------------------------------------------------------------------


def dataset(**split: object) -> Dataset:
    shares = {"validation_share": 0.2, "test_share": 0.3, **split}
    channels = ["train", "validation", "test"] if shares["validation_share"] else ["train", "test"]
    return Dataset(
        table="t", columns=["company", "at"], entity_column="company", time_column="at", channels=channels,
        split=Split(**shares),
    )  # fmt: skip


def rows_of(count: int, *, entities: int = 40, moments: int = 50) -> pa.Table:
    return asked(*((f"c{number * 7 % entities}", number * 13 % moments) for number in range(count)))


def split_of(rows: pa.Table, chosen: Dataset) -> list[dict]:
    return split_rows(rows, chosen, chosen.split).to_pylist()


def sides(rows: list[dict], column: str) -> dict[str, set]:
    return {name: {row[column] for row in rows if row["channel"] == name} for name in ("train", "validation", "test")}


@pytest.mark.parametrize("by", ["entity", "entity_and_time"])
def test_no_entity_is_on_two_sides(by):
    found = sides(split_of(rows_of(400), dataset(by=by)), "company")
    assert all(found.values())
    assert not found["train"] & found["test"]
    assert not found["train"] & found["validation"]
    assert not found["validation"] & found["test"]


@pytest.mark.parametrize("by", ["time", "entity_and_time"])
def test_every_test_row_is_later_than_all_that_is_learned_from(by):
    found = sides(split_of(rows_of(400), dataset(by=by)), "at")
    assert max(found["train"] | found["validation"]) < min(found["test"])


def test_in_time_validation_is_between_train_and_test_and_no_row_is_left_out():
    rows = split_of(rows_of(400), dataset(by="time"))
    found = sides(rows, "at")
    assert max(found["train"]) < min(found["validation"])
    counts = {name: sum(row["channel"] == name for row in rows) for name in found}
    assert counts == {"train": 200, "validation": 80, "test": 120}


def test_an_entity_stays_where_it_is_when_rows_are_added():
    few, many = (sides(split_of(rows_of(n), dataset(by="entity")), "company") for n in (200, 2000))
    assert all(few[name] <= many[name] for name in few)
    assert round(entity_share("c1"), 6) == 0.816257  # for good: a model's rows must be made again years later


def test_test_from_names_the_first_day_of_the_test_rows():
    found = sides(split_of(rows_of(400), dataset(by="time", test_from="2025-02-01")), "at")
    assert min(found["test"]) == datetime(2025, 2, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("rows", "split", "said"),
    [
        (asked(("a", 1), ("a", 1)), {"by": "time"}, "have one time"),
        (asked(("a", 1), ("a", 2)), {"by": "entity"}, "leaves the channel .* empty"),
        (asked(("a", 1), (None, 2)), {"by": "entity"}, "1 rows have no company"),
        (asked(("a", 1), ("b", None)), {"by": "time"}, "1 rows have no at"),
    ],
)
def test_rows_that_cannot_be_split_are_refused_with_the_remedy(rows, split, said):
    with pytest.raises(PermanentFailure, match=said):
        split_of(rows, dataset(**split))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=4, max_size=60), st.sampled_from([0.1, 0.25, 0.5]))
def test_a_cut_in_time_never_parts_rows_of_one_time(times, share):
    chosen = dataset(by="time", test_share=share, validation_share=0)
    try:
        rows = split_of(asked(*(("a", time) for time in times)), chosen)
    except PermanentFailure:
        assert len(set(times)) == 1
        return
    found = sides(rows, "at")
    assert not found["train"] & found["test"]
    assert len(rows) == len(times)


# The whole training set ----------------------------------------------------------------------------------------------


class FakeLake:
    """Tables by name and version."""

    def __init__(self, **tables: list[pa.Table]) -> None:
        self.tables = tables

    def version(self, table: str) -> int | None:
        return len(self.tables[table]) - 1 if table in self.tables else None

    def read(self, table: str, *, columns=None, where=None, version=None) -> pa.Table:
        return self.tables[table][-1 if version is None else version].select(columns)


CHOSEN = Dataset(
    table="rows", columns=["company", "at"], entity_column="company", time_column="at", joins=[JOIN],
    channels=["train", "test"], split=Split(by="entity", validation_share=0, test_share=0.3),
)  # fmt: skip


def test_the_recorded_versions_make_the_very_same_training_set_again_after_both_tables_changed():
    before, known = rows_of(100), facts(("c1", 0, "steel"))
    lake = FakeLake(rows=[before], facts=[known])
    first = training_set(lake, CHOSEN)
    lake.tables["rows"].append(rows_of(150))
    lake.tables["facts"].append(facts(("c1", 0, "copper")))
    newest = training_set(lake, CHOSEN)
    again = training_set(lake, CHOSEN, version=first.version, joined=first.joined)
    assert (first.version, first.joined, newest.version, newest.joined) == (0, {"facts": 0}, 1, {"facts": 1})
    assert again.body == first.body
    assert newest.digest != first.digest
    with pytest.raises(ConfigurationError, match="no version of facts"):
        training_set(lake, CHOSEN, version=0)


def test_rows_in_another_order_give_the_same_bytes_after_joins_and_split():
    rows = rows_of(100)
    other = rows.take(list(reversed(range(100))))
    known = facts(("c1", 0, "x"), ("c1", 0, "y"))
    sets = [training_set(FakeLake(rows=[one], facts=[known]), CHOSEN) for one in (rows, other)]
    assert sets[0].digest == sets[1].digest
    assert sets[0].rows.column_names == ["company", "at", "sector", "channel"]
