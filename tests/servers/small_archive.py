"""A small archive of both regulators, written by tests: every kind of witness and every kind of gap."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

DAY = date(2025, 3, 14)
NEXT_DAY = date(2025, 3, 17)


@dataclass(frozen=True)
class Made:
    """A generated EDGAR filing. `feed` and `index` say which witness names it; `body` whether it is served."""

    accession: str
    form: str
    parties: tuple[tuple[str, str, str], ...]  # CIK, name, role of the feed
    feed: bool = True
    index: bool = True
    body: bool = True
    day: date = DAY


APPLE = ("0000320193", "Apple Inc.", "Filer")
COOK = ("0001214156", "COOK - TIMOTHY (D)", "Reporting")
ISSUER = ("0000320193", "Apple Inc.", "Issuer")
EDGAR = (
    Made("0000320193-25-000001", "8-K", (APPLE,)),
    Made("0000320193-25-000002", "4", (COOK, ISSUER)),
    Made("0000320193-25-000003", "10-Q", (APPLE,), feed=False),
    Made("0000320193-25-000004", "CORRESP", (APPLE,), index=False),
    Made("0000320193-25-000005", "8-K/A", (APPLE,), body=False),
    Made("0000320193-25-000006", "6-K", (APPLE,), feed=False, index=False),
    Made("0000320193-25-000007", "EFFECT", (APPLE,), day=NEXT_DAY),
)
HEADINGS = {"Filer": "FILER", "Reporting": "REPORTING-OWNER", "Issuer": "ISSUER"}
DART_LIST = (
    ("20250314000020", "[기재정정]사업보고서 (2024.12)   ", "00126380", "삼성전자"),
    ("20250314000010", "분기보고서 (2024.09)", "00164779", "SK하이닉스"),
    ("20250314800001", "주요사항보고서", "00126380", "삼성전자"),  # listed, and its document is not there
)


def submission(made: Made) -> bytes:
    """A full submission in the plain container."""
    blocks = "".join(
        f"\n{HEADINGS[role]}:\t\n\n\tCOMPANY DATA:\t\n\t\tCOMPANY CONFORMED NAME:\t\t\t{name}\n"
        f"\t\tCENTRAL INDEX KEY:\t\t\t{cik}\n"
        for cik, name, role in made.parties
    )
    stamp = f"{made.day:%Y%m%d}"
    return (
        f"<SEC-DOCUMENT>{made.accession}.txt : {stamp}\n<SEC-HEADER>{made.accession}.hdr.sgml : {stamp}\n"
        f"<ACCEPTANCE-DATETIME>{stamp}163000\nACCESSION NUMBER:\t\t{made.accession}\n"
        f"CONFORMED SUBMISSION TYPE:\t{made.form}\nPUBLIC DOCUMENT COUNT:\t\t1\nFILED AS OF DATE:\t\t{stamp}\n{blocks}"
        f"</SEC-HEADER>\n<DOCUMENT>\n<TYPE>{made.form}\n<SEQUENCE>1\n<FILENAME>a.htm\n<TEXT>\n"
        f"<html><body><p>This is generated sample text, no filing. {made.accession}</p></body></html>\n</TEXT>\n"
        "</DOCUMENT>\n</SEC-DOCUMENT>\n"
    ).encode()


def feed_page(filings: list[Made]) -> bytes:
    """An Atom page: one entry per accession and role."""
    entries = "".join(
        f'<entry>\n<title>{made.form} - {name} ({cik}) ({role})</title>\n<summary type="html">\n '
        f"&lt;b&gt;Filed:&lt;/b&gt; {made.day.isoformat()} &lt;b&gt;AccNo:&lt;/b&gt; {made.accession} "
        "&lt;b&gt;Size:&lt;/b&gt; 7 KB\n</summary>\n"
        f"<updated>{made.day.isoformat()}T16:30:00-04:00</updated>\n"
        f'<category scheme="https://www.sec.gov/" label="form type" term="{made.form}"/>\n'
        f"<id>urn:tag:sec.gov,2008:accession-number={made.accession}</id>\n</entry>\n"
        for made in filings
        for cik, name, role in made.parties
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<updated>{DAY.isoformat()}T22:00:00-04:00</updated>\n{entries}</feed>\n"
    ).encode("latin-1")


def master_index(filings: list[Made]) -> bytes:
    """A daily index: one row per company, and one row twice as in real ones."""
    rows = [
        f"{int(cik)}|{name.upper()}|{made.form}|{made.day:%Y%m%d}|edgar/data/{int(cik)}/{made.accession}.txt"
        for made in filings
        for cik, name, _ in made.parties
    ]
    head = (
        "Description:           Daily Index of EDGAR Dissemination Feed\nComments:              webmaster@sec.gov\n \n"
    )
    return "\n".join(
        [head + "CIK|Company Name|Form Type|Date Filed|File Name", "-" * 80, *rows, *rows[:1], ""]
    ).encode()


def dart_zip(rcept_no: str) -> bytes:
    """A document.xml answer: the attachment sorts first, and the XML is as ill-formed as real ones."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        body = '<?xml version="1.0" encoding="utf-8"?>\r\n<DOCUMENT>\r\n'
        body += '<DOCUMENT-NAME ACODE="11011">사업보고서</DOCUMENT-NAME>'
        body += (
            f'<COMPANY-NAME AREGCIK="00126380">삼성전자</COMPANY-NAME><BODY><P>견본 & {rcept_no}</P></BODY></DOCUMENT>'
        )
        for name in (f"{rcept_no}_00760.xml", f"{rcept_no}.xml"):
            archive.writestr(zipfile.ZipInfo(name), body)
    return out.getvalue()


def write_small_archive(folder: Path) -> Path:
    """Write both regulators' folders and return `folder`."""
    bodies = {f"edgar/full/{made.accession}.txt": submission(made) for made in EDGAR if made.body}
    bodies["edgar/malformed/0000320193-25-000008.txt"] = submission(Made("0000320193-25-000008", "8-K", (APPLE,)))[:-60]
    bodies["edgar/feeds/20250314/page_0.atom.xml"] = feed_page(
        [made for made in EDGAR if made.feed and made.day == DAY]
    )
    bodies["edgar/feeds/20250317/page_0.atom.xml"] = feed_page(
        [made for made in EDGAR if made.feed and made.day != DAY]
    )
    bodies["edgar/index/master.20250314.idx"] = master_index([made for made in EDGAR if made.index and made.day == DAY])
    rows = [
        {
            "corp_code": corp_code, "corp_name": name, "stock_code": "", "corp_cls": "Y", "report_nm": title,
            "rcept_no": rcept_no, "flr_nm": name, "rcept_dt": "20250314", "rm": "유",
        }
        for rcept_no, title, corp_code, name in DART_LIST
    ]  # fmt: skip
    for number, part in enumerate((rows[:2], rows[2:]), start=1):
        page = {
            "status": "000", "message": "정상", "page_no": number, "page_count": 2, "total_count": 3, "total_page": 2,
            "list": part,
        }  # fmt: skip
        bodies[f"dart/list/20250314/page_{number}.json"] = json.dumps(page, ensure_ascii=False).encode()
    for rcept_no, *_ in DART_LIST[:2]:
        bodies[f"dart/document/{rcept_no}.zip"] = dart_zip(rcept_no)
    for name, body in bodies.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder
