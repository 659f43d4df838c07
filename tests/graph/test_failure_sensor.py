"""The sensor behind failed runs: who is told what, once, and which MLflow runs are ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from ledgerline.errors import PermanentFailure
from platform_assets.failures import permanent_failures
from sensors.failures import BY_ITSELF, NOT_AGAIN, repeated_key, run_failures
from sensors.releases import waiting_candidates
from tests.unit.release_fakes import World

KEY = "0123456789abcdef0123456789abcdef01234567"  # looks like a DART key


class Alerts(dg.ConfigurableResource):
    """Remembers alerts in a folder, since Dagster copies resources for each tick."""

    folder: str

    def notify(self, owner: str, title: str, text: str, key: str, channel: str | None = None) -> bool:
        path = Path(self.folder) / key.replace("/", "_")
        if path.exists():
            return False
        path.write_text(f"{owner}\n{title}\n{text}")
        return True

    def all(self) -> list[str]:
        return [path.read_text() for path in sorted(Path(self.folder).iterdir())]


class OpenRuns(dg.ConfigurableResource):
    """Remembers which Dagster runs were asked about."""

    folder: str

    def mark_failed(self, dagster_run_id: str) -> int:
        (Path(self.folder) / dagster_run_id).touch()
        return 1

    def asked(self) -> list[str]:
        return [path.name for path in Path(self.folder).iterdir()]


days = dg.StaticPartitionsDefinition(["edgar:2024-07-25", "edgar:2024-07-26"])


@dg.asset(partitions_def=days, owners=["team:nlp"])
def documents() -> None:
    try:
        raise ValueError(f"filing 0001 is broken (asked with crtfc_key={KEY}). Look at it.")
    except ValueError as error:
        raise RuntimeError("the day failed") from error


@dg.asset(partitions_def=days, deps=[documents], owners=["team:quant-research"])
def mentions() -> None: ...


@dg.asset(key=["demo", "model"], group_name="demo", owners=["team:mapping"])
def model(context: dg.AssetExecutionContext) -> None:
    with permanent_failures(context):
        raise PermanentFailure("Refused by rule `gate`: accuracy is 0.5. Train a better model.")


@dg.asset
def nobodys() -> None:
    raise ValueError("no")


@dg.asset(owners=["team:quant"], group_name="judged")
def evaluation() -> None: ...


@dg.asset(owners=["team:other"], group_name="judged")
def another() -> None: ...


@dg.asset_check(asset=evaluation, blocking=True)
def gate() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="accuracy is 0.5, which is not at least 0.9")


@dg.op
def lonely() -> None:
    raise ValueError("an op failed")


@dg.job
def operator() -> None:
    lonely()


@dataclass
class Watch:
    """A failing graph, its instance, and the sensor that is ticked."""

    folder: Path
    instance: dg.DagsterInstance
    cursor: str | None = None

    def __post_init__(self) -> None:
        for name in ("alerts", "open"):
            (self.folder / name).mkdir()
        self.alerts = Alerts(folder=str(self.folder / "alerts"))
        self.experiments = OpenRuns(folder=str(self.folder / "open"))
        self.world = World(self.folder)
        self.sensor = run_failures([self.world.project])
        self.defs = dg.Definitions(
            assets=[documents, mentions, model, nobodys, evaluation, another],
            asset_checks=[gate],
            jobs=[
                dg.define_asset_job("read", selection=["documents", "mentions"]),
                dg.define_asset_job("train_demo", selection=dg.AssetSelection.groups("demo")),
                dg.define_asset_job("unowned", selection=["nobodys"]),
                dg.define_asset_job("judge", selection=dg.AssetSelection.groups("judged")),
                operator,
            ],
            sensors=[self.sensor],
            resources={"notifier": self.alerts, "experiments": self.experiments},
        )
        self.tick()  # the first one only sets the cursor

    def run(
        self,
        job: str,
        assets: list[dg.AssetKey] | None = None,
        partition: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> str:
        return (
            self.defs.resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                asset_selection=assets,
                partition_key=partition,
                tags=tags,
                raise_on_error=False,
            )
            .run_id
        )

    def kill(self, job: str, step: str) -> str:
        """A run whose process died in a step: Dagster's run monitoring ends it from outside."""
        run = self.instance.create_run_for_job(self.defs.resolve_job_def(job))
        start = dg.DagsterEvent(event_type_value="STEP_START", job_name=job, step_key=step)
        self.instance.report_dagster_event(start, run.run_id)
        self.instance.report_run_failed(run, "Run worker died: exit code 137.")
        return run.run_id

    def tick(self) -> None:
        ports = {"notifier": self.alerts, "experiments": self.experiments}
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.defs, resources=ports
        ) as context:
            self.sensor.evaluate_tick(context)
            self.cursor = context.cursor


@pytest.fixture
def watch(tmp_path) -> Iterator[Watch]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watch(tmp_path, instance)


def test_the_owner_of_the_failed_asset_is_told_job_partition_step_innermost_error_and_run(watch):
    run = watch.run("read", partition="edgar:2024-07-25")
    watch.tick()
    assert watch.alerts.all() == [
        "team:nlp\nread failed\njob read, partition edgar:2024-07-25, step documents: ValueError: filing 0001 is broken "
        f"(asked with crtfc_key=***). Look at it.\nrun {run}"
    ]


def test_a_failure_is_told_once_however_often_the_sensor_is_killed_and_replayed(watch):
    before = watch.cursor
    watch.run("read", partition="edgar:2024-07-25")
    watch.tick()
    watch.cursor = before
    watch.tick()
    watch.tick()
    assert len(watch.alerts.all()) == 1
    watch.run("read", partition="edgar:2024-07-25")
    watch.tick()
    assert len(watch.alerts.all()) == 2


@pytest.mark.parametrize("tag", BY_ITSELF)
def test_a_failure_that_repeats_by_itself_is_told_once_a_day_for_each_partition(watch, tag):
    for partition in ("edgar:2024-07-25", "edgar:2024-07-25", "edgar:2024-07-26", "edgar:2024-07-25"):
        watch.run("read", partition=partition, tags={tag: "onboard_edgar"})
        watch.tick()
    alerts = watch.alerts.all()
    assert sorted(alert.split("partition ")[1][:16] for alert in alerts) == ["edgar:2024-07-25", "edgar:2024-07-26"]
    assert all(alert.endswith(NOT_AGAIN) for alert in alerts)


def test_numbers_and_times_make_no_other_kind_of_error_and_words_and_days_do():
    def key(error: str, day: str = "2026-03-02") -> str:
        return repeated_key("prove_edgar", None, "complete_days", error, day)

    banned = "edgar may not be asked before 2026-11-21 11:34:28 UTC (run 34c734f1-4d72): 12 filings wait"
    later = "edgar may not be asked before 2026-11-22 09:00:01 UTC (run 9a0734f1-bb72): 3 filings wait"
    assert key(banned) == key(later)
    assert key(banned) != key("edgar refuses the key")
    assert key(banned) != key(banned, "2026-03-03")


def test_a_permanent_failure_is_told_in_the_words_of_its_author(watch):
    watch.run("train_demo")
    watch.tick()
    (alert,) = watch.alerts.all()
    assert alert.startswith(
        "team:mapping\ntrain_demo failed\njob train_demo, step demo__model: Refused by rule `gate`: "
    )


def test_a_blocking_check_is_told_to_the_owner_of_what_it_checks_in_its_own_words(watch):
    watch.run("judge")
    watch.tick()
    (alert,) = watch.alerts.all()
    assert alert.startswith(
        "team:quant\njudge failed\njob judge, step evaluation_gate: check gate: accuracy is 0.5, which is not at least 0.9"
    )


def test_a_run_of_automation_is_told_with_its_assets(watch):
    watch.run("__ASSET_JOB", assets=[dg.AssetKey("nobodys")])
    watch.tick()
    (alert,) = watch.alerts.all()
    assert alert.startswith("team:data-platform\nA run of assets failed\njob __ASSET_JOB (nobodys), step nobodys: ")


def test_what_has_no_owner_goes_to_the_data_platform(watch):
    watch.run("operator")
    watch.run("unowned")
    watch.tick()
    owners = [alert.split("\n")[:2] for alert in watch.alerts.all()]
    assert sorted(owners) == [["team:data-platform", "operator failed"], ["team:data-platform", "unowned failed"]]


def test_a_killed_run_is_told_with_the_step_that_was_under_way_and_its_experiment_is_ended(watch):
    run = watch.kill("train_demo", "demo__model")
    watch.tick()
    assert watch.alerts.all() == [
        f"team:mapping\ntrain_demo failed\njob train_demo, step demo__model: Run worker died: exit code 137.\nrun {run}"
    ]
    assert watch.experiments.asked() == [run]


def test_a_run_whose_process_was_killed_is_told_with_the_signal(watch):
    run = watch.instance.create_run_for_job(watch.defs.resolve_job_def("operator"))
    for said in ("Started process for run (pid: 7).", "Run execution process was terminated by signal 9 (SIGKILL)."):
        watch.instance.report_engine_event(said, run)
    watch.instance.report_run_failed(run)
    watch.tick()
    assert watch.alerts.all() == [
        "team:data-platform\noperator failed\njob operator, outside of a step: Run execution process was terminated by "
        f"signal 9 (SIGKILL).\nrun {run.run_id}"
    ]


def test_runs_that_log_no_experiment_do_not_wake_mlflow(watch):
    watch.run("read", partition="edgar:2024-07-25")
    watch.run("operator")
    watch.tick()
    assert watch.experiments.asked() == []


def test_a_run_that_succeeded_or_failed_before_the_sensor_was_there_is_not_told(watch):
    watch.run("read", assets=[dg.AssetKey("mentions")], partition="edgar:2024-07-25")
    watch.tick()
    assert watch.alerts.all() == []
    watch.run("unowned")
    watch.cursor = None
    watch.tick()
    assert watch.alerts.all() == []


def test_the_experiment_is_ended_even_if_the_alert_could_not_be_sent(watch):
    run = watch.kill("train_demo", "demo__model")
    Path(watch.alerts.folder).rmdir()
    watch.tick()
    assert watch.experiments.asked() == [run]


# A candidate that waits ----------------------------------------------------------------------------------------------


@dataclass
class Waiting:
    """The sensor over one project whose ledger and objects a test fills."""

    world: World
    alerts: Alerts

    def tick(self) -> str:
        resources = {
            "release_ledger": self.world.ledger,
            "object_store": self.world.objects,
            "notifier": self.alerts,
        }
        with dg.build_sensor_context(resources=resources) as context:
            return str(waiting_candidates([self.world.project]).evaluate_tick(context).skip_message)


@pytest.fixture
def waiting(tmp_path) -> Waiting:
    (tmp_path / "alerts").mkdir()
    world = World(tmp_path, database=f"sqlite:///{tmp_path}/ledger.db")
    return Waiting(world, Alerts(folder=str(tmp_path / "alerts")))


def test_a_candidate_that_waits_is_told_once_to_its_owner_with_the_command(waiting):
    assert waiting.tick() == "No candidate waits for an approval."
    candidate = waiting.world.candidate("first")
    assert waiting.tick() == "Waits for an approval: demo (told now)."
    assert waiting.tick() == "Waits for an approval: demo (told before)."
    (alert,) = waiting.alerts.all()
    owner, title, text = alert.split("\n")
    assert (owner, title) == ("team:mapping", "A model of demo waits for an approval")
    assert f"python -m cli approve --project demo --model {candidate.model_digest[:12]} --by" in text


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decided_candidate_does_not_wait(waiting, decision):
    waiting.world.decide(waiting.world.candidate("first"), decision)
    assert waiting.tick() == "No candidate waits for an approval."


def test_a_candidate_that_could_not_be_approved_does_not_wait(waiting):
    waiting.world.candidate("fails its gate", accuracy=0.5)
    assert waiting.tick() == "No candidate waits for an approval."
    waiting.world.candidate("was not on QA", qa=False)
    assert waiting.tick() == "No candidate waits for an approval."
    changed = waiting.world.candidate("was changed")
    waiting.world.objects.put(changed.report_uri, b"{}")
    assert waiting.tick() == "No candidate waits for an approval."


def test_each_model_is_a_question_of_its_own(waiting):
    waiting.world.candidate("first")
    waiting.tick()
    waiting.world.candidate("second")
    assert waiting.tick() == "Waits for an approval: demo (told now)."
    assert len(waiting.alerts.all()) == 2
