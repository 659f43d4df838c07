"""What EDGAR accepted, for the local EDGAR to publish: read from real feed walks, or from an archive in wire formats.

Records and where they come from. When and how they are shown is in `edgar`, what is in their bodies in `edgar_bodies`.
"""

from __future__ import annotations

import html
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from functools import cache
from pathlib import Path

from ledgerline.filings.feeds import parse_master_index
from ledgerline.filings.times import EASTERN, eastern_day

WALKS = "20251212T*_type-all_count100_pages52.tar.gz"
BODY_FOLDERS = ("full", "nc", "malformed")
ENTRY = re.compile(
    rb"<entry>\s*<title>(?P<title>[^\n]*)</title>.*?<summary[^>]*>\n(?P<summary>.*?)\n</summary>\s*"
    rb'<updated>(?P<updated>[^<]*)</updated>\s*<category [^>]*term="(?P<form>[^"]*)"/>\s*'
    rb"<id>[^<]*accession-number=(?P<accession>[\d-]+)</id>\s*</entry>",
    re.DOTALL,
)
SUMMARY = re.compile(
    r"\s*(?:<b>Film#:</b> (?P<film>\d+) )?\s*<b>Filed:</b> (?P<filed>\S+) <b>AccNo:</b> \S+ "
    r"<b>Size:</b> (?P<size>[^\n]*)(?P<items>(?:\n<br>[^\n]*)*)"
)
TAIL = re.compile(r" - (?P<name>.*) \((?P<cik>\d{10})\) \((?P<role>[^()]*)\)$")
STAMP = re.compile(rb"<updated>([^<]*)</updated>")


@dataclass(frozen=True, slots=True)
class Party:
    """A company or person of a filing, in a role of the feed (Filer, Issuer, Reporting, Subject, Filed by ...)."""

    cik: str  # 10 digits
    name: str
    role: str


@dataclass(frozen=True)
class Filing:
    """A submission that EDGAR accepted. `rows` are its rows of the feed in order: real ones hold a few exact repeats."""

    accession: str
    form: str
    filed: date
    accepted_at: datetime  # UTC
    rows: tuple[Party, ...]
    size: str = "9 KB"  # as the feed says it
    film: str = ""  # number of the film of a filing on paper
    items: tuple[str, ...] = ()  # lines of the feed, "Item 8.01: Other Events"
    body: Path | None = None  # None: it is generated
    in_feed: bool = True
    in_index: bool = True
    public_at: datetime | None = None  # UTC; None: drawn
    row_not_before: datetime | None = None  # UTC; between which walks its rows were first seen
    row_by: datetime | None = None

    @property
    def parties(self) -> tuple[Party, ...]:
        return tuple(dict.fromkeys(self.rows))

    @property
    def bytes(self) -> int:
        number, _, unit = self.size.partition(" ")
        return int(number) * {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}.get(unit, 1)


def real_walk_filings(archive: Path) -> tuple[Filing, ...]:
    """The 25 hours up to 2025-12-12 18:03 Eastern as three real walks of the feed saw them, oldest first.

    `archive` is the unpacked folder of real filings; bodies are taken from its edgar/full where they are there.
    """
    return _real_walk_filings(archive)


@cache
def _real_walk_filings(archive: Path) -> tuple[Filing, ...]:
    walks = [read_walk(path) for path in sorted((archive / "edgar/feeds").glob(WALKS))]
    if not walks:
        raise FileNotFoundError(f"no {WALKS} in {archive / 'edgar/feeds'}; give the unpacked folder of real filings")
    newest = walks[-1]
    held = {entry for page in newest for entry in page.entries}
    older = [entry for page in walks[0] for entry in page.entries if entry not in held]
    first_seen: dict[str, datetime] = {}
    for walk in walks:
        for page in walk:
            for entry in page.entries:
                first_seen.setdefault(_accession(entry), page.at)
    begun, seen_by_first = walks[0][0].at, {_accession(entry) for entry in walks[0][0].entries}
    made = filings_of_entries([*(entry for page in newest for entry in page.entries), *older], archive)
    oldest_of_first_page = min(_stamp(ENTRY.match(entry)["updated"]) for entry in walks[0][0].entries)  # type: ignore[index]
    return tuple(
        replace(
            one,
            row_by=first_seen[one.accession],
            row_not_before=begun + timedelta(seconds=1)
            if one.accession not in seen_by_first and one.accepted_at > oldest_of_first_page
            else None,
        )
        for one in made
    )


@dataclass(frozen=True)
class WalkedPage:
    """A page of a real walk: its stamp (UTC) and its entries as served."""

    at: datetime
    entries: tuple[bytes, ...]


@cache
def read_walk(path: Path) -> tuple[WalkedPage, ...]:
    """The pages of a recorded walk in the order of their start, without the 503 that ends it."""
    pages = {}
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if member.name.endswith("_http200.atom.xml") and content is not None:
                body = content.read()
                stamp = STAMP.search(body)
                assert stamp is not None
                entries = tuple(match.group() for match in ENTRY.finditer(body))
                pages[member.name] = WalkedPage(_stamp(stamp[1]), entries)
    return tuple(pages[name] for name in sorted(pages))


def archive_filings(archive: Path) -> tuple[Filing, ...]:
    """The filings that the feed pages and daily indexes of an archive name, oldest first, with their bodies."""
    entries: dict[bytes, None] = {}  # neighbouring pages repeat rows
    for page in sorted((archive / "edgar/feeds").glob("*/page_*.atom.xml")):
        entries |= dict.fromkeys(match.group() for match in ENTRY.finditer(page.read_bytes()))
    newest_first = sorted(entries, key=lambda entry: ENTRY.match(entry)["updated"], reverse=True)  # type: ignore[index]
    made = {one.accession: one for one in filings_of_entries(newest_first, archive)}
    indexed = set()
    for index in sorted((archive / "edgar/index").glob("master.????????.idx")):
        for ref in parse_master_index(index.read_bytes()):
            indexed.add(ref.filing_id)
            if ref.filing_id not in made:
                rows = tuple(Party(party.id, party.name, "Filer") for party in ref.parties)
                accepted = datetime.combine(ref.day, time(16, 0), EASTERN).astimezone(timezone.utc)
                body = find_body(archive, ref.filing_id)
                made[ref.filing_id] = Filing(ref.filing_id, ref.form, ref.day, accepted, rows, body=body, in_feed=False)
    found = (replace(one, in_index=one.accession in indexed) for one in made.values())
    return tuple(sorted(found, key=lambda one: (one.accepted_at, one.accession)))


def thinned(filings: Sequence[Filing], limit: int) -> tuple[Filing, ...]:
    """About `limit` of the filings, evenly over the time, so that a small day has the shape of the whole one."""
    if limit >= len(filings):
        return tuple(filings)
    return tuple(filings[int(at * len(filings) / limit)] for at in range(limit))


def moved(filings: Iterable[Filing], days: int) -> tuple[Filing, ...]:
    """The same filings some days later or earlier, at the same Eastern clock times, under other accession numbers."""
    return tuple(_moved(one, days) for one in filings)


def _moved(one: Filing, days: int) -> Filing:
    def later(moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        local = moment.astimezone(EASTERN).replace(tzinfo=None) + timedelta(days=days)
        return local.replace(tzinfo=EASTERN).astimezone(timezone.utc)

    agent, _, number = one.accession.split("-")
    filed = one.filed + timedelta(days=days)
    return replace(
        one,
        accession=f"{agent}-{filed:%y}-{(int(number) + 7919 * days) % 1_000_000:06d}",
        filed=filed,
        accepted_at=later(one.accepted_at),
        public_at=later(one.public_at),
        row_by=later(one.row_by),
        row_not_before=later(one.row_not_before),
        body=None,
    )


def filings_of_entries(entries: Sequence[bytes], archive: Path) -> list[Filing]:
    """Entries of the feed, newest first, as filings, oldest first."""
    made: dict[str, Filing] = {}
    for entry in entries:
        match = ENTRY.match(entry)
        if match is None:
            raise ValueError(f"an entry of the feed cannot be read: {entry[:200]!r}")
        fields = {name: html.unescape(value.decode("latin-1")) for name, value in match.groupdict().items()}
        tail = TAIL.match(fields["title"].removeprefix(fields["form"]))
        said = SUMMARY.fullmatch(fields["summary"])
        if tail is None or said is None:
            raise ValueError(f"an entry of the feed cannot be read: {entry[:600]!r}")
        row = Party(tail["cik"], tail["name"], tail["role"])
        known = made.get(fields["accession"])
        if known is not None:
            made[known.accession] = replace(known, rows=(*known.rows, row))
            continue
        made[fields["accession"]] = Filing(
            fields["accession"],
            fields["form"],
            date.fromisoformat(said["filed"]),
            _stamp(match["updated"]),
            (row,),
            size=said["size"],
            film=said["film"] or "",
            items=tuple(html.unescape(line) for line in said["items"].split("\n<br>")[1:]),
            body=find_body(archive, fields["accession"]),
        )
    return list(made.values())[::-1]


def find_body(archive: Path, accession: str) -> Path | None:
    for folder in BODY_FOLDERS:
        for suffix in (".txt", ".nc"):
            path = archive / "edgar" / folder / f"{accession}{suffix}"
            if path.is_file():
                return path
    return None


def eastern(moment: datetime) -> datetime:
    return moment.astimezone(EASTERN)


def days_of(filings: Iterable[Filing]) -> list[date]:
    """The days of filing and of acceptance, oldest first."""
    return sorted({day for one in filings for day in (one.filed, eastern_day(one.accepted_at))})


def _accession(entry: bytes) -> str:
    match = ENTRY.match(entry)
    assert match is not None
    return match["accession"].decode()


def _stamp(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode()).astimezone(timezone.utc)


# ------------------------------------------------------------------------------------------------------- as the feed


def entries(filing: Filing) -> list[bytes]:
    """The filing's rows of the feed, as EDGAR writes them."""
    stamp = eastern(filing.accepted_at).isoformat()
    bare = filing.accession.replace("-", "")
    film = f"<b>Film#:</b> {filing.film}  " if filing.film else " "
    said = f"{film}<b>Filed:</b> {filing.filed} <b>AccNo:</b> {filing.accession} <b>Size:</b> {filing.size}"
    items = "".join(f"\n<br>{html.escape(item, quote=False)}" for item in filing.items)
    form = escaped(filing.form)
    made = []
    for row in filing.rows:
        title = escaped(f"{filing.form} - {row.name} ({row.cik}) ({row.role})")
        made.append(
            f'<entry>\n<title>{title}</title>\n<link rel="alternate" type="text/html" '
            f'href="https://www.sec.gov/Archives/edgar/data/{int(row.cik)}/{bare}/{filing.accession}-index.htm"/>\n'
            f'<summary type="html">\n{escaped(said + items)}\n</summary>\n<updated>{stamp}</updated>\n'
            f'<category scheme="https://www.sec.gov/" label="form type" term="{form}"/>\n'
            f"<id>urn:tag:sec.gov,2008:accession-number={filing.accession}</id>\n</entry>"
        )
    return [entry.encode("iso-8859-1", "xmlcharrefreplace") for entry in made]


def escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&quot;")
