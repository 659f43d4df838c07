"""Facts as tables of the lake: how the `listings` asset keeps them and how its readers get them back."""

from __future__ import annotations

from ledgerline.digests import table_digest
from ledgerline.names.facts import Facts
from ledgerline.names.tables import TABLES
from ledgerline.ports import Lake


def publish_facts(facts: Facts, lake: Lake) -> dict[str, str]:
    """Replace each table whose rows differ from what the lake holds; returns the digest of each table."""
    digests = {}
    for name in TABLES:
        table = getattr(facts, name)
        digests[name] = table_digest(table)
        if lake.version(name) is None or table_digest(lake.read(name)) != digests[name]:
            lake.replace(name, table, where={})
    return digests


def facts_from_lake(lake: Lake) -> Facts:
    """The facts as last published. Raises LedgerlineError naming the asset where there are none."""
    return Facts(**{name: lake.read(name) for name in TABLES})


def known_facts(lake: Lake) -> Facts | None:
    """The facts as last published, or None where a table was never written."""
    if any(lake.version(name) is None for name in TABLES):
        return None
    return facts_from_lake(lake)
