"""What a branch deployment leaves behind in the shared stores, and its removal once the branch is gone.

How a store removes what is a branch's is in that store; here is the order, and that nothing else is ever removed. Files of
`LEDGERLINE_HOME` are a container's, and go with it. A record of a run or an event is Dagster's.
"""

# No `from __future__ import annotations` here: Dagster looks for ResourceDependency in the annotations themselves.
from collections.abc import Callable
from typing import Any

from dagster import ConfigurableResource, ResourceDependency

from ledgerline.errors import ConfigurationError, LedgerlineError


class BranchState(ConfigurableResource):
    """All stores of an environment. `scope` is the name under which a branch has its state in them."""

    environment: str
    scope: str
    sagemaker: ResourceDependency[Any]
    candidate_index: ResourceDependency[Any]
    knowledge_graph: ResourceDependency[Any]
    ledger: ResourceDependency[Any]
    object_store: ResourceDependency[Any]

    def remove(self, branch: str, report: Callable[[str], None]) -> None:
        """Remove all of it: endpoints first, objects last; again, where it was interrupted. Endpoints, indices and the like
        that other branches or prod have are not touched.

        `branch` is this branch's scope, as a person wrote it down. Raises ConfigurationError for another one, and outside of
        branch deployments; LedgerlineError naming each store that could not be cleaned, after the others were.
        """
        if self.environment != "branch":
            raise ConfigurationError(
                f"LEDGERLINE_ENV is {self.environment}: only the state of a branch deployment is removed. Run this in the "
                "branch's own deployment, or with LEDGERLINE_ENV=branch and DAGSTER_CLOUD_GIT_BRANCH=<the branch>."
            )
        if branch != self.scope:
            raise ConfigurationError(
                f"this deployment's state is {self.scope!r}, and {branch!r} was to be removed: set `branch` to the first, "
                "or DAGSTER_CLOUD_GIT_BRANCH to the branch that is meant."
            )
        failed = []
        for what, remove in self._removals().items():
            if remove is None:
                report(f"{what}: in files of this machine, which are not shared.")
                continue
            try:
                removed = remove()
            except LedgerlineError as error:
                failed.append(f"{what}: {error}")
                continue
            report(f"{what}: removed" + (f" {removed}." if removed is not None else "."))
        if failed:
            raise LedgerlineError(
                f"Not all of {self.scope} is removed. " + " ".join(failed) + " Then run clean_branch again."
            )

    def _removals(self) -> dict[str, Callable[[], int | None] | None]:
        """What removes the state in each store, in this order; None where the store is files of the home."""
        return {
            "SageMaker": self.sagemaker.remove_branch,
            "candidate index": getattr(self.candidate_index, "remove_branch", None),
            "knowledge graph": getattr(self.knowledge_graph, "remove", None),
            "ledgers": self.ledger.remove_branch if self.ledger.branch_schema else None,
            "objects and lake": self.object_store.remove_branch,
        }
