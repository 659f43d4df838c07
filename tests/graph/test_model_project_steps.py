"""Tuning, batch predictions, dataset versions and the leak gate as assets, over fake ports."""

from __future__ import annotations

import json

import dagster as dg
import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError
from ledgerline.projects.tuning import TunedHyperparameters, chosen_hyperparameters
from ledgerline.release.releases import latest_candidate
from tests.graph.test_model_project_component import Graph, check, failures, materialized, world_on_disk
from tests.unit.release_fakes import CONFIG

TUNED = (
    CONFIG
    + "hyperparameters: {rate: 0.1, depth: 3}\ntuning: {metric: accuracy, ranges: {rate: {values: [0.2, 0.4]}}}\n"
)
BATCH = """\
batch_transform:
  {table: examples, columns: [group, as_of, x], key: [group], output_table: answers}
"""


class VersionedLake:
    """Tables in memory with all their versions; `merge` as the lake's, for small tables."""

    def __init__(self) -> None:
        self.tables = {
            "examples": [pa.table({"group": ["b", "a"], "as_of": ["2020-01-02", "2020-01-01"], "x": [1, 2]})]
        }

    def version(self, table: str) -> int | None:
        return len(self.tables[table]) - 1 if table in self.tables else None

    def read(self, table: str, *, columns=None, where=None, version=None) -> pa.Table:
        versions = self.tables[table]
        if version is not None and (version >= len(versions) or versions[version] is None):
            raise LedgerlineError(f"table {table} has no version {version} any more")
        return versions[-1 if version is None else version].select(columns or versions[-1].column_names)

    def merge(self, table: str, rows: pa.Table, *, keys):
        from ledgerline.ports import LakeWrite

        before = {
            tuple(row[key] for key in keys): row
            for row in (self.tables.get(table) or [rows.slice(0, 0)])[-1].to_pylist()
        }
        after = {tuple(row[key] for key in keys): row for row in rows.to_pylist()}
        new = sum(key not in before for key in after)
        changed = sum(key in before and before[key] != row for key, row in after.items())
        if new or changed:
            self.tables.setdefault(table, []).append(pa.Table.from_pylist([*{**before, **after}.values()], rows.schema))
        return LakeWrite(table, len(self.tables[table]) - 1, new, changed)


class GraphWithLake(Graph):
    """The graph over a lake with versions; `materialize` takes run config."""

    def __init__(self, world) -> None:
        self.lake = VersionedLake()
        super().__init__(world)

    def load(self) -> None:
        super().load()
        self.defs.resources["lake"] = self.lake

    def materialize_with(self, config: dict, *steps: str) -> dg.ExecuteInProcessResult:
        ops = {f"demo__{step}": {"config": values} for step, values in config.items()}
        return self.defs.resolve_job_def("all_of_it").execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(["demo", step]) for step in steps],
            run_config={"ops": ops}, raise_on_error=False,
        )  # fmt: skip


def graph_of(tmp_path, config: str) -> GraphWithLake:
    return GraphWithLake(world_on_disk(tmp_path, config))


def metadata(result: dg.ExecuteInProcessResult, step: str) -> dict:
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key.path[-1] == step]
    return event.materialization.metadata


# Tuning --------------------------------------------------------------------------------------------------------------


def test_the_model_is_trained_with_the_values_that_were_found_over_those_of_config_yaml(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    result = graph.materialize("training_set", "tuned_hyperparameters", "model")
    assert result.success
    assert "tuned accuracy maximize=True on ['train', 'validation']" in graph.world.platform.jobs
    assert graph.world.platform.jobs[-1] == "trained with {'rate': 0.4, 'depth': 3}"
    assert metadata(result, "model")["tuned values"].value == "found on this data and code"
    found = metadata(result, "tuned_hyperparameters")
    assert [row.data["accuracy"] for row in found["trials"].records] == [0.8, 0.81]
    assert found["search"].value.startswith("![accuracy of each trial](data:image/png")
    assert found["ledgerline/dataset_digest"].value == metadata(result, "training_set")["ledgerline/digest"].value


def test_the_experiment_keeps_the_best_values_and_every_trial(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    graph.materialize("training_set", "tuned_hyperparameters")
    ((_, run),) = graph.experiments.runs
    assert (run.logged["tuned.rate"], run.logged["tuned.accuracy"]) == (0.4, 0.81)
    assert [trial["values"] for trial in json.loads(run.logged["trials.json"])] == [{"rate": 0.2}, {"rate": 0.4}]


def test_a_candidate_names_the_training_set_of_its_model_although_a_newer_one_was_made_meanwhile(tmp_path):
    graph = graph_of(tmp_path, CONFIG)
    made = metadata(graph.materialize("training_set", "model", "evaluation"), "training_set")
    graph.lake.tables["examples"].append(pa.table({"group": ["c"], "as_of": ["2021-01-01"], "x": [3]}))
    newer = metadata(graph.materialize("training_set"), "training_set")
    assert graph.materialize("model_version").success
    candidate = latest_candidate(graph.world.records())
    assert newer["ledgerline/digest"].value != candidate.dataset_digest == made["ledgerline/digest"].value
    assert candidate.dataset_version == made["ledgerline/version"].value == 0


def test_a_training_on_other_data_says_that_its_values_were_found_on_other_data(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    graph.materialize("training_set", "tuned_hyperparameters")
    graph.lake.tables["examples"].append(pa.table({"group": ["c"], "as_of": ["2021-01-01"], "x": [3]}))
    result = graph.materialize("training_set", "model")
    assert metadata(result, "model")["tuned values"].value.startswith("found on other data (")


def test_a_value_that_was_found_for_what_is_no_longer_searched_gives_way_to_config_yaml(tmp_path):
    project = world_on_disk(tmp_path, TUNED).project
    found = TunedHyperparameters({"rate": 0.4, "depth": 9}, "accuracy", 0.9, "d", "c", "tuning-1")
    assert chosen_hyperparameters(project, found, {}) == {"rate": 0.4, "depth": 3}  # depth is in no range


def test_without_a_search_the_model_of_a_tuned_project_names_the_asset_to_materialize(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    message, _, _ = failures(graph.materialize("training_set", "model"))["demo__model"]
    assert message.startswith("demo/tuned_hyperparameters was never materialized")


def test_one_run_of_the_model_alone_takes_hyperparameters_of_its_own(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    graph.materialize("training_set", "tuned_hyperparameters")
    result = graph.materialize_with({"model": {"hyperparameters": {"depth": 9}}}, "model")
    assert result.success
    assert graph.world.platform.jobs[-1] == "trained with {'rate': 0.4, 'depth': 9}"
    assert metadata(result, "model")["of this run only"].value == {"depth": 9}
    wrong = graph.materialize_with({"model": {"hyperparameters": {"dept": 9}}}, "model")
    assert "no hyperparameter `dept`; did you mean `depth`?" in failures(wrong)["demo__model"][0]


def test_a_search_that_fails_fails_the_asset_for_good(tmp_path):
    graph = graph_of(tmp_path, TUNED)
    graph.world.platform.faults = ["tuning"]
    result = graph.materialize("training_set", "tuned_hyperparameters")
    assert "ended as Failed: no metric" in failures(result)["demo__tuned_hyperparameters"][0]
    assert graph.instance.get_run_by_id(result.run_id).tags["dagster/max_retries"] == "0"


# Dataset versions ----------------------------------------------------------------------------------------------------


def test_a_model_s_very_dataset_is_made_again_from_its_recorded_version_and_from_its_bytes(tmp_path):
    graph = graph_of(tmp_path, CONFIG)
    first = metadata(graph.materialize("training_set"), "training_set")["ledgerline/digest"].value
    graph.lake.tables["examples"].append(pa.table({"group": ["c"], "as_of": ["2021-01-01"], "x": [3]}))
    assert metadata(graph.materialize("training_set"), "training_set")["ledgerline/digest"].value != first

    again = metadata(graph.materialize_with({"training_set": {"version": 0}}, "training_set"), "training_set")
    assert (again["ledgerline/digest"].value, again["ledgerline/version"].value) == (first, 0)

    graph.lake.tables["examples"][0] = None  # vacuumed
    gone = graph.materialize_with({"training_set": {"version": 0}}, "training_set")
    assert "has no version 0" in failures(gone)["demo__training_set"][0]
    kept = graph.materialize_with({"training_set": {"version": 0, "digest": first}}, "training_set")
    assert metadata(kept, "training_set")["ledgerline/digest"].value == first
    unknown = graph.materialize_with({"training_set": {"version": 0, "digest": "f" * 64}}, "training_set")
    assert "is not kept" in failures(unknown)["demo__training_set"][0]


# The leak gate -------------------------------------------------------------------------------------------------------

LEAKING = CONFIG.replace("time_column: as_of", "time_column: as_of, available: {x: known_at}").replace(
    "[group, as_of, x]", "[group, as_of, x, known_at]"
)


def test_a_leak_fails_the_blocking_check_and_stops_what_comes_after_it(tmp_path):
    graph = graph_of(tmp_path, LEAKING)
    graph.lake.tables["examples"] = [
        pa.table({"group": ["a"], "as_of": ["2020-01-01"], "x": [1], "known_at": ["2020-01-05"]})
    ]
    result = graph.materialize()
    leak = check(result, "no_leak")
    assert (leak.passed, leak.blocking) == (False, True)
    assert "x: 1 of 1 rows hold a value that was not knowable at as_of" in leak.description
    assert "Take the column out of dataset.columns" in leak.description
    assert materialized(result) == {"training_set"}
    alone = graph.materialize("model")  # around the check: the code refuses by itself
    assert "leaks what is not known in time" in failures(alone)["demo__model"][0]
    assert graph.world.platform.jobs == []


def test_a_training_set_whose_bytes_were_changed_is_not_trained_on(tmp_path):
    graph = graph_of(tmp_path, CONFIG)
    graph.materialize("training_set")
    (uri,) = graph.world.objects.list("s3://test/projects/demo/training_sets/")
    graph.world.objects.put(uri, b"other")
    assert "was changed since it was stored" in failures(graph.materialize("model"))["demo__model"][0]


# Batch predictions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def live(tmp_path) -> GraphWithLake:
    graph = graph_of(tmp_path, CONFIG.replace("approval: manual", "approval: automatic") + BATCH)
    assert graph.materialize().success
    return graph


def test_every_row_is_answered_once_with_its_key_and_the_live_model_and_again_nothing_changes(live):
    result = live.materialize("batch_predictions")
    assert result.success
    rows = live.lake.read("answers").to_pylist()
    assert [row["group"] for row in rows] == ["a", "b"]
    assert {row["model_digest"] for row in rows} == {live.world.platform.serves()}
    request = next(
        uri for uri in live.world.objects.list("s3://test/projects/demo/runs/") if uri.endswith("rows.jsonl")
    )
    sent = [json.loads(line) for line in live.world.objects.get(request).splitlines()]
    assert sent == [{"group": "a", "as_of": "2020-01-01", "x": 2}, {"group": "b", "as_of": "2020-01-02", "x": 1}]
    again = live.materialize("batch_predictions")
    assert metadata(again, "batch_predictions")["new answers"].value == 0
    assert metadata(again, "batch_predictions")["changed answers"].value == 0
    assert live.lake.read("answers").to_pylist() == rows
    assert len(live.lake.tables["answers"]) == 1


def test_a_new_row_is_answered_and_the_old_ones_keep_their_time(live):
    live.materialize("batch_predictions")
    before = {row["group"]: row["as_of"] for row in live.lake.read("answers").to_pylist()}
    rows = live.lake.read("examples")
    live.lake.tables["examples"].append(
        pa.concat_tables([rows, pa.table({"group": ["c"], "as_of": ["2021-01-01"], "x": [3]})])
    )
    result = live.materialize("batch_predictions")
    assert (metadata(result, "batch_predictions")["new answers"].value) == 1
    after = {row["group"]: row["as_of"] for row in live.lake.read("answers").to_pylist()}
    assert {group: after[group] for group in before} == before
    assert after["c"] > before["a"]


@pytest.mark.parametrize(
    ("fault", "said"), [("one answer lost", "answered 2 rows with 1 lines"), ("no JSON", "Answer 1 of the batch")]
)
def test_answers_that_cannot_be_told_apart_are_refused_and_nothing_is_kept(live, fault, said):
    live.world.platform.faults = [fault]
    assert said in failures(live.materialize("batch_predictions"))["demo__batch_predictions"][0]
    assert "answers" not in live.lake.tables


def test_rows_with_one_key_are_refused(live):
    live.lake.tables["examples"].append(pa.table({"group": ["a", "a"], "as_of": ["2020-01-01"] * 2, "x": [1, 2]}))
    assert (
        "some rows have the same key" in failures(live.materialize("batch_predictions"))["demo__batch_predictions"][0]
    )


def test_nothing_live_is_refused_by_rule(tmp_path):
    graph = graph_of(tmp_path, CONFIG + BATCH)
    message, rule, _ = failures(graph.materialize("batch_predictions"))["demo__batch_predictions"]
    assert rule == "registered"
    assert "nothing of demo is live" in message


def test_another_model_going_live_asks_for_predictions_and_a_change_of_the_table_does_not(live):
    key = dg.AssetKey(["demo", "batch_predictions"])
    live.materialize("batch_predictions")
    tick = dg.evaluate_automation_conditions(defs=live.defs, instance=live.instance)
    live.world.platform.weights = b"others"
    live.materialize()
    tick = dg.evaluate_automation_conditions(defs=live.defs, instance=live.instance, cursor=tick.cursor)
    assert tick.get_num_requested(key) == 1
