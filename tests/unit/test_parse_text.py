"""HTML to text: golden pages for both engines, so that a new version of either is noticed."""

from __future__ import annotations

import pytest

from ledgerline.filings import text
from ledgerline.filings.text import html_to_text

GOLDEN = [
    ("<p>Hello <b>wor</b>ld  a\n b</p>", "Hello world a b"),
    ("<div>x<br>y<br><br>z</div>", "x\ny\nz"),
    ("<h1>Title</h1>text<hr>more", "Title\ntext\nmore"),
    ("<ul><li>one<li>two</ul>", "one\ntwo"),
    ("<table><tr><td>a</td><td> </td><td>b <p>c</p></td></tr><tr><th>d<td>e</table>", "a\tb c\nd\te"),
    ("<TABLE><TR><TD>a</TD><TD>b</TD></TR></TABLE>", "a\tb"),
    ("<Table><tR><Td>a</tD><tD>b</Td></Tr></taBle>", "a\tb"),
    ("<table><tr><td>a<table><tr><td>b</td><td>c</td></tr></table></td></tr></table>", "a\nb\tc"),
    (
        "<table><tr><td>" + "x" * 300 + "</td><td>y</td></tr><tr><td>a</td><td>b</td></tr></table>",
        "x" * 300 + "\ty\na\tb",
    ),
    ("<pre>a  b\nc</pre>", "a b\nc"),
    ("&nbsp;Item&nbsp;1.&#160; Caf&eacute; &#8217;&#150;", "Item 1. Café ’–"),
    ("soft\xadware zero\u200bwidth", "software zerowidth"),
    ("a<script>b</script><style>c</style><!-- d -->e", "ae"),
    ("<html><head><title>t</title></head><body>b</body></html>", "b"),
    ("<ix:header><ix:hidden>h</ix:hidden></ix:header><ix:nonFraction>5</ix:nonFraction>%", "5%"),
    ("<font color=red>A</font><font>B</font> <a href='x>y'>C</a>", "AB C"),
    ("<p>open <b>bold <i>both</p><p>still</p>", "open bold both\nstill"),
    ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
    ("<blockquote>q</blockquote>", "q"),
    ("", ""),
]


@pytest.mark.parametrize(("markup", "expected"), GOLDEN)
def test_a_golden_page_reads_the_same_with_turbohtml(markup, expected):
    assert html_to_text(markup) == expected
    assert html_to_text(markup.encode()) == expected


@pytest.mark.parametrize(("markup", "expected"), GOLDEN)
def test_a_golden_page_reads_the_same_with_lxml_where_turbohtml_is_missing(markup, expected, monkeypatch):
    monkeypatch.setattr(text, "turbohtml", None)
    assert html_to_text(markup) == expected


def test_lxml_takes_over_where_turbohtml_raises(monkeypatch):
    class Broken:
        @staticmethod
        def parse(*_args, **_options):
            raise RuntimeError("broken")

    monkeypatch.setattr(text, "turbohtml", Broken)
    assert html_to_text("<p>a</p><p>b</p>") == "a\nb"


def test_long_markup_is_read_in_pieces_with_the_same_text(monkeypatch):
    rows = "".join(f"<tr><td>row {number}</td><td>{number}</td></tr>" for number in range(200))
    page = f"<html><body><table>{rows}</table><p>end</p></body></html>"
    whole = html_to_text(page)
    monkeypatch.setattr(text, "MAX_PIECE_CHARACTERS", 500)
    assert html_to_text(page) == whole
    assert whole.split("\n")[-1] == "end"


@pytest.mark.parametrize("engine", [text.turbohtml, None])
def test_formatting_that_stays_open_is_no_element_and_its_text_is_kept(engine, monkeypatch):
    monkeypatch.setattr(text, "turbohtml", engine)
    page = "<p>" + "".join(f"<b a={number}>w{number}</I> " for number in range(50)) + "</p>" + "<p>x</p>" * 50
    assert html_to_text(page) == " ".join(f"w{number}" for number in range(50)) + "\nx" * 50
    assert html_to_text("<p><FONT size=1>A</FONT>b<Tt>c<strong>d</p>e<br>f<small>") == "Abcd\ne\nf"
    assert "<b a=0>" not in text._prepared(page)
