"""The knowledge graph as a SQLite file and on Gremlin Server, in one run: `python -m benchmarks.knowledge_graph [--edges N]`.

About N edges of the bundled facts (whole companies, so that names, tickers and successions stay together) are loaded into
both. Then names of these companies are asked for as of a day, singly and 200 at a time, both stores in turn, and every
answer is compared. Loads are edges a second, questions are surfaces a second. Gremlin Server is in memory and on the same
machine: Neptune adds the network and its disk, and is loaded by its own loader.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from ledgerline.mapping.graph import NAMED, edges_of, literal_of
from ledgerline.mapping.records import Edge
from ledgerline.names.facts import load_facts
from resources.environment import ROOT
from resources.knowledge_graph import SqliteKnowledgeGraph
from resources.neptune_graph import NeptuneKnowledgeGraph
from resources.object_store import DirectoryObjectStore
from tests.servers.gremlin import running_gremlin

DAYS = (date(2015, 3, 2), date(2020, 3, 2), date(2026, 3, 2))
ROUNDS = 5


def chosen(count: int) -> list[Edge]:
    """About `count` edges: all of every so-manieth company."""
    edges = list(edges_of(load_facts(ROOT / "sample" / "facts")))
    every = max(1, len(edges) // count)
    return [edge for edge in edges if zlib.crc32(edge.from_id.encode()) % every == 0]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    done = work()
    return time.perf_counter() - begin, done


def ask(graph: Any, surfaces: Sequence[str], size: int, day: date) -> list[Any]:
    return [
        answer
        for start in range(0, len(surfaces), size)
        for answer in graph.named(surfaces[start : start + size], as_of=day)
    ]


def measure(edges: list[Edge], stores: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {"edges": len(edges)}
    for name, store in stores.items():
        took, version = seconds(lambda store=store: store.build(edges))  # type: ignore[misc]
        found |= {f"{name}_load_s": round(took, 2), f"{name}_load_edges_per_s": round(len(edges) / took)}
        store.promote(version)
        print(f"{name}: {len(edges)} edges loaded in {took:.1f} s", flush=True)
    names = [literal_of(edge) for edge in edges if edge.label == NAMED]
    random = Random(1)
    took_by: dict[str, list[float]] = {f"{name}_{size}": [] for name in stores for size in (1, 200)}
    differences = 0
    for size, count in ((1, 200), (200, 2000)):
        for _ in range(ROUNDS):
            surfaces, day = random.choices(names, k=count), random.choice(DAYS)
            answers = []
            for name, store in stores.items():
                took, answer = seconds(lambda store=store: ask(store, surfaces, size, day))  # type: ignore[misc] # noqa: B023
                took_by[f"{name}_{size}"].append(count / took)
                answers.append(answer)
            differences += sum(one != other for one, other in zip(*answers, strict=True))
    found |= {f"{name}_surfaces_per_s": round(sorted(rates)[ROUNDS // 2]) for name, rates in took_by.items()}
    return found | {"differences": differences}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ledgerline-graph-") as folder, running_gremlin(heap="2g") as server:
        neptune = NeptuneKnowledgeGraph(
            endpoint=server.url,
            region="us-east-1",
            iam=False,
            object_store=DirectoryObjectStore(root=str(Path(folder) / "objects")),
        )
        stores: dict[str, Any] = {"sqlite": SqliteKnowledgeGraph(root=f"{folder}/graph"), "gremlin": neptune}
        found = measure(chosen(arguments.edges), stores)
        for store in stores.values():
            store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
