"""`make doctor`: every port that is configured, tried for real. What is tried is in `ledgerline/doctor.py` and the resources."""

from __future__ import annotations

from cli.progress import Progress
from resources.environment import read_settings


def doctor() -> int:
    """Print what works and what to do about the rest; 0 only if all works. Raises ConfigurationError for a wrong setting."""
    from ledgerline.doctor import examine, rows
    from resources import build_resources

    settings = read_settings()
    findings = examine(build_resources(settings=settings))
    progress = Progress()
    columns = ["port", "implementation", "works", "tried"]
    table = rows(findings)
    progress.table(
        f"LEDGERLINE_ENV={settings.environment}", columns, [[row[name] for name in columns] for row in table]
    )
    broken = [one for one in findings if not one.works]
    for one in broken:
        progress.say(f"{one.port}: {one.said}")
    progress.say(f"{len(findings) - len(broken)} of {len(findings)} ports work")
    return 1 if broken else 0
