"""Tables and plots of evaluation reports and verdicts for asset metadata. Belongs here: what a reviewer looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from ledgerline.release.gate import EvaluationReport, Verdict


def rules_table(verdict: Verdict) -> dg.TableMetadataValue:
    """Each rule of the gate with the value, the threshold and what came of it."""
    from platform_assets.plots import table

    return table(
        [
            {
                "rule": result.rule,
                "value": result.value,
                "threshold": result.threshold,
                "live": result.live_value,
                "passed": "yes" if result.passed else "NO",
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


def slices_table(report: EvaluationReport, column: str) -> dg.TableMetadataValue:
    """Metrics for each value of a column, most rows first."""
    from platform_assets.plots import table

    rows = sorted(report.slices[column].items(), key=lambda item: -(item[1].get("rows") or 0))
    return table([{column: value, **dict(sorted(metrics.items()))} for value, metrics in rows])


def calibration_plot(bins: Sequence[Sequence[float]]) -> dg.MarkdownMetadataValue:
    """Bins of [mean score, share that is right, rows] against the diagonal of a perfectly calibrated score."""
    from platform_assets.plots import calibration

    return calibration("Calibration", bins)
