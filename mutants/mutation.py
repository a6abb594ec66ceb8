"""One planted fault: a span of a file, and what stands there instead."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

REMOVED = "(removed)"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one change in it. Its name has no line number, so it outlives edits elsewhere."""

    path: str  # relative to the project
    source: str
    start: int  # bytes, as ast counts
    end: int
    new: str
    what: str  # "old -> new" on one line

    @property
    def first(self) -> int:
        """The number of the first line that changes."""
        return self.source.encode()[: self.start].count(b"\n") + 1

    @property
    def last(self) -> int:
        """The number of the last line that changes."""
        return self.source.encode()[: self.end].count(b"\n") + 1

    @property
    def line(self) -> str:
        """The first line that changes, as it is."""
        return self.source.splitlines()[self.first - 1].strip()

    @property
    def name(self) -> tuple[str, str, str]:
        """What it is known by: file, line and change."""
        return self.path, self.line, self.what

    @property
    def changed(self) -> str:
        """The whole file with the fault in it."""
        raw = self.source.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()

    @property
    def diff(self) -> list[str]:
        """The lines that go and come."""
        lines = difflib.ndiff(self.source.splitlines(), self.changed.splitlines())
        return [each for each in lines if each.startswith(("- ", "+ "))]

    def __str__(self) -> str:
        return f"{self.path}:{self.first}: {self.what}"


def told(old: str, new: str) -> str:
    """Say a change on one line."""
    return f"{' '.join(old.split())} -> {' '.join(new.split()) or REMOVED}"
