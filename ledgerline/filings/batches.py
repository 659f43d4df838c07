"""Filings that another process parses: which ones, cut into batches, what a batch is told, what it answers, and what is
done when it dies. How a process or container is started is the `Compute` port's; what a row is, `documents.py`'s.

A batch is an object `batches/<digest>/manifest.json` and becomes `batches/<digest>/documents.parquet`. The digest is that
of the manifest, which names the parser's version, so that equal work has one name: what is there already is not done again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ledgerline.digests import table_digest
from ledgerline.errors import LedgerlineError
from ledgerline.filings.documents import Parsed, filing_rows, published
from ledgerline.filings.parse import PARSER_VERSION
from ledgerline.filings.tables import DOCUMENTS
from ledgerline.ports import Attempt, Batch, BatchRun, Compute, ObjectStore

PREFIX = "batches"
# 92 % of a day's filings are smaller, in 16 % of its bytes, and take some milliseconds each: no start is worth them.
SMALL_BYTES = 5_000_000
# Days of a backfill are cut into batches together until each slot has this many, then they are parsed, then written: few
# slots idle at the end of a window, and a killed run has lost no more than what was running.
BATCHES_PER_SLOT = 4
FILINGS_PER_WINDOW = 100_000  # as many are held in memory, 1 kB each, while their batches run
REDONE = 2  # a batch that died is tried this often again before its filings are suspected
CRASHED = (
    10  # filings; where more than these kill their worker, the worker is at fault: too little memory, a wrong image
)
GROUP_CHARACTERS = 16_000_000  # of text in a row group: what a worker holds of rows that are not compressed yet

_FIELDS = ("source", "day", "filing_id", "form", "uri", "sha256", "bytes")

Filing = Mapping[str, Any]
Progress = Callable[[int, int, int, int], None]  # filings done, filings in all, bytes done, bytes in all


class BadResult(Exception):
    """An object under a batch's result URI that is not the whole result of this batch."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker answered: rows in the order of the manifest, why filings were not parsed (by source and filing id),
    and the seconds that parsing took."""

    rows: pa.Table
    refused: dict[tuple[str, str], str]
    seconds: float


# ------------------------------------------------------------------------------------------ what a batch is, and does


def cut(filings: Sequence[Filing], batch_bytes: int) -> list[list[Filing]]:
    """Filings in batches of at least `batch_bytes`, in their order, of which the last may be down to half as large; none
    where they are fewer bytes altogether."""
    batches: list[list[Filing]] = []
    current: list[Filing] = []
    size = 0
    for filing in filings:
        current.append(filing)
        size += filing["bytes"]
        if size >= batch_bytes:
            batches.append(current)
            current, size = [], 0
    if batches and size >= batch_bytes / 2:
        batches.append(current)
    elif batches:
        batches[-1].extend(current)  # a start for so little would cost more than parsing it
    return batches


def manifest_of(filings: Sequence[Filing]) -> bytes:
    """What a worker is told: the parser's version and, for each filing, what its rows need and where its bytes are."""
    asked = [
        {name: filing[name] for name in _FIELDS}
        | {"available_at": filing["available_at"].isoformat() if filing["available_at"] else None}
        for filing in filings
    ]
    return json.dumps({"parser": PARSER_VERSION, "filings": asked}, ensure_ascii=False, sort_keys=True).encode()


def parse_batch(manifest: bytes, read: Callable[[str], bytes], *, progress: Progress | None = None) -> bytes:
    """Parse a batch, one filing after the other, into a Parquet file of DOCUMENTS rows. `read` gives the bytes of a URI.

    Raises LedgerlineError where this parser is not the one that was asked for.
    """
    asked = json.loads(manifest)
    if asked["parser"] != PARSER_VERSION:
        raise LedgerlineError(
            f"the platform asks for parser {asked['parser']!r} and this image has {PARSER_VERSION!r}: deploy the same "
            "image for the platform and for its tasks"
        )
    started = time.monotonic()
    filings = asked["filings"]
    whole, size = sum(filing["bytes"] for filing in filings), 0
    refused: list[tuple[str, str, str]] = []
    rows: list[dict[str, Any]] = []
    digests: list[str] = []
    sink = pa.BufferOutputStream()
    # The names of lists stay as they are in DOCUMENTS, so that equal rows have equal digests wherever they were parsed.
    with pq.ParquetWriter(sink, DOCUMENTS, compression="zstd", use_compliant_nested_type=False) as writer:
        for done, filing in enumerate(filings, start=1):
            available_at = filing["available_at"] and datetime.fromisoformat(filing["available_at"])
            made, why = filing_rows(filing | {"available_at": available_at}, read(filing["uri"]))
            rows += made
            if why is not None:
                refused.append((filing["source"], filing["filing_id"], why))
            if done == len(filings) or sum(row["characters"] for row in rows) >= GROUP_CHARACTERS:
                group = pa.Table.from_pylist(rows, schema=DOCUMENTS)
                digests.append(table_digest(group))
                writer.write_table(group, row_group_size=len(rows) or None)
                rows = []
            size += filing["bytes"]
            if progress:
                progress(done, len(filings), size, whole)
        about = {
            "batch": _digest(manifest),
            "groups": digests,
            "refused": refused,
            "seconds": time.monotonic() - started,
        }
        writer.add_key_value_metadata({"ledgerline": json.dumps(about, ensure_ascii=False)})
    return sink.getvalue().to_pybytes()


def read_result(body: bytes, name: str) -> Result:
    """The result of batch `name`. Raises BadResult where `body` is truncated, altered or that of something else."""
    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        about = json.loads((file.metadata.metadata or {}).get(b"ledgerline", b"{}"))
        if about.get("batch") != name:
            raise BadResult("it is the result of something else")
        groups = [file.read_row_group(number).replace_schema_metadata(None) for number in range(file.num_row_groups)]
        # Parquet has checksums for pages and none for its footer, which says what the pages mean.
        if [table_digest(group) for group in groups] != about["groups"]:
            raise BadResult("its rows are not those that were written")
        rows = pa.concat_tables(groups)
        return Result(rows, {(source, one): why for source, one, why in about["refused"]}, float(about["seconds"]))
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise BadResult(f"it cannot be read: {error}") from error


def _digest(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


# ------------------------------------------------------------------------------------------------- the days of one run


@dataclass(slots=True)
class _Work:
    """A batch, its filings, and what is known of it. `part`: a piece of a batch that died, to find the cause."""

    batch: Batch
    filings: list[Filing]
    part: bool
    attempts: list[Attempt] = field(default_factory=list)
    deaths: int = 0
    parsing_seconds: float = 0.0
    ended: str = ""

    @property
    def label(self) -> str:
        return f"batch {self.batch.name[:12]} ({self.batch.filings} filings, {self.batch.bytes / 1e6:.0f} MB)"

    def row(self) -> dict[str, Any]:
        """What is kept of it, for a person to read."""
        seconds = sum(attempt.seconds for attempt in self.attempts)
        return {
            "batch": self.batch.name[:12],
            "filings": self.batch.filings,
            "MB": round(self.batch.bytes / 1e6, 1),
            "seconds": round(seconds, 1),
            "parsing": round(self.parsing_seconds, 1),
            "attempts": len(self.attempts),
            "ended": self.ended,
            "where": ", ".join(attempt.where for attempt in self.attempts),
            "exit codes": ", ".join(str(attempt.exit_code) for attempt in self.attempts),
            "why": "; ".join(attempt.why for attempt in self.attempts if attempt.why),
        }


class Batches:
    """The batches of one run over `keys`, its days in the order in which they are made.

    Use it as a context: what still runs when the block is left is stopped; results are removed once the block has ended
    well, so that a run that was killed finds those that its predecessor finished. `filings_of` reads a day's FILINGS
    rows. Of one day only large filings go into batches; of several, a backfill, all do.
    """

    def __init__(
        self,
        keys: Sequence[str],
        filings_of: Callable[[str], pa.Table],
        objects: ObjectStore,
        compute: Compute,
        *,
        step: Any,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ahead = deque(keys)
        self._days = len(keys)
        self._filings_of = filings_of
        self._objects = objects
        self._compute = compute
        self._step = step
        self._report = report
        self._clock = clock
        self._started = clock()
        self._begun = 0
        self._of_day: dict[str, list[_Work]] = {}
        self._crashed: dict[tuple[str, str, str], str] = {}  # by source, filing id and sha256
        self._leftover: list[Batch] = []
        self._last: tuple[str, Result] | None = None
        self._done, self._bytes = 0, 0

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for batch in self._leftover:
                self._objects.delete(batch.result)
                self._objects.delete(batch.manifest)

    def parsed(self, key: str) -> dict[tuple[str, str], Parsed]:
        """What batches made of a day's filings, by (filing id, sha256). Runs batches until the day is complete.

        Raises LedgerlineError where batches fail and no filing is the cause.
        """
        if self._begun and self._days > 1:
            self._report(progress(self._begun, self._days, self._done, self._bytes, self._clock() - self._started))
        self._begun += 1
        while self._ahead and key not in self._of_day:
            self._window()
        found: dict[tuple[str, str], Parsed] = {}
        for work in self._of_day.get(key, ()):
            found |= self._parsed_of(work, key)
        return found

    def rows(self, key: str) -> list[dict[str, Any]]:
        """A row for each batch that held filings of the day: filings, seconds, attempts, where it ran, how it ended."""
        return [work.row() for work in self._of_day.pop(key, ())]

    # ------------------------------------------------------------------------------------------------- one window

    def _window(self) -> None:
        """Plan the next days together and run their batches."""
        enough = BATCHES_PER_SLOT * self._compute.parallel * self._compute.batch_bytes
        filings: list[Filing] = []
        size = 0
        while self._ahead and size < enough and len(filings) < FILINGS_PER_WINDOW:
            key = self._ahead.popleft()
            self._of_day[key] = []
            for filing in published(self._filings_of(key)):
                if self._days > 1 or filing["bytes"] >= SMALL_BYTES:
                    filings.append({name: filing[name] for name in (*_FIELDS, "available_at")} | {"key": key})
                    size += filing["bytes"]
        # Below one whole batch nothing leaves this process: a second of parsing is less than any start.
        self._run([self._work(part, part_of_a_batch=False) for part in cut(filings, self._compute.batch_bytes)])

    def _work(self, filings: Sequence[Filing], *, part_of_a_batch: bool) -> _Work:
        manifest = manifest_of(filings)
        name = _digest(manifest)
        batch = Batch(
            name=name,
            manifest=self._objects.uri(PREFIX, name, "manifest.json"),
            result=self._objects.uri(PREFIX, name, "documents.parquet"),
            filings=len(filings),
            bytes=sum(filing["bytes"] for filing in filings),
        )
        self._objects.put(batch.manifest, manifest)
        self._leftover.append(batch)
        work = _Work(batch, list(filings), part_of_a_batch)
        for key in dict.fromkeys(filing["key"] for filing in filings):
            self._of_day[key].append(work)
        return work

    def _run(self, works: Sequence[_Work]) -> None:
        todo = {work.batch.name: work for work in works if not self._is_there(work)}
        if works:
            size = sum(work.batch.bytes for work in works)
            reused = f", {len(works) - len(todo)} of them done by an earlier run" if len(todo) < len(works) else ""
            self._report(f"{len(works)} batches, {size / 1e6:.0f} MB{reused}; {self._compute.parallel} at a time")
        while todo:
            again: list[_Work] = []
            batches = [work.batch for work in todo.values()]
            with closing(self._compute.run(batches, objects=self._objects, step=self._step)) as runs:
                for run in runs:
                    again += self._after(todo[run.batch.name], run)
            todo = {work.batch.name: work for work in again if not self._is_there(work)}

    def _is_there(self, work: _Work) -> bool:
        """Whether its result is there, of an earlier run or of a worker that died later. What is no result is made again."""
        if not self._objects.exists(work.batch.result):
            return False
        why = self._result_is_bad(work)
        if why:
            self._report(f"{work.label}: the result that is there is not used, {why}")
            return False
        work.ended = "done" if work.attempts else "done by an earlier run"
        return True

    def _after(self, work: _Work, run: BatchRun) -> list[_Work]:
        """What is to be run because this one ended."""
        work.attempts += run.attempts
        last = run.attempts[-1]
        work.ended, why = last.ended, last.why
        if last.ended == "done":
            why = self._result_is_bad(work)
            if not why:
                self._done += 1
                self._bytes += work.batch.bytes
                self._report(f"{work.label}: {work.parsing_seconds:.1f} s of {last.seconds:.1f} s on {last.where}")
                return []
            work.ended = "failed"
        work.deaths += 1
        self._report(f"{work.label}: {work.ended}, {why}")
        alone = len(work.filings) == 1
        if work.deaths <= (0 if work.part and work.ended == "killed" and not alone else REDONE):
            return [work]
        end = "\n".join(last.log) or "nothing was written"
        if work.ended != "killed":
            raise LedgerlineError(
                f"{work.label} failed {work.deaths} times and none of its filings is the cause: {why}. Mend what its "
                f"output names and run the days again; what is finished is kept. The end of its output:\n{end}"
            )
        if not alone:
            half = len(work.filings) // 2
            return [self._work(part, part_of_a_batch=True) for part in (work.filings[:half], work.filings[half:])]
        (filing,) = work.filings
        self._crashed[filing["source"], filing["filing_id"], filing["sha256"]] = (
            f"crashed: the worker that parsed it was killed {work.deaths} times: {why}; the end of its output: {end}"
        )
        if len(self._crashed) > CRASHED:
            raise LedgerlineError(
                f"{len(self._crashed)} filings killed their worker, so it is not they: {why}. Give workers more memory, or "
                f"look at their image, and run the days again. The end of the output:\n{end}"
            )
        return []

    def _result_is_bad(self, work: _Work) -> str:
        try:
            work.parsing_seconds = self._result(work).seconds
        except (BadResult, FileNotFoundError) as problem:
            return str(problem)
        return ""

    # ------------------------------------------------------------------------------------------------- its results

    def _result(self, work: _Work) -> Result:
        if self._last is None or self._last[0] != work.batch.name:
            self._last = None  # one in memory, not two
            self._last = (work.batch.name, read_result(self._objects.get(work.batch.result), work.batch.name))
        return self._last[1]

    def _parsed_of(self, work: _Work, key: str) -> dict[tuple[str, str], Parsed]:
        mine = [filing for filing in work.filings if filing["key"] == key]
        if work.ended == "killed":  # its pieces hold what became of it, or it is one filing that crashed
            names = {(one["filing_id"], one["sha256"]): one["source"] for one in mine}
            crashed = {name: self._crashed.get((source, *name)) for name, source in names.items()}
            return {name: (DOCUMENTS.empty_table(), why) for name, why in crashed.items() if why}
        result = self._result(work)
        spans = _spans(result.rows)
        found: dict[tuple[str, str], Parsed] = {}
        for filing in mine:
            name = filing["source"], filing["filing_id"]
            span = spans.get(name, _Span(0, 0))
            found[filing["filing_id"], filing["sha256"]] = (
                result.rows.slice(span.start, span.length),
                result.refused.get(name),
            )
        return found


def progress(days: int, of: int, batches: int, size: int, seconds: float) -> str:
    """What a backfill has done, for its log: days, batches, bytes, speed, and the time that is left at that speed."""
    left = round(seconds / days * (of - days) / 60)
    about = f"about {left // 60} h {left % 60:02} min left" if left else "less than a minute left"
    speed = size / 1e6 / seconds if seconds else 0.0
    return f"{days} of {of} days, {batches} batches, {size / 1e9:.2f} GB at {speed:.0f} MB/s; {about}"


class _Span(NamedTuple):
    start: int
    length: int


def _spans(rows: pa.Table) -> dict[tuple[str, str], _Span]:
    """Where the rows of each filing (source, filing id) are: a worker writes them one filing after the other."""
    counts = Counter(zip(rows["source"].to_pylist(), rows["filing_id"].to_pylist(), strict=True))
    spans, start = {}, 0
    for name, count in counts.items():
        spans[name] = _Span(start, count)
        start += count
    return spans
