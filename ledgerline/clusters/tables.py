"""Arrow schema of the lake table `clusters`: one row per document that was looked at, founders included.

`cluster_id` is the document_id of the cluster's founder and never changes once given.
"""

from __future__ import annotations

import pyarrow as pa

CLUSTERS = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),  # the partition of the document
        ("document_id", pa.string()),
        ("cluster_id", pa.string()),
        ("linked_to", pa.string()),  # document_id of the nearest earlier document, null for a founder
        ("similarity", pa.float64()),  # 0..1, null for a founder
        ("relation", pa.string()),  # copy | revision | near_duplicate, null for a founder
        (
            "shared_features",
            pa.list_(pa.string()),
        ),  # the rarest shared words and phrases: what a person can read as proof
        ("available_at", pa.timestamp("us", tz="UTC")),
    ]
)
