"""Fault-injected endpoint updates: does `deploy` ever report a success that is none?

    python -m benchmarks.updates [--updates N] [--lanes N] [--seed N]

Each update is `SageMaker.deploy` of a new light model on a real embedded server, half of its traffic first, under an
alarm. While it bakes, one of the faults below happens. Afterwards the truth is looked up: the endpoint must be
InService with the config of the deployment, without a failure reason, and answer with the digest that was asked for.
`false_successes` are deployments that were reported as done and were not, `false_failures` those reported as failed
without a fault. `waiter_false_successes` is what a caller that looks at InService alone, as boto3's waiter does, would
have believed. Lanes are endpoints that are updated at the same time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledgerline.release.digest import model_digest, pack_files
from ledgerline.release.model_platform import DeployFailed, EndpointDeployment
from ledgerline.release.rollout import AlarmRule, Rollout

if TYPE_CHECKING:
    from resources.sagemaker import SageMaker

FAULTS = {
    "none": "a good release: it must go live",
    "old_config": "the new model does not load: InService with the old config",
    "alarm": "the alarm rings in the bake",
    "config_deleted": "the new config is deleted in the bake",
    "worker_crash": "the new worker dies in the bake",
    "rollback_failed": "the alarm rings while the old worker is dead and cannot start: UpdateRollbackFailed",
}
_GOOD = AlarmRule("Invocation5XXErrors", 0.9, ">", "Average")
_AT_ONCE = Rollout("canary", 50, wait_seconds=0, alarms=(_GOOD,))
_BAKED = Rollout("canary", 50, wait_seconds=600, alarms=(_GOOD,))
_MODEL = """
import os
def model_fn(model_dir):
    {load}
def predict_fn(request, model):
    if request == "die {version}":
        os._exit(9)
    return "{version}"
"""


@dataclass
class Lane:
    """One endpoint, and two resources: deployments block on one while faults are injected through the other."""

    name: str
    folder: Path
    serving: str = ""  # digest and version of the last release that went live
    version: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        import boto3
        from botocore.config import Config

        from local_sagemaker import daemon

        self.deployer = self._platform()
        self.injector = self._platform()
        self.injector.describe_endpoint(self.name)  # starts the server
        found = daemon.environment(self.folder / "home")
        self.runtime = boto3.session.Session().client(
            "sagemaker-runtime",
            endpoint_url=found["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"],
            region_name=found["AWS_REGION"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _platform(self) -> SageMaker:
        from resources.object_store import DirectoryObjectStore
        from resources.sagemaker import SageMaker

        objects = DirectoryObjectStore(root=str(self.folder / "objects"), durable=False)
        return SageMaker(object_store=objects, local_home=str(self.folder / "home"), local_object_root=objects.root)

    def put_model(self, version: str, *, loads: bool = True) -> tuple[str, str]:
        """URI and digest of a model of this version."""
        program = _MODEL.format(version=version, load="return None" if loads else 'raise OSError("a defect")')
        packed = pack_files({"code/inference.py": program.encode()})
        uri = f"s3://benchmark/{version}.tar.gz"
        self.deployer.object_store.put(uri, packed)
        return uri, model_digest(packed)

    def update(self, fault: str) -> None:
        """One update with a fault; counts how it was reported and what is true."""
        self.version += 1
        version = f"{self.name}-{self.version}"
        uri, digest = self.put_model(version, loads=fault != "old_config")
        reported: list[EndpointDeployment] = []
        baked = fault not in ("none", "old_config")

        def deploy() -> None:
            try:
                rollout = _BAKED if baked else _AT_ONCE
                reported.append(self.deployer.deploy(self.name, uri, model_digest=digest, rollout=rollout))
            except DeployFailed:
                pass  # what a failed update is to be reported as; anything else ends the benchmark

        thread = threading.Thread(target=deploy)
        thread.start()
        if baked:
            self._inject(fault, version, digest, thread)
        thread.join()
        self._judge(fault, reported, version, digest)

    def _inject(self, fault: str, version: str, digest: str, deploying: threading.Thread) -> None:
        while self._ask() != digest:  # until the canary answers
            if not deploying.is_alive():
                raise RuntimeError(f"the update to {version} ended before its fault {fault}")
        client = self.injector._client("sagemaker")
        pending = client.describe_endpoint(EndpointName=self.injector._name(self.name))["PendingDeploymentSummary"]
        config = pending["EndpointConfigName"]
        if fault == "config_deleted":
            client.delete_endpoint_config(EndpointConfigName=config)
            return
        if fault == "worker_crash":
            while deploying.is_alive():
                self._ask(f"die {version}")
            return
        if fault == "rollback_failed":
            self._kill_old()
        self.injector._client("cloudwatch").set_alarm_state(
            AlarmName=f"{config}-alarm-1", StateValue="ALARM", StateReason="injected"
        )

    def _kill_old(self) -> None:
        """End the old worker, and spoil its model so that it does not come back."""
        digest, version = self.serving.split()
        folder = self.folder / "home" / "artifacts" / digest / "model" / "code"
        folder.chmod(0o700)
        (folder / "inference.py").chmod(0o600)
        (folder / "inference.py").write_text("spoilt")
        for _ in range(2):  # every second request is the old release's
            self._ask(f"die {version}")

    def _ask(self, text: str = "ask") -> str | None:
        """The digest of the release that answered, None if nobody could."""
        from botocore.exceptions import ClientError

        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self.injector._name(self.name), Body=json.dumps(text), ContentType="application/json"
            )
        except ClientError:
            return None
        return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-ledgerline-model-digest"])

    def _judge(self, fault: str, reported: list[EndpointDeployment], version: str, digest: str) -> None:
        state = self.injector.describe_endpoint(self.name)
        if state is None:
            raise RuntimeError(f"endpoint {self.name} is gone")
        served = {self._ask() for _ in range(4)} if state.status == "InService" else set()
        live = (state.status, state.failure_reason, served) == ("InService", None, {digest})
        if reported:
            live = live and state.config_name == reported[0].config_name
        self.outcomes[fault] += 1
        self.outcomes["false_successes"] += bool(reported) and not live
        self.outcomes["false_failures"] += not reported and (live or fault == "none")
        self.outcomes["waiter_false_successes"] += state.status == "InService" and not live
        self.outcomes["rollback_failed_seen"] += state.status == "UpdateRollbackFailed"
        if live:
            self.serving = f"{digest} {version}"
        elif state.status == "UpdateRollbackFailed":  # an operator's way out: another update
            self.version += 1
            uri, digest = self.put_model(f"{self.name}-{self.version}")
            self.deployer.deploy(self.name, uri, model_digest=digest)
            self.serving = f"{digest} {self.name}-{self.version}"


def plan(updates: int, seed: int) -> list[str]:
    """The faults in their order: each as often as the others."""
    faults = [list(FAULTS)[number % len(FAULTS)] for number in range(updates)]
    random.Random(seed).shuffle(faults)
    return faults


def measure(folder: Path, updates: int, lanes: int, seed: int) -> dict[str, Any]:
    from local_sagemaker import daemon

    faults = plan(updates, seed)
    running = [Lane(f"lane{number}-qa", folder) for number in range(lanes)]
    began = time.monotonic()

    def drive(lane: Lane, mine: list[str]) -> None:
        uri, digest = lane.put_model(f"{lane.name}-0")
        lane.deployer.deploy(lane.name, uri, model_digest=digest)
        lane.serving = f"{digest} {lane.name}-0"
        for fault in mine:
            lane.update(fault)

    try:
        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(drive, running, [faults[number::lanes] for number in range(lanes)]))
    finally:
        daemon.stop(folder / "home")
    total: Counter[str] = sum((lane.outcomes for lane in running), Counter())
    print({fault: total[fault] for fault in FAULTS})
    return {
        "updates": sum(total[fault] for fault in FAULTS),
        "false_successes": total["false_successes"],
        "false_failures": total["false_failures"],
        "waiter_false_successes": total["waiter_false_successes"],
        "rollback_failed": total["rollback_failed_seen"],
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="updates-") as folder:
        figures = measure(Path(folder), found.updates, found.lanes, found.seed)
    print(json.dumps(figures))
    return int(figures["false_successes"] > 0 or figures["updates"] != found.updates)


if __name__ == "__main__":
    sys.exit(main())
