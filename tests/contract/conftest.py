"""Servers that the contract suites share, each started once per session on a free loopback port: AWS by moto, MLflow,
PostgreSQL where it is installed, Gremlin Server and OpenSearch where there are Java and Maven."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.matrix import OUTCOMES, matrix
from tests.servers.gremlin import GremlinServer, NoGremlinServer, running_gremlin
from tests.servers.mlflow import MlflowServer, NoMlflow
from tests.servers.moto import MotoServer, NoMoto
from tests.servers.opensearch import NoOpenSearch, OpenSearchServer
from tests.servers.postgres import NoPostgres, running_postgres


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """AWS by moto, and its credentials in the environment; without moto a failure in CI, else skipped."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(MotoServer())
        except NoMoto as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs this server: {missing}")
            pytest.skip(str(missing))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patched.setenv(name, server.variables()[name])
        yield server


@pytest.fixture(scope="session")
def s3_endpoint(moto_server: MotoServer) -> str:
    return moto_server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL in LEDGERLINE_TEST_POSTGRES, or of a server that is started; skipped, with the reason, without one."""
    given = os.environ.get("LEDGERLINE_TEST_POSTGRES")
    if given:
        yield given
        return
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running_postgres())
        except NoPostgres as missing:
            pytest.skip(str(missing))
        yield url


@pytest.fixture
def postgres_schema(postgres_url: str) -> Iterator[str]:
    """The URL of a new schema of its own, which is dropped at the end."""
    import sqlalchemy

    schema = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
    url = sqlalchemy.make_url(postgres_url).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def gremlin_server() -> Iterator[GremlinServer]:
    """Skipped, with the reason, where it cannot be had; a failure in CI, where it must."""
    with ExitStack() as stack:
        try:
            import gremlin_python  # noqa: F401

            server = stack.enter_context(running_gremlin())
        except (ImportError, NoGremlinServer) as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs this server: {missing}")
            pytest.skip(str(missing))
        yield server


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """The URL in LEDGERLINE_TEST_OPENSEARCH, or of a server that is started; without one a failure in CI, else skipped."""
    given = os.environ.get("LEDGERLINE_TEST_OPENSEARCH")
    if given:
        yield given
        return
    with ExitStack() as stack:
        try:
            import opensearchpy  # noqa: F401

            server = stack.enter_context(OpenSearchServer())
        except (ImportError, NoOpenSearch) as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs this server: {missing}")
            pytest.skip(str(missing))
        yield server.url


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[MlflowServer]:
    """Skipped, with the reason, where it cannot be had; a failure in CI, where it must."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(MlflowServer())
        except NoMlflow as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(f"CI needs this server: {missing}")
            pytest.skip(str(missing))
        yield server


@pytest.fixture
def s3_bucket(s3_endpoint: str) -> tuple[str, str]:
    """(endpoint URL, the name of a new bucket on it)."""
    import boto3

    name = f"test-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return s3_endpoint, name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The contract matrix, where tests of contracts ran."""
    lines = matrix(
        (report.nodeid, outcome)
        for outcome in OUTCOMES
        for report in terminalreporter.getreports(outcome)
        if report.nodeid.startswith("tests/contract/") and (report.when == "call" or outcome != "passed")
    )
    if lines:
        terminalreporter.section("contract matrix")
        terminalreporter.write_line("\n".join(lines))
