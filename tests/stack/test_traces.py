"""OTEL_EXPORTER_OTLP_ENDPOINT on the real stack: a client's trace goes on to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster
from tests.integration.collector import Collector, collecting
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    is_redundant,
    kill,
    log_of,
    make,
    new_user,
    primary,
    start,
    wait_until,
)
from tests.stack.watched import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

THEIRS, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FAILOVER = "5bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def collector(running_stack: None) -> Iterator[Collector]:  # noqa: ARG001 - ordering only
    """A stack that sends its traces here; none again afterwards."""
    with collecting(host=HOST) as collector:
        try:
            make("up", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
            yield collector
        finally:
            make("up", OTEL_EXPORTER_OTLP_ENDPOINT="")


def create(trace: str) -> httpx.Response:
    """Create a user as part of a client's trace."""
    headers = {"traceparent": f"00-{trace}-{ABOVE}-01"}
    answer = httpx.post(
        f"{BASE_URL}/api/users", json=new_user("trace"), headers=headers, timeout=CLIENT_TIMEOUT
    )
    assert answer.status_code == httpx.codes.CREATED
    return answer


def test_a_clients_trace_goes_on(collector: Collector) -> None:
    """Below the client's span; an instance of the stack says so, and has the id in its log."""
    create(THEIRS)
    wait_until("the trace", RESUME_LIMIT, lambda: len(collector.trace(THEIRS)) > 3)
    request = next(each for each in collector.trace(THEIRS) if each.parent == ABOVE)
    assert request.name == "POST /api/users"
    assert request.has(holdfast__outcome="done", http__response__status_code=201)
    instance = request.resource["service.instance.id"]
    assert instance in cluster.APPS
    assert THEIRS in log_of(instance, "--tail", "200")
    summaries = {each.attributes.get("db.query.summary") for each in collector.trace(THEIRS)}
    assert {"INSERT users", "COMMIT"} <= {str(each) for each in summaries}


def test_a_failover_is_in_a_trace(collector: Collector) -> None:
    """What was tried, and for how long: the request took as long as its failover."""
    dead = primary()
    kill(dead)
    answer = create(FAILOVER)
    start(dead)
    wait_until(
        "the trace",
        RESUME_LIMIT,
        lambda: any(each.parent == ABOVE for each in collector.trace(FAILOVER)),
    )
    spans = collector.trace(FAILOVER)
    request = next(each for each in spans if each.parent == ABOVE)
    attempts = [each for each in spans if each.name == "attempt"]
    assert request.attributes["holdfast.attempts"] == len(attempts) > 1
    assert attempts[-1].has(holdfast__outcome="done")
    assert all(each.error for each in attempts[:-1])
    assert request.end - request.start >= answer.elapsed.total_seconds() * 0.5e9
    wait_until("a standby in sync", REDUNDANT_LIMIT, is_redundant)
