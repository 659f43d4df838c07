"""The leak gate: a planted look-ahead column is found whatever it is made of, and honest features are left alone."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgerline.errors import PermanentFailure
from ledgerline.projects.leaks import feature_scores, find_leaks, refuse_leaks
from ledgerline.projects.sections import Dataset

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
MOST = 0.999


def dataset(*more: str, available: dict[str, str] | None = None) -> Dataset:
    return Dataset(
        table="t", columns=["company", "at", "size", "sector", "label", *more], entity_column="company",
        time_column="at", label_column="label", available=available or {},
    )  # fmt: skip


def honest(labels: list, seed: int) -> dict[str, list]:
    """Rows with weak features: nothing in them was written with the answer in hand."""
    rng = random.Random(seed)
    order = {value: number for number, value in enumerate(sorted(set(labels), key=str))}
    return {
        "company": [f"c{rng.randrange(60)}" for _ in labels],
        "at": [START + timedelta(days=rng.randrange(300)) for _ in labels],
        "size": [order[label] / len(order) + rng.gauss(0, 1) for label in labels],
        "sector": [rng.choice("abcd") for _ in labels],
        "label": labels,
    }


KINDS = {
    "two classes": lambda rng: rng.choice([0, 1]),
    "a truth value": lambda rng: rng.random() < 0.3,
    "four classes": lambda rng: rng.choice(["buy", "sell", "hold", "none"]),
    "a number": lambda rng: rng.lognormvariate(3, 2),
}


def rank(label: object, labels: list) -> float:
    return float(sorted(set(labels), key=lambda value: (str(type(value)), value)).index(label))


# What somebody may write into a column with the answer in hand: (label, all labels, rng) -> value.
PLANTS = {
    "the label itself": lambda label, labels, rng: label,
    "the label as text": lambda label, labels, rng: f"outcome {label}",
    "an order of it turned round": lambda label, labels, rng: -rank(label, labels),
    "a steep scale of it": lambda label, labels, rng: math.exp(rank(label, labels) / len(set(labels)) * 20),
    "its place with a little noise": lambda label, labels, rng: rank(label, labels) + rng.uniform(0, 0.01),
    "its place, coded out of order": lambda label, labels, rng: (
        (rank(label, labels) * 7919) % 10_007 if len(set(labels)) <= 10 else rank(label, labels)
    ),
    "a list that holds it": lambda label, labels, rng: [rng.random(), rank(label, labels)],
    "a struct that holds it": lambda label, labels, rng: {"a": rng.random(), "b": rank(label, labels)},
    "a day that follows it": lambda label, labels, rng: START + timedelta(days=int(rank(label, labels))),
}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.sampled_from(sorted(PLANTS)), st.integers(0, 10**6))
def test_a_planted_look_ahead_column_is_caught_every_time_and_alone(kind, plant, seed):
    rng = random.Random(seed)
    labels = [KINDS[kind](rng) for _ in range(300)]
    planted = [PLANTS[plant](label, labels, rng) for label in labels]
    rows = pa.table({**honest(labels, seed), "planted": planted})
    leaks = find_leaks(rows, dataset("planted"), most=MOST).leaks
    assert {leak.column.split(".")[0].split("[")[0] for leak in leaks} == {"planted"}
    with pytest.raises(PermanentFailure, match=r"The training set of demo leaks .*\n  planted"):
        refuse_leaks(rows, dataset("planted"), most=MOST, project="demo")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6))
def test_honest_features_are_never_refused(kind, seed):
    rng = random.Random(seed)
    labels = [KINDS[kind](rng) for _ in range(300)]
    rows = pa.table(honest(labels, seed))
    report = find_leaks(rows, dataset(), most=MOST)
    assert report.leaks == ()
    assert all(0 <= score.score < 0.95 for score in report.scores)
    refuse_leaks(rows, dataset(), most=MOST, project="demo")


def test_a_column_that_is_filled_in_for_one_answer_only_is_a_leak_however_random_its_values():
    rng = random.Random(3)
    labels = [rng.choice([0, 1]) for _ in range(300)]
    for told in (0, 1):
        planted = [rng.random() if label == told else None for label in labels]
        rows = pa.table({**honest(labels, 3), "paid_at": planted})
        assert [leak.column for leak in find_leaks(rows, dataset("paid_at"), most=MOST).leaks] == ["paid_at"]


def test_a_number_that_tells_from_the_middle_is_found_although_its_order_does_not():
    rng = random.Random(4)
    labels = [rng.choice([0, 1]) for _ in range(600)]
    planted = [rng.uniform(-1, 1) if label else rng.choice([-1, 1]) * rng.uniform(1.2, 2) for label in labels]
    rows = pa.table({**honest(labels, 4), "planted": planted})
    assert feature_scores(rows, dataset("planted"))[0].column == "planted"
    assert feature_scores(rows, dataset("planted"))[0].score > 0.97


def test_an_id_that_occurs_once_is_no_leak_and_a_feature_that_is_constant_says_nothing():
    rng = random.Random(5)
    labels = [rng.choice([0, 1]) for _ in range(300)]
    rows = pa.table({**honest(labels, 5), "id": [f"row {n}" for n in range(300)], "same": ["x"] * 300})
    scores = {item.column: item.score for item in feature_scores(rows, dataset("id", "same"))}
    assert scores["same"] == 0.5
    assert scores["id"] < 0.65


def test_entities_of_one_class_each_do_not_make_a_constant_look_telling():
    rows = {"company": ["a"] * 50 + ["b"] * 50, "label": [0] * 50 + [1] * 50, "size": [1.0] * 100}
    rows |= {"at": [START] * 100, "sector": ["x"] * 100}
    assert find_leaks(pa.table(rows), dataset(), most=MOST).leaks == ()


def test_a_class_of_a_few_rows_is_too_small_to_tell_a_leak_from_chance():
    labels = [0] * 95 + [1] * 5
    rows = honest(labels, 6) | {"size": [float(n) for n in range(100)]}
    assert find_leaks(pa.table(rows), dataset(), most=MOST).leaks == ()


def test_a_value_that_was_knowable_only_later_is_refused_with_column_rows_and_an_example():
    at = [START, START, START, START]
    known = [START, START + timedelta(days=2), None, None]
    rows = pa.table(
        {
            "company": ["a", "b", "c", "d"],
            "at": at,
            "size": [1.0, 2.0, 3.0, None],
            "known": pa.array(known, pa.timestamp("us", tz="UTC")),
        }
    )
    chosen = Dataset(
        table="t", columns=["company", "at", "size", "known"], entity_column="company", time_column="at",
        available={"size": "known"},
    )  # fmt: skip
    (leak,) = find_leaks(rows, chosen, most=MOST).leaks
    assert (leak.column, leak.rows) == ("size", 2)
    assert "2 of 4 rows hold a value that was not knowable at at, e.g. company 'b'" in leak.why
    assert "known says only at 2025-01-03" in leak.why
    exact = rows.slice(0, 1)
    assert find_leaks(exact, chosen, most=MOST).leaks == ()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_whatever_the_delays_every_row_that_is_early_is_counted_and_none_else(delays):
    rows = pa.table(
        {
            "company": ["a"] * len(delays),
            "at": ["2025-03-10"] * len(delays),
            "size": [1] * len(delays),
            "known": [f"2025-03-{10 + delay}" for delay in delays],
        }
    )
    chosen = Dataset(
        table="t", columns=["company", "at", "size", "known"], entity_column="company", time_column="at",
        available={"size": "known"},
    )  # fmt: skip
    found = find_leaks(rows, chosen, most=MOST).leaks
    assert sum(leak.rows for leak in found) == sum(delay > 0 for delay in delays)


def test_the_limit_of_1_turns_the_score_off():
    labels = [0, 1] * 50
    rows = pa.table(honest(labels, 8) | {"size": [float(label) for label in labels]})
    assert find_leaks(rows, dataset(), most=1).leaks == ()


def test_a_value_of_a_row_without_a_time_was_known_at_no_time_that_could_be_shown():
    rows = honest([0, 1] * 20, 3)
    rows["at"][7] = None
    rows["known"] = [START] * 40
    asked = dataset("known", available={"size": "known"})
    (leak,) = find_leaks(pa.table(rows), asked, most=1).leaks
    assert (leak.column, leak.rows) == ("size", 1)
