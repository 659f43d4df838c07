"""What looking at an endpoint costs: its artifact is read when it changed, or once an hour, not with every look."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

import pytest

from ledgerline.release.digest import model_digest, pack_files
from resources import sagemaker
from resources.object_store import DirectoryObjectStore
from resources.sagemaker import SageMaker

ONE, OTHER = (pack_files({"model.txt": text}) for text in (b"one", b"two"))


class Client:
    """Of SageMaker: one endpoint whose model lies at `uri`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def describe_endpoint(self, **_: str) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        return {"EndpointStatus": "InService", "EndpointConfigName": "c", "LastModifiedTime": now}

    def describe_endpoint_config(self, **_: str) -> dict[str, Any]:
        return {"ProductionVariants": [{"ModelName": "m"}]}

    def describe_model(self, **_: str) -> dict[str, Any]:
        return {"PrimaryContainer": {"ModelDataUrl": self._uri}}


@pytest.fixture
def reads(tmp_path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs that were read whole."""
    found: list[str] = []
    get = DirectoryObjectStore.get
    monkeypatch.setattr(DirectoryObjectStore, "get", lambda self, uri: (found.append(uri), get(self, uri))[1])
    monkeypatch.setattr(sagemaker, "_SEEN_DIGESTS", {})
    return found


def test_an_artifact_is_read_again_only_when_it_changed_or_after_an_hour(tmp_path, reads, monkeypatch):
    objects = DirectoryObjectStore(root=str(tmp_path))
    uri = objects.uri("models", "model.tar.gz")

    def look() -> str | None:
        platform = SageMaker(object_store=objects)  # anew each time, as Dagster makes it for every tick
        platform._clients["sagemaker"] = Client(uri)
        state = platform.describe_endpoint("demo")
        assert state is not None
        return state.model_digest

    assert look() is None
    objects.put(uri, ONE)
    del reads[:]
    assert [look(), look(), look()] == [model_digest(ONE)] * 3
    assert len(reads) == 1
    objects.put(uri, OTHER)
    assert [look(), look()] == [model_digest(OTHER)] * 2
    assert len(reads) == 2
    path = tmp_path / uri.removeprefix("s3://")
    before = path.stat()
    path.write_bytes(ONE)  # by somebody who hides it: the same size and time
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look() == model_digest(OTHER)
    monkeypatch.setattr(sagemaker, "_SEEN_SECONDS", 0.0)
    assert look() == model_digest(ONE)
    objects.delete(uri)
    assert look() is None
