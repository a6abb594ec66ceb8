"""Overview: whether it is well and quick, and how much of the error budget is left."""

from __future__ import annotations

from dashboards.model import (
    GREEN,
    RED,
    REQUESTS,
    YELLOW,
    Dashboard,
    Panel,
    Query,
    Row,
    above,
    below,
    number,
)

BUDGET = number("SLO_BUDGET")
KEPT = "15d"
"""How long Prometheus keeps what it has (deploy/monitoring/s6/prometheus/run)."""

SECONDS = "holdfast_http_request_duration_seconds"
URGENT = 'ALERTS{alertstate="firing", severity=~"page|ticket"}'


def rate(by: str, more: str = "") -> str:
    """Return requests a second by a label."""
    return f"sum by ({by}) (rate({SECONDS}_count{{{REQUESTS}{more}}}[$__rate_interval]))"


def quantile(part: float, more: str = "") -> str:
    """Return the time within which a part of the requests was answered."""
    buckets = f"sum by (le) (rate({SECONDS}_bucket{{{REQUESTS}{more}}}[$__rate_interval]))"
    return f"histogram_quantile({part}, {buckets})"


NOW = Row(
    "Now",
    (
        Panel(
            "Error budget left",
            "The part of the error budget (0.1 % of the requests) that is left, over the 15 days"
            " that Prometheus keeps. Below 0 the objective is missed.",
            "percentunit",
            (
                Query(
                    f"1 - sum_over_time(holdfast:slo_bad:rate1m[{KEPT}])"
                    f" / sum_over_time(holdfast:slo_requests:rate1m[{KEPT}]) / {BUDGET}"
                ),
            ),
            kind="number",
            steps=((None, RED), (0, YELLOW), (0.5, GREEN)),
            span=4,
            height=4,
            decimals=1,
        ),
        Panel(
            "Good requests in the last hour",
            "The part of the last hour's requests that were answered without a 5xx, within 0.5 s."
            " The objective is 99.9 %.",
            "percentunit",
            (Query("1 - holdfast:slo_bad:ratio_rate1h"),),
            kind="number",
            steps=((None, RED), (1 - BUDGET * number("SLO_BURN_1H"), YELLOW), (1 - BUDGET, GREEN)),
            span=4,
            height=4,
            decimals=3,
        ),
        Panel(
            "Nodes that accept writes",
            "As the proxy with the virtual IP sees it. One is right; with none writes wait, and"
            " with two HAProxy refuses them.",
            "none",
            (Query("holdfast:writable_nodes:max"),),
            kind="number",
            steps=((None, RED), (1, GREEN), (2, RED)),
            span=4,
            height=4,
        ),
        Panel(
            "Standbys in sync",
            "Standbys that a commit waits for, as the primary has it. With none each commit is on"
            " one node only.",
            "none",
            (
                Query(
                    'max(holdfast_postgres_sync_standbys{job="postgres"}'
                    ' and on (instance) holdfast_postgres_in_recovery{job="postgres"} == 0)'
                ),
            ),
            kind="number",
            steps=((None, RED), (1, GREEN)),
            span=4,
            height=4,
        ),
        Panel(
            "Instances in rotation",
            "Instances of the service that HAProxy sends requests to.",
            "none",
            (Query('max(holdfast:backend_servers:max{proxy="apps"})'),),
            kind="number",
            steps=((None, RED), (1, YELLOW), (2, GREEN)),
            span=4,
            height=4,
        ),
        Panel(
            "Alerts that somebody acts on",
            "Alerts of the severities page and ticket that fire now.",
            "none",
            (Query(f"count({URGENT}) or vector(0)"),),
            kind="number",
            steps=((None, GREEN), (1, RED)),
            span=4,
            height=4,
        ),
    ),
)

TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests",
            "Requests a second by route. Health checks and metrics are not in it.",
            "reqps",
            (Query(rate("method, route"), "{{method}} {{route}}"),),
            kind="stacked",
        ),
        Panel(
            "Latency",
            "The time within which half, 95 % and 99 % of the requests were answered. A request"
            " that is held through a failover shows here. The line is the objective's 0.5 s.",
            "s",
            tuple(Query(quantile(part), f"{part:.0%}") for part in (0.5, 0.95, 0.99)),
            steps=((None, GREEN), (0.5, RED)),
        ),
        Panel(
            "Responses",
            "Responses a second by status. 503 and 504 say that a deadline ran out, 409 and 412 are"
            " answers like any other.",
            "reqps",
            (Query(rate("status"), "{{status}}"),),
            kind="stacked",
        ),
        Panel(
            "Errors",
            "Responses a second with a 5xx, by route and status. Empty while all is well.",
            "reqps",
            (Query(rate("route, status", ', status=~"5.."'), "{{status}} {{route}}"),),
        ),
    ),
)

OBJECTIVE = Row(
    "Service level objective",
    (
        Panel(
            "Bad requests",
            "The part of the requests that got a 5xx or took longer than 0.5 s, over five"
            " minutes, an hour and a day. The line is what the objective allows.",
            "percentunit",
            tuple(
                Query(f"holdfast:slo_bad:ratio_rate{window}", window)
                for window in ("5m", "1h", "1d")
            ),
            steps=((None, GREEN), (BUDGET, RED)),
        ),
        Panel(
            "Burn rate",
            "How many times too fast the error budget is used: at 1 it lasts for exactly 30 days."
            " The line is where the first page goes out.",
            "none",
            tuple(
                Query(f"holdfast:slo_bad:ratio_rate{window} / {BUDGET}", window)
                for window in ("5m", "1h", "6h", "3d")
            ),
            steps=below("SLO_BURN_1H"),
        ),
    ),
)

PARTS = Row(
    "Parts",
    (
        Panel(
            "Alerts that fire",
            "Which alert fired when, with its severity. Empty while all is well.",
            "none",
            (Query(f"max by (alertname, severity) ({URGENT})", "{{severity}}: {{alertname}}"),),
            kind="states",
            words=((1, "fires", RED),),
        ),
        Panel(
            "Parts that can be asked",
            "Whether Prometheus reaches each part. What is down says nothing of itself.",
            "none",
            (Query("min by (job, instance) (up)", "{{job}} {{instance}}"),),
            kind="states",
            words=((0, "away", RED), (1, "there", GREEN)),
            height=10,
        ),
        Panel(
            "Waits for a processor, a disk, memory",
            "The part of the time in which some process of the machine waited (PSI). The line is"
            " where MachineOverloaded begins to count, for the processor.",
            "percentunit",
            tuple(
                Query(
                    f'rate(node_pressure_{what}_waiting_seconds_total{{job="node"}}[$__rate_interval])',
                    what,
                )
                for what in ("cpu", "io", "memory")
            ),
            steps=below("CPU_PRESSURE_MOST"),
            most=1,
        ),
        Panel(
            "Memory that is available",
            "The part of the machine's memory that programs can still have.",
            "percentunit",
            (
                Query(
                    'node_memory_MemAvailable_bytes{job="node"}'
                    ' / node_memory_MemTotal_bytes{job="node"}',
                    "available",
                ),
            ),
            steps=above("MEMORY_LEAST"),
            most=1,
        ),
    ),
)

PAGE = Dashboard(
    "overview",
    "Overview",
    "Is the stack well, how quick is it, and how much of its error budget is left?",
    (NOW, TRAFFIC, OBJECTIVE, PARTS),
)
