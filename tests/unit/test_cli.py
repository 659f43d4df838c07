"""What the command line answers, and what it refuses before it does anything."""

from __future__ import annotations

import socket
from datetime import date, datetime, timezone

import pytest

from cli.__main__ import main, parser
from cli.dev import dev
from cli.home import open_instance
from ledgerline.errors import ConfigurationError
from ledgerline.filings.records import FilingRef, Party
from resources.environment import read_settings
from resources.filing_ledger import SqlFilingLedger


@pytest.mark.parametrize("given", ["0", "65536", "-1", "abc", ""])
def test_what_is_no_port_is_refused_with_an_example(given, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["dev", f"--port={given}"])
    assert f"{given!r} is no port; give a number from 1 to 65535, e.g. PORT=3001." in capsys.readouterr().err


def test_a_port_in_use_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} cannot be used .*make dev PORT=<another port>"):
            dev(port)


@pytest.fixture
def where(tmp_path, monkeypatch, capsys):
    """`python -m cli where ...` on a ledger that knows one filing: (exit code, what was printed, errors)."""
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path))
    for name in ("LEDGERLINE_ENV", "LEDGERLINE_ARCHIVE", "EDGAR_USER_AGENT", "DART_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    ref = FilingRef("edgar", "0000320193-25-000001", date(2025, 3, 14), "8-K", (Party("0000320193", "Apple", "Filer"),))
    ledger = SqlFilingLedger(url=read_settings().database_url)
    ledger.discovered([ref], seen_at=datetime(2025, 3, 14, 16, tzinfo=timezone.utc), witness="feed")

    def ask(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cli", "where", *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ask


def test_where_a_known_filing_is_is_told_line_by_line_with_exit_code_0(where):
    code, out, err = where("000032019325000001")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(
        "EDGAR filing 0000320193-25-000001 is listed and not fetched: no run has taken it up yet"
    )
    assert "  named first by       EDGAR's feed" in lines
    assert any(line.startswith("  read next") and "`archive_days`" in line for line in lines)


def test_what_is_not_known_of_a_filing_is_told_with_exit_code_1(where):
    code, out, _ = where("--day=2025-03-14", "--", "0000320193-25-000002")
    assert code == 1
    assert "2025-03-14 is not proved complete" in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([""], "say which filing: make where FILING="),
        (["--", "-1"], "'-1' is no id of a filing: EDGAR's accession number has 18 digits"),
        (["--day=14.3.2025", "20250314000020"], "'14.3.2025' is no day; write it as 2025-03-14"),
    ],
)
def test_what_is_no_filing_or_no_day_is_refused_with_what_one_looks_like(where, given, said):
    code, out, err = where(*given)
    assert (code, out) == (1, "")
    assert said in err


def test_a_new_home_has_a_slot_for_the_live_feed_beside_a_backfill_and_keeps_what_a_person_set(tmp_path):
    settings = read_settings(variables={"LEDGERLINE_HOME": str(tmp_path)})

    def slots() -> int:
        with open_instance(settings) as instance:
            return instance.event_log_storage.get_concurrency_info("compute").slot_count

    assert slots() == 2
    with open_instance(settings) as instance:
        instance.event_log_storage.set_concurrency_slots("compute", 5)
    (settings.dagster_home / "dagster.yaml").write_text("")  # that of another version of this project
    assert slots() == 5
