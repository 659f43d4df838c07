"""Items of 8-K, 10-K and 10-Q in generated texts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgerline.filings.sections import sections_of

TEN_K = """Generated sample text, no filing.
Table of Contents
Item 1. Business 3
Item 1A. Risk Factors 9
Item 7. Management's Discussion 20
Item 9A. Controls 30
PART I
Item 1.\tBusiness
Widgets are made, as Item 7 of this text says.
Item 7 hereof is a reference at the start of a line.
Item 1. Business (Continued)
More widgets are made.
ITEM 1A. RISK FACTORS
Widgets may break.
PART II
Item 7 - Management's Discussion
Sales were as expected, see
Item 8) and so on.
Item 9(A). Controls
There are some.
SIGNATURES
Nobody."""


def names(form, text):
    return [section.name for section in sections_of(form, text)]


def test_the_items_of_a_10k_are_found_without_contents_references_and_page_headings():
    found = sections_of("10-K", TEN_K)
    assert [section.name for section in found] == ["1", "1A", "7", "9A"]
    business = found[0]
    assert TEN_K[business.start : business.end].startswith("Item 1.\tBusiness\nWidgets")
    assert "More widgets" in TEN_K[business.start : business.end]
    assert business.title == "Business"
    assert TEN_K[found[-1].start : found[-1].end] == "Item 9(A). Controls\nThere are some.\n"


def test_the_last_line_of_the_contents_is_not_taken_for_its_item_though_the_front_matter_follows_it():
    contents = "Item 1. Business 3\nItem 15. Exhibits 98\n" + "Forward-looking statements are no promise.\n" * 20
    text = contents + "Item 1. Business\nWidgets.\nItem 15. Exhibits\nA list.\nSIGNATURES\n"
    assert [(item.name, text[item.start : item.end]) for item in sections_of("10-K", text)] == [
        ("1", "Item 1. Business\nWidgets.\n"),
        ("15", "Item 15. Exhibits\nA list.\n"),
    ]


def test_the_items_of_a_10q_carry_their_part():
    first = "PART I\nItem 1. Financial Statements\na\nItem 2. Discussion\nb\n"
    text = first + "PART II\nItem 1. Legal Proceedings\nc\nItem 6. Exhibits"
    assert names("10-Q", text) == ["I.1", "I.2", "II.1", "II.6"]
    assert names("10-Q/A", text) == ["I.1", "I.2", "II.1", "II.6"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Item 2.02 Results", "2.02"),
        ("ITEM 2.02.", "2.02"),
        ("Item\n2.02", "2.02"),
        ("☐ Item 2. 02 Results", "2.02"),
        ("Item 5. Other Events", "5"),
        ("ITEM 12 RESULTS", "12"),
        ("Items 7.01 and 8.01", "7.01"),
    ],
)
def test_an_8k_heading_is_found_in_its_spellings(line, name):
    assert names("8-K", f"x\n{line}\ntext") == [name]


@pytest.mark.parametrize(
    "line", ["see Item 2.02", "Item 2.99 Unknown", "Item 5 hereof", "Item 99. Other", "Items of income"]
)
def test_what_is_no_8k_heading_is_not_found(line):
    assert names("8-K", f"x\n{line}\ntext") == []


def test_of_an_item_named_in_a_list_of_contents_the_text_counts():
    text = (
        "Item 2.02 Results\nItem 9.01 Exhibits\nItem 2.02 Results\nSales were as expected.\nItem 9.01 Exhibits\nA list."
    )
    found = sections_of("8-K", text)
    assert [text[section.start : section.end].count("\n") for section in found] == [2, 1]


def test_an_item_of_the_contents_ends_at_the_signatures_that_they_name():
    text = "Item 2.02 Results\nItem 9.01 Exhibits\nSIGNATURE\nEXHIBIT INDEX\n" + "The front page goes on.\n" * 20
    text += "Item 2.02 Results\nSales were as expected.\nItem 9.01 Exhibits\nA list of them.\nSIGNATURE\nNobody."
    last = sections_of("8-K", text)[-1]
    assert text[last.start : last.end] == "Item 9.01 Exhibits\nA list of them.\n"


def test_other_forms_have_no_items():
    assert sections_of("EX-99.1", TEN_K) == ()


@given(
    st.text(alphabet=st.sampled_from("ITEMitemPART 12345679.ABc()-\n\txé"), max_size=400),
    st.sampled_from(["8-K", "10-K", "10-Q"]),
)
def test_sections_are_ordered_slices_of_the_text_that_begin_with_their_heading(text, form):
    found = sections_of(form, text)
    assert len({section.name for section in found}) == len(found)
    for section, following in itertools.pairwise(found):
        assert section.end <= following.start
    for section in found:
        assert 0 <= section.start < section.end <= len(text)
        assert "item" in text[section.start : section.start + 40].lower()
