"""The platform as a newcomer meets it: the demo in a home of its own, killed and run again, and then from a bare shell.

One home is shared by the tests of this module, in the order in which they stand; a test leaves it as it found it, with
the approved model live.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resources.environment import ROOT

pytestmark = pytest.mark.integration

LIVE = re.compile(r"LIVE ticker-ranker ([0-9a-f]{12}) Facebook as of 2017-07-25 -> FB score (0\.\d+|1\.0+) in \d+ ms")
# A step's line, and the seconds after it: the next step is under way, its Dagster run or training job has begun.
KILLED_AFTER = {"filings": 0.3, "ticker_ranker/training_set": 5.0, "approval": 1.0}
DONE, SKIPPED = "✓", "–"
DAY = "edgar:2026-03-02"
UNSET = ("LEDGERLINE_ENV", "LEDGERLINE_ARCHIVE", "EDGAR_USER_AGENT", "DART_API_KEY", "SLACK_BOT_TOKEN", "COLUMNS")
MINUTES = 60  # seconds


@dataclass
class Home:
    """A home of the platform, and the commands that a person types in it."""

    path: Path

    @property
    def variables(self) -> dict[str, str]:
        """What `make demo` says must be exported, on top of a shell that knows nothing of the project."""
        shell = {name: value for name, value in os.environ.items() if name not in UNSET}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return shell | {
            "LEDGERLINE_HOME": str(self.path),
            "DAGSTER_HOME": str(self.path / "dagster"),
            "PATH": path,
            "PYTHONWARNINGS": "ignore",
        }

    def run(self, *command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=self.variables, capture_output=True, text=True, check=False, timeout=5 * MINUTES
        )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "cli", *arguments)

    def materialize(self, selection: str, *more: str, module: str = "platform_assets.definitions") -> tuple[int, str]:
        done = self.run("dagster", "asset", "materialize", "-m", module, "--select", selection, *more)
        return done.returncode, done.stdout + done.stderr

    def demo_killed_after(self, step: str, seconds: float) -> list[str]:
        """Run the demo, kill -9 it some seconds after the line of a step is there, and return its lines."""
        command = [sys.executable, "-u", "-m", "cli", "demo"]
        lines = []
        with subprocess.Popen(
            command, cwd=ROOT, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as demo:
            for line in demo.stdout or ():
                lines.append(line)
                if title(line) == step:
                    time.sleep(seconds)
                    os.kill(demo.pid, signal.SIGKILL)
                    break
        assert lines, "the demo said nothing"
        assert title(lines[-1]) == step, "".join(lines)
        return lines

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        from resources.lake import DeltaLake

        found = DeltaLake(root=str(self.path / "lake")).read(table, columns=list(columns))
        return [tuple(row[column] for column in columns) for row in found.to_pylist()]

    def version(self, table: str) -> int | None:
        from resources.lake import DeltaLake

        return DeltaLake(root=str(self.path / "lake")).version(table)

    def answers(self) -> str:
        """The digest of the model that answers `make ask`, which must know Facebook."""
        asked = self.cli("ask", "--mention", "Facebook", "--text", "Facebook shares rose", "--as-of", "2017-07-25")
        assert asked.returncode == 0, asked.stderr
        assert "Facebook as of 2017-07-25 -> FB" in asked.stdout
        return str(re.search(r"model ([0-9a-f]{12})", asked.stdout)[1])  # type: ignore[index]  # else the test fails


def title(line: str) -> str:
    """The step of a progress line, "" for any other line."""
    return line.split()[1] if line[:1] in (DONE, SKIPPED, "✗") else ""


def steps(output: str) -> dict[str, str]:
    """Step -> its mark, of the lines of a demo."""
    return {title(line): line[0] for line in output.splitlines() if title(line)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("everything") / "home")
    try:
        yield made
    finally:
        made.run(sys.executable, "-m", "local_sagemaker", "stop", "--home", str(made.path / "sagemaker"))


@dataclass
class Finished:
    """What the demo said the time it was let finish, and the lines of the times before, until it was killed."""

    output: str
    before: dict[str, list[str]]
    digest: str


@pytest.fixture(scope="module")
def demo(home: Home) -> Finished:
    """The demo, killed in the middle of three steps, and run once more: everything after it builds on this."""
    before = {step: home.demo_killed_after(step, seconds) for step, seconds in KILLED_AFTER.items()}
    done = home.cli("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    live = LIVE.fullmatch(done.stdout.splitlines()[-1])
    assert live, done.stdout
    return Finished(done.stdout, before, live[1])


def test_the_demo_ends_with_an_answer_of_the_live_model_although_it_was_killed_three_times(demo: Finished) -> None:
    assert "killed run(s) settled" in demo.output
    assert steps(demo.output)["ticker_mappings"] == DONE


def test_each_time_it_went_on_from_where_it_was_killed(demo: Finished) -> None:
    second, third = (steps("".join(demo.before[step])) for step in list(KILLED_AFTER)[1:])
    for step in ("listings", "knowledge_graph", "candidate_index", "labelled_candidates", "filings"):
        assert (second[step], third[step]) == (SKIPPED, SKIPPED), step
    for step in ("documents", "clusters", "mentions", "candidate_sets"):
        assert (second[step], third[step]) == (DONE, SKIPPED), step
    assert steps(demo.output)["approval"] == SKIPPED


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("filings", ("source", "filing_id", "version")),
        ("documents", ("document_id",)),
        ("clusters", ("document_id",)),
        ("mentions", ("mention_id",)),
        ("candidate_sets", ("mention_id", "company_id")),
        ("ticker_mappings", ("mention_id",)),
    ],
)
def test_no_row_is_there_twice(home: Home, demo: Finished, table: str, key: tuple[str, ...]) -> None:
    rows = home.rows(table, *key)
    assert rows
    assert [row for row, count in Counter(rows).items() if count > 1] == []


def test_every_mention_was_mapped_by_the_live_model(home: Home, demo: Finished) -> None:
    assert {row for (row,) in home.rows("ticker_mappings", "mention_id")} == {
        row for (row,) in home.rows("mentions", "mention_id")
    }
    assert {digest[:12] for (digest,) in home.rows("ticker_mappings", "model_digest")} == {demo.digest}


def test_no_run_is_left_unfinished(home: Home, demo: Finished) -> None:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        statuses = Counter(run.status for run in instance.get_runs())
    assert set(statuses) <= {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}
    assert 1 <= statuses[dg.DagsterRunStatus.FAILURE] <= len(KILLED_AFTER)


def test_run_again_the_demo_does_nothing_and_says_so(home: Home, demo: Finished) -> None:
    versions = {table: home.version(table) for table in ("filings", "documents", "mentions", "ticker_mappings")}
    again = home.cli("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    marks = steps(again.stdout)
    marks.pop("platform")
    assert len(marks) >= 17
    assert set(marks.values()) == {SKIPPED}, again.stdout
    assert LIVE.fullmatch(again.stdout.splitlines()[-1])[1] == demo.digest  # type: ignore[index]
    assert versions == {table: home.version(table) for table in versions}


def test_ask_shows_answer_proof_and_runners_up_or_none_and_why(home: Home, demo: Finished) -> None:
    assert home.answers() == demo.digest
    fruit = home.cli("ask", "--mention", "apple", "--text", "She ate an apple and a pear.", "--as-of", "2024-05-01")
    assert fruit.returncode == 0
    assert re.search(r"apple as of 2024-05-01 -> none: .+ \(best score 0\.\d+\)", fruit.stdout), fruit.stdout
    proof = home.cli("ask", "--mention", "Facebook", "--text", "Facebook shares rose", "--as-of", "2024-07-25").stdout
    assert "Facebook as of 2024-07-25 -> META" in proof
    assert "proof: " in proof
    assert "runner-up: " in proof


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--mention", "", "--text", "x"), "say which mention"),
        (("--mention", "Facebook", "--text", "no such name here"), "does not hold the mention 'Facebook'"),
        (("--mention", "Facebook", "--text", "Facebook", "--as-of", "25.7.2017"), "write it as 2017-07-25"),
    ],
)
def test_ask_refuses_what_it_cannot_answer_with_a_remedy(
    home: Home, demo: Finished, arguments: tuple[str, ...], remedy: str
) -> None:
    asked = home.cli("ask", *arguments)
    assert asked.returncode == 1
    assert remedy in asked.stderr
    assert "Traceback" not in asked.stderr


def test_a_second_project_is_tuned_goes_live_by_itself_and_answers_every_document(home: Home, demo: Finished) -> None:
    code, said = home.materialize("group:text_size")
    assert code == 0, said[-3000:]
    answered = {row for (row,) in home.rows("text_size_predictions", "document_id")}
    assert answered == {row for (row,) in home.rows("documents", "document_id")}
    (digest,) = {digest for (digest,) in home.rows("text_size_predictions", "model_digest")}
    version = home.version("text_size_predictions")
    code, said = home.materialize("text_size/batch_predictions")
    assert code == 0, said[-3000:]
    assert (home.version("text_size_predictions"), len(digest)) == (version, 64)


def test_filings_of_a_day_materialized_from_a_bare_shell_add_nothing(home: Home, demo: Finished) -> None:
    before, rows = home.version("filings"), sorted(home.rows("filings", "source", "filing_id", "version"))
    code, said = home.materialize("filings", "--partition", DAY)
    assert code == 0, said
    assert (home.version("filings"), sorted(home.rows("filings", "source", "filing_id", "version"))) == (before, rows)


def test_a_live_endpoint_that_is_up_to_date_is_left_alone(home: Home, demo: Finished) -> None:
    before = records(home)
    code, said = home.materialize("ticker_ranker/live_endpoint")
    assert code == 0, said
    assert records(home) == before
    assert home.answers() == demo.digest


def test_the_release_is_a_row_of_the_ledger_although_the_demo_was_killed_while_it_went_live(
    home: Home, demo: Finished
) -> None:
    from ledgerline.release.releases import current_release

    released = current_release(records(home))
    assert released is not None
    assert released.model_digest[:12] == demo.digest


def test_a_rejected_model_is_refused_whoever_asks_and_approved_again_by_an_operator_job(
    home: Home, demo: Finished, tmp_path: Path
) -> None:
    """Rejecting does not take a model down; it keeps it from being put live, and a rollback from choosing it."""
    rejected = home.cli(
        "reject", "--project", "ticker_ranker", "--model", demo.digest, "--by", "Kim", "--reason", "a test of the gate"
    )
    assert rejected.returncode == 0, rejected.stderr
    code, said = home.materialize("ticker_ranker/live_endpoint")
    assert code != 0
    assert "Refused by rule `not_rejected`" in said
    assert home.answers() == demo.digest

    config = tmp_path / "approve.yaml"
    wanted = f"{{project: ticker_ranker, model_digest: {demo.digest}, approver: Lee, reason: looked at it}}"
    config.write_text(f"ops: {{approve_model: {{config: {wanted}}}}}\n")
    job = home.run("dagster", "job", "execute", "-m", "platform_assets.definitions", "-j", "approve", "-c", str(config))
    assert job.returncode == 0, job.stderr
    code, said = home.materialize("ticker_ranker/live_endpoint")
    assert code == 0, said


def test_an_operator_job_on_an_unknown_model_fails_with_what_there_is(
    home: Home, demo: Finished, tmp_path: Path
) -> None:
    config = tmp_path / "approve.yaml"
    config.write_text(
        "ops: {approve_model: {config: {project: ticker_ranker, model_digest: '0000', approver: Lee, reason: looked at it}}}\n"
    )
    job = home.run("dagster", "job", "execute", "-m", "platform_assets.definitions", "-j", "approve", "-c", str(config))
    assert job.returncode != 0
    assert "0000" in job.stdout + job.stderr
    assert home.cli(
        "approve", "--project", "ticker_rankr", "--model", demo.digest, "--by", "L", "--reason", "r"
    ).stderr == (
        "ledgerline: There is no model project 'ticker_rankr'; did you mean 'ticker_ranker'? Known: text_size, ticker_ranker.\n"
    )


@pytest.mark.parametrize(
    "project", sorted(path.parent.name for path in (ROOT / "model_projects").glob("*/config.yaml"))
)
def test_awss_own_toolkits_train_the_same_model_and_give_the_same_answers(
    home: Home, demo: Finished, project: str, tmp_path: Path
) -> None:
    """The training job of the demo run again by sagemaker-training, and its model served by sagemaker-inference."""
    import boto3

    from ledgerline.release.digest import model_digest
    from ledgerline.release.releases import current_release
    from local_sagemaker import archives, daemon
    from tests import toolkits

    home.answers()  # starts the server, if it does not run
    found = daemon.environment(home.path / "sagemaker")
    about = {
        "region_name": found["AWS_DEFAULT_REGION"],
        "aws_access_key_id": found["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": found["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": found["AWS_ENDPOINT_URL_SAGEMAKER"],
    }
    release = current_release(records(home, project))
    assert release is not None
    (job_name,) = {
        record.training_job for record in records(home, project)
        if record.kind == "candidate" and record.model_digest == release.model_digest
    }  # fmt: skip
    sagemaker = boto3.client("sagemaker", **about)
    job = sagemaker.describe_training_job(TrainingJobName=job_name)
    channels = {
        channel["ChannelName"]: object_of(home, channel["DataSource"]["S3DataSource"]["S3Uri"])
        for channel in job["InputDataConfig"]
    }
    archives.unpack(
        object_of(home, job["HyperParameters"]["sagemaker_submit_directory"]), tmp_path / "code", called="the code"
    )
    model = toolkits.train(job, channels, tmp_path / "code", tmp_path / "base")
    assert model_digest(archives.pack(model)) == release.model_digest

    bodies = object_of(home, release.requests_uri).read_text().splitlines()[:20]
    (endpoint,) = [
        found["EndpointName"]
        for found in sagemaker.list_endpoints(NameContains=release.endpoint)["Endpoints"]
        if found["EndpointName"].endswith(release.endpoint)  # not its QA endpoint
    ]
    runtime = boto3.client("sagemaker-runtime", **about)
    theirs = toolkits.answers(model, bodies)
    for body, their in zip(bodies, theirs, strict=True):
        ours = runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="application/json")
        assert (ours["Body"].read(), ours["ContentType"]) == (their.body, their.content_type)


OTHER_PROJECTS = '''"""The platform over another folder of model projects."""
from pathlib import Path
from platform_assets.definitions import build_defs
defs = build_defs(projects=Path(__file__).parent / "model_projects")
'''


@pytest.fixture
def changed(home: Home, tmp_path: Path) -> Any:
    """`changed(old, new)`: a code location whose ticker_ranker has another config.yaml; returns how to materialize."""
    shutil.copytree(ROOT / "model_projects", tmp_path / "model_projects")
    (tmp_path / "other_projects.py").write_text(OTHER_PROJECTS)

    def change(old: str, new: str) -> Any:
        config = tmp_path / "model_projects" / "ticker_ranker" / "config.yaml"
        text = config.read_text()
        assert re.search(old, text), old
        config.write_text(re.sub(old, new, text, count=1))

        def materialize(selection: str) -> tuple[int, str]:
            command = ("dagster", "asset", "materialize", "-f", str(tmp_path / "other_projects.py"))
            done = home.run(*command, "--select", selection)
            return done.returncode, done.stdout + done.stderr

        return materialize

    return change


def test_a_model_that_fails_a_stricter_gate_is_refused_and_the_live_one_answers(
    home: Home, demo: Finished, changed: Any
) -> None:
    materialize = changed(r"open_set_accuracy, at_least: [0-9.]+", "open_set_accuracy, at_least: 0.999")
    code, said = materialize("ticker_ranker/live_endpoint")
    assert code != 0
    assert re.search(r"Refused by rule `(gate|approval_current)`", said), said[-3000:]
    assert home.answers() == demo.digest


def test_another_model_that_nobody_approved_waits_and_is_refused_and_the_live_one_answers(
    home: Home, demo: Finished, changed: Any
) -> None:
    """Last, since its candidate stays the newest one."""
    live = newest_candidate(home)
    materialize = changed(r"rounds: \d+", "rounds: 60")
    steps_of_it = ("model", "evaluation", "model_version", "qa_endpoint", "qa_report", "live_endpoint")
    code, said = materialize(",".join(f"ticker_ranker/{step}" for step in steps_of_it))
    other = newest_candidate(home).model_digest[:12]
    assert other != demo.digest
    assert code != 0
    assert "Refused by rule `approved`" in said
    assert f"nobody approved model {other}" in said
    assert home.answers() == demo.digest

    # Approved, and then its bytes in the object store are changed behind the platform's back.
    approved = home.cli(
        "approve", "--project", "ticker_ranker", "--model", other, "--by", "Kim", "--reason", "a test of the gate"
    )
    assert approved.returncode == 0, approved.stderr
    shutil.copy(body_of(home, live), body_of(home, newest_candidate(home)))
    code, said = materialize("ticker_ranker/live_endpoint")
    assert code != 0
    assert "Refused by rule `bytes_unchanged`" in said
    assert home.answers() == demo.digest


def records(home: Home, project: str = "ticker_ranker") -> list[Any]:
    from resources.release_ledger import SqlReleaseLedger

    ledger = SqlReleaseLedger(database_url=f"sqlite:///{home.path / 'ledgerline.db'}")
    return [entry.record for entry in ledger.entries(project)]


def newest_candidate(home: Home) -> Any:
    from ledgerline.release.releases import latest_candidate

    return latest_candidate(records(home))


def body_of(home: Home, candidate: Any) -> Path:
    """Where the local object store keeps the model.tar.gz of a candidate."""
    return object_of(home, candidate.model_uri)


def object_of(home: Home, uri: str) -> Path:
    """Where the local object store keeps an object, or all below a prefix."""
    return home.path / "objects" / uri.removeprefix("s3://")
