"""A bounded number of hostile filings on each run, and that the fuzzer notices what it is there for."""

from __future__ import annotations

import os
import random
import time

import pytest

from benchmarks import fuzz_filings
from benchmarks.fuzz_filings import Outcome, Watched, fuzz, run
from benchmarks.hostile_filings import DART, EDGAR, MAX_BODY_BYTES, MUTATIONS, Case, case
from ledgerline.filings.records import RefusedFiling
from tests.shared_data import find_shared_data
from tests.unit.parse_samples import dart_zip, plain

CASES, SEED = 300, 20240311


def test_no_hostile_filing_harms_the_parser():
    outcomes = list(fuzz(find_shared_data("filings"), CASES, SEED))  # without real filings, the sample archive's
    assert [outcome.number for outcome in outcomes] == list(range(CASES))
    assert {outcome.verdict for outcome in outcomes} >= {"accepted", "refused"}
    assert [outcome for outcome in outcomes if outcome.verdict not in ("accepted", "refused")] == []


def test_a_case_is_the_same_each_time():
    corpus = {"edgar": [plain()], "dart": [dart_zip()]}
    assert case(corpus, 1, 7) == case(corpus, 1, 7)
    assert case(corpus, 1, 7) != case(corpus, 2, 7)
    assert max(len(case(corpus, 1, number).body) for number in range(50)) <= MAX_BODY_BYTES


@pytest.mark.parametrize("maker", [*dict.fromkeys(EDGAR + DART + MUTATIONS)], ids=lambda maker: maker.__name__)
def test_every_kind_of_harm_changes_a_body(maker):
    body = dart_zip() if maker in DART else plain()
    assert any(maker(random.Random(seed), body) != body for seed in range(5))


@pytest.mark.parametrize(
    ("harm", "verdict"),
    [
        (RefusedFiling("truncated", "x"), "refused"),
        (KeyError("x"), "crash"),
        (RecursionError(), "crash"),
        (MemoryError(), "over_memory"),
    ],
)
def test_what_the_parser_raises_is_told_apart(harm, verdict, monkeypatch, tmp_path):
    def parse(source, body):
        raise harm

    monkeypatch.setattr(fuzz_filings, "parse_filing", parse)
    monkeypatch.setattr(fuzz_filings, "case", lambda *_: Case("dart", "x", b"<document></document>"))
    assert run({}, 1, 0, tmp_path).verdict == verdict


def test_a_slow_case_and_a_large_one_are_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz_filings, "case", lambda *_: Case("dart", "x", b"<document></document>"))
    monkeypatch.setattr(fuzz_filings, "HANG_SECONDS", -1.0)
    assert run({}, 1, 0, tmp_path).verdict == "hang"
    monkeypatch.setattr(fuzz_filings, "HANG_SECONDS", 60.0)
    monkeypatch.setattr(fuzz_filings, "MEMORY_CAP", -1)
    assert run({}, 1, 0, tmp_path).verdict == "over_memory"


def dies_or_sleeps(pipe, archive, seed):
    while (number := pipe.recv()) is not None:
        if number == 1:
            os._exit(3)
        if number == 2:
            time.sleep(600)
        pipe.send(Outcome(number, "x", "accepted", ""))


def test_a_process_that_dies_or_does_not_answer_is_replaced():
    watched = Watched(None, 1, target=dies_or_sleeps, wait=5.0)
    outcomes = [watched.run(number) for number in (0, 1, 3)]
    watched.close()
    assert [(outcome.verdict, outcome.detail) for outcome in outcomes] == [
        ("accepted", ""),
        ("crash", "the process ended with 3"),
        ("accepted", ""),
    ]
    watched = Watched(None, 1, target=dies_or_sleeps, wait=0.1)
    assert watched.run(2).verdict == "hang"
    watched.close()
