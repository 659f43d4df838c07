"""One line per step of a long command: what it did and how long it took. Rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Step:
    """A step under way; `said` is what its line will say, set by the step itself."""

    said: str = ""
    skipped: bool = False

    def skip(self, why: str) -> None:
        self.said, self.skipped = why, True


@dataclass
class Progress:
    """Prints steps and tables. Not a terminal: no colours, no spinner, no line is ever rewritten."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time the block and print its line at the end; a block that raises prints that it failed."""
        step = Step()
        started = time.monotonic()
        try:
            if self.console.is_terminal:
                with self.console.status(f"{title} ..."):
                    yield step
            else:
                yield step
        except BaseException:
            self._line("✗", title, "failed", started)
            raise
        self._line("–" if step.skipped else "✓", title, step.said, started)

    def table(self, title: str, columns: list[str], rows: list[list[object]]) -> None:
        shown = Table(title=title, title_justify="left")
        for column in columns:
            shown.add_column(column, overflow="fold")
        for row in rows:
            shown.add_row(*map(str, row))
        self.console.print(shown)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def _line(self, mark: str, title: str, said: str, started: float) -> None:
        self.console.print(f"{mark} {title:<28} {said}  ({time.monotonic() - started:.1f} s)", markup=False)


def step_of(line: str) -> tuple[str, float] | None:
    """Title and seconds of a step from the line that another process printed of it; None for any other line."""
    found = re.fullmatch(r"[✓–✗] (\S+) .*\((\d+\.\d) s\)", line.rstrip())
    return (found[1], float(found[2])) if found else None
