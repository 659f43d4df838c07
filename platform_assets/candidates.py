"""The `candidate_index`, `labelled_candidates` and `candidate_sets` assets. Retrieval is in `ledgerline.mapping`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.ports import Lake
from platform_assets.automation import when_listings_change
from platform_assets.days import SINGLE_RUN, derive_days
from platform_assets.knowledge_graph import VersionProvenance, knowledge_graph
from platform_assets.listings import listings
from platform_assets.mentions import mentions
from platform_assets.owners import QUANT
from platform_assets.partitions import source_day

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    deps=[listings],
    group_name="ticker_mapping",
    owners=[QUANT],
    kinds={"python", "tantivy"},
    automation_condition=when_listings_change(),
)
def candidate_index(
    lake: dg.ResourceParam[Lake], candidate_index_store: dg.ResourceParam[CandidateIndex]
) -> dg.MaterializeResult:
    """A search index over every dated name and alias: exact, BM25 on words, character n-grams; English and Korean.

    Equal names give an equal version, which is not loaded again. A version becomes visible by one swap of the alias.
    """
    from ledgerline.mapping.candidates import name_entries
    from ledgerline.names.facts import facts_from_lake
    from platform_assets.plots import table

    entries = list(name_entries(facts_from_lake(lake)))
    version = candidate_index_store.build(entries)
    candidate_index_store.promote(version)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **VersionProvenance(version=version, entries=len(entries)).metadata(),
            "preview": table([{"name": e.name, "kind": e.kind, "company": e.company_id} for e in entries[:10]]),
        },
    )
