"""The tables as they were before revisions were recorded: filings, their versions and parties, leases, bans."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _moment() -> sa.types.TypeEngine:
    """UTC; SQLite has no zones and stores it without one."""
    return sa.DateTime(timezone=op.get_bind().dialect.name != "sqlite")


def upgrade() -> None:
    def key() -> tuple[sa.Column, sa.Column]:
        return (
            sa.Column("source", sa.String(16), primary_key=True),
            sa.Column("filing_id", sa.String(255), primary_key=True),
        )

    op.create_table(
        "filings",
        *key(),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("form", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("accepted_at", _moment()),
        sa.Column("first_seen_at", _moment(), nullable=False),
        sa.Column("available_at", _moment()),
        sa.Column("sha256", sa.String(64)),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("uri", sa.Text),
        sa.Column("reason", sa.String(64)),
        sa.Column("detail", sa.Text),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("published_version", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("filings_by_day", "filings", ["source", "day", "state"])
    op.create_table(
        "filing_versions",
        *key(),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("available_at", _moment(), nullable=False),
    )
    op.create_table(
        "filing_parties",
        *key(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("party_id", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
    )
    op.create_table(
        "rate_leases",
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("next_at", _moment(), nullable=False),
        sa.Column("day", sa.Date),
        sa.Column("used", sa.Integer, nullable=False),
    )
    op.create_table(
        "bans",
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("until", _moment(), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table("ledger_schema", sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
