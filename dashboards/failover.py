"""Failover: who had which role when, and what clients noticed, on one time axis."""

from __future__ import annotations

from dashboards.model import (
    BLUE,
    GREEN,
    GREY,
    RED,
    REQUESTS,
    YELLOW,
    Dashboard,
    Panel,
    Query,
    Row,
    below,
)
from dashboards.overview import SECONDS, quantile, rate

WIDE = 24
ASSIGNED = (
    ("single|primary|wait_primary|join_primary|apply_settings", 4),
    ("secondary", 3),
    (".*maintenance", 2),
)
"""pg_auto_failover's states that are roles, and what stands for them; all others are on the way."""

ANSWERS = (("writable", 3), ("read-only", 2), ("busy", 1), ("down", 0))
EXPECTED = "and on (node) holdfast:node:expected"
WRITES = ', method!~"GET|HEAD|OPTIONS"'


def _roles() -> str:
    roles = [
        f'holdfast_monitor_node_state{{job="monitor", assigned=~"{states}"}} * {value}'
        for states, value in ASSIGNED
    ]
    roles.append('holdfast_monitor_node_state{job="monitor"}')
    # `or` keeps the first that there is of each node.
    return "max by (node) (" + " or ".join(roles) + ")"


def _answers() -> str:
    answers = [
        f'holdfast_node_answer{{job="proxy", answer="{answer}"}} * {value}'
        for answer, value in ANSWERS
    ]
    return f"max by (node, instance) ({' or '.join(answers)}) {EXPECTED}"


ROLES = Row(
    "Who has which role",
    (
        Panel(
            "Roles that the monitor assigns",
            "What pg_auto_failover's monitor wants each node to be. In a failover the lost"
            " primary is on its way out while the standby is promoted.",
            "none",
            (Query(_roles(), "{{node}}"),),
            kind="states",
            words=(
                (1, "changes", YELLOW),
                (2, "maintenance", GREY),
                (3, "standby", BLUE),
                (4, "primary", GREEN),
            ),
            span=WIDE,
            height=5,
        ),
        Panel(
            "What nodes say to the proxies",
            "The answer of each node to the check of each proxy, ten times a second: this decides"
            " where writes go.",
            "none",
            (Query(_answers(), "{{node}} to {{instance}}"),),
            kind="states",
            words=(
                (0, "down", RED),
                (1, "busy", YELLOW),
                (2, "read-only", BLUE),
                (3, "writable", GREEN),
            ),
            span=WIDE,
            height=6,
        ),
        Panel(
            "Health, as the monitor sees it",
            "Whether the monitor reaches each node's PostgreSQL. A failover begins when the"
            " primary's turns bad.",
            "none",
            (Query('min by (node) (holdfast_monitor_node_healthy{job="monitor"})', "{{node}}"),),
            kind="states",
            words=((0, "bad", RED), (1, "good", GREEN)),
            span=WIDE,
            height=5,
        ),
        Panel(
            "Virtual IP",
            "Which proxy has the address that clients use. A proxy that is away has no band.",
            "none",
            (Query('max by (instance) (holdfast_virtual_ip_held{job="proxy"})', "{{instance}}"),),
            kind="states",
            words=((0, "stands by", GREY), (1, "has it", GREEN)),
            span=WIDE,
            height=5,
        ),
    ),
)

CLIENTS = Row(
    "What clients notice",
    (
        Panel(
            "Writes answered",
            "Writes answered a second, by status. A pause is a gap down to 0; what was held is"
            " answered after it.",
            "reqps",
            (Query(rate("status", WRITES), "{{status}}"),),
            kind="stacked",
            span=WIDE,
        ),
        Panel(
            "Requests held",
            "Units of work that are being served or wait. In a pause they pile up, and no client"
            " fails.",
            "none",
            (Query('sum by (instance) (holdfast_database_units_held{job="app"})', "{{instance}}"),),
            kind="steps",
            span=WIDE,
        ),
        Panel(
            "Longest writes",
            "The time within which 99 % of the writes were answered, and the mean of all. A held"
            " write takes as long as the pause.",
            "s",
            (
                Query(quantile(0.99, WRITES), "99 %"),
                Query(
                    f"sum(rate({SECONDS}_sum{{{REQUESTS}{WRITES}}}[$__rate_interval]))"
                    f" / sum(rate({SECONDS}_count{{{REQUESTS}{WRITES}}}[$__rate_interval]))",
                    "mean",
                ),
            ),
            span=WIDE,
        ),
        Panel(
            "Routes that serve",
            "Whether each instance gets connections for writes and for reads.",
            "none",
            (
                Query(
                    'min by (instance, role) (holdfast_database_endpoint_serving{job="app"})',
                    "{{instance}} {{role}}",
                ),
            ),
            kind="states",
            words=((0, "waits", RED), (1, "serves", GREEN)),
            span=WIDE,
            height=6,
        ),
    ),
)

COPIES = Row(
    "Copies",
    (
        Panel(
            "WAL that standbys have left to replay",
            "By standby, as the primary sees it. A failover takes longer by what is left. The"
            " line is the alert's.",
            "bytes",
            (
                Query(
                    'max by (standby) (holdfast_postgres_standby_lag_bytes{job="postgres"})',
                    "{{standby}}",
                ),
            ),
            steps=below("REPLICATION_LAG_BYTES_MOST"),
            span=WIDE,
        ),
        Panel(
            "Standbys that a commit waits for",
            "As each node sees it: the primary has one or more, a standby none.",
            "none",
            (
                Query(
                    'max by (instance) (holdfast_postgres_sync_standbys{job="postgres"})',
                    "{{instance}}",
                ),
            ),
            kind="steps",
            span=WIDE,
            height=5,
        ),
        Panel(
            "Timeline",
            "The history that each node is on: each promotion begins another. A node on an older"
            " one is not a copy yet.",
            "none",
            (
                Query(
                    'max by (instance) (holdfast_postgres_timeline{job="postgres"})', "{{instance}}"
                ),
            ),
            kind="steps",
            span=WIDE,
            height=5,
        ),
        Panel(
            "Age of the keepers' reports",
            "Seconds since each node's keeper last spoke to the monitor; it does so every second.",
            "s",
            (
                Query(
                    'max by (node) (holdfast_monitor_node_report_age_seconds{job="monitor"})',
                    "{{node}}",
                ),
            ),
            steps=below("NODE_REPORT_AGE_MOST"),
            span=WIDE,
            height=5,
        ),
    ),
)

PAGE = Dashboard(
    "failover",
    "Failover",
    "Who had which role when, and what clients noticed of it, on one time axis.",
    (ROLES, CLIENTS, COPIES),
    since="now-15m",
    refresh="5s",
)
