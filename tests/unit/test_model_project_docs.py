"""The published reference of config.yaml is the one that its model gives, and the example uses it."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from ledgerline.projects.config import json_schema, load_project
from ledgerline.projects.reference import DOCS, PAGE, SCHEMA, page_with_table, schema_text, table_text
from resources.environment import ROOT

REMEDY = "run: python -m ledgerline.projects.reference"
CONFIG = ROOT / "model_projects" / "ticker_ranker" / "config.yaml"


def test_the_published_schema_is_the_one_of_config_yaml():
    assert json.loads((DOCS / SCHEMA).read_text()) == json_schema(), REMEDY
    assert (DOCS / SCHEMA).read_text() == schema_text(), REMEDY


def test_the_table_of_the_page_is_the_one_of_config_yaml():
    page = (DOCS / PAGE).read_text()
    assert page_with_table(page) == page, REMEDY


def test_the_example_names_the_schema_in_its_first_line_and_is_valid_by_it():
    first = CONFIG.read_text().splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    published = (CONFIG.parent / first.removeprefix(prefix)).resolve()
    assert published == DOCS / SCHEMA
    jsonschema.validate(yaml.safe_load(CONFIG.read_text()), json.loads(published.read_text()))


def test_comments_of_config_yaml_are_in_no_digest(tmp_path):
    folder = tmp_path / "model_projects" / "ticker_ranker"
    folder.mkdir(parents=True)
    for path in CONFIG.parent.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    before = load_project(folder)
    (folder / "config.yaml").write_text("# one more comment\n" + CONFIG.read_text())
    after = load_project(folder)
    digests = [(one.code_digest, one.dataset_digest, one.policy.digest) for one in (before, after)]
    assert digests[0] == digests[1]


def test_every_key_has_a_meaning_and_every_value_an_example():
    rows = [line.strip("| ").split(" | ") for line in table_text().splitlines()[2:]]
    assert len(rows) > 30
    without = [row[0] for row in rows if len(row) != 5 or (row[1] != "section" and not row[3].strip()) or not row[4]]
    assert without == []


@pytest.mark.parametrize(
    "section", ["gate", "serving", "dataset", "tuning", "rollout", "approvals", "triggers", "split"]
)
def test_every_example_is_accepted_where_it_stands(section):
    fields = json_schema()["$defs"][section.capitalize()]["properties"]
    schema = json_schema()
    for field in fields.values():
        for example in field.get("examples", []):  # a section has none of its own
            jsonschema.validate(example, {**field, "$defs": schema["$defs"]})


def test_a_page_without_the_marks_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match="put the lines"):
        page_with_table("# Model projects\n")
