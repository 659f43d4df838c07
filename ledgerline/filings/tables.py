"""Arrow schemas of the lake tables `filings` and `documents`. Timestamps are UTC with microseconds; days are ISO strings."""

from __future__ import annotations

import pyarrow as pa

UTC = pa.timestamp("us", tz="UTC")

FILINGS = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),  # the regulator's calendar day, ISO; with `source` the partition
        ("filing_id", pa.string()),  # accession number or rcept_no; unique with `source`
        ("form", pa.string()),
        ("title", pa.string()),
        ("party_ids", pa.list_(pa.string())),  # CIK (10 digits) or corp_code (8)
        ("party_names", pa.list_(pa.string())),
        ("party_roles", pa.list_(pa.string())),
        ("period", pa.string()),  # ISO day of CONFORMED PERIOD OF REPORT; null where the header names none
        ("corrects", pa.string()),  # the filing_id that this one amends, null where it amends none that is known
        ("accepted_at", UTC),  # null where the regulator gives no time of day (DART)
        ("first_seen_at", UTC),
        ("available_at", UTC),  # point-in-time joins use this one
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("uri", pa.string()),  # the kept bytes, also of a refused filing
        ("state", pa.string()),  # published | refused
        ("reason", pa.string()),  # code, null unless refused
        ("detail", pa.string()),
        ("version", pa.int32()),  # 1, and one more for each change of bytes
        ("parser_version", pa.string()),  # of the code that found it valid; null where refused
    ]
)

DOCUMENTS = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),
        ("filing_id", pa.string()),
        ("document_id", pa.string()),  # "<source>:<filing_id>:<sequence>"
        ("form", pa.string()),
        ("sequence", pa.int32()),
        ("type", pa.string()),
        ("filename", pa.string()),
        ("description", pa.string()),
        ("language", pa.string()),
        ("text", pa.string()),
        ("characters", pa.int64()),
        ("binary_bytes", pa.int64()),
        (
            "sections",
            pa.list_(
                pa.struct(
                    [
                        ("name", pa.string()),
                        ("title", pa.string()),
                        ("start", pa.int64()),
                        ("end", pa.int64()),
                    ]
                )
            ),
        ),
        ("available_at", UTC),
    ]
)

# The regulator's own list of each day as it was read last: one row per day. An empty list is a day without filings.
DAY_INDEX = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),
        ("filing_ids", pa.list_(pa.string())),  # all that it lists, of whatever filing day, sorted
        ("confirmed", pa.list_(pa.string())),  # known, not listed, and dated to the day by a second witness
        ("final", pa.bool_()),  # the regulator adds nothing any more
        ("written_at", UTC),  # null where the regulator does not say
        ("read_at", UTC),
    ]
)

# Days that were proved complete: one row per day.
COMPLETE_DAYS = pa.schema(
    [
        ("source", pa.string()),
        ("day", pa.string()),
        ("filings", pa.int64()),  # that the regulator lists
        ("index_digest", pa.string()),  # of their ids
        ("proved_at", UTC),
    ]
)
