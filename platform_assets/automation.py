"""Named automation conditions: each docstring says what fires and what must not. Not here: schedules, sensors."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg


def when_listings_change() -> dg.AutomationCondition:
    """For what is built from the listings: the knowledge graph, the candidate index, the labelled candidates.

    Fires when an upstream asset was materialized anew and all of them are there. Must not fire while one of them is
    running or missing, nor again for an update that was already answered (both are part of `eager`).
    """
    return dg.AutomationCondition.eager().with_label("when_listings_change")


def train_when_new_data() -> dg.AutomationCondition:
    """For the assets of a model project up to its QA report.

    Fires when the project's dataset (or an asset of the project before it) was updated. Must not fire behind a blocking
    check that failed: `eager` alone looks at checks only inside one run, so the condition asks for them across runs.
    """
    behind_checks = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return (dg.AutomationCondition.eager() & behind_checks).with_label("train_when_new_data")


def predict_when_live_changes(table_assets: Sequence[dg.AssetKey]) -> dg.AutomationCondition:
    """For the batch predictions of a model project.

    Fires when another model went live. Must not fire for every update of the table that is read (its asset is written
    many times a day): new rows are answered by the job `predict_<project>`, or with the next release.
    """
    condition = dg.AutomationCondition.eager()
    if table_assets:
        condition = condition.ignore(dg.AssetSelection.assets(*table_assets))
    return condition.with_label("predict_when_live_changes")


def deploy_when_gated() -> dg.AutomationCondition:
    """For a live endpoint.

    Fires when the QA report or the model version is new and every check upstream has passed for it, also the check
    `approved`, which blocks nothing else. Must not fire for a failing model, nor for an unapproved one: that waits, and
    the sensor `approved_models` asks for the endpoint once it is approved. The deploy code judges again either way.
    """
    every_check_passed = dg.AutomationCondition.all_deps_match(
        dg.AutomationCondition.all_checks_match(dg.AutomationCondition.check_passed())
    )
    behind_checks = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return (dg.AutomationCondition.eager() & behind_checks & every_check_passed).with_label("deploy_when_gated")
