"""Secrets that are references to AWS are resolved where they are used, as moto serves them; and no secret, given either
way, ever reaches a log, an event, metadata, an exception or a `repr`."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import EnvVar

from ledgerline.errors import ConfigurationError, LedgerlineError
from platform_assets.definitions import build_defs
from resources import secrets
from resources.notifier import SlackNotifier
from resources.secrets import TTL_SECONDS, secret
from tests.servers.dart import DartServer, korean_reports

SETTING = "DART_API_KEY"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stores:
    """Secrets Manager and Parameter Store of moto; every name begins with `prefix`."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.prefix = f"t-{uuid.uuid4().hex[:8]}"
        self.manager = boto3.client("secretsmanager", endpoint_url=endpoint, region_name="us-east-1")
        self.parameters = boto3.client("ssm", endpoint_url=endpoint, region_name="us-east-1")

    def keep(self, name: str, text: str) -> str:
        """The ARN of a secret, made or changed."""
        try:
            return str(self.manager.create_secret(Name=f"{self.prefix}/{name}", SecretString=text)["ARN"])
        except self.manager.exceptions.ResourceExistsException:
            return str(self.manager.put_secret_value(SecretId=f"{self.prefix}/{name}", SecretString=text)["ARN"])


@pytest.fixture
def stores(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", s3_endpoint)
    secrets.forget()
    yield Stores(s3_endpoint)
    secrets.forget()


def test_a_setting_that_is_no_reference_is_the_secret_itself() -> None:
    assert (secret("abc", SETTING), secret(None, SETTING), secret("", SETTING)) == ("abc", "", "")


def test_a_key_of_a_secret_and_a_whole_one_and_one_by_its_arn_are_resolved(stores: Stores) -> None:
    arn = stores.keep("all", json.dumps({"dart": "one", "slack": "two"}))
    assert secret(f"secretsmanager://{stores.prefix}/all#slack", SETTING) == "two"
    assert secret(f"secretsmanager://{arn}#dart", SETTING) == "one"
    stores.keep("whole", "three")
    assert secret(f"secretsmanager://{stores.prefix}/whole", SETTING) == "three"


def test_a_parameter_is_decrypted(stores: Stores) -> None:
    name = f"/{stores.prefix}/dart"
    stores.parameters.put_parameter(Name=name, Value="four", Type="SecureString")
    assert secret(f"ssm://{name}", SETTING) == "four"


def test_a_variable_that_holds_a_reference_is_resolved_outside_of_runs_too(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.keep("whole", "three")
    monkeypatch.setenv(SETTING, f"secretsmanager://{stores.prefix}/whole")
    assert secret(EnvVar(SETTING), SETTING) == "three"


def test_a_rotated_secret_is_taken_up_after_its_time_and_not_asked_for_before(stores: Stores) -> None:
    clock, reference = Clock(), f"secretsmanager://{stores.prefix}/one"
    stores.keep("one", "old")
    assert secret(reference, SETTING, clock=clock) == "old"
    stores.keep("one", "new")
    clock.now = TTL_SECONDS - 1
    assert secret(reference, SETTING, clock=clock) == "old"
    clock.now = TTL_SECONDS
    assert secret(reference, SETTING, clock=clock) == "new"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "secretsmanager://{}/none",
            "Secrets Manager has no '.*/none' in us-east-1: create it, or correct the reference",
        ),
        ("ssm:///{}/none", "Parameter Store has no '/.*/none' in us-east-1: create it"),
        ("secretsmanager://{}/all#nothing", "has no text under the key 'nothing'; it has dart, empty: correct the ref"),
        ("secretsmanager://{}/all#empty", "has no text under the key 'empty'"),
        ("secretsmanager://{}/text#dart", "is no JSON object: leave #dart out"),
        ("secretsmanager://", "names nothing: write secretsmanager://<name>#<key>"),
        ("secretsmanager://#key", "names nothing"),
    ],
)
def test_a_reference_that_leads_to_nothing_is_said_with_the_remedy_and_shows_no_value(
    stores: Stores, reference: str, said: str
) -> None:
    stores.keep("all", json.dumps({"dart": "hunter2", "empty": ""}))
    stores.keep("text", '{"dart": "hunter2", cut off')
    with pytest.raises(ConfigurationError, match=f"^{SETTING}.*{said}") as caught:
        secret(reference.format(stores.prefix), SETTING)
    assert "hunter2" not in _whole(caught.value)


def test_a_store_that_cannot_be_reached_is_said(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    with pytest.raises(LedgerlineError, match=r"Secrets Manager cannot be asked for 'x' .*check the network, the cred"):
        secret("secretsmanager://x", SETTING)


@pytest.mark.parametrize(
    ("code", "raised", "said"),
    [
        (
            "AccessDeniedException",
            ConfigurationError,
            "refuses 'x' .AccessDenied.*: give the role secretsmanager:GetSecr",
        ),
        ("DecryptionFailure", ConfigurationError, "and kms:Decrypt on its key"),
        ("ThrottlingException", LedgerlineError, "is too busy to give 'x'.*: run this again"),
    ],
)
def test_a_store_that_refuses_is_said_with_the_right_that_is_missing(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, code: str, raised: type[Exception], said: str
) -> None:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    def refuse(self: BaseClient, operation: str, request: dict[str, Any]) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    with pytest.raises(raised, match=said):
        secret("secretsmanager://x", SETTING)


# ---------------------------------------------------------------------------- where a secret may not be found


DAY = date(2025, 3, 14)
EVENING = datetime(2025, 3, 14, 12, 0, tzinfo=timezone.utc)
# One for each setting that is a secret.
MARKERS = {
    "DART_API_KEY": "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e7dada",
    "SLACK_BOT_TOKEN": "xoxb-marker-of-slack-5ec2e7",
    "LEDGERLINE_DATABASE_PASSWORD": "marker-of-the-database-5ec2e7",
    "AWS_SECRET_ACCESS_KEY": "marker-of-aws-5ec2e7",
    "LEDGERLINE_SQL_URL": "marker-of-sql-5ec2e7",
}
SETTINGS = MARKERS | {
    "LEDGERLINE_SQL_URL": f"postgresql+psycopg://reader:{MARKERS['LEDGERLINE_SQL_URL']}@127.0.0.1:9/x"
}
SHOWN = ("notifier", "filing_ledger", "release_ledger", "regulators", "lake", "object_store", "sql_source")


@dg.op(required_resource_keys=set(SHOWN))
def show_everything_and_fail(context) -> None:
    """What a person writes to look for a fault."""
    for name in SHOWN:
        resource = getattr(context.resources, name)
        context.log.info("%s: %r %s", name, resource, resource)
        print(name, repr(resource))
    context.resources.notifier.notify("team:nlp", "A title", "a text", key="1")  # nobody listens: it waits, and says so
    raise RuntimeError(f"{context.resources.notifier!r} could not help: {_refused(context.resources.sql_source)}")


def _refused(source) -> str:
    """What is said of a database at which nobody listens."""
    try:
        return str(list(source.chunks("SELECT 1 AS one", {"one": "int64"})))
    except LedgerlineError as error:
        return _whole(error)


def _whole(error: BaseException) -> str:
    """An error with everything that it was raised from, as a traceback shows it."""
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)


@pytest.mark.parametrize("given", ["plainly", "by reference"])
def test_no_secret_is_in_logs_metadata_events_exceptions_or_reprs(
    given: str,
    stores: Stores,
    postgres_schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = MARKERS["DART_API_KEY"]
    (tmp_path / "dagster").mkdir()
    reports = korean_reports([DAY], per_day=3, corrections=0.0, without_document=0.0)
    monkeypatch.setenv("LEDGERLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LEDGERLINE_DATABASE_URL", postgres_schema)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
        if given == "by reference" and name != "AWS_SECRET_ACCESS_KEY":  # that one is needed to ask for the others
            stores.keep(name, json.dumps({"value": value}))
            monkeypatch.setenv(name, f"secretsmanager://{stores.prefix}/{name}#value")
    with (
        DartServer(reports, clock=lambda: EVENING, key=key) as dart,
        DartServer(reports, clock=lambda: EVENING, key="f" * 40) as stranger,  # which repeats the key that it refuses
        dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance,
        caplog.at_level(logging.DEBUG),
    ):
        instance.add_dynamic_partitions("source_day", ["dart:2025-03-14"])
        slack = SlackNotifier(token=EnvVar("SLACK_BOT_TOKEN"), base_url="http://127.0.0.1:9/")
        shown, failures = [], []
        for url, succeeds in ((dart.url, True), (stranger.url, False)):
            monkeypatch.setenv("DART_URL", url)
            defs = build_defs("local", resource_overrides={"notifier": slack})
            shown += [repr(one) + str(one) for one in defs.resources.values()]
            done = defs.get_job_def("onboard").execute_in_process(
                partition_key="dart:2025-03-14", instance=instance, raise_on_error=False
            )
            assert done.success is succeeds, "the run that is to show no secret did not run as meant"
            if succeeds:
                metadata = instance.get_latest_materialization_event(dg.AssetKey("filings"))
                assert len(dart.requests) > 3
                continue
            failures += [str(event.step_failure_data.error) for event in done.all_events if event.is_step_failure]
        job = dg.JobDefinition(
            name="shows", graph_def=dg.GraphDefinition("shows", node_defs=[show_everything_and_fail]),
            resource_defs=dict(defs.get_repository_def().get_top_level_resources()),
        )  # fmt: skip
        broken = job.execute_in_process(instance=instance, raise_on_error=False)
        failures += [str(event.step_failure_data.error) for event in broken.all_events if event.is_step_failure]
        events = [str(record) for run in instance.get_runs() for record in instance.all_logs(run.run_id)]
    with pytest.raises(LedgerlineError) as wrong_key:
        defs.resources["regulators"].of("dart").reference_file()
    assert [words for words in ("crtfc_key", "could not help") if not any(words in one for one in failures)] == []
    written = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    found = "\n".join(
        [*events, *shown, *failures, *written, str(metadata), caplog.text, *capfd.readouterr(), _whole(wrong_key.value)]
    )
    assert len(events) > 20
    assert "Slack cannot be reached" in found
    assert "The database of LEDGERLINE_SQL_URL cannot be used" in found
    assert "crtfc_key=***" in found, "the requests were not logged, so that this test would see no leak of the key"
    leaks = {name: found[found.index(marker) - 300 :][:300] for name, marker in MARKERS.items() if marker in found}
    assert leaks == {}
