"""Builds `sample/facts` from collected public files: names, CIKs, KRX codes, tickers and dates; no sentence of a text.

`python -m sample.build_facts --ticker-data DIR`, where DIR is an unpacked folder with us_universe.csv, kr_universe.csv
and so on. How the bundled facts are read is in `ledgerline.names.facts`; what a person added by hand is in
`sample.known`. Files that regulators serve today are read by `ledgerline.names.listings`, not here.

From snapshots to dates. A collected file says what was true on snapshot days (50 between 2015-02-15 and 2026-06-01),
often months apart. What was known stays until the eve of the first snapshot that no longer shows it; what is new starts
on the day after the last snapshot without it, unless the earlier holder of the ticker (or the company's earlier ticker
or name) still fills that gap: then it starts at the snapshot that shows it. So each day of a gap has an answer, the
older one in doubt. The snapshots of 2015 come from two incomplete lists and are taken as one. Known days
(`sample.known`) go first.
"""

from __future__ import annotations

import argparse
import csv
import re
import zipfile
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ledgerline.names.facts import Facts, facts_from_rows, save_facts
from ledgerline.names.normalise import core, normalise, stem
from sample import known

FOLDER = Path(__file__).resolve().parent / "facts"
FIRST_ERA = ("2015-02-15", "2015-06-01")  # two incomplete lists of the same spring
RARE = 100  # a word in the names of at most so many companies ties an alias to one of them
DART_TEST_FIRM = "99999999"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticker-data", type=Path, required=True, help="unpacked folder with us_universe.csv")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    facts = build_facts(given.ticker_data)
    save_facts(facts, given.out)
    for name in ("companies", "securities", "names", "successors"):
        path = given.out / f"{name}.parquet"
        print(f"{name}: {getattr(facts, name).num_rows} rows, {path.stat().st_size} bytes")


def build_facts(folder: Path) -> Facts:
    """All four tables from the collected files, each sorted so that equal input gives equal bytes."""
    american, korean = _american(folder), _korean(folder)
    rows = {name: american[name] + korean[name] for name in american}
    rows["names"] = _without_repeats(rows["names"])
    rows["companies"].sort(key=lambda row: row["company_id"])
    rows["names"].sort(key=lambda row: (row["company_id"], row["kind"], row["valid_from"] or "", row["name"]))
    rows["successors"].sort(key=lambda row: (row["company_id"], row["successor_id"]))
    return facts_from_rows(rows)


# Dates ----------------------------------------------------------------------------------------------------------------


def day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


class Snapshots:
    """The days on which somebody looked; the days of the first era count as one."""

    def __init__(self, days: Iterable[str], first_era: Sequence[str]) -> None:
        self.first, self.first_end = min(first_era), max(first_era)
        self.days = sorted(day for day in set(days) | {self.first_end} if day >= self.first_end)

    def in_first_era(self, day: str) -> bool:
        return day <= self.first_end

    def before(self, day: str) -> str | None:
        at = bisect_left(self.days, max(day, self.first_end))
        return self.days[at - 1] if at else None

    def after(self, day: str) -> str | None:
        at = bisect_right(self.days, max(day, self.first_end))
        return self.days[at] if at < len(self.days) else None

    def ends(self, last_seen: str) -> str | None:
        """The last day of what was last seen then; None (open) at the newest snapshot."""
        following = self.after(last_seen)
        return day_before(following) if following else None

    def starts(self, first_seen: str, *, gap_is_filled: bool) -> str | None:
        """The first day of what was first seen then; None (open) in the first era."""
        previous = self.before(first_seen)
        if self.in_first_era(first_seen) or previous is None:
            return None
        return first_seen if gap_is_filled else day_after(previous)


# United States --------------------------------------------------------------------------------------------------------


def _american(folder: Path) -> dict[str, list[Row]]:
    universe = _read(folder / "us_universe.csv")
    tickers = _read(folder / "us_ticker_history.csv")
    history = _without_misread_names(_read(folder / "us_name_history.csv"), tickers)
    names = _american_names(history)
    securities = _american_securities(universe, tickers)
    successors = _american_successors(tickers, names)
    for cik, name, _exchange, first, last in known.EXTRA_COMPANIES:
        names.append(_name(_cik(cik), name, "name", "en", first, last, "ledgerline"))
    spelled = defaultdict(list)
    for row in names:
        spelled[row["company_id"]].append(row["name"])
    names += _aliases_of_tickers(
        folder, {row["ticker"]: _cik(row["cik"]) for row in reversed(universe)}, spelled, language="en"
    )
    for number, word, kind, aliases, first, last in known.US_NAMES:
        company = _cik(number)
        if not any(word.lower() in name.lower() for name in spelled[company]):
            raise SystemExit(f"sample/known.py: {company} has no name with {word!r}; correct the number.")
        names += [_name(company, alias, kind, "en", first, last, "ledgerline") for alias in aliases]
    rank: dict[str, int] = {}
    for row in universe:  # the SEC lists companies by market capitalisation
        rank.setdefault(_cik(row["cik"]), len(rank) + 1)
    listed = {row["company_id"] for row in securities}
    newest = {row["company_id"]: row["name"] for row in names if row["kind"] == "name" and row["valid_to"] is None}
    for row in names:
        newest.setdefault(row["company_id"], row["name"])
    companies = [
        {"company_id": one, "name": name, "country": "US", "listed": one in listed, "size_rank": rank.get(one)}
        for one, name in newest.items()
    ]
    return {"companies": companies, "securities": securities, "names": names, "successors": successors}


def _without_misread_names(history: list[Row], tickers: list[Row]) -> list[Row]:
    """Drops names that one list of 2015 gave to a wrong CIK by joining on a recycled ticker.

    Such a name comes from that list alone, shares no word with the CIK's other names, and is another CIK's name.
    """
    words: dict[str, Counter[str]] = defaultdict(Counter)
    owners: dict[str, set[str]] = defaultdict(set)
    for row in history:
        if row["sources"] != "pysec2015":
            words[row["cik"]].update(set(stem(row["name"]).split()))
            owners[stem(row["name"])].add(row["cik"])
    kept = []
    for row in history:
        elsewhere = owners[stem(row["name"])] - {row["cik"]}
        own = words.get(row["cik"])
        if row["sources"] == "pysec2015" and own and elsewhere and not set(stem(row["name"]).split()) & set(own):
            continue
        kept.append(row)
    return kept


def _american_names(history: list[Row]) -> list[Row]:
    """One row per company and name; spellings that differ only in case, punctuation or legal form are one name."""
    seen = Snapshots((row[end] for row in history for end in ("first_seen", "last_seen")), FIRST_ERA)
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in history:
        if core(row["name"]):
            groups[row["cik"]][core(row["name"])].append(row)
    made = []
    for cik, given in groups.items():
        spelled = _without_turned_names(given)
        spans = [
            (min(row["first_seen"] for row in rows), max(row["last_seen"] for row in rows), _best_spelling(rows))
            for rows in spelled.values()
        ]
        newest = max(last for _, last, _ in spans)
        for first, last, name in spans:
            filled = any(other_last == seen.before(first) for _, other_last, _ in spans)
            start = seen.starts(first, gap_is_filled=filled)
            # A company keeps its newest name also when it is no longer listed.
            made.append(_name(_cik(cik), name, "name", "en", start, None if last == newest else seen.ends(last), "sec"))
    return made


def _without_turned_names(spelled: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Drops the names that one list of 2015 turned round as it does with people: "Third Bancorp Fifth"."""
    certain = {key for key, rows in spelled.items() if any(row["sources"] != "rankandfiled" for row in rows)}
    straight = {tuple(sorted(key.split())) for key in certain}
    return {key: rows for key, rows in spelled.items() if key in certain or tuple(sorted(key.split())) not in straight}


def _best_spelling(rows: list[Row]) -> str:
    """The newest mixed-case spelling without a state tag, else the newest."""
    titled = {"rankandfiled", "sec-cik-mapper"}  # these lists change the case: "At&T Inc."

    def worth(row: Row) -> tuple[bool, bool, bool, str, str]:
        name, as_filed = row["name"], not set(row["sources"].split("|")) <= titled
        return ("/" not in name, not name.isupper(), as_filed, row["last_seen"], name)

    return max(rows, key=worth)["name"].strip()


def _american_securities(universe: list[Row], tickers: list[Row]) -> list[Row]:
    seen = Snapshots((row[end] for row in tickers for end in ("first_seen", "last_seen")), FIRST_ERA)
    exchange = {(row["cik"], row["ticker"]): row["exchange"] for row in universe}
    home = {row["cik"]: row["exchange"] for row in reversed(universe)}
    order = {(row["cik"], row["ticker"]): at for at, row in enumerate(universe)}
    days = {(str(cik), ticker): (first, last) for cik, ticker, first, last in known.TICKER_DAYS}
    holders, owned = defaultdict(list), defaultdict(list)
    for row in tickers:
        holders[row["ticker"]].append(row)
        owned[row["cik"]].append(row)
    made = []
    for row in tickers:
        cik, ticker, first, last = row["cik"], row["ticker"], row["first_seen"], row["last_seen"]
        others = [other for other in holders[ticker] if other["cik"] != cik]
        if any(_only_stale(row, other) for other in others):
            continue
        source = "sec"
        if (cik, ticker) in days:
            start, end = days.pop((cik, ticker))
            source = "ledgerline"
        else:
            ended_in_gap = [other for other in [*others, *owned[cik]] if other["last_seen"] == seen.before(first)]
            start = seen.starts(first, gap_is_filled=bool(ended_in_gap))
            end = last if any(other["first_seen"] <= last < other["last_seen"] for other in others) else seen.ends(last)
        made.append(
            {
                "company_id": _cik(cik),
                "ticker": ticker,
                # SEC gives the exchange of today's tickers only; "US" says no more than the country.
                "exchange": exchange.get((cik, ticker)) or home.get(cik) or "US",
                "share_class": _share_class(ticker, [other["ticker"] for other in owned[cik]]),
                "valid_from": start,
                "valid_to": end,
                "source": source,
            }
        )
    extra = {str(cik): place for cik, _, place, _, _ in known.EXTRA_COMPANIES}
    for (cik, ticker), (start, end) in days.items():
        if cik not in extra:
            raise SystemExit(f"sample/known.py: TICKER_DAYS has {ticker} of {cik}, which the files do not hold.")
        made.append(
            {
                "company_id": _cik(cik), "ticker": ticker, "exchange": extra[cik], "share_class": None,
                "valid_from": start, "valid_to": end, "source": "ledgerline",
            }
        )  # fmt: skip

    def preference(row: Row) -> tuple[Any, ...]:
        at = order.get((str(int(row["company_id"][4:])), row["ticker"]), len(order))
        side = row["share_class"] in ("preferred", "warrant", "unit", "right")
        return (row["company_id"], side, at, row["ticker"], row["valid_from"] or "")

    return sorted(made, key=preference)


def _only_stale(row: Row, other: Row) -> bool:
    """One list of 2015 still gave tickers to registrants whose successor already had them: seen once, by that list."""
    return (
        row["first_seen"] == row["last_seen"] == FIRST_ERA[1]
        and other["first_seen"] <= FIRST_ERA[1] < other["last_seen"]
    )


_CLASSED = re.compile(r"^[A-Z]+-([A-E])$")


def _share_class(ticker: str, others: Sequence[str]) -> str | None:
    """What the spelling of a ticker says; None where it says nothing (most are common shares)."""
    if ticker in known.SHARE_CLASSES:
        return known.SHARE_CLASSES[ticker]
    if re.search(r"-P[A-Z]?$", ticker):
        return "preferred"
    if re.search(r"-(WT|WS|W|WTA|WTB)$", ticker):
        return "warrant"
    if re.search(r"-(UN|U)$", ticker):
        return "unit"
    if re.search(r"-(RI|R|RT)$", ticker):
        return "right"
    if found := _CLASSED.match(ticker):
        return found.group(1)
    if len(ticker) == 5 and ticker[:4] in others:  # Nasdaq's fifth letter
        return {"W": "warrant", "U": "unit", "R": "right", "P": "preferred", "O": "preferred", "N": "preferred",
                "M": "preferred", "L": "preferred"}.get(ticker[4])  # fmt: skip
    return None


def _american_successors(tickers: list[Row], names: list[Row]) -> list[Row]:
    """Known successions, and those that show: a ticker went to another CIK with the same name, or a longer form of it,
    on adjacent snapshots, and the first CIK has no ticker any more. `day` is then the latest possible one."""
    seen = Snapshots((row[end] for row in tickers for end in ("first_seen", "last_seen")), FIRST_ERA)
    called: dict[str, set[str]] = defaultdict(set)
    for row in names:
        called[row["company_id"]].add(stem(row["name"]))
    gone = {cik: max(row["last_seen"] for row in rows) for cik, rows in _by(tickers, "cik").items()}
    born = {cik: min(row["first_seen"] for row in rows) for cik, rows in _by(tickers, "cik").items()}
    found: dict[tuple[str, str], str] = {}
    for rows in _by(tickers, "ticker").values():
        for old in rows:
            for new in rows:
                adjacent = new["first_seen"] <= (seen.after(old["last_seen"]) or "")
                if old["cik"] == new["cik"] or not adjacent or new["last_seen"] <= old["last_seen"]:
                    continue
                if gone[old["cik"]] > old["last_seen"]:
                    continue  # the first company lives on under another ticker
                same = called[_cik(old["cik"])] & called[_cik(new["cik"])]
                longer = any(_extends(a, b) for a in called[_cik(old["cik"])] for b in called[_cik(new["cik"])])
                fresh = born[new["cik"]] >= old["last_seen"] or _only_stale(old, new)
                if same or (longer and fresh):
                    day = max(new["first_seen"], old["first_seen"])
                    key = (_cik(old["cik"]), _cik(new["cik"]))
                    found[key] = min(day, found.get(key, day))
    source = dict.fromkeys(found, "sec")
    for old_cik, new_cik, day, _why in known.SUCCESSIONS:
        found[_cik(old_cik), _cik(new_cik)] = day
        source[_cik(old_cik), _cik(new_cik)] = "ledgerline"
    return [
        {"company_id": old, "successor_id": new, "day": day, "source": source[old, new]}
        for (old, new), day in found.items()
    ]


def _extends(one: str, other: str) -> bool:
    """Whether the words of one name begin the other: "dell" and "dell technologies"."""
    short, long = sorted((one.split(), other.split()), key=len)
    return bool(short) and long[: len(short)] == short and len(" ".join(short)) >= 4


def _aliases_of_tickers(
    folder: Path, company_of: dict[str, str], spelled: dict[str, list[str]], *, language: str
) -> list[Row]:
    """Aliases of an open table that is keyed by ticker alone, worldwide.

    Kept where the ticker is one here and the alias shares a rare word with the company's own names: elsewhere the
    ticker may mean another firm."""
    words = {company: {word for name in names for word in core(name).split()} for company, names in spelled.items()}
    spread = Counter(word for found in words.values() for word in found)
    made, taken = [], {company: {core(name) for name in names} for company, names in spelled.items()}
    for row in _read(folder / "raw" / "adanos_aliases.csv"):
        company = company_of.get(row["ticker"])
        if row["alias_type"] != "name" or company is None:
            continue
        alias = row["alias"].strip()
        key = core(alias)
        shared = set(key.split()) & words.get(company, set())
        if key in taken[company] or not any(spread[word] <= RARE and len(word) > 1 for word in shared):
            continue
        taken[company].add(key)
        made.append(_name(company, alias, "alias", language, None, None, "adanos"))
    return made


# Korea ----------------------------------------------------------------------------------------------------------------

_EXCHANGES = {"KOSDAQ GLOBAL": "KOSDAQ"}  # a segment, not a market
_SHARES = ("주권", "외국주권", "주식예탁증권", "부동산투자회사", "선박투자회사")  # not funds, bonds, warrants


def _korean(folder: Path) -> dict[str, list[Row]]:
    universe = _read(folder / "kr_universe.csv")
    history = [row for row in _read(folder / "kr_name_history.csv") if row["corp_code"] != DART_TEST_FIRM]
    described = {row["Code"]: row for row in _read(folder / "raw" / "fdr_desc_2026-03-20.csv")}
    company_of = {row["code"]: f"dart:{row['corp_code']}" for row in history}
    company_of |= {row["Code"]: f"dart:{row['corp_code']}" for row in universe if row["corp_code"]}
    for row in universe:
        if row["Code"] not in company_of:  # a preferred share has the code of the common one but for its end
            common = row["Code"][:5] + "0"
            company_of[row["Code"]] = company_of.get(common, f"krx:{row['Code']}")
    names, securities, successors = _dart_names(history), [], []
    capital: Counter[str] = Counter()
    worth = {row["Code"]: int(row["Marcap"] or 0) for row in _read(folder / "raw" / "fdr_krx_2026-03-20.csv")}
    for row in universe:
        company, common = company_of[row["Code"]], row["Code"].endswith("0")
        capital[company] += worth.get(row["Code"], 0)
        names.append(_name(company, row["Name"], "name" if common else "alias", "ko", None, None, "krx"))
        if row["eng"]:
            names.append(_name(company, row["eng"], "english", "en", None, None, "dart"))
        names += _representatives(company, row["Representative"])
        since = described.get(row["Code"], {}).get("ListingDate") or None
        securities.append(_krx(company, row["Code"], row["Market"], "common" if common else "preferred", since, None))
    here = {row["Code"] for row in universe}
    delisted = [
        row
        for row in _read(folder / "kr_delisting.csv")
        if row["SecuGroup"] in _SHARES and row["Symbol"].endswith("0") and len(row["Symbol"]) == 6
    ]
    for row in delisted:
        company = company_of.setdefault(row["Symbol"], f"krx:{row['Symbol']}")
        securities.append(
            _krx(
                company,
                row["Symbol"],
                row["Market"],
                "common",
                row["ListingDate"] or None,
                day_before(row["DelistingDate"]),
            )
        )
        names.append(_name(company, row["Name"], "name", "ko", None, None, "krx"))
        if row["ToSymbol"] and company_of.get(row["ToSymbol"], company) != company:
            successors.append(_succeeds(company, company_of[row["ToSymbol"]], row["DelistingDate"], "krx"))
    traded = here | {row["Symbol"] for row in delisted}
    for row in history:
        if row["code"] not in traded:  # listed after the day of the KRX list
            traded.add(row["code"])
            securities.append(_krx(company_of[row["code"]], row["code"], "KRX", "common", row["first"], None))
    for code, listed_name, aliases in known.KR_NAMES:
        if not any(row["Code"] == code and row["Name"] == listed_name for row in universe):
            raise SystemExit(f"sample/known.py: {code} is not {listed_name} in kr_universe.csv; correct it.")
        names += [_name(company_of[code], alias, "alias", "ko", None, None, "ledgerline") for alias in aliases]
    for old, new, day in known.KR_SUCCESSIONS:
        successors.append(_succeeds(company_of[old], company_of[new], day, "ledgerline"))
    spelled = defaultdict(list)
    for row in names:
        if row["language"] == "en":
            spelled[row["company_id"]].append(row["name"])
    names += _aliases_of_tickers(
        folder, {code: one for code, one in company_of.items() if one in spelled}, spelled, language="en"
    )
    ranks = {
        one: at for at, (one, _) in enumerate(sorted(capital.items(), key=lambda item: (-item[1], item[0])), start=1)
    }
    called = {
        row["company_id"]: row["name"] for row in names if row["kind"] in ("legal", "name") and not row["valid_to"]
    }
    called |= {company_of[row["Code"]]: row["Name"] for row in universe if row["Code"].endswith("0")}
    companies = [
        {"company_id": one, "name": name, "country": "KR", "listed": True, "size_rank": ranks.get(one)}
        for one, name in called.items()
    ]
    for code, name in _unlisted(folder / "raw" / "dart_corpcode_2026-04-28.zip"):
        one = f"dart:{code}"
        if one not in called:
            companies.append({"company_id": one, "name": name, "country": "KR", "listed": False, "size_rank": None})
            names.append(_name(one, name, "legal", "ko", None, None, "dart"))
    securities.sort(
        key=lambda row: (row["company_id"], row["share_class"] != "common", row["valid_to"] or "9", row["ticker"])
    )
    return {"companies": companies, "securities": securities, "names": names, "successors": successors}


def _dart_names(history: list[Row]) -> list[Row]:
    days = sorted({row[end] for row in history for end in ("first", "last")})
    seen = Snapshots(days, days[:1])
    made = []
    for code, rows in _by(history, "corp_code").items():
        newest = max(row["last"] for row in rows)
        for row in rows:
            filled = any(other["last"] == seen.before(row["first"]) for other in rows)
            start = seen.starts(row["first"], gap_is_filled=filled)
            end = None if row["last"] == newest else seen.ends(row["last"])
            made.append(_name(f"dart:{code}", row["name"], "legal", "ko", start, end, "dart"))
            if row["eng"]:
                made.append(_name(f"dart:{code}", row["eng"], "english", "en", start, end, "dart"))
    return made


def _representatives(company: str, text: str) -> list[Row]:
    """Representatives as the KRX lists them: "고준, 채형석 (각자 대표이사)"."""
    found = re.sub(r"\(.*?\)|외 ?\d*명?|각자 ?대표이사|공동 ?대표이사|대표이사", " ", text)
    people = [part.strip() for part in re.split(r"[,/·;、]", found)]
    return [
        _name(company, person, "person", "ko", None, None, "krx")
        for person in people
        if re.fullmatch(r"[가-힣]{3,4}", person)
    ]


def _unlisted(path: Path) -> list[tuple[str, str]]:
    """(corp_code, name) of firms without a stock code: what a name that begins like a listed one may mean."""
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read("CORPCODE.xml"))  # noqa: S314  a file at hand, not from the network
    firms = []
    for item in root.iter("list"):
        code, name = (item.findtext("corp_code") or "").strip(), (item.findtext("corp_name") or "").strip()
        if code and name and not (item.findtext("stock_code") or "").strip():
            firms.append((code, name))
    return sorted(firms)


def _krx(company: str, code: str, market: str, share_class: str, start: str | None, end: str | None) -> Row:
    return {
        "company_id": company, "ticker": code, "exchange": _EXCHANGES.get(market, market), "share_class": share_class,
        "valid_from": start, "valid_to": end, "source": "krx",
    }  # fmt: skip


# Rows -----------------------------------------------------------------------------------------------------------------


def _cik(number: str | int) -> str:
    return f"cik:{int(number):010d}"


def _name(company: str, name: str, kind: str, language: str, start: str | None, end: str | None, source: str) -> Row:
    return {
        "company_id": company, "name": name.strip(), "kind": kind, "language": language,
        "valid_from": start, "valid_to": end, "source": source,
    }  # fmt: skip


def _succeeds(old: str, new: str, day: str, source: str) -> Row:
    return {"company_id": old, "successor_id": new, "day": day, "source": source}


def _without_repeats(names: list[Row]) -> list[Row]:
    """One row per company and normalised spelling: the first kind in order of weight, with its widest dates.

    People and products are kept beside names."""
    weight = {"legal": 0, "name": 0, "english": 1, "alias": 2, "product": 3, "person": 4}
    kept: dict[tuple[str, str, bool], Row] = {}
    result: list[Row] = []
    for row in sorted(names, key=lambda row: (weight[row["kind"]], row["kind"] != "name")):
        key = (row["company_id"], normalise(row["name"]), row["kind"] in ("product", "person"))
        earlier = kept.get(key)
        if earlier is None:
            kept[key] = dict(row)
            result.append(kept[key])
        elif weight[earlier["kind"]] == weight[row["kind"]]:
            if row["source"] != earlier["source"]:  # the KRX gives no dates of names, DART does
                if earlier["valid_from"] is None and earlier["valid_to"] is None:
                    earlier.update(valid_from=row["valid_from"], valid_to=row["valid_to"])
                continue
            if row["valid_from"] is None or (earlier["valid_from"] and row["valid_from"] < earlier["valid_from"]):
                earlier["valid_from"] = row["valid_from"]
            if row["valid_to"] is None or (earlier["valid_to"] and row["valid_to"] > earlier["valid_to"]):
                earlier["valid_to"] = row["valid_to"]
    return result


def _by(rows: Iterable[Row], column: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return groups


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
