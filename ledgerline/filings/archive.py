"""What an archive folder of filings means: days, ids and times of files that no regulator serves any more. Pure rules.

Reading the folder is in `resources/regulators.py`.
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta

from ledgerline.filings.feeds import ACCESSION
from ledgerline.filings.records import FilingRef, Party
from ledgerline.filings.sgml import Header, Submission, read_header
from ledgerline.filings.times import EASTERN, RELEASED_LATE, end_of_day, parse_day

# The day of a file that says nothing of its day, not even by an accession number: before EDGAR's first filing.
UNKNOWN_DAY = date(1993, 1, 1)
# Letters of the SEC staff and their answers were released 28 to 73 days after acceptance; an archive does not say when.
LATEST_RELEASE = timedelta(days=73)
HEADER_END = re.compile(rb"</(?:SEC|IMS)-HEADER>|<DOCUMENT>")
FIRST_LINE_DAY = re.compile(rb"<(?:SEC|IMS)-(?:DOCUMENT|HEADER)>[^\r\n:]*:\s*(\d{8})")
DART_NAME = re.compile(r'<DOCUMENT-NAME[^>]*ACODE="([^"]*)"[^>]*>([^<]*)')
DART_COMPANY = re.compile(r'<COMPANY-NAME[^>]*AREGCIK="(\d{8})"[^>]*>([^<]*)')
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes, and so the same digest, on every run


def header_is_whole(head: bytes) -> bool:
    """Whether the header ends inside these bytes; otherwise more of the file is needed to know all parties."""
    return HEADER_END.search(head) is not None


def edgar_header(head: bytes) -> Header:
    """The header's facts from the first bytes of a file, which need not be a valid filing."""
    end = HEADER_END.search(head)
    tagged = b"<SUBMISSION>" in head[:4096]
    container = Submission("SUBMISSION" if tagged else "SEC-DOCUMENT", end.start() if end else len(head), ())
    header = read_header(head, container)
    first_line = FIRST_LINE_DAY.search(head)
    if header.filed_on or not first_line:
        return header
    return replace(header, filed_on=parse_day(first_line[1].decode("ascii")))


def edgar_file_ref(name: str, header: Header) -> FilingRef:
    """The ref of a file `<accession>.txt|.nc`, or of any other file that lies among them: its name is then its id."""
    in_name = ACCESSION.match(name)
    filing_id = in_name.group() if in_name else header.accession or name
    day = header.filed_on or _last_day_of_accession_year(filing_id)
    return FilingRef("edgar", filing_id, day, header.form or "", header.parties, header.accepted_at)


def _last_day_of_accession_year(filing_id: str) -> date:
    """The last day, so that a filing whose day is not known is never taken for known before it was."""
    if not ACCESSION.fullmatch(filing_id):
        return UNKNOWN_DAY
    year = int(filing_id[11:13])
    return date(1900 + year if year >= 93 else 2000 + year, 12, 31)


def edgar_released_at(form: str, day: date, accepted_at: datetime | None) -> datetime:
    """When a filing of an archive became public, as far as it can be said: stands for the Last-Modified of the server.

    Its acceptance (the median delay is 25 s); without one the end of its day, Eastern. SEC correspondence: the latest
    release that was measured. A replayed archive would otherwise make every filing available only today.
    """
    base = accepted_at or end_of_day(day, EASTERN)
    return base + LATEST_RELEASE if form.upper().partition("/")[0] in RELEASED_LATE else base


def dart_file_ref(rcept_no: str, head: bytes) -> FilingRef:
    """The ref of a document that no list names: day from its number, form and company from the start of its text."""
    text = decode_dart_head(head)
    name, company = DART_NAME.search(text), DART_COMPANY.search(text)
    form = name[2].strip() if name else ""
    parties = (Party(company[1], company[2].strip(), "Filer"),) if company else ()
    return FilingRef("dart", rcept_no, dart_day(rcept_no), form, parties, title=form)


def dart_day(rcept_no: str) -> date:
    """The receipt day in a rcept_no (8 digits of date, 6 of sequence); the unknown day where it holds none."""
    try:
        return datetime.strptime(rcept_no[:8], "%Y%m%d").date()
    except ValueError:
        return UNKNOWN_DAY


def decode_dart_head(head: bytes) -> str:
    """Strict UTF-8, then CP949, whatever the declaration says; a character cut off at the end does not count."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return head.decode("cp949", errors="replace")


def zip_of_members(members: Mapping[str, bytes]) -> bytes:
    """Bare document files as the ZIP that DART's document.xml would serve; equal members give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, body in sorted(members.items()):
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), body, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()
