"""What the listings need of the world. Implemented in `resources/listings.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts


class ListingsSource(Protocol):
    """Dated facts about companies: the bundled ones, or those merged with the regulators' own files of today."""

    def load(self, report: Callable[[str], None], known: Facts | None = None) -> Facts:
        """All four tables. A file that cannot be read raises LedgerlineError; it is never an empty table.

        `known` are the facts as last published: a source that looks at the regulators each day keeps their dates.
        """
        ...
