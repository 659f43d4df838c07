"""How fast a release is taken back, on the embedded server with the inference code of model_projects/ticker_ranker.

    python -m benchmarks.rollback [--cold N] [--warm N]

`cold_s`: the whole of `rollback` as the job and the command run it, the slowest of N: ledger, bytes hashed, a new worker
for the release of before, its digest asked for, the registry. `warm_ms`: the old fleet is still there, since the new
release is a canary that is being watched; from the moment that its alarm is acknowledged until the last answer of the
new release has come, the median of N. The client asks one request after the other, every second one is the canary's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.endpoint import archive as ranker_archive
from benchmarks.endpoint import request_body, train_model
from ledgerline.release.deploy import deploy_release, rollback
from ledgerline.release.model_platform import DeployFailed
from ledgerline.release.releases import Candidate
from ledgerline.release.rollout import AlarmRule, Rollout
from local_sagemaker import daemon
from resources.object_store import DirectoryObjectStore
from resources.sagemaker import SageMaker
from tests.integration.gate_world import GateWorld, OnePlatform

# Nothing trips it but the benchmark; ten minutes are longer than any measurement.
CANARY = Rollout("canary", 50, wait_seconds=600, alarms=(AlarmRule("Invocation5XXErrors", 0.9, ">", "Average"),))
SURE = 6  # answers of the old release in a row: with a canary of a half no two are


def make_world(folder: Path) -> GateWorld:
    """A project whose models are the ranker over seeded noise; the first release is live, the second candidate waits."""
    model = folder / "model"
    model.mkdir()
    train_model(model)
    objects = DirectoryObjectStore(root=str(folder / "objects"), durable=False)
    platform = SageMaker(object_store=objects, local_home=str(folder / "sagemaker"), local_object_root=objects.root)
    versions: list[str] = []

    def pack(text: str) -> bytes:
        versions.append(text)
        return ranker_archive(model, len(versions))

    return GateWorld(
        "ranker",
        folder / "model_projects",
        objects,
        OnePlatform(platform),
        folder / "ledger.db",
        pack=pack,
        request=request_body(),
    )


def cold(world: GateWorld, second: Candidate) -> float:
    """Seconds of one rollback from the second release to the first, which must answer after it."""
    world.decide(second)
    deploy_release(world.deployer(), actor="benchmark", pins={}, candidate=second)
    started = time.perf_counter()
    rollback(world.deployer(), actor="benchmark", reason="measured")
    took = time.perf_counter() - started
    if world.served() != world.live.model_digest:
        raise RuntimeError("after the rollback the endpoint does not answer with the release of before")
    return took


def warm(world: GateWorld, second: Candidate) -> float:
    """Milliseconds from the alarm of a canary to the last answer of it."""
    endpoint, platform = world.project.endpoint, world.platform

    def deploy() -> None:
        with suppress(DeployFailed):  # what an update that is taken back is reported as
            platform.deploy(endpoint, second.package_arn, rollout=CANARY)

    deploying = threading.Thread(target=deploy)
    deploying.start()
    while world.served() != second.model_digest:
        pass
    cloudwatch = platform._client("cloudwatch")
    (alarm,) = cloudwatch.describe_alarms(AlarmNamePrefix=f"{platform._name(endpoint)}-")["MetricAlarms"]
    cloudwatch.set_alarm_state(AlarmName=alarm["AlarmName"], StateValue="ALARM", StateReason="measured")
    acknowledged = last = time.perf_counter()
    old = 0
    while old < SURE:
        if world.served() == second.model_digest:
            old, last = 0, time.perf_counter()
        else:
            old += 1
    deploying.join()
    return (last - acknowledged) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", type=int, default=5)
    parser.add_argument("--warm", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            world = make_world(folder)
            world.live = world.release("first")
            second = world.register("second", 0.95, on_qa=False)
            colds = [cold(world, second) for _ in range(options.cold)]
            world.decide(second)
            warms = [warm(world, second) for _ in range(options.warm)]
        finally:
            daemon.stop(folder / "sagemaker")
    print(f"cold: {', '.join(f'{value:.2f}' for value in colds)} s")
    print(f"warm: {', '.join(f'{value:.1f}' for value in warms)} ms")
    figures = {"warm_ms": round(statistics.median(warms), 2), "warm_worst_ms": round(max(warms), 2)}
    print(json.dumps({**figures, "cold_s": round(max(colds), 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
