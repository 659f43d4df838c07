"""The model platform's contract, run by the SageMaker resource against the embedded server."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ledgerline.errors import ConfigurationError, PermanentFailure
from ledgerline.release.digest import model_digest
from ledgerline.release.model_platform import (
    DeployFailed,
    JobFailed,
    ModelPlatform,
    ModelRefused,
    ProcessingSpec,
    TrainingSpec,
    TransformSpec,
    TuningRange,
    TuningSpec,
)
from ledgerline.release.rollout import AlarmRule, Rollout
from local_sagemaker import daemon
from local_sagemaker.home import Home
from resources.environment import ROOT
from resources.object_store import DirectoryObjectStore
from resources.sagemaker import SageMaker

PREPROCESSING = """
import argparse, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--input-dir", type=pathlib.Path)
parser.add_argument("--output-dir", type=pathlib.Path)
args = parser.parse_args()
rows = (args.input_dir / "raw" / "rows.csv").read_text()
print("read", len(rows), "characters")
(args.output_dir / "train" / "rows.csv").write_text(rows.upper())
"""
TRAIN = """
import argparse, json, os, pathlib, shutil
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--train", type=pathlib.Path, default=os.environ["SM_CHANNEL_TRAIN"])
args, _ = parser.parse_known_args()
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "code").mkdir()
shutil.copy("inference.py", model / "code" / "inference.py")
rows = (pathlib.Path(args.train) / "rows.csv").read_text()
(model / "model.json").write_text(json.dumps({"rows": rows, "rate": args.rate}))
print("ndcg=0.75;")
print(f"rate-is={args.rate};")
"""
INFERENCE = """
import json, os
def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.json")) as file:
        return json.load(file)
def input_fn(body, content_type):
    request = json.loads(body)
    if not isinstance(request, list):
        raise ValueError("the request is not a list")
    return request
def predict_fn(request, model):
    return [request, model["rate"]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="module")
def objects(folder: Path) -> DirectoryObjectStore:
    return DirectoryObjectStore(root=str(folder / "objects"), durable=False)


@pytest.fixture(scope="module")
def platform(folder: Path, objects: DirectoryObjectStore) -> Iterator[ModelPlatform]:
    home = folder / "sagemaker"
    yield SageMaker(object_store=objects, local_home=str(home), local_object_root=objects.root)
    daemon.stop(home)


@pytest.fixture(scope="module")
def project(folder: Path) -> Path:
    path = folder / "project"
    (path / "__pycache__").mkdir(parents=True)
    (path / "__pycache__" / "x.pyc").write_bytes(b"different on every machine")
    for name, text in (("preprocessing.py", PREPROCESSING), ("train.py", TRAIN), ("inference.py", INFERENCE)):
        (path / name).write_text(text)
    return path


def training(project: Path, rate: float = 0.5) -> TrainingSpec:
    return TrainingSpec(
        name="ticker_ranker train",
        source_dir=project,
        inputs={"train": "s3://ledgerline/sets/train"},
        output_uri="s3://ledgerline/models",
        hyperparameters={"rate": rate},
        metrics={"ndcg": r"ndcg=([0-9.]+);"},
    )


def trained(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore, rate: float = 0.5
) -> tuple[str, str]:
    """URI and digest of a model."""
    objects.put("s3://ledgerline/sets/train/rows.csv", b"A,B")
    result = platform.run_training(training(project, rate), lambda line: None)
    return result.model_uri, result.model_digest


def test_processing_reads_inputs_and_writes_outputs_and_its_log_is_heard(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    objects.put("s3://ledgerline/raw/rows.csv", b"a,b")
    heard: list[str] = []
    spec = ProcessingSpec(
        name="ranker-preprocessing",
        source_dir=project,
        script="preprocessing.py",
        inputs={"raw": "s3://ledgerline/raw/rows.csv"},
        outputs={"train": "s3://ledgerline/sets/made"},
    )
    result = platform.run_processing(spec, heard.append)
    assert objects.get("s3://ledgerline/sets/made/rows.csv") == b"A,B"
    assert heard == ["read 3 characters"] == platform.logs("processing", result.job_name)
    assert result.job_name.startswith("ledgerline-local-ranker-preprocessing-")


def test_the_same_data_and_code_give_the_same_model(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    objects.put("s3://ledgerline/sets/train/rows.csv", b"A,B")
    first, second = (platform.run_training(training(project), lambda line: None) for _ in range(2))
    assert first.model_digest == second.model_digest == model_digest(objects.get(first.model_uri))
    assert first.model_uri != second.model_uri
    assert first.metrics == {"ndcg": 0.75}
    assert platform.run_training(training(project, 0.6), lambda line: None).model_digest != first.model_digest


def tuning(project: Path, **changes: object) -> TuningSpec:
    """A grid over two rates; train.py prints the metric `rate-is`, whose best value is known."""
    values: dict[str, object] = {
        "training": replace(training(project), metrics={"ndcg": r"ndcg=([0-9.]+);", "rate": r"rate-is=([0-9.]+);"}),
        "metric": "rate",
        "maximize": False,
        "ranges": {"rate": TuningRange(values=(0.75, 0.25))},
        "strategy": "grid",
        "trials": 10,
        "parallel": 2,
    }
    return TuningSpec(**{**values, **changes})  # type: ignore[arg-type]


def test_a_search_gives_the_best_values_as_they_were_written_and_every_trial(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    objects.put("s3://ledgerline/sets/train/rows.csv", b"A,B")
    heard: list[str] = []
    found = platform.run_tuning(tuning(project), heard.append)
    assert (found.values, found.score) == ({"rate": 0.25}, 0.25)
    assert [(trial.values, trial.score, trial.status) for trial in found.trials] == [
        ({"rate": 0.75}, 0.75, "Completed"),
        ({"rate": 0.25}, 0.25, "Completed"),
    ]
    assert len(heard) == 2
    assert any("rate=0.25 -> rate 0.25 (Completed)" in line for line in heard)


def test_a_search_between_bounds_keeps_whole_numbers_whole_and_is_the_same_again(
    platform: ModelPlatform, project: Path
) -> None:
    spec = tuning(
        project,
        ranges={"rate": TuningRange(low=0.1, high=0.9, logarithmic=True), "depth": TuningRange(low=2, high=9)},
        strategy="random",
        trials=2,
    )
    first, second = (platform.run_tuning(spec, lambda line: None) for _ in range(2))
    assert first.values == second.values
    assert 0.1 <= float(first.values["rate"]) <= 0.9
    assert isinstance(first.values["depth"], int)
    assert first.values["depth"] in range(2, 10)


def test_a_search_in_which_no_trial_gives_the_metric_has_failed(platform: ModelPlatform, project: Path) -> None:
    silent = replace(training(project), metrics={"rate": r"never=([0-9.]+);"})
    with pytest.raises(JobFailed, match="No objective metrics found"):
        platform.run_tuning(tuning(project, training=silent), lambda line: None)


def test_a_transform_answers_every_line_in_order_and_refuses_other_bytes(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    uri, digest = trained(platform, project, objects)
    objects.put("s3://ledgerline/batch/in/rows.jsonl", b"".join(b"[%d]\n" % number for number in range(20)))
    spec = TransformSpec(
        name="ranker-batch",
        model_uri=uri,
        model_digest=digest,
        input_uri="s3://ledgerline/batch/in/rows.jsonl",
        output_uri="s3://ledgerline/batch/out",
    )
    platform.run_transform(spec, lambda line: None)
    answers = objects.get("s3://ledgerline/batch/out/rows.jsonl.out").splitlines()
    assert [json.loads(answer) for answer in answers] == [[[number], 0.5] for number in range(20)]
    with pytest.raises(PermanentFailure, match="it was changed"):
        platform.run_transform(replace(spec, model_digest="0" * 64), lambda line: None)
    objects.put("s3://ledgerline/batch/in/rows.jsonl", b'{"not": "a list"}\n')
    with pytest.raises(JobFailed, match="the request is not a list"):
        platform.run_transform(spec, lambda line: None)


def test_a_failing_script_fails_the_job_with_its_reason(
    platform: ModelPlatform, folder: Path, objects: DirectoryObjectStore
) -> None:
    broken = folder / "broken"
    broken.mkdir()
    (broken / "train.py").write_text("raise SystemExit('the column label is missing')")
    objects.put("s3://ledgerline/sets/train/rows.csv", b"A,B")
    with pytest.raises(JobFailed, match="the column label is missing"):
        platform.run_training(training(broken), lambda line: None)
    with pytest.raises(PermanentFailure, match="does not exist"):
        platform.run_training(training(folder / "nowhere"), lambda line: None)


def test_registering_again_gives_the_same_version_and_approval_is_kept(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    uri, digest = trained(platform, project, objects)
    assert platform.list_packages("registry") == []

    def register(version: str) -> str:
        return platform.register(
            "registry", uri, model_digest=digest, metrics={"ndcg": 0.75}, metadata={"dataset_version": version}
        )

    arn = register("3")
    assert register("3") == arn
    other = register("4")
    assert [package.arn for package in platform.list_packages("registry")] == [other, arn]
    package = platform.describe_package(arn)
    assert package is not None
    assert (package.version, package.approval, package.model_uri) == (1, "PendingManualApproval", uri)
    assert package.metadata == {"model_digest": digest, "metric.ndcg": "0.75", "dataset_version": "3"}
    platform.set_approval(arn, "Approved", "by a person, because")
    package = platform.describe_package(arn)
    assert package is not None
    assert (package.approval, package.approval_description) == ("Approved", "by a person, because")
    assert platform.describe_package(arn[:-1] + "99") is None


def test_only_an_approved_package_is_deployed_and_serves_the_bytes_that_were_judged(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    uri, digest = trained(platform, project, objects)
    arn = platform.register("deployed", uri, model_digest=digest)
    assert platform.describe_endpoint("live") is None
    with pytest.raises(PermanentFailure, match="only an Approved version can be deployed"):
        platform.deploy("live", arn)
    assert platform.describe_endpoint("live") is None
    platform.set_approval(arn, "Approved", "why")
    deployed = platform.deploy("live", arn, model_digest=digest)
    state = platform.describe_endpoint("live")
    assert state is not None
    assert (state.status, state.config_name, state.failure_reason) == ("InService", deployed.config_name, None)
    assert (state.package_arn, state.model_uri, state.model_digest) == (arn, uri, digest)
    answer = platform.invoke("live", b"[1]")
    assert (answer.body, answer.model_digest, answer.variant) == (b"[[1], 0.5]", digest, "AllTraffic")
    with pytest.raises(ModelRefused, match="the request is not a list") as raised:
        platform.invoke("live", b"{}")
    assert raised.value.status == 400
    platform.delete_endpoint("live")
    platform.delete_endpoint("live")
    assert platform.describe_endpoint("live") is None


def test_a_failed_update_is_a_failure_and_leaves_the_old_release_and_nothing_else(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore, folder: Path
) -> None:
    uri, digest = trained(platform, project, objects)
    before = platform.deploy("kept-qa", uri, model_digest=digest)
    from ledgerline.release.digest import pack_files

    objects.put("s3://ledgerline/models/broken.tar.gz", pack_files({"code/inference.py": b"raise ValueError('no')"}))
    with pytest.raises(DeployFailed, match=f"with config {before.config_name}, but"):
        platform.deploy("kept-qa", "s3://ledgerline/models/broken.tar.gz")
    state = platform.describe_endpoint("kept-qa")
    assert state is not None
    assert (state.status, state.config_name) == ("InService", before.config_name)
    assert "did not pass the ping health check" in str(state.failure_reason)
    assert platform.invoke("kept-qa", b"[1]").model_digest == digest
    with pytest.raises(PermanentFailure, match="was asked for: it was changed"):
        platform.deploy("kept-qa", uri, model_digest="0" * 64)
    newer, newer_digest = trained(platform, project, objects, rate=0.7)
    after = platform.deploy("kept-qa", newer, model_digest=newer_digest)
    assert platform.invoke("kept-qa", b"[1]").body == b"[[1], 0.7]"
    client = platform._sagemaker()  # type: ignore[attr-defined]
    for made, key in (
        (client.list_endpoint_configs(NameContains="-kept-qa-")["EndpointConfigs"], "EndpointConfigName"),
        (client.list_models(NameContains="-kept-qa-")["Models"], "ModelName"),
    ):
        assert [item[key] for item in made] == [after.config_name]


def test_a_release_that_trips_an_alarm_of_its_rollout_is_a_failure_and_leaves_no_alarm(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    from ledgerline.release.digest import pack_files

    uri, digest = trained(platform, project, objects)
    before = platform.deploy("guarded-qa", uri, model_digest=digest)
    failing = {"code/inference.py": b"def model_fn(d): pass\ndef predict_fn(r, m): raise RuntimeError('a defect')"}
    objects.put("s3://ledgerline/models/failing.tar.gz", pack_files(failing))
    rule = AlarmRule("Invocation5XXErrors", 0.5, ">=", "Average")
    rollout = Rollout("canary", 50, wait_seconds=600, alarms=(rule,))
    cloudwatch = platform._client("cloudwatch")  # type: ignore[attr-defined]
    stop = threading.Event()
    answers: list[bytes] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(platform.invoke("guarded-qa", b"[1]").body)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with pytest.raises(DeployFailed, match=r"with config .*-alarm-1 is in ALARM state"):
            platform.deploy("guarded-qa", "s3://ledgerline/models/failing.tar.gz", rollout=rollout)
        state = platform.describe_endpoint("guarded-qa")
        assert state is not None
        assert (state.status, state.config_name) == ("InService", before.config_name)
        assert cloudwatch.describe_alarms(AlarmNamePrefix="ledgerline-local-guarded-qa-")["MetricAlarms"] == []
        newer, _ = trained(platform, project, objects, rate=0.7)
        after = platform.deploy("guarded-qa", newer, rollout=Rollout("linear", 50, alarms=(rule,)))
    finally:
        stop.set()
        asking.join()
    (alarm,) = cloudwatch.describe_alarms(AlarmNamePrefix="ledgerline-local-guarded-qa-")["MetricAlarms"]
    assert alarm["AlarmName"] == f"{after.config_name}-alarm-1"
    assert alarm["Dimensions"][-1] == {"Name": "EndpointConfigName", "Value": after.config_name}
    assert set(answers) == {b"[[1], 0.5]", b"[[1], 0.7]"}
    platform.delete_endpoint("guarded-qa")
    assert cloudwatch.describe_alarms(AlarmNamePrefix="ledgerline-local-guarded-qa-")["MetricAlarms"] == []


def test_an_endpoint_that_never_served_can_be_deployed_again(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore
) -> None:
    from ledgerline.release.digest import pack_files

    objects.put("s3://ledgerline/models/empty.tar.gz", pack_files({"model.json": b"{}"}))
    with pytest.raises(DeployFailed, match=r"no inference\.py"):
        platform.deploy("fresh-qa", "s3://ledgerline/models/empty.tar.gz")
    uri, digest = trained(platform, project, objects)
    platform.deploy("fresh-qa", uri)
    assert platform.invoke("fresh-qa", b"[]").model_digest == digest


def killed(home: Home) -> None:
    running = home.running()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    while home.locked():
        time.sleep(0.01)


def test_a_killed_server_is_started_again_by_the_next_call(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore, folder: Path
) -> None:
    uri, digest = trained(platform, project, objects)
    platform.deploy("restarted-qa", uri)
    killed(Home(folder / "sagemaker"))
    assert platform.invoke("restarted-qa", b"[1]").model_digest == digest


def test_constructing_the_resource_does_nothing(tmp_path: Path) -> None:
    home = tmp_path / "sagemaker"
    SageMaker(object_store=DirectoryObjectStore(root=str(tmp_path)), local_home=str(home))
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_start_is_said_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    resource = SageMaker(object_store=DirectoryObjectStore(root=str(tmp_path)), local_home=str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"file cannot be the server's home"):
        resource.describe_endpoint("any")


def test_a_proxy_a_profile_and_an_endpoint_of_the_shell_are_not_for_the_embedded_server(
    folder: Path, objects: DirectoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "somebody-else")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    again = SageMaker(
        object_store=objects, local_home=str(folder / "sagemaker"), local_object_root=objects.root, region="eu-west-1"
    )
    assert again.describe_endpoint("nobody") is None


def test_requests_of_the_last_days_are_counted_across_a_kill(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore, folder: Path
) -> None:
    uri, digest = trained(platform, project, objects)
    platform.deploy("counted-qa", uri, model_digest=digest)
    since = datetime.now(timezone.utc) - timedelta(days=3)
    assert platform.invocations("counted-qa", since) == 0
    for _ in range(3):
        platform.invoke("counted-qa", b"[1]")
    assert platform.invocations("counted-qa", since) == 3
    killed(Home(folder / "sagemaker"))
    assert platform.invocations("counted-qa", since) == 3
    platform.invoke("counted-qa", b"[1]")
    assert platform.invocations("counted-qa", since) == 4
    assert platform.invocations("nobody", since) == 0
    platform.delete_endpoint("counted-qa")


def test_the_shadow_of_the_documentation_changes_no_answer_is_noticed_and_is_taken_away(
    platform: ModelPlatform, project: Path, objects: DirectoryObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = []
    for rate in (0.5, 0.9):
        uri, digest = trained(platform, project, objects, rate)
        packages.append((platform.register("shadowed", uri, model_digest=digest), digest))
    (live, served), (candidate, _) = packages
    platform.set_approval(live, "Approved", "why")
    released = platform.deploy("shadowed", live, capture_percent=100)
    for name, value in daemon.environment(folder / "sagemaker").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials of the test that made it
    page = (ROOT / "docs" / "model-projects.md").read_text()
    (script,) = re.findall(r"```python\n(import boto3.*?)```", page, flags=re.DOTALL)
    script = re.sub(r'(?m)^live = ".*"$', f'live = "{released.endpoint}"', script)
    script = re.sub(r'(?m)^candidate = ".*"$', f'candidate = "{candidate}"', script)
    script = re.sub(r"(?m)^share = [0-9.]+", "share = 1.0", script)
    found: dict[str, Any] = {}
    exec(compile(script, "model-projects.md", "exec"), found)
    sagemaker = found["sagemaker"]
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=released.endpoint, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300}
    )
    described = sagemaker.describe_endpoint(EndpointName=released.endpoint)
    assert [variant["VariantName"] for variant in described["ShadowProductionVariants"]] == ["Candidate"]
    assert [platform.invoke("shadowed", b"[1]").model_digest for _ in range(5)] == [served] * 5
    state = platform.describe_endpoint("shadowed")
    assert state is not None
    assert (state.config_name == released.config_name, state.model_digest) == (False, served)  # what drift compares
    platform.deploy("shadowed", live)  # as a restore does
    described = sagemaker.describe_endpoint(EndpointName=released.endpoint)
    assert (described["EndpointStatus"], described.get("ShadowProductionVariants")) == ("InService", None)
    platform.delete_endpoint("shadowed")
