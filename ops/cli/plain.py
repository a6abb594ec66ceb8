"""Text in a terminal without any package: colours where it is one, and tables in columns."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from itertools import zip_longest

CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "bold red": "1;31",
    "bold green": "1;32",
    "bold yellow": "1;33",
}

GAP = "  "


@dataclass(frozen=True)
class Text:
    """Some text in one style; `CODES` has those that there are."""

    text: str
    style: str = ""

    def __str__(self) -> str:
        return self.text

    def drawn(self, *, colours: bool) -> str:
        """Return it for a terminal, or for a file."""
        if not colours or not self.style:
            return self.text
        return f"\x1b[{CODES[self.style]}m{self.text}\x1b[0m"


@dataclass
class Table:
    """Rows under headings; a cell may have several lines. Columns are as wide as they must be."""

    headings: tuple[str, ...]
    right: frozenset[int] = frozenset()  # columns of numbers
    rows: list[tuple[str | Text, ...]] = field(default_factory=list)

    def __init__(self, *headings: str, right: frozenset[int] = frozenset()) -> None:
        self.headings, self.right, self.rows = headings, right, []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row, one cell a column."""
        self.rows.append(cells)

    def lines(self, *, colours: bool = False) -> list[str]:
        """Return it as lines, without anything behind their last letter."""
        shown = [tuple(Text(each, "bold") for each in self.headings), *self.rows]
        split = [[_lines(cell) for cell in row] for row in shown]
        wide = [
            max(len(line.text) for cell in cells for line in cell)
            for cells in zip(*split, strict=True)
        ]
        drawn = []
        for row in split:
            for cells in zip_longest(*row, fillvalue=Text("")):
                parts = [
                    _padded(cell, wide[column], right=column in self.right, colours=colours)
                    for column, cell in enumerate(cells)
                ]
                drawn.append(GAP.join(parts).rstrip())
        return drawn


def _lines(cell: str | Text) -> list[Text]:
    style = cell.style if isinstance(cell, Text) else ""
    return [Text(line, style) for line in str(cell).split("\n")]


def _padded(cell: Text, wide: int, *, right: bool, colours: bool) -> str:
    space = " " * (wide - len(cell.text))
    text = cell.drawn(colours=colours)
    return space + text if right else text + space


Printable = str | Text | Table


def drawn(what: Printable, *, colours: bool = False) -> str:
    """Return text, styled text or a table as it is printed."""
    if isinstance(what, Table):
        return "\n".join(what.lines(colours=colours))
    return what if isinstance(what, str) else what.drawn(colours=colours)


def show(what: Printable, style: str = "", *, error: bool = False, cut: bool = False) -> None:
    """Print at once, to standard output or standard error, in colours if that is a terminal.

    `cut`: in a terminal no line is longer than it is wide; only without styles.
    """
    stream = sys.stderr if error else sys.stdout
    terminal = stream.isatty()
    colours = terminal and not cut and "NO_COLOR" not in os.environ
    text = drawn(Text(what, style) if isinstance(what, str) else what, colours=colours)
    if cut and terminal:
        wide = shutil.get_terminal_size().columns
        text = "\n".join(_cut(line, wide) for line in text.split("\n"))
    stream.write(f"{text}\n")
    stream.flush()


def _cut(line: str, wide: int) -> str:
    return line if len(line) <= wide else f"{line[: wide - 1]}…"
