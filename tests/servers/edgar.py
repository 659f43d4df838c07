"""A local EDGAR that lives through its days by a virtual clock: feed, indexes, submissions, refusals, bans.

`with EdgarServer(filings, clock=clock, seed=7) as server:` then `server.url`; `server.truth(day)` is what it published,
`server.misbehave(kind, ...)` arms a fault, `server.asked` and `server.asked_while_banned` say what clients did.
`EdgarSite` is the pure part: which bytes a request gets at a time. Filings come from `edgar_filings`.
Formats: https://www.sec.gov/os/accessing-edgar-data; figures were measured on real responses.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import re
import zipfile
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from functools import cached_property

from ledgerline.filings.times import EASTERN, RELEASED_LATE, eastern_day
from tests.servers import edgar_bodies
from tests.servers.edgar_filings import Filing, Party, eastern, entries
from tests.servers.refusals import REFUSALS, not_there
from tests.servers.wire import TRANSPORT, Answer, Fault, LoopbackServer, Request, Streamed, draw

BAN_SECONDS = 600
FEED_ROWS = 5100  # start=5000 is the last page; start=5100 is answered with the page of maintenance
COUNTS = (10, 20, 40, 80, 100)
ROW_SECONDS = (25, 70)  # from acceptance to its rows in the feed; rows come in the order of acceptance
BODY_SECONDS = (8, 60)  # from acceptance to Last-Modified: median 25, 50 of 60 measured ones are below 60
BODY_TAIL = (75, 120, 224, 422, 1238)
NOT_YET_SECONDS = 25  # that a late body is not there yet after its row
OVERNIGHT = timedelta(hours=10, minutes=42)  # accepted in the evening, public next morning
LETTER_DAYS = (28, 73)  # CORRESP and UPLOAD are released that much later
INDEX_SECONDS = (6 * 60, 23 * 60)  # after 22:00 Eastern at which the day's index is written
REPEATED_ROWS = 60 / 7989  # of an index, byte for byte
FLIPPED = 0.29  # acceptanceDateTime values of data.sec.gov that are Eastern and say Z
LAG_MEDIAN, LAG_LIMITS = 600.0, (60.0, 6 * 3600.0)  # seconds until data.sec.gov knows a filing
OWNERSHIP = ("3", "4", "5")
# Federal holidays, on which EDGAR accepts nothing and writes no index.
HOLIDAYS = frozenset(
    date.fromisoformat(day)
    for day in (
        "2025-01-01", "2025-01-20", "2025-02-17", "2025-05-26", "2025-06-19", "2025-07-04", "2025-09-01", "2025-10-13",
        "2025-11-11", "2025-11-27", "2025-12-25", "2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19",
        "2026-07-03", "2026-09-07", "2026-10-12", "2026-11-11", "2026-11-26", "2026-12-25",
    )
)  # fmt: skip
INDEX_PATH = re.compile(
    r"/Archives/edgar/(daily|full)-index/(\d{4})/QTR([1-4])/(?:([a-z]+)\.(?:(\d{8})\.)?(idx|gz|zip)|index\.json)"
)
DATA_PATH = re.compile(r"/Archives/edgar/data/(\d+)/(?:\d{18}/)?(\d{10}-\d{2}-\d{6})\.txt")
SUBMISSIONS_PATH = re.compile(r"/submissions/CIK(\d{10})(?:-submissions-(\d{3}))?\.json")
INDEX_KINDS = {"master": "", "form": " by Form Type", "company": " by Company Name"}


@dataclass
class Version:
    """Bytes that are served from `since` (UTC, their Last-Modified) on."""

    since: datetime
    etag: str
    make: Callable[[], Streamed]

    @cached_property
    def body(self) -> Streamed:
        return self.make()

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for block in self.body.blocks():
            digest.update(block)
        return digest.hexdigest()


@dataclass
class Published:
    """What became of a filing, for a test to compare with: its times (UTC), witnesses and bytes.

    `row_at` is None where the feed never has it, `index_day` where no daily index has it. The index of a day holds what
    became public on it, also with an older filing date. From `known_at` on it is in the submissions list of its
    companies, where its acceptance is Eastern and says UTC if `flipped`. `sha256` and `size` are of the last version.
    """

    filing: Filing
    row_at: datetime | None
    public_at: datetime
    index_day: date | None
    known_at: datetime
    flipped: bool
    versions: list[Version] = field(default_factory=list)

    @property
    def accession(self) -> str:
        return self.filing.accession

    @property
    def form(self) -> str:
        return self.filing.form

    @property
    def filed(self) -> date:
        return self.filing.filed

    @property
    def accepted_at(self) -> datetime:
        return self.filing.accepted_at

    @property
    def parties(self) -> tuple[Party, ...]:
        return self.filing.parties

    @property
    def sha256(self) -> str:
        return self.versions[-1].sha256

    @property
    def size(self) -> int:
        return self.versions[-1].body.size

    @cached_property
    def ciks(self) -> frozenset[int]:
        return frozenset(int(party.cik) for party in self.filing.parties)

    @cached_property
    def entries(self) -> list[bytes]:
        return entries(self.filing)

    def version(self, now: datetime) -> Version | None:
        served = [one for one in self.versions if one.since <= now]
        return served[-1] if served else None


class EdgarSite:
    """Which bytes EDGAR answers at a time, and what it published. No sockets, no faults of the network.

    `body_scale` shrinks generated bodies, `large` gives accessions a size in bytes. Shares (0 to 1) of the filings:
    `feed_misses` are in the index and never in the feed, `index_misses` the reverse; `late_rows` get their rows up to
    30 minutes late, between older ones; `late_bodies` are absent for 25 seconds after their row; `changed` are served
    with other bytes some hours later. `letters` CORRESP and UPLOAD of weeks before are released on the days of the
    filings, in the index alone. `recent_rows` is how many filings of a company its first submissions page holds.
    """

    def __init__(
        self,
        filings: Sequence[Filing],
        *,
        seed: int = 0,
        body_scale: float = 0.01,
        large: Mapping[str, int] | None = None,
        feed_misses: float = 0.0,
        index_misses: float = 0.0,
        late_rows: float = 0.0,
        late_bodies: float = 0.0,
        changed: float = 0.0,
        letters: int = 0,
        recent_rows: int = 1000,
        holidays: frozenset[date] = HOLIDAYS,
    ) -> None:
        self.seed = seed
        self.body_scale = body_scale
        self.large = dict(large or {})
        self.recent_rows = recent_rows
        self.holidays = holidays
        self.published: dict[str, Published] = {}
        self._written_at: dict[date, datetime | None] = {}
        shown_until = None
        made = sorted([*filings, *self._letters(filings, letters)], key=lambda one: (one.accepted_at, one.accession))
        for filing in made:
            chance = draw(seed, "habits", filing.accession)
            in_feed = filing.in_feed and _base(filing.form) not in RELEASED_LATE and chance.random() >= feed_misses
            in_index = filing.in_index and not (in_feed and chance.random() < index_misses)
            row_at = self._row_at(filing, shown_until) if in_feed else None
            if row_at is not None:
                shown_until = row_at
                if chance.random() < late_rows:
                    row_at += timedelta(seconds=chance.uniform(60, 1800))
            public_at = filing.public_at or self._public_at(filing)
            if row_at is not None and chance.random() < late_bodies:
                public_at = max(public_at, row_at + timedelta(seconds=NOT_YET_SECONDS))
            index_day = self._index_day(filing, public_at) if in_index else None
            flipped = chance.random() < FLIPPED
            one = Published(filing, row_at, public_at, index_day, public_at + self._lag(filing), flipped)
            one.versions.append(self._version(one, public_at, 1))
            if chance.random() < changed:
                one.versions.append(self._version(one, public_at + timedelta(hours=chance.uniform(1, 20)), 2))
            self.published[filing.accession] = one
        self._newest_first = sorted(
            (one for one in self.published.values() if one.row_at), key=lambda one: one.accepted_at, reverse=True
        )
        self._row_times = sorted(one.row_at for one in self._newest_first if one.row_at)
        self._feeds: dict[tuple[int, str, str], list[bytes]] = {}
        self._by_day: dict[date, list[Published]] = {}
        self._by_cik: dict[int, list[Published]] = {}
        for one in sorted(self.published.values(), key=lambda one: one.accepted_at, reverse=True):
            if one.index_day:
                self._by_day.setdefault(one.index_day, []).append(one)
            for cik in one.ciks:
                self._by_cik.setdefault(cik, []).append(one)
        self._indexes: dict[tuple[object, ...], bytes] = {}

    # ------------------------------------------------------------------------------------------------ what is published

    def truth(self, day: date | None = None, *, by: datetime | None = None) -> dict[str, Published]:
        """By accession, what is filed as of `day` (None: all), and public by then (its body or its row is there)."""
        return {
            one.accession: one
            for one in self.published.values()
            if (day is None or one.filed == day)
            and (by is None or one.public_at <= by or (one.row_at is not None and one.row_at <= by))
        }

    def index_truth(self, day: date) -> dict[str, Published]:
        """By accession, what the daily index of `day` holds: also filings with an older filing date (EFFECT, letters)."""
        return {one.accession: one for one in self._by_day.get(day, [])}

    def change_body(self, accession: str, at: datetime) -> None:
        """From `at` on the filing is served with other bytes, under a new ETag and Last-Modified."""
        one = self.published[accession]
        one.versions.append(self._version(one, at, len(one.versions) + 1))

    def index_written_at(self, day: date) -> datetime | None:
        """When the index of the day is written (UTC): 22:06 to 22:23 Eastern; None on weekends and holidays."""
        if day not in self._written_at:
            evening = datetime.combine(day, time(22), EASTERN).astimezone(timezone.utc)
            later = timedelta(seconds=draw(self.seed, "index", day).randint(*INDEX_SECONDS))
            self._written_at[day] = evening + later if self._is_business_day(day) else None
        return self._written_at[day]

    def _is_business_day(self, day: date) -> bool:
        return day.weekday() < 5 and day not in self.holidays

    def _row_at(self, filing: Filing, shown_until: datetime | None) -> datetime:
        """Drawn, never before the row of an earlier acceptance, and in keeping with the real walks that saw it."""
        at = filing.accepted_at + timedelta(seconds=draw(self.seed, "row", filing.accession).uniform(*ROW_SECONDS))
        at = max(at, filing.row_not_before or at, shown_until or at)
        return min(at, filing.row_by or at)

    def _public_at(self, filing: Filing) -> datetime:
        chance = draw(self.seed, "public", filing.accession)
        if _base(filing.form) in RELEASED_LATE:
            return filing.accepted_at + timedelta(days=chance.randint(*LETTER_DAYS))
        low, high = BODY_SECONDS
        late = chance.random()
        if late < 0.88:
            return filing.accepted_at + timedelta(seconds=round(low + (high - low) * chance.random() ** 1.6))
        if late > 0.98 and filing.filed > eastern_day(filing.accepted_at):
            return filing.accepted_at + OVERNIGHT
        return filing.accepted_at + timedelta(seconds=chance.choice(BODY_TAIL))

    def _index_day(self, filing: Filing, public_at: datetime) -> date:
        day = max(filing.filed, eastern_day(public_at))
        while True:  # the next one that is written after the filing became public
            written = self.index_written_at(day)
            if written is not None and public_at < written:
                return day
            day += timedelta(days=1)

    def _version(self, one: Published, since: datetime, number: int) -> Version:
        filing = one.filing
        size = self.large.get(filing.accession)
        path = filing.body if number == 1 and size is None else None

        def make() -> Streamed:
            if path is not None:
                return edgar_bodies.of_file(path)
            return edgar_bodies.generated(filing, size or int(filing.bytes * self.body_scale), number)

        digest = hashlib.md5(f"{self.seed} {filing.accession} {number}".encode()).hexdigest()
        return Version(since, f'"{digest}-gzip"', make)

    def _letters(self, filings: Sequence[Filing], count: int) -> list[Filing]:
        """Letters between SEC staff and companies, accepted weeks ago and released at one of the filings' times."""
        made: list[Filing] = []
        for number in range(count):
            chance = draw(self.seed, "letter", number)
            other = chance.choice(filings)
            accepted = other.accepted_at - timedelta(days=chance.randint(*LETTER_DAYS), minutes=chance.randint(0, 300))
            form = chance.choice(("CORRESP", "UPLOAD"))
            agent = "0000000000" if form == "UPLOAD" else other.accession[:10]
            filed = eastern_day(accepted)
            letter = Filing(
                f"{agent}-{filed:%y}-{900000 + number:06d}",
                form,
                filed,
                accepted,
                (Party(other.rows[0].cik, other.rows[0].name, "Filer"),),
                size="46 KB",  # both kinds are letters of some pages
                in_feed=False,
                public_at=other.accepted_at,
            )
            made.append(letter)
        return made

    # --------------------------------------------------------------------------------------------------------- answers

    def answer(self, request: Request, fault: str | None = None) -> Answer:
        """The answer to a request. Faults that mean something here: not_yet, cut, header_only, empty_page, page_shift."""
        path, now = request.path, request.at
        if path == "/cgi-bin/browse-edgar":
            return self._feed(request.query(), now, fault)
        if match := DATA_PATH.fullmatch(path):
            return self._submission(int(match[1]), match[2], request, fault)
        if match := INDEX_PATH.fullmatch(path):
            return self._index(match, request)
        if match := SUBMISSIONS_PATH.fullmatch(path):
            return self._submissions(int(match[1]), int(match[2] or 0), now)
        if path in ("/files/company_tickers_exchange.json", "/files/company_tickers.json"):
            return _conditional(
                request, _tickers(path), self._row_times[0] if self._row_times else now, "application/json"
            )
        return not_there(path, "no_such_key")

    def _feed(self, query: Mapping[str, str], now: datetime, fault: str | None) -> Answer:
        start = int(query.get("start") or 0)
        if start >= FEED_ROWS:
            return REFUSALS["unavailable"]
        count = int(query.get("count") or 40)
        count = count if count in COUNTS else 40
        rows = self._rows(now, query.get("type", ""), query.get("owner", "include"))
        if fault == "page_shift":  # a filing arrived: this page begins one row earlier than the last one ended
            start = max(0, start - 1)
        shown = [] if fault == "empty_page" else rows[start : start + count]
        local = eastern(now)
        head = (
            '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
            f"<title>Latest Filings - {local:%a, %d %b %Y %H:%M:%S %Z}</title>\n"
            '<link rel="alternate" href="/cgi-bin/browse-edgar?action=getcurrent"/>\n'
            '<link rel="self" href="/cgi-bin/browse-edgar?action=getcurrent"/>\n'
            "<id>https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent</id>\n"
            "<author><name>Webmaster</name><email>webmaster@sec.gov</email></author>\n"
            f"<updated>{local.isoformat(timespec='seconds')}</updated>\n"
        )
        body = b"\n".join([head.encode("ascii").rstrip(b"\n"), *shown, b"</feed>\n"])
        return Answer(200, body, "application/atom+xml", {"Cache-Control": "no-cache", "Server": "Apache"})

    def _rows(self, now: datetime, form: str, owner: str) -> list[bytes]:
        """The entries that the feed shows at a time, newest first; kept until another row is due."""
        due = bisect_right(self._row_times, now)
        key = (due, form, owner)
        if key not in self._feeds:
            if len(self._feeds) > 32:
                self._feeds.clear()
            rows: list[bytes] = []
            for one in self._newest_first:
                if len(rows) >= FEED_ROWS:
                    break
                if one.row_at is None or one.row_at > now or not one.form.startswith(form):
                    continue
                if owner != "include" and (_base(one.form) in OWNERSHIP) != (owner == "only"):
                    continue
                rows += one.entries
            self._feeds[key] = rows
        return self._feeds[key]

    def _submission(self, cik: int, accession: str, request: Request, fault: str | None) -> Answer:
        one = self.published.get(accession)
        version = one.version(request.at) if one and cik in one.ciks else None
        if one is None or version is None or fault == "not_yet":
            return not_there(
                request.path, draw(self.seed, "absent", accession).choice(("access_denied", "no_such_key"))
            )
        if fault == "header_only":
            return _answer(edgar_bodies.header_only(one.filing), "text/plain", version.since, version.etag)
        body = version.body
        if fault == "cut":  # whole by its Content-Length, and without its end
            body = body.first(max(1, body.size - 40))
        answer = _answer(body, "text/plain", version.since, version.etag)
        return _unchanged(answer, request) or answer

    def _index(self, match: re.Match[str], request: Request) -> Answer:
        scope, year, quarter, kind, compact, suffix = match.groups()
        written = self._written(int(year), int(quarter), request.at)
        denied = not_there(request.path, "access_denied")
        if not written:
            return denied
        days = [day for day, _ in written]
        if kind is None:
            return Answer(200, self._listing(scope, year, quarter, written), "application/json")
        if kind not in INDEX_KINDS or (scope == "daily") != (compact is not None):
            return denied
        if scope == "daily":
            day = next((day for day in days if f"{day:%Y%m%d}" == compact), None)
            at = next((at for known, at in written if known == day), None)
            if day is None or at is None or suffix != "idx":
                return denied
            return _conditional(request, self._index_bytes(kind, (day,), daily=True), at, "binary/octet-stream")
        plain = self._index_bytes(kind, tuple(days), daily=False)
        packed = {"idx": plain, "gz": b"", "zip": b""}[suffix] or self._packed(plain, f"{kind}.idx", suffix, len(days))
        return _conditional(request, packed, written[-1][1], "binary/octet-stream")

    def _written(self, year: int, quarter: int, now: datetime) -> list[tuple[date, datetime]]:
        """The days of a quarter whose index is there, with its time. Days between the first and the last that has
        filings have one, though it may be empty."""
        if not self._by_day:
            return []
        made = []
        day, last = min(self._by_day), max(self._by_day)
        while day <= last:
            at = self.index_written_at(day)
            if at is not None and at <= now and (day.year, (day.month + 2) // 3) == (year, quarter):
                made.append((day, at))
            day += timedelta(days=1)
        return made

    def _index_bytes(self, kind: str, days: tuple[date, ...], *, daily: bool) -> bytes:
        key = (kind, days, daily)
        if key not in self._indexes:
            self._indexes[key] = self._render_index(kind, days, daily=daily)
        return self._indexes[key]

    def _render_index(self, kind: str, days: tuple[date, ...], *, daily: bool) -> bytes:
        rows = []
        for one in (one for day in days for one in self._by_day.get(day, [])):
            filed = f"{one.filed:%Y%m%d}" if daily else one.filed.isoformat()
            for party in {int(party.cik): party for party in one.parties}.values():
                row = (
                    str(int(party.cik)),
                    party.name,
                    one.form,
                    filed,
                    f"edgar/data/{int(party.cik)}/{one.accession}.txt",
                )
                again = draw(self.seed, "repeated", *row).random() < REPEATED_ROWS
                rows += [row] * (2 if again else 1)
        scope, last = ("Daily", f"{days[-1]:%b} {days[-1].day:2d}, {days[-1].year}")
        if not daily:
            scope, last = "Master" if kind == "master" else "Full", f"{days[-1]:%B} {days[-1].day}, {days[-1].year}"
        head = [
            f"Description:           {scope} Index of EDGAR Dissemination Feed{INDEX_KINDS[kind]}",
            f"Last Data Received:    {last}",
            "Comments:              webmaster@sec.gov",
            "Anonymous FTP:         ftp://ftp.sec.gov/edgar/",
            *([] if daily else ["Cloud HTTP:            https://www.sec.gov/Archives/"]),
        ]
        if kind == "master":
            head += [" "] if daily else [" "] * 4
            head += [f"CIK|Company Name|Form Type|Date Filed|{'File Name' if daily else 'Filename'}", "-" * 80]
            lines = ["|".join(row) for row in sorted(rows)]
        elif kind == "form":
            head += [" "] * 4
            head += ["Form Type   Company Name".ljust(74) + "CIK         Date Filed  File Name", "-" * 141]
            rows.sort(key=lambda row: (row[2], row[1]))
            lines = [f"{form:<11} {name:<61} {cik:<11} {filed:<11} {path:<52}" for cik, name, form, filed, path in rows]
        else:
            head += [" "] * 4  # the header line of the daily file breaks in two
            broken = "\n      " if daily else "         "
            head += [f"{'Company Name':<61} Form Type   CIK{broken}Date Filed  File Name", "-" * 145]
            rows.sort(key=lambda row: (row[1], row[2]))
            lines = [f"{name:<61} {form:<11} {cik:<11} {filed:<11} {path:<52}" for cik, name, form, filed, path in rows]
        return ("\n".join([*head, *lines]) + "\n").encode("latin-1", "replace")

    def _packed(self, plain: bytes, name: str, suffix: str, days: int) -> bytes:
        key = (name, suffix, days)
        if key not in self._indexes:
            if suffix == "gz":
                self._indexes[key] = gzip.compress(plain, mtime=0)
            else:
                sink = io.BytesIO()
                with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(zipfile.ZipInfo(name), plain)
                self._indexes[key] = sink.getvalue()
        return self._indexes[key]

    def _listing(self, scope: str, year: str, quarter: str, written: list[tuple[date, datetime]]) -> bytes:
        items = []
        for kind in sorted(INDEX_KINDS):
            for day, at in written if scope == "daily" else written[-1:]:
                name = f"{kind}.{day:%Y%m%d}.idx" if scope == "daily" else f"{kind}.idx"
                days = (day,) if scope == "daily" else tuple(one for one, _ in written)
                size = len(self._index_bytes(kind, days, daily=scope == "daily"))
                stamp = f"{eastern(at):%m/%d/%Y %I:%M:%S %p}"
                items.append(
                    {
                        "last-modified": stamp,
                        "name": name,
                        "type": "file",
                        "href": name,
                        "size": f"{-(-size // 1024)} KB",
                    }
                )
        name = f"{scope}-index/{year}/QTR{quarter}/"
        directory = {"directory": {"item": items, "name": name, "parent-dir": "../"}}
        return json.dumps(directory, separators=(",", ":")).replace("/", "\\/").encode()

    def _submissions(self, cik: int, page: int, now: datetime) -> Answer:
        """The columnar list of a company's filings, minutes to hours late; pages after the first are bare columns."""
        known = self._by_cik.get(cik, [])
        listed = [one for one in known if one.known_at <= now]
        pages = [listed[at : at + self.recent_rows] for at in range(0, len(listed), self.recent_rows)] or [[]]
        path = f"submissions/CIK{cik:010d}.json"
        if not known or page >= len(pages):
            return not_there(path, "no_such_key")
        columns = self._columns(pages[page])
        body: dict[str, object] = columns
        if page == 0:
            name = next(party.name for party in known[0].parties if int(party.cik) == cik)
            files = [
                {
                    "name": f"CIK{cik:010d}-submissions-{number:03d}.json",
                    "filingCount": len(rows),
                    "filingFrom": min(one.filed for one in rows).isoformat(),
                    "filingTo": max(one.filed for one in rows).isoformat(),
                }
                for number, rows in enumerate(pages[1:], start=1)
            ]
            body = {
                "cik": f"{cik:010d}", "entityType": "operating", "sic": "", "sicDescription": "", "name": name,
                "tickers": [], "exchanges": [], "ein": None, "lei": None, "formerNames": [],
                "filings": {"recent": columns, "files": files},
            }  # fmt: skip
        text = json.dumps(body, separators=(",", ":")).encode()
        return Answer(200, text, "application/json", {"Cache-Control": "max-age=0, no-cache, no-store"})

    def _lag(self, filing: Filing) -> timedelta:
        low, high = LAG_LIMITS
        lag = draw(self.seed, "lag", filing.accession).lognormvariate(math.log(LAG_MEDIAN), 1.0)
        return timedelta(seconds=min(high, max(low, lag)))

    def _columns(self, rows: Sequence[Published]) -> dict[str, object]:
        def accepted(one: Published) -> str:
            stamp = eastern(one.accepted_at) if one.flipped else one.accepted_at
            return f"{stamp:%Y-%m-%dT%H:%M:%S}.000Z"

        owned = {one.accession: _base(one.form) in OWNERSHIP for one in rows}
        blank = [""] * len(rows)
        return {
            "accessionNumber": [one.accession for one in rows],
            "filingDate": [one.filed.isoformat() for one in rows],
            "reportDate": blank,
            "acceptanceDateTime": [accepted(one) for one in rows],
            "act": blank,
            "form": [one.form for one in rows],
            "fileNumber": blank,
            "filmNumber": [one.filing.film for one in rows],
            "items": [",".join(item[5:].partition(":")[0] for item in one.filing.items) for one in rows],
            "core_type": [one.form for one in rows],
            "size": [one.size for one in rows],
            "isXBRL": [0] * len(rows),
            "isInlineXBRL": [0] * len(rows),
            "primaryDocument": ["xslF345X05/primary.xml" if owned[one.accession] else "primary.htm" for one in rows],
            "primaryDocDescription": [f"FORM {one.form}" for one in rows],
        }


class EdgarServer(LoopbackServer):
    """`EdgarSite` over HTTP with faults and bans. See the site for the keywords that are not named here.

    Faults beside those of `wire.TRANSPORT` and `refusals.REFUSALS`: ban (600 s from the last request during it), not_yet,
    cut (no closing token, and a Content-Length that fits), header_only, empty_page, page_shift.
    `per_second`: more requests than that within a virtual second are a ban.
    """

    kinds = TRANSPORT | {*REFUSALS, "none", "ban", "not_yet", "cut", "header_only", "empty_page", "page_shift"}

    def __init__(
        self,
        filings: Sequence[Filing],
        *,
        clock: Callable[[], datetime],
        seed: int = 0,
        faults: Iterable[Fault] = (),
        per_second: int | None = None,
        **site: object,
    ) -> None:
        super().__init__(clock=clock, seed=seed)
        self.site = EdgarSite(filings, seed=seed, **site)  # type: ignore[arg-type]
        for fault in faults:
            self.misbehave(**vars(fault))
        self.per_second = per_second
        self.banned_until: datetime | None = None
        self.asked_while_banned = 0
        self.truth = self.site.truth
        self.index_truth = self.site.index_truth
        self.change_body = self.site.change_body
        self._recent: deque[datetime] = deque()

    @property
    def requests(self) -> list[tuple[datetime, str, str]]:
        """(virtual time, path with query, what was answered) of every request."""
        return [(one.at, one.target, one.kind) for one in self.asked]

    def ban(self, seconds: float = BAN_SECONDS) -> None:
        """Nobody is answered for so long from now; asking lengthens it."""
        self.banned_until = self.clock() + timedelta(seconds=seconds)

    def answer(self, request: Request, fault: str | None) -> Answer:
        now = request.at
        if self.banned_until is not None and now < self.banned_until:
            self.asked_while_banned += 1
            self.banned_until = max(self.banned_until, now + timedelta(seconds=BAN_SECONDS))
            return replace(REFUSALS["throttled"], kind="banned")
        if fault == "ban" or self._too_many(now):
            self.banned_until = now + timedelta(seconds=BAN_SECONDS)
            return REFUSALS["throttled"]
        agent = request.headers.get("User-Agent", "")
        if "@" not in agent:
            return REFUSALS["undeclared"]
        return REFUSALS[fault] if fault in REFUSALS else self.site.answer(request, fault)

    def _too_many(self, now: datetime) -> bool:
        if self.per_second is None:
            return False
        self._recent.append(now)
        while self._recent and self._recent[0] <= now - timedelta(seconds=1):
            self._recent.popleft()
        return len(self._recent) > self.per_second


def _base(form: str) -> str:
    return form.partition("/")[0]


def _answer(body: bytes | Streamed, content_type: str, modified: datetime, etag: str) -> Answer:
    headers = {
        "ETag": etag, "Last-Modified": format_datetime(modified.replace(microsecond=0), usegmt=True),
        "Accept-Ranges": "bytes", "Vary": "Accept-Encoding",
    }  # fmt: skip
    return Answer(200, body, content_type, headers)


def _unchanged(answer: Answer, request: Request) -> Answer | None:
    """304 where the client's ETag is this one, or its date is not before this one's."""
    wanted, since = request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")
    modified = parsedate_to_datetime(answer.headers["Last-Modified"])
    same = wanted == answer.headers["ETag"] if wanted else bool(since) and parsedate_to_datetime(str(since)) >= modified
    return replace(answer, status=304, body=b"", kind="unchanged") if same else None


def _conditional(request: Request, body: bytes, modified: datetime, content_type: str) -> Answer:
    answer = _answer(body, content_type, modified, f'"{hashlib.md5(body).hexdigest()}"')
    return _unchanged(answer, request) or answer


def _tickers(path: str) -> bytes:
    from sample.companies import american_companies
    from sample.edgar_day import DAYS

    rows = [[int(one.id), one.name, one.ticker, one.exchange] for one in american_companies(DAYS[0])]
    if path.endswith("_exchange.json"):
        body: object = {"fields": ["cik", "name", "ticker", "exchange"], "data": rows}
    else:
        body = {str(at): {"cik_str": row[0], "ticker": row[2], "title": row[1]} for at, row in enumerate(rows)}
    return json.dumps(body, separators=(",", ":")).encode()
