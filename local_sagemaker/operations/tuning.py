"""Tuning jobs: create, describe, list, list their training jobs, stop. How one runs is in local_sagemaker/tuning.py."""

from __future__ import annotations

import json
from typing import Any

from local_sagemaker import protocol, search, tuning
from local_sagemaker.errors import validation
from local_sagemaker.operations import common
from local_sagemaker.operations import training as training_jobs
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

MISSING = "Requested resource not found."


def create_hyper_parameter_tuning_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    _check(request)
    words = "Tuning job names must be unique within an AWS account and region, and a tuning job"
    return common.create_job(platform, tuning.JOB, request, words)


def _check(request: dict[str, Any]) -> None:
    """Refuse what AWS refuses beyond the shapes, and what is not executed here."""
    config = request["HyperParameterTuningJobConfig"]
    for member, given in (
        ("WarmStartConfig", request),
        ("Autotune", request),
        ("TrainingJobDefinitions", request),
        ("StrategyConfig", config),
    ):
        if member in given:
            raise common.unsupported(f"{member} of a tuning job", "leave it out; give one TrainingJobDefinition.")
    if config["Strategy"] == "Hyperband":
        raise common.unsupported("the strategy Hyperband", "use Bayesian with TrainingJobEarlyStoppingType Auto.")
    if config.get("TuningJobCompletionCriteria", {}).get("ConvergenceDetected"):
        raise common.unsupported("ConvergenceDetected", "use BestObjectiveNotImproving.")
    if "TrainingJobDefinition" not in request or "ParameterRanges" not in config:
        raise validation("TrainingJobDefinition and ParameterRanges are required for a tuning job.")
    definition = request["TrainingJobDefinition"]
    for member in ("TuningObjective", "HyperParameterRanges", "HyperParameterTuningResourceConfig"):
        if member in definition:
            raise common.unsupported(
                f"TrainingJobDefinition.{member}", "give objective and ranges in the config, and ResourceConfig."
            )
    if config["ParameterRanges"].get("AutoParameters"):
        raise common.unsupported("AutoParameters", "give the range of every hyperparameter.")
    metrics = [item["Name"] for item in definition["AlgorithmSpecification"].get("MetricDefinitions", [])]
    if config.get("HyperParameterTuningJobObjective", {}).get("MetricName") not in metrics:
        raise validation(
            "A metric is required for this hyperparameter tuning job objective. "
            f"Provide a metric in the metric definitions, which are {metrics}."
        )
    ranges = _check_ranges(config, definition.get("StaticHyperParameters", {}))
    _check_trial(request, ranges)


def _check_ranges(config: Body, static: dict[str, str]) -> list[search.Range]:
    try:
        ranges = search.read_ranges(config["ParameterRanges"])
    except ValueError as error:
        raise validation(f"ParameterRanges: {error}") from error
    both = sorted({item.name for item in ranges} & set(static))
    if both:
        raise validation(f"The hyperparameters {both} are static and have a range; leave one of the two out.")
    limit, total = config["ResourceLimits"].get("MaxNumberOfTrainingJobs"), search.combinations(ranges)
    if config["Strategy"] == "Grid":
        if not all(item.choices for item in ranges):
            raise validation("Only categorical parameters are supported when using the grid search strategy.")
        if limit not in (None, total):
            raise validation(
                f"MaxNumberOfTrainingJobs, [{limit}], must be the number of distinct combinations, [{total}], "
                "when using the grid search strategy; leave it out."
            )
    elif limit is None:
        raise validation(f"MaxNumberOfTrainingJobs is required for the strategy {config['Strategy']}.")
    elif total < limit:
        raise validation(
            "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter "
            f"combinations for the provided ranges [{total}] must be equal or greater than the value of "
            f"MaxNumberOfJobs, [{limit}]. Provide additional ranges."
        )
    return ranges


def _check_trial(request: dict[str, Any], ranges: list[search.Range]) -> None:
    """A trial must be a training job that this server takes; better said now than by every trial."""
    values = {item.name: item.choices[0] if item.choices else str(item.low) for item in ranges}
    trial = tuning.training_request(request, "trial", values)
    operation = protocol.service("sagemaker").operation_model("CreateTrainingJob")
    training_jobs.check(protocol.parse(operation, json.dumps(trial).encode()))


def describe_hyper_parameter_tuning_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    body = _get(platform, request)
    summaries = _summaries(platform, body)
    best = _best(body, summaries)
    return {**body, **_counters(summaries), **({"BestTrainingJob": best} if best else {})}


def _get(platform: Platform, request: dict[str, Any]) -> Body:
    return common.get(platform, tuning.JOB.kind, request["HyperParameterTuningJobName"], MISSING)


def _summaries(platform: Platform, body: Body) -> list[Body]:
    """HyperParameterTrainingJobSummary of every trial."""
    objective = body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    definition = common.pick(body["TrainingJobDefinition"], "DefinitionName")
    found = []
    for trial in tuning.trials(platform, body):
        value = tuning.objective_value(trial, objective["MetricName"])
        pending = trial["TrainingJobStatus"] in ("InProgress", "Stopping")
        summary = common.pick(
            trial, "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime",
            "TrainingJobStatus", "FailureReason",
        ) | {
            "TunedHyperParameters": trial["_tuned"],
            "ObjectiveStatus": "Pending" if pending else "Failed" if value is None else "Succeeded",
        }  # fmt: skip
        if value is not None:
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = {**objective, "Value": value}
        if definition:
            summary["TrainingJobDefinitionName"] = definition["DefinitionName"]
        found.append(summary)
    return found


def _value(summary: Body) -> float:
    return float(summary["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])


def _best(body: Body, summaries: list[Body]) -> Body | None:
    """The completed trial with the best objective; of equals the first."""
    done = [
        item
        for item in summaries
        if item["TrainingJobStatus"] == "Completed" and item["ObjectiveStatus"] == "Succeeded"
    ]
    objective = body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    choose = max if objective["Type"] == "Maximize" else min
    return choose(done, key=_value) if done else None


def _counters(summaries: list[Body]) -> Body:
    """How many trials there are of each status; what the server broke off could be retried, the rest not."""
    status = dict.fromkeys(("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0)
    objective = dict.fromkeys(("Succeeded", "Pending", "Failed"), 0)
    for item in summaries:
        named = str(item["TrainingJobStatus"])
        named = {"Stopping": "InProgress", "Failed": "NonRetryableError"}.get(named, named)
        if item.get("FailureReason", "").startswith("InternalServerError"):
            named = "RetryableError"
        status[named] += 1
        objective[item["ObjectiveStatus"]] += 1
    return {"TrainingJobStatusCounters": status, "ObjectiveStatusCounters": objective}


def list_hyper_parameter_tuning_jobs(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    rows, token = common.page(
        (body for _, body in platform.store.all(tuning.JOB.kind)),
        request,
        name="HyperParameterTuningJobName",
        sort_by={"Status": "HyperParameterTuningJobStatus"},
        status="HyperParameterTuningJobStatus",
    )
    members = (
        "HyperParameterTuningJobName", "HyperParameterTuningJobArn", "HyperParameterTuningJobStatus", "CreationTime",
        "HyperParameterTuningEndTime", "LastModifiedTime",
    )  # fmt: skip
    summaries = [
        common.pick(body, *members)
        | common.pick(body["HyperParameterTuningJobConfig"], "Strategy", "ResourceLimits")
        | _counters(_summaries(platform, body))
        for body in rows
    ]
    return {"HyperParameterTuningJobSummaries": summaries, **token}


def list_training_jobs_for_hyper_parameter_tuning_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    summaries = _summaries(platform, _get(platform, request))
    if request.get("SortBy") == "FinalObjectiveMetricValue":  # AWS leaves out those that have none
        summaries = [item | {"_value": _value(item)} for item in summaries if item["ObjectiveStatus"] == "Succeeded"]
    rows, token = common.page(
        summaries,
        {"SortBy": "Name", "SortOrder": "Ascending", **request},  # names count up, creation times can be equal
        name="TrainingJobName",
        sort_by={"Status": "TrainingJobStatus", "FinalObjectiveMetricValue": "_value"},
        status="TrainingJobStatus",
    )
    return {"TrainingJobSummaries": [{key: row[key] for key in row if key != "_value"} for row in rows], **token}


def stop_hyper_parameter_tuning_job(platform: Platform, request: dict[str, Any]) -> dict[str, Any]:
    return common.stop_job(platform, tuning.JOB, request, MISSING)


OPERATIONS = {
    "CreateHyperParameterTuningJob": create_hyper_parameter_tuning_job,
    "DescribeHyperParameterTuningJob": describe_hyper_parameter_tuning_job,
    "ListHyperParameterTuningJobs": list_hyper_parameter_tuning_jobs,
    "ListTrainingJobsForHyperParameterTuningJob": list_training_jobs_for_hyper_parameter_tuning_job,
    "StopHyperParameterTuningJob": stop_hyper_parameter_tuning_job,
}
