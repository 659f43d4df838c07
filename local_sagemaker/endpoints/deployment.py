"""What a DeploymentConfig asks for: the steps of an update, the waits between them and the alarms that take it back.

Pure. Limits: API reference, BlueGreenUpdatePolicy, TrafficRoutingConfig, RollingUpdatePolicy; those that botocore's
model holds are checked before. One worker process stands for all instances of a variant, so a size is a share of the
traffic, and a rolling update differs from a linear one in its limits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_sagemaker.errors import validation


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` are the new fleet's shares of the traffic, the last one 1; after each, `wait_seconds` of baking."""

    steps: tuple[float, ...] = (1.0,)
    wait_seconds: float = 0.0
    termination_seconds: float = 0.0  # for which the old fleet is kept after the update
    timeout_seconds: float = float("inf")
    alarms: tuple[str, ...] = ()

    @property
    def guarded(self) -> bool:
        """Whether old and new fleet serve side by side; AWS wants the same variants in both then."""
        return len(self.steps) > 1 or self.wait_seconds > 0 or bool(self.alarms)


def plan(config: dict[str, Any] | None, instances: int) -> Plan:
    """The plan of a DeploymentConfig for a variant of so many instances. Raises ValidationException as AWS would."""
    if not config:
        return Plan()
    alarms = tuple(item.get("AlarmName", "") for item in config.get("AutoRollbackConfiguration", {}).get("Alarms", []))
    if "" in alarms:
        raise validation("AutoRollbackConfiguration has an alarm without an AlarmName.")
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise validation("Give either BlueGreenUpdatePolicy or RollingUpdatePolicy in DeploymentConfig, not both.")
    policy = blue_green or rolling or {}
    if rolling:
        steps = _steps(_share(rolling, "MaximumBatchSize", instances, 5, 50))
        if "RollbackMaximumBatchSize" in rolling:
            _share(rolling, "RollbackMaximumBatchSize", instances, 5, 100)
        wait = rolling["WaitIntervalInSeconds"]
    elif blue_green:
        routing = blue_green["TrafficRoutingConfiguration"]
        steps, wait = _routing_steps(routing, instances), routing["WaitIntervalInSeconds"]
    else:
        steps, wait = (1.0,), 0
    termination = policy.get("TerminationWaitInSeconds", 0)
    timeout = policy.get("MaximumExecutionTimeoutInSeconds", float("inf"))
    if timeout <= wait * len(steps) + termination:
        raise validation(
            f"MaximumExecutionTimeoutInSeconds ({timeout}) must be larger than the total waiting time "
            f"({wait * len(steps) + termination} s)."
        )
    return Plan(steps, wait, termination, timeout, alarms)


def _routing_steps(routing: dict[str, Any], instances: int) -> tuple[float, ...]:
    kind = routing["Type"]
    member = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    for other in ("CanarySize", "LinearStepSize"):
        if other in routing and other != member:
            raise validation(f"{other} cannot be given with a TrafficRoutingConfiguration of Type {kind}.")
    if member is None:
        return (1.0,)
    if member not in routing:
        raise validation(f"A TrafficRoutingConfiguration of Type {kind} needs {member}.")
    if kind == "CANARY":
        return (_share(routing, member, instances, 0, 50), 1.0)
    return _steps(_share(routing, member, instances, 10, 50))


def _steps(share: float) -> tuple[float, ...]:
    """`share` more with every step, up to all of it."""
    count = -int(-1 // share)
    return (*(round(share * number, 6) for number in range(1, count)), 1.0)


def _share(policy: dict[str, Any], member: str, instances: int, low: int, high: int) -> float:
    size = policy[member]
    percent = size["Value"] if size["Type"] == "CAPACITY_PERCENT" else 100 * size["Value"] / instances
    if not low <= percent <= high:
        raise validation(
            f"{member} must be between {low}% and {high}% of the variant's capacity; {size['Value']} as {size['Type']} "
            f"of {instances} instances is {percent:g}%."
        )
    return float(percent / 100)
