"""The contract matrix counts each test once, under the port and implementation that its id names."""

import pytest

from tests.contract.matrix import NO_PARAMETER, cell_of, matrix

LEDGER = "tests/contract/test_filing_ledger_contract.py::test_it"


@pytest.mark.parametrize(
    ("nodeid", "cell"),
    [
        (f"{LEDGER}[postgresql]", ("filing_ledger", "postgresql")),
        ("tests/contract/test_object_store_contract.py::test_it[s3-s3://b/a/]", ("object_store", "s3")),
        ("tests/contract/test_regulator_contract.py::test_it[edgar over http]", ("regulator", "over http")),
        ("tests/contract/test_neptune_graph.py::test_it[3]", ("knowledge_graph", "gremlin")),
        (
            "tests/contract/test_release_ledger_contract.py::test_it[UPDATE x SET a = 's3'-2]",
            ("release_ledger", NO_PARAMETER),
        ),
        ("tests/contract/test_notifier_contract.py::test_it", ("notifier", NO_PARAMETER)),
    ],
)
def test_the_cell_of_a_test(nodeid, cell):
    assert cell_of(nodeid) == cell


def test_outcomes_are_counted_apart():
    _, row = matrix(
        [(f"{LEDGER}[sqlite]", "passed"), (f"{LEDGER}[sqlite]", "passed"), (f"{LEDGER}[sqlite]", "skipped")]
    )
    assert row.split() == ["filing_ledger", "sqlite", "2", "1"]


def test_without_tests_there_is_no_matrix():
    assert matrix([]) == []
