"""The nightly care of the lake: when, and how much in one run. How files are folded and deleted is in the lake's port.

From a shell: `dagster job execute -m platform_assets.definitions -j maintain_lake`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from ledgerline.ports import Lake

if TYPE_CHECKING:
    from ledgerline.projects.config import ModelProject

HOURS_OF_A_DAY = 24


class MaintenanceConfig(dg.Config):
    """How much is done in one run, and how long versions of tables are kept."""

    more_than_files: int = Field(default=4, ge=1, description="Partitions with more files than this are folded.")
    partitions: int = Field(default=400, ge=1, description="At most so many partitions of a table in one run.")
    # A table that ticks write to gets more than 100 versions a day, and each commit lists the log of all that are kept.
    retention_days: int = Field(
        default=1, ge=1, description="Versions of tables that are made again from filings can be read for so long."
    )
    training_retention_days: int = Field(
        default=365,
        ge=1,
        description="The same for tables that a model project trains from: dataset versions of releases.",
    )


def maintain(lake: Lake, config: MaintenanceConfig, trained_from: Sequence[str], report: Any) -> list[dict[str, Any]]:
    """Fold, then vacuum, each table of the lake; one record for each of them, for a person to read."""
    records = []
    for table in lake.tables():
        days = config.training_retention_days if table in trained_from else config.retention_days
        compaction = lake.compact(table, more_than=config.more_than_files, at_most=config.partitions)
        vacuum = lake.vacuum(table, retention_hours=days * HOURS_OF_A_DAY)
        report(
            f"{table}: {compaction.files_before} files are {compaction.files_after}, {compaction.folded} partitions folded, "
            f"{compaction.left} left; {vacuum.files} files deleted that were replaced {days} days ago, "
            f"{vacuum.bytes / 1e6:.1f} MB"
        )
        records.append(
            {
                "table": table,
                "files before": compaction.files_before,
                "files after": compaction.files_after,
                "partitions folded": compaction.folded,
                "partitions left": compaction.left,
                "files deleted": vacuum.files,
                "bytes freed": vacuum.bytes,
                "kept for days": days,
            }
        )
    return records


def maintain_lake_job(projects: Sequence["ModelProject"]) -> dg.JobDefinition:
    """The job over all tables; those that `projects` train from keep their versions longer."""
    description = "Fold the small files of each table of the lake and delete files that no kept version needs."
    datasets = [project.config.dataset for project in projects if project.config.dataset.keep_versions]
    trained_from = sorted({table for one in datasets for table in (one.table, *(join.table for join in one.joins))})

    @dg.op(name="maintain_tables", required_resource_keys={"lake"}, description=description)
    def maintain_tables(context: dg.OpExecutionContext, config: MaintenanceConfig) -> None:
        from platform_assets.plots import table

        records = maintain(context.resources.lake, config, trained_from, context.log.info)
        context.add_output_metadata(
            {"bytes freed": sum(record["bytes freed"] for record in records), "tables": table(records)}
        )

    @dg.job(name="maintain_lake", description=description)
    def maintain_lake() -> None:
        maintain_tables()

    return maintain_lake


def maintain_lake_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """At night, when EDGAR takes no filings, between two ticks of the onboarding schedule."""

    @dg.schedule(
        name="maintain_lake",
        job=job,
        cron_schedule="15 2 * * *",
        execution_timezone="America/New_York",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Folds small files of the lake and deletes replaced ones, at night.",
    )
    def nightly(lake: dg.ResourceParam[Lake]) -> dg.RunRequest | dg.SkipReason:
        if not lake.tables():
            return dg.SkipReason("The lake has no table yet.")
        return dg.RunRequest()

    return nightly
