"""EDGAR and OpenDART on loopback: serves an archive folder in their wire formats, and misbehaves when told to.

Only the standard library. `with RegulatorServer(folder) as server:` then `server.url`; `server.misbehave("throttled")`
spoils the next matching answer; `server.requests` lists what was asked.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef0123456789abcdef01234567"
ATOM_HEAD = (
    '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
    "<title>Latest Filings</title>\n<updated>{updated}</updated>\n"
)
HTML = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
    '\n<html xmlns="http://www.w3.org/1999/xhtml">\n<head>\n<title>SEC.gov | {title}</title>\n</head>'
    "<body>{title}</body></html>"
)
ENTRY = re.compile(rb"<entry>.*?</entry>", re.DOTALL)
UPDATED = re.compile(rb"<updated>([^<]*)</updated>")


@dataclass
class Fault:
    """One way to misbehave: `kind` names it, on the next `times` requests whose path and query hold `where`."""

    kind: str
    where: str
    times: int


class RegulatorServer:
    """Both regulators on one port; EDGAR below /cgi-bin, /Archives and /files, DART below /api.

    The lists of companies are edgar/files/company_tickers_exchange.json and dart/corpCode.zip of the archive.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.requests: list[str] = []
        self.user_agents: list[str] = []
        self.faults: list[Fault] = []
        self.last_modified = datetime(2025, 3, 14, 20, 30, tzinfo=timezone.utc)

    def misbehave(self, kind: str, *, where: str = "", times: int = 1) -> None:
        """Kinds: undeclared, throttled, throttled_429, access_denied, no_such_key, unavailable, truncated, reset,
        gzip_unasked, cut_gzip, empty_page, page_shift, and dart_<status>."""
        self.faults.append(Fault(kind, where, times))

    def take_fault(self, target: str) -> str | None:
        for fault in self.faults:
            if fault.times and fault.where in target:
                fault.times -= 1
                return fault.kind
        return None

    def __enter__(self) -> RegulatorServer:
        owner = self

        class Handler(_Handler):
            server_state = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: RegulatorServer

    def log_message(self, *_: Any) -> None:
        """Silent: the test looks at `requests`."""

    def do_GET(self) -> None:
        state = self.server_state
        state.requests.append(self.path)
        state.user_agents.append(self.headers.get("User-Agent", ""))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        fault = state.take_fault(self.path)
        if fault in REFUSALS:
            self._send(*REFUSALS[fault])
            return
        if fault and fault.startswith("dart_"):
            self._send_dart_error(fault.removeprefix("dart_"), zip_endpoint=url.path.endswith(".xml"))
            return
        routes: dict[str, Callable[[dict[str, str], str | None], None]] = {
            "/cgi-bin/browse-edgar": self._feed,
            "/api/list.json": self._list,
            "/api/document.xml": self._document,
            "/api/corpCode.xml": self._corp_code,
        }
        if url.path in routes:
            routes[url.path](query, fault)
        elif url.path.startswith("/Archives/edgar/daily-index/"):
            self._file("edgar/index/" + url.path.rpartition("/")[2], fault)
        elif url.path.startswith("/files/"):
            self._file("edgar" + url.path, fault)
        elif url.path.startswith("/Archives/edgar/data/"):
            self._submission(url.path.rpartition("/")[2], fault)
        else:
            self._send(*REFUSALS["no_such_key"])

    # --------------------------------------------------------------------------------------------------------- EDGAR

    def _feed(self, query: dict[str, str], fault: str | None) -> None:
        start, count = int(query["start"]), int(query["count"])
        if start >= 5100:
            self._send(*REFUSALS["unavailable"])
            return
        entries = [
            entry
            for page in (self.server_state.archive / "edgar/feeds").glob("*/page_*.atom.xml")
            for entry in ENTRY.findall(page.read_bytes())
        ]
        entries.sort(key=lambda entry: (UPDATED.search(entry) or [b"", b""])[1], reverse=True)
        if fault == "page_shift":  # a filing arrived: this page begins one row earlier than the last one ended
            start = max(0, start - 1)
        shown = [] if fault == "empty_page" else entries[start : start + count]
        body = ATOM_HEAD.format(updated="2025-03-14T22:00:00-04:00").encode() + b"\n".join(shown) + b"\n</feed>\n"
        self._body(body, "application/atom+xml", fault)

    def _submission(self, name: str, fault: str | None) -> None:
        stem = name.removesuffix(".txt")
        for folder in ("full", "nc", "malformed"):
            for path in sorted((self.server_state.archive / "edgar" / folder).glob(f"{stem}.*")):
                self._body(path.read_bytes(), "text/plain", fault)
                return
        self._send(*REFUSALS["no_such_key"])

    def _file(self, path: str, fault: str | None) -> None:
        found = self.server_state.archive / path
        if found.is_file():
            self._body(found.read_bytes(), "text/plain", fault)
        else:
            self._send(*REFUSALS["access_denied"])

    # ---------------------------------------------------------------------------------------------------------- DART

    def _list(self, query: dict[str, str], fault: str | None) -> None:
        if query.get("crtfc_key") != KEY:
            self._send_dart_error("010", zip_endpoint=False)
            return
        number, count = int(query["page_no"]), int(query["page_count"])
        rows = [
            row
            for page in sorted((self.server_state.archive / "dart/list" / query["bgn_de"]).glob("page_*.json"))
            for row in json.loads(page.read_bytes()).get("list", [])
        ]
        if fault == "page_shift":
            rows = rows[:-1]
        if not rows:
            self._send_dart_error("013", zip_endpoint=False)
            return
        page = {
            "status": "000", "message": "정상", "page_no": number, "page_count": count, "total_count": len(rows),
            "total_page": -(-len(rows) // count), "list": rows[(number - 1) * count : number * count],
        }  # fmt: skip
        self._body(json.dumps(page, ensure_ascii=False).encode(), "application/json;charset=UTF-8", fault)

    def _document(self, query: dict[str, str], fault: str | None) -> None:
        if query.get("crtfc_key") != KEY:
            self._send_dart_error("010", zip_endpoint=True)
            return
        path = self.server_state.archive / "dart/document" / f"{query['rcept_no']}.zip"
        if path.is_file():
            self._body(path.read_bytes(), "application/x-msdownload;charset=UTF-8", fault)
        else:
            self._send_dart_error("014", zip_endpoint=True)

    def _corp_code(self, query: dict[str, str], fault: str | None) -> None:
        if query.get("crtfc_key") != KEY:
            self._send_dart_error("010", zip_endpoint=True)
            return
        body = (self.server_state.archive / "dart/corpCode.zip").read_bytes()
        self._body(body, "application/x-msdownload;charset=UTF-8", fault)

    def _send_dart_error(self, status: str, *, zip_endpoint: bool) -> None:
        message = {
            "013": "조회된 데이타가 없습니다.",
            "014": "파일이 존재하지 않습니다.",
            "020": "요청 제한을 초과하였습니다.",
        }
        said = message.get(status, f"오류 {KEY}")  # a server that echoes the key: it must not reach a log
        if zip_endpoint:
            result = f"<result><status>{status}</status><message>{said}</message></result>"
            text = f'<?xml version="1.0" encoding="UTF-8"?>{result}'
            self._send(200, text.encode(), "application/xml;charset=UTF-8")
        else:
            text = json.dumps({"status": status, "message": said}, ensure_ascii=False, separators=(",", ":"))
            self._send(200, text.encode(), "application/json;charset=UTF-8")

    # -------------------------------------------------------------------------------------------------------- sending

    def _body(self, body: bytes, content_type: str, fault: str | None) -> None:
        if fault == "reset":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "gzip_unasked":
            body = gzip.compress(body, mtime=0)
        if fault == "cut_gzip":
            body = gzip.compress(body, mtime=0)[:-20]
        self._send(200, body, content_type, cut=fault == "truncated")

    def _send(self, status: int, body: bytes, content_type: str, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Last-Modified", format_datetime(self.server_state.last_modified, usegmt=True))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


def _s3_error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>x</Message></Error>'.encode()


def _html(title: str) -> bytes:
    return HTML.format(title=title).encode()


REFUSALS = {
    "undeclared": (403, _html("Your Request Originates from an Undeclared Automated Tool"), "text/html"),
    "throttled": (403, _html("Request Rate Threshold Exceeded"), "text/html"),
    "throttled_429": (429, gzip.compress(_html("Request Rate Threshold Exceeded"), mtime=0), "text/html"),
    "access_denied": (403, _s3_error("AccessDenied"), "application/xml"),
    "no_such_key": (404, _s3_error("NoSuchKey"), "application/xml"),
    "unavailable": (503, _html("File Unavailable"), "text/html"),
}
