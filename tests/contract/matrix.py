"""The contract matrix: port x implementation x tests passed, at the end of `pytest tests/contract`.

A port is the module of a suite; an implementation is the parameter of its fixture, or what a module of its own is about.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

# Modules that test one implementation of a port beyond its contract.
OF_ONE = {
    "test_neptune_graph": ("knowledge_graph", "gremlin"),
    "test_opensearch_index": ("candidate_index", "opensearch"),
}
IMPLEMENTATIONS = (
    *("directory", "disk", "sqlite", "postgresql", "s3", "tantivy", "opensearch", "gremlin"),
    *("subprocess", "ecs", "log", "slack", "bundled", "server", "over http", "over archive"),
)
NO_PARAMETER = "every one, or a part"
OUTCOMES = ("passed", "failed", "error", "skipped")


def cell_of(nodeid: str) -> tuple[str, str]:
    """Port and implementation of a test, by its id."""
    module = nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
    if module in OF_ONE:
        return OF_ONE[module]
    port = module.removeprefix("test_").removesuffix("_contract")
    parameters = re.findall(r"\[(.*)\]$", nodeid)
    for part in parameters[0].split("-") if parameters else []:
        for one in IMPLEMENTATIONS:
            if part == one or part.endswith(f" {one}"):
                return port, one
    return port, NO_PARAMETER


def matrix(outcomes: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a table, from (id of a test, outcome) pairs; none without tests."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for nodeid, outcome in outcomes:
        counts[cell_of(nodeid)][outcome] += 1
    if not counts:
        return []
    head = f"{'port':<18} {'implementation':<22}" + "".join(f"{name:>9}" for name in OUTCOMES)
    return [head] + [
        f"{port:<18} {implementation:<22}" + "".join(f"{count[name] or '':>9}" for name in OUTCOMES)
        for (port, implementation), count in sorted(counts.items())
    ]
