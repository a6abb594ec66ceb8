"""The page's charts: SVG drawn here, so that the page shows them without any script."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ops.load import wording
from ops.load.labels import BASELINE, ROW, Label, kind, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ops.load.operation import Mark
    from ops.load.pauses import Pause
    from ops.load.timeline import Bucket

WIDTH = 1200
LEFT, RIGHT = 84, 40  # margins, in the SVG's units as everything here
FOOT = 30
HEAD = 14
MOST_GRID = 4  # lines across a chart of counts
BURST = 6  # medians: what is completed at once after a pause would flatten all else

LEAST_LATENCY, MOST_LATENCY = 1e-3, 1.0
"""Seconds: what the latency axis shows at least."""

OUTCOMES = ("ok", "unknown", "failed")  # from the bottom of the stack to its top


@dataclass(frozen=True, slots=True)
class Axis:
    """The horizontal axis of all charts: `seconds` of a load across the width."""

    seconds: float

    def x(self, at: float) -> float:
        """Return where a moment is; one outside of the load is at its edge."""
        part = min(max(at / self.seconds, 0.0), 1.0) if self.seconds else 0.0
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        """Return the moments to name, 12 at most."""
        return [count * self._step for count in range(int(self.seconds / self._step) + 1)]

    @property
    def _step(self) -> float:
        steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
        return next((step for step in steps if self.seconds / step <= 12), 86400)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Scene:
    """What all charts of a page share: the axis, the marks, and the pause to shade."""

    axis: Axis
    marks: Sequence[Mark]
    pause: Pause | None

    def behind(self, height: float) -> Iterator[str]:
        """Draw the shade of the pause; charts are drawn over it."""
        if self.pause is not None and self.pause.seconds >= self.axis.seconds / 200:
            x = self.axis.x(self.pause.began)
            wide = max(2.0, self.axis.x(self.pause.began + self.pause.seconds) - x)
            yield f'<rect class="pause" x="{x}" y="{HEAD}" width="{wide:.1f}" height="{height}"/>'

    def over(self, height: float) -> Iterator[str]:
        """Draw the marks' lines and the names of the moments."""
        foot = HEAD + height
        for tick in self.axis.ticks():
            x = self.axis.x(tick)
            yield (
                f'<line class="tick" x1="{x}" y1="{foot}" x2="{x}" y2="{foot + 5}"/>'
                f'<text class="axis" x="{x}" y="{foot + 24}" text-anchor="middle">{tick:g} s</text>'
            )
        for mark in self.marks:
            x = self.axis.x(mark.at)
            yield f'<line class="mark {kind(mark)}" x1="{x}" y1="0" x2="{x}" y2="{foot}"/>'


def named(scene: Scene) -> list[Label]:
    """Return the names of marks that have room above the charts, in their places."""
    return place(scene.marks, [scene.axis.x(mark.at) for mark in scene.marks], WIDTH)


def labels(scene: Scene) -> str:
    """Draw the marks' names, in rows that keep them apart, each beside its line."""
    placed = named(scene)
    if not placed:
        return ""
    height = ROW * (1 + max(label.row for label in placed))
    parts = [
        f'<line class="mark {kind(label.mark)}" x1="{label.x}" y1="{label.row * ROW}" '
        f'x2="{label.x}" y2="{height}"/>'
        for label in placed
    ]
    return _svg("labels", height, [*parts, *map(_label, placed)])


def _label(label: Label) -> str:
    # In the width that was reckoned with, whatever the font.
    return (
        f'<text class="label {kind(label.mark)}" x="{label.left}" '
        f'y="{label.row * ROW + BASELINE}" textLength="{label.wide}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(label.text)}</text>'
    )


def stacked(scene: Scene, buckets: Sequence[Bucket], step: float, height: int = 130) -> str:
    """Draw what was completed in each step by outcome, one on top of the other, bursts cut off."""
    some = sorted(bucket.completed for bucket in buckets if bucket.completed) or [1]
    most = min(some[-1], some[len(some) // 2] * BURST) * 1.12
    counts = [[getattr(bucket, name) for name in OUTCOMES] for bucket in buckets]

    def y(count: float) -> float:
        return round(HEAD + height * (1 - min(count / most, 1.0)), 1)

    parts = list(scene.behind(height))
    parts += [_grid(y(count), f"{count:g}") for count in _round_counts(most)]
    for layer, name in enumerate(OUTCOMES):
        tops = [(sum(count[: layer + 1]), sum(count[:layer])) for count in counts]
        parts.append(f'<path class="{name}" d="{_area(scene.axis, tops, step, y)}"/>')
    return _svg("chart", HEAD + height + FOOT, [*parts, *scene.over(height)])


def latencies(
    scene: Scene, writes: Sequence[Bucket], reads: Sequence[Bucket], step: float, height: int = 260
) -> str:
    """Draw the median and the longest latency of each step, on a logarithmic scale."""
    all_of_them = [each.longest for each in (*writes, *reads) if each.longest is not None]
    most = max([MOST_LATENCY, *all_of_them]) * 1.5

    def y(seconds: float) -> float:
        part = math.log(max(seconds, LEAST_LATENCY) / LEAST_LATENCY) / math.log(
            most / LEAST_LATENCY
        )
        return round(HEAD + height * (1 - part), 1)

    parts = list(scene.behind(height))
    powers = range(-3, math.floor(math.log10(most)) + 1)
    parts += [_grid(y(10.0**power), _power(power)) for power in powers]
    for name, buckets in (("reads", reads), ("writes", writes)):
        for what, values in (
            ("longest", [bucket.longest for bucket in buckets]),
            ("median", [bucket.p50 for bucket in buckets]),
        ):
            parts.append(f'<path class="{name} {what}" d="{_line(scene.axis, values, step, y)}"/>')
    return _svg("chart", HEAD + height + FOOT, [*parts, *scene.over(height)])


def _svg(name: str, height: float, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return f'<svg class="{name}" viewBox="0 0 {WIDTH} {height:g}" role="img">\n{inside}\n</svg>'


def _grid(y: float, name: str) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>'
        f'<text class="axis" x="{LEFT - 10}" y="{y + 6}" text-anchor="end">{name}</text>'
    )


def _area(
    axis: Axis, tops: Sequence[tuple[float, float]], step: float, y: Callable[[float], float]
) -> str:
    """Return the outline of the stretches where an area has a height."""
    shapes = []
    for number, (top, bottom) in enumerate(tops):
        if top > bottom:
            left, right = axis.x(number * step), axis.x((number + 1) * step)
            shapes.append(f"M{left} {y(bottom)}V{y(top)}H{right}V{y(bottom)}Z")
    return "".join(shapes)


def _line(
    axis: Axis, values: Sequence[float | None], step: float, y: Callable[[float], float]
) -> str:
    """Return a line through the middles of the steps; a step without a value is left out."""
    points = [
        f"{axis.x((number + 0.5) * step)} {y(value)}"
        for number, value in enumerate(values)
        if value is not None
    ]
    return f"M{'L'.join(points)}" if points else ""


def _round_counts(most: float) -> list[float]:
    """Return 0 and up to three round numbers below `most`; counts are whole."""
    power = 10.0 ** max(0, math.floor(math.log10(most)))
    parts = (0.2, 0.5, 1, 2, 5) if power > 1 else (1, 2, 5)
    step = next(power * part for part in parts if most / (power * part) < MOST_GRID)
    return [step * count for count in range(int(most / step) + 1)]


def _power(power: int) -> str:
    return wording.duration(10.0**power).replace(".0", "")
