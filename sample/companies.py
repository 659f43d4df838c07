"""The real companies that the sample archive speaks of, and the spellings under which a text may name them."""

# ruff: noqa: SIM905  plain words read best as a sentence
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.compute as pc

from ledgerline.names.facts import Facts, load_facts, valid_on

FACTS = Path(__file__).resolve().parent / "facts"
# Some that are worth having in every archive: renamed, succeeded, initials, common words, several share classes.
NOTED = (
    "AAPL GOOGL META MSFT AMZN NVDA IBM AMD TGT GAP V GE GM F T DIS BRK-B RTX HPQ HPE DELL TSLA XYZ NKE INTC ORCL SNAP "
    "UPS FDX KO PEP MCD XOM WMT BA LMT DE LLY PG JNJ BAC JPM C GS WFC AIG ADP TSM BABA TMUS CVX PFE MRK AVGO LIN CB "
    "ELV BKNG WTW RVTY ATGE GEN PARA FI COR VTRS EXPE TPR CPRI BBWI HWM ARNC TRV ZTS KHC MDLZ"
).split()
MOST_US, MOST_KR = 420, 160
_FORM = re.compile(
    r"[,.]?\s+(?:inc|incorporated|corp|corporation|co|company|companies|ltd|limited|llc|l\.?p|plc|n\.?v|s\.?a|ag|se)\.?$"
    r"|\s*/[A-Za-z ]{2,4}/?$|\s*\(.*\)$",
    re.IGNORECASE,
)
_SMALL_WORDS = {"Of": "of", "And": "and", "The": "the", "For": "for", "In": "in"}


@dataclass(frozen=True, slots=True)
class Company:
    """A listed company: its id at the regulator (CIK of 10 digits or corp_code of 8), and its spellings."""

    id: str
    name: str
    short: str
    ticker: str
    exchange: str
    former: tuple[str, ...]
    aliases: tuple[str, ...]


def american_companies(day: str) -> list[Company]:
    """Companies with a CIK and a US ticker on the day, the largest ones and the noted ones, by CIK."""
    return _companies("cik:", "US", day, ("name",), MOST_US, frozenset(NOTED))


def korean_companies(day: str) -> list[Company]:
    """Companies with a corp_code and a KRX code on the day, the largest ones, by corp_code."""
    return _companies("dart:", "KR", day, ("name", "legal"), MOST_KR, frozenset())


def unlisted_korean(count: int) -> list[tuple[str, str]]:
    """(corp_code, name) of some firms without a listing, evenly spread over the list."""
    companies = _facts().companies
    rows = companies.filter(pc.invert(companies["listed"])).select(["company_id", "name"]).to_pylist()
    rows = [row for row in rows if row["company_id"].startswith("dart:") and 3 <= len(row["name"]) <= 12]
    step = max(1, len(rows) // count)
    return [(row["company_id"][5:], row["name"]) for row in rows[::step][:count]]


@cache
def _facts() -> Facts:
    return load_facts(FACTS)


def _companies(
    prefix: str, country: str, day: str, kinds: tuple[str, ...], most: int, noted: frozenset[str]
) -> list[Company]:
    facts = _facts()
    ranked = facts.companies.filter(pc.equal(facts.companies["country"], country)).drop_null()
    ranked = ranked.filter(pc.less_equal(ranked["size_rank"], most * 4))
    listed: dict[str, dict[str, str]] = {}
    for row in facts.securities.filter(pc.is_in(facts.securities["company_id"], ranked["company_id"])).to_pylist():
        if valid_on(day, row["valid_from"], row["valid_to"]) and row["share_class"] not in ("preferred", "warrant"):
            listed.setdefault(row["company_id"], row)
    spelled: dict[str, list[dict[str, str]]] = {}
    for row in facts.names.filter(pc.is_in(facts.names["company_id"], ranked["company_id"])).to_pylist():
        spelled.setdefault(row["company_id"], []).append(row)
    made = []
    for row in ranked.to_pylist():
        one = row["company_id"]
        if not one.startswith(prefix) or one not in listed or len(listed[one]["ticker"]) > 6:
            continue
        if row["size_rank"] > most and listed[one]["ticker"] not in noted:
            continue
        names = [name for name in spelled[one] if name["kind"] in kinds]
        former = [name["name"] for name in names if not valid_on(day, name["valid_from"], name["valid_to"])]
        aliases = [n["name"] for n in spelled[one] if n["kind"] == "alias" and n["source"] == "ledgerline"
                   and valid_on(day, n["valid_from"], n["valid_to"])]  # fmt: skip
        name = readable(row["name"])
        made.append(
            Company(
                id=one.split(":")[1],
                name=name,
                short=short_name(name),
                ticker=listed[one]["ticker"],
                exchange=listed[one]["exchange"],
                former=tuple(readable(old) for old in sorted(former)),
                aliases=tuple(sorted(aliases)),
            )
        )
    return sorted(made, key=lambda company: company.id)


def readable(name: str) -> str:
    """A name that is all capitals as a text would write it; others as they are, without EDGAR's state tag."""
    name = re.sub(r"\s*/[A-Za-z ]{2,4}/?$", "", name.strip())
    if len(name) <= 4 or not name.isascii():
        return name
    words = [word.title() if name.isupper() and len(word) > 2 else word for word in name.split()]
    return " ".join(words[:1] + [_SMALL_WORDS.get(word.title(), word) for word in words[1:]]).replace("'S", "'s")


def short_name(name: str) -> str:
    """The name without its legal form: "Apple Inc." -> "Apple"."""
    while True:
        shorter = _FORM.sub("", name).rstrip(" ,&.").removesuffix(" and")
        if shorter == name or len(shorter) < 3:
            return name
        name = shorter
