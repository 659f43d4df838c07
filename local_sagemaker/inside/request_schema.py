"""The training schema of a model, and what of a request is outside of it. One file, standard library only.

`schema.json` at the root of model.tar.gz:

    {"columns": [{"name": "age", "type": "integer", "nullable": true, "min": 18, "max": 99},
                 {"name": "state", "type": "string", "classes": ["CA", "NY"]}]}

`type` is number, integer, string or boolean; the other members are optional, and a column is not nullable unless it
says so. A request is a record, a list of records, {"instances": [...]}, or JSON Lines of records; `at`, a list of keys
(lists on the way are entered), names another place. A record is an object, or a list of values in the columns' order;
columns that the schema does not know are not looked at. A project that is served elsewhere copies this file beside its
inference.py and asks it in input_fn.
"""

import json
import math
import sys
from pathlib import Path

KINDS = {"number": (int, float), "integer": (int,), "string": (str,), "boolean": (bool,)}
MEMBERS = {"name", "type", "nullable", "min", "max", "classes"}
MAX_CLASSES = 50  # `describe` takes more different strings than these for free text
MAX_FOUND = 100  # violations that are listed of one request


class Schema:
    """The columns of one model. Raises ValueError for what is no schema."""

    def __init__(self, definition):
        self._at = definition.get("at")
        self._columns = [_checked(column) for column in definition["columns"]]
        self._names = [column["name"] for column in self._columns]
        self._fast = [_limits(column) for column in self._columns]

    @classmethod
    def load(cls, path):
        """The schema in the file; None where there is no file, or none with columns."""
        if not Path(path).is_file():
            return None
        try:
            definition = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(definition) if "columns" in definition else None
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"schema.json of the model is no request schema: {error}; correct train.py.") from error

    def violations(self, body, content_type="application/json"):
        """What of a request (text) is outside the schema, each with record, column, value and what was expected.

        At most MAX_FOUND. A body that is no JSON has none: the model's own input_fn refuses it.
        """
        try:
            if content_type == "application/jsonlines":
                records = [json.loads(line) for line in body.split("\n") if line.strip()]
            else:
                records = self._records(json.loads(body))
        except ValueError:
            return []
        found: list = []
        for number, record in enumerate(records, start=1):
            if len(found) >= MAX_FOUND:
                break
            if isinstance(record, dict):
                values = [record.get(name) for name in self._names]
            elif isinstance(record, list) and len(record) == len(self._names):
                values = record
            else:
                size = f"a list of {len(record)}" if isinstance(record, list) else _shown(record)
                found.append(f"record {number} is {size}, expected an object or {len(self._names)} values")
                continue
            for (kinds, low, high, classes), column, value in zip(self._fast, self._columns, values, strict=True):
                # Nearly every value is of its type and in its range; only what is not is looked at closely.
                if type(value) in kinds and (low is None or low <= value <= high) and (not classes or value in classes):
                    continue
                expected = _expected(column, value)
                if expected:
                    found.append(f"record {number}: {column['name']} is {_shown(value)}, expected {expected}")
        return found[:MAX_FOUND]

    def _records(self, value):
        if self._at is None:
            value = value["instances"] if isinstance(value, dict) and "instances" in value else value
            return value if isinstance(value, list) else [value]
        values = [value]
        for key in self._at:
            values = [one[key] for one in _entered(values) if isinstance(one, dict) and key in one]
        return _entered(values) if values and all(map(_holds_records, values)) else values


def _entered(values):
    return [item for one in values for item in (one if isinstance(one, list) else [one])]


def _holds_records(value):
    return isinstance(value, list) and all(isinstance(item, (dict, list)) for item in value)


def _checked(column):
    if not isinstance(column, dict):
        raise ValueError(f"`columns` is a list of objects with name and type, but {_shown(column)} is in it")
    unknown = sorted(set(column) - MEMBERS)
    if unknown:
        raise ValueError(f"column {column.get('name')!r} has the unknown members {unknown}")
    if not isinstance(column["name"], str) or not column["name"].isprintable():
        raise ValueError(f"the name {column['name']!r} of a column is no printable string")
    if column["type"] not in KINDS:
        raise ValueError(f"column {column['name']!r} is of type {column['type']!r}, not of {sorted(KINDS)}")
    for member in ("min", "max"):
        if type(column.get(member, 0)) not in KINDS["number"]:
            raise ValueError(f"{member} of column {column['name']!r} is no number")
    return column


def _limits(column):
    """Types, least and greatest value (None: not a number) and classes."""
    low = high = None
    if column["type"] in ("number", "integer"):
        low, high = column.get("min", -sys.float_info.max), column.get("max", sys.float_info.max)
    return KINDS[column["type"]], low, high, frozenset(column.get("classes", ()))


def _expected(column, value):
    """What was expected instead of the value; None where the value is right after all."""
    kind, classes = column["type"], column.get("classes")
    if value is None:
        return None if column.get("nullable") else f"a value ({kind}): the column had no nulls in training"
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) not in KINDS[kind]:
        return f"a value of type {kind}"
    if kind in ("number", "integer"):
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if "min" in column and value < column["min"]:
            return f"at least {column['min']}"
        if "max" in column and value > column["max"]:
            return f"at most {column['max']}"
    if classes and value not in classes:
        return f"one of {', '.join(map(_shown, classes[:10]))}{', ...' if len(classes) > 10 else ''}"
    return None


def _shown(value):
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def describe(columns):
    """The definition for columns of training data, {name: values}, as train.py writes it to schema.json.

    The values are plain ones of Python (`.tolist()` of an array); None and NaN are nulls. Strings of at most
    MAX_CLASSES different values are classes.
    """
    return {"columns": [_described(name, values) for name, values in columns.items()]}


def _described(name, values):
    present = [value for value in values if value is not None and value == value]  # NaN is not itself
    column = {"name": name}
    kinds = {type(value) for value in present}
    if kinds <= {bool} and present:
        column["type"] = "boolean"
    elif kinds <= {int, float} and present:
        column |= {"type": "integer" if kinds == {int} else "number", "min": min(present), "max": max(present)}
    elif kinds <= {str} and present:
        column["type"] = "string"
        if len(set(present)) <= MAX_CLASSES:
            column["classes"] = sorted(set(present))
    else:
        raise ValueError(f"column {name!r} has values of {sorted(kind.__name__ for kind in kinds)}; give one type.")
    if len(present) < len(values):
        column["nullable"] = True
    return column
