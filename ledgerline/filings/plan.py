"""Which days must be worked on: pure functions from what is recorded to a plan. Asking Dagster what is recorded is not here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

MAX_ATTEMPTS = 3  # then a person must look: the day stays visible as failed and a click starts it again


@dataclass(frozen=True, slots=True)
class DayState:
    """What is recorded of one day: the digest of its filings, of the filings its mappings were made from ("" for none),
    how many runs failed on just these filings, and whether one is under way."""

    filings_digest: str
    mapped_digest: str
    failures: int = 0
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Days to run, each with its run key (it carries the filings and the attempt), and why the others are not run."""

    run: Mapping[str, str]
    skipped: Mapping[str, str]

    @property
    def reason(self) -> str:
        """One line for a tick that starts nothing."""
        if not self.skipped:
            return "No filings are onboarded yet."
        counts: dict[str, int] = {}
        for why in self.skipped.values():
            counts[why] = counts.get(why, 0) + 1
        return "; ".join(f"{count} day(s): {why}" for why, count in counts.items())


def plan_days(days: Mapping[str, DayState], *, only: Collection[str] | None = None) -> DayPlan:
    """Plan the days (partition key -> state), or those in `only`. Runs what is new and not already under way or given up."""
    run, skipped = {}, {}
    for key, state in sorted(days.items()):
        if only is not None and key not in only:
            continue
        if state.filings_digest == state.mapped_digest:
            skipped[key] = "nothing is new"
        elif state.in_flight:
            skipped[key] = "a run is under way"
        elif state.failures >= MAX_ATTEMPTS:
            skipped[key] = f"failed {state.failures} times on the same filings; look at the run, then materialize by hand"
        else:
            run[key] = f"{key}@{state.filings_digest[:16]}#{state.failures + 1}"
    return DayPlan(run, skipped)
