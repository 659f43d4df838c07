"""Brings a ledger's database to the schema that this program knows, by Alembic's revisions in `ledger_migrations/`.

A new database is made from the tables as they are now and marked with the newest revision; an older one is upgraded in
one transaction; a newer one is refused. What the tables are is in `filing_ledger.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ledgerline.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection, Engine, MetaData

HEAD = "0002"
FIRST = "0001"
VERSION_TABLE = "filing_ledger_revision"  # other ledgers may share the database
SCHEMA_TABLE_OF_FIRST = "ledger_schema"  # what the first revision was marked with, before there was Alembic
MIGRATIONS = Path(__file__).parent / "ledger_migrations"


def bring_to_schema(engine: Engine, metadata: MetaData, shown: str) -> None:
    """Create or upgrade the tables. Raises ConfigurationError for a database of a newer program; `shown` names it."""
    from sqlalchemy import text

    with engine.begin() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(ledger_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":  # only one process changes the tables
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('ledgerline.filing_ledger'))"))
        found = _revision(connection)
        if found is None:
            metadata.create_all(connection)
            _mark(connection, HEAD)
        elif found != HEAD:
            _upgrade(connection, found, shown)


def _revision(connection: Connection) -> str | None:
    """The revision of the tables that are there, or None where there are none."""
    from sqlalchemy import text

    if connection.dialect.has_table(connection, VERSION_TABLE):
        return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())  # noqa: S608
    return FIRST if connection.dialect.has_table(connection, SCHEMA_TABLE_OF_FIRST) else None


def _mark(connection: Connection, revision: str) -> None:
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    context.stamp(_scripts(), revision)


def _upgrade(connection: Connection, found: str, shown: str) -> None:
    known = [script.revision for script in _scripts().walk_revisions()]
    if found not in known:
        raise ConfigurationError(
            f"the ledger {shown} has schema {found}, this program knows {HEAD}: install the newer ledgerline that wrote "
            "it, or give another ledger"
        )
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        _mark(connection, found)
    run_revisions(connection, HEAD)


def run_revisions(connection: Connection, until: str) -> None:
    """Run the revisions up to one, from the one with which the database is marked, in the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, until)


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(MIGRATIONS))
