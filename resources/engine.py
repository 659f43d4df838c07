"""Port `engine`: pure functions over many texts in this process, or on Ray. Implements `ledgerline.engines.Engine`.

Ray is on this machine, or a cluster that is there already, e.g. of KubeRay: `ray://<service of its head>:10001`. Texts are
sharded by their content; state stays with the caller, who keeps it where it always does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from dagster import ConfigurableResource
from pydantic import Field

from ledgerline.engines import OneProcess, by_content
from ledgerline.errors import ConfigurationError, LedgerlineError
from resources.environment import ROOT

R = TypeVar("R")


class OneProcessEngine(ConfigurableResource):
    """Here, one after the other: the twin, and the choice below ten million documents (docs/operations.md)."""

    def map(self, function: Callable[[str], R], texts: Sequence[str]) -> Iterator[R]:
        return OneProcess().map(function, texts)


class RayEngine(ConfigurableResource):
    """Tasks of Ray, one for each shard of a window of texts; two windows are under way, so that no worker waits.

    Workers of a cluster need this platform's image, of the same version: they import the function by its name.
    """

    address: str = Field(default="", description="ray://host:10001; empty: Ray is started on this machine.")
    shards: int = Field(default=0, ge=0, description="Tasks of a window; 0: as many as Ray has processors.")
    window: int = Field(default=2_000, ge=1, description="Texts that are sent at once.")

    def map(self, function: Callable[[str], R], texts: Sequence[str]) -> Iterator[R]:
        """See `ledgerline.engines.Engine`. Each text and each answer crosses a process border once."""
        ray = connected(self.address)
        shards = self.shards or max(1, int(ray.cluster_resources().get("CPU", 1)))
        run = ray.remote(_answers)
        under_way: deque[list[tuple[list[int], Any]]] = deque()
        begins = iter(range(0, len(texts), self.window))

        def send() -> None:
            begin = next(begins, None)
            if begin is not None:
                part = texts[begin : begin + self.window]
                groups = [places for places in by_content(part, shards) if places]
                under_way.append([(places, run.remote(function, [part[one] for one in places])) for places in groups])

        send()
        send()
        while under_way:
            answers: dict[int, R] = {}
            for places, reference in under_way.popleft():
                answers.update(zip(places, self._got(ray, reference), strict=True))
            send()
            yield from (answers[place] for place in range(len(answers)))

    def _got(self, ray: Any, reference: Any) -> list[Any]:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            raise LedgerlineError(
                f"Ray at {self.address or 'this machine'} lost a task ({type(error).__name__}): look at its workers and their "
                "memory, then run this again; nothing is half-written."
            ) from error


def connected(address: str) -> Any:
    """Ray, connected to a cluster, or started on this machine, once a process."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ConfigurationError(
            "LEDGERLINE_ENGINE=ray needs Ray: install the extra `ray`, or leave LEDGERLINE_ENGINE out."
        ) from None
    if ray.is_initialized():
        return ray
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            here = {"env_vars": {"PYTHONPATH": str(ROOT)}}
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
                runtime_env=here,
            )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise LedgerlineError(
            f"Ray at {address or 'this machine'} cannot be used ({str(error).splitlines()[0]}): see that its head runs, "
            "that RAY_ADDRESS names it, and that its token is in RAY_AUTH_TOKEN where it asks for one."
        ) from error
    return ray


def _answers(function: Callable[[str], R], texts: Sequence[str]) -> list[R]:
    return [function(text) for text in texts]
