"""The names above the charts stand apart, whatever happened and however often."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ops.load.chart import WIDTH, Axis, Scene, labels, named
from ops.load.labels import MOST, ROW, ROWS, SIZE
from ops.load.operation import Mark

SECONDS = 60.0
LOAD = Axis(SECONDS)

MOMENTS = st.floats(-1.0, SECONDS + 5.0) | st.sampled_from([0.0, 30.0, SECONDS])
TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=120)
NAMES = st.sampled_from(["docker kill postgres1", "whole again", "postgres2 is stop_replication"])


def marks(kinds: list[str], most: int) -> st.SearchStrategy[list[Mark]]:
    """Marks of these kinds, some at one moment, some at the edges, some beyond them."""
    one = st.builds(Mark, MOMENTS, NAMES | TEXTS, st.sampled_from(kinds))
    return st.lists(one, max_size=most)


Box = tuple[float, float, float, float]


def boxes(drawn: str) -> list[Box]:
    """The boxes of all names in an SVG: left, top, right, bottom.

    A text is as wide as its textLength in every font, and reaches from its ascent above the
    baseline to its descent below, together a fifth more than its size at most.
    """
    found = []
    for text in ET.fromstring(drawn).iter("text") if drawn else ():  # noqa: S314 - made here
        assert text.get("text-anchor") is None
        left, base = float(text.attrib["x"]), float(text.attrib["y"])
        right = left + float(text.attrib["textLength"])
        found.append((left, base - 0.95 * SIZE, right, base + 0.25 * SIZE))
    return found


def apart(one: Box, other: Box) -> bool:
    """Whether two boxes have no point in common."""
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@given(marks(list(ROWS), 80))
def test_no_two_names_touch_and_none_leaves_the_picture(drawn: list[Mark]) -> None:
    """Faults, what undid them, and what the monitor saw, in a crowd."""
    picture = labels(Scene(LOAD, drawn, None))
    found = boxes(picture)
    for one, other in combinations(found, 2):
        assert apart(one, other)
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', picture)
    wide, high = (int(size[1]), int(size[2])) if size else (WIDTH, 0)
    for left, top, right, bottom in found:
        assert left >= 0
        assert right <= wide
        assert top >= -1
        assert bottom <= high


@given(marks(["fault"], 20), marks(["undone", "event"], 60))
def test_twenty_faults_always_have_names(faults: list[Mark], others: list[Mark]) -> None:
    """Whatever else happened: others make room."""
    placed = named(Scene(LOAD, [*others, *faults], None))
    assert sum(label.mark.kind == "fault" for label in placed) == len(faults)


def test_names_at_the_right_edge_stand_left_of_their_lines() -> None:
    """Twenty faults at the last moment, one below the other."""
    faults = [Mark(SECONDS, f"docker kill postgres{number}", "fault") for number in range(20)]
    placed = named(Scene(LOAD, faults, None))
    assert {label.row for label in placed} == set(range(20))
    assert all(label.left + label.wide < label.x for label in placed)


def test_a_name_without_room_is_left_out_and_a_long_one_cut() -> None:
    """Events have ten rows, two names in each where all are at one moment."""
    events = [Mark(30.0, "postgres1 is wait_primary " * 9, "event") for _ in range(30)]
    placed = named(Scene(LOAD, events, None))
    assert len(placed) == 2 * ROWS["event"]
    assert {(len(label.text), label.text[-1]) for label in placed} == {(MOST, "…")}


def test_rows_are_as_high_as_what_stands_in_them() -> None:
    """Letters with a descent stay in their row."""
    ((_, top, _, bottom),) = boxes(labels(Scene(LOAD, [Mark(1.0, "gj", "fault")], None)))
    assert bottom - top <= ROW
