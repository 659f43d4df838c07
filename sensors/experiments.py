"""The sensor that writes what an experiment store missed while it was down. How, and what waits, is the port's business."""

from __future__ import annotations

import dagster as dg

from ledgerline.release.ports import CaughtUp, Experiments


@dg.sensor(
    name="catch_up_experiments",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes experiments that could not be written when their run ended, once MLflow answers again.",
)
def catch_up_experiments(experiments: dg.ResourceParam[Experiments]) -> dg.SkipReason:
    return dg.SkipReason(told(experiments.catch_up()))


def told(done: CaughtUp) -> str:
    """The sentence that the tick shows."""
    if not (done.written or done.waiting or done.refused):
        return "Every experiment is written."
    parts = [f"{done.written} experiment(s) written late, {done.waiting} still wait"]
    if done.refused:
        parts.append(f"{done.refused} refused and set aside")
    return ", ".join(parts) + (f": {done.reason}." if done.reason else ".")
