"""What every filing ledger and rate lease must do: SQLite, and PostgreSQL where it is installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ledgerline.errors import ConfigurationError
from ledgerline.filings.ports import Fetched, Parsed, Refusal
from ledgerline.filings.records import FilingRef, Party
from resources.filing_ledger import SqlFilingLedger

DAY = date(2025, 3, 14)
NOON = datetime(2025, 3, 14, 16, 0, tzinfo=timezone.utc)
LATER = NOON + timedelta(hours=1)
APPLE = Party("0000320193", "Apple Inc.", "Filer")
COOK = Party("0001214156", "COOK TIMOTHY D", "Reporting")


def ref(number: int = 1, *parties: Party, **changes) -> FilingRef:
    values = {"source": "edgar", "filing_id": f"0000320193-25-{number:06d}", "day": DAY, "form": "8-K", **changes}
    return FilingRef(parties=parties or (APPLE,), **values)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/ledger.db"
        return
    given = request.getfixturevalue("postgres_url")
    import sqlalchemy

    schema = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(given)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
    url = sqlalchemy.make_url(given).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture
def ledger(url: str) -> SqlFilingLedger:
    return SqlFilingLedger(url=url)


def fetch(ledger: SqlFilingLedger, number: int = 1, sha256: str = "a" * 64) -> None:
    ledger.fetched("edgar", ref(number).filing_id, sha256=sha256, size=7, uri=f"s3://b/{sha256}", available_at=NOON)


def test_a_filing_is_remembered_once_with_all_that_was_said_of_it(ledger: SqlFilingLedger) -> None:
    known = ref(1, APPLE, accepted_at=NOON, title="제목")
    assert ledger.discovered([known], seen_at=NOON) == 1
    assert ledger.discovered([known], seen_at=LATER) == 0
    row = ledger.row("edgar", known.filing_id)
    assert row is not None
    assert row.ref == known
    assert (row.state, row.first_seen_at, row.version, row.attempts) == ("discovered", NOON, 0, 0)
    assert ledger.row("dart", known.filing_id) is None


def test_two_thousand_and_more_refs_in_one_call_are_all_remembered(ledger: SqlFilingLedger) -> None:
    refs = [ref(number) for number in range(2345)]
    assert ledger.discovered(refs, seen_at=NOON) == 2345
    assert ledger.discovered([*refs, ref(9999)], seen_at=NOON) == 1
    assert [row.ref for row in ledger.rows("edgar", DAY)] == sorted([*refs, ref(9999)], key=lambda one: one.filing_id)


def test_parties_are_united_inside_one_call_and_over_calls(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, APPLE), ref(1, COOK)], seen_at=NOON)
    issuer = Party("0000320193", "Apple Inc.", "Issuer")
    ledger.discovered([ref(1, issuer), ref(1, APPLE)], seen_at=LATER)
    row = ledger.row("edgar", ref(1).filing_id)
    assert row is not None
    assert row.ref.parties == (APPLE, COOK, issuer)


def test_a_party_without_a_role_yields_to_the_same_one_with_a_role(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, Party(APPLE.id, "APPLE INC", ""))], seen_at=NOON)
    ledger.discovered([ref(1, APPLE)], seen_at=NOON)
    ledger.discovered([ref(1, Party(APPLE.id, "APPLE INC", ""))], seen_at=NOON)
    assert [row.ref.parties for row in ledger.rows("edgar", DAY)] == [(APPLE,)]


def test_a_later_witness_fills_what_the_first_did_not_know(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, form="")], seen_at=NOON)
    ledger.discovered([ref(1, form="8-K", accepted_at=NOON)], seen_at=LATER)
    ledger.discovered([ref(1, form="10-K", accepted_at=LATER)], seen_at=LATER)
    (row,) = ledger.rows("edgar", DAY)
    assert (row.ref.form, row.ref.accepted_at, row.first_seen_at) == ("8-K", NOON, NOON)


def test_a_filing_goes_through_its_states_and_repeating_a_transition_changes_nothing(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1, accepted_at=NOON)], seen_at=NOON)
    filing_id = ref(1).filing_id
    for _ in range(2):
        fetch(ledger)
        (row,) = ledger.pending("edgar", DAY)
        assert (row.state, row.version, row.sha256, row.bytes, row.available_at) == ("fetched", 1, "a" * 64, 7, NOON)
    assert ledger.unpublished("edgar", DAY) == []
    for _ in range(2):
        ledger.parsed("edgar", filing_id, accepted_at=LATER)
        (row,) = ledger.unpublished("edgar", DAY)
        assert (row.state, row.ref.accepted_at) == ("parsed", LATER)
    for _ in range(2):
        ledger.published("edgar", [filing_id])
        assert ledger.unpublished("edgar", DAY) == []
        assert ledger.pending("edgar", DAY) == []
        assert ledger.counts() == {("edgar", "2025-03-14", "published"): 1}
    ledger.discovered([ref(1)], seen_at=LATER)
    fetch(ledger)
    ledger.parsed("edgar", filing_id, accepted_at=None)
    ledger.refused("edgar", filing_id, reason="truncated", detail="never")
    (row,) = ledger.rows("edgar", DAY)
    assert (row.state, row.version, row.reason, row.ref.accepted_at) == ("published", 1, None, LATER)


def test_a_state_cannot_be_skipped(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    ledger.parsed("edgar", ref(1).filing_id, accepted_at=NOON)
    ledger.published("edgar", [ref(1).filing_id])
    assert [row.state for row in ledger.rows("edgar", DAY)] == ["discovered"]


def test_a_refused_filing_keeps_its_reason_and_is_unpublished_until_the_lake_has_it(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    fetch(ledger)
    ledger.refused("edgar", ref(1).filing_id, reason="truncated", detail="no closing tag")
    (row,) = ledger.unpublished("edgar", DAY)
    assert (row.state, row.reason, row.detail, row.sha256) == ("refused", "truncated", "no closing tag", "a" * 64)
    assert ledger.pending("edgar", DAY) == []
    ledger.published("edgar", [ref(1).filing_id])
    assert ledger.unpublished("edgar", DAY) == []
    assert ledger.counts() == {("edgar", "2025-03-14", "refused"): 1}


def test_changed_bytes_are_a_new_version_and_the_old_one_is_kept(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    fetch(ledger)
    ledger.parsed("edgar", ref(1).filing_id, accepted_at=NOON)
    ledger.published("edgar", [ref(1).filing_id])
    fetch(ledger, sha256="b" * 64)
    (row,) = ledger.pending("edgar", DAY)
    assert (row.state, row.version, row.sha256) == ("fetched", 2, "b" * 64)
    ledger.parsed("edgar", ref(1).filing_id, accepted_at=NOON)
    assert [row.version for row in ledger.unpublished("edgar", DAY)] == [2]
    assert [version.sha256[0] for version in ledger.versions("edgar", ref(1).filing_id)] == ["a", "b"]


def test_a_filing_that_is_not_served_yet_counts_its_attempts_and_stays_discovered(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    for _ in range(3):
        ledger.waiting("edgar", [ref(1).filing_id], detail="404 NoSuchKey")
    (row,) = ledger.pending("edgar", DAY)
    assert (row.state, row.attempts, row.detail) == ("discovered", 3, "404 NoSuchKey")
    fetch(ledger)
    (row,) = ledger.pending("edgar", DAY)
    assert (row.state, row.attempts, row.detail) == ("fetched", 4, None)


def test_batches_do_what_the_single_transitions_do(ledger: SqlFilingLedger) -> None:
    ledger.discovered([ref(number) for number in range(1, 5)], seen_at=NOON)
    ids = [ref(number).filing_id for number in range(1, 5)]
    ledger.fetched_many("edgar", [Fetched(one, one[-1] * 64, 1, "s3://b/k", NOON) for one in ids])
    ledger.parsed_many(
        "edgar", [Parsed(ids[0], NOON, "10-K", (APPLE, COOK)), Parsed(ids[1], None), Parsed("unknown", None)]
    )
    ledger.refused_many("edgar", [Refusal(ids[2], "truncated", "x")])
    rows = ledger.rows("edgar", DAY)
    assert [row.state for row in rows] == ["parsed", "parsed", "refused", "fetched"]
    assert rows[0].ref.parties == (APPLE, COOK)
    assert ledger.counts() == {
        ("edgar", "2025-03-14", "parsed"): 2,
        ("edgar", "2025-03-14", "refused"): 1,
        ("edgar", "2025-03-14", "fetched"): 1,
    }


def test_nothing_given_is_nothing_done(ledger: SqlFilingLedger) -> None:
    assert ledger.discovered([], seen_at=NOON) == 0
    ledger.fetched_many("edgar", [])
    ledger.parsed_many("edgar", [])
    ledger.published("edgar", [])
    assert ledger.counts() == {}


def test_another_process_sees_what_was_written(ledger: SqlFilingLedger, url: str) -> None:
    ledger.discovered([ref(1)], seen_at=NOON)
    other = SqlFilingLedger(url=url)
    assert other.discovered([ref(1), ref(2)], seen_at=NOON) == 1
    assert len(ledger.rows("edgar", DAY)) == 2


def test_a_time_without_a_zone_is_not_stored(ledger: SqlFilingLedger) -> None:
    with pytest.raises(Exception, match="without a zone"):
        ledger.discovered([ref(1)], seen_at=datetime(2025, 3, 14))


def test_a_ledger_with_a_newer_schema_is_not_touched(url: str) -> None:
    import sqlalchemy

    SqlFilingLedger(url=url).counts()
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE ledger_schema SET version = 99"))
    with pytest.raises(ConfigurationError, match=r"schema 99.*install the newer ledgerline"):
        SqlFilingLedger(url=url).counts()


def test_an_unusable_url_is_a_configuration_error_that_shows_no_password() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:////") as caught:
        SqlFilingLedger(url="nosuch://user:hunter2@host/db").counts()
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- lease and ban


def test_slots_are_handed_out_one_after_the_other_over_processes(ledger: SqlFilingLedger, url: str) -> None:
    other = SqlFilingLedger(url=url)
    waits = [lease.lease("edgar", NOON, per_second=5) for lease in (ledger, other, ledger, other)]
    assert waits == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert ledger.lease("edgar", NOON + timedelta(seconds=10), per_second=5) == 0.0
    assert ledger.lease("dart", NOON, per_second=2) == 0.0


def test_a_day_has_its_quota_and_the_next_day_a_new_one(ledger: SqlFilingLedger) -> None:
    tomorrow = DAY + timedelta(days=1)
    answers = [ledger.lease("dart", NOON, per_second=1000, per_day=2, day=DAY) for _ in range(3)]
    assert answers[:2] == pytest.approx([0.0, 0.001])
    assert answers[2] is None
    assert ledger.lease("dart", NOON + timedelta(days=1), per_second=1000, per_day=2, day=tomorrow) == 0.0


def test_a_clock_that_was_set_back_does_not_stop_the_lease(ledger: SqlFilingLedger) -> None:
    ledger.lease("edgar", NOON + timedelta(days=1), per_second=5)
    assert ledger.lease("edgar", NOON, per_second=5) == 0.0


def test_a_ban_holds_for_every_process_until_its_end_and_is_never_shortened(ledger: SqlFilingLedger, url: str) -> None:
    assert ledger.banned_until("edgar", NOON) is None
    ledger.ban("edgar", NOON + timedelta(seconds=600), "rate threshold")
    ledger.ban("edgar", NOON + timedelta(seconds=300), "earlier")
    other = SqlFilingLedger(url=url)
    assert other.banned_until("edgar", NOON) == (NOON + timedelta(seconds=600), "rate threshold")
    assert other.banned_until("edgar", NOON + timedelta(seconds=600)) is None
    assert other.banned_until("dart", NOON) is None
    other.ban("edgar", NOON + timedelta(seconds=900), "again")
    assert ledger.banned_until("edgar", NOON) == (NOON + timedelta(seconds=900), "again")
