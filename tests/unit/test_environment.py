"""What the environment variables mean, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledgerline.errors import ConfigurationError
from resources import _knowledge_graph, build_resources
from resources.environment import ROOT, child_variables, read_settings, worker_variables
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.lake import s3_options
from resources.neptune_graph import NeptuneKnowledgeGraph
from resources.object_store import DirectoryObjectStore
from resources.scope import scope_of

BRANCH = {"DAGSTER_CLOUD_GIT_BRANCH": "fix/parser"}
SCOPE = scope_of("branch", "fix/parser")
AWS = {
    "LEDGERLINE_BUCKET": "team",
    "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
    "SAGEMAKER_IMAGE_URI": "image",
    "LEDGERLINE_DATABASE_URL": "postgresql+psycopg://ledgerline@db.example.com/ledgerline",
}


def test_without_any_variable_everything_is_local_and_in_the_checkout() -> None:
    settings = read_settings(variables={})
    assert (settings.environment, settings.home, settings.archive) == ("local", ROOT / ".ledgerline", None)
    assert (settings.edgar_over_http, settings.dart_over_http, settings.slack) == (False, False, False)


def test_all_local_state_is_below_the_home(tmp_path: Path) -> None:
    settings = read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)})
    places = [settings.sample_archive, settings.dagster_home, Path(settings.lake), settings.objects]
    assert all(tmp_path in place.parents for place in places)
    assert settings.database_url == f"sqlite:///{tmp_path}/ledgerline.db"


@pytest.mark.parametrize("variable", ["LEDGERLINE_HOME", "LEDGERLINE_ARCHIVE"])
def test_folders_are_absolute_and_know_the_users_home(variable: str) -> None:
    settings = read_settings(variables={variable: "~/filings"})
    found = settings.home if variable == "LEDGERLINE_HOME" else settings.archive
    assert found == (Path.home() / "filings").resolve()


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    names = ("LEDGERLINE_HOME", "LEDGERLINE_ARCHIVE", "EDGAR_USER_AGENT", "DART_API_KEY", "SLACK_BOT_TOKEN")
    assert read_settings(variables=dict.fromkeys(names, "")) == read_settings(variables={})


def test_a_regulator_is_read_over_http_only_where_its_key_is_set() -> None:
    settings = read_settings(variables={"EDGAR_USER_AGENT": "Kim kim@example.com"})
    assert (settings.edgar_over_http, settings.dart_over_http) == (True, False)


def test_an_argument_comes_before_the_variable() -> None:
    assert read_settings("branch", variables={"LEDGERLINE_ENV": "prod"}).environment == "branch"


@pytest.mark.parametrize("name", ["production", "LOCAL", " local"])
def test_an_unknown_environment_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"'{name}', which is no environment; set it to one of local, branch, prod"
    ):
        read_settings(variables={"LEDGERLINE_ENV": name})


@pytest.mark.parametrize(
    ("needed", "variable"),
    [
        ("required_bucket", "LEDGERLINE_BUCKET"),
        ("required_role", "SAGEMAKER_ROLE_ARN"),
        ("required_image", "SAGEMAKER_IMAGE_URI"),
    ],
)
def test_what_aws_needs_is_named_with_the_remedy_when_it_is_asked_for(needed: str, variable: str) -> None:
    settings = read_settings("prod", variables={})
    with pytest.raises(
        ConfigurationError, match=f"LEDGERLINE_ENV=prod needs {variable}: .*or use LEDGERLINE_ENV=local"
    ):
        getattr(settings, needed)
    assert getattr(read_settings("prod", variables={variable: "mine"}), needed) == "mine"


def test_a_child_sees_the_same_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "yes")
    monkeypatch.setenv("LEDGERLINE_HOME", "/elsewhere")
    given = {"LEDGERLINE_HOME": str(tmp_path / "home"), "LEDGERLINE_ARCHIVE": str(tmp_path / "archive")}
    settings = read_settings(variables=given)
    variables = child_variables(settings)
    assert {name: variables[name] for name in (*given, "DAGSTER_HOME", "KEPT")} == {
        **given,
        "DAGSTER_HOME": str(tmp_path / "home" / "dagster"),
        "KEPT": "yes",
    }
    assert read_settings(variables=variables) == settings


def test_a_child_is_told_of_no_archive_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGERLINE_ARCHIVE", raising=False)
    assert "LEDGERLINE_ARCHIVE" not in child_variables(read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)}))


ECS = {"ECS_CLUSTER": "c", "ECS_TASK_DEFINITION": "t", "ECS_SUBNETS": "s-1, s-2,", "ECS_SECURITY_GROUPS": "g-1"}


def test_batches_run_as_processes_unless_told_otherwise() -> None:
    settings = read_settings(variables={})
    assert (settings.compute, settings.compute_parallel, settings.ecs_container) == ("subprocess", None, "ledgerline")
    settings = read_settings(
        "prod", variables={**ECS, "LEDGERLINE_COMPUTE": "ecs", "LEDGERLINE_COMPUTE_PARALLEL": "30"}
    )
    assert (settings.compute, settings.compute_parallel, settings.ecs_subnets) == ("ecs", 30, ("s-1", "s-2"))
    settings.require_ecs()


@pytest.mark.parametrize("variable", sorted(ECS))
def test_what_ecs_needs_is_named_when_it_is_asked_for(variable: str) -> None:
    settings = read_settings("prod", variables={**ECS, variable: "", "LEDGERLINE_COMPUTE": "ecs"})
    with pytest.raises(ConfigurationError, match=f"LEDGERLINE_COMPUTE=ecs needs {variable}: set it to .*, or use"):
        settings.require_ecs()


def test_ecs_is_refused_where_objects_are_in_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="LEDGERLINE_COMPUTE=ecs needs objects in S3"):
        read_settings(variables={**ECS, "LEDGERLINE_COMPUTE": "ecs"}).require_ecs()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "LEDGERLINE_COMPUTE",
            "kubernetes",
            "is 'kubernetes', which runs nothing; set it to one of subprocess, ecs, ray",
        ),
        ("LEDGERLINE_COMPUTE_PARALLEL", "0", "is '0': set it to how many batches run at once, 1 to 100"),
        ("LEDGERLINE_COMPUTE_PARALLEL", "many", "is 'many': set it to how many batches run at once"),
        ("LEDGERLINE_COMPUTE_PARALLEL", "\u00b2", "set it to how many batches run at once"),
    ],
)
def test_a_wrong_setting_of_batches_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} {said}" if said.startswith("is") else said):
        read_settings(variables={variable: value})


def test_a_worker_gets_what_python_needs_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("DART_API_KEY", "SLACK_BOT_TOKEN", "DAGSTER_POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MY_TOKEN")
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    assert "secret" not in worker_variables(aws=False).values()
    assert "PATH" in worker_variables(aws=False)
    on_s3 = worker_variables(aws=True)
    assert [name for name in secrets if name in on_s3] == ["AWS_SECRET_ACCESS_KEY"]


def test_the_regulators_are_their_own_servers_unless_others_are_named() -> None:
    settings = read_settings(variables={})
    assert (settings.edgar_url, settings.dart_url) == ("https://www.sec.gov", "https://opendart.fss.or.kr")
    other = read_settings(variables={"EDGAR_URL": "http://127.0.0.1:1", "EDGAR_PER_SECOND": "2.5"})
    assert (other.edgar_url, other.edgar_per_second) == ("http://127.0.0.1:1", 2.5)


def test_a_rate_that_is_no_number_is_named() -> None:
    with pytest.raises(ConfigurationError, match="EDGAR_PER_SECOND is 'five', which is no number"):
        read_settings(variables={"EDGAR_PER_SECOND": "five"})


def test_the_graph_is_on_neptune_where_an_endpoint_is_named_each_environment_apart() -> None:
    endpoint = "wss://graph.cluster-a1b2.us-east-1.neptune.amazonaws.com:8182/gremlin"
    given = {"NEPTUNE_ENDPOINT": endpoint, "LEDGERLINE_BUCKET": "b", "AWS_DEFAULT_REGION": "eu-west-1"} | BRANCH
    namespaces = set()
    for environment in ("local", "branch", "prod"):
        settings = read_settings(environment, variables=given)
        graph = _knowledge_graph(settings, DirectoryObjectStore(root="/nowhere"))
        assert isinstance(graph, NeptuneKnowledgeGraph)
        assert (graph.endpoint, graph.region, graph.iam, graph.loader_role_arn) == (endpoint, "eu-west-1", True, "")
        namespaces.add(graph.namespace)
    assert namespaces == {"ledgerline-local", SCOPE, "ledgerline-prod"}
    assert isinstance(_knowledge_graph(read_settings(variables={}), None), SqliteKnowledgeGraph)


@pytest.mark.parametrize(
    "endpoint", ["https://graph:8182/gremlin", "ws://graph:8182/gremlin", "wss://graph:8182", "wss:///gremlin", "graph"]
)
def test_an_endpoint_that_is_no_websocket_of_gremlin_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NEPTUNE_ENDPOINT is .*: set it to wss://<cluster endpoint>:8182"):
        read_settings(variables={"NEPTUNE_ENDPOINT": endpoint})


def test_plain_websockets_are_for_this_machine_alone() -> None:
    settings = read_settings(variables={"NEPTUNE_ENDPOINT": "ws://127.0.0.1:8182/gremlin", "NEPTUNE_IAM": "off"})
    assert (settings.neptune_endpoint, settings.neptune_iam) == ("ws://127.0.0.1:8182/gremlin", False)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NEPTUNE_IAM", "true", "NEPTUNE_IAM is 'true': set it to on or off"),
        (
            "NEPTUNE_LOADER_ROLE_ARN",
            "arn:aws:iam::1:role/load",
            "needs objects in S3.* or leave NEPTUNE_LOADER_ROLE_ARN out",
        ),
    ],
)
def test_a_wrong_setting_of_neptune_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_settings(variables={variable: value})


def test_the_candidate_index_is_embedded_unless_a_server_is_named() -> None:
    settings = read_settings(variables={})
    assert (settings.opensearch_url, settings.opensearch_service) == ("", "none")
    assert type(build_resources(settings=settings)["candidate_index_store"]).__name__ == "TantivyCandidateIndex"


@pytest.mark.parametrize(
    ("environment", "prefix"), [("local", "ledgerline-local"), ("branch", SCOPE), ("prod", "ledgerline-prod")]
)
def test_each_environment_has_indices_of_its_own_on_a_named_server(environment: str, prefix: str) -> None:
    variables = {
        "OPENSEARCH_URL": "https://search.example.com",
        "OPENSEARCH_SERVICE": "es",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "LEDGERLINE_BUCKET": "bucket",
        "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
        "SAGEMAKER_IMAGE_URI": "image",
        **BRANCH,
    }
    index = build_resources(settings=read_settings(environment, variables=variables))["candidate_index_store"]
    assert (index.prefix, index.service, index.region) == (prefix, "es", "eu-west-1")


@pytest.mark.parametrize(
    ("url", "service", "said"),
    [
        ("https://search.example.com", "opensearch", "OPENSEARCH_SERVICE is 'opensearch': set it to es"),
        ("search.example.com:9200", "none", "no address: write it as https://<host>"),
        ("https://", "none", "no address"),
        ("https://host:port", "none", "no address"),
        ("https://kim:hunter2@search.example.com", "none", "take them out"),
        ("http://search.example.com", "es", "begin OPENSEARCH_URL with https"),
        ("https://x.us-east-1.es.amazonaws.com", "none", "set OPENSEARCH_SERVICE to es"),
    ],
)
def test_a_search_server_that_cannot_be_used_is_refused_with_the_remedy(url: str, service: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_settings(variables={"OPENSEARCH_URL": url, "OPENSEARCH_SERVICE": service})
    assert "hunter2" not in str(caught.value)


def test_a_switch_is_on_only_for_1() -> None:
    assert [read_settings(variables={"OPENSEARCH_NORI": text}).opensearch_nori for text in ("", "off", "on")] == [
        False,
        False,
        True,
    ]
    with pytest.raises(ConfigurationError, match="OPENSEARCH_NORI is 'no': set it to on or off"):
        read_settings(variables={"OPENSEARCH_NORI": "no"})


def test_a_branch_has_names_of_its_own_in_every_store_and_prod_and_local_have_none_of_them() -> None:
    """Whatever store is shared: the name of one environment is not the beginning of a name of another."""
    made = [
        build_resources(settings=read_settings(environment, variables=AWS | branch))
        for environment, branch in (
            ("prod", {}),
            ("branch", {"DAGSTER_CLOUD_GIT_BRANCH": "fix/parser"}),
            ("branch", {"DAGSTER_CLOUD_GIT_BRANCH": "fix-parser"}),
        )
    ]
    prefixes = [one["sagemaker"].prefix + "-" for one in made]
    assert not [one for one in prefixes for other in prefixes if one is not other and other.startswith(one)]
    prod, branch, other = made
    assert [one["object_store"].uri("a") for one in (prod, branch)] == ["s3://team/a", f"s3://team/{SCOPE}/a"]
    assert [one["lake"].root for one in (prod, branch)] == ["s3://team/lake", f"s3://team/{SCOPE}/lake"]
    assert [one["filing_ledger"].branch_schema for one in (prod, branch)] == ["", SCOPE.replace("-", "_")]
    assert branch["release_ledger"].branch_schema == branch["filing_ledger"].branch_schema
    for read in (
        lambda one: one["object_store"].prefix,
        lambda one: one["lake"].root,
        lambda one: one["filing_ledger"].branch_schema,
    ):
        assert read(branch) != read(other)


def test_a_branch_without_a_name_is_refused_because_it_would_share_its_state() -> None:
    with pytest.raises(
        ConfigurationError, match="LEDGERLINE_ENV=branch needs the name of the branch: set DAGSTER_CLOUD"
    ):
        build_resources(settings=read_settings("branch", variables=AWS))
    named = read_settings("branch", variables={**AWS, "DAGSTER_CLOUD_DEPLOYMENT_NAME": "9f8e7d6c"})
    assert named.scope.startswith("ledgerline-b-9f8e7d6-")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://kim:hunter2@host/db", "holds a password.*set LEDGERLINE_DATABASE_PASSWORD"),
        ("postgresql+psycopg://kim@host/db?password=hunter2", "holds a password"),
        ("mysql://kim:hunter2@host/db", "is no database: write it as postgresql"),
        ("postgresql+psycopg://host", "is no database"),
        ("postgresql+psycopg://host:port/db", "is no database"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_and_no_password_is_shown(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_settings(variables={"LEDGERLINE_DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)


def test_objects_and_lake_are_encrypted_with_the_key_that_is_named() -> None:
    made = build_resources(settings=read_settings("prod", variables={**AWS, "LEDGERLINE_KMS_KEY_ID": "alias/team"}))
    assert (made["object_store"].kms_key_id, made["object_store"].kms_bucket_key) == ("alias/team", True)
    assert made["lake"].storage_options["AWS_SSE_KMS_KEY_ID"] == "alias/team"
    plain = build_resources(settings=read_settings("prod", variables=AWS))
    assert plain["lake"].storage_options == s3_options(region="us-east-1")


ON_S3 = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:5000/", "LEDGERLINE_BUCKET": "team"}


def test_a_local_environment_keeps_objects_and_lake_on_the_s3_server_that_is_named_and_training_reads_them_there() -> (
    None
):
    resources = build_resources(settings=read_settings(variables=ON_S3))
    store, lake = resources["object_store"], resources["lake"]
    assert (store.uri("a"), store.endpoint_url) == ("s3://team/a", "http://127.0.0.1:5000")
    assert lake.root == "s3://team/lake"
    assert lake.storage_options["AWS_ENDPOINT_URL"] == "http://127.0.0.1:5000"
    assert lake.storage_options["AWS_ALLOW_HTTP"] == "true"
    assert resources["sagemaker"].local_object_root == "http://127.0.0.1:5000"
    assert resources["sagemaker"].local_home is not None


@pytest.mark.parametrize("variable", list(ON_S3))
def test_an_s3_server_without_a_bucket_and_a_bucket_without_a_server_leave_a_local_environment_in_folders(
    variable: str,
) -> None:
    settings = read_settings(variables={variable: ON_S3[variable]})
    resources = build_resources(settings=settings)
    assert isinstance(resources["object_store"], DirectoryObjectStore)
    assert resources["lake"].root == str(settings.home / "lake")
    assert resources["sagemaker"].local_object_root == str(settings.objects)


def test_an_s3_server_by_https_is_not_asked_in_plain_text() -> None:
    lake = build_resources(settings=read_settings("prod", variables=AWS | {"AWS_ENDPOINT_URL_S3": "https://s3.team"}))[
        "lake"
    ]
    assert lake.storage_options["AWS_ALLOW_HTTP"] == "false"


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "http://", "http://user:geheim@host", "http://host:99999"])
def test_an_s3_server_that_is_no_address_or_holds_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL_S3 is no address") as refused:
        read_settings(variables={"AWS_ENDPOINT_URL_S3": url})
    assert "geheim" not in str(refused.value)
