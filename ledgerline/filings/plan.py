"""Which days must be worked on: pure functions from what is recorded to a plan. Asking Dagster what is recorded is not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_ATTEMPTS = 3  # then a person must look: the day stays visible as failed and a click starts it again


@dataclass(frozen=True, slots=True)
class DayState:
    """What is recorded of one day: what it should be made from (a digest, a count), what it was made from ("" for
    nothing), how many runs failed on just that, and whether one is under way."""

    wanted: str
    done: str
    failures: int = 0
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Days to run, each with its run key (it carries what is wanted and the attempt), and why the others are not run."""

    run: Mapping[str, str]
    skipped: Mapping[str, str]

    @property
    def reason(self) -> str:
        """One line for a tick that starts nothing."""
        if not self.skipped:
            return "No day is known yet."
        counts: dict[str, int] = {}
        for why in self.skipped.values():
            counts[why] = counts.get(why, 0) + 1
        return "; ".join(f"{count} day(s): {why}" for why, count in counts.items())


def plan_days(days: Mapping[str, DayState]) -> DayPlan:
    """Plan the days (partition key -> state): runs what is new and not already under way or given up."""
    run, skipped = {}, {}
    for key, state in sorted(days.items()):
        if state.wanted == state.done:
            skipped[key] = "nothing is new"
        elif state.in_flight:
            skipped[key] = "a run is under way"
        elif state.failures >= MAX_ATTEMPTS:
            skipped[key] = f"failed {state.failures} times on the same input; look at the run, then materialize by hand"
        else:
            run[key] = f"{key}@{state.wanted}#{state.failures + 1}"
    return DayPlan(run, skipped)
