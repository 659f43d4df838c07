"""A team's own MySQL or PostgreSQL, which is read and never written: rows of model projects, and listings.

Implements `ledgerline.projects.sql_tables.RowSource`. Rows come over a cursor on the server, a chunk at a time, in a
transaction that may only read. What rows mean is decided by who asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource
from pydantic import Field

from ledgerline.alerts import without_secrets
from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.projects.sql_tables import ColumnType, SqlTable, load_sql_tables
from resources.secrets import secret

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

CONNECT_SECONDS = 10
SETTING = "LEDGERLINE_SQL_URL"
EXAMPLE = "postgresql+psycopg://<user>:<password>@<host>/<database> or mysql+pymysql://..."


class SqlSource(ConfigurableResource):
    """The database behind `url`, a secret or a reference to it: given as `EnvVar("LEDGERLINE_SQL_URL")`.

    `tables_file` declares what is copied. `query_seconds` is the longest that a query may take, all of its rows included.
    """

    url: str = Field(default="", repr=False)
    tables_file: str = ""
    chunk_rows: int = Field(default=10_000, ge=1)
    query_seconds: int = Field(default=600, ge=1)

    def tables(self) -> list[SqlTable]:
        return load_sql_tables(Path(self.tables_file)) if self.tables_file else []

    def chunks(self, query: str, columns: Mapping[str, ColumnType]) -> Iterator[pa.Table]:
        """Tables of up to `chunk_rows` rows, in the order of the query. See RowSource for what is raised."""
        import pyarrow as pa
        from sqlalchemy import text

        schema = pa.schema([(name, _arrow(kind)) for name, kind in columns.items()])
        end = time.monotonic() + self.query_seconds
        with self._connection() as connection, _said(self.query_seconds):
            options = {"stream_results": True, "yield_per": self.chunk_rows}
            # A colon is SQL here ('::date') and no parameter of SQLAlchemy.
            result = connection.execute(text(query.replace(":", r"\:")), execution_options=options)
            found = list(result.keys())
            missing = [name for name in columns if name not in found]
            if missing:
                raise ConfigurationError(
                    f"The query has no column {', '.join(missing)} (it has {', '.join(found)}): name its columns."
                )
            for part in result.mappings().partitions(self.chunk_rows):
                if time.monotonic() > end:
                    raise LedgerlineError(_too_slow(self.query_seconds))
                yield pa.table([_column(part, name, kind) for name, kind in columns.items()], schema=schema)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        from sqlalchemy import create_engine, text
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool

        milliseconds = self.query_seconds * 1000
        try:
            url = make_url(secret(self.url, SETTING))
            mysql = url.get_backend_name() in ("mysql", "mariadb")
            if not mysql and url.get_backend_name() != "postgresql":
                raise ArgumentError("another database")
            connect = {"connect_timeout": CONNECT_SECONDS}
            if mysql:
                connect["read_timeout"] = self.query_seconds
            engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=connect)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
            # not `from` the error, which may carry the URL
            raise ConfigurationError(
                f"{SETTING} is no database that can be read: set it to {EXAMPLE} (its driver must be installed)."
            ) from None
        try:
            with _said(self.query_seconds), engine.connect() as connection:
                if mysql:
                    # MySQL ends a query by itself, in milliseconds; MariaDB has another variable, in seconds.
                    maria = bool(getattr(connection.dialect, "is_mariadb", False))
                    limit = (
                        f"max_statement_time = {self.query_seconds}"
                        if maria
                        else f"max_execution_time = {milliseconds}"
                    )
                    connection.execute(text(f"SET SESSION {limit}"))
                    connection.execute(text("SET SESSION TRANSACTION READ ONLY"))
                    connection.commit()
                else:
                    connection.execute(text("SET TRANSACTION READ ONLY"))
                    connection.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
                yield connection
        finally:
            engine.dispose()


@contextmanager
def _said(seconds: int) -> Iterator[None]:
    """Turns what a database says into a sentence with the remedy."""
    from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        words = without_secrets(" ".join(str(error.orig).split()))[:300]
        if any(one in words for one in ("statement timeout", "maximum statement execution time", "max_statement_time")):
            raise LedgerlineError(_too_slow(seconds)) from None
        if isinstance(error, OperationalError):
            raise LedgerlineError(
                f"The database of {SETTING} cannot be used ({words}): check its host, user and password, and the network."
            ) from None
        raise ConfigurationError(f"The database of {SETTING} refuses the query ({words}): correct the query.") from None
    except SQLAlchemyError as error:
        raise LedgerlineError(
            f"The query cannot be read ({without_secrets(str(error))[:300]}): correct the query."
        ) from None


def _too_slow(seconds: int) -> str:
    return f"The query took longer than {seconds} s and was stopped: narrow it, add an index, or raise LEDGERLINE_SQL_SECONDS."


def _arrow(kind: ColumnType) -> pa.DataType:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }
    return types[kind]


def _column(rows: Sequence[Any], name: str, kind: ColumnType) -> pa.Array:
    """Raises LedgerlineError that names the column, for a value that is not of its type."""
    import pyarrow as pa

    try:
        return pa.array([None if row[name] is None else _READ[kind](row[name]) for row in rows], type=_arrow(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError) as error:
        raise LedgerlineError(
            f"Column {name} has a value that is no {kind} ({without_secrets(str(error))[:200]}): cast it in the query, or "
            "declare another type."
        ) from None


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)  # a datetime is a date too


def _number(value: Any) -> float:
    if isinstance(value, (int, float, Decimal)):
        return float(value)
    raise TypeError(f"{type(value).__name__}")


def _whole(value: Any) -> int:
    if isinstance(value, (int, float, Decimal)) and value == int(value):
        return int(value)
    raise TypeError(f"{type(value).__name__}")


def _truth(value: Any) -> bool:
    if value in (0, 1):  # MySQL has no other
        return bool(value)
    raise TypeError(f"{type(value).__name__}")


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return date.fromisoformat(value)


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__}")
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


_READ: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int64": _whole,
    "double": _number,
    "bool": _truth,
    "date": _day,
    "timestamp": _moment,
}
