"""deploy/dagster.aws.yaml: Dagster accepts it, takes its secrets from variables, and keeps the rules of dagster.yaml."""

from pathlib import Path

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config  # no public function validates without connecting
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRun
from dagster._utils.tags import TagConcurrencyLimitsCounter  # what the daemon asks before it launches a run

from jobs.schedules import LEFTOVERS, LIVE, PRIORITY, PROOF, catching_up
from resources.environment import ROOT

FILE = ROOT / "deploy" / "dagster.aws.yaml"
VARIABLES = {
    "DAGSTER_POSTGRES_USER": "ledgerline",
    "DAGSTER_POSTGRES_PASSWORD": "of-a-test",
    "DAGSTER_POSTGRES_HOST": "db.invalid",
    "DAGSTER_POSTGRES_DB": "dagster",
    "DAGSTER_POSTGRES_PORT": "5432",
    "LEDGERLINE_BUCKET": "ledgerline-of-a-team",
    "AWS_DEFAULT_REGION": "eu-central-1",
}
SAME_AS_LOCAL = ("telemetry", "run_monitoring", "run_retries")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_bytes(FILE.read_bytes())
    return tmp_path


def test_dagster_accepts_the_file(home):
    pytest.importorskip("dagster_postgres", reason="dagster-postgres is needed on AWS only")
    settings, _ = dagster_instance_config(str(home))
    ref = InstanceRef.from_dir(str(home))
    assert ref.storage_data.class_name == "DagsterPostgresStorage"
    assert settings["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_POSTGRES_PASSWORD"}


def test_dagster_refuses_a_key_that_it_does_not_know(home):
    text = FILE.read_text().replace("poll_interval_seconds", "poll_interval_secs")
    (home / "dagster.yaml").write_text(text)
    with pytest.raises(Exception, match="poll_interval_secs"):
        dagster_instance_config(str(home))


def test_the_storage_takes_the_settings_without_connecting(home):
    utils = pytest.importorskip("dagster_postgres.utils", reason="dagster-postgres is needed on AWS only")
    from dagster._config import process_config
    from dagster_postgres import DagsterPostgresStorage

    given = yaml.safe_load(FILE.read_text())["storage"]["postgres"]
    done = process_config(DagsterPostgresStorage.config_type(), given)
    assert done.success, done.errors
    url = utils.pg_url_from_config(done.value)
    assert url == "postgresql+psycopg2://ledgerline:of-a-test@db.invalid:5432/dagster?sslmode=verify-full"


def test_logs_of_steps_go_to_the_bucket_without_connecting(home):
    ref = InstanceRef.from_dir(str(home))
    manager = ref.compute_log_manager
    assert type(manager).__name__ == "S3ComputeLogManager"
    assert manager._s3_bucket == "ledgerline-of-a-team"


def test_no_secret_stands_in_the_file_and_every_variable_is_known():
    named = {line.split("env:")[1].strip() for line in FILE.read_text().splitlines() if "env:" in line}
    assert named == set(VARIABLES)


def test_what_keeps_runs_safe_locally_holds_on_aws_too():
    aws, local = (yaml.safe_load(path.read_text()) for path in (FILE, ROOT / "dagster.yaml"))
    assert {name: aws[name] for name in SAME_AS_LOCAL} == {name: local[name] for name in SAME_AS_LOCAL}
    assert aws["concurrency"]["pools"] == local["concurrency"]["pools"]


@pytest.mark.parametrize("path", [FILE, ROOT / "dagster.yaml"], ids=["aws", "local"])
def test_runs_that_catch_up_never_take_the_slot_of_the_live_feed(path):
    """Judged by Dagster's own counter: five proofs of ended days wait in the queue when the live feed's tick comes."""
    concurrency = yaml.safe_load(path.read_text())["concurrency"]["runs"]
    at_work: list[DagsterRun] = []
    for tags in [catching_up("edgar", PROOF)] * 4 + [catching_up("dart", LEFTOVERS), {PRIORITY: LIVE}]:
        run = DagsterRun("any", tags=tags)
        limits = TagConcurrencyLimitsCounter(concurrency["tag_concurrency_limits"], at_work)
        if len(at_work) < concurrency["max_concurrent_runs"] and not limits.is_blocked(run):
            at_work.append(run)
    assert [run.tags[PRIORITY] for run in at_work] == [PROOF, LIVE]
