"""The `listings` asset: dated companies, securities, names and successors. Where they come from is the resource's business."""

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
    from ledgerline.digests import combined_digest
    from ledgerline.names.lake import known_facts, publish_facts
    from platform_assets.plots import table

    facts = listings_source.load(context.log.info, known_facts(lake))
    provenance = ListingsProvenance(
        digest=combined_digest(publish_facts(facts, lake)),
        companies=facts.companies.num_rows,
        names=facts.names.num_rows,
        securities=facts.securities.num_rows,
        successors=facts.successors.num_rows,
    )
    companies = facts.companies
    return dg.MaterializeResult(
        data_version=dg.DataVersion(provenance.digest),
        metadata={
            "companies per country": table(
                [
                    {"country": c["values"], "companies": c["counts"]}
                    for c in companies["country"].value_counts().to_pylist()
                ]
            ),
            "largest": table(
                sorted((c for c in companies.to_pylist() if c["size_rank"]), key=lambda c: c["size_rank"])[:10]
            ),
            **provenance.metadata(),
        },
    )
