"""Data capture: sampled requests and answers as SageMaker's JSON lines in the object store.

Source of the format and of the path: AWS developer guide, "Capture data from real-time endpoint" (eventVersion 0):
DESTINATION/endpoint/variant/yyyy/mm/dd/hh/<file>.jsonl. The event loop only puts an event in line; a thread encodes and
writes. What does not fit in the line is dropped and counted, so a slow disk costs events, never answers.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from local_sagemaker.endpoints.options import Capture
from local_sagemaker.errors import JobError
from local_sagemaker.objects import Objects

_log = logging.getLogger(__name__)
MAX_WAITING_BYTES = 64 * 1024**2
FLUSH_SECONDS = 2.0  # a killed server loses at most the events of so long


@dataclass(frozen=True, slots=True)
class Event:
    """One captured invocation; `at` is when it was answered, in epoch seconds."""

    capture: Capture
    endpoint: str
    variant: str
    id: str
    at: float
    request: bytes
    request_type: str
    answer: bytes
    answer_type: str
    inference_id: str | None
    custom_attributes: str | None
    counts: Counter[str]  # of the variant; a dropped event is added to it

    @property
    def size(self) -> int:
        return len(self.request) + len(self.answer) + 512

    @property
    def folder(self) -> str:
        """The URI of the hour that the event belongs to."""
        hour = datetime.fromtimestamp(self.at, timezone.utc).strftime("%Y/%m/%d/%H")
        return f"{self.capture.destination}/{self.endpoint}/{self.variant}/{hour}"

    def line(self) -> str:
        data = {}
        if self.capture.input:
            data["endpointInput"] = self._side("INPUT", self.request, self.request_type)
        if self.capture.output:
            data["endpointOutput"] = self._side("OUTPUT", self.answer, self.answer_type)
        moment = datetime.fromtimestamp(self.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata: dict[str, Any] = {"eventId": self.id, "inferenceTime": moment}
        if self.inference_id:
            metadata["inferenceId"] = self.inference_id
        if self.custom_attributes:
            metadata["customAttributes"] = [self.custom_attributes]
        return json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"})

    def _side(self, mode: str, body: bytes, content_type: str) -> dict[str, Any]:
        kind = content_type.split(";")[0].strip()
        encoding = "CSV" if kind in self.capture.csv else "JSON" if kind in self.capture.json else "BASE64"
        try:
            data = base64.b64encode(body).decode() if encoding == "BASE64" else body.decode()
        except UnicodeDecodeError:  # it is not what its content type says
            encoding, data = "BASE64", base64.b64encode(body).decode()
        return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}


class CaptureWriter:
    """The line of events and the thread that writes them, a new file per hour and flush, each whole at once."""

    def __init__(self, objects: Objects, *, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._objects = objects
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: list[Event] = []
        self._bytes = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
        self._thread.start()

    def add(self, event: Event) -> None:
        """Put the event in line, or drop and count it. Never waits for the disk."""
        with self._lock:
            if self._bytes + event.size > self._max_bytes:
                event.counts["captures_dropped"] += 1
                return
            self._waiting.append(event)
            self._bytes += event.size

    def close(self) -> None:
        """Write what waits, and end."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write what waits now."""
        with self._lock:
            events, self._waiting = self._waiting, []
        folders: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            folders[event.folder].append(event)
        for folder, members in folders.items():
            self._write(folder, members)
        with self._lock:
            self._bytes -= sum(event.size for event in events)  # only now: what is being written takes memory too

    def _write(self, folder: str, events: list[Event]) -> None:
        moment = datetime.fromtimestamp(events[0].at, timezone.utc).strftime("%M-%S-%f")[:-3]
        uri = f"{folder}/{moment}-{uuid.uuid4()}.jsonl"
        try:
            self._objects.put(uri, "".join(f"{event.line()}\n" for event in events).encode())
        except (OSError, JobError) as error:
            _log.warning("%d captured events are lost: %s cannot be written (%s)", len(events), uri, error)
            with self._lock:
                events[0].counts["captures_dropped"] += len(events)
