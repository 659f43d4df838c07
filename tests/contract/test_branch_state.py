"""A branch's state is removed from the shared stores, and what prod and other branches have there stays: on real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from jobs.branches import clean_branch
from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.records import FilingRef
from ledgerline.mapping.records import Edge, NameEntry
from local_sagemaker import daemon
from resources import build_resources
from resources.environment import read_settings
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore, S3ObjectStore
from resources.sagemaker import SageMaker
from tests.servers.gremlin import GremlinServer

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
MANY = 1_001  # objects: more than S3 lists, or deletes, in one request

MODEL = "s3://ledgerline/model.tar.gz"

Deployment = dict[str, Any]


@pytest.fixture
def deploy(
    s3_bucket: tuple[str, str], postgres_url: str, opensearch_url: str, gremlin_server: GremlinServer, tmp_path: Path
) -> Iterator[Callable[[str, str], Deployment]]:
    """The resources of an environment by `build_resources`, on the test's own servers and the embedded SageMaker."""
    endpoint, bucket = s3_bucket
    models = DirectoryObjectStore(root=str(tmp_path / "objects"))
    models.put(MODEL, b"no archive: endpoints of it fail, and are there all the same")
    home = tmp_path / "sagemaker"

    def make(environment: str, branch: str) -> Deployment:
        variables = {
            "LEDGERLINE_HOME": str(tmp_path / environment),
            "LEDGERLINE_BUCKET": bucket,
            "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
            "SAGEMAKER_IMAGE_URI": "image",
            "LEDGERLINE_DATABASE_URL": postgres_url,
            "OPENSEARCH_URL": opensearch_url,
            "NEPTUNE_ENDPOINT": gremlin_server.url,
            "NEPTUNE_IAM": "off",
            "DAGSTER_CLOUD_GIT_BRANCH": branch,
        }
        made = build_resources(settings=read_settings(environment, variables=variables))
        objects: S3ObjectStore = made["object_store"].model_copy(update={"endpoint_url": endpoint})
        options = made["lake"].storage_options | {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }  # fmt: skip
        made["object_store"] = objects
        made["lake"] = DeltaLake(root=made["lake"].root, storage_options=options)
        made["sagemaker"] = SageMaker(
            object_store=models,
            prefix=made["sagemaker"].prefix,
            local_home=str(home),
            local_object_root=models.root,
        )
        made["branch_state"] = made["branch_state"].model_copy(
            update={"sagemaker": made["sagemaker"], "object_store": objects}
        )
        return made

    yield make
    daemon.stop(home)


def fill(made: Deployment, *, objects: int = 3) -> None:
    """State in every store, as a run leaves it."""
    store = made["object_store"]
    for number in range(objects):
        store.put(store.uri("filings", f"{number:05}"), b"1")
    made["lake"].merge("names", pa.table({"id": ["1"]}), keys=("id",))
    made["filing_ledger"].discovered([FilingRef("edgar", uuid.uuid4().hex, DAY, "8-K", ())], seen_at=NOON)
    index = made["candidate_index_store"]
    index.promote(index.build([NameEntry("n", "cik:1", "Apple Inc", "name", "en", "", "", "edgar")]))
    graph = made["knowledge_graph_store"]
    graph.promote(graph.build([Edge("company:1", "named", "name:Apple", "", "", "edgar")]))
    platform = made["sagemaker"]
    client, prefix = platform._client("sagemaker"), platform.prefix
    container = {"Image": "image", "ModelDataUrl": MODEL}
    variant = {
        "VariantName": "AllTraffic", "ModelName": f"{prefix}-m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1,
    }  # fmt: skip
    client.create_model(ModelName=f"{prefix}-m", ExecutionRoleArn=platform.role_arn, PrimaryContainer=container)
    client.create_endpoint_config(EndpointConfigName=f"{prefix}-c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName=f"{prefix}-ticker-ranker", EndpointConfigName=f"{prefix}-c")
    platform.register("ticker_ranker", MODEL, model_digest="m" * 64)


def seen(made: Deployment) -> tuple[object, ...]:
    """What a reader finds in every store."""
    platform = made["sagemaker"]
    client, prefix = platform._client("sagemaker"), platform.prefix
    return (
        [item["EndpointName"] for item in client.list_endpoints(NameContains=prefix)["Endpoints"]],
        [item["ModelName"] for item in client.list_models(NameContains=prefix)["Models"]],
        [item["EndpointConfigName"] for item in client.list_endpoint_configs(NameContains=prefix)["EndpointConfigs"]],
        len(platform.list_packages("ticker_ranker")),
        made["candidate_index_store"].current() is not None,
        made["knowledge_graph_store"].current() is not None,
        made["filing_ledger"].counts() != {},
        len(list(made["object_store"].list(made["object_store"].uri("filings")))),
        made["lake"].tables(),
    )


def nothing() -> tuple[object, ...]:
    return ([], [], [], 0, False, False, False, 0, [])


def close(*deployments: Deployment) -> None:
    for made in deployments:
        made["knowledge_graph_store"].remove()
        made["knowledge_graph_store"].close()
        made["candidate_index_store"].remove_branch()


def test_a_branch_is_removed_from_every_store_and_nothing_of_its_neighbours(
    deploy: Callable[[str, str], Deployment],
) -> None:
    branch, neighbour, prod = deploy("branch", "fix/a"), deploy("branch", "fix/b"), deploy("prod", "fix/a")
    fill(branch, objects=MANY)
    fill(neighbour)
    fill(prod)
    assert seen(branch)[-2] == MANY
    before = [seen(neighbour), seen(prod)]
    said: list[str] = []
    branch["branch_state"].remove(branch["branch_state"].scope, said.append)
    assert seen(branch) == nothing()
    assert [seen(neighbour), seen(prod)] == before
    assert before[0] != nothing()
    assert [line.partition(":")[0] for line in said] == [
        "SageMaker", "candidate index", "knowledge graph", "ledgers", "objects and lake",
    ]  # fmt: skip
    branch["branch_state"].remove(branch["branch_state"].scope, said.append)  # again, as after a kill
    fill(branch)  # the branch may come back
    assert seen(branch) != nothing()
    close(branch, neighbour, prod)


class Stores:
    """Stores in memory that note what is removed, in order; `broken` cannot be reached."""

    def __init__(self, *broken: str) -> None:
        self.removed: list[str] = []
        self.broken = broken

    def one(self, name: str, remove: str = "remove_branch") -> Any:
        def act() -> None:
            if name in self.broken:
                raise LedgerlineError(f"{name} cannot be reached: see that it runs.")
            self.removed.append(name)

        return type("Store", (), {remove: staticmethod(act), "branch_schema": "b"})()

    def state(self, environment: str) -> Any:
        from resources.branch_state import BranchState

        return BranchState.model_construct(
            environment=environment,
            scope="ledgerline-b-fix-1a2b3c",
            sagemaker=self.one("sagemaker"),
            candidate_index=self.one("index"),
            knowledge_graph=self.one("graph", "remove"),
            ledger=self.one("ledger"),
            object_store=self.one("objects"),
        )


@pytest.mark.parametrize("environment", ["local", "prod"])
def test_only_a_branch_is_ever_removed(environment: str) -> None:
    stores = Stores()
    with pytest.raises(ConfigurationError, match=f"LEDGERLINE_ENV is {environment}: only the state of a branch"):
        stores.state(environment).remove("ledgerline-b-fix-1a2b3c", print)
    assert stores.removed == []


def test_another_branch_than_this_one_is_refused() -> None:
    stores = Stores()
    with pytest.raises(ConfigurationError, match="this deployment's state is 'ledgerline-b-fix-1a2b3c', and 'main'"):
        stores.state("branch").remove("main", print)
    assert stores.removed == []


def test_a_store_that_is_away_does_not_keep_the_others_and_is_named_at_the_end() -> None:
    stores = Stores("index", "ledger")
    with pytest.raises(LedgerlineError, match=r"index: index cannot.*ledgers: ledger cannot.*run clean_branch again"):
        stores.state("branch").remove("ledgerline-b-fix-1a2b3c", print)
    assert stores.removed == ["sagemaker", "graph", "objects"]


def test_the_job_refuses_in_local_and_is_not_tried_again() -> None:
    config = {"ops": {"remove_branch_state": {"config": {"branch": "ledgerline-local"}}}}
    resources = {"branch_state": build_resources("local")["branch_state"]}
    with dg.DagsterInstance.ephemeral() as instance:
        done = clean_branch.execute_in_process(
            run_config=config, resources=resources, instance=instance, raise_on_error=False
        )
        (failure,) = [event for event in done.all_events if event.is_step_failure]
        assert "LEDGERLINE_ENV is local: only the state of a branch" in str(failure.step_failure_data.error)
        assert done.dagster_run.tags["dagster/max_retries"] == "0"
