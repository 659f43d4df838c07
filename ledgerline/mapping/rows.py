"""Between the lake and mapping: rows of `mentions` in, rows of `candidate_sets` out, and back. No rules of mapping here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.candidates import candidate_sets
from ledgerline.mapping.features import FEATURES, NameStats, feature_matrix
from ledgerline.mapping.grounding import Mapped, ground
from ledgerline.mapping.ports import CandidateIndex, KnowledgeGraph
from ledgerline.mapping.ranking import Question, rank
from ledgerline.mapping.records import Candidate, Edge, Mention
from ledgerline.mapping.tables import CANDIDATE_SETS, TICKER_MAPPINGS
from ledgerline.ports import ObjectStore

BATCH = 2_000  # mentions; bounds the memory of one batch of retrieval


def stats_key(version: str) -> tuple[str, ...]:
    """Where the counts over all names of an index version lie in the object store."""
    return ("candidate_index", f"{version}.stats.json")


def load_stats(objects: ObjectStore, index: CandidateIndex) -> NameStats:
    """The counts of the current index version. Raises LedgerlineError where no version is current."""
    version = index.current()
    if version is None:
        raise LedgerlineError("No candidate index is built yet. Materialize `candidate_index` first.")
    return NameStats.from_json(objects.get(objects.uri(*stats_key(version))).decode())


def mentions_of(rows: pa.Table) -> list[Mention]:
    """The mentions of a MENTIONS table, in its order."""
    return [
        Mention(
            row["mention_id"],
            row["surface"],
            row["left"],
            row["right"],
            row["language"],
            date.fromisoformat(row["as_of"]),
        )
        for row in rows.select(["mention_id", "surface", "left", "right", "language", "as_of"]).to_pylist()
    ]


def candidate_rows(
    mentions: pa.Table,
    *,
    index: CandidateIndex,
    graph: KnowledgeGraph,
    stats: NameStats,
    versions: tuple[str, str],
) -> pa.Table:
    """Rows (schema CANDIDATE_SETS), one per mention and candidate, best first. `versions` are of index and graph."""
    day = {
        row["mention_id"]: (row["source"], row["day"])
        for row in mentions.select(["mention_id", "source", "day"]).to_pylist()
    }
    wanted = mentions_of(mentions)
    batches = []
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        rows: list[dict[str, Any]] = []
        features: list[np.ndarray] = []
        for mention, candidates in zip(batch, candidate_sets(batch, index=index, graph=graph), strict=True):
            features.append(feature_matrix(mention, candidates, stats))
            rows.extend(
                {
                    "source": day[mention.mention_id][0],
                    "day": day[mention.mention_id][1],
                    "mention_id": mention.mention_id,
                    "position": position,
                    "company_id": candidate.company_id,
                    "best_name": candidate.best_name,
                    "channels": sorted(candidate.ranks),
                    "path": edges_to_rows(candidate.path),
                    "index_version": versions[0],
                    "graph_version": versions[1],
                }
                for position, candidate in enumerate(candidates)
            )
        batches.append(_with_features(rows, features))
    return pa.concat_tables(batches) if batches else CANDIDATE_SETS.empty_table()


def _with_features(rows: list[dict[str, Any]], features: list[np.ndarray]) -> pa.Table:
    """Rows of CANDIDATE_SETS; the features go in as one array, since a list of Python floats per row is most of the cost."""
    plain = pa.Table.from_pylist(rows, schema=CANDIDATE_SETS)
    matrix = np.concatenate(features) if features else np.empty((0, len(FEATURES)), dtype=np.float32)
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * len(FEATURES))
    column = pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))
    return plain.set_column(CANDIDATE_SETS.get_field_index("features"), CANDIDATE_SETS.field("features"), column)


def edges_to_rows(path: Sequence[Edge]) -> list[dict[str, str]]:
    return [
        {name: getattr(edge, name) for name in ("from_id", "label", "to_id", "valid_from", "valid_to", "source")}
        for edge in path
    ]


def edges_from_rows(rows: Sequence[dict[str, str]] | None) -> tuple[Edge, ...]:
    return tuple(Edge(**row) for row in rows or ())


def candidate_from_row(row: dict[str, Any]) -> Candidate:
    """The candidate as ranking and grounding need it: company, best name and path."""
    return Candidate(row["company_id"], row["best_name"], "", True, {}, {}, edges_from_rows(row["path"]))


def mapping_rows(
    mentions: pa.Table,
    candidates: pa.Table,
    *,
    graph: KnowledgeGraph,
    ask: Callable[[bytes], bytes | str],
    model_digest: Callable[[], str],
    mapped_at: datetime,
) -> pa.Table:
    """Rows (schema TICKER_MAPPINGS), one per mention: the live ranker's answers, grounded.

    `ask` sends one request body to the endpoint; `model_digest` says, once it answered, which model did.
    """
    ordered = candidates.sort_by([("mention_id", "ascending"), ("position", "ascending")])
    matrix = _feature_matrix(ordered)
    rows_of: dict[str, list[int]] = {}
    for number, mention_id in enumerate(ordered["mention_id"].to_pylist()):
        rows_of.setdefault(mention_id, []).append(number)
    plain = ordered.select(["company_id", "best_name", "path"]).to_pylist()
    wanted = mentions_of(mentions)
    numbers = [rows_of.get(mention.mention_id, []) for mention in wanted]
    questions = [
        Question(mention.mention_id, [plain[number]["company_id"] for number in of_mention], matrix[of_mention])
        for mention, of_mention in zip(wanted, numbers, strict=True)
    ]
    found = [[candidate_from_row(plain[number]) for number in of_mention] for of_mention in numbers]
    mapped = ground(wanted, found, rank(questions, ask), graph)
    versions = {
        name: candidates[name][0].as_py() if candidates.num_rows else None
        for name in ("index_version", "graph_version")
    }
    rows = [
        {**_mapping_row(place, one), **versions, "model_digest": model_digest(), "mapped_at": mapped_at}
        for place, one in zip(mentions.to_pylist(), mapped, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=TICKER_MAPPINGS)


def _feature_matrix(candidates: pa.Table) -> np.ndarray:
    """Features of the rows, shape (rows, len(FEATURES)). Raises LedgerlineError for rows of another set of features."""
    values = candidates["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if values.size != candidates.num_rows * len(FEATURES):
        raise LedgerlineError(
            "These candidate sets have other features than this version. Materialize `candidate_sets` again."
        )
    return values.reshape(-1, len(FEATURES))


def _mapping_row(place: dict[str, Any], mapped: Mapped) -> dict[str, Any]:
    return {
        **{name: place[name] for name in ("source", "day", "mention_id", "document_id", "surface", "as_of")},
        "company_id": mapped.company_id,
        "ticker": mapped.ticker,
        "exchange": mapped.exchange,
        "score": mapped.score,
        "none_reason": mapped.none_reason,
        "path": edges_to_rows(mapped.path),
    }
