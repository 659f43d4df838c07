"""What only the candidate index on OpenSearch must do: loads that fail in the middle, a server that is full, busy, slow or
gone, signatures, and the candidates and scores of the twin."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from ledgerline.mapping.candidates import name_entries
from ledgerline.mapping.records import Hit, NameEntry
from ledgerline.names.facts import load_facts
from resources import opensearch_index
from resources.candidate_index import TantivyCandidateIndex
from resources.environment import ROOT
from resources.opensearch_index import OpenSearchCandidateIndex
from tests.servers.opensearch import OpenSearchServer
from tests.servers.proxy import Answer, Forward, Proxy, Request

SECRET = "wJalrXUtnFEMIK7MDENG"
NAMES = 500
BULK = 100


def names(word: str, count: int = NAMES) -> list[NameEntry]:
    return [
        NameEntry(f"{word}|{number}", f"cik:{number}", f"{word} {number} Inc", "name", "en", "", "", "edgar")
        for number in range(count)
    ]


OLD, NEW = names("Old"), names("New")


@pytest.fixture(autouse=True)
def _small_requests_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch_index, "BULK_NAMES", BULK)
    monkeypatch.setattr(opensearch_index, "PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture
def prefix(opensearch_url: str) -> Iterator[str]:
    import opensearchpy

    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    opensearchpy.OpenSearch(opensearch_url).indices.delete(index=f"{name}-*")


@pytest.fixture
def proxy(opensearch_url: str) -> Iterator[Proxy]:
    with Proxy(opensearch_url) as between:
        yield between


@pytest.fixture
def index(proxy: Proxy, prefix: str) -> OpenSearchCandidateIndex:
    """With OLD as its current version."""
    made = OpenSearchCandidateIndex(url=proxy.url, prefix=prefix)
    made.promote(made.build(OLD))
    return made


def server(index: OpenSearchCandidateIndex) -> Any:
    """A client for what tests do to the server themselves."""
    import opensearchpy

    return opensearchpy.OpenSearch(index.url)


def attempts(index: OpenSearchCandidateIndex) -> dict[str, set[str]]:
    found = server(index).indices.get(index=f"{index.prefix}-names-*")
    return {name: set(described["aliases"]) for name, described in found.items()}


def unfinished(index: OpenSearchCandidateIndex) -> list[str]:
    return [name for name, aliases in attempts(index).items() if not aliases]


def exact(index: OpenSearchCandidateIndex, name: str) -> list[str]:
    return [hit.company_id for hit in index.search([name])[0] if hit.channel == "exact"]


def is_bulk(request: Request) -> bool:
    return request.path.split("?")[0].endswith("/_bulk")


class AtBulk:
    """Does something before the bulk request of that number, 1 the first, is passed on."""

    def __init__(self, number: int, do: Callable[[], object]) -> None:
        self.left, self.do = number, do

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if is_bulk(request):
            self.left -= 1
            if self.left == 0:
                self.do()
        return forward(request)


def assert_only_the_old_version_is_seen(index: OpenSearchCandidateIndex) -> None:
    reader = OpenSearchCandidateIndex(url=index.url, prefix=index.prefix)
    assert exact(reader, "Old 7 Inc") == ["cik:7"]
    assert exact(reader, "New 7 Inc") == []
    assert len(reader._loaded()) == 1


def assert_the_next_load_finishes(index: OpenSearchCandidateIndex) -> None:
    index.promote(index.build(NEW))
    assert exact(index, "New 7 Inc") == ["cik:7"]
    assert unfinished(index) == []
    assert server(index).count(index=index.prefix)["count"] == NAMES


# ------------------------------------------------------------------------------------------------- the twin's candidates


def misspelt(name: str) -> str:
    middle = len(name) // 2
    return name[:middle] + name[middle + 1 :]


def differences(ours: list[Hit], its: list[Hit]) -> list[tuple[Hit | None, Hit | None]]:
    """Hits at the same place that are not the same; both sum 32-bit numbers, in another order."""
    return [
        (one, other)
        for one, other in zip_longest(ours, its)
        if one is None
        or other is None
        or replace(one, score=0.0) != replace(other, score=0.0)
        or one.score != pytest.approx(other.score, rel=1e-5)
    ]


def test_every_channel_finds_the_names_of_the_twin_with_its_scores(
    opensearch_url: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opensearch_index, "BULK_NAMES", 2_000)
    entries = name_entries(load_facts(ROOT / "sample" / "facts"))[::8]
    index = OpenSearchCandidateIndex(url=opensearch_url, prefix=prefix)
    twin = TantivyCandidateIndex(root=str(tmp_path / "twin"))
    assert index.build(entries) == twin.build(entries)
    for store in (index, twin):
        store.promote(store.build(entries))
    some = [entry.name for entry in entries[::61]]
    surfaces = [*some, *map(misspelt, some), *(name.upper() for name in some), "General Motors", "삼성전자", "Bank"]
    pairs = zip(surfaces, index.search(surfaces), twin.search(surfaces), strict=True)
    assert {surface: found for surface, ours, its in pairs if (found := differences(ours, its))} == {}


def test_korean_morphemes_find_a_name_by_a_part_of_it_and_are_a_version_of_their_own(
    opensearch_url: str, prefix: str
) -> None:
    entries = [
        NameEntry(f"dart:{number}|{name}", f"dart:{number}", name, "name", "ko", "", "", "dart")
        for number, name in enumerate(("카카오스타일", "삼성전자", "현대자동차"))
    ]
    found = {}
    for nori in (False, True):
        index = OpenSearchCandidateIndex(url=opensearch_url, prefix=prefix, nori=nori)
        index.promote(index.build([*entries, *NEW]))
        hits = index.search(["카카오 주가", "New 7"])
        found[index.current()] = [[hit.company_id for hit in of if hit.channel == "bm25"][:1] for of in hits]
    assert list(found.values()) == [[[], ["cik:7"]], [["dart:0"], ["cik:7"]]]
    assert len(found) == 2


# --------------------------------------------------------------------------------------------------------------- versions


def test_old_versions_are_kept_to_go_back_to_and_the_oldest_are_deleted(index: OpenSearchCandidateIndex) -> None:
    versions = [str(index.current())]
    for word in ("Second", "Third", "Fourth"):
        versions.append(index.build(names(word, 3)))
        index.promote(versions[-1])
    assert set(index._loaded()) == set(versions[1:])
    index.promote(versions[1])
    assert exact(index, "Second 1") == ["cik:1"]
    assert set(index._loaded()) == set(versions[1:])


def test_a_swap_leaves_exactly_one_index_current_at_every_moment(index: OpenSearchCandidateIndex) -> None:
    versions = [str(index.current()), index.build(NEW)]
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        client = server(index)
        while not done.is_set():
            seen.add(len(client.indices.get_alias(name=index.prefix)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        index.promote(versions[number % 2])
    done.set()
    watcher.join()
    assert seen == {1}


def test_prefixes_do_not_see_each_other(index: OpenSearchCandidateIndex) -> None:
    other = OpenSearchCandidateIndex(url=index.url, prefix=f"{index.prefix}-branch")
    assert other.current() is None
    other.promote(other.build(NEW))
    assert_only_the_old_version_is_seen(index)
    assert exact(other, "New 7 Inc") == ["cik:7"]


# ------------------------------------------------------------------------------------------------------------------ a load


def test_only_the_names_that_the_server_had_no_room_for_are_sent_again(
    index: OpenSearchCandidateIndex, proxy: Proxy
) -> None:
    sent: list[int] = []

    def refuse_every_third_once(request: Request, forward: Forward) -> Answer:
        if not is_bulk(request):
            return forward(request)
        lines = request.body.splitlines(keepends=True)
        documents = [lines[at] + lines[at + 1] for at in range(0, len(lines), 2)]
        first_time = len(documents) == BULK
        sent.append(len(documents))
        kept = [one for at, one in enumerate(documents) if not first_time or at % 3]
        answer = json.loads(forward(replace(request, body=b"".join(kept))).body)
        taken = iter(answer["items"])
        busy = {"create": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "queue full"}}}
        answer["items"] = [next(taken) if not first_time or at % 3 else busy for at in range(len(documents))]
        return Answer(200, json.dumps(answer).encode())

    proxy.meddle = refuse_every_third_once
    assert_the_next_load_finishes(index)
    assert sent == [BULK, 34] * (NAMES // BULK)


def test_a_request_whose_answer_was_lost_is_not_counted_twice(index: OpenSearchCandidateIndex, proxy: Proxy) -> None:
    lost = threading.Event()

    def lose_an_answer(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        if is_bulk(request) and not lost.is_set():
            lost.set()
            return Answer(503, b'{"error": "gateway"}')
        return answer

    proxy.meddle = lose_an_answer
    assert_the_next_load_finishes(index)
    deleted = server(index).indices.stats(index=index.prefix)["_all"]["primaries"]["docs"]["deleted"]
    assert (lost.is_set(), deleted) == (True, 0)


def test_a_server_that_stays_busy_is_named_and_nothing_of_the_load_is_left(
    index: OpenSearchCandidateIndex, proxy: Proxy
) -> None:
    busy = Answer(429, b'{"error": {"type": "circuit_breaking_exception", "reason": "Data too large"}, "status": 429}')
    proxy.meddle = lambda request, forward: busy if is_bulk(request) else forward(request)
    with pytest.raises(
        LedgerlineError, match=r"OpenSearch at http://127\S+ is too busy .*Data too large.*make it larger"
    ):
        index.build(NEW)
    assert unfinished(index) == []
    assert sum(map(is_bulk, proxy.requests)) == NAMES // BULK + 4
    assert_only_the_old_version_is_seen(index)


def test_searches_that_the_server_had_no_room_for_are_asked_again(
    index: OpenSearchCandidateIndex, proxy: Proxy
) -> None:
    refused = threading.Event()

    def refuse_one(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        if request.path.endswith("/_msearch") and not refused.is_set():
            refused.set()
            found = json.loads(answer.body)
            found["responses"][0] = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "full"}}
            return Answer(200, json.dumps(found).encode())
        return answer

    proxy.meddle = refuse_one
    assert exact(index, "Old 7 Inc") == ["cik:7"]
    assert [len(r.body.splitlines()) for r in proxy.requests if r.path.endswith("/_msearch")][-2:] == [6, 2]


def test_an_answer_of_a_part_of_the_index_is_no_answer(index: OpenSearchCandidateIndex, proxy: Proxy) -> None:
    def time_out(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        return replace(answer, body=answer.body.replace(b'"timed_out":false', b'"timed_out":true'))

    proxy.meddle = time_out
    with pytest.raises(LedgerlineError, match=r"answered for a part of .* look at its health"):
        index.search(["Old 7 Inc"])


def test_a_disk_that_fills_up_in_a_load_is_said_at_once(index: OpenSearchCandidateIndex, proxy: Proxy) -> None:
    def fill() -> None:
        for name in unfinished(index):
            server(index).indices.put_settings(index=name, body={"index.blocks.read_only_allow_delete": True})

    proxy.meddle = AtBulk(3, fill)
    with pytest.raises(LedgerlineError, match=r"OpenSearch at \S+ is read-only .*free or add disk and lift the block"):
        index.build(NEW)
    assert proxy.meddle.left == 0  # no pause mends a full disk
    assert unfinished(index) == []
    assert_only_the_old_version_is_seen(index)
    assert_the_next_load_finishes(index)


def test_an_index_template_that_forbids_the_mapping_is_named_with_the_remedy(index: OpenSearchCandidateIndex) -> None:
    template = {
        "index_patterns": [f"{index.prefix}-*"],
        "template": {"settings": {"index.mapping.total_fields.limit": 3}},
    }
    server(index).indices.put_index_template(name=index.prefix, body=template)
    try:
        with pytest.raises(ConfigurationError, match=r"Limit of total fields.*remove index templates that match test-"):
            index.build(NEW)
    finally:
        server(index).indices.delete_index_template(name=index.prefix)
    assert_only_the_old_version_is_seen(index)
    assert_the_next_load_finishes(index)


def test_a_template_that_silently_changes_what_is_stored_is_noticed_before_anybody_sees_it(
    index: OpenSearchCandidateIndex,
) -> None:
    template = {
        "index_patterns": [f"{index.prefix}-*"],
        "template": {"mappings": {"_source": {"excludes": ["source"]}}},
    }
    server(index).indices.put_index_template(name=index.prefix, body=template)
    try:
        with pytest.raises(LedgerlineError, match=r"does not give names back as they were loaded .*index template"):
            index.build(NEW)
    finally:
        server(index).indices.delete_index_template(name=index.prefix)
    assert_only_the_old_version_is_seen(index)


def test_a_load_whose_index_another_load_removed_says_so_and_shows_nothing(
    index: OpenSearchCandidateIndex, proxy: Proxy
) -> None:
    other = OpenSearchCandidateIndex(url=proxy.target.geturl(), prefix=index.prefix)
    proxy.meddle = AtBulk(1, lambda: other.build(names("Third")))
    with pytest.raises(LedgerlineError, match="another load"):
        index.build(NEW)
    assert exact(index, "New 7 Inc") == []
    assert len(index._loaded()) == 2
    assert_the_next_load_finishes(index)


def test_of_two_loads_of_the_same_names_both_succeed(index: OpenSearchCandidateIndex, proxy: Proxy) -> None:
    other = OpenSearchCandidateIndex(url=proxy.target.geturl(), prefix=index.prefix)
    proxy.meddle = AtBulk(3, lambda: other.build(NEW))
    version = index.build(NEW)
    assert unfinished(index) == []
    index.promote(version)
    assert exact(index, "New 7 Inc") == ["cik:7"]


KILLED_LOAD = """
import sys
from resources import opensearch_index
from tests.contract.test_opensearch_index import BULK, NEW
opensearch_index.BULK_NAMES = BULK
opensearch_index.OpenSearchCandidateIndex(url=sys.argv[1], prefix=sys.argv[2]).build(NEW)
"""


def test_a_load_whose_process_is_killed_is_never_seen_and_removed_by_the_next(
    index: OpenSearchCandidateIndex, proxy: Proxy
) -> None:
    reached, never = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        never.wait(60)

    proxy.meddle = AtBulk(4, hold)
    command = [sys.executable, "-c", KILLED_LOAD, proxy.url, index.prefix]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert reached.wait(60)
    finally:
        process.kill()
        process.wait()
        never.set()
    proxy.meddle = lambda request, forward: forward(request)
    assert len(unfinished(index)) == 1
    assert_only_the_old_version_is_seen(index)
    assert_the_next_load_finishes(index)


# ------------------------------------------------------------------------------------------------------- a server that ends


@pytest.fixture(scope="module")
def fragile(opensearch_url: str) -> Iterator[OpenSearchServer]:
    """A server of this module's own, which may be killed; had where the shared one is."""
    with OpenSearchServer() as started:
        yield started


@pytest.fixture
def on_fragile(fragile: OpenSearchServer) -> Iterator[tuple[OpenSearchCandidateIndex, Proxy]]:
    with Proxy(fragile.url) as between:
        made = OpenSearchCandidateIndex(url=between.url, prefix=f"test-{uuid.uuid4().hex[:8]}", timeout_seconds=2)
        patient = made.model_copy(update={"timeout_seconds": 60.0})
        patient.promote(patient.build(OLD))
        yield made, between


def test_a_server_that_is_killed_in_a_load_loses_no_version_and_the_next_load_finishes(
    fragile: OpenSearchServer, on_fragile: tuple[OpenSearchCandidateIndex, Proxy]
) -> None:
    _, between = on_fragile
    index = OpenSearchCandidateIndex(url=fragile.url, prefix=on_fragile[0].prefix)
    loader = OpenSearchCandidateIndex(url=between.url, prefix=index.prefix)

    def kill(request: Request, forward: Forward) -> Answer:
        if is_bulk(request) and sum(map(is_bulk, between.requests)) == NAMES // BULK + 3:
            fragile.kill()
        return forward(request)

    between.meddle = kill
    with pytest.raises(LedgerlineError, match=r"OpenSearch at http://127\S+ cannot be reached .*check OPENSEARCH_URL"):
        loader.build(NEW)
    with pytest.raises(LedgerlineError, match="cannot be reached"):
        index.search(["Old 7 Inc"])
    fragile.start()
    assert len(unfinished(index)) == 1
    assert_only_the_old_version_is_seen(index)
    assert_the_next_load_finishes(index)


def test_a_server_that_hangs_in_a_load_is_named_after_the_time_out_and_the_next_load_finishes(
    fragile: OpenSearchServer, on_fragile: tuple[OpenSearchCandidateIndex, Proxy]
) -> None:
    index, between = on_fragile
    between.meddle = AtBulk(3, fragile.pause)
    try:
        with pytest.raises(LedgerlineError, match=r"did not answer within 2 s: look at its load, then run again"):
            index.build(NEW)
        with pytest.raises(LedgerlineError, match="did not answer within 2 s"):
            OpenSearchCandidateIndex(url=index.url, prefix=index.prefix, timeout_seconds=2).search(["Old 7 Inc"])
    finally:
        fragile.resume()
    between.meddle = lambda request, forward: forward(request)
    again = OpenSearchCandidateIndex(url=index.url, prefix=index.prefix)
    assert_only_the_old_version_is_seen(again)
    assert_the_next_load_finishes(again)


# ---------------------------------------------------------------------------------------------------- signatures and trust


class SignatureCheck:
    """Lets pass what is signed for the service, region and key, and refuses the rest as AWS does. A serverless collection
    also refuses what it does not know: it has no _refresh, no settings of shards, and no statistics."""

    def __init__(self, service: str, region: str = "eu-west-1") -> None:
        self.service, self.region = service, region

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if self._signature(request) not in request.headers.get("Authorization", ""):
            return Answer(403, b'{"message": "The request signature we calculated does not match"}')
        path = request.path.split("?")[0]
        if self.service == "aoss" and (path.endswith("/_refresh") or b'"settings"' in request.body):
            return Answer(404, b"{}")
        answer = forward(request)
        if self.service == "aoss" and is_bulk(request):  # it shows documents some time later, unasked
            forward(Request("POST", f"{path.rpartition('/')[0]}/_refresh", {}, b""))
        return answer

    def _signature(self, request: Request) -> str:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = headers.get("authorization", "").partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if "x-amz-date" not in signed or "host" not in signed:
            return "unsigned"
        again = AWSRequest(
            method=request.method,
            url=f"http://{headers['host']}{request.path}",
            data=request.body,
            headers={name: headers[name] for name in signed if name in headers},
        )
        again.context["timestamp"] = headers["x-amz-date"]
        auth = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), self.service, self.region)
        text = auth.string_to_sign(again, auth.canonical_request(again))
        return f"/{self.region}/{self.service}/aws4_request, SignedHeaders={';'.join(signed)}, Signature=" + str(
            auth.signature(text, again)
        )


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.mark.parametrize("service", ["es", "aoss"])
@pytest.mark.usefixtures("role")
def test_every_request_is_signed_for_the_service_and_the_region(proxy: Proxy, prefix: str, service: str) -> None:
    proxy.meddle = SignatureCheck(service)
    index = OpenSearchCandidateIndex(url=proxy.url, prefix=prefix, service=service, region="eu-west-1")
    index.promote(index.build([*NEW, replace(NEW[0], name_id="삼성|a/b?c", name="삼성전자")]))
    assert exact(index, "New 7 Inc") == ["cik:7"]
    assert len(index.entries([NEW[1].name_id, "삼성|a/b?c"])) == 2
    for word in ("Third", "Fourth", "Fifth"):
        index.promote(index.build(names(word, 3)))
    assert len(index._loaded()) == 3


@pytest.mark.parametrize("wrong", ["region", "service", "secret", "unsigned"])
@pytest.mark.usefixtures("role")
def test_a_refused_signature_names_the_settings_to_check_and_no_secret(
    proxy: Proxy,
    prefix: str,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.meddle = SignatureCheck("es")
    if wrong == "secret":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET + "x")
    index = OpenSearchCandidateIndex(
        url=proxy.url,
        prefix=prefix,
        service={"service": "aoss", "unsigned": "none"}.get(wrong, "es"),
        region="us-east-1" if wrong == "region" else "eu-west-1",
    )
    with (
        caplog.at_level("DEBUG"),
        pytest.raises(ConfigurationError, match=r"refused .*OPENSEARCH_SERVICE.*REGION") as said,
    ):
        index.build(NEW)
    assert SECRET not in caplog.text + repr(index) + str(said.value) + repr(said.value.__cause__)


def test_a_process_without_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    index = OpenSearchCandidateIndex(url="https://search.example.com", prefix="x", service="es")
    with pytest.raises(ConfigurationError, match="boto3 finds no AWS credentials"):
        index.current()


def test_a_server_that_does_not_prove_who_it_is_gets_no_request(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(self.path)

    impostor = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    impostor.socket = context.wrap_socket(impostor.socket, server_side=True)
    threading.Thread(target=impostor.serve_forever, daemon=True).start()
    try:
        index = OpenSearchCandidateIndex(url=f"https://127.0.0.1:{impostor.server_address[1]}", prefix="x")
        with pytest.raises(ConfigurationError, match=r"does not prove who it is .*SSL_CERT_FILE"):
            index.current()
    finally:
        impostor.shutdown()
        impostor.server_close()
    assert got == []


def self_signed(folder: Path) -> Path:
    from datetime import datetime, timedelta, timezone

    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_host_that_is_not_there_is_named() -> None:
    begun = time.monotonic()
    with pytest.raises(
        LedgerlineError, match=r"OpenSearch at http://127.0.0.1:1 cannot be reached .*check OPENSEARCH_URL"
    ):
        OpenSearchCandidateIndex(url="http://127.0.0.1:1", prefix="x").current()
    assert time.monotonic() - begun < 30
