"""Where the names of marks stand above the charts: no two on one another, none beyond the edge.

What a text takes depends on the reader's font, so each is drawn in the width that is reckoned with
here (`textLength`). In a crowd a fault's name comes first; a name without room is left out, and
the page lists it below the charts.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ops.load.operation import Mark

SIZE = 19  # of the letters, as in page.css; in the SVG's units as everything here
ROW = 26
BASELINE = 18  # below the top of a row
SHIFT = 8  # from a mark's line to its name
GAP = 10  # between two names in one row

ROWS = {"fault": 20, "undone": 12, "event": 10}
"""How many rows each kind may take, the first to choose first: 20 faults always have a name each,
as one takes a row at most."""

NARROW, WIDE, WIDEST = frozenset("fijlrtI.,:;|!'` ()[]-"), frozenset("mwMW@%→—"), frozenset("WF")
MOST = 48
"""Characters of a name that are drawn."""


@dataclass(frozen=True, slots=True)
class Label:
    """A mark's name in its place: its box is `left` to `left + wide`, in `row`."""

    mark: Mark
    text: str
    x: float  # of the mark's line
    left: float
    wide: float
    row: int


def kind(mark: Mark) -> str:
    """Return what a mark is coloured by."""
    return mark.kind if mark.kind in ROWS else "event"


def width(text: str) -> float:
    """Return the width that a text is drawn in."""
    return round(sum(map(_part, text)) * SIZE, 1)


def _part(letter: str) -> float:
    """Return a bold letter's width as a part of its height."""
    if unicodedata.east_asian_width(letter) in WIDEST:
        return 1.0
    if letter in NARROW:
        return 0.37
    if letter in WIDE:
        return 0.95
    return 0.74 if letter.isupper() else 0.62


def place(marks: Sequence[Mark], xs: Sequence[float], end: float) -> list[Label]:
    """Return the names that have room between 0 and `end`, given where the marks' lines are."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(max(ROWS.values()))]
    first = list(ROWS)
    order = sorted(range(len(marks)), key=lambda each: (first.index(kind(marks[each])), xs[each]))
    placed = []
    for number in order:
        mark, x = marks[number], xs[number]
        text = mark.what if len(mark.what) <= MOST else f"{mark.what[: MOST - 1]}…"
        wide = min(width(text), end / 2 - SHIFT)
        found = next(_free(taken[: ROWS[kind(mark)]], x, wide, end), None)
        if found is not None:
            row, left = found
            taken[row].append((left, left + wide))
            placed.append(Label(mark, text, x, left, wide, row))
    return placed


def _free(
    rows: Sequence[Sequence[tuple[float, float]]], x: float, wide: float, end: float
) -> Iterator[tuple[int, float]]:
    """Yield the places that a name may have, the best first: its row, and where it begins."""
    for row, names in enumerate(rows):
        for left in (x + SHIFT, x - SHIFT - wide):
            fits = left >= 0 and left + wide <= end
            if fits and all(left >= to + GAP or left + wide + GAP <= at for at, to in names):
                yield row, round(left, 1)
