"""What only ledgers on PostgreSQL must stand: a failover in a transaction, TLS, rotated passwords, branches in schemas of
their own; and Dagster's own storage there, by deploy/dagster.aws.yaml."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, job, op
from sqlalchemy.engine import make_url

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.ports import Fetched
from ledgerline.filings.records import FilingRef
from resources import database
from resources.database import engine_of
from resources.environment import ROOT
from resources.filing_ledger import SqlFilingLedger
from resources.release_ledger import TABLE, SqlReleaseLedger

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
REFS = [FilingRef("edgar", f"0000320193-25-{number:06d}", DAY, "8-K", ()) for number in range(5)]
SCHEMA = "ledgerline_b_fix_1a2b3c"


def end_the_connection(connection: sa.Connection, url: str) -> None:
    """What a failover does: the server is gone, and the client learns of it at its next word."""
    number = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    other = sa.create_engine(url)
    with other.begin() as administrator:
        administrator.execute(sa.text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
    other.dispose()


@pytest.mark.parametrize("at", ["read", "update", "insert", "commit"])
def test_a_failover_in_a_transaction_leaves_nothing_half_written_and_the_next_call_goes_on(
    postgres_schema: str, at: str
) -> None:
    ledger = SqlFilingLedger(url=postgres_schema)
    ledger.discovered(REFS, seen_at=NOON)
    bodies = [Fetched(ref.filing_id, "a" * 64, 7, "s3://b/a", NOON, None) for ref in REFS]
    statements: list[str] = []

    def drop(connection: sa.Connection, *_: object) -> None:
        statements.append(at)
        if at == "commit" or len(statements) == ["read", "update", "insert"].index(at) + 1:
            end_the_connection(connection, postgres_schema)

    engine, event = ledger._open(), "commit" if at == "commit" else "before_cursor_execute"
    sa.event.listen(engine, event, drop)
    with pytest.raises(
        LedgerlineError, match=r"the ledger postgresql\+psycopg://.* cannot be used now .*nothing is lost"
    ):
        ledger.fetched_many("edgar", bodies)
    sa.event.remove(engine, event, drop)
    assert ledger.counts() == {("edgar", "2025-03-14", "discovered"): 5}
    assert [ledger.versions("edgar", ref.filing_id) for ref in REFS] == [[]] * 5
    ledger.fetched_many("edgar", bodies)
    assert ledger.counts() == {("edgar", "2025-03-14", "fetched"): 5}
    assert [len(ledger.versions("edgar", ref.filing_id)) for ref in REFS] == [1] * 5


def test_connections_that_died_while_they_were_idle_are_not_noticed(postgres_schema: str) -> None:
    ledger = SqlFilingLedger(url=postgres_schema)
    ledger.discovered(REFS, seen_at=NOON)
    with ledger._open().connect() as connection:
        end_the_connection(connection, postgres_schema)
    assert ledger.counts() == {("edgar", "2025-03-14", "discovered"): 5}


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    ledger = SqlFilingLedger(url="postgresql+psycopg://kim@127.0.0.1:9/db", password="hunter2")
    with pytest.raises(
        LedgerlineError, match=r"see that it can be reached and written to, then run this again"
    ) as caught:
        ledger.counts()
    assert "hunter2" not in str(caught.value) + repr(ledger) + repr(caught.value.__cause__)


def test_the_pool_of_a_process_is_bounded(postgres_schema: str) -> None:
    engine = engine_of(postgres_schema, "the ledger")
    most = database.POOL["pool_size"] + database.POOL["max_overflow"]
    held = [engine.connect() for _ in range(most)]
    engine.pool._timeout = 0.05  # type: ignore[attr-defined]
    with pytest.raises(sa.exc.TimeoutError):
        engine.connect()
    for one in held:
        one.close()
    engine.dispose()


class Stop(Exception):
    pass


def test_the_password_is_asked_for_with_each_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = iter(["old", "new"])
    monkeypatch.setattr("resources.secrets._read", lambda reference, setting: next(passwords))
    engine = engine_of("postgresql+psycopg://kim@127.0.0.1:9/db", "the ledger", password="secretsmanager://db#password")
    seen = []

    @sa.event.listens_for(engine, "do_connect")
    def look(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
        seen.append(parameters["password"])
        raise Stop

    from resources import secrets

    for _ in range(2):
        secrets.forget()
        with pytest.raises(Stop):
            engine.connect()
    secrets.forget()
    assert seen == ["old", "new"]


def test_ledgers_of_branches_see_nothing_of_each_other_and_each_is_dropped_alone(postgres_schema: str) -> None:
    prod = SqlFilingLedger(url=postgres_schema)
    branch, other = (SqlFilingLedger(url=postgres_schema, branch_schema=name) for name in (SCHEMA, SCHEMA + "_2"))
    releases = SqlReleaseLedger(database_url=postgres_schema, branch_schema=SCHEMA)
    for ledger in (prod, branch, other):
        assert ledger.discovered(REFS, seen_at=NOON) == 5
    assert releases.entries() == []
    branch.remove_branch()
    assert (prod.listed("edgar", DAY), other.listed("edgar", DAY)) == (5, 5)
    assert branch.listed("edgar", DAY) == 0  # made anew
    for ledger in (branch, other):
        ledger.remove_branch()
    with pytest.raises(ConfigurationError, match="no schema of a branch, so that nothing is dropped"):
        prod.remove_branch()
    with prod._open().connect() as connection:
        schemas = connection.execute(sa.text("SELECT nspname FROM pg_namespace")).scalars().all()
    assert [name for name in schemas if name.startswith(SCHEMA)] == []


def test_processes_that_make_the_same_ledgers_at_once_make_them_once(postgres_schema: str) -> None:
    """The first tick of a new deployment: schema, tables and guards are made by whoever is first."""
    failures: list[BaseException] = []

    def first_use() -> None:
        try:
            SqlFilingLedger(url=postgres_schema, branch_schema=SCHEMA).counts()
            SqlReleaseLedger(database_url=postgres_schema, branch_schema=SCHEMA).entries()
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=first_use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    SqlFilingLedger(url=postgres_schema, branch_schema=SCHEMA).remove_branch()
    assert failures == []


def test_the_release_ledger_cannot_be_emptied_either(postgres_schema: str) -> None:
    SqlReleaseLedger(database_url=postgres_schema).entries()
    engine = sa.create_engine(postgres_schema)
    with pytest.raises(sa.exc.DatabaseError, match="only grows"), engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {TABLE}"))
    engine.dispose()


# --------------------------------------------------------------------------------------------------------------- TLS


def test_another_machine_is_reached_by_verified_tls_unless_the_url_says_otherwise() -> None:
    def mode(url: str) -> object:
        return engine_of(url, "the ledger").url.query.get("sslmode")

    assert mode("postgresql+psycopg://kim@db.example.com/db") == "verify-full"
    assert mode("postgresql+psycopg://kim@db.example.com/db?sslmode=require") == "require"
    assert mode("postgresql+psycopg://kim@127.0.0.1/db") is None


@pytest.fixture(scope="module")
def certificate(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's server speaks TLS from here on; the certificate that vouches for it, for the name localhost."""
    if os.environ.get("LEDGERLINE_TEST_POSTGRES"):
        pytest.skip("a server that was not started here is not given a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "server.key", folder / "server.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        data = Path(connection.execute(sa.text("SHOW data_directory")).scalar_one())
        owner = data.stat()
        for file in (key, made):
            target = data / file.name
            target.write_bytes(file.read_bytes())
            os.chown(target, owner.st_uid, owner.st_gid)
            target.chmod(0o600)
        connection.execute(sa.text("ALTER SYSTEM SET ssl = on"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    engine.dispose()
    return made


def by_name(url: str, host: str, **query: str) -> str:
    changed = make_url(url).set(host=host).update_query_dict({"sslmode": "verify-full", **query})
    return changed.render_as_string(hide_password=False)


def test_a_verified_connection_is_encrypted(postgres_schema: str, certificate: Path) -> None:
    ledger = SqlFilingLedger(url=by_name(postgres_schema, "localhost", sslrootcert=str(certificate)))
    assert ledger.discovered(REFS, seen_at=NOON) == 5
    with ledger._open().connect() as connection:
        asked = sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert connection.execute(asked).scalar_one() is True


@pytest.mark.parametrize("wrong", ["authority", "name", "no authority"])
def test_a_certificate_that_does_not_vouch_for_the_server_is_said_with_the_remedy(
    postgres_schema: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # libpq looks there for an authority's certificate
    urls: dict[str, Callable[[], str]] = {
        "authority": lambda: by_name(postgres_schema, "localhost", sslrootcert=str(_another(tmp_path))),
        "name": lambda: by_name(postgres_schema, "127.0.0.1", sslrootcert=str(certificate)),
        "no authority": lambda: by_name(postgres_schema, "localhost"),
    }
    with pytest.raises(
        ConfigurationError, match=r"cannot be reached by TLS .*: add \?sslrootcert=<file of the authority"
    ):
        SqlFilingLedger(url=urls[wrong]()).counts()


def _another(folder: Path) -> Path:
    """A certificate of somebody else."""
    made = folder / "other.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=other", "-keyout", str(folder / "other.key"), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


# ------------------------------------------------------------------------------------------------- Dagster's storage


@op
def nothing() -> None:
    """An op that does nothing."""


@job
def does_nothing() -> None:
    nothing()


def test_dagster_keeps_runs_and_events_in_postgresql_by_the_file_of_aws(
    postgres_schema: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgres_schema)
    schema = str(url.query["options"]).removeprefix("-csearch_path=")
    monkeypatch.setenv("PGSSLROOTCERT", str(certificate))  # as deploy/Dockerfile sets it
    monkeypatch.setenv("PGOPTIONS", f"-csearch_path={schema}")
    for name, value in {
        "DAGSTER_POSTGRES_USER": str(url.username),
        "DAGSTER_POSTGRES_PASSWORD": "not asked for",
        "DAGSTER_POSTGRES_HOST": "localhost",
        "DAGSTER_POSTGRES_PORT": str(url.port),
        "DAGSTER_POSTGRES_DB": str(url.database),
        "LEDGERLINE_BUCKET": "ledgerline-of-a-team",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.aws.yaml").read_bytes())
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        done = does_nothing.execute_in_process(instance=instance)
    with DagsterInstance.from_config(str(tmp_path)) as again:  # as another process finds it
        assert type(again.event_log_storage).__module__.startswith("dagster_postgres.")
        run = again.get_run_by_id(done.run_id)
        assert run is not None
        assert run.is_success
        events = [record.dagster_event.event_type for record in again.all_logs(done.run_id) if record.dagster_event]
        assert DagsterEventType.STEP_SUCCESS in events
