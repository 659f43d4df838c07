"""The DART half of the sample archive: one day of reports on KRX companies, with their lists and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sample.companies import Company
from sample.containers import dart_zip
from sample.draws import Draw
from sample.korean import DISCLAIMER, FOOTER, KoreanWriter, with_particles

DAY = "2026-03-03"  # the day before is a holiday in Korea
REPORTS = {  # name -> (how many, kind of document, topics)
    "사업보고서 (2025.12)": (7, "dart", ("results", "competition", "facility", "history", "people")),
    "분기보고서 (2025.12)": (5, "dart", ("results", "supply", "history")),
    "단일판매ㆍ공급계약체결": (11, "krx", ("supply", "results", "facility")),
    "주요사항보고서(유형자산양수결정)": (4, "dart", ("facility", "supply")),
    "현금ㆍ현물배당결정": (4, "krx", ("people", "results")),
    "기업설명회(IR)개최(안내공시)": (4, "krx", ("people", "results")),
    "타법인주식및출자증권취득결정": (4, "krx", ("facility", "history")),
    "임원ㆍ주요주주특정증권등소유상황보고서": (4, "dart", ("people",)),
    "투자설명서": (3, "dart", ("results", "competition", "supply", "history")),
}
CORRECTIONS, DAMAGED = 6, 2
Encoding = Literal["utf-8", "cp949"]


@dataclass(frozen=True)
class Report:
    """A row of list.json and the ZIP of its document."""

    rcept_no: str
    row: dict[str, str]
    body: bytes
    encoding: Encoding
    kind: str


def dart_reports(companies: Sequence[Company], unlisted: Sequence[tuple[str, str]]) -> list[Report]:
    """The day's reports in the order of the list, which is not that of their numbers."""
    kinds = [(name, *about) for name, about in REPORTS.items() for _ in range(about[0])]
    draw = Draw("dart order")
    made: list[Report] = []
    texts: list[tuple[Company, str, list[str]]] = []
    for at, (name, _, kind, topics) in enumerate(draw.several(kinds, len(kinds)), start=1):
        own = Draw(f"dart {at}")
        company = own.pick(companies)
        writer = KoreanWriter(own, [other for other in companies if other.id != company.id], unlisted)
        paragraphs = [writer.paragraph(topic) for topic in topics]
        made.append(_report(at, name, kind, company, paragraphs, own))
        texts.append((company, name, paragraphs))
    for at in range(CORRECTIONS):  # a correction is a new number with nearly the same text
        company, name, paragraphs = texts[at * 5]
        kind = REPORTS[name][1]
        changed = [paragraphs[0].replace("니다. ", f"니다. 정정 사유는 {name} 기재 오류입니다. ", 1), *paragraphs[1:]]
        made.append(_report(len(kinds) + at + 1, f"[기재정정]{name}", kind, company, changed, Draw(f"dart fix {at}")))
    return [*made[1::2], *made[::2]]


def damaged_reports(reports: Sequence[Report]) -> list[str]:
    """The numbers of those whose ZIP is served cut off."""
    return [report.rcept_no for report in Draw("dart damage").several(reports, DAMAGED)]


def _report(at: int, name: str, kind: str, company: Company, paragraphs: list[str], draw: Draw) -> Report:
    number = f"20260303{800_000 + at if kind == 'krx' else at + 100:06d}"
    encoding: Encoding = "cp949" if at % 3 == 0 else "utf-8"
    write = _krx_page if kind == "krx" else _dart_document
    text = write(name, company, paragraphs, draw)
    # What CP949 cannot say becomes a reference, as an editor of such files would write it.
    members = {f"{number}.xml": text.encode(encoding, "xmlcharrefreplace")}
    if kind == "dart" and name.startswith(("사업", "[기재정정]사업")):
        audit = _audit_report(company, draw).encode(encoding, "xmlcharrefreplace")
        members = {f"{number}_00760.xml": audit, **members}  # the attachment comes first
    row = {
        "corp_code": company.id,
        "corp_name": company.name,
        "stock_code": company.ticker,
        "corp_cls": {"KOSPI": "Y", "KOSDAQ": "K", "KONEX": "N"}.get(company.exchange, "E"),
        "report_nm": name.ljust(40),
        "rcept_no": number,
        "flr_nm": company.name,
        "rcept_dt": DAY.replace("-", ""),
        "rm": "유" if kind == "krx" else "",
    }
    return Report(number, row, dart_zip(members), encoding, kind)


def _dart_document(name: str, company: Company, paragraphs: list[str], draw: Draw) -> str:
    """As DART writes it: declared UTF-8 and XML, and neither always true (bare & and <, an undeclared entity)."""
    chapters = "".join(
        f'<SECTION-1 ACLASS="MANDATORY">\r\n<TITLE ATOC="Y" AASSOCNOTE="D-0-{at}-0-0" ATOCID="{at}">{title}</TITLE>\r\n'
        f"<P>{paragraph}</P>\r\n</SECTION-1>\r\n"
        for at, (title, paragraph) in enumerate(zip(_titles(), paragraphs, strict=False), start=1)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\r\n\r\n\r\n'
        '<DOCUMENT xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="dart4.xsd">\r\n'
        f'<DOCUMENT-NAME ACODE="11011">{name}</DOCUMENT-NAME>\r\n'
        f'<COMPANY-NAME AREGCIK="{company.id}">{company.name}</COMPANY-NAME>\r\n<BODY>\r\n'
        f"<COVER><COVER-TITLE>{name}</COVER-TITLE></COVER>\r\n<P>{DISCLAIMER}</P>\r\n{chapters}"
        f'<TABLE ACLASS="NORMAL"><TR><TD>구분</TD><TD>당기</TD></TR><TR><TE>R&D &cr; 비용</TE>'
        f'<TU AUNIT="AMOUNT" AUNITVALUE="{draw.number(10, 990)}">{draw.number(10, 990)}</TU></TR>'
        f"<TR><TE>기준 < 5%</TE><TE>{draw.number(1, 4)}</TE></TR></TABLE>\r\n"
        f"<P>{FOOTER}</P>\r\n</BODY>\r\n</DOCUMENT>\r\n"
    )


def _titles() -> tuple[str, ...]:
    return ("I. 회사의 개요", "II. 사업의 내용", "III. 재무에 관한 사항", "IV. 이사의 진단", "V. 그 밖의 사항")


def _krx_page(name: str, company: Company, paragraphs: list[str], draw: Draw) -> str:
    rows = "".join(f"<tr><td>{at}. {part}</td></tr>\n" for at, part in enumerate(paragraphs, start=1))
    return (
        '<html>\n<head><meta http-equiv="Content-Type" content="text/html; charset=euc-kr">\n'
        f"<title>{name}</title></head>\n<body>\n<div class=xforms>\n<p>{DISCLAIMER}</p>\n"
        f"<p><span>{company.name}</span> {name}</p>\n<table border=1>\n{rows}"
        f"<tr><td>확인 번호 {draw.number(1000, 9999)}</td></tr>\n</table>\n</div>\n</body>\n</html>\n"
    )


def _audit_report(company: Company, draw: Draw) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\r\n<DOCUMENT xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="dart4.xsd">\r\n<DOCUMENT-NAME ACODE="00760">감사보고서</DOCUMENT-NAME>\r\n'
        f"<BODY><P>{DISCLAIMER}</P><P>{with_particles(company.name + '_의')} 재무제표 주석 "
        f"{draw.number(3, 40)}건 & 부속 명세"
        "</P></BODY>\r\n</DOCUMENT>\r\n"
    )
