"""A team's own database as a source of rows, on PostgreSQL: chunks, time-outs, errors, and copies in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.projects import sql_tables
from ledgerline.projects.sql_tables import SqlTable, copy_table, load_sql_tables
from platform_assets.definitions import build_defs
from platform_assets.sql_tables import SqlTableProvenance
from resources.environment import read_settings
from resources.lake import DeltaLake
from resources.sql_source import SqlSource

NUMBERS = SqlTable(
    name="sql_numbers", query="SELECT n, 'row ' || n AS label FROM numbers", columns={"n": "int64", "label": "string"}
)


@pytest.fixture
def numbers(postgres_url: str) -> Iterator[Any]:
    """An engine of a database with a table of 1,000 numbers."""
    from sqlalchemy import create_engine, text

    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS numbers"))
        connection.execute(text("CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS n"))
        connection.execute(text("CREATE SEQUENCE numbers_seen"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE numbers"))
        connection.execute(text("DROP SEQUENCE numbers_seen"))
    engine.dispose()


def execute(engine: Any, statement: str) -> None:
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(statement))


def test_rows_come_in_chunks_and_a_reader_that_stops_leaves_the_rest(numbers, postgres_url):
    source = SqlSource(url=postgres_url, chunk_rows=300)
    assert [chunk.num_rows for chunk in source.chunks(NUMBERS.query, NUMBERS.columns)] == [300, 300, 300, 100]
    endless = source.chunks("SELECT generate_series(1, 100000000000) AS n", {"n": "int64"})
    assert next(endless)["n"].to_pylist()[-1] == 300  # all of it would never end
    endless.close()


def test_every_type_keeps_its_value_and_null_is_null(postgres_url):
    query = (
        "SELECT 1.50::numeric AS price, 7::bigint AS n, true AS yes, '2026-03-02'::date AS day, "
        "'2026-03-02 10:00+02'::timestamptz AS at, 'a:b' AS name UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL"
    )
    columns: dict[str, Any] = {
        "price": "double", "n": "int64", "yes": "bool", "day": "date", "at": "timestamp", "name": "string"
    }  # fmt: skip
    (chunk,) = SqlSource(url=postgres_url).chunks(query, columns)
    at = datetime(2026, 3, 2, 8, 0, tzinfo=timezone.utc)
    row = {"price": 1.5, "n": 7, "yes": True, "day": date(2026, 3, 2), "at": at, "name": "a:b"}
    assert chunk.to_pylist() == [row, dict.fromkeys(row)]


@pytest.mark.parametrize(
    ("query", "columns", "error", "remedy"),
    [
        ("SELECT pg_sleep(30)", {"pg_sleep": "string"}, LedgerlineError, "longer than 1 s.*LEDGERLINE_SQL_SECONDS"),
        ("SELECT n FROM nowhere", {"n": "int64"}, ConfigurationError, "nowhere.*correct the query"),
        ("SELECT n FROM numbers", {"m": "int64"}, ConfigurationError, "no column m .*it has n"),
        ("SELECT 'x' AS n", {"n": "int64"}, LedgerlineError, "Column n .*no int64.*cast it"),
        ("SELECT 1.5 AS n", {"n": "int64"}, LedgerlineError, "Column n .*no int64.*cast it"),
        ("DELETE FROM numbers RETURNING n", {"n": "int64"}, ConfigurationError, "DELETE.*correct the query"),
        (
            "SELECT nextval('numbers_seen') AS n",
            {"n": "int64"},
            ConfigurationError,
            "read-only transaction.*correct the query",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_remedy(numbers, postgres_url, query, columns, error, remedy):
    with pytest.raises(error, match=remedy):
        list(SqlSource(url=postgres_url, query_seconds=1).chunks(query, columns))


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "LEDGERLINE_SQL_URL is no database"),
        ("mssql+pyodbc://kim:hunter2@h/d", "LEDGERLINE_SQL_URL is no database"),
        ("kim:hunter2@h", "LEDGERLINE_SQL_URL is no database"),
        ("postgresql+psycopg://kim:hunter2@127.0.0.1:1/d", "cannot be used .*check its host, user and password"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(url, remedy):
    source = SqlSource(url=url)
    with pytest.raises(LedgerlineError, match=remedy) as caught:
        list(source.chunks("SELECT 1 AS n", {"n": "int64"}))
    shown = [caught.value, caught.value.__context__, source]
    assert all("hunter2" not in f"{one!r} {one}" for one in shown)


# Copies --------------------------------------------------------------------------------------------------------------


def test_a_copy_is_a_version_and_equal_rows_in_another_order_make_no_new_one(numbers, postgres_url, tmp_path):
    lake, source = DeltaLake(root=str(tmp_path)), SqlSource(url=postgres_url, chunk_rows=300)
    first = copy_table(NUMBERS, source, lake)
    assert (first.rows, first.changed, lake.version("sql_numbers")) == (1000, True, first.version)
    backwards = NUMBERS.model_copy(update={"query": NUMBERS.query + " ORDER BY n DESC"})
    again = copy_table(backwards, source, lake)
    assert (again.version, again.digest, again.changed) == (first.version, first.digest, False)
    execute(numbers, "UPDATE numbers SET n = 0 WHERE n = 1")
    changed = copy_table(NUMBERS, source, lake)
    assert (changed.changed, changed.version > first.version) == (True, True)
    assert min(lake.read("sql_numbers", version=first.version)["n"].to_pylist()) == 1


def test_a_query_without_rows_or_with_too_many_leaves_the_lake_alone(numbers, postgres_url, tmp_path, monkeypatch):
    lake, source = DeltaLake(root=str(tmp_path)), SqlSource(url=postgres_url, chunk_rows=300)
    before = copy_table(NUMBERS, source, lake).version
    with pytest.raises(LedgerlineError, match="has no rows"):
        copy_table(NUMBERS.model_copy(update={"query": NUMBERS.query + " WHERE n < 0"}), source, lake)
    monkeypatch.setattr(sql_tables, "MOST_ROWS", 999)
    with pytest.raises(LedgerlineError, match="more than 999 rows: narrow it"):
        copy_table(NUMBERS, source, lake)
    assert lake.version("sql_numbers") == before


DECLARED = """
tables:
  - name: sql_numbers
    query: SELECT n, 'row ' || n AS label FROM numbers
    columns: {n: int64, label: string}
    owner: team:quant
    cron: "0 6 * * *"
"""


def test_a_declared_table_is_an_asset_that_records_the_version(numbers, postgres_url, tmp_path, monkeypatch):
    (tmp_path / "tables.yaml").write_text(DECLARED)
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path))
    monkeypatch.setenv("LEDGERLINE_SQL_URL", postgres_url)
    monkeypatch.setenv("LEDGERLINE_SQL_TABLES", str(tmp_path / "tables.yaml"))
    defs = build_defs("local")
    asset = defs.resolve_assets_def("sql_numbers")
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], instance=instance)
    (event,) = done.asset_materializations_for_node("sql_numbers")
    found = SqlTableProvenance.read(event.metadata)
    assert (found.table, found.rows) == ("sql_numbers", 1000)
    assert DeltaLake(root=str(tmp_path / "lake")).read("sql_numbers", version=found.version).num_rows == 1000


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("tables: {", "cannot be read"),
        ("tables: sql_numbers", "write a list under"),
        (DECLARED.replace("sql_numbers", "filings"), "table 1, name: .*pattern"),
        (DECLARED.replace("int64", "decimal"), "table 1, columns.n: "),
        (DECLARED + DECLARED.replace("\ntables:\n", ""), "declares sql_numbers twice"),
        (DECLARED + "    password: x\n", "table 1, password: "),
    ],
)
def test_a_declaration_that_is_wrong_is_refused_with_file_and_place(tmp_path, text, remedy):
    path = Path(tmp_path) / "tables.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        load_sql_tables(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["LEDGERLINE_SQL_TABLES", "LEDGERLINE_LISTINGS"])
def test_settings_that_need_the_database_say_so(name):
    with pytest.raises(ConfigurationError, match="needs LEDGERLINE_SQL_URL"):
        read_settings(variables={name: "sql"})
