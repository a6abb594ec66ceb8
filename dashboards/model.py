"""What a dashboard is made of: rows, panels, queries. Nothing here knows Grafana's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
THRESHOLDS = dict(
    line.split("=", 1)
    for line in (ROOT / "deploy" / "monitoring" / "thresholds").read_text().splitlines()
    if line and not line.startswith("#")
)
"""The alerts' numbers: where a panel changes its colour, somebody is told."""

REQUESTS = 'job="app", route!~"/health|/livez|/metrics"'
"""Requests of clients, as the service level objective counts them."""

FAST = "5s"
"""How often apps and proxies are asked: the shortest step that shows anything."""

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"
"""Colours by what they mean: well, look at it, not well, something else, nothing."""

Kind = Literal["lines", "stacked", "steps", "number", "states"]
"""Lines over time, the same on top of each other, or in steps; the last number; states in bands."""

Steps = tuple[tuple[float | None, str], ...]
"""Colours from a value up; the first has None."""


def number(name: str) -> float:
    """Return a number of `thresholds`."""
    return float(THRESHOLDS[name])


def below(name: str) -> Steps:
    """Return colours of what should stay below a threshold of the alerts."""
    return ((None, GREEN), (number(name), RED))


def above(name: str) -> Steps:
    """Return colours of what should stay above a threshold of the alerts."""
    return ((None, RED), (number(name), GREEN))


@dataclass(frozen=True)
class Query:
    """What Prometheus is asked, and what each series is called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel. Its description is for whoever has never seen it."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    steps: Steps = ()
    words: tuple[tuple[int, str, str], ...] = ()
    """Of `states` and `number`: value, what it is called, colour."""
    span: int = 12
    height: int = 7
    decimals: int | None = None
    most: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels beneath a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Event:
    """Something that is marked on every panel's time axis."""

    title: str
    expression: str
    colour: str


def happened(counter: str) -> str:
    """Return what is above 0 for a short time after a counter of the monitor's rose."""
    grown = f'increase({counter}{{job="monitor"}}[$__rate_interval])'
    return f"round(max({grown})) > 0"


EVENTS = (
    Event("Failovers", happened("holdfast_monitor_failovers_total"), RED),
    Event("Switchovers", happened("holdfast_monitor_switchovers_total"), BLUE),
    Event(
        "Moves of the virtual IP",
        'sum(changes(holdfast_virtual_ip_held{job="proxy"}[$__rate_interval])'
        ' - resets(holdfast_virtual_ip_held{job="proxy"}[$__rate_interval])) > 0',
        YELLOW,
    ),
)
"""What explains a dent, on each dashboard."""


@dataclass(frozen=True)
class Dashboard:
    """A page of panels."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    since: str = "now-1h"
    refresh: str = "10s"
    instances: str = ""
    """The job whose instances can be chosen by `$instance`; none: nothing is chosen."""
    events: tuple[Event, ...] = EVENTS
