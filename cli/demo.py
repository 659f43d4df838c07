"""`make demo`: every room of the platform once, from filings to a live endpoint that answers.

Each step runs the same Dagster jobs that the UI and the sensors run, in this process, on the instance in the home; a step
whose result is there already says so and does nothing. What the steps do is in the assets; here is only their order.
"""

from __future__ import annotations

import dataclasses
import getpass
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.home import open_instance
from cli.progress import Progress
from ledgerline.errors import LedgerlineError
from resources.environment import Settings, read_settings

if TYPE_CHECKING:
    import dagster as dg

PROJECT = "ticker_ranker"
# Only what a person must see: the runs themselves are in the instance, with all their lines.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LISTING_ASSETS = ("listings", "knowledge_graph", "candidate_index", "labelled_candidates")
DAY_ASSETS = ("documents", "clusters", "mentions", "candidate_sets")


class Demo:
    """The steps, with what they share: settings, Dagster's instance, definitions and the resources outside runs."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        from platform_assets.definitions import build_defs
        from resources import build_resources

        self.settings = settings
        self.progress = progress
        self.resources = build_resources(settings=settings)
        self.instance = open_instance(settings)
        self.defs = build_defs(resource_overrides=self.resources)

    def run(self, job: str, *, assets: Sequence[str] = (), keys: Sequence[str] = ()) -> dg.ExecuteInProcessResult:
        """Run a job here. Raises LedgerlineError with the message of the step that failed."""
        import dagster as dg

        tags = {"ledgerline/started_by": "make demo"}
        if keys:
            tags |= {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets] or None,
            run_config=QUIET,
            tags=tags,
            raise_on_error=False,
        )
        for event in result.all_events:
            if event.is_step_failure:
                raise LedgerlineError(failure_text(event) + f" (run {result.run_id}, see it with `make dev`)")
        if not result.success:
            raise LedgerlineError(f"run {result.run_id} of {job} failed; see it with `make dev`")
        return result

    def run_days(self, job: str, keys: Sequence[str], assets: Sequence[str] = ()) -> None:
        """Run a job for partitions, as few runs as their order in the instance allows."""
        for first, last in stretches(self.known_days(), keys):
            self.run(job, assets=assets, keys=[first, last])

    def known_days(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions("source_day"))


def stretches(known: Sequence[str], wanted: Sequence[str]) -> list[tuple[str, str]]:
    """First and last key of each unbroken stretch of `wanted` in the order of `known`."""
    chosen = set(wanted)
    found: list[tuple[str, str]] = []
    before = None
    for key in known:
        if key in chosen:
            found = [*found[:-1], (found[-1][0], key)] if before in chosen and found else [*found, (key, key)]
        before = key
    return found


def failure_text(event: Any) -> str:
    """The innermost message of a failed step: what its author wrote for a person."""
    error = event.step_failure_data.error
    failure = event.step_failure_data.user_failure_data
    if failure and failure.description:
        return failure.description
    while error.cause:
        error = error.cause
    return error.message.strip()
