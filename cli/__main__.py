"""`python -m cli demo|ask|dev`: what the Makefile calls. Each command is a module of this package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledgerline.errors import LedgerlineError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m cli", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="filings in, a gated model live")
    demo.add_argument("--archive", type=Path, help="folder of real filings instead of the sample archive")
    demo.add_argument("--no-approve", action="store_true", help="stop at the candidate that waits for its approval")
    ask = commands.add_parser("ask", help="which ticker a mention means")
    ask.add_argument("--mention", default="")
    ask.add_argument("--text", default="")
    ask.add_argument("--as-of", default="")
    dev = commands.add_parser("dev", help="the Dagster UI with its daemon")
    dev.add_argument("--port", type=int, default=3000)
    return made


def main() -> int:
    arguments = parser().parse_args()
    try:
        if arguments.command == "demo":
            from cli.demo import demo

            return demo(arguments.archive, approve=not arguments.no_approve)
        if arguments.command == "ask":
            from cli.ask import ask

            return ask(arguments.mention, arguments.text, arguments.as_of)
        from cli.dev import dev

        return dev(arguments.port)
    except LedgerlineError as error:
        print(f"ledgerline: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
