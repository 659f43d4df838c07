"""Between the lake and mapping: rows of mentions to candidates to mappings, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.mapping.features import FEATURES, name_stats
from ledgerline.mapping.rows import (
    candidate_rows,
    edges_from_rows,
    edges_to_rows,
    load_stats,
    mapping_rows,
    mentions_of,
)
from ledgerline.mapping.tables import CANDIDATE_SETS, MENTIONS, TICKER_MAPPINGS
from tests.unit.mapping_fakes import META, FakeGraph, FakeIndex, small_facts
from tests.unit.release_fakes import MemoryObjects

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
FACTS = small_facts()
GRAPH = FakeGraph(FACTS)


def mentions(*surfaces: str, day: str = "2017-07-25") -> pa.Table:
    rows = [
        {
            "source": "edgar", "day": "2026-03-02", "mention_id": f"d:{number}", "document_id": "d", "start": 0, "end": 1,
            "surface": surface, "left": "", "right": "", "language": "en", "as_of": day,
        }
        for number, surface in enumerate(surfaces)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=MENTIONS)


def candidates(found: pa.Table) -> pa.Table:
    return candidate_rows(
        found, index=FakeIndex(FACTS), graph=GRAPH, stats=name_stats(FACTS), versions=("index-1", "graph-1")
    )


def ranker(choose: Callable[[list[str]], str | None]) -> Callable[[bytes], bytes]:
    def ask(body: bytes) -> bytes:
        answers = []
        for mention in json.loads(body)["mentions"]:
            companies = [candidate["company_id"] for candidate in mention["candidates"]]
            chosen = choose(companies)
            scores = [0.9 if company == chosen else 0.1 for company in companies]
            one = {"mention_id": mention["mention_id"], "company_id": chosen, "score": max(scores, default=0.0)}
            answers.append({**one, "scores": scores})
        return json.dumps({"answers": answers}).encode()

    return ask


def mapped(found: pa.Table, choose: Callable[[list[str]], str | None]) -> list[dict[str, Any]]:
    made = mapping_rows(
        found, candidates(found), graph=GRAPH, ask=ranker(choose), model_digest=lambda: "m" * 64, mapped_at=NOW
    )
    assert made.schema.equals(TICKER_MAPPINGS)
    rows: list[dict[str, Any]] = made.to_pylist()
    return rows


def meta_if_there(companies: list[str]) -> str | None:
    return META if META in companies else None


def test_candidates_have_the_schema_the_place_of_their_mention_and_their_versions() -> None:
    made = candidates(mentions("Facebook", "Google"))
    assert made.schema.equals(CANDIDATE_SETS)
    rows = made.to_pylist()
    assert {row["mention_id"] for row in rows} == {"d:0", "d:1"}
    assert {(row["source"], row["day"], row["index_version"], row["graph_version"]) for row in rows} == {
        ("edgar", "2026-03-02", "index-1", "graph-1")
    }
    assert {len(row["features"]) for row in rows} == {len(FEATURES)}
    for mention_id in ("d:0", "d:1"):
        positions = [row["position"] for row in rows if row["mention_id"] == mention_id]
        assert positions == list(range(len(positions)))


def test_each_mention_becomes_one_row_with_ticker_path_and_versions() -> None:
    (row,) = mapped(mentions("Facebook"), meta_if_there)
    assert (row["company_id"], row["ticker"], row["none_reason"]) == (META, "FB", None)
    assert (row["index_version"], row["graph_version"], row["model_digest"]) == ("index-1", "graph-1", "m" * 64)
    assert (row["as_of"], row["mapped_at"]) == ("2017-07-25", NOW)
    assert row["path"]


def test_the_answer_does_not_depend_on_the_order_in_which_the_lake_gives_rows() -> None:
    found = mentions("Facebook", "Google", "Nobody at all")
    made = candidates(found)
    turned = made.take(list(reversed(range(made.num_rows))))
    rows = [
        mapping_rows(found, rows, graph=GRAPH, ask=ranker(meta_if_there), model_digest=lambda: "m", mapped_at=NOW)
        for rows in (made, turned)
    ]
    assert rows[0].to_pylist() == rows[1].to_pylist()


def test_a_mention_without_candidates_is_none_with_its_reason_and_keeps_its_row() -> None:
    first, second = mapped(mentions("qqq zzz", "Facebook"), meta_if_there)
    assert (first["ticker"], first["none_reason"]) == (None, "no_candidate")
    assert second["ticker"] == "FB"


def test_none_of_the_ranker_is_none() -> None:
    (row,) = mapped(mentions("Facebook"), lambda companies: None)
    assert (row["company_id"], row["ticker"], row["none_reason"]) == (None, None, "below_threshold")


def test_a_day_without_mentions_asks_nothing_and_has_no_rows() -> None:
    def never(body: bytes) -> bytes:
        raise AssertionError("asked")

    empty = mentions()
    made = candidates(empty)
    assert (made.num_rows, made.schema.equals(CANDIDATE_SETS)) == (0, True)
    rows = mapping_rows(empty, made, graph=GRAPH, ask=never, model_digest=lambda: "m", mapped_at=NOW)
    assert (rows.num_rows, rows.schema.equals(TICKER_MAPPINGS)) == (0, True)


def test_an_answer_to_another_question_is_refused() -> None:
    found = mentions("Facebook")
    with pytest.raises(LedgerlineError, match="none of its candidates"):
        mapping_rows(
            found, candidates(found), graph=GRAPH, ask=ranker(lambda companies: "cik:9999"), model_digest=lambda: "m",
            mapped_at=NOW,
        )  # fmt: skip


def test_mentions_and_paths_round_trip() -> None:
    (mention,) = mentions_of(mentions("Facebook"))
    assert (mention.mention_id, mention.surface, mention.as_of.isoformat()) == ("d:0", "Facebook", "2017-07-25")
    path = candidates(mentions("Facebook")).to_pylist()[0]["path"]
    assert edges_to_rows(edges_from_rows(path)) == path
    assert edges_from_rows(None) == ()


class NothingBuilt:
    def current(self) -> None:
        return None


def test_before_an_index_is_built_the_asset_to_materialize_is_named() -> None:
    with pytest.raises(LedgerlineError, match="Materialize `candidate_index` first"):
        load_stats(MemoryObjects(), NothingBuilt())  # type: ignore[arg-type]


def test_the_counts_over_names_round_trip() -> None:
    stats, objects = name_stats(FACTS), MemoryObjects()
    objects.put(objects.uri("candidate_index", "fake.stats.json"), stats.to_json().encode())
    assert load_stats(objects, FakeIndex(FACTS)).to_json() == stats.to_json()
