"""What a variant does beside answering: is it a shadow, are its answers captured, does it take asynchronous requests.

The settings come from the endpoint's configuration, already checked (operations/data_path.py), and travel with the
release, so that a restart does not depend on a configuration deleted since.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Capture:
    """DataCaptureConfig. `share` is of 1; content types that are neither `csv` nor `json` are kept as base64."""

    destination: str
    share: float
    input: bool
    output: bool
    csv: frozenset[str] = frozenset()
    json: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Capture:
        modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        types = config.get("CaptureContentTypeHeader", {})
        return cls(
            config["DestinationS3Uri"].rstrip("/"),
            config["InitialSamplingPercentage"] / 100,
            not modes.isdisjoint({"Input", "InputAndOutput"}),
            not modes.isdisjoint({"Output", "InputAndOutput"}),
            frozenset(types.get("CsvContentTypes", ())),
            frozenset(types.get("JsonContentTypes", ())),
        )

    def chosen(self) -> bool:
        """Whether this request is one of the sample."""
        return random.random() < self.share  # noqa: S311 - a sample, not a secret


@dataclass(frozen=True, slots=True)
class Asynchronous:
    """AsyncInferenceConfig. A variant has one worker, so MaxConcurrentInvocationsPerInstance is per variant."""

    output: str
    failure: str | None
    concurrency: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Asynchronous:
        output = config["OutputConfig"]
        failure = output.get("S3FailurePath")
        return cls(
            output["S3OutputPath"].rstrip("/"),
            failure.rstrip("/") if failure else None,
            config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", 1),
        )


@dataclass(frozen=True, slots=True)
class Options:
    """All of them, for one variant."""

    shadow: bool = False
    capture: Capture | None = None
    asynchronous: Asynchronous | None = None

    @classmethod
    def of(cls, variant: Mapping[str, Any]) -> Options:
        """From a variant of a release; one of an older server has none."""
        options = variant.get("options", {})
        capture, asynchronous = options.get("capture"), options.get("asynchronous")
        return cls(
            options.get("shadow", False),
            Capture.of(capture) if capture else None,
            Asynchronous.of(asynchronous) if asynchronous else None,
        )
