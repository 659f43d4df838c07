"""What becomes of endpoints between releases: drift from the recorded release, QA past its time, live without requests.

Belongs here: noticing, and deleting what config.yaml lets be deleted. Putting a release live, or back, is in deploy.py:
nothing here makes or updates an endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from ledgerline.release.deploy import CHANGING, Deployer
from ledgerline.release.model_platform import EndpointState
from ledgerline.release.releases import EndpointDeleted, Release, asleep, current_release, latest_qa, open_intents

HOURS_PER_MONTH = 730  # 365 days of 24 hours by 12
DEPLOYED_WITHIN = timedelta(hours=1)  # besides what the rollout waits; the platform itself gives up after half of it


def drift(deployer: Deployer) -> str | None:
    """Why the live endpoint is not what the ledger's newest release says, or None if it is, or is being deployed.

    Compares config and the artifact's digest; sends no request. A deployment that is at work explains a difference, one
    that was killed does not for longer than one takes. Somebody with credentials of their own can change an endpoint past
    the gate: this is how it is noticed, `deploy.restore` is how it is undone.
    """
    head = deployer.ledger.head()
    entries = deployer.ledger.entries(deployer.project.name)
    intents = open_intents(entries)
    if intents:
        return _never_ended(deployer, intents[0][1].planned)
    records = [entry.record for entry in entries]
    state = deployer.platform.describe_endpoint(deployer.project.endpoint)
    found = _drift(deployer.project.endpoint, state, current_release(records), records)
    # A deployment that began or ended meanwhile explains what was seen; the next look will tell.
    return found if deployer.ledger.head() == head else None


def _never_ended(deployer: Deployer, planned: Release) -> str | None:
    """What a deployment that did not end yet hides, once it takes longer than any may; None until then."""
    waiting = deployer.project.rollout.waiting_seconds if deployer.project.rollout else 0
    if deployer.clock() - planned.at < DEPLOYED_WITHIN + timedelta(seconds=waiting):
        return None
    return (
        f"the deployment of model {planned.model_digest[:12]} that began {planned.at:%Y-%m-%d %H:%M} UTC never ended, so "
        f"nobody knows what endpoint {planned.endpoint} serves"
    )


def _drift(endpoint: str, state: EndpointState | None, release: Release | None, records: Sequence[Any]) -> str | None:
    if release is None:
        return None if state is None else f"endpoint {endpoint} exists, and no release explains it"
    deleted = asleep(records)
    if state is None:
        return None if deleted else f"endpoint {endpoint} was deleted"
    if deleted:
        return f"endpoint {endpoint} exists, and it was deleted on {deleted.at:%Y-%m-%d %H:%M} UTC ({deleted.reason})"
    if state.status in CHANGING:
        return f"endpoint {endpoint} is {state.status}, and no deployment of this platform is at work"
    named = f"model {release.model_digest[:12]}"
    if state.config_name != release.endpoint_config:
        return f"endpoint {endpoint} serves config {state.config_name}, and {release.endpoint_config} ({named}) was released"
    if state.status != "InService":
        return f"endpoint {endpoint} is {state.status}{f' ({state.failure_reason})' if state.failure_reason else ''}"
    if state.model_digest != release.model_digest:
        now = state.model_digest[:12] if state.model_digest else "nothing that can be read"
        return f"the artifact of endpoint {endpoint} was changed: it is {now}, and {named} was released"
    return None


def delete_old_qa(deployer: Deployer) -> str | None:
    """Delete the QA endpoint if it is older than serving.qa_hours; returns a sentence, None if it stays."""
    hours, endpoint = deployer.project.config.serving.qa_hours, deployer.project.qa_endpoint
    state = deployer.platform.describe_endpoint(endpoint)
    if hours is None or state is None or state.status in CHANGING or state.changed_at is None:
        return None
    if deployer.clock() - state.changed_at < timedelta(hours=hours):
        return None
    digest = state.model_digest
    seen = latest_qa(deployer.records(), digest) if digest else None
    deployer.ledger.append(
        EndpointDeleted(
            project=deployer.project.name,
            endpoint=endpoint,
            role="qa",
            model_digest=digest,
            reason=f"serving.qa_hours is {hours}" + ("" if seen else "; its report was never made"),
            usd_per_month=_usd_per_month(deployer, instances=1),
            at=deployer.clock(),
        )
    )
    deployer.platform.delete_endpoint(endpoint)
    return f"Deleted {endpoint}, which is there since {state.changed_at:%Y-%m-%d %H:%M} UTC. {_saved(deployer, 1)}"


def delete_idle_live(deployer: Deployer) -> str | None:
    """Delete the live endpoint if nobody asked it for serving.idle_hours; returns a sentence, None if it stays.

    The row goes into the ledger first, so that the missing endpoint is no drift, and a killed run is finished by the
    next one. `deploy.restore`, or materializing live_endpoint, puts it back.
    """
    serving, endpoint = deployer.project.config.serving, deployer.project.endpoint
    state = deployer.platform.describe_endpoint(endpoint)
    if serving.idle_hours is None or state is None or state.status != "InService" or state.changed_at is None:
        return None
    entries = deployer.ledger.entries(deployer.project.name)
    records = [entry.record for entry in entries]
    release = current_release(records)
    if release is None or release.endpoint_config != state.config_name or open_intents(entries):
        return None  # not ours to delete: drift says so
    now = deployer.clock()
    since = now - timedelta(hours=serving.idle_hours)
    if max(state.changed_at, release.at) > since:
        return None
    if deployer.platform.invocations(endpoint, since):
        return None
    if asleep(records) is None:
        deployer.ledger.append(
            EndpointDeleted(
                project=deployer.project.name,
                endpoint=endpoint,
                role="live",
                model_digest=release.model_digest,
                reason=f"no request for {serving.idle_hours} hours",
                usd_per_month=_usd_per_month(deployer, instances=serving.instance_count),
                at=now,
            )
        )
    deployer.platform.delete_endpoint(endpoint)
    return (
        f"Deleted {endpoint}, which got no request for {serving.idle_hours} hours. "
        f"{_saved(deployer, serving.instance_count)} Put it back with: python -m cli restore "
        f"--project {deployer.project.name} --by <your name> --reason <why>"
    )


def _usd_per_month(deployer: Deployer, *, instances: int) -> float | None:
    price = deployer.project.config.serving.instance_usd_per_hour
    return None if price is None else round(price * instances * HOURS_PER_MONTH, 2)


def _saved(deployer: Deployer, instances: int) -> str:
    serving, saved = deployer.project.config.serving, _usd_per_month(deployer, instances=instances)
    if saved is None:
        return "What that saves is not known: serving.instance_usd_per_hour is not set."
    return (
        f"Estimate of what that saves: {saved:.2f} USD a month ({instances} x {serving.instance_type} at "
        f"{serving.instance_usd_per_hour:g} USD an hour, the price in config.yaml)."
    )
