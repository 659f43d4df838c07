"""The wire formats in which the sample archive is written: EDGAR submissions, feed and index; DART lists and ZIPs.

Bytes from records, nothing random and nothing of what the texts say. Formats: EDGAR Public Dissemination Service
technical specification; https://www.sec.gov/os/accessing-edgar-data; https://opendart.fss.or.kr/guide.
"""

# ruff: noqa: SIM905  plain words read best as a sentence
from __future__ import annotations

import binascii
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from xml.sax.saxutils import escape

Container = Literal["plain", "pem", "ims", "dissemination", "dissemination-cr"]

_PEM_HEAD = (
    "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\nProc-Type: 2001,MIC-CLEAR\nOriginator-Name: webmaster@www.sec.gov\n"
    "Originator-Key-Asymmetric:\n MFgwCgYEVQgBAQICAf8DSgAwRwJAsample\nMIC-Info: RSA-MD5,RSA,\n"
    " c2FtcGxlIG9mIExlZGdlcmxpbmU=\n\n"
)
_PEM_TAIL = "-----END PRIVACY-ENHANCED MESSAGE-----\n"
_TAGS = {"SUBJECT COMPANY": "SUBJECT-COMPANY", "FILED BY": "FILED-BY"}
_FEED_ROLES = {"FILER": "Filer", "ISSUER": "Issuer", "REPORTING-OWNER": "Reporting", "SUBJECT COMPANY": "Subject",
               "FILED BY": "Filed by"}  # fmt: skip


@dataclass(frozen=True)
class Party:
    """A block of the header: `role` as EDGAR writes it (FILER, ISSUER, REPORTING-OWNER, SUBJECT COMPANY, FILED BY)."""

    role: str
    cik: str
    name: str
    former: tuple[str, ...] = ()
    person: bool = False


@dataclass(frozen=True)
class Part:
    """One <DOCUMENT>; `body` is what stands inside <TEXT>."""

    type: str
    filename: str
    description: str
    body: str


@dataclass(frozen=True)
class Filing:
    """A submission before it is put into a container. `accepted` is Eastern time."""

    accession: str
    form: str
    filed: str  # ISO day
    accepted: datetime
    parties: tuple[Party, ...]
    parts: tuple[Part, ...]
    items: tuple[tuple[str, str], ...] = ()  # number, title
    container: Container = "plain"
    notes: tuple[str, ...] = field(default=())  # further ITEM INFORMATION lines


def submission(filing: Filing) -> bytes:
    """The whole filing in its container, Latin-1 as EDGAR serves it."""
    if filing.container.startswith("dissemination"):
        text = _dissemination_header(filing) + _documents(filing) + "</SUBMISSION>\n"
        if filing.container == "dissemination-cr":
            text = text.replace("\n", "\r")[:-1] + "\n"
        return text.encode("latin-1")
    kind = "IMS" if filing.container == "ims" else "SEC"
    text = _header(filing, kind) + _documents(filing) + f"</{kind}-DOCUMENT>\n"
    if filing.container in ("pem", "ims"):
        text = _PEM_HEAD + text + _PEM_TAIL
    return text.encode("latin-1")


def _header(filing: Filing, kind: str) -> str:
    day = filing.filed.replace("-", "")
    lines = [f"<{kind}-DOCUMENT>{filing.accession}.txt : {day}", f"<{kind}-HEADER>{filing.accession}.hdr.sgml : {day}"]
    if kind == "SEC":  # the old container says no time
        lines.append(f"<ACCEPTANCE-DATETIME>{filing.accepted:%Y%m%d%H%M%S}")
    lines += [
        f"ACCESSION NUMBER:\t\t{filing.accession}",
        f"CONFORMED SUBMISSION TYPE:\t{filing.form}",
        f"PUBLIC DOCUMENT COUNT:\t\t{len(filing.parts)}",
        f"CONFORMED PERIOD OF REPORT:\t{day}",
        *(f"ITEM INFORMATION:\t\t{title}" for _, title in filing.items),
        *(f"ITEM INFORMATION:\t\t{note}" for note in filing.notes),
        f"FILED AS OF DATE:\t\t{day}",
        f"DATE AS OF CHANGE:\t\t{day}",
        "",
    ]
    for party in filing.parties:
        lines += [
            f"{party.role}:\t",
            "",
            f"\t{'OWNER' if party.person else 'COMPANY'} DATA:\t",
            f"\t\tCOMPANY CONFORMED NAME:\t\t\t{party.name}",
            f"\t\tCENTRAL INDEX KEY:\t\t\t{party.cik}",
            *([] if party.person else ["\t\tSTATE OF INCORPORATION:\t\t\tDE", "\t\tFISCAL YEAR END:\t\t\t1231"]),
            "",
            "\tFILING VALUES:",
            f"\t\tFORM TYPE:\t\t{filing.form}",
            "\t\tSEC ACT:\t\t1934 Act",
            "",
        ]
        for former in party.former:
            lines += ["\tFORMER COMPANY:\t", f"\t\tFORMER CONFORMED NAME:\t{former}", ""]
    return "\n".join(lines) + f"\n</{kind}-HEADER>\n"


def _dissemination_header(filing: Filing) -> str:
    day = filing.filed.replace("-", "")
    lines = [
        "<SUBMISSION>",
        f"<ACCESSION-NUMBER>{filing.accession}",
        f"<TYPE>{filing.form}",
        f"<PUBLIC-DOCUMENT-COUNT>{len(filing.parts)}",
        f"<PERIOD>{day}",
        *(f"<ITEMS>{number}" for number, _ in filing.items),
        f"<FILING-DATE>{day}",
        f"<DATE-OF-FILING-DATE-CHANGE>{day}",
    ]
    for party in filing.parties:
        tag, data = _TAGS.get(party.role, party.role), "OWNER-DATA" if party.person else "COMPANY-DATA"
        lines += [f"<{tag}>", f"<{data}>", f"<CONFORMED-NAME>{party.name}", f"<CIK>{party.cik}", f"</{data}>"]
        lines += ["<FILING-VALUES>", f"<FORM-TYPE>{filing.form}", "<ACT>34", "</FILING-VALUES>"]
        for former in party.former:
            lines += ["<FORMER-COMPANY>", f"<FORMER-CONFORMED-NAME>{former}", "</FORMER-COMPANY>"]
        lines.append(f"</{tag}>")
    return "\n".join(lines) + "\n"


def _documents(filing: Filing) -> str:
    return "".join(_document(sequence, part) for sequence, part in enumerate(filing.parts, start=1))


def _document(sequence: int, part: Part) -> str:
    lines = [f"<TYPE>{part.type}", f"<SEQUENCE>{sequence}", f"<FILENAME>{part.filename}"]
    if part.description:
        lines.append(f"<DESCRIPTION>{part.description}")
    return "<DOCUMENT>\n" + "\n".join(lines) + f"\n<TEXT>\n{part.body}\n</TEXT>\n</DOCUMENT>\n"


def uuencoded(filename: str, data: bytes) -> str:
    lines = [binascii.b2a_uu(data[at : at + 45]).decode("ascii") for at in range(0, len(data), 45)]
    return f"begin 644 {filename}\n{''.join(lines)}`\nend"


# Feed and index -------------------------------------------------------------------------------------------------------


def feed_rows(filings: Sequence[Filing]) -> list[str]:
    """Atom entries, newest first: one per (filing, party), as the feed repeats an accession for each of its parties."""
    rows = []
    for filing in sorted(filings, key=lambda one: (one.accepted, one.accession), reverse=True):
        bare, path = filing.accession.replace("-", ""), filing.accession
        stamp = f"{filing.accepted:%Y-%m-%dT%H:%M:%S}-05:00"
        items = "".join(f"\n&lt;br&gt;Item {number}: {escape(escape(title))}" for number, title in filing.items)
        for party in filing.parties:
            cik, role = int(party.cik), _FEED_ROLES[party.role]
            title = f"{filing.form} - {party.name} ({party.cik}) ({role})"
            rows.append(
                f"<entry>\n<title>{escape(title)}</title>\n"
                '<link rel="alternate" type="text/html" '
                f'href="https://www.sec.gov/Archives/edgar/data/{cik}/{bare}/{path}-index.htm"/>\n'
                '<summary type="html">\n'
                f" &lt;b&gt;Filed:&lt;/b&gt; {filing.filed} &lt;b&gt;AccNo:&lt;/b&gt; {path} "
                f"&lt;b&gt;Size:&lt;/b&gt; 9 KB{items}\n"
                f"</summary>\n<updated>{stamp}</updated>\n"
                f'<category scheme="https://www.sec.gov/" label="form type" term="{escape(filing.form)}"/>\n'
                f"<id>urn:tag:sec.gov,2008:accession-number={path}</id>\n</entry>\n"
            )
    return rows


def feed_page(rows: Sequence[str], now: datetime) -> bytes:
    stamp, title = f"{now:%Y-%m-%dT%H:%M:%S}-05:00", f"{now:%d}, {now:%Y %H:%M:%S}"
    return (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<title>Latest Filings - {title} EST</title>\n"
        '<link rel="alternate" href="/cgi-bin/browse-edgar?action=getcurrent"/>\n'
        '<link rel="self" href="/cgi-bin/browse-edgar?action=getcurrent"/>\n'
        "<id>https://www.sec.gov/cgi-bin/browse-edgar?action=getcurrent</id>\n"
        "<author><name>Webmaster</name><email>webmaster@sec.gov</email></author>\n"
        f"<updated>{stamp}</updated>\n{''.join(rows)}</feed>\n"
    ).encode("iso-8859-1", "xmlcharrefreplace")


def master_index(day: str, filings: Sequence[Filing]) -> bytes:
    """master.YYYYMMDD.idx of one filing day: one row per CIK."""
    when = datetime.fromisoformat(day)
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    compact = day.replace("-", "")
    rows = {
        (int(party.cik), party.name, filing.form, filing.accession)
        for filing in filings
        if filing.filed == day
        for party in filing.parties
    }
    lines = [
        "Description:           Daily Index of EDGAR Dissemination Feed",
        f"Last Data Received:    {months[when.month - 1]} {when.day:2d}, {when.year}",
        "Comments:              webmaster@sec.gov",
        "Anonymous FTP:         ftp://ftp.sec.gov/edgar/",
        " ",
        "CIK|Company Name|Form Type|Date Filed|File Name",
        "-" * 80,
        *(f"{cik}|{name}|{form}|{compact}|edgar/data/{cik}/{acc}.txt" for cik, name, form, acc in sorted(rows)),
    ]
    return ("\n".join(lines) + "\n").encode("latin-1")


# DART -----------------------------------------------------------------------------------------------------------------


def dart_zip(members: Mapping[str, bytes]) -> bytes:
    """A ZIP with the dates that DART writes, which are none: month 15 of 2107. Stored, since packers differ."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, body in members.items():
            entry = zipfile.ZipInfo(name, date_time=(2107, 15, 14, 0, 0, 0))
            entry.create_system, entry.external_attr = 0, 0
            archive.writestr(entry, body)
    return sink.getvalue()


def dart_page(rows: Sequence[Mapping[str, str]], page: int, size: int) -> bytes:
    """A page of list.json."""
    body = {
        "status": "000",
        "message": "정상",
        "page_no": page,
        "page_count": size,
        "total_count": len(rows),
        "total_page": -(-len(rows) // size),
        "list": list(rows[(page - 1) * size : page * size]),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def corp_code_zip(rows: Sequence[tuple[str, str, str, str]]) -> bytes:
    """corpCode.zip from (corp_code, name, English name, stock code or "")."""
    items = "".join(
        f"    <list>\n        <corp_code>{code}</corp_code>\n        <corp_name>{escape(name)}</corp_name>\n"
        f"        <corp_eng_name>{escape(english)}</corp_eng_name>\n        <stock_code>{stock or ' '}</stock_code>\n"
        "        <modify_date>20260102</modify_date>\n    </list>\n"
        for code, name, english, stock in rows
    )
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<result>\n{items}</result>\n'
    return dart_zip({"CORPCODE.xml": body.encode()})
