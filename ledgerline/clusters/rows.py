"""Between the lake and `near_duplicates`: documents of a day in, rows of the `clusters` table out, and the kept state."""

from __future__ import annotations

import pyarrow as pa

from ledgerline.clusters.near_duplicates import ClusterDocument, NearDuplicates
from ledgerline.clusters.tables import CLUSTERS
from ledgerline.engines import Engine
from ledgerline.ports import ObjectStore


def load_state(objects: ObjectStore, uri: str) -> NearDuplicates:
    """The clusters so far, or none yet. A state that is damaged or of another version raises LedgerlineError."""
    return NearDuplicates.from_bytes(objects.get(uri)) if objects.exists(uri) else NearDuplicates()


def cluster_rows(
    documents: pa.Table, filings: pa.Table, state: NearDuplicates, engine: Engine | None = None
) -> pa.Table:
    """Rows (schema CLUSTERS) of a day's documents with text, assigned in the order in which they became available.

    `filings` gives each filing's parties: the issuer, who makes a revision a revision. `state` learns the documents; their
    texts are hashed on `engine`.
    """
    parties = dict(zip(filings["filing_id"].to_pylist(), filings["party_ids"].to_pylist(), strict=True))
    arrived = sorted(
        (row for row in documents.to_pylist() if row["characters"]),
        key=lambda row: (row["available_at"], row["document_id"]),
    )
    links = state.assign(
        [
            ClusterDocument(
                row["document_id"],
                row["text"],
                issuer=" ".join(sorted(parties.get(row["filing_id"]) or [])),
                form=row["type"] or row["form"],
            )
            for row in arrived
        ],
        engine,
    )
    rows = [
        {
            "source": row["source"],
            "day": row["day"],
            "document_id": link.document_id,
            "cluster_id": link.cluster_id,
            "linked_to": link.linked_to,
            "similarity": link.similarity,
            "relation": link.relation,
            "shared_features": list(link.shared_features),
            "available_at": row["available_at"],
        }
        for row, link in zip(arrived, links, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=CLUSTERS)
