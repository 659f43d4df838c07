"""A day of both regulators through the real ports: archive and HTTP, SQLite, folders and Delta tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ledgerline.filings.onboarding import DayReport, onboard_day
from ledgerline.filings.ports import Regulator, RegulatorUnavailable
from ledgerline.filings.tables import FILINGS
from resources.filing_ledger import SqlFilingLedger
from resources.lake import DeltaLake
from resources.object_store import DirectoryObjectStore
from resources.regulators import DartHttp, EdgarHttp, RegulatorSet
from tests.servers.regulator_server import KEY, RegulatorServer
from tests.servers.small_archive import DAY, write_small_archive

EVENING = datetime(2025, 3, 15, 2, 30, tzinfo=timezone.utc)


class Place:
    """All ports below one folder, a clock that moves when somebody sleeps, and a server over the same archive."""

    def __init__(self, folder: Path, server: RegulatorServer) -> None:
        self.server = server
        self.now = EVENING
        self.ledger = SqlFilingLedger(url=f"sqlite:///{folder}/ledger.db")
        self.lake = DeltaLake(root=str(folder / "lake"))
        self.objects = DirectoryObjectStore(root=str(folder / "objects"))

    def clock(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def regulators(self, way: str) -> list[Regulator]:
        if way == "archive":
            both = RegulatorSet(ledger=self.ledger, archive=str(self.server.archive))
            return [both.of(source) for source in both.sources()]
        settings = {"lease": self.ledger, "base_url": self.server.url, "clock": self.clock, "sleep": self.sleep}
        return [EdgarHttp("Ledgerline Tests tests@example.com", **settings), DartHttp(KEY, **settings)]  # type: ignore[arg-type]

    def onboard(self, regulator: Regulator) -> DayReport:
        return onboard_day(
            regulator=regulator, ledger=self.ledger, objects=self.objects, lake=self.lake, day=DAY, clock=self.clock
        )

    def rows(self) -> dict[str, dict]:
        return {row["filing_id"]: row for row in self.lake.read("filings").to_pylist()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with RegulatorServer(write_small_archive(tmp_path / "archive")) as server:
        yield Place(tmp_path, server)


@pytest.mark.parametrize("way", ["archive", "http"])
def test_a_day_is_onboarded_once_and_a_second_time_adds_nothing(place: Place, way: str) -> None:
    for regulator in place.regulators(way):
        report = place.onboard(regulator)
        assert report.published > 0
        assert report.waiting == 1  # listed, and without a body
    version, rows = place.lake.version("filings"), place.rows()
    assert place.lake.read("filings").schema.equals(FILINGS)
    for row in rows.values():
        assert place.objects.get(row["uri"])[: row["bytes"]]
        assert row["available_at"] >= (row["accepted_at"] or row["available_at"])
    for regulator in place.regulators(way):
        again = place.onboard(regulator)
        assert (again.new, again.published, again.refused, again.bytes) == (0, 0, 0, 0)
    assert (place.lake.version("filings"), place.rows()) == (version, rows)


def test_http_and_archive_give_the_same_digests(place: Place) -> None:
    digests = []
    for way in ("archive", "http"):
        for regulator in place.regulators(way):
            place.onboard(regulator)
        digests.append(
            {filing_id: row["sha256"] for filing_id, row in place.rows().items() if row["state"] == "published"}
        )
        place.ledger = SqlFilingLedger(url=place.ledger.url.replace("ledger.db", "other.db"))
        place.lake = DeltaLake(root=place.lake.root + "2")
    assert set(digests[1].items()) <= set(digests[0].items())
    assert set(digests[0]) - set(digests[1]) == {"0000320193-25-000006"}  # only its body is in the archive, no list


def test_an_outage_in_the_middle_of_a_day_loses_nothing(place: Place) -> None:
    edgar = place.regulators("http")[0]
    place.server.misbehave("throttled", where="0000320193-25-000003")
    with pytest.raises(RegulatorUnavailable) as caught:
        place.onboard(edgar)
    assert set(place.rows()) == {"0000320193-25-000001", "0000320193-25-000002"}
    asked = len(place.server.requests)
    with pytest.raises(RegulatorUnavailable):
        place.onboard(edgar)
    assert len(place.server.requests) == asked
    assert caught.value.retry_at is not None
    place.now = caught.value.retry_at
    place.onboard(edgar)
    assert set(place.rows()) == {f"0000320193-25-{number:06d}" for number in range(1, 5)}
