"""What every source of listings must do: the bundled facts, those with the regulators' lists, and a database of SQL."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.ports import Regulator, RegulatorUnavailable
from ledgerline.filings.records import Source
from ledgerline.names.facts import Facts, facts_from_rows, save_facts, valid_on
from ledgerline.names.lake import facts_from_lake, known_facts, publish_facts
from ledgerline.names.ports import ListingsSource
from ledgerline.names.tables import TABLES
from platform_assets.listings import listings
from resources import build_resources
from resources.environment import read_settings
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.listings import BundledListings, RegulatorListings, SqlListings
from resources.object_store import DirectoryObjectStore
from resources.regulators import DartHttp, EdgarHttp, RegulatorSet
from resources.sql_source import SqlSource
from tests.servers.regulator_server import KEY, RegulatorServer

USER_AGENT = "Ledgerline Tests tests@example.com"
MONDAY = datetime(2026, 3, 2, 15, 0, tzinfo=timezone.utc)  # 10:00 Eastern; already 3 March in Korea
US = {"country": "US", "listed": True, "size_rank": None}
KR = {"country": "KR", "listed": True, "size_rank": None}
BUNDLED: dict[str, list[dict[str, Any]]] = {
    "companies": [
        {"company_id": "cik:0000000001", "name": "One Corp", **US},
        {"company_id": "cik:0000000002", "name": "Two Inc", **US},
        {"company_id": "dart:00000003", "name": "세기", **KR},
    ],
    "securities": [
        {"company_id": "cik:0000000001", "ticker": "ONE", "exchange": "NYSE", "valid_from": "2001-01-02", "source": "sec"},
        {"company_id": "cik:0000000002", "ticker": "TWO", "exchange": "NYSE", "valid_from": "2002-01-02", "source": "sec"},
        {"company_id": "dart:00000003", "ticker": "000030", "exchange": "KOSPI", "share_class": "common",
         "valid_from": "2003-01-02", "source": "krx"},
    ],
    "names": [
        {"company_id": "cik:0000000001", "name": "One Corp", "kind": "name", "language": "en",
         "valid_from": "2001-01-02", "source": "sec"},
        {"company_id": "cik:0000000001", "name": "Uno", "kind": "alias", "language": "en", "source": "ledgerline"},
        {"company_id": "cik:0000000002", "name": "Two Inc", "kind": "name", "language": "en",
         "valid_from": "2002-01-02", "source": "sec"},
        {"company_id": "dart:00000003", "name": "세기", "kind": "legal", "language": "ko",
         "valid_from": "2003-01-02", "source": "dart"},
    ],
}  # fmt: skip
UNCHANGED = [(1, "One Corp", "ONE", "NYSE"), (2, "Two Inc", "TWO", "NYSE")]
KOREAN = [("00000003", "세기", "000030")]


class World:
    """The bundled facts of two markets, the regulators' servers, a clock, and the stores that remember."""

    def __init__(self, folder: Path, server: RegulatorServer) -> None:
        self.now = MONDAY
        self.server = server
        self.ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        self.objects = DirectoryObjectStore(root=str(folder / "objects"))
        self.lake = DeltaLake(root=str(folder / "lake"))
        save_facts(facts_from_rows(BUNDLED), folder / "facts")
        self.bundled = BundledListings(root=str(folder / "facts"))
        self.serve(UNCHANGED, KOREAN)

    def serve(self, us: list[tuple[int, str, str, str]], kr: list[tuple[str, str, str]]) -> None:
        body = json.dumps({"fields": ["cik", "name", "ticker", "exchange"], "data": us})
        self._write("edgar/files/company_tickers_exchange.json", body.encode())
        items = "".join(
            f"<list><corp_code>{code}</corp_code><corp_name>{name}</corp_name><corp_eng_name></corp_eng_name>"
            f"<stock_code>{stock}</stock_code></list>"
            for code, name, stock in kr
        )
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("CORPCODE.xml", f"<result>{items}</result>".encode())
        self._write("dart/corpCode.zip", sink.getvalue())

    def _write(self, name: str, body: bytes) -> None:
        path = self.server.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def over_http(self, *sources: Source) -> RegulatorListings:
        asked = sources or ("edgar", "dart")
        settings: dict[str, Any] = {"base_url": self.server.url, "clock": lambda: self.now, "sleep": self.sleep}

        class AtTheTime(RegulatorSet):
            """The regulators by the clock of this world; a class, since Dagster makes resources anew."""

            def _make(self, source: Source) -> Regulator:
                http = partial(EdgarHttp, USER_AGENT) if source == "edgar" else partial(DartHttp, KEY)
                return http(lease=self.ledger, **settings)

        regulators = AtTheTime(
            ledger=self.ledger,
            edgar_user_agent=USER_AGENT if "edgar" in asked else None,
            dart_api_key=KEY if "dart" in asked else None,
        )
        return RegulatorListings(bundled=self.bundled, regulators=regulators, object_store=self.objects)

    def paths_asked(self) -> list[str]:
        return [one.partition("?")[0] for one in self.server.requests]

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Database:
    """A schema of PostgreSQL of its own, with the tables of listings."""

    def __init__(self, url: str) -> None:
        self.schema = f"listings_{uuid.uuid4().hex[:8]}"
        self.engine = create_engine(url)
        self.url = make_url(url).update_query_dict({"options": f"-csearch_path={self.schema}"}).render_as_string(False)

    def __enter__(self) -> Database:
        self.execute(f"CREATE SCHEMA {self.schema}")
        return self

    def __exit__(self, *_: object) -> None:
        self.execute(f"DROP SCHEMA {self.schema} CASCADE")
        self.engine.dispose()

    def create(self, table: str, rows: list[dict[str, Any]]) -> None:
        kinds = {"string": "text", "bool": "boolean", "int32": "integer"}
        columns = {field.name: kinds[str(field.type)] for field in TABLES[table]}
        columns |= {name: "date" for name in ("valid_from", "valid_to") if name in columns}
        columns |= {"position": "integer"} if table == "securities" else {}
        self.execute(f"CREATE TABLE {self.schema}.{table} ({', '.join(f'{n} {kind}' for n, kind in columns.items())})")
        for number, row in enumerate(rows):
            values = dict.fromkeys(columns) | row | ({"position": number} if table == "securities" else {})
            names = ", ".join(f":{name}" for name in columns)
            self.execute(f"INSERT INTO {self.schema}.{table} VALUES ({names})", values)

    def execute(self, statement: str, values: dict[str, Any] | None = None) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values or {})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with RegulatorServer(tmp_path / "served") as server:
        yield World(tmp_path, server)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """The facts of BUNDLED in a schema of PostgreSQL of their own."""
    with Database(postgres_url) as made:
        for table, rows in BUNDLED.items():
            made.create(table, rows)
        made.create("successors", [])
        yield made


@pytest.fixture(params=["bundled", "over http", "sql"])
def source(request: pytest.FixtureRequest, world: World) -> ListingsSource:
    if request.param == "sql":
        return SqlListings(source=SqlSource(url=request.getfixturevalue("database").url))
    return world.bundled if request.param == "bundled" else world.over_http()


def quiet(line: str) -> None:
    """A report that nobody reads."""


def edges(facts: Facts, table: str, column: str) -> set[tuple[str, str, str | None, str | None]]:
    rows = getattr(facts, table).to_pylist()
    return {(row["company_id"], row[column], row["valid_from"], row["valid_to"]) for row in rows}


def holders(facts: Facts, ticker: str, day: str) -> list[str]:
    rows = [row for row in facts.securities.to_pylist() if row["ticker"] == ticker]
    return [row["company_id"] for row in rows if valid_on(day, row["valid_from"], row["valid_to"])]


def test_all_four_tables_come_in_their_schemas_and_something_is_reported(source: ListingsSource) -> None:
    said: list[str] = []
    facts = source.load(said.append)
    assert all(getattr(facts, name).schema.equals(schema) for name, schema in TABLES.items())
    assert holders(facts, "ONE", "2020-01-02") == ["cik:0000000001"]
    assert said


def test_loading_again_on_what_is_known_changes_nothing(source: ListingsSource) -> None:
    facts = source.load(quiet)
    assert source.load(quiet, facts) == facts


# ------------------------------------------------------------------------------------------------------------ from SQL


def test_a_preferred_ticker_comes_first_and_dates_are_iso_text(database: Database) -> None:
    database.execute(
        f"INSERT INTO {database.schema}.securities (company_id, ticker, exchange, valid_from, source, position) "
        "VALUES ('cik:0000000001', 'AAA', 'NYSE', '2001-01-02', 'sec', 7)"
    )
    facts = SqlListings(source=SqlSource(url=database.url)).load(quiet)
    of_one = [row for row in facts.securities.to_pylist() if row["company_id"] == "cik:0000000001"]
    assert [(row["ticker"], row["valid_from"]) for row in of_one] == [("ONE", "2001-01-02"), ("AAA", "2001-01-02")]


@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("DROP TABLE {}.names", "correct the query"),
        ("DELETE FROM {}.companies", "add the company or drop the row"),
        ("TRUNCATE {0}.companies, {0}.securities, {0}.names", "has 0 rows, where 3 are known.*run this again"),
        ("DELETE FROM {}.securities WHERE company_id <> 'cik:0000000001'", "has 1 rows, where 3 are known"),
    ],
)
def test_a_database_that_is_not_whole_is_an_error_with_its_remedy(
    database: Database, statement: str, remedy: str
) -> None:
    source = SqlListings(source=SqlSource(url=database.url))
    known = source.load(quiet)
    database.execute(statement.format(database.schema))
    with pytest.raises(LedgerlineError, match=remedy):
        source.load(quiet, known)


# ----------------------------------------------------------------------------------------------------------- over HTTP


def test_a_renamed_company_and_a_recycled_ticker_are_dated_by_the_days_they_were_seen(world: World) -> None:
    publish_facts(world.over_http().load(quiet, known_facts(world.lake)), world.lake)
    world.now += timedelta(days=1)
    world.serve([(1, "Prime Corp", "PRM", "NYSE"), (2, "Two Inc", "TWO", "NYSE")], KOREAN)
    publish_facts(world.over_http().load(quiet, known_facts(world.lake)), world.lake)
    world.now += timedelta(days=1)
    world.serve(
        [(1, "Prime Corp", "PRM", "NYSE"), (9, "Nine Inc", "ONE", "Nasdaq")], [("00000003", "세기정보", "000030")]
    )
    publish_facts(world.over_http().load(quiet, known_facts(world.lake)), world.lake)
    world.now += timedelta(days=1)
    facts = world.over_http().load(quiet, known_facts(world.lake))
    assert edges(facts, "securities", "ticker") == {
        ("cik:0000000001", "ONE", "2001-01-02", "2026-03-02"),
        ("cik:0000000001", "PRM", "2026-03-03", None),
        ("cik:0000000002", "TWO", "2002-01-02", "2026-03-03"),
        ("cik:0000000009", "ONE", "2026-03-04", None),
        ("dart:00000003", "000030", "2003-01-02", None),
    }
    assert edges(facts, "names", "name") == {
        ("cik:0000000001", "One Corp", "2001-01-02", "2026-03-02"),
        ("cik:0000000001", "Prime Corp", "2026-03-03", None),
        ("cik:0000000001", "Uno", None, None),
        ("cik:0000000002", "Two Inc", "2002-01-02", None),  # a company keeps its last name
        ("cik:0000000009", "Nine Inc", "2026-03-04", None),
        ("dart:00000003", "세기", "2003-01-02", "2026-03-04"),  # by the calendar of Korea
        ("dart:00000003", "세기정보", "2026-03-05", None),
    }
    assert [holders(facts, "ONE", day) for day in ("2026-03-02", "2026-03-03", "2026-03-04")] == [
        ["cik:0000000001"], [], ["cik:0000000009"],
    ]  # fmt: skip


def test_newer_bundled_facts_join_what_was_found_and_do_not_undo_it(world: World, tmp_path: Path) -> None:
    world.serve([(1, "Prime Corp", "PRM", "NYSE"), (2, "Two Inc", "TWO", "NYSE")], KOREAN)
    known = world.over_http().load(quiet)
    alias = {"company_id": "cik:0000000002", "name": "Deux", "kind": "alias", "language": "en", "source": "ledgerline"}
    save_facts(facts_from_rows({**BUNDLED, "names": [*BUNDLED["names"], alias]}), tmp_path / "facts")
    facts = world.over_http().load(quiet, known)
    assert edges(facts, "names", "name") - edges(known, "names", "name") == {("cik:0000000002", "Deux", None, None)}
    assert facts.securities == known.securities


def test_what_was_fetched_is_kept_under_its_day_and_digest(world: World) -> None:
    said: list[str] = []
    world.over_http().load(said.append)
    world.over_http().load(quiet)
    kept = list(world.objects.list("s3://ledgerline/listings/"))
    assert [uri.split("/")[4:6] for uri in kept] == [["dart", "2026-03-03"], ["edgar", "2026-03-02"]]
    assert (
        world.objects.get(kept[1]) == (world.server.archive / "edgar/files/company_tickers_exchange.json").read_bytes()
    )
    assert all(any(uri in line for line in said) for uri in kept)


@pytest.mark.parametrize(
    ("asked", "paths"), [("edgar", ["/files/company_tickers_exchange.json"]), ("dart", ["/api/corpCode.xml"])]
)
def test_only_the_source_with_a_credential_is_asked_and_the_other_stays_as_bundled(
    world: World, asked: Source, paths: list[str]
) -> None:
    world.serve([(1, "Prime Corp", "PRM", "NYSE")], [("00000003", "세기정보", "000030")])
    names = edges(world.over_http(asked).load(quiet), "names", "name")
    assert world.paths_asked() == paths
    assert (("cik:0000000001", "One Corp", "2001-01-02", None) in names) == (asked == "dart")
    assert (("dart:00000003", "세기", "2003-01-02", None) in names) == (asked == "edgar")


@pytest.mark.parametrize(
    ("fault", "where", "error", "remedy"),
    [
        ("unavailable", "/files/", RegulatorUnavailable, "tried again with the next run"),
        ("access_denied", "/files/", RegulatorUnavailable, "ask from an address that is no cloud's"),
        ("throttled", "/files/", RegulatorUnavailable, "every process"),
        ("undeclared", "/files/", ConfigurationError, "EDGAR_USER_AGENT"),
        ("reset", "/files/", RegulatorUnavailable, "check the connection"),
        ("truncated", "corpCode", RegulatorUnavailable, "check the connection"),
        ("dart_010", "corpCode", ConfigurationError, "DART_API_KEY"),
        ("dart_014", "corpCode", RegulatorUnavailable, "tried again with the next run"),
        ("dart_020", "corpCode", RegulatorUnavailable, "used up"),
        ("dart_800", "corpCode", RegulatorUnavailable, "tried again with the next run"),
        ("unavailable", "corpCode", RegulatorUnavailable, "tried again with the next run"),
    ],
)
def test_a_list_that_is_not_served_is_an_error_with_its_remedy_and_leaves_the_lake_alone(
    world: World, fault: str, where: str, error: type[Exception], remedy: str
) -> None:
    publish_facts(world.over_http().load(quiet), world.lake)
    before = {name: world.lake.version(name) for name in TABLES}
    world.server.misbehave(fault, where=where, times=3)
    resources = {"listings_source": world.over_http(), "lake": world.lake}
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(error, match=remedy) as caught:
        dg.materialize([listings], instance=instance, resources=resources)
    assert KEY not in f"{caught.value!r}"
    assert {name: world.lake.version(name) for name in TABLES} == before


@pytest.mark.parametrize(
    "body", [b"", b'{"fields":["cik","name","ticker","exchange"],"data":[]}', b"<html>busy</html>"]
)
def test_a_list_without_rows_is_never_an_empty_table(world: World, body: bytes) -> None:
    (world.server.archive / "edgar/files/company_tickers_exchange.json").write_bytes(body)
    with pytest.raises(LedgerlineError, match="again"):
        world.over_http().load(quiet)
    assert list(world.objects.list("s3://ledgerline/listings/")) == []


def test_a_list_that_lacks_most_of_what_is_open_is_taken_for_cut_off(world: World) -> None:
    many = [(number, f"Company {number}", f"T{number}", "NYSE") for number in range(1, 301)]
    world.serve(many, KOREAN)
    known = world.over_http().load(quiet)
    world.now += timedelta(days=1)
    world.serve(many[:140], KOREAN)
    with pytest.raises(LedgerlineError, match=r"has 140 tickers and lacks 160 of the 300 .*fetch it again"):
        world.over_http().load(quiet, known)
    world.serve(many[:160], KOREAN)
    assert holders(world.over_http().load(quiet, known), "T200", "2026-03-03") == []


def test_the_listings_asset_dates_two_days_by_what_the_lake_holds(world: World) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for us in (UNCHANGED, [(1, "Prime Corp", "ONE", "NYSE"), (2, "Two Inc", "TWO", "NYSE")], UNCHANGED[1:]):
            world.serve(us, KOREAN)
            resources = {"listings_source": world.over_http(), "lake": world.lake}
            assert dg.materialize([listings], instance=instance, resources=resources).success
            world.now += timedelta(days=1)
    facts = facts_from_lake(world.lake)
    assert ("cik:0000000001", "One Corp", "2001-01-02", "2026-03-02") in edges(facts, "names", "name")
    assert ("cik:0000000001", "Prime Corp", "2026-03-03", None) in edges(facts, "names", "name")
    assert ("cik:0000000001", "ONE", "2001-01-02", "2026-03-03") in edges(facts, "securities", "ticker")


# ---------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("variables", "chosen"),
    [
        ({}, BundledListings),
        ({"EDGAR_USER_AGENT": USER_AGENT}, RegulatorListings),
        ({"DART_API_KEY": KEY}, RegulatorListings),
        ({"DART_API_KEY": KEY, "LEDGERLINE_ARCHIVE": "/archive"}, BundledListings),
        ({"LEDGERLINE_LISTINGS": "sql", "LEDGERLINE_SQL_URL": "postgresql+psycopg://h/d"}, SqlListings),
    ],
)
def test_the_regulators_lists_are_read_where_a_credential_is_given_and_no_archive_is_named(
    variables: dict[str, str], chosen: type, tmp_path: Path
) -> None:
    settings = read_settings(variables={**variables, "LEDGERLINE_HOME": str(tmp_path)})
    assert type(build_resources(settings=settings)["listings_source"]) is chosen


def test_a_credential_in_the_environment_reaches_the_regulators_behind_the_listings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGAR_USER_AGENT", USER_AGENT)
    settings = read_settings(variables={"EDGAR_USER_AGENT": USER_AGENT, "LEDGERLINE_HOME": str(tmp_path)})
    given: list[str | None] = []

    @dg.op
    def look(listings_source: dg.ResourceParam[RegulatorListings]) -> None:
        given.append(listings_source.regulators.edgar_user_agent)

    @dg.job(resource_defs={"listings_source": build_resources(settings=settings)["listings_source"]})
    def looking() -> None:
        look()

    with dg.DagsterInstance.ephemeral() as instance:
        assert looking.execute_in_process(instance=instance).success
    assert given == [USER_AGENT]
