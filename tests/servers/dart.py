"""A local OpenDART that lives through its days by a virtual clock: lists that move, documents that are late, quotas.

`with DartServer(korean_reports([day]), clock=clock, seed=7) as server:` then `server.url`, `server.key`;
`server.truth(day)` is what it published. `DartSite` is the pure part: which bytes a request gets at a time.
Company names and codes are real (`sample/facts`), texts are those of the sample archive.
Formats: https://opendart.fss.or.kr/guide; order, padding, ZIP dates and encodings as in real responses.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import cache, cached_property
from random import Random

from ledgerline.filings.times import KOREA, korean_day, parse_day
from sample.companies import korean_companies, unlisted_korean
from sample.containers import corp_code_zip, dart_zip
from sample.dart_day import DAY as SAMPLE_DAY
from sample.dart_day import REPORTS, dart_reports
from sample.korean import DISCLAIMER
from tests.servers.refusals import dart_error
from tests.servers.wire import NO_ANSWER, TRANSPORT, Answer, Fault, LoopbackServer, Request, draw

KEY = "0123456789abcdef0123456789abcdef01234567"
ZIP = "application/x-msdownload;charset=UTF-8"
JSON = "application/json;charset=UTF-8"
LONGEST_WINDOW = timedelta(days=92)  # between bgn_de and end_de where no company is named
LARGEST_PAGE = 100
PER_DAY = 20_000  # requests of a key
PER_MINUTE = 1_000  # of an address; the next one is reset, and so is all that follows
BLOCK_SECONDS = 24 * 3600
LISTED_SECONDS = (5, 90)  # from receipt to the row
DOCUMENT_SECONDS = (0, 300)  # from the row to document.xml
PREFIXES = ("[기재정정]", "[기재정정]", "[기재정정]", "[첨부정정]", "[첨부추가]")
CLASSES = {"KOSPI": "Y", "KOSDAQ": "K", "KONEX": "N"}


@dataclass(frozen=True)
class Report:
    """A filing of DART and what became of it. Times are UTC; `document_at` is None where there never is a document."""

    rcept_no: str
    corp_code: str
    corp_name: str
    stock_code: str
    corp_cls: str
    title: str  # report_nm without its padding
    received_at: datetime
    listed_at: datetime
    document_at: datetime | None
    rank: float  # the place in the list, which is not the order of the numbers
    rm: str
    kind: str  # "dart" or "krx"
    encoding: str
    absolute: bool  # the member of the ZIP has an absolute name
    corrects: str | None = None  # rcept_no of an earlier report of the company

    @property
    def day(self) -> date:
        return korean_day(self.received_at)

    @cached_property
    def body(self) -> bytes:
        return _document_zip(self)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @property
    def size(self) -> int:
        return len(self.body)


def korean_reports(
    days: Sequence[date],
    *,
    per_day: int = 300,
    seed: int = 0,
    corrections: float = 0.08,
    without_document: float = 0.02,
) -> tuple[Report, ...]:
    """Reports of some days, several hundred a day as of KOSPI and KOSDAQ; the share `corrections` corrects earlier ones."""
    made: list[Report] = []
    for day in days:
        numbers: Counter[str] = Counter()
        moments = sorted(_received_at(day, draw(seed, "dart", day, at, "time").random()) for at in range(per_day))
        for at, moment in enumerate(moments):
            chance = draw(seed, "dart", day, at)
            earlier = chance.choice(made) if made and chance.random() < corrections else None
            made.append(_report(chance, moment, numbers, earlier, without_document))
    return tuple(made)


def _received_at(day: date, share: float) -> datetime:
    """06:40 to 18:30 in Korea, half of them after 15:30."""
    begin, middle, end = 6 * 60 + 40, 15 * 60 + 30, 18 * 60 + 30
    minutes = begin + (middle - begin) * share * 2 if share < 0.5 else middle + (end - middle) * (share - 0.5) * 2
    midnight = datetime.combine(day, time(), KOREA).astimezone(timezone.utc)
    return midnight + timedelta(seconds=int(minutes * 60))


def _report(chance: Random, moment: datetime, numbers: Counter[str], earlier: Report | None, missing: float) -> Report:
    if earlier is not None:
        company = (earlier.corp_code, earlier.corp_name, earlier.stock_code, earlier.corp_cls)
        kind, title = earlier.kind, chance.choice(PREFIXES) + _base_title(earlier.title)
    else:
        company = chance.choice(_companies())
        titles = [name for name, (count, *_) in REPORTS.items() for _ in range(count)]
        title = chance.choice(titles)
        kind = REPORTS[title][1]
    family = "" if kind == "dart" else "9" if company[3] == "K" else "8"
    numbers[family] += 1
    number = f"{family}{numbers[family]:0{6 - len(family)}d}"
    listed = moment + timedelta(seconds=chance.uniform(*LISTED_SECONDS))
    document: datetime | None = listed + timedelta(seconds=chance.uniform(*DOCUMENT_SECONDS))
    if chance.random() < missing:
        document = None
    return Report(
        f"{korean_day(moment):%Y%m%d}{number}",
        *company,
        title,
        moment,
        listed,
        document,
        rank=moment.timestamp() + chance.uniform(-600, 600),
        rm={"dart": "", "krx": "코" if company[3] == "K" else "유"}[kind],
        kind=kind,
        encoding="cp949" if chance.random() < 0.33 else "utf-8",
        absolute=chance.random() < 0.2,
        corrects=earlier.rcept_no if earlier else None,
    )


def _base_title(title: str) -> str:
    return title.rpartition("]")[2]


@cache
def _companies() -> list[tuple[str, str, str, str]]:
    """(corp_code, name, stock code or "", class) of real companies, a fifth of them unlisted."""
    listed = [(one.id, one.name, one.ticker, CLASSES.get(one.exchange, "E")) for one in korean_companies(SAMPLE_DAY)]
    return listed + [(code, name, "", "E") for code, name in unlisted_korean(len(listed) // 4)]


@dataclass(frozen=True)
class _Template:
    """A document of the sample archive, with its own number and company in the text. `members` by their suffix."""

    number: str
    code: str
    name: str
    members: tuple[tuple[str, str], ...]


@cache
def _templates() -> dict[str, list[_Template]]:
    made: dict[str, list[_Template]] = {}
    for one in dart_reports(korean_companies(SAMPLE_DAY), unlisted_korean(60)):
        with zipfile.ZipFile(io.BytesIO(one.body)) as archive:
            members = tuple(
                (entry.filename.removeprefix(one.rcept_no), archive.read(entry).decode(one.encoding))
                for entry in archive.infolist()
            )
        title = _base_title(one.row["report_nm"].strip())
        made.setdefault(title, []).append(_Template(one.rcept_no, one.row["corp_code"], one.row["corp_name"], members))
    return made


def _document_zip(report: Report) -> bytes:
    """Attachments come first in the ZIP, its date is none, and the bytes may be CP949 whatever they declare."""
    template = draw("template", report.rcept_no).choice(_templates()[_base_title(report.title)])
    members = {}
    for suffix, source in template.members:
        text = source.replace(template.code, report.corp_code).replace(template.name, report.corp_name)
        text = text.replace(DISCLAIMER, f"{DISCLAIMER} {report.rcept_no} & {report.title}", 1)
        name = f"{'/data/dart/' if report.absolute else ''}{report.rcept_no}{suffix}"
        members[name] = text.encode(report.encoding, "xmlcharrefreplace")
    return dart_zip(members)


class DartSite:
    """Which bytes OpenDART answers at a time, and what it published. No sockets, no quotas."""

    def __init__(self, reports: Sequence[Report], *, key: str = KEY) -> None:
        self.key = key
        self.reports = {one.rcept_no: one for one in reports}
        self._by_day: dict[date, list[Report]] = {}
        for one in sorted(reports, key=lambda one: one.rank):
            self._by_day.setdefault(one.day, []).append(one)
        self._corrected_at: dict[str, datetime] = {}
        for one in sorted(reports, key=lambda one: one.listed_at, reverse=True):
            if one.corrects:
                self._corrected_at[one.corrects] = one.listed_at

    def truth(self, day: date | None = None, *, by: datetime | None = None) -> dict[str, Report]:
        """By rcept_no, what is received on `day` (None: all) and listed by then."""
        return {
            one.rcept_no: one
            for one in self.reports.values()
            if (day is None or one.day == day) and (by is None or one.listed_at <= by)
        }

    def answer(self, request: Request, fault: str | None = None) -> Answer:
        path, query = request.path, request.query()
        zipped = path.endswith(".xml")
        said = query.get("crtfc_key", "")
        if fault and fault.startswith("dart_"):
            return dart_error(fault.removeprefix("dart_"), zip_endpoint=zipped, key=said)
        if said != self.key:
            return dart_error("010", zip_endpoint=zipped, key=said)
        if path == "/api/list.json":
            return self._list(query, request.at, fault)
        if path == "/api/document.xml":
            one = self.reports.get(query.get("rcept_no", ""))
            if one is None or one.document_at is None or request.at < one.document_at:
                return dart_error("014", zip_endpoint=True, key=said)
            return Answer(200, one.body, ZIP)
        if path == "/api/corpCode.xml":
            return Answer(200, _corp_codes(), ZIP)
        return dart_error("101", zip_endpoint=zipped, key=said)

    def _list(self, query: Mapping[str, str], now: datetime, fault: str | None) -> Answer:
        today = f"{korean_day(now):%Y%m%d}"
        first, last = parse_day(query.get("bgn_de", today)), parse_day(query.get("end_de", today))
        number, size = query.get("page_no", "1"), query.get("page_count", "10")
        company = query.get("corp_code", "")
        numbers = number.isdigit() and size.isdigit() and int(number) >= 1 and 1 <= int(size) <= LARGEST_PAGE
        if first is None or last is None or first > last or not numbers:
            return dart_error("100", zip_endpoint=False, key=self.key)
        if not company and last - first > LONGEST_WINDOW:
            return dart_error("100", zip_endpoint=False, key=self.key)
        wanted = query.get("corp_cls", "")
        found = [
            one
            for day, listed in self._by_day.items()
            if first <= day <= last
            for one in listed
            if one.listed_at <= now and company in ("", one.corp_code) and wanted in ("", one.corp_cls)
        ]
        keys: dict[str, Callable[[Report], object]] = {"crp": lambda one: one.corp_name, "rpt": lambda one: one.title}
        key = keys.get(query.get("sort", "date"), lambda one: (one.day, one.rank))
        found.sort(key=key, reverse=query.get("sort_mth", "desc") == "desc")
        if fault == "page_shift":  # one that is there was not when the pages before were read
            found = found[:-1]
        page, count = int(number), int(size)
        rows = [self._row(one, now) for one in found[(page - 1) * count : page * count]]
        if not rows:
            return dart_error("013", zip_endpoint=False, key=self.key)
        body = {
            "status": "000", "message": "정상", "page_no": page, "page_count": count, "total_count": len(found),
            "total_page": -(-len(found) // count), "list": rows,
        }  # fmt: skip
        return Answer(200, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), JSON)

    def _row(self, one: Report, now: datetime) -> dict[str, str]:
        corrected = self._corrected_at.get(one.rcept_no)
        return {
            "corp_code": one.corp_code,
            "corp_name": one.corp_name,
            "stock_code": one.stock_code,
            "corp_cls": one.corp_cls,
            "report_nm": one.title.ljust(40),
            "rcept_no": one.rcept_no,
            "flr_nm": one.corp_name,
            "rcept_dt": f"{one.day:%Y%m%d}",
            "rm": one.rm + ("정" if corrected is not None and corrected <= now else ""),
        }


class DartServer(LoopbackServer):
    """`DartSite` over HTTP with faults, the quota of the key and the limit of the address.

    Faults beside those of `wire.TRANSPORT`: dart_<status>, page_shift, and quota (020 until the Korean day turns).
    After `per_minute` requests within a virtual minute the connection is reset, and every one of the next 24 hours.
    """

    kinds = TRANSPORT | {"none", "page_shift", "quota"}

    def __init__(
        self,
        reports: Sequence[Report],
        *,
        clock: Callable[[], datetime],
        seed: int = 0,
        faults: Iterable[Fault] = (),
        key: str = KEY,
        per_day: int = PER_DAY,
        per_minute: int = PER_MINUTE,
    ) -> None:
        super().__init__(clock=clock, seed=seed)
        self.site = DartSite(reports, key=key)
        self.key = key
        self.truth = self.site.truth
        for fault in faults:
            self.misbehave(**vars(fault))
        self.per_day = per_day
        self.per_minute = per_minute
        self.blocked_until: datetime | None = None
        self.asked_while_blocked = 0
        self.asked_over_quota = 0
        self._used: Counter[date] = Counter()
        self._recent: deque[datetime] = deque()

    @property
    def requests(self) -> list[tuple[datetime, str, str]]:
        """(virtual time, path with query, what was answered) of every request."""
        return [(one.at, one.target, one.kind) for one in self.asked]

    def knows(self, kind: str) -> bool:
        return super().knows(kind) or kind.startswith("dart_")

    def answer(self, request: Request, fault: str | None) -> Answer:
        now, day = request.at, korean_day(request.at)
        if self.blocked_until is not None and now < self.blocked_until:
            self.asked_while_blocked += 1
            return NO_ANSWER
        self._recent.append(now)
        while self._recent[0] <= now - timedelta(minutes=1):
            self._recent.popleft()
        if len(self._recent) > self.per_minute:
            self.blocked_until = now + timedelta(seconds=BLOCK_SECONDS)
            return NO_ANSWER
        if self._used[day] >= self.per_day:
            self.asked_over_quota += 1
        self._used[day] += 1
        if fault == "quota":
            self._used[day] = max(self._used[day], self.per_day + 1)
        if self._used[day] > self.per_day:
            sent = request.query().get("crtfc_key", "")
            return dart_error("020", zip_endpoint=request.path.endswith(".xml"), key=sent)
        return self.site.answer(request, fault)


@cache
def _corp_codes() -> bytes:
    return corp_code_zip(sorted((code, name, "", stock) for code, name, stock, _ in _companies()))
