"""The `candidate_index`, `labelled_candidates` and `candidate_sets` assets. Retrieval is in `ledgerline.mapping`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.ports import Lake, ObjectStore
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
    lake: dg.ResourceParam[Lake],
    object_store: dg.ResourceParam[ObjectStore],
    candidate_index_store: dg.ResourceParam[CandidateIndex],
) -> dg.MaterializeResult:
    """A search index over every dated name and alias: exact, BM25 on words, character n-grams; English and Korean.

    Equal names give an equal version, which is not loaded again. A version becomes visible by one swap of the alias.
    """
    from ledgerline.mapping.candidates import name_entries
    from ledgerline.mapping.features import name_stats
    from ledgerline.mapping.rows import stats_key
    from ledgerline.names.lake import facts_from_lake
    from platform_assets.plots import table

    facts = facts_from_lake(lake)
    entries = name_entries(facts)
    version = candidate_index_store.build(entries)
    # Features need counts over all names; they belong to the version, so that a model and an index never mix.
    object_store.put(object_store.uri(*stats_key(version)), name_stats(facts).to_json().encode())
    candidate_index_store.promote(version)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata={
            **VersionProvenance(version=version, entries=len(entries)).metadata(),
            "preview": table([{"name": e.name, "kind": e.kind, "company": e.company_id} for e in entries[:10]]),
        },
    )


@dg.asset(
    deps=[listings, candidate_index, knowledge_graph],
    group_name="ticker_mapping",
    owners=[QUANT],
    kinds={"python", "deltalake"},
    automation_condition=when_listings_change(),
)
def labelled_candidates(
    lake: dg.ResourceParam[Lake],
    object_store: dg.ResourceParam[ObjectStore],
    candidate_index_store: dg.ResourceParam[CandidateIndex],
    knowledge_graph_store: dg.ResourceParam[KnowledgeGraph],
) -> dg.MaterializeResult:
    """What a ranker learns from: generated mentions of known companies (and of none), with their candidates and the answer.

    Made from the dated facts alone, seeded: equal facts give equal rows. No real text is in it.
    """
    from ledgerline.digests import table_digest
    from ledgerline.mapping.labelled import labelled_candidate_rows
    from ledgerline.mapping.rows import load_stats
    from ledgerline.names.lake import facts_from_lake
    from platform_assets.plots import bars, table

    rows = labelled_candidate_rows(
        facts_from_lake(lake),
        index=candidate_index_store,
        graph=knowledge_graph_store,
        stats=load_stats(object_store, candidate_index_store),
    )
    digest = table_digest(rows)
    if lake.version("labelled_candidates") is None or table_digest(lake.read("labelled_candidates")) != digest:
        lake.replace("labelled_candidates", rows, where={})
    kinds = rows.group_by("kind").aggregate([("mention_id", "count_distinct"), ("label", "sum")]).to_pylist()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest),
        metadata={
            "rows": rows.num_rows,
            "lake version": lake.version("labelled_candidates"),
            "mentions per kind": bars(
                "Mentions per kind", {kind["kind"]: kind["mention_id_count_distinct"] for kind in kinds}, x="kind"
            ),
            "kinds": table(
                [
                    {
                        "kind": kind["kind"],
                        "mentions": kind["mention_id_count_distinct"],
                        "with the answer among the candidates": kind["label_sum"],
                    }
                    for kind in kinds
                ]
            ),
        },
    )


@dg.asset(
    deps=[mentions, candidate_index, knowledge_graph],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="ticker_mapping",
    owners=[QUANT],
    kinds={"python", "tantivy", "sqlite"},
)
def candidate_sets(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    object_store: dg.ResourceParam[ObjectStore],
    candidate_index_store: dg.ResourceParam[CandidateIndex],
    knowledge_graph_store: dg.ResourceParam[KnowledgeGraph],
) -> dg.MaterializeResult:
    """For every mention the companies it may mean: exact, BM25, n-gram and graph candidates with their evidence.

    Each candidate carries its features for the ranker and, where there is one, the dated path that proves it.
    """
    from ledgerline.mapping.rows import candidate_rows, load_stats
    from platform_assets.plots import histogram, table

    stats = load_stats(object_store, candidate_index_store)
    versions = (str(candidate_index_store.current()), str(knowledge_graph_store.current()))

    def make(rows: "pa.Table", key: str) -> "tuple[pa.Table, Mapping[str, Any]]":
        made = candidate_rows(
            rows, index=candidate_index_store, graph=knowledge_graph_store, stats=stats, versions=versions
        )
        counts = [count["counts"] for count in made["mention_id"].value_counts().to_pylist()]
        channels: dict[str, int] = {}
        for found in made["channels"].to_pylist():
            for channel in found:
                channels[channel] = channels.get(channel, 0) + 1
        return made, {
            "mentions": rows.num_rows,
            "mentions without a candidate": rows.num_rows - len(counts),
            "candidates per mention": histogram("Candidates per mention", counts, x="candidates", bins=12),
            "candidates per channel": table(
                [{"channel": name, "candidates": channels[name]} for name in sorted(channels)]
            ),
            "index version": versions[0],
            "graph version": versions[1],
        }

    written = derive_days(
        context, lake, made_from="mentions", table="candidate_sets", make=make, also="+".join(versions)
    )
    return dg.MaterializeResult(metadata={"candidates in run": sum(written.values())})
