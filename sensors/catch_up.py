"""Sensors that bring what could not be delivered while a server was down. What waits, and how, is the business of its port."""

from __future__ import annotations

import dagster as dg

from ledgerline.ports import Notifier
from ledgerline.release.ports import CaughtUp, Experiments


@dg.sensor(
    name="catch_up_experiments",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes experiments that could not be written when their run ended, once MLflow answers again.",
)
def catch_up_experiments(experiments: dg.ResourceParam[Experiments]) -> dg.SkipReason:
    return dg.SkipReason(told(experiments.catch_up()))


@dg.sensor(
    name="catch_up_alerts",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends alerts that wait: Slack was down or busy, or the hour was full.",
)
def catch_up_alerts(notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
    sent, waiting = notifier.catch_up()
    return dg.SkipReason(f"{sent} alert(s) sent late, {waiting} wait." if sent or waiting else "No alert waits.")


def told(done: CaughtUp) -> str:
    """The sentence that the tick shows."""
    if not (done.written or done.waiting or done.refused):
        return "Every experiment is written."
    parts = [f"{done.written} experiment(s) written late, {done.waiting} still wait"]
    if done.refused:
        parts.append(f"{done.refused} refused and set aside")
    return ", ".join(parts) + (f": {done.reason}." if done.reason else ".")
