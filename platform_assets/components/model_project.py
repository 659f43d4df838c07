"""A folder of model_projects/ -> assets, checks and a schedule. Thin: ledgerline.projects.pipeline does the work.

Belongs here: keys, dependencies, metadata and which step hands what to the next. Not here: the gate
(ledgerline/release), its checks (platform_assets/checks/model_projects.py), operator jobs (jobs/releases.py).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from ledgerline.ports import Lake, ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.model_platform import ModelPlatform
from ledgerline.release.ports import Experiments, ReleaseLedger
from platform_assets.automation import deploy_when_gated, predict_when_live_changes, train_when_new_data
from platform_assets.checks.model_projects import model_project_checks
from platform_assets.checks.training_sets import training_set_checks
from platform_assets.failures import permanent_failures
from platform_assets.provenance import Provenance

if TYPE_CHECKING:
    from ledgerline.projects.batch import BatchPredictions
    from ledgerline.projects.datasets import TrainingSet
    from ledgerline.projects.pipeline import Evaluation, Pipeline, QaReport, StoredDataset, TrainedModel
    from ledgerline.projects.tuning import TunedHyperparameters
    from ledgerline.release.model_platform import Trial
    from ledgerline.release.releases import Candidate, Release

# Resource of each pin of config.yaml: its `current()` is the version in use.
PIN_RESOURCES = {"candidate_index": "candidate_index_store", "knowledge_graph": "knowledge_graph_store"}


class TrainingSetProvenance(Provenance):
    """Which rows: lake table, its version (and of each joined table), how many, their digest and where their bytes are."""

    table: str
    version: int
    rows: int
    digest: str
    uri: str
    joined: dict[str, int] = Field(default_factory=dict)


class TunedProvenance(Provenance):
    """The values that a search found, what they measured, and on which data and with which code."""

    values: dict[str, str | int | float]
    metric: str
    score: float
    dataset_digest: str
    code_digest: str
    tuning_job: str


class ModelProvenance(Provenance):
    """Which model, made of which training set by which code, and the test rows that belong to it."""

    model_digest: str
    model_uri: str
    test_uri: str
    data_digest: str
    training_job: str
    code_digest: str
    dataset_digest: str
    training_set: TrainingSetProvenance  # a newer one may be there before the model is registered


class EvaluationProvenance(Provenance):
    """Which report on which model, and what the gate said of it then."""

    model_digest: str
    report_digest: str
    report_uri: str
    requests_uri: str
    verdict_digest: str
    passed: bool


class ModelVersionProvenance(Provenance):
    """The registered candidate."""

    model_digest: str
    report_digest: str
    policy_digest: str
    package_arn: str


class QaProvenance(Provenance):
    """What the QA endpoint serves."""

    model_digest: str
    endpoint: str
    endpoint_config: str


class QaReportProvenance(Provenance):
    """What QA answered with, and how many answers differ from live."""

    model_digest: str
    served_digest: str
    requests: int
    changed: int


class LiveProvenance(Provenance):
    """The release that is live, and the newest row of the release ledger when it was written."""

    model_digest: str
    endpoint: str
    endpoint_config: str
    package_arn: str
    verdict_digest: str
    approver: str
    previous: str
    ledger_head: str


class BatchProvenance(Provenance):
    """Which model answered which rows, and the version of the lake table that holds the answers."""

    model_digest: str
    table: str
    version: int
    rows: int
    transform_job: str
    output_table: str
    output_version: int


class TrainingSetConfig(dg.Config):
    """Run config of `<project>/training_set`: nothing, or the versions that an earlier materialization recorded."""

    version: int | None = Field(default=None, description="Of the lake table; none: the newest.")
    joined: dict[str, int] = Field(
        default_factory=dict, description="Joined table -> its version; needed with `version`."
    )
    digest: str = Field(
        default="", description="With it the kept bytes are taken, if the lake has the version no more."
    )


class ModelConfig(dg.Config):
    """Run config of `<project>/model`: hyperparameters for this one run, over those of config.yaml and the tuned ones."""

    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="Name -> value.")


def model_project_definitions(project: ModelProject) -> dg.Definitions:
    """The assets `<project>/training_set` to `<project>/live_endpoint` with checks and, if asked for, a schedule,
    `<project>/tuned_hyperparameters` and `<project>/batch_predictions`."""
    steps = [_training_set, _model, _evaluation, _model_version, _live_endpoint]
    if project.config.tuning is not None:
        steps.append(_tuned_hyperparameters)
    if project.config.serving.qa:
        steps += [_qa_endpoint, _qa_report]
    if project.config.batch_transform is not None:
        steps.append(_batch_predictions)
    return dg.Definitions(
        assets=[step(project) for step in steps],
        asset_checks=[*training_set_checks(project), *model_project_checks(project)],
        schedules=_schedules(project),
    )


def _schedules(project: ModelProject) -> list[dg.ScheduleDefinition]:
    schedule = project.config.schedule
    if schedule is None:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"train_{project.name}_by_the_clock",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            job_name=f"train_{project.name}",
            cron_schedule=schedule.cron,
            execution_timezone=schedule.timezone,
            description=f"Trains {project.name} as its config.yaml says; the candidate then waits for its approval.",
        )
    ]


# What the assets share -----------------------------------------------------------------------------------------------


def key_of(project: ModelProject, step: str) -> dg.AssetKey:
    return dg.AssetKey([project.name, step])


def _common(project: ModelProject, step: str, *, version: str, kinds: set[str]) -> dict[str, Any]:
    return {
        "key": key_of(project, step),
        "group_name": project.name,
        "owners": [project.config.owner],
        "kinds": kinds,
        "tags": dict(project.config.tags),
        "code_version": version[:12],
    }


def _when_new_data(project: ModelProject) -> dg.AutomationCondition | None:
    return train_when_new_data() if project.config.triggers.new_data else None


def _pipeline(
    project: ModelProject,
    context: dg.AssetExecutionContext,
    object_store: ObjectStore,
    sagemaker: ModelPlatform,
    release_ledger: ReleaseLedger,
) -> "Pipeline":
    from ledgerline.projects.pipeline import Pipeline
    from ledgerline.release.deploy import utc_now

    return Pipeline(
        project=project,
        objects=object_store,
        platform=sagemaker,
        ledger=release_ledger,
        clock=utc_now,
        log=context.log.info,
        run=context.run.run_id,
    )


def _upstream(record: type[Any], context: dg.AssetExecutionContext, project: ModelProject, step: str) -> Any:
    """The provenance of an asset of the project. Raises Failure naming the asset to materialize."""
    found = record.latest(context.instance, key_of(project, step))
    if found is None:
        raise dg.Failure(
            f"{project.name}/{step} was never materialized, and this asset is made from it. Materialize it first.",
            allow_retries=False,
        )
    return found


def _dataset(context: dg.AssetExecutionContext, project: ModelProject) -> "StoredDataset":
    from ledgerline.projects.pipeline import StoredDataset

    return StoredDataset(**_upstream(TrainingSetProvenance, context, project, "training_set").model_dump())


def _trained(context: dg.AssetExecutionContext, project: ModelProject) -> "tuple[TrainedModel, StoredDataset]":
    """The newest model, and the training set that it was made of."""
    from ledgerline.projects.pipeline import StoredDataset, TrainedModel

    found = _upstream(ModelProvenance, context, project, "model")
    trained = TrainedModel(**found.model_dump(exclude={"dataset_digest", "training_set"}))
    return trained, StoredDataset(**found.training_set.model_dump())


@contextmanager
def _experiment_fails_too(
    experiments: Experiments, project: ModelProject, context: dg.AssetExecutionContext, step: str
) -> Iterator[None]:
    """If the block raises, the MLflow run of this Dagster run is FAILED and says in which asset."""
    try:
        yield
    except Exception:
        tags = {"failed_in": f"{project.name}/{step}"}
        with experiments.run(project.name, dagster_run_id=context.run.run_id, tags=tags):
            raise


# The assets ----------------------------------------------------------------------------------------------------------


def _training_set(project: ModelProject) -> dg.AssetsDefinition:
    dataset = project.config.dataset
    deps = [dg.AssetKey(dataset.asset.split("/"))] if dataset.asset else []

    @dg.asset(
        **_common(project, "training_set", version=project.dataset_digest, kinds={"python", "parquet"}),
        deps=deps,
        description=f"Rows of the lake table `{dataset.table}` that {project.name} learns from, at a recorded version."
        "\n\nEqual rows give equal bytes, and so the same digest, whatever the table's version.",
        automation_condition=_when_new_data(project),
    )
    def training_set(
        context: dg.AssetExecutionContext,
        config: TrainingSetConfig,
        lake: dg.ResourceParam[Lake],
        object_store: dg.ResourceParam[ObjectStore],
    ) -> dg.MaterializeResult:
        from dataclasses import asdict

        from ledgerline.projects.pipeline import store_training_set
        from platform_assets.plots import table

        with permanent_failures(context):
            stored, found = store_training_set(
                project,
                lake,
                object_store,
                version=config.version,
                joined=config.joined,
                digest=config.digest or None,
            )
        entities = found.rows[dataset.entity_column].combine_chunks()
        return dg.MaterializeResult(
            data_version=dg.DataVersion(stored.digest),
            metadata={
                **TrainingSetProvenance(**asdict(stored)).metadata(),
                "entities": len(entities.unique()),
                **_split_metadata(project, found),
                "bytes": len(found.body),
                "preview": table([_short_cells(row) for row in found.rows.slice(0, 10).to_pylist()]),
            },
        )

    return training_set


def _split_metadata(project: ModelProject, found: "TrainingSet") -> dict[str, Any]:
    """Rows and entities of each channel, where the platform split them, and the rows that would have broken the split."""
    from platform_assets.plots import table

    dataset = project.config.dataset
    if dataset.split is None:
        return {}
    counted = found.rows.group_by(dataset.split.column).aggregate(
        [([], "count_all"), (dataset.entity_column, "count_distinct")]
    )
    return {
        "channels": table(
            [
                {
                    "channel": row[dataset.split.column],
                    "rows": row["count_all"],
                    "entities": row[f"{dataset.entity_column}_count_distinct"],
                }
                for row in counted.sort_by(dataset.split.column).to_pylist()
            ]
        ),
        "rows left out": found.left_out,
    }


def _tuned_hyperparameters(project: ModelProject) -> dg.AssetsDefinition:
    tuning = project.config.tuning
    assert tuning is not None
    searched = _sha256(project.code_digest + tuning.model_dump_json())

    @dg.asset(
        **_common(project, "tuned_hyperparameters", version=searched, kinds={"python", "sagemaker"}),
        deps=[key_of(project, "training_set")],
        description=f"Hyperparameters for {project.name} that a tuning job found (`tuning` in config.yaml), with the "
        "digest of the data that they were found on. The test rows are in no trial.",
        automation_condition=_when_new_data(project),
        pool="sagemaker_jobs",
    )
    def tuned_hyperparameters(
        context: dg.AssetExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        experiments: dg.ResourceParam[Experiments],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from dataclasses import asdict

        from ledgerline.projects.tuning import tune
        from ledgerline.release.canonical import canonical_json

        experiments.warm_up()  # while the jobs run
        dataset = _dataset(context, project)
        pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
        with permanent_failures(context), _experiment_fails_too(experiments, project, context, "tuned_hyperparameters"):
            tuned, trials = tune(pipeline, dataset)
        with experiments.run(
            project.name, dagster_run_id=context.run.run_id, tags={"tuning_job": tuned.tuning_job}
        ) as run:
            run.params({f"tuned.{name}": value for name, value in tuned.values.items()})
            run.metrics({f"tuned.{tuned.metric}": tuned.score})
            run.artifact("trials.json", canonical_json([asdict(trial) for trial in trials]))
        record = TunedProvenance(**asdict(tuned))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(_sha256(record.model_dump_json())),
            metadata={**record.metadata(), **_trials_metadata(tuned, trials)},
        )

    return tuned_hyperparameters


def _trials_metadata(tuned: "TunedHyperparameters", trials: "Sequence[Trial]") -> dict[str, Any]:
    from platform_assets.plots import lines, table

    return {
        "best": table([{"hyperparameter": name, "value": value} for name, value in sorted(tuned.values.items())]),
        "trials": table(
            [
                {
                    "trial": number,
                    **dict(sorted(trial.values.items())),
                    tuned.metric: trial.score,
                    "status": trial.status,
                    "seconds": round(trial.seconds, 1),
                }
                for number, trial in enumerate(trials, start=1)
            ]
        ),
        "search": lines(
            f"{tuned.metric} of each trial",
            [str(number) for number in range(1, len(trials) + 1)],
            {tuned.metric: [trial.score for trial in trials]},
            y=tuned.metric,
        ),
    }


def _tuned(context: dg.AssetExecutionContext, project: ModelProject) -> "TunedHyperparameters | None":
    """What the newest search found, None for a project without tuning. Raises Failure naming the asset to materialize."""
    from ledgerline.projects.tuning import TunedHyperparameters

    if project.config.tuning is None:
        return None
    return TunedHyperparameters(**_upstream(TunedProvenance, context, project, "tuned_hyperparameters").model_dump())


def _model(project: ModelProject) -> dg.AssetsDefinition:
    steps = ("training_set", *(("tuned_hyperparameters",) if project.config.tuning else ()))

    @dg.asset(
        **_common(project, "model", version=project.code_digest, kinds={"python", "sagemaker"}),
        deps=[key_of(project, step) for step in steps],
        description=f"{project.config.description}\n\nTrained by `preprocessing.py` (processing job) and `train.py` "
        "(training job), whose logs are in the run. The same data and code give the same digest.",
        automation_condition=_when_new_data(project),
        pool="sagemaker_jobs",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: ModelConfig,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        experiments: dg.ResourceParam[Experiments],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from dataclasses import asdict

        from ledgerline.projects.pipeline import train
        from ledgerline.projects.tuning import chosen_hyperparameters, found_elsewhere
        from platform_assets.plots import table

        experiments.warm_up()  # while the jobs run
        dataset, tuned = _dataset(context, project), _tuned(context, project)
        pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
        elsewhere = found_elsewhere(tuned, dataset, project) if tuned else None
        if elsewhere:
            context.log.warning(f"The hyperparameters were {elsewhere}.")
        with permanent_failures(context), _experiment_fails_too(experiments, project, context, "model"):
            hyperparameters = chosen_hyperparameters(project, tuned, config.hyperparameters)
            trained = train(pipeline, dataset, hyperparameters)
        tags = {
            "asset_key": f"{project.name}/model",
            "dataset_version": f"{dataset.table}@{dataset.version}",
            "dataset_digest": dataset.digest,
            "model_digest": trained.model_digest,
            "training_job": trained.training_job,
        }
        with experiments.run(project.name, dagster_run_id=context.run.run_id, tags=tags) as run:
            run.params(hyperparameters)
            run.metrics(trained.metrics)
        made_of: dict[str, Any] = {
            "dataset_digest": dataset.digest,
            "training_set": TrainingSetProvenance(**asdict(dataset)),
        }
        record = {name: getattr(trained, name) for name in ModelProvenance.model_fields if name not in made_of}
        return dg.MaterializeResult(
            data_version=dg.DataVersion(trained.model_digest),
            metadata={
                **ModelProvenance(**record, **made_of).metadata(),
                "experiment run": run.run_id,
                "metrics": table([{"metric": name, "value": value} for name, value in sorted(trained.metrics.items())]),
                "hyperparameters": hyperparameters,
                **({"of this run only": dict(config.hyperparameters)} if config.hyperparameters else {}),
                **(
                    {"tuned by": tuned.tuning_job, "tuned values": elsewhere or "found on this data and code"}
                    if tuned
                    else {}
                ),
            },
        )

    return model


def _evaluation(project: ModelProject) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(project, "evaluation", version=project.code_digest, kinds={"python", "sagemaker"}),
        deps=[key_of(project, "model")],
        description="Report of `evaluation.py` on the test rows, for the candidate and for the live model on the same "
        "rows. The check `gate` judges it.",
        automation_condition=_when_new_data(project),
        pool="sagemaker_jobs",
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        experiments: dg.ResourceParam[Experiments],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from ledgerline.projects.comparison import compared_models, comparison_rows
        from ledgerline.projects.pipeline import evaluate
        from ledgerline.projects.review import evaluation_page
        from ledgerline.release.canonical import canonical_json
        from platform_assets.components.reports import comparison

        experiments.warm_up()  # while the job runs
        trained, _ = _trained(context, project)
        pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
        with permanent_failures(context), _experiment_fails_too(experiments, project, context, "evaluation"):
            found = evaluate(pipeline, trained)
            models = compared_models(pipeline.records(), object_store, found.report)
            page = evaluation_page(pipeline, trained, found, models)
        tags = {"model_digest": trained.model_digest, "verdict": found.verdict.summary}
        with experiments.run(project.name, dagster_run_id=context.run.run_id, tags=tags) as run:
            run.metrics({name: value for name, value in found.report.metrics.items() if value is not None})
            run.artifact("evaluation.json", found.report.to_json())
            run.artifact("comparison.json", canonical_json(comparison_rows(models)))
            run.artifact("evaluation.html", page)
        metadata = {**_evaluation_metadata(found), **comparison(models), "experiment run": run.run_id}
        return dg.MaterializeResult(data_version=dg.DataVersion(found.report.digest), metadata=metadata)

    return evaluation


def _evaluation_metadata(found: "Evaluation") -> dict[str, Any]:
    from platform_assets.components.reports import calibration_plot, metrics_table, rules_table, slices_table

    report = found.report
    metadata: dict[str, Any] = {
        **EvaluationProvenance(
            model_digest=report.model_digest,
            report_digest=report.digest,
            report_uri=found.report_uri,
            requests_uri=found.requests_uri,
            verdict_digest=found.verdict.digest,
            passed=found.verdict.passed,
        ).metadata(),
        "verdict": found.verdict.summary,
        "rules": rules_table(found.verdict),
        "metrics": metrics_table(report, found.live),
    }
    for column in report.slices:
        metadata[f"by {column}"] = slices_table(report, column, found.live)
    bins = report.details.get("calibration")
    if bins:
        metadata["calibration"] = calibration_plot(bins)
    return metadata


def _model_version(project: ModelProject) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(project, "model_version", version=project.policy.digest, kinds={"sagemaker"}),
        deps=[key_of(project, step) for step in ("training_set", "model", "evaluation")],
        description="The model registered as a package with the digests of its bytes, report and data. "
        "It waits for its approval; the check `approved` says who has to do what.",
        automation_condition=_when_new_data(project),
    )
    def model_version(
        context: dg.AssetExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from ledgerline.projects.pipeline import recorded_evaluation, register

        pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
        trained, dataset = _trained(context, project)
        evaluated = _upstream(EvaluationProvenance, context, project, "evaluation")
        with permanent_failures(context):
            evaluation = recorded_evaluation(pipeline, trained, evaluated.requests_uri)
            candidate = register(pipeline, dataset, trained, evaluation)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(candidate.model_digest),
            metadata=_candidate_metadata(project, candidate, release_ledger),
        )

    return model_version


def _candidate_metadata(project: ModelProject, candidate: "Candidate", ledger: ReleaseLedger) -> dict[str, Any]:
    from ledgerline.release.approvals import describe_decisions
    from ledgerline.release.releases import approvals, approve_command

    records = [entry.record for entry in ledger.entries(project.name)]
    record = {name: getattr(candidate, name) for name in ModelVersionProvenance.model_fields}
    return {
        **ModelVersionProvenance(**record).metadata(),
        "who must approve": project.config.owner if project.policy.approval == "manual" else "nobody: automatic",
        "approve with": dg.MetadataValue.md(f"`{approve_command(candidate)}`"),
        "decisions": describe_decisions(approvals(records), candidate.model_digest) or "none yet",
        "dataset": f"{candidate.dataset_table}@{candidate.dataset_version}",
    }


def _newest_candidate(project: ModelProject, ledger: ReleaseLedger) -> "Candidate":
    from ledgerline.release.releases import GateRefusal, latest_candidate

    candidate = latest_candidate([entry.record for entry in ledger.entries(project.name)])
    if candidate is None:
        raise GateRefusal("registered", f"{project.name} has no registered model. Materialize model_version first.")
    return candidate


def _qa_endpoint(project: ModelProject) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(project, "qa_endpoint", version=project.policy.digest, kinds={"sagemaker"}),
        deps=[key_of(project, "model_version")],
        description=f"The endpoint `{project.qa_endpoint}` with the candidate's bytes, as live would serve them.",
        automation_condition=_when_new_data(project),
    )
    def qa_endpoint(
        context: dg.AssetExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from ledgerline.projects.pipeline import put_on_qa

        with permanent_failures(context):
            candidate = _newest_candidate(project, release_ledger)
            pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
            config = put_on_qa(pipeline, candidate)
        record = QaProvenance(model_digest=candidate.model_digest, endpoint=project.qa_endpoint, endpoint_config=config)
        return dg.MaterializeResult(data_version=dg.DataVersion(candidate.model_digest), metadata=record.metadata())

    return qa_endpoint


def _qa_report(project: ModelProject) -> dg.AssetsDefinition:
    @dg.asset(
        **_common(project, "qa_report", version=project.policy.digest, kinds={"python"}),
        deps=[key_of(project, "qa_endpoint")],
        description="The same requests answered by QA and by live: which answers change, and whether QA serves the "
        "very bytes that were judged.",
        automation_condition=_when_new_data(project),
    )
    def qa_report(
        context: dg.AssetExecutionContext,
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
        experiments: dg.ResourceParam[Experiments],
    ) -> dg.MaterializeResult:
        from ledgerline.projects.pipeline import compare
        from ledgerline.projects.review import store_qa_page

        with permanent_failures(context):
            candidate = _newest_candidate(project, release_ledger)
            pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
            found = compare(pipeline, candidate)
            uri, page = store_qa_page(pipeline, candidate, found)
        with experiments.run(project.name, dagster_run_id=context.run.run_id, tags={"qa_report": uri}) as run:
            run.artifact("qa_report.html", page)
        more = {"page": uri, "page in MLflow": "qa_report.html of the run that is tagged with this Dagster run"}
        return dg.MaterializeResult(metadata={**_qa_metadata(candidate, found), **more})

    return qa_report


def _qa_metadata(candidate: "Candidate", found: "QaReport") -> dict[str, Any]:
    from platform_assets.plots import table

    record = QaReportProvenance(
        model_digest=candidate.model_digest,
        served_digest=found.served_digest,
        requests=len(found.comparisons),
        changed=len(found.changed),
    )
    shown = found.changed or found.comparisons[:5]
    return {
        **record.metadata(),
        "live model": found.live_digest or "no live endpoint answers",
        "answered within (ms, 99 of 100)": round(found.p99_ms, 2),
        "changed answers" if found.changed else "answers": table(
            [
                {"request": item.request, "candidate": item.qa[:300], "live": (item.live or "")[:300]}
                for item in shown[:20]
            ]
        ),
    }


def _live_endpoint(project: ModelProject) -> dg.AssetsDefinition:
    steps = ("evaluation", "model_version", *(("qa_report",) if project.config.serving.qa else ()))
    pins: dict[str, str] = {pin: PIN_RESOURCES[pin] for pin in project.config.serving.pins}

    @dg.asset(
        **_common(project, "live_endpoint", version=project.policy.digest, kinds={"sagemaker"}),
        # `evaluation` is named although `model_version` comes after it: a condition sees checks of direct deps only.
        deps=[key_of(project, step) for step in steps],
        required_resource_keys={"object_store", "sagemaker", "release_ledger", *pins.values()},
        description=f"The endpoint `{project.endpoint}` with the newest approved model.\n\nThe deploy code judges "
        "again on the bytes as they are now and refuses, naming the rule, whatever asked for it. A failure leaves the "
        "previous release live. If exactly this model is live already, nothing happens.",
        automation_condition=deploy_when_gated(),
        pool="live_endpoint",
    )
    def live_endpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from ledgerline.release.deploy import Deployer, deploy_release

        resources = context.resources
        ports = resources.release_ledger, resources.sagemaker, resources.object_store
        deployer = Deployer(project, *ports, report=context.log.info)
        with permanent_failures(context):
            versions: dict[str, str] = {pin: getattr(resources, name).current() or "none" for pin, name in pins.items()}
            deployment = deploy_release(deployer, actor=f"Dagster run {context.run.run_id}", pins=versions)
        context.log.info(deployment.message)
        number, head = resources.release_ledger.head()
        return dg.MaterializeResult(
            data_version=dg.DataVersion(deployment.release.model_digest),
            metadata={
                **_release_metadata(deployment.release, f"{number}:{head}"),
                "what was done": deployment.message,
            },
        )

    return live_endpoint


def _batch_predictions(project: ModelProject) -> dg.AssetsDefinition:
    batch = project.config.batch_transform
    assert batch is not None
    table_asset = [dg.AssetKey(batch.asset.split("/"))] if batch.asset else []

    @dg.asset(
        **_common(project, "batch_predictions", version=_sha256(batch.model_dump_json()), kinds={"sagemaker"}),
        deps=[key_of(project, "live_endpoint"), *table_asset],
        description=f"Rows of the lake table `{batch.table}` answered by the live model of {project.name} in a batch "
        f"transform job, merged into the lake table `{batch.output_table}` by {', '.join(batch.key)}.",
        automation_condition=predict_when_live_changes(table_asset),
        pool="sagemaker_jobs",
    )
    def batch_predictions(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        object_store: dg.ResourceParam[ObjectStore],
        sagemaker: dg.ResourceParam[ModelPlatform],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.MaterializeResult:
        from ledgerline.projects.batch import predict

        pipeline = _pipeline(project, context, object_store, sagemaker, release_ledger)
        with permanent_failures(context):
            done = predict(pipeline, lake)
        return dg.MaterializeResult(metadata=_batch_metadata(done))

    return batch_predictions


def _batch_metadata(done: "BatchPredictions") -> dict[str, Any]:
    from platform_assets.plots import table

    record = BatchProvenance(
        model_digest=done.release.model_digest,
        table=done.table,
        version=done.version,
        rows=done.answers.num_rows,
        transform_job=done.job,
        output_table=done.write.table,
        output_version=done.write.version,
    )
    return {
        **record.metadata(),
        "new answers": done.write.inserted,
        "changed answers": done.write.updated,
        "preview": table([_short_cells(row, most=200) for row in done.answers.slice(0, 10).to_pylist()]),
    }


def _release_metadata(release: "Release", head: str) -> dict[str, Any]:
    record = {name: getattr(release, name) for name in LiveProvenance.model_fields if name != "ledger_head"}
    record["previous"] = release.previous or ""
    return {
        **LiveProvenance(**record, ledger_head=head).metadata(),
        "made with": dict(release.pins),
        "dataset": f"{release.dataset_table}@{release.dataset_version}",
        "approved by": release.approver,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _short_cells(row: Mapping[str, Any], most: int = 60) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)[:most]
        for name, value in row.items()
    }
