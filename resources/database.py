"""Engines of the ledgers' database: SQLite embedded, PostgreSQL in production, and what each of them says in one sentence.

Here: pools, TLS, passwords, the schema of a branch. What the tables are is in `filing_ledger.py` and `release_ledger.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledgerline.errors import ConfigurationError, LedgerlineError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BUSY_SECONDS = 30.0  # a writer holds the database for milliseconds; whoever waits longer has met a stuck process
# Connections of one process. A run is one process with a few threads; the smallest RDS instance takes about 80.
POOL = {"pool_size": 2, "max_overflow": 4, "pool_timeout": 30}
# A failover leaves dead connections in the pool, and RDS closes idle ones: each is tried before it is used.
HEALTH = {"pool_pre_ping": True, "pool_recycle": 1800}
# Seconds. A server that fell away is noticed within a minute, and not after the two hours of the operating system.
CONNECT = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "ledgerline",
}
PASSWORD = "LEDGERLINE_DATABASE_PASSWORD"  # noqa: S105 - the name of the variable
LOCAL = ("127.0.0.1", "::1", "localhost", None)


def engine_of(
    url: str, what: str, *, password: str | None = None, schema: str = "", busy_seconds: float = BUSY_SECONDS
) -> Engine:
    """An engine of `what` ("the ledger"). Raises ConfigurationError, which shows no password, for an unusable URL.

    `password` is a secret or a reference to one, resolved with each new connection. A `schema` of PostgreSQL is made
    where it is not there, and is all that the engine sees. To another machine the connection is encrypted and the
    server's certificate is verified, unless the URL says otherwise with `sslmode`.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from resources.secrets import secret

    try:
        parsed = make_url(url)
        postgresql = parsed.get_backend_name() == "postgresql"
        options: dict[str, Any] = {"connect_args": {"timeout": busy_seconds}} if not postgresql else {**POOL, **HEALTH}
        if postgresql:
            parsed = _with_defaults(parsed, schema)
        engine = create_engine(parsed, hide_parameters=True, **options)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"{what}'s URL cannot be used: write sqlite:////absolute/path/ledger.db or "
            "postgresql+psycopg://user@host/database (needs psycopg)"
        ) from error

    if not postgresql:
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        return engine

    @event.listens_for(engine, "do_connect")
    def with_password(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
        if password:
            parameters["password"] = secret(password, PASSWORD)

    if schema:
        _make_schema(engine, schema)
    return engine


@contextmanager
def said(what: str, url: str) -> Iterator[None]:
    """Turns what a database says that cannot work just now into one sentence with the remedy."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        words = str(error.orig).strip().splitlines()[0]
        shown = shown_url(url)
        if "password authentication failed" in words or "no password supplied" in words:
            from resources.secrets import forget

            forget()  # it may have been rotated: the next connection asks for it anew
            raise ConfigurationError(f"{what} {shown} refuses the user ({words}): correct {PASSWORD}.") from error
        if any(one in words for one in ("SSL", "certificate")):
            raise ConfigurationError(
                f"{what} {shown} cannot be reached by TLS ({words}): add ?sslrootcert=<file of the authority's certificates> to "
                "the URL (RDS: global-bundle.pem), and use the name that the certificate is for."
            ) from error
        if "locked" in words:
            remedy = "another process holds it: end the process that is stuck, then run this again"
        elif "full" in words or "No space" in words:
            remedy = "free space on its disk, then run this again"
        else:
            remedy = "see that it can be reached and written to, then run this again"
        raise LedgerlineError(f"{what} {shown} cannot be used now ({words}); nothing is lost: {remedy}") from error


def shown_url(url: str) -> str:
    """The URL as it may be logged."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def drop_schema(engine: Engine, schema: str) -> None:
    """Drop a schema with all it holds; nothing happens where it is not there."""
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))


def _with_defaults(url: Any, schema: str) -> Any:
    """The URL with what it does not say itself."""
    defaults = {**CONNECT, **({} if url.host in LOCAL else {"sslmode": "verify-full"})}
    given = {**{name: value for name, value in defaults.items() if name not in url.query}}
    if schema:
        given["options"] = f"{url.query.get('options', '')} -csearch_path={schema}".strip()
    return url.update_query_dict(given)


def _make_schema(engine: Engine, schema: str) -> None:
    from sqlalchemy import text

    with engine.begin() as connection:
        if not _has_schema(connection, schema):
            # Two processes may meet here, and IF NOT EXISTS does not keep them apart.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('ledgerline.schema'))"))
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))


def _has_schema(connection: Connection, schema: str) -> bool:
    from sqlalchemy import text

    asked = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    return connection.execute(asked, {"name": schema}).first() is not None
