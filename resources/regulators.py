"""EDGAR and DART, each over HTTP and over an archive folder. All implement `ledgerline.filings.ports.Regulator`.

Here: who is asked, how often, and what a refusal leads to. What the bytes mean is in `ledgerline/filings/feeds.py` and
`archive.py`. The rate is a lease in the ledger's database, shared by every process; a ban is state there too. A secret
is never part of a message, a log line or a repr.
"""

from __future__ import annotations

import logging
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dagster import ConfigurableResource, EnvVar
from pydantic import Field, PrivateAttr

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.filings.ports import NotYetThere, RateLease, Regulator, RegulatorUnavailable
from ledgerline.filings.records import FetchedFiling, FilingRef, RefusedFiling, Source
from resources.filing_ledger import SqlFilingLedger

if TYPE_CHECKING:
    import httpx

    from ledgerline.filings.sgml import Header

EDGAR_PER_SECOND = 5.0  # the limit is 10 per user over all machines; steady 9.7 was throttled, 5 never
DART_PER_SECOND = 2.0  # more than about 1,000 a minute blocks the address for a day
DART_PER_DAY = 15_000  # the key allows 20,000 a day
BAN_SECONDS = 600  # "access limited for 10 minutes"; asking during them lengthens it
ATTEMPTS = 3
TIMEOUT_SECONDS = 60.0
LARGEST_FILING = 512 * 1024 * 1024  # bytes; the largest of 271,974 real ones has 410 MB
PAGE = 100
LAST_START = 5000  # the feed has 51 pages; the next one answers 503
WALK_ROUNDS = 3
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
    edgar_url: str = "https://www.sec.gov"
    dart_url: str = "https://opendart.fss.or.kr"

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

    def _make(self, source: Source) -> Regulator:
        if source == "edgar":
            if self.edgar_user_agent:
                return EdgarHttp(_value_of(self.edgar_user_agent), lease=self.ledger, base_url=self.edgar_url)
            if self.archive:
                return EdgarArchive(self.archive)
            raise ConfigurationError(
                "EDGAR has no archive folder and no user agent: set EDGAR_USER_AGENT to your company or name and a "
                'contact e-mail (EDGAR_USER_AGENT="Example Inc. data@example.com"), or give an archive folder'
            )
        if source == "dart":
            if self.dart_api_key:
                return DartHttp(_value_of(self.dart_api_key), lease=self.ledger, base_url=self.dart_url)
            if self.archive:
                return DartArchive(self.archive)
            raise ConfigurationError(
                "DART has no archive folder and no key: set DART_API_KEY to the 40 characters that "
                "https://opendart.fss.or.kr gives after registration, or give an archive folder"
            )
        raise ConfigurationError(f"there is no regulator {source!r}: the sources are 'edgar' and 'dart'")


def _value_of(setting: str) -> str:
    """A setting, or what the variable holds that it names: Dagster reads it in runs only, not for the command line."""
    return (setting.get_value() or "") if isinstance(setting, EnvVar) else setting


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
    """An answer whose body arrived whole."""

    status: int
    body: bytes
    last_modified: datetime | None
    etag: str | None


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
        day_of: Callable[[datetime], date] | None = None,
    ) -> None:
        self.source = source
        self.lease = lease
        self.base_url = base_url.rstrip("/")
        self.headers = headers
        self.per_second = per_second
        self.per_day = per_day
        self.day_of = day_of
        self.clock = clock
        self.sleep = sleep
        self._client: httpx.Client | None = None

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """One answer. Raises RegulatorUnavailable if nobody may ask now, or if every attempt failed."""
        import httpx

        fault = ""
        for _ in range(ATTEMPTS):
            self._wait_for_turn()
            try:
                return self._ask(path, params)
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

    def _wait_for_turn(self) -> None:
        now = self.clock()
        self._refuse_if_banned(now)
        day = self.day_of(now) if self.day_of else None
        wait = self.lease.lease(self.source, now, per_second=self.per_second, per_day=self.per_day, day=day)
        if wait is None:
            raise RegulatorUnavailable(
                f"{self.source}: the {self.per_day} requests of {day} are used up; the next run of tomorrow goes on"
            )
        if wait > 0:
            self.sleep(wait)
            self._refuse_if_banned(self.clock())  # another process may have been banned meanwhile

    def _refuse_if_banned(self, now: datetime) -> None:
        ban = self.lease.banned_until(self.source, now)
        if ban is not None:
            raise self._banned(*ban)

    def _ask(self, path: str, params: Mapping[str, str] | None) -> Answer:
        import httpx

        from ledgerline.filings.feeds import UnreadablePage, ungzip

        if self._client is None:
            self._client = httpx.Client(headers=dict(self.headers), timeout=TIMEOUT_SECONDS, follow_redirects=False)
        with self._client.stream("GET", self.base_url + path, params=params) as response:
            parts, size = [], 0
            for block in response.iter_bytes(1 << 20):
                size += len(block)
                if size > LARGEST_FILING:
                    raise RefusedFiling("too_large", f"the answer has more than {LARGEST_FILING} bytes")
                parts.append(block)
        try:
            body = ungzip(b"".join(parts), limit=LARGEST_FILING)
        except UnreadablePage as error:
            raise httpx.DecodingError(str(error)) from error
        modified = response.headers.get("Last-Modified")
        return Answer(response.status_code, body, _http_date(modified), response.headers.get("ETag"))


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

    def __init__(
        self,
        user_agent: str,
        *,
        lease: RateLease,
        base_url: str = "https://www.sec.gov",
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not re.search(r"\S+ +\S*[^\s@]@[^\s@]+\.[^\s@]+", user_agent or ""):
            raise ConfigurationError(
                f"EDGAR_USER_AGENT is {user_agent!r}: EDGAR wants the name of a company or person and a contact "
                'e-mail, for example EDGAR_USER_AGENT="Example Inc. data@example.com"'
            )
        self._clock = clock
        self._asker = _Asker(
            "edgar",
            lease=lease,
            base_url=base_url,
            headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
            per_second=EDGAR_PER_SECOND,
            clock=clock,
            sleep=sleep,
        )

    def days(self) -> list[date]:
        """Yesterday and today, Eastern: a filing may carry yesterday's date and appear after midnight."""
        from ledgerline.filings.times import eastern_day

        today = eastern_day(self._clock())
        return [today - timedelta(days=1), today]

    def discover(self, day: date) -> list[FilingRef]:
        """Feed and daily index of the day, united. The feed holds about a day; before it, the index alone answers.

        Raises RegulatorUnavailable if a page cannot be read: what was read before it is not given out as the whole.
        """
        from ledgerline.filings.parties import unite_refs
        from ledgerline.filings.times import eastern_day

        today = eastern_day(self._clock())
        walked = self._walk_feed(day) if day >= today - timedelta(days=1) else []
        return unite_refs([*walked, *self._daily_index(day)])

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        """The full submission. Raises NotYetThere if EDGAR lists it and does not serve it yet."""
        if not ref.parties:
            raise NotYetThere(f"{ref.filing_id}: no company is known yet, and the address of a filing has one in it")
        folder = f"{int(ref.parties[0].id)}/{ref.filing_id.replace('-', '')}"
        answer = self._get(f"/Archives/edgar/data/{folder}/{ref.filing_id}.txt")
        if answer is None:
            raise NotYetThere(f"{ref.filing_id} is listed, and EDGAR does not serve it yet")
        return FetchedFiling(ref, answer.body, answer.last_modified, answer.etag)

    def reference_file(self) -> ReferenceFile:
        """company_tickers_exchange.json. Raises RegulatorUnavailable if it is not served."""
        from ledgerline.filings.times import eastern_day

        name = "company_tickers_exchange.json"
        day = eastern_day(self._clock())
        answer = self._get(f"/files/{name}")
        if answer is None:
            raise RegulatorUnavailable(
                f"edgar: {name} is not served to this address; it is tried again with the next run. If it stays so, "
                "ask from an address that is no cloud's: EDGAR refuses this file to those first"
            )
        return ReferenceFile("edgar", name, answer.body, day)

    def _walk_feed(self, day: date) -> list[FilingRef]:
        """Pages, newest first, until the rows were accepted before the day began (or the feed ends).

        Rows shift to later pages while the walk goes on, so neighbouring pages may repeat rows and lose none.
        """
        from ledgerline.filings.archive import end_of_day
        from ledgerline.filings.feeds import UnreadablePage, parse_feed_page
        from ledgerline.filings.times import EASTERN

        begins = end_of_day(day - timedelta(days=1), EASTERN)
        refs: list[FilingRef] = []
        for start in range(0, LAST_START + PAGE, PAGE):
            params = {
                "action": "getcurrent", "type": "", "company": "", "dateb": "", "owner": "include",
                "start": str(start), "count": str(PAGE), "output": "atom",
            }  # fmt: skip
            answer = self._get("/cgi-bin/browse-edgar", params)
            if answer is None:
                raise RegulatorUnavailable("edgar: the feed is not there; it is tried again with the next run")
            try:
                page = parse_feed_page(answer.body)
            except UnreadablePage as error:
                raise RegulatorUnavailable(f"edgar: {error}; it is tried again with the next run") from error
            refs += page.refs
            accepted = [ref.accepted_at for ref in page.refs if ref.accepted_at]
            if not accepted or min(accepted) < begins:
                return refs
        log.warning("edgar: the feed ended before the start of %s; only its daily index makes that day complete", day)
        return refs

    def _daily_index(self, day: date) -> list[FilingRef]:
        """The day's index; nothing where EDGAR has none (a weekend, a holiday, or before 22:06 Eastern)."""
        from ledgerline.filings.feeds import UnreadablePage, parse_master_index

        quarter = (day.month - 1) // 3 + 1
        answer = self._get(f"/Archives/edgar/daily-index/{day.year}/QTR{quarter}/master.{day:%Y%m%d}.idx")
        if answer is None:
            return []
        try:
            return parse_master_index(answer.body)
        except UnreadablePage as error:
            raise RegulatorUnavailable(
                f"edgar: index of {day}: {error}; it is tried again with the next run"
            ) from error

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer | None:
        """An answer that is what was asked for, or None for what EDGAR does not have (yet)."""
        from ledgerline.filings.feeds import edgar_refusal

        answer = self._asker.get(path, params)
        refusal = edgar_refusal(answer.status, answer.body)
        if refusal is None:
            return answer
        if refusal == "absent":
            return None
        if refusal == "undeclared":
            raise ConfigurationError(
                "EDGAR answers 'Undeclared Automated Tool': it does not accept the user agent. Set EDGAR_USER_AGENT to "
                "a real company or name and a contact e-mail"
            )
        if refusal == "throttled":
            until = self._clock() + timedelta(seconds=BAN_SECONDS)
            raise self._asker.ban(until, "Request Rate Threshold Exceeded")
        raise RegulatorUnavailable(
            f"edgar: {path} answers {answer.status} (maintenance or a fault); it is tried again with the next run"
        )


# ----------------------------------------------------------------------------------------------------- DART over HTTP


class DartHttp:
    """OpenDART's list.json, document.xml and corpCode.xml. `api_key` has 40 hexadecimal characters and is sent as a parameter."""

    source: Source = "dart"

    def __init__(
        self,
        api_key: str,
        *,
        lease: RateLease,
        base_url: str = "https://opendart.fss.or.kr",
        clock: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from ledgerline.filings.times import korean_day

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
            day_of=korean_day,
            clock=clock,
            sleep=sleep,
        )
        for name in ("httpx", "httpcore"):
            logger = logging.getLogger(name)
            if not any(isinstance(one, _Masked) for one in logger.filters):
                logger.addFilter(_Masked())

    def days(self) -> list[date]:
        """Yesterday and today in Korea."""
        from ledgerline.filings.times import korean_day

        today = korean_day(self._clock())
        return [today - timedelta(days=1), today]

    def discover(self, day: date) -> list[FilingRef]:
        """All pages of the day, read again until the count at the end is the count at the start.

        Rows come in no order and pages shift while they are read, so a known row says nothing about the next.
        """
        from ledgerline.filings.parties import unite_refs

        for _ in range(WALK_ROUNDS):
            first = self._page(day, 1)
            pages = [first] + [self._page(day, number) for number in range(2, first.total_page + 1)]
            refs = [ref for page in pages for ref in page.refs]
            again = self._page(day, 1) if first.total_page > 1 else first
            if len(refs) == again.total_count == first.total_count:
                return unite_refs(refs)
        raise RegulatorUnavailable(
            f"dart: the list of {day} changed during each of {WALK_ROUNDS} readings; it is read again with the next run"
        )

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        """The ZIP of document.xml. Raises NotYetThere if DART lists the filing and has no document yet (014)."""
        answer, error = self._zip("/api/document.xml", {"rcept_no": ref.filing_id}, what=ref.filing_id)
        if error is None:
            return FetchedFiling(ref, answer.body, answer.last_modified, answer.etag)
        if error[0] == "014":
            raise NotYetThere(f"{ref.filing_id} is listed, and DART has no document of it yet (014)")
        self._raise_for(*error)
        raise RegulatorUnavailable(f"dart: {ref.filing_id}: status {error[0]} where a document was asked for")

    def reference_file(self) -> ReferenceFile:
        """The ZIP of corpCode.xml. Raises RegulatorUnavailable if it is not served."""
        from ledgerline.filings.times import korean_day

        day = korean_day(self._clock())
        answer, error = self._zip("/api/corpCode.xml", {}, what="corpCode.xml")
        if error is None:
            return ReferenceFile("dart", "corpCode.zip", answer.body, day)
        self._raise_for(*error)
        raise RegulatorUnavailable(
            f"dart: status {error[0]} where corpCode.xml was asked for; it is tried again with the next run"
        )

    def _zip(self, path: str, params: Mapping[str, str], *, what: str) -> tuple[Answer, tuple[str, str] | None]:
        """The answer of a ZIP endpoint, and (status, message) where it is an error and no ZIP."""
        from ledgerline.filings.feeds import UnreadablePage, parse_dart_error

        answer = self._asker.get(path, {"crtfc_key": self._key, **params})
        try:
            return answer, parse_dart_error(answer.body)
        except UnreadablePage as unreadable:
            raise RegulatorUnavailable(
                f"dart: {what}: {self._masked(str(unreadable))}; it is tried again with the next run"
            ) from None

    def _page(self, day: date, number: int) -> Any:
        from ledgerline.filings.feeds import UnreadablePage, parse_dart_list

        params = {
            "crtfc_key": self._key, "bgn_de": f"{day:%Y%m%d}", "end_de": f"{day:%Y%m%d}", "last_reprt_at": "N",
            "sort": "date", "sort_mth": "asc", "page_no": str(number), "page_count": str(PAGE),
        }  # fmt: skip
        answer = self._asker.get("/api/list.json", params)
        try:
            page = parse_dart_list(answer.body)
        except UnreadablePage as unreadable:
            raise RegulatorUnavailable(
                f"dart: list of {day}, page {number}, answers {answer.status}: {self._masked(str(unreadable))}; it is "
                "tried again with the next run"
            ) from None
        self._raise_for(page.status, page.message)
        return page

    def _raise_for(self, status: str, message: str) -> None:
        """Nothing for 000 and 013 (no rows: a true answer); every other status has its own action."""
        from ledgerline.filings.archive import end_of_day
        from ledgerline.filings.feeds import DART_MEANING
        from ledgerline.filings.times import KOREA, korean_day

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

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        """The bytes of the file. Raises NotYetThere for what the archive lists without its body."""
        from ledgerline.filings.archive import edgar_released_at

        self._look_once()
        path = self._bodies.get(ref.filing_id)
        if path is None:
            raise NotYetThere(f"{ref.filing_id} is listed in the archive {self.folder}, and its body is not there")
        header = _edgar_header(path)
        released = edgar_released_at(header.form or ref.form, ref.day, header.accepted_at or ref.accepted_at)
        return FetchedFiling(ref, path.read_bytes(), released)

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

    def fetch(self, ref: FilingRef) -> FetchedFiling:
        """The ZIP. Raises NotYetThere for what the archive lists without its document."""
        from ledgerline.filings.archive import dart_released_at, zip_of_members

        self._look_once()
        paths = self._bodies.get(ref.filing_id)
        if not paths:
            raise NotYetThere(f"{ref.filing_id} is listed in the archive {self.folder}, and its document is not there")
        if paths[0].suffix == ".zip":
            body = paths[0].read_bytes()
        else:
            body = zip_of_members({_member_name(path): path.read_bytes() for path in paths})
        return FetchedFiling(ref, body, dart_released_at(ref.day))

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
