"""From the files that regulators serve today to facts: pure functions over bytes, and how they join what is known.

Formats: company_tickers_exchange.json and submissions/CIK##########.json of the SEC
(https://www.sec.gov/os/accessing-edgar-data), corpCode.xml of OpenDART (https://opendart.fss.or.kr/guide). Asking for
the files is a resource's business. Such a file says what is true on the day it was served (`seen_on`); earlier days
come from the facts it is merged into.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
from lxml import etree

from ledgerline.errors import LedgerlineError
from ledgerline.names.facts import Facts, facts_from_rows, valid_on
from ledgerline.names.normalise import normalise
from ledgerline.names.tables import TABLES

SMALL_LIST = 100  # tickers; below it half of them may well be gone
MAX_CORP_CODE_BYTES = 256 * 1024 * 1024  # 18 MB in 2026; more is not this file
Row = dict[str, Any]


def edgar_listings(tickers_exchange: bytes, *, seen_on: date, submissions: Iterable[bytes] = ()) -> Facts:
    """Facts from company_tickers_exchange.json, and former names from submissions JSON of some companies.

    The order of the file is that of market capitalisation. Raises LedgerlineError for any other file.
    """
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    known: dict[str, Row] = {}
    for cik, name, ticker, exchange in _sec_rows(tickers_exchange):
        company = f"cik:{int(cik):010d}"
        if company not in known:
            known[company] = {
                "company_id": company,
                "name": name,
                "country": "US",
                "listed": True,
                "size_rank": len(known) + 1,
            }
            rows["names"].append(_name(company, name, "name", "en", seen_on.isoformat(), None, "sec"))
        rows["securities"].append(_security(company, ticker, exchange or "US", None, seen_on, "sec"))
    for body in submissions:
        rows["names"] += [row for row in former_names(body) if row["company_id"] in known]
    return facts_from_rows({**rows, "companies": known.values()})


def former_names(submissions: bytes) -> list[Row]:
    """Rows of `names` from the formerNames of one submissions JSON: {"name", "from", "to"} with ISO times."""
    try:
        filer = json.loads(submissions)
        company = f"cik:{int(filer['cik']):010d}"
        return [
            _name(company, old["name"], "name", "en", _day(old.get("from")), _day(old.get("to")), "sec")
            for old in filer.get("formerNames", [])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerlineError(
            f"A submissions JSON of the SEC cannot be read ({error!r}); fetch CIK##########.json again."
        ) from error


def dart_listings(corp_code_zip: bytes, *, seen_on: date) -> Facts:
    """Facts from the ZIP of corpCode.xml: listed firms with their code, and all others as companies without a listing.

    The file does not name the exchange: it is "KRX" until merged into facts that know it.
    """
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    seen: set[str] = set()
    for code, name, english, stock in _corp_codes(corp_code_zip):
        company = f"dart:{code}"
        if company in seen or not name:
            continue
        seen.add(company)
        rows["companies"].append(
            {"company_id": company, "name": name, "country": "KR", "listed": bool(stock), "size_rank": None}
        )
        # Only a listed firm's name is known to be new or old; the others are there to be told apart.
        rows["names"].append(_name(company, name, "legal", "ko", seen_on.isoformat() if stock else None, None, "dart"))
        if stock:
            rows["securities"].append(_security(company, stock, "KRX", "common", seen_on, "dart"))
            if english:
                rows["names"].append(_name(company, english, "english", "en", seen_on.isoformat(), None, "dart"))
    return facts_from_rows(rows)


def merge_facts(base: Facts, fresh: Facts, *, seen_on: date) -> Facts:
    """Facts as they are once a regulator's file of `seen_on` is known.

    What both say stays with its earlier first day. An open ticker or own name that the file no longer gives to a
    company of its kind ends on the eve. Aliases, people and successors stay as they are. Neither input is changed.
    """
    day = seen_on.isoformat()
    kind = _prefixes(fresh)
    companies = {row["company_id"]: row for row in base.companies.to_pylist()}
    for row in fresh.companies.to_pylist():
        old = companies.get(row["company_id"], {})
        rank = row["size_rank"] if row["size_rank"] is not None else old.get("size_rank")
        companies[row["company_id"]] = {**row, "size_rank": rank, "listed": row["listed"] or old.get("listed", False)}
    securities = _merge(base.securities, fresh.securities, "ticker", day, kind)
    names = _merge(base.names, fresh.names, "name", day, kind)
    successors = base.successors.to_pylist() + fresh.successors.to_pylist()
    return facts_from_rows(
        {"companies": companies.values(), "securities": securities, "names": names, "successors": successors}
    )


def join_facts(known: Facts, bundled: Facts) -> Facts:
    """What is known, and what newer bundled facts add to it. An edge that is known keeps the days it is known with."""
    if known == bundled:
        return known
    identity = {
        "companies": ("company_id",),
        "securities": ("company_id", "ticker", "valid_from"),
        "names": ("company_id", "name", "kind", "valid_from"),
        "successors": ("company_id", "successor_id"),
    }
    joined = {}
    for table, columns in identity.items():
        rows = getattr(known, table).to_pylist()
        there = {tuple(row[column] for column in columns) for row in rows}
        more = getattr(bundled, table).to_pylist()
        joined[table] = rows + [row for row in more if tuple(row[column] for column in columns) not in there]
    return facts_from_rows(joined)


def refuse_short_list(base: Facts, fresh: Facts, *, name: str) -> None:
    """Raises LedgerlineError if the list lacks more than half of the open tickers: it is taken for cut off, since a
    merge would end them all. In a year of the SEC's list a tenth of the tickers goes."""
    kind = _prefixes(fresh)
    there = {(row["company_id"], row["ticker"]) for row in fresh.securities.to_pylist()}
    held = [
        row for row in base.securities.to_pylist() if row["valid_to"] is None and row["company_id"].startswith(kind)
    ]
    gone = sum((row["company_id"], row["ticker"]) not in there for row in held)
    if len(held) >= SMALL_LIST and gone > len(held) / 2:
        raise LedgerlineError(
            f"{name} has {len(there):,} tickers and lacks {gone:,} of the {len(held):,} that are open: it seems cut off "
            "and is not merged; fetch it again, and look at it if it stays so."
        )


def _merge(base: pa.Table, fresh: pa.Table, column: str, day: str, kind: tuple[str, ...]) -> list[Row]:
    eve = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
    given = fresh.to_pylist()
    current: dict[str, set[str]] = defaultdict(set)
    for row in given:
        if valid_on(day, row["valid_from"], row["valid_to"]):
            current[row["company_id"]].add(_key(row, column))
    merged: list[Row] = []
    kept: set[tuple[str, str, str | None]] = set()
    for row in base.to_pylist():
        company, key = row["company_id"], _key(row, column)
        ends = (
            row["valid_to"] is None
            and (row["valid_from"] or "") <= eve
            and company.startswith(kind)
            and key not in current.get(company, ())
            and _may_end(row, column, spoken_of=company in current)
        )
        merged.append({**row, "valid_to": eve} if ends else row)
        kept.add((company, key, merged[-1]["valid_to"]))
    new = (row for row in given if (row["company_id"], _key(row, column), row["valid_to"]) not in kept)
    ended = {(company, key) for company, key, end in kept if end}
    # DART leaves a firm its stock code when the share is delisted: such a row opens no ticker that has ended.
    return merged + [row for row in new if not (_is_dart_ticker(row) and (row["company_id"], row["ticker"]) in ended)]


def _is_dart_ticker(row: Row) -> bool:
    return "ticker" in row and row["source"] == "dart"


def _key(row: Row, column: str) -> str:
    """Names that differ in case and punctuation alone are one name."""
    return normalise(row["name"]) if column == "name" else row["ticker"]


def _may_end(row: Row, column: str, *, spoken_of: bool) -> bool:
    """Whether the silence of a regulator's list ends an edge: it names every common share, but not the funds that a
    person added, nor what people call a company; and a company keeps its last name when it is no longer listed."""
    if column == "ticker":
        listed_there = row["share_class"] == "common" or not row["company_id"].startswith("dart:")
        return listed_there and (spoken_of or row["source"] != "ledgerline")
    return spoken_of and row["kind"] in ("name", "legal", "english") and row["source"] in ("sec", "dart")


def _prefixes(facts: Facts) -> tuple[str, ...]:
    return tuple(sorted({one.split(":")[0] + ":" for one in facts.companies["company_id"].to_pylist()}))


def _sec_rows(body: bytes) -> list[list[Any]]:
    try:
        table = json.loads(body)
        order = [table["fields"].index(field) for field in ("cik", "name", "ticker", "exchange")]
        rows = [[row[at] for at in order] for row in table["data"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise LedgerlineError(
            f"company_tickers_exchange.json of the SEC cannot be read ({error!r}, starts with {body[:60]!r}); "
            "fetch it again, with a contact e-mail in EDGAR_USER_AGENT."
        ) from error
    if not rows:
        raise LedgerlineError("company_tickers_exchange.json of the SEC has no rows; fetch it again.")
    return rows


def _corp_codes(body: bytes) -> list[tuple[str, str, str, str]]:
    """(corp_code, name, English name, stock code or "") of every firm of the ZIP. Its member dates are no dates."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            member = next(one for one in archive.infolist() if one.filename.upper().endswith("CORPCODE.XML"))
            if member.file_size > MAX_CORP_CODE_BYTES:
                raise LedgerlineError(
                    f"CORPCODE.xml of DART claims {member.file_size} bytes, more than {MAX_CORP_CODE_BYTES}; "
                    "look at the file before it is read."
                )
            root = etree.fromstring(
                archive.read(member), etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
            )
    except (zipfile.BadZipFile, StopIteration, etree.XMLSyntaxError, NotImplementedError) as error:
        raise LedgerlineError(
            f"corpCode.xml of DART cannot be read ({error!r}, starts with {body[:60]!r}); "
            "check DART_API_KEY and fetch it again."
        ) from error
    fields = ("corp_code", "corp_name", "corp_eng_name", "stock_code")
    rows = [tuple((item.findtext(field) or "").strip() for field in fields) for item in root.iter("list")]
    if not rows:
        raise LedgerlineError("corpCode.xml of DART has no firms; fetch it again.")
    return rows  # type: ignore[return-value]


def _name(company: str, name: str, kind: str, language: str, start: str | None, end: str | None, source: str) -> Row:
    return {
        "company_id": company, "name": name.strip(), "kind": kind, "language": language,
        "valid_from": start, "valid_to": end, "source": source,
    }  # fmt: skip


def _security(company: str, ticker: str, exchange: str, share_class: str | None, seen_on: date, source: str) -> Row:
    return {
        "company_id": company, "ticker": ticker, "exchange": exchange, "share_class": share_class,
        "valid_from": seen_on.isoformat(), "valid_to": None, "source": source,
    }  # fmt: skip


def _day(stamp: str | None) -> str | None:
    return stamp[:10] if stamp else None
