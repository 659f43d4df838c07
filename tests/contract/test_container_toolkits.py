"""What a script finds under the embedded server, and what it finds under AWS's own training toolkit: the same."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import toolkits
from tests.unit.local_sagemaker_tools import INFERENCE, Server, model_archive

# Writes what it finds into the model: variables, arguments, and every file below the base with its text.
PROBE = """
import json, os, pathlib, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
files = {path.relative_to(base).as_posix(): path.read_text(errors="replace")
         for path in sorted(base.rglob("*")) if path.is_file()}
folders = sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_dir())
found = {"base": str(base), "environment": dict(os.environ), "arguments": sys.argv[1:], "files": files,
         "folders": folders, "script": sys.argv[0], "cwd": os.getcwd()}
pathlib.Path(os.environ["SM_MODEL_DIR"], "probe.json").write_text(json.dumps(found))
"""
HYPERPARAMETERS = {
    "sagemaker_program": "train.py",
    "learning-rate": "0.06",
    "rounds": "350",
    "flat": "true",
    "kind": '"gini"',
    "quoted": "it's $HOME `date`",
    "layers": "[64, 32]",
    "weights": '{"a": 1, "b": 2}',
    "k": "7",
    "empty": '""',
    "korean": "\uc0bc\uc131",
}
# Variables that differ, each with the reason. One that no longer differs fails the test, too.
EXPLAINED = {
    **dict.fromkeys(
        [
            *("SM_CURRENT_HOST_RANK", "SM_ENTRY_SCRIPT", "SM_HOST_COUNT", "SM_HP_LEARNING_RATE", "SM_INPUT_DATA_DIR"),
            *("SM_MASTER_ADDR", "SM_MASTER_PORT", "SM_OUTPUT_FAILURE", "SM_SOURCE_DIR"),
        ],
        "only the drivers of SageMaker's SDK v3 set it; the embedded server sets what either sets",
    ),
    "SM_TRAINING_ENV": "ours has the members of the toolkit and of SDK v3: see the test of its own",
    "SM_MODULE_DIR": "where the code came from: an object with us, a folder for the toolkit in this test",
    "SM_STUDIO_LOCAL_MODE": "set by this test, so that the toolkit asks no DNS",
    **dict.fromkeys(("HOME", "PATH"), "of the machine, not of the contract"),
    "PYTHONPATH": "the toolkit puts the code's folder there; with us it is the script's own folder",
    **dict.fromkeys(("LANG", "LC_CTYPE", "TZ"), "ours fixes locale and time zone: the same run gives the same bytes"),
    **dict.fromkeys(
        ("PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONNOUSERSITE", "PYTHONUNBUFFERED"),
        "ours: logs at once, the same bytes each time, nothing of the user's own packages",
    ),
}
HOST_ONLY = ("SSL_CERT_DIR", "SSL_CERT_FILE")  # passed on where this machine has them
FOLDERS_ONLY_OURS = {"checkpoints", "output/intermediate"}  # the toolkit makes the second only where it is synchronised


@dataclass(frozen=True)
class Found:
    """What the probe found, with its base folder written as BASE."""

    environment: dict[str, str]
    arguments: list[str]
    files: dict[str, str]
    folders: list[str]


def found_by(probe: dict[str, Any]) -> Found:
    at_base = json.loads(json.dumps(probe).replace(probe["base"], "BASE"))
    return Found(at_base["environment"], at_base["arguments"], at_base["files"], at_base["folders"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """(found under the embedded server, found under the toolkit), for the same request."""
    server = Server(tmp_path_factory.mktemp("sagemaker"))
    try:
        server.train("probe", {"train.py": PROBE}, HyperParameters=HYPERPARAMETERS, Environment={"MINE": "it's mine"})
        job = server.trained("probe")
        assert job["TrainingJobStatus"] == "Completed", job
        body = io.BytesIO(server.read(job["ModelArtifacts"]["S3ModelArtifacts"]))
        with tarfile.open(fileobj=body) as archive:
            ours = json.load(archive.extractfile("probe.json"))  # type: ignore[arg-type]  # a file, or the test fails
    finally:
        server.stop()
    folder = tmp_path_factory.mktemp("toolkit")
    for name, text in (("code/train.py", PROBE), ("rows/rows.csv", "1,2")):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    model = toolkits.train(job, {"train": folder / "rows"}, folder / "code", folder / "base")
    return found_by(ours), found_by(json.loads((model / "probe.json").read_text()))


def test_the_arguments_are_the_same(both: tuple[Found, Found]) -> None:
    ours, theirs = both
    assert ours.arguments == theirs.arguments
    assert "it's $HOME `date`" in ours.arguments


def test_the_variables_are_the_same_but_for_those_that_are_explained(both: tuple[Found, Found]) -> None:
    ours, theirs = (found.environment for found in both)
    differing = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)} - {*HOST_ONLY}
    assert {name: (ours.get(name), theirs.get(name)) for name in differing - {*EXPLAINED}} == {}
    assert {name for name in EXPLAINED if name not in differing} == set(), "no longer differs: remove it from the list"
    assert ours["MINE"] == "it's mine"


def test_the_training_environment_has_all_that_the_toolkits_has(both: tuple[Found, Found]) -> None:
    ours, theirs = (json.loads(found.environment["SM_TRAINING_ENV"]) for found in both)
    moved = {"module_dir"}  # see SM_MODULE_DIR
    assert {name: ours.get(name, "absent") for name in theirs if name not in moved} == {
        name: value for name, value in theirs.items() if name not in moved
    }


def test_the_files_that_a_script_finds_are_the_same(both: tuple[Found, Found]) -> None:
    ours, theirs = both
    assert set(ours.folders) - FOLDERS_ONLY_OURS == set(theirs.folders)
    assert set(ours.files) == set(theirs.files)
    for name in theirs.files:
        if name.endswith(".json"):
            found, expected = json.loads(ours.files[name]), json.loads(theirs.files[name])
            for config in (found, expected):
                config.pop("sagemaker_submit_directory", None)
            assert found == expected, name
        else:
            assert ours.files[name] == theirs.files[name], name


BODIES = ['{"x": 1}', '{"x": "\uc0bc\uc131"}', '{"x": [1.5, null]}', '{"y": 1}', '{"x": "break"}', "no JSON", ""]


def test_answers_are_the_same_byte_for_byte_and_so_is_who_is_to_blame(tmp_path: Path) -> None:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "model.json").write_text('{"rows": "", "name": "oracle"}')
    (tmp_path / "model" / "code" / "inference.py").write_text(INFERENCE)
    theirs = toolkits.answers(tmp_path / "model", BODIES)
    server = Server(tmp_path / "sagemaker")
    try:
        server.endpoint("oracle", model_archive("oracle"))
        for body, their in zip(BODIES, theirs, strict=True):
            if their.status == 200:
                ours = server.ask("oracle", body)
                assert (ours["Body"].read(), ours["ContentType"]) == (their.body, their.content_type)
            else:  # the toolkit blames the model for everything, and shows the client a traceback: ours does neither
                assert b"Traceback" in their.body
                with pytest.raises(server.runtime.exceptions.ModelError) as refused:
                    server.ask("oracle", body)
                assert refused.value.response["OriginalStatusCode"] in (400, 500)
                assert "Traceback" not in refused.value.response["OriginalMessage"]
    finally:
        server.stop()
    assert [their.status for their in theirs] == [200, 200, 200, 500, 500, 500, 500]
