"""`make dev`: Dagster's UI and daemon on this project, with its state in the home."""

from __future__ import annotations

import socket
import subprocess
import sys

from cli.home import prepare
from ledgerline.errors import ConfigurationError
from resources.environment import ROOT, child_variables, read_settings


def dev(port: int) -> int:
    """Run `dagster dev` on loopback until interrupted. Raises ConfigurationError if the port cannot be had."""
    settings = read_settings()
    prepare(settings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be used ({error.strerror}); stop what uses it, or say `make dev PORT=<another port>`."
            ) from error
    print(f"Dagster UI: http://127.0.0.1:{port}/locations/ledgerline/asset-groups  (Ctrl-C ends it)", flush=True)
    variables = child_variables(settings) | {"LEDGERLINE_WEBSERVER_URL": f"http://127.0.0.1:{port}"}
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-w",
        str(ROOT / "workspace.yaml"),
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    try:
        return subprocess.call(command, cwd=ROOT, env=variables)
    except KeyboardInterrupt:
        return 0
