"""Who is linked to whom, and who must not be. Texts are written here, or generated from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from benchmarks.clusters import bcubed, pair_f1
from ledgerline.clusters.near_duplicates import ClusterDocument, Link, NearDuplicates, form_family
from ledgerline.clusters.tables import CLUSTERS
from tests.shared_data import shared_data

RAMP = (
    "Northwind Turbines said it will build a second blade factory near Esbjerg, creating 420 jobs by 2028. "
    "The plant costs 310 million kroner and makes offshore blades of 115 metres, the longest it has sold. "
    "Chief executive Mette Holm said orders for 2.4 gigawatts were signed in March, and suppliers are named in June."
)
HARVEST = (
    "Rainfall in the southern provinces delayed the wheat harvest by three weeks, the cooperative reported on Tuesday. "
    "Silos in Toledo stood at 61 percent of capacity against 88 percent a year ago; millers paid 247 euros a ton. "
    "Exports to Morocco and Tunisia are expected to fall by a third, said its chairman, Ignacio Prado."
)
FOOTER = (
    "This announcement contains forward looking statements within the meaning of applicable securities laws. Such "
    "statements involve known and unknown risks and uncertainties which may cause actual results to differ materially "
    "from those expressed or implied. Readers are cautioned not to place undue reliance on them, and the company "
    "undertakes no obligation to update any of them, whether as a result of new information or otherwise. Nothing "
    "herein constitutes an offer to sell or the solicitation of an offer to buy any security in any jurisdiction in "
    "which such offer, solicitation or sale would be unlawful prior to registration. Past performance is not "
    "indicative of future results, and recipients should consult their own legal, tax and investment advisers."
)
VOCABULARY = [a + b + c for a in ("ba", "ko", "ti", "ru", "se") for b in ("lan", "mir", "dov", "pex") for c in "aeiou"]


def prose(seed: int, words: int = 80) -> str:
    """Generated sample text: distinct for every seed, with words in common as real texts have."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def edited(text: str, seed: int, share: float = 0.06) -> str:
    rng = random.Random(seed)
    return " ".join("changed" if rng.random() < share else word for word in text.split())


def background(count: int = 60) -> list[ClusterDocument]:
    return [ClusterDocument(f"background-{seed}", prose(10_000 + seed)) for seed in range(count)]


def assign(*texts: str, before: Sequence[ClusterDocument] = ()) -> list[Link]:
    clusters = NearDuplicates()
    clusters.assign(before)
    return clusters.assign([ClusterDocument(f"d{number}", text) for number, text in enumerate(texts)])


def corpus(count: int = 300) -> list[ClusterDocument]:
    """Founders, and edited copies of earlier documents, in a mixed order; every third has a footer."""
    rng = random.Random(7)
    texts = [prose(seed) for seed in range(count // 2)]
    texts += [edited(rng.choice(texts), seed) for seed in range(count - len(texts))]
    rng.shuffle(texts)
    return [
        ClusterDocument(f"d{number}", text + " " + FOOTER if number % 3 == 0 else text)
        for number, text in enumerate(texts)
    ]


def test_a_first_document_founds_a_cluster_of_its_own_name() -> None:
    assert assign(RAMP) == [Link("d0", "d0", None, None, None, ())]


def test_different_texts_found_different_clusters() -> None:
    assert [link.cluster_id for link in assign(RAMP, HARVEST)] == ["d0", "d1"]


def test_a_copy_is_linked_to_its_original_with_evidence_a_person_can_read() -> None:
    copy = assign(RAMP, HARVEST, "  " + RAMP.replace(" ", "  \n"))[2]
    assert (copy.cluster_id, copy.linked_to, copy.relation) == ("d0", "d0", "copy")
    assert copy.similarity == pytest.approx(1.0)
    assert len(copy.shared_features) == 5
    plain = " ".join(RAMP.lower().replace(".", "").replace(",", "").split())
    assert all(phrase in plain and len(phrase.split()) == 3 for phrase in copy.shared_features)


def test_an_edited_copy_is_a_near_duplicate() -> None:
    link = assign(RAMP, RAMP.replace("factory", "plant").replace("Tuesday", "Monday") + " Shares rose.")[1]
    assert (link.linked_to, link.relation) == ("d0", "near_duplicate")


def test_a_corrected_figure_is_a_near_duplicate_and_no_copy() -> None:
    link = assign(RAMP, RAMP.replace("420", "240"), before=background())[1]
    assert (link.linked_to, link.relation) == ("d0", "near_duplicate")


def test_a_corrected_figure_in_a_long_text_is_no_copy_either() -> None:
    long = RAMP + " " + prose(1, 600)
    link = assign(long, long.replace("420", "240"), before=background())[1]
    assert link.similarity is not None
    assert link.similarity > 0.99
    assert link.relation == "near_duplicate"


def test_two_texts_that_share_one_quotation_are_not_linked() -> None:
    quotation = RAMP[RAMP.index("Chief executive") :]
    assert assign(RAMP, prose(2, 60) + " " + quotation, before=background())[1].linked_to is None


def test_a_truncated_and_a_continued_text_are_linked() -> None:
    longer = RAMP + " " + prose(1, 25)
    assert [link.cluster_id for link in assign(RAMP, RAMP[:190], longer, before=background())] == ["d0"] * 3


def test_the_nearest_earlier_document_is_linked_not_the_founder() -> None:
    once = edited(RAMP, 1, 0.1)
    assert assign(RAMP, once, once + " Trading ended higher.", before=background())[2].linked_to == "d1"


def test_a_legal_footer_that_many_documents_share_does_not_merge_them() -> None:
    texts = [prose(seed, 40) + " " + FOOTER for seed in range(150)]
    assert [link.linked_to for link in assign(*texts)] == [None] * 150


def test_a_legal_footer_that_is_still_new_does_not_merge_two_documents() -> None:
    assert assign(RAMP + " " + FOOTER, HARVEST + " " + FOOTER, before=background())[1].linked_to is None


def test_two_texts_that_share_their_beginning_and_nothing_else_are_not_linked() -> None:
    cover, first, second = prose(1, 30), prose(2, 80), prose(3, 80)
    assert assign(cover + " " + first, cover + " " + second, before=background())[1].linked_to is None


def test_an_excerpt_from_the_middle_is_linked_though_it_begins_elsewhere() -> None:
    whole = prose(1, 60) + " " + RAMP + " " + prose(2, 20)
    assert [link.cluster_id for link in assign(whole, RAMP, before=background())] == ["d0", "d0"]


def test_copies_with_and_without_a_common_footer_are_still_linked() -> None:
    with_footer = [prose(seed, 40) + " " + FOOTER for seed in range(60)]
    links = assign(*with_footer, RAMP, RAMP + " " + FOOTER)
    assert links[-1].linked_to == "d60"


def result(company: str, figures: Sequence[str]) -> str:
    net, before, revenue, revenue_before, tax, share = figures
    return (
        f"{company} fourth quarter net. Oper net {net} vs {before}. Revs {revenue} vs {revenue_before}. Note: oper "
        f"data does not include year ago loss from discontinued foundry operations of {tax} dlrs, or {share} cts "
        "per shr, and the reversal of tax credits from the flood of its Gary warehouse."
    )


ONE = result("Universal Patents Inc", ("8,300,721", "5,426,831", "82.3 mln", "25.0 mln", "29,870", "27"))
TWIN = result("Mott Markets Corp", ("7,947,087", "5,888,193", "63.1 mln", "97.4 mln", "57,120", "22"))


def test_the_same_template_filled_for_another_company_is_not_merged() -> None:
    assert assign(ONE, TWIN, before=background())[1].linked_to is None


def test_the_same_result_with_one_figure_corrected_is_linked() -> None:
    assert assign(ONE, TWIN, ONE.replace("29,870", "29,810"), before=background())[2].linked_to == "d0"


FORM_4 = (
    "Form 4 statement of changes in beneficial ownership. {owner} c/o Harbor Medical Inc 12 Quay Road. Relationship: "
    "director. Transaction date 2024-02-01 code A. Common stock acquired {shares} at price 0. Owned following reported "
    "transaction {held}. Restricted stock units vest in four equal annual installments beginning 2025-02-01 subject to "
    "continued service. Signed by Jane Roe attorney in fact."
)


def test_form_4s_of_two_owners_do_not_merge_though_nearly_all_words_are_the_same() -> None:
    clusters = NearDuplicates()
    first = ClusterDocument("a", FORM_4.format(owner="Alice Ng", shares="1,200", held="9,100"), "harbor;ng", "4")
    second = ClusterDocument("b", FORM_4.format(owner="Bob Diaz", shares="1,200", held="4,300"), "diaz;harbor", "4")
    assert [link.cluster_id for link in clusters.assign([first, second])] == ["a", "b"]


def test_a_press_release_that_two_companies_file_is_one_copy() -> None:
    clusters = NearDuplicates()
    clusters.assign(background())
    links = clusters.assign([ClusterDocument("a", RAMP, "x", "EX-99.1"), ClusterDocument("b", RAMP, "y", "EX-99.2")])
    assert (links[1].linked_to, links[1].relation) == ("a", "copy")


def test_an_amendment_is_a_revision_of_the_form_it_amends() -> None:
    clusters = NearDuplicates()
    clusters.assign(background())
    links = clusters.assign(
        [
            ClusterDocument("a", RAMP, "x", "10-K"),
            ClusterDocument("b", RAMP.replace("310 million", "330 million"), "x", "10-K/A"),
        ]
    )
    assert (links[1].linked_to, links[1].relation) == ("a", "revision")


def test_the_report_of_the_next_quarter_is_a_revision_where_it_would_be_a_twin_of_another_company() -> None:
    def relation(issuer: str) -> str | None:
        clusters = NearDuplicates()
        clusters.assign(background())
        clusters.assign([ClusterDocument("a", ONE, "x", "10-Q")])
        return clusters.assign([ClusterDocument("b", TWIN, issuer, "10-Q")])[0].relation

    assert relation("x") == "revision"
    assert relation("y") is None
    assert relation("") is None


@pytest.mark.parametrize(
    ("form", "family"),
    [
        ("10-K", "10-K"),
        ("10-k/A", "10-K"),
        ("SC 13D/A", "SC 13D"),
        ("EX-99.2", "EX-99.2"),
        ("[기재정정]사업보고서 (2024.12)", "사업보고서 (2024.12)"),
        ("", ""),
    ],
)
def test_a_family_of_forms_leaves_out_what_marks_an_amendment(form: str, family: str) -> None:
    assert form_family(form) == family


def test_korean_copies_are_linked_and_other_korean_texts_are_not() -> None:
    notice = (
        "한빛전자는 23일 이사회를 열고 평택 공장에 1,200억원을 투자하기로 결의했다고 공시했다. "
        "투자 기간은 2026년 12월까지이며 회사는 이번 증설로 연간 생산 능력이 4만대에서 7만대로 늘어난다고 설명했다. "
        "자금은 보유 현금과 회사채로 마련한다."
    )
    other = (
        "서해해운은 싱가포르 선주와 3,400억원 규모의 장기 운송 계약을 체결했다. "
        "계약 상대방의 요청으로 세부 조건은 2029년까지 공개하지 않으며 최근 매출액 대비 비율은 18.4퍼센트이다. "
        "선박 여섯 척이 내년 봄부터 순차로 투입된다."
    )
    links = assign(notice, other, notice.replace("평택", "천안").replace("설명했다", "밝혔다"), before=background())
    assert [link.cluster_id for link in links] == ["d0", "d1", "d0"]
    assert any("이사회를" in phrase or "생산" in phrase or "공장에" in phrase for phrase in links[2].shared_features)


@pytest.mark.parametrize("text", ["", "   \n", "***", "Exhibit 99.1", "See attached page 2"])
def test_documents_without_enough_words_are_each_their_own_cluster(text: str) -> None:
    assert [link.cluster_id for link in assign(text, text, text)] == ["d0", "d1", "d2"]


def test_a_document_seen_before_gets_its_old_answer_even_with_another_text() -> None:
    clusters = NearDuplicates()
    documents = [
        ClusterDocument("a", RAMP),
        ClusterDocument("b", HARVEST),
        ClusterDocument("c", RAMP + " Shares rose."),
    ]
    first = clusters.assign(documents)
    state = clusters.to_bytes()
    assert clusters.assign(documents) == first
    assert clusters.assign([ClusterDocument("c", HARVEST)]) == first[2:]
    assert clusters.to_bytes() == state


def test_a_document_that_stands_twice_in_one_batch_is_one_document() -> None:
    clusters = NearDuplicates()
    links = clusters.assign([ClusterDocument("a", RAMP), ClusterDocument("a", RAMP)])
    assert links == [Link("a", "a"), Link("a", "a")]
    assert len(clusters) == 1


def test_cluster_ids_never_change_once_given() -> None:
    documents = corpus()
    clusters = NearDuplicates()
    given: dict[str, Link] = {}
    for begin in range(0, len(documents), 20):
        given.update({link.document_id: link for link in clusters.assign(documents[begin : begin + 20])})
    assert clusters.assign(documents) == [given[document.document_id] for document in documents]


def test_a_cluster_is_named_by_its_founder_and_links_stay_inside() -> None:
    links = {link.document_id: link for link in NearDuplicates().assign(corpus())}
    linked = [link for link in links.values() if link.linked_to is not None]
    assert len(linked) > 100
    for link in linked:
        assert link.linked_to is not None
        assert links[link.linked_to].cluster_id == link.cluster_id
        assert links[link.cluster_id].linked_to is None


def test_links_fit_the_table() -> None:
    assert [*Link.__slots__] == [name for name in CLUSTERS.names if name not in ("source", "day", "available_at")]


def test_real_newswire_is_clustered_above_the_floor() -> None:
    with (shared_data("clusters") / "neardup_dev.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    links = NearDuplicates().assign([ClusterDocument(row["id"], row["text"]) for row in rows])
    found, truth = [link.cluster_id for link in links], [row["cluster"] for row in rows]
    twins = {row["id"] for row in rows if row["ops"] == "tmpl"}
    merged = {name for link in links if link.linked_to for name in (link.document_id, link.linked_to)} & twins
    assert bcubed(found, truth)[2] >= 0.985
    assert pair_f1(found, truth) >= 0.96
    assert len(merged) <= 8
