"""The folder that holds all local state, and Dagster's own home in it. Prepared by every command that needs an instance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ledgerline.errors import ConfigurationError
from resources.environment import ROOT, Settings

if TYPE_CHECKING:
    import dagster as dg

POOLS = {"compute": 2}  # a backfill holds a slot for hours; the live feed has the other


def prepare(settings: Settings) -> Path:
    """Make the home and Dagster's home with this project's `dagster.yaml`; returns Dagster's home."""
    try:
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        wanted = (ROOT / "dagster.yaml").read_bytes()
        target = settings.dagster_home / "dagster.yaml"
        if not target.exists() or target.read_bytes() != wanted:
            aside = target.with_suffix(f".{os.getpid()}")
            aside.write_bytes(wanted)
            aside.replace(target)
            _limit_pools(settings)
    except OSError as error:
        raise ConfigurationError(
            f"{settings.home} cannot be used for local state ({error.strerror}); set LEDGERLINE_HOME to a folder that can."
        ) from error
    return settings.dagster_home


def _limit_pools(settings: Settings) -> None:
    """What dagster.yaml cannot say: a limit of one pool. A limit that a person has set stays."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        limits = {limit.name for limit in instance.event_log_storage.get_pool_limits() if not limit.from_default}
        for pool, limit in POOLS.items():
            if pool not in limits:
                instance.event_log_storage.set_concurrency_slots(pool, limit)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's instance in the home: what a command runs is seen in the UI of `make dev`."""
    import dagster as dg

    return dg.DagsterInstance.from_config(str(prepare(settings)))
