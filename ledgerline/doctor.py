"""The doctor: every port is tried for real, and what does not work is said in one sentence with the remedy.

Here: what a probe is, how its findings are told, and that they tell no secret. How a port is tried is its implementation's:
it uses the code of the run, so that both say the same sentence of the same fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.ports import KnowledgeGraph
from ledgerline.mapping.records import Edge, NameEntry

# In the order in which others rest on them: the first that does not work may explain the rest.
PORTS = (
    "object_store",
    "lake",
    "filing_ledger",
    "release_ledger",
    "regulators",
    "candidate_index_store",
    "knowledge_graph_store",
    "sagemaker",
    "experiments",
    "compute",
    "notifier",
)
# What is stored in an index and in a graph, to be found again and removed.
PROBE = NameEntry("doctor:1", "doctor:1", "Ledgerline Doctor Inc", "legal", "en", "", "", "doctor")
PROBE_EDGE = Edge("company:doctor:1", "listed_as", "listing:DOCTOR:PROBE", "2000-01-01", "", "doctor")
_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")


@runtime_checkable
class Probed(Protocol):
    """An implementation of a port that can be tried."""

    def probe(self) -> Iterator[str]:
        """Name each thing before it is tried ("write", "read" ...), then try it. Leaves nothing behind.

        Raises LedgerlineError with the remedy, as the run would.
        """
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a port; `said` is empty where it works, else one sentence that ends with the remedy."""

    port: str
    implementation: str
    tried: tuple[str, ...]
    said: str = ""

    @property
    def works(self) -> bool:
        return not self.said


def examine(ports: Mapping[str, object]) -> list[Finding]:
    """Try every port; one that does not work keeps none of the others from being tried. Never raises."""
    return [_examined(port, ports[port]) for port in PORTS if port in ports]


def rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings as a table: port, implementation, works, tried, remedy."""
    return [
        {
            "port": one.port,
            "implementation": one.implementation,
            "works": "yes" if one.works else "no",
            "tried": ", ".join(one.tried) if one.works else f"{', '.join(one.tried)}: failed",
            "remedy": one.said,
        }
        for one in findings
    ]


def probed_graph(graph: KnowledgeGraph) -> Iterator[str]:
    """The part of a graph's probe that all implementations share; `graph` is one that nobody else uses."""
    yield "write"
    graph.promote(graph.build([PROBE_EDGE]))
    yield "read"
    if [edge for _, edge in graph.by_ticker("PROBE", as_of=date(2001, 1, 1))] != [PROBE_EDGE]:
        raise LedgerlineError("the graph does not give an edge back as it was loaded: see the log of its server.")


def _examined(port: str, implementation: object) -> Finding:
    name = type(implementation).__name__
    tried: list[str] = []
    if not isinstance(implementation, Probed):
        return Finding(
            port, name, ("nothing",), f"{name} has no probe: give it one, as `ledgerline.doctor.Probed` says."
        )
    try:
        tried.extend(implementation.probe())  # what was tried before a failure stays in it
    except LedgerlineError as error:
        return Finding(port, name, tuple(tried), _one_line(str(error)))
    except Exception as error:  # noqa: BLE001 - a patient may die of anything; the others are examined all the same
        said = f"{type(error).__name__}: {error}"
        return Finding(port, name, tuple(tried), f"{_one_line(said)[:400]}: see the settings of {port}, and its log.")
    return Finding(port, name, tuple(tried))


def _one_line(text: str) -> str:
    return _PASSWORD.sub(r"\1:***@", " ".join(text.split()))
