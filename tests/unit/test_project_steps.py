"""The steps of a model project over fake ports: evaluation, registration and QA, and what they make of bad reports."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pyarrow as pa
import pytest

from ledgerline.errors import LedgerlineError, PermanentFailure
from ledgerline.projects.batch import answer_rows
from ledgerline.projects.datasets import to_parquet
from ledgerline.projects.pipeline import (
    Pipeline,
    StoredDataset,
    TrainedModel,
    compare,
    evaluate,
    put_on_qa,
    recorded_evaluation,
    register,
)
from ledgerline.projects.review import store_qa_page
from ledgerline.release.approvals import AUTOMATIC_APPROVER
from ledgerline.release.deploy import deploy_release
from ledgerline.release.digest import model_digest, pack_files
from ledgerline.release.releases import Candidate, EndpointDeleted, approvals, deployable, latest_candidate
from tests.unit.release_fakes import CONFIG, World

LABELLED = CONFIG.replace("columns: [group, as_of, x]", "columns: [group, as_of, x, label], label_column: label")


def training_set(world: World) -> StoredDataset:
    """In the object store: 40 rows of which `x` tells the label."""
    answers = [0, 1] * 20
    rows = pa.table(
        {"group": [f"g{n}" for n in range(40)], "as_of": ["2020-01-01"] * 40, "x": answers, "label": answers}
    )
    body = to_parquet(rows)
    dataset = StoredDataset("examples", 3, 40, hashlib.sha256(body).hexdigest(), "s3://test/dataset.parquet")
    world.objects.put(dataset.uri, body)
    return dataset


def pipeline_of(world: World) -> Pipeline:
    return Pipeline(
        world.project, world.objects, world.platform, world.ledger, world.clock, world.said.append, run="run-1"
    )


def trained(world: World, name: str, accuracy: float = 0.95) -> TrainedModel:
    """A model in the object store, with the accuracy that the fake evaluation will report of it."""
    body = pack_files({"model.txt": name.encode()})
    digest = model_digest(body)
    uri = pipeline_of(world).uri("models", digest, "model.tar.gz")
    world.objects.put(uri, body)
    world.objects.put(uri.replace("model.tar.gz", "accuracy"), json.dumps(accuracy).encode())
    return TrainedModel(digest, uri, "s3://test/rows", "rows", "job-1", "c" * 64)


def candidate_of(world: World, name: str):
    """A candidate that was evaluated and registered by the steps themselves, and stands on QA."""
    pipeline, model = pipeline_of(world), trained(world, name)
    evaluation = evaluate(pipeline, model)
    candidate = register(pipeline, training_set(world), model, evaluation)
    put_on_qa(pipeline, candidate)
    return candidate


def test_a_candidate_is_compared_although_the_live_endpoint_was_deleted_as_idle(tmp_path):
    world = World(tmp_path)
    live = candidate_of(world, "live")
    compare(pipeline_of(world), live)
    world.decide(live)
    deploy_release(world.deployer(), actor="test", pins={})
    world.ledger.append(
        EndpointDeleted(
            project="demo",
            endpoint="demo",
            role="live",
            model_digest=live.model_digest,
            reason="idle",
            at=world.clock(),
        )
    )
    world.platform.delete_endpoint("demo")
    candidate = candidate_of(world, "next")
    found = compare(pipeline_of(world), candidate)
    assert (found.served_digest, found.live_digest) == (candidate.model_digest, None)
    _, page = store_qa_page(pipeline_of(world), candidate, found)
    assert b"No live endpoint answers" in page


def test_an_answer_that_is_no_text_is_compared_all_the_same(tmp_path):
    world = World(tmp_path)
    candidate = candidate_of(world, "a")
    world.platform.answer = b"\xff\x00"
    assert compare(pipeline_of(world), candidate).comparisons[0].qa == "\\xff\x00"


def test_the_live_model_is_measured_again_once_the_project_measures_otherwise(tmp_path):
    world = World(tmp_path)
    live = candidate_of(world, "live")
    compare(pipeline_of(world), live)
    world.decide(live)
    deploy_release(world.deployer(), actor="test", pins={})
    (world.folder / "evaluation.py").write_text("# counts another thing as right\n")
    world.write_config(CONFIG)
    world.objects.put(live.model_uri.replace("model.tar.gz", "accuracy"), b"0.99")
    found = evaluate(pipeline_of(world), trained(world, "next", accuracy=0.91))
    assert found.live.metrics == {"accuracy": 0.99}
    assert not found.verdict.passed  # 0.91 is within 0.05 of what live got by the old code


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"metrics": [0.9]}, "`metrics` is list"),
        ({"metrics": {"accuracy": "0.9"}}, "metrics.accuracy is '0.9'"),
        ({"metrics": {"accuracy": True}}, "metrics.accuracy is True"),
        ({"metrics": {"accuracy": 1.0}, "slices": {"kind": {"a": [1]}}}, "`slices.kind.a` is list"),
        ({"metrics": {"accuracy": 1.0}, "slices": {"kind": {"a": {"rows": "many"}}}}, "slices.kind.a.rows is 'many'"),
    ],
)
def test_a_report_of_another_shape_is_refused_by_the_place_that_is_wrong(tmp_path, report, said):
    world = World(tmp_path)
    world.platform.report = report
    with pytest.raises(LedgerlineError, match=r"evaluation\.json of demo") as error:
        evaluate(pipeline_of(world), trained(world, "a"))
    assert said in str(error.value)


def test_the_page_judges_the_size_as_the_gate_does(tmp_path):
    world = World(tmp_path, CONFIG.replace("gate: {", "gate: {max_size_mb: 1, "))
    candidate = candidate_of(world, "a")
    _, page = store_qa_page(pipeline_of(world), candidate, compare(pipeline_of(world), candidate))
    assert b"passed 3 of 3 rules" in page


def test_an_automatic_approval_that_expired_is_given_again_when_the_gate_passes_again(tmp_path):
    config = CONFIG.replace("manual", "automatic").replace("expires_days: null", "expires_days: 30")
    world = World(tmp_path, config)
    compare(pipeline_of(world), candidate_of(world, "a"))
    world.now += timedelta(days=31)
    assert deployable(world.records(), world.project.policy, world.now) is None
    model = trained(world, "a")
    evaluation = recorded_evaluation(pipeline_of(world), model, latest_candidate(world.records()).requests_uri)
    for _ in range(2):  # once is enough
        register(pipeline_of(world), training_set(world), model, evaluation)
    assert deployable(world.records(), world.project.policy, world.now) is not None
    assert [found.approver for found in approvals(world.records())] == [AUTOMATIC_APPROVER] * 2


def test_a_model_that_was_trained_while_the_leak_gate_was_off_is_not_registered_when_it_is_on_again(tmp_path):
    world = World(tmp_path, LABELLED.replace("gate: {", "gate: {max_single_feature_score: 1, "))
    candidate_of(world, "while it is off")
    world.write_config(LABELLED)
    with pytest.raises(PermanentFailure, match="x: alone it tells label"):
        candidate_of(world, "while it was off")
    assert len([row for row in world.records() if isinstance(row, Candidate)]) == 1


def test_an_answer_may_hold_any_letter_that_json_allows(tmp_path):
    world = World(tmp_path)
    world.decide(candidate := world.candidate("a"))
    release = deploy_release(world.deployer(), actor="test", pins={}).release
    assert release.model_digest == candidate.model_digest
    rows = pa.table({"key": [1, 2]})
    body = '"a\u2028b\u0085c"\n"d"\n'.encode()
    found = answer_rows(rows, ["key"], body, release, world.now)
    assert [json.loads(text) for text in found["answer"].to_pylist()] == ["a\u2028b\u0085c", "d"]
