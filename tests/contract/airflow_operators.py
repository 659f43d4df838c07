"""Run by Airflow's Python, not by ours: its own SageMaker operators, unmodified, against the embedded server.

`airflow_operators.py IMAGE ROLE` with AWS_ENDPOINT_URL_* and credentials in the environment. The objects that it reads
are put there by test_airflow_operators.py. Prints one JSON line per operator: its name and what it returned.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerProcessingOperator,
    SageMakerRegisterModelVersionOperator,
    SageMakerTrainingOperator,
    SageMakerTransformOperator,
    SageMakerTuningOperator,
)

IMAGE, ROLE = sys.argv[1:]
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
WAITING = {"wait_for_completion": True, "check_interval": 1, "aws_conn_id": None}
CODE = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://lake/code/airflow.tar.gz"}
MODEL = "s3://lake/models/airflow-train/output/model.tar.gz"


def run(name: str, operator: Any) -> Any:
    found = operator.execute({})
    print(json.dumps({"operator": name, "returned": found}, default=str), flush=True)
    return found


def channel() -> list[dict[str, Any]]:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/train"}
    return [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}]


def algorithm() -> dict[str, Any]:
    metrics = [{"Name": "ndcg", "Regex": "valid-ndcg=([-+0-9.eE]+)"}]
    return {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": metrics}


def endpoint_config(name: str, model: str) -> dict[str, Any]:
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def main() -> None:
    processing = {
        "ProcessingJobName": "airflow-process",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": ["python3", "-c", "print('processed')"]},
        "ProcessingResources": {"ClusterConfig": RESOURCES},
    }
    run("processing", SageMakerProcessingOperator(task_id="process", config=processing, **WAITING))
    training = {
        "TrainingJobName": "airflow-train",
        "RoleArn": ROLE,
        "HyperParameters": {**CODE, "learning-rate": "0.1"},
        "AlgorithmSpecification": algorithm(),
        "InputDataConfig": channel(),
        "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    run("training", SageMakerTrainingOperator(task_id="train", config=training, print_log=True, **WAITING))
    tuning = {
        "HyperParameterTuningJobName": "airflow-tune",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "ndcg"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {
                "ContinuousParameterRanges": [{"Name": "learning-rate", "MinValue": "0.01", "MaxValue": "0.2"}]
            },
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": CODE,
            "AlgorithmSpecification": algorithm(),
            "RoleArn": ROLE,
            "InputDataConfig": channel(),
            "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
            "ResourceConfig": RESOURCES,
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    }
    run("tuning", SageMakerTuningOperator(task_id="tune", config=tuning, **WAITING))
    container = {"Image": IMAGE, "ModelDataUrl": MODEL}
    for name in ("airflow-1", "airflow-2"):
        model = {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
        run("model", SageMakerModelOperator(task_id="model", config=model, aws_conn_id=None))
    transform = {
        "TransformJobName": "airflow-transform",
        "ModelName": "airflow-1",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/batch"}},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        "BatchStrategy": "SingleRecord",
        "TransformOutput": {"S3OutputPath": "s3://lake/answers", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    run("transform", SageMakerTransformOperator(task_id="transform", config=transform, **WAITING))
    for name in ("airflow-1", "airflow-2"):
        config = endpoint_config(name, name)
        run("endpoint config", SageMakerEndpointConfigOperator(task_id="config", config=config, aws_conn_id=None))
    for operation, name in (("create", "airflow-1"), ("update", "airflow-2")):
        config = {"EndpointName": "airflow", "EndpointConfigName": name}
        operator = SageMakerEndpointOperator(task_id="endpoint", config=config, operation=operation, **WAITING)
        run(f"endpoint {operation}", operator)
    register = SageMakerRegisterModelVersionOperator(
        task_id="register", image_uri=IMAGE, model_url=MODEL, package_group_name="airflow-group", aws_conn_id=None
    )
    run("register model version", register)


main()
