"""The model of config.yaml: every section and key that a data scientist may write, with its bounds and an example.

Here: shapes and what can be checked within one section. How a file is read, what is said about mistakes and what spans
several sections is in config.py; what the platform makes of it is in pipeline.py and platform_assets/components/.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ledgerline.release.gate import ApprovalMode, Direction

TEST_CHANNEL = "test"
# SageMaker names are [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}; 32 leaves room for a prefix, a step and what makes jobs unique.
NAME_PATTERN = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
NAME_LENGTH = 32
INSTANCE_TYPE = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known name that a person most likely meant, or None if none is close."""
    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str | None) -> str:
    return f"; did you mean `{name}`?" if name else ""


def mistake(what: str, meant: str | None = None, example: str | None = None) -> PydanticCustomError:
    remedy = did_you_mean(meant) or (f". Write e.g. `{example}`." if example else ". Correct it.")
    # A brace in the text would be taken for a placeholder of pydantic's message template.
    return PydanticCustomError("mistake", "{text}", {"text": what + remedy})


def exactly_one(section: BaseModel, names: Sequence[str]) -> None:
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        has = f"has {' and '.join(given)}" if given else "has no comparison"
        raise mistake(f"the rule {has}. Expected exactly one of {', '.join(names)}", example=f"{names[0]}: 0.9")


def keys_are_known(joins: Sequence[Join], columns: Sequence[str], section: str) -> None:
    """Each join finds its keys among the columns of the table and of the joins before it."""
    known = list(columns)
    for join in joins:
        for key in join.keys:
            if key not in known:
                raise mistake(
                    f"the key `{key}` of the join with {join.table} is not among {section}.columns", nearest(key, known)
                )
        known += join.columns


def known_once(columns: Sequence[str], section: str) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise mistake(f"the column {', '.join(twice)} stands twice in {section}.columns and {section}.joins")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Join(_Section):
    """Columns of another lake table, as they were known at the row's own time (a point-in-time join)."""

    table: str = Field(min_length=1, description="Lake table to join.", examples=["listings"])
    keys: list[str] = Field(min_length=1, description="Columns that both tables have.", examples=[["company_id"]])
    columns: list[str] = Field(
        min_length=1, description="Columns to add; none of `dataset.columns`.", examples=[["sector"]]
    )
    available_column: str = Field(
        default="available_at",
        description="Column of the joined table that says when a row was knowable: the newest one that is not later than "
        "`dataset.time_column` counts.",
        examples=["available_at"],
    )


class Split(_Section):
    """Which channel a row belongs to, decided by the platform and written into a column that preprocessing.py reads."""

    by: Literal["entity", "time", "entity_and_time"] = Field(
        description="`entity`: no entity on two sides. `time`: the test rows are the latest. `entity_and_time`: test rows "
        "are the latest ones of entities that training never sees; rows that would break either are left out.",
        examples=["entity_and_time"],
    )
    test_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of entities, or of the time's rows, for `test`.", examples=[0.2]
    )
    validation_share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of entities, or of the time's rows, for `validation`.", examples=[0]
    )
    test_from: str | None = Field(
        default=None, description="Day from which rows are test rows, instead of a share.", examples=["2025-07-01"]
    )
    column: str = Field(
        default="channel", min_length=1, description="The column it is written into.", examples=["part"]
    )

    @field_validator("test_from")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        try:
            return value and date.fromisoformat(value).isoformat()
        except ValueError as error:
            raise mistake(f"`{value}` is no day", example='"2025-07-01"') from error

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> Split:
        if self.test_share + self.validation_share >= 1:
            raise mistake("test_share and validation_share leave no row to train on", example="test_share: 0.2")
        if self.test_from and self.by == "entity":
            raise mistake("test_from splits by time, but `by` is `entity`", example="by: entity_and_time")
        return self


class Dataset(_Section):
    """The rows that the project learns from: a lake table at a version that is recorded."""

    table: str = Field(min_length=1, description="Lake table to read.", examples=["labelled_candidates"])
    columns: list[str] = Field(
        min_length=1, description="Columns to read, in this order.", examples=[["group", "as_of", "x", "label"]]
    )
    entity_column: str = Field(
        description="The split must not tear rows of one entity apart; one of `columns`.", examples=["group"]
    )
    time_column: str = Field(
        description="When a row was knowable; the split by time uses it; one of `columns`.", examples=["as_of"]
    )
    where: dict[str, str | int | list[str]] = Field(
        default_factory=dict,
        description="Equality on columns; a list means one of.",
        examples=[{"kind": ["typo", "alias"]}],
    )
    asset: str | None = Field(
        default=None,
        description="Asset that writes the table, `a/b` for a key of two parts; the training set is downstream of it.",
        examples=["labelled_candidates"],
    )
    channels: list[str] = Field(
        default=["train", "validation", "test"],
        description="Folders that preprocessing.py writes; train.py gets all but `test`, evaluation.py gets `test`.",
        examples=[["train", "test"]],
    )
    keep_versions: bool = Field(
        default=True,
        description="Old versions of the tables can be read for a year. Turn it off for tables that are written many times "
        "a day, which each version makes slower: the bytes of every training set are kept for ever anyway.",
        examples=[False],
    )
    joins: list[Join] = Field(
        default_factory=list,
        description="Point-in-time joins, in this order.",
        examples=[[{"table": "listings", "keys": ["company_id"], "columns": ["sector"]}]],
    )
    split: Split | None = None
    label_column: str | None = Field(
        default=None,
        description="What the model learns to tell; one of `columns`. The leak gate compares each feature with it.",
        examples=["label"],
    )
    available: dict[str, str] = Field(
        default_factory=dict,
        description="Feature -> the column that says when its value was knowable. A row whose value was knowable only "
        "after `time_column` is a leak, and the training set is refused.",
        examples=[{"revenue": "revenue_available_at"}],
    )

    @field_validator("channels")
    @classmethod
    def _a_channel_to_train_and_one_to_test(cls, value: list[str]) -> list[str]:
        if TEST_CHANNEL not in value or len(value) < 2 or len(set(value)) != len(value):
            raise mistake(
                f"channels must be `{TEST_CHANNEL}` and at least one more, each once", example="[train, test]"
            )
        return value

    @model_validator(mode="after")
    def _named_columns_are_read(self) -> Dataset:
        for name in ("entity_column", "time_column"):
            column = getattr(self, name)
            if column not in self.columns:
                raise mistake(f"{name} `{column}` is not among dataset.columns", nearest(column, self.columns))
        known = [*self.columns, *(column for join in self.joins for column in join.columns)]
        known_once(known, "dataset")
        keys_are_known(self.joins, self.columns, "dataset")
        named = [("label_column", self.label_column)] if self.label_column else []
        for name, column in [*named, *(("available", column) for pair in self.available.items() for column in pair)]:
            if column not in known:
                raise mistake(f"{name} `{column}` is not among the columns of the dataset", nearest(column, known))
        if self.split and self.split.column in known:
            raise mistake(
                f"split.column `{self.split.column}` is a column of the dataset already", example="column: part"
            )
        if self.split:
            written = ["train", *(["validation"] if self.split.validation_share else []), TEST_CHANNEL]
            if set(written) != set(self.channels):
                raise mistake(
                    f"dataset.split makes the channels {', '.join(written)}, but dataset.channels are "
                    f"{', '.join(self.channels)}",
                    example=f"channels: [{', '.join(written)}]",
                )
        return self


class Range(_Section):
    """Where the tuner looks for one hyperparameter: `values`, or `min` and `max` (whole numbers if both are)."""

    values: list[str | int | float] | None = Field(
        default=None, min_length=1, description="To choose from.", examples=[["gini", "entropy"]]
    )
    min: int | float | None = Field(default=None, description="Smallest value.", examples=[0.01])
    max: int | float | None = Field(default=None, description="Greatest value.", examples=[0.3])
    scale: Literal["linear", "log"] = Field(
        default="linear", description="`log` where a factor matters, not a difference.", examples=["log"]
    )

    @model_validator(mode="after")
    def _values_or_bounds(self) -> Range:
        bounds = (self.min, self.max)
        if (self.values is None) == (None in bounds) or (
            self.values is not None and any(b is not None for b in bounds)
        ):
            raise mistake("expected either `values`, or `min` and `max`", example="{min: 0.01, max: 0.3, scale: log}")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise mistake(f"min {self.min} is not less than max {self.max}")
        if self.scale == "log" and (self.min is None or self.min <= 0):
            raise mistake("a log scale needs bounds greater than 0", example="{min: 0.01, max: 0.3, scale: log}")
        return self


class Tuning(_Section):
    """Hyperparameters are searched for before the model is trained; those that are not here keep their value."""

    metric: str = Field(description="Declared metric with a regex: what a trial is judged by.", examples=["auc"])
    ranges: dict[str, Range] = Field(
        min_length=1,
        max_length=30,
        description="Hyperparameter -> where to look.",
        examples=[{"depth": {"min": 2, "max": 8}}],
    )
    strategy: Literal["bayesian", "random", "grid"] = Field(
        default="bayesian", description="`grid` takes `values` only.", examples=["random"]
    )
    trials: int = Field(default=10, ge=1, le=500, description="Training jobs at most.", examples=[20])
    parallel: int = Field(default=2, ge=1, le=10, description="Training jobs at once.", examples=[2])
    early_stopping: bool = Field(
        default=False, description="Stop trials that are clearly worse than the others were.", examples=[True]
    )

    @model_validator(mode="after")
    def _a_grid_is_finite(self) -> Tuning:
        if self.strategy == "grid" and (name := next((n for n, r in self.ranges.items() if r.values is None), None)):
            raise mistake(f"strategy is `grid`, but {name} has no `values`", example=f"{name}: {{values: [1, 2, 4]}}")
        return self


class Metric(_Section):
    """A number that train.py prints (read from its log by `regex`) or that evaluation.py reports."""

    name: str = Field(min_length=1, description="The name that rules use.", examples=["accuracy"])
    direction: Direction = Field(description="Whether more or less of it is better.", examples=["maximize"])
    regex: str | None = Field(
        default=None,
        max_length=500,
        description="For a metric of train.py: applied to each line of its log, the first group is the number.",
        examples=["accuracy=([-+0-9.eE]+);"],
    )

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise mistake(f"the regex does not compile ({error})") from error
        if groups < 1:
            raise mistake("the regex has no group that captures the number", example="valid_accuracy=([-+0-9.eE]+)")
        return value


class Rule(_Section):
    """One rule on one declared metric: exactly one of the three comparisons."""

    metric: str = Field(description="Name of a declared metric.", examples=["accuracy"])
    at_least: float | None = Field(default=None, description="Floor.", examples=[0.9])
    at_most: float | None = Field(default=None, description="Ceiling.", examples=[0.05])
    not_worse_than_live_by: float | None = Field(
        default=None,
        ge=0,
        description="How much worse than the live model on the same test rows; passes while nothing is live.",
        examples=[0.01],
    )

    @model_validator(mode="after")
    def _one_comparison(self) -> Rule:
        exactly_one(self, ("at_least", "at_most", "not_worse_than_live_by"))
        return self


class SliceRule(_Section):
    """A floor that must hold for every value of a column, where it has enough rows to mean anything."""

    by: str = Field(description="Name of the slices in the evaluation report.", examples=["kind"])
    metric: str = Field(description="Name of a declared metric.", examples=["accuracy"])
    at_least: float | None = Field(default=None, description="Floor.", examples=[0.85])
    at_most: float | None = Field(default=None, description="Ceiling.", examples=[0.1])
    min_rows: int = Field(
        default=30, ge=1, description="Smaller slices are passed over; if all are, the rule fails.", examples=[50]
    )

    @model_validator(mode="after")
    def _one_comparison(self) -> SliceRule:
        exactly_one(self, ("at_least", "at_most"))
        return self


class Gate(_Section):
    """What a model must measure before it may go live."""

    rules: list[Rule] = Field(
        description="All must hold; at least one.", examples=[[{"metric": "accuracy", "at_least": 0.9}]]
    )
    slices: list[SliceRule] = Field(
        default_factory=list,
        description="Rules on every value of a column.",
        examples=[[{"by": "kind", "metric": "accuracy", "at_least": 0.85}]],
    )
    max_calibration_error: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Ceiling of the expected calibration error, computed from `calibration` in evaluation.json.",
        examples=[0.05],
    )
    max_size_mb: float | None = Field(
        default=None, gt=0, description="Ceiling of model.tar.gz in megabytes (10^6 bytes).", examples=[50]
    )
    max_latency_p99_ms: float | None = Field(
        default=None,
        gt=0,
        description="Ceiling of the 99th percentile of what the QA endpoint took to answer, in milliseconds.",
        examples=[50],
    )
    max_single_feature_score: float = Field(
        default=0.999,
        gt=0.5,
        le=1,
        description="Leak test before training: no feature alone may tell `dataset.label_column` better than this "
        "(area under the ROC curve; squared rank correlation for a number). 1 turns it off.",
        examples=[0.95],
    )

    @field_validator("rules")
    @classmethod
    def _there_is_a_rule(cls, value: list[Rule]) -> list[Rule]:
        if not value:
            raise mistake(
                "a gate without rules could refuse nothing", example="rules: [{metric: accuracy, at_least: 0.9}]"
            )
        return value


class Approvals(_Section):
    """What an approval is worth."""

    expires_days: int | None = Field(
        default=90,
        ge=1,
        description="Days after which a model that did not go live must be approved again.",
        examples=[30],
    )
    four_eyes: bool = Field(
        default=False, description="Two different people must approve before a model goes live.", examples=[True]
    )


class Drift(_Section):
    """Train when what live is asked, or answers, has moved away from the training set."""

    at_least: float = Field(
        default=0.2,
        gt=0,
        description="Population stability index of a column; 0.2 is the usual alarm.",
        examples=[0.25],
    )
    min_rows: int = Field(
        default=500, ge=50, description="Rows since the training before it is looked at.", examples=[1000]
    )


class Triggers(_Section):
    """What starts a training besides the schedule."""

    new_data: bool = Field(default=True, description="The dataset's asset was materialized.", examples=[False])
    drift: Drift | None = None
    files: str | None = Field(
        default=None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+/.+$",
        description="Prefix in the object store: a new object below it starts a training.",
        examples=["s3://lake/incoming/churn/"],
    )


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_CRON = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ("l",)),  # the last one
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
)


def _wrong_in_cron(part: str, low: int, high: int, words: Sequence[str]) -> str | None:
    """What in one field of a cron is not `*`, a value or a range, with or without a step; None if nothing is."""
    for item in part.lower().split(","):
        values, _, step = item.partition("/")
        if "/" in item and not (step.isdecimal() and int(step) > 0):
            return item
        for value in values.split("-") if values != "*" else ():
            if value not in words and not (value.isdecimal() and low <= int(value) <= high):
                return value or item
    return None


class Schedule(_Section):
    """When the project is trained by the clock."""

    cron: str = Field(description="Five fields: minute hour day month weekday.", examples=["0 6 * * 1"])
    timezone: str = Field(description="IANA name.", examples=["America/New_York"])

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        fields = value.split()
        if len(fields) != 5 or not all(re.fullmatch(r"[0-9A-Za-z*/,\-]+", part) for part in fields):
            raise mistake(f"`{value}` is not a cron of five fields", example="30 6 * * 1-5")
        for part, (name, low, high, words) in zip(fields, _CRON, strict=True):
            wrong = _wrong_in_cron(part, low, high, words)
            if wrong:
                raise mistake(f"`{wrong}` is no {name} of a cron ({low} to {high})", example="30 6 * * 1-5")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise mistake(f"`{value}` is no IANA time zone", nearest(value, sorted(available_timezones())))
        ZoneInfo(value)
        return value


class Alarm(_Section):
    """While a new release is watched, more than this takes it back."""

    metric: Literal["errors_5xx", "latency_p99_ms", "prediction_drift"] = Field(
        description="Share of answers that are 5xx; milliseconds; distance of the answers from the old release's.",
        examples=["errors_5xx"],
    )
    at_most: float = Field(ge=0, description="Ceiling.", examples=[0.01])


class Rollout(_Section):
    """How live traffic moves to a new release. Alarms take it back by themselves."""

    kind: Literal["all_at_once", "canary", "linear", "rolling"] = Field(
        default="all_at_once",
        description="`canary`: a share, then the rest. `linear`: share by share. `rolling`: instance by instance.",
        examples=["canary"],
    )
    percent: int = Field(default=10, ge=5, le=50, description="Share of one step of canary or linear.", examples=[10])
    wait_seconds: int = Field(
        default=60, ge=0, le=3600, description="How long each step is watched before the next.", examples=[300]
    )
    alarms: list[Alarm] = Field(
        default_factory=list,
        max_length=10,
        description="What is watched.",
        examples=[[{"metric": "errors_5xx", "at_most": 0.01}]],
    )


class Serving(_Section):
    """The endpoints: on AWS the instances, everywhere how a release goes live and is watched."""

    instance_type: str = Field(
        default="ml.m5.large",
        pattern=INSTANCE_TYPE,
        description="Of the endpoints on AWS.",
        examples=["ml.c6i.large"],
    )
    instance_count: int = Field(default=1, ge=1, le=10, description="Of the live endpoint on AWS.", examples=[2])
    qa: bool = Field(
        default=True, description="The QA endpoint must serve a model before it may be approved.", examples=[False]
    )
    instance_usd_per_hour: float | None = Field(
        default=None,
        gt=0,
        description="Price of such an instance, for the estimate of what deleting an idle endpoint saves.",
        examples=[0.115],
    )
    pins: list[Literal["candidate_index", "knowledge_graph"]] = Field(
        default_factory=list,
        description="Versions in use that a release records: what its answers depend on.",
        examples=[["candidate_index"]],
    )
    workers: int = Field(default=1, ge=1, le=16, description="Processes that answer, per instance.", examples=[2])
    rollout: Rollout = Field(default_factory=Rollout)
    validation: Literal["off", "flag", "refuse"] = Field(
        default="flag",
        description="A request outside the training schema (schema.json in the model) is answered and flagged, or refused.",
        examples=["refuse"],
    )
    capture_percent: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Share of live requests and answers kept in the object store.",
        examples=[10],
    )
    qa_hours: int | None = Field(
        default=24, ge=1, description="The QA endpoint is deleted after this; none: it stays.", examples=[8]
    )
    idle_hours: int | None = Field(
        default=None, ge=1, description="The live endpoint is deleted after so long without a request.", examples=[72]
    )


class BatchTransform(_Section):
    """Rows of a lake table answered by the live model, as `<project>/batch_predictions`. A request is a JSON object."""

    table: str = Field(min_length=1, description="Lake table to read.", examples=["companies"])
    columns: list[str] = Field(min_length=1, description="What a request holds.", examples=[["company_id", "revenue"]])
    where: dict[str, str | int | list[str]] = Field(
        default_factory=dict, description="Equality on columns; a list means one of.", examples=[{"exchange": "KOSPI"}]
    )
    asset: str | None = Field(default=None, description="Asset that writes the table.", examples=["listings"])
    joins: list[Join] = Field(
        default_factory=list,
        description="Point-in-time joins, as in `dataset.joins`: their columns are in the request too.",
        examples=[[{"table": "listings", "keys": ["company_id"], "columns": ["sector"]}]],
    )
    time_column: str | None = Field(
        default=None, description="For the joins: when a row was knowable; one of `columns`.", examples=["as_of"]
    )
    key: list[str] = Field(
        min_length=1, description="Columns that name a row: kept beside its answer.", examples=[["company_id"]]
    )
    output_table: str = Field(min_length=1, description="Lake table of the answers.", examples=["churn_predictions"])
    instance_count: int = Field(default=1, ge=1, le=10, description="Of the job on AWS.", examples=[2])

    @model_validator(mode="after")
    def _keys_are_read(self) -> BatchTransform:
        for column in self.key:
            if column not in self.columns:
                raise mistake(f"key `{column}` is not among batch_transform.columns", nearest(column, self.columns))
        if self.joins and self.time_column not in self.columns:
            raise mistake(
                "joins need a time_column that is one of batch_transform.columns",
                nearest(str(self.time_column), self.columns),
                example="time_column: available_at",
            )
        known_once([*self.columns, *(column for join in self.joins for column in join.columns)], "batch_transform")
        keys_are_known(self.joins, self.columns, "batch_transform")
        if self.output_table in {self.table, *(join.table for join in self.joins)}:
            raise mistake(f"the answers would be written into `{self.output_table}`, which is read")
        if reserved := {"answer", "model_digest", "as_of"} & set(self.key):
            raise mistake(f"{', '.join(sorted(reserved))} is a column of the answers: it cannot be a key")
        return self


class ProjectConfig(_Section):
    """config.yaml. Everything a data scientist decides about a project that is not in its scripts."""

    name: str = Field(
        max_length=NAME_LENGTH,
        description="The folder's name: lower-case letters, digits, single underscores.",
        examples=["ticker_ranker"],
    )
    description: str = Field(
        min_length=1, description="What the model does, for people.", examples=["Picks the company that is meant."]
    )
    owner: str = Field(
        description="`team:<name>` or an e-mail address: who is told of failures and of candidates that wait.",
        examples=["team:quant"],
    )
    dataset: Dataset
    image: str | None = Field(
        default=None,
        min_length=1,
        description="Container image on SageMaker, if not the platform's own; the embedded server runs this Python.",
        examples=["123456789012.dkr.ecr.us-east-1.amazonaws.com/ranker:1"],
    )
    instance_type: str = Field(
        default="ml.m5.large",
        pattern=INSTANCE_TYPE,
        description="Of jobs on AWS.",
        examples=["ml.c6i.xlarge"],
    )
    hyperparameters: dict[str, str | int | float | bool] = Field(
        default_factory=dict, max_length=100, description="What train.py gets.", examples=[{"learning-rate": 0.06}]
    )
    metrics: list[Metric] = Field(
        min_length=1,
        max_length=40,
        description="Every metric that a rule names, and what train.py prints.",
        examples=[[{"name": "accuracy", "direction": "maximize"}]],
    )
    gate: Gate
    approval: ApprovalMode = Field(
        description="`manual`: a person approves each model. `automatic`: the gate approves what passes it.",
        examples=["manual"],
    )
    approvals: Approvals = Field(default_factory=Approvals)
    tuning: Tuning | None = None
    schedule: Schedule | None = None
    triggers: Triggers = Field(default_factory=Triggers)
    serving: Serving = Field(default_factory=Serving)
    batch_transform: BatchTransform | None = None
    slack: str | None = Field(
        default=None,
        pattern=r"^#[a-z0-9_-]{1,80}$",
        description="Channel that is told, instead of the owner's.",
        examples=["#quant-models"],
    )
    tags: dict[str, str] = Field(
        default_factory=dict, max_length=50, description="Tags of the assets.", examples=[{"cost-center": "research"}]
    )

    @field_validator("name")
    @classmethod
    def _name_fits_aws(cls, value: str) -> str:
        if not re.fullmatch(NAME_PATTERN, value):
            raise mistake(
                f"`{value}` is not lower-case letters, digits and single underscores", example="ticker_ranker"
            )
        if value.endswith("_qa"):
            raise mistake(
                f"`{value}` would take the name of the QA endpoint of `{value[:-3]}`", example=f"{value}_model"
            )
        return value

    @field_validator("tags")
    @classmethod
    def _tags_are_dagsters(cls, value: dict[str, str]) -> dict[str, str]:
        for pair in value.items():
            for what, text in zip(("name", "value"), pair, strict=True):
                if not re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", text):
                    raise mistake(
                        f"`{text}` cannot be the {what} of a tag: letters, digits, `_`, `-` and `.`, at most 63",
                        example="cost-center: research",
                    )
        return value

    @field_validator("owner")
    @classmethod
    def _owner_is_reachable(cls, value: str) -> str:
        if not re.fullmatch(r"team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise mistake(f"`{value}` is neither team:<name> nor an e-mail address", example="team:mapping")
        return value
