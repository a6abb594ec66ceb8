"""Pools and exactly-once: who waits for connections, what was repeated, what a key was good for."""

from __future__ import annotations

from dashboards.model import GREEN, RED, Dashboard, Panel, Query, Row, below, number

APP = 'job="app", instance=~"$instance"'
NAMED = "{{instance}}"
POOL = "{{instance}} {{role}}"


def gauge(name: str, by: str = "instance") -> str:
    """Return a number of the service, by labels."""
    return f"sum by ({by}) (holdfast_database_{name}{{{APP}}})"


def rate(name: str, by: str = "instance") -> str:
    """Return what a counter of the service grows by in a second, by labels."""
    return f"sum by ({by}) (rate(holdfast_database_{name}_total{{{APP}}}[$__rate_interval]))"


POOLS = Row(
    "Pools",
    (
        Panel(
            "Connections in use",
            "Connections that units of work have now, and the most that there may be.",
            "none",
            (
                Query(
                    f"{gauge('pool_size', 'instance, role')}"
                    f" - {gauge('pool_idle', 'instance, role')}",
                    POOL,
                ),
                Query(f"max by (role) (holdfast_database_pool_limit{{{APP}}})", "{{role}} at most"),
            ),
            kind="steps",
        ),
        Panel(
            "Waits for a connection",
            "Units of work that wait for a connection, by pool. Anything that lasts is time that"
            " requests lose.",
            "none",
            (Query(gauge("pool_waiting", "instance, role"), POOL),),
            kind="steps",
        ),
        Panel(
            "Open connections",
            "Connections that each pool has open, in use or not. After a failover they are made"
            " anew.",
            "none",
            (Query(gauge("pool_size", "instance, role"), POOL),),
            kind="steps",
        ),
        Panel(
            "Reads that went to the primary",
            "A second: no standby answered, or none had replayed what the read's token asked for.",
            "ops",
            (
                Query(rate("read_fallbacks"), "{{instance}} all"),
                Query(rate("readers_behind"), "{{instance}} because of their token"),
            ),
        ),
    ),
)

HELD = Row(
    "Held requests and callers' shares",
    (
        Panel(
            "Part of the room for held requests",
            "Units of work in progress, as a part of REQUESTS_HELD_MOST. At 1 new ones get 503"
            " overloaded. The line is the alert's.",
            "percentunit",
            (Query(f"{gauge('units_held')} / {gauge('units_held_limit')}", NAMED),),
            steps=below("UNITS_HELD_MOST"),
            most=1,
        ),
        Panel(
            "Callers",
            "Callers that have units of work in progress now.",
            "none",
            (Query(gauge("callers"), NAMED),),
            kind="steps",
        ),
        Panel(
            "Share of the caller that has most",
            "Of REQUESTS_HELD_MOST. Above the line one caller has more than half of the room; the"
            " others keep their share.",
            "percentunit",
            (Query(f"{gauge('caller_units_most')} / {gauge('units_held_limit')}", NAMED),),
            steps=below("CALLER_SHARE_MOST"),
            most=1,
        ),
        Panel(
            "Sent away and refused",
            "A second. Sent away: a wait ended so that another caller had room. Refused: there"
            " was no room at all. Both get 503, and nothing was applied.",
            "ops",
            (
                Query(rate("sent_away"), "{{instance}} sent away"),
                Query(rate("refused"), "{{instance}} refused"),
            ),
        ),
    ),
)

ATTEMPTS = Row(
    "Attempts",
    (
        Panel(
            "Attempts",
            "Attempts of units of work a second, by route. More than there are requests: some were"
            " repeated.",
            "ops",
            (Query(rate("attempts", "route"), "{{route}}"),),
            kind="stacked",
        ),
        Panel(
            "Retries",
            "Attempts a second that failed and were followed by another, by failure. Empty while"
            " all is well.",
            "ops",
            (Query(rate("retries", "error, kind"), "{{error}} {{kind}}"),),
            kind="stacked",
        ),
        Panel(
            "Units of work given up",
            "A second, by the last failure: the deadline or the attempts ran out, and the client"
            " was told. Empty while all is well.",
            "ops",
            (Query(rate("gave_up", "error, kind"), "{{error}} {{kind}}"),),
            kind="stacked",
        ),
        Panel(
            "Failures of the database",
            "A second, by endpoint and class, whether repeated or not. Empty while all is well.",
            "ops",
            (Query(rate("failures", "role, error, kind"), "{{role}}: {{error}} {{kind}}"),),
            kind="stacked",
        ),
    ),
)

ONCE = Row(
    "Exactly once",
    (
        Panel(
            "Commits in doubt that were resolved",
            "A second: the connection broke during COMMIT, and the idempotency key told whether"
            " it was applied.",
            "ops",
            (Query(rate("resolved_commits", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Replays",
            "Writes a second that were answered with the result of an earlier request of their"
            " key.",
            "ops",
            (Query(rate("replays"), NAMED),),
        ),
        Panel(
            "Local commits",
            "Commits a second that no standby confirmed (Durability: local). They are lost if the"
            " primary is.",
            "ops",
            (Query(rate("local_commits"), NAMED),),
        ),
        Panel(
            "Expired keys",
            "Idempotency keys a second that were removed after their time.",
            "ops",
            (Query(rate("purged_keys"), NAMED),),
        ),
        Panel(
            "Since expired keys were removed",
            "How long ago an instance last found no expired key any more. The line is the alert's.",
            "s",
            (
                Query(
                    "time() - max by (instance)"
                    ' (holdfast_database_keys_purged_timestamp_seconds{job="app"})',
                    NAMED,
                ),
            ),
            steps=below("EXPIRED_KEYS_AGE_MOST"),
        ),
        Panel(
            "Background tasks",
            "Seconds since each last did its work. The purger's turn comes every minute, a prober's"
            " every second. 56 years: it has not yet.",
            "s",
            (
                Query(
                    "time() - min by (instance, task)"
                    f" (holdfast_database_background_last_turn_timestamp_seconds{{{APP}}})",
                    "{{instance}} {{task}}",
                ),
            ),
            steps=((None, GREEN), (number("PURGER_AGE_MOST"), RED)),
        ),
        Panel(
            "Worker processes",
            "Processes of each instance that answer.",
            "none",
            (Query(f"sum by (instance) (holdfast_workers{{{APP}}})", NAMED),),
            kind="steps",
        ),
        Panel(
            "Worker processes that were replaced",
            "In ten minutes: they ended unasked, or were killed for their silence.",
            "none",
            (
                Query(
                    f"sum by (instance) (increase(holdfast_workers_replaced_total{{{APP}}}[10m]))",
                    NAMED,
                ),
            ),
            kind="steps",
        ),
    ),
)

POOLED = 'job="pooler", database="holdfast"'
ROLE = "{{instance}} {{user}}"


def pooled(name: str) -> str:
    """Return a number of the nodes' PgBouncers, by node and role."""
    return f"sum by (instance, user) (pgbouncer_pools_{name}{{{POOLED}}})"


POOLERS = Row(
    "PgBouncer on the data nodes (POOLER=yes)",
    (
        Panel(
            "Clients of PgBouncer",
            "Clients that have a session of PostgreSQL, or need none now, and those that wait.",
            "none",
            (
                Query(pooled("client_active_connections"), ROLE),
                Query(pooled("client_waiting_connections"), f"{ROLE} waiting"),
            ),
            kind="steps",
        ),
        Panel(
            "PostgreSQL's sessions of PgBouncer",
            "At work, and idle. At 20 of a role its next client waits.",
            "none",
            (
                Query(pooled("server_active_connections"), ROLE),
                Query(pooled("server_idle_connections"), f"{ROLE} idle"),
            ),
            kind="steps",
        ),
        Panel(
            "Longest wait at PgBouncer",
            "How long the first in the queue has waited. At 3 s it is sent away. The line is the"
            " alert's.",
            "s",
            (Query(pooled("client_maxwait_seconds"), ROLE),),
            steps=((None, GREEN), (number("POOLER_WAIT_MOST"), RED)),
        ),
    ),
)

PAGE = Dashboard(
    "pools",
    "Pools and exactly-once",
    "Who waits for connections, what was repeated, and what idempotency keys were good for.",
    (POOLS, HELD, ATTEMPTS, ONCE, POOLERS),
    instances="app",
)
