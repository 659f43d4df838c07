"""Servers that the contract suites share, each started once per session on a free loopback port: an S3 by moto,
PostgreSQL and MLflow where they are installed, Gremlin Server and OpenSearch where there are Java and Maven."""

from __future__ import annotations

import multiprocessing
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection

import pytest

from tests.servers.gremlin import GremlinServer, NoGremlinServer, running_gremlin
from tests.servers.mlflow import MlflowServer, NoMlflow
from tests.servers.opensearch import NoOpenSearch, OpenSearchServer
from tests.servers.postgres import NoPostgres, running_postgres


def serve_s3(started: Connection) -> None:
    """Tell the endpoint's URL, then serve until killed."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    started.send(f"http://{host}:{port}")
    threading.Event().wait()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    before = {
        name: os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    }
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    # In a process of its own: some calls of delta-rs hold Python's lock while they wait for S3, which would wait for them.
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve_s3, args=(there,), daemon=True)
    server.start()
    try:
        if not here.poll(60):
            raise RuntimeError("the S3 of moto did not start within a minute")
        yield here.recv()
    finally:
        server.kill()
        server.join()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
