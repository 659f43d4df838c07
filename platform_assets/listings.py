"""The `listings` asset: dated companies, securities, names and successors. Where they come from is the resource's business."""

from __future__ import annotations

import dagster as dg

from ledgerline.names.ports import ListingsSource
from ledgerline.ports import Lake
from platform_assets.owners import DATA_PLATFORM
from platform_assets.provenance import Provenance


class ListingsProvenance(Provenance):
    """Which facts are in the lake: a digest over the four tables, and their versions."""

    digest: str
    companies: int
    names: int
    securities: int
    successors: int


@dg.asset(group_name="onboarding", owners=[DATA_PLATFORM], kinds={"python", "deltalake"})
def listings(
    context: dg.AssetExecutionContext, listings_source: dg.ResourceParam[ListingsSource], lake: dg.ResourceParam[Lake]
) -> dg.MaterializeResult:
    """Companies with dated tickers, names, former names and aliases, and their successors: what a name meant, and when.

    The entity is a company; a ticker is a dated edge. Local runs use the facts in `sample/facts`; with the regulators'
    addresses configured, their own files are merged in.
    """
    from ledgerline.digests import table_digest
    from ledgerline.names.tables import TABLES
    from platform_assets.plots import table

    facts = listings_source.load(context.log.info)
    digests, rows = {}, {}
    for name in TABLES:
        made = getattr(facts, name)
        digests[name], rows[name] = table_digest(made), made.num_rows
        lake.replace(name, made, where={})
    provenance = ListingsProvenance(digest=combined(digests), **rows)
    companies = facts.companies
    return dg.MaterializeResult(
        data_version=dg.DataVersion(provenance.digest),
        metadata={
            **provenance.metadata(),
            "companies per country": table(
                [{"country": c["values"], "companies": c["counts"]} for c in companies["country"].value_counts().to_pylist()]
            ),
            "largest": table(
                sorted((c for c in companies.to_pylist() if c["size_rank"]), key=lambda c: c["size_rank"])[:10]
            ),
        },
    )


def combined(digests: dict[str, str]) -> str:
    import hashlib

    return hashlib.sha256("".join(digests[name] for name in sorted(digests)).encode()).hexdigest()
