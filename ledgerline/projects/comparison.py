"""A candidate beside the live model and the versions before it: what they measured, and on which rows.

For people: no rule of the gate reads it. A report that is gone or was changed since it was written is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ledgerline.errors import LedgerlineError
from ledgerline.ports import ObjectStore
from ledgerline.release.gate import EvaluationReport, report_from_json
from ledgerline.release.releases import Candidate, Evaluated, Release, current_release, latest_evaluation

VERSIONS = 5  # before the candidate

Role = Literal["candidate", "live", "earlier version"]
Points = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A model with its report. `same_rows`: measured on the very test rows of the candidate."""

    role: Role
    model_digest: str
    at: datetime | None  # of the evaluation or registration, None for the candidate at work
    report: EvaluationReport
    same_rows: bool


def compared_models(
    records: Sequence[Any], objects: ObjectStore, report: EvaluationReport, *, versions: int = VERSIONS
) -> list[Compared]:
    """The candidate of a report, the live model, and the newest versions before them, each model once."""
    found = [Compared("candidate", report.model_digest, None, report, True)]
    live = current_release(records)
    others: list[tuple[Role, Candidate | Release]] = [("live", live)] if live else []
    others += [("earlier version", record) for record in reversed(records) if isinstance(record, Candidate)]
    for role, record in others:
        if record.model_digest in {one.model_digest for one in found} or len(found) > versions + 1:
            continue
        same = latest_evaluation(records, record.model_digest, report.data_digest)
        kept = intact_report(same or record, objects)
        if kept is not None:
            rows = kept.data_digest == report.data_digest
            found.append(Compared(role, record.model_digest, record.at, kept, rows))
    return found


def intact_report(recorded: Candidate | Evaluated | Release, objects: ObjectStore) -> EvaluationReport | None:
    """The recorded report, None where it is gone or another one."""
    try:
        report = report_from_json(objects.get(recorded.report_uri), source=recorded.report_uri)
    except (FileNotFoundError, LedgerlineError):
        return None
    return report if report.digest == recorded.report_digest else None


def known_data(
    records: Sequence[Any], objects: ObjectStore, report: EvaluationReport
) -> tuple[EvaluationReport, EvaluationReport] | None:
    """Reports of the candidate and of the live model on the test rows that live was judged on, where these are others
    than the candidate's; None where nothing is live or one of the two is not there."""
    live = current_release(records)
    if live is None or live.data_digest == report.data_digest:
        return None
    ours = latest_evaluation(records, report.model_digest, live.data_digest)
    theirs = latest_evaluation(records, live.model_digest, live.data_digest)
    reports = [intact_report(one, objects) for one in (ours, theirs) if one is not None]
    if len(reports) != 2 or None in reports:
        return None
    return reports[0], reports[1]  # type: ignore[return-value]  # None was looked for


def comparison_rows(models: Sequence[Compared]) -> list[dict[str, Any]]:
    """One row per model: role, digest, when, on which rows, and every metric that any of them has."""
    metrics = sorted({name for one in models for name in one.report.metrics})
    return [
        {
            "model": one.role,
            "digest": one.model_digest[:12],
            "at": f"{one.at:%Y-%m-%d %H:%M}" if one.at else "now",
            "test rows": "the same" if one.same_rows else "its own",
            **{name: one.report.metrics.get(name) for name in metrics},
        }
        for one in models
    ]


# What evaluation.json may hold for people, as lines of points --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chart:
    """Points (x, y) of each model. `diagonal`: what a perfectly calibrated score, or chance, would be."""

    title: str
    x: str
    y: str
    series: Mapping[str, Points]
    diagonal: bool = False
    dots: bool = False
    logarithmic: bool = False


_CHARTS = (
    ("calibration", Chart("Calibration", "mean score", "share right", {}, diagonal=True)),
    ("roc", Chart("ROC", "false positive rate", "true positive rate", {}, diagonal=True)),
    ("precision_recall", Chart("Precision and recall", "recall", "precision", {})),
    ("ndcg", Chart("NDCG at k", "k", "NDCG", {})),
    ("residuals", Chart("Expected and true", "true", "expected", {}, diagonal=True, dots=True, logarithmic=True)),
)


def charts(models: Sequence[Compared]) -> Iterator[Chart]:
    """The charts for which the candidate has points, with those of the live model on the same rows."""
    shown = [one for one in models if one.role == "candidate" or (one.role == "live" and one.same_rows)]
    for key, chart in _CHARTS:
        series: dict[str, Points] = {
            one.role: points for one in shown if (points := points_of(one.report.details.get(key)))
        }
        if "candidate" in series:
            yield Chart(chart.title, chart.x, chart.y, series, chart.diagonal, chart.dots, chart.logarithmic)


def points_of(value: Any) -> list[tuple[float, float]]:
    """Pairs of numbers out of a list of lists (what follows the second is passed over); empty where it is none."""
    if not isinstance(value, list):
        return []
    points = [tuple(item[:2]) for item in value if isinstance(item, list) and len(item) >= 2]
    good = [one for one in points if all(isinstance(n, int | float) and abs(n) < float("inf") for n in one)]
    return [(float(x), float(y)) for x, y in good]


def confusion_rows(report: EvaluationReport) -> list[dict[str, Any]]:
    """A row per true class with the count of each answer, of `confusion: {labels, counts}`; empty where there is none."""
    confusion = report.details.get("confusion")
    if not isinstance(confusion, Mapping) or not confusion.get("labels"):
        return []
    labels = [str(label) for label in confusion["labels"]]
    counts = confusion.get("counts", [])
    if len(counts) != len(labels) or any(not isinstance(row, list) or len(row) != len(labels) for row in counts):
        return []
    return [{"true": name, **dict(zip(labels, row, strict=True))} for name, row in zip(labels, counts, strict=True)]


def slice_rows(report: EvaluationReport, column: str, live: EvaluationReport | None) -> list[dict[str, Any]]:
    """Metrics for each value of a column, most rows first; with live's beside them where it was measured too."""
    values = sorted(report.slices[column].items(), key=lambda item: -(item[1].get("rows") or 0))
    theirs = live.slices.get(column, {}) if live else {}
    return [
        {
            column: value,
            "rows": metrics.get("rows"),
            **dict(sorted(metrics.items())),
            **{f"{name} (live)": number for name, number in sorted(theirs.get(value, {}).items()) if name != "rows"},
        }
        for value, metrics in values
    ]
