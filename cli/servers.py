"""`make servers`: the servers that stand in for AWS, for a person, until Ctrl-C. They are those of the tests."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from ledgerline.errors import ConfigurationError
from resources.environment import read_settings

if TYPE_CHECKING:
    from tests.servers.together import Server


def servers() -> int:
    """Start them, say how the platform is pointed at each, and end them when told to. 1 if none can be had here."""
    from rich.console import Console

    together = of_the_tests()
    logs = read_settings().home / "servers"
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "# Starting: OpenSearch takes some 10 s, and minutes the first time, when it is fetched.", markup=False
    )
    with until_told() as told, together.running(logs) as started:
        for server in started:
            for line in lines_of(server):
                console.print(line, markup=False)
        if all(server.missing for server in started):
            return 1
        console.print(
            "# Paste these lines into another shell; Ctrl-C here ends the servers with their data.", markup=False
        )
        told.wait()
    console.print("# All servers have ended.", markup=False)
    return 0


def lines_of(server: Server) -> list[str]:
    """What a shell needs to know of a server, as lines that it may run; all else is in comments."""
    if server.missing:
        return [f"# {line}" for line in f"{server.name} is missing: {server.missing}".splitlines()]
    exports = [f"export {name}={shlex.quote(value)}" for name, value in server.variables.items()]
    return [f"# {server.name}: {server.seconds:.1f} s, log {server.log}", *exports]


@contextmanager
def until_told() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; meanwhile neither ends this process, so that it can end its servers."""
    told = threading.Event()
    before = {one: signal.signal(one, lambda *_: told.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def of_the_tests() -> ModuleType:
    try:
        from tests.servers import together
    except ImportError as error:
        raise ConfigurationError(
            f"the servers are part of the tests, and {error.name} is not here: run this in a checkout, with `make`."
        ) from error
    return together
