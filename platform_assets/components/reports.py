"""Tables and plots of evaluation reports and verdicts for asset metadata. Belongs here: what a reviewer looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from ledgerline.projects.comparison import Compared
    from ledgerline.release.gate import EvaluationReport, Verdict


def rules_table(verdict: Verdict) -> dg.TableMetadataValue:
    """Each rule of the gate with the value, the threshold and what came of it."""
    from platform_assets.plots import table

    return table(
        [
            {
                "passed": "yes" if result.passed else "NO",  # the rule's words may fill the page's width
                "value": result.value,
                "threshold": result.threshold,
                "live": result.live_value,
                "rule": result.rule,
                "reason": result.reason,
            }
            for result in verdict.reasons
        ]
    )


def metrics_table(report: EvaluationReport, live: EvaluationReport | None) -> dg.TableMetadataValue:
    """Each metric of the candidate, and of the live model on the same rows."""
    from platform_assets.plots import table

    return table(
        [
            {"metric": name, "candidate": value, "live": live.metrics.get(name) if live else None}
            for name, value in sorted(report.metrics.items())
        ]
    )


def slices_table(report: EvaluationReport, column: str, live: EvaluationReport | None) -> dg.TableMetadataValue:
    """Metrics for each value of a column, most rows first, and the live model's on the same rows."""
    from ledgerline.projects.comparison import slice_rows
    from platform_assets.plots import table

    return table(slice_rows(report, column, live))


def comparison(models: Sequence[Compared]) -> dict[str, Any]:
    """Candidate, live and earlier versions in one table, with a plot for each curve that evaluation.py wrote."""
    from ledgerline.projects.comparison import charts, comparison_rows, confusion_rows
    from platform_assets.plots import points, table

    found: dict[str, Any] = {"models": table(comparison_rows(models))}
    for chart in charts(models):
        if chart.title != "Calibration":  # has a plot of its own, with the number of rows
            found[chart.title] = points(
                chart.title,
                chart.series,
                x=chart.x,
                y=chart.y,
                diagonal=chart.diagonal,
                dots=chart.dots,
                logarithmic=chart.logarithmic,
            )
    confusion = confusion_rows(models[0].report)
    return found | ({"confusion": table(confusion)} if confusion else {})


def calibration_plot(bins: Sequence[Sequence[float]]) -> dg.MarkdownMetadataValue:
    """Bins of [mean score, share that is right, rows] against the diagonal of a perfectly calibrated score."""
    from platform_assets.plots import calibration

    return calibration("Calibration", bins)
