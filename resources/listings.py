"""Where dated facts about companies come from: the bundled files, or those with the regulators' own lists merged in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts


class BundledListings(ConfigurableResource):
    """The facts that ship with the project, in the folder `root`: no network."""

    root: str

    def load(self, report: Callable[[str], None]) -> Facts:
        """All four tables. Raises LedgerlineError naming the file that is missing or wrong."""
        from ledgerline.names.facts import load_facts

        facts = load_facts(Path(self.root))
        report(f"{facts.companies.num_rows:,} companies and {facts.names.num_rows:,} names from {Path(self.root).name}")
        return facts
