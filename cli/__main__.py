"""`python -m cli <command>`: what the Makefile calls. Each command is in a module beside this one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledgerline.errors import LedgerlineError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m cli", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="filings in, a gated model live")
    demo.add_argument("--archive", help="folder (or s3://bucket/prefix) of real filings instead of the sample archive")
    demo.add_argument("--no-approve", action="store_true", help="stop at the candidate that waits for its approval")
    real = commands.add_parser("demo-real", help="the demo on real servers, compared with the embedded one")
    real.add_argument("--archive", help="folder (or s3://bucket/prefix) of real filings instead of the sample archive")
    commands.add_parser("servers", help="OpenSearch, Gremlin Server, PostgreSQL, MLflow and moto, until Ctrl-C")
    commands.add_parser("doctor", help="try every port that is configured, and say what to do about what does not work")
    ask = commands.add_parser("ask", help="which ticker a mention means")
    ask.add_argument("--mention", default="")
    ask.add_argument("--text", default="", help="the text around the mention; it must hold it")
    ask.add_argument("--as-of", default="", help="ISO day, default today")
    where = commands.add_parser("where", help="where a filing is, and why")
    where.add_argument("filing", nargs="?", default="", help="an accession number or a rcept_no")
    where.add_argument("--day", default="", help="ISO day on which it was filed, for a number that is not known")
    dev = commands.add_parser("dev", help="the Dagster UI with its daemon")
    dev.add_argument("--port", type=port, default=3000)
    new = commands.add_parser("new-project", help="write a model project to start from")
    new.add_argument("name", help="lower-case letters, digits, single underscores")
    pipeline = commands.add_parser("export-pipeline", help="a model project as the definition of a SageMaker Pipeline")
    pipeline.add_argument("--project", required=True)
    pipeline.add_argument("--out", default="", help="file to write it to, instead of stdout")
    load = commands.add_parser("load-table", help="a Parquet file as a new table of the lake")
    load.add_argument("table", help="its name, e.g. churn_examples")
    load.add_argument("file", type=Path)
    for name, what in (
        ("approve", "let a registered model go live"),
        ("reject", "keep a registered model from going live"),
        ("withdraw", "take an approval back, also of a model that was live"),
        ("rollback", "make the last good release live again"),
        ("restore", "let an endpoint serve its recorded release again"),
    ):
        decision = commands.add_parser(name, help=what)
        decision.add_argument("--project", required=True)
        if name != "restore":
            asked = name != "rollback"
            decision.add_argument("--model", required=asked, default="", help="first characters of its digest")
        decision.add_argument("--by", required=True, help="who decides")
        decision.add_argument("--reason", required=True)
    return made


def port(text: str) -> int:
    """A TCP port. Raises ArgumentTypeError, which argparse shows with the name of the option."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535, e.g. PORT=3001.")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    if arguments.command == "demo":
        from cli.demo import demo

        return demo(arguments.archive, approve=not arguments.no_approve)
    if arguments.command == "demo-real":
        from cli.demo_real import demo_real

        return demo_real(arguments.archive)
    if arguments.command == "servers":
        from cli.servers import servers

        return servers()
    if arguments.command == "doctor":
        from cli.doctor import doctor

        return doctor()
    if arguments.command == "ask":
        from cli.ask import ask

        return ask(arguments.mention, arguments.text, arguments.as_of)
    if arguments.command == "where":
        from cli.where import where

        return where(arguments.filing, arguments.day)
    if arguments.command == "new-project":
        from cli.new_project import new_project
        from resources.environment import ROOT

        return new_project(arguments.name, ROOT / "model_projects")
    if arguments.command == "export-pipeline":
        from cli.export_pipeline import export

        return export(arguments.project, arguments.out)
    if arguments.command == "load-table":
        from cli.load_table import load_table
        from resources import build_resources

        return load_table(arguments.table, arguments.file, build_resources()["lake"])
    if arguments.command == "dev":
        from cli.dev import dev

        return dev(arguments.port)
    from cli.decide import decide, restore, roll_back

    if arguments.command == "restore":
        return restore(arguments.project, arguments.by, arguments.reason)
    if arguments.command == "rollback":
        return roll_back(arguments.project, arguments.model, arguments.by, arguments.reason)
    return decide(arguments.command, arguments.project, arguments.model, arguments.by, arguments.reason)


def main() -> int:
    try:
        return run(parser().parse_args())
    except LedgerlineError as error:
        print(f"ledgerline: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ledgerline: interrupted; the same command goes on from where it was.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
