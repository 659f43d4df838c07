"""The name that an environment gives to all it makes, so that environments share an account and a database, and no state.

Each branch deployment has a name of its own. It begins the names of indices, endpoints and package groups and the keys of
objects, and is the namespace of the graph and (with `_`) the schema of the database. Who reads variables, and who uses
the name, is elsewhere.
"""

from __future__ import annotations

import hashlib
import re

from ledgerline.errors import ConfigurationError

# A name of SageMaker has 63 characters at most, and "-<a project's name of 32>-qa" follows this one: 27 are left.
LONGEST = 27
_BRANCH = "ledgerline-b-"  # no name of local or prod begins so
_HASH = 6


def scope_of(environment: str, branch: str) -> str:
    """`ledgerline-prod`, `ledgerline-local`, or `ledgerline-b-<begin of the branch's name>-<digest of all of it>`.

    Lower-case letters, digits and single hyphens, LONGEST characters at most, an equal one for an equal branch. Raises
    ConfigurationError for a branch deployment without a name: it would share its state with every other.
    """
    if environment != "branch":
        return f"ledgerline-{environment}"
    if not branch.strip():
        raise ConfigurationError(
            "LEDGERLINE_ENV=branch needs the name of the branch: set DAGSTER_CLOUD_GIT_BRANCH (Dagster+ does), or "
            "DAGSTER_CLOUD_DEPLOYMENT_NAME."
        )
    digest = hashlib.sha256(branch.encode()).hexdigest()[:_HASH]
    room = LONGEST - len(_BRANCH) - 1 - _HASH
    words = re.sub(r"[^a-z0-9]+", "-", branch.lower()).strip("-")[:room].strip("-")
    return f"{_BRANCH}{words}-{digest}" if words else f"{_BRANCH}{digest}"


def schema_of(scope: str) -> str:
    """The same as the name of a schema of PostgreSQL, which then needs no quotes."""
    return scope.replace("-", "_")
