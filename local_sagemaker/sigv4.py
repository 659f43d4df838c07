"""AWS Signature Version 4, checked on the server's side. Source: AWS General Reference, "Signing AWS API requests"."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import parse_qsl, quote

from local_sagemaker.errors import ServiceError

SKEW_SECONDS = 15 * 60
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=([^/,\s]+)/(\d{8})/([a-z0-9\-]+)/([a-z0-9\-]+)/aws4_request,\s*"
    r"SignedHeaders=([a-z0-9;\-]+),\s*Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one key pair of a server, made at its first start."""

    access_key_id: str
    secret_access_key: str


def verify(
    credentials: Credentials, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: float
) -> None:
    """Check the Authorization header of a request; header names are lower case, `now` is in epoch seconds.

    Raises ServiceError as AWS answers: no token, unknown key, signature too old or wrong.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
    match = _AUTHORIZATION.fullmatch(authorization)
    amz_date = headers.get("x-amz-date", "")
    if match is None or not _signed_well(match[2], match[5], amz_date):
        raise ServiceError(
            "IncompleteSignatureException", "The Authorization or X-Amz-Date header is not of AWS4-HMAC-SHA256."
        )
    key_id, day, region, service, names, signature = match.groups()
    if not hmac.compare_digest(key_id.encode(), credentials.access_key_id.encode()):
        message = (
            "The security token included in the request is invalid. Take the keys from `python -m local_sagemaker env`."
        )
        raise ServiceError("UnrecognizedClientException", message, 403)
    if abs(now - _epoch(amz_date)) > SKEW_SECONDS:
        raise ServiceError(
            "InvalidSignatureException", f"Signature expired: {amz_date} is not within 15 minutes of now.", 403
        )
    payload = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", payload) != payload:
        raise ServiceError("InvalidSignatureException", "x-amz-content-sha256 is not the hash of the body.", 403)
    signed = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in names.split(";"))
    canonical = f"{method}\n{quote(path, safe='/~')}\n{_canonical_query(query)}\n{signed}\n{names}\n{payload}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{amz_date}\n{day}/{region}/{service}/aws4_request\n{digest}"
    expected = hmac.digest(
        _signing_key(credentials.secret_access_key, day, region, service), to_sign.encode(), "sha256"
    ).hex()
    if not hmac.compare_digest(expected, signature):
        message = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )
        raise ServiceError("InvalidSignatureException", message, 403)


@lru_cache(maxsize=64)
def _signed_well(day: str, names: str, amz_date: str) -> bool:
    return (
        re.fullmatch(r"\d{8}T\d{6}Z", amz_date) is not None
        and amz_date[:8] == day
        and {"host", "x-amz-date"} <= {*names.split(";")}
    )


@lru_cache(maxsize=64)
def _epoch(amz_date: str) -> float:
    try:
        return datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0  # a date that does not exist is as stale as 1970


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{key}={value}" for key, value in pairs)
