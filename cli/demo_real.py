"""`make demo-real`: the same demo twice, embedded and on real servers, and whether both map every mention alike.

Each runs as a process of its own in a new home, told by environment variables alone where its stores are. Here: their order,
and the comparison. The servers are those of the tests (`tests/servers/together.py`); the demo is `cli/demo.py`.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.progress import Progress, step_of
from cli.servers import of_the_tests, until_told
from ledgerline.errors import ConfigurationError, LedgerlineError
from resources.environment import ROOT, archive_of, child_variables, given_variables, read_settings

KEY = ("source", "day", "mention_id")
# Stores name their versions differently by design, and a run has its own time. Each demo trains a model of its own: BM25 of
# OpenSearch differs from tantivy's by up to 0.0001 in 1,016 of 45,374 examples, so that bytes and scores of the models do too.
LEFT_OUT = ("index_version", "graph_version", "mapped_at", "model_digest")
# Of a calibrated probability, which a person is shown with three digits; what is decided must be equal.
SCORE_TOLERANCE = 0.0005
SHOWN = 20  # differences; the rest are counted


def demo_real(archive: str | None) -> int:
    """Run both and compare; 0 only if both mapped the same mentions to the same rows. Raises LedgerlineError."""
    settings = read_settings()
    if archive is not None:
        settings = dataclasses.replace(settings, archive=archive_of(archive))
    if settings.environment != "local":
        raise ConfigurationError("`make demo-real` compares local environments: run it without LEDGERLINE_ENV.")
    home = settings.home / "demo-real"
    homes = {name: dataclasses.replace(settings, home=home / name) for name in ("embedded", "real")}
    progress = Progress()
    with until_told() as told, of_the_tests().running(home / "servers") as started:
        for server in started:
            progress.say(
                f"{server.name:<24} {server.missing or f'started in {server.seconds:.1f} s, log {server.log}'}"
            )
        missing = [server.name for server in started if server.missing]
        if missing:
            raise ConfigurationError(f"{', '.join(missing)} cannot be had here: see above what to install.")
        given = {name: value for server in started for name, value in server.variables.items()}
        variables = {name: child_variables(settings) for name, settings in homes.items()}
        variables["embedded"] = {name: value for name, value in variables["embedded"].items() if name not in given}
        variables["real"] |= given
        seconds, mapped = {}, {}
        for name, of_demo in variables.items():
            shutil.rmtree(homes[name].home, ignore_errors=True)
            seconds[name] = run_demo(of_demo, told=told)
            mapped[name] = mappings(of_demo)  # now, for those of the servers end with them
    progress.table(
        "Seconds per step",
        ["step", "embedded", "real servers"],
        [[step, took, seconds["real"].get(step, "")] for step, took in seconds["embedded"].items()],
    )
    return compare(mapped["embedded"], mapped["real"], progress)


def compare(embedded: Sequence[Mapping[str, Any]], real: Sequence[Mapping[str, Any]], progress: Progress) -> int:
    """Say whether the rows are the same; 0 if they are and there is one."""
    found = list(differences(embedded, real))
    for one in found[:SHOWN]:
        progress.say(one)
    if found or not embedded:
        progress.say(f"DIFFERENT {len(found)} of {len(embedded)} mappings")
        return 1
    progress.say(f"SAME {len(embedded)} mappings")
    return 0


def differences(embedded: Sequence[Mapping[str, Any]], real: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each mention that is not mapped alike, or by one of the two only."""
    one, other = by_mention(embedded), by_mention(real)
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            yield f"{' '.join(key)}: only {'embedded' if key in one else 'on real servers'}"
            continue
        unequal = [name for name in one[key] if not alike(name, one[key][name], other[key].get(name))]
        if unequal:
            said = "; ".join(f"{name} {one[key][name]!r} / {other[key].get(name)!r}" for name in unequal)
            yield f"{' '.join(key)} {one[key]['surface']!r}: {said}"


def alike(column: str, one: Any, other: Any) -> bool:
    """Whether the values of a column count as the same."""
    if column == "score" and None not in (one, other):
        return bool(abs(one - other) <= SCORE_TOLERANCE)
    return column in LEFT_OUT or bool(one == other)


def by_mention(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    found = {tuple(str(row[name]) for name in KEY): row for row in rows}
    if len(found) != len(rows):
        raise LedgerlineError("a mention is mapped twice in `ticker_mappings`; materialize its days again.")
    return found


def mappings(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """All rows of `ticker_mappings` where these variables say. Credentials of a lake are those of the environment alone."""
    from resources import build_resources

    with given_variables(variables):
        lake = build_resources(settings=read_settings(variables=variables))["lake"]
        rows: list[dict[str, Any]] = lake.read("ticker_mappings").to_pylist()
    return rows


def run_demo(variables: Mapping[str, str], *, told: threading.Event) -> dict[str, float]:
    """Run the demo, then the doctor, with these variables; returns the seconds of each step. Raises LedgerlineError."""
    seconds = {}
    try:
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "cli", "demo"], cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
        ) as running:
            threading.Thread(target=end_when, args=(told, running), daemon=True).start()
            assert running.stdout is not None
            for line in running.stdout:
                print(line, end="", flush=True)
                step = step_of(line)
                if step:
                    seconds[step[0]] = step[1]
        if not running.returncode:  # shows on which implementation each port was
            subprocess.run([sys.executable, "-m", "cli", "doctor"], cwd=ROOT, env=variables, check=False)
    finally:
        subprocess.run([sys.executable, "-m", "local_sagemaker", "stop"], cwd=ROOT, env=variables, check=False)
    if running.returncode:
        raise LedgerlineError(
            f"the demo in {variables['LEDGERLINE_HOME']} ended with {running.returncode}; what it said is above."
        )
    return seconds


def end_when(told: threading.Event, running: subprocess.Popen[str]) -> None:
    told.wait()
    running.terminate()  # does nothing to one that has ended
