"""Near-duplicate clustering of a labelled file, one process, in order of arrival: quality and speed.

    python -m benchmarks.clusters --data DIR --file neardup_dev.jsonl [--peer PYTHON]

`--peer` names the interpreter of another environment in which `rensa` (MinHash LSH) is installed: it clusters the same
documents in the same order by the same rule, nearest earlier one above a threshold. The best of its thresholds counts.

Each line of the file is a JSON object with `id`, `text`, `cluster` (the truth) and `ops` (how the text was made:
"base", a chain of edits such as "trunc+ocr", or "tmpl" for a template twin, which is a cluster of its own).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from ledgerline.clusters.near_duplicates import ClusterDocument, NearDuplicates


def bcubed(found: Sequence[Hashable], truth: Sequence[Hashable]) -> tuple[float, float, float]:
    """BCubed precision, recall and F1 (Bagga and Baldwin 1998) of two labellings of the same documents."""
    both, in_found, in_truth = Counter(zip(found, truth, strict=True)), Counter(found), Counter(truth)
    precision = sum(count * count / in_found[label] for (label, _), count in both.items()) / len(found)
    recall = sum(count * count / in_truth[label] for (_, label), count in both.items()) / len(found)
    return precision, recall, 2 * precision * recall / (precision + recall)


def pair_f1(found: Sequence[Hashable], truth: Sequence[Hashable]) -> float:
    """F1 over all pairs of documents in one cluster."""
    right, said, true = (
        sum(count * (count - 1) // 2 for count in Counter(labels).values())
        for labels in (list(zip(found, truth, strict=True)), found, truth)
    )
    return 2 * right / (said + true) if said + true else 1.0


def recall_by_edit(rows: Sequence[dict[str, str]], found: Sequence[str]) -> dict[str, tuple[int, float]]:
    """For every edit: how many edited documents, and which share of them is in the cluster of its base document."""
    base = {
        row["cluster"]: cluster
        for row, cluster in reversed(list(zip(rows, found, strict=True)))
        if row["ops"] == "base"
    }
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for row, cluster in zip(rows, found, strict=True):
        if row["cluster"] not in base or row["ops"] in ("base", "tmpl"):
            continue
        for edit in set(row["ops"].split("+")):
            total[edit] += 1
            right[edit] += cluster == base[row["cluster"]]
    return {edit: (total[edit], right[edit] / total[edit]) for edit in sorted(total)}


_PEER = """
import json, re, sys, time
from rensa import RMinHash, RMinHashLSH
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
begin = time.perf_counter()
lsh = RMinHashLSH(threshold=0.3, num_perm=128, num_bands=32)
hashes, nearest = [], []
for number, text in enumerate(texts):
    words = re.findall(r"\\w+", text.lower())
    new = RMinHash(num_perm=128, seed=42)
    new.update([" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))])
    nearest.append(max(((new.jaccard(hashes[i]), i) for i in lsh.query(new)), default=(0.0, -1)))
    hashes.append(new)
    lsh.insert(number, new)
print(json.dumps({"nearest": nearest, "seconds": time.perf_counter() - begin}))
"""
_PEER_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def run_peer(python: str, file: Path, truth: Sequence[str]) -> dict[str, float]:
    """Figures of rensa, with keys that begin with `peer_`."""
    done = subprocess.run([python, "-c", _PEER, str(file)], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    best: tuple[float, float] = (0.0, 0.0)
    for threshold in _PEER_THRESHOLDS:
        found: list[int] = []
        for number, (similarity, earlier) in enumerate(answer["nearest"]):
            found.append(found[earlier] if similarity >= threshold else number)
        best = max(best, (bcubed(found, truth)[2], pair_f1(found, truth)))
    return {
        "peer_bcubed_f1": round(best[0], 4),
        "peer_pair_f1": round(best[1], 4),
        "peer_docs_per_s": round(len(truth) / answer["seconds"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the file")
    parser.add_argument("--file", default="neardup_dev.jsonl")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has rensa")
    arguments = parser.parse_args()
    with (arguments.data / arguments.file).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = [ClusterDocument(row["id"], row["text"]) for row in rows]
    clusters = NearDuplicates()
    begin = time.perf_counter()
    found = [link.cluster_id for link in clusters.assign(documents)]
    seconds = time.perf_counter() - begin
    truth = [row["cluster"] for row in rows]
    precision, recall, f1 = bcubed(found, truth)
    sizes = Counter(found)
    twins = [cluster for row, cluster in zip(rows, found, strict=True) if row["ops"] == "tmpl"]
    print(f"{'edit':<10}{'documents':>10}{'recall':>8}")
    for edit, (count, share) in recall_by_edit(rows, found).items():
        print(f"{edit:<10}{count:>10}{share:>8.3f}")
    figures = {
        "bcubed_f1": round(f1, 4),
        "bcubed_precision": round(precision, 4),
        "bcubed_recall": round(recall, 4),
        "pair_f1": round(pair_f1(found, truth), 4),
        "template_twins": len(twins),
        "template_twins_merged": sum(sizes[cluster] > 1 for cluster in twins),
        "documents": len(rows),
        "clusters": len(sizes),
        "seconds": round(seconds, 3),
        "docs_per_s": round(len(rows) / seconds, 1),
        "state_bytes_per_document": round(len(clusters.to_bytes()) / len(rows), 1),
    }
    if arguments.peer:
        figures |= run_peer(arguments.peer, arguments.data / arguments.file, truth)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
