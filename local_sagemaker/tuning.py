"""Runs a tuning job: training jobs of the search's choice, so many at once, until enough or until one is good enough.

A tuning job has no process and takes no slot; it lives in a thread that waits for what its trials report. Its trials
are training jobs like any others and take their turn in the queue with the jobs of other owners.
"""

from __future__ import annotations

import math
import queue
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from local_sagemaker import lifecycle, search, training
from local_sagemaker.jobs import Control
from local_sagemaker.lifecycle import End, Job, JobKind, cut_short
from local_sagemaker.platform import Platform
from local_sagemaker.store import Body

ABORT_AFTER = 5  # trials without one objective value; the next ones would have none either
_IMPROVED = 0.01  # BestObjectiveNotImproving: an improvement is one of 1 % or more
_COPIED = (
    "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "StoppingCondition",
    "Environment", "VpcConfig", "CheckpointConfig", "RetryStrategy", "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining",
)  # fmt: skip


def training_request(body: Body, name: str, values: Mapping[str, str]) -> Body:
    """The CreateTrainingJob request of a trial."""
    definition = body["TrainingJobDefinition"]
    objective = body["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    # AWS adds the first one; a script that does not know it must pass over it (parse_known_args).
    hyperparameters = {"_tuning_objective_metric": objective["MetricName"]}
    return {member: definition[member] for member in _COPIED if member in definition} | {
        "TrainingJobName": name,
        "HyperParameters": hyperparameters | definition.get("StaticHyperParameters", {}) | values,
    }


def trials(platform: Platform, body: Body) -> list[Body]:
    """The training jobs of a tuning job, as they are now."""
    found = (platform.store.get(training.JOB.kind, name) for name in body.get("_trials", []))
    return [trial for trial in found if trial is not None]


def objective_value(trial: Body, metric: str) -> float | None:
    """The last value of the objective of a trial that has ended; None if it failed or has none."""
    if trial["TrainingJobStatus"] not in ("Completed", "Stopped"):
        return None
    values = [item["Value"] for item in trial.get("FinalMetricDataList", []) if item["MetricName"] == metric]
    return values[0] if values and math.isfinite(values[0]) else None


@dataclass(slots=True)
class _Trial:
    """A trial under way: its number in the search and the objective's values until now."""

    number: int
    series: list[float] = field(default_factory=list)
    stopped: bool = False


class _Tuner:
    """One tuning job under way. Other threads call `terminate` and `_run` only, which do no more than put events."""

    def __init__(self, job: Job) -> None:
        config = job.body["HyperParameterTuningJobConfig"]
        objective, limits = config["HyperParameterTuningJobObjective"], config["ResourceLimits"]
        self._job = job
        self._metric = objective["MetricName"]
        self._maximize = objective["Type"] == "Maximize"
        ranges = search.read_ranges(config["ParameterRanges"])
        self._search = search.begin(config["Strategy"], ranges, maximize=self._maximize, seed=config.get("RandomSeed"))
        self._limit = limits.get("MaxNumberOfTrainingJobs", math.inf)
        self._parallel = limits["MaxParallelTrainingJobs"]
        self._deadline = time.monotonic() + limits.get("MaxRuntimeInSeconds", math.inf)
        self._early_stopping = config.get("TrainingJobEarlyStoppingType") == "Auto"
        self._criteria = config.get("TuningJobCompletionCriteria", {})
        # (trial, value of the objective), (trial, None) when it has ended, None when this job must stop
        self._events: queue.SimpleQueue[tuple[str, float | None] | None] = queue.SimpleQueue()
        self._running: dict[str, _Trial] = {}
        self._launched = 0
        self._closed: str | None = None  # the status to end with, once no more trials are launched
        self._series: list[list[float]] = []  # of completed trials
        self._objectives: list[float | None] = []  # of ended trials, in the order of their ends
        self._last_reason: str | None = None

    def terminate(self) -> None:
        self._events.put(None)

    def run(self) -> End:
        self._job.control.attach(self)
        while True:
            while self._closed is None and len(self._running) < self._parallel and self._launched < self._limit:
                if not self._launch():
                    self._limit = self._launched  # every combination was tried
            if not self._running:
                return self._end()
            try:
                event = self._events.get(timeout=_seconds(self._deadline))
            except queue.Empty:
                event, self._deadline = None, math.inf
            if self._job.control.stopped == "shutdown":
                return self._end()  # the trials are stopped by their own queue
            if event is None:
                self.close("Stopped")
            elif event[1] is not None:
                self._reported(event[0], event[1])
            else:
                self._ended(event[0])

    def _launch(self) -> bool:
        asked = self._search.ask()
        if asked is None:
            return False
        number, values = asked
        job, self._launched = self._job, self._launched + 1
        platform = job.platform
        name = f"{job.name}-{self._launched:03d}-{secrets.token_hex(4)}"
        request = training_request(job.body, name, values) | {
            "Tags": platform.store.tags(job.body["HyperParameterTuningJobArn"])
        }
        with platform.store.edit(JOB.kind, job.name) as body:
            if body is not None:
                body.setdefault("_trials", []).append(name)
                lifecycle.create(
                    platform, training.JOB, request,
                    **training.starting(request, platform.now()),
                    TuningJobArn=job.body["HyperParameterTuningJobArn"], _tuned=values,
                )  # fmt: skip
        self._running[name] = _Trial(number)
        platform.jobs.submit(training.JOB.key(name), partial(self._run, name), owner=job.name)
        return True

    def _run(self, name: str, control: Control) -> None:
        """A trial, in a slot of the queue."""

        def on_metric(metric: str, value: float) -> None:
            if metric == self._metric and math.isfinite(value):
                self._events.put((name, value))

        kind = replace(training.JOB, work=partial(training.work, on_metric=on_metric))
        try:
            lifecycle.run(self._job.platform, kind, name, control)
        finally:
            self._events.put((name, None))

    def _reported(self, name: str, value: float) -> None:
        trial = self._running.get(name)
        if trial is None:
            return  # a last line that was read when the trial had ended
        trial.series.append(value)
        if trial.stopped or not self._early_stopping:
            return
        if search.worse_than_median(trial.series, self._series, maximize=self._maximize):
            trial.stopped = True
            lifecycle.stop(self._job.platform, training.JOB, name)

    def _ended(self, name: str) -> None:
        trial = self._running.pop(name)
        body = self._job.platform.store.get(training.JOB.kind, name) or {"TrainingJobStatus": "Failed"}
        value = objective_value(body, self._metric)
        self._search.tell(trial.number, value)
        self._objectives.append(value)
        self._last_reason = body.get("FailureReason", self._last_reason)
        if body["TrainingJobStatus"] == "Completed":
            self._series.append(trial.series)
        if self._closed is not None:
            return
        found = [value for value in self._objectives if value is not None]
        if not found and len(self._objectives) >= ABORT_AFTER:
            self.close("Failed")
        elif found and self._good_enough(found):
            self.close("Completed")

    def _good_enough(self, found: Sequence[float]) -> bool:
        """Whether a criterion of completion is met."""
        best = max(found) if self._maximize else min(found)
        target = self._criteria.get("TargetObjectiveMetricValue")
        if target is not None and (best >= target if self._maximize else best <= target):
            return True
        patience = self._criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        return patience is not None and trials_without_improvement(found, maximize=self._maximize) >= patience

    def close(self, status: str) -> None:
        """Launch no more trials and stop those under way; `run` goes on until they have ended."""
        self._closed = status
        for name in list(self._running):
            lifecycle.stop(self._job.platform, training.JOB, name)

    def _end(self) -> End:
        if end := cut_short(self._job.control):
            return end
        if self._closed in ("Stopped", "Completed"):
            return End(self._closed)
        if any(value is not None for value in self._objectives):
            return End("Completed")
        if self._last_reason is None:
            return End(
                "Failed",
                f"No objective metrics found after running {self._launched} training jobs. Please ensure that the "
                f"algorithm is emitting the metric {self._metric} as its regular expression demands.",
            )
        return End("Failed", f"All training jobs failed; the last one: {self._last_reason}")


def _seconds(deadline: float) -> float | None:
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())


def trials_without_improvement(values: Sequence[float], *, maximize: bool) -> int:
    """How many of the last values are not better by 1 % than the best before them."""
    best, since = values[0], 0
    for value in values[1:]:
        gain = value - best if maximize else best - value
        if gain > 0 and gain >= _IMPROVED * abs(best):
            best, since = value, 0
        else:
            since += 1
    return since


def work(job: Job) -> End:
    tuner = _Tuner(job)
    try:
        return tuner.run()
    except BaseException:
        tuner.close("Failed")  # no trial outlives the job that would read its result
        raise


JOB = JobKind(
    kind="hyper-parameter-tuning-job",
    prefix="HyperParameterTuningJob",
    start="_StartTime",  # AWS shows none
    end="HyperParameterTuningEndTime",
    log_group=None,  # AWS keeps logs of the trials only
    work=work,
    queue=lambda platform: platform.tuners,
)
