"""The checks of a model project's training set: does it hold what is not known in time, and have rows moved away since?

`no_leak` shows; `prepare` of ledgerline/projects/pipeline.py asks the same again before every training and tuning, and
refuses. `no_drift` shows what the sensor `drifted_data` acts upon.
"""

import dagster as dg

from ledgerline.ports import Lake, ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.ports import ReleaseLedger


def training_set_checks(project: ModelProject) -> list[dg.AssetChecksDefinition]:
    """`no_leak`, where config.yaml says what the label is or when features are available; `no_drift`, where it asks."""
    dataset = project.config.dataset
    checks = [_no_leak(project)] if dataset.label_column is not None or dataset.available else []
    return [*checks, _no_drift(project)] if project.config.triggers.drift else checks


def _no_drift(project: ModelProject) -> dg.AssetChecksDefinition:
    asked = project.config.triggers.drift
    assert asked is not None

    @dg.asset_check(
        asset=dg.AssetKey([project.name, "training_set"]),
        name="no_drift",
        description=f"No column of the rows since the live model's training set moved by a PSI of {asked.at_least:g}.",
    )
    def no_drift(
        lake: dg.ResourceParam[Lake],
        object_store: dg.ResourceParam[ObjectStore],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> dg.AssetCheckResult:
        from ledgerline.projects.triggers import drift_of
        from platform_assets.plots import table

        records = [entry.record for entry in release_ledger.entries(project.name)]
        found = drift_of(project, records, lake, object_store)
        if found is None:
            return dg.AssetCheckResult(passed=True, description="Nothing that is live has new rows to compare.")
        return dg.AssetCheckResult(
            passed=not found.due,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.summary,
            metadata={"columns": table([{"column": one.column, "PSI": one.index} for one in found.columns])},
        )

    return no_drift


def _no_leak(project: ModelProject) -> dg.AssetChecksDefinition:
    dataset, most = project.config.dataset, project.config.gate.max_single_feature_score
    key = dg.AssetKey([project.name, "training_set"])

    @dg.asset_check(
        asset=key,
        name="no_leak",
        blocking=True,
        description="No feature was knowable only after its row's time, and none alone tells the label "
        f"better than {most:g}.",
    )
    def no_leak(
        context: dg.AssetCheckExecutionContext, object_store: dg.ResourceParam[ObjectStore]
    ) -> dg.AssetCheckResult:
        from ledgerline.projects.leaks import REMEDY, as_table, find_leaks
        from ledgerline.projects.pipeline import StoredDataset, stored_rows
        from platform_assets.components.model_project import TrainingSetProvenance
        from platform_assets.plots import table

        newest = TrainingSetProvenance.latest(context.instance, key)
        if newest is None:
            return dg.AssetCheckResult(passed=False, description="There is no training set yet. Materialize it first.")
        report = find_leaks(stored_rows(StoredDataset(**newest.model_dump()), object_store), dataset, most=most)
        metadata: dict[str, dg.MetadataValue] = {"features alone": table(as_table(report.scores))}
        if report.leaks:
            metadata["leaks"] = table(
                [{"column": leak.column, "rows": leak.rows, "why": leak.why} for leak in report.leaks]
            )
        return dg.AssetCheckResult(
            passed=not report.leaks,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{'; '.join(f'{leak.column}: {leak.why}' for leak in report.leaks)}. {REMEDY}"
            if report.leaks
            else f"none of {len(report.scores)} features tells the label alone, none was known too late",
            metadata=metadata,
        )

    return no_leak
