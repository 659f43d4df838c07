"""The exported SageMaker Pipeline, checked without AWS: requests and references against botocore's models."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.validate
import pytest
from botocore import xform_name
from botocore.model import ServiceModel, Shape, StructureShape

from cli.__main__ import parser, run
from ledgerline.errors import ConfigurationError
from ledgerline.projects.config import load_project
from resources.environment import ROOT
from resources.object_store import DirectoryObjectStore
from resources.pipeline_export import export_pipeline
from resources.sagemaker import SageMaker
from tests.environments import python_with
from tests.unit.local_sagemaker_tools import Server, until
from tests.unit.release_fakes import CONFIG, World

PROJECTS = ("text_size", "ticker_ranker")
CREATES = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName", "DescribeProcessingJob"),
    "Training": ("CreateTrainingJob", "TrainingJobName", "DescribeTrainingJob"),
    "Tuning": (
        "CreateHyperParameterTuningJob",
        "HyperParameterTuningJobName",
        "DescribeHyperParameterTuningJob",
    ),
    "RegisterModel": ("CreateModelPackage", None, "DescribeModelPackage"),
}
SAMPLE = "s3://bucket/sample"
TINY = {
    "config.yaml": """\
name: tiny
description: Knows only how it was tuned.
owner: team:quant
dataset: {table: rows, columns: [group, at], entity_column: group, time_column: at, channels: [train, test]}
hyperparameters: {rate: 1, depth: 3}
tuning: {metric: score, strategy: grid, ranges: {rate: {values: [1, 2]}}, parallel: 2}
metrics: [{name: score, direction: maximize, regex: 'score=([0-9.]+);'}, {name: accuracy, direction: maximize}]
gate: {rules: [{metric: accuracy, at_least: 6}]}
approval: manual
""",
    "preprocessing.py": """
import shutil, sys
_, _, source, _, target = sys.argv
for channel in ("train", "test"):
    shutil.copy(f"{source}/dataset/rows.txt", f"{target}/{channel}/rows.txt")
""",
    "train.py": """
import argparse, os, pathlib, shutil
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=int)
parser.add_argument("--depth", type=int)
given, _ = parser.parse_known_args()
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "code").mkdir()
shutil.copy("inference.py", model / "code" / "inference.py")
rows = len(pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "rows.txt").read_text())
(model / "score").write_text(str(given.rate * given.depth * rows))
print(f"score={given.rate * given.depth * rows};")
""",
    "evaluation.py": """
import argparse, json, pathlib, tarfile
parser = argparse.ArgumentParser()
for name in ("model", "test", "output"):
    parser.add_argument(f"--{name}-dir", type=pathlib.Path)
given = parser.parse_args()
with tarfile.open(given.model_dir / "model.tar.gz") as archive:
    score = float(archive.extractfile("score").read())
assert (given.test_dir / "rows.txt").exists()
(given.output_dir / "evaluation.json").write_text(json.dumps({"metrics": {"accuracy": score}}))
""",
    "inference.py": "",
}
Definition = dict[str, Any]


@pytest.fixture(scope="module")
def sagemaker() -> ServiceModel:
    return ServiceModel(botocore.loaders.Loader().load_service_model("sagemaker", "service-2"), "sagemaker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def exported(folder) -> dict[str, tuple[Definition, str]]:
    """Project -> definition, and what was said. No AWS variable is set, and nobody answers at the proxy."""
    python = Path(sys.executable)
    if importlib.util.find_spec("sagemaker") is None:
        python = python_with("sagemaker-sdk", ["sagemaker==3.27.0", "-c", "constraints.txt"], our_packages=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEDGERLINE_"))}
    variables = {**kept, "LEDGERLINE_HOME": str(folder / "home"), "HTTPS_PROXY": "http://127.0.0.1:9"}
    script = "import sys\nfrom cli.export_pipeline import export\n" + "".join(
        f"export({name!r}, {str(folder / name)!r}); print('====', file=sys.stderr)\n" for name in PROJECTS
    )
    project = folder / "model_projects" / "tiny"
    project.mkdir(parents=True)
    for name, text in TINY.items():
        (project / name).write_text(text)
    script += (
        "from tests.unit.test_pipeline_export import export_pipeline, load_project, platform, Path\n"
        f"made = export_pipeline(load_project(Path({str(project)!r})), platform(Path({str(folder / 'objects')!r})))\n"
        f"Path({str(folder / 'tiny')!r}).write_text(made.definition)\n"
    )
    command = [python, "-c", script]  # one process: importing the SDK takes seconds
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stderr.split("====")
    return {
        name: (json.loads((folder / name).read_text()), said[number]) for number, name in enumerate((*PROJECTS, "tiny"))
    }


@pytest.fixture(params=PROJECTS)
def definition(request, exported) -> Definition:
    return exported[request.param][0]


def all_steps(steps: list[Definition]) -> Iterator[Definition]:
    for step in steps:
        yield step
        if step["Type"] == "Condition":
            yield from all_steps([*step["Arguments"]["IfSteps"], *step["Arguments"]["ElseSteps"]])


def references(value: Any) -> Iterator[str]:
    """Every {"Get": ...} in a value, but for those of the steps within a condition step, which have their own."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            yield value["Get"]
        for name, item in value.items():
            if name not in ("IfSteps", "ElseSteps"):
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def filled(value: Any, parameters: dict[str, str]) -> Any:
    """The value with samples for its variables, as a request of one execution would be."""
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            return parameters.get(value["Get"].removeprefix("Parameters."), SAMPLE)
        if set(value) == {"Std:Join"}:
            return value["Std:Join"]["On"].join(filled(item, parameters) for item in value["Std:Join"]["Values"])
        return {name: filled(item, parameters) for name, item in value.items()}
    return [filled(item, parameters) for item in value] if isinstance(value, list) else value


def shape_at(shape: Shape, path: str) -> Shape:
    """The shape that a property path of a step leads to. Raises KeyError where its Describe answer has no such member."""
    for member, key in re.findall(r"([A-Za-z0-9]+)(?:\['([^']+)'\])?", path):
        assert isinstance(shape, StructureShape)
        shape = shape.members[member]
        if key:
            shape = shape.value if shape.type_name == "map" else shape.member
    return shape


def test_each_step_is_a_request_that_aws_would_take(definition, sagemaker):
    assert definition["Version"] == "2020-12-01"
    parameters = {item["Name"]: item.get("DefaultValue", SAMPLE) for item in definition["Parameters"]}
    made = [step for step in all_steps(definition["Steps"]) if step["Type"] in CREATES]
    for step in made:
        operation, job_name, _ = CREATES[step["Type"]]
        request = filled(step["Arguments"], parameters) | ({job_name: "made-by-the-pipeline"} if job_name else {})
        report = botocore.validate.ParamValidator().validate(request, sagemaker.operation_model(operation).input_shape)
        assert not report.has_errors(), f"{step['Name']}: {report.generate_report()}"
    assert {"Processing", "Training", "RegisterModel"} <= {step["Type"] for step in made}


def test_a_request_with_a_wrong_member_would_be_noticed(exported, sagemaker):
    (step, *_) = exported["text_size"][0]["Steps"]
    request = filled(step["Arguments"], {}) | {"ProcessingJobName": "x", "Rolle": "x"}
    shape = sagemaker.operation_model("CreateProcessingJob").input_shape
    assert botocore.validate.ParamValidator().validate(request, shape).has_errors()


def test_every_reference_leads_to_what_its_step_answers(definition, sagemaker):
    steps = {step["Name"]: step for step in all_steps(definition["Steps"])}
    parameters = {item["Name"] for item in definition["Parameters"]}
    found = {reference for step in steps.values() for reference in references(step["Arguments"])}
    assert any(reference.startswith("Steps.Train.") for reference in found)
    for reference in found:
        scope, _, rest = reference.partition(".")
        name, _, path = rest.partition(".")
        if scope == "Parameters":
            assert name in parameters
        elif scope == "Execution":
            assert name == "PipelineExecutionId"
        elif path.startswith("PropertyFiles."):
            (file,) = steps[name]["PropertyFiles"]
            outputs = steps[name]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
            assert file["PropertyFileName"] == path.removeprefix("PropertyFiles.")
            assert file["OutputName"] in [output["OutputName"] for output in outputs]
        else:
            described = sagemaker.operation_model(CREATES[steps[name]["Type"]][2]).output_shape
            assert shape_at(described, path).type_name == "string", reference
            for output in re.findall(r"Outputs\['([^']+)'\]", path):
                outputs = steps[name]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
                assert output in [one["OutputName"] for one in outputs]


def test_the_steps_are_an_acyclic_graph_that_ends_in_the_gate(definition):
    steps = list(all_steps(definition["Steps"]))
    names = [step["Name"] for step in steps]
    assert len(set(names)) == len(names)
    needs = {
        step["Name"]: {reference.split(".")[1] for reference in references(step["Arguments"]) if "Steps." in reference}
        for step in steps
    }
    order = list(TopologicalSorter(needs).static_order())
    assert set(order) == set(names)
    assert order.index("Preprocess") < order.index("Train") < order.index("Evaluate") < order.index("Gate")
    assert [step["Name"] for step in definition["Steps"]][-1] == "Gate"


def test_the_gate_judges_the_absolute_rules_and_says_which_it_leaves_out(exported):
    definition, said = exported["ticker_ranker"]
    gate = definition["Steps"][-1]["Arguments"]
    judged = [(one["LeftValue"]["Std:JsonGet"]["Path"], one["Type"], one["RightValue"]) for one in gate["Conditions"]]
    assert judged == [
        ("metrics.open_set_accuracy", "GreaterThanOrEqualTo", 0.9),
        ("metrics.false_link_rate", "LessThanOrEqualTo", 0.05),
        ("metrics.calibration_error", "LessThanOrEqualTo", 0.05),
    ]
    assert "open_set_accuracy not worse than live by 0.01 (needs the live model)" in said
    assert "open_set_accuracy at least 0.85 for every answer with at least 50 rows" in said
    (registered,), (refused,) = gate["IfSteps"], gate["ElseSteps"]
    assert registered["Arguments"]["ModelApprovalStatus"] == "PendingManualApproval"
    # Without the digest of its bytes no package is ever put live by this platform: see SageMaker.deploy.
    assert "model_digest" not in registered["Arguments"]["CustomerMetadataProperties"]
    assert "open_set_accuracy at least 0.9" in json.dumps(refused["Arguments"]["ErrorMessage"])


def test_what_was_tuned_is_what_is_trained(exported):
    steps = {step["Name"]: step["Arguments"] for step in exported["text_size"][0]["Steps"]}
    tuned = "Steps.Tune.BestTrainingJob.TunedHyperParameters['leaves']"
    assert steps["Train"]["HyperParameters"]["leaves"] == {"Get": tuned}
    assert "leaves" not in steps["Tune"]["TrainingJobDefinition"]["StaticHyperParameters"]
    assert "Tune" not in [step["Name"] for step in exported["ticker_ranker"][0]["Steps"]]


@dataclass
class Execution:
    """One execution of a definition on the embedded server, as SageMaker Pipelines would: step after step."""

    server: Server
    parameters: dict[str, str]
    answers: dict[str, Any] = field(default_factory=dict)

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self.value(item) for item in given]
        if not isinstance(given, dict):
            return given
        if set(given) == {"Std:Join"}:
            return given["Std:Join"]["On"].join(self.value(given["Std:Join"]["Values"]))
        if set(given) != {"Get"}:
            return {name: self.value(item) for name, item in given.items()}
        scope, name, *path = given["Get"].split(".", 2)
        if scope == "Execution":
            return "execution-1"
        return self.parameters[name] if scope == "Parameters" else self.answered(name, *path)

    def answered(self, step: str, path: str) -> Any:
        found = self.answers[step]
        for member, key in re.findall(r"([A-Za-z0-9]+)(?:\['([^']+)'\])?", path):
            found = found[member]
            if key:
                found = found[key] if isinstance(found, dict) else {one["OutputName"]: one for one in found}[key]
        return found

    def run(self, step: Definition) -> None:
        create, name, describe = CREATES[step["Type"]]
        client, named = self.server.sagemaker, {name: step["Name"]}
        getattr(client, xform_name(create))(**named, **self.value(step["Arguments"]))

        def described() -> Any:
            return getattr(client, xform_name(describe))(**named)

        status = name.replace("Name", "Status")
        self.answers[step["Name"]] = until(described, lambda answer: answer[status] != "InProgress")
        assert self.answers[step["Name"]][status] == "Completed", self.answers[step["Name"]].get("FailureReason")


def test_an_execution_tunes_trains_evaluates_and_registers_on_the_embedded_server(exported, folder):
    definition, _ = exported["tiny"]
    server = Server(folder)
    try:
        parameters = {one["Name"]: one.get("DefaultValue", "") for one in definition["Parameters"]}
        parameters["DatasetUri"] = server.put("s3://ledgerline/given/rows.txt", "x")
        execution = Execution(server, parameters)
        *jobs, gate = definition["Steps"]
        for step in jobs:
            execution.run(step)
        assert execution.answers["Train"]["HyperParameters"]["rate"] == "2"
        (condition,) = gate["Arguments"]["Conditions"]
        report = execution.answered("Evaluate", "ProcessingOutputConfig.Outputs['report'].S3Output.S3Uri")
        body = (server.object_root / report.removeprefix("s3://") / "evaluation.json").read_text()
        assert json.loads(body)["metrics"]["accuracy"] == condition["RightValue"] == 6  # rate 2 x depth 3 x one row
        (register,) = gate["Arguments"]["IfSteps"]
        request = execution.value(register["Arguments"])
        server.sagemaker.create_model_package_group(ModelPackageGroupName=request["ModelPackageGroupName"])
        arn = server.sagemaker.create_model_package(**request)["ModelPackageArn"]
        registered = server.sagemaker.describe_model_package(ModelPackageName=arn)
        assert registered["ModelApprovalStatus"] == "PendingManualApproval"
        model = registered["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
        assert model == execution.answers["Train"]["ModelArtifacts"]["S3ModelArtifacts"]
    finally:
        server.stop()


def platform(folder: Path) -> SageMaker:
    return SageMaker(object_store=DirectoryObjectStore(root=str(folder), durable=False))


def test_a_gate_of_which_a_pipeline_can_judge_nothing_is_refused(tmp_path):
    world = World(tmp_path, CONFIG.replace("{metric: accuracy, at_least: 0.9}, ", ""))
    with pytest.raises(ConfigurationError, match=r"would register everything\. Add one with at_least or at_most"):
        export_pipeline(world.project, platform(tmp_path))


@pytest.mark.skipif(importlib.util.find_spec("sagemaker") is not None, reason="the SDK is installed")
def test_without_the_sdk_its_extra_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[sagemaker-sdk\]'"):
        export_pipeline(load_project(ROOT / "model_projects" / "text_size"), platform(tmp_path))


def test_an_unknown_project_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="did you mean `text_size`"):
        run(parser().parse_args(["export-pipeline", "--project", "text_siz"]))
