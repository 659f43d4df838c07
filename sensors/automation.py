"""The sensor that evaluates the automation conditions of assets. Dagster's default one is created STOPPED; this one runs."""

from __future__ import annotations

import dagster as dg

automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Evaluates the named conditions of `platform_assets.automation`.",
)
