"""One asset for each table of the team's own database that is copied into the lake. What is copied is configuration."""

from collections.abc import Sequence

import dagster as dg

from ledgerline.ports import Lake
from ledgerline.projects.sql_tables import RowSource, SqlTable
from platform_assets.provenance import Provenance


class SqlTableProvenance(Provenance):
    """Which rows are in the lake: the version of the table, their digest and number."""

    table: str
    version: int
    digest: str
    rows: int


def sql_table_assets(tables: Sequence[SqlTable]) -> list[dg.AssetsDefinition]:
    return [_sql_table(table) for table in tables]


def _sql_table(table: SqlTable) -> dg.AssetsDefinition:
    @dg.asset(
        name=table.name,
        group_name="onboarding",
        owners=[table.owner],
        kinds={"sql", "deltalake"},
        automation_condition=dg.AutomationCondition.on_cron(table.cron) if table.cron else None,
        description=f"Rows of a query of the team's own database, as the lake table `{table.name}`; equal rows make no new "
        "version.",
    )
    def copied(
        context: dg.AssetExecutionContext, sql_source: dg.ResourceParam[RowSource], lake: dg.ResourceParam[Lake]
    ) -> dg.MaterializeResult:
        from ledgerline.projects.sql_tables import copy_table
        from platform_assets.failures import permanent_failures

        with permanent_failures(context):
            copy = copy_table(table, sql_source, lake)
        context.log.info(
            f"{copy.rows:,} rows are {'' if copy.changed else 'still '}version {copy.version} of {table.name}."
        )
        record = SqlTableProvenance(table=copy.table, version=copy.version, digest=copy.digest, rows=copy.rows)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(copy.digest),
            metadata={**record.metadata(), "query": dg.MetadataValue.md(f"```sql\n{table.query}\n```")},
        )

    return copied
