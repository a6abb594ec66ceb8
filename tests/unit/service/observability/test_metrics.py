"""service.observability: what is counted, and that two applications can be."""

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.database import Role, Route
from service.errors import ConnectionLost
from service.observability.metrics import Metrics
from service.observability.observer import ServiceObserver
from service.observability.record import request_record
from service.settings import Settings

LOST = ConnectionLost("gone", kind="admin-shutdown")


async def scrape(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of /metrics."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_template(client: httpx.AsyncClient) -> None:
    """Requests count by route template, method and status, never by path."""
    await client.get("/api/users/0")
    await client.get("/api/users/-5")
    await client.get("/nowhere/1")
    await client.request("BREW", "/nowhere/2")

    samples = await scrape(client)

    def count(route: str, method: str, status: str) -> float:
        labels = {"route": route, "method": method, "status": status}
        return samples["holdfast_http_request_duration_seconds_count", frozenset(labels.items())]

    assert count("/api/users/{id}", "GET", "422") == 2
    assert count("unmatched", "GET", "404") == 1
    assert count("unmatched", "OTHER", "404") == 1


def test_the_ends_of_certificates_are_gauges() -> None:
    """The newest is told, by name."""
    metrics = Metrics()
    observer = ServiceObserver(metrics)
    for end in (1000.0, 2000.0):
        observer.certificate("postgres1", end)
    name = "holdfast_database_certificate_expiry_timestamp_seconds"
    assert metrics.registry.get_sample_value(name, {"name": "postgres1"}) == 2000.0


async def test_pools_are_shown_by_role(client: httpx.AsyncClient) -> None:
    """Size, idle, waiting and limit of both pools; with no database there is nothing in them."""
    samples = await scrape(client)

    for role in ("write", "read"):
        labels = frozenset({("role", role)})
        assert samples["holdfast_database_pool_limit", labels] == 10
        assert samples["holdfast_database_endpoint_serving", labels] == 0
        for name in ("size", "idle"):
            assert samples[f"holdfast_database_pool_{name}", labels] == 0
        # The keeper may be asking for a connection at this moment, nobody else.
        assert samples["holdfast_database_pool_waiting", labels] <= 1


async def test_failures_and_retries_are_counted_by_class(client: httpx.AsyncClient) -> None:
    """A request that is held and given up leaves its attempts, retries and failures behind."""
    response = await client.delete("/api/users/1")
    attempts = int(response.headers["x-attempts"])

    samples = await scrape(client)

    assert samples["holdfast_database_attempts_total", frozenset({("route", "write")})] == attempts
    retries = [v for (n, _), v in samples.items() if n == "holdfast_database_retries_total"]
    assert sum(retries) == attempts - 1
    gave_up = [v for (n, _), v in samples.items() if n == "holdfast_database_gave_up_total"]
    assert sum(gave_up) == 1
    refused = {("role", "write"), ("error", "EndpointUnreachable"), ("kind", "refused")}
    assert samples["holdfast_database_failures_total", frozenset(refused)] >= 1


def test_two_applications_do_not_clash(app: FastAPI, settings: Settings) -> None:
    """Each application has a registry of its own."""
    other = create_app(settings)

    assert other.state.registry is not app.state.registry


@pytest.mark.parametrize("kind", ["certificate-expired", "certificate-refused"])
@pytest.mark.parametrize("role", ["write", "read"])
def test_what_an_alert_waits_for_is_there_before_it_happens(role: str, kind: str) -> None:
    """Prometheus sees no growth of a counter that begins with its first event."""
    labels = {"role": role, "error": "EndpointUnreachable", "kind": kind}
    name = "holdfast_database_failures_total"
    assert Metrics().registry.get_sample_value(name, labels) == 0


def test_observer_fills_the_record_and_the_counters() -> None:
    """What the database tells ends in the request's record and in the metrics."""
    metrics = Metrics()
    observer = ServiceObserver(metrics)

    with request_record([]) as record:
        observer.attempt(2)
        observer.routed(Route.READ)
        observer.routed(Route.READ_FALLBACK)
        observer.local_commit()
    observer.failure(Role.WRITE, LOST)
    observer.serving(Role.WRITE, serves=True, reason="")

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert (record.attempts, record.route, record.local_commit) == (2, Route.READ_FALLBACK, True)
    assert value("holdfast_database_attempts_total", route="read") == 1
    assert value("holdfast_database_read_fallbacks_total") == 1
    assert value("holdfast_database_local_commits_total") == 1
    assert value("holdfast_database_endpoint_serving", role="write") == 1
    lost = {"role": "write", "error": "ConnectionLost", "kind": "admin-shutdown"}
    assert value("holdfast_database_failures_total", **lost) == 1
