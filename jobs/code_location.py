"""The job that loads the code location anew, so that model projects that were delivered are assets."""

from urllib.parse import urlsplit

import dagster as dg

from platform_assets.failures import NO_RUN_RETRY

CODE_LOCATION = "ledgerline"  # as workspace.yaml and pyproject.toml name it


def reload_code_location_job(webserver: str) -> dg.JobDefinition:
    """`webserver`: URL of Dagster's webserver, "" where none was named. A failed load leaves the definitions before it."""
    description = "Loads the code location anew through Dagster's webserver (LEDGERLINE_WEBSERVER_URL)."

    @dg.op(name="reload_definitions", description=description)
    def reload_definitions(context: dg.OpExecutionContext) -> None:
        from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError, ReloadRepositoryLocationStatus

        if not webserver:
            raise dg.Failure(
                "LEDGERLINE_WEBSERVER_URL names no webserver. Set it, or reload in the UI: Deployment, Reload.",
                allow_retries=False,
            )
        parts = urlsplit(webserver)
        try:
            client = DagsterGraphQLClient(
                parts.hostname or "", parts.port, use_https=parts.scheme == "https", path_prefix=parts.path.rstrip("/")
            )
            done = client.reload_repository_location(CODE_LOCATION)
        except DagsterGraphQLClientError as error:
            raise dg.Failure(
                f"Dagster's webserver at {webserver} cannot be asked ({' '.join(str(error).split())[:200]}). See that it "
                "runs and that LEDGERLINE_WEBSERVER_URL names it, or reload in the UI: Deployment, Reload."
            ) from error
        if done.status != ReloadRepositoryLocationStatus.SUCCESS:
            raise dg.Failure(
                f"The code location could not be loaded anew ({done.failure_type}: {done.message}). What was loaded before "
                "it stays. Correct what the message names, and start this job again.",
                allow_retries=False,
            )
        context.log.info("The code location %s is loaded anew.", CODE_LOCATION)

    @dg.job(name="reload_code_location", description=description, tags=NO_RUN_RETRY)
    def reload_code_location() -> None:
        reload_definitions()

    return reload_code_location
