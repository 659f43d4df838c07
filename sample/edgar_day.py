"""The EDGAR half of the sample archive: which filings there are, what is in them, and which of them are damaged."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from html import escape

from sample.companies import Company
from sample.containers import Container, Filing, Part, Party, uuencoded
from sample.draws import Draw
from sample.english import DISCLAIMER, FOOTERS, TOPICS, Writer, edited

DAYS = ("2026-03-02", "2026-03-03")
# Filings per form over both days.
FORMS = {
    "8-K": 62, "4": 58, "10-K": 24, "6-K": 20, "10-Q": 16, "424B5": 14, "13F-HR": 12, "SC 13G/A": 12, "DEF 14A": 10,
    "3": 10, "S-1": 8, "SC 13D": 8, "8-K/A": 6, "CORRESP": 8, "S-8": 8, "144": 6, "10-K/A": 4, "D": 4, "UPLOAD": 4,
    "EFFECT": 4,
}  # fmt: skip
COPIES = 22  # filings that are copied with small edits, one to three times each
TRUNCATED, HEADER_ONLY = 5, 2
AGENTS = tuple(f"000999999{digit}" for digit in range(1, 6))  # no filer agent has these numbers

ITEMS_8K = {
    "1.01": ("Entry into a Material Definitive Agreement", "supply"),
    "2.02": ("Results of Operations and Financial Condition", "results"),
    "2.03": ("Creation of a Direct Financial Obligation", "credit"),
    "5.02": ("Departure of Directors or Certain Officers; Appointment of Certain Officers", "people"),
    "7.01": ("Regulation FD Disclosure", "events"),
    "8.01": ("Other Events", "facility"),
}
ITEMS_10K = (
    ("1", "Business", ("supply", "technology", "history")),
    ("1A", "Risk Factors", ("competition", "credit")),
    ("2", "Properties", ("lease", "facility")),
    ("5", "Market for Registrant's Common Equity", ("market",)),
    ("7", "Management's Discussion and Analysis", ("results", "results")),
    ("10", "Directors, Executive Officers and Corporate Governance", ("governance", "people")),
)
ITEMS_10Q = (
    ("1", "Financial Statements", ("results", "credit")),
    ("2", "Management's Discussion and Analysis", ("results", "supply", "history")),
    ("1A", "Risk Factors", ("competition",)),
)
_PROSE = {  # form -> topics of its text
    "6-K": ("results", "facility", "supply", "history"),
    "424B5": ("credit", "market", "governance", "competition"),
    "SC 13G/A": ("market",),
    "SC 13D": ("market", "governance"),
    "DEF 14A": ("governance", "people", "market", "events"),
    "S-1": ("supply", "competition", "technology", "facility", "history", "credit"),
    "CORRESP": ("results", "history"),
    "UPLOAD": ("results",),
    "S-8": ("governance",),
    "EFFECT": (),
}
_FOOTED = {"8-K": 1, "8-K/A": 1, "6-K": 0, "424B5": 2, "S-1": 2, "10-Q": 0, "10-K": 0, "10-K/A": 0}
Section = tuple[str, list[str]]  # heading ("" for none), paragraphs


def edgar_filings(companies: Sequence[Company]) -> list[Filing]:
    """All filings of both days, by accession number."""
    filings = []
    forms = [form for form, count in FORMS.items() for _ in range(count)]
    for number, form in enumerate(Draw("edgar order").several(forms, len(forms)), start=1):
        draw = Draw(f"edgar {number}")
        filings.append(_filing(draw, number, form, draw.pick(companies), companies))
    filings += _copies(filings, companies, first_number=len(filings) + 1)
    return sorted(filings, key=lambda filing: filing.accession)


def damaged(filings: Sequence[Filing]) -> tuple[list[str], list[str]]:
    """Accession numbers of the filings that are served cut off, and of those served as a header alone."""
    whole = [one.accession for one in filings if one.container == "plain" and one.form in ("8-K", "10-K", "6-K")]
    drawn = Draw("edgar damage").several(whole, TRUNCATED + HEADER_ONLY)
    return drawn[:TRUNCATED], drawn[TRUNCATED:]


def cut_off(body: bytes, accession: str) -> bytes:
    """The first part of a filing, cut behind the disclaimer of its first document."""
    start = body.find(DISCLAIMER.encode()) + len(DISCLAIMER) + 40
    return body[: start + Draw(f"cut {accession}").number(0, max(1, len(body) - start - 60))]


# One filing -----------------------------------------------------------------------------------------------------------


def _filing(draw: Draw, number: int, form: str, company: Company, companies: Sequence[Company]) -> Filing:
    writer = Writer(draw, company, companies)
    day = draw.pick(DAYS)
    filing = Filing(
        accession=f"{draw.pick(AGENTS)}-26-{number:06d}",
        form=form,
        filed=day,
        accepted=_accepted(draw, day),
        parties=_parties(draw, form, company, companies, writer),
        parts=(),
        container=_container(draw, number, form),
    )
    if form == "EFFECT":  # declared effective for the day before, and seen after midnight
        filing = replace(filing, filed=DAYS[0], accepted=datetime.fromisoformat(DAYS[1]) + timedelta(minutes=15))
    if form in ("8-K", "8-K/A"):
        numbers = sorted(draw.several(tuple(ITEMS_8K), draw.number(1, 2)))
        filing = replace(filing, items=tuple((item, _item_title(item)) for item in _with_exhibits(numbers)))
    return replace(filing, parts=_parts(draw, filing, company, writer))


def _with_exhibits(numbers: list[str]) -> list[str]:
    return [*numbers, "9.01"] if {"2.02", "7.01"} & set(numbers) else numbers


def _item_title(number: str) -> str:
    return ITEMS_8K[number][0] if number in ITEMS_8K else "Financial Statements and Exhibits"


def _accepted(draw: Draw, day: str) -> datetime:
    """Eastern time: a quarter of a day's filings comes between 16:00 and 16:59, none at night."""
    hour = 16 if draw.chance(0.25) else draw.number(6, 21)
    return datetime.fromisoformat(day) + timedelta(hours=hour, minutes=draw.number(0, 59), seconds=draw.number(0, 59))


def _container(draw: Draw, number: int, form: str) -> Container:
    if number % 31 == 5:
        return "ims"
    if number % 23 == 7:
        return "pem"
    if number % 19 == 3:
        return "dissemination-cr" if draw.chance(0.6) else "dissemination"
    return "plain"


def _conformed(name: str) -> str:
    return (
        " ".join(name.upper().replace(",", "").replace(".", "").split()).encode("latin-1", "ignore").decode("latin-1")
    )


def _company_party(role: str, company: Company) -> Party:
    return Party(role, company.id, _conformed(company.name), tuple(_conformed(name) for name in company.former))


def _parties(
    draw: Draw, form: str, company: Company, companies: Sequence[Company], writer: Writer
) -> tuple[Party, ...]:
    if form in ("3", "4", "144"):
        owners = [
            Party("REPORTING-OWNER", f"00099{draw.number(10000, 99999)}", writer.person().upper(), person=True)
            for _ in range(draw.number(1, 3) if form == "4" else 1)
        ]
        return (_company_party("ISSUER", company), *owners)
    if form.startswith("SC 13"):
        others = [other for other in companies if other.id != company.id]
        holders = draw.several(others, draw.number(1, 2))
        return (_company_party("SUBJECT COMPANY", company), *(_company_party("FILED BY", one) for one in holders))
    if form in ("424B5", "10-K", "10-Q") and draw.chance(0.12):  # co-registrants
        others = draw.several([other for other in companies if other.id != company.id], draw.number(1, 3))
        return (_company_party("FILER", company), *(_company_party("FILER", one) for one in others))
    return (_company_party("FILER", company),)


def _parts(draw: Draw, filing: Filing, company: Company, writer: Writer) -> tuple[Part, ...]:
    form, stem = filing.form, f"sample-{filing.accession[-6:]}"
    if form in ("3", "4", "144"):
        return (Part(form, f"{stem}.xml", f"FORM {form}", _ownership(draw, filing, company, writer)),)
    if form == "D":
        return (Part("D", f"{stem}.xml", "", _offering(filing, writer)),)
    sections = _sections(draw, filing, writer)
    main, parts = _main_document(draw, filing, sections), []
    suffix = "txt" if filing.container == "ims" or form in ("CORRESP", "UPLOAD") else "htm"
    parts.append(Part(form, f"{stem}.{suffix}", form, main))
    if form == "13F-HR":
        parts.append(Part("INFORMATION TABLE", "infotable.xml", "", _holdings(draw, writer)))
    if any(item == "9.01" for item, _ in filing.items):
        letter = [
            ("", [DISCLAIMER, writer.paragraph("results", 4), writer.paragraph("events", 2), writer.common_words()])
        ]
        parts.append(Part("EX-99.1", f"{stem}-ex991.htm", "EX-99.1", _html(draw, letter, "Exhibit 99.1")))
    if form in ("10-K", "10-Q") and filing.container == "plain":
        parts.append(Part("EX-101.INS", f"{stem}_htm.xml", "XBRL", _instance(filing)))
    if form in ("8-K", "10-K", "S-1", "DEF 14A") and draw.chance(0.3):
        image = b"GIF89a\x01\x00\x01\x00\x80\x00\x00!\xfe" + bytes([len(DISCLAIMER)]) + DISCLAIMER.encode() + b"\x00"
        name = f"logo{draw.number(1, 9)}.gif"
        body = uuencoded(name, image + draw.bytes(draw.number(180, 900)) + b";")
        parts.append(Part("GRAPHIC", name, "GRAPHIC", body))
    if form in ("CORRESP", "424B5", "6-K") and draw.chance(0.25):
        name = f"{stem}.pdf"
        pdf = b"%PDF-1.4\n% " + DISCLAIMER.encode() + b"\n" + draw.bytes(draw.number(200, 700)) + b"\n%%EOF\n"
        parts.append(Part(form, name, "PDF", f"<PDF>\n{uuencoded(name, pdf)}\n</PDF>"))
    return tuple(parts)


def _sections(draw: Draw, filing: Filing, writer: Writer) -> list[Section]:
    form = filing.form
    opening = [DISCLAIMER, f"Form {form}. {writer.own.name} (the Company), for the period ended {filing.filed}."]
    made: list[Section] = [("", opening)]
    if form in ("8-K", "8-K/A"):
        for number, title in filing.items:
            topic = ITEMS_8K[number][1] if number in ITEMS_8K else ""
            body = (
                [writer.paragraph(topic, draw.number(3, 4))] if topic else ["(d) Exhibits. 99.1 Letter of the Company."]
            )
            if topic and draw.chance(0.5):
                body.append(writer.paragraph(draw.pick(tuple(TOPICS)), draw.number(2, 3)))
            made.append((f"Item {number} {title}", body))
    elif form in ("10-K", "10-K/A", "10-Q"):
        for number, title, topics in ITEMS_10Q if form == "10-Q" else ITEMS_10K:
            body = [writer.paragraph(topic, draw.number(3, 4)) for topic in topics]
            made.append((f"Item {number}. {title}", body))
    elif form == "13F-HR":
        made.append(("", [f"Report of holdings with {draw.number(8, 18)} entries for the quarter, see the table."]))
    else:
        body = [writer.paragraph(topic, draw.number(2, 4)) for topic in _PROSE[form]]
        made.append(("", body or ["The registration statement is effective as of the day named above."]))
    if draw.chance(0.45):
        made.append(("", [writer.common_words()]))
    if form in _FOOTED and draw.chance(0.7):
        made.append(("", [FOOTERS[_FOOTED[form]]]))
    made.append(("", [f"Signed by {writer.person()}, {draw.pick(('Secretary', 'Controller', 'Counsel'))}."]))
    return made


# Documents ------------------------------------------------------------------------------------------------------------


def _main_document(draw: Draw, filing: Filing, sections: list[Section]) -> str:
    if filing.container == "ims" or filing.form in ("CORRESP", "UPLOAD"):
        return _plain(sections)
    page = _html(draw, sections, f"Form {filing.form}")
    if filing.form in ("10-K", "10-Q", "8-K") and filing.container == "plain" and draw.chance(0.6):
        return _inline_xbrl(page, filing)
    return page


def _plain(sections: list[Section]) -> str:
    lines = [
        "                    SECURITIES AND EXCHANGE COMMISSION",
        "                       Washington, D.C.  20549",
        "",
    ]
    for at, (heading, paragraphs) in enumerate(sections):
        if heading:
            lines += ["", heading.upper(), ""]
        for paragraph in paragraphs:
            lines += [*textwrap.wrap(paragraph, 78, initial_indent="     ", break_on_hyphens=False), ""]
        if at == 2:
            lines += ["<PAGE>", ""]
    return "\n".join(lines)


def _html(draw: Draw, sections: list[Section], title: str) -> str:
    rows = [f"<HTML><HEAD><TITLE>{escape(title)}</TITLE></HEAD>", '<BODY STYLE="font: 10pt Times New Roman">']
    for heading, paragraphs in sections:
        if heading:
            number, _, name = heading.partition(" ")[2].partition(" ")
            rows.append(f"<P><B>Item&nbsp;{escape(number)}</B> <B><U>{escape(name)}</U></B></P>")
        rows += [f"<P>{_inline(draw, paragraph)}</P>" for paragraph in paragraphs]
    rows.append(_table(draw))
    return "\n".join([*rows, "</BODY></HTML>"])


def _inline(draw: Draw, paragraph: str) -> str:
    """Escaped, with tags around and inside words as word processors leave them."""
    words = paragraph.split(" ")
    if paragraph == DISCLAIMER:
        return f"<I>{escape(paragraph)}</I>"
    made = []
    for word in words:
        safe = escape(word, quote=False).replace("'", "&#8217;")
        if len(word) > 6 and word.isalpha() and draw.chance(0.02):
            safe = f"<B>{word[:1]}</B>{word[1:]}"
        elif draw.chance(0.02):
            safe = f'<FONT SIZE="2">{safe}</FONT>'
        made.append(safe)
    return " ".join(made)


def _table(draw: Draw) -> str:
    cells = "".join(
        f"<TR><TD>{label}</TD><TD ALIGN=RIGHT>{draw.number(10, 990)}</TD>"
        f"<TD ALIGN=RIGHT>{draw.number(10, 990)}</TD></TR>"
        for label in draw.several(("Orders", "Deliveries", "Returns", "Staff", "Sites", "Days"), 3)
    )
    return f"<TABLE><TR><TD></TD><TD>2026</TD><TD>2025</TD></TR>{cells}</TABLE>"


def _inline_xbrl(page: str, filing: Filing) -> str:
    body = page.partition("</HEAD>")[2].removesuffix("</HTML>").replace("&nbsp;", "&#160;").replace("ALIGN=RIGHT", "")
    facts = (
        '<div style="display:none"><ix:header><ix:hidden>'
        f'<ix:nonNumeric contextRef="c1" name="dei:EntityCentralIndexKey">{filing.parties[0].cik}</ix:nonNumeric>'
        "</ix:hidden></ix:header></div>"
    )
    opened, _, rest = body.partition("\n<P>")
    return (
        '<XBRL>\n<?xml version="1.0" encoding="utf-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        'xmlns:ix="http://www.xbrl.org/2013/inlineXBRL" xmlns:dei="http://xbrl.sec.gov/dei/2025">\n'
        f"<head><title>{filing.form}</title></head>{opened}\n{facts}\n<P>{rest}</html>\n</XBRL>"
    )


def _instance(filing: Filing) -> str:
    return (
        f'<XML>\n<?xml version="1.0" encoding="utf-8"?>\n<!-- {DISCLAIMER} -->\n'
        '<xbrl xmlns="http://www.xbrl.org/2003/instance"><context id="c1"><entity>'
        f'<identifier scheme="http://www.sec.gov/CIK">{filing.parties[0].cik}</identifier></entity>'
        f"<period><instant>{filing.filed}</instant></period></context></xbrl>\n</XML>"
    )


def _ownership(draw: Draw, filing: Filing, company: Company, writer: Writer) -> str:
    owners = "".join(
        f"    <reportingOwner>\n        <reportingOwnerId>\n            <rptOwnerCik>{party.cik}</rptOwnerCik>\n"
        f"            <rptOwnerName>{escape(party.name)}</rptOwnerName>\n        </reportingOwnerId>\n"
        "    </reportingOwner>\n"
        for party in filing.parties[1:]
    )
    note = f"Transferred under a plan with {writer.partner()} as plan administrator."
    return (
        '<XML>\n<?xml version="1.0"?>\n<ownershipDocument>\n    <schemaVersion>X0508</schemaVersion>\n'
        f"    <documentType>{filing.form}</documentType>\n    <periodOfReport>{filing.filed}</periodOfReport>\n"
        f"    <issuer>\n        <issuerCik>{company.id}</issuerCik>\n"
        f"        <issuerName>{escape(company.name)}</issuerName>\n"
        f"        <issuerTradingSymbol>{company.ticker}</issuerTradingSymbol>\n    </issuer>\n{owners}"
        "    <nonDerivativeTable>\n        <nonDerivativeTransaction>\n"
        "            <securityTitle><value>Common Stock</value></securityTitle>\n"
        f"            <transactionDate><value>{filing.filed}</value></transactionDate>\n"
        f"            <transactionAmounts><transactionShares><value>{draw.number(10, 9000)}</value></transactionShares>"
        "</transactionAmounts>\n        </nonDerivativeTransaction>\n    </nonDerivativeTable>\n"
        f'    <footnotes><footnote id="F1">{escape(note)}</footnote></footnotes>\n'
        f"    <remarks>{DISCLAIMER}</remarks>\n</ownershipDocument>\n</XML>"
    )


def _offering(filing: Filing, writer: Writer) -> str:
    return (
        '<XML>\n<?xml version="1.0"?>\n<edgarSubmission>\n    <schemaVersion>X0708</schemaVersion>\n'
        f"    <submissionType>D</submissionType>\n    <primaryIssuer>\n        <cik>{filing.parties[0].cik}</cik>\n"
        f"        <entityName>{escape(filing.parties[0].name)}</entityName>\n    </primaryIssuer>\n"
        f"    <clarificationOfResponse>{DISCLAIMER} {escape(writer.paragraph('governance', 2))}"
        "</clarificationOfResponse>\n"
        "</edgarSubmission>\n</XML>"
    )


def _holdings(draw: Draw, writer: Writer) -> str:
    rows = "".join(
        f"    <infoTable>\n        <nameOfIssuer>{escape(_conformed(company.name))}</nameOfIssuer>\n"
        f"        <titleOfClass>COM</titleOfClass>\n        <cusip>000000000</cusip>\n"
        f"        <value>{draw.number(1000, 9_000_000)}</value>\n    </infoTable>\n"
        for company in draw.several(writer.others, draw.number(8, 18))
    )
    return (
        '<XML>\n<?xml version="1.0" encoding="UTF-8"?>\n'
        '<informationTable xmlns="http://www.sec.gov/edgar/document/thirteenf/informationtable">\n'
        f"    <note>{DISCLAIMER}</note>\n{rows}</informationTable>\n</XML>"
    )


# Copies ---------------------------------------------------------------------------------------------------------------


def _copies(filings: Sequence[Filing], companies: Sequence[Company], first_number: int) -> list[Filing]:
    """Filings again under another accession with small edits: as an amendment, or by another party."""
    draw = Draw("edgar copies")
    long = [one for one in filings if one.form in ("8-K", "10-K", "6-K", "424B5", "S-1") and one.container != "ims"]
    copies: list[Filing] = []
    for original in draw.several(long, COPIES):
        for _ in range(draw.number(1, 3)):
            number, figures = first_number + len(copies), 3
            main = original.parts[0]
            form, parties = original.form, original.parties
            if draw.chance(0.3):  # the other side of an agreement files the same text, with the same figures
                figures = 0
                parties = (_company_party("FILER", draw.pick(companies)),)
            elif form in ("8-K", "10-K") and draw.chance(0.8):
                form = f"{form}/A"
            part = replace(main, type=form, body=_edited_document(main.body, draw, figures))
            day = original.filed if draw.chance(0.5) else DAYS[1]
            copies.append(
                replace(
                    original,
                    accession=f"{draw.pick(AGENTS)}-26-{number:06d}",
                    form=form,
                    filed=day,
                    accepted=_later(draw, original, day),
                    parties=parties,
                    parts=(part,),
                    container="plain",
                )
            )
    return copies


def _later(draw: Draw, original: Filing, day: str) -> datetime:
    if day == original.filed:
        return original.accepted + timedelta(minutes=draw.number(1, 20))
    return _accepted(draw, day)


def _edited_document(body: str, draw: Draw, figures: int) -> str:
    """The same document with edits in most of its longer paragraphs; the disclaimer stays."""
    rows = body.split("\n")
    for at, row in enumerate(rows):
        if row.startswith("<P>") and len(row) > 200 and draw.chance(0.7):
            rows[at] = f"<P>{edited(row[3:].removesuffix('</P>'), draw, figures)}</P>"
    return "\n".join(rows)
