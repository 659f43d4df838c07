"""EDGAR and OpenDART on loopback: serves an archive folder in their wire formats, and misbehaves when told to.

For tests of one request or one day: everything in the folder is served, whatever the time, and is read anew each time,
so that a test may change it. What happens over a day (rows that arrive, bans that last, quotas) is in `edgar` and `dart`.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

from tests.servers.refusals import REFUSALS, dart_error
from tests.servers.wire import TRANSPORT, Answer, LoopbackServer, Request

KEY = "0123456789abcdef0123456789abcdef01234567"
ATOM_HEAD = (
    '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
    "<title>Latest Filings</title>\n<updated>{updated}</updated>\n"
)
ENTRY = re.compile(rb"<entry>.*?</entry>", re.DOTALL)
UPDATED = re.compile(rb"<updated>([^<]*)</updated>")
ZIP = "application/x-msdownload;charset=UTF-8"


class RegulatorServer(LoopbackServer):
    """Both regulators on one port; EDGAR below /cgi-bin, /Archives and /files, DART below /api.

    The lists of companies are edgar/files/company_tickers_exchange.json and dart/corpCode.zip of the archive.
    Faults: those of `wire.TRANSPORT` and of `refusals.REFUSALS`, empty_page, page_shift, none, and dart_<status>.
    """

    kinds = TRANSPORT | {*REFUSALS, "empty_page", "page_shift", "none"}

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self.archive = archive
        self.last_modified = datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc)

    @property
    def requests(self) -> list[str]:
        """Path and query of every request."""
        return [one.target for one in self.asked]

    def knows(self, kind: str) -> bool:
        return super().knows(kind) or kind.startswith("dart_")

    def answer(self, request: Request, fault: str | None) -> Answer:
        path, query = request.path, request.query()
        name = path.rpartition("/")[2]
        if fault in REFUSALS:
            return REFUSALS[fault]
        if fault and fault.startswith("dart_"):
            return dart_error(fault.removeprefix("dart_"), zip_endpoint=path.endswith(".xml"), key=KEY)
        if path.startswith("/api/") and query.get("crtfc_key") != KEY:
            return dart_error("010", zip_endpoint=path.endswith(".xml"), key=KEY)
        if path == "/cgi-bin/browse-edgar":
            return self._feed(query, fault)
        if path == "/api/list.json":
            return self._list(query, fault)
        if path == "/api/document.xml":
            document = self.archive / "dart/document" / f"{query['rcept_no']}.zip"
            missing = dart_error("014", zip_endpoint=True, key=KEY)
            return self._body(document.read_bytes(), ZIP) if document.is_file() else missing
        if path == "/api/corpCode.xml":
            return self._body((self.archive / "dart/corpCode.zip").read_bytes(), ZIP)
        if path.startswith("/Archives/edgar/daily-index/"):
            return self._file(self.archive / "edgar/index" / name)
        if path.startswith("/files/"):
            return self._file(self.archive / "edgar/files" / name)
        if path.startswith("/Archives/edgar/data/"):
            for folder in ("full", "nc", "malformed"):
                for found in sorted((self.archive / "edgar" / folder).glob(f"{name.removesuffix('.txt')}.*")):
                    return self._file(found)
        return REFUSALS["no_such_key"]

    def _feed(self, query: dict[str, str], fault: str | None) -> Answer:
        start, count = int(query["start"]), int(query["count"])
        if start >= 5100:
            return REFUSALS["unavailable"]
        entries = [
            entry
            for page in (self.archive / "edgar/feeds").glob("*/page_*.atom.xml")
            for entry in ENTRY.findall(page.read_bytes())
        ]
        entries.sort(key=lambda entry: (UPDATED.search(entry) or [b"", b""])[1], reverse=True)
        if fault == "page_shift":  # a filing arrived: this page begins one row earlier than the last one ended
            start = max(0, start - 1)
        shown = [] if fault == "empty_page" else entries[start : start + count]
        body = ATOM_HEAD.format(updated="2025-03-14T22:00:00-04:00").encode() + b"\n".join(shown) + b"\n</feed>\n"
        return self._body(body, "application/atom+xml")

    def _list(self, query: dict[str, str], fault: str | None) -> Answer:
        number, count = int(query["page_no"]), int(query["page_count"])
        rows = [
            row
            for page in sorted((self.archive / "dart/list" / query["bgn_de"]).glob("page_*.json"))
            for row in json.loads(page.read_bytes()).get("list", [])
        ]
        if fault == "page_shift":
            rows = rows[:-1]
        if not rows:
            return dart_error("013", zip_endpoint=False, key=KEY)
        page = {
            "status": "000", "message": "정상", "page_no": number, "page_count": count, "total_count": len(rows),
            "total_page": -(-len(rows) // count), "list": rows[(number - 1) * count : number * count],
        }  # fmt: skip
        return self._body(json.dumps(page, ensure_ascii=False).encode(), "application/json;charset=UTF-8")

    def _file(self, path: Path) -> Answer:
        return self._body(path.read_bytes(), "text/plain") if path.is_file() else REFUSALS["access_denied"]

    def _body(self, body: bytes, content_type: str) -> Answer:
        modified = format_datetime(self.last_modified, usegmt=True)
        return Answer(
            200, body, content_type, {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Last-Modified": modified}
        )
