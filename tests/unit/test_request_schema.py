"""The training schema at serving: what is inside it, what is outside, and in which words it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local_sagemaker.inside.request_schema import MAX_FOUND, Schema, describe

COLUMNS = [
    {"name": "age", "type": "integer", "min": 18, "max": 99},
    {"name": "income", "type": "number", "min": 0.0, "nullable": True},
    {"name": "state", "type": "string", "classes": ["CA", "NY"]},
    {"name": "member", "type": "boolean"},
]
GOOD = {"age": 40, "income": 10.5, "state": "CA", "member": True}
SCHEMA = Schema({"columns": COLUMNS})


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        [GOOD, {**GOOD, "age": 18.0}],
        {"instances": [GOOD, [99, None, "NY", False]]},
        {**GOOD, "income": None, "unknown": [1]},
        {key: value for key, value in GOOD.items() if key != "income"},
        [],
    ],
)
def test_what_training_has_seen_is_inside(body: Any) -> None:
    assert SCHEMA.violations(json.dumps(body)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"age": 140}, "record 1: age is 140, expected at most 99"),
        ({"age": 17}, "record 1: age is 17, expected at least 18"),
        ({"age": 40.5}, "record 1: age is 40.5, expected a value of type integer"),
        ({"age": True}, "record 1: age is true, expected a value of type integer"),
        ({"age": None}, "record 1: age is null, expected a value (integer): the column had no nulls in training"),
        ({"income": float("nan")}, "record 1: income is NaN, expected a finite number"),
        ({"income": float("inf")}, "record 1: income is Infinity, expected a finite number"),
        ({"income": "12"}, 'record 1: income is "12", expected a value of type number'),
        ({"income": [1]}, "record 1: income is [1], expected a value of type number"),
        ({"state": "TX"}, 'record 1: state is "TX", expected one of "CA", "NY"'),
        ({"member": 1}, "record 1: member is 1, expected a value of type boolean"),
    ],
)
def test_a_value_outside_is_named_with_its_column_and_what_was_expected(changed: dict, said: str) -> None:
    assert SCHEMA.violations(json.dumps(GOOD | changed)) == [said]


def test_records_are_counted_over_json_lines_and_lists() -> None:
    lines = f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD | {'age': 1})}\n"
    assert SCHEMA.violations(lines, "application/jsonlines") == ["record 2: age is 1, expected at least 18"]
    odd = json.dumps(
        GOOD | {"state": "C\u2028A"}, ensure_ascii=False
    )  # a separator of lines to Python, not to JSON Lines
    assert SCHEMA.violations(odd, "application/jsonlines")[0].startswith('record 1: state is "C\\u2028A"')
    assert SCHEMA.violations(json.dumps([GOOD, 7, [1, 2]])) == [
        "record 2 is 7, expected an object or 4 values",
        "record 3 is a list of 2, expected an object or 4 values",
    ]


def test_what_is_no_json_is_left_to_the_model() -> None:
    assert SCHEMA.violations("{") == []


def test_a_request_of_many_violations_lists_some_of_them() -> None:
    for record in ({}, 7):
        assert len(SCHEMA.violations(json.dumps([record] * 1000))) == MAX_FOUND


def test_records_deep_in_a_request_are_found_by_their_keys() -> None:
    columns = [{"name": "x", "type": "number", "max": 1}, {"name": "y", "type": "number"}]
    deep = Schema({"at": ["groups", "rows"], "columns": columns})
    body = {"groups": [{"rows": [0, 1]}, {"rows": [2, 1]}, {"other": 1}]}
    assert deep.violations(json.dumps(body)) == ["record 2: x is 2, expected at most 1"]
    of_objects = {"groups": {"rows": [{"x": 0, "y": 0}, {"x": 3, "y": 0}]}}
    assert deep.violations(json.dumps(of_objects)) == ["record 2: x is 3, expected at most 1"]


def test_the_schema_of_training_data_accepts_that_data_and_nothing_beyond() -> None:
    rows = [GOOD, {"age": 20, "income": None, "state": "NY", "member": False}]
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in GOOD}
    columns["income"][0] = 3
    schema = Schema(json.loads(json.dumps(describe(columns))))
    assert schema.violations(json.dumps([{**GOOD, "income": 3}, rows[1]])) == []
    assert len(schema.violations(json.dumps({"age": 41, "income": 2, "state": "TX", "member": None}))) == 4
    assert "classes" not in describe({"text": [str(number) for number in range(60)]})["columns"][0]


@pytest.mark.parametrize("values", [[], [None], [1, "a"], [{}]])
def test_a_column_without_one_type_has_no_schema(values: list) -> None:
    with pytest.raises(ValueError, match="column 'c'"):
        describe({"c": values})


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"name": "a", "type": "date"}, "of type 'date'"),
        ({"name": "a", "type": "number", "minimum": 1}, "unknown members"),
        ({"name": "a", "type": "number", "min": "1"}, "min of column 'a'"),
        ({"type": "number"}, "'name'"),
        ({"name": "a\r\nx-header: 1", "type": "number"}, "no printable string"),
        ({"name": "a", "type": "string", "classes": [[]]}, "unhashable"),
    ],
)
def test_a_wrong_schema_says_where(tmp_path: Path, column: dict, said: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"columns": [column]}))
    with pytest.raises(ValueError, match=said):
        Schema.load(path)


def test_columns_by_name_are_no_list_and_the_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"columns": {"size": {"type": "number"}}}')
    with pytest.raises(ValueError, match='`columns` is a list of objects with name and type, but "size" is in it'):
        Schema.load(tmp_path / "schema.json")


def test_a_file_without_columns_is_somebody_elses(tmp_path: Path) -> None:
    assert Schema.load(tmp_path / "schema.json") is None
    (tmp_path / "schema.json").write_text('{"feature_names": ["a"]}')
    assert Schema.load(tmp_path / "schema.json") is None
