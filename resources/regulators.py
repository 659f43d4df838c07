"""EDGAR and DART, each over HTTP and over an archive folder. All implement `ledgerline.filings.ports.Regulator`.

Here: who is asked, how often, and what a refusal leads to. What the bytes mean is in `ledgerline/filings/feeds.py` and
`archive.py`. The rate is a lease in the ledger's database, shared by every process; a ban is state there too. A secret
is never part of a message, a log line or a repr.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from zoneinfo import ZoneInfo

from dagster import ConfigurableResource
from pydantic import Field, PrivateAttr

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.ports import (
    LONGEST_BAN,
    DayIndex,
    KnownFilings,
    NotYetThere,
    Poll,
    RateLease,
    Regulator,
    RegulatorUnavailable,
)
from ledgerline.filings.records import FetchedFiling, FilingRef, RefusedFiling, Source
from ledgerline.filings.times import EASTERN, KOREA, SATURDAY, dart_public_by, eastern_day, end_of_day, korean_day
from resources.filing_ledger import SqlFilingLedger
from resources.secrets import secret

if TYPE_CHECKING:
    import httpx

    from ledgerline.filings.feeds import DartPage
    from ledgerline.filings.sgml import Header

EDGAR_URL = "https://www.sec.gov"
EDGAR_DATA_URL = "https://data.sec.gov"
DART_URL = "https://opendart.fss.or.kr"
EDGAR_CEILING = 8.0
EDGAR_PER_SECOND = 5.0  # the limit is 10 per user over all machines; steady 9.7 was throttled, 5 never
DART_PER_SECOND = 2.0  # more than about 1,000 a minute blocks the address for a day
DART_PER_DAY = 15_000  # the key allows 20,000 a day
ATTEMPTS = 3
TIMEOUT_SECONDS = 60.0
LARGEST_PAGE = 64 * 1024 * 1024  # bytes of a list, an index, a page of the feed; corpCode.zip has 4 MB
LARGEST_FILING = 512 * 1024 * 1024  # bytes; the largest of 271,974 real ones has 410 MB
PAGE = 100
LAST_START = 5000  # the feed has 51 pages; the next one answers 503
# Pages with something new that one poll reads: the busiest 10 minutes filled 9. What is left is for the next poll.
NEW_PAGES = 12
# Rows appear in the feed 25 to 70 s after their acceptance, a few much later.
OVERLAP = timedelta(minutes=5)
INDEX_WRITTEN = (22, 6)  # hour and minute Eastern from which the day's index may be there
INDEX_FINAL = 6  # hour Eastern of the next day: EFFECT rows of the day appear at 00:15
MOST_CONFIRMED = 20  # companies that are asked about filings which the index lacks
NOT_MODIFIED = 304
WALK_ROUNDS = 3
BLOCK = 1 << 18
GZIP = b"\x1f\x8b"
HEAD_BYTES = 16 * 1024
LONGEST_HEAD = 1024 * 1024

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


# --------------------------------------------------------------------------------------------------- the resource


class RegulatorSet(ConfigurableResource):
    """Which regulators there are. A source whose credential is given is read over HTTP, otherwise from the archive."""

    ledger: SqlFilingLedger
    archive: str | None = None
    edgar_user_agent: str | None = None
    dart_api_key: str | None = Field(default=None, repr=False)
    edgar_url: str = EDGAR_URL
    dart_url: str = DART_URL
    edgar_per_second: float = EDGAR_PER_SECOND

    _made: dict[str, Any] = PrivateAttr(default_factory=dict)

    def live_sources(self) -> list[Source]:
        """The sources that are read over HTTP."""
        given: dict[Source, str | None] = {"edgar": self.edgar_user_agent, "dart": self.dart_api_key}
        return [source for source, credential in given.items() if credential]

    def sources(self) -> list[Source]:
        """The sources that can be read. Raises ConfigurationError if the archive folder is not one."""
        live = self.live_sources()
        held = archive_sources(Path(self.archive)) if self.archive and len(live) < 2 else []
        both: tuple[Source, ...] = ("edgar", "dart")
        return [source for source in both if source in live or source in held]

    def of(self, source: Source) -> Regulator:
        """The regulator of a source. Raises ConfigurationError, before any request, if a setting is wrong."""
        if source not in self._made:
            self._made[source] = self._make(source)
        return cast(Regulator, self._made[source])

    def reference_files(self) -> list[ReferenceFile]:
        """The lists of companies that the sources read over HTTP serve now, all or none: a failed read raises."""
        return [cast("EdgarHttp | DartHttp", self.of(source)).reference_file() for source in self.live_sources()]

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`. A regulator's server is not asked: each request is one of the shared lease."""
        yield "settings"
        sources = self.sources()
        for source in sources:
            regulator = self.of(source)
            if source not in self.live_sources():
                yield f"archive of {source}"
                regulator.days()

    def _make(self, source: Source) -> Regulator:
        if source == "edgar":
            if self.edgar_user_agent:
                return EdgarHttp(
                    secret(self.edgar_user_agent, "EDGAR_USER_AGENT"),
                    lease=self.ledger,
                    base_url=self.edgar_url,
                    data_url=EDGAR_DATA_URL if self.edgar_url == EDGAR_URL else self.edgar_url,
                    per_second=self.edgar_per_second,
                )
            if self.archive:
                return EdgarArchive(self.archive)
            raise ConfigurationError(
                "EDGAR has no archive folder and no user agent: set EDGAR_USER_AGENT to your company or name and a "
                'contact e-mail (EDGAR_USER_AGENT="Example Inc. data@example.com"), or give an archive folder'
            )
        if source == "dart":
            if self.dart_api_key:
                return DartHttp(secret(self.dart_api_key, "DART_API_KEY"), lease=self.ledger, base_url=self.dart_url)
            if self.archive:
                return DartArchive(self.archive)
            raise ConfigurationError(
                "DART has no archive folder and no key: set DART_API_KEY to the 40 characters that "
                "https://opendart.fss.or.kr gives after registration, or give an archive folder"
            )
        raise ConfigurationError(f"there is no regulator {source!r}: the sources are 'edgar' and 'dart'")


@dataclass(frozen=True)
class ReferenceFile:
    """A regulator's list of its companies as served: `day` is the regulator's own calendar day when it was asked."""

    source: Source
    name: str
    body: bytes
    day: date


# ------------------------------------------------------------------------------------------------- asking over HTTP


@dataclass(frozen=True)
class Answer:
    """An answer that arrived whole: `body` is all of it, or of one that went `into` a file its first HEAD bytes.

    `asked_at` is the server's own clock where it tells it (UTC): what is judged by it is not judged by ours.
    """

    status: int
    body: bytes
    size: int
    sha256: str
    last_modified: datetime | None
    etag: str | None
    asked_at: datetime


class _Asker:
    """GET under the shared lease and ban. A transport fault or a cut-off body is asked again, ATTEMPTS times in all."""

    def __init__(
        self,
        source: Source,
        *,
        lease: RateLease,
        base_url: str,
        headers: Mapping[str, str],
        per_second: float,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        per_day: int | None = None,
        zone: ZoneInfo | None = None,
    ) -> None:
        """`per_day` requests are allowed in a calendar day of `zone`."""
        self.source = source
        self.lease = lease
        self.base_url = base_url.rstrip("/")
        self.headers = headers
        self.per_second = per_second
        self.per_day = per_day
        self.zone = zone
        self.clock = clock
        self.sleep = sleep
        self._client: httpx.Client | None = None

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        backfill: bool = False,
        into: Path | None = None,
        etag: str | None = None,
    ) -> Answer:
        """One answer, `into` a file where one is given: then one block of it is in memory at a time.

        Raises RegulatorUnavailable if nobody may ask now, or if every attempt failed, and RefusedFiling (too_large).
        """
        import httpx

        fault = ""
        for _ in range(ATTEMPTS):
            self._wait_for_turn(backfill)
            try:
                return self._ask(path, params, into, etag)
            except (httpx.TransportError, httpx.DecodingError) as error:
                # Neither the error nor its cause may travel on: they hold the URL, and DART's URL holds the key.
                fault = type(error).__name__
        raise RegulatorUnavailable(
            f"{self.source}: {path} failed {ATTEMPTS} times ({fault}); it is tried again with the next run. "
            f"If it stays so, check the connection to {self.base_url}"
        )

    def ban(self, until: datetime, reason: str) -> RegulatorUnavailable:
        """Remember that nobody may ask before `until`; returns the error to raise."""
        self.lease.ban(self.source, until, reason)
        return self._banned(until, reason)

    def _banned(self, until: datetime, reason: str) -> RegulatorUnavailable:
        return RegulatorUnavailable(
            f"{self.source} may not be asked before {until:%Y-%m-%d %H:%M:%S} UTC ({reason}): wait; every process "
            "of this ledger waits too",
            retry_at=until,
        )

    def _wait_for_turn(self, backfill: bool) -> None:
        now = self.clock()
        self._refuse_if_banned(now)
        day = now.astimezone(self.zone).date() if self.zone else None
        wait = self.lease.lease(
            self.source, now, per_second=self.per_second, per_day=self.per_day, day=day, backfill=backfill
        )
        if wait is None and day and self.zone:
            raise RegulatorUnavailable(
                f"{self.source}: the requests of {day} {'for a backfill ' if backfill else ''}are used up "
                f"({self.per_day} a day in all); the first run of tomorrow goes on",
                retry_at=end_of_day(day, self.zone),
            )
        assert wait is not None, "a lease without per_day always has a slot"
        if wait > 0:
            self.sleep(wait)
            self._refuse_if_banned(self.clock())  # another process may have been banned meanwhile

    def _refuse_if_banned(self, now: datetime) -> None:
        ban = self.lease.banned_until(self.source, now)
        if ban is not None:
            raise self._banned(*ban)

    def _ask(self, path: str, params: Mapping[str, str] | None, into: Path | None, etag: str | None) -> Answer:
        import httpx

        if self._client is None:
            self._client = httpx.Client(headers=dict(self.headers), timeout=TIMEOUT_SECONDS, follow_redirects=False)
        headers = {"If-None-Match": etag} if etag else {}
        with self._client.stream("GET", self.base_url + path, params=params, headers=headers) as response:
            if into is None:
                head, size, digest = _receive(response, None, LARGEST_PAGE, keep=LARGEST_PAGE)
            else:
                try:
                    with open(into, "wb") as out:
                        head, size, digest = _receive(response, out, LARGEST_FILING, keep=HEAD_BYTES)
                except OSError as error:
                    raise LedgerlineError(
                        f"{self.source}: the body of {path} cannot be written to {into.parent} ({error.strerror}); nothing "
                        "is lost: free space there, or name a larger folder with TMPDIR, then run this again"
                    ) from error
        return Answer(
            response.status_code,
            head,
            size,
            digest,
            _http_date(response.headers.get("Last-Modified")),
            response.headers.get("ETag"),
            _http_date(response.headers.get("Date")) or self.clock(),
        )


def _receive(response: httpx.Response, out: BinaryIO | None, limit: int, *, keep: int) -> tuple[bytes, int, str]:
    """(the first `keep` bytes or a block more, size, sha256) of a body that is written `out` as it arrives."""
    digest, size, head = hashlib.sha256(), 0, bytearray()
    encoding = response.headers.get("Content-Encoding", "gzip").lower()  # httpx would read the first gzip member only
    blocks = response.iter_raw(BLOCK) if encoding in ("gzip", "x-gzip") else response.iter_bytes(BLOCK)
    for block in _unpacked(blocks):
        size += len(block)
        if size > limit:
            raise RefusedFiling("too_large", f"the answer has more than {limit} bytes")
        digest.update(block)
        if out:
            out.write(block)
        if len(head) < keep:
            head += block
    return bytes(head), size, digest.hexdigest()


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks as they are, or unpacked where they are gzip (EDGAR sends it unasked). Raises DecodingError."""
    import httpx

    first = next(blocks, b"")
    while 0 < len(first) < 2:  # a block may end anywhere
        more = next(blocks, b"")
        first += more
        if not more:
            break
    if not first.startswith(GZIP):
        yield first
        yield from blocks
        return
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for block in chain((first,), blocks):
            rest = block
            while rest:
                if unpacker.eof:  # gzip members may follow one another, and zeros the last one
                    rest = rest.lstrip(b"\0")
                    unpacker = zlib.decompressobj(wbits=31) if rest else unpacker
                if rest:
                    yield unpacker.decompress(rest, BLOCK)
                    rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error as error:
        raise httpx.DecodingError(f"a gzip body cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise httpx.DecodingError("a gzip body is cut off")


def _http_date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(timezone.utc) if text else None
    except ValueError:
        return None


class _Masked(logging.Filter):
    """httpx logs the URL of every request; DART wants its key in there."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"(crtfc_key=)[^&\s\"']*", r"\1***", record.getMessage()), ()
        return True


# ---------------------------------------------------------------------------------------------------- EDGAR over HTTP


class EdgarHttp:
    """EDGAR's feed, daily master index, full submissions and list of tickers. `user_agent` names who asks, with e-mail."""

    source: Source = "edgar"
    live = True

    def __init__(
        self,
        user_agent: str,
        *,
        lease: RateLease,
        base_url: str = EDGAR_URL,
        data_url: str | None = None,
        per_second: float = EDGAR_PER_SECOND,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < per_second <= EDGAR_CEILING:
            raise ConfigurationError(
                f"EDGAR_PER_SECOND is {per_second:g}: EDGAR bans who asks more than 10 times a second over all machines; "
                f"give a number up to {EDGAR_CEILING:g}"
            )
        if not re.search(r"\S+ +\S*[^\s@]@[^\s@]+\.[^\s@]+", user_agent or ""):
            raise ConfigurationError(
                f"EDGAR_USER_AGENT is {user_agent!r}: EDGAR wants the name of a company or person and a contact "
                'e-mail, for example EDGAR_USER_AGENT="Example Inc. data@example.com"'
            )
        self._clock = clock

        def asker(url: str) -> _Asker:
            headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"}
            return _Asker(
                "edgar", lease=lease, base_url=url, headers=headers, per_second=per_second, clock=clock, sleep=sleep
            )

        self._asker = asker(base_url)
        self._data_asker = asker(data_url or base_url)  # another host, the same lease

    def days(self) -> list[date]:
        """Yesterday and today, Eastern: a filing may carry yesterday's date and appear after midnight."""
        today = eastern_day(self._clock())
        return [today - timedelta(days=1), today]

    def discover(self, day: date) -> list[FilingRef]:
        """Feed and daily index of the day, united. The feed holds about a day; before it, the index alone answers.

        Raises RegulatorUnavailable if a page cannot be read: what was read before it is not given out as the whole.
        """
        from ledgerline.filings.parties import unite_refs

        poll = self.poll(day, known=_NOTHING_KNOWN, since=None)
        if poll.failure:
            raise poll.failure
        return unite_refs(poll.refs)

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        """The feed from its newest row back to what is known and older than `since`, and the day's index once it is
        written. A day before yesterday is in no feed: its index alone is read."""
        if not self._is_live(day):
            index = self.index(day)
            return Poll({"index": index.refs if index else ()}, connected=False, pages=1)
        walk = self._walk_feed(day, known, since)
        if not self._index_may_be_there(day):
            return walk
        try:
            index = self.index(day)
        except RegulatorUnavailable as failure:
            return replace(walk, failure=walk.failure or failure)
        return replace(walk, seen={**walk.seen, "index": index.refs if index else ()}, pages=walk.pages + 1)

    def index(self, day: date) -> DayIndex | None:
        """master.idx of the day. Without one the day is an empty one, if it lies at a weekend or a later day's index is
        listed (a holiday); else EDGAR has not written it yet."""
        from ledgerline.filings.feeds import UnreadablePage, parse_master_index

        answer, there = self._look(f"{_quarter(day)}/master.{day:%Y%m%d}.idx", backfill=not self._is_live(day))
        closes = datetime.combine(day + timedelta(days=1), datetime.min.time(), EASTERN) + timedelta(hours=INDEX_FINAL)
        if not there:
            if day.weekday() >= SATURDAY or self._later_index_is_listed(day):
                return DayIndex("edgar", day, (), final=answer.asked_at >= closes)
            return None
        try:
            refs = tuple(parse_master_index(answer.body))
        except UnreadablePage as error:
            raise RegulatorUnavailable(
                f"edgar: index of {day}: {error}; it is tried again with the next run"
            ) from error
        return DayIndex("edgar", day, refs, final=answer.asked_at >= closes, written_at=answer.last_modified)

    def confirm(self, refs: Sequence[FilingRef]) -> set[str]:
        """Those that the submissions of their first company list under the same day; `acceptanceDateTime` is not used:
        its zone is wrong in 29 % of values."""
        from ledgerline.filings.feeds import UnreadablePage, parse_submissions

        by_company: dict[str, list[FilingRef]] = {}
        for ref in refs:
            if ref.parties:
                by_company.setdefault(ref.parties[0].id, []).append(ref)
        confirmed: set[str] = set()
        for company, asked in list(by_company.items())[:MOST_CONFIRMED]:
            answer = self._get(f"/submissions/CIK{company}.json", asker=self._data_asker)
            if answer is None:
                continue
            try:
                listed = {(ref.filing_id, ref.day) for ref in parse_submissions(answer.body)}
            except UnreadablePage as error:
                raise RegulatorUnavailable(
                    f"edgar: submissions of {company}: {error}; it is tried again with the next run"
                ) from error
            confirmed |= {ref.filing_id for ref in asked if (ref.filing_id, ref.day) in listed}
        return confirmed

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling | None:
        """The full submission. Raises NotYetThere if EDGAR lists it and does not serve it yet."""
        if not ref.parties:
            raise NotYetThere(f"{ref.filing_id}: no company is known yet, and the address of a filing has one in it")
        folder = f"{int(ref.parties[0].id)}/{ref.filing_id.replace('-', '')}"
        answer = self._get(
            f"/Archives/edgar/data/{folder}/{ref.filing_id}.txt",
            backfill=not self._is_live(ref.day),
            into=into,
            etag=etag,
        )
        if answer is None:
            raise NotYetThere(f"{ref.filing_id} is listed, and EDGAR does not serve it yet")
        if answer.status == NOT_MODIFIED:
            return None
        return FetchedFiling(ref, into, answer.size, answer.sha256, answer.last_modified, answer.etag)

    def reference_file(self) -> ReferenceFile:
        """company_tickers_exchange.json. Raises RegulatorUnavailable if it is not served."""
        name = "company_tickers_exchange.json"
        day = eastern_day(self._clock())
        answer = self._get(f"/files/{name}")
        if answer is None:
            raise RegulatorUnavailable(
                f"edgar: {name} is not served to this address; it is tried again with the next run. If it stays so, "
                "ask from an address that is no cloud's: EDGAR refuses this file to those first"
            )
        return ReferenceFile("edgar", name, answer.body, day)

    def _is_live(self, day: date) -> bool:
        """Whether the feed may still hold filings of the day; older ones are a backfill's."""
        return day >= eastern_day(self._clock()) - timedelta(days=1)

    def _index_may_be_there(self, day: date) -> bool:
        hour, minute = INDEX_WRITTEN
        written = datetime.combine(day, datetime.min.time(), EASTERN) + timedelta(hours=hour, minutes=minute)
        return self._clock() >= written

    def _later_index_is_listed(self, day: date) -> bool:
        """Whether EDGAR lists an index of a later day, and none of this one. The quarter's folder says so, and of a
        holiday at its end (31 December 2027) the next one."""
        from ledgerline.filings.feeds import UnreadablePage, parse_index_listing

        today = eastern_day(self._clock())
        for quarter in dict.fromkeys((_quarter(day), _quarter(min(today, day + timedelta(days=7))))):
            answer = self._get(f"{quarter}/index.json", backfill=not self._is_live(day))
            if answer is None:
                continue
            try:
                days = parse_index_listing(answer.body)
            except UnreadablePage as error:
                raise RegulatorUnavailable(f"edgar: {quarter}: {error}; it is tried again with the next run") from error
            if day in days or any(listed > day for listed in days):
                return day not in days
        return False

    def _walk_feed(self, day: date, known: KnownFilings, since: datetime | None) -> Poll:
        """Pages, newest first, until a page holds nothing new and reaches back before `since` (or the start of the day).

        Rows shift to later pages while the walk goes on, so neighbouring pages may repeat rows and lose none. What ends
        the walk early is in the Poll; only a first page that cannot be read raises.
        """
        until = since - OVERLAP if since else end_of_day(day - timedelta(days=1), EASTERN)
        refs: list[FilingRef] = []
        new_pages = pages = 0
        oldest: datetime | None = None
        asked_at: datetime | None = None  # the first page
        for start in range(0, LAST_START + PAGE, PAGE):
            try:
                page, at = self._feed_page(start)
            except RegulatorUnavailable as failure:
                if pages == 0:
                    raise
                return Poll({"feed": refs}, connected=False, pages=pages, asked_at=asked_at, failure=failure)
            if not page and pages == 0:
                raise RegulatorUnavailable("edgar: the feed has no row; it is tried again with the next run")
            pages += 1
            asked_at = asked_at or at
            ids = {ref.filing_id for ref in page}
            news = ids - known.known("edgar", sorted(ids))
            refs += page
            accepted = [ref.accepted_at for ref in page if ref.accepted_at]
            oldest = min([*accepted, *([oldest] if oldest else [])], default=None)
            if oldest and oldest < until and (since is None or not news):
                return Poll({"feed": refs}, pages=pages, asked_at=asked_at)
            if (
                not page
            ):  # the feed ended on a page before that was not full; behind full ones this is no end but a fault
                ended = len(refs) < (pages - 1) * PAGE
                return Poll({"feed": refs}, connected=ended, pages=pages, asked_at=asked_at)
            new_pages += bool(news)
            if since is not None and new_pages == NEW_PAGES:
                return Poll({"feed": refs}, connected=False, pages=pages, asked_at=asked_at)
        log.warning("edgar: the feed reaches back to %s, not to %s; the daily index closes the gap", oldest, until)
        return Poll({"feed": refs}, connected=False, gap=(until, oldest or until), pages=pages, asked_at=asked_at)

    def _feed_page(self, start: int) -> tuple[tuple[FilingRef, ...], datetime]:
        """(rows, when it was answered)"""
        from ledgerline.filings.feeds import UnreadablePage, parse_feed_page

        params = {
            "action": "getcurrent", "type": "", "company": "", "dateb": "", "owner": "include",
            "start": str(start), "count": str(PAGE), "output": "atom",
        }  # fmt: skip
        answer = self._get("/cgi-bin/browse-edgar", params)
        if answer is None:
            raise RegulatorUnavailable("edgar: the feed is not there; it is tried again with the next run")
        try:
            return parse_feed_page(answer.body).refs, answer.asked_at
        except UnreadablePage as error:
            raise RegulatorUnavailable(f"edgar: {error}; it is tried again with the next run") from error

    def _get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        asker: _Asker | None = None,
        backfill: bool = False,
        into: Path | None = None,
        etag: str | None = None,
    ) -> Answer | None:
        """An answer that is what was asked for, or None for what EDGAR does not have (yet)."""
        answer, there = self._look(path, params, asker=asker, backfill=backfill, into=into, etag=etag)
        return answer if there else None

    def _look(
        self, path: str, params: Mapping[str, str] | None = None, *, asker: _Asker | None = None, **how: Any
    ) -> tuple[Answer, bool]:
        """The answer, and whether it is what was asked for: False for what EDGAR does not have (yet)."""
        from ledgerline.filings.feeds import edgar_refusal

        answer = (asker or self._asker).get(path, params, **how)
        refusal = None if answer.status == NOT_MODIFIED else edgar_refusal(answer.status, answer.body)
        if refusal is None or refusal == "absent":
            return answer, refusal is None
        if refusal == "undeclared":
            raise ConfigurationError(
                "EDGAR answers 'Undeclared Automated Tool': it does not accept the user agent. Set EDGAR_USER_AGENT to "
                "a real company or name and a contact e-mail"
            )
        if refusal == "throttled":
            until = self._clock() + LONGEST_BAN["edgar"]
            raise self._asker.ban(until, "Request Rate Threshold Exceeded")
        raise RegulatorUnavailable(
            f"edgar: {path} answers {answer.status} (maintenance or a fault); it is tried again with the next run"
        )


def _quarter(day: date) -> str:
    """The folder of the daily indexes of the day's quarter."""
    return f"/Archives/edgar/daily-index/{day.year}/QTR{(day.month - 1) // 3 + 1}"


class _NothingKnown:
    """For a read of the whole day."""

    def known(self, source: Source, filing_ids: Sequence[str]) -> set[str]:
        return set()

    def listed(self, source: Source, day: date) -> int:
        return 0


_NOTHING_KNOWN = _NothingKnown()


# ----------------------------------------------------------------------------------------------------- DART over HTTP


class DartHttp:
    """OpenDART's list.json, document.xml and corpCode.xml. `api_key` has 40 hexadecimal characters and is sent as a parameter."""

    source: Source = "dart"
    live = True

    def __init__(
        self,
        api_key: str,
        *,
        lease: RateLease,
        base_url: str = DART_URL,
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{40}", api_key or ""):
            raise ConfigurationError(
                f"DART_API_KEY has {len(api_key or '')} characters and must have 40 hexadecimal ones: copy it from "
                "https://opendart.fss.or.kr"
            )
        self._key = api_key
        self._clock = clock
        self._asker = _Asker(
            "dart",
            lease=lease,
            base_url=base_url,
            headers={"Accept-Encoding": "gzip, deflate"},
            per_second=DART_PER_SECOND,
            per_day=DART_PER_DAY,
            zone=KOREA,
            clock=clock,
            sleep=sleep,
        )
        for name in ("httpx", "httpcore"):
            logger = logging.getLogger(name)
            if not any(isinstance(one, _Masked) for one in logger.filters):
                logger.addFilter(_Masked())

    def days(self) -> list[date]:
        """Yesterday and today in Korea."""
        today = korean_day(self._clock())
        return [today - timedelta(days=1), today]

    def discover(self, day: date) -> list[FilingRef]:
        """All pages of the day, read again until the count at the end is the count at the start.

        Rows come in no order and pages shift while they are read, so a known row says nothing about the next.
        """
        return list(self._read_list(day)[0])

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        """The whole list of the day, unless its ends say that nothing was added: the count is the one that is known, and
        so are the rows of its first and last page, where new ones come, also in place of one that was withdrawn. The list
        is read whole again before the day is called complete."""
        first = self._page(day, 1)
        ends = [first[0]]
        if first[0].total_count == known.listed("dart", day):
            if first[0].total_page > 1:
                ends.append(self._page(day, first[0].total_page)[0])
            seen = [ref for page in ends for ref in page.refs]
            ids = {ref.filing_id for ref in seen}
            if known.known("dart", sorted(ids)) == ids:
                return Poll({"list": seen}, pages=len(ends))
        refs, pages, _ = self._read_list(day, first)
        return Poll({"list": refs}, pages=pages + len(ends) - 1)

    def index(self, day: date) -> DayIndex | None:
        """The list, read whole: DART has no other index. It is final an hour after the end of the Korean day."""
        refs, _, asked_at = self._read_list(day)
        return DayIndex("dart", day, refs, final=asked_at >= dart_public_by(day))

    def confirm(self, refs: Sequence[FilingRef]) -> set[str]:
        """Nothing: DART has no second witness."""
        return set()

    def _read_list(
        self, day: date, opened: tuple[DartPage, datetime] | None = None
    ) -> tuple[tuple[FilingRef, ...], int, datetime]:
        """(refs, pages read, when the first page of the reading that held was answered); `opened` is a first page."""
        from ledgerline.filings.parties import unite_refs

        read = 0
        for _ in range(WALK_ROUNDS):
            first, asked_at = opened or self._page(day, 1)
            opened = None
            pages = [first] + [self._page(day, number)[0] for number in range(2, first.total_page + 1)]
            refs = [ref for page in pages for ref in page.refs]
            again = self._page(day, 1)[0] if first.total_page > 1 else first
            read += len(pages) + (again is not first)
            if len({ref.filing_id for ref in refs}) == again.total_count == first.total_count:
                return tuple(unite_refs(refs)), read, asked_at
        raise RegulatorUnavailable(
            f"dart: the list of {day} changed during each of {WALK_ROUNDS} readings; it is read again with the next run"
        )

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling | None:
        """The ZIP of document.xml. Raises NotYetThere if DART lists the filing and has no document yet (014)."""
        answer, error = self._zip(
            "/api/document.xml",
            {"rcept_no": ref.filing_id},
            what=ref.filing_id,
            into=into,
            etag=etag,
            backfill=not self._is_live(ref.day),
        )
        if answer.status == NOT_MODIFIED:
            return None
        if error is None:
            return FetchedFiling(ref, into, answer.size, answer.sha256, answer.last_modified, answer.etag)
        if error[0] == "014":
            raise NotYetThere(f"{ref.filing_id} is listed, and DART has no document of it yet (014)")
        self._raise_for(*error)
        raise RegulatorUnavailable(f"dart: {ref.filing_id}: status {error[0]} where a document was asked for")

    def _is_live(self, day: date) -> bool:
        return day >= korean_day(self._clock()) - timedelta(days=1)

    def reference_file(self) -> ReferenceFile:
        """The ZIP of corpCode.xml. Raises RegulatorUnavailable if it is not served."""
        day = korean_day(self._clock())
        answer, error = self._zip("/api/corpCode.xml", {}, what="corpCode.xml")
        if error is None:
            return ReferenceFile("dart", "corpCode.zip", answer.body, day)
        self._raise_for(*error)
        raise RegulatorUnavailable(
            f"dart: status {error[0]} where corpCode.xml was asked for; it is tried again with the next run"
        )

    def _zip(
        self, path: str, params: Mapping[str, str], *, what: str, **how: Any
    ) -> tuple[Answer, tuple[str, str] | None]:
        """The answer of a ZIP endpoint, and (status, message) where it is an error and no ZIP."""
        from ledgerline.filings.feeds import UnreadablePage, parse_dart_error

        answer = self._asker.get(path, {"crtfc_key": self._key, **params}, **how)
        if answer.status == NOT_MODIFIED:
            return answer, None
        try:
            return answer, parse_dart_error(answer.body)
        except UnreadablePage as unreadable:
            raise RegulatorUnavailable(
                f"dart: {what}: {self._masked(str(unreadable))}; it is tried again with the next run"
            ) from None

    def _page(self, day: date, number: int) -> tuple[DartPage, datetime]:
        """A page of the day's list, and when it was answered by the server's clock."""
        from ledgerline.filings.feeds import UnreadablePage, parse_dart_list

        params = {
            "crtfc_key": self._key, "bgn_de": f"{day:%Y%m%d}", "end_de": f"{day:%Y%m%d}", "last_reprt_at": "N",
            "sort": "date", "sort_mth": "asc", "page_no": str(number), "page_count": str(PAGE),
        }  # fmt: skip
        answer = self._asker.get("/api/list.json", params, backfill=not self._is_live(day))
        try:
            page = parse_dart_list(answer.body)
        except UnreadablePage as unreadable:
            raise RegulatorUnavailable(
                f"dart: list of {day}, page {number}, answers {answer.status}: {self._masked(str(unreadable))}; it is "
                "tried again with the next run"
            ) from None
        self._raise_for(page.status, page.message)
        return page, answer.asked_at

    def _raise_for(self, status: str, message: str) -> None:
        """Nothing for 000 and 013 (no rows: a true answer); every other status has its own action."""
        from ledgerline.filings.feeds import DART_MEANING

        meaning = DART_MEANING.get(status, "unavailable")
        said = f"DART answers {status} ({self._masked(message)})"
        if meaning in ("ok", "empty"):
            return
        if meaning == "configuration":
            raise ConfigurationError(
                f"{said}: check DART_API_KEY and its allowed addresses at https://opendart.fss.or.kr"
            )
        if meaning == "quota":
            until = end_of_day(korean_day(self._clock()), KOREA)
            raise self._asker.ban(until, "020, the key's requests of the day are used up")
        if meaning == "client":
            raise LedgerlineError(f"{said}: the request is wrong; this is a fault of ledgerline, please report it")
        raise RegulatorUnavailable(f"{said}; it is tried again with the next run")

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***")


# ---------------------------------------------------------------------------------------------------- archive folders

EDGAR_FOLDERS = ("full", "nc", "malformed")  # where bodies are; the first that holds an accession gives its body
FEED_PAGE = re.compile(r"page_\d+\.atom\.xml")
INDEX_FILE = re.compile(r"master\.\d{8}\.idx")
DAY_FOLDER = re.compile(r"\d{8}")
BARE_DART = re.compile(r"(?:document_|dart-)(?P<rcept>\d{14})(?P<part>_\d+)?\.(?:xml|xhml)")


def archive_sources(folder: Path) -> list[Source]:
    """The sources that an archive folder holds. Raises ConfigurationError saying what was looked for if none."""
    found: list[Source] = []
    if any((folder / "edgar" / name).is_dir() for name in (*EDGAR_FOLDERS, "feeds", "index")):
        found.append("edgar")
    dart = folder / "dart"
    if dart.is_dir() and ((dart / "list").is_dir() or (dart / "document").is_dir() or any(_bare_dart_files(dart))):
        found.append("dart")
    if found:
        return found
    if not folder.is_dir():
        raise ConfigurationError(f"the archive folder {folder} does not exist: give an existing folder")
    inner = [child for child in sorted(folder.iterdir()) if (child / "edgar").is_dir() or (child / "dart").is_dir()]
    raise ConfigurationError(
        f"{folder} is no archive of filings: looked for edgar/full/*.txt, edgar/nc/*.nc, edgar/malformed/*.txt, "
        "edgar/feeds/<YYYYMMDD>/page_<start>.atom.xml, edgar/index/master.<YYYYMMDD>.idx, "
        "dart/list/<YYYYMMDD>/page_<n>.json, dart/document/<rcept_no>.zip and dart/document_<rcept_no>.xml; "
        + (f"did you mean {inner[0]}?" if inner else "give a folder that has some of them")
    )


class _Archive:
    """What both archives share: one look at the folder is remembered until a file in it changes."""

    source: Source
    live = False

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.source not in archive_sources(self.folder):
            raise ConfigurationError(f"the archive {self.folder} holds nothing of {self.source}: give one that does")
        self._stamp: Any = None
        self._days: dict[date, list[FilingRef]] = {}

    def days(self) -> list[date]:
        """The days of the archive's filings, oldest first."""
        return sorted(self._refs_by_day())

    def discover(self, day: date) -> list[FilingRef]:
        """The filings of the day: those that lists and feeds name, and those of which only the body is there."""
        return list(self._refs_by_day().get(day, []))

    def poll(self, day: date, *, known: KnownFilings, since: datetime | None) -> Poll:
        """All of the day: the folder costs nothing to look at."""
        return Poll({"archive": self.discover(day)})

    def index(self, day: date) -> DayIndex | None:
        """What the archive holds of the day: nobody adds to its lists any more."""
        return DayIndex(self.source, day, tuple(self.discover(day)), final=True)

    def confirm(self, refs: Sequence[FilingRef]) -> set[str]:
        """Nothing: an archive is one witness."""
        return set()

    def _refs_by_day(self) -> dict[date, list[FilingRef]]:
        files = sorted(self._files(), key=lambda entry: entry.path)
        stamp = [(entry.path, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in files]
        if stamp != self._stamp:
            days: dict[date, list[FilingRef]] = {}
            for ref in sorted(self._read([Path(entry.path) for entry in files]), key=lambda one: one.filing_id):
                days.setdefault(ref.day, []).append(ref)
            self._days, self._stamp = days, stamp
        return self._days

    def _look_once(self) -> None:
        """A fetch follows a discovery and does not look at the whole folder again."""
        if self._stamp is None:
            self._refs_by_day()

    def _files(self) -> Iterator[os.DirEntry[str]]:
        raise NotImplementedError

    def _read(self, files: list[Path]) -> list[FilingRef]:
        raise NotImplementedError


class EdgarArchive(_Archive):
    """An archive's `edgar/` folder. Every file in full, nc and malformed is a filing; none is passed over.

    A second body of the same accession number is a filing of its own, `<accession>.<folder>`, so that it is seen.
    """

    source: Source = "edgar"
    _bodies: dict[str, Path]

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling:
        """The archive's own file, not copied. Raises NotYetThere for what the archive lists without its body."""
        from ledgerline.digests import file_digest
        from ledgerline.filings.archive import edgar_released_at

        self._look_once()
        path = self._bodies.get(ref.filing_id)
        if path is None:
            raise NotYetThere(f"{ref.filing_id} is listed in the archive {self.folder}, and its body is not there")
        header = _edgar_header(path)
        released = edgar_released_at(header.form or ref.form, ref.day, header.accepted_at or ref.accepted_at)
        return FetchedFiling(ref, path, path.stat().st_size, file_digest(path), released)

    def _files(self) -> Iterator[os.DirEntry[str]]:
        edgar = self.folder / "edgar"
        for name in EDGAR_FOLDERS:
            yield from (
                entry for entry in _children(edgar / name) if entry.is_file() and not entry.name.startswith(".")
            )
        yield from (entry for entry in _children(edgar / "index") if INDEX_FILE.fullmatch(entry.name))
        for day in _children(edgar / "feeds"):
            if DAY_FOLDER.fullmatch(day.name):
                yield from (entry for entry in _children(day.path) if FEED_PAGE.fullmatch(entry.name))

    def _read(self, files: list[Path]) -> list[FilingRef]:
        from ledgerline.filings.archive import edgar_file_ref
        from ledgerline.filings.parties import unite_refs

        listed = {ref.filing_id: ref for ref in unite_refs(self._listed(files))}
        bodies: dict[str, Path] = {}
        refs = dict(listed)
        for folder in EDGAR_FOLDERS:
            for path in (path for path in files if path.parent.name == folder):
                ref = edgar_file_ref(path.name, _edgar_header(path))
                if ref.filing_id in bodies:
                    ref = replace(ref, filing_id=f"{ref.filing_id}.{folder}")
                bodies[ref.filing_id] = path
                refs.setdefault(ref.filing_id, ref)
        self._bodies = bodies
        return list(refs.values())

    def _listed(self, files: list[Path]) -> Iterator[FilingRef]:
        from ledgerline.filings.feeds import parse_feed_page, parse_master_index

        for path in files:
            if FEED_PAGE.fullmatch(path.name):
                yield from _readable(path, parse_feed_page).refs
        for path in files:
            if INDEX_FILE.fullmatch(path.name) and path.parent.name == "index":
                yield from _readable(path, parse_master_index)


class DartArchive(_Archive):
    """An archive's `dart/` folder: lists, document ZIPs, and bare documents, given out as the ZIP of theirs."""

    source: Source = "dart"
    _bodies: dict[str, list[Path]]

    def fetch(self, ref: FilingRef, into: Path, *, etag: str | None = None) -> FetchedFiling:
        """The ZIP. Raises NotYetThere for what the archive lists without its document."""
        from ledgerline.digests import file_digest
        from ledgerline.filings.archive import zip_of_members

        self._look_once()
        paths = self._bodies.get(ref.filing_id)
        if not paths:
            raise NotYetThere(f"{ref.filing_id} is listed in the archive {self.folder}, and its document is not there")
        path = paths[0]
        if path.suffix != ".zip":
            into.write_bytes(zip_of_members({_member_name(one): one.read_bytes() for one in paths}))
            path = into
        return FetchedFiling(ref, path, path.stat().st_size, file_digest(path), dart_public_by(ref.day))

    def _files(self) -> Iterator[os.DirEntry[str]]:
        dart = self.folder / "dart"
        for day in _children(dart / "list"):
            if DAY_FOLDER.fullmatch(day.name):
                yield from (entry for entry in _children(day.path) if entry.name.endswith(".json"))
        yield from (entry for entry in _children(dart / "document") if entry.name.endswith(".zip"))
        yield from _bare_dart_files(dart)

    def _read(self, files: list[Path]) -> list[FilingRef]:
        from ledgerline.filings.archive import dart_file_ref
        from ledgerline.filings.feeds import parse_dart_list
        from ledgerline.filings.parties import unite_refs

        pages = (_readable(path, parse_dart_list) for path in files if path.suffix == ".json")
        refs = {ref.filing_id: ref for ref in unite_refs(ref for page in pages for ref in page.refs)}
        bodies: dict[str, list[Path]] = {}
        for path in files:
            bare = BARE_DART.fullmatch(path.name)
            if path.suffix == ".zip":
                bodies[path.stem] = [path]
            elif bare and bodies.get(bare["rcept"], [path])[0].suffix != ".zip":
                bodies.setdefault(bare["rcept"], []).append(path)
        for rcept_no, paths in bodies.items():
            if rcept_no not in refs:
                refs[rcept_no] = dart_file_ref(rcept_no, _dart_head(paths, rcept_no))
        self._bodies = bodies
        return list(refs.values())


def _readable(path: Path, parse: Callable[[bytes], Any]) -> Any:
    from ledgerline.filings.feeds import UnreadablePage

    try:
        return parse(path.read_bytes())
    except UnreadablePage as error:
        raise RegulatorUnavailable(f"{path}: {error}; replace the file by a whole one") from error


def _edgar_header(path: Path) -> Header:
    """Facts of the header; reads the first 16 kB, and more only where the header is longer."""
    from ledgerline.filings.archive import edgar_header, header_is_whole

    with open(path, "rb") as stream:
        head = stream.read(HEAD_BYTES)
        if len(head) == HEAD_BYTES and not header_is_whole(head):
            head += stream.read(LONGEST_HEAD - HEAD_BYTES)
    return edgar_header(head)


def _dart_head(paths: list[Path], rcept_no: str) -> bytes:
    """The start of the main document; nothing where the ZIP cannot be read: it is refused later, with its reason."""
    if paths[0].suffix != ".zip":
        main = next((path for path in paths if not (BARE_DART.fullmatch(path.name) or {})["part"]), paths[0])  # type: ignore[index]
        with open(main, "rb") as stream:
            return stream.read(HEAD_BYTES)
    try:
        with zipfile.ZipFile(paths[0]) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == f"{rcept_no}.xml"]
            if not names:
                return b""
            with archive.open(names[0]) as stream:
                return stream.read(HEAD_BYTES)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError):
        return b""


def _member_name(path: Path) -> str:
    bare = BARE_DART.fullmatch(path.name)
    return f"{bare['rcept']}{bare['part'] or ''}.xml" if bare else path.name


def _bare_dart_files(dart: Path) -> Iterable[os.DirEntry[str]]:
    return (entry for entry in _children(dart) if BARE_DART.fullmatch(entry.name))


def _children(folder: str | Path) -> list[os.DirEntry[str]]:
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return list(entries)
