"""The page needs nothing but itself, shows what happened and when, and trusts no text."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

from ops.load import wording
from ops.load.chart import HEAD, Axis
from ops.load.operation import Kind, Mark, Operation, Outcome
from ops.load.page import render_page
from ops.load.plan import Plan
from ops.load.report import summarize
from ops.load.run import Result
from ops.load.selfcheck import SelfCheck

EVIL = "</script><b>&"


def result(*marks: Mark, late: float = 0.0, reads: bool = True) -> Result:
    """Ten seconds in which writes paused for two, and one failed."""
    operations = []
    for number in range(100):
        due = number / 10
        latency = max(0.01, 5.0 - due) if 3.0 <= due < 5.0 else 0.01
        outcome = Outcome.FAILED if number == 70 else Outcome.OK
        kind = Kind.READ if reads and number % 2 else Kind.CREATE
        error = EVIL if number == 70 else ""
        sent, done = due + late, due + late + latency
        operations.append(Operation(kind, "e", due, sent, done, outcome, 200, error))
    checks = [SelfCheck(0)]
    return Result(Plan(seconds=10.0), 1e9, 10.0, operations, list(marks), checks, [])


def page(load: Result, heading: str = "A drill") -> str:
    """The page of a load."""
    return render_page(summarize(load), heading)


def test_marks_are_lines_with_names() -> None:
    """In the colour of their kind."""
    drawn = page(
        result(Mark(3.0, "kill -9 postgres1", "fault"), Mark(5.0, "new"), Mark(8.0, "up", "undone"))
    )
    assert 'class="mark fault"' in drawn
    assert 'class="mark event"' in drawn
    assert 'class="mark undone"' in drawn
    assert ">kill -9 postgres1</text>" in drawn


def test_the_headline_has_the_numbers() -> None:
    """What failed, and how long writes paused."""
    drawn = page(result())
    assert "<b>1</b><span>failed of 100</span>" in drawn
    assert "<b>2.2 s</b><span>longest write pause</span>" in drawn
    assert 'class="pause"' in drawn


def test_texts_are_escaped() -> None:
    """Marks, errors and the heading, in the page and in the data of its script."""
    drawn = page(result(Mark(1.0, EVIL, "fault")), EVIL)
    assert EVIL not in drawn
    assert drawn.count("</script>") == 2
    data = re.search(r'type="application/json">(.*?)</script>', drawn)
    assert data is not None
    assert json.loads(data[1])["marks"] == [{"at": 1.0, "what": EVIL}]


def test_the_charts_are_valid() -> None:
    """Each SVG can be parsed, and stays within its box."""
    charts = re.findall(r"<svg.*?</svg>", page(result(Mark(99.0, "later"))), re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        ET.fromstring(chart)  # noqa: S314 - made above
        assert "nan" not in chart


def test_a_pause_is_a_gap_and_what_follows_is_cut_off() -> None:
    """Nothing stands in the pause; fifty answers at once leave one or two a step to be seen."""
    held = [
        Operation(Kind.CREATE, "e", due / 50, due / 50, max(due / 50, 3.0), Outcome.OK)
        for due in range(500)
        if not 1.0 < due / 50 < 2.0
    ]
    drawn = page(Result(Plan(seconds=10.0), 1e9, 10.0, held, [], [SelfCheck(0)], []))
    (path,) = re.findall(r'path class="ok" d="([^"]*)"', drawn)[:1]
    bars = [tuple(map(float, bar)) for bar in re.findall(r"M(\S+) \S+V(\S+)H(\S+)V", path)]
    assert min(left for left, _, _ in bars) == Axis(10.0).x(3.0)
    tops = [top for _, top, _ in bars]
    assert tops[0] == HEAD  # the burst
    assert 0.1 < (HEAD + 130 - tops[9]) / 130 < 0.2


def test_the_page_needs_nothing_else() -> None:
    """No address but the service's in its description."""
    drawn = page(result()).replace(Plan().base_url, "")
    assert "http" not in drawn
    assert "src=" not in drawn
    assert "@import" not in drawn


def test_what_changes_the_verdict_stands_at_the_top() -> None:
    """Before the heading, in red; what changes nothing stands below, in a line."""
    drawn = page(result(late=3.0))
    assert 0 < drawn.index(wording.STARVED) < drawn.index("<h1>")
    quiet = page(result(Mark(3.0, "kill", "fault"), late=0.1))
    assert 'class="alarm"' not in quiet
    assert quiet.index("<h1>") < quiet.index("Late, but not so that it changes the verdict")


def test_a_page_without_reads_or_without_anything() -> None:
    """What there was not is not drawn."""
    assert "Reads completed" not in page(result(reads=False))
    assert "<svg" in page(Result(Plan(), 1e9, 0.0, [], [], [], []))
