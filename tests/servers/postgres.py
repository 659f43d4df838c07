"""A real PostgreSQL of the Debian package on loopback, for the contract suites: `with running_postgres() as url:`.

TCP only: the path of a socket below a long TMPDIR is longer than Unix allows. PostgreSQL refuses to run as root, so it
then runs as `postgres`, in the first temporary folder that this user can enter.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port
from tests.servers.unprivileged import TEMPORARY, new_home, user_of

START_SECONDS = 30.0


class NoPostgres(Exception):
    """There is no server to start; the message says what is missing and how it is had."""


@contextmanager
def running_postgres(log: Path | None = None) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty server, which ends with its data when the block ends. Raises NoPostgres.

    Its log ends with it, unless a file is given for it.
    """
    programs = _programs()
    as_user = _as_user()
    home = _new_home(as_user)
    try:
        data = home / "data"
        arguments = ["--auth=trust", "--username=ledgerline", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        _run([str(programs / "initdb"), f"--pgdata={data}", *arguments], home, as_user)
        port = free_port()
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"]
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        log = log or home / "log"
        with open(log, "wb") as out:
            server = subprocess.Popen(
                command + [part for setting in settings for part in ("-c", setting)],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **as_user,
            )
        try:
            _wait_until_ready(programs, port, server, log)
            yield f"postgresql+psycopg://ledgerline@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: open sessions are ended
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)  # an immediate one, which takes its children along
                server.wait(10)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _programs() -> Path:
    """The folder of the newest installed version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise NoPostgres("no PostgreSQL below /usr/lib/postgresql: apt-get install postgresql-15")
    return found[-1].parent


def _as_user() -> dict[str, Any]:
    try:
        return user_of("postgres")
    except KeyError:
        raise NoPostgres("PostgreSQL does not run as root, and there is no user `postgres` to run it as") from None


def _new_home(as_user: dict[str, Any]) -> Path:
    home = new_home("postgres", as_user)
    if home is None:
        folders = ", ".join((tempfile.gettempdir(), *TEMPORARY))
        raise NoPostgres(f"no folder of {folders} can be entered by `postgres`")
    return home


def _run(command: list[str], home: Path, as_user: dict[str, Any]) -> None:
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, **as_user)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def _wait_until_ready(programs: Path, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    end = time.monotonic() + START_SECONDS
    while subprocess.run(asked).returncode:
        if server.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
