"""How much memory the validity test of a file takes, measured in a process of its own on sparse files of real sizes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ledgerline.filings import sgml
from tests.unit.parse_samples import HEADER, dart_zip, document, plain

MB = 1024 * 1024
LARGEST = 410 * MB  # the largest of 271,974 real submissions
CAP = 32 * MB

# Reads (source, path) of each file; prints the outcome of each and the growth of the memory's peak in bytes so far.
PROGRAM = """
import json, re, sys
from pathlib import Path
from ledgerline.filings.records import RefusedFiling
from ledgerline.filings.validity import read_valid_header

def peak():  # ru_maxrss would begin with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before = peak()
for source, path in json.loads(sys.argv[1]):
    try:
        outcome = read_valid_header(source, Path(path)).accession
    except RefusedFiling as refusal:
        outcome = refusal.reason
    print(json.dumps([outcome, peak() - before]))
"""

START = f"<SEC-DOCUMENT>0000000001-24-000001.txt : 20240311\n{HEADER}".encode()
OPENED, CLOSED = b"<DOCUMENT>\n<TYPE>8-K\n<TEXT>\n", b"\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"
PARTY = "FILER:\n\n\tCOMPANY DATA:\n\t\tCOMPANY CONFORMED NAME:\t\tW {0}\n\t\tCENTRAL INDEX KEY:\t\t\t{0:010}\n\n"


def many(line: str, count: int) -> bytes:
    """A valid filing whose header goes on with so many lines."""
    return plain(HEADER + "".join(map(line.format, range(count))))


# What is written before and behind a hole in the file: (source, start, end, outcome).
FILES = {
    "one document": ("edgar", START + OPENED, CLOSED, "0000000001-24-000001"),
    "blanks at the end": ("edgar", plain(), b"", "0000000001-24-000001"),
    "no document": ("edgar", START, b"</SEC-DOCUMENT>\n", "no_documents"),
    "no end": ("edgar", START + OPENED, b"", "truncated"),
    "most documents": ("edgar", START + document("8-K", "").encode() * sgml.MAX_DOCUMENTS + OPENED, b"x", "truncated"),
    "too many documents": ("edgar", START + document("8-K", "").encode() * (sgml.MAX_DOCUMENTS + 1), b"", "bomb"),
    "a header of 100,000 parties": ("edgar", many(PARTY, 100_000), b"", "0000000001-24-000001"),
    "a header of a million names": ("edgar", many("N{}:1\n", 1_000_000), b"", "0000000001-24-000001"),
    "a header of blank lines": ("edgar", many("\n", 4_000_000), b"", "0000000001-24-000001"),
    "nothing": ("edgar", b"", b"", "empty"),
    "a web page": ("edgar", b"<html>", b"", "no_container"),
    "a bare DART document": ("dart", b"<DOCUMENT>", b"</DOCUMENT>", None),
    "a ZIP behind a hole": ("dart", b"PK\x03\x04", dart_zip(), "20240311000001"),
    "a ZIP without a directory": ("dart", b"PK\x03\x04", b"", "bad_zip"),
    "a ZIP directory of 32 MB": ("dart", b"PK\x03\x04", b"PK\x05\x06" + bytes(11) + b"\x02\x04" + bytes(5), "bomb"),
}  # fmt: skip


def sparse(path, start, end, size):
    with path.open("wb") as file:
        file.write(start)
        file.seek(size - len(end))
        file.write(end)
        file.truncate(size)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_a_file_of_any_size_is_checked_in_little_memory(tmp_path):
    chosen = []
    for number, (name, (source, start, end, _)) in enumerate(FILES.items()):
        chosen.append([source, str(tmp_path / str(number))])
        sparse(tmp_path / str(number), start, end, LARGEST if name == "one document" else 2 * CAP)
    command = [sys.executable, "-c", PROGRAM, json.dumps(chosen)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [outcome for outcome, _ in results] == [expected for *_, expected in FILES.values()]
    assert {name: grown for name, (_, grown) in zip(FILES, results, strict=True) if grown > CAP} == {}
    assert results[-1][1] > 0, results
