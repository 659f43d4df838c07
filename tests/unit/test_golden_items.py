"""How the items of pages are compared with another tool's, on generated pages; and the real comparison where its data is."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from benchmarks.golden_items import Comparison, begins_as_prescribed, golden, numbers_of
from tests.shared_data import shared_data

PAGE = "Item 2.02 Results of Operations\nSales were as expected.\nItem 8.01 Widgets\nThey sell.\nSIGNATURES\n"


@pytest.mark.parametrize(
    ("form", "number", "text", "prescribed"),
    [
        ("8-K", "2.02", "ITEM 2.02.\tResults of Operations and Financial Condition", True),
        ("8-K", "2.02", "Item 2.02 of this report", False),
        ("8-K", "2.02", "see Item 2.02 Results of Operations", False),
        ("8-K", "9", "Item 9. Regulation FD Disclosure", True),
        ("10-K", "9A", "Item 9(A). Controls and Procedures", True),
        ("10-K", "1", "Items 1 and 2. Business and Properties", False),
        ("10-K", "99", "Item 99. Business", False),
    ],
)
def test_a_heading_is_the_number_and_the_title_that_the_form_prescribes(form, number, text, prescribed):
    assert begins_as_prescribed(form, number, text) == prescribed


def test_a_title_of_a_header_is_known_by_its_numbers_then_and_now():
    assert numbers_of("Financial Statements and Exhibits") == {"9.01", "7"}
    assert numbers_of("Non-Reliance on Previously Issued Financial Statements or a Related Audit Report") == {"4.02"}
    assert numbers_of("5.02") == {"5.02"}
    assert numbers_of("Widgets") == set()


def test_differences_are_counted_and_judged_by_rule():
    compared = Comparison("8-K")
    compared.add("a", PAGE, {"2.02": "Item 2.02 Results of Operations Sales were as expected."})
    compared.add("b", PAGE, {"8.01": "ITEM 8.01\nWidgets", "9.01": "as Item 9.01 of another report says"})
    figures = compared.flat("x")
    assert {name: figures[f"x_{name}"] for name in ("pages", "items", "only_ours", "only_theirs")} == {
        "pages": 2,
        "items": 5,
        "only_ours": 2,  # the second 2.02 has its prescribed title; 8.01 of the first page has not
        "only_theirs": 1,
    }
    assert figures["x_agreement"] == 0.4
    assert figures["x_judged"] == pytest.approx(2 / 3, abs=1e-4)
    assert (figures["x_starts"], figures["x_texts"]) == (1.0, 0.5)
    assert [line.split(": ")[1] for line in compared.listed] == [
        "item 8.01 only ours, not judged",
        "item 2.02 only ours, theirs is wrong by the rule",
        "item 9.01 only theirs, theirs is wrong by the rule",
    ]


@pytest.mark.parametrize("form", ["8-K", "10-K"])
def test_the_extractions_of_either_form_are_read_where_they_are(form, tmp_path):
    assert golden(tmp_path, form).flat("x")["x_agreement"] is None
    folder = tmp_path / "edgar" / "golden"
    folder.mkdir(parents=True)
    item = {"8-K": ("8.01", "Other Events"), "10-K": ("1A", "Risk Factors")}[form]
    text = f"Item {item[0]}. {item[1]}\nWidgets."
    for kind, name, content in (
        ("RAW", "1.txt", text.encode()),
        ("EXTRACTED_items", "1.json", json.dumps({"cik": "1", f"item_{item[0]}": text, "item_2": " "}).encode()),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(f"{form}/{name}", content)
        (folder / f"tool_{kind}_{form}_1.zip").write_bytes(stream.getvalue())
    figures = golden(tmp_path, form).flat("x")
    assert (figures["x_pages"], figures["x_items"], figures["x_agreement"], figures["x_texts"]) == (1, 1, 1.0, 1.0)


def test_the_items_of_real_8k_pages_agree_with_an_independent_tool():
    figures = golden(shared_data("filings"), "8-K").flat("golden")
    assert figures["golden_pages"] == 553
    assert figures["golden_agreement"] >= 0.99
    assert figures["golden_starts"] >= 0.99
