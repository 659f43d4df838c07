"""The bodies with which EDGAR and DART refuse. The pages of EDGAR are shortened; what tells them apart is as served."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.servers.wire import Answer, compressed

HTML = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">'
    '\n<html xmlns="http://www.w3.org/1999/xhtml">\n<head>\n'
    '<meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />\n'
    "<title>SEC.gov | {title}</title>\n</head>\n<body>\n"
    '<div id="header">U.S. Securities and Exchange Commission</div>\n<div id="content">\n<h1>{heading}</h1>\n'
    "<p>{text}</p>\n<p>Reference ID: 0.8cc47b68.1669602503.37a42047</p>\n</div>\n</body>\n</html>\n"
)
DART_MESSAGES = {
    "000": "정상",
    "010": "등록되지 않은 키입니다.",
    "011": "사용할 수 없는 키입니다.",
    "012": "접근할 수 없는 IP입니다.",
    "013": "조회된 데이타가 없습니다.",
    "014": "파일이 존재하지 않습니다.",
    "020": "요청 제한을 초과하였습니다.",
    "021": "조회 가능한 회사 개수가 초과하였습니다.(최대 100건)",
    "100": "필드의 부적절한 값입니다.",
    "101": "부적절한 접근입니다.",
    "800": "시스템 점검으로 인한 서비스가 중지 중입니다.",
    "900": "정의되지 않은 오류가 발생하였습니다.",
    "901": "사용자 계정의 개인정보 보유기간이 만료되어 사용할 수 없는 키입니다.",
}
WITHOUT_ECHO = {"013", "014", "020"}  # the others repeat the key that was sent: it must not reach a log


def _html(title: str, heading: str, text: str) -> bytes:
    return HTML.format(title=title, heading=heading, text=text).encode()


def _s3_error(code: str, message: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        "<RequestId>EQ6JQ717Z20EN2RA</RequestId><HostId>i1DizwGZ2z2WYZiJDkqr6oPvC4Mt1XmqB7XGnK4C</HostId></Error>"
    ).encode()


UNDECLARED = _html(
    "Your Request Originates from an Undeclared Automated Tool",
    "Your Request Originates from an Undeclared Automated Tool",
    "To allow for equitable access to all users, SEC reserves the right to limit requests originating from undeclared "
    "automated tools. Please declare your traffic by updating your user agent to include company specific information.",
)
THROTTLED = _html(
    "Request Rate Threshold Exceeded",
    "You’ve Exceeded the SEC’s Traffic Limit",
    "Your access to SEC.gov will be limited for 10 minutes. Continuing to exceed the maximum allowable request rate "
    "during the time-out period will extend the duration of the time-out period.",
)
UNAVAILABLE = _html(
    "File Unavailable",
    "This page is temporarily unavailable.",
    "SEC.gov is undergoing maintenance. We apologize for any inconvenience.",
)
# Maintenance closes the connection and comes from another machine than the pages do.
NET_STORAGE = {"Server": "AkamaiNetStorage", "Connection": "close", "Cache-Control": "max-age=0, no-cache, no-store"}
XML = "application/xml"
REFUSALS: dict[str, Answer] = {
    "undeclared": Answer(403, UNDECLARED, "text/html", kind="undeclared"),
    "throttled": Answer(403, THROTTLED, "text/html", kind="throttled"),
    "throttled_plain_429": Answer(429, THROTTLED, "text/html", kind="throttled"),
    "access_denied": Answer(403, _s3_error("AccessDenied", "Access Denied"), XML, kind="access_denied"),
    "no_such_key": Answer(404, _s3_error("NoSuchKey", "The specified key does not exist."), XML, kind="no_such_key"),
    "unavailable": Answer(503, UNAVAILABLE, "text/html", NET_STORAGE, kind="unavailable"),
}
REFUSALS |= {f"{name}_gzip": compressed(answer) for name, answer in REFUSALS.items()}
REFUSALS["throttled_429"] = REFUSALS["throttled_plain_429_gzip"]


def dart_error(status: str, *, zip_endpoint: bool, key: str) -> Answer:
    """DART's answer with a status: always HTTP 200, JSON for lists and XML where a ZIP was asked for."""
    said = DART_MESSAGES.get(status, DART_MESSAGES["900"])
    if status not in WITHOUT_ECHO:
        said += f" (crtfc_key={key})"
    if zip_endpoint:
        result = f"<result><status>{status}</status><message>{said}</message></result>"
        body, kind = f'<?xml version="1.0" encoding="UTF-8"?>{result}', "application/xml;charset=UTF-8"
    else:
        body = json.dumps({"status": status, "message": said}, ensure_ascii=False, separators=(",", ":"))
        kind = "application/json;charset=UTF-8"
    return Answer(200, body.encode(), kind, kind=f"dart_{status}")


def not_there(path: str, kind: str) -> Answer:
    """The S3 error `access_denied` or `no_such_key` for an object; the second names its key."""
    answer = REFUSALS[kind]
    if kind == "access_denied" or not isinstance(answer.body, bytes):
        return answer
    key = f"</Message><Key>{path.lstrip('/')}</Key>".encode()
    return replace(answer, body=answer.body.replace(b"</Message>", key))
