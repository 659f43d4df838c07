"""The state of the clusters on disk and in an object store: nothing may depend on when it was saved."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from ledgerline.clusters import near_duplicates as module
from ledgerline.clusters.index import FeatureIndex
from ledgerline.clusters.near_duplicates import ClusterDocument, NearDuplicates
from ledgerline.errors import LedgerlineError
from tests.unit.test_clusters_near_duplicates import HARVEST, RAMP, corpus, prose


def rewritten(body: bytes, **changes: np.ndarray) -> bytes:
    with np.load(BytesIO(body)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    out = BytesIO()
    np.savez(out, **(arrays | changes))
    return out.getvalue()


def packed(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


@pytest.fixture
def small() -> NearDuplicates:
    clusters = NearDuplicates()
    clusters.assign([ClusterDocument("a", RAMP), ClusterDocument("b", HARVEST), ClusterDocument("c", RAMP)])
    return clusters


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_batches_with_the_state_saved_between_give_the_same_as_one_call(size: int, tmp_path: Path) -> None:
    documents = corpus()
    whole = NearDuplicates()
    expected = whole.assign(documents)
    clusters, links = NearDuplicates(), []
    for begin in range(0, len(documents), size):
        links += clusters.assign(documents[begin : begin + size])
        if size > 1:
            clusters.save(tmp_path / "state.npz")
            clusters = NearDuplicates.load(tmp_path / "state.npz")
    assert links == expected
    assert clusters.to_bytes() == whole.to_bytes()


def test_tables_that_grow_give_the_same_as_tables_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REBUILD_BLOCK", 50)
    monkeypatch.setattr("ledgerline.clusters.index.SMALLEST_BITS", 8)
    documents = corpus()
    grown = NearDuplicates()
    expected = grown.assign(documents)
    again, links = NearDuplicates(), []
    for begin in range(0, len(documents), 90):
        links += again.assign(documents[begin : begin + 90])
        again = NearDuplicates.from_bytes(again.to_bytes())
    assert links == expected


def test_documents_posted_together_stand_as_if_posted_one_by_one() -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 90, size=900).astype(np.uint32)
    documents = np.sort(rng.integers(0, 60, size=900)).astype(np.int32)
    together, one_by_one = FeatureIndex(), FeatureIndex()
    together.post(ids, documents)
    for document in range(60):
        one_by_one.post(ids[documents == document], documents[documents == document])
    for feature in range(90):
        wanted = np.array([feature], dtype=np.uint32)
        newest = sorted({int(number) for number in documents[ids == feature]}, reverse=True)[:4]
        assert together.recent(wanted).tolist() == one_by_one.recent(wanted).tolist() == newest


def test_an_empty_state_survives() -> None:
    clusters = NearDuplicates.from_bytes(NearDuplicates().to_bytes())
    assert len(clusters) == 0
    assert clusters.assign([ClusterDocument("a", RAMP)])[0].cluster_id == "a"


def test_a_state_keeps_links_relations_and_evidence(small: NearDuplicates) -> None:
    documents = [ClusterDocument("c", ""), ClusterDocument("a", "")]
    assert NearDuplicates.from_bytes(small.to_bytes()).assign(documents) == small.assign(documents)


def test_the_same_documents_give_the_same_bytes(small: NearDuplicates) -> None:
    again = NearDuplicates()
    again.assign([ClusterDocument("a", RAMP), ClusterDocument("b", HARVEST), ClusterDocument("c", RAMP)])
    assert again.to_bytes() == small.to_bytes()


def test_an_unknown_version_is_refused_with_the_remedy(small: NearDuplicates) -> None:
    header = {"format": "ledgerline-near-duplicates", "version": 2, "max_features": 384}
    with pytest.raises(LedgerlineError, match=r"version 2 .* materialize `clusters` again"):
        NearDuplicates.from_bytes(rewritten(small.to_bytes(), header=packed(header)))


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04 not a state", b"\x93NUMPY", b"{}"])
def test_bytes_that_are_no_state_are_refused(body: bytes) -> None:
    with pytest.raises(LedgerlineError, match="materialize `clusters` again"):
        NearDuplicates.from_bytes(body)


def test_a_truncated_state_is_refused(small: NearDuplicates) -> None:
    body = small.to_bytes()
    for length in (10, len(body) // 2, len(body) - 1):
        with pytest.raises(LedgerlineError):
            NearDuplicates.from_bytes(body[:length])


def test_pickled_arrays_are_not_read(small: NearDuplicates) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(LedgerlineError, match="cannot be read"):
        NearDuplicates.from_bytes(rewritten(small.to_bytes(), levels=objects))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("linked", np.array([-1, -1, 9], dtype=np.int32)),
        ("linked", np.array([2, -1, 0], dtype=np.int32)),
        ("founders", np.array([0, 1, 7], dtype=np.int32)),
        ("ends", np.array([5, 3, 10], dtype=np.int64)),
        ("ends", np.array([5, 10, 10_000_000], dtype=np.int64)),
        ("relations", np.array([0, 0, 8], dtype=np.int8)),
        ("levels", np.array([0, 0], dtype=np.uint8)),
    ],
)
def test_a_state_that_refers_outside_of_itself_is_refused(
    small: NearDuplicates, column: str, values: np.ndarray
) -> None:
    with pytest.raises(LedgerlineError, match="materialize `clusters` again"):
        NearDuplicates.from_bytes(rewritten(small.to_bytes(), **{column: values}))


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(
    small: NearDuplicates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.npz"
    small.save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        NearDuplicates().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NearDuplicates.load(tmp_path / "none.npz")


def test_the_state_stays_below_two_kilobytes_a_document_however_long_they_are() -> None:
    clusters = NearDuplicates()
    clusters.assign([ClusterDocument(f"d{seed}", prose(seed, 3_000)) for seed in range(40)])
    assert len(clusters.to_bytes()) / 40 < 2_000
