"""The sensors of model projects: one cause starts one training, a failed one is tried again, killed ticks start nothing twice."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from cli.new_project import write_project
from jobs.code_location import reload_code_location_job
from ledgerline.errors import LedgerlineError
from ledgerline.projects.triggers import drift_of
from sensors.projects import MAX_ATTEMPTS, delivered_projects, drifted_data, project_files, train_request
from tests.graph.test_model_project_component import world_on_disk
from tests.graph.test_model_project_steps import GraphWithLake
from tests.unit.release_fakes import CONFIG

FILES = CONFIG + "triggers: {files: 's3://test/incoming/demo/'}\n"
DRIFT = CONFIG.replace("approval: manual", "approval: automatic") + "triggers: {drift: {at_least: 0.2, min_rows: 50}}\n"
INCOMING = "s3://test/incoming/demo/rows.csv"


class Ticks:
    """A sensor ticked again and again, with the cursor that Dagster would keep."""

    def __init__(self, sensor: dg.SensorDefinition, instance: dg.DagsterInstance, **resources: object) -> None:
        self.sensor, self.instance, self.resources, self.cursor = sensor, instance, resources, None

    def tick(self, *, keep_cursor: bool = True) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources=self.resources)
        found = self.sensor.evaluate_tick(context)
        if keep_cursor:
            self.cursor = found.cursor
        self.said = found.skip_message
        return found.run_requests or []


def run_of(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    instance.add_run(
        dg.DagsterRun("__ASSET_JOB", run_id=f"{len(instance.get_runs()):032d}", tags=request.tags, status=status)
    )


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def test_a_file_starts_one_training_of_all_that_the_train_job_makes(tmp_path, instance):
    world = world_on_disk(tmp_path, FILES)
    ticks = Ticks(project_files([world.project]), instance, object_store=world.objects)
    assert ticks.tick() == []
    world.objects.put(INCOMING, b"a")
    (request,) = ticks.tick()
    assert [key.path[-1] for key in request.asset_selection] == [
        "training_set", "model", "evaluation", "model_version", "qa_endpoint", "qa_report",
    ]  # fmt: skip
    run_of(instance, request, dg.DagsterRunStatus.STARTED)
    assert ticks.tick() == []
    world.objects.put(INCOMING, b"b")
    assert ticks.tick() == []  # after the one that is under way


def test_a_tick_that_is_killed_before_its_cursor_was_kept_asks_for_the_same_run(tmp_path, instance):
    world = world_on_disk(tmp_path, FILES)
    world.objects.put(INCOMING, b"a")
    ticks = Ticks(project_files([world.project]), instance, object_store=world.objects)
    (killed,), (again,) = ticks.tick(keep_cursor=False), ticks.tick()
    assert killed.run_key == again.run_key


def test_a_failed_training_is_tried_again_so_often_and_a_success_ends_it(tmp_path, instance):
    world = world_on_disk(tmp_path, FILES)
    keys = []
    for _ in range(MAX_ATTEMPTS):
        request = train_request(instance, world.project, "cause")
        keys.append(request.run_key)
        run_of(instance, request, dg.DagsterRunStatus.FAILURE)
    assert keys == [f"demo@cause#{number}" for number in range(1, MAX_ATTEMPTS + 1)]
    assert train_request(instance, world.project, "cause") is None
    other = train_request(instance, world.project, "another")
    run_of(instance, other, dg.DagsterRunStatus.SUCCESS)
    assert train_request(instance, world.project, "another") is None


def test_rows_that_moved_away_from_the_live_model_s_training_set_start_a_training(tmp_path):
    graph = GraphWithLake(world_on_disk(tmp_path, DRIFT))
    world = graph.world

    def rows(days: range, x: int) -> pa.Table:
        return pa.table(
            {
                "group": [f"g{n % 9}" for n in days],
                "as_of": [f"20{n:02d}-01-01" for n in days],
                "x": [x + n % 3 for n in days],
            }
        )

    before = rows(range(20, 24), 0)
    graph.lake.tables["examples"] = [before]
    assert graph.materialize().success
    ports = {"lake": graph.lake, "object_store": world.objects, "release_ledger": world.ledger}
    ticks = Ticks(drifted_data([world.project]), graph.instance, **ports)
    assert ticks.tick() == []

    few = rows(range(24, 34), 50)
    graph.lake.tables["examples"].append(pa.concat_tables([before, few]))
    assert ticks.tick() == []
    assert "10 rows since the live model's training set; PSI: x" in ticks.said

    many = pa.concat_tables([few] * 6)
    graph.lake.tables["examples"].append(pa.concat_tables([before, many]))
    (request,) = ticks.tick()
    run_of(graph.instance, request, dg.DagsterRunStatus.SUCCESS)
    assert ticks.tick() == []  # once a day
    result = graph.materialize("training_set")
    (check,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "no_drift"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_rows_without_a_time_are_neither_after_the_training_set_nor_do_they_hide_what_is(tmp_path):
    graph = GraphWithLake(world_on_disk(tmp_path, DRIFT))
    world = graph.world

    def rows(days: list[str | None], x: int) -> pa.Table:
        return pa.table({"group": ["g"] * len(days), "as_of": pa.array(days, pa.string()), "x": [x] * len(days)})

    before = rows(["2020-01-01", "2021-01-01", None], 0)
    graph.lake.tables["examples"] = [before]
    assert graph.materialize().success
    ports = {"lake": graph.lake, "object_store": world.objects, "release_ledger": world.ledger}
    graph.lake.tables["examples"].append(pa.concat_tables([before, rows([None] * 60, 9), rows(["2022-01-01"] * 60, 1)]))
    ticks = Ticks(drifted_data([world.project]), graph.instance, **ports)
    assert len(ticks.tick()) == 1
    found = drift_of(world.project, world.records(), graph.lake, world.objects)
    assert found.rows == 60


def test_the_trouble_of_one_project_does_not_keep_the_others_from_being_looked_at(tmp_path):
    graph = GraphWithLake(world_on_disk(tmp_path, DRIFT))
    world = graph.world
    rows = pa.table({"group": ["g"] * 9, "as_of": [f"200{n}-01-01" for n in range(9)], "x": [0] * 9})
    graph.lake.tables["examples"] = [rows]
    assert graph.materialize().success
    graph.lake.tables["examples"].append(rows)
    ports = {"lake": BrokenLake(), "object_store": world.objects, "release_ledger": world.ledger}
    ticks = Ticks(drifted_data([world.project]), graph.instance, **ports)
    assert ticks.tick() == []
    assert "demo: examples cannot be read" in ticks.said


class BrokenLake:
    def version(self, table: str) -> int:
        return 1

    def read(self, table: str, **_: object) -> pa.Table:
        raise LedgerlineError(f"{table} cannot be read. Mend it.")


@pytest.mark.parametrize("prefix", ["s3://test/projects/", "s3://test/projects/demo/runs", "s3://test/p"])
def test_what_a_training_writes_itself_is_no_new_file(tmp_path, instance, prefix):
    world = world_on_disk(tmp_path, FILES.replace("s3://test/incoming/demo/", prefix))
    ticks = Ticks(project_files([world.project]), instance, object_store=world.objects)
    for number, place in enumerate(("projects", "sagemaker", "experiments")):
        world.objects.put(f"s3://test/{place}/demo/runs/{number}/rows.parquet", b"written by a run")
    assert ticks.tick() == []


class Told:
    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []

    def notify(self, owner: str, title: str, text: str, key: str) -> bool:
        self.alerts.append((owner, title, text))
        return True


def test_a_delivered_folder_is_laid_where_it_is_loaded_and_a_mistake_is_told(tmp_path, instance):
    world, told = world_on_disk(tmp_path, CONFIG), Told()
    folder = write_project("churn", tmp_path / "written")
    for path in folder.rglob("*.*"):
        if path.is_file():
            world.objects.put(
                f"s3://test/model_projects/churn/{path.relative_to(folder).as_posix()}", path.read_bytes()
            )
    world.objects.put("s3://test/model_projects/demo/config.yaml", b"name: demo")
    root = Path(tmp_path / "home" / "model_projects")
    reload = reload_code_location_job("http://127.0.0.1:3000")
    ticks = Ticks(
        delivered_projects([world.project], root, "team:platform", reload, webserver="http://127.0.0.1:3000"), instance,
        object_store=world.objects, notifier=told,
    )  # fmt: skip
    (request,) = ticks.tick()
    assert request.run_key.startswith("churn@")
    assert (root / "churn" / "config.yaml").is_file()
    assert [(owner, title) for owner, title, _ in told.alerts] == [
        ("team:quant", "The delivered model project churn was taken"),
        ("team:platform", "The delivered model project demo was not taken"),
    ]
    assert ticks.tick() == []
    assert len(told.alerts) == 2


def test_without_a_webserver_a_delivered_folder_waits_for_a_reload_by_hand(tmp_path, instance):
    world, told = world_on_disk(tmp_path, CONFIG), Told()
    folder = write_project("churn", tmp_path / "written")
    for path in folder.rglob("*.*"):
        if path.is_file():
            key = f"model_projects/churn/{path.relative_to(folder).as_posix()}"
            world.objects.put(f"s3://test/{key}", path.read_bytes())
    sensor = delivered_projects([], tmp_path / "home", "team:platform", reload_code_location_job(""), webserver="")
    assert Ticks(sensor, instance, object_store=world.objects, notifier=told).tick() == []
    assert "in the UI: Deployment, Reload" in told.alerts[0][2]


def test_the_reload_says_what_is_wrong_with_its_webserver(instance):
    for url, said in (
        ("", "LEDGERLINE_WEBSERVER_URL names no webserver. Set it, or reload in the UI"),
        ("http://127.0.0.1:9", "Dagster's webserver at http://127.0.0.1:9 cannot be asked"),
    ):
        done = reload_code_location_job(url).execute_in_process(instance=instance, raise_on_error=False)
        (failed,) = done.get_step_failure_events()
        assert said in failed.step_failure_data.user_failure_data.description
