"""How a run ends that no retry can mend. Belongs here: the translation of the domain's errors of that kind for Dagster.

Dagster retries in three places: the step (RetryPolicy), the run (run_retries of dagster.yaml) and automation that asks
again. `allow_retries=False` speaks to the first; the tag on the run speaks to the second; what automation may ask again
is in automation.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

NO_RUN_RETRY = {"dagster/max_retries": "0"}


@contextmanager
def permanent_failures(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[None]:
    """Turn a PermanentFailure or a ConfigurationError of the block into a failure that nothing of Dagster's tries again."""
    from ledgerline.errors import ConfigurationError, PermanentFailure

    try:
        yield
    except (PermanentFailure, ConfigurationError) as failure:
        if context.instance.has_run(context.run.run_id):
            context.instance.add_run_tags(context.run.run_id, NO_RUN_RETRY)
        rule = getattr(failure, "rule", None)
        raise dg.Failure(
            description=str(failure), metadata={"rule": rule} if rule else {}, allow_retries=False
        ) from failure
