"""The judge of the gate: an evaluation report against a policy. Pure: no ledger, no platform, no files.

The asset check shows a verdict and the deploy code judges again with the same function (see deploy.py). What else a
model needs before it may go live (approval, unchanged bytes) is in releases.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.release.canonical import canonical_json, sha256_of

Direction = Literal["maximize", "minimize"]
Comparison = Literal["at_least", "at_most", "not_worse_than_live_by"]
ApprovalMode = Literal["manual", "automatic"]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What one evaluation found out about one model on one set of test rows.

    `model_digest` and `data_digest` (of the test rows) are stamped by the pipeline, which hashes the bytes that it
    hands to the job; the script cannot claim them. `metrics`: name -> number. `slices`: column -> value -> metric ->
    number, with `rows` for the number of rows. `details` is for people (confusion, examples); of it the gate reads
    `calibration` alone, a list of bins [mean score, share that is right, rows].
    """

    model_digest: str
    data_digest: str
    metrics: Mapping[str, float | None]
    slices: Mapping[str, Mapping[str, Mapping[str, float | None]]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return sha256_of(asdict(self))

    def to_json(self) -> bytes:
        return canonical_json(asdict(self))


def report_from_json(body: bytes, *, source: str) -> EvaluationReport:
    """The inverse of `EvaluationReport.to_json`. Raises LedgerlineError naming `source` if it is no report."""
    try:
        return EvaluationReport(**json.loads(body))
    except (ValueError, TypeError) as error:
        raise LedgerlineError(
            f"{source} is not an evaluation report ({error}). Materialize the project's evaluation asset again."
        ) from error


@dataclass(frozen=True, slots=True)
class GateRule:
    """One rule on one metric; on every value of the column `by` (with at least `min_rows` rows) where `by` is set."""

    metric: str
    comparison: Comparison
    threshold: float
    direction: Direction = "maximize"
    by: str | None = None
    min_rows: int = 0

    @property
    def text(self) -> str:
        where = f" for every {self.by} with at least {self.min_rows} rows" if self.by else ""
        return f"{self.metric} {self.comparison.replace('_', ' ')} {self.threshold:g}{where}"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a project asks of a model before it may go live. An approval is bound to its `digest`."""

    rules: tuple[GateRule, ...]
    approval: ApprovalMode = "manual"
    qa_required: bool = True  # the QA endpoint must have served the same bytes
    approval_expires_days: int | None = None  # of a model that did not go live with it
    four_eyes: bool = False  # two different people must approve
    max_calibration_error: float | None = None  # computed by us from the bins of the report
    max_size_mb: float | None = None  # of model.tar.gz, in 10^6 bytes
    max_latency_p99_ms: float | None = None  # of the QA endpoint; judged with the QA evidence, in releases.py

    def __post_init__(self) -> None:
        if not self.rules:
            raise ConfigurationError(
                "The gate has no rule, so it could refuse nothing. Add at least one rule under gate.rules in "
                "config.yaml, e.g. {metric: accuracy, at_least: 0.9}."
            )

    @property
    def digest(self) -> str:
        return sha256_of(asdict(self))

    @property
    def needs_live_report(self) -> bool:
        return any(rule.comparison == "not_worse_than_live_by" for rule in self.rules)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule, what was measured, and why it did not pass. `value` is None where there is no number."""

    rule: str
    metric: str
    value: float | None
    threshold: float | None
    passed: bool
    reason: str
    live_value: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one report under one policy. Passed only if there is a rule and every rule passed."""

    passed: bool
    reasons: tuple[RuleResult, ...]
    model_digest: str
    report_digest: str
    policy_digest: str
    live_report_digest: str | None

    @property
    def digest(self) -> str:
        return sha256_of(asdict(self))

    @property
    def summary(self) -> str:
        """`passed 4 of 4 rules`, for titles."""
        passed = sum(result.passed for result in self.reasons)
        return f"passed {passed} of {len(self.reasons)} rules"

    @property
    def failed(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.reasons if not result.passed)


def judge(
    report: EvaluationReport, policy: GatePolicy, live: EvaluationReport | None, *, size_bytes: int | None = None
) -> Verdict:
    """Judge a report. `live` is the report of the model that is live, on the same test rows; None where none is live.

    `size_bytes` is that of model.tar.gz now. What is missing or no number fails its rule. Raises LedgerlineError if
    `live` was measured on other rows.
    """
    if live is not None and live.data_digest != report.data_digest:
        raise LedgerlineError(
            f"The live model {live.model_digest[:12]} was evaluated on other test rows ({live.data_digest[:12]}) than "
            f"the candidate {report.model_digest[:12]} ({report.data_digest[:12]}), so they cannot be compared. "
            "Materialize the project's evaluation asset again: it evaluates both on the same rows."
        )
    results = (
        *(result for rule in policy.rules for result in _apply(rule, report, live)),
        *_apply_calibration(policy.max_calibration_error, report),
        *_apply_size(policy.max_size_mb, size_bytes),
    )
    return Verdict(
        passed=bool(results) and all(result.passed for result in results),
        reasons=results,
        model_digest=report.model_digest,
        report_digest=report.digest,
        policy_digest=policy.digest,
        live_report_digest=live.digest if live is not None and policy.needs_live_report else None,
    )


def _apply(rule: GateRule, report: EvaluationReport, live: EvaluationReport | None) -> list[RuleResult]:
    if rule.by is not None:
        return _apply_to_slices(rule, report)
    value = _number(report.metrics.get(rule.metric))
    if value is None:
        return [_unmeasured(rule, rule.metric, present=rule.metric in report.metrics)]
    if rule.comparison == "not_worse_than_live_by":
        return [_against_live(rule, value, live)]
    return [_against_threshold(rule, rule.metric, value)]


def _apply_to_slices(rule: GateRule, report: EvaluationReport) -> list[RuleResult]:
    slices = report.slices.get(rule.by or "")
    if not slices:
        reason = f"the report has no slices by {rule.by}, so nothing shows that the rule holds"
        return [RuleResult(rule.text, rule.metric, None, rule.threshold, False, reason)]
    results = []
    for name, metrics in sorted(slices.items()):
        rows = _number(metrics.get("rows"))
        if rows is None:
            reason = f"the slice {rule.by}={name} does not say how many rows it has"
            results.append(RuleResult(rule.text, rule.metric, None, rule.threshold, False, reason))
            continue
        if rows < rule.min_rows:
            continue
        label = f"{rule.metric} [{rule.by}={name}]"
        value = _number(metrics.get(rule.metric))
        if value is None:
            results.append(_unmeasured(rule, label, present=rule.metric in metrics))
        else:
            results.append(_against_threshold(rule, label, value))
    if not results:
        reason = f"no value of {rule.by} has {rule.min_rows} rows or more, so the rule was tested on nothing"
        return [RuleResult(rule.text, rule.metric, None, rule.threshold, False, reason)]
    return results


def _against_threshold(rule: GateRule, label: str, value: float) -> RuleResult:
    passed = value >= rule.threshold if rule.comparison == "at_least" else value <= rule.threshold
    relation = "is" if passed else "is not"
    reason = f"{label} is {value:.6g}, which {relation} {rule.comparison.replace('_', ' ')} {rule.threshold:g}"
    return RuleResult(rule.text, label, value, rule.threshold, passed, reason)


def _against_live(rule: GateRule, value: float, live: EvaluationReport | None) -> RuleResult:
    if live is None:
        return RuleResult(
            rule.text, rule.metric, value, None, True, "no model is live yet: there is nothing to be worse than"
        )
    live_value = _number(live.metrics.get(rule.metric))
    if live_value is None:
        reason = f"the live model {live.model_digest[:12]} has no {rule.metric} to compare with"
        return RuleResult(rule.text, rule.metric, value, None, False, reason)
    worse_by = live_value - value if rule.direction == "maximize" else value - live_value
    # Only the representation error of one subtraction is forgiven: 0.95 - 0.94 is 0.010000000000000009.
    passed = worse_by <= rule.threshold + 1e-12
    limit = live_value - rule.threshold if rule.direction == "maximize" else live_value + rule.threshold
    reason = (
        f"{rule.metric} is {value:.6g} against {live_value:.6g} live: worse by {max(worse_by, 0.0):.6g}, "
        f"{'within' if passed else 'more than'} {rule.threshold:g}"
    )
    return RuleResult(rule.text, rule.metric, value, limit, passed, reason, live_value)


def _apply_calibration(limit: float | None, report: EvaluationReport) -> list[RuleResult]:
    if limit is None:
        return []
    rule, error = f"calibration error at most {limit:g}", calibration_error(report.details.get("calibration"))
    if error is None:
        reason = (
            "evaluation.json has no `calibration`, a list of bins [mean score, share that is right, rows] with rows "
            "in them, so nothing shows that a score is a probability"
        )
        return [RuleResult(rule, "calibration", None, limit, False, reason)]
    relation = "is" if error <= limit else "is not"
    reason = (
        f"the calibration error, computed from the report's bins, is {error:.6g}, which {relation} at most {limit:g}"
    )
    return [RuleResult(rule, "calibration", error, limit, error <= limit, reason)]


def calibration_error(bins: object) -> float | None:
    """Expected calibration error of bins [mean score, share that is right, rows]; None if they are not such bins.

    The mean distance of score and share over rows, as Guo et al. 2017 define it (arXiv:1706.04599, equation 5).
    """
    if not isinstance(bins, Sequence) or isinstance(bins, str | bytes):
        return None
    total = distance = 0.0
    for item in bins:
        values = [_number(value) for value in item] if isinstance(item, list | tuple) else []
        if len(values) != 3 or None in values:
            return None
        score, right, rows = (float(value) for value in values if value is not None)
        if not (0 <= score <= 1 and 0 <= right <= 1 and rows >= 0):
            return None
        total += rows
        distance += rows * abs(score - right)
    return distance / total if total else None


def _apply_size(limit: float | None, size_bytes: int | None) -> list[RuleResult]:
    if limit is None:
        return []
    rule = f"model.tar.gz at most {limit:g} MB"
    if size_bytes is None:
        return [RuleResult(rule, "size", None, limit, False, "the size of model.tar.gz was not measured")]
    size = size_bytes / 1e6
    relation = "is" if size <= limit else "is not"
    reason = f"model.tar.gz has {size:.6g} MB, which {relation} at most {limit:g}"
    return [RuleResult(rule, "size", size, limit, size <= limit, reason)]


def _unmeasured(rule: GateRule, label: str, *, present: bool) -> RuleResult:
    reason = f"{label} is not a number" if present else f"{label} is missing from the report"
    return RuleResult(rule.text, label, None, rule.threshold, False, reason)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
