"""AWS's own container toolkits (sagemaker-training, sagemaker-inference), in an environment of their own, as an oracle.

They are the programs inside SageMaker's framework containers; SAGEMAKER_BASE_DIR relocates their /opt/ml. What the
platform does around a container (files below input/, the variables it sets) is written here from the developer guide,
not by local_sagemaker's code, which is what is compared with them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.environment import ROOT
from tests.environments import python_with

REQUIREMENTS = ["sagemaker-training==5.1.4", "sagemaker-inference==1.10.1"]
SECONDS = 300.0
# Run by the toolkits' Python: answers each body of a JSON list with the inference toolkit, as a model server calls it.
ANSWER = """
import base64, json, sys
from sagemaker_inference.transformer import Transformer

class Properties:
    def get_request_properties(self):
        return {"Content-Type": "application/json", "Accept": "application/json"}

class Context:
    request_processor = [Properties()]
    def __init__(self, model_dir):
        self.system_properties = {"model_dir": model_dir, "gpu_id": None}
        self.status, self.content_type = 200, None
    def set_response_status(self, code, phrase):
        self.status = code
    def set_response_content_type(self, index, content_type):
        self.content_type = content_type

model_dir, bodies = sys.argv[1], json.load(sys.stdin)
transformer, answers = Transformer(), []
for body in bodies:
    context = Context(model_dir)
    (answer,) = transformer.transform([{"body": body.encode()}], context)
    answer = answer.encode() if isinstance(answer, str) else bytes(answer)
    answers.append([context.status, context.content_type, base64.b64encode(answer).decode()])
print("ANSWERS " + json.dumps(answers))
"""


@dataclass(frozen=True)
class ToolkitAnswer:
    status: int
    content_type: str | None
    body: bytes


def train(request: Mapping[str, Any], channels: Mapping[str, Path], code: Path, base: Path) -> Path:
    """Run the training toolkit's `train` on a CreateTrainingJob request below `base`; returns the model folder."""
    for name, folder in channels.items():
        shutil.copytree(folder, base / "input" / "data" / name)
    for folder in ("model", "output/data", "code"):
        (base / folder).mkdir(parents=True)
    host, kind = "algo-1", request["ResourceConfig"]["InstanceType"]
    group = {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": [host]}
    hyperparameters = {**request["HyperParameters"], "sagemaker_submit_directory": str(code)}
    config: dict[str, Any] = {
        "hyperparameters": hyperparameters,
        "inputdataconfig": {
            name: {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            }
            for name in channels
        },
        "resourceconfig": {
            "current_host": host,
            "current_instance_type": kind,
            "current_group_name": "homogeneousCluster",
            "hosts": [host],
            "instance_groups": [group],
            "network_interface_name": "lo",
        },
    }
    (base / "input" / "config").mkdir()
    for name, content in config.items():
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
    environment = {
        **_clean(base),
        **request.get("Environment", {}),
        "TRAINING_JOB_NAME": request["TrainingJobName"],
        "TRAINING_JOB_ARN": request["TrainingJobArn"],
        # The toolkit asks the DNS for each host, and nobody here knows algo-1; its notebooks' mode leaves that out.
        "SM_STUDIO_LOCAL_MODE": "true",
    }
    done = _run(["-m", "sagemaker_training.cli.train"], environment, base)
    assert done.returncode == 0, f"the training toolkit failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return base / "model"


def answers(model: Path, bodies: Sequence[str]) -> list[ToolkitAnswer]:
    """What the inference toolkit answers each JSON body with, with the model folder below a base of its own."""
    import base64

    base = model.parent
    environment = _clean(base) | {"PYTHONPATH": str(model / "code"), "SAGEMAKER_PROGRAM": "inference.py"}
    done = _run(["-c", ANSWER, str(model)], environment, base, json.dumps(list(bodies)))
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    assert said, f"the inference toolkit failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return [
        ToolkitAnswer(status, content_type, base64.b64decode(body))
        for status, content_type, body in json.loads(said[0].removeprefix("ANSWERS "))
    ]


def _clean(base: Path) -> dict[str, str]:
    """The variables of a container at its start, with /opt/ml relocated."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "SAGEMAKER_BASE_DIR": str(base),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    # A user's script is run with `python` of the PATH by the toolkit: that of the environment must be found there.
    python = python_with("toolkits", [*REQUIREMENTS, "-c", str(ROOT / "constraints.txt")], our_packages=True)
    environment = {**environment, "PATH": f"{python.parent}{os.pathsep}{environment['PATH']}"}
    return subprocess.run(
        [python, *arguments],
        cwd=folder,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
