"""Filings to text and sections on one core: speed, refusals, crashes; against edgartools; against golden items.

    python -m benchmarks.parse_filings --archive DIR [--repeat N] [--peer [--peer-python PATH]] [--golden]

DIR is the unpacked `filings/` folder of real filings: `edgar/full`, `edgar/nc`, `edgar/malformed` and `dart` where they
are. `--peer` reads the same EDGAR files with edgartools in an environment of its own (made once in the user's cache
folder, or PATH), batch by batch in turn with ours, since a shared machine changes its speed within minutes. Reading
files from disk is not timed; both parse the same bytes to the text of every document. The rates are per wall second of
one process; `cpu_mb_per_s` is per CPU second. `--golden` compares the items of 8-K and 10-K pages with other tools' (see
`benchmarks.golden_items`); with `--peer` with edgartools' too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import golden_items
from ledgerline.filings.parse import parse_filing
from ledgerline.filings.records import RefusedFiling, Source

BATCHES = 8  # ours and the peer's take turns this often
PEER = "edgartools==5.62.0"  # the version whose figures the documentation quotes

_PEER_PROGRAM = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from edgar.sgml import FilingSGML
for line in sys.stdin:
    bodies = [open(path, encoding="latin-1", newline="").read() for path in json.loads(line)]
    failed = texts = 0
    started = time.perf_counter()
    for body in bodies:
        try:
            for attachment in FilingSGML.from_text(body).attachments:
                texts += len(attachment.text() or "")
        except Exception:
            failed += 1
    print("BATCH " + json.dumps([time.perf_counter() - started, failed, texts]), flush=True)
"""


@dataclass
class Result:
    """Sums over the files of one run."""

    filings: int = 0
    documents: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    characters: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashed: list[str] = field(default_factory=list)


def files_of(archive: Path) -> list[tuple[Source, Path]]:
    """The submissions and DART originals of the folder. Exits with what was looked for where there are none."""
    found: list[tuple[Source, Path]] = []
    for folder in ("full", "nc", "malformed"):
        paths = sorted((archive / "edgar" / folder).glob("*"))
        found += [("edgar", path) for path in paths if path.suffix in (".txt", ".nc")]
    for path in sorted((archive / "dart").glob("*")):
        if path.name.startswith(("document_", "dart-")) and path.suffix in (".xml", ".xhml", ".zip"):
            found.append(("dart", path))
    if not found:
        sys.exit(f"No filings in {archive}: looked for edgar/{{full,nc,malformed}}/*.txt|*.nc and dart/document_*.xml.")
    return found


def parse_batch(batch: list[tuple[Source, Path]], result: Result) -> None:
    """Parse the files of a batch; only the parsing is timed."""
    bodies = [(source, path, path.read_bytes()) for source, path in batch]
    started, cpu_started = time.perf_counter(), time.process_time()
    for source, path, body in bodies:
        try:
            filing = parse_filing(source, body)
        except RefusedFiling as refusal:
            result.refused[refusal.reason] += 1
        except Exception as error:  # noqa: BLE001 - a crash is what is counted here
            result.crashed.append(f"{path.name}: {error!r}")
        else:
            result.documents += len(filing.documents)
            result.characters += sum(len(document.text) for document in filing.documents)
    result.seconds += time.perf_counter() - started
    result.cpu_seconds += time.process_time() - cpu_started
    result.filings += len(bodies)
    result.bytes += sum(len(body) for _, _, body in bodies)


class Peer:
    """edgartools in its own interpreter, fed with lists of paths."""

    def __init__(self, python: Path) -> None:
        self.seconds, self.failed, self.bytes, self.filings = 0.0, 0, 0, 0
        self._process = subprocess.Popen(
            [str(python), "-c", _PEER_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def parse_batch(self, batch: list[tuple[Source, Path]]) -> None:
        """The same files; raises SystemExit where the peer's process ends."""
        paths = [str(path.resolve()) for _, path in batch]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(paths) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("BATCH "):
                seconds, failed, _ = json.loads(line[len("BATCH ") :])
                self.seconds += seconds
                self.failed += failed
                self.bytes += sum(path.stat().st_size for _, path in batch)
                self.filings += len(paths)
                return
        sys.exit("The peer's process ended; see its error above, or give another environment with --peer-python.")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def peer_python() -> Path:
    """The interpreter of an environment with edgartools, made in the user's cache folder if it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ledgerline" / "peer-edgartools"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        say(f"making an environment for {PEER} in {folder}")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", PEER], check=True, stdout=sys.stderr)
        ready.write_text(PEER)
    return python


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=3, help="how often our side parses everything; the sums are used")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--peer-python", type=Path, help="an interpreter with edgartools installed")
    parser.add_argument("--golden", action="store_true")
    arguments = parser.parse_args()
    files = files_of(arguments.archive)
    python = (arguments.peer_python or peer_python()) if arguments.peer or arguments.peer_python else None
    peer = Peer(python) if python else None
    parse_batch(files[:20], Result())  # first use compiles expressions
    edgar, dart = Result(), Result()
    for number in range(BATCHES):
        batch = [item for item in files[number::BATCHES] if item[0] == "edgar"]
        for _ in range(arguments.repeat):
            parse_batch(batch, edgar)
            parse_batch([item for item in files[number::BATCHES] if item[0] == "dart"], dart)
        if peer:
            peer.parse_batch(batch)
        say(f"batch {number + 1}/{BATCHES}: {edgar.bytes / edgar.seconds / 1e6:.0f} MB/s")
    report = report_of(edgar, dart, arguments.repeat)
    if peer:
        peer.close()
        report["peer"] = PEER
        report["peer_mb_per_s"] = round(peer.bytes / peer.seconds / 1e6, 2)
        report["peer_filings_per_s"] = round(peer.filings / peer.seconds, 1)
        report["peer_failed"] = peer.failed
        report["ratio"] = round(edgar.bytes / edgar.seconds / (peer.bytes / peer.seconds), 1)
    if arguments.golden:
        report |= golden_items.report(arguments.archive, python)
    for line in edgar.crashed + dart.crashed:
        say(f"crashed {line}")
    print(json.dumps(report))


def report_of(edgar: Result, dart: Result, repeat: int) -> dict[str, Any]:
    """The flat figures: EDGAR's rates, DART's own rate, refusals of both by reason."""
    refused = {reason: count // repeat for reason, count in sorted((edgar.refused + dart.refused).items())}
    report: dict[str, Any] = {
        "filings": (edgar.filings + dart.filings) // repeat,
        "documents": (edgar.documents + dart.documents) // repeat,
        "bytes": (edgar.bytes + dart.bytes) // repeat,
        "seconds": round((edgar.seconds + dart.seconds) / repeat, 3),
        "mb_per_s": round(edgar.bytes / edgar.seconds / 1e6, 1) if edgar.filings else None,
        "cpu_mb_per_s": round(edgar.bytes / edgar.cpu_seconds / 1e6, 1) if edgar.filings else None,
        "filings_per_s": round(edgar.filings / edgar.seconds, 1) if edgar.filings else None,
        "dart_mb_per_s": round(dart.bytes / dart.seconds / 1e6, 1) if dart.filings else None,
        "refused": sum(refused.values()),
        "crashed": (len(edgar.crashed) + len(dart.crashed)) // repeat,
    }
    return report | {f"refused_{reason}": count for reason, count in refused.items()}


if __name__ == "__main__":
    main()
