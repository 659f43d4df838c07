"""The reference of config.yaml for people and editors, written from its JSON schema: `python -m ledgerline.projects.reference`.

It writes docs/model-project.schema.json and the table in docs/model-projects.md. Nothing here says what a key means: its
description, default and example stand beside the field in config.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ledgerline.projects.config import json_schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA, PAGE = "model-project.schema.json", "model-projects.md"
BEGIN, END = "<!-- written by python -m ledgerline.projects.reference -->", "<!-- end -->"
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def schema_text() -> str:
    """The JSON schema as it is published for editors."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def table_text() -> str:
    """A Markdown table with one row per key of config.yaml: key, type, default, example, meaning."""
    schema = json_schema()
    lines = ["| key | type | default | example | meaning |", "|---|---|---|---|---|"]
    for key, field, required in _keys(schema, schema, ""):
        cells = [f"`{key}`", _type(field, schema), _default(field, required), _example(field), _meaning(field, schema)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """The page with the table between its two marks written anew. Raises ValueError if a mark is missing."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"docs/{PAGE} has no place for the table; put the lines `{BEGIN}` and `{END}` where it goes.")
    return f"{before}{BEGIN}\n\n{table_text()}\n{END}{after}"


def _keys(section: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, bool]]:
    """(dotted key, its field, is it required) of a section, then of the sections in it."""
    for name, field in section["properties"].items():
        key = f"{path}{name}"
        yield key, field, name in section.get("required", [])
        inner = _section_in(field, schema)
        if inner:
            yield from _keys(inner, schema, f"{key}." if _kind(field, schema) == "section" else f"{key}[].")


def _section_in(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = next(
        (branch for branch in (field, field.get("items", {}), *field.get("anyOf", [])) if "$ref" in branch), None
    )
    return schema["$defs"][found["$ref"].rpartition("/")[2]] if found else None


def _kind(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    return "section" if _section_in(field, schema) and "items" not in field else "value"


def _type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if _kind(field, schema) == "section":
        return "section"
    if "anyOf" in field:
        return " or ".join(_type(branch, schema) for branch in field["anyOf"] if branch.get("type") != "null")
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        items = "sections" if _section_in(field, schema) else _type(field["items"], schema)
        return f"list of {items}"
    if field.get("type") == "object":
        return f"names with {_type(field['additionalProperties'], schema)}"
    return TYPES[field["type"]] + _bounds(field)


def _bounds(field: Mapping[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    if low is not None:
        return f", {low:g} or more"
    return f", at most {field['maxLength']} characters" if "maxLength" in field else ""


def _default(field: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    return f"`{_yaml(default)}`" if default not in (None, {}, []) else "none"


def _example(field: Mapping[str, Any]) -> str:
    examples = field.get("examples")
    return f"`{_yaml(examples[0])}`" if examples else ""


def _meaning(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    section = _section_in(field, schema)
    described = field.get("description") or (section or {}).get("description", "")
    return " ".join(str(described).split())


def _yaml(value: object) -> str:
    """One line of YAML, as it would stand in the file."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").strip()


def main() -> int:
    (DOCS / SCHEMA).write_text(schema_text(), encoding="utf-8")
    page = DOCS / PAGE
    page.write_text(page_with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote docs/{SCHEMA} and the table of docs/{PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
