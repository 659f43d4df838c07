"""The plan of days: what is run, what is skipped and why."""

from ledgerline.filings.plan import MAX_ATTEMPTS, DayState, plan_days


def test_a_day_whose_input_changed_is_run_and_its_run_key_carries_input_and_attempt():
    plan = plan_days({"edgar:2026-03-02": DayState(wanted="abc", done="", failures=1)})
    assert plan.run == {"edgar:2026-03-02": "edgar:2026-03-02@abc#2"}


def test_a_day_that_is_up_to_date_is_skipped_with_the_reason():
    plan = plan_days({"edgar:2026-03-02": DayState(wanted="abc", done="abc")})
    assert not plan.run
    assert plan.reason == "1 day(s): nothing is new"


def test_a_day_with_a_run_in_flight_is_not_started_again():
    plan = plan_days({"edgar:2026-03-02": DayState(wanted="abc", done="", in_flight=True)})
    assert plan.reason == "1 day(s): a run is under way"


def test_a_day_that_failed_too_often_on_the_same_input_waits_for_a_person():
    plan = plan_days({"edgar:2026-03-02": DayState(wanted="abc", done="", failures=MAX_ATTEMPTS)})
    assert not plan.run
    assert "materialize by hand" in plan.reason


def test_without_any_day_the_reason_says_so():
    assert plan_days({}).reason == "No day is known yet."
