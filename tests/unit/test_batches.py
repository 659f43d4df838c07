"""Filings in batches: how they are cut, what a worker answers, and what is done when it dies. The port is a fake."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledgerline.digests import table_digest
from ledgerline.errors import LedgerlineError
from ledgerline.filings import batches as batches_module
from ledgerline.filings import documents as documents_module
from ledgerline.filings.batches import BadResult, Batches, cut, manifest_of, parse_batch, progress, read_result
from ledgerline.filings.documents import document_rows, published
from ledgerline.ports import Attempt, Batch, BatchRun, ObjectStore
from resources.object_store import DirectoryObjectStore
from tests.shared_data import shared_data
from tests.unit.compute_tools import accession, body_of, put_filings

DAY = date(2025, 3, 14)


class FakeCompute:
    """Runs batches here, one after the other. A body with POISON kills it; `fate` names ends of the next attempts."""

    def __init__(self, *fate: str, batch_bytes: int = 2_000, always: str = "") -> None:
        self.batch_bytes, self.parallel = batch_bytes, 2
        self.ran: list[Batch] = []
        self.closed = 0
        self._fate, self._always = list(fate), always

    def run(self, batches: Sequence[Batch], *, objects: ObjectStore, step: Any) -> Generator[BatchRun, None, None]:
        try:
            for batch in batches:
                self.ran.append(batch)
                yield BatchRun(batch, (self._attempt(batch, objects),))
        finally:
            self.closed += 1

    def _attempt(self, batch: Batch, objects: ObjectStore) -> Attempt:
        manifest = objects.get(batch.manifest)
        poisoned = any(b"POISON" in objects.get(one["uri"]) for one in json.loads(manifest)["filings"])
        ended = self._fate.pop(0) if self._fate else self._always or ("killed" if poisoned else "done")
        if ended == "done":
            objects.put(batch.result, parse_batch(manifest, objects.get))
        code = {"done": 0, "killed": -9, "failed": 1}.get(ended)
        return Attempt("a process", ended, code, 0.5, "" if ended == "done" else f"exit code {code}", ("last line",))  # type: ignore[arg-type]


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjectStore:
    return DirectoryObjectStore(root=str(tmp_path / "objects"), durable=False)


def many(objects: ObjectStore, count: int, **texts: str) -> pa.Table:
    """Filings 1 to `count`; `_3="POISON"` is the text of the third."""
    return put_filings(
        objects, {number: body_of(number, texts.get(f"_{number}", "")) for number in range(1, count + 1)}
    )


def run_days(
    days: dict[str, pa.Table], objects: ObjectStore, compute: FakeCompute, report: Callable[[str], None] = str
) -> dict[str, tuple[pa.Table, dict[str, str], list[dict[str, Any]]]]:
    """(rows, refused, batches) of each day of a run over `days`."""
    with Batches(list(days), days.__getitem__, objects, compute, step=None, report=report) as batches:
        return {
            key: (*document_rows(rows, objects, elsewhere=batches.parsed(key)), batches.rows(key))
            for key, rows in days.items()
        }


def two_days(filings: pa.Table) -> dict[str, pa.Table]:
    """A range, so that every filing goes into a batch."""
    return {"edgar:2025-03-14": filings, "edgar:2025-03-17": filings.slice(0, 0)}


def left(objects: ObjectStore) -> list[str]:
    return list(objects.list(objects.uri("batches")))


# ------------------------------------------------------------------------------------------------------------- cutting


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([40, 40], []),  # less than one batch: no start is worth it
        ([40, 60], [[40, 60]]),
        ([300], [[300]]),
        ([60, 60, 99], [[60, 60], [99]]),
        ([60, 60, 49], [[60, 60, 49]]),  # what is left over and little joins the last
        ([60, 60, 100, 5, 5], [[60, 60], [100, 5, 5]]),
        ([100, 100, 100], [[100], [100], [100]]),
    ],
)
def test_batches_are_whole_and_keep_the_order(sizes: list[int], expected: list[list[int]]) -> None:
    filings = [{"bytes": size} for size in sizes]
    assert [[filing["bytes"] for filing in batch] for batch in cut(filings, 100)] == expected


def test_a_manifest_is_named_by_its_filings_and_by_the_parser(objects, monkeypatch: pytest.MonkeyPatch) -> None:
    filings = published(many(objects, 3))
    assert manifest_of(filings) == manifest_of([dict(reversed(one.items())) for one in filings])
    others = [filings[:2], [*filings[:2], filings[2] | {"sha256": "0" * 64}]]
    assert all(manifest_of(other) != manifest_of(filings) for other in others)
    before = manifest_of(filings)
    monkeypatch.setattr(batches_module, "PARSER_VERSION", "another")
    assert manifest_of(filings) != before
    with pytest.raises(LedgerlineError, match=r"asks for parser '.+' and this image has 'another': deploy the same"):
        parse_batch(before, objects.get)


# -------------------------------------------------------------------------------------------------------------- a batch


def result_of(objects: ObjectStore, filings: pa.Table) -> tuple[bytes, str]:
    manifest = manifest_of(published(filings))
    return parse_batch(manifest, objects.get), objects.put(objects.uri("manifest"), manifest)


def test_a_result_holds_the_rows_in_order_and_what_was_refused(objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "GROUP_CHARACTERS", 100)  # several row groups
    filings = many(objects, 5)
    objects.put(filings["uri"][1].as_py(), b"<SEC-DOCUMENT>")
    told: list[tuple[int, ...]] = []
    manifest = manifest_of(published(filings))
    body = parse_batch(manifest, objects.get, progress=lambda *numbers: told.append(numbers))
    result = read_result(body, objects.put(objects.uri("manifest"), manifest))
    rows, refused = document_rows(filings, objects)
    assert result.rows.equals(rows)
    assert table_digest(result.rows) == table_digest(rows)
    assert result.refused == {("edgar", accession(2)): refused[accession(2)]}
    assert [done for done, *_ in told] == [1, 2, 3, 4, 5]
    assert told[-1][2] == told[-1][3] == sum(filings["bytes"].to_pylist())


def test_no_altered_byte_of_a_result_is_taken_for_its_rows(objects) -> None:
    filings = many(objects, 3)
    body, name = result_of(objects, filings)
    good = read_result(body, name).rows
    for position in range(0, len(body), 3):
        altered = body[:position] + bytes([body[position] ^ 0x55]) + body[position + 1 :]
        try:
            assert read_result(altered, name).rows.equals(good), position
        except BadResult:
            continue


def test_a_truncated_result_and_that_of_another_batch_are_refused(objects) -> None:
    body, name = result_of(objects, many(objects, 3))
    for length in (0, 3, 100, len(body) // 2, len(body) - 1):
        with pytest.raises(BadResult, match="cannot be read"):
            read_result(body[:length], name)
    with pytest.raises(BadResult, match="of something else"):
        read_result(body, "0" * 64)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(BadResult, match="of something else"):
        read_result(sink.getvalue().to_pybytes(), name)


def test_a_fault_of_the_parser_costs_its_filing_only(objects, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = documents_module.parse_filing

    def faulty(source: Any, body: bytes) -> Any:
        if b"FAULT" in body:
            raise IndexError("tuple index out of range")
        return parse(source, body)

    monkeypatch.setattr(documents_module, "parse_filing", faulty)
    rows, refused = document_rows(many(objects, 3, _2="FAULT"), objects)
    assert refused == {accession(2): "crashed: IndexError: tuple index out of range"}
    assert rows["filing_id"].to_pylist() == [accession(1), accession(3)]


# ---------------------------------------------------------------------------------------------------------------- runs


def test_a_range_gives_the_rows_that_this_process_gives_day_by_day(objects) -> None:
    days = {}
    for number in range(6):
        key = (DAY + timedelta(days=number)).isoformat()
        days[key] = put_filings(objects, {number * 10 + one: body_of(number * 10 + one) for one in range(4)}, day=key)
    compute = FakeCompute(batch_bytes=3_000)
    made = run_days(days, objects, compute)
    assert {key: rows for key, (rows, *_) in made.items()} == {
        key: document_rows(days[key], objects)[0] for key in days
    }
    assert all(
        table_digest(rows) == table_digest(document_rows(days[key], objects)[0]) for key, (rows, *_) in made.items()
    )
    assert len(compute.ran) > 2
    assert any(len({one["batch"] for one in rows}) == 2 for *_, rows in made.values())  # a batch over a border of days
    assert left(objects) == []


def test_of_one_day_only_large_filings_leave_and_only_if_they_are_a_batch(objects, monkeypatch) -> None:
    filings = many(objects, 6, _2="large " * 200, _5="large " * 200)
    monkeypatch.setattr(batches_module, "SMALL_BYTES", 1_500)
    one_day = {"edgar:2025-03-14": filings}
    compute = FakeCompute(batch_bytes=3_000)
    ((rows, _, kept),) = run_days(one_day, objects, compute).values()
    assert [one["filings"] for one in kept] == [2]
    assert rows.equals(document_rows(filings, objects)[0])
    small = FakeCompute(batch_bytes=100_000)
    assert run_days(one_day, objects, small)["edgar:2025-03-14"][0].equals(rows)
    assert small.ran == []


def test_a_filing_that_came_or_changed_after_the_plan_is_parsed_here(objects) -> None:
    planned = many(objects, 4)
    changed = many(objects, 5, _2="changed")
    with Batches(
        list(two_days(planned)), two_days(planned).__getitem__, objects, FakeCompute(), step=None, report=str
    ) as b:
        rows, _ = document_rows(changed, objects, elsewhere=b.parsed("edgar:2025-03-14"))
    assert rows.equals(document_rows(changed, objects)[0])


def test_a_batch_that_died_is_run_again_twice(objects) -> None:
    filings = many(objects, 4)
    compute = FakeCompute("killed", "failed")
    rows, refused, (batch,) = run_days(two_days(filings), objects, compute)["edgar:2025-03-14"]
    assert (rows.equals(document_rows(filings, objects)[0]), refused) == (True, {})
    assert (batch["attempts"], batch["exit codes"], batch["ended"]) == (3, "-9, 1, 0", "done")


@pytest.mark.parametrize("poisoned", [(1,), (5,), (8,), (2, 7), (3, 4)])
def test_filings_that_kill_are_found_by_halves_and_cost_no_other(objects, poisoned: tuple[int, ...]) -> None:
    filings = many(objects, 8, **{f"_{number}": "POISON" for number in poisoned})
    compute = FakeCompute(batch_bytes=4_000)
    rows, refused, _ = run_days(two_days(filings), objects, compute)["edgar:2025-03-14"]
    others = [one for one in range(1, 9) if one not in poisoned]
    assert rows["filing_id"].to_pylist() == [accession(one) for one in others]
    assert list(refused) == [accession(one) for one in poisoned]
    assert all(
        why.startswith("crashed: ") and "killed 3 times" in why and "last line" in why for why in refused.values()
    )
    assert max(Counter(batch.name for batch in compute.ran).values()) == 3
    assert left(objects) == []


def test_a_worker_that_was_killed_after_its_result_was_there_has_done_its_work(objects, monkeypatch) -> None:
    days = two_days(many(objects, 4))
    attempt = FakeCompute._attempt

    def killed_late(self: FakeCompute, batch: Batch, store: ObjectStore) -> Attempt:
        done = attempt(self, batch, store)
        return Attempt(done.where, "killed", 137, done.seconds, "exit code 137")

    monkeypatch.setattr(FakeCompute, "_attempt", killed_late)
    compute = FakeCompute()
    with Batches(list(days), days.__getitem__, objects, compute, step=None, report=str) as batches:
        assert len(batches.parsed("edgar:2025-03-14")) == 4
        (row,) = batches.rows("edgar:2025-03-14")
    assert (len(compute.ran), row["ended"], row["exit codes"]) == (1, "done", "137")


def test_where_every_filing_kills_the_worker_is_at_fault_and_no_filing_is_refused(objects) -> None:
    with pytest.raises(LedgerlineError, match="11 filings killed their worker, so it is not they: exit code -9"):
        run_days(two_days(many(objects, 20)), objects, FakeCompute(always="killed", batch_bytes=10_000))


def test_real_filings_come_back_from_a_batch_as_they_are_parsed_here(objects) -> None:
    bodies = sorted((shared_data("filings") / "edgar" / "full").glob("*.txt"))[::10]
    filings = put_filings(objects, {number: path.read_bytes() for number, path in enumerate(bodies)})
    body, name = result_of(objects, filings)
    rows, refused = document_rows(filings, objects)
    result = read_result(body, name)
    assert result.rows.equals(rows)
    assert table_digest(result.rows) == table_digest(rows)
    assert {filing_id: why for (_, filing_id), why in result.refused.items()} == refused
    assert rows.num_rows > len(bodies)


@pytest.mark.parametrize("ended", ["failed", "lost"])
def test_what_no_filing_caused_ends_the_run_with_the_output(objects, ended: str) -> None:
    compute = FakeCompute(always=ended)
    with pytest.raises(LedgerlineError, match=r"failed 3 times and none of its filings is the cause: .*\nlast line"):
        run_days(two_days(many(objects, 4)), objects, compute)
    assert len(compute.ran) == 3


def test_a_result_that_never_comes_ends_the_run(objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCompute, "_attempt", lambda *_: Attempt("a process", "done", 0, 0.5, ""))
    with pytest.raises(LedgerlineError, match="none of its filings is the cause: no object s3://"):
        run_days(two_days(many(objects, 4)), objects, FakeCompute())


@pytest.mark.parametrize("finished", range(1, 6))
def test_wherever_a_run_was_killed_the_next_one_runs_only_what_is_left(objects, finished: int) -> None:
    days = two_days(many(objects, 20))
    ended: list[str] = []

    def killed(line: str) -> None:
        ended.extend([line] if " s on " in line else [])
        if len(ended) == finished:
            raise KeyboardInterrupt

    first = FakeCompute()
    with pytest.raises(KeyboardInterrupt):
        run_days(days, objects, first, killed)
    assert first.closed == 1
    second = FakeCompute()
    rows, _, kept = run_days(days, objects, second)["edgar:2025-03-14"]
    assert rows.equals(document_rows(days["edgar:2025-03-14"], objects)[0])
    assert len(second.ran) == len(kept) - finished
    assert not {batch.name for batch in first.ran} & {batch.name for batch in second.ran}
    assert left(objects) == []


@pytest.mark.parametrize("spoilt", [b"", b"PAR1", b"<html>403</html>"])
def test_a_result_that_is_no_result_is_made_again(objects, spoilt: bytes) -> None:
    days = two_days(many(objects, 4))
    first = FakeCompute()
    run_days(days, objects, first)
    (batch,) = first.ran
    objects.put(batch.result, spoilt)
    said: list[str] = []
    second = FakeCompute()
    run_days(days, objects, second, said.append)
    assert second.ran == [batch]
    assert any("the result that is there is not used, it cannot be read" in line for line in said)


def test_a_long_backfill_is_planned_in_windows_and_tells_how_far_it_is(objects) -> None:
    days = {f"edgar:{DAY + timedelta(days=n)}": put_filings(objects, {n: body_of(n, "x" * 2_000)}) for n in range(24)}
    compute, said, read = FakeCompute(batch_bytes=2_000), list[str](), list[str]()

    def filings_of(key: str) -> pa.Table:
        read.append(key)
        return days[key]

    with Batches(list(days), filings_of, objects, compute, step=None, report=said.append) as batches:
        batches.parsed(next(iter(days)))
        planned = sum(days[key]["bytes"][0].as_py() for key in read)
        assert planned >= batches_module.BATCHES_PER_SLOT * compute.parallel * compute.batch_bytes
        assert len(read) < 10
        for key in list(days)[1:]:
            batches.parsed(key)
            batches.rows(key)
    assert read == list(days)
    assert any(line.startswith("23 of 24 days, 24 batches, ") for line in said)


def test_progress_says_days_batches_bytes_speed_and_the_time_that_is_left() -> None:
    line = progress(50, 250, 31, 3_120_000_000, 30.0)
    assert line == "50 of 250 days, 31 batches, 3.12 GB at 104 MB/s; about 0 h 02 min left"
    assert progress(249, 250, 5, 0, 0.0) == "249 of 250 days, 5 batches, 0.00 GB at 0 MB/s; less than a minute left"
