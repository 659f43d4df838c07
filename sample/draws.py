"""Seeded choices that are the same on every Python: built on `Random.random()` alone, whose sequence is guaranteed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeVar

Thing = TypeVar("Thing")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


class Draw:
    """A stream of choices named by a label; streams with other labels do not disturb each other."""

    def __init__(self, label: str) -> None:
        self._random = Random(int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big"))

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, things: Sequence[Thing]) -> Thing:
        return things[int(self._random.random() * len(things))]

    def several(self, things: Sequence[Thing], count: int) -> list[Thing]:
        """`count` different ones, in random order (all of them where there are fewer)."""
        left = list(things)
        taken: list[Thing] = []
        while left and len(taken) < count:
            taken.append(left.pop(int(self._random.random() * len(left))))
        return taken

    def bytes(self, count: int) -> bytes:
        return bytes(self.number(0, 255) for _ in range(count))

    def fill(self, template: str, slots: Mapping[str, Callable[[], str]]) -> str:
        """A template with [a|b|c] choices made (inner ones first) and {slots} asked for, each time anew."""
        while _CHOICE.search(template):
            template = _CHOICE.sub(lambda found: self.pick(found.group(1).split("|")), template, count=1)
        return _SLOT.sub(lambda found: slots[found.group(1)](), template)
