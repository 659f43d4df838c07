"""HOW the world is reached: one port per module, and `build_resources`, the only place that chooses implementations."""

from __future__ import annotations

from typing import Any

from resources.environment import ROOT, Settings, read_settings


def build_resources(environment: str | None = None, *, settings: Settings | None = None) -> dict[str, Any]:
    """All resources by the name under which assets ask for them. No I/O, no network, no AWS variable is needed for it.

    `local` is the embedded platform; `branch` and `prod` keep their objects on S3 and train and serve on AWS SageMaker,
    each under names of its own. Raises ConfigurationError for an unknown environment or a setting that is missing.
    """
    chosen = settings or read_settings(environment)
    return _embedded(chosen) | (_aws(chosen) if chosen.environment != "local" else {})


def _embedded(settings: Settings) -> dict[str, Any]:
    from dagster import EnvVar

    from resources.candidate_index import TantivyCandidateIndex
    from resources.experiments import MlflowExperiments
    from resources.filing_ledger import SqlFilingLedger
    from resources.knowledge_graph import SqliteKnowledgeGraph
    from resources.lake import DeltaLake
    from resources.listings import BundledListings, RegulatorListings
    from resources.notifier import LogNotifier
    from resources.object_store import DirectoryObjectStore
    from resources.regulators import RegulatorSet
    from resources.release_ledger import SqlReleaseLedger
    from resources.sagemaker import SageMaker
    from resources.sample_archive import SampleRegulators

    filing_ledger = SqlFilingLedger(url=settings.database_url)
    object_store = DirectoryObjectStore(root=str(settings.objects), bucket=settings.bucket)
    regulators = (RegulatorSet if settings.archive else SampleRegulators)(
        ledger=filing_ledger,
        archive=str(settings.archive or settings.sample_archive),
        # A folder that is named replaces the regulators' servers.
        edgar_user_agent=EnvVar("EDGAR_USER_AGENT") if settings.edgar_over_http and not settings.archive else None,
        dart_api_key=EnvVar("DART_API_KEY") if settings.dart_over_http and not settings.archive else None,
    )
    bundled = BundledListings(root=str(ROOT / "sample" / "facts"))
    listings = RegulatorListings(bundled=bundled, regulators=regulators, object_store=object_store)
    over_http = (settings.edgar_over_http or settings.dart_over_http) and not settings.archive
    return {
        "listings_source": listings if over_http else bundled,
        "regulators": regulators,
        "filing_ledger": filing_ledger,
        "object_store": object_store,
        "lake": DeltaLake(root=str(settings.lake)),
        "candidate_index_store": TantivyCandidateIndex(root=str(settings.home / "candidate_index")),
        "knowledge_graph_store": SqliteKnowledgeGraph(root=str(settings.home / "knowledge_graph")),
        "sagemaker": SageMaker(
            object_store=object_store,
            bucket=settings.bucket,
            region=settings.region,
            local_home=str(settings.home / "sagemaker"),
            local_object_root=str(settings.objects),
            poll_seconds=0.2,
        ),
        "release_ledger": SqlReleaseLedger(database_url=settings.database_url),
        "experiments": MlflowExperiments(
            tracking_uri=f"sqlite:///{settings.home / 'mlflow.db'}", artifact_uri=(settings.home / "mlflow").as_uri()
        ),
        "notifier": LogNotifier(state_path=str(settings.home / "alerts.db")),
    }


def _aws(settings: Settings) -> dict[str, Any]:
    """What differs from the embedded platform on AWS. Search index, graph and ledgers stay embedded until their ports
    have a production implementation; a team then shares them through one volume."""
    from dagster import EnvVar

    from resources.notifier import SlackNotifier
    from resources.object_store import S3ObjectStore
    from resources.sagemaker import SageMaker

    object_store = S3ObjectStore(bucket=settings.required_bucket, region=settings.region)
    return {
        "object_store": object_store,
        "sagemaker": SageMaker(
            object_store=object_store,
            bucket=settings.required_bucket,
            region=settings.region,
            prefix=f"ledgerline-{settings.environment}",
            role_arn=settings.required_role,
            image=settings.required_image,
        ),
    } | ({"notifier": SlackNotifier(token=EnvVar("SLACK_BOT_TOKEN"))} if settings.slack else {})
