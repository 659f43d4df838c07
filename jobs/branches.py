"""The end of a branch deployment: one job that removes what it made in stores that others share.

From a shell: `dagster job execute -m platform_assets.definitions -j clean_branch -c clean.yaml`.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from platform_assets.failures import NO_RUN_RETRY, permanent_failures


class CleanConfig(dg.Config):
    """Which branch, written down once more, so that no click removes anything."""

    branch: str = Field(description="The name of the branch's state, as in names of its indices: ledgerline-b-...")


@dg.op(description="Remove the branch's endpoints, indices, graph, ledgers, objects and lake.")
def remove_branch_state(
    context: dg.OpExecutionContext, config: CleanConfig, branch_state: dg.ResourceParam[Any]
) -> None:
    with permanent_failures(context):
        branch_state.remove(config.branch, context.log.info)


@dg.job(
    description="Remove all state of a branch deployment whose branch is gone. Refused in local and prod.",
    tags=NO_RUN_RETRY,
)
def clean_branch() -> None:
    remove_branch_state()
