"""How well and how fast mentions are mapped to companies: `python -m benchmarks.ticker_mapping --data DIR --split dev`.

Everything is built from the bundled facts: candidate index, graph, labelled candidates; the ranker is trained by the
scripts of model_projects/ticker_ranker, run as the platform runs them. DIR holds `<split>_mentions.csv` and the
other sets; they are only measured on. A set that is not there, or that nothing here answers yet, is null.

    open_set_accuracy     (right companies + right nones) / all, over mentions in the universe and negatives_en without
                          `ric_cross_listed`. A negative without a date is asked as of the newest day of the facts
    correct_links         share of mentions with a company that were linked to it
    false_links           share of negatives that were linked; false_links_by_kind the same by kind
    mentions_per_s        candidates, features, prediction and grounding on one core (CPU time), after one warm-up
    korean_english_acc1   English names of listed Korean firms -> company, where DART's own English names are hidden
    korean_english_lookup_acc1, korean_names_lookup_acc1   the same, and former and legal Korean names, with the facts
                          as they are: a look-up, which is what production does
    asof_accuracy         (ticker, day) -> the company that it meant, by the dated edges of the graph
    affiliates_false_links  share of unlisted Korean firms that were linked, where the facts do not know these firms;
                          affiliates_false_links_known with the facts as they are
    kr_headlines_kept     share of headlines in which the tagged company is among the companies mapped

Korean companies are no answer to the English sets: those ask for listings of the United States.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # "one core" is meant

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledgerline.mapping.candidates import candidate_sets, name_entries
from ledgerline.mapping.features import FEATURES, NameStats, name_stats
from ledgerline.mapping.graph import edges_of
from ledgerline.mapping.grounding import Mapped, ground, question
from ledgerline.mapping.labelled import labelled_candidate_rows
from ledgerline.mapping.mentions import MentionFinder
from ledgerline.mapping.ranking import Answer, Question
from ledgerline.mapping.records import Mention
from ledgerline.names.facts import Facts, load_facts
from resources.candidate_index import TantivyCandidateIndex
from resources.knowledge_graph import SqliteKnowledgeGraph

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "model_projects" / "ticker_ranker"
BATCH = 500  # mentions in one prediction, as the mapping asset asks
CONTEXT = 160


@dataclasses.dataclass(frozen=True)
class World:
    """Index, graph, statistics and the ranker's handlers over one set of facts."""

    index: TantivyCandidateIndex
    graph: SqliteKnowledgeGraph
    stats: NameStats
    handlers: ModuleType
    model: Any


def build(facts: Facts, folder: Path) -> tuple[TantivyCandidateIndex, SqliteKnowledgeGraph, NameStats]:
    index = TantivyCandidateIndex(root=str(folder / "index"))
    index.promote(index.build(name_entries(facts)))
    graph = SqliteKnowledgeGraph(root=str(folder / "graph"))
    graph.promote(graph.build(edges_of(facts)))
    return index, graph, name_stats(facts)


def train(facts: Facts, built: tuple[TantivyCandidateIndex, SqliteKnowledgeGraph, NameStats], folder: Path) -> Path:
    """Run the project's scripts on labelled candidates of the facts; returns the model directory."""
    index, graph, stats = built
    rows = labelled_candidate_rows(facts, index=index, graph=graph, stats=stats)
    given, split, model = folder / "training_set", folder / "split", folder / "model"
    given.mkdir(parents=True)
    pq.write_table(rows, given / "rows.parquet")
    run("preprocessing.py", "--input-dir", given, "--output-dir", split)
    run("train.py", "--train", split / "train", "--validation", split / "validation", "--model-dir", model)
    run("evaluation.py", "--model-dir", model, "--test-dir", split / "test", "--output-dir", folder / "evaluation")
    return model


def run(script: str, *arguments: object) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, str(PROJECT / script), *map(str, arguments)]
    print(f"{script}:", file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)


def load_handlers(model: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("ticker_ranker_inference", model / "code" / "inference.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{model} holds no code/inference.py; train the model again.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def answers_of(world: World, questions: Sequence[Question]) -> list[Answer]:
    """The handlers' answers without JSON in between: the prediction is measured, not the transport."""
    found: list[Answer] = []
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        request = world.handlers.Request(
            [one.mention_id for one in batch],
            [list(one.company_ids) for one in batch],
            np.concatenate([one.features for one in batch]),
            list(FEATURES),
        )
        for one in world.handlers.predict_fn(request, world.model)["answers"]:
            found.append(Answer(one["mention_id"], one["company_id"], one["score"], tuple(one["scores"])))
    return found


def map_all(world: World, mentions: Sequence[Mention], prefix: str = "") -> list[Mapped]:
    """Map mentions; only companies whose id begins with `prefix` are offered."""
    mapped: list[Mapped] = []
    for start in range(0, len(mentions), BATCH):
        batch = mentions[start : start + BATCH]
        sets = candidate_sets(batch, index=world.index, graph=world.graph)
        offered = [[one for one in found if one.company_id.startswith(prefix)] for found in sets] if prefix else sets
        questions = [question(mention, found, world.stats) for mention, found in zip(batch, offered, strict=True)]
        mapped += ground(batch, offered, answers_of(world, questions), world.graph)
    return mapped


def read(folder: Path, split: str, name: str) -> list[dict[str, str]] | None:
    path = folder / f"{split}_{name}.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def mention_of(number: str, text: str, start: int, end: int, day: date, language: Any = "en") -> Mention:
    left, right = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    return Mention(number, text[start:end], left, right, language, day)


def english_sets(
    mentions: Sequence[dict[str, str]], negatives: Sequence[dict[str, str]], today: date
) -> tuple[list[Mention], list[str | None], list[str]]:
    """Mentions, their companies (None: none) and their kinds."""
    asked: list[Mention] = []
    truths: list[str | None] = []
    kinds: list[str] = []
    for number, row in enumerate(mentions):
        if row["in_universe"] == "True":
            day = date.fromisoformat(row["date"])
            asked.append(mention_of(f"m{number}", row["sentence"], int(row["start"]), int(row["end"]), day))
            truths.append(f"cik:{int(row['cik']):010d}")
            kinds.append("mention")
    for number, row in enumerate(negatives):
        if row["kind"] != "ric_cross_listed":
            start = max(row["text"].find(row["surface"]), 0)
            text = row["text"] if row["surface"] in row["text"] else row["surface"]
            asked.append(mention_of(f"n{number}", text, start, start + len(row["surface"]), today))
            truths.append(None)
            kinds.append(row["kind"])
    return asked, truths, kinds


def english(world: World, data: Path, split: str, today: date, errors: Path | None) -> dict[str, Any]:
    keys = ("open_set_accuracy", "correct_links", "false_links", "false_links_by_kind", "mentions_per_s")
    mentions, negatives = read(data, split, "mentions"), read(data, split, "negatives_en")
    if mentions is None or negatives is None:
        return dict.fromkeys(keys)
    asked, truths, kinds = english_sets(mentions, negatives, today)
    warm = [dataclasses.replace(one, surface="Warm Up Inc") for one in asked[:1]]
    map_all(world, warm, "cik:")
    gc.collect()
    gc.freeze()  # what the benchmark itself holds (facts, truths) is not to be walked while mapping is timed
    begun = time.process_time()
    mapped = map_all(world, asked, "cik:")
    seconds = time.process_time() - begun
    right = [truth == one.company_id for truth, one in zip(truths, mapped, strict=True)]
    linked: dict[str, list[bool]] = defaultdict(list)
    for truth, kind, one in zip(truths, kinds, mapped, strict=True):
        if truth is None:
            linked[kind].append(one.company_id is not None)
    every = [one for found in linked.values() for one in found]
    positive = [ok for ok, truth in zip(right, truths, strict=True) if truth is not None]
    if errors is not None:
        write_errors(errors, asked, truths, kinds, mapped)
    return {
        "open_set_accuracy": share(right),
        "correct_links": share(positive),
        "false_links": share(every),
        "false_links_by_kind": {kind: share(found) for kind, found in sorted(linked.items())},
        "mentions_per_s": round(len(asked) / seconds),
    }


def write_errors(
    path: Path, asked: Sequence[Mention], truths: Sequence[str | None], kinds: Sequence[str], mapped: Sequence[Mapped]
) -> None:
    """Every wrong answer as tab-separated text, for a person who wants to know what limits the result."""
    with path.open("w", encoding="utf-8") as file:
        for mention, truth, kind, one in zip(asked, truths, kinds, mapped, strict=True):
            if truth != one.company_id:
                best = one.best.best_name if one.best else ""
                cells = (kind, mention.surface, one.company_id, truth, best, f"{one.score:.3f}", one.none_reason)
                file.write("\t".join(map(str, cells)) + "\n")


def tickers_as_of(world: World, data: Path, split: str) -> dict[str, Any]:
    """Each row is asked on its first and on its last day."""
    rows = read(data, split, "ticker_asof")
    if rows is None:
        return {"asof_accuracy": None}
    right = []
    for row in rows:
        for day in {row["valid_from_seen"], row["valid_to_seen"]}:
            found = world.graph.by_ticker(row["ticker"], as_of=date.fromisoformat(day))
            right.append(bool(found) and found[0][0] == f"cik:{int(row['cik']):010d}")
    return {"asof_accuracy": share(right)}


def korean(world: World, hidden: World, data: Path, split: str, codes: dict[str, set[str]]) -> dict[str, Any]:
    rows = read(data, split, "korean")
    if rows is None:
        return dict.fromkeys(("korean_english_acc1", "korean_english_lookup_acc1", "korean_names_lookup_acc1"))
    english_names = [row for row in rows if row["kind"] == "kr_english"]
    korean_names = [row for row in rows if row["kind"] != "kr_english"]
    return {
        "korean_english_acc1": share(right_companies(hidden, english_names, codes)),
        "korean_english_lookup_acc1": share(right_companies(world, english_names, codes)),
        "korean_names_lookup_acc1": share(right_companies(world, korean_names, codes)),
    }


def right_companies(world: World, rows: Sequence[dict[str, str]], codes: dict[str, set[str]]) -> list[bool]:
    asked = [
        mention_of(
            f"k{at}", row["query"], 0, len(row["query"]), date.fromisoformat(row["date"]), language(row["query"])
        )
        for at, row in enumerate(rows)
    ]
    mapped = map_all(world, asked)
    return [one.company_id in codes.get(row["code"], ()) for row, one in zip(rows, mapped, strict=True)]


def language(text: str) -> str:
    return "ko" if any("가" <= letter <= "힣" for letter in text) else "en"


def affiliates(world: World, rows: Sequence[dict[str, str]], today: date) -> float | None:
    asked = [mention_of(f"a{at}", row["text"], 0, len(row["text"]), today, "ko") for at, row in enumerate(rows)]
    return share([one.company_id is not None for one in map_all(world, asked)])


def korean_headlines(world: World, facts: Facts, rows: Sequence[dict[str, str]], codes: dict[str, set[str]]) -> Any:
    """Share of headlines in which the spans that the mention finder sees lead to the tagged company."""
    finder = MentionFinder.from_facts(facts)
    asked: list[Mention] = []
    headline_of: list[int] = []
    for number, row in enumerate(rows):
        for span in finder.find(row["headline"], "ko"):
            day = date.fromisoformat(row["date"])
            asked.append(mention_of(f"h{len(asked)}", row["headline"], span.start, span.end, day, "ko"))
            headline_of.append(number)
    companies: dict[int, set[str | None]] = defaultdict(set)
    for number, one in zip(headline_of, map_all(world, asked), strict=True):
        companies[number].add(one.company_id)
    return share([bool(companies[number] & codes.get(row["code"], set())) for number, row in enumerate(rows)])


def without(facts: Facts, companies: set[str], english_names: bool) -> Facts:
    """The facts without some companies, and without the English names of Korean firms where `english_names`."""

    def keep(table: Any) -> Any:
        import pyarrow as pa

        return table.filter(pc.invert(pc.is_in(table["company_id"], pa.array(sorted(companies), pa.string()))))

    names = keep(facts.names)
    if english_names:
        korean_firm = pc.invert(pc.starts_with(names["company_id"], "cik:"))
        names = names.filter(pc.invert(pc.and_(korean_firm, pc.equal(names["language"], "en"))))
    return Facts(keep(facts.companies), keep(facts.securities), names, facts.successors)


def share(found: Sequence[bool]) -> float | None:
    return round(sum(found) / len(found), 4) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets, e.g. the unpacked `ticker/`")
    parser.add_argument("--split", default="dev", help="the sets are <split>_mentions.csv, ...")
    parser.add_argument("--facts", type=Path, default=ROOT / "sample" / "facts")
    parser.add_argument("--work", type=Path, help="keep index, graph and model here (default: a temporary folder)")
    parser.add_argument("--errors", type=Path, help="write every wrong answer of the English sets to this file")
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f"--data {args.data} is no folder; give the unpacked folder that holds {args.split}_mentions.csv")
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        print(json.dumps(measure(args, Path(work))))


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    facts = load_facts(args.facts)
    today = date.fromisoformat(max(day for day in facts.securities["valid_from"].to_pylist() if day))
    codes: dict[str, set[str]] = defaultdict(set)
    for company_id, ticker in zip(
        *(facts.securities[name].to_pylist() for name in ("company_id", "ticker")), strict=True
    ):
        codes[ticker].add(company_id)
    built = build(facts, work / "full")
    model_dir = work / "training" / "model"
    if not model_dir.is_dir():
        train(facts, built, work / "training")
    handlers = load_handlers(model_dir)
    model = handlers.model_fn(str(model_dir))
    world = World(*built, handlers, model)
    result = english(world, args.data, args.split, today, args.errors) | tickers_as_of(world, args.data, args.split)
    negatives = read(args.data, args.split, "negatives_kr")
    unlisted = {f"dart:{row['corp_code']}" for row in negatives or ()}
    hidden = World(*build(without(facts, unlisted, english_names=True), work / "hidden"), handlers, model)
    result |= korean(world, hidden, args.data, args.split, codes)
    result["affiliates_false_links"] = affiliates(hidden, negatives, today) if negatives is not None else None
    result["affiliates_false_links_known"] = affiliates(world, negatives, today) if negatives is not None else None
    headlines = read(args.data, args.split, "headlines_kr")
    result["kr_headlines_kept"] = korean_headlines(world, facts, headlines, codes) if headlines is not None else None
    return result


if __name__ == "__main__":
    main()
