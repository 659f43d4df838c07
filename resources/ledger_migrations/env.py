"""How Alembic runs the revisions: on the connection of the caller, inside its transaction (see `ledger_schema`)."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
