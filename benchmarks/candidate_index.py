"""The candidate index in process and on OpenSearch, side by side: `python -m benchmarks.candidate_index --data DIR`.

All dated names of the bundled facts are loaded into both; then the mentions and Korean names of DIR (`<split>_mentions.csv`,
`<split>_korean.csv`, the unpacked `ticker/`) are searched in both, in turn. Each search is of surfaces that were not asked
before, so that no cache of hits answers. `--url` names a server; without it, one is started as the tests do.

    load_names_per_s      from the entries to a version that may be promoted, verified
    batch_1_per_s, _200_per_s   surfaces per second in calls of 1 and of 200; p99 of one call in ms
    recall_at_10          share of mentions with their company among the 10 candidates, without the graph;
                          recall_korean the same for Korean names, `_nori` with OPENSEARCH_NORI
    different_surfaces    for how many the two have other names in other places; each is printed before the last line
    bare_share            time of `search` on OpenSearch over that of the bare client sending the same requests
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from ledgerline.mapping.candidates import HITS_PER_CHANNEL, candidate_sets, name_entries
from ledgerline.mapping.ports import CandidateIndex
from ledgerline.mapping.records import Edge, Mention
from ledgerline.names.facts import Facts, load_facts
from resources.candidate_index import TantivyCandidateIndex
from resources.opensearch_index import OpenSearchCandidateIndex, _queries

ROOT = Path(__file__).resolve().parents[1]
ALONE = 300  # surfaces that are asked one by one
BATCH = 200


class NoGraph:
    """Names nobody: what is measured is the index alone."""

    def named(self, surfaces: Sequence[str], *, as_of: date) -> list[list[tuple[str, tuple[Edge, ...]]]]:
        return [[] for _ in surfaces]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def english(data: Path, split: str) -> list[tuple[Mention, set[str]]]:
    return [
        (
            Mention(
                f"m{number}",
                row["sentence"][int(row["start"]) : int(row["end"])],
                "",
                "",
                "en",
                date.fromisoformat(row["date"]),
            ),
            {f"cik:{int(row['cik']):010d}"},
        )
        for number, row in enumerate(read(data / f"{split}_mentions.csv"))
        if row["in_universe"] == "True"
    ]


def korean(data: Path, split: str, facts: Facts) -> list[tuple[Mention, set[str]]]:
    """Korean names in running text, as far as anybody listed has their code: former, legal and short ones."""
    codes: dict[str, set[str]] = {}
    securities = facts.securities.to_pydict()
    for company, ticker in zip(securities["company_id"], securities["ticker"], strict=True):
        codes.setdefault(ticker, set()).add(company)
    return [
        (Mention(f"k{number}", f"{row['query']} 주가", "", "", "ko", date(2026, 3, 20)), codes[row["code"]])
        for number, row in enumerate(read(data / f"{split}_korean.csv"))
        if row["code"] in codes and row["kind"] != "kr_english"
    ]


def recall(index: CandidateIndex, asked: Sequence[tuple[Mention, set[str]]]) -> float:
    found = candidate_sets([mention for mention, _ in asked], index=index, graph=NoGraph())  # type: ignore[arg-type]
    right = [any(one.company_id in truth for one in of) for of, (_, truth) in zip(found, asked, strict=True)]
    return round(statistics.fmean(right), 4)


def speed(index: CandidateIndex, surfaces: Sequence[str]) -> dict[str, float]:
    """`surfaces` are distinct and new to the index."""
    index.search([f"warm {number}" for number in range(BATCH)], limit=HITS_PER_CHANNEL)
    measured: dict[str, float] = {}
    for size, some in ((1, surfaces[:ALONE]), (BATCH, surfaces[ALONE:])):
        calls = []
        for start in range(0, len(some), size):
            begun = time.perf_counter()
            index.search(some[start : start + size], limit=HITS_PER_CHANNEL)
            calls.append(time.perf_counter() - begun)
        measured[f"batch_{size}_per_s"] = round(len(some) / sum(calls))
        measured[f"batch_{size}_p99_ms"] = round(1000 * sorted(calls)[int(0.99 * (len(calls) - 1))], 1)
    return measured


def bare_seconds(url: str, alias: str, surfaces: Sequence[str]) -> float:
    """What opensearch-py takes to send the same searches and read their answers."""
    import opensearchpy

    client = opensearchpy.OpenSearch(url, timeout=60)
    begun = time.perf_counter()
    for start in range(0, len(surfaces), BATCH):
        queries = [
            query for one in surfaces[start : start + BATCH] for _, query in _queries(one, HITS_PER_CHANNEL, False)
        ]
        client.msearch(index=alias, body="".join(f"{{}}\n{json.dumps(query)}\n" for query in queries))
    return time.perf_counter() - begun


@contextmanager
def server(url: str | None) -> Iterator[str]:
    if url:
        yield url
        return
    from tests.servers.opensearch import OpenSearchServer

    with OpenSearchServer() as started:
        yield started.url


def places(index: CandidateIndex, surfaces: Sequence[str]) -> list[list[tuple[str, str]]]:
    return [
        [(hit.channel, hit.name_id) for hit in hits] for hits in index.search(surfaces, limit=HITS_PER_CHANNEL)
    ]  # of the cache, if they were asked before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets, e.g. the unpacked `ticker/`")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--facts", type=Path, default=ROOT / "sample" / "facts")
    parser.add_argument("--url", help="of an OpenSearch (default: one is started)")
    args = parser.parse_args()
    facts = load_facts(args.facts)
    entries = name_entries(facts)
    mentions, names = english(args.data, args.split), korean(args.data, args.split, facts)
    variants = [row["query"] for row in read(args.data / f"{args.split}_variants.csv")]
    surfaces = list(dict.fromkeys([*(mention.surface for mention, _ in [*mentions, *names]), *variants[:2_000]]))
    result: dict[str, Any] = {"names": len(entries), "surfaces": len(surfaces)}
    with ExitStack() as stack:
        url = stack.enter_context(server(args.url))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        prefix = f"benchmark-{uuid.uuid4().hex[:8]}"
        remote = OpenSearchCandidateIndex(url=url, prefix=prefix, timeout_seconds=120)
        stack.callback(lambda: remote._connected().indices.delete(index=f"{prefix}-*"))
        indices: dict[str, CandidateIndex] = {"tantivy": TantivyCandidateIndex(root=folder), "opensearch": remote}
        for name, index in indices.items():
            begun = time.perf_counter()
            version = index.build(entries)
            result[f"{name}_load_names_per_s"] = round(len(entries) / (time.perf_counter() - begun))
            index.promote(version)
        for name, index in indices.items():
            result |= {f"{name}_{key}": value for key, value in speed(index, surfaces).items()}
        both = [places(index, surfaces) for index in indices.values()]
        different = [one for one, ours, its in zip(surfaces, *both, strict=True) if ours != its]
        for surface in different:
            print(f"different: {surface}", file=sys.stderr)
        result["different_surfaces"] = len(different)
        for name, index in indices.items():
            result[f"{name}_recall_at_10"] = recall(index, mentions)
            result[f"{name}_recall_korean"] = recall(index, names)
        again = OpenSearchCandidateIndex(url=url, prefix=prefix, timeout_seconds=120)
        seconds, bare = [], []
        for _ in range(3):
            bare.append(bare_seconds(url, prefix, surfaces[ALONE:]))
            again._cache = None
            begun = time.perf_counter()
            for start in range(ALONE, len(surfaces), BATCH):
                again.search(surfaces[start : start + BATCH], limit=HITS_PER_CHANNEL)
            seconds.append(time.perf_counter() - begun)
        result["bare_share"] = round(statistics.median(seconds) / statistics.median(bare), 3)
        korean_index = OpenSearchCandidateIndex(url=url, prefix=prefix, timeout_seconds=120, nori=True)
        korean_index.promote(korean_index.build(entries))
        result["opensearch_recall_korean_nori"] = recall(korean_index, names)
        result["opensearch_recall_at_10_nori"] = recall(korean_index, mentions)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
