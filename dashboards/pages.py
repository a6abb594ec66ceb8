"""All dashboards, and all that they ask Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboards import edge, failover, overview, pools, postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = (overview.PAGE, failover.PAGE, postgresql.PAGE, pools.PAGE, edge.PAGE)

VARIABLES = {"$__rate_interval": "1m", "$instance": ".+"}
"""What Grafana puts in, and what it may be."""

EMPTY_WHILE_WELL = {
    ("Overview", "Errors"): "no request got a 5xx",
    ("Overview", "Alerts that fire"): "none does",
    ("Pools and exactly-once", "Retries"): "no attempt failed",
    ("Pools and exactly-once", "Units of work given up"): "none ran out of time",
    ("Pools and exactly-once", "Failures of the database"): "there was none",
    ("Pools and exactly-once", "Clients of PgBouncer"): "there are no poolers",
    ("Pools and exactly-once", "PostgreSQL's sessions of PgBouncer"): "there are no poolers",
    ("Pools and exactly-once", "Longest wait at PgBouncer"): "there are no poolers",
} | {(page.title, event.title): "nothing happened" for page in PAGES for event in page.events}
"""Panels and events that may have no series while all is well, by dashboard and title: why.

All others have one as soon as there was a request of each kind, with a standby and backups.
"""


@dataclass(frozen=True)
class Asked:
    """An expression with nothing of Grafana's in it, and where it stands."""

    dashboard: str
    title: str
    expression: str


def queries() -> Iterator[Asked]:
    """Yield every expression of every panel and event, as Prometheus takes it."""
    for page in PAGES:
        for row in page.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield Asked(page.title, panel.title, plain(query.expression))
        for event in page.events:
            yield Asked(page.title, event.title, plain(event.expression))


def plain(expression: str) -> str:
    """Return an expression with values in place of Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression
