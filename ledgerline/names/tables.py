"""Arrow schemas of the `listings` asset's tables. Dates are ISO days; an open end is null. A company is the entity:

company_id is `cik:0000320193` (EDGAR), `dart:00126380` (DART corp_code), or `krx:005930` for a KRX code without corp_code.
"""

from __future__ import annotations

import pyarrow as pa

COMPANIES = pa.schema(
    [
        ("company_id", pa.string()),
        ("name", pa.string()),  # newest known name
        ("country", pa.string()),  # US | KR: the market it is listed on here
        ("listed", pa.bool_()),  # False: a known company without a listing (a DART negative)
        ("size_rank", pa.int32()),  # 1 = largest by market capitalisation, null unknown
    ]
)
SECURITIES = pa.schema(
    [  # a ticker is a dated edge
        ("company_id", pa.string()),
        ("ticker", pa.string()),
        ("exchange", pa.string()),
        ("share_class", pa.string()),  # "common", "preferred", "A", ..., null unknown
        ("valid_from", pa.string()),
        ("valid_to", pa.string()),
        ("source", pa.string()),
    ]
)
NAMES = pa.schema(
    [
        ("company_id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),  # name | alias | english | legal | person | product
        ("language", pa.string()),  # en | ko
        ("valid_from", pa.string()),
        ("valid_to", pa.string()),
        ("source", pa.string()),
    ]
)
SUCCESSORS = pa.schema(
    [
        ("company_id", pa.string()),  # the predecessor
        ("successor_id", pa.string()),
        ("day", pa.string()),
        ("source", pa.string()),
    ]
)
TABLES = {"companies": COMPANIES, "securities": SECURITIES, "names": NAMES, "successors": SUCCESSORS}
