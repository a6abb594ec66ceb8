"""The service's metrics, in a registry of their own: two applications in a process do not clash.

Labels are bounded: routes are templates, kinds come from `service.database.failures`.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.database import Database
from service.database.admission import Admission
from service.database.failures import CERTIFICATE_EXPIRED, CERTIFICATE_REFUSED
from service.database.observer import Role
from service.database.pools import Pool
from service.errors import EndpointUnreachable
from service.observability.tallies import Spreads, Tallies

# Seconds: from a query on loopback to a request that is held through a failover.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Spreads(
            "holdfast_http_request_duration_seconds",
            "Requests, by route template, method and status.",
            *("route", "method", "status"),
            buckets=BUCKETS,
        )
        registry.register(self.requests)
        self.in_flight = Gauge(
            "holdfast_http_requests_in_flight", "Requests being served.", registry=registry
        )
        workers = "Processes of this instance that answered."
        Gauge("holdfast_workers", workers, registry=registry).set(1)
        Counter(  # counted by the supervisor (service/workers/peers.py), if there is one
            "holdfast_workers_replaced",
            "Processes of this instance that ended unasked, or were killed for their silence.",
            registry=registry,
        )
        self.unanswered = Counter(
            "holdfast_workers_unanswered",
            "Questions for their metrics that processes of this instance did not answer in time.",
            registry=registry,
        )

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"holdfast_database_{name}", text, labels, registry=registry)

        self.attempts = Tallies(
            "holdfast_database_attempts",
            "Attempts of units of work, by route; a read that falls back counts on both.",
            "route",
        )
        registry.register(self.attempts)
        self.retries = counter(
            "retries",
            "Attempts that failed and were followed by another, by the failure.",
            *("error", "kind"),
        )
        self.gave_up = counter(
            "gave_up",
            "Units of work whose deadline or attempts ran out, by the last failure.",
            *("error", "kind"),
        )
        self.failures = counter(
            "failures",
            "Failures of the database, by endpoint and class.",
            *("role", "error", "kind"),
        )
        # There from the start: of a series that begins with what happens nobody sees it grow.
        for role, kind in product(Role, (CERTIFICATE_EXPIRED, CERTIFICATE_REFUSED)):
            self.failures.labels(role, EndpointUnreachable.__name__, kind)
        self.read_fallbacks = counter(
            "read_fallbacks",
            "Reads that went to the write endpoint: no reader answered, or had reached the token.",
        )
        self.readers_behind = counter(
            "readers_behind", "Reads that went to the write endpoint because of their token."
        )
        self.resolved_commits = counter(
            "resolved_commits",
            "Commits in doubt whose outcome the idempotency key told.",
            "outcome",
        )
        for outcome in ("applied", "absent"):
            self.resolved_commits.labels(outcome)
        self.replays = counter(
            "replays", "Writes answered with the result of an earlier request of their key."
        )
        self.purged_keys = counter("purged_keys", "Expired idempotency keys that were removed.")
        self.local_commits = counter(
            "local_commits", "Commits that no standby confirmed: durable on the primary alone."
        )
        self.local_commits_asked = counter(
            "local_commits_asked", "The same, of clients that asked for it: durability=local."
        )
        self.background_failures = counter(
            "background_failures",
            "Turns of background tasks that failed; the task goes on.",
            "task",
        )
        self.certificates = Gauge(
            "holdfast_database_certificate_expiry_timestamp_seconds",
            "When a certificate ends that the newest session was verified by, in Unix time.",
            ["name"],
            registry=registry,
        )
        self.serving = Gauge(
            "holdfast_database_endpoint_serving",
            "1 while the endpoint serves, else 0.",
            ["role"],
            registry=registry,
        )

    def watch(self, database: Database) -> None:
        """Report the sizes of the database's pools, and what is held, at every scrape."""
        self.registry.register(_PoolCollector(list(database.pools)))
        self.registry.register(_AdmissionCollector(database.admission))
        purged = Gauge(
            "holdfast_database_keys_purged_timestamp_seconds",
            "When no expired idempotency key was left to remove, in Unix time; 0: not yet.",
            registry=self.registry,
        )
        purged.set_function(lambda: database.purger.purged_at)
        worked = Gauge(
            "holdfast_database_background_last_turn_timestamp_seconds",
            "When a background task last did its work, in Unix time; 0: not yet.",
            ["task"],
            registry=self.registry,
        )
        for task in database.tasks:
            self.background_failures.labels(task.name)
            worked.labels(task.name).set_function(partial(getattr, task, "worked_at"))


class _PoolCollector(Collector):
    def __init__(self, pools: list[Pool]) -> None:
        self._pools = pools

    def collect(self) -> Iterator[Metric]:
        """Read the pools."""
        for name, text in (
            ("size", "Open connections."),
            ("idle", "Open connections that nobody uses."),
            ("waiting", "Units of work that wait for a connection."),
            ("limit", "The most connections there may be."),
        ):
            family = GaugeMetricFamily(f"holdfast_database_pool_{name}", text, labels=["role"])
            for pool in self._pools:
                family.add_metric([pool.role], getattr(pool, name))
            yield family


class _AdmissionCollector(Collector):
    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Read the admission's numbers: they are kept for itself, and cost no request more."""
        of = self._admission
        for name, text, value in (
            ("units_held", "Units of work in progress, served or waiting.", of.held),
            ("units_held_limit", "The most units of work there may be.", of.limit),
            ("callers", "Callers that have units of work in progress.", of.callers),
            ("caller_units_most", "Units of work of the caller that has most.", of.caller_most),
        ):
            yield GaugeMetricFamily(f"holdfast_database_{name}", text, value)
        for name, text, value in (
            ("sent_away", "Waits that ended so that another caller had room.", of.sent_away),
            ("refused", "Units of work refused at the limit of those held.", of.refused),
        ):
            yield CounterMetricFamily(f"holdfast_database_{name}", text, value)
