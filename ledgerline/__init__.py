"""The domain of Ledgerline: pure Python that a notebook can use alone.

What belongs here: rules about filings, names, near-duplicates, ticker mapping, model projects and releases, and the
Protocols of what those rules need of the world (`ports.py` here for what all rooms share, `ports.py` of a room for its own).
What does not: Dagster, boto3, servers, environment variables. `resources/` implements the Protocols.
"""
