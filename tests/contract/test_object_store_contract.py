"""What every object store must do. Runs on a folder, and on S3 as moto serves it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError, Overtaken
from resources.object_store import DirectoryObjectStore, S3ObjectStore

BODY = b"<SEC-DOCUMENT>" + bytes(range(256)) * 10


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[DirectoryObjectStore | S3ObjectStore, str]:
    """(a store, a bucket in it)."""
    if request.param == "directory":
        return DirectoryObjectStore(root=str(tmp_path / "objects")), "ledgerline"
    endpoint, bucket = request.getfixturevalue("s3_bucket")
    return S3ObjectStore(endpoint_url=endpoint, region="us-east-1"), bucket


def test_what_was_put_is_got_and_its_digest_returned(place) -> None:
    store, bucket = place
    uri = f"s3://{bucket}/filings/edgar/0000320193-25-000001/abc"
    assert store.put(uri, BODY) == hashlib.sha256(BODY).hexdigest()
    assert store.get(uri) == BODY
    assert store.exists(uri)
    assert store.put(uri, b"") == hashlib.sha256(b"").hexdigest()
    assert store.get(uri) == b""


def test_a_file_is_stored_and_read_as_a_stream(place, tmp_path: Path) -> None:
    store, bucket = place
    path = tmp_path / "body"
    path.write_bytes(BODY * 1000)
    uri = f"s3://{bucket}/large"
    assert store.put_file(uri, path) == hashlib.sha256(BODY * 1000).hexdigest()
    with store.open_stream(uri) as stream:
        assert stream.read(14) == b"<SEC-DOCUMENT>"
        assert len(stream.read()) == len(BODY) * 1000 - 14


def test_what_is_not_there_is_named(place) -> None:
    store, bucket = place
    uri = f"s3://{bucket}/nothing"
    assert not store.exists(uri)
    for read in (store.get, store.open_stream):
        with pytest.raises(FileNotFoundError, match="nothing"):
            read(uri)
    store.delete(uri)


def test_a_deleted_object_is_gone(place) -> None:
    store, bucket = place
    store.put(f"s3://{bucket}/a/b", b"1")
    store.delete(f"s3://{bucket}/a/b")
    assert not store.exists(f"s3://{bucket}/a/b")
    assert list(store.list(f"s3://{bucket}/")) == []


def test_what_another_wrote_meanwhile_is_not_overwritten(place) -> None:
    store, bucket = place
    uri = f"s3://{bucket}/state"
    assert store.stamp(uri) is None
    store.put_unless_changed(uri, b"1", stamp=None)
    first = store.stamp(uri)
    assert store.put_unless_changed(uri, b"2", stamp=first) == hashlib.sha256(b"2").hexdigest()
    for stale in (None, first):
        with pytest.raises(Overtaken, match="was written by another run meanwhile; nothing is lost: run this again"):
            store.put_unless_changed(uri, b"3", stamp=stale)
    assert store.get(uri) == b"2"
    second = store.stamp(uri)
    store.delete(uri)
    with pytest.raises(Overtaken):
        store.put_unless_changed(uri, b"3", stamp=second)
    assert not store.exists(uri)


def test_of_many_who_replace_what_they_read_each_is_seen_or_told(place) -> None:
    """As a counter: no increment is lost, however many meet."""
    store, bucket = place
    uri = f"s3://{bucket}/counter"
    store.put(uri, b"0")
    done = []

    def count() -> None:
        while True:
            stamp = store.stamp(uri)
            try:
                store.put_unless_changed(uri, str(int(store.get(uri)) + 1).encode(), stamp=stamp)
            except Overtaken:
                continue
            done.append(1)
            return

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (int(store.get(uri)), len(done)) == (4, 4)


def test_a_prefix_lists_its_objects_sorted_and_need_not_end_at_a_slash(place) -> None:
    store, bucket = place
    for key in ("a/2", "a/1", "a/10/x", "ab", "b"):
        store.put(f"s3://{bucket}/{key}", b"1")
    listed = {
        prefix: [uri.removeprefix(f"s3://{bucket}/") for uri in store.list(f"s3://{bucket}/{prefix}")]
        for prefix in ("", "a", "a/", "a/1", "c")
    }
    assert listed == {
        "": ["a/1", "a/10/x", "a/2", "ab", "b"],
        "a": ["a/1", "a/10/x", "a/2", "ab"],
        "a/": ["a/1", "a/10/x", "a/2"],
        "a/1": ["a/1", "a/10/x"],
        "c": [],
    }


@pytest.mark.parametrize(
    "uri",
    [
        "s3://b/../x",
        "s3://b/a/../../x",
        "s3:///x",
        "s3://../x",
        "s3://b//x",
        "s3://b/a/./x",
        "/etc/passwd",
        "b/x",
        "s3://b/a\0",
    ],
)
def test_a_uri_cannot_leave_its_bucket(place, uri: str) -> None:
    store, _ = place
    for act in (store.get, store.exists, store.delete, lambda one: store.put(one, b"1")):
        with pytest.raises(LedgerlineError, match="is no object URI"):
            act(uri)


@pytest.mark.parametrize("uri", ["s3://b", "s3://b/", "s3://b/a/"])
def test_a_bucket_or_a_folder_is_no_object(place, uri: str) -> None:
    with pytest.raises(LedgerlineError, match="needs a key"):
        place[0].put(uri, b"1")


# ---------------------------------------------------------------------------------------------- of one store only


def test_a_symlink_out_of_the_bucket_is_not_followed(tmp_path: Path) -> None:
    store = DirectoryObjectStore(root=str(tmp_path / "objects"))
    store.put("s3://b/inside", b"1")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (tmp_path / "objects/b/link").symlink_to(tmp_path / "outside")
    for act in (store.get, lambda uri: store.put(uri, b"2"), store.delete):
        with pytest.raises(LedgerlineError, match="symlink"):
            act("s3://b/link/secret")
    assert (tmp_path / "outside/secret").read_bytes() == b"secret"
    assert list(store.list("s3://b/")) == ["s3://b/inside"]


def test_a_put_that_fails_half_way_leaves_what_was_there_and_no_scrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryObjectStore(root=str(tmp_path))
    store.put("s3://b/x", b"before")

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LedgerlineError, match=r"No space left.*free space there, then run this again"):
        store.put("s3://b/x", b"after")
    assert store.get("s3://b/x") == b"before"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x"]


def test_what_a_killed_put_left_is_removed_a_day_later_and_not_before(tmp_path: Path) -> None:
    (tmp_path / ".staging").mkdir()
    old, young = tmp_path / ".staging/old", tmp_path / ".staging/young"
    for path, hours in ((old, 25), (young, 23)):
        path.write_bytes(b"half of a body")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    DirectoryObjectStore(root=str(tmp_path)).put("s3://b/x", b"1")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_bucket_that_does_not_exist_is_a_setting_to_correct(s3_endpoint: str) -> None:
    store = S3ObjectStore(endpoint_url=s3_endpoint, region="us-east-1")
    with pytest.raises(ConfigurationError, match="create it or correct its name"):
        store.put("s3://no-such-bucket/x", b"1")
