"""Arrow schemas of the lake tables of ticker mapping."""

from __future__ import annotations

import pyarrow as pa

from ledgerline.filings.tables import UTC

MENTIONS = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),
        ("mention_id", pa.string()),  # "<document_id>:<start>:<end>"
        ("document_id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("surface", pa.string()),
        ("left", pa.string()),  # up to 160 characters before
        ("right", pa.string()),  # up to 160 characters after
        ("language", pa.string()),
        ("as_of", pa.string()),  # ISO day of the document's available_at
    ]
)
EDGE = pa.struct([(name, pa.string()) for name in ("from_id", "label", "to_id", "valid_from", "valid_to", "source")])
CANDIDATE_SETS = pa.schema(
    [  # one row per (mention, candidate), best first
        ("source", pa.string()),
        ("day", pa.string()),
        ("mention_id", pa.string()),
        ("position", pa.int32()),
        ("company_id", pa.string()),
        ("best_name", pa.string()),
        ("channels", pa.list_(pa.string())),
        ("features", pa.list_(pa.float32())),  # in the order of ledgerline.mapping.features.FEATURES
        ("path", pa.list_(EDGE)),
        ("index_version", pa.string()),
        ("graph_version", pa.string()),
    ]
)
LABELLED_CANDIDATES = pa.schema(
    [  # what a ranker learns from
        ("mention_id", pa.string()),
        ("surface", pa.string()),
        ("kind", pa.string()),  # how the example was made: former_name, lower_case_word, subsidiary, ...
        ("group", pa.string()),  # entity the split must not tear apart (company_id of the truth or of the trap)
        ("as_of", pa.string()),
        ("truth", pa.string()),  # the company that is right, null: none; it may be missing among the candidates
        ("position", pa.int32()),
        ("company_id", pa.string()),  # null in the only row of a mention that has no candidate at all
        ("feature_set", pa.string()),  # ledgerline.mapping.features.FEATURE_SET
        ("features", pa.list_(pa.float32())),
        ("label", pa.int8()),  # 1: this candidate is the answer; a mention whose answer is none has no 1
    ]
)
TICKER_MAPPINGS = pa.schema(
    [  # one row per mention
        ("source", pa.string()),
        ("day", pa.string()),
        ("mention_id", pa.string()),
        ("document_id", pa.string()),
        ("surface", pa.string()),
        ("company_id", pa.string()),  # null: none
        ("ticker", pa.string()),
        ("exchange", pa.string()),
        ("score", pa.float64()),  # calibrated probability that company_id is right (or that the best was)
        (
            "none_reason",
            pa.string(),
        ),  # no_candidate | below_threshold | not_grounded | not_listed_as_of, null if linked
        ("as_of", pa.string()),
        ("path", pa.list_(EDGE)),
        ("model_digest", pa.string()),
        ("index_version", pa.string()),
        ("graph_version", pa.string()),
        ("mapped_at", UTC),
    ]
)
