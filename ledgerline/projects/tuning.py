"""Hyperparameters that a search found for a model project, and which of them one training gets. See pipeline.py for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import ModelProject
from ledgerline.projects.pipeline import Pipeline, StoredDataset, prepare, training_spec
from ledgerline.projects.sections import Range, Tuning, did_you_mean, nearest
from ledgerline.release.model_platform import TrainingSpec, Trial, TuningRange, TuningSpec, Value


@dataclass(frozen=True, slots=True)
class TunedHyperparameters:
    """The best values of a search, what they measured, and the data and code that they were found on."""

    values: dict[str, Value]
    metric: str
    score: float
    dataset_digest: str
    code_digest: str
    tuning_job: str


def tune(pipeline: Pipeline, dataset: StoredDataset) -> tuple[TunedHyperparameters, tuple[Trial, ...]]:
    """preprocessing.py as a processing job, then a tuning job over train.py. The test rows are in no trial.

    Raises ConfigurationError where config.yaml asks for no tuning, and what `prepare` and the platform raise.
    """
    project, config = pipeline.project, pipeline.project.config
    tuning = config.tuning
    if tuning is None:
        raise ConfigurationError(f"{project.name} has no `tuning` in config.yaml. Write it, or materialize its model.")
    channels, output = prepare(pipeline, dataset), pipeline.uri("runs", pipeline.run, "training")
    training = training_spec(project, channels, config.hyperparameters, output)
    found = pipeline.platform.run_tuning(tuning_spec(project, tuning, training), pipeline.log)
    best = TunedHyperparameters(
        values=dict(found.values),
        metric=tuning.metric,
        score=found.score,
        dataset_digest=dataset.digest,
        code_digest=project.code_digest,
        tuning_job=found.job_name,
    )
    return best, found.trials


def tuning_spec(project: ModelProject, tuning: Tuning, training: TrainingSpec) -> TuningSpec:
    """The search that config.yaml asks for, over this training."""
    directions = {metric.name: metric.direction for metric in project.config.metrics}
    return TuningSpec(
        training=training,
        metric=tuning.metric,
        maximize=directions[tuning.metric] == "maximize",
        ranges={name: _range(one) for name, one in tuning.ranges.items()},
        strategy=tuning.strategy,
        trials=tuning.trials,
        parallel=tuning.parallel,
        early_stopping=tuning.early_stopping,
    )


def _range(one: Range) -> TuningRange:
    if one.values is not None:
        return TuningRange(values=tuple(one.values))
    assert one.min is not None and one.max is not None  # noqa: PT018 - the section checked it
    return TuningRange(low=one.min, high=one.max, logarithmic=one.scale == "log")


def chosen_hyperparameters(
    project: ModelProject, tuned: TunedHyperparameters | None, once: Mapping[str, Value]
) -> dict[str, Value]:
    """Those of config.yaml, over them the values that were found for what is still searched, over these what is asked
    for this one run.

    Raises ConfigurationError for a name in `once` that the project does not have.
    """
    config = project.config
    known = [*config.hyperparameters, *(config.tuning.ranges if config.tuning else ())]
    for name in once:
        if name not in known:
            raise ConfigurationError(
                f"{project.name} has no hyperparameter `{name}`{did_you_mean(nearest(name, known)) or '.'} "
                f"Known: {', '.join(known) or 'none'}."
            )
    ranges = config.tuning.ranges if config.tuning else {}
    found = {name: value for name, value in tuned.values.items() if name in ranges} if tuned else {}
    return {**config.hyperparameters, **found, **once}


def found_elsewhere(tuned: TunedHyperparameters, dataset: StoredDataset, project: ModelProject) -> str | None:
    """What a reader must know of tuned values: that they were found on other data or with other code; else None."""
    other = [
        what
        for what, differs in (
            (f"other data ({tuned.dataset_digest[:12]})", tuned.dataset_digest != dataset.digest),
            (f"other code ({tuned.code_digest[:12]})", tuned.code_digest != project.code_digest),
        )
        if differs
    ]
    if not other:
        return None
    return f"found on {' and '.join(other)}; materialize {project.name}/tuned_hyperparameters to search again"
