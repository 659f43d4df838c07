"""Parts of the compute port that need no process: what a stopped task says, and what a worker imports and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.compute import verdict
from resources.environment import DEFAULT_CONTAINER, ROOT
from resources.object_store import DirectoryObjectStore
from resources.parse_worker import Folder


def stopped(
    stop: str = "EssentialContainerExited", why: str = "", code: int | None = None, reason: str = ""
) -> dict[str, Any]:
    """A task as DescribeTasks shows it, with a second container that is none of ours and succeeded."""
    mine = {
        "name": "ledgerline",
        **({} if code is None else {"exitCode": code}),
        **({"reason": reason} if reason else {}),
    }
    return {"stopCode": stop, "stoppedReason": why, "containers": [{"name": "sidecar", "exitCode": 0}, mine]}


@pytest.mark.parametrize(
    ("task", "ended", "why"),
    [
        (stopped(code=0), "done", ""),
        (stopped(code=1, why="Essential container in task exited"), "failed", "EssentialContainerExited; Essential"),
        (stopped(code=137, reason="OutOfMemoryError: Container killed due to memory usage"), "killed", "OutOfMemory"),
        (stopped(code=139), "killed", "exit code 139"),
        (stopped(), "failed", "EssentialContainerExited"),  # no exit code is no success
        (stopped("SpotInterruption", "Your Spot Task was interrupted."), "lost", "Spot Task"),
        (stopped("SpotInterruption", "Your Spot Task was interrupted.", 143), "lost", "Spot Task"),
        (stopped("SpotInterruption", "Your Spot Task was interrupted.", 0), "done", ""),  # it had finished before
        (stopped("TerminationNotice", "infrastructure", 137), "lost", "TerminationNotice"),
        (stopped("TaskFailedToStart", "Capacity is unavailable at this time."), "lost", "Capacity"),
        (stopped("TaskFailedToStart", "CannotPullContainerError: not found"), "failed", "CannotPull"),
        (stopped("UserInitiated", "stopped by Kim", 143), "failed", "stopped by Kim"),
    ],
)
def test_how_a_stopped_task_ended(task: dict[str, Any], ended: str, why: str) -> None:
    found, code, said = verdict(task, "ledgerline")
    assert (found, code) == (ended, task["containers"][1].get("exitCode"))
    assert why in said


def test_a_worker_imports_no_dagster_and_nothing_heavy() -> None:
    heavy = ("dagster", "boto3", "pandas", "deltalake", "mlflow", "sqlalchemy")
    script = (
        "import sys, resources.parse_worker, ledgerline.filings.batches\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_worker_that_a_person_starts_says_who_starts_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "resources.parse_worker"], cwd=ROOT, capture_output=True, text=True, env={"PATH": "/bin"}
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip().endswith(
        "is started by the compute port, which tells it what to parse: materialize `documents`"
    )


def test_a_workers_folder_is_that_of_the_object_store(tmp_path: Path) -> None:
    store, folder = DirectoryObjectStore(root=str(tmp_path)), Folder(str(tmp_path))
    folder.put("s3://ledgerline/batches/a/documents.parquet", b"rows")
    assert store.get("s3://ledgerline/batches/a/documents.parquet") == b"rows"
    store.put("s3://ledgerline/filings/b", b"body")
    assert folder.get("s3://ledgerline/filings/b") == b"body"
    assert list(store.list("s3://ledgerline/")) == [
        "s3://ledgerline/batches/a/documents.parquet",
        "s3://ledgerline/filings/b",
    ]


def test_the_task_definition_is_accepted_by_the_model_of_ecs_and_runs_the_worker() -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    definition = json.loads((ROOT / "deploy" / "parse_worker.task.json").read_text())
    model = botocore.session.get_session().get_service_model("ecs")
    report = ParamValidator().validate(definition, model.operation_model("RegisterTaskDefinition").input_shape)
    assert report.generate_report() == ""
    (container,) = definition["containerDefinitions"]
    assert (container["name"], container["command"][-1]) == (DEFAULT_CONTAINER, "resources.parse_worker")
    assert {"awslogs-group", "awslogs-stream-prefix"} <= set(container["logConfiguration"]["options"])
