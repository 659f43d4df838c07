"""The policies in deploy/iam: real actions, the prefix of the platform, and who may and who may not change live.

Decided as IAM does: what an explicit Deny matches is refused, else an Allow must match.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import pytest
from botocore.session import Session

from resources.environment import ROOT
from resources.sagemaker import SageMaker
from resources.scope import scope_of

FOLDER = ROOT / "deploy" / "iam"
POLICIES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
FULL_ACCESS = {"Statement": [{"Effect": "Allow", "Action": ["sagemaker:*", "s3:*", "cloudwatch:*"], "Resource": "*"}]}
OF_S3 = {"GetObject", "PutObject", "DeleteObject", "DeleteObjectVersion", "ListBucket"}  # IAM's names, not the API's
PREFIX = "ledgerline-prod"  # resources/scope.py: ledgerline-<environment>
LIVE = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{PREFIX}-ticker-ranker"
PACKAGE = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{PREFIX}-ticker-ranker/3"
MODEL = "arn:aws:s3:::LEDGERLINE_BUCKET/projects/ticker_ranker/models/1a2b/model.tar.gz"


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def statements() -> list[Any]:
    return [
        pytest.param(statement, id=f"{name}-{statement['Sid']}")
        for name, policy in POLICIES.items()
        for statement in policy["Statement"]
    ]


@lru_cache
def operations(service: str) -> frozenset[str]:
    return frozenset(Session().get_service_model(service).operation_names)


def may(action: str, resource: str, *policies: dict[str, Any]) -> bool:
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
    }
    return effects == {"Allow"}


def test_the_policies_are_these_and_small_enough_for_iam():
    assert set(POLICIES) == {"data-scientist", "deploy-role"}
    for policy in POLICIES.values():
        assert (policy["Version"], set(policy)) == ("2012-10-17", {"Version", "Statement"})
        assert len(json.dumps(policy, separators=(",", ":"))) <= 6144  # characters of a managed policy


@pytest.mark.parametrize("statement", statements())
def test_every_statement_has_known_members_and_real_actions(statement):
    assert set(statement) - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
    assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
    for action in listed(statement["Action"]):
        service, _, name = action.partition(":")
        if service == "s3":
            assert name in OF_S3
        elif service == "iam":
            assert name == "PassRole"
        elif name == "InvokeEndpoint":
            assert name in operations("sagemaker-runtime")
        else:
            assert name in operations(service)


@pytest.mark.parametrize("statement", statements())
def test_every_resource_is_one_of_this_platform(statement):
    for resource in listed(statement["Resource"]):
        if resource != "*":
            assert re.search(f"{PREFIX}-|LEDGERLINE_BUCKET|SAGEMAKER_ROLE_ARN|/aws/sagemaker/", resource)
        else:
            assert all(re.search(":(List|Get|Describe)", action) for action in listed(statement["Action"]))


def test_the_deploy_role_may_do_what_the_resource_calls():
    source = (ROOT / "resources" / "sagemaker.py").read_text()
    api = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): name for name in operations("sagemaker")}
    called = {api[name] for name in re.findall(r"\b([a-z]+(?:_[a-z]+)+)\b", source) if name in api}
    assert {"CreateEndpoint", "UpdateEndpoint", "UpdateModelPackage", "ListModelPackages"} <= called
    allowed = {
        action.removeprefix("sagemaker:")
        for statement in POLICIES["deploy-role"]["Statement"]
        for action in listed(statement["Action"])
    }
    assert called - allowed == set()
    assert may("sagemaker:UpdateEndpoint", LIVE, POLICIES["deploy-role"])
    assert not may("sagemaker:UpdateEndpoint", LIVE.replace(PREFIX, "somebody-else"), POLICIES["deploy-role"])


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        *[
            (f"sagemaker:{name}", LIVE)
            for name in ("CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint", "UpdateEndpointWeightsAndCapacities")
        ],
        ("sagemaker:CreateEndpointConfig", LIVE.replace("endpoint/", "endpoint-config/")),
        ("sagemaker:UpdateModelPackage", PACKAGE),
        ("sagemaker:CreateModelPackage", PACKAGE),
        ("s3:PutObject", MODEL),
        ("cloudwatch:SetAlarmState", f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{PREFIX}-ticker-ranker-1"),
    ],
)
def test_a_data_scientist_with_full_access_may_not_change_what_is_live_or_judged(action, resource):
    assert may(action, resource, FULL_ACCESS)
    assert not may(action, resource, FULL_ACCESS, POLICIES["data-scientist"])


def test_a_data_scientist_may_look_and_ask_and_have_endpoints_of_another_name():
    policies = (FULL_ACCESS, POLICIES["data-scientist"])
    assert may("sagemaker:DescribeEndpoint", LIVE, *policies)
    assert may("sagemaker:InvokeEndpoint", LIVE, *policies)
    assert may("sagemaker:CreateEndpoint", LIVE.replace(PREFIX, "my-own"), *policies)


def test_the_prefix_is_that_of_the_names_that_the_platform_makes(tmp_path):
    from resources.object_store import DirectoryObjectStore

    platform = SageMaker(object_store=DirectoryObjectStore(root=str(tmp_path)), prefix=PREFIX)
    for name in (platform._name("ticker-ranker"), platform._unique("ticker-ranker")):
        assert name.startswith(f"{PREFIX}-")
    assert scope_of("prod", "") == PREFIX
