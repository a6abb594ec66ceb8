"""Faults in SQL, planted in the text of the string that has it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|BEGIN|COMMIT|ROLLBACK|SET|SHOW|ALTER|CREATE|DROP)\b"
)
_CLAUSES = re.compile(
    r"\b(WHERE|ORDER BY|LIMIT|RETURNING|FOR UPDATE|ON CONFLICT|FROM|SET|GROUP BY|UNION|VALUES)\b"
)
_REMOVABLE = frozenset({"WHERE", "ORDER BY", "LIMIT", "FOR UPDATE", "ON CONFLICT"})
_WORDS = {
    r" < ": " <= ",
    r" <= ": " < ",
    r" > ": " >= ",
    r" >= ": " > ",
    r"\bDESC\b": "ASC",
    r"\bIS NULL\b": "IS NOT NULL",
    r"\bIS NOT NULL\b": "IS NULL",
    r"\bAND\b": "OR",
    r"\bOR\b": "AND",
    r"\s*\bSKIP LOCKED\b": "",
    r"\+ 1\b": "+ 2",
}
Change = tuple[int, int, str]
"""Where a change begins and ends in the text, and what comes there instead."""


def is_sql(text: str) -> bool:
    """Whether a string is a statement."""
    return _SQL.match(text) is not None


def changes(text: str) -> Iterator[Change]:
    """Yield the faults that can be planted in a literal, which stands as in the source."""
    for pattern, new in _WORDS.items():
        for found in re.finditer(pattern, text):
            yield found.start(), found.end(), new
    for found in _CLAUSES.finditer(text):
        clause, end = found[1], _end(text, found.end())
        if clause in _REMOVABLE:
            yield found.start(), end, ""
        if clause in {"WHERE", "SET"}:
            yield from _parts(text, found.end(), end, " AND " if clause == "WHERE" else ",")
    yield from _statements(text)


def _end(text: str, start: int) -> int:
    """Return where the clause ends: at the next one, or at the end of what it stands in."""
    depth = 0
    for place in range(start, len(text)):
        letter = text[place]
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or letter in ';"' or (depth == 0 and _CLAUSES.match(text, place)):
            return place
    return len(text)


def _parts(text: str, start: int, end: int, between: str) -> Iterator[Change]:
    """Remove each part of a list, with what separates it from the others."""
    places = [
        place
        for place in range(start, end)
        if re.match(re.escape(between).replace(r"\ ", r"\s"), text[place:])
        and text.count("(", start, place) == text.count(")", start, place)
    ]
    if places:
        yield start, places[0] + len(between), " "
        for one, following in pairwise([*places, end]):
            yield one, following, " " if following == end else ""


def _statements(text: str) -> Iterator[Change]:
    """Remove each of several statements."""
    place = 0
    for found in re.finditer(r";", text):
        if text[found.end() :].strip(" \n\"'") or place:
            begin = re.compile(r"[\s\"'f]*").match(text, place)
            yield (begin.end() if begin else place), found.end(), ""
        place = found.end()
