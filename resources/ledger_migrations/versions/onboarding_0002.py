"""Attempts with a next one, versions by ETag, corrections, witnesses, ticks with their watermark, complete days."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _moment() -> sa.types.TypeEngine:
    """UTC; SQLite has no zones and stores it without one."""
    return sa.DateTime(timezone=op.get_bind().dialect.name != "sqlite")


def upgrade() -> None:
    for column in (
        sa.Column("next_attempt_at", _moment()),
        sa.Column("etag", sa.Text),
        sa.Column("period", sa.String(10)),
        sa.Column("corrects", sa.String(255)),
        sa.Column("parser_version", sa.String(16)),
        sa.Column("witnesses", sa.String(64), nullable=False, server_default=""),
        sa.Column("published_at", _moment()),
        sa.Column("checked_at", _moment()),
    ):
        op.add_column("filings", column)
    op.drop_index("filings_by_day", "filings")
    op.create_index("filings_by_day", "filings", ["day", "source", "state"])
    op.create_index("filings_by_state", "filings", ["source", "state", "day"])
    op.add_column("filing_versions", sa.Column("etag", sa.Text))
    op.create_index("filing_parties_by_company", "filing_parties", ["source", "party_id"])
    op.add_column("rate_leases", sa.Column("live_at", _moment()))
    op.add_column("rate_leases", sa.Column("backfill_at", _moment()))
    op.create_table(
        "ticks",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("started_at", _moment(), nullable=False),
        sa.Column("ended_at", _moment(), nullable=False),
        sa.Column("connected", sa.Boolean, nullable=False),
        sa.Column("new", sa.Integer, nullable=False),
        sa.Column("pages", sa.Integer, nullable=False),
        sa.Column("gap_from", _moment()),
        sa.Column("gap_to", _moment()),
        sa.Column("failure", sa.Text),
    )
    op.create_index("ticks_by_source", "ticks", ["source", "started_at"])
    op.create_table(
        "watermarks",
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("read_until", _moment(), nullable=False),
    )
    op.create_table(
        "complete_days",
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("filings", sa.Integer, nullable=False),
        sa.Column("index_digest", sa.String(64), nullable=False),
        sa.Column("proved_at", _moment(), nullable=False),
    )
    op.drop_table("ledger_schema")
