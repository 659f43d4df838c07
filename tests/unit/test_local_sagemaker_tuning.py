"""Hyperparameter tuning: ranges, search and early stopping as pure functions, and whole jobs as boto3 sees them."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_sagemaker import lifecycle, search, tuning
from local_sagemaker.environments import Environments
from local_sagemaker.home import Home
from local_sagemaker.jobs import JobQueue
from local_sagemaker.logs import Logs
from local_sagemaker.objects import Objects
from local_sagemaker.platform import Platform
from local_sagemaker.search import Range
from local_sagemaker.store import Store
from local_sagemaker.tuning import trials_without_improvement
from tests.unit.local_sagemaker_tools import IMAGE, ROLE, Server, tar_gz, until

# A parabola with its top at x = 0.3, over a few epochs; some values of `mode` make it misbehave.
TRAIN = """
import argparse, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float, default=0.0)
parser.add_argument("-n", type=int, default=1)
parser.add_argument("--mode", default="")
parser.add_argument("--epochs", type=int, default=1)
args, _ = parser.parse_known_args()
if args.mode == "fail":
    sys.exit("no such file: rows.csv")
if args.mode == "silent":
    sys.exit(0)
for epoch in range(args.epochs):
    print("score=%f;" % (1 - (args.x - 0.3) ** 2 - args.n / 100), flush=True)
    if args.mode == "slow" or args.x > 8:
        time.sleep(60)
"""


# Ranges --------------------------------------------------------------------------------------------------------------


def numeric(kind: str, low: str, high: str, scale: str = "Linear", name: str = "x") -> dict[str, Any]:
    return {f"{kind}ParameterRanges": [{"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": scale}]}


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (numeric("Continuous", "a", "1"), "bounds of x are no numbers"),
        (numeric("Integer", "1.5", "2"), "bounds of x are no integers"),
        (numeric("Continuous", "2", "1"), "MinValue 2.0 of x must not be greater than its MaxValue 1.0"),
        (numeric("Continuous", "nan", "1"), "must not be greater"),
        (numeric("Continuous", "0", "1", "Logarithmic"), "needs a MinValue greater than 0"),
        (numeric("Continuous", "0", "1", "ReverseLogarithmic"), "within 0 <= x < 1"),
        (numeric("Integer", "0", "0", "ReverseLogarithmic"), "continuous range"),
        (numeric("Integer", "1", "2") | numeric("Continuous", "1", "2"), "must be unique: x, x"),
        ({}, "from 1 to 30 hyperparameters, not 0"),
    ],
)
def test_a_range_that_cannot_be_searched_says_why(ranges: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        search.read_ranges(ranges)


def test_auto_scaling_is_logarithmic_over_orders_of_magnitude() -> None:
    scales = [
        search.read_ranges(numeric("Continuous", low, high, "Auto"))[0].scale
        for low, high in (("0.001", "1"), ("1", "10"), ("0", "1000"))
    ]
    assert scales == ["Logarithmic", "Linear", "Linear"]


def sampled(strategy: str, ranges: dict, count: int, seed: int = 1) -> list[dict[str, str]]:
    found = search.begin(strategy, search.read_ranges(ranges), maximize=True, seed=seed)
    return [asked[1] for _ in range(count) if (asked := found.ask()) is not None]


@pytest.mark.parametrize(
    ("scale", "low", "high", "median"),
    [("Linear", "0.001", "0.999", 0.5), ("Logarithmic", "0.001", "0.999", 0.03), ("ReverseLogarithmic", "0", "0.999", 0.97)],
)  # fmt: skip
def test_a_scale_decides_where_the_samples_lie(scale: str, low: str, high: str, median: float) -> None:
    values = [float(found["x"]) for found in sampled("Random", numeric("Continuous", low, high, scale), 400)]
    assert float(low) <= min(values) <= max(values) <= float(high)
    assert statistics.median(values) == pytest.approx(median, rel=0.5)


def test_a_seed_makes_a_search_repeatable() -> None:
    ranges = numeric("Continuous", "0", "1") | numeric("Integer", "1", "9", name="n")
    assert sampled("Random", ranges, 5) == sampled("Random", ranges, 5) != sampled("Random", ranges, 5, seed=2)


@pytest.mark.parametrize("strategy", ["Random", "Bayesian", "Grid"])
def test_no_combination_is_tried_twice_and_all_are_tried(strategy: str) -> None:
    ranges = {
        "CategoricalParameterRanges": [{"Name": "a", "Values": ["x", "y"]}, {"Name": "b", "Values": ["1", "2", "3"]}]
    }
    found = sampled(strategy, ranges, 10)
    assert len(found) == 6
    assert {(values["a"], values["b"]) for values in found} == {(a, b) for a in "xy" for b in "123"}


def test_bayesian_search_beats_random_search_on_a_smooth_function() -> None:
    ranges = {
        "ContinuousParameterRanges": [
            {"Name": name, "MinValue": "-5", "MaxValue": "5", "ScalingType": "Linear"} for name in ("x", "y")
        ]
    }

    def best(strategy: str, seed: int) -> float:
        found = search.begin(strategy, search.read_ranges(ranges), maximize=False, seed=seed)
        values = []
        for _ in range(40):
            asked = found.ask()
            assert asked is not None
            number, at = asked
            values.append((float(at["x"]) - 1) ** 2 + (float(at["y"]) + 2) ** 2)
            found.tell(number, values[-1])
        return min(values)

    seeds = range(5)
    assert statistics.median(best("Bayesian", seed) for seed in seeds) < 0.5 * statistics.median(
        best("Random", seed) for seed in seeds
    )


def test_a_failed_trial_does_not_end_the_search() -> None:
    found = search.Sampled("Bayesian", [Range("x", low=0, high=1)], maximize=True, seed=0)
    for objective in (None, 0.5, None, 0.7):
        asked = found.ask()
        assert asked is not None
        found.tell(asked[0], objective)
    assert found.ask() is not None


# Early stopping and completion ---------------------------------------------------------------------------------------


def test_a_trial_is_stopped_when_it_is_worse_than_the_median_of_running_averages() -> None:
    earlier = [[0.1, 0.5], [0.2, 0.6], [0.3, 0.7, 0.9]]  # averages up to epoch 2: 0.3, 0.4, 0.5
    assert search.worse_than_median([0.9, 0.39], earlier, maximize=True)
    assert not search.worse_than_median([0.0, 0.41], earlier, maximize=True)
    assert search.worse_than_median([0.0, 0.41], earlier, maximize=False)
    assert not search.worse_than_median([0.0], earlier[:2], maximize=True)  # too few to know
    assert not search.worse_than_median([0.0, 0.0, 0.0], earlier, maximize=True)  # one alone came as far


def test_an_improvement_is_one_of_a_hundredth() -> None:
    assert trials_without_improvement([0.5, 0.504, 0.4, 0.504], maximize=True) == 3
    assert trials_without_improvement([0.5, 0.504, 0.51, 0.4], maximize=True) == 1
    assert trials_without_improvement([0.5, 0.4, 0.45], maximize=False) == 1


# Jobs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("sagemaker"))
    yield started
    started.stop()


X = numeric("Continuous", "0", "1")
MODES = {"CategoricalParameterRanges": [{"Name": "mode", "Values": ["", "fail"]}]}

WARM = {
    "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
    "WarmStartType": "TransferLearning",
}
OTHER = {
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "RoleArn": ROLE,
    "OutputDataConfig": {"S3OutputPath": "s3://lake/tuned"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


def tune(server: Server, name: str, **changed: Any) -> None:
    """Create a tuning job over TRAIN; `config`, `static` and `definition` are merged into the usual ones."""
    server.put("s3://lake/code/tune.tar.gz", tar_gz({"train.py": TRAIN}))
    server.sagemaker.create_hyper_parameter_tuning_job(**tuning_request(name, **changed))


def tuning_request(name: str, **changed: Any) -> dict[str, Any]:
    static = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://lake/code/tune.tar.gz"}
    config: dict[str, Any] = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": X,
        "RandomSeed": 1,
    } | changed.pop("config", {})
    definition: dict[str, Any] = {
        "StaticHyperParameters": static | changed.pop("static", {}),
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "score", "Regex": "score=([-0-9.]+)"}],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": "s3://lake/tuned"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    } | changed.pop("definition", {})
    names = {"HyperParameterTuningJobName": name}
    return names | {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": definition} | changed


def describe(server: Server, name: str) -> dict[str, Any]:
    return server.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def tuned(server: Server, name: str) -> dict[str, Any]:
    return until(
        lambda: describe(server, name),
        lambda job: job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"),
    )


def trials(server: Server, name: str, **request: Any) -> list[dict[str, Any]]:
    return server.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, **({"MaxResults": 100} | request)
    )["TrainingJobSummaries"]


def refused(call: Any, *args: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(*args, **request)
    error = raised.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_every_trial_is_a_training_job_and_the_best_one_is_named(server: Server) -> None:
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    ranges = X | numeric("Integer", "1", "3", name="n")
    tune(
        server, "best", Tags=[{"Key": "owner", "Value": "quant"}],
        config={"Strategy": "Bayesian", "ResourceLimits": limits, "ParameterRanges": ranges},
    )  # fmt: skip
    job = tuned(server, "best")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    assert job["TrainingJobStatusCounters"]["Completed"] == job["ObjectiveStatusCounters"]["Succeeded"] == 4
    found = trials(server, "best")
    assert [item["TrainingJobName"][:9] for item in found] == ["best-001-", "best-002-", "best-003-", "best-004-"]
    values = {item["TrainingJobName"]: item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for item in found}
    best = job["BestTrainingJob"]
    assert best["TrainingJobName"] == max(values, key=lambda name: values[name])
    at = best["TunedHyperParameters"]
    assert values[best["TrainingJobName"]] == pytest.approx(
        1 - (float(at["x"]) - 0.3) ** 2 - int(at["n"]) / 100, abs=1e-5
    )
    trial = server.sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert trial["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert trial["HyperParameters"].items() >= {**at, "_tuning_objective_metric": "score"}.items()
    assert server.read(trial["ModelArtifacts"]["S3ModelArtifacts"])
    assert server.sagemaker.list_tags(ResourceArn=trial["TrainingJobArn"])["Tags"] == [
        {"Key": "owner", "Value": "quant"}
    ]
    ranked = trials(server, "best", SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert [values[item["TrainingJobName"]] for item in ranked] == sorted(values.values(), reverse=True)
    pages = server.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
        HyperParameterTuningJobName="best", PaginationConfig={"PageSize": 3}
    )
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [3, 1]


def test_a_grid_tries_each_combination_and_failures_are_counted(server: Server) -> None:
    tune(
        server, "grid",
        config={"Strategy": "Grid", "ResourceLimits": {"MaxParallelTrainingJobs": 1}, "ParameterRanges": MODES},
    )  # fmt: skip
    job = tuned(server, "grid")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    counters = job["TrainingJobStatusCounters"]
    assert (counters["Completed"], counters["NonRetryableError"]) == (1, 1)
    (failed,) = trials(server, "grid", StatusEquals="Failed")
    assert failed["TunedHyperParameters"] == {"mode": "fail"}
    assert failed["ObjectiveStatus"] == "Failed"
    assert failed["FailureReason"] == "AlgorithmError: exit code 1: no such file: rows.csv"
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"mode": ""}


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("fail", "All training jobs failed; the last one: AlgorithmError: exit code 1: no such file: rows.csv"),
        ("silent", "No objective metrics found after running 5 training jobs. Please ensure that the algorithm"),
    ],
)
def test_a_tuning_job_without_an_objective_fails_after_a_few_trials(server: Server, mode: str, reason: str) -> None:
    limits = {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1}
    tune(server, mode, static={"mode": mode}, config={"ResourceLimits": limits})
    job = tuned(server, mode)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(reason)
    assert "BestTrainingJob" not in job
    assert len(trials(server, mode)) == 5


def test_no_more_trials_run_at_once_than_asked_and_stopping_stops_them(server: Server) -> None:
    limits = {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 3}
    tune(server, "stops", static={"mode": "slow"}, config={"ResourceLimits": limits})
    until(lambda: _running(server, "stops"), lambda running: running == 2)  # as many as the server has slots
    assert describe(server, "stops")["TrainingJobStatusCounters"]["InProgress"] == 3
    assert describe(server, "stops")["ObjectiveStatusCounters"]["Pending"] == 3
    server.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="stops")
    job = tuned(server, "stops")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert {item["TrainingJobStatus"] for item in trials(server, "stops")} == {"Stopped"}
    assert job["TrainingJobStatusCounters"]["Stopped"] == 3
    said = refused(server.sagemaker.stop_hyper_parameter_tuning_job, HyperParameterTuningJobName="stops")
    assert said.startswith("ValidationException: The request was rejected because the hyper parameter tuning job")


def _running(server: Server, name: str) -> int:
    return sum("TrainingStartTime" in item for item in trials(server, name))


def test_a_hopeless_trial_is_stopped_early(server: Server) -> None:
    values = ["0.3", "0.4", "0.5", "9"]  # the last one would sleep after its first, bad, epoch
    tune(
        server, "early", static={"epochs": "2"},
        config={
            "Strategy": "Grid",
            "TrainingJobEarlyStoppingType": "Auto",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "x", "Values": values}]},
        },
    )  # fmt: skip
    job = tuned(server, "early")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    assert [item["TrainingJobStatus"] for item in trials(server, "early")] == ["Completed"] * 3 + ["Stopped"]
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"x": "0.3"}


def test_a_tuning_job_ends_as_soon_as_its_target_is_met(server: Server) -> None:
    limits = {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1}
    criteria = {"TargetObjectiveMetricValue": 0.98}
    tune(server, "target", config={"ResourceLimits": limits, "TuningJobCompletionCriteria": criteria})
    job = tuned(server, "target")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    values = [item["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for item in trials(server, "target")]
    assert values[-1] >= 0.98
    assert 0 < max(values[:-1]) < 0.98


def test_tuning_jobs_are_listed_page_by_page(server: Server) -> None:
    for name in ("page-a", "page-b", "page-c"):
        tune(server, name, config={"ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}})
        tuned(server, name)
    pages = server.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(
        NameContains="page-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    rows = [page["HyperParameterTuningJobSummaries"] for page in pages]
    assert [[row["HyperParameterTuningJobName"] for row in page] for page in rows] == [["page-a", "page-b"], ["page-c"]]
    assert rows[0][0]["TrainingJobStatusCounters"]["Completed"] == 1
    assert refused(tune, server, "page-a").startswith("ResourceInUse: Tuning job names must be unique")
    for call in (
        server.sagemaker.describe_hyper_parameter_tuning_job,
        server.sagemaker.stop_hyper_parameter_tuning_job,
        server.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job,
    ):
        said = refused(call, HyperParameterTuningJobName="nobody")
        assert said == "ValidationException: Requested resource not found."


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": {"Strategy": "Hyperband"}}, "does not execute the strategy Hyperband"),
        ({"WarmStartConfig": WARM}, "does not execute WarmStartConfig"),
        ({"TrainingJobDefinitions": [OTHER]}, "does not execute TrainingJobDefinitions"),
        ({"config": {"ParameterRanges": MODES}}, "combinations for the provided ranges [2] must be equal or greater"),
        ({"config": {"Strategy": "Grid"}}, "Only categorical parameters are supported"),
        ({"config": {"Strategy": "Grid", "ParameterRanges": MODES}}, "must be the number of distinct combinations, [2]"),
        ({"config": {"ResourceLimits": {"MaxParallelTrainingJobs": 1}}}, "MaxNumberOfTrainingJobs is required"),
        ({"config": {"ParameterRanges": numeric("Continuous", "2", "1")}}, "must not be greater than its MaxValue"),
        (
            {"config": {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "auc"}}},
            "A metric is required for this hyperparameter tuning job objective",
        ),
        ({"static": {"x": "1"}}, "['x'] are static and have a range"),
        ({"static": {"a": "x" * 2501}}, "less than or equal to 2500"),
        ({"definition": {"StaticHyperParameters": {}}}, "give the hyperparameters sagemaker_program"),
        ({"definition": {"OutputDataConfig": {"S3OutputPath": "s3://lake/../x"}}}, "OutputDataConfig.S3OutputPath"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused_at_once(server: Server, changed: dict, said: str) -> None:
    answer = refused(tune, server, "refused", **changed)
    assert answer.startswith("ValidationException: ")
    assert said in answer
    assert "not found" in refused(describe, server, "refused")


def test_a_name_longer_than_trials_allow_is_refused(server: Server) -> None:
    assert "less than or equal to 32" in refused(tune, server, "a" * 33)


def test_a_tuning_job_beyond_its_time_is_stopped_with_its_trials(tmp_path: Path) -> None:
    """AWS takes no limit below two minutes, so this one is given past the operation."""
    home = Home(tmp_path / "home")
    home.prepare()
    platform = Platform(
        home, Store(home.state), Objects(tmp_path / "objects"), Logs(home.logs), jobs=JobQueue(1), tuners=JobQueue(1),
        environments=Environments(home.environments), stop_grace_seconds=2.0,
    )  # fmt: skip
    for folder in (home.container_home, home.jobs):
        folder.mkdir()
    platform.objects.put("s3://lake/code/tune.tar.gz", tar_gz({"train.py": TRAIN}))
    limits = {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 2, "MaxRuntimeInSeconds": 0.5}
    request = tuning_request("late", static={"mode": "slow"}, config={"ResourceLimits": limits})
    lifecycle.create(platform, tuning.JOB, request)
    lifecycle.submit(platform, tuning.JOB, "late")
    body = until(
        lambda: platform.store.get(tuning.JOB.kind, "late"),
        lambda found: found["HyperParameterTuningJobStatus"] != "InProgress",
    )
    assert body["HyperParameterTuningJobStatus"] == "Stopped"
    assert [trial["TrainingJobStatus"] for trial in tuning.trials(platform, body)] == ["Stopped"] * 2
    platform.tuners.close(1.0)
    platform.jobs.close(1.0)
    platform.store.close()


def test_after_kill_9_the_tuning_job_and_its_trials_have_failed(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        limits = {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 3}
        tune(own, "killed", static={"mode": "slow"}, config={"ResourceLimits": limits})
        until(lambda: _running(own, "killed"), lambda running: running == 2)
        os.kill(own.running.pid, signal.SIGKILL)
        until(own.home.locked, lambda locked: not locked)
        own.start()
        job = describe(own, "killed")
        assert job["HyperParameterTuningJobStatus"] == "Failed"
        assert job["FailureReason"] == "InternalServerError: the server was killed while the job was running."
        assert job["TrainingJobStatusCounters"] == {
            "Completed": 0, "InProgress": 0, "RetryableError": 3, "NonRetryableError": 0, "Stopped": 0,
        }  # fmt: skip
        found = trials(own, "killed")
        assert {item["TrainingJobStatus"] for item in found} == {"Failed"}
        assert found[2]["FailureReason"] == (
            "InternalServerError: the server was killed while its tuning job was running."
        )
    finally:
        own.stop()


def test_a_server_that_is_stopped_ends_the_tuning_job_and_says_so(tmp_path: Path) -> None:
    own = Server(tmp_path)
    try:
        tune(own, "shut", static={"mode": "slow"})
        until(lambda: _running(own, "shut"), lambda running: running == 2)
        own.stop()
        own.start()
        job = describe(own, "shut")
        assert job["FailureReason"] == "InternalServerError: the server was stopped while the job was running."
        assert {item["TrainingJobStatus"] for item in trials(own, "shut")} == {"Failed"}
    finally:
        own.stop()
