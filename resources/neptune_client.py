"""Requests to Amazon Neptune: Gremlin over signed websockets, and its HTTP API through boto3.

Here: connections, signatures, time-outs, what is tried again, and what an error means for whoever reads it. Which requests
make up the graph is in `resources/neptune_graph.py`. A request is one transaction and must be harmless when it is repeated.
"""

from __future__ import annotations

import atexit
import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ledgerline.errors import ConfigurationError, LedgerlineError

if TYPE_CHECKING:
    from gremlin_python.driver.client import Client

SERVICE = "neptune-db"
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 1.0  # a server that hangs does not answer the farewell either, for which aiohttp waits 10 s
# How much longer than the server an answer is waited for, so that a query that takes too long is ended by the server.
GRACE_SECONDS = 5.0
IDLE_SECONDS = 300.0  # Neptune and what stands between drop idle connections; an old one is not trusted with a request
# Before each further attempt, in seconds: a failover takes Neptune up to half a minute, a conflict is over in milliseconds.
CONNECTION_PAUSES = (0.2, 1.0, 4.0, 10.0)
CONFLICT_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
# What Neptune says where the same request may succeed later; TransactionException is Gremlin Server's word for it, and
# "already exists" both say to the later of two merges of one new element: the next try finds it.
CONFLICTS = (
    "ConcurrentModificationException",
    "TransactionException",
    "Conflict: element modified",
    "with id already exists",
)
BUSY = ("ThrottlingException", "TooManyRequestsException", "MemoryLimitExceededException")
GONE = ("ReadOnlyViolationException", "ServerShutdownException", "Server disconnected")
TIMEOUTS = ("TimeLimitExceededException", "598: ")


class HandshakeRefused(Exception):
    """The server answered the handshake of a websocket with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class NeptuneClient:
    """Connections to one endpoint, `wss://<host>:8182/gremlin`, shared by the threads of a process; opened when needed."""

    def __init__(self, endpoint: str, *, region: str, iam: bool) -> None:
        self.endpoint, self.region, self.iam = endpoint, region, iam
        self._idle: list[tuple[float, float, Client]] = []  # (when it was last used, its time-out, client)
        self._lock = threading.Lock()
        self._session: Any = None
        self._data: Any = None
        atexit.register(self.close)  # a websocket that is open at the end is complained of by asyncio

    def run(self, traversal: Any, *, seconds: float) -> list[Any]:
        """All results of a traversal, which the server ends after `seconds`.

        A dropped connection, a conflict with another writer and a busy server are waited for and tried again. Raises
        LedgerlineError with the remedy where that does not help or cannot, ConfigurationError where a setting is wrong.
        """
        pauses = {"lost": iter(CONNECTION_PAUSES), "later": iter(CONFLICT_PAUSES), "never": iter(())}
        while True:
            try:
                return self._run_once(traversal, seconds)
            except _failures() as error:
                kind = _kind_of(error)
                if kind == "lost":
                    self.close()  # the others are most likely dead, too
                pause = next(pauses[kind], None)
                if pause is None:
                    raise self._explained(error, seconds) from error
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that two writers do not meet again

    def data_api(self) -> Any:
        """boto3's client of the HTTP API (`neptunedata`) at the same endpoint."""
        if self._data is None:
            from botocore import UNSIGNED
            from botocore.config import Config

            scheme = "https" if urlsplit(self.endpoint).scheme == "wss" else "http"
            settings: dict[str, Any] = {} if self.iam else {"signature_version": UNSIGNED}
            self._data = self._aws().client(
                "neptunedata",
                endpoint_url=f"{scheme}://{urlsplit(self.endpoint).netloc}",
                region_name=self.region,
                config=Config(connect_timeout=CONNECT_SECONDS, retries={"total_max_attempts": 3}, **settings),
            )
        return self._data

    def close(self) -> None:
        """Close the connections that are open and not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, client in idle:
            client.close()

    def _run_once(self, traversal: Any, seconds: float) -> list[Any]:
        with self._client(seconds) as client:
            options = {"evaluationTimeout": int(seconds * 1000)}
            traversers = client.submit(traversal.bytecode, request_options=options).all().result()
        return [one.object for one in traversers for _ in range(one.bulk)]

    @contextmanager
    def _client(self, seconds: float) -> Iterator[Client]:
        """A connection for one request, kept for the next one unless it broke."""
        from gremlin_python.driver.protocol import GremlinServerError

        old = time.monotonic() - IDLE_SECONDS
        with self._lock:
            stale = [entry for entry in self._idle if entry[0] < old]
            fitting = [entry for entry in self._idle if entry[0] >= old and entry[1] == seconds]
            taken = fitting[-1:]
            self._idle = [entry for entry in self._idle if entry not in stale and entry not in taken]
        for _, _, unused in stale:
            unused.close()
        client = taken[0][2] if taken else self._connected(seconds)
        keep = False
        try:
            yield client
            keep = True
        except GremlinServerError:  # an answer like any other: the connection is in order
            keep = True
            raise
        finally:
            if keep:
                with self._lock:
                    self._idle.append((time.monotonic(), seconds, client))
            else:
                client.close()

    def _connected(self, seconds: float) -> Client:
        from gremlin_python.driver.client import Client

        # It logs each answer that is an error, with all that was sent; what a person should read is raised here.
        logging.getLogger("gremlinpython").setLevel(logging.CRITICAL)
        transport = _signed_transport()
        return Client(
            self.endpoint,
            "g",
            pool_size=1,
            transport_factory=lambda: transport(
                self._headers, read_timeout=seconds + GRACE_SECONDS, write_timeout=seconds
            ),
        )

    def _headers(self) -> dict[str, str]:
        """The signature of a handshake, made anew for each: one is good for five minutes and credentials change."""
        if not self.iam:
            return {}
        from botocore.exceptions import BotoCoreError

        try:
            credentials = self._aws().get_credentials()
        except BotoCoreError as error:
            raise ConfigurationError(
                f"AWS credentials for Neptune cannot be read: {error} Correct the AWS profile, or set NEPTUNE_IAM=off."
            ) from error
        if credentials is None:
            raise ConfigurationError(
                "NEPTUNE_IAM=on signs requests to Neptune and there are no AWS credentials: give the process a role or"
                " AWS_PROFILE, or set NEPTUNE_IAM=off where the cluster does not ask for a signature."
            )
        return signed_headers(self.endpoint, region=self.region, credentials=credentials.get_frozen_credentials())

    def _aws(self) -> Any:
        """A session of its own: boto3's default one is shared by all that the process does on AWS, and not thread-safe."""
        import boto3

        with self._lock:
            self._session = self._session or boto3.Session(region_name=self.region)
            return self._session

    def _explained(self, error: Exception, seconds: float) -> LedgerlineError:
        """One sentence for a person: what happened, and the remedy."""
        import asyncio
        import socket

        import aiohttp

        place = urlsplit(self.endpoint).netloc
        text, whole = _said_by(error), str(error)
        if isinstance(error, HandshakeRefused):
            return self._refused(error.status)
        if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError)):
            return ConfigurationError(
                f"the TLS connection to Neptune at {place} fails ({error.os_error if hasattr(error, 'os_error') else error}):"
                " write the cluster's own host name and wss:// into NEPTUNE_ENDPOINT, and let SSL_CERT_FILE name the"
                " certificates of a proxy that stands between."
            )
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, socket.gaierror):
            return ConfigurationError(
                f"the host of Neptune at {place} has no address: correct NEPTUNE_ENDPOINT to the cluster's endpoint,"
                " wss://<cluster endpoint>:8182/gremlin."
            )
        if isinstance(error, asyncio.TimeoutError):
            return LedgerlineError(
                f"Neptune at {place} did not answer in time: see whether the cluster runs and its security group lets this"
                " machine in, then run again."
            )
        if any(word in whole for word in TIMEOUTS):
            return LedgerlineError(
                f"Neptune at {place} ended a request after {seconds:g} s: run again when the cluster has less to do, or"
                " give it a larger instance."
            )
        if any(word in whole for word in CONFLICTS):
            return LedgerlineError(
                f"other writers kept changing what was written to Neptune at {place}: run again when they are done."
            )
        if any(word in whole for word in BUSY):
            return LedgerlineError(
                f"Neptune at {place} is busy ({text}): run again later, or give it a larger instance."
            )
        if _kind_of(error) == "lost":
            return LedgerlineError(
                f"no connection to Neptune at {place} ({text}): see that the cluster runs, that NEPTUNE_ENDPOINT names its"
                " writer and that its security group lets this machine in, then run again."
            )
        return LedgerlineError(f"Neptune at {place} refused a request ({text}): see the cluster's log, then run again.")

    def _refused(self, status: int) -> LedgerlineError:
        """A handshake says only its status; a signed request for `/status` is told the reason."""
        from botocore.exceptions import BotoCoreError, ClientError

        place = urlsplit(self.endpoint).netloc
        said = f"HTTP {status}"
        try:
            self.data_api().get_engine_status()
        except (BotoCoreError, ClientError) as error:
            said = reason_of(error)
        if status not in (400, 401, 403):
            return ConfigurationError(
                f"Neptune at {place} opens no websocket ({said}): NEPTUNE_ENDPOINT must be wss://<cluster endpoint>:8182/gremlin."
            )
        if "expired" in said.lower() or "not yet current" in said.lower():
            remedy = "set this machine's clock, for a signature is good for five minutes"
        elif "credential should be scoped" in said.lower():
            remedy = f"set AWS_DEFAULT_REGION, which is {self.region}, to the region of the cluster"
        elif not self.iam:
            remedy = "the cluster asks for a signature: set NEPTUNE_IAM=on"
        else:
            remedy = "use the credentials of a role whose policy allows neptune-db:* on the cluster"
        return ConfigurationError(f"Neptune at {place} refuses the signature ({said}): {remedy}.")


def reason_of(error: Exception) -> str:
    """What an error of boto3 says; Neptune's own text is in `detailedMessage`, which its `str` leaves out."""
    return str(getattr(error, "response", {}).get("detailedMessage") or error)


def signed_headers(endpoint: str, *, region: str, credentials: Any) -> dict[str, str]:
    """The headers that sign the handshake of a websocket to `endpoint`, by Signature Version 4."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    parts = urlsplit(endpoint)
    url = parts._replace(scheme="https" if parts.scheme == "wss" else "http").geturl()
    request = AWSRequest(method="GET", url=url)
    SigV4Auth(credentials, SERVICE, region).add_auth(request)
    return dict(request.headers)


def _signed_transport() -> Any:
    """gremlinpython's websocket with headers made for each handshake, a time-out of its own and errors that say the status."""
    import asyncio

    import aiohttp
    from gremlin_python.driver.aiohttp.transport import AiohttpTransport

    class SignedTransport(AiohttpTransport):
        def __init__(self, make_headers: Any, **options: Any) -> None:
            super().__init__(**options)
            self._make_headers = make_headers

        def connect(self, url: str, headers: Any = None) -> None:
            async def opened() -> None:
                self._client_session = aiohttp.ClientSession(trust_env=True)
                connecting = self._client_session.ws_connect(
                    url,
                    headers={**(headers or {}), **self._make_headers()},
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                    **self._aiohttp_kwargs,
                )
                self._websocket = await asyncio.wait_for(connecting, CONNECT_SECONDS)

            try:
                self._loop.run_until_complete(opened())
            except BaseException as error:
                self.close()
                if isinstance(error, aiohttp.WSServerHandshakeError):
                    raise HandshakeRefused(
                        error.status
                    ) from None  # aiohttp's own shows the headers, a secret among them
                raise

    return SignedTransport


def _failures() -> tuple[type[Exception], ...]:
    """What connections and servers raise; anything else is a mistake in the program. RuntimeError is gremlinpython's word
    for a connection that was closed."""
    import asyncio

    import aiohttp
    from gremlin_python.driver.protocol import GremlinServerError

    return GremlinServerError, HandshakeRefused, aiohttp.ClientError, OSError, RuntimeError, asyncio.TimeoutError


def _kind_of(error: Exception) -> str:
    """ "lost" (connect again), "later" (wait) or "never" (a repetition does not help)."""
    import asyncio

    import aiohttp
    from gremlin_python.driver.protocol import GremlinServerError

    text = str(error)
    if isinstance(error, GremlinServerError):
        if any(word in text for word in GONE):
            return "lost"
        return "later" if any(word in text for word in (*CONFLICTS, *BUSY)) else "never"
    if isinstance(error, HandshakeRefused):
        return "lost" if error.status >= 500 else "never"
    # A certificate does not change; and what did not answer in time was waited for long enough.
    lasting = (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError, asyncio.TimeoutError)
    return "never" if isinstance(error, lasting) else "lost"


def _said_by(error: Exception) -> str:
    """The message without the request that some servers repeat in it; Neptune sends JSON with `code` and a text."""
    text = " ".join(str(error).split())
    try:
        about = json.loads(text.partition(": ")[2])
        return f"{about['code']}: {about['detailedMessage']}"[:300]
    except (ValueError, KeyError, TypeError):
        return text[:300] or type(error).__name__
