"""The regulators of the demo: the generated sample archive, made in the home when it is first asked for."""

from __future__ import annotations

from pathlib import Path

from ledgerline.filings.ports import Regulator
from ledgerline.filings.records import Source
from resources.regulators import RegulatorSet


class SampleRegulators(RegulatorSet):
    """As RegulatorSet; the archive is generated (two seconds) if it is missing or not of this version of the project."""

    def sources(self) -> list[Source]:
        self._ensure()
        return super().sources()

    def _make(self, source: Source) -> Regulator:
        self._ensure()
        return super()._make(source)

    def _ensure(self) -> None:
        from sample.generate_archive import ensure_archive

        ensure_archive(Path(str(self.archive)))
