"""The server's folder: settings, credentials, the lock of the running server, and where everything else lies."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local_sagemaker.errors import ServerError
from local_sagemaker.sigv4 import Credentials

REGION = "us-east-1"
EXIT_REFUSED = 3  # exit code of a server that finds another one on its home, or its port taken


def default_home() -> Path:
    """$LOCAL_SAGEMAKER_HOME, else $LEDGERLINE_HOME/sagemaker, else .ledgerline/sagemaker below the current folder."""
    own = os.environ.get("LOCAL_SAGEMAKER_HOME")
    if own:
        return Path(own)
    return Path(os.environ.get("LEDGERLINE_HOME") or ".ledgerline") / "sagemaker"


def default_object_root(home: Path) -> Path:
    """Beside the default home the project's own object store; below any other home a folder of its own."""
    return home.parent / "objects" if home.name == "sagemaker" else home / "objects"


@dataclass(frozen=True, slots=True)
class Running:
    """What the running server says of itself in `server.json`."""

    pid: int
    port: int
    object_root: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Home:
    """Paths below the home folder, which only its owner may enter."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def prepare(self) -> None:
        """Make the folder, for its owner only. Raises ServerError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise ServerError(
                f"{self.path} cannot be the server's home ({error.strerror}); choose another folder."
            ) from error

    @property
    def state(self) -> Path:
        return self.path / "state.sqlite"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def environments(self) -> Path:
        return self.path / "environments"

    @property
    def container_home(self) -> Path:
        return self.path / "container-home"

    @property
    def server_log(self) -> Path:
        return self.path / "server.log"

    def credentials(self) -> Credentials:
        """The key pair of this home, made on first use, readable by its owner only."""
        path = self.path / "credentials.json"
        if not path.exists():
            alphabet = string.ascii_uppercase + string.digits
            pair = Credentials("AKIA" + "".join(secrets.choice(alphabet) for _ in range(16)), secrets.token_urlsafe(30))
            write_private(path, asdict(pair))
        try:
            return Credentials(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ServerError(
                f"{path} is damaged ({error}); stop the server and remove the file: new keys are made."
            ) from error

    def metrics_token(self) -> str:
        """What a scraper of /metrics must show; its file, made on first use, is what Prometheus is pointed to."""
        path = self.path / "metrics-token"
        if not path.exists():
            _replace_private(path, secrets.token_urlsafe(30))
        return path.read_text()

    def write_running(self, running: Running) -> None:
        write_private(self.path / "server.json", asdict(running))

    def last_running(self) -> Running | None:
        """What the last server wrote, whether it still runs or not."""
        try:
            return Running(**json.loads((self.path / "server.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None  # never started, or killed before it could write: the same to every caller

    def running(self) -> Running | None:
        """The server that holds the lock now, once it has said where it listens."""
        return self.last_running() if self.locked() else None

    def locked(self) -> bool:
        """True while a server runs on this home. The kernel drops the lock of a killed server, so it is never stale."""
        if not self.path.is_dir():
            return False
        with (self.path / "server.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Wait for, and hold, the lock of those that start the server."""
        with (self.path / "start.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def lock(self) -> Any:
        """Hold the lock while the returned file is open. Raises ServerError if another server runs."""
        file = (self.path / "server.lock").open("a")
        for _ in range(50):  # one second: `locked` of another process holds it for a moment
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return file
        file.close()
        raise ServerError(f"A server runs on {self.path} already; use it, or `python -m local_sagemaker stop`.")


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically, mode 0600."""
    _replace_private(path, json.dumps(content))


def _replace_private(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(temporary, path)
