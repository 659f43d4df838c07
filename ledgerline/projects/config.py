"""The folder of a model project: how config.yaml is read and checked, and what is said about mistakes in it.

A project is a folder (config.yaml and the scripts that SageMaker runs); `load_project` reads and checks it without
running anything. The keys themselves are in sections.py. What the platform makes of it is in pipeline.py and in
platform_assets/components/model_project.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ledgerline.errors import ConfigurationError
from ledgerline.projects import sections
from ledgerline.projects.sections import ProjectConfig, Rule, SliceRule, did_you_mean, nearest
from ledgerline.release.gate import Direction, GatePolicy, GateRule
from ledgerline.release.model_platform import QA_SUFFIX
from ledgerline.release.rollout import AlarmRule, Rollout

SCRIPTS = ("preprocessing.py", "train.py", "evaluation.py", "inference.py")
NOT_CODE = {"config.yaml", "__pycache__", "tests"}  # what a job does not run


def endpoint_name(project: str) -> str:
    """The live endpoint of a project by its name: AWS knows no underscore."""
    return project.replace("_", "-")


@dataclass(frozen=True, slots=True)
class ModelProject:
    """A checked project folder. Digests say what its code and its gate are, whatever its path and file times."""

    folder: Path
    config: ProjectConfig
    code: Mapping[str, bytes] = field(repr=False)  # file name -> content, what a job runs

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def aws_name(self) -> str:
        """The name in AWS: endpoint, package group."""
        return endpoint_name(self.name)

    @property
    def endpoint(self) -> str:
        return self.aws_name

    @property
    def qa_endpoint(self) -> str:
        return f"{self.aws_name}{QA_SUFFIX}"

    @property
    def policy(self) -> GatePolicy:
        directions = {metric.name: metric.direction for metric in self.config.metrics}
        gate = self.config.gate
        rules = [_gate_rule(rule, directions[rule.metric]) for rule in gate.rules]
        rules += [_gate_rule(rule, directions[rule.metric], by=rule.by, min_rows=rule.min_rows) for rule in gate.slices]
        return GatePolicy(
            rules=tuple(rules),
            approval=self.config.approval,
            qa_required=self.config.serving.qa,
            approval_expires_days=self.config.approvals.expires_days,
            four_eyes=self.config.approvals.four_eyes,
            max_calibration_error=gate.max_calibration_error,
            max_size_mb=gate.max_size_mb,
            max_latency_p99_ms=gate.max_latency_p99_ms,
        )

    @property
    def serving_environment(self) -> dict[str, str]:
        """What the endpoints' containers are told: SageMaker's name for workers, ours for requests outside the schema."""
        serving = self.config.serving
        return {
            "SAGEMAKER_MODEL_SERVER_WORKERS": str(serving.workers),
            "LEDGERLINE_SCHEMA_MODE": serving.validation,
        }

    @property
    def rollout(self) -> Rollout | None:
        """How live traffic moves to a new release; None where it moves at once and nothing is watched."""
        return rollout_of(self.config.serving.rollout)

    @property
    def dataset_digest(self) -> str:
        """Hex sha256 of what the dataset of config.yaml asks for."""
        return hashlib.sha256(self.config.dataset.model_dump_json().encode()).hexdigest()

    @property
    def code_digest(self) -> str:
        """Hex sha256 over all that a model is made by, besides its data: names and contents of the scripts, the modules
        beside them and requirements.txt, and what config.yaml hands to them: hyperparameters, image, the dataset asked for.
        """
        handed = {"hyperparameters": self.config.hyperparameters, "image": self.config.image}
        hasher = hashlib.sha256(f"{self.dataset_digest}\0{json.dumps(handed, sort_keys=True)}\0".encode())
        for name in sorted(self.code):
            hasher.update(f"{name}\0{len(self.code[name])}\0".encode())
            hasher.update(self.code[name])
        return hasher.hexdigest()


# CloudWatch's metric, its unit of ours, and the statistic of ten seconds that is compared.
_ALARMS = {
    "errors_5xx": ("Invocation5XXErrors", 1, "Average"),
    "latency_p99_ms": ("ModelLatency", 1000, "p99"),
    "prediction_drift": ("PredictionDrift", 1, "Maximum"),
}


def rollout_of(asked: sections.Rollout) -> Rollout | None:
    """serving.rollout as the model platform takes it. Raises ConfigurationError for what AWS would refuse."""
    if asked.kind == "all_at_once" and not asked.alarms:
        return None
    alarms = []
    for alarm in asked.alarms:
        metric, unit, statistic = _ALARMS[alarm.metric]
        alarms.append(AlarmRule(metric, alarm.at_most * unit, ">", statistic))
    percent = 100 if asked.kind == "all_at_once" else asked.percent
    return Rollout(asked.kind, percent, wait_seconds=asked.wait_seconds, alarms=tuple(alarms))


def _gate_rule(rule: Rule | SliceRule, direction: Direction, *, by: str | None = None, min_rows: int = 0) -> GateRule:
    for comparison in ("at_least", "at_most", "not_worse_than_live_by"):
        threshold = getattr(rule, comparison, None)
        if threshold is not None:
            return GateRule(rule.metric, comparison, threshold, direction, by, min_rows)
    raise AssertionError(f"a rule on {rule.metric} without comparison passed validation")


# Reading a folder ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: `line` is 1-based, 0 for a mistake that is in no line of the file."""

    file: str
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class ProjectMistakes(ConfigurationError):
    """All mistakes of one project folder, in the order of the file."""

    def __init__(self, name: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line, mistake.where)))
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(
            "\n".join([f"The model project {name} has {count}:", *(f"  {item}" for item in self.mistakes)])
        )


def load_project(folder: Path) -> ModelProject:
    """Read and check a project folder. Raises ProjectMistakes (a ConfigurationError) with every mistake at once."""
    folder = Path(folder)
    shown = f"{folder.parent.name}/{folder.name}" if folder.parent.name else folder.name
    path = folder / "config.yaml"
    file = f"{shown}/config.yaml"
    if not path.is_file():
        raise ProjectMistakes(
            folder.name, [Mistake(file, 0, "", "there is no such file. Write one; see docs/model-projects.md.")]
        )
    mistakes = [
        Mistake(f"{shown}/{name}", 0, "", f"there is no such file. Write it; {_PURPOSE[name]}")
        for name in SCRIPTS
        if not (folder / name).is_file()
    ]
    config, found = _read_config(path.read_text(encoding="utf-8"), file, folder.name)
    mistakes += found
    if config is None or mistakes:
        raise ProjectMistakes(folder.name, mistakes)
    return ModelProject(folder, config, _code_in(folder))


def check_unchanged(project: ModelProject) -> None:
    """Raises ConfigurationError if scripts changed on disk since the project was loaded: a job would run other code."""
    if _code_in(project.folder) != project.code:
        raise ConfigurationError(
            f"Scripts of {project.name} changed since its definitions were loaded, so what would run is not what is "
            "shown. Reload the code location (in the UI: Deployment, Reload), then try again."
        )


def _code_in(folder: Path) -> dict[str, bytes]:
    """Relative posix name -> content of everything that a job may run: no caches, tests and hidden files."""
    code = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part in NOT_CODE or part.startswith(".") for part in parts):
            code["/".join(parts)] = path.read_bytes()
    return code


def load_projects(root: Path) -> list[ModelProject]:
    """Every folder below `root` that has a config.yaml, by name."""
    return [load_project(path.parent) for path in sorted(Path(root).glob("*/config.yaml"))]


def load_delivered(root: Path, taken: Collection[str]) -> list[ModelProject]:
    """The projects below `root`, by name, without those whose name is taken. One that is wrong (by now) is left out and
    logged: what somebody delivered must not keep the code location from loading."""
    found = []
    for path in sorted(Path(root).glob("*/config.yaml")):
        try:
            project = load_project(path.parent)
        except (ConfigurationError, OSError) as error:
            logging.getLogger(__name__).warning("A delivered model project is left out. %s", error)
            continue
        if project.name not in taken:
            found.append(project)
    return found


def json_schema() -> dict[str, Any]:
    """The JSON schema of config.yaml, for editors and the documentation."""
    schema = ProjectConfig.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


_PURPOSE = {
    "preprocessing.py": "it turns the training set into the channels train and test.",
    "train.py": "it trains on the channel train and writes the model directory.",
    "evaluation.py": "it evaluates a model on the channel test and writes evaluation.json.",
    "inference.py": "it answers requests: model_fn, input_fn, predict_fn, output_fn.",
}

Path_ = tuple["str | int", ...]


def _read_config(text: str, file: str, folder_name: str) -> tuple[ProjectConfig | None, list[Mistake]]:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [Mistake(file, mark.line + 1 if mark else 0, "", f"no valid YAML: {error.problem}. Correct it.")]
    if not isinstance(node, yaml.MappingNode):
        return None, [Mistake(file, 1, "", "expected keys and values, e.g. `name: my_project`.")]
    lines = dict(_lines(node, ()))
    mistakes = [
        Mistake(file, line, ".".join(map(str, where)), "the key stands twice. Remove one.")
        for where, line in _doubles(node, ())
    ]
    try:
        config = ProjectConfig.model_validate(values)
    except ValidationError as error:
        return None, mistakes + _explain_all(error, values, lines, file)
    mistakes += _cross_checks(config, lines, file, folder_name)
    return config, mistakes


def _cross_checks(config: ProjectConfig, lines: Mapping[Path_, int], file: str, folder_name: str) -> Iterator[Mistake]:
    if config.name != folder_name:
        yield Mistake(
            file, lines.get(("name",), 0), "name", f"`{config.name}` is not the folder's name. Write `{folder_name}`."
        )
    asset = config.dataset.asset
    if asset is not None and asset.split("/")[0] == config.name:
        yield Mistake(
            file,
            lines.get(("dataset", "asset"), 0),
            "dataset.asset",
            f"`{asset}` is made from this training set. Name the asset that writes the table.",
        )
    declared = [metric.name for metric in config.metrics]
    for index, name in enumerate(declared):
        if name in declared[:index]:
            yield Mistake(
                file,
                lines.get(("metrics", index, "name"), 0),
                f"metrics.{index}.name",
                f"`{name}` is declared twice. Remove one.",
            )
    tuning = config.tuning
    printed = [metric.name for metric in config.metrics if metric.regex]
    if tuning is not None and tuning.metric not in printed:
        meant = did_you_mean(nearest(tuning.metric, printed)) or "."
        yield Mistake(
            file,
            lines.get(("tuning", "metric"), 0),
            "tuning.metric",
            f"`{tuning.metric}` is no metric that train.py prints (one with a regex){meant} "
            f"Printed: {', '.join(printed) or 'none'}.",
        )
    if config.approvals.four_eyes and config.approval == "automatic":
        yield Mistake(
            file,
            lines.get(("approvals", "four_eyes"), 0),
            "approvals.four_eyes",
            "two people cannot approve where the gate does it by itself. Write `approval: manual`, or remove this.",
        )
    try:
        rollout_of(config.serving.rollout)
    except ConfigurationError as error:
        yield Mistake(file, lines.get(("serving", "rollout"), 0), "serving.rollout", str(error))
    if config.gate.max_latency_p99_ms is not None and not config.serving.qa:
        yield Mistake(
            file,
            lines.get(("gate", "max_latency_p99_ms"), 0),
            "gate.max_latency_p99_ms",
            "it is measured on the QA endpoint, and `serving.qa` is false. Write `qa: true`, or remove this.",
        )
    for section in ("rules", "slices"):
        for index, rule in enumerate(getattr(config.gate, section)):
            if rule.metric not in declared:
                where: Path_ = ("gate", section, index, "metric")
                meant = did_you_mean(nearest(rule.metric, declared)) or "."
                yield Mistake(
                    file,
                    lines.get(where, 0),
                    ".".join(map(str, where)),
                    f"`{rule.metric}` is not declared under metrics{meant} Declared: {', '.join(declared)}.",
                )


# Saying what is wrong ------------------------------------------------------------------------------------------------


def _explain_all(error: ValidationError, values: Any, lines: Mapping[Path_, int], file: str) -> list[Mistake]:
    """One mistake for each place; a key that is missing because it is misspelt is said once, as misspelt."""
    groups: dict[Path_, list[Any]] = {}
    for item in error.errors():
        groups.setdefault(_place(item["loc"], values), []).append(item)
    misspelt = {
        (*place[:-1], nearest(str(place[-1]), _keys_at(place[:-1])))
        for place, items in groups.items()
        if items[0]["type"] == "extra_forbidden"
    }
    return [
        _explain(place, items, lines, file)
        for place, items in groups.items()
        if items[0]["type"] != "missing" or place not in misspelt
    ]


def _explain(place: Path_, errors: Sequence[Any], lines: Mapping[Path_, int], file: str) -> Mistake:
    """The errors of one place (several where a union failed) in the words of a person who has config.yaml open."""
    error = errors[0]
    line = next((lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in lines), 0)
    where = ".".join(map(str, place))
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        message = f"is missing. {_expected(place)}"
    elif kind == "extra_forbidden":
        known = _keys_at(place[:-1])
        message = f"unknown key{did_you_mean(nearest(str(place[-1]), known)) or '.'} Known here: {', '.join(known)}."
    elif kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        remedy = did_you_mean(nearest(error["input"], choices)) or ". Write one of them."
        message = f"`{error['input']}` is none of {', '.join(choices)}{remedy}"
    elif kind == "mistake":
        message = error["msg"]
    else:
        asked = " or ".join(item["msg"].replace("Input should be ", "") for item in errors)
        message = f"expected {asked[0].lower()}{asked[1:]}, but it is `{error['input']}`. {_expected(place)}"
    return Mistake(file, line, where, message)


def _place(loc: Sequence[str | int], values: Any) -> Path_:
    """pydantic's location without the names of union branches, which are nowhere in the file."""
    place: list[str | int] = []
    here = values
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if isinstance(here, Mapping) and (part in here or (last and not _is_branch(part))):
            place.append(part)
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int):
            place.append(part)
            here = here[part] if part < len(here) else None
    return tuple(place)


def _is_branch(part: str | int) -> bool:
    return str(part) in {"str", "int", "float", "bool"} or "[" in str(part)


def _lines(node: yaml.Node, path: Path_) -> Iterator[tuple[Path_, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            yield from _lines(value, inner)
            yield inner, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _doubles(node: yaml.Node, path: Path_) -> Iterator[tuple[Path_, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*path, key.value), key.start_mark.line + 1
            seen.add(key.value)
            yield from _doubles(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _doubles(value, (*path, index))


def _section_at(path: Path_) -> type[BaseModel] | None:
    """The model that describes a place of the file, None for a free mapping or a value."""
    section: type[BaseModel] | None = ProjectConfig
    for part in path:
        if isinstance(part, int) or section is None:
            continue
        info = section.model_fields.get(part)
        section = _model_in(info.annotation) if info else None
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in getattr(annotation, "__args__", ()) if (model := _model_in(inner))), None)


def _keys_at(path: Path_) -> list[str]:
    section = _section_at(path)
    return list(section.model_fields) if section else []


_EXAMPLES: dict[str | int, str] = {
    "name": "name: ticker_ranker",
    "description": "description: Ranks the companies that a mention may mean.",
    "owner": "owner: team:mapping",
    "dataset": "dataset: {table: examples, columns: [group, as_of], entity_column: group, time_column: as_of}",
    "table": "table: labelled_candidates",
    "columns": "columns: [group, as_of, label]",
    "entity_column": "entity_column: group",
    "time_column": "time_column: as_of",
    "image": "image: ledgerline/sklearn:1",
    "metrics": "metrics: [{name: accuracy, direction: maximize}]",
    "direction": "direction: maximize",
    "gate": "gate: {rules: [{metric: accuracy, at_least: 0.9}]}",
    "rules": "rules: [{metric: accuracy, at_least: 0.9}]",
    "metric": "metric: accuracy",
    "approval": "approval: manual",
    "cron": "cron: 30 6 * * 1-5",
    "timezone": "timezone: America/New_York",
    "hyperparameters": "hyperparameters: {learning_rate: 0.1}",
    "instance_type": "instance_type: ml.m5.large",
    "instance_count": "instance_count: 1",
    "qa": "qa: true",
    "by": "by: kind",
    "channels": "channels: [train, validation, test]",
    "min_rows": "min_rows: 30",
    "regex": "regex: valid_accuracy=([-+0-9.eE]+)",
    "at_least": "at_least: 0.9",
    "at_most": "at_most: 0.1",
    "not_worse_than_live_by": "not_worse_than_live_by: 0.01",
}


def _expected(place: Path_) -> str:
    key = next((part for part in reversed(place) if part in _EXAMPLES), "")
    return f"Write e.g. `{_EXAMPLES[key]}`." if key else "Correct it."
