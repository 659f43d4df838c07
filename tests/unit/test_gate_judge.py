"""The judge: which reports pass which policies, and what it says of those that do not."""

from __future__ import annotations

import math

import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.release.gate import EvaluationReport, GatePolicy, GateRule, calibration_error, judge, report_from_json


def report(model: str = "m1", data: str = "d1", slices=None, **metrics) -> EvaluationReport:
    return EvaluationReport(model_digest=model, data_digest=data, metrics=metrics, slices=slices or {})


def policy(*rules: GateRule) -> GatePolicy:
    return GatePolicy(rules=rules)


FLOOR = GateRule("accuracy", "at_least", 0.9)
CEILING = GateRule("false_links", "at_most", 0.05)
NOT_WORSE = GateRule("accuracy", "not_worse_than_live_by", 0.01)
LOSS_NOT_WORSE = GateRule("loss", "not_worse_than_live_by", 0.1, direction="minimize")


@pytest.mark.parametrize(
    ("rule", "metrics", "live", "passed", "reason"),
    [
        (FLOOR, {"accuracy": 0.9}, None, True, "accuracy is 0.9, which is at least 0.9"),
        (FLOOR, {"accuracy": 0.8999}, None, False, "accuracy is 0.8999, which is not at least 0.9"),
        (CEILING, {"false_links": 0.05}, None, True, "false_links is 0.05, which is at most 0.05"),
        (CEILING, {"false_links": 0.051}, None, False, "false_links is 0.051, which is not at most 0.05"),
        (FLOOR, {}, None, False, "accuracy is missing from the report"),
        (FLOOR, {"accuracy": None}, None, False, "accuracy is not a number"),
        (FLOOR, {"accuracy": math.nan}, None, False, "accuracy is not a number"),
        (FLOOR, {"accuracy": math.inf}, None, False, "accuracy is not a number"),
        (FLOOR, {"accuracy": "0.99"}, None, False, "accuracy is not a number"),
        (FLOOR, {"accuracy": True}, None, False, "accuracy is not a number"),
        (CEILING, {"false_links": -math.inf}, None, False, "false_links is not a number"),
        (NOT_WORSE, {"accuracy": 0.1}, None, True, "no model is live yet: there is nothing to be worse than"),
        (
            NOT_WORSE,
            {"accuracy": 0.94},
            {"accuracy": 0.95},
            True,
            "accuracy is 0.94 against 0.95 live: worse by 0.01, within 0.01",
        ),
        (
            NOT_WORSE,
            {"accuracy": 0.93},
            {"accuracy": 0.95},
            False,
            "accuracy is 0.93 against 0.95 live: worse by 0.02, more than 0.01",
        ),
        (
            NOT_WORSE,
            {"accuracy": 0.99},
            {"accuracy": 0.95},
            True,
            "accuracy is 0.99 against 0.95 live: worse by 0, within 0.01",
        ),
        (NOT_WORSE, {"accuracy": 0.99}, {}, False, "the live model live has no accuracy to compare with"),
        (
            LOSS_NOT_WORSE,
            {"loss": 1.2},
            {"loss": 1.0},
            False,
            "loss is 1.2 against 1 live: worse by 0.2, more than 0.1",
        ),
        (LOSS_NOT_WORSE, {"loss": 0.5}, {"loss": 1.0}, True, "loss is 0.5 against 1 live: worse by 0, within 0.1"),
    ],
)
def test_a_rule_passes_or_says_why_not(rule, metrics, live, passed, reason):
    live_report = None if live is None else report("live", **live)
    verdict = judge(report(**metrics), policy(rule), live_report)
    assert (verdict.passed, [result.reason for result in verdict.reasons]) == (passed, [reason])


def test_one_failed_rule_fails_the_verdict_and_every_rule_is_shown():
    verdict = judge(report(accuracy=0.95, false_links=0.2), policy(FLOOR, CEILING), None)
    assert not verdict.passed
    assert [result.passed for result in verdict.reasons] == [True, False]


def test_a_policy_without_rules_is_refused():
    with pytest.raises(ConfigurationError, match="Add at least one rule under"):
        GatePolicy(rules=())


def test_a_live_report_on_other_rows_is_not_compared():
    with pytest.raises(LedgerlineError, match="other test rows"):
        judge(report(accuracy=0.95), policy(NOT_WORSE), report("live", data="d2", accuracy=0.9))


SLICE_RULE = GateRule("accuracy", "at_least", 0.8, by="kind", min_rows=30)


@pytest.mark.parametrize(
    ("slices", "passed", "reasons"),
    [
        (
            {"kind": {"former": {"rows": 30, "accuracy": 0.8}, "lower": {"rows": 50, "accuracy": 0.7}}},
            False,
            [
                "accuracy [kind=former] is 0.8, which is at least 0.8",
                "accuracy [kind=lower] is 0.7, which is not at least 0.8",
            ],
        ),
        (
            {"kind": {"former": {"rows": 30, "accuracy": 0.9}, "rare": {"rows": 3, "accuracy": 0.0}}},
            True,
            ["accuracy [kind=former] is 0.9, which is at least 0.8"],
        ),
        ({}, False, ["the report has no slices by kind, so nothing shows that the rule holds"]),
        (
            {"kind": {"rare": {"rows": 3, "accuracy": 1.0}}},
            False,
            ["no value of kind has 30 rows or more, so the rule was tested on nothing"],
        ),
        ({"kind": {"former": {"accuracy": 1.0}}}, False, ["the slice kind=former does not say how many rows it has"]),
        (
            {"kind": {"former": {"rows": 30, "accuracy": math.nan}}},
            False,
            ["accuracy [kind=former] is not a number"],
        ),
    ],
)
def test_a_slice_rule_holds_for_every_value_with_enough_rows(slices, passed, reasons):
    verdict = judge(report(slices=slices, accuracy=0.9), policy(SLICE_RULE), None)
    assert (verdict.passed, [result.reason for result in verdict.reasons]) == (passed, reasons)


def test_equal_inputs_give_equal_digests_and_any_change_another():
    base = judge(report(accuracy=0.95), policy(FLOOR), None)
    assert judge(report(accuracy=0.95), policy(FLOOR), None).digest == base.digest
    others = [
        judge(report("m2", accuracy=0.95), policy(FLOOR), None),
        judge(report(accuracy=0.96), policy(FLOOR), None),
        judge(report(accuracy=0.95), policy(GateRule("accuracy", "at_least", 0.91)), None),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 4


def test_switching_approval_or_qa_changes_the_policy_digest():
    modes = [GatePolicy((FLOOR,)), GatePolicy((FLOOR,), approval="automatic"), GatePolicy((FLOOR,), qa_required=False)]
    assert len({mode.digest for mode in modes}) == 3


def test_a_report_survives_its_json_with_the_same_digest():
    original = report(slices={"kind": {"a": {"rows": 2, "accuracy": 0.5}}}, accuracy=0.95, loss=math.nan)
    assert report_from_json(original.to_json(), source="x").digest == original.digest


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model_digest": "m"}', b"\xff"])
def test_what_is_no_report_is_refused_by_its_name(body):
    with pytest.raises(LedgerlineError, match="is not an evaluation report"):
        report_from_json(body, source="s3://b/evaluation.json")


@pytest.mark.parametrize(
    ("bins", "error"),
    [
        ([[0.5, 0.6, 10]], 0.1),
        ([[0.0, 0.0, 30], [1.0, 0.8, 10]], 0.05),
        ([[0.9, 0.9, 1], [0.2, 0.9, 0]], 0.0),
        ([], None),
        ([[0.5, 0.6, 0]], None),
        ([[0.5, 0.6]], None),
        ([[0.5, float("nan"), 3]], None),
        ([[0.5, 1.2, 3]], None),
        ([[0.5, 0.6, -3], [0.5, 0.6, 10]], None),
        ("0.5", None),
        (None, None),
        ({"0.5": 0.6}, None),
    ],
)
def test_the_calibration_error_is_computed_from_bins_and_from_nothing_else(bins, error):
    assert calibration_error(bins) == (None if error is None else pytest.approx(error))


def test_a_calibration_that_the_report_claims_to_be_good_is_judged_by_its_bins():
    found = EvaluationReport(
        "m", "d", {"accuracy": 0.95, "calibration_error": 0.0}, details={"calibration": [[0.5, 0.9, 9]]}
    )
    verdict = judge(found, GatePolicy((FLOOR,), max_calibration_error=0.1), None)
    assert [result.reason for result in verdict.failed] == [
        "the calibration error, computed from the report's bins, is 0.4, which is not at most 0.1"
    ]
