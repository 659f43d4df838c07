"""Brings endpoints to the release that was asked for, switches their routes, and brings them back after a restart.

All methods with a leading underscore run on the event loop; `begin` and `delete` may be called from any thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_sagemaker import contract
from local_sagemaker.endpoints.alarms import Alarms
from local_sagemaker.endpoints.artifacts import Artifacts
from local_sagemaker.endpoints.deployment import Plan, plan
from local_sagemaker.endpoints.hours import WRITE_SECONDS, Hours
from local_sagemaker.endpoints.metrics import Metrics
from local_sagemaker.endpoints.options import Options
from local_sagemaker.endpoints.update import Shift, Update
from local_sagemaker.endpoints.worker import Fleet, Launch, StartError, Worker
from local_sagemaker.environments import clean_environment
from local_sagemaker.errors import JobError

if TYPE_CHECKING:
    from local_sagemaker.platform import Platform

_log = logging.getLogger(__name__)
KIND = "endpoint"
CONFIG = "endpoint-config"
_SERVE = Path(__file__).parent.parent / "inside" / "serve.py"
_SOCKET_PATH_LIMIT = 90  # bytes; a unix socket's path may have 104 at most on macOS, 108 on Linux
_REASON_LIMIT = 1024
_POLL_SECONDS = 0.02
_ALARM_SECONDS = 1.0  # between two looks at all alarms; those of an update are looked at with every answer


class Route:
    """The variants that answer for an endpoint now, and the one that gets copies. A switch replaces all of it at once."""

    def __init__(self, fleets: list[Fleet]) -> None:
        self.fleets = fleets
        self.shadow = next((fleet for fleet in fleets if fleet.options.shadow), None)
        self.answering = [fleet for fleet in fleets if not fleet.options.shadow]
        self._by_name = {fleet.name: fleet for fleet in self.answering}
        self._weights = list(itertools.accumulate(fleet.weight for fleet in self.answering))

    def choose(self, target_variant: str | None = None) -> Fleet | None:
        """A variant by its weight, or the one that the request names (None if there is none of this name)."""
        if target_variant is not None:
            return self._by_name.get(target_variant)
        if len(self.answering) == 1:
            return self.answering[0]
        return random.choices(self.answering, cum_weights=self._weights)[0]  # noqa: S311 - traffic, not secrets

    def fallback(self, fleet: Fleet) -> Fleet | None:
        """Who answers for a fleet that could not, if that fleet is not the live one (any more)."""
        return None if fleet in self.fleets else self._by_name.get(fleet.name)


class Supervisor:
    """Every endpoint of the server. `routes` is read by the data path and written only on the event loop."""

    def __init__(self, platform: Platform, loop: asyncio.AbstractEventLoop) -> None:
        self._platform = platform
        self._loop = loop
        self._artifacts = Artifacts(platform.home.artifacts, platform.objects)
        self._sockets = _socket_folder(platform.home.path)
        self._token = secrets.token_hex(6)  # a worker of a killed server may still end, and must not meet our sockets
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.routes: dict[str, Route | Shift] = {}
        self.metrics = Metrics()
        self.hours = Hours(platform.store, self.metrics)
        self.alarms = Alarms(platform.store, self.metrics)

    def begin(self, name: str) -> None:
        """Bring the endpoint to its pending release."""
        self._loop.call_soon_threadsafe(lambda: self._spawn(self._deploy(name)))

    def delete(self, name: str) -> None:
        """Take the endpoint out of service; its row goes at once, its requests in flight are answered."""
        asyncio.run_coroutine_threadsafe(self._delete(name), self._loop).result(timeout=10)

    def reweigh(self, name: str, weights: Mapping[str, float]) -> None:
        """Give the variants of a live endpoint other shares of its traffic; done when this returns."""
        asyncio.run_coroutine_threadsafe(self._reweigh(name, weights), self._loop).result(timeout=10)

    async def recover(self) -> None:
        """After a start: serve every endpoint's last good release; what was in flight ends in the old one."""
        served: list[str] = []
        for name, body in self._platform.store.all(KIND):
            status = _settle(self._platform, name, body["EndpointStatus"])
            release = body.get("_release")
            if status != "InService" or release is None:
                continue
            served += [variant["digest"] for variant in release["variants"]]
            try:
                fleets = [self._fleet(name, release["config"], variant) for variant in release["variants"]]
            except JobError as error:
                self._record(name, "Failed", str(error))
                continue
            self.routes[name] = Route(fleets)
            for fleet in fleets:
                fleet.start_until_ready()
        await self._loop.run_in_executor(None, self._artifacts.keep_only, served)
        await self._loop.run_in_executor(None, self.hours.forget_old)
        self._spawn(self._watch_alarms())
        self._spawn(self._write_hours())

    async def close(self) -> None:
        """Drain every endpoint, all at once. An update under way is given up: the next server keeps the old release."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(fleet.drain() for route in self.routes.values() for fleet in route.fleets))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.run_in_executor(None, self.hours.write)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_alarms(self) -> None:
        while True:
            await asyncio.sleep(_ALARM_SECONDS)
            try:
                self.alarms.evaluate_due()
            except Exception:  # noqa: BLE001 - the other alarms, and the next second, must not suffer
                _log.exception("the alarms could not be evaluated")

    async def _write_hours(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self._loop.run_in_executor(None, self.hours.write)
            except Exception:  # noqa: BLE001 - what was counted is written the next time
                _log.exception("the counts of requests could not be written")

    async def _deploy(self, name: str) -> None:
        """Start the pending release beside the live one; let it take over when it is healthy and its update went well.

        Whatever happens, the endpoint ends in one release or the other.
        """
        body = self._platform.store.get(KIND, name)
        if body is None:
            return
        release = body["_pending"]
        how = plan(body.get("LastDeploymentConfig"), min(variant["instances"] for variant in release["variants"]))
        fleets: list[Fleet] = []
        old = self.routes.get(name)
        try:
            reason = await self._start(name, release, fleets)
            if reason is None and old is not None:
                reason = await self._update(name, release["config"], how, old, Route(fleets))
            if reason is None:
                reason = self._promote(name, release, fleets)
        except Exception:  # noqa: BLE001 - the old release must go on, whatever happened
            _log.exception("endpoint %s", name)
            reason = "InternalServerError: the server could not deploy the release; see server.log."
        if reason is not None:
            await self._abandon(name, old, fleets, reason)
        elif old is not None:
            self._spawn(self._retire(old.fleets, how.termination_seconds))

    async def _start(self, name: str, release: dict[str, Any], fleets: list[Fleet]) -> str | None:
        """Start the release's fleets into `fleets`; returns why it could not."""
        for variant in release["variants"]:
            try:
                artifact = await self._loop.run_in_executor(None, self._artifacts.fetch, variant["model_data_url"])
                variant["digest"] = artifact.digest
                fleets.append(self._fleet(name, release["config"], variant))
                await fleets[-1].start()
            except (StartError, JobError) as error:
                return _not_healthy(variant["name"], error)
        return None

    async def _update(self, name: str, config: str, how: Plan, old: Route | Shift, new: Route) -> str | None:
        """Move the traffic to the new fleets; returns why it must go back."""
        update = Update(
            how,
            old,
            new,
            route=lambda route: self.routes.__setitem__(name, route),
            wanted=lambda: self._platform.store.get(CONFIG, config) is not None,
            alarms=self.alarms,
            metrics=self.metrics,
        )
        return await update.run()

    def _promote(self, name: str, release: dict[str, Any], fleets: list[Fleet]) -> str | None:
        """Make the release the endpoint's own; the route and what Describe says change together."""
        with self._platform.store.edit(KIND, name) as current:
            if self._platform.store.get(CONFIG, release["config"]) is None:
                return "The endpoint configuration was deleted during the update."
            self.routes[name] = Route(fleets)
            if current is not None:
                current.update(EndpointStatus="InService", EndpointConfigName=release["config"], _release=release)
                current["LastModifiedTime"] = self._platform.now()
                current.pop("_pending", None)
                current.pop("FailureReason", None)
        return None

    async def _retire(self, fleets: list[Fleet], seconds: float) -> None:
        """Keep the fleets that were replaced so long, then let them go."""
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.gather(*(self._end(fleet.drain(), fleet) for fleet in fleets))

    async def _abandon(self, name: str, old: Route | Shift | None, fleets: list[Fleet], reason: str) -> None:
        """Give all traffic back to the old release at once; an endpoint that never had one has failed.

        If the old release answers no more either, both are left as they are: UpdateRollbackFailed.
        """
        if old is None:
            self._record(name, "Failed", reason)
        else:
            mixed, self.routes[name] = self.routes[name], old
            if mixed is not old and not await _answering(old.answering):
                self.routes[name] = mixed
                self._record(name, "UpdateRollbackFailed", f"{reason} The previous release does not answer any more.")
                return
            self._record(name, "InService", reason)
        await asyncio.gather(*(self._end(fleet.withdraw(), fleet) for fleet in fleets))

    async def _end(self, leave: Coroutine[Any, Any, None], fleet: Fleet) -> None:
        await leave
        self.metrics.detach(fleet)

    async def _reweigh(self, name: str, weights: Mapping[str, float]) -> None:
        route = self.routes.get(name)
        if isinstance(route, Route):  # an endpoint in an update is not reweighed
            for fleet in route.fleets:
                fleet.weight = weights.get(fleet.name, fleet.weight)
            self.routes[name] = Route(route.fleets)

    async def _delete(self, name: str) -> None:
        route = self.routes.pop(name, None)
        self._platform.store.delete(KIND, name)
        for fleet in route.fleets if route is not None else []:
            self._spawn(self._end(fleet.drain(), fleet))

    def _record(self, name: str, status: str, reason: str) -> None:
        with self._platform.store.edit(KIND, name) as body:
            if body is not None:
                body["EndpointStatus"] = status
                body["FailureReason"] = reason[:_REASON_LIMIT]
                body["LastModifiedTime"] = self._platform.now()
                body.pop("_pending", None)

    def _fleet(self, endpoint: str, config: str, variant: dict[str, Any]) -> Fleet:
        """A fleet, not started yet, for a variant whose artifact is unpacked. Raises JobError."""
        start = self._starter(endpoint, variant)
        fleet = Fleet(variant["name"], variant["weight"], variant["digest"], start, Options.of(variant))
        self.metrics.attach(fleet, endpoint, variant["name"], config)
        return fleet

    def _starter(self, endpoint: str, variant: dict[str, Any]) -> Callable[[Callable[[int], None]], Awaitable[Worker]]:
        async def start(on_exit: Callable[[int], None]) -> Worker:
            instance = self._instance()
            stream = self._platform.logs.open(f"/aws/sagemaker/Endpoints/{endpoint}", f"{variant['name']}/i-{instance}")
            try:
                launch = await self._loop.run_in_executor(None, self._launch, variant, stream.write)
            except JobError as error:
                stream.write(str(error))
                stream.close()
                raise StartError(str(error)) from error
            return await Worker.start(launch, self._socket(instance), stream, on_exit)

        return start

    def launch(self, model: dict[str, Any], on_line: Callable[[str], None]) -> tuple[Launch, Path]:
        """How to start a worker outside of any endpoint (batch transform), and the socket it is to open.

        `model` has the members model_data_url and environment. Raises JobError.
        """
        variant = {**model, "digest": self._artifacts.fetch(model["model_data_url"]).digest, "startup_seconds": 0}
        return self._launch(variant, on_line), self._socket(self._instance())

    def _instance(self) -> str:
        return f"{self._token}{next(self._numbers):05x}"

    def _socket(self, instance: str) -> Path:
        return self._sockets / f"{instance}.sock"

    def _launch(self, variant: dict[str, Any], on_line: Callable[[str], None]) -> Launch:
        """The command and environment of a worker; the artifact is verified again, whoever starts it."""
        artifact = self._artifacts.open(variant["digest"])
        environment = contract.relocated(artifact.base, variant["environment"])
        code = self._code_folder(environment, artifact.model)
        python = self._platform.environments.python(code, on_line)
        program = environment.get("SAGEMAKER_PROGRAM", "inference.py")
        environment = environment | {
            "SAGEMAKER_BASE_DIR": str(artifact.base),
            "SAGEMAKER_SUBMIT_DIRECTORY": str(code),
            "SAGEMAKER_PROGRAM": program,
            "SM_MODEL_DIR": str(artifact.model),
            "AWS_REGION": self._platform.region,
            "AWS_DEFAULT_REGION": self._platform.region,
        }
        env = clean_environment(self._platform.home.container_home, environment)
        command = [python, str(_SERVE), str(artifact.model), str(code), program]
        return Launch(command, env, artifact.base, variant["startup_seconds"])

    def _code_folder(self, environment: dict[str, str], model: Path) -> Path:
        """model/code, unless SAGEMAKER_SUBMIT_DIRECTORY names an archive of its own."""
        submitted = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        if submitted.startswith("s3://"):
            return self._artifacts.fetch(submitted).model
        return model / "code"


def _settle(platform: Platform, name: str, status: str) -> str:
    """The status of an endpoint after the server was killed or stopped in the midst of something; returns it."""
    if status in ("InService", "Failed"):
        return status
    if status == "Deleting":
        platform.store.delete(KIND, name)
        return status
    with platform.store.edit(KIND, name) as body:
        if body is None:
            return status
        body.pop("_pending", None)
        body["LastModifiedTime"] = platform.now()
        if status == "UpdateRollbackFailed":
            body["EndpointStatus"] = "InService"  # of the two releases only the old one is started again
        elif status == "Updating":
            body["EndpointStatus"] = "InService"
            body["FailureReason"] = (
                "InternalServerError: the server stopped during the update; the previous release is kept."
            )
        else:
            body["EndpointStatus"] = "Failed"
            body["FailureReason"] = (
                "InternalServerError: the server stopped while the endpoint was created; create it again."
            )
        return str(body["EndpointStatus"])


async def _answering(fleets: list[Fleet]) -> bool:
    """Whether every fleet has a worker; one that just crashed is given the time of one restart."""
    crashes = {fleet: fleet.crashes for fleet in fleets}
    for fleet in fleets:
        while not fleet.ready:
            if fleet.crashes > crashes[fleet]:
                return False
            await asyncio.sleep(_POLL_SECONDS)
    return True


def _not_healthy(variant: str, error: Exception) -> str:
    if isinstance(error, JobError):
        return f"The model of production variant {variant} cannot be loaded: {error}"
    return f"The primary container for production variant {variant} did not pass the ping health check: {error}"


def _socket_folder(home: Path) -> Path:
    """A folder for the workers' sockets that only this user may enter, with a path short enough for a socket."""
    folder = home / "run"
    if len(str(folder)) > _SOCKET_PATH_LIMIT:
        return Path(tempfile.mkdtemp(prefix="sagemaker-"))
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob("*.sock"):
        left.unlink()
    return folder
