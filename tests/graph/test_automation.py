"""The named conditions, tick by tick: what fires, what must not, and never twice for the same news."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,  # Dagster has no public name for it
)

from platform_assets.automation import deploy_when_gated, train_when_new_data, when_listings_change
from platform_assets.definitions import build_defs

PASSED, FAILED = True, False


class Ticks:
    """Definitions, an instance of their own, and the cursor from tick to tick; materializations are only reported."""

    def __init__(self, defs: dg.Definitions) -> None:
        self.defs = defs
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor = None

    def made(self, *names: str) -> None:
        for name in names:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(name.split("/"))))

    def checked(self, name: str, check: str, passed: bool) -> None:
        """A check evaluated in a run of its own, on the newest materialization."""
        key = dg.AssetKey(name.split("/"))
        newest = self.instance.fetch_materializations(key, limit=1).records[0]
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
        )
        evaluation = dg.AssetCheckEvaluation(
            asset_key=key, check_name=check, passed=passed, metadata={}, target_materialization_data=target
        )
        self.instance.report_runless_asset_event(evaluation)

    def tick(self) -> list[str]:
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return sorted({found.key.to_user_string() for found in result.results if not found.true_subset.is_empty})


def asset(name: str, *deps: str, condition: dg.AutomationCondition | None = None) -> dg.AssetsDefinition:
    @dg.asset(key=name.split("/"), deps=[dep.split("/") for dep in deps], automation_condition=condition)
    def made() -> None: ...

    return made


def check(name: str, title: str, *, blocking: bool) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=name.split("/"), name=title, blocking=blocking)
    def found() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    return found


# when_listings_change ------------------------------------------------------------------------------------------------


@pytest.fixture
def listings() -> Ticks:
    condition = when_listings_change()
    graph = asset("graph", "listings", condition=condition)
    index = asset("index", "listings", "graph", condition=condition)
    ticks = Ticks(dg.Definitions(assets=[asset("listings"), graph, index]))
    assert ticks.tick() == []
    return ticks


def test_new_listings_ask_for_what_is_built_from_them_once(listings):
    listings.made("listings")
    assert listings.tick() == ["graph", "index"]
    listings.made("graph", "index")
    assert listings.tick() == []
    listings.made("listings")
    assert listings.tick() == ["graph", "index"]


def test_listings_that_were_answered_are_not_answered_again_while_the_answer_is_still_to_come(listings):
    listings.made("listings")
    assert listings.tick() == ["graph", "index"]
    assert listings.tick() == []


def test_nothing_is_built_while_the_listings_are_missing(listings):
    listings.made("graph")
    assert listings.tick() == []


def test_a_cursor_that_was_lost_asks_for_nothing_that_is_there(listings):
    listings.made("listings", "graph", "index")
    listings.tick()
    listings.cursor = None
    assert listings.tick() == []


# train_when_new_data -------------------------------------------------------------------------------------------------


@pytest.fixture
def training() -> Ticks:
    condition = train_when_new_data()
    assets = [
        asset("examples"),
        asset("model", "examples", condition=condition),
        asset("evaluation", "model", condition=condition),
        asset("version", "evaluation", condition=condition),
    ]
    checks = [check("evaluation", "gate", blocking=True), check("examples", "enough", blocking=True)]
    ticks = Ticks(dg.Definitions(assets=assets, asset_checks=checks))
    ticks.tick()
    return ticks


def test_new_data_asks_for_the_model_and_what_follows_it(training):
    training.made("examples")
    training.checked("examples", "enough", PASSED)
    assert "model" in training.tick()


def test_data_behind_a_blocking_check_that_failed_trains_nothing(training):
    training.made("examples")
    training.checked("examples", "enough", FAILED)
    assert training.tick() == []
    training.made("examples")
    training.checked("examples", "enough", PASSED)
    assert "model" in training.tick()


def test_a_failed_gate_of_an_earlier_run_keeps_the_version_from_being_registered(training):
    training.made("examples", "model")
    training.checked("examples", "enough", PASSED)
    training.made("evaluation")
    training.checked("evaluation", "gate", FAILED)
    assert "version" not in training.tick()
    assert "version" not in training.tick()


def test_the_same_data_is_not_trained_on_twice(training):
    training.made("examples")
    training.checked("examples", "enough", PASSED)
    assert "model" in training.tick()
    training.made("model", "evaluation")
    training.checked("evaluation", "gate", PASSED)
    training.made("version")
    assert training.tick() == []
    assert training.tick() == []


# deploy_when_gated ---------------------------------------------------------------------------------------------------


@pytest.fixture
def deploying() -> Ticks:
    assets = [
        asset("evaluation"),
        asset("version", "evaluation"),
        asset("report", "version"),
        asset("endpoint", "evaluation", "version", "report", condition=deploy_when_gated()),
    ]
    checks = [
        check("evaluation", "gate", blocking=True),
        check("version", "approved", blocking=False),
        check("report", "same_bytes", blocking=True),
    ]
    ticks = Ticks(dg.Definitions(assets=assets, asset_checks=checks))
    ticks.tick()
    return ticks


def judge(ticks: Ticks, verdicts: Mapping[str, bool]) -> None:
    """Materialize the three and evaluate those checks that are named."""
    titles = {"evaluation": "gate", "version": "approved", "report": "same_bytes"}
    for name, title in titles.items():
        ticks.made(name)
        if name in verdicts:
            ticks.checked(name, title, verdicts[name])


ALL_PASSED = {"evaluation": PASSED, "version": PASSED, "report": PASSED}


def test_an_endpoint_is_asked_for_once_all_checks_passed_and_not_again_on_the_next_tick(deploying):
    judge(deploying, ALL_PASSED)
    assert deploying.tick() == ["endpoint"]
    assert deploying.tick() == []
    deploying.made("endpoint")
    assert deploying.tick() == []


@pytest.mark.parametrize("name", sorted(ALL_PASSED))
def test_one_failed_check_of_an_earlier_run_keeps_the_endpoint_from_being_asked_for(deploying, name):
    judge(deploying, {**ALL_PASSED, name: FAILED})
    assert deploying.tick() == []
    assert deploying.tick() == []


@pytest.mark.parametrize("name", sorted(ALL_PASSED))
def test_a_check_that_never_ran_is_no_check_that_passed(deploying, name):
    judge(deploying, {found: verdict for found, verdict in ALL_PASSED.items() if found != name})
    assert deploying.tick() == []


def test_a_check_that_passed_for_the_model_before_says_nothing_of_the_new_one(deploying):
    judge(deploying, ALL_PASSED)
    assert deploying.tick() == ["endpoint"]
    deploying.made("endpoint")
    judge(deploying, {})
    assert deploying.tick() == []


def test_after_a_failing_model_the_next_one_that_passes_is_asked_for(deploying):
    judge(deploying, {**ALL_PASSED, "evaluation": FAILED})
    assert deploying.tick() == []
    judge(deploying, ALL_PASSED)
    assert deploying.tick() == ["endpoint"]


def test_without_its_qa_report_the_endpoint_is_not_asked_for(deploying):
    deploying.made("evaluation", "version")
    deploying.checked("evaluation", "gate", PASSED)
    deploying.checked("version", "approved", PASSED)
    assert deploying.tick() == []


# The real graph ------------------------------------------------------------------------------------------------------

RANKER = "ticker_ranker/"


@pytest.fixture
def platform() -> Ticks:
    ticks = Ticks(build_defs("local"))
    ticks.tick()
    return ticks


def test_on_the_real_graph_new_listings_ask_for_graph_index_and_examples(platform):
    platform.made("listings")
    found = platform.tick()
    assert {"knowledge_graph", "candidate_index", "labelled_candidates"} <= set(found)
    assert RANKER + "live_endpoint" not in found
    platform.made("knowledge_graph", "candidate_index")
    platform.made("labelled_candidates")
    again = platform.tick()
    assert not {"knowledge_graph", "candidate_index", "labelled_candidates"} & set(again)


def ranker_is_made(platform: Ticks, *, gate: bool, approved: bool) -> None:
    for step in ("training_set", "model", "evaluation"):
        platform.made(RANKER + step)
    platform.checked(RANKER + "evaluation", "gate", gate)
    platform.made(RANKER + "model_version")
    platform.checked(RANKER + "model_version", "approved", approved)
    for step in ("qa_endpoint", "qa_report"):
        platform.made(RANKER + step)
    platform.checked(RANKER + "qa_report", "same_bytes", PASSED)


@pytest.mark.parametrize(
    ("gate", "approved", "wanted"),
    [(PASSED, PASSED, [RANKER + "live_endpoint"]), (FAILED, PASSED, []), (PASSED, FAILED, [])],
)
def test_on_the_real_graph_only_a_model_that_passed_and_was_approved_is_asked_for(platform, gate, approved, wanted):
    platform.made("listings", "knowledge_graph", "candidate_index", "labelled_candidates")
    ranker_is_made(platform, gate=gate, approved=approved)
    assert platform.tick() == wanted
    assert platform.tick() == []


def test_on_the_real_graph_a_failed_gate_stops_the_project_behind_the_evaluation(platform):
    platform.made("listings", "knowledge_graph", "candidate_index", "labelled_candidates")
    for step in ("training_set", "model", "evaluation"):
        platform.made(RANKER + step)
    platform.checked(RANKER + "evaluation", "gate", FAILED)
    assert platform.tick() == []


def test_on_the_real_graph_days_are_started_by_sensors_and_never_by_conditions(platform):
    platform.instance.add_dynamic_partitions("source_day", ["edgar:2026-03-02"])
    event = dg.AssetMaterialization("filings", partition="edgar:2026-03-02")
    platform.instance.report_runless_asset_event(event)
    assert platform.tick() == []
