"""Near-duplicate clustering of synthetic documents, in one process and on Ray of this machine, in turn: speed, same state.

    python -m benchmarks.engines --documents 2000 --documents 8000 [--processors 2]

Documents are of 200 words with a long tail, three of ten an edited copy of an earlier one; seeded. Ray is started before
the clock. One JSON line for each number of documents.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator

from ledgerline.clusters.near_duplicates import ClusterDocument, NearDuplicates
from ledgerline.engines import Engine, OneProcess

WORDS, LENGTH, EDITED, STEP = 30_000, 200, 0.3, 2_000


def synthetic(count: int) -> Iterator[ClusterDocument]:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(WORDS)]
    recent: list[list[str]] = []
    for number in range(count):
        if recent and draw.random() < EDITED:
            text = list(draw.choice(recent))
            text[draw.randrange(LENGTH)] = f"edited{number}"
        else:
            text = [words[min(int(draw.paretovariate(0.6)) - 1, WORDS - 1)] for _ in range(LENGTH)]
        recent = [*recent[-500:], text]
        yield ClusterDocument(str(number), " ".join(text))


def measured(documents: list[ClusterDocument], engine: Engine) -> tuple[float, float, str]:
    """Seconds, processor seconds of this process, and the digest of the state. In steps, as days come."""
    state = NearDuplicates()
    begin, spent = time.perf_counter(), time.process_time()
    for first in range(0, len(documents), STEP):
        state.assign(documents[first : first + STEP], engine)
    return time.perf_counter() - begin, time.process_time() - spent, hashlib.sha256(state.to_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, action="append", required=True)
    parser.add_argument("--processors", type=int, default=2)
    given = parser.parse_args()
    from resources.engine import RayEngine

    on_ray = RayEngine(shards=given.processors, window=STEP // 2)
    list(on_ray.map(str.strip, ["starts", "its", "workers"]))
    for count in given.documents:
        documents = list(synthetic(count))
        one, one_cpu, digest = measured(documents, OneProcess())
        ray, ray_cpu, same = measured(documents, on_ray)
        print(
            json.dumps(
                {
                    "documents": count,
                    "one_process_seconds": round(one, 2),
                    "one_process_cpu_seconds": round(one_cpu, 2),
                    "ray_seconds": round(ray, 2),
                    "ray_caller_cpu_seconds": round(ray_cpu, 2),
                    "same_state": digest == same,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
