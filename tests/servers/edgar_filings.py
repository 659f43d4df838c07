"""What EDGAR accepted, for the local EDGAR to publish: read from real feed walks, or from an archive in wire formats.

Records and where they come from. When and how they are shown is in `edgar`, what is in their bodies in `edgar_bodies`.
"""

from __future__ import annotations

import html
import re
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from functools import cache
from pathlib import Path

from ledgerline.filings.feeds import parse_master_index
from ledgerline.filings.times import EASTERN, eastern_day
from sample.generate_archive import ensure_archive
from tests.servers.wire import draw
from tests.shared_data import find_shared_data

WALKS = "20251212T*_type-all_count100_pages52.tar.gz"
BODY_FOLDERS = ("full", "nc", "malformed")
ENTRY = re.compile(
    rb"<entry>\s*<title>(?P<title>[^\n]*)</title>.*?<summary[^>]*>\n(?P<summary>.*?)\n</summary>\s*"
    rb'<updated>(?P<updated>[^<]*)</updated>\s*<category [^>]*term="(?P<form>[^"]*)"/>\s*'
    rb"<id>[^<]*accession-number=(?P<accession>[\d-]+)</id>\s*</entry>",
    re.DOTALL,
)
# Bytes of 271,974 submissions of August to December 2025: quantiles 0, 10, 25, 50, 75, 90, 95, 99, 100 %.
SIZES = {
    "4": (2727, 4701, 5087, 6347, 9803, 17119, 24798, 331336, 2091781),
    "424B2": (8560, 269189, 417133, 652629, 1073233, 2277476, 2842983, 3620831, 37391197),
    "8-K": (6368, 158992, 202918, 331206, 879594, 3827734, 7647228, 25058112, 259186547),
    "NPORT-P": (4765, 40722, 93527, 373418, 2076680, 17322671, 39531692, 105453142, 409877701),
    "13F-HR": (3520, 7745, 19902, 51908, 123273, 343657, 713558, 2540152, 25660933),
    "D": (5388, 6008, 6803, 7460, 8978, 11317, 13307, 18544, 69267),
    "144": (3811, 4463, 4905, 5778, 7492, 11436, 15715, 43670, 376432),
    "6-K": (2779, 18212, 28073, 73707, 688491, 4289762, 8072554, 25255608, 181367769),
    "10-Q": (34948, 3734949, 5890014, 8681606, 12848516, 21073602, 30527257, 55723538, 206656435),
    "10-K": (381184, 3028405, 6516100, 11978885, 17484024, 25831847, 35503101, 96042779, 166514468),
    "3": (2636, 3034, 3861, 9866, 18019, 217488, 388308, 605205, 1307608),
    "424B5": (8280, 275205, 470829, 650910, 951359, 1347939, 2220849, 10179843, 24100583),
    "S-1": (7436, 610155, 1134685, 5704623, 12767129, 22465003, 34724212, 75725270, 121807917),
    "S-8": (84299, 203863, 225564, 278038, 415822, 671085, 896819, 6977617, 53642634),
    "DEF 14A": (26925, 429768, 1006512, 2399232, 5448751, 12433027, 26263375, 82513894, 177297454),
    "SC 13": (4952, 6674, 7638, 10821, 14623, 22353, 35313, 191934, 4594204),
    "EFFECT": (1514, 1705, 1753, 1828, 1929, 2055, 2596, 6910, 52001),
    "": (948, 5092, 8340, 89569, 641856, 3146026, 8766952, 50082692, 409877701),  # all forms
}
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
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
    size: str = ""  # as the feed says it, "413 KB"; empty: drawn from the sizes of the form
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
        """The size that the real filing had, or may have had."""
        if not self.size:
            return drawn_size(self.form, self.accession)
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


def a_day_of_filings(sample: Path, *, limit: int | None = None) -> tuple[date, tuple[Filing, ...]]:
    """A day and its filings (with those of the evening before): the real walks where they are at hand, else the sample
    archive, which is generated in the folder `sample`. `limit` thins them out."""
    real = find_shared_data("filings")
    filings = real_walk_filings(real) if real else archive_filings(ensure_archive(sample))
    day = max(one.filed for one in filings)
    return day, filings if limit is None else thinned(filings, limit)


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
        accepted_at=later(one.accepted_at) or one.accepted_at,
        public_at=later(one.public_at),
        row_by=later(one.row_by),
        row_not_before=later(one.row_not_before),
        size=one.size if one.body is None else "",
        body=None,
    )


def drawn_size(form: str, accession: str) -> int:
    """Bytes by the real distribution of the form, the same for an accession each time."""
    known = next((name for name in (form, form.partition("/")[0], form[:5]) if name in SIZES), "")
    chance = draw("size", accession).random()
    at = min(bisect_right(QUANTILES, chance), len(QUANTILES) - 1)
    low, high = QUANTILES[at - 1], QUANTILES[at]
    smaller, larger = SIZES[known][at - 1], SIZES[known][at]
    return int(smaller * (larger / smaller) ** ((chance - low) / (high - low)))


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
    size = filing.size or said_size(filing.bytes)
    said = f"{film}<b>Filed:</b> {filing.filed} <b>AccNo:</b> {filing.accession} <b>Size:</b> {size}"
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


def said_size(size: int) -> str:
    return f"{max(1, round(size / 1000))} KB" if size < 1_000_000 else f"{round(size / 1_000_000)} MB"


def escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&quot;")
