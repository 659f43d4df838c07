"""The QA page and what it compares: self-contained, escaped, and with all that a reviewer decides from."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest

from ledgerline.projects.comparison import (
    Chart,
    Compared,
    charts,
    compared_models,
    comparison_rows,
    confusion_rows,
    known_data,
    points_of,
)
from ledgerline.projects.pipeline import Comparison
from ledgerline.projects.qa_page import QaPage, qa_page, svg
from ledgerline.release.deploy import deploy_release
from ledgerline.release.gate import EvaluationReport, GatePolicy, GateRule, judge
from ledgerline.release.releases import Evaluated
from tests.unit.release_fakes import World

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
POLICY = GatePolicy((GateRule("accuracy", "at_least", 0.9),))
EVIL = "<script>alert('x')</script>"


def report(model: str, accuracy: float, data: str = "rows", **details: object) -> EvaluationReport:
    return EvaluationReport(
        model * 64,
        data,
        {"accuracy": accuracy, "loss": None},
        {"kind": {"a": {"rows": 3, "accuracy": accuracy}}},
        details,
    )


def page(**changes: object) -> str:
    candidate = report("a", 0.95, roc=[[0, 0], [0.2, 0.8], [1, 1]], calibration=[[0.5, 0.6, 10], [0.9, 0.9, 4]])
    live = report("b", 0.91, roc=[[0, 0], [0.5, 0.7], [1, 1]])
    values: dict = {
        "project": "demo", "description": "A demonstration.", "owner": "team:quant", "at": NOW,
        "verdict": judge(candidate, POLICY, live),
        "models": [Compared("candidate", "a" * 64, None, candidate, True), Compared("live", "b" * 64, NOW, live, True)],
        "digests": {"model": "a" * 64}, "approve": "python -m cli approve --project demo", "live_digest": "b" * 64,
        "comparisons": [Comparison(0, '{"y": 1}', '{"y": 2}'), Comparison(1, '{"y": 3}', '{"y": 3}')],
        "requests": [b'{"x": "first"}', b'{"x": "second"}'],
    }  # fmt: skip
    return qa_page(QaPage(**{**values, **changes}))


class Reader(HTMLParser):
    """Tags that are not closed, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.scripts += tag == "script"
        self.loads += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "xlink:href", "onload")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None: ...

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_an_approved_model_asks_for_no_approval():
    text = read(page(approve="", decisions="2026-03-02 12:00 UTC approve by gate (approval: automatic)")).text
    assert "approve by gate" in text
    assert "To approve" not in text


def test_the_page_says_what_a_reviewer_decides_from():
    text = " ".join(read(page()).text.split())
    for said in (
        "Verdict: passed 1 of 1 rules", "accuracy at least 0.9", "python -m cli approve --project demo",
        "Changed answers: 1 of 2", "first", "second", "The live model was judged on the same test rows", "By kind",
        "Calibration", "ROC", "a" * 64, "team:quant", "2026-03-02 12:00 UTC",
    ):  # fmt: skip
        assert said in text, said


def test_the_page_loads_nothing_and_every_text_of_others_is_escaped():
    text = page(
        description=EVIL, owner=EVIL, decisions=EVIL, digests={EVIL: EVIL}, approve=EVIL,
        comparisons=[Comparison(0, EVIL, f"{EVIL}!")], requests=[EVIL.encode()],
    )  # fmt: skip
    reader = read(text)
    assert (reader.scripts, reader.loads) == (0, [])
    assert not re.search(r"https?://|url\(|@import", text)
    assert reader.text.count(EVIL) >= 8


def test_names_of_metrics_slices_and_classes_are_escaped_too():
    odd = EvaluationReport(
        "a" * 64, "rows", {EVIL: 0.5}, {EVIL: {EVIL: {"rows": 2, EVIL: 0.1}}},
        {"confusion": {"labels": [EVIL, "b"], "counts": [[1, 0], [0, 1]]}, "roc": [[0, 0], [1, 1]]},
    )  # fmt: skip
    text = page(models=[Compared("candidate", "a" * 64, None, odd, True)], verdict=judge(odd, POLICY, None))
    assert read(text).scripts == 0
    assert "FAILED" in text


def test_a_first_model_has_nothing_to_differ_from_and_the_page_says_so():
    candidate = report("a", 0.95)
    text = read(
        page(
            models=[Compared("candidate", "a" * 64, None, candidate, True)],
            live_digest=None,
            comparisons=[Comparison(0, "{}", None)],
            verdict=judge(candidate, POLICY, None),
        )
    ).text
    assert "No live endpoint answers: there is nothing to differ from" in text
    assert "no live model was measured" in text


def test_a_model_that_is_live_already_is_said_to_be():
    candidate = report("a", 0.95)
    models = [Compared("candidate", "a" * 64, None, candidate, True)]
    text = " ".join(read(page(models=models, live_digest="a" * 64, comparisons=[Comparison(0, "1", "1")])).text.split())
    assert "This very model is live" in text
    assert "Changed answers: 0 of 1" in text


def test_known_data_is_shown_beside_the_new():
    known = (report("a", 0.93, "old rows"), report("b", 0.94, "old rows"))
    text = " ".join(read(page(known=known)).text.split())
    assert "The test rows that the live model was judged on (old rows)" in text
    assert "-0.01" in text


def test_a_long_answer_is_cut_and_says_how_long_it_was():
    text = read(page(comparisons=[Comparison(0, "y" * 5_000, "n")])).text
    assert "(5,000 characters)" in text
    assert "y" * 1_001 not in text


@pytest.mark.parametrize("points", [[(0.5, 0.5)], [(0, 0), (0, 1)], [(0, 10**6), (3, 0)]])
def test_a_chart_of_any_points_is_drawn_inside_of_its_frame(points):
    for logarithmic in (False, True):
        drawn = str(svg(Chart("t", "x", "y", {"candidate": points}, dots=True, logarithmic=logarithmic)))
        places = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.-]+)" cy="([\d.-]+)"', drawn)]
        assert len(places) == len(points)
        assert all(0 <= x <= 360 and 0 <= y <= 260 for x, y in places)


def test_what_is_no_curve_is_no_chart():
    assert points_of([[1, 2, 3], [4, 5]]) == [(1.0, 2.0), (4.0, 5.0)]
    for wrong in (None, "x", {}, [[1]], [["a", "b"]], [[1, float("inf")]]):
        assert points_of(wrong) == []
    assert confusion_rows(report("a", 0.9, confusion={"labels": ["x"], "counts": [[1, 2]]})) == []
    assert list(charts([Compared("candidate", "a", None, report("a", 0.9, roc="?"), True)])) == []


def test_candidate_live_and_earlier_versions_are_in_one_table_each_once_and_newest_first(tmp_path):
    world = World(tmp_path)
    for name in ("one", "two", "three"):
        found = world.candidate(name, 0.95)
        if name == "two":
            world.decide(found)
            deploy_release(world.deployer(), actor="test", pins={})
            live = found.model_digest
    newest = world.candidate("four", 0.97)
    ours = EvaluationReport(newest.model_digest, "rows", {"accuracy": 0.97})
    models = compared_models(world.records(), world.objects, ours)
    assert [one.role for one in models] == ["candidate", "live", "earlier version", "earlier version"]
    assert models[1].model_digest == live
    assert len({one.model_digest for one in models}) == 4
    assert len(compared_models(world.records(), world.objects, ours, versions=1)) == 3
    assert comparison_rows(models)[0] == {
        "model": "candidate", "digest": newest.model_digest[:12], "at": "now", "test rows": "the same", "accuracy": 0.97,
    }  # fmt: skip


def test_a_report_that_was_changed_or_is_gone_is_left_out(tmp_path):
    world = World(tmp_path)
    first, second = world.candidate("one", 0.95), world.candidate("two", 0.96)
    world.objects.put(first.report_uri, world.objects.get(first.report_uri).replace(b"0.95", b"0.99"))
    ours = EvaluationReport(second.model_digest, "rows", {"accuracy": 0.96})
    assert [one.role for one in compared_models(world.records(), world.objects, ours)] == ["candidate"]


def test_known_data_are_both_models_on_the_rows_that_live_was_judged_on(tmp_path):
    world = World(tmp_path)
    live = world.candidate("live", 0.95)
    world.decide(live)
    deploy_release(world.deployer(), actor="test", pins={})
    ours = EvaluationReport("f" * 64, "new rows", {"accuracy": 0.97})
    assert known_data(world.records(), world.objects, ours) is None
    on_known = EvaluationReport("f" * 64, live.data_digest, {"accuracy": 0.92})
    uri = world.objects.uri("reports", on_known.digest)
    world.objects.put(uri, on_known.to_json())
    world.ledger.append(
        Evaluated(
            project="demo",
            model_digest="f" * 64,
            data_digest=live.data_digest,
            report_uri=uri,
            report_digest=on_known.digest,
            at=world.clock(),
        )
    )
    candidate, theirs = known_data(world.records(), world.objects, ours)
    assert (candidate.metrics["accuracy"], theirs.metrics["accuracy"]) == (0.92, 0.95)
    same = EvaluationReport("f" * 64, live.data_digest, {"accuracy": 0.97})
    assert known_data(world.records(), world.objects, same) is None
