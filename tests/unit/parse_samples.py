"""Tiny filings in every container variant, written for the tests; every one is generated text and no filing."""

from __future__ import annotations

import io
import zipfile

HEADER = """<SEC-HEADER>0000000001-24-000001.hdr.sgml : 20240311
<ACCEPTANCE-DATETIME>20240311163015
ACCESSION NUMBER:\t\t0000000001-24-000001
CONFORMED SUBMISSION TYPE:\t8-K
PUBLIC DOCUMENT COUNT:\t\t13
CONFORMED PERIOD OF REPORT:\t20240308
ITEM INFORMATION:\t\tResults of Operations and Financial Condition
ITEM INFORMATION:\t\tFinancial Statements and Exhibits
FILED AS OF DATE:\t\t20240311

FILER:

\tCOMPANY DATA:\t
\t\tCOMPANY CONFORMED NAME:\t\t\tGENERATED WIDGETS INC
\t\tCENTRAL INDEX KEY:\t\t\t0000000001

\tFORMER COMPANY:\t
\t\tFORMER CONFORMED NAME:\tOLD WIDGETS INC

SUBJECT COMPANY:\t

\tCOMPANY DATA:\t
\t\tCOMPANY CONFORMED NAME:\t\t\tOTHER WIDGETS CORP
\t\tCENTRAL INDEX KEY:\t\t\t0000000002
</SEC-HEADER>
"""

PAGE = """<html><head><title>8-K</title></head><body>
<p>Generated sample text, no filing.</p>
<table><tr><td>Item 2.02</td><td></td><td>Results of Operations</td></tr></table>
<p>Sales of widgets were <b>as</b> expected.</p>
<p>Item&nbsp;9.01. Financial Statements and Exhibits.</p>
<p>A list of widgets.</p>
<p>SIGNATURES</p><p>Nobody signed.</p></body></html>
"""

# What real pages do: tags in any case, nested and padded tables, wide blanks, facts hidden in a header, entities, an
# item in the contents, one in a table and one that is split over lines, text before the page.
AWKWARD_PAGE = """<!DOCTYPE html><HTML><HEAD><STYLE>p {x: "</p>"}</STYLE><TITLE>A</TITLE></HEAD><Body>stray
<div style="display:none"><ix:header><ix:hidden>SECRET</ix:hidden></ix:header></div>
<P>Table of contents</P><table><TR><td>Item 1.</td><td>Business</td><td align=right>3</td></TR>
<tr><TD>Item 1A.</TD><tD>Risk&nbsp;Factors</td><td>&#57;</td></tr></table>
<p><font size=2>PART <b>I</b></font></p><p><B><U>I<I>tem</I>&#160;1.</U> Busi</B>ness</p><p>Wid&shy;gets &amp;\u2003gad\u200bgets,
made of <pre>  iron
  and   tin </pre> &lt;here&gt;<br>and &euro;5<br/><br/>there<hr>
<table><tr><th>Year</th><th> </th><th>&nbsp;</th><th>2023</th></tr><tr><td>Sales<td><table><tr><td>1<td>2</table><td>(3
)</table><ul><li>one<li>two</ul><!-- <p>Item 7. Hidden</p> --><script>"Item 8. Hidden"</script>
<div>Item
1A. Risk Factors</div><span>Some.</span><div><a name=x>Item 2.02.</a> Results of Operations</div>\xa9 &copy &bogus; &#x110000;
<p>Item 7 of this report is a reference.<p>ITEM 7&mdash;Management's discussion<p>Ups.<p>SIGNATURE<p>Nobody.</body></HTML>
"""

UUENCODED = "begin 644 logo.gif\n" + "M" + "0" * 60 + "\n`\nend\n"


def document(kind: str, text: str, *, sequence: int = 1, filename: str = "a.htm") -> str:
    return (
        f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>{sequence}\n<FILENAME>{filename}\n<DESCRIPTION>GENERATED\n<TEXT>\n{text}"
        "</TEXT>\n</DOCUMENT>\n"
    )


def documents() -> str:
    return document("8-K", PAGE) + document("GRAPHIC", UUENCODED, sequence=2, filename="logo.gif")


def plain(header: str = HEADER, content: str | None = None) -> bytes:
    content = documents() if content is None else content
    return f"<SEC-DOCUMENT>0000000001-24-000001.txt : 20240311\n{header}{content}</SEC-DOCUMENT>\n".encode()


def pem(root: str = "SEC") -> bytes:
    inner = plain().decode().replace("SEC-DOCUMENT", f"{root}-DOCUMENT").replace("SEC-HEADER", f"{root}-HEADER")
    return (
        "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\nProc-Type: 2001,MIC-CLEAR\nOriginator-Name: generated\n\n"
        f"{inner}-----END PRIVACY-ENHANCED MESSAGE-----\n"
    ).encode()


def dissemination() -> bytes:
    header = (
        "<SUBMISSION>\n<ACCESSION-NUMBER>0000000001-24-000001\n<TYPE>8-K\n<PUBLIC-DOCUMENT-COUNT>2\n"
        "<PERIOD>20240308\n<ITEMS>2.02\n<ITEMS>9.01\n<FILING-DATE>20240311\n<ACCEPTANCE-DATETIME>20240311163015\n"
        "<FILER>\n<COMPANY-DATA>\n<CONFORMED-NAME>GENERATED WIDGETS INC\n<CIK>0000000001\n</COMPANY-DATA>\n</FILER>\n"
        "<SUBJECT-COMPANY>\n<COMPANY-DATA>\n<CONFORMED-NAME>OTHER WIDGETS CORP\n<CIK>0000000002\n"
        "</COMPANY-DATA>\n</SUBJECT-COMPANY>\n"
    )
    return f"{header}{documents()}</SUBMISSION>\n".replace("\n", "\r").encode()


VARIANTS = {
    "plain": plain(),
    "crlf": plain().replace(b"\n", b"\r\n"),
    "pem": pem(),
    "ims": pem("IMS"),
    "dissemination with bare CR": dissemination(),
}

DART = """<?xml version="1.0" encoding="utf-8"?>
<DOCUMENT xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="dart4.xsd">
<DOCUMENT-NAME ACODE="11011">사업보고서</DOCUMENT-NAME>
<COMPANY-NAME AREGCIK="00000001">견본위젯(주)</COMPANY-NAME>
<BODY><SECTION-1><TITLE ATOC="Y" ATOCID="1">I. 회사의 개요</TITLE>
<P>이 글은 만들어진 견본이며 공시가 아니다. A & B &cr; 1 < 2</P>
<TABLE><TR><TD>매출</TD><TE></TE><TE>1,000</TE></TR></TABLE></SECTION-1>
<SECTION-1><TITLE ATOC="Y" ATOCID="2">II. 사업의 내용</TITLE><P>위젯을 만든다.</P></SECTION-1></BODY></DOCUMENT>
"""


def dart_zip(members: dict[str, bytes] | None = None) -> bytes:
    """A ZIP as document.xml serves it; member dates are the impossible ones of real files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members or {"20240311000001.xml": DART.encode()}).items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue().replace(b"\x21\x00", b"\xef\xff") if members is None else stream.getvalue()
