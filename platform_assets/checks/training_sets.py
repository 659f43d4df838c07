"""The check of a model project's training set: does it hold what is not known in time? It shows; `prepare` of
ledgerline/projects/pipeline.py asks the same again before every training and tuning, and refuses."""

import dagster as dg

from ledgerline.ports import ObjectStore
from ledgerline.projects.config import ModelProject


def training_set_checks(project: ModelProject) -> list[dg.AssetChecksDefinition]:
    """`no_leak`, where config.yaml says what the label is or when features are available."""
    dataset, most = project.config.dataset, project.config.gate.max_single_feature_score
    if dataset.label_column is None and not dataset.available:
        return []
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
        from ledgerline.projects.leaks import as_table, find_leaks
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
            description="; ".join(f"{leak.column}: {leak.why}" for leak in report.leaks)
            or f"none of {len(report.scores)} features tells the label alone, none was known too late",
            metadata=metadata,
        )

    return [no_leak]
