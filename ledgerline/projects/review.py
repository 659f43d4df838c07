"""What a reviewer gets of a candidate: the QA page, made of what the ledger and the object store have, and kept there."""

from __future__ import annotations

import hashlib

from ledgerline.projects.comparison import compared_models, known_data
from ledgerline.projects.pipeline import QA_REQUESTS, Pipeline, QaReport
from ledgerline.projects.qa_page import QaPage, qa_page
from ledgerline.release.approvals import describe_decisions, standing_approvals
from ledgerline.release.deploy import recorded_reports
from ledgerline.release.gate import judge
from ledgerline.release.releases import Candidate, approvals, approve_command


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
        verdict=judge(report, project.policy, live),
        models=compared_models(records, pipeline.objects, report),
        digests={
            "model": candidate.model_digest,
            "served by QA": found.served_digest,
            "live model": found.live_digest or "nothing is live",
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
