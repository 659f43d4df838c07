"""Starting, finding and stopping the server from another process."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from local_sagemaker import s3_objects
from local_sagemaker.errors import ServerError
from local_sagemaker.home import EXIT_REFUSED, REGION, Home, Running

START_SECONDS = 30.0
STOP_SECONDS = 160.0  # drain of 30 s, then the grace of running jobs
_LOG_BYTES = 10_000_000


def start(
    home_path: Path, *, object_root: str | Path, port: int = 0, slots: int = 2, stop_grace_seconds: float = 120.0
) -> Running:
    """The running server of the home, started if there is none; returns when it listens.

    `object_root` is a folder or the URL of an S3 endpoint. The server outlives the caller. Raises ServerError if it
    cannot start, or runs with another object root or port.
    """
    home, root = Home(home_path), s3_objects.resolved(object_root)
    home.prepare()
    with home.starting():  # of many that start it at once, one does, and the others find it
        running = _wait_for(home, None) if home.locked() else None
        if running is None:  # there is none, or it was stopping
            running = _launch(home, root, port, slots, stop_grace_seconds)
    if running.object_root != root:
        raise ServerError(
            f"The server on {home.path} keeps its objects in {running.object_root}, not in {root}; "
            "stop it with `python -m local_sagemaker stop`, or use its object root."
        )
    if port and running.port != port:
        raise ServerError(
            f"The server on {home.path} listens on port {running.port} already; stop it first to use port {port}."
        )
    return running


def _launch(home: Home, object_root: str, port: int, slots: int, grace: float) -> Running:
    argv = [
        sys.executable, "-m", "local_sagemaker.server",
        "--home", str(home.path),
        "--object-root", object_root,
        "--port", str(port),
        "--slots", str(slots),
        "--stop-grace", str(grace),
    ]  # fmt: skip
    package_parent = str(Path(__file__).parent.parent)
    path = os.pathsep.join(part for part in (package_parent, os.environ.get("PYTHONPATH")) if part)
    mode = "wb" if home.server_log.exists() and home.server_log.stat().st_size > _LOG_BYTES else "ab"
    with home.server_log.open(mode) as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home.path, start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    running = _wait_for(home, process)
    if running is None:
        raise ServerError(f"The server on {home.path} stopped as soon as it had started; see {home.server_log}.")
    return running


def _wait_for(home: Home, process: subprocess.Popen[bytes] | None) -> Running | None:
    """Wait until a server holds the lock and accepts connections; `process` is the one we started, if we did.

    None if we started none and the other one has stopped.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running = home.running()
        if running is not None and _accepts(running.port):
            return running
        code = process.poll() if process is not None else None
        if code is not None and not (code == EXIT_REFUSED and home.locked()):
            raise ServerError(
                _last_line(home.server_log) or f"The server ended with code {code}; see {home.server_log}."
            )
        if process is None and not home.locked():
            return None
        time.sleep(0.02)
    raise ServerError(f"The server on {home.path} was not ready after {START_SECONDS:.0f} s; see {home.server_log}.")


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def stop(home_path: Path) -> bool:
    """Let the server finish what it was asked and end; False if none ran. Kills it if it does not end in time."""
    home = Home(home_path)
    running = home.running()
    if running is None:
        return False
    _signal(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while home.running() == running and time.monotonic() < deadline:
        time.sleep(0.02)
    if home.running() == running:
        _signal(running.pid, signal.SIGKILL)
    return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(pid, number)


def environment(home_path: Path) -> dict[str, str]:
    """The variables that turn any boto3 program to the running server. Raises ServerError if none runs."""
    home = Home(home_path)
    running = home.running()
    if running is None:
        raise ServerError(f"No server runs on {home.path}; start it with `python -m local_sagemaker start`.")
    credentials = home.credentials()
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER": running.url,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": running.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": running.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": running.url,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }


def exports(home_path: Path) -> str:
    """`environment` as shell lines for eval; a session token of another account would be refused, so it is unset."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment(home_path).items()]
    return "\n".join([*lines, "unset AWS_SESSION_TOKEN AWS_PROFILE"])
