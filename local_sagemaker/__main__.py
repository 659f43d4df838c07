"""`python -m local_sagemaker start|status|env|stop|operations [--home DIR] [--object-root DIR] [--port N]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_sagemaker import daemon
from local_sagemaker.errors import ServerError
from local_sagemaker.home import Home, default_home, default_object_root


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local_sagemaker", description="The embedded SageMaker of this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "start": "start the server, if it does not run, and wait until it is ready",
        "status": "say whether it runs, and where",
        "env": 'print the shell lines that turn boto3 to it: eval "$(python -m local_sagemaker env)"',
        "stop": "drain it and stop it",
        "operations": "list the API operations that it executes",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--home", type=Path, default=default_home(), help="its folder (default: %(default)s)")
        if name == "start":
            command.add_argument("--object-root", help="a folder with a directory per bucket, or an S3 endpoint's URL")
            command.add_argument("--port", type=int, default=0, help="a fixed port instead of the last or any free one")
            command.add_argument(
                "--slots", type=int, default=2, help="how many jobs run at once (default: %(default)s)"
            )
    found = parser.parse_args(argv)
    try:
        return _run(found)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


def _run(found: argparse.Namespace) -> int:
    home = Home(found.home)
    if found.command == "start":
        running = home.running()
        root = found.object_root or (running.object_root if running else default_object_root(home.path))
        running = daemon.start(home.path, object_root=root, port=found.port, slots=found.slots)
        print(f"local_sagemaker runs at {running.url} (pid {running.pid}), objects in {running.object_root}")
    elif found.command == "status":
        status = home.running()
        if status is None:
            print(f"local_sagemaker does not run on {home.path}")
            return 1
        print(f"local_sagemaker runs at {status.url} (pid {status.pid}), objects in {status.object_root}")
    elif found.command == "operations":
        _print_operations()
    elif found.command == "env":
        print(daemon.exports(home.path))
    else:
        print("local_sagemaker stopped" if daemon.stop(home.path) else f"local_sagemaker did not run on {home.path}")
    return 0


def _print_operations() -> None:
    from local_sagemaker.operations import ALL

    for name in ("InvokeEndpoint", "InvokeEndpointWithResponseStream", "InvokeEndpointAsync"):
        print("sagemaker-runtime", name)
    for service, operations in ALL.values():
        for name in operations:
            print(service, name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
