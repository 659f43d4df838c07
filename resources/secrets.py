"""Secrets: a setting is the secret itself, or a reference to AWS that is resolved where the secret is used, not before.

`secretsmanager://<name or ARN>#<key>` is a key of a secret that is a JSON object, without `#<key>` the whole secret;
`ssm://<name>` is a parameter of Systems Manager, decrypted. Values are kept for TTL_SECONDS, so that a rotated secret is
taken up without a restart. Which settings are secrets is in `resources/__init__.py`; no value is ever logged.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from dagster import EnvVar

from ledgerline.errors import ConfigurationError, LedgerlineError

TTL_SECONDS = 300.0
SECRETS_MANAGER, PARAMETER_STORE = "secretsmanager://", "ssm://"
_NAMES = {"secretsmanager": "Secrets Manager", "ssm": "Parameter Store"}
_RIGHTS = {"secretsmanager": "secretsmanager:GetSecretValue", "ssm": "ssm:GetParameter"}
_MISSING = {"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"}
_BUSY = {"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyUpdates", "InternalServiceError"}

_lock = threading.Lock()
_kept: dict[str, tuple[float, str]] = {}


def secret(value: str | None, setting: str, *, clock: Callable[[], float] = time.monotonic) -> str:
    """The secret that a setting holds or refers to; "" where it is not set. `setting` is its name, for errors.

    Also of a Dagster EnvVar, which Dagster itself resolves in runs only. Raises ConfigurationError where the reference or
    a right has to be corrected, and LedgerlineError where AWS cannot be asked now.
    """
    text = (value.get_value() or "") if isinstance(value, EnvVar) else (value or "")
    if not text.startswith((SECRETS_MANAGER, PARAMETER_STORE)):
        return text
    with _lock:
        until, found = _kept.get(text, (0.0, ""))
        if clock() >= until:
            found = _read(text, setting)
            _kept[text] = (clock() + TTL_SECONDS, found)
        return found


def _read(reference: str, setting: str) -> str:
    service, _, rest = reference.partition("://")
    name, _, key = rest.partition("#") if service == "secretsmanager" else (rest, "", "")
    if not name:
        raise ConfigurationError(
            f"{setting} is {reference!r}, which names nothing: write secretsmanager://<name>#<key> or ssm://<name>."
        )
    text = _ask(service, name, setting)
    if not key:
        return text
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigurationError(  # not `from` the error of JSON, which carries the text
            f"{setting} asks for the key {key!r} of {name!r} in Secrets Manager, which is no JSON object: leave #{key} out, "
            "or store it as one."
        )
    if not isinstance(values.get(key), str) or not values[key]:
        raise ConfigurationError(
            f"{setting}: {name!r} in Secrets Manager has no text under the key {key!r}; it has {', '.join(values)}: correct "
            f"the reference in {setting}, or add the key."
        )
    return str(values[key])


def _no_bodies(record: logging.LogRecord) -> bool:
    """At the level DEBUG, botocore writes down whole answers: here, the secret."""
    return record.levelno > logging.DEBUG


def _ask(service: str, name: str, setting: str) -> str:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    logging.getLogger("botocore.parsers").addFilter(_no_bodies)  # a filter that is there already is not added again
    store = _NAMES[service]
    region = name.split(":")[3] if name.startswith("arn:") and name.count(":") > 3 else None
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
    try:
        client: Any = boto3.client(service, region_name=region, config=config)
        if service == "ssm":
            found = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        else:
            found = client.get_secret_value(SecretId=name).get("SecretString")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _MISSING:
            raise ConfigurationError(
                f"{setting}: {store} has no {name!r} in {client.meta.region_name}: create it, or correct the reference in "
                f"{setting} or AWS_DEFAULT_REGION."
            ) from error
        if code in _BUSY:
            raise LedgerlineError(
                f"{setting}: {store} is too busy to give {name!r} ({code}): run this again."
            ) from error
        raise ConfigurationError(
            f"{setting}: {store} refuses {name!r} ({code}): give the role {_RIGHTS[service]} on it, and kms:Decrypt on its "
            "key."
        ) from error
    except BotoCoreError as error:  # no way there, no credentials, no region
        raise LedgerlineError(
            f"{setting}: {store} cannot be asked for {name!r} ({error}): check the network, the credentials and "
            "AWS_DEFAULT_REGION, then run this again."
        ) from error
    if not found:
        raise ConfigurationError(f"{setting}: {name!r} in {store} holds no text: store the secret as text.")
    return str(found)


def forget() -> None:
    """Drop what is kept, e.g. after a password was refused that may have been rotated."""
    with _lock:
        _kept.clear()
