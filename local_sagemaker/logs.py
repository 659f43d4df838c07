"""Log groups and streams on disk, as CloudWatch Logs holds them: per stream a file of JSON lines `[ms, message]`."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

MAX_MESSAGE = 256 * 1024  # characters; CloudWatch's limit of one event
MAX_STREAM = 256 * 1024**2  # bytes; a job that prints without end must not fill the disk


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `position` is the byte offset of the line in its stream, `end` that of the next one."""

    stream: str
    timestamp: int
    message: str
    position: int
    end: int


class Stream:
    """An open stream; `write` may be called by the threads that read stdout and stderr."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._lock = threading.Lock()

    def write(self, message: str) -> None:
        line = json.dumps([int(time.time() * 1000), message[:MAX_MESSAGE]], ensure_ascii=False) + "\n"
        with self._lock:
            if self._file.closed or self._file.tell() > MAX_STREAM:
                return
            self._file.write(line.encode("utf-8", "backslashreplace"))
            self._file.flush()

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Logs:
    """All groups below one folder. Names are percent-encoded, so that they are file names and nothing else."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, group: str | None, stream: str) -> Stream:
        """A stream to write to; without a group it is kept nowhere."""
        return Stream(self._path(group, stream) if group is not None else Path(os.devnull))

    def has(self, group: str, stream: str | None = None) -> bool:
        return self._path(group, stream).is_file() if stream else (self._root / _encode(group)).is_dir()

    def groups(self) -> list[str]:
        return sorted(unquote(path.name) for path in self._root.iterdir()) if self._root.is_dir() else []

    def created(self, group: str) -> int:
        """Epoch milliseconds of its first event; of the folder while there is none."""
        first = [events[0].timestamp for stream in self.streams(group) if (events := self.read(group, stream, limit=1))]
        return min(first, default=int((self._root / _encode(group)).stat().st_mtime * 1000))

    def streams(self, group: str, prefix: str = "") -> list[str]:
        folder = self._root / _encode(group)
        names = [unquote(path.stem) for path in folder.glob("*.jsonl")] if folder.is_dir() else []
        return sorted(name for name in names if name.startswith(prefix))

    def size(self, group: str, stream: str) -> int:
        return self._path(group, stream).stat().st_size

    def last_written(self, group: str, stream: str) -> int:
        """Epoch milliseconds."""
        return int(self._path(group, stream).stat().st_mtime * 1000)

    def read(self, group: str, stream: str, *, start: int = 0, limit: int | None = None) -> list[Event]:
        """Events from the byte offset `start` on, at most `limit`. A line still being written is left for later."""
        events: list[Event] = []
        with self._path(group, stream).open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n") or (limit is not None and len(events) >= limit):
                    break
                timestamp, message = json.loads(line)
                events.append(Event(stream, timestamp, message, start, start + len(line)))
                start += len(line)
        return events

    def _path(self, group: str, stream: str) -> Path:
        return self._root / _encode(group) / f"{_encode(stream)}.jsonl"


def _encode(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")
