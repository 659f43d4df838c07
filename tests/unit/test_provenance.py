"""Records in the metadata of materializations: written, read back, and refused where they are not what they should be."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from platform_assets.components import model_project
from platform_assets.knowledge_graph import VersionProvenance
from platform_assets.listings import ListingsProvenance
from platform_assets.provenance import DayProvenance, Provenance, input_digest

RECORD = DayProvenance(rows=3, digest="a", input_digest="b", filings_digest="c")
RECORDS = [DayProvenance, VersionProvenance, ListingsProvenance] + [
    found
    for found in vars(model_project).values()
    if isinstance(found, type) and issubclass(found, Provenance) and found is not Provenance
]


VALUES: dict[Any, Any] = {
    str: "x",
    int: 7,
    bool: True,
    float: 0.5,
    dict[str, int]: {"x": 7},
    dict[str, str | int | float]: {"x": "y", "z": 0.5},
}


def value_of(kind: Any) -> Any:
    return VALUES[kind] if kind in VALUES else example(kind)  # a record in a record


def example(record: type[Provenance]) -> Provenance:
    return record(**{name: value_of(field.annotation) for name, field in record.model_fields.items()})


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_round_trips_through_a_materialization(record: type[Provenance]) -> None:
    made = example(record)
    with dg.DagsterInstance.ephemeral() as instance:
        metadata = {**made.metadata(), "preview": "of a person's interest"}
        instance.report_runless_asset_event(dg.AssetMaterialization("thing", metadata=metadata))
        assert record.latest(instance, dg.AssetKey("thing")) == made


def test_the_newest_record_of_the_partition_is_found() -> None:
    key = dg.AssetKey("filings")
    with dg.DagsterInstance.ephemeral() as instance:
        for partition, rows in (("monday", 1), ("tuesday", 2), ("monday", 3)):
            metadata = RECORD.model_copy(update={"rows": rows}).metadata()
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition, metadata=metadata))
        found = {day: DayProvenance.latest(instance, key, day) for day in ("monday", "tuesday", "wednesday")}
    assert {day: record and record.rows for day, record in found.items()} == {
        "monday": 3,
        "tuesday": 2,
        "wednesday": None,
    }


def test_a_materialization_that_somebody_else_reported_holds_no_record() -> None:
    assert DayProvenance.read({"rows": dg.MetadataValue.int(3), "path": "somewhere"}) is None


@pytest.mark.parametrize(
    "changed",
    [{"ledgerline/rows": "many"}, {"ledgerline/unknown": 1}, {"ledgerline/digest": None}, {"ledgerline/digest": 5}],
)
def test_a_record_that_does_not_fit_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DayProvenance.read({**RECORD.metadata(), **changed})


@pytest.mark.parametrize("missing", sorted(DayProvenance.model_fields))
def test_a_record_with_a_field_missing_is_refused(missing: str) -> None:
    metadata = RECORD.metadata()
    del metadata[f"ledgerline/{missing}"]
    with pytest.raises(ValidationError, match=missing):
        DayProvenance.read(metadata)


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        VersionProvenance.read(RECORD.metadata())


def test_what_a_day_was_made_from_changes_with_either_part() -> None:
    assert len({input_digest("a"), input_digest("b"), input_digest("a", "v1"), input_digest("a", "v2")}) == 4
