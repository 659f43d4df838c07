"""The `ticker_mappings` asset: which ticker each mention means, by the live ranker, grounded."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import dagster as dg

from ledgerline.mapping.ports import KnowledgeGraph
from ledgerline.ports import Lake
from ledgerline.release.model_platform import ModelPlatform
from platform_assets.candidates import candidate_sets
from platform_assets.days import SINGLE_RUN, derive_days
from platform_assets.owners import QUANT
from platform_assets.partitions import parse_partition_key, source_day

if TYPE_CHECKING:
    import pyarrow as pa

RANKER = "ticker_ranker"  # the model project whose live endpoint is asked


@dg.asset(
    deps=[candidate_sets, dg.AssetKey([RANKER, "live_endpoint"])],
    partitions_def=source_day,
    backfill_policy=SINGLE_RUN,
    group_name="ticker_mapping",
    owners=[QUANT],
    kinds={"python", "deltalake", "sagemaker"},
    pool="ranker_endpoint",
    retry_policy=dg.RetryPolicy(max_retries=1, delay=10),  # an endpoint that was switched in the middle of a day
)
def ticker_mappings(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    knowledge_graph_store: dg.ResourceParam[KnowledgeGraph],
    sagemaker: dg.ResourceParam[ModelPlatform],
) -> dg.MaterializeResult:
    """One row per mention: the company and its ticker as of the document's day, or none and why.

    Asks the live endpoint in batches, then applies the grounding rule: no ticker without a literal name or a graph path.
    Each row carries the calibrated score, the path that proves it, and the versions of model, index and graph.
    """
    from ledgerline.mapping.quality import summarise
    from ledgerline.mapping.ranking import CONTENT_TYPE
    from ledgerline.mapping.rows import mapping_rows
    from ledgerline.projects.config import endpoint_name
    from platform_assets.plots import histogram, table

    endpoint = endpoint_name(RANKER)
    live = sagemaker.describe_endpoint(endpoint)
    if live is None:
        raise dg.Failure(
            f"Endpoint {endpoint} is not live. Approve a candidate of {RANKER} and materialize {RANKER}/live_endpoint.",
            allow_retries=False,
        )

    def make(rows: "pa.Table", key: str) -> "tuple[pa.Table, Mapping[str, Any]]":
        source, day = parse_partition_key(key)
        mentions = lake.read("mentions", where={"source": source, "day": day.isoformat()})
        asked = OneModel(sagemaker, endpoint, CONTENT_TYPE)
        made = mapping_rows(
            mentions,
            rows,
            graph=knowledge_graph_store,
            ask=asked.ask,
            model_digest=asked.digest,
            mapped_at=datetime.now(timezone.utc),
        )
        summary = summarise(made)
        return made, {
            "mentions": made.num_rows,
            "linked": summary.linked,
            "none": made.num_rows - summary.linked,
            "why none": table(summary.none_reasons),
            "most linked": table(summary.most_linked),
            "scores": histogram("Score of the best candidate", summary.scores, x="calibrated probability"),
            "model digest": asked.digest() if made.num_rows else "",
        }

    written = derive_days(
        context, lake, made_from="candidate_sets", table="ticker_mappings", make=make, also=str(live.model_digest)
    )
    return dg.MaterializeResult(metadata={"mappings in run": sum(written.values())})


class OneModel:
    """Asks an endpoint and insists that one model gives all the answers of a day: a mix could not be named."""

    def __init__(self, platform: ModelPlatform, endpoint: str, content_type: str) -> None:
        self.platform = platform
        self.endpoint = endpoint
        self.content_type = content_type
        self.digests: set[str] = set()

    def ask(self, body: bytes) -> bytes:
        answer = self.platform.invoke(self.endpoint, body, self.content_type)
        if answer.model_digest:
            self.digests.add(answer.model_digest)
        return answer.body

    def digest(self) -> str:
        """The digest of the model that answered. Raises dagster.Failure if there were two: the step is tried again."""
        if not self.digests:
            state = self.platform.describe_endpoint(self.endpoint)
            self.digests.add(str(state.model_digest) if state else "")
        if len(self.digests) > 1:
            raise dg.Failure(
                f"Endpoint {self.endpoint} was switched to another model while the day was mapped; try again."
            )
        return next(iter(self.digests))
