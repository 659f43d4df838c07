"""Generates the sample archive: two US days and one Korean day in the wire formats of EDGAR and DART.

`python -m sample.generate_archive [--out DIR]` writes it; `ensure_archive(folder)` does so if it is missing or stale.
The text is generated from templates and says so in every document; the company names are real (`sample/facts`). The
same facts give the same bytes on every Python: the committed `sample/archive/MANIFEST.sha256` has a line per file.

Layout, the one of an unpacked folder of real filings with days added:
edgar/full/<accession>.txt, edgar/nc/<accession>.nc, edgar/malformed/<accession>.txt,
edgar/index/master.<YYYYMMDD>.idx, edgar/feeds/<YYYYMMDD>/page_<start>.atom.xml,
dart/list/<YYYYMMDD>/page_<n>.json, dart/document/<rcept_no>.zip, dart/corpCode.zip.
Formats are written by `sample.containers`; what is filed is in `sample.edgar_day` and `sample.dart_day`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ledgerline.errors import LedgerlineError
from sample.companies import american_companies, korean_companies, unlisted_korean
from sample.containers import (
    Filing,
    corp_code_zip,
    dart_page,
    feed_page,
    feed_rows,
    master_index,
    submission,
)
from sample.dart_day import DAY, damaged_reports, dart_reports
from sample.edgar_day import DAYS, cut_off, damaged, edgar_filings
from sample.english import DISCLAIMER

MANIFEST = "MANIFEST.sha256"
COMMITTED = Path(__file__).resolve().parent / "archive" / MANIFEST
FEED_PAGE, DART_PAGE = 100, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder to write the archive to (default: only check)")
    parser.add_argument(
        "--write-manifest", action="store_true", help="accept what is generated as the committed manifest"
    )
    given = parser.parse_args()
    files = archive_files()
    listed = manifest(files)
    if given.write_manifest:
        COMMITTED.parent.mkdir(exist_ok=True)
        COMMITTED.write_text(listed, encoding="ascii")
    _check(listed)
    if given.out:
        _write(files, listed, given.out)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes" + (f" in {given.out}" if given.out else ""))


def ensure_archive(folder: Path) -> Path:
    """The sample archive in `folder`, generated where it is missing, incomplete or of other facts. Returns the folder.

    It appears whole or not at all, and a killed run leaves nothing behind that counts. Raises LedgerlineError
    where the folder holds something else, or what is generated is not what was committed.
    """
    wanted = COMMITTED.read_text(encoding="ascii")
    if _is_current(folder, wanted):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise LedgerlineError(f"{folder} is not a sample archive and not empty; move it away or choose another folder.")
    files = archive_files()
    _check(manifest(files))
    _write(files, wanted, folder)
    return folder


def archive_files() -> dict[str, bytes]:
    """All files of the archive by their path, sorted."""
    return dict(sorted({**_edgar_files(), **_dart_files()}.items()))


def manifest(files: Mapping[str, bytes]) -> str:
    """A line per file, "<sha256>  <path>", as `sha256sum -c` reads it."""
    return "".join(f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in sorted(files.items()))


def _edgar_files() -> dict[str, bytes]:
    filings = edgar_filings(american_companies(DAYS[0]))
    truncated, header_only = damaged(filings)
    files = {}
    for filing in filings:
        if filing.accession in truncated:
            path, body = f"edgar/malformed/{filing.accession}.txt", cut_off(submission(filing), filing.accession)
        elif filing.accession in header_only:
            bare = submission(replace(filing, parts=(), notes=(DISCLAIMER,)))
            # One ends after its header; the other is closed, as EDGAR serves some old ones.
            body = bare if filing.accession == header_only[0] else bare.partition(b"</SEC-DOCUMENT>")[0]
            path = f"edgar/malformed/{filing.accession}.txt"
        elif filing.container.startswith("dissemination"):
            path, body = f"edgar/nc/{filing.accession}.nc", submission(filing)
        else:
            path, body = f"edgar/full/{filing.accession}.txt", submission(filing)
        files[path] = body
    for day in DAYS:
        compact = day.replace("-", "")
        files[f"edgar/index/master.{compact}.idx"] = master_index(day, filings)
        files |= _feed_files(compact, [one for one in filings if one.accepted.date().isoformat() == day])
    return files


def _feed_files(day: str, filings: list[Filing]) -> dict[str, bytes]:
    rows, files = feed_rows(filings), {}
    now = max(one.accepted for one in filings) + timedelta(seconds=40)
    page = 0
    while page * (FEED_PAGE - 1) < len(rows):
        # The feed moves on by a row while it is walked, so that a page repeats the last row of the one before.
        start = page * (FEED_PAGE - 1)
        body = feed_page(rows[start : start + FEED_PAGE], now + timedelta(seconds=page))
        files[f"edgar/feeds/{day}/page_{page * FEED_PAGE}.atom.xml"] = body
        page += 1
    return files


def _dart_files() -> dict[str, bytes]:
    companies = korean_companies(DAY)
    unlisted = unlisted_korean(60)
    reports = dart_reports(companies, unlisted)
    cut = damaged_reports(reports)
    files = {
        f"dart/document/{one.rcept_no}.zip": one.body[: len(one.body) // 2] if one.rcept_no in cut else one.body
        for one in reports
    }
    rows = [report.row for report in reports]
    for page in range(1, -(-len(rows) // DART_PAGE) + 1):
        files[f"dart/list/{DAY.replace('-', '')}/page_{page}.json"] = dart_page(rows, page, DART_PAGE)
    codes = [(one.id, one.name, "", one.ticker) for one in companies]
    codes += [(code, name, "", "") for code, name in unlisted]
    files["dart/corpCode.zip"] = corp_code_zip(sorted(codes))
    return files


def _check(listed: str) -> None:
    wanted = COMMITTED.read_text(encoding="ascii")
    if listed == wanted:
        return
    changed = sorted(set(listed.splitlines()) ^ set(wanted.splitlines()), key=lambda line: line[66:])
    raise LedgerlineError(
        f"The generated sample archive differs from {COMMITTED} at {changed[0][66:]}; "
        "if the facts or the generator were changed on purpose, accept it with "
        "`python -m sample.generate_archive --write-manifest`."
    )


def _is_current(folder: Path, wanted: str) -> bool:
    try:
        if (folder / MANIFEST).read_text(encoding="ascii") != wanted:
            return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    return all((folder / line[66:]).is_file() for line in wanted.splitlines())


def _write(files: Mapping[str, bytes], listed: str, folder: Path) -> None:
    """Write aside and rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new, old = aside / "new", aside / "old"
        for path, body in files.items():
            target = new / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
        (new / MANIFEST).write_text(listed, encoding="ascii")
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


if __name__ == "__main__":
    main()
