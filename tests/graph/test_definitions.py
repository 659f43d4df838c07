"""What exists: the snapshot of the code location. A change of a key, a job or a schedule is a change of this page too."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import dagster as dg
import pytest

from cli.new_project import write_project
from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import load_project
from ledgerline.projects.sections import Schedule
from platform_assets.definitions import build_defs, loadable
from resources.environment import ROOT

ASSETS = {  # key -> group, partitions, condition
    "listings": ("onboarding", None, None),
    "filings": ("onboarding", "source_day", None),
    "day_index": ("onboarding", "source_day", None),
    "complete_days": ("onboarding", "source_day", None),
    "documents": ("nlp", "source_day", None),
    "clusters": ("nlp", "source_day", None),
    "mentions": ("nlp", "source_day", None),
    "knowledge_graph": ("ticker_mapping", None, "when_listings_change"),
    "candidate_index": ("ticker_mapping", None, "when_listings_change"),
    "labelled_candidates": ("ticker_mapping", None, "when_listings_change"),
    "candidate_sets": ("ticker_mapping", "source_day", None),
    "ticker_mappings": ("ticker_mapping", "source_day", None),
    "mapping_quality": ("monitoring", None, None),
    "onboarding_monitor": ("monitoring", None, None),
    "release_ledger": ("monitoring", None, None),
    "ticker_ranker/training_set": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/model": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/evaluation": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/model_version": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/qa_endpoint": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/qa_report": ("ticker_ranker", None, "train_when_new_data"),
    "ticker_ranker/live_endpoint": ("ticker_ranker", None, "deploy_when_gated"),
    "text_size/training_set": ("text_size", None, None),
    "text_size/tuned_hyperparameters": ("text_size", None, None),
    "text_size/model": ("text_size", None, None),
    "text_size/evaluation": ("text_size", None, None),
    "text_size/model_version": ("text_size", None, None),
    "text_size/qa_endpoint": ("text_size", None, None),
    "text_size/qa_report": ("text_size", None, None),
    "text_size/live_endpoint": ("text_size", None, "deploy_when_gated"),
    "text_size/batch_predictions": ("text_size", None, "predict_when_live_changes"),
}
UPSTREAM = {
    "filings": [],
    "day_index": ["filings"],
    "complete_days": ["day_index"],
    "documents": ["filings"],
    "clusters": ["documents"],
    "mentions": ["documents", "listings"],
    "candidate_sets": ["candidate_index", "knowledge_graph", "mentions"],
    "ticker_mappings": ["candidate_sets", "ticker_ranker/live_endpoint"],
    "labelled_candidates": ["candidate_index", "knowledge_graph", "listings"],
    "ticker_ranker/training_set": ["labelled_candidates"],
    "ticker_ranker/live_endpoint": [
        "ticker_ranker/evaluation",
        "ticker_ranker/model_version",
        "ticker_ranker/qa_report",
    ],
    "text_size/training_set": ["documents"],
    "text_size/tuned_hyperparameters": ["text_size/training_set"],
    "text_size/model": ["text_size/training_set", "text_size/tuned_hyperparameters"],
    "text_size/batch_predictions": ["documents", "text_size/live_endpoint"],
}
CHECKS = {  # check -> does it block
    "listings:every_port_works": False,
    "filings:no_filing_waits": False,
    "filings:onboarding_is_on_time": False,
    "day_index:day_is_complete": True,
    "ticker_mappings:every_ticker_is_grounded": True,
    "ticker_ranker/evaluation:gate": True,
    "ticker_ranker/live_endpoint:drift_from_release": False,
    "ticker_ranker/model_version:approved": False,
    "ticker_ranker/qa_report:same_bytes": True,
    "ticker_ranker/training_set:no_leak": True,
    "text_size/training_set:no_leak": True,
    "text_size/training_set:no_drift": False,
    "text_size/evaluation:gate": True,
    "text_size/live_endpoint:drift_from_release": False,
    "text_size/model_version:approved": False,
    "text_size/qa_report:same_bytes": True,
}
JOBS = {
    "onboard": ["filings"],
    "prove_complete": ["complete_days", "day_index", "filings"],
    "map_filings": ["candidate_sets", "clusters", "documents", "mentions", "ticker_mappings"],
    "refresh_listings": ["candidate_index", "knowledge_graph", "labelled_candidates", "listings"],
    "refresh_monitoring": ["mapping_quality", "onboarding_monitor", "release_ledger"],
    "watch_onboarding": ["onboarding_monitor"],
    "doctor": [],
    "train_ticker_ranker": [
        "ticker_ranker/evaluation",
        "ticker_ranker/model",
        "ticker_ranker/model_version",
        "ticker_ranker/qa_endpoint",
        "ticker_ranker/qa_report",
        "ticker_ranker/training_set",
    ],
    "deploy_ticker_ranker": ["ticker_ranker/live_endpoint"],
    "train_text_size": [
        "text_size/evaluation",
        "text_size/model",
        "text_size/model_version",
        "text_size/qa_endpoint",
        "text_size/qa_report",
        "text_size/training_set",
        "text_size/tuned_hyperparameters",
    ],
    "deploy_text_size": ["text_size/live_endpoint"],
    "predict_text_size": ["text_size/batch_predictions"],
}
OPERATOR_JOBS = {
    "approve", "reject", "withdraw", "rollback", "restore_release", "where_is_filing", "reprocess_filings",
    "register_days",
}  # fmt: skip
MAINTENANCE_JOBS = {"maintain_lake", "tidy_endpoints", "clean_branch", "reload_code_location"}
OF_DAGSTER = {
    "__ASSET_JOB",
    "__anonymous_asset_job_approved_models",
    "__anonymous_asset_job_drifted_data",
    "__anonymous_asset_job_release_ledger_rows",
}
DAY_AND_NIGHT = ["*/10 6-22 * * *", "*/30 0-5,23 * * *"]
SCHEDULES = {  # name -> cron, zone, job, running from the start
    "onboard_edgar": (DAY_AND_NIGHT, "America/New_York", "onboard", True),
    "onboard_dart": (DAY_AND_NIGHT, "Asia/Seoul", "onboard", True),
    "prove_edgar": ("25 * * * *", "America/New_York", "prove_complete", True),
    "prove_dart": ("25 * * * *", "Asia/Seoul", "prove_complete", True),
    "daily_listings": ("0 5 * * *", "America/New_York", "refresh_listings", True),
    "maintain_lake": ("15 2 * * *", "America/New_York", "maintain_lake", True),
    "tidy_endpoints": ("40 * * * *", None, "tidy_endpoints", True),
    "map_new_filings": ("*/5 * * * *", None, "map_filings", True),
    "watch_onboarding": ("5-59/10 * * * *", None, "watch_onboarding", True),
    "train_ticker_ranker_by_the_clock": ("0 6 * * 1", "America/New_York", "train_ticker_ranker", True),
    "train_text_size_by_the_clock": ("0 5 * * 6", "America/New_York", "train_text_size", True),
}
SENSORS = {  # seconds between ticks
    "automation": 30, "new_filings": 30, "archive_days": 300, "approved_models": 15, "waiting_candidates": 60,
    "run_failures": 30, "release_drift": 30, "release_ledger_rows": 60, "mappings_after_release": 30,
    "catch_up_experiments": 300, "catch_up_alerts": 60,
    "project_files": 60, "drifted_data": 3600, "delivered_projects": 60,
}  # fmt: skip
RESOURCES = {
    "branch_state", "candidate_index_store", "compute", "experiments", "filing_ledger", "knowledge_graph_store", "lake",
    "listings_source", "notifier", "object_store", "regulators", "release_ledger", "sagemaker",
    "sql_source", "engine",
}  # fmt: skip
VARIABLES = {
    "LEDGERLINE_BUCKET": "ledgerline-of-a-team",
    "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/ledgerline",
    "SAGEMAKER_IMAGE_URI": "123456789012.dkr.ecr.us-east-1.amazonaws.com/ledgerline:1",
}
BRANCH = {"DAGSTER_CLOUD_GIT_BRANCH": "fix/parser"}
SETTINGS = (
    *VARIABLES,
    *BRANCH,
    "LEDGERLINE_ENV",
    "LEDGERLINE_ARCHIVE",
    "EDGAR_USER_AGENT",
    "DART_API_KEY",
    "SLACK_BOT_TOKEN",
)


@pytest.fixture
def bare(monkeypatch, tmp_path) -> pytest.MonkeyPatch:
    """No setting of this project and none of AWS, and a home of its own."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path / "home"))
    return monkeypatch


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs("local")


def spec_by_name(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_assets_are_these_in_these_groups_with_these_partitions_and_conditions(defs):
    found = {
        name: (
            spec.group_name,
            spec.partitions_def.name if spec.partitions_def else None,
            spec.automation_condition.get_label() if spec.automation_condition else None,
        )
        for name, spec in spec_by_name(defs).items()
    }
    assert found == ASSETS


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_every_asset_has_description_owner_and_kinds(defs, name):
    spec = spec_by_name(defs)[name]
    assert len(str(spec.description)) > 40
    assert list(spec.owners)
    assert spec.kinds


@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_lineage(defs, name):
    spec = spec_by_name(defs)[name]
    assert sorted(dep.asset_key.to_user_string() for dep in spec.deps) == UPSTREAM[name]


def test_the_checks_are_these_and_those_that_guard_block(defs):
    graph = defs.resolve_asset_graph()
    found = {key.to_user_string(): graph.get_check_spec(key) for key in graph.asset_check_keys}
    assert {name: spec.blocking for name, spec in found.items()} == CHECKS
    assert all(spec.description for spec in found.values())


def test_the_jobs_are_these_selections_and_the_operator_jobs(defs):
    repository = defs.get_repository_def()
    jobs = {job.name: job for job in repository.get_all_jobs()}
    assert set(jobs) == set(JOBS) | OPERATOR_JOBS | MAINTENANCE_JOBS | OF_DAGSTER
    for name, wanted in JOBS.items():
        selected = jobs[name].asset_layer.executable_asset_keys
        assert sorted(key.to_user_string() for key in selected) == wanted
        assert jobs[name].description
    for name in OPERATOR_JOBS | MAINTENANCE_JOBS:
        assert jobs[name].description
    for name in OPERATOR_JOBS:
        assert jobs[name].run_tags.get("dagster/max_retries", jobs[name].tags.get("dagster/max_retries")) == "0"


def test_going_live_is_in_no_job_but_its_own(defs):
    for name, selected in JOBS.items():
        for project in ("ticker_ranker", "text_size"):
            assert (f"{project}/live_endpoint" in selected) == (name == f"deploy_{project}")


def test_the_schedules_are_these(defs):
    found = {
        schedule.name: (
            schedule.cron_schedule,
            schedule.execution_timezone,
            schedule.job_name,
            schedule.default_status == dg.DefaultScheduleStatus.RUNNING,
        )
        for schedule in defs.get_repository_def().schedule_defs
    }
    assert found == SCHEDULES


def test_the_sensors_are_these_and_run_from_the_start(defs):
    sensors = defs.get_repository_def().sensor_defs
    assert {sensor.name: sensor.minimum_interval_seconds for sensor in sensors} == SENSORS
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in sensors)
    assert all(sensor.description for sensor in sensors)


def test_the_automation_sensor_covers_every_asset(defs):
    (sensor,) = [one for one in defs.get_repository_def().sensor_defs if one.name == "automation"]
    assert {key.to_user_string() for key in sensor.asset_selection.resolve(defs.resolve_asset_graph())} == set(ASSETS)


def test_the_resources_are_these_in_every_environment(bare):
    assert set(build_defs("local").get_repository_def().get_top_level_resources()) == RESOURCES
    for name, value in (VARIABLES | BRANCH).items():
        bare.setenv(name, value)
    for environment in ("branch", "prod"):
        assert set(build_defs(environment).get_repository_def().get_top_level_resources()) == RESOURCES


class OtherLake(dg.ConfigurableResource):
    """A lake in name only."""


def test_an_override_replaces_the_resource_of_that_name_and_no_other():
    other = OtherLake()
    replaced = build_defs("local", resource_overrides={"lake": other})
    assert replaced.resources["lake"] is other
    assert type(replaced.resources["object_store"]).__name__ == "DirectoryObjectStore"


def test_two_calls_give_two_definitions():
    first, second = build_defs("local"), build_defs("local")
    assert first is not second
    assert first.resources["lake"] is not second.resources["lake"]


def test_projects_come_from_the_folder_that_is_named(tmp_path):
    defs = build_defs("local", projects=tmp_path)
    assert set(spec_by_name(defs)) >= {"filings", "listings"}
    assert not [key for key in defs.get_repository_def().job_names if key.startswith("train_")]


def test_loading_local_definitions_makes_nothing_in_the_home(bare, tmp_path):
    build_defs().get_repository_def()
    assert not (tmp_path / "home").exists()


def test_an_unknown_environment_is_refused_with_the_known_ones(bare):
    bare.setenv("LEDGERLINE_ENV", "production")
    with pytest.raises(ConfigurationError, match=r"'production'.*set it to one of local, branch, prod"):
        build_defs()


@pytest.mark.parametrize("environment", ["branch", "prod"])
def test_an_environment_on_aws_loads_with_its_variables_and_chooses_aws(bare, environment):
    for name, value in (VARIABLES | BRANCH).items():
        bare.setenv(name, value)
    defs = build_defs(environment)
    assert type(defs.resources["object_store"]).__name__ == "S3ObjectStore"
    assert set(spec_by_name(defs)) == set(ASSETS)


@pytest.mark.parametrize("environment", ["branch", "prod"])
@pytest.mark.parametrize("missing", sorted(VARIABLES))
def test_an_environment_on_aws_names_the_variable_that_is_missing_and_the_remedy(bare, environment, missing):
    for name, value in (VARIABLES | BRANCH).items():
        if name != missing:
            bare.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"LEDGERLINE_ENV={environment} needs {missing}: set it to .*, or use"):
        build_defs(environment)


def test_batches_run_on_ecs_only_where_that_is_asked_for(bare):
    for name, value in VARIABLES.items():
        bare.setenv(name, value)
    assert type(build_defs("prod").resources["compute"]).__name__ == "SubprocessCompute"
    bare.setenv("LEDGERLINE_COMPUTE", "ecs")
    with pytest.raises(ConfigurationError, match=r"LEDGERLINE_COMPUTE=ecs needs ECS_CLUSTER: set it to .*, or use"):
        build_defs("prod")
    names = ("ECS_CLUSTER", "ECS_TASK_DEFINITION", "ECS_SUBNETS", "ECS_SECURITY_GROUPS")
    for name in names:
        bare.setenv(name, f"{name.lower()}-1, {name.lower()}-2")
    compute = build_defs("prod").resources["compute"]
    assert type(compute).__name__ == "EcsCompute"
    assert (compute.subnets, compute.container) == (["ecs_subnets-1", "ecs_subnets-2"], "ledgerline")


def test_slack_is_the_notifier_only_where_its_token_is_set(bare):
    for name, value in VARIABLES.items():
        bare.setenv(name, value)
    assert type(build_defs("prod").resources["notifier"]).__name__ == "LogNotifier"
    bare.setenv("SLACK_BOT_TOKEN", "xoxb-of-a-test")
    assert type(build_defs("prod").resources["notifier"]).__name__ == "SlackNotifier"


LOAD_WITHOUT_NETWORK = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("the code location opened a connection while it was loaded")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from platform_assets.definitions import build_defs
build_defs().get_repository_def().get_all_jobs()
heavy = {"boto3", "mlflow", "pandas", "numpy", "lightgbm", "deltalake", "pyarrow", "tantivy", "sqlalchemy", "httpx"}
loaded_by_dagster = {"sqlalchemy", "httpx"}
print(sorted((heavy & set(sys.modules)) - loaded_by_dagster))
"""


def test_the_code_location_loads_without_network_aws_variables_or_heavy_imports(tmp_path):
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LEDGERLINE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD_WITHOUT_NETWORK],
        cwd=ROOT, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_delivered_project_that_dagster_refuses_is_left_out_and_the_others_load(tmp_path, caplog):
    good, bad = (load_project(write_project(name, tmp_path)) for name in ("good", "bad"))
    never = bad.config.model_copy(update={"schedule": Schedule(cron="0 0 31 2 *", timezone="UTC")})
    assert loadable([dataclasses.replace(bad, config=never), good]) == [good]
    assert "The delivered model project bad is left out: Found invalid cron schedule" in caplog.text
