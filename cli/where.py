"""`make where`: where a filing is, and why, from the ledger alone."""

from __future__ import annotations

from cli.progress import Progress
from ledgerline.errors import ConfigurationError
from resources.environment import read_settings


def where(filing: str, day: str) -> int:
    """Print the answer; 1 where the filing is not known. Raises ConfigurationError for what is no id or no day."""
    from jobs.filings import WhereConfig, where_is
    from ledgerline.filings.whereabouts import WHAT_AN_ID_IS
    from resources import build_resources

    if not filing.strip():
        raise ConfigurationError(f"say which filing: make where FILING=0000320193-25-000001. {WHAT_AN_ID_IS}.")
    resources = build_resources(settings=read_settings())
    found = where_is(
        WhereConfig(filing=filing, day=day),
        filing_ledger=resources["filing_ledger"],
        regulators=resources["regulators"],
    )
    progress = Progress()
    progress.say(found.sentence)
    width = max(len(name) for name, _ in found.facts)
    for name, value in found.facts:
        progress.say(f"  {name:<{width}}  {value}")
    return 0 if found.known else 1
