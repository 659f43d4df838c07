"""The composition root: everything that exists, put together. Imported by nobody but the command line and tests.

`build_defs` returns fresh definitions for an environment; `resource_overrides` replaces resources by name, for tests.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ledgerline.projects.config import ModelProject

ROOT = Path(__file__).resolve().parents[1]


def build_defs(
    environment: str | None = None, *, resource_overrides: Mapping[str, Any] | None = None, projects: Path | None = None
) -> dg.Definitions:
    """Definitions of the platform and of each folder in `projects` (default: model_projects/, and those delivered).

    Raises ConfigurationError for an unknown environment or a config.yaml that is wrong, before anything runs.
    """
    from jobs.branches import clean_branch
    from jobs.code_location import reload_code_location_job
    from jobs.filings import FILING_JOBS
    from jobs.maintenance import maintain_lake_job, maintain_lake_schedule
    from jobs.monitoring import onboarding_watch
    from jobs.releases import release_jobs, tidy_endpoints_job, tidy_endpoints_schedule
    from jobs.schedules import daily_listings, onboarding_schedule, proving_schedule
    from jobs.selections import selection_jobs
    from ledgerline.projects.config import load_delivered, load_projects
    from platform_assets import (
        candidates,
        clusters,
        completeness,
        documents,
        filings,
        listings,
        mentions,
        monitoring,
        onboarding_monitor,
        ticker_mappings,
    )
    from platform_assets.checks import filings as filings_checks
    from platform_assets.checks import ports as ports_checks
    from platform_assets.checks import ticker_mappings as ticker_mapping_checks
    from platform_assets.components.model_project import model_project_definitions
    from platform_assets.knowledge_graph import knowledge_graph
    from platform_assets.owners import DATA_PLATFORM
    from platform_assets.releases import release_ledger_asset
    from platform_assets.sql_tables import sql_table_assets
    from resources import build_resources, delivered_projects_folder, webserver_url
    from sensors.automation import automation
    from sensors.catch_up import catch_up_alerts, catch_up_experiments
    from sensors.days import archive_days, map_new_filings, new_filings
    from sensors.failures import run_failures
    from sensors.projects import delivered_projects, drifted_data, project_files
    from sensors.releases import (
        approved_models,
        mappings_after_release,
        release_drift,
        release_ledger_rows,
        waiting_candidates,
    )

    resources = {**build_resources(environment), **(resource_overrides or {})}
    delivered = delivered_projects_folder(environment)
    own = load_projects(projects or ROOT / "model_projects")
    found = own if projects else own + loadable(load_delivered(delivered, {project.name for project in own}))
    maintain_lake, tidy_endpoints = maintain_lake_job(found), tidy_endpoints_job(found)
    webserver = webserver_url(environment)
    reload_code_location = reload_code_location_job(webserver)
    platform = dg.Definitions(
        assets=[
            listings.listings,
            filings.fresh() if resources["regulators"].live_sources() else filings.filings,
            completeness.day_index,
            completeness.complete_days,
            documents.documents,
            clusters.clusters,
            mentions.mentions,
            knowledge_graph,
            candidates.candidate_index,
            candidates.labelled_candidates,
            candidates.candidate_sets,
            ticker_mappings.ticker_mappings,
            monitoring.mapping_quality,
            onboarding_monitor.onboarding_monitor,
            release_ledger_asset,
            *sql_table_assets(resources["sql_source"].tables()),
        ],
        asset_checks=[
            filings_checks.no_filing_waits,
            filings_checks.onboarding_is_on_time,
            ports_checks.every_port_works,
            ticker_mapping_checks.every_ticker_is_grounded,
        ],
        jobs=[
            *selection_jobs(found),
            *release_jobs(found),
            *FILING_JOBS,
            maintain_lake,
            tidy_endpoints,
            clean_branch,
            reload_code_location,
        ],
        schedules=[
            onboarding_schedule("edgar"),
            onboarding_schedule("dart"),
            proving_schedule("edgar"),
            proving_schedule("dart"),
            daily_listings,
            map_new_filings,
            onboarding_watch,
            maintain_lake_schedule(maintain_lake),
            tidy_endpoints_schedule(tidy_endpoints),
        ],
        sensors=[
            automation,
            new_filings,
            archive_days,
            approved_models(found),
            waiting_candidates(found),
            release_drift(found),
            release_ledger_rows,
            mappings_after_release,
            run_failures(found),
            catch_up_experiments,
            catch_up_alerts,
            project_files(found),
            drifted_data(found),
            delivered_projects(own, delivered, DATA_PLATFORM, reload_code_location, webserver=webserver),
        ],
        resources=resources,
    )
    return dg.Definitions.merge(platform, *(model_project_definitions(project) for project in found))


def loadable(delivered: Sequence[ModelProject]) -> list[ModelProject]:
    """The delivered projects of which Dagster takes the definitions; the others are left out and logged, as
    `load_delivered` does with those that are wrong by themselves."""
    from platform_assets.components.model_project import model_project_definitions

    found = []
    for project in delivered:
        try:
            model_project_definitions(project)
        except dg.DagsterError as error:
            logging.getLogger(__name__).warning(
                "The delivered model project %s is left out: %s. Correct it.", project.name, error
            )
            continue
        found.append(project)
    return found


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: the environment that LEDGERLINE_ENV names."""
    return build_defs()
