"""Reads the process environment, once and here only, and says what it means.

Belongs here: names, defaults and validation of every variable. Which implementation a setting leads to is decided in
`resources.build_resources`. Secrets are not read here: their resources take them as Dagster `EnvVar`, and resolve references
to AWS where they use them (`resources/secrets.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import SplitResult, urlsplit

from ledgerline.errors import ConfigurationError
from resources.scope import schema_of, scope_of

Environment = Literal["local", "branch", "prod"]
ComputeKind = Literal["subprocess", "ecs", "ray"]
EngineKind = Literal["one-process", "ray"]
OpenSearchService = Literal["none", "es", "aoss"]  # who signs: nobody, for a domain, for a serverless collection
ROOT = Path(__file__).resolve().parents[1]
DEFAULT_BUCKET = "ledgerline"
DEFAULT_CONTAINER = "ledgerline"
# What a process that parses foreign bytes gets of this one's variables: what Python needs to start. No secret is among them.
_FOR_WORKERS = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHASHSEED",
)
_FOR_WORKERS_ON_S3 = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment variables say. `home` holds all local state; `archive` replaces the regulators' servers: a
    folder, or the s3:// URI of a prefix of the object store."""

    environment: Environment
    home: Path
    archive: Path | str | None
    edgar_over_http: bool  # EDGAR_USER_AGENT is set
    dart_over_http: bool  # DART_API_KEY is set
    edgar_url: str  # other servers than the regulators' own: a proxy, or the servers of the tests
    dart_url: str
    edgar_per_second: float
    slack: bool  # SLACK_BOT_TOKEN is set
    slack_channels: Mapping[str, str]  # owner -> channel
    slack_default_channel: str
    bucket: str
    region: str
    sagemaker_role: str
    sagemaker_image: str
    compute: ComputeKind
    compute_parallel: int | None  # batches at once; None: the default of the implementation
    ecs_cluster: str
    ecs_task_definition: str
    ecs_container: str
    ecs_subnets: tuple[str, ...]
    ecs_security_groups: tuple[str, ...]
    neptune_endpoint: str  # "": the graph is a file
    neptune_iam: bool
    neptune_loader_role: str
    opensearch_url: str  # "": the candidate index is embedded
    opensearch_service: OpenSearchService
    opensearch_nori: bool  # OPENSEARCH_NORI is on
    branch: str  # the name of the branch that is deployed, as git knows it
    database: str  # URL of PostgreSQL; "": the ledgers are a SQLite file
    database_password: bool  # LEDGERLINE_DATABASE_PASSWORD is set
    kms_key_id: str  # "": objects are encrypted as the bucket says
    kms_bucket_key: bool

    @property
    def scope(self) -> str:
        """The name that begins the names of all that this environment makes. Raises ConfigurationError without a branch."""
        return scope_of(self.environment, self.branch)

    @property
    def object_prefix(self) -> str:
        """What the keys of a branch's objects begin with; prod's and local's lie at the root of their bucket."""
        return self.scope if self.environment == "branch" else ""

    engine: EngineKind
    ray_address: str  # "": on this machine
    sql: bool  # LEDGERLINE_SQL_URL is set
    sql_listings: bool  # LEDGERLINE_LISTINGS is sql
    sql_tables: str  # the file that declares what is copied; "": nothing
    sql_seconds: int  # the longest that a query may take
    mlflow_url: str  # "": experiments are in a SQLite file
    webserver_url: str  # of Dagster; "": a delivered project is loaded at the next reload by hand
    s3_endpoint: str  # another S3 than AWS's own; "": AWS's

    @property
    def on_s3(self) -> bool:
        """Whether objects and lake are on S3: always on AWS, locally where both an endpoint and a bucket on it are named."""
        return self.environment != "local" or bool(self.s3_endpoint and self.bucket != DEFAULT_BUCKET)

    @property
    def required_bucket(self) -> str:
        return self._required(
            "LEDGERLINE_BUCKET", "" if self.bucket == DEFAULT_BUCKET else self.bucket, "an S3 bucket of yours"
        )

    @property
    def required_role(self) -> str:
        return self._required("SAGEMAKER_ROLE_ARN", self.sagemaker_role, "the role that SageMaker's jobs run as")

    @property
    def required_image(self) -> str:
        return self._required("SAGEMAKER_IMAGE_URI", self.sagemaker_image, "the image that runs the projects' scripts")

    def require_ecs(self) -> None:
        """Raises ConfigurationError, naming the variable, where one that LEDGERLINE_COMPUTE=ecs needs is missing."""
        if self.environment == "local":
            raise ConfigurationError(
                "LEDGERLINE_COMPUTE=ecs needs objects in S3, and LEDGERLINE_ENV=local keeps them in a folder: set "
                "LEDGERLINE_ENV to prod or branch, or use LEDGERLINE_COMPUTE=subprocess."
            )
        needed = {
            "ECS_CLUSTER": (self.ecs_cluster, "the cluster that runs batches"),
            "ECS_TASK_DEFINITION": (self.ecs_task_definition, "a task definition with this platform's image"),
            "ECS_SUBNETS": (self.ecs_subnets, "subnets of its tasks, with commas between them"),
            "ECS_SECURITY_GROUPS": (self.ecs_security_groups, "security groups of its tasks, with commas between them"),
        }
        for variable, (value, what) in needed.items():
            if not value:
                raise ConfigurationError(
                    f"LEDGERLINE_COMPUTE=ecs needs {variable}: set it to {what}, or use LEDGERLINE_COMPUTE=subprocess."
                )

    def _required(self, variable: str, value: str, what: str) -> str:
        if not value:
            raise ConfigurationError(
                f"LEDGERLINE_ENV={self.environment} needs {variable}: set it to {what}, or use LEDGERLINE_ENV=local."
            )
        return value

    @property
    def sample_archive(self) -> Path:
        return self.home / "sample_archive"

    @property
    def archive_mirror(self) -> Path:
        """Where an archive of the object store is mirrored; another prefix has another mirror."""
        return self.home / "archive_mirror" / hashlib.sha256(str(self.archive).encode()).hexdigest()[:16]

    @property
    def delivered_projects(self) -> Path:
        """Model projects that were put into the object store, as the sensor `delivered_projects` laid them."""
        return self.home / "model_projects"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def lake(self) -> str:
        """A folder, or an s3:// URI in the bucket."""
        if not self.on_s3:
            return str(self.home / "lake")
        return "/".join(["s3:/", self.required_bucket, *filter(None, [self.object_prefix]), "lake"])

    @property
    def objects(self) -> Path:
        return self.home / "objects"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home / 'ledgerline.db'}"

    @property
    def database_schema(self) -> str:
        """The schema of PostgreSQL in which a branch has tables of its own; "": the user's usual one."""
        return schema_of(self.scope) if self.database and self.environment == "branch" else ""


def read_settings(environment: str | None = None, *, variables: Mapping[str, str] | None = None) -> Settings:
    """Settings from `variables` (the process environment unless given). Raises ConfigurationError with the remedy."""
    given = os.environ if variables is None else variables
    name = environment or given.get("LEDGERLINE_ENV") or "local"  # an empty variable is one that is not set
    if name not in get_args(Environment):
        raise ConfigurationError(
            f"LEDGERLINE_ENV is {name!r}, which is no environment; set it to one of {', '.join(get_args(Environment))}."
        )
    compute = given.get("LEDGERLINE_COMPUTE") or ("ray" if given.get("LEDGERLINE_ENGINE") == "ray" else "subprocess")
    if compute not in get_args(ComputeKind):
        raise ConfigurationError(
            f"LEDGERLINE_COMPUTE is {compute!r}, which runs nothing; set it to one of {', '.join(get_args(ComputeKind))}."
        )
    archive = given.get("LEDGERLINE_ARCHIVE")
    return Settings(
        environment=name,  # type: ignore[arg-type]  # checked above
        home=Path(given.get("LEDGERLINE_HOME") or ROOT / ".ledgerline").expanduser().resolve(),
        archive=archive_of(archive) if archive else None,
        edgar_over_http=bool(given.get("EDGAR_USER_AGENT")),
        dart_over_http=bool(given.get("DART_API_KEY")),
        edgar_url=given.get("EDGAR_URL") or "https://www.sec.gov",
        dart_url=given.get("DART_URL") or "https://opendart.fss.or.kr",
        edgar_per_second=number_of("EDGAR_PER_SECOND", given.get("EDGAR_PER_SECOND") or "5"),
        slack=bool(given.get("SLACK_BOT_TOKEN")),
        slack_channels=_channels(given.get("LEDGERLINE_SLACK_CHANNELS") or "{}"),
        slack_default_channel=given.get("LEDGERLINE_SLACK_DEFAULT_CHANNEL") or "#ledgerline",
        bucket=given.get("LEDGERLINE_BUCKET") or DEFAULT_BUCKET,
        region=given.get("AWS_DEFAULT_REGION") or "us-east-1",
        sagemaker_role=given.get("SAGEMAKER_ROLE_ARN", ""),
        sagemaker_image=given.get("SAGEMAKER_IMAGE_URI", ""),
        compute=compute,  # type: ignore[arg-type]  # checked above
        compute_parallel=_parallel(given.get("LEDGERLINE_COMPUTE_PARALLEL") or ""),
        ecs_cluster=given.get("ECS_CLUSTER", ""),
        ecs_task_definition=given.get("ECS_TASK_DEFINITION", ""),
        ecs_container=given.get("ECS_CONTAINER") or DEFAULT_CONTAINER,
        ecs_subnets=_listed(given.get("ECS_SUBNETS", "")),
        ecs_security_groups=_listed(given.get("ECS_SECURITY_GROUPS", "")),
        neptune_endpoint=_websocket("NEPTUNE_ENDPOINT", given.get("NEPTUNE_ENDPOINT") or ""),
        neptune_iam=_on("NEPTUNE_IAM", given.get("NEPTUNE_IAM") or "on"),
        neptune_loader_role=_loader_role(name, given.get("NEPTUNE_LOADER_ROLE_ARN") or ""),
        opensearch_url=given.get("OPENSEARCH_URL", ""),
        opensearch_service=_opensearch_service(
            given.get("OPENSEARCH_URL", ""), given.get("OPENSEARCH_SERVICE") or "none"
        ),
        opensearch_nori=_on("OPENSEARCH_NORI", given.get("OPENSEARCH_NORI") or "off"),
        branch=given.get("DAGSTER_CLOUD_GIT_BRANCH") or given.get("DAGSTER_CLOUD_DEPLOYMENT_NAME") or "",
        database=_database(given.get("LEDGERLINE_DATABASE_URL") or ""),
        database_password=bool(given.get("LEDGERLINE_DATABASE_PASSWORD")),
        kms_key_id=given.get("LEDGERLINE_KMS_KEY_ID", ""),
        kms_bucket_key=_on("LEDGERLINE_KMS_BUCKET_KEY", given.get("LEDGERLINE_KMS_BUCKET_KEY") or "on"),
        engine=_engine(given.get("LEDGERLINE_ENGINE") or "one-process"),
        ray_address=_ray_address(given.get("RAY_ADDRESS") or ""),
        sql=bool(given.get("LEDGERLINE_SQL_URL")),
        sql_listings=_sql_listings(given),
        sql_tables=_sql_tables(given),
        sql_seconds=int(number_of("LEDGERLINE_SQL_SECONDS", given.get("LEDGERLINE_SQL_SECONDS") or "600")),
        mlflow_url=_mlflow(given.get("MLFLOW_TRACKING_URI") or ""),
        webserver_url=_webserver(given.get("LEDGERLINE_WEBSERVER_URL") or ""),
        s3_endpoint=_s3_endpoint(given.get("AWS_ENDPOINT_URL_S3") or ""),
    )


def _http_address(url: str) -> SplitResult | None:
    """The parts of the address of an HTTP server; None where the text is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port or a bracket
        return None
    return parts if usable else None


def _opensearch_service(url: str, service: str) -> OpenSearchService:
    """The service, if the URL can be used with it. Raises ConfigurationError that shows no password."""
    if service not in get_args(OpenSearchService):
        raise ConfigurationError(
            f"OPENSEARCH_SERVICE is {service!r}: set it to es for a domain, aoss for a serverless collection, or none."
        )
    if url:
        parts = _http_address(url)
        if parts is None:
            raise ConfigurationError(
                "OPENSEARCH_URL is no address: write it as https://<host>, with :<port> if not 443."
            )
        if parts.username or parts.password:
            raise ConfigurationError(
                "OPENSEARCH_URL holds a user or password, which would be logged: take them out, and set "
                "OPENSEARCH_SERVICE to es or aoss to sign requests."
            )
        if service != "none" and parts.scheme != "https":
            raise ConfigurationError(
                f"OPENSEARCH_SERVICE={service} signs requests to AWS, which are encrypted: begin OPENSEARCH_URL with https."
            )
        if service == "none" and str(parts.hostname).endswith(".amazonaws.com"):
            raise ConfigurationError(
                f"{parts.hostname} wants signed requests: set OPENSEARCH_SERVICE to es for a domain, or aoss for a "
                "serverless collection."
            )
    return service  # type: ignore[return-value]  # checked above


def _database(url: str) -> str:
    """The URL, if it is PostgreSQL's and holds no password. Raises ConfigurationError that shows none."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "postgresql+psycopg" and parts.hostname and parts.path.strip("/") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "LEDGERLINE_DATABASE_URL is no database: write it as postgresql+psycopg://<user>@<host>/<database>."
        )
    if parts.password or "password=" in parts.query:
        raise ConfigurationError(
            "LEDGERLINE_DATABASE_URL holds a password, which would be logged: take it out, and set "
            "LEDGERLINE_DATABASE_PASSWORD to it, or to a reference to it (secretsmanager://<name>#password)."
        )
    return url


def _mlflow(url: str) -> str:
    """The URL of a server, if it holds no secret. Raises ConfigurationError that shows none."""
    if not url:
        return ""
    parts = _http_address(url)
    if parts is None:
        raise ConfigurationError(
            "MLFLOW_TRACKING_URI is no address of an MLflow server: write it as https://<host>, with :<port> if not 443, or "
            "leave it out to keep experiments below the home."
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            "MLFLOW_TRACKING_URI holds a user or password, which would be logged: take them out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    return url


def _s3_endpoint(url: str) -> str:
    """The URL of an S3 server without a slash at its end. Raises ConfigurationError that shows no password."""
    if not url:
        return ""
    parts = _http_address(url)
    if parts is None or parts.username or parts.password:
        raise ConfigurationError(
            "AWS_ENDPOINT_URL_S3 is no address of an S3 server: write it as https://<host>, with :<port> if not 443 and no "
            "user or password in it, or leave it out for AWS's own."
        )
    return url.rstrip("/")


def _webserver(url: str) -> str:
    if url and (_http_address(url) is None or "@" in url):
        raise ConfigurationError(
            "LEDGERLINE_WEBSERVER_URL is no address of Dagster's webserver: write it as http://<host>:3000, without a user."
        )
    return url


def _engine(name: str) -> EngineKind:
    if name not in get_args(EngineKind):
        raise ConfigurationError(f"LEDGERLINE_ENGINE is {name!r}: set it to one of {', '.join(get_args(EngineKind))}.")
    return name  # type: ignore[return-value]  # checked above


def _ray_address(address: str) -> str:
    """Ray's own other addresses find a cluster by guessing, which is not what a platform should do."""
    if address and (not address.startswith("ray://") or not urlsplit(address).hostname):
        raise ConfigurationError(
            f"RAY_ADDRESS is {address!r}: set it to ray://<host>:10001 of a cluster's head, or leave it out for this machine."
        )
    return address


def _sql_listings(given: Mapping[str, str]) -> bool:
    chosen = given.get("LEDGERLINE_LISTINGS") or "files"
    if chosen not in ("files", "sql"):
        raise ConfigurationError(
            f"LEDGERLINE_LISTINGS is {chosen!r}: set it to files, or to sql for a database of yours."
        )
    if chosen == "sql" and not given.get("LEDGERLINE_SQL_URL"):
        raise ConfigurationError("LEDGERLINE_LISTINGS=sql needs LEDGERLINE_SQL_URL: set it to the URL of the database.")
    return chosen == "sql"


def _sql_tables(given: Mapping[str, str]) -> str:
    path = given.get("LEDGERLINE_SQL_TABLES") or ""
    if path and not given.get("LEDGERLINE_SQL_URL"):
        raise ConfigurationError("LEDGERLINE_SQL_TABLES needs LEDGERLINE_SQL_URL: set it to the URL of the database.")
    return str(Path(path).expanduser().resolve()) if path else ""


def _channels(text: str) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(name, str) and name for name in found.values()):
        raise ConfigurationError(
            f"LEDGERLINE_SLACK_CHANNELS is {text!r}: write owners and their channels as a JSON object, "
            'e.g. {"team:quant": "#quant"}.'
        )
    return found


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parallel(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise ConfigurationError(
            f"LEDGERLINE_COMPUTE_PARALLEL is {text!r}: set it to how many batches run at once, 1 to 100."
        )
    return int(text)


def _on(variable: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise ConfigurationError(f"{variable} is {text!r}: set it to on or off.")
    return text == "on"


def _websocket(variable: str, text: str) -> str:
    """The URL as it stands. Plain ws:// is for this machine alone: what is sent is neither secret nor safe on its way."""
    if not text:
        return ""
    parts = urlsplit(text)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme not in ("wss", "ws" if local else "wss") or not parts.hostname or parts.path != "/gremlin":
        raise ConfigurationError(f"{variable} is {text!r}: set it to wss://<cluster endpoint>:8182/gremlin.")
    return text


def _loader_role(environment: str, text: str) -> str:
    if text and environment == "local":
        raise ConfigurationError(
            "NEPTUNE_LOADER_ROLE_ARN needs objects in S3, and LEDGERLINE_ENV=local keeps them in a folder: set LEDGERLINE_ENV"
            " to prod or branch, or leave NEPTUNE_LOADER_ROLE_ARN out."
        )
    return text


def archive_of(text: str) -> Path | str:
    """The folder that is meant, absolute, or the s3:// URI as it stands. Raises ConfigurationError for another URI."""
    if "://" not in text:
        return Path(text).expanduser().resolve()
    if not text.startswith("s3://") or not text.removeprefix("s3://").strip("/"):
        raise ConfigurationError(
            f"LEDGERLINE_ARCHIVE is {text!r}: give a folder, or s3://<bucket>/<prefix> in the object store."
        )
    return text.rstrip("/")


def number_of(variable: str, text: str) -> float:
    """The number in a variable. Raises ConfigurationError that names it."""
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(
            f"{variable} is {text!r}, which is no number; write digits, e.g. {variable}=5."
        ) from None


def child_variables(settings: Settings) -> dict[str, str]:
    """The environment for a child process (the UI, a shell) that must see the same state as this one."""
    variables = {**os.environ, "LEDGERLINE_HOME": str(settings.home), "DAGSTER_HOME": str(settings.dagster_home)}
    if settings.archive:
        variables["LEDGERLINE_ARCHIVE"] = str(settings.archive)
    return variables


@contextmanager
def kept_variables(*names: str) -> Iterator[None]:
    """Puts variables back as they were: for a library that sets them."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def given_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Has variables in the environment meanwhile: libraries that find credentials look nowhere else."""
    with kept_variables(*variables):
        os.environ.update(variables)
        yield


def worker_variables(*, aws: bool) -> dict[str, str]:
    """The environment of a process that parses a batch; with `aws`, which it needs to read S3, also AWS_* variables."""
    more = _FOR_WORKERS_ON_S3 if aws else ()
    return {
        name: value
        for name, value in os.environ.items()
        if name in _FOR_WORKERS or name in more or (aws and name.startswith("AWS_"))
    }
