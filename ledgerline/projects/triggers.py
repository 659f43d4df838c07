"""What starts a training besides the clock and new data: files in the object store, and rows that drifted away.

Pure of Dagster: both say whether a training is wanted, and by what cause. How a run is started, and how often it is tried
again, is in sensors/projects.py.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ledgerline.ports import Lake, ObjectStore
from ledgerline.projects.config import ModelProject
from ledgerline.projects.datasets import read_rows
from ledgerline.projects.drift import ColumnDrift, drift
from ledgerline.projects.times import UNKNOWN, micros
from ledgerline.release.releases import current_release


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen below a prefix: a short hash of each object with its stamp, and of all of them when one was new.

    `wanted` names the training that the newest objects ask for; empty before the first.
    """

    objects: tuple[str, ...] = ()
    wanted: str = ""


def seen_now(before: Seen, listing: Iterable[tuple[str, str]]) -> Seen:
    """After looking at a listing of (URI, stamp). A deleted object asks for nothing, a changed one is a new one."""
    found = tuple(sorted(_short(f"{uri} {stamp}") for uri, stamp in listing))
    if set(found) <= set(before.objects):
        return Seen(found, before.wanted)
    return Seen(found, _short("\n".join(found)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Drifted:
    """Rows of the dataset that came after the live model's training set, and how far each column moved.

    `due`: enough rows, and a column beyond `triggers.drift.at_least`.
    """

    model_digest: str
    rows: int
    columns: tuple[ColumnDrift, ...]
    due: bool

    @property
    def summary(self) -> str:
        worst = ", ".join(f"{one.column} {one.index:.2f}" for one in self.columns[:3])
        return f"{self.rows} rows since the live model's training set" + (f"; PSI: {worst}" if worst else "")


def drift_of(project: ModelProject, records: Sequence[Any], lake: Lake, objects: ObjectStore) -> Drifted | None:
    """The rows that are later than every row of the live model's training set, against that training set.

    None where the project has no drift trigger, nothing is live, the table is as it was, or the training set's bytes are
    gone. Raises what reading the lake raises.
    """
    asked, dataset, release = project.config.triggers.drift, project.config.dataset, current_release(records)
    if asked is None or release is None or release.dataset_table != dataset.table:
        return None
    version = lake.version(dataset.table)
    uri = objects.uri("projects", project.name, "training_sets", release.dataset_digest, "dataset.parquet")
    if version is None or version == release.dataset_version or not objects.exists(uri):
        return None
    old = pq.read_table(io.BytesIO(objects.get(uri)))
    if dataset.time_column not in old.column_names:
        return None  # config.yaml asks for other columns since
    rows = read_rows(lake, dataset, version=version, joined={})
    known, times = (micros(one[dataset.time_column], dataset.time_column) for one in (old, rows))
    latest = known[known != UNKNOWN].max(initial=np.iinfo(np.int64).min)
    new = rows.filter(pa.array((times > latest) & (times != UNKNOWN)))
    not_compared = {dataset.time_column, dataset.entity_column}
    moved = tuple(drift(old, new, [name for name in rows.column_names if name not in not_compared]))
    due = new.num_rows >= asked.min_rows and any(one.index >= asked.at_least for one in moved)
    return Drifted(release.model_digest, new.num_rows, moved, due)
