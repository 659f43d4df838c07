"""What every implementation of the compute port must do: subprocesses, Ray where it is installed, and ECS as a fake of its
API serves it, on moto's S3.

Tasks of the fake are processes that run the command of the request in its environment, so that the worker, its Pipes
session through S3 and its result are real in both.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes import utils as pipes_utils

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.batches import Batches, manifest_of
from ledgerline.filings.documents import document_rows, published
from ledgerline.ports import Batch, Compute, ObjectStore
from resources.compute import EcsCompute, SubprocessCompute
from resources.object_store import DirectoryObjectStore, S3ObjectStore
from resources.ray_compute import RayCompute
from tests.servers.fake_ecs import FakeEcs
from tests.unit.compute_tools import accession, body_of, put_filings

KEYS = ("edgar:2025-03-14", "edgar:2025-03-17")
BATCH_BYTES = 3_000  # some filings of some hundred bytes
SETTINGS = {
    "region": "us-east-1",
    "cluster": "batches",
    "task_definition": "ledgerline",
    "container": "ledgerline",
    "subnets": ["subnet-0a1b2c3d"],
    "security_groups": ["sg-0a1b2c3d"],
    "poll_seconds": 0.2,
}


class Place:
    """An implementation with its object store, and what is needed to ask it from within a Dagster step."""

    def __init__(self, kind: type, objects: Any, settings: dict[str, Any], fake: FakeEcs | None = None) -> None:
        self.objects: ObjectStore = objects
        self.fake = fake
        self.log: list[str] = []
        self._kind, self._settings = kind, settings

    def compute(self, **changed: Any) -> Compute:
        mine = {"batch_bytes": BATCH_BYTES, "parallel": 2, "worker": "tests.servers.poisoned_worker"}
        return self._kind(**{**self._settings, **mine, **changed})

    def step(self, work: Callable[[Any], Any]) -> Any:
        """What `work(context)` gives, done in a step of Dagster; `log` holds the run's log afterwards."""
        given: list[Any] = []

        @dg.asset
        def parsing(context) -> dg.MaterializeResult:
            given.append(work(context))
            return dg.MaterializeResult()

        with dg.DagsterInstance.ephemeral() as instance:
            try:
                dg.materialize([parsing], instance=instance)
            finally:
                (record,) = instance.get_run_records()
                self.log = [entry.message for entry in instance.all_logs(record.dagster_run.run_id)]
        return given[0]

    def parse(self, filings: pa.Table, compute: Compute, report: Callable[[str], None] | None = None) -> Any:
        """(rows, refused, batches) of a run over two days, of which the second is empty: everything goes into batches."""

        def work(context: Any) -> Any:
            days = {KEYS[0]: filings, KEYS[1]: filings.slice(0, 0)}
            said = report or context.log.info
            with Batches(KEYS, days.__getitem__, self.objects, compute, step=context, report=said) as batches:
                made = document_rows(filings, self.objects, elsewhere=batches.parsed(KEYS[0]))
                return *made, batches.rows(KEYS[0])

        return self.step(work)

    def batch(self, filings: pa.Table) -> Batch:
        """All filings as one batch, its manifest in the object store."""
        uri = self.objects.uri("batches", "one", "manifest.json")
        name = self.objects.put(uri, manifest_of(published(filings)))
        result = self.objects.uri("batches", "one", "documents.parquet")
        return Batch(name, uri, result, filings.num_rows, sum(filings["bytes"].to_pylist()))


@pytest.fixture
def ecs(tmp_path: Path, s3_bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    endpoint, bucket = s3_bucket
    logs = tmp_path / "output"
    logs.mkdir()
    fake = FakeEcs(logs, endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", fake.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", endpoint)
    # Dagster's reader waits for the last messages of a process that said no farewell; a killed one sends none.
    monkeypatch.setattr(pipes_utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
    monkeypatch.setattr(pipes_utils, "DEFAULT_SLEEP_INTERVAL", 0.05)
    try:
        yield Place(EcsCompute, S3ObjectStore(bucket=bucket, endpoint_url=endpoint, region="us-east-1"), SETTINGS, fake)
    finally:
        fake.close()


@pytest.fixture(scope="module")
def ray(s3_endpoint: str) -> Iterator[None]:
    """After the credentials of the S3, which workers of Ray have from their start."""
    installed = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ledgerline[ray]'")
    yield
    installed.shutdown()


@pytest.fixture(params=["subprocess", "ecs", "ray", "ray on s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "ecs":
        return request.getfixturevalue("ecs")
    if request.param.startswith("ray"):
        request.getfixturevalue("ray")
        if request.param == "ray":
            return Place(RayCompute, DirectoryObjectStore(root=str(tmp_path / "objects")), {})
        endpoint, bucket = request.getfixturevalue("s3_bucket")
        monkeypatch.setattr(pipes_utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)  # as for ECS
        return Place(RayCompute, S3ObjectStore(bucket=bucket, endpoint_url=endpoint, region="us-east-1"), {})
    return Place(SubprocessCompute, DirectoryObjectStore(root=str(tmp_path / "objects")), {})


def here(place: Place, filings: pa.Table) -> pa.Table:
    rows, refused = document_rows(filings, place.objects)
    assert refused == {}
    return rows


def left(place: Place) -> list[str]:
    return list(place.objects.list(place.objects.uri("batches")))


def test_batches_give_the_rows_that_this_process_gives_and_leave_nothing(place: Place) -> None:
    filings = put_filings(place.objects, {number: body_of(number) for number in range(1, 11)})
    rows, refused, batches = place.parse(filings, place.compute())
    assert rows.equals(here(place, filings))
    assert refused == {}
    assert [one["ended"] for one in batches] == ["done"] * len(batches)
    assert len(batches) > 1
    assert sum(one["filings"] for one in batches) == 10
    assert all(one["attempts"] == 1 and one["seconds"] > 0 and one["exit codes"] == "0" for one in batches)
    assert left(place) == []


def test_progress_and_output_of_workers_are_in_the_dagster_run(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    filings = put_filings(place.objects, {1: body_of(1), 2: body_of(2), 3: body_of(3, "POISON"), 4: body_of(4)})
    place.parse(filings, place.compute(batch_bytes=1))
    assert sum("1 of 1 filings, 0 of 0 MB" in line for line in place.log) == 3
    assert "the parser met POISON" in capfd.readouterr().out


def test_a_batch_that_died_once_is_run_again(place: Place, tmp_path: Path) -> None:
    filings = put_filings(
        place.objects, {1: body_of(1), 2: body_of(2, f"DIES-ONCE[{tmp_path / 'died'}]"), 3: body_of(3)}
    )
    rows, refused, (batch,) = place.parse(filings, place.compute(batch_bytes=1500))
    assert (rows.equals(here(place, filings)), refused) == (True, {})
    assert (batch["attempts"], batch["ended"]) == (2, "done")
    assert batch["exit codes"] == ("-9, 0" if place.fake is None else "137, 0")


def test_one_filing_that_kills_its_worker_is_named_and_costs_no_other(place: Place) -> None:
    bodies = {number: body_of(number) for number in range(1, 5)}
    clean = put_filings(place.objects, {number: body for number, body in bodies.items() if number != 3})
    filings = put_filings(place.objects, bodies | {3: body_of(3, "POISON")})
    rows, refused, batches = place.parse(filings, place.compute(batch_bytes=2_000))
    assert rows.equals(here(place, clean))
    assert list(refused) == [accession(3)]
    assert refused[accession(3)].startswith("crashed: the worker that parsed it was killed 3 times: ")
    assert "the parser met POISON" in refused[accession(3)]
    assert [one["filings"] for one in batches if one["attempts"] == 3] == [4, 1]
    assert left(place) == []


def test_a_filing_that_hangs_is_stopped_after_its_time(place: Place, tmp_path: Path) -> None:
    filings = put_filings(place.objects, {1: body_of(1, f"HANGS[{tmp_path / 'pid'}]")})

    def work(context: Any) -> Any:
        compute = place.compute(batch_seconds=4, **({} if place.fake is None else {"start_seconds": 1}))
        return list(compute.run([place.batch(filings)], objects=place.objects, step=context))

    (run,) = place.step(work)
    assert (run.attempts[-1].ended, run.attempts[-1].why) == ("killed", "it took longer than 4 s")
    assert not alive(tmp_path / "pid")


def test_what_no_filing_caused_is_an_error_with_the_end_of_the_output_and_refuses_no_filing(place: Place) -> None:
    filings = put_filings(place.objects, {1: body_of(1), 2: body_of(2)})
    with pytest.raises(LedgerlineError, match=r"(?s)failed 3 times and none of its filings is the cause.*NoWorker"):
        place.parse(filings, place.compute(batch_bytes=1000, worker="tests.servers.NoWorker"))


def test_a_run_that_was_killed_finds_what_its_predecessor_finished_and_redoes_what_was_damaged(place: Place) -> None:
    if isinstance(place.compute(), RayCompute):
        pytest.skip("this test forks, and a fork of a process that is connected to Ray hangs")
    filings = put_filings(place.objects, {number: body_of(number) for number in range(1, 10)})

    def killed_after_two(line: str, ended: list[str] = []) -> None:  # noqa: B006 - it counts over calls
        ended += [line] if " s on " in line else []
        if len(ended) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            place.parse(filings, place.compute(parallel=1, batch_bytes=1_500), killed_after_two)
        finally:
            os._exit(1)  # neither pytest nor the servers of this process are its business
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    kept, damaged, *_ = (uri for uri in left(place) if uri.endswith(".parquet"))  # what still ran may end well, too
    place.objects.put(damaged, place.objects.get(damaged)[:-100])
    rows, _, batches = place.parse(filings, place.compute(batch_bytes=1_500))
    assert rows.equals(here(place, filings))
    attempts = {one["batch"]: one["attempts"] for one in batches}
    assert [attempts[uri.split("/")[-2][:12]] for uri in (kept, damaged)] == [0, 1]
    # Messages of the task that nobody waited for any more are what the lifecycle rule of the bucket is for.
    assert [uri for uri in left(place) if "/pipes/" not in uri] == []


def test_a_cancelled_run_stops_its_workers(place: Place, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    filings = put_filings(place.objects, {1: body_of(1, f"HANGS[{marker}]")})

    def cancel() -> None:
        while not marker.exists():
            time.sleep(0.05)
        time.sleep(0.5)  # the fake has been asked, and has said that the task runs
        os.kill(os.getpid(), signal.SIGINT)

    def work(context: Any) -> Any:
        threading.Thread(target=cancel, daemon=True).start()
        return list(place.compute().run([place.batch(filings)], objects=place.objects, step=context))

    with pytest.raises((DagsterExecutionInterruptedError, KeyboardInterrupt)):
        place.step(work)
    assert not alive(marker)
    if place.fake is not None:
        (stopped,) = [asked for name, asked in place.fake.requests if name == "StopTask"]
        assert stopped["task"] in place.fake.tasks


def alive(marker: Path) -> bool:
    try:
        os.kill(int(marker.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------ only on ECS


def parse_four(ecs: Place) -> tuple[dict[str, Any], list[str]]:
    filings = put_filings(ecs.objects, {number: body_of(number) for number in range(1, 5)})
    rows, refused, (batch,) = ecs.parse(filings, ecs.compute(batch_bytes=2_000, start_seconds=2))
    assert (rows.equals(here(ecs, filings)), refused) == (True, {})
    return batch, ecs.fake.providers() if ecs.fake else []


@pytest.mark.parametrize("loss", ["spot", "no capacity", "capacity error", "never start"])
def test_a_loss_of_the_machine_is_no_failure_and_is_made_good_on_demand(ecs: Place, loss: str) -> None:
    assert ecs.fake is not None
    ecs.fake.next(loss)
    batch, providers = parse_four(ecs)
    assert providers == ["FARGATE_SPOT", "FARGATE"]
    assert (batch["attempts"], batch["ended"]) == (2, "done")
    assert [one.split()[0] for one in batch["where"].split(", ")] == providers


def test_a_task_whose_image_is_not_there_stops_the_run_with_the_words_of_ecs(ecs: Place) -> None:
    assert ecs.fake is not None
    ecs.fake.next(*["does not start: CannotPullContainerError: not found"] * 3)
    with pytest.raises(LedgerlineError, match="TaskFailedToStart; CannotPullContainerError: not found"):
        parse_four(ecs)


def test_an_exit_code_of_a_signal_is_a_death_and_the_batch_is_run_again_on_spot(ecs: Place) -> None:
    assert ecs.fake is not None
    ecs.fake.next("exit 137")
    batch, providers = parse_four(ecs)
    assert (batch["exit codes"], providers) == ("137, 0", ["FARGATE_SPOT"] * 2)


def test_a_request_holds_no_secret_and_names_run_and_batch(ecs: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DART_API_KEY", "5" * 40)
    parse_four(ecs)
    assert ecs.fake is not None
    (asked,) = [asked for name, asked in ecs.fake.requests if name == "RunTask"]
    (container,) = asked["overrides"]["containerOverrides"]
    assert [one["name"] for one in container["environment"]] == [
        "AWS_DEFAULT_REGION",
        "DAGSTER_PIPES_CONTEXT",
        "DAGSTER_PIPES_MESSAGES",
    ]
    assert container["command"] == ["python", "-m", "tests.servers.poisoned_worker"]
    assert asked["startedBy"] == {one["key"]: one["value"] for one in asked["tags"]}["dagster/run-id"]
    assert len(asked["clientToken"]) > 30  # a request that is sent twice starts one task


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task_definition": "another"}, r"ECS refused DescribeTaskDefinition .*Unable to describe task definition"),
        ({"container": "web"}, r"ECS_CONTAINER is 'web' and task definition ledgerline has ledgerline"),
        ({"subnets": []}, r"ECS refused RunTask .*subnets can not be empty.*ECS_\* variables"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(ecs: Place, changed: dict[str, Any], said: str) -> None:
    filings = put_filings(ecs.objects, {1: body_of(1), 2: body_of(2)})
    with pytest.raises(ConfigurationError, match=said):
        ecs.parse(filings, ecs.compute(batch_bytes=100, **changed))


def test_ecs_needs_objects_on_s3(ecs: Place, tmp_path: Path) -> None:
    ecs.objects = DirectoryObjectStore(root=str(tmp_path / "objects"))
    filings = put_filings(ecs.objects, {1: body_of(1), 2: body_of(2)})
    with pytest.raises(ConfigurationError, match="cannot reach an object store in a folder: use LEDGERLINE_ENV=prod"):
        ecs.parse(filings, ecs.compute(batch_bytes=100))


def test_motos_ecs_accepts_the_requests_and_has_no_task_left_when_the_caller_leaves(
    ecs: Place, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", s3_endpoint)
    moto = boto3.client("ecs", region_name="us-east-1")
    moto.create_cluster(clusterName="batches", capacityProviders=["FARGATE", "FARGATE_SPOT"])
    moto.register_task_definition(
        family="ledgerline",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="4096",
        containerDefinitions=[{"name": "ledgerline", "image": "ledgerline", "memory": 4096}],
    )
    ec2 = boto3.client("ec2", region_name="us-east-1", endpoint_url=s3_endpoint)
    network = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups()["SecurityGroups"][0]
    batch = ecs.batch(put_filings(ecs.objects, {1: body_of(1)}))
    compute = ecs.compute(
        subnets=[network["SubnetId"]], security_groups=[group["GroupId"]], batch_seconds=0, start_seconds=1
    )

    def work(context: Any) -> Any:
        return list(compute.run([batch], objects=ecs.objects, step=context))

    (run,) = ecs.step(work)
    arn = run.attempts[-1].where.split()[-1]
    (task,) = moto.describe_tasks(cluster="batches", tasks=[arn], include=["TAGS"])["tasks"]
    assert task["lastStatus"] == "STOPPED"
    assert [one["value"] for one in task["tags"] if one["key"] == "ledgerline/batch"] == [batch.name]
