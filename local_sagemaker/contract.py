"""The container contract: the files, the environment and the arguments that a script finds. Nothing is run here.

Sources: aws/sagemaker-training-toolkit (environment.py, mapping.py, params.py), the container drivers of the SageMaker
SDK v3, and the AWS developer guide on processing containers. `/opt/ml` is relocated: training through
SAGEMAKER_BASE_DIR as the toolkit reads it, processing by replacing the prefix in arguments and environment values.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOST = "algo-1"
NETWORK_INTERFACE = "lo"
_OPT_ML = re.compile(r"(?<![\w.\-/])/opt/ml(?=/|$)")

# Hyperparameters that belong to the platform and never reach the script (sagemaker_training/params.py).
_PLATFORM_HYPERPARAMETERS = {
    "sagemaker_submit_directory",
    "sagemaker_program",
    "sagemaker_enable_cloudwatch_metrics",
    "sagemaker_container_log_level",
    "sagemaker_job_name",
    "sagemaker_region",
    "sagemaker_s3_output",
    "sagemaker_default_invocations_accept",
}


def training_paths(base: Path) -> dict[str, Path]:
    """The folders of a training job below its base directory (AWS: /opt/ml)."""
    return {
        "config": base / "input" / "config",
        "data": base / "input" / "data",
        "code": base / "code",
        "model": base / "model",
        "output": base / "output",
        "output_data": base / "output" / "data",
        "intermediate": base / "output" / "intermediate",
        "checkpoints": base / "checkpoints",
    }


def decoded_hyperparameters(raw: Mapping[str, str]) -> dict[str, Any]:
    """Every value JSON-decoded where it is JSON, else the string itself, as the toolkit does."""
    return {key: _decoded(value) for key, value in raw.items()}


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def user_hyperparameters(raw: Mapping[str, str]) -> dict[str, Any]:
    """Those that the script gets: the ones without the platform's prefix `sagemaker_`."""
    return {key: value for key, value in decoded_hyperparameters(raw).items() if not key.startswith("sagemaker_")}


def command_line(hyperparameters: Mapping[str, Any]) -> list[str]:
    """`--name value` pairs, names sorted, `-n` for one letter, dict values as `k=v,k=v` (mapping.to_cmd_args)."""
    arguments: list[str] = []
    for key in sorted(hyperparameters):
        value = hyperparameters[key]
        if isinstance(value, dict):
            value = ",".join(f"{name}={item}" for name, item in sorted(value.items()))
        arguments += [f"--{key}" if len(key) > 1 else f"-{key}", str(value)]
    return arguments


def write_training_config(base: Path, request: Mapping[str, Any]) -> None:
    """hyperparameters.json, inputdataconfig.json and resourceconfig.json, and the empty folders of the tree."""
    paths = training_paths(base)
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    _write_json(paths["config"] / "hyperparameters.json", request.get("HyperParameters", {}))
    _write_json(paths["config"] / "inputdataconfig.json", input_data_config(request))
    _write_json(paths["config"] / "resourceconfig.json", resource_config(_instance_type(request)))


def input_data_config(request: Mapping[str, Any]) -> dict[str, Any]:
    channels = {}
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        entry = {
            "TrainingInputMode": "File",
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        if "ContentType" in channel:
            entry["ContentType"] = channel["ContentType"]
        channels[channel["ChannelName"]] = entry
    return channels


def resource_config(instance_type: str) -> dict[str, Any]:
    return {
        "current_host": HOST,
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": [HOST],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [HOST]}
        ],
        "network_interface_name": NETWORK_INTERFACE,
    }


def training_environment(base: Path, request: Mapping[str, Any], *, region: str, arn: str) -> dict[str, str]:
    """The variables of the training toolkit and of SDK v3, both spellings of SM_HP_*; the request's own come first."""
    paths = training_paths(base)
    raw = request.get("HyperParameters", {})
    hyperparameters = user_hyperparameters(raw)
    decoded = decoded_hyperparameters(raw)
    program = str(decoded.get("sagemaker_program", ""))
    channels = {
        channel["ChannelName"]: str(paths["data"] / channel["ChannelName"])
        for channel in request.get("InputDataConfig", [])
    }
    resources = resource_config(_instance_type(request))
    module = program.removesuffix(".py").replace("/", ".")
    values: dict[str, Any] = {
        "hosts": [HOST],
        "network_interface_name": NETWORK_INTERFACE,
        "hps": hyperparameters,
        "user_entry_point": program,
        "framework_params": {
            key: value
            for key, value in decoded.items()
            if key.startswith("sagemaker_") and key not in _PLATFORM_HYPERPARAMETERS
        },
        "resource_config": resources,
        "input_data_config": input_data_config(request),
        "output_data_dir": str(paths["output_data"]),
        "channels": sorted(channels),
        "current_host": HOST,
        "current_instance_type": resources["current_instance_type"],
        "current_instance_group": "homogeneousCluster",
        "current_instance_group_hosts": [HOST],
        "instance_groups": ["homogeneousCluster"],
        "instance_groups_dict": {"homogeneousCluster": resources["instance_groups"][0]},
        "distribution_instance_groups": [],
        "is_hetero": False,
        "module_name": module,
        "module_dir": str(decoded.get("sagemaker_submit_directory", paths["code"])),
        "log_level": decoded.get("sagemaker_container_log_level", 20),
        "framework_module": None,
        "input_dir": str(base / "input"),
        "input_config_dir": str(paths["config"]),
        "input_data_dir": str(paths["data"]),
        "output_dir": str(paths["output"]),
        "output_failure": str(paths["output"] / "failure"),
        "output_intermediate_dir": str(paths["intermediate"]),
        "model_dir": str(paths["model"]),
        "source_dir": str(paths["code"]),
        "entry_script": program,
        "num_cpus": os.cpu_count() or 1,
        "num_gpus": 0,
        "num_neurons": 0,
        "master_addr": HOST,
        "master_port": 7777,
        "host_count": 1,
        "current_host_rank": 0,
    }
    described = {
        "channel_input_dirs": channels,
        "hyperparameters": hyperparameters,
        "job_name": request["TrainingJobName"],
        "additional_framework_parameters": values["framework_params"],
        # What the toolkit says of a cluster: here there is one host.
        "distribution_hosts": [],
        "is_master": True,
        "is_modelparallel_enabled": None,
        "is_smddpmprun_installed": False,
        "is_smddprun_installed": False,
        "master_hostname": HOST,
        "topology": [],
    }
    values["training_env"] = {key: value for key, value in values.items() if key != "hps"} | described
    values["user_args"] = command_line(hyperparameters)
    values |= {f"channel_{name}": path for name, path in channels.items()}
    values |= {f"hp_{name}": value for name, value in hyperparameters.items()}
    values |= {f"hp_{name.replace('-', '_')}": value for name, value in hyperparameters.items()}
    return {
        **request.get("Environment", {}),
        **{f"SM_{name.upper()}": _environment_value(value) for name, value in values.items()},
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_REGION": region,
        "SAGEMAKER_JOB_NAME": str(decoded.get("sagemaker_job_name", "")),
        "CURRENT_HOST": HOST,
        "TRAINING_JOB_NAME": request["TrainingJobName"],
        "TRAINING_JOB_ARN": arn,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


def write_processing_config(base: Path, request: Mapping[str, Any], *, arn: str) -> None:
    """processingjobconfig.json (the request and the ARN) and resourceconfig.json below `config/`."""
    cluster = request["ProcessingResources"]["ClusterConfig"]
    config = base / "config"
    for path in (config, base / "output", base / "processing"):
        path.mkdir(parents=True, exist_ok=True)
    _write_json(config / "processingjobconfig.json", {"ProcessingJobArn": arn, **relocated(base, dict(request))})
    resources = resource_config(cluster["InstanceType"])
    _write_json(config / "resourceconfig.json", {key: resources[key] for key in ("current_host", "hosts")})


def relocated(base: Path, value: Any) -> Any:
    """`/opt/ml` at the head of a path, or after `=` or the like inside a string, replaced by the job's folder."""
    if isinstance(value, str):
        return _OPT_ML.sub(lambda _: str(base), value)
    if isinstance(value, list):
        return [relocated(base, item) for item in value]
    if isinstance(value, dict):
        return {key: relocated(base, item) for key, item in value.items()}
    return value


def _instance_type(request: Mapping[str, Any]) -> str:
    return request.get("ResourceConfig", {}).get("InstanceType", "ml.m5.large")


def _environment_value(value: Any) -> str:
    """As mapping.to_env_vars: strings as they are, None empty, all else compact JSON with sorted keys."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
