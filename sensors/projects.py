"""Sensors that start the training of model projects: files that arrive, rows that drift; and new project folders.

What is wanted is decided in ledgerline/projects/triggers.py and delivery.py. One cause starts one training; a failed one is
tried again, at most MAX_ATTEMPTS times.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg

from ledgerline.ports import Lake, Notifier, ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.release.ports import ReleaseLedger

MAX_ATTEMPTS = 3
WRITTEN_BY_RUNS = ("projects", "sagemaker", "experiments")  # a training that its own files start would never end
DELIVERED_TO = "model_projects"  # key of the object store below which folders are delivered


def project_files(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One sensor over all projects with `triggers.files`: a new object below the prefix starts a training."""
    watching = [project for project in projects if project.config.triggers.files]

    @dg.sensor(
        name="project_files",
        target=dg.AssetSelection.assets(*(key for project in watching for key in _trained(project)))
        if watching
        else None,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the training of a model project when an object arrives below its triggers.files.",
    )
    def tick(
        context: dg.SensorEvaluationContext, object_store: dg.ResourceParam[ObjectStore]
    ) -> dg.SensorResult | dg.SkipReason:
        from ledgerline.projects.triggers import Seen, seen_now

        if not watching:
            return dg.SkipReason("No model project has triggers.files.")
        known = json.loads(context.cursor or "{}")
        ours = tuple(f"{object_store.uri(place)}/" for place in WRITTEN_BY_RUNS)
        seen = {}
        for project in watching:
            before = known.get(project.name, {"objects": (), "wanted": ""})
            found = object_store.list_stamped(str(project.config.triggers.files))
            listing = (one for one in found if not one[0].startswith(ours))
            seen[project.name] = seen_now(Seen(tuple(before["objects"]), before["wanted"]), listing)
        requests = [
            request
            for project in watching
            if (wanted := seen[project.name].wanted) and (request := train_request(context.instance, project, wanted))
        ]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "No new object.",
            cursor=json.dumps({name: asdict(one) for name, one in seen.items()}),
        )

    return tick


def drifted_data(projects: Sequence[ModelProject]) -> dg.SensorDefinition:
    """One sensor over all projects with `triggers.drift`: at most one training for each live model and day."""
    watching = [project for project in projects if project.config.triggers.drift]

    @dg.sensor(
        name="drifted_data",
        target=dg.AssetSelection.assets(*(key for project in watching for key in _trained(project)))
        if watching
        else None,
        minimum_interval_seconds=3600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the training of a model project when new rows moved away from its live model's training set.",
    )
    def tick(
        context: dg.SensorEvaluationContext,
        lake: dg.ResourceParam[Lake],
        object_store: dg.ResourceParam[ObjectStore],
        release_ledger: dg.ResourceParam[ReleaseLedger],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        from ledgerline.errors import LedgerlineError
        from ledgerline.projects.triggers import drift_of

        requests, said = [], []
        for project in watching:
            records = [entry.record for entry in release_ledger.entries(project.name)]
            try:
                found = drift_of(project, records, lake, object_store)
            except LedgerlineError as error:  # one project's trouble must not keep the others from being looked at
                said.append(f"{project.name}: {error}")
                continue
            if found is None:
                continue
            said.append(f"{project.name}: {found.summary}")
            wanted = f"drift of {found.model_digest[:12]} on {datetime.now(timezone.utc).date().isoformat()}"
            if found.due and (request := train_request(context.instance, project, wanted)):
                requests.append(request)
        return requests or dg.SkipReason("; ".join(said) or "Nothing that is live has new rows to compare.")

    return tick


def train_request(instance: dg.DagsterInstance, project: ModelProject, wanted: str) -> dg.RunRequest | None:
    """The run that trains a project for this cause; None while one is under way, once one succeeded, or after
    MAX_ATTEMPTS. The run key carries cause and attempt: a tick that is evaluated twice starts one run."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={"ledgerline/trains": project.name}), limit=50)
    mine = [run for run in runs if run.tags.get("ledgerline/wanted") == wanted]
    if any(not run.is_finished for run in runs) or any(run.is_success for run in mine) or len(mine) >= MAX_ATTEMPTS:
        return None
    return dg.RunRequest(
        run_key=f"{project.name}@{wanted}#{len(mine) + 1}",
        asset_selection=_trained(project),
        tags={"ledgerline/trains": project.name, "ledgerline/wanted": wanted},
    )


def _trained(project: ModelProject) -> list[dg.AssetKey]:
    """The assets of the job `train_<project>`."""
    steps = ["training_set", *(["tuned_hyperparameters"] if project.config.tuning else []), "model", "evaluation"]
    steps += ["model_version", *(["qa_endpoint", "qa_report"] if project.config.serving.qa else [])]
    return [dg.AssetKey([project.name, step]) for step in steps]


def delivered_projects(
    projects: Sequence[ModelProject], root: Path, owner: str, reload: dg.JobDefinition, *, webserver: str
) -> dg.SensorDefinition:
    """Takes project folders that were put into the object store. `root`: where the code location reads them;
    `projects`: those of the platform itself, whose names are taken; `owner` is told of a folder that names none.

    Where a `webserver` is named, the job `reload` is started for what is new.
    """
    taken = frozenset(project.name for project in projects)

    @dg.sensor(
        name="delivered_projects",
        job=reload,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Checks model projects that are put into the object store, without running anything of them, and "
        "lays the good ones where the code location reads them; it is loaded anew where its webserver is named.",
    )
    def tick(
        context: dg.SensorEvaluationContext,
        object_store: dg.ResourceParam[ObjectStore],
        notifier: dg.ResourceParam[Notifier],
    ) -> dg.SensorResult | dg.SkipReason:
        from ledgerline.projects.delivery import take_deliveries

        prefix = object_store.uri(DELIVERED_TO)
        taken_now, stamps = take_deliveries(object_store, prefix, root, taken, json.loads(context.cursor or "{}"))
        for one in taken_now:
            notifier.notify(one.owner or owner, one.title, one.text, f"delivery {one.name} {one.digest}")
        said = "; ".join(one.title for one in taken_now)
        new = " ".join(f"{one.name}@{one.digest[:16]}" for one in taken_now if one.new)
        if new and webserver:
            return dg.SensorResult([dg.RunRequest(run_key=new)], cursor=json.dumps(stamps))
        return dg.SensorResult(skip_reason=said or "No new folder.", cursor=json.dumps(stamps))

    return tick
