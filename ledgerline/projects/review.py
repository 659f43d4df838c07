"""What a reviewer gets of a candidate, as a page made of what the ledger and the object store have: at its evaluation, and
with the answers of QA."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ledgerline.projects.comparison import Compared, compared_models, known_data
from ledgerline.projects.pipeline import QA_REQUESTS, Evaluation, Pipeline, QaReport, TrainedModel
from ledgerline.projects.qa_page import QaPage, qa_page
from ledgerline.release.approvals import describe_decisions, standing_approvals
from ledgerline.release.deploy import measured_size, recorded_reports
from ledgerline.release.gate import judge
from ledgerline.release.releases import Candidate, approvals, approve_command, current_release


def evaluation_page(pipeline: Pipeline, trained: TrainedModel, found: Evaluation, models: Sequence[Compared]) -> bytes:
    """The page of an evaluation, also of a model that its gate refuses and that QA never serves."""
    records, project = pipeline.records(), pipeline.project
    live = current_release(records)
    page = QaPage(
        project=project.name,
        description=project.config.description,
        owner=project.config.owner,
        at=pipeline.clock(),
        verdict=found.verdict,
        models=models,
        digests={
            "model": trained.model_digest,
            "live model": live.model_digest if live else "nothing is live",
            "report": found.report.digest,
            "test rows": trained.data_digest,
            "policy": project.policy.digest,
            "training job": trained.training_job,
        },
        known=known_data(records, pipeline.objects, found.report),
        live_digest=live.model_digest if live else None,
    )
    return qa_page(page).encode()


def store_qa_page(pipeline: Pipeline, candidate: Candidate, found: QaReport) -> tuple[str, bytes]:
    """The URI and the bytes of the page. Raises GateRefusal where the candidate's report was changed."""
    records, project = pipeline.records(), pipeline.project
    report, live = recorded_reports(project, candidate, records, pipeline.objects)
    approved = standing_approvals(
        approvals(records),
        model_digest=candidate.model_digest,
        report_digest=candidate.report_digest,
        policy_digest=candidate.policy_digest,
    )
    page = QaPage(
        project=project.name,
        description=project.config.description,
        owner=project.config.owner,
        at=pipeline.clock(),
        verdict=judge(
            report,
            project.policy,
            live,
            size_bytes=measured_size(project.policy, pipeline.objects, candidate.model_uri),
        ),
        models=compared_models(records, pipeline.objects, report),
        digests={
            "model": candidate.model_digest,
            "served by QA": found.served_digest,
            "live model": found.live_digest or "no live endpoint answers",
            "report": candidate.report_digest,
            "test rows": candidate.data_digest,
            "training set": candidate.dataset_digest,
            "lake table": f"{candidate.dataset_table}@{candidate.dataset_version}",
            "policy": candidate.policy_digest,
            "training job": candidate.training_job,
            "package": candidate.package_arn,
        },
        approve="" if len(approved) > project.policy.four_eyes else approve_command(candidate),
        decisions=describe_decisions(approvals(records), candidate.model_digest),
        known=known_data(records, pipeline.objects, report),
        live_digest=found.live_digest,
        comparisons=found.comparisons,
        requests=pipeline.objects.get(candidate.requests_uri).splitlines()[:QA_REQUESTS],
    )
    body = qa_page(page).encode()
    uri = pipeline.uri("qa_reports", candidate.model_digest, f"{hashlib.sha256(body).hexdigest()}.html")
    pipeline.objects.put(uri, body)
    return uri, body
