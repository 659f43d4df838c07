"""What every archive in an object store must do: it is mirrored into a folder. On a folder's store, and on moto's S3."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ledgerline.errors import ConfigurationError, LedgerlineError
from resources import build_resources
from resources.archive_mirror import MirroredRegulators, mirror
from resources.environment import child_variables, read_settings
from resources.filing_ledger import SqlFilingLedger
from resources.object_store import DirectoryObjectStore, S3ObjectStore
from resources.regulators import EdgarArchive, RegulatorSet
from sensors.days import archive_days
from tests.servers.small_archive import DAY, EDGAR, NEXT_DAY, write_small_archive

KEEP = ("edgar/full/0000320193-25-000001.txt", "edgar/full/0000320193-25-000006.txt")


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """(a store, the URI of an archive of two filings in it)."""
    store: Any
    if request.param == "directory":
        store, bucket = DirectoryObjectStore(root=str(tmp_path / "objects")), "ledgerline"
    else:
        endpoint, bucket = request.getfixturevalue("s3_bucket")
        store = S3ObjectStore(endpoint_url=endpoint, region="us-east-1")
    uri = f"s3://{bucket}/filings/archive"
    made = write_small_archive(tmp_path / "made")
    for name in KEEP:
        store.put(f"{uri}/{name}", (made / name).read_bytes())
    store.put(f"s3://{bucket}/filings/archive-of-others/edgar/full/0000320193-25-000002.txt", b"not of this archive")
    store.put(f"{uri}/lake/part-0", b"no part of an archive")
    return store, uri


class Counted:
    """A store that counts what is fetched from it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.fetched: list[str] = []

    def list_stamped(self, prefix: str) -> Any:
        return self.store.list_stamped(prefix)

    def open_stream(self, uri: str) -> Any:
        self.fetched.append(uri)
        return self.store.open_stream(uri)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_mirror_holds_the_archive_and_nothing_else(place, tmp_path: Path) -> None:
    store, uri = place
    assert mirror(store, uri, tmp_path / "mirror") == (2, 0)
    assert files(tmp_path / "mirror") == {name: store.get(f"{uri}/{name}") for name in KEEP}


def test_only_what_is_new_or_changed_is_fetched_and_what_is_gone_is_removed(place, tmp_path: Path) -> None:
    store, uri = Counted(place[0]), place[1]
    mirror(store, uri + "/", tmp_path / "mirror")
    store.fetched.clear()
    assert mirror(store, uri, tmp_path / "mirror") == (0, 0)
    store.store.put(f"{uri}/{KEEP[0]}", b"other bytes")
    store.store.put(f"{uri}/dart/list/20250314/page_1.json", b"{}")
    store.store.delete(f"{uri}/{KEEP[1]}")
    assert mirror(store, uri, tmp_path / "mirror") == (2, 1)
    assert store.fetched == [f"{uri}/dart/list/20250314/page_1.json", f"{uri}/{KEEP[0]}"]
    assert files(tmp_path / "mirror") == {KEEP[0]: b"other bytes", "dart/list/20250314/page_1.json": b"{}"}


def test_a_fetch_that_breaks_leaves_whole_files_and_the_next_one_goes_on(place, tmp_path: Path) -> None:
    store, uri = place

    class Breaks(Counted):
        def open_stream(self, uri: str) -> Any:
            if self.fetched:
                raise ConnectionError("the line is down")
            return super().open_stream(uri)

    with pytest.raises(LedgerlineError, match=r"0000320193-25-000006\.txt cannot be kept .*the line is down"):
        mirror(Breaks(store), uri, tmp_path / "mirror")
    assert list(files(tmp_path / "mirror")) == [KEEP[0]]
    again = Counted(store)
    assert mirror(again, uri, tmp_path / "mirror") == (1, 0)
    assert again.fetched == [f"{uri}/{KEEP[1]}"]


def test_a_prefix_without_an_archive_says_what_was_looked_for_and_keeps_the_mirror(place, tmp_path: Path) -> None:
    store, uri = place
    mirror(store, uri, tmp_path / "mirror")
    for wrong in (f"{uri}/lake", uri.removesuffix("/archive")):
        with pytest.raises(ConfigurationError, match=r"looked for objects below .*edgar/.*LEDGERLINE_ARCHIVE"):
            mirror(store, wrong, tmp_path / "mirror")
    assert sorted(files(tmp_path / "mirror")) == sorted(KEEP)


def test_days_that_appear_in_the_store_are_seen_and_wanted_by_the_sensor(place, tmp_path: Path) -> None:
    store, uri = place
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    regulators = MirroredRegulators(
        ledger=ledger, object_store=store, archive=str(tmp_path / "home/mirror"), archive_uri=uri
    )
    late = next(made for made in EDGAR if made.day == NEXT_DAY and made.body)
    with dg.DagsterInstance.ephemeral() as instance:

        def wanted() -> set[str | None]:
            resources = {"regulators": regulators, "filing_ledger": ledger}
            with dg.build_sensor_context(instance=instance, resources=resources) as context:
                result = archive_days(context)
            assert isinstance(result, dg.SensorResult)
            return {request.partition_key for request in result.run_requests or []}

        assert wanted() == {f"edgar:{DAY}"}
        store.put(
            f"{uri}/edgar/full/{late.accession}.txt", (tmp_path / f"made/edgar/full/{late.accession}.txt").read_bytes()
        )
        assert wanted() == {f"edgar:{DAY}", f"edgar:{NEXT_DAY}"}
    ref = next(iter(regulators.of("edgar").discover(NEXT_DAY)))
    fetched = regulators.of("edgar").fetch(ref, tmp_path / "body")
    assert fetched is not None
    assert fetched.path.read_bytes() == store.get(f"{uri}/edgar/full/{late.accession}.txt")


def test_a_run_that_only_asks_for_one_regulator_has_the_mirror_too(place, tmp_path: Path) -> None:
    store, uri = place
    ledger = SqlFilingLedger(url=f"sqlite:///{tmp_path}/ledger.db")
    regulators = MirroredRegulators(
        ledger=ledger, object_store=store, archive=str(tmp_path / "mirror"), archive_uri=uri
    )
    assert isinstance(regulators.of("edgar"), EdgarArchive)
    assert regulators.of("edgar").days() == [DAY]


# ---------------------------------------------------------------------------------------------------------- names


class Hostile:
    """A store whose listing holds names that S3 allows and a folder must not follow."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def list_stamped(self, prefix: str) -> Any:
        return iter([(prefix + name, "1") for name in self.names])

    def open_stream(self, uri: str) -> Any:
        import io

        return io.BytesIO(b"body")


@pytest.mark.parametrize(
    "name",
    ["edgar/../../outside", "edgar//etc/x", "edgar/./x", "edgar/a\\..\\x", "edgar/x\0y", "../edgar/x", "/edgar/x"],
)
def test_no_name_of_an_object_leads_out_of_the_mirror(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    mirror(Hostile(name, "edgar/full/good.txt", "edgar/full/"), "s3://b/p", tmp_path / "deep/mirror")
    assert files(tmp_path / "deep/mirror") == {"edgar/full/good.txt": b"body"}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "good.txt",
        "mirror.json",
        "mirror.lock",
    ]
    assert caplog.text.count("passed over") == 1


@pytest.mark.parametrize("name", ["edgar/full/good.txt/below", "edgar/full/" + "x" * 300])
def test_an_object_that_cannot_be_a_file_is_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerlineError, match="rename the object"):
        mirror(Hostile("edgar/full/good.txt", name), "s3://b/p", tmp_path / "mirror")


# ---------------------------------------------------------------------------------------------------- the setting


def test_the_archive_setting_is_a_folder_or_a_prefix_of_the_object_store(tmp_path: Path) -> None:
    home = {"LEDGERLINE_HOME": str(tmp_path)}
    in_store = read_settings(variables={**home, "LEDGERLINE_ARCHIVE": "s3://bucket/prefix/"})
    folder = read_settings(variables={**home, "LEDGERLINE_ARCHIVE": str(tmp_path / "archive")})
    assert (in_store.archive, folder.archive) == ("s3://bucket/prefix", tmp_path / "archive")
    assert child_variables(in_store)["LEDGERLINE_ARCHIVE"] == "s3://bucket/prefix"
    chosen = build_resources(settings=in_store)
    assert isinstance(chosen["regulators"], MirroredRegulators)
    assert chosen["regulators"].object_store is chosen["object_store"]
    assert type(build_resources(settings=folder)["regulators"]) is RegulatorSet
    other = read_settings(variables={**home, "LEDGERLINE_ARCHIVE": "s3://bucket/other"})
    assert other.archive_mirror != in_store.archive_mirror


@pytest.mark.parametrize("text", ["s3://", "s3:///", "gs://bucket/prefix", "https://example.com/archive"])
def test_a_uri_that_no_object_store_has_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"LEDGERLINE_ARCHIVE .*give a folder, or s3://"):
        read_settings(variables={"LEDGERLINE_ARCHIVE": text})


def test_on_aws_the_archive_is_read_from_s3(tmp_path: Path) -> None:
    settings = read_settings(
        "prod",
        variables={
            "LEDGERLINE_HOME": str(tmp_path),
            "LEDGERLINE_ARCHIVE": "s3://bucket/prefix",
            "LEDGERLINE_BUCKET": "ledgerline-of-a-team",
            "SAGEMAKER_ROLE_ARN": "arn:aws:iam::123456789012:role/ledgerline",
            "SAGEMAKER_IMAGE_URI": "123456789012.dkr.ecr.us-east-1.amazonaws.com/ledgerline:1",
        },
    )
    assert isinstance(build_resources(settings=settings)["regulators"].object_store, S3ObjectStore)
