"""Typed records <-> Dagster metadata of a materialization. Belongs here: what other code reads back. Plots do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict

Record = TypeVar("Record", bound="Provenance")
PREFIX = "ledgerline/"


class Provenance(BaseModel):
    """A record that is written into a materialization and read back; every field becomes `ledgerline/<field>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def metadata(self) -> dict[str, Any]:
        return {f"{PREFIX}{name}": value for name, value in self.model_dump().items()}

    @classmethod
    def read(cls: type[Record], metadata: Mapping[str, Any]) -> Record | None:
        """The record in a materialization's metadata, or None where it holds none. A wrong one raises ValidationError."""
        found = {
            key.removeprefix(PREFIX): getattr(value, "value", value)
            for key, value in metadata.items()
            if key.startswith(PREFIX)
        }
        return cls.model_validate(found) if found else None

    @classmethod
    def latest(
        cls: type[Record], instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None
    ) -> Record | None:
        """The record of the newest materialization of an asset (of a partition), or None if there was none."""
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None), limit=1
        ).records
        materialization = records[0].asset_materialization if records else None
        return cls.read(materialization.metadata) if materialization else None


class DayProvenance(Provenance):
    """What one asset made for one source and day: a digest of its rows, what it was made from (see `input_digest`; for
    `filings` the number of filings that the regulator listed), and `filings_digest`, that of the filings at the root, by
    which a plan knows whether the day is up to date."""

    rows: int
    digest: str
    input_digest: str
    filings_digest: str


def input_digest(upstream: str, also: str = "") -> str:
    """What a day was made from: the digest of the asset upstream, and what else the result depends on (a version, a model)."""
    return f"{upstream}+{also}" if also else upstream
