"""config.yaml of a model project: what is read, and what exactly is said about each mistake."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import SCRIPTS, ProjectMistakes, json_schema, load_project, load_projects
from ledgerline.release.rollout import AlarmRule, Rollout
from tests.unit.release_fakes import CONFIG as RELEASE
from tests.unit.release_fakes import World

GOOD = """\
name: demo
description: A demonstration.
owner: team:mapping
dataset:
  table: examples
  columns: [group, as_of, x, label]
  entity_column: group
  time_column: as_of
image: ledgerline/python:1
hyperparameters: {rounds: 10, rate: 0.1, flat: true, kind: fast}
metrics:
  - {name: accuracy, direction: maximize, regex: "accuracy=([-+0-9.eE]+)"}
  - {name: loss, direction: minimize}
gate:
  rules:
    - {metric: accuracy, at_least: 0.9}
    - {metric: loss, not_worse_than_live_by: 0.1}
  slices:
    - {by: kind, metric: accuracy, at_least: 0.5}
approval: manual
schedule: {cron: "30 6 * * 1-5", timezone: America/New_York}
tags: {cost-center: research}
"""


# Appended to GOOD, as line 23 -> what is said.
SECTIONS = [
    (
        "tuning: {metric: accuracy, ranges: {rate: {min: 0.1}}}",
        "tuning.ranges.rate: expected either `values`, or `min` and "
        "`max`. Write e.g. `{min: 0.01, max: 0.3, scale: log}`.",
    ),
    (
        "tuning: {metric: accuracy, ranges: {rate: {min: 3, max: 1}}}",
        "tuning.ranges.rate: min 3 is not less than max 1. Correct it.",
    ),
    (
        "tuning: {metric: accuracy, ranges: {rate: {min: 0, max: 1, scale: log}}}",
        "tuning.ranges.rate: a log scale needs bounds greater than 0. Write e.g. `{min: 0.01, max: 0.3, scale: log}`.",
    ),
    (
        "tuning: {metric: accuracy, strategy: grid, ranges: {rate: {min: 1, max: 2}}}",
        "tuning: strategy is `grid`, but rate has no `values`. Write e.g. `rate: {values: [1, 2, 4]}`.",
    ),
    (
        "tuning: {metric: loss, ranges: {rate: {values: [1, 2]}}}",
        "tuning.metric: `loss` is no metric that train.py prints (one with a regex). Printed: accuracy.",
    ),
    (
        "serving: {rollout: {kind: canarry}}",
        "serving.rollout.kind: `canarry` is none of all_at_once, canary, linear, rolling; did you mean `canary`?",
    ),
    (
        "batch_transform: {table: t, columns: [a, b], key: [c], output_table: o}",
        "batch_transform: key `c` is not among batch_transform.columns. Correct it.",
    ),
    (
        "batch_transform: {table: t, columns: [a], key: [a], output_table: o, joins: [{table: u, keys: [a], columns: [b]}]}",
        "batch_transform: joins need a time_column that is one of batch_transform.columns. "
        "Write e.g. `time_column: available_at`.",
    ),
    (
        "batch_transform: {table: t, columns: [a], key: [a], output_table: t}",
        "batch_transform: the answers would be written into `t`, which is read. Correct it.",
    ),
    (
        "batch_transform: {table: t, columns: [answer], key: [answer], output_table: o}",
        "batch_transform: answer is a column of the answers: it cannot be a key. Correct it.",
    ),
]
DATASETS = [
    (
        "split: {by: entity, test_share: 0.9, validation_share: 0.1}",
        "dataset.split: test_share and validation_share leave no row to train on. Write e.g. `test_share: 0.2`.",
    ),
    (
        "split: {by: entity, test_from: '2025-07-01'}",
        "dataset.split: test_from splits by time, but `by` is `entity`. Write e.g. `by: entity_and_time`.",
    ),
    ("split: {by: time, test_from: july}", 'dataset.split.test_from: `july` is no day. Write e.g. `"2025-07-01"`.'),
    (
        "split: {by: time, column: x}",
        "dataset: split.column `x` is a column of the dataset already. Write e.g. `column: part`.",
    ),
    (
        "label_column: labl",
        "dataset: label_column `labl` is not among the columns of the dataset; did you mean `label`?",
    ),
    ("available: {x: known_at}", "dataset: available `known_at` is not among the columns of the dataset. Correct it."),
    (
        "joins: [{table: t, keys: [group], columns: [x]}]",
        "dataset: the column x stands twice in dataset.columns and dataset.joins. Correct it.",
    ),
    (
        "joins: [{table: t, keys: [grup], columns: [y]}]",
        "dataset: the key `grup` of the join with t is not among dataset.columns; did you mean `group`?",
    ),
    (
        "split: {by: entity, validation_share: 0}",
        "dataset: dataset.split makes the channels train, test, but dataset.channels are train, validation, test. "
        "Write e.g. `channels: [train, test]`.",
    ),
]


def project(tmp_path: Path, text: str = GOOD, name: str = "demo", without: str | None = None) -> Path:
    folder = tmp_path / "model_projects" / name
    folder.mkdir(parents=True)
    for script in SCRIPTS:
        if script != without:
            (folder / script).write_text(f"# {script}\n")
    (folder / "config.yaml").write_text(text)
    return folder


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(ProjectMistakes) as error:
        load_project(folder)
    return [str(mistake) for mistake in error.value.mistakes]


def test_a_good_project_is_read_with_its_policy(tmp_path):
    loaded = load_project(project(tmp_path))
    rules = [(rule.text, rule.direction) for rule in loaded.policy.rules]
    assert rules == [
        ("accuracy at least 0.9", "maximize"),
        ("loss not worse than live by 0.1", "minimize"),
        ("accuracy at least 0.5 for every kind with at least 30 rows", "maximize"),
    ]
    assert (loaded.endpoint, loaded.qa_endpoint, loaded.policy.approval) == ("demo", "demo-qa", "manual")


HERE = "model_projects/demo/config.yaml"
KNOWN_GATE = "rules, slices"


@pytest.mark.parametrize(("line", "said"), SECTIONS)
def test_a_mistake_in_an_optional_section_is_said_with_its_place(tmp_path, line, said):
    assert mistakes(project(tmp_path, f"{GOOD}{line}\n")) == [f"{HERE}:23: {said}"]


@pytest.mark.parametrize(("line", "said"), DATASETS)
def test_a_mistake_in_the_dataset_is_said_with_its_place(tmp_path, line, said):
    text = GOOD.replace("  time_column: as_of\n", f"  time_column: as_of\n  {line}\n")
    (found,) = mistakes(project(tmp_path, text))
    place, _, what = found.removeprefix(f"{HERE}:").partition(": ")
    assert (what, place in ("4", "9")) == (said, True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owner: team", "ownr: team", [
            f"{HERE}:3: ownr: unknown key; did you mean `owner`? Known here: name, description, owner, dataset, image, "
            "instance_type, hyperparameters, metrics, gate, approval, approvals, tuning, schedule, triggers, serving, "
            "batch_transform, slack, tags."
        ]),
        ("owner: team:mapping\n", "", [f"{HERE}:1: owner: is missing. Write e.g. `owner: team:mapping`."]),
        ("team:mapping", "somebody", [
            f"{HERE}:3: owner: `somebody` is neither team:<name> nor an e-mail address. Write e.g. `team:mapping`."
        ]),
        ("approval: manual", "approval: manully", [
            f"{HERE}:20: approval: `manully` is none of manual, automatic; did you mean `manual`?"
        ]),
        ("direction: maximize", "direction: up", [
            f"{HERE}:12: metrics.0.direction: `up` is none of maximize, minimize. Write one of them."
        ]),
        ("at_least: 0.9}", "at_least: high}", [
            f"{HERE}:16: gate.rules.0.at_least: expected a valid number, but it is `high`. Write e.g. `at_least: 0.9`."
        ]),
        ("at_least: 0.9}", "at_least: 0.9, at_most: 1}", [
            f"{HERE}:16: gate.rules.0: the rule has at_least and at_most. Expected exactly one of at_least, at_most, "
            "not_worse_than_live_by. Write e.g. `at_least: 0.9`."
        ]),
        ("{metric: accuracy, at_least: 0.9}", "{metric: acuracy, at_least: 0.9}", [
            f"{HERE}:16: gate.rules.0.metric: `acuracy` is not declared under metrics; did you mean `accuracy`? "
            "Declared: accuracy, loss."
        ]),
        (GOOD[GOOD.index("  rules:") : GOOD.index("  slices:")], "  rules: []\n", [
            f"{HERE}:15: gate.rules: a gate without rules could refuse nothing. "
            "Write e.g. `rules: [{metric: accuracy, at_least: 0.9}]`."
        ]),
        ("30 6 * * 1-5", "every day", [
            f"{HERE}:21: schedule.cron: `every day` is not a cron of five fields. Write e.g. `30 6 * * 1-5`."
        ]),
        ("30 6 * * 1-5", "60 6 * * 1-5", [
            f"{HERE}:21: schedule.cron: `60` is no minute of a cron (0 to 59). Write e.g. `30 6 * * 1-5`."
        ]),
        ("30 6 * * 1-5", "30 6 * * mon-fry", [
            f"{HERE}:21: schedule.cron: `fry` is no weekday of a cron (0 to 7). Write e.g. `30 6 * * 1-5`."
        ]),
        ("30 6 * * 1-5", "*/0 6 * * 1-5", [
            f"{HERE}:21: schedule.cron: `*/0` is no minute of a cron (0 to 59). Write e.g. `30 6 * * 1-5`."
        ]),
        ("{cost-center: research}", "{cost center: research}", [
            f"{HERE}:22: tags: `cost center` cannot be the name of a tag: letters, digits, `_`, `-` and `.`, at most 63. "
            "Write e.g. `cost-center: research`."
        ]),
        ("{cost-center: research}", "{cost-center: 'R&D'}", [
            f"{HERE}:22: tags: `R&D` cannot be the value of a tag: letters, digits, `_`, `-` and `.`, at most 63. "
            "Write e.g. `cost-center: research`."
        ]),
        ("table: examples", "table: examples\n  asset: demo/batch_predictions", [
            f"{HERE}:6: dataset.asset: `demo/batch_predictions` is made from this training set. Name the asset that writes "
            "the table."
        ]),
        ("America/New_York", "America/NewYork", [
            f"{HERE}:21: schedule.timezone: `America/NewYork` is no IANA time zone; did you mean `America/New_York`?"
        ]),
        ("accuracy=([-+0-9.eE]+)", "accuracy=[0-9]+", [
            f"{HERE}:12: metrics.0.regex: the regex has no group that captures the number. "
            "Write e.g. `valid_accuracy=([-+0-9.eE]+)`."
        ]),
        ("entity_column: group", "entity_column: grup", [
            f"{HERE}:4: dataset: entity_column `grup` is not among dataset.columns; did you mean `group`?"
        ]),
        ("rounds: 10", "rounds: [10]", [
            f"{HERE}:10: hyperparameters.rounds: expected a valid string or a valid integer or a valid number or "
            "a valid boolean, but it is `[10]`. Write e.g. `hyperparameters: {learning_rate: 0.1}`."
        ]),
        ("name: demo", "name: Demo-1", [
            f"{HERE}:1: name: `Demo-1` is not lower-case letters, digits and single underscores. "
            "Write e.g. `ticker_ranker`."
        ]),
        ("name: demo", "name: other", [f"{HERE}:1: name: `other` is not the folder's name. Write `demo`."]),
        ("image: ledgerline/python:1", "image: ledgerline/python:1\nimage: twice", [
            f"{HERE}:10: image: the key stands twice. Remove one."
        ]),
        ("columns: [group", "columns: [group]]", [
            f"{HERE}:6: no valid YAML: expected <block end>, but found ']'. Correct it."
        ]),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_line_and_the_remedy(tmp_path, old, new, said):
    assert old in GOOD
    assert mistakes(project(tmp_path, GOOD.replace(old, new, 1))) == said


def test_all_mistakes_are_said_at_once_with_those_of_the_folder(tmp_path):
    text = GOOD.replace("name: demo", "nam: demo").replace("manual", "none").replace("maximize", "more")
    found = mistakes(project(tmp_path, text, without="train.py"))
    places = [line.split(": ")[0] for line in found]
    assert places == [f"{HERE}:1", f"{HERE}:12", f"{HERE}:20", "model_projects/demo/train.py"]


def test_a_folder_without_config_says_what_was_looked_for(tmp_path):
    (tmp_path / "empty").mkdir()
    (said,) = mistakes(tmp_path / "empty")
    assert said.endswith("empty/config.yaml: there is no such file. Write one; see docs/model-projects.md.")


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    assert mistakes(project(tmp_path, text)) == [f"{HERE}:1: expected keys and values, e.g. `name: my_project`."]


def test_digests_change_with_the_gate_the_scripts_and_what_they_are_given_only(tmp_path):
    first = load_project(project(tmp_path))
    (first.folder / "config.yaml").write_text(GOOD.replace("A demonstration", "Another text"))
    same = load_project(first.folder)
    assert (same.code_digest, same.policy.digest) == (first.code_digest, first.policy.digest)
    (first.folder / "config.yaml").write_text(GOOD.replace("at_least: 0.9", "at_least: 0.8"))
    assert load_project(first.folder).policy.digest != first.policy.digest
    for made_by in ("rounds: 10", "ledgerline/python:1", "table: examples"):
        (first.folder / "config.yaml").write_text(GOOD.replace(made_by, made_by + "2"))
        assert load_project(first.folder).code_digest != first.code_digest, made_by
    (first.folder / "config.yaml").write_text(GOOD)
    assert load_project(first.folder).code_digest == first.code_digest
    (first.folder / "train.py").write_text("print()\n")
    assert load_project(first.folder).code_digest != first.code_digest


def test_every_folder_with_a_config_is_a_project(tmp_path):
    project(tmp_path)
    project(tmp_path, GOOD.replace("name: demo", "name: zebra"), name="zebra")
    (tmp_path / "model_projects" / "notes").mkdir()
    assert [loaded.name for loaded in load_projects(tmp_path / "model_projects")] == ["demo", "zebra"]


def test_the_json_schema_accepts_a_good_file_and_refuses_an_unknown_key():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(yaml.safe_load(GOOD), json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(GOOD), "extra": 1}, json_schema())


def with_serving(tmp_path, serving: str):
    return World(tmp_path, f"{RELEASE}serving: {serving}\n").project


def test_a_rollout_is_what_the_platform_takes_and_none_where_nothing_is_watched(tmp_path):
    alarms = "[{metric: errors_5xx, at_most: 0.01}, {metric: latency_p99_ms, at_most: 50}]"
    asked = f"{{rollout: {{kind: canary, percent: 20, wait_seconds: 300, alarms: {alarms}}}}}"
    rules = (
        AlarmRule("Invocation5XXErrors", 0.01, ">", "Average"),
        AlarmRule("ModelLatency", 50_000, ">", "p99"),
    )
    assert with_serving(tmp_path / "a", asked).rollout == Rollout("canary", 20, wait_seconds=300, alarms=rules)
    assert with_serving(tmp_path / "b", "{qa: true}").rollout is None


def test_a_rollout_that_aws_would_refuse_is_a_mistake_with_its_line(tmp_path):
    with pytest.raises(ConfigurationError, match=r"config\.yaml:\d+: serving\.rollout: .*moves 10 to 50 percent"):
        with_serving(tmp_path, "{rollout: {kind: linear, percent: 5}}")


def test_what_containers_are_told(tmp_path):
    project = with_serving(tmp_path, "{workers: 3, validation: refuse}")
    assert project.serving_environment == {
        "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
        "LEDGERLINE_SCHEMA_MODE": "refuse",
    }


def test_a_project_may_not_have_the_name_of_anothers_qa_endpoint(tmp_path):
    (tmp_path / "ranker_qa").mkdir()
    (tmp_path / "ranker_qa" / "config.yaml").write_text(RELEASE.replace("name: demo", "name: ranker_qa"))
    with pytest.raises(ConfigurationError, match="would take the name of the QA endpoint of `ranker`"):
        load_project(tmp_path / "ranker_qa")
