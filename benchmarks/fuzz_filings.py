"""Hostile filings against the parser: no crash, no hang, no more memory than stated; each case in a watched process.

    python -m benchmarks.fuzz_filings [--archive DIR] [--cases N] [--seed S] [--case NUMBER]

DIR is the unpacked `filings/` folder of real filings; without it the sample archive's are mutated. A case is parsed from
memory and checked from a file, which must agree; what is accepted must have sound sections. A failure is printed with
its number: `--case NUMBER` with the same archive and seed runs it here, with its traceback. Bodies have at most 16 MB.
The seconds are of CPU, since a shared machine may take any time. Memory limits need Linux.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from benchmarks.hostile_filings import Case, Corpus, case, read_corpus
from ledgerline.filings import validity
from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import RefusedFiling

HANG_SECONDS = 5.0  # of CPU
WAIT_SECONDS = 60.0  # of a clock, after which the process is ended
# Above what the process takes before: bodies of 16 MB, their text, and the tree of a piece of 4 M characters.
MEMORY_CAP = 512 * 1024 * 1024
# The address space is larger than what is resident; this only keeps a bomb from taking the machine down with it.
ADDRESS_SPACE = 4 * 1024 * 1024 * 1024

Verdict = Literal["accepted", "refused", "crash", "hang", "over_memory"]


@dataclass
class Outcome:
    """Of one case: what came of it, with the reason of a refusal or what is wrong, CPU seconds, and peak memory (bytes)."""

    number: int
    name: str
    verdict: Verdict
    detail: str
    seconds: float = 0.0
    memory: int = 0


@dataclass
class Report:
    """Sums over the outcomes."""

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    slowest: Outcome | None = None
    largest: Outcome | None = None
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.verdict] += 1
        if outcome.verdict == "refused":
            self.reasons[outcome.detail] += 1
        elif outcome.verdict != "accepted":
            self.failures.append(outcome)
        if self.slowest is None or outcome.seconds > self.slowest.seconds:
            self.slowest = outcome
        if self.largest is None or outcome.memory > self.largest.memory:
            self.largest = outcome

    def flat(self) -> dict[str, Any]:
        return {
            "cases": self.verdicts.total(),
            "crashes": self.verdicts["crash"],
            "hangs": self.verdicts["hang"],
            "over_memory": self.verdicts["over_memory"],
            "refused": self.verdicts["refused"],
            "accepted": self.verdicts["accepted"],
            "slowest_s": round(self.slowest.seconds, 2) if self.slowest else None,
            "largest_rss_mb": round(self.largest.memory / 1e6, 1) if self.largest else None,
        } | {f"refused_{reason}": count for reason, count in sorted(self.reasons.items())}


def judge(hostile: Case, folder: Path) -> tuple[Verdict, str]:
    """Parse a case from memory and check it from a file. Raises what the parser should not raise."""
    path = folder / "body"
    path.write_bytes(hostile.body)
    filing, refused, checked = None, None, None
    try:
        validity.read_valid_header(hostile.source, path)
    except RefusedFiling as refusal:
        checked = refusal
    try:
        filing = parse_filing(hostile.source, hostile.body)
    except RefusedFiling as refusal:
        refused = refusal
    # What is wrong with a DART member is only seen when it is unpacked.
    if str(checked) != str(refused) and (checked or hostile.source != "dart"):
        raise AssertionError(f"from its file: {checked}, from memory: {refused}")
    if filing is None:
        assert refused
        assert refused.reason in validity.REASONS, refused.reason
        assert len(str(refused)) < 1000, "a refusal of more than 1,000 characters"
        return "refused", refused.reason
    assert filing.documents
    for document in filing.documents:
        assert not any(mark in document.text for mark in "\x00\x01\x02\x03"), "control characters in a text"
        document.text.encode("utf-8")  # what cannot be stored is no text
        ends = [0, *(section.end for section in document.sections)]
        for section, end in zip(document.sections, ends, strict=False):
            assert end <= section.start <= section.end <= len(document.text), section
    return "accepted", ""


def work(pipe: Connection, archive: Path | None, seed: int) -> None:
    """The watched process: takes numbers of cases and answers with outcomes until it is told None."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    corpus = read_corpus(archive)
    with tempfile.TemporaryDirectory() as folder:
        while (number := pipe.recv()) is not None:
            pipe.send(run(corpus, seed, number, Path(folder)))


def run(corpus: Corpus, seed: int, number: int, folder: Path) -> Outcome:
    """One case in this process; its memory is measured where the kernel counts it anew for each."""
    hostile = case(corpus, seed, number)
    before, started = _reset_peak(), time.process_time()
    try:
        verdict, detail = judge(hostile, folder)
    except MemoryError as error:
        verdict, detail = "over_memory", f"{error!r}"
    except Exception as error:  # noqa: BLE001 - a crash is what is looked for
        verdict, detail = "crash", f"{error!r}"[:300]
    seconds, memory = time.process_time() - started, _peak() - before
    if verdict in ("accepted", "refused") and seconds > HANG_SECONDS:
        verdict, detail = "hang", f"{seconds:.1f} s of CPU"
    elif verdict in ("accepted", "refused") and memory > MEMORY_CAP:
        verdict, detail = "over_memory", f"{memory / 1e6:.0f} MB"
    return Outcome(number, hostile.name, verdict, detail, seconds, memory)


def _reset_peak() -> int:
    """What the process has resident now, from which its peak is counted again."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _peak()


def _peak() -> int:
    """The peak of resident memory in bytes; 0 where there is no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Watched:
    """A process that runs cases; one that dies or hangs is replaced."""

    def __init__(
        self, archive: Path | None, seed: int, *, target: Callable[..., None] = work, wait: float = WAIT_SECONDS
    ) -> None:
        self._arguments, self._target, self._wait = (archive, seed), target, wait
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=self._target, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, number: int) -> Outcome:
        self._pipe.send(number)
        try:
            if self._pipe.poll(self._wait):
                outcome: Outcome = self._pipe.recv()
                return outcome
            died: tuple[Verdict, str] = ("hang", f"more than {self._wait:.0f} s")
        except (EOFError, ConnectionResetError):
            self._process.join()
            died = ("crash", f"the process ended with {self._process.exitcode}")
        self._process.kill()
        self._process.join()
        self._start()
        return Outcome(number, "?", *died)

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def fuzz(archive: Path | None, cases: int, seed: int) -> Iterator[Outcome]:
    """The outcomes of the cases 0 to `cases`, one after the other in a watched process."""
    watched = Watched(archive, seed)
    try:
        for number in range(cases):
            yield watched.run(number)
    finally:
        watched.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--archive", type=Path, help="the unpacked folder of real filings")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="run this case alone and here, with its traceback")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return _replay(arguments.archive, arguments.seed, arguments.case)
    report = Report()
    for outcome in fuzz(arguments.archive, arguments.cases, arguments.seed):
        report.add(outcome)
        if outcome.verdict not in ("accepted", "refused"):
            print(
                f"{outcome.verdict}: case {outcome.number} of seed {arguments.seed} ({outcome.name}): {outcome.detail}",
                file=sys.stderr,
                flush=True,
            )
    for word, worst in (("slowest", report.slowest), ("largest", report.largest)):
        if worst:
            print(
                f"{word}: case {worst.number} ({worst.name}), {worst.seconds:.2f} s, {worst.memory / 1e6:.0f} MB",
                file=sys.stderr,
            )
    print(json.dumps(report.flat()))
    return 1 if report.failures else 0


def _replay(archive: Path | None, seed: int, number: int) -> int:
    corpus = read_corpus(archive)
    hostile = case(corpus, seed, number)
    print(f"{hostile.source}, {hostile.name}, {len(hostile.body)} bytes", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(judge(hostile, Path(folder)))
    except Exception:  # noqa: BLE001 - whatever it is, it is what was asked for
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
