"""How mappings of two demos are compared, and how servers are told to a person. The demos themselves are too long for here."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo_real import compare, differences, end_when, mappings
from cli.progress import Progress, step_of
from cli.servers import lines_of, until_told
from ledgerline.errors import LedgerlineError
from resources.environment import ROOT
from tests.servers.postgres import NoPostgres
from tests.servers.together import Server, running


def mapping(mention: str, **also: object) -> dict[str, object]:
    same = {
        "source": "edgar",
        "day": "2025-03-14",
        "surface": "Apple",
        "ticker": "AAPL",
        "score": 0.5,
        "path": [{"to_id": "a"}],
    }
    return {**same, "mention_id": mention, "graph_version": "g1", "index_version": "i1", "mapped_at": 1, **also}


def said(one: list, other: list) -> tuple[int, str]:
    out = io.StringIO()
    code = compare(one, other, Progress(Console(file=out, width=200)))
    return code, out.getvalue()


def test_the_order_of_rows_and_the_names_of_versions_make_no_difference():
    one = [mapping("a"), mapping("b")]
    other = [
        mapping("b", graph_version="g2", index_version="i2", mapped_at=2, model_digest="m2", score=0.5004),
        mapping("a"),
    ]
    assert said(one, other) == (0, "SAME 2 mappings\n")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([mapping("a", ticker="MSFT")], "edgar 2025-03-14 a 'Apple': ticker 'AAPL' / 'MSFT'"),
        ([mapping("a", score=0.501)], "score 0.5 / 0.501"),
        ([mapping("a", score=None)], "score 0.5 / None"),
        ([mapping("a", path=[])], "path [{'to_id': 'a'}] / []"),
        ([], "edgar 2025-03-14 a: only embedded"),
        ([mapping("a"), mapping("b")], "edgar 2025-03-14 b: only on real servers"),
    ],
)
def test_a_difference_is_printed_and_fails(other, words):
    code, out = said([mapping("a")], other)
    assert code == 1
    assert words in out
    assert out.splitlines()[-1] == "DIFFERENT 1 of 1 mappings"


def test_mappings_are_read_where_the_variables_say_and_no_variable_stays(tmp_path, monkeypatch):
    import pyarrow as pa
    from deltalake import write_deltalake

    write_deltalake(str(tmp_path / "lake" / "ticker_mappings"), pa.table({"mention_id": ["a"]}))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    before = dict(os.environ)
    assert mappings({"LEDGERLINE_HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "test"}) == [{"mention_id": "a"}]
    assert dict(os.environ) == before


def test_two_empty_demos_are_not_the_same():
    assert said([], [])[0] == 1


def test_a_mention_that_is_mapped_twice_is_refused():
    with pytest.raises(LedgerlineError, match="twice"):
        list(differences([mapping("a"), mapping("a")], []))


def test_the_line_that_a_step_prints_is_read_back():
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200))
    with progress.step("ticker_ranker/model") as step:
        step.said = "digest (3 s) of it"
    title, seconds = step_of(out.getvalue())
    assert (title, 0 <= seconds < 60) == ("ticker_ranker/model", True)
    assert step_of("ticker_ranker: a line of a log (3.0 s)") is None


# --------------------------------------------------------------------------------------------------- servers


def test_what_a_person_pastes_holds_exports_and_comments_alone(tmp_path):
    server = Server("A server", 1.25, tmp_path / "log", {"A_URL": "http://127.0.0.1:1", "ODD": "two words; $HOME"})
    pasted = "\n".join([*lines_of(server), 'printf "%s|%s" "$A_URL" "$ODD"'])
    ran = subprocess.run(["sh", "-eu", "-c", pasted], capture_output=True, text=True, check=True)
    assert ran.stdout == "http://127.0.0.1:1|two words; $HOME"


def test_the_end_of_a_log_is_pasted_as_comments_alone(tmp_path):
    server = Server("A server", 1.0, tmp_path / "log", missing="it did not start:\nrm -rf everything")
    assert all(line.startswith("# ") for line in lines_of(server))


def test_servers_start_at_once_and_end_with_the_block_and_what_is_missing_is_said(tmp_path):
    both = threading.Barrier(2, timeout=10)  # broken unless both start at the same time
    ended = []

    def server(name):
        @contextmanager
        def started(log):
            both.wait()
            log.write_text(name)
            yield {"NAME": name}
            ended.append(name)

        return started

    @contextmanager
    def missing(log):
        raise NoPostgres("no PostgreSQL: apt-get install postgresql-15")
        yield {}

    servers = {"One 1.0": server("one"), "Two": server("two"), "Three": missing}
    with running(tmp_path / "logs", servers) as found:
        assert [(one.name, dict(one.variables)) for one in found] == [
            ("One 1.0", {"NAME": "one"}),
            ("Two", {"NAME": "two"}),
            ("Three", {}),
        ]
        assert lines_of(found[2]) == ["# Three is missing: no PostgreSQL: apt-get install postgresql-15"]
        assert ended == []
    assert sorted(ended) == ["one", "two"]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["one.log", "two.log"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_told_once_and_ends_nothing_by_itself(which):
    before = signal.getsignal(which)
    with until_told() as told:
        assert not told.is_set()
        os.kill(os.getpid(), which)
        assert told.wait(10)
    assert signal.getsignal(which) is before


def test_a_demo_under_way_ends_when_told():
    told = threading.Event()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True) as running:
        told.set()
        end_when(told, running)
        assert running.wait(20) == -signal.SIGTERM


def test_without_the_tests_the_command_says_that_it_needs_a_checkout(tmp_path):
    script = (
        "import sys\nfrom cli.servers import of_the_tests\nsys.modules['tests.servers'] = None\n"
        "from ledgerline.errors import ConfigurationError\n"
        "try:\n    of_the_tests()\nexcept ConfigurationError as error:\n    print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "run this in a checkout" in ran.stdout


def test_every_log_has_a_name_of_its_own():
    from tests.servers.together import SERVERS

    names = [name.split()[0].lower() for name in SERVERS]
    assert len(set(names)) == len(names)
    assert all(Path(name).name == name for name in names)
