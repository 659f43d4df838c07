"""What regulators list: pages of EDGAR's Atom feed, EDGAR's master index, DART's list.json, and the refusals of both.

Pure parsing of bytes as they were served; who asks, how often and what follows is decided in `resources/regulators.py`.
Formats: https://www.sec.gov/os/accessing-edgar-data and https://opendart.fss.or.kr/guide. A page that is not complete
raises UnreadablePage: it is never read as a short or empty list.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any, Literal

from lxml import etree

from ledgerline.filings.parties import unite_refs
from ledgerline.filings.records import FilingRef, Party
from ledgerline.filings.times import parse_day

ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")

Refusal = Literal["undeclared", "throttled", "absent", "unavailable"]


class UnreadablePage(Exception):
    """A page that is cut off or is not what was asked for; the read failed and says nothing about what exists."""


# ------------------------------------------------------------------------------------- EDGAR: the feed

ATOM = "{http://www.w3.org/2005/Atom}"
TITLE_TAIL = re.compile(r"^(?P<name>.*?)\s*\((?P<cik>\d{10})\)\s*(?:\((?P<role>[^()]*)\)\s*)?$", re.DOTALL)
FILED = re.compile(r"Filed:\s*(?:</b>)?\s*(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A page of the latest-filings feed: `refs` has one ref per row (accession and role), newest first."""

    updated: datetime  # UTC
    refs: tuple[FilingRef, ...]


def parse_feed_page(body: bytes) -> FeedPage:
    """Read one Atom page of `browse-edgar?action=getcurrent`. Raises UnreadablePage if it is cut off or no feed."""
    root = _xml(body, "an EDGAR feed page")
    updated = root.findtext(f"{ATOM}updated")
    if root.tag != f"{ATOM}feed" or not updated:
        raise UnreadablePage(f"an EDGAR feed page was asked for, and <{root.tag}> came")
    return FeedPage(_utc(updated), tuple(_feed_ref(entry) for entry in root.iter(f"{ATOM}entry")))


def _feed_ref(entry: Any) -> FilingRef:
    """Names hold " - " and parentheses, so form, accession and CIK come from where they stand alone."""
    category = entry.find(f"{ATOM}category")
    accession = ACCESSION.search(entry.findtext(f"{ATOM}id") or "")
    filed = FILED.search(entry.findtext(f"{ATOM}summary") or "")
    updated = entry.findtext(f"{ATOM}updated")
    if category is None or not accession or not filed or not updated:
        raise UnreadablePage("an EDGAR feed entry lacks its form, accession number, filing date or time")
    form = category.get("term", "")
    title = (entry.findtext(f"{ATOM}title") or "").strip()
    tail = TITLE_TAIL.match(title.removeprefix(f"{form} - "))
    parties = (Party(tail["cik"], tail["name"], tail["role"] or ""),) if tail else ()
    return FilingRef("edgar", accession.group(), date.fromisoformat(filed[1]), form, parties, _utc(updated))


# ------------------------------------------------------------------------------------ EDGAR: the index

INDEX_HEADER = re.compile(rb"^CIK\|Company Name\|Form Type\|Date Filed\|File ?[Nn]ame\s*$", re.MULTILINE)


def parse_master_index(body: bytes) -> list[FilingRef]:
    """Read a daily or full master.idx: one ref per accession with the companies of all its rows (no roles there).

    An index without rows is a true answer. Raises UnreadablePage if the header is missing or a row is cut off.
    """
    header = INDEX_HEADER.search(body)
    if header is None:
        raise UnreadablePage("an EDGAR master index was asked for, and its header line is missing")
    lines = body[header.end() :].decode("latin-1").split("\n")
    rows = (line for line in lines if line.strip() and set(line.strip()) != {"-"})
    return unite_refs(_index_ref(row) for row in rows)


def _index_ref(row: str) -> FilingRef:
    fields = row.rstrip().split("|")
    accession = ACCESSION.search(fields[-1])
    if len(fields) < 5 or not accession or not fields[-1].endswith(".txt"):
        raise UnreadablePage(f"a row of an EDGAR master index cannot be read: {row[:120]!r}")
    cik, form, filed = fields[0].strip(), fields[-3].strip(), fields[-2].strip().replace("-", "")
    name = "|".join(fields[1:-3]).strip()
    return FilingRef("edgar", accession.group(), _compact_day(filed), form, (Party(cik.zfill(10), name, ""),))


INDEX_NAME = re.compile(r"^master\.(\d{8})\.idx$")


def parse_index_listing(body: bytes) -> set[date]:
    """The days whose master index a quarter's folder lists (its index.json). Raises UnreadablePage if it is no listing."""
    try:
        names = [item["name"] for item in json.loads(body)["directory"]["item"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadablePage(f"the listing of a folder of EDGAR cannot be read: {error!r}") from error
    return {_compact_day(match[1]) for name in names if (match := INDEX_NAME.match(name))}


def parse_submissions(body: bytes) -> list[FilingRef]:
    """The recent filings of one company (data.sec.gov/submissions), without times: their zone is not to be trusted.

    Raises UnreadablePage if the page is cut off or its columns differ in length.
    """
    try:
        page = json.loads(body)
        recent = page["filings"]["recent"]
        party = Party(str(page["cik"]).zfill(10), page.get("name", ""), "")
        rows = list(zip(recent["accessionNumber"], recent["filingDate"], recent["form"], strict=True))
        return [FilingRef("edgar", one, date.fromisoformat(day), form, (party,)) for one, day, form in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadablePage(f"a company's submissions cannot be read: {error!r}") from error


# ------------------------------------------------------------------------------------- EDGAR: refusals

HTML = re.compile(rb"^\s*(?:<\?xml[^>]*>\s*)?(?:<!DOCTYPE html|<html)", re.IGNORECASE)
S3_ERROR = re.compile(rb"^\s*(?:<\?xml[^>]*>\s*)?<Error>\s*<Code>(AccessDenied|NoSuchKey)</Code>")
SNIFFED = 4096


def edgar_refusal(status: int, body: bytes) -> Refusal | None:
    """What an answer of EDGAR means, told by its body and not by its status alone; None: it is what was asked for.

    undeclared: the user agent is missing or not accepted. throttled: the rate was exceeded, stop for ten minutes.
    absent: there is no such object (yet). unavailable: maintenance or a fault, ask again later.
    """
    head = body[:SNIFFED]
    if HTML.match(head):
        if b"Undeclared Automated Tool" in head:
            return "undeclared"
        if b"Request Rate Threshold Exceeded" in head:
            return "throttled"
        return "absent" if status == 404 else "throttled" if status == 429 else "unavailable"
    if S3_ERROR.match(head):
        return "absent"
    if status == 200:
        return None
    return {404: "absent", 429: "throttled"}.get(status, "unavailable")  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------ DART

RCEPT_NO = re.compile(r"\d{14}", re.ASCII)
CORRECTION = re.compile(r"^(?:\[[^\]]{2,10}\]\s*)+")
DART_MEANING: dict[str, Literal["ok", "empty", "configuration", "absent", "quota", "unavailable", "client"]] = {
    "000": "ok",
    "013": "empty",
    "010": "configuration",  # key not registered
    "011": "configuration",  # key suspended
    "012": "configuration",  # this IP address may not use the key
    "901": "configuration",  # personal data of the key's owner expired
    "014": "absent",
    "020": "quota",
    "021": "client",
    "100": "client",
    "101": "client",
    "800": "unavailable",
    "900": "unavailable",
}


@dataclass(frozen=True, slots=True)
class DartPage:
    """A page of list.json. With status 013 it is empty and `total_count` is 0; other errors have no refs either."""

    status: str
    message: str
    page_no: int
    total_count: int
    total_page: int
    refs: tuple[FilingRef, ...]


def parse_dart_list(body: bytes) -> DartPage:
    """Read a page of DART's list.json, errors too. Raises UnreadablePage if it is cut off or not such a page."""
    try:
        page = json.loads(body)
        status, message = page["status"], page.get("message", "")
        rows = page["list"] if status == "000" else []
        numbers = [int(page[name]) if status == "000" else 0 for name in ("page_no", "total_count", "total_page")]
        refs = tuple(_dart_ref(row) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadablePage(f"a page of DART's list.json cannot be read: {error!r}") from error
    return DartPage(status, message, page_no=numbers[0], total_count=numbers[1], total_page=numbers[2], refs=refs)


def _dart_ref(row: dict[str, str]) -> FilingRef:
    """`rm` changes later and says nothing about the filing itself, so it is left out. The number names files."""
    if not RCEPT_NO.fullmatch(row["rcept_no"]):
        raise UnreadablePage(f"{row['rcept_no'][:40]!r} is no rcept_no")
    title = row["report_nm"].strip()
    parties = (Party(row["corp_code"], row["corp_name"].strip(), "Filer"),)
    return FilingRef(
        "dart", row["rcept_no"], _compact_day(row["rcept_dt"]), dart_form(title), tuple(parties), None, title
    )


def dart_form(title: str) -> str:
    """The report's name without its correction prefix and blanks: "[기재정정]사업보고서" -> "사업보고서"."""
    return CORRECTION.sub("", title.strip()).strip()


def parse_dart_error(body: bytes) -> tuple[str, str] | None:
    """(status, message) of an answer of DART's ZIP endpoints that is no ZIP; None where it is a ZIP.

    Decided by the first bytes, since the content type is the same. Raises UnreadablePage if it is neither.
    """
    if body.startswith(b"PK\x03\x04"):
        return None
    if body.lstrip().startswith(b"{"):
        page = parse_dart_list(body)
        return page.status, page.message
    root = _xml(body, "a DART document")
    status = root.findtext("status")
    if root.tag != "result" or not status:
        raise UnreadablePage(f"a DART document was asked for, and <{root.tag}> came")
    return status, root.findtext("message") or ""


# --------------------------------------------------------------------------------------------- helpers


def _xml(body: bytes, what: str) -> Any:
    """The root element; strict, because a parser that recovers reads a cut-off page as a short one."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadablePage(f"{what} cannot be read: {error}") from error


def _utc(stamp: str) -> datetime:
    """ISO time with an offset -> UTC."""
    try:
        return datetime.fromisoformat(stamp.strip().replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError as error:
        raise UnreadablePage(f"{stamp!r} is no time") from error


def _compact_day(text: str) -> date:
    day = parse_day(text)
    if day is None:
        raise UnreadablePage(f"{text!r} is no day")
    return day
