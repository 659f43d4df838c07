"""What every operation works with: the state, the objects, the logs, the queue and the endpoints of one server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local_sagemaker import ACCOUNT
from local_sagemaker.environments import Environments
from local_sagemaker.home import REGION, Home
from local_sagemaker.jobs import JobQueue
from local_sagemaker.logs import Logs
from local_sagemaker.objects import Objects
from local_sagemaker.store import Store

if TYPE_CHECKING:
    from local_sagemaker.endpoints.supervisor import Supervisor


@dataclass(slots=True)
class Platform:
    """One server's parts. `stop_grace_seconds` is AWS's 120 s between SIGTERM and SIGKILL of a job."""

    home: Home
    store: Store
    objects: Objects
    logs: Logs
    jobs: JobQueue
    tuners: JobQueue
    environments: Environments
    stop_grace_seconds: float = 120.0
    region: str = REGION
    _supervisor: Supervisor | None = field(default=None)

    @property
    def endpoints(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("The endpoint supervisor is set when the server starts.")
        return self._supervisor

    def attach(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def arn(self, resource: str) -> str:
        """ARN of e.g. 'training-job/name'."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{resource}"

    def now(self) -> float:
        """Epoch seconds with milliseconds, as AWS's timestamps."""
        return round(time.time(), 3)
