"""Rows of a lake table answered by the live model, kept in another lake table under their keys.

The model is the one of the newest release, by its bytes; nothing is asked of the endpoint. A row that gets the same answer
from the same model keeps the time at which that answer was first given, so that a second run changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ledgerline.errors import ConfigurationError, LedgerlineError, PermanentFailure
from ledgerline.ports import Lake, LakeWrite
from ledgerline.projects.datasets import join_as_of
from ledgerline.projects.pipeline import Pipeline
from ledgerline.projects.sections import BatchTransform
from ledgerline.release.model_platform import TransformSpec
from ledgerline.release.releases import GateRefusal, Release, current_release

ANSWER_COLUMNS = ("answer", "model_digest", "as_of")


@dataclass(frozen=True, slots=True)
class BatchPredictions:
    """What one batch did. `version` is of the table that was read; `answers` are the newest, in the order of the rows."""

    release: Release
    table: str
    version: int
    job: str
    answers: pa.Table
    write: LakeWrite


def predict(pipeline: Pipeline, lake: Lake) -> BatchPredictions:
    """Read, transform, count, merge. Raises GateRefusal where nothing is live, LedgerlineError without rows or where the
    answers are not one per row, PermanentFailure for keys that repeat or are null."""
    project, batch = pipeline.project, pipeline.project.config.batch_transform
    if batch is None:
        raise ConfigurationError(f"{project.name} has no `batch_transform` in config.yaml. Write it first.")
    release = current_release(pipeline.records())
    if release is None:
        raise GateRefusal(
            "registered",
            f"nothing of {project.name} is live, so nobody answers. Materialize {project.name}/live_endpoint first.",
        )
    version = lake.version(batch.table)
    if version is None:
        raise LedgerlineError(
            f"The lake has no table {batch.table}. Materialize the asset that writes it"
            f"{f' ({batch.asset})' if batch.asset else ''}, then this one."
        )
    rows = batch_rows(lake, batch, version)
    lines = request_lines(rows)
    folder = pipeline.uri("runs", pipeline.run, "batch", hashlib.sha256(lines).hexdigest())
    pipeline.objects.put(f"{folder}/in/rows.jsonl", lines)
    done = pipeline.platform.run_transform(
        TransformSpec(
            name=f"{project.aws_name}-batch",
            model_uri=release.model_uri,
            model_digest=release.model_digest,
            input_uri=f"{folder}/in/rows.jsonl",
            output_uri=f"{folder}/out",
            image=project.config.image,
            instance_type=project.config.instance_type,
            instance_count=batch.instance_count,
        ),
        pipeline.log,
    )
    answers = answer_rows(
        rows, batch.key, pipeline.objects.get(f"{folder}/out/rows.jsonl.out"), release, pipeline.clock()
    )
    before = None if lake.version(batch.output_table) is None else lake.read(batch.output_table)
    answers = with_first_times(answers, before, batch.key)
    write = lake.merge(batch.output_table, answers, keys=batch.key)
    return BatchPredictions(release, batch.table, version, done.job_name, answers, write)


def batch_rows(lake: Lake, batch: BatchTransform, version: int) -> pa.Table:
    """The rows to answer, sorted by their keys, with what is joined to them as it was known at their own time."""
    rows = lake.read(batch.table, columns=batch.columns, where=batch.where or None, version=version)
    rows = rows.select(batch.columns)
    if rows.num_rows == 0:
        raise LedgerlineError(
            f"No row of {batch.table} version {version} matches {dict(batch.where)}. Correct batch_transform.where in "
            "config.yaml, or materialize the asset that writes the table."
        )
    nulls = [key for key in batch.key if rows[key].null_count]
    if nulls or rows.group_by(batch.key).aggregate([]).num_rows != rows.num_rows:
        what = f"{', '.join(nulls)} is null in some rows" if nulls else "some rows have the same key"
        raise PermanentFailure(
            f"{what} of {batch.table}, so its answers could not be told apart by {', '.join(batch.key)}. Name columns "
            "under batch_transform.key that tell every row from every other."
        )
    for join in batch.joins:
        columns = list(dict.fromkeys([*join.keys, join.available_column, *join.columns]))
        assert batch.time_column is not None  # the section checked it
        rows = join_as_of(rows, lake.read(join.table, columns=columns), join, time_column=batch.time_column)
    return rows.sort_by([(key, "ascending") for key in batch.key])


def request_lines(rows: pa.Table) -> bytes:
    """One JSON object per row. Times are ISO text, what is not a number (NaN) is null."""
    lines = (json.dumps(_plain(row), ensure_ascii=False, separators=(",", ":")) for row in rows.to_pylist())
    return "".join(f"{line}\n" for line in lines).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither NaN nor infinite
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def answer_rows(rows: pa.Table, keys: Sequence[str], body: bytes, release: Release, now: datetime) -> pa.Table:
    """Keys, answer (JSON text), model digest and time. Raises LedgerlineError unless there is one answer per row."""
    lines = body.decode().removesuffix("\n").split("\n")  # not splitlines: JSON may hold U+2028 and its like
    if len(lines) != rows.num_rows:
        raise LedgerlineError(
            f"The batch transform answered {rows.num_rows} rows with {len(lines)} lines, so nobody can say which answer "
            "is whose, and none was kept. Let output_fn of inference.py give one line of JSON per request."
        )
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise LedgerlineError(
                f"Answer {number} of the batch transform is no JSON ({error}): {line[:100]!r}. Correct output_fn of "
                "inference.py."
            ) from error
    found = rows.select(list(keys))
    count = rows.num_rows
    found = found.append_column("answer", pa.array(lines, pa.string()))
    found = found.append_column("model_digest", pa.array([release.model_digest] * count, pa.string()))
    return found.append_column("as_of", pa.array([now] * count, pa.timestamp("us", tz="UTC")))


def with_first_times(answers: pa.Table, before: pa.Table | None, keys: Sequence[str]) -> pa.Table:
    """`answers` with the `as_of` of `before` where key, answer and model are the same."""
    if before is None:
        return answers
    same = [*keys, "answer", "model_digest"]
    known = before.select([*same, "as_of"]).rename_columns([*same, "__first"])
    joined = answers.join(known, keys=same, join_type="left outer").sort_by([(key, "ascending") for key in keys])
    times = pc.coalesce(joined["__first"], joined["as_of"])
    return joined.select([*same]).append_column("as_of", times).select(answers.column_names)
