"""What only stores on S3 must stand: a prefix that is slowed down, answers that are lost, keys of KMS, credentials, writers
of one table at once. In front of the S3 of moto is a proxy that meddles."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa
import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError, Overtaken
from resources import object_store
from resources.environment import ROOT
from resources.lake import DeltaLake, s3_options
from resources.object_store import S3ObjectStore
from resources.scope import scope_of
from tests.servers.proxy import Answer, Forward, Proxy, Request

SLOW_DOWN = Answer(
    503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>", "application/xml"
)
LOST = Answer(500, b"<Error><Code>InternalError</Code><Message>lost</Message></Error>", "application/xml")
TEST_KEYS = {"AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture
def proxy(s3_bucket: tuple[str, str]) -> Iterator[Proxy]:
    with Proxy(s3_bucket[0]) as made:
        yield made


@pytest.fixture
def bucket(s3_bucket: tuple[str, str]) -> str:
    return s3_bucket[1]


@pytest.fixture
def store(proxy: Proxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3ObjectStore:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.0)
    return S3ObjectStore(bucket=bucket, endpoint_url=proxy.url, region="us-east-1")


class First:
    """Answers the first `count` requests of a method as told; `after`, once the server has done what was asked."""

    def __init__(self, count: int, method: str, answer: Answer, *, after: bool = False, part: str = "") -> None:
        self.left, self.method, self.answer, self.after, self.part = count, method, answer, after, part

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if request.method != self.method or self.part not in request.path or not self.left:
            return forward(request)
        self.left -= 1
        if self.after:
            forward(request)
        return self.answer


def lake_on(url: str, bucket: str) -> DeltaLake:
    options = {**s3_options(region="us-east-1"), **TEST_KEYS, "AWS_ENDPOINT_URL": url}
    return DeltaLake(root=f"s3://{bucket}/lake", storage_options=options)


def table(*ids: str, value: int = 0) -> pa.Table:
    return pa.table({"id": list(ids), "value": pa.array([value] * len(ids), pa.int64())})


# ------------------------------------------------------------------------------------------------------ object store


def test_a_prefix_that_is_slowed_down_is_waited_for(store: S3ObjectStore, proxy: Proxy) -> None:
    proxy.meddle = First(3, "PUT", SLOW_DOWN)
    store.put(store.uri("a"), b"body")
    assert store.get(store.uri("a")) == b"body"
    assert [request.method for request in proxy.requests].count("PUT") == 4


def test_a_prefix_that_stays_slow_is_said_and_nothing_is_half_written(store: S3ObjectStore, proxy: Proxy) -> None:
    proxy.meddle = First(object_store.TRIES, "PUT", SLOW_DOWN)
    with pytest.raises(LedgerlineError, match=r"S3 refuses s3://.*/a \(SlowDown\); nothing is lost: run this again"):
        store.put(store.uri("a"), b"body")
    assert not store.exists(store.uri("a"))


def test_an_answer_that_is_lost_after_a_put_is_asked_for_again(store: S3ObjectStore, proxy: Proxy) -> None:
    proxy.meddle = First(1, "PUT", LOST, after=True)
    assert store.put(store.uri("a"), b"body") == hashlib.sha256(b"body").hexdigest()
    assert store.get(store.uri("a")) == b"body"


@pytest.mark.parametrize("there", [False, True])
def test_a_conditional_put_whose_answer_is_lost_is_not_taken_for_somebody_elses(
    store: S3ObjectStore, proxy: Proxy, there: bool
) -> None:
    uri = store.uri("state")
    if there:
        store.put(uri, b"old")
    stamp = store.stamp(uri)
    proxy.meddle = First(1, "PUT", LOST, after=True)
    store.put_unless_changed(uri, b"mine", stamp=stamp)
    assert store.get(uri) == b"mine"
    assert [request.method for request in proxy.requests][-4:].count("PUT") == 2
    with pytest.raises(Overtaken):
        store.put_unless_changed(uri, b"other", stamp=stamp)


def test_a_large_file_goes_in_parts_whose_digests_s3_verifies(
    store: S3ObjectStore, proxy: Proxy, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 40_000)  # 10 MB: more than one part
    digest = store.put_file(store.uri("large"), path)
    parts = [request for request in proxy.requests if "partNumber=" in request.path]
    assert len(parts) == 2
    for request in parts:
        sent = {name.lower(): value for name, value in request.headers.items()}
        assert "x-amz-checksum-sha256" in sent or sent.get("x-amz-trailer") == "x-amz-checksum-sha256"
    assert hashlib.sha256(store.get(store.uri("large"))).hexdigest() == digest
    kept = store._s3().head_object(Bucket=store.bucket, Key="large")
    assert kept["Metadata"] == {"sha256": digest}


def test_s3_is_told_the_digest_that_it_is_to_verify(store: S3ObjectStore, proxy: Proxy) -> None:
    digest = store.put(store.uri("a"), b"body")
    (request,) = proxy.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert base64.b64decode(headers["x-amz-checksum-sha256"]).hex() == digest == hashlib.sha256(b"body").hexdigest()


def test_objects_are_encrypted_as_configured(store: S3ObjectStore, proxy: Proxy, tmp_path: Path) -> None:
    keyed = S3ObjectStore(bucket=store.bucket, endpoint_url=proxy.url, region="us-east-1", kms_key_id="alias/team")
    (tmp_path / "x").write_bytes(b"1")
    keyed.put(keyed.uri("put"), b"1")
    keyed.put_file(keyed.uri("file"), tmp_path / "x")
    for name in ("put", "file"):
        about = keyed._s3().head_object(Bucket=keyed.bucket, Key=name)
        assert (about["ServerSideEncryption"], about["SSEKMSKeyId"]) == ("aws:kms", "alias/team")
        assert about["BucketKeyEnabled"] is True


def test_credentials_in_a_uri_are_refused_and_not_repeated(store: S3ObjectStore) -> None:
    with pytest.raises(LedgerlineError, match="holds a user or a password: write s3://<bucket>/<key>") as caught:
        store.put("s3://AKIAIOSFODNN7EXAMPLE:hunter2@bucket/key", b"1")
    assert "hunter2" not in str(caught.value)


def test_the_state_of_a_branch_cannot_be_removed_without_a_prefix(store: S3ObjectStore) -> None:
    with pytest.raises(ConfigurationError, match="no prefix of a branch"):
        store.remove_branch()


def test_the_lifecycle_that_is_documented_is_one_and_lets_no_model_filing_or_table_expire(
    store: S3ObjectStore,
) -> None:
    given = json.loads((ROOT / "deploy" / "lifecycle.json").read_text())
    store._s3().put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=given)
    kept = store._s3().get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
    assert [rule["ID"] for rule in kept] == [rule["ID"] for rule in given["Rules"]]
    expiring = [rule["Filter"]["Prefix"] for rule in given["Rules"] if "Days" in rule.get("Expiration", {})]
    assert expiring == ["batches/", "graph_loads/", "ledgerline-b-"]
    assert scope_of("branch", "main").startswith("ledgerline-b-")


# -------------------------------------------------------------------------------------------------------------- lake


def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_made_twice(proxy: Proxy, bucket: str) -> None:
    lake = lake_on(proxy.url, bucket)
    lake.merge("t", table("a"), keys=("id",))
    proxy.meddle = First(1, "PUT", LOST, after=True, part="_delta_log")
    lake.merge("t", table("b", "c"), keys=("id",))
    proxy.meddle = First(1, "PUT", LOST, after=True, part="_delta_log")
    lake.merge("t", table("b", "d", value=1), keys=("id",))
    rows = {row["id"]: row["value"] for row in lake.read("t").to_pylist()}
    assert lake.read("t").num_rows == 4
    assert rows == {"a": 0, "b": 1, "c": 0, "d": 1}


def test_a_lake_that_is_slowed_down_is_waited_for(proxy: Proxy, bucket: str) -> None:
    lake = lake_on(proxy.url, bucket)
    proxy.meddle = First(2, "PUT", SLOW_DOWN)
    lake.merge("t", table("a"), keys=("id",))
    assert lake.read("t")["id"].to_pylist() == ["a"]


REFUSED = Answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", "application/xml")


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_lake_that_refuses_these_credentials_is_said_in_one_sentence(proxy: Proxy, bucket: str, method: str) -> None:
    proxy.meddle = First(99, method, REFUSED)
    with pytest.raises(
        LedgerlineError, match=r"^the lake s3://.* cannot be used now \(.*403.*\); nothing is lost: check"
    ) as caught:
        lake_on(proxy.url, bucket).merge("t", table("a"), keys=("id",))
    assert "\n" not in str(caught.value)
    proxy.meddle = First(0, method, REFUSED)
    assert lake_on(proxy.url, bucket).version("t") is None


def test_a_lake_that_cannot_be_reached_is_said(bucket: str) -> None:
    lake = lake_on("http://127.0.0.1:9", bucket)
    quick = lake.model_copy(update={"storage_options": {**lake.storage_options, "retry_timeout": "1s"}})
    with pytest.raises(
        LedgerlineError, match=r"Connection refused.*; nothing is lost: check the bucket, AWS_DEFAULT_REG"
    ):
        quick.read("t")


def write(url: str, bucket: str, number: int, together: Barrier) -> None:
    """One process of several: rows of its own, and one row that all of them change."""
    lake = lake_on(url, bucket)
    together.wait()
    for turn in range(3):
        lake.merge("t", table(f"{number}-{turn}"), keys=("id",))
        lake.merge("t", table("shared", value=100 * number + turn), keys=("id",))


def test_processes_that_append_and_merge_at_once_lose_no_row_and_double_none(s3_endpoint: str, bucket: str) -> None:
    lake_on(s3_endpoint, bucket).merge("t", table("shared"), keys=("id",))
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    writers = [context.Process(target=write, args=(s3_endpoint, bucket, number, together)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    rows = sorted(lake_on(s3_endpoint, bucket).read("t")["id"].to_pylist())
    assert rows == sorted([f"{number}-{turn}" for number in (1, 2) for turn in range(3)] + ["shared"])


def test_a_lake_asks_for_its_files_to_be_encrypted_with_the_key_that_is_named(proxy: Proxy, bucket: str) -> None:
    lake = lake_on(proxy.url, bucket)
    keyed = lake.model_copy(
        update={"storage_options": {**lake.storage_options, **s3_options(region="us-east-1", kms_key_id="alias/team")}}
    )
    keyed.merge("t", table("a"), keys=("id",))
    puts = [{k.lower(): v for k, v in one.headers.items()} for one in proxy.requests if one.method == "PUT"]
    assert len(puts) == 2  # a file, and the commit
    for headers in puts:
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/team"
        assert headers["x-amz-server-side-encryption-bucket-key-enabled"] == "true"


def test_a_lake_shows_no_credentials(proxy: Proxy, bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    options = {**s3_options(region="us-east-1"), **TEST_KEYS, "AWS_ENDPOINT_URL": proxy.url}
    lake = DeltaLake(root=f"s3://{bucket}/lake", storage_options={**options, "AWS_SECRET_ACCESS_KEY": "hunter2"})
    with caplog.at_level(logging.DEBUG):
        lake.merge("t", table("a"), keys=("id",))
        with pytest.raises(LedgerlineError) as caught:
            lake.read("nothing")
    assert "hunter2" not in repr(lake) + caplog.text + str(caught.value)
