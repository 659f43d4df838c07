"""Alembic's revisions of the filing ledger. A revision that has landed is never changed; another follows it."""
