"""One update under way: traffic moved from the old fleets to the new ones step by step, watched while it bakes.

What belongs here is the way of the traffic and the verdict. Starting fleets, ending them and recording how it ended is
the supervisor's. All of it runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from local_sagemaker.endpoints.alarms import Alarms
from local_sagemaker.endpoints.deployment import Plan
from local_sagemaker.endpoints.drift import distance
from local_sagemaker.endpoints.metrics import Metrics, Series
from local_sagemaker.endpoints.worker import Fleet

if TYPE_CHECKING:
    from local_sagemaker.endpoints.supervisor import Route

_LOOK_SECONDS = 0.1  # between two looks at alarms and workers
_EAGER_LOOK_SECONDS = 0.005  # the same after an answer of the new fleet, ...
_LOOK_COST = 4  # the pause is so many times as long as the look before it, so that looking never starves requests
_EAGER_SECONDS = 2.0  # ... for so long after a step: a bad release shows in its first answers


class Shift:
    """The route of an endpoint in an update: `share` of the requests to the new route, the others to the old one.

    The share is exact, not a matter of chance: at .1 every tenth request is the canary's.
    """

    def __init__(self, old: Route | Shift, new: Route, share: float) -> None:
        self._old = old
        self._new = new
        self._share = share
        self._due = 0.0

    @property
    def fleets(self) -> list[Fleet]:
        return self._old.fleets + self._new.fleets

    @property
    def answering(self) -> list[Fleet]:
        return self._old.answering + self._new.answering

    @property
    def shadow(self) -> Fleet | None:
        """The old release's: copies go on to it until the update is done."""
        return self._old.shadow

    def choose(self, target_variant: str | None = None) -> Fleet | None:
        self._due += self._share
        if self._due < 1 - 1e-9:
            return self._old.choose(target_variant)
        self._due -= 1
        return self._new.choose(target_variant)

    def fallback(self, fleet: Fleet) -> Fleet | None:
        """The fleet that answers for one of the new fleets that could not."""
        return self._old.choose(fleet.name) if fleet in self._new.fleets else self._old.fallback(fleet)


class Update:
    """Moves the traffic of one endpoint as its plan says. `route` installs a route, `wanted` is False when the new
    configuration was deleted."""

    def __init__(
        self,
        plan: Plan,
        old: Route | Shift,
        new: Route,
        *,
        route: Callable[[Route | Shift], None],
        wanted: Callable[[], bool],
        alarms: Alarms,
        metrics: Metrics,
    ) -> None:
        self._plan = plan
        self._old = old
        self._new = new
        self._route = route
        self._wanted = wanted
        self._alarms = alarms
        self._pairs = _pairs(metrics, old.fleets, new.fleets)
        self._answered = asyncio.Event()
        self._crashes = {fleet: fleet.crashes for fleet in new.answering}  # a shadow may crash: nobody hears it

    async def run(self) -> str | None:
        """Move the traffic; None when the new fleets may take over for good, else why the old ones must go on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._plan.timeout_seconds
        for new, _ in self._pairs:
            new.answered = self._answered
        try:
            for share in self._plan.steps:
                problem = self._problem()
                if problem is None:
                    self._route(Shift(self._old, self._new, share))
                    problem = await self._bake(min(loop.time() + self._plan.wait_seconds, deadline))
                if problem is not None:
                    return problem
                if loop.time() >= deadline:
                    return f"The deployment took longer than its {self._plan.timeout_seconds:.0f} s."
        finally:
            for new, _ in self._pairs:
                new.answered = None
        return None

    async def _bake(self, until: float) -> str | None:
        """Watch until the time is over, or until there is a reason to go back."""
        loop = asyncio.get_running_loop()
        eager_until = loop.time() + _EAGER_SECONDS
        while True:
            problem = self._problem()
            left = until - loop.time()
            if problem is not None or left <= 0:
                return problem
            self._answered.clear()
            try:
                await asyncio.wait_for(self._answered.wait(), min(left, _LOOK_SECONDS))
            except asyncio.TimeoutError:
                continue
            began = loop.time()
            self._compare()
            if self._problem() is None:
                pause = _EAGER_LOOK_SECONDS if began < eager_until else _LOOK_SECONDS
                await asyncio.sleep(max(pause, _LOOK_COST * (loop.time() - began)))

    def _problem(self) -> str | None:
        for fleet, crashes in self._crashes.items():
            if fleet.crashes > crashes:
                return (
                    f"The worker of production variant {fleet.name} ended while it took over; see the endpoint's log."
                )
        if not self._wanted():
            return "The endpoint configuration was deleted during the update."
        for name in self._plan.alarms:
            found = self._alarms.evaluate(name)
            if found is None:
                return f"The alarm {name} was deleted during the update."
            if found[0] == "ALARM":
                return f"The alarm {name} is in ALARM state: {found[1]}"
        return None

    def _compare(self) -> None:
        """Note how far the new answers are from the old ones."""
        for new, old in self._pairs:
            drift = distance(old.predictions(), new.predictions())
            if drift is not None:
                new.record_drift(drift)


def _pairs(metrics: Metrics, old: list[Fleet], new: list[Fleet]) -> list[tuple[Series, Series]]:
    """The series of each new variant with that of the old variant of its name."""
    before = {fleet.name: metrics.of(fleet) for fleet in old}
    pairs = [(metrics.of(fleet), before.get(fleet.name)) for fleet in new]
    return [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None and mine is not theirs]
