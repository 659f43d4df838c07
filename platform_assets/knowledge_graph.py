"""The `knowledge_graph` asset: companies, listings and names with dated edges, as a version of the graph."""

import dagster as dg

from ledgerline.mapping.ports import KnowledgeGraph
from ledgerline.ports import Lake
from platform_assets.automation import when_listings_change
from platform_assets.listings import listings
from platform_assets.owners import QUANT
from platform_assets.provenance import Provenance


class VersionProvenance(Provenance):
    """Which version of a store was built and made current, and from how many entries."""

    version: str
    entries: int


@dg.asset(
    deps=[listings],
    group_name="ticker_mapping",
    owners=[QUANT],
    kinds={"python", "sqlite"},
    automation_condition=when_listings_change(),
)
def knowledge_graph(
    lake: dg.ResourceParam[Lake], knowledge_graph_store: dg.ResourceParam[KnowledgeGraph]
) -> dg.MaterializeResult:
    """Names, tickers, successors and people as dated, sourced edges; every query takes `as_of`.

    Equal listings give an equal version, which is not loaded again. A version is visible only once it is whole.
    """
    from collections import Counter

    from ledgerline.mapping.graph import edges_of
    from ledgerline.names.lake import facts_from_lake
    from platform_assets.plots import table

    edges = list(edges_of(facts_from_lake(lake)))
    version = knowledge_graph_store.build(edges)
    knowledge_graph_store.promote(version)
    labels = Counter(edge.label for edge in edges)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **VersionProvenance(version=version, entries=len(edges)).metadata(),
            "edges per label": table([{"label": label, "edges": count} for label, count in labels.most_common()]),
        },
    )
