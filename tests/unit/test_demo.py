"""The pure parts of `make demo`: which days make a run, what is up to date, and how results are said in a line."""

from __future__ import annotations

from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from cli.demo import BUILT_FROM, Demo, failed_checks, listed, only_one, short, stretches, up_to_date
from cli.progress import Progress
from ledgerline.errors import ConfigurationError
from ledgerline.release.approvals import Approval
from ledgerline.release.releases import Candidate
from sensors.failures import authors_message

KNOWN = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([], []),
        (["c"], [("c", "c")]),
        (["a", "b"], [("a", "b")]),
        (["a", "b", "c", "d", "e"], [("a", "e")]),
        (["a", "c"], [("a", "a"), ("c", "c")]),
        (["a", "b", "d", "e"], [("a", "b"), ("d", "e")]),
        (["e", "a", "b"], [("a", "b"), ("e", "e")]),
        (["a", "never registered"], [("a", "a")]),
    ],
)
def test_days_are_run_in_as_few_ranges_as_their_order_allows(wanted: list[str], found: list[tuple[str, str]]) -> None:
    assert stretches(KNOWN, wanted) == found


def test_days_are_neighbours_in_the_order_in_which_they_were_registered() -> None:
    assert stretches(["b", "a", "c"], ["a", "b"]) == [("b", "a")]


def test_counts_are_listed_the_most_frequent_first() -> None:
    assert listed({"truncated": 3, "published": 1397}) == "1,397 published, 3 truncated"
    assert listed({}) == ""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.961538, "0.9615"),
        (1.0, "1"),
        (45374, "45,374"),
        ("a" * 64, "a" * 12),
        ("a" * 63, "a" * 63),
        ("passed 6 of 6 rules", "passed 6 of 6 rules"),
        (True, "yes"),
        (False, "no"),
    ],
)
def test_values_are_said_shortly(value: object, said: str) -> None:
    assert short(value) == said


def failed(description: str | None, *messages: str) -> Any:
    """A step failure: the description of its dg.Failure, and the messages of its error from the outermost inwards."""
    error = None
    for message in reversed(messages):
        error = SimpleNamespace(message=message, cause=error)
    failure = SimpleNamespace(description=description) if description is not None else None
    return SimpleNamespace(step_failure_data=SimpleNamespace(user_failure_data=failure, error=error))


def test_what_an_author_wrote_of_a_failure_is_what_is_said() -> None:
    assert authors_message(failed("Refused by rule `gate`: too low.", "dagster.Failure: ...")) == (
        "Refused by rule `gate`: too low."
    )


@pytest.mark.parametrize("description", [None, ""])
@pytest.mark.parametrize(
    ("causes", "said"),
    [
        (["ledgerline.errors.LedgerlineError: no lake; make one.\n"], "LedgerlineError: no lake; make one."),
        (["ledgerline.errors.LedgerlineError: x did not answer.\n", "TimeoutError\n"], "x did not answer."),
        (["RuntimeError: a wrapper\n", "ValueError: filing 7 is broken\n"], "ValueError: filing 7 is broken"),
    ],
)
def test_else_it_is_our_own_error_or_the_innermost_cause(description: str | None, causes: list[str], said: str) -> None:
    error = failed(description, "DagsterExecutionStepExecutionError: step x\n", *causes)
    assert authors_message(error).endswith(said)


def test_of_failed_checks_only_those_that_block_are_said_with_their_reason() -> None:
    def checked(name: str, **how: Any) -> dg.AssetCheckEvaluation:
        defaults = {"passed": False, "metadata": {}, "blocking": True, "description": f"{name} says why"}
        return dg.AssetCheckEvaluation(dg.AssetKey(["ranker", "evaluation"]), name, **(defaults | how))

    checks = [
        checked("gate"),
        checked("fine", passed=True),
        checked("shown", blocking=False),
        checked("warning", severity=dg.AssetCheckSeverity.WARN),
    ]
    assert failed_checks(checks) == ["ranker/evaluation does not pass its check `gate`: gate says why"]


MADE = {"listings": 1, "knowledge_graph": 2, "candidate_index": 3, "labelled_candidates": 4}


def behind(**made: int) -> list[str]:
    return [asset for asset in BUILT_FROM if not up_to_date(asset, MADE | made)]


def test_what_was_built_after_all_it_is_built_from_is_up_to_date() -> None:
    assert behind() == []
    assert behind(knowledge_graph=3, candidate_index=2) == []


def test_what_was_never_built_is_not() -> None:
    assert behind(listings=0) == ["listings"]
    assert behind(candidate_index=0) == ["candidate_index"]


def test_after_new_listings_what_was_built_from_the_old_ones_is_behind_also_for_a_demo_that_was_killed() -> None:
    assert behind(listings=5) == ["knowledge_graph", "candidate_index", "labelled_candidates"]
    assert behind(listings=5, knowledge_graph=6) == ["candidate_index", "labelled_candidates"]
    assert behind(knowledge_graph=5) == ["labelled_candidates"]


def test_two_demos_in_one_home_are_refused_with_the_process_and_the_remedy(tmp_path: Path) -> None:
    lock = tmp_path / "demo.lock"
    with (
        only_one(lock),
        pytest.raises(ConfigurationError, match=r"process \d+.*set LEDGERLINE_HOME to another folder"),
        only_one(lock),
    ):
        pass


def test_the_lock_of_a_demo_that_ended_is_free_whatever_stands_in_it(tmp_path: Path) -> None:
    lock = tmp_path / "demo.lock"
    lock.write_text("4711")
    with only_one(lock):
        pass
    with only_one(lock):
        pass


@pytest.mark.parametrize(("decision", "said"), [("reject", "rejected"), ("withdraw", "withdrawn")])
def test_the_demo_does_not_approve_what_a_person_refused_and_says_how_that_is_done(decision: Any, said: str) -> None:
    digests = {"model_digest": "ab" * 32, "report_digest": "cd" * 32, "policy_digest": "ef" * 32}
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    locations = dict.fromkeys(("model_uri", "package_arn", "report_uri", "requests_uri", "training_job"), "somewhere")
    data = {"data_digest": "00" * 32, "dataset_table": "t", "dataset_version": 1, "dataset_digest": "11" * 32}
    candidate = Candidate(project="ticker_ranker", at=at, **digests, **locations, **data)
    refusal = Approval(
        project="ticker_ranker", decision=decision, approver="Kim", reason="worse in Korea", at=at, **digests
    )
    demo = Demo.__new__(Demo)  # only what the step asks for: it must come to no port that could approve
    printed = StringIO()
    demo.progress = Progress(Console(file=printed, width=200))
    demo.resources = {
        "release_ledger": SimpleNamespace(
            entries=lambda project: [SimpleNamespace(record=candidate), SimpleNamespace(record=refusal)]
        )
    }
    assert demo.approve(True) is False
    assert f"abababababab was {said} by Kim: worse in Korea" in printed.getvalue()
    assert "python -m cli approve --project ticker_ranker --model abababababab" in printed.getvalue()
