"""The house itself: files that tools read, and habits that no tool checks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster_cloud_cli.config.models import load_dagster_cloud_yaml

from ledgerline.errors import ConfigurationError
from resources.environment import ROOT, read_settings

PACKAGES = ("ledgerline", "resources", "platform_assets", "jobs", "sensors", "cli", "benchmarks")
HEAVY = (
    "boto3",
    "mlflow",
    "numpy",
    "pandas",
    "opensearchpy",
    "sagemaker",
    "lightgbm",
    "matplotlib",
    "deltalake",
    "tantivy",
)

# `make test` runs these tests: a make inside it would inherit its flags and say which folder it enters.
OUTSIDE_MAKE = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def test_dagster_cloud_yaml_names_the_code_location_that_pyproject_names():
    cloud = load_dagster_cloud_yaml((ROOT / "dagster_cloud.yaml").read_text())
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    local = workspace["load_from"][0]["python_module"]
    assert [(one.location_name, one.code_source.module_name) for one in cloud.locations] == [
        (local["location_name"], local["module_name"])
    ]


def test_dagster_yaml_is_accepted_by_dagster(tmp_path):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert not instance.telemetry_enabled


def test_environment_variables_are_read_in_one_place():
    allowed = {ROOT / "resources" / "environment.py", ROOT / "cli" / "bootstrap.py"}
    readers = [
        str(path.relative_to(ROOT))
        for package in PACKAGES[:-1]
        for path in sorted((ROOT / package).rglob("*.py"))
        if path not in allowed and re.search(r"\bos\.environ\b(?!\.setdefault)|\bgetenv\(", path.read_text())
    ]
    assert readers == []


def test_no_constraint_and_no_document_names_a_package_index_or_a_path_of_a_machine():
    files = [ROOT / "constraints.txt", ROOT / "pyproject.toml", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    wrong = re.compile(r"--(extra-)?index-url|find-links|/root/|/home/|/tmp/|pypi\.org", re.IGNORECASE)
    assert [str(file) for file in files if wrong.search(file.read_text())] == []


def test_loading_the_code_location_imports_nothing_heavy_and_needs_no_variable(tmp_path):
    script = (
        "import sys; from platform_assets.definitions import build_defs; build_defs();"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={"LEDGERLINE_HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []  # loading does no I/O


def test_an_unknown_environment_is_refused_with_the_names_there_are():
    with pytest.raises(
        ConfigurationError, match="'prodd', which is no environment; set it to one of local, branch, prod"
    ):
        read_settings(variables={"LEDGERLINE_ENV": "prodd"})


def test_an_empty_variable_is_one_that_is_not_set(tmp_path):
    named = {"LEDGERLINE_HOME": str(tmp_path)}
    empty = dict.fromkeys(("LEDGERLINE_ENV", "LEDGERLINE_BUCKET", "LEDGERLINE_ARCHIVE", "AWS_DEFAULT_REGION"), "")
    assert read_settings(variables=named | empty) == read_settings(variables=named)


def test_the_home_can_be_moved(tmp_path):
    assert read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)}).lake == str(tmp_path / "lake")


def test_a_python_that_is_too_old_gets_one_sentence_with_the_remedy():
    source = (ROOT / "cli" / "bootstrap.py").read_text().replace("OLDEST, NEWEST = (3, 10)", "OLDEST, NEWEST = (3, 99)")
    ran = subprocess.run([sys.executable, "-c", source.replace("__file__", "'x/y'")], capture_output=True, text=True)
    assert ran.returncode == 1
    assert re.fullmatch(
        r"ledgerline: Python 3\.\d+ cannot run it; install Python .*`make PYTHON=python3\.11 \.\.\.`\.\n", ran.stderr
    )


def test_every_target_of_the_makefile_has_one_line_of_help():
    shown = subprocess.run(["make"], cwd=ROOT, env=OUTSIDE_MAKE, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "demo-real", "servers", "doctor", "dev", "ask", "where", "test", "bench", "stop", "clean"):
        assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE), target


def echoing_make(folder):
    """The Makefile in a folder whose Python prints its arguments."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "cli").mkdir()
    (folder / "cli" / "bootstrap.py").write_text("")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)


@pytest.mark.parametrize("given", ["arguments", "variables"])
def test_make_hands_the_text_to_ask_letter_by_letter(tmp_path, given):
    echoing_make(tmp_path)
    asked = {"MENTION": "-Apple", "TEXT": "about $5 \"or\" $(shell touch here) 'more' -Apple", "AS_OF": ""}
    written = [f"{name}={value}" for name, value in asked.items()] if given == "arguments" else []
    environment = {**OUTSIDE_MAKE, **({} if written else asked)}
    ran = subprocess.run(["make", "ask", *written], cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = ["-m", "cli", "ask", f"--mention={asked['MENTION']}", f"--text={asked['TEXT']}", "--as-of="]
    assert ran.stdout.splitlines() == expected, ran.stderr
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("given", ["arguments", "variables"])
def test_make_hands_the_number_to_where_letter_by_letter(tmp_path, given):
    echoing_make(tmp_path)
    asked = {"FILING": "-1 $(shell touch here)", "DAY": "2025-03-14"}
    written = [f"{name}={value}" for name, value in asked.items()] if given == "arguments" else []
    environment = {**OUTSIDE_MAKE, **({} if written else asked)}
    ran = subprocess.run(["make", "where", *written], cwd=tmp_path, env=environment, capture_output=True, text=True)
    expected = ["-m", "cli", "where", "--day=2025-03-14", "--", asked["FILING"]]
    assert ran.stdout.splitlines() == expected, ran.stderr
    assert not (tmp_path / "here").exists()


def test_generic_package_names_are_not_shadowed_by_test_folders():
    assert not [name for name in ("resources", "jobs", "sensors") if Path(ROOT / "tests" / name).exists()]
