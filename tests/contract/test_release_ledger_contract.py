"""What any release ledger must do: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timezone

import pytest
import sqlalchemy as sa

from ledgerline.errors import ConfigurationError, PermanentFailure
from ledgerline.release.approvals import Approval
from ledgerline.release.releases import GateRefusal, IntentEnded
from resources.release_ledger import TABLE, SqlReleaseLedger

WITHOUT_TRIGGERS = {
    "sqlite": [f"DROP TRIGGER {TABLE}_no_update", f"DROP TRIGGER {TABLE}_no_delete"],
    "postgresql": [f"DROP TRIGGER {TABLE}_only_grows ON {TABLE}"],
}
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def approval(project="demo", model="m" * 64, decision="approve", reason="good") -> Approval:
    return Approval(
        project=project,
        model_digest=model,
        report_digest="r",
        policy_digest="p",
        decision=decision,
        approver="Kim",
        reason=reason,
        at=AT,
    )


def ended(intent: int, project="demo") -> IntentEnded:
    return IntentEnded(intent=intent, project=project, model_digest="m", status="failed", detail="no", live=None, at=AT)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.db"
    return request.getfixturevalue("postgres_schema")


@pytest.fixture
def ledger(url) -> SqlReleaseLedger:
    return SqlReleaseLedger(database_url=url)


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_constructing_touches_nothing(tmp_path, ledger):
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back_equal_and_in_order_also_to_another_process(url, ledger):
    records = [approval(), approval("other"), approval(decision="withdraw", reason="네이버 – wrong")]
    written = [ledger.append(record) for record in records]
    again = SqlReleaseLedger(database_url=url)
    assert again.entries() == written
    assert [entry.record for entry in again.entries("demo")] == [records[0], records[2]]
    assert [entry.number for entry in again.entries()] == [1, 2, 3]
    assert again.head() == (3, written[2].digest)


def test_an_empty_ledger_has_no_rows_and_no_head(ledger):
    assert (ledger.entries(), ledger.head()) == ([], (0, ""))


def test_each_row_covers_the_row_before_it(ledger):
    first, second = ledger.append(approval()), ledger.append(approval())
    assert (first.previous, second.previous) == ("", first.digest)
    assert first.digest != second.digest


@pytest.mark.parametrize("statement", [f"UPDATE {TABLE} SET project = 'x'", f"DELETE FROM {TABLE}"])
def test_the_database_itself_refuses_changes(url, ledger, statement):
    ledger.append(approval())
    with pytest.raises(sa.exc.DatabaseError, match="only grows"):
        execute(url, statement)
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    ("tampering", "row"),
    [
        (f"UPDATE {TABLE} SET record = replace(record, 'reject', 'approve') WHERE number = 2", 2),
        (f"UPDATE {TABLE} SET project = 'other' WHERE number = 2", 2),
        (f"UPDATE {TABLE} SET concludes = 9 WHERE number = 2", 2),
        (f"UPDATE {TABLE} SET record = 'no json' WHERE number = 3", 3),
        (f"UPDATE {TABLE} SET digest = 'x' WHERE number = 1", 1),
        (f"DELETE FROM {TABLE} WHERE number = 2", 3),
        (f"DELETE FROM {TABLE} WHERE number = 1", 2),
    ],
)
def test_a_row_altered_behind_the_triggers_is_named_and_nothing_is_read(url, ledger, tampering, row):
    for decision in ("approve", "reject", "approve"):
        ledger.append(approval(decision=decision))
    execute(url, *WITHOUT_TRIGGERS[url.partition(":")[0].partition("+")[0]], tampering)
    with pytest.raises(GateRefusal, match=f"row {row} of the release ledger is not what was written") as refusal:
        ledger.entries("somebody else")
    assert refusal.value.rule == "ledger_intact"


def test_an_intent_is_concluded_once(ledger):
    number = ledger.append(approval()).number
    ledger.append(ended(number))
    with pytest.raises(PermanentFailure, match="already settled by another run"):
        ledger.append(ended(number))


def test_writers_at_the_same_time_make_one_unbroken_chain(url):
    def write(name: str) -> None:
        ledger = SqlReleaseLedger(database_url=url)
        for _ in range(5):
            ledger.append(approval(name))

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ledger = SqlReleaseLedger(database_url=url)
    assert [entry.number for entry in ledger.entries()] == list(range(1, 16))
    assert {name: len(ledger.entries(name)) for name in "abc"} == {"a": 5, "b": 5, "c": 5}


def test_an_url_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="the release ledger's URL cannot be used: write sqlite"):
        SqlReleaseLedger(database_url="no url").entries()


def test_a_row_that_was_written_before_a_field_existed_still_verifies(url, ledger):
    from ledgerline.release.canonical import sha256_of

    ledger.append(approval())
    number, previous = ledger.head()
    old = (
        '{"kind":"qa_served","project":"demo","endpoint":"e","model_digest":"m","served_digest":"m","requests":1,'
        '"at":"2026-01-01T00:00:00Z"}'
    )
    digest = sha256_of({"number": number + 1, "previous": previous, "record": json.loads(old)})
    row = {"number": number + 1, "record": old, "previous": previous, "digest": digest}
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        insert = f"INSERT INTO {TABLE} (number, project, kind, record, previous, digest)"
        connection.execute(sa.text(f"{insert} VALUES (:number, 'demo', 'qa_served', :record, :previous, :digest)"), row)
    engine.dispose()
    ledger.append(approval())
    assert [entry.number for entry in ledger.entries()] == [1, 2, 3]
    assert ledger.entries()[1].record.p99_ms is None
