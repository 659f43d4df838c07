"""Named selections of assets as jobs. Operator jobs are in `releases.py` and `filings.py`, times in `schedules.py`."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from ledgerline.projects.config import ModelProject

NLP_ASSETS = ("documents", "clusters", "mentions", "candidate_sets")

_PORTS = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("listings"), "every_port_works"))

onboard = dg.define_asset_job(
    "onboard",
    selection=dg.AssetSelection.assets("filings"),
    description="Filings of one source and day (or a range of days): what is new, once.",
    executor_def=dg.in_process_executor,  # a tick is seconds of work: a process for each check would cost more
)
prove_complete = dg.define_asset_job(
    "prove_complete",
    selection=dg.AssetSelection.assets("filings", "day_index", "complete_days"),
    description="One source and day that has ended: what was late, what changed since, and the proof that nothing lacks.",
    executor_def=dg.in_process_executor,
)
map_filings = dg.define_asset_job(
    "map_filings",
    selection=dg.AssetSelection.assets(*NLP_ASSETS, "ticker_mappings"),
    description="From filings to tickers, for one source and day or a range: documents to ticker mappings.",
)
refresh_listings = dg.define_asset_job(
    "refresh_listings",
    selection=dg.AssetSelection.assets("listings", "knowledge_graph", "candidate_index", "labelled_candidates")
    - _PORTS,
    description="Companies, names and tickers, and what is built from them: graph, index, examples for the ranker.",
)

refresh_monitoring = dg.define_asset_job(
    "refresh_monitoring",
    selection=dg.AssetSelection.groups("monitoring"),
    description="How good and how healthy what is live is.",
)
watch_onboarding = dg.define_asset_job(
    "watch_onboarding",
    selection=dg.AssetSelection.assets("onboarding_monitor")
    | dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("filings"), "onboarding_is_on_time")),
    executor_def=dg.in_process_executor,  # it takes a second: a process for each step would take five
    tags={"dagster/priority": "-1"},  # whoever onboards goes first
    description="How onboarding stands, and whether it is on time: what is late and why, delays, completeness, polls and bans.",
)
doctor = dg.define_asset_job(
    "doctor",
    selection=_PORTS,
    executor_def=dg.in_process_executor,
    description="Tries every port that is configured for real, and says what does not work and what to do about it.",
)


def train_job(project: ModelProject) -> dg.UnresolvedAssetJobDefinition:
    """The assets of a model project up to the QA report. Going live is not in it: that waits for an approval."""
    later = ["live_endpoint", *(["batch_predictions"] if project.config.batch_transform else [])]
    return dg.define_asset_job(
        f"train_{project.name}",
        selection=dg.AssetSelection.groups(project.name)
        - dg.AssetSelection.assets(*(dg.AssetKey([project.name, step]) for step in later)),
        description=f"Train, evaluate, register and QA {project.name}; a candidate then waits for its approval.",
    )


def deploy_job(project: ModelProject) -> dg.UnresolvedAssetJobDefinition:
    """The live endpoint alone. It judges by itself, so that running it early is refused and harmless."""
    return dg.define_asset_job(
        f"deploy_{project.name}",
        selection=dg.AssetSelection.assets(dg.AssetKey([project.name, "live_endpoint"])),
        description=f"Put the approved candidate of {project.name} live; refused, with the rule named, if it is not approved.",
    )


def predict_job(project: ModelProject) -> dg.UnresolvedAssetJobDefinition:
    """The batch predictions alone: new rows of the table, answered by the model that is live."""
    return dg.define_asset_job(
        f"predict_{project.name}",
        selection=dg.AssetSelection.assets(dg.AssetKey([project.name, "batch_predictions"])),
        description=f"Answer the rows of config.yaml's batch_transform with the live model of {project.name}.",
    )


def selection_jobs(projects: Sequence[ModelProject]) -> list[dg.UnresolvedAssetJobDefinition]:
    """All jobs of this module, with two for each model project, and a third for one with a batch transform."""
    jobs = [onboard, prove_complete, map_filings, refresh_listings, refresh_monitoring, watch_onboarding, doctor]
    for project in projects:
        jobs += [train_job(project), deploy_job(project)]
        if project.config.batch_transform is not None:
            jobs.append(predict_job(project))
    return jobs
