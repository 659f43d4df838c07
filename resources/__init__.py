"""HOW the world is reached: one port per module, and `build_resources`, the only place that chooses implementations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resources.environment import ROOT, Settings, read_settings


def build_resources(environment: str | None = None, *, settings: Settings | None = None) -> dict[str, Any]:
    """All resources by the name under which assets ask for them. No I/O, no network, no AWS variable is needed for it.

    `local` is the embedded platform; `branch` and `prod` keep objects and lake on S3 and train and serve on AWS SageMaker,
    each under names of its own (`scope.py`), and may run batches on ECS. In any of them the ledgers are on PostgreSQL where
    LEDGERLINE_DATABASE_URL is set, the graph is on Neptune where NEPTUNE_ENDPOINT is, the search on OpenSearch where
    OPENSEARCH_URL is, experiments on MLflow where MLFLOW_TRACKING_URI is. `local` too keeps objects and lake on S3 where
    AWS_ENDPOINT_URL_S3 names a server and LEDGERLINE_BUCKET a bucket on it. Raises ConfigurationError for an unknown
    environment or a setting that is missing.
    """
    chosen = settings or read_settings(environment)
    object_store = _object_store(chosen)
    aws = _aws(chosen, object_store) if chosen.environment != "local" else {}
    made = _embedded(chosen, object_store) | {"compute": _compute(chosen)} | aws
    return made | {"branch_state": _branch_state(chosen, made)}


def delivered_projects_folder(environment: str | None = None) -> Path:
    """Where model projects lie that were put into the object store. Raises ConfigurationError as `build_resources`."""
    return read_settings(environment).delivered_projects


def webserver_url(environment: str | None = None) -> str:
    """Where Dagster's webserver is, "" where that is not said. Raises ConfigurationError as `build_resources`."""
    return read_settings(environment).webserver_url


def _object_store(settings: Settings) -> Any:
    from resources.object_store import DirectoryObjectStore, S3ObjectStore

    if not settings.on_s3:
        return DirectoryObjectStore(root=str(settings.objects), bucket=settings.bucket)
    return S3ObjectStore(
        bucket=settings.required_bucket,
        prefix=settings.object_prefix,
        region=settings.region,
        endpoint_url=settings.s3_endpoint or None,
        kms_key_id=settings.kms_key_id,
        kms_bucket_key=settings.kms_bucket_key,
    )


def _lake(settings: Settings) -> Any:
    from resources.lake import DeltaLake, s3_options

    if not settings.on_s3:
        return DeltaLake(root=settings.lake)
    options = s3_options(region=settings.region, kms_key_id=settings.kms_key_id, kms_bucket_key=settings.kms_bucket_key)
    if settings.s3_endpoint:  # delta-rs and Arrow refuse plain HTTP unless they are told
        plain = "true" if settings.s3_endpoint.startswith("http://") else "false"
        options |= {"AWS_ENDPOINT_URL": settings.s3_endpoint, "AWS_ALLOW_HTTP": plain}
    return DeltaLake(root=settings.lake, storage_options=options)


def _branch_state(settings: Settings, made: dict[str, Any]) -> Any:
    from resources.branch_state import BranchState

    return BranchState(
        environment=settings.environment,
        scope=settings.scope,
        sagemaker=made["sagemaker"],
        candidate_index=made["candidate_index_store"],
        knowledge_graph=made["knowledge_graph_store"],
        ledger=made["filing_ledger"],
        object_store=made["object_store"],
    )


def _compute(settings: Settings) -> Any:
    from resources.compute import EcsCompute, SubprocessCompute

    parallel: dict[str, Any] = {"parallel": settings.compute_parallel} if settings.compute_parallel else {}
    if settings.compute == "subprocess":
        return SubprocessCompute(**parallel)
    if settings.compute == "ray":
        from resources.ray_compute import RayCompute

        return RayCompute(address=settings.ray_address, **parallel)
    settings.require_ecs()
    return EcsCompute(
        region=settings.region,
        cluster=settings.ecs_cluster,
        task_definition=settings.ecs_task_definition,
        container=settings.ecs_container,
        subnets=list(settings.ecs_subnets),
        security_groups=list(settings.ecs_security_groups),
        **parallel,
    )


def _candidate_index(settings: Settings) -> Any:
    from resources.candidate_index import TantivyCandidateIndex
    from resources.opensearch_index import OpenSearchCandidateIndex

    if not settings.opensearch_url:
        return TantivyCandidateIndex(root=str(settings.home / "candidate_index"))
    return OpenSearchCandidateIndex(
        url=settings.opensearch_url,
        prefix=settings.scope,
        service=settings.opensearch_service,
        region=settings.region,
        nori=settings.opensearch_nori,
    )


def _regulators(settings: Settings, ledger: Any, object_store: Any) -> Any:
    """The archive that is named, which replaces the regulators' servers; else those; else the sample archive."""
    from dagster import EnvVar

    from resources.archive_mirror import MirroredRegulators
    from resources.regulators import RegulatorSet
    from resources.sample_archive import SampleRegulators

    if isinstance(settings.archive, str):
        return MirroredRegulators(
            ledger=ledger,
            object_store=object_store,
            archive=str(settings.archive_mirror),
            archive_uri=settings.archive,
        )
    if settings.archive:
        return RegulatorSet(ledger=ledger, archive=str(settings.archive))
    return SampleRegulators(
        ledger=ledger,
        archive=str(settings.sample_archive),
        edgar_user_agent=EnvVar("EDGAR_USER_AGENT") if settings.edgar_over_http else None,
        dart_api_key=EnvVar("DART_API_KEY") if settings.dart_over_http else None,
        edgar_url=settings.edgar_url,
        dart_url=settings.dart_url,
        edgar_per_second=settings.edgar_per_second,
    )


def _knowledge_graph(settings: Settings, object_store: Any) -> Any:
    """On Neptune where an endpoint is named, each environment in a namespace of its own; else a file per version."""
    from resources.knowledge_graph import SqliteKnowledgeGraph
    from resources.neptune_graph import NeptuneKnowledgeGraph

    if not settings.neptune_endpoint:
        return SqliteKnowledgeGraph(root=str(settings.home / "knowledge_graph"))
    return NeptuneKnowledgeGraph(
        endpoint=settings.neptune_endpoint,
        region=settings.region,
        namespace=settings.scope,
        iam=settings.neptune_iam,
        loader_role_arn=settings.neptune_loader_role,
        object_store=object_store,
    )


def _engine(settings: Settings) -> Any:
    from resources.engine import OneProcessEngine, RayEngine

    return RayEngine(address=settings.ray_address) if settings.engine == "ray" else OneProcessEngine()


def _sql_source(settings: Settings) -> Any:
    from dagster import EnvVar

    from resources.sql_source import SqlSource

    url: Any = EnvVar("LEDGERLINE_SQL_URL") if settings.sql else ""
    return SqlSource(url=url, tables_file=settings.sql_tables, query_seconds=settings.sql_seconds)


def _experiments(settings: Settings, object_store: Any) -> Any:
    from resources.experiments import MlflowExperiments

    if settings.mlflow_url:
        return MlflowExperiments(tracking_uri=settings.mlflow_url, object_store=object_store)
    return MlflowExperiments(
        tracking_uri=f"sqlite:///{settings.home / 'mlflow.db'}",
        artifact_uri=(settings.home / "mlflow").as_uri(),
        object_store=object_store,
    )


def _embedded(settings: Settings, object_store: Any) -> dict[str, Any]:
    from dagster import EnvVar

    from resources.filing_ledger import SqlFilingLedger
    from resources.listings import BundledListings, RegulatorListings, SqlListings
    from resources.notifier import LogNotifier
    from resources.release_ledger import SqlReleaseLedger
    from resources.sagemaker import SageMaker

    password = EnvVar("LEDGERLINE_DATABASE_PASSWORD") if settings.database_password else None
    filing_ledger = SqlFilingLedger(
        url=settings.database_url, password=password, branch_schema=settings.database_schema
    )
    regulators = _regulators(settings, filing_ledger, object_store)
    bundled = BundledListings(root=str(ROOT / "sample" / "facts"))
    listings = RegulatorListings(bundled=bundled, regulators=regulators, object_store=object_store)
    sql = _sql_source(settings)
    over_http = (settings.edgar_over_http or settings.dart_over_http) and not settings.archive
    return {
        "listings_source": SqlListings(source=sql) if settings.sql_listings else listings if over_http else bundled,
        "sql_source": sql,
        "engine": _engine(settings),
        "regulators": regulators,
        "filing_ledger": filing_ledger,
        "object_store": object_store,
        "lake": _lake(settings),
        "candidate_index_store": _candidate_index(settings),
        "knowledge_graph_store": _knowledge_graph(settings, object_store),
        "sagemaker": SageMaker(
            object_store=object_store,
            region=settings.region,
            local_home=str(settings.home / "sagemaker"),
            local_object_root=settings.s3_endpoint if settings.on_s3 else str(settings.objects),
            poll_seconds=0.2,
        ),
        "release_ledger": SqlReleaseLedger(
            database_url=settings.database_url, password=password, branch_schema=settings.database_schema
        ),
        "experiments": _experiments(settings, object_store),
        "notifier": LogNotifier(state_path=str(settings.home / "alerts.db")),
    }


def _aws(settings: Settings, object_store: Any) -> dict[str, Any]:
    """What differs from the embedded platform on AWS, beside the stores that settings of their own choose."""
    from resources.sagemaker import SageMaker

    return {
        "sagemaker": SageMaker(
            object_store=object_store,
            region=settings.region,
            prefix=settings.scope,
            role_arn=settings.required_role,
            image=settings.required_image,
        ),
    } | ({"notifier": _slack(settings)} if settings.slack else {})


def _slack(settings: Settings) -> Any:
    from dagster import EnvVar

    from resources.notifier import SlackNotifier

    return SlackNotifier(
        token=EnvVar("SLACK_BOT_TOKEN"),
        channels=dict(settings.slack_channels),
        default_channel=settings.slack_default_channel,
        state_path=str(settings.home / "alerts.db"),
    )
