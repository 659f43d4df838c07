"""Days are made known before they can be backfilled; a wrong range is refused with what is right."""

from __future__ import annotations

import dagster as dg
import pytest

from jobs.filings import register_days

WEEK = {"source": "edgar", "since": "2024-01-01", "until": "2024-01-07"}


def run(instance: dg.DagsterInstance, **changes: str) -> dg.ExecuteInProcessResult:
    config = {"ops": {"make_days_known": {"config": {**WEEK, **changes}}}}
    return register_days.execute_in_process(run_config=config, instance=instance, raise_on_error=False)


def test_the_weekdays_of_a_range_are_registered_once_and_in_order() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("source_day", ["edgar:2024-01-03"])
        for _ in range(2):
            assert run(instance).success
        days = ["2024-01-03", "2024-01-01", "2024-01-02", "2024-01-04", "2024-01-05"]
        assert list(instance.get_dynamic_partitions("source_day")) == [f"edgar:{day}" for day in days]


def test_a_weekend_alone_has_no_days() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, since="2024-01-06").success
        assert list(instance.get_dynamic_partitions("source_day")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "sec"}, "'sec' is no source"),
        ({"source": ""}, "all needed"),
        ({"since": "yesterday"}, "yesterday"),
        ({"since": "2024-02-01"}, "no range of past days"),
        ({"until": "2999-01-01"}, "no range of past days"),
    ],
)
def test_a_wrong_range_is_refused_with_what_is_right(changes: dict[str, str], said: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, **changes)
        assert not result.success
        (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        assert said in str(failure.user_failure_data.description)
        assert list(instance.get_dynamic_partitions("source_day")) == []
