"""Where dated facts about companies come from: the bundled files, those with the regulators' own lists merged in, or a
team's own database.

All implement `ledgerline.names.ports.ListingsSource`. What a list means and how it joins what is known is in
`ledgerline.names.listings`; how a regulator is asked is in `resources.regulators`.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource, ResourceDependency

from ledgerline.ports import ObjectStore
from resources.regulators import ReferenceFile, RegulatorSet
from resources.sql_source import SqlSource

if TYPE_CHECKING:
    from ledgerline.names.facts import Facts


class BundledListings(ConfigurableResource):
    """The facts that ship with the project, in the folder `root`: no network."""

    root: str

    def load(self, report: Callable[[str], None], known: "Facts | None" = None) -> "Facts":
        """All four tables as bundled, whatever is known. Raises LedgerlineError naming a file that is missing or wrong."""
        from ledgerline.names.facts import load_facts

        facts = load_facts(Path(self.root))
        report(f"{facts.companies.num_rows:,} companies and {facts.names.num_rows:,} names from {Path(self.root).name}")
        return facts


class RegulatorListings(ConfigurableResource):
    """The bundled facts, what was found since, and the lists that the regulators with a credential serve today.

    Each list is kept in the object store under its day and digest, so that every date can be traced to bytes.
    """

    bundled: BundledListings
    regulators: RegulatorSet
    object_store: ResourceDependency[ObjectStore]

    def load(self, report: Callable[[str], None], known: "Facts | None" = None) -> "Facts":
        """All four tables. A name or ticker that is new today begins today, one that is gone ended the day before.

        Raises RegulatorUnavailable or ConfigurationError if a list is not served, and LedgerlineError if it cannot be
        read or is far shorter than what is known; nothing is merged then.
        """
        from ledgerline.names.listings import dart_listings, edgar_listings, join_facts, merge_facts, refuse_short_list

        facts = self.bundled.load(report)
        if known is not None:
            facts = join_facts(known, facts)
        for file in self.regulators.reference_files():
            if file.source == "edgar":
                fresh = edgar_listings(file.body, seen_on=file.day)
            else:
                fresh = dart_listings(file.body, seen_on=file.day)
            refuse_short_list(facts, fresh, name=f"{file.name} of {file.day}")
            uri = self._keep(file)
            facts = merge_facts(facts, fresh, seen_on=file.day)
            report(f"{fresh.securities.num_rows:,} tickers of {file.source} as of {file.day}, kept as {uri}")
        return facts

    def _keep(self, file: ReferenceFile) -> str:
        import hashlib

        digest = hashlib.sha256(file.body).hexdigest()
        uri = self.object_store.uri("listings", file.source, file.day.isoformat(), digest, file.name)
        if not self.object_store.exists(uri):
            self.object_store.put(uri, file.body)
        return uri


class SqlListings(ConfigurableResource):
    """The four tables of `ledgerline.names.tables`, as tables or views of these names in a team's own database.

    The database is the truth: what was known before does not come in. Dates are ISO text or dates. `securities` has one
    more column, `position`: 1 for a company's preferred ticker, since rows of a database have no order.
    """

    source: SqlSource

    def load(self, report: Callable[[str], None], known: "Facts | None" = None) -> "Facts":
        """All four tables. Raises LedgerlineError if one cannot be read, or companies or tickers are gone by the half."""
        import pyarrow as pa

        from ledgerline.errors import LedgerlineError
        from ledgerline.names.facts import Facts, check_facts
        from ledgerline.names.tables import TABLES
        from ledgerline.projects.sql_tables import ColumnType

        kinds: dict[str, ColumnType] = {"string": "string", "bool": "bool", "int32": "int64"}
        tables = {}
        for name, schema in TABLES.items():
            columns = {field.name: kinds[str(field.type)] for field in schema}
            order = ["company_id", *(["position"] if name == "securities" else schema.names[1:])]
            query = f"SELECT {', '.join(columns)} FROM {name} ORDER BY {', '.join(order)}"  # noqa: S608 - names of ours
            chunks = list(self.source.chunks(query, columns))
            empty = pa.Table.from_pylist([], schema=schema)
            tables[name] = pa.concat_tables([empty, *(chunk.cast(schema) for chunk in chunks)]).combine_chunks()
        facts = check_facts(Facts(**tables), "the database of LEDGERLINE_SQL_URL")
        for name in ("companies", "securities"):
            rows, before = getattr(facts, name).num_rows, getattr(known, name).num_rows if known else 0
            if rows == 0 or 2 * rows < before:
                raise LedgerlineError(
                    f"{name} in the database of LEDGERLINE_SQL_URL has {rows:,} rows, where {before:,} are known: see whether "
                    "it is being loaded, then run this again."
                )
        report(f"{facts.companies.num_rows:,} companies and {facts.names.num_rows:,} names from the database")
        return facts
