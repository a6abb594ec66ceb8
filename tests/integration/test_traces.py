"""Traces, as a collector gets them from `python -m service` on a real database."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ops.embedded import free_port
from ops.embedded.processes import children
from service.lifecycle import TRACES_BOUND
from tests.integration.collector import Collector, Seen, collecting
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.service_process import DRAIN_DELAY, started
from tests.integration.support import eventually, superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ops.embedded import EmbeddedStack
    from tests.integration.service_process import Running

THEIRS, ABOVE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{THEIRS}-{ABOVE}-01"
NO_TRACES = (
    [""],
    ["nonsense"],
    [f"ff-{THEIRS}-{ABOVE}-01"],
    [f"00-{'0' * 32}-{ABOVE}-01"],
    [f"00-{THEIRS}-{'0' * 16}-01"],
    [f"00-{THEIRS}-{ABOVE}"],
    [TRACEPARENT + "\xe9"],
    [TRACEPARENT, TRACEPARENT],  # two are none
)
SECRET = "hunter2"
PROMPT = 5.0  # seconds for requests that nothing holds up; the exporter's own patience is 10
# Seconds from SIGTERM to the end, with a collector that answers nobody: what the drain takes, what
# closing the traces may, and a busy machine.
END_BOUND = DRAIN_DELAY + TRACES_BOUND + 4.0
OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds; 5000 unless set
# A prober would spring traps that are meant for requests.
NO_PROBES = {"DB_WRITE_POOL_MIN": "0", "DB_READ_POOL_MIN": "0", "DB_PROBE_INTERVAL": "600"}


def sent_to(collector: Collector, **settings: str) -> dict[str, str]:
    """Return the settings of a service that sends its traces there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **OFTEN, **settings}


async def create(
    service: Running,
    name: str = "a",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Create a user; return the line in the log that the request left."""
    body = {"email": f"{name}@example.com", "name": name}
    sent = httpx.Headers(headers, encoding="latin-1")
    made = await service.client.post(f"{service.url}/api/users", json=body, headers=sent)
    assert made.status_code == 201, made.text
    return await line(service, made.headers["X-Request-Id"])


async def line(service: Running, request_id: str) -> dict[str, Any]:
    """Return the line in the log that a request left."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [
            each for each in lines(service)
            if each["event"] == "request" and each["request_id"] == request_id
        ]  # fmt: skip
        return bool(found)

    await eventually("the request's line in the log", there)
    return found[0]


def lines(service: Running) -> list[dict[str, Any]]:
    """Return the log."""
    return [json.loads(each) for each in service.process.log.read_text().splitlines()]


async def trace(collector: Collector, trace_id: str) -> list[Seen]:
    """Return the spans of a trace, as soon as the request's own is there: it ends last."""

    def whole() -> bool:
        return any(span.kind == "server" for span in collector.trace(trace_id))

    await eventually("the trace", whole)
    return collector.trace(trace_id)


def tree(spans: list[Seen]) -> list[str]:
    """Return the spans' names, each after as many dots as there are spans above it."""
    by_id = {span.span_id: span for span in spans}

    def depth(span: Seen) -> int:
        return 1 + depth(by_id[span.parent]) if span.parent in by_id else 0

    return ["." * depth(span) + span.name for span in spans]


@pytest.fixture
async def traced(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> AsyncIterator[tuple[Running, Collector]]:
    """Run a service that has reached its database, and the collector of its traces."""
    with collecting() as collector:
        chosen = sent_to(collector)
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)
            yield service, collector


# ---------------------------------------------------------------- what there is
async def test_a_write_and_a_read(
    stack: EmbeddedStack, database: str, traced: tuple[Running, Collector]
) -> None:
    """A request, its attempt, the checkout and each statement, each below its cause."""
    service, collector = traced
    await create(service, "prepares")  # a session's first write prepares its statements
    wrote = await create(service)
    spans = await trace(collector, wrote["trace_id"])

    assert tree(spans) == [
        "POST /api/users",
        ".attempt",
        "..checkout",
        "..INSERT users",
        "..COMMIT",
    ]
    request, attempt, checkout, insert, commit = spans
    assert [span.kind for span in spans] == ["server", "internal", "internal", "client", "client"]
    assert not any(span.error for span in spans)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/users",
        "http.response.status_code": 201,
        "url.scheme": "http",
        "holdfast.route": "write",
        "holdfast.attempts": 1,
        "holdfast.outcome": "done",
    }
    assert attempt.attributes == {
        "holdfast.attempt": 1,
        "holdfast.route": "write",
        "holdfast.outcome": "done",
    }
    place = {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "server.address": "127.0.0.1",
        "server.port": stack.ports.write,
        "holdfast.role": "write",
    }
    assert checkout.attributes == place
    text = insert.attributes.pop("db.query.text")
    assert text.startswith("INSERT INTO users (email, name) VALUES ($1, $2)")
    assert insert.attributes == {
        **place,
        "db.query.summary": "INSERT users",
        "holdfast.sent_ahead": ["BEGIN", "SELECT WHERE idempotency_claim($1, $2, $3) IS NULL"],
    }
    assert commit.attributes["db.query.text"].startswith("COMMIT; SELECT position_after_commit")
    assert commit.attributes["holdfast.sent_ahead"] == [
        "SELECT WHERE idempotency_record($1, $2, $3, $4) IS NULL"
    ]
    for span in spans[1:]:
        assert request.start <= span.start <= span.end <= request.end
    for name, value in (("service.name", "holdfast"), ("service.instance.id", "app1")):
        assert request.resource[name] == value

    read = await service.client.get(f"{service.url}{wrote['path']}?limit=1")
    spans = await trace(collector, (await line(service, read.headers["X-Request-Id"]))["trace_id"])
    assert [each for each in tree(spans) if "PREPARE" not in each] == [
        "GET /api/users",
        ".attempt",
        "..checkout",
        "..SELECT users",
    ]
    assert {span.attributes["holdfast.role"] for span in spans[2:]} == {"read"}
    assert spans[0].has(holdfast__route="read", http__response__status_code=200)


async def test_what_nobody_asked_for_has_no_span(traced: tuple[Running, Collector]) -> None:
    """Neither probes nor purges, nor what machines ask every second: spans are of requests."""
    service, collector = traced
    for path in ("/health", "/livez", "/metrics"):
        await service.client.get(service.url + path)
    wrote = await create(service)
    await trace(collector, wrote["trace_id"])

    roots = {span.trace_id for span in collector.spans() if span.kind == "server"}
    assert roots == {span.trace_id for span in collector.spans()} == {wrote["trace_id"]}


async def test_a_request_that_matches_nothing(traced: tuple[Running, Collector]) -> None:
    """Its name has no path: paths are what clients make up."""
    service, collector = traced
    for method in ("GET", "PROPFIND"):
        await service.client.request(method, f"{service.url}/nowhere/{SECRET}")

    await eventually("two traces", lambda: len(collector.spans()) == 2)
    assert [span.name for span in collector.spans()] == ["GET", "HTTP"]
    assert [span.attributes["http.request.method"] for span in collector.spans()] == [
        "GET",
        "_OTHER",
    ]
    assert all(span.has(holdfast__outcome="refused") for span in collector.spans())


# ---------------------------------------------------------------- attempts
async def test_an_attempt_that_failed_and_one_that_did_not(
    stack: EmbeddedStack, database: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """A session that is cut before COMMIT: two attempts, and the failure is of the first alone."""
    with collecting() as collector:
        chosen = sent_to(collector, DB_WRITE_PORT=str(proxy.port), **NO_PROBES)
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)
            await create(service, "prepares")
            proxy.trap(b"COMMIT", Fault.CUT_BEFORE)
            wrote = await create(service, headers={"Idempotency-Key": '"once"'})
            spans = await trace(collector, wrote["trace_id"])

    assert wrote["attempts"] == 2
    requests = [span for span in spans if span.kind == "server"]
    assert [span.error for span in requests] == [False]
    assert requests[0].has(holdfast__attempts=2, holdfast__outcome="done")
    first, second = (span for span in spans if span.name == "attempt")
    assert first.parent == second.parent == requests[0].span_id
    assert first.end <= second.start
    assert first.error
    assert first.has(
        holdfast__attempt=1, holdfast__outcome="failed", error__type="CommitUnresolved"
    )
    assert not second.error
    assert second.has(holdfast__attempt=2, holdfast__outcome="done")
    commits = [span for span in spans if span.name == "COMMIT"]
    assert [(span.parent, span.error) for span in commits] == [
        (first.span_id, True),
        (second.span_id, False),
    ]
    assert commits[0].attributes["error.type"] == "CommitInDoubt"
    assert "holdfast.failure.kind" in commits[0].attributes


async def test_a_database_that_is_away(
    stack: EmbeddedStack, database: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    """The wait for a session is where it fails; the request failed, too, and says so."""
    with collecting() as collector:
        chosen = sent_to(
            collector, DB_WRITE_PORT=str(proxy.port), REQUEST_DEADLINE="1", **NO_PROBES
        )
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)
            await proxy.refuse()
            answer = await service.client.delete(f"{service.url}/api/users/1")
            assert answer.status_code == 503
            told = await line(service, answer.headers["X-Request-Id"])
            spans = await trace(collector, told["trace_id"])
            retrying = [each for each in lines(service) if each["event"] == "retrying"]

    request = next(span for span in spans if span.kind == "server")
    assert request.error
    assert request.has(http__response__status_code=503, holdfast__outcome="failed")
    checkouts = [span for span in spans if span.name == "checkout"]
    assert len(checkouts) == told["attempts"] > 1
    assert all(span.has(error__type="EndpointUnreachable") for span in checkouts)
    assert [each["trace_id"] for each in retrying] == [told["trace_id"]]


# ---------------------------------------------------------------- traceparent
async def test_a_clients_trace_goes_on(traced: tuple[Running, Collector]) -> None:
    """The request's span is below the client's; the log has the trace's id; nothing else of it."""
    service, collector = traced
    headers = {"traceparent": TRACEPARENT, "tracestate": f"vendor={SECRET}"}
    wrote = await create(service, headers=headers)

    assert wrote["trace_id"] == THEIRS
    request = (await trace(collector, THEIRS))[0]
    assert (request.kind, request.parent) == ("server", ABOVE)
    assert not any(SECRET.encode() in body for body in collector.bodies)


async def test_a_trace_that_is_none_is_ignored(traced: tuple[Running, Collector]) -> None:
    """The request begins one of its own."""
    service, collector = traced
    for number, told in enumerate(NO_TRACES):
        wrote = await create(service, f"user-{number}", headers=[("traceparent", x) for x in told])
        assert wrote["trace_id"] not in {THEIRS, "0" * 32}
        assert (await trace(collector, wrote["trace_id"]))[0].parent == ""


async def test_a_client_that_is_not_sampled(traced: tuple[Running, Collector]) -> None:
    """Its requests send no spans; their lines in the log have its trace's id."""
    service, collector = traced
    unwanted = await create(service, "unwanted", {"traceparent": TRACEPARENT[:-1] + "0"})
    wanted = await create(service, "wanted")

    await trace(collector, wanted["trace_id"])
    assert unwanted["trace_id"] == THEIRS
    assert not collector.trace(THEIRS)


# ---------------------------------------------------------------- what is in no trace
async def test_nothing_of_a_request_is_in_its_trace(traced: tuple[Running, Collector]) -> None:
    """No parameter, header, path or message: wherever a client put it, however it failed."""
    service, collector = traced
    url = f"{service.url}/api/users"
    headers = {
        "Idempotency-Key": f'"{SECRET}"',
        "Authorization": f"Bearer {SECRET}",
        "X-Request-Id": SECRET,
        "X-Forwarded-For": SECRET,
        "User-Agent": SECRET,
        "Host": f"{SECRET}.example.com",
        "tracestate": f"vendor={SECRET}",
    }
    body = {"email": f"{SECRET}@example.com", "name": SECRET}
    statuses = [
        (await service.client.request(method, path, json=json, headers=headers | more)).status_code
        for method, path, json, more in (
            ("POST", url, body, {}),
            ("POST", url, body, {}),  # replayed
            ("POST", url, body, {"Idempotency-Key": f'"{SECRET}-2"'}),  # the address is in use
            ("POST", url, body | {"name": "x"}, {}),  # the key was another request's
            ("POST", url, {"email": SECRET}, {}),
            ("GET", f"{url}?cursor={SECRET}", None, {}),
            ("GET", f"{url}/{SECRET}", None, {}),
            ("GET", url, None, {"Consistency-Token": SECRET}),
            ("PROPFIND", url, None, {}),
        )
    ]
    last = await create(service)
    await trace(collector, last["trace_id"])

    assert statuses == [201, 201, 409, 422, 422, 400, 422, 400, 405]
    assert sum(span.kind == "server" for span in collector.spans()) == len(statuses) + 1
    told = b"".join(collector.bodies).lower()
    assert b"insert into users" in told
    assert SECRET.encode() not in told
    assert b"a@example.com" not in told


# ---------------------------------------------------------------- the collector
async def test_a_collector_that_answers_nobody(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """Requests take no longer; the end waits for it for its bound, and no longer."""
    with collecting(silent=True) as collector:
        chosen = sent_to(collector)
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)
            await create(service, "first")
            begun = time.monotonic()
            for number in range(20):
                await create(service, f"user-{number}")
            assert time.monotonic() - begun < PROMPT
            begun = time.monotonic()
            os.kill(service.process.pid, signal.SIGTERM)
            assert await service.ended() == 0
            assert time.monotonic() - begun < END_BOUND
            assert collector.bodies == []


async def test_a_collector_that_is_away_is_told_of_once(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """Once when it begins, with what is wrong, and once when it is over; what it missed is lost."""
    port = free_port()
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **OFTEN}
    away["OTEL_EXPORTER_OTLP_TIMEOUT"] = "0.5"  # seconds for all tries of a batch
    async with started(stack, database, tmp_path / "service.log", **away) as service:
        numbers = itertools.count()

        async def until(what: str, happened: Callable[[], bool]) -> None:
            async def once_more() -> bool:
                await create(service, f"user-{next(numbers)}")
                return happened()

            await eventually(what, once_more)

        def told(event: str) -> list[dict[str, Any]]:
            return [each for each in lines(service) if each["event"] == event]

        await service.wait_health(200)
        with collecting(port) as collector:
            collector.status = HTTPStatus.SERVICE_UNAVAILABLE
            await until("three batches to be refused", lambda: collector.refused >= 3)
            assert len(told("traces are not delivered")) == 1
            assert await counted(service, "delivered") == 0 < await counted(service, "ended")
            collector.status = HTTPStatus.OK
            await until("traces to be delivered", lambda: len(collector.bodies) > 1)
            assert len(told("traces are delivered again")) == 1
        await until("a second warning", lambda: len(told("traces are not delivered")) == 2)
        assert 0 < await counted(service, "delivered") < await counted(service, "ended")
        first, second = (each["reason"] for each in told("traces are not delivered"))
        assert first == "503 Service Unavailable"
        assert "Connection refused" in second
        assert not [each for each in lines(service) if each.get("logger", "").startswith("opent")]


async def counted(service: Running, state: str) -> float:
    """Return how many spans the service says to have had."""
    text = (await service.client.get(f"{service.url}/metrics")).text
    name = f'holdfast_trace_spans_total{{state="{state}"}} '
    return sum(float(each[len(name) :]) for each in text.splitlines() if each.startswith(name))


async def test_what_is_left_is_sent_at_the_end(
    stack: EmbeddedStack, database: str, tmp_path: Path
) -> None:
    """A stop loses no span, though the next batch was a long way off."""
    with collecting() as collector:
        chosen = sent_to(collector, OTEL_BSP_SCHEDULE_DELAY="600000")
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)
            wrote = await create(service)
            assert collector.bodies == []
            os.kill(service.process.pid, signal.SIGTERM)
            assert await service.ended() == 0
        assert "POST /api/users" in tree(collector.trace(wrote["trace_id"]))


async def test_each_worker_sends(stack: EmbeddedStack, database: str, tmp_path: Path) -> None:
    """With WORKERS=2 either process has an exporter of its own, made after the fork."""
    with collecting() as collector:
        chosen = sent_to(collector, WORKERS="2")
        async with started(stack, database, tmp_path / "service.log", **chosen) as service:
            await service.wait_health(200)

            async def both() -> bool:
                await service.client.get(
                    f"{service.url}/api/users", headers={"Connection": "close"}
                )
                return {span.resource["process.pid"] for span in collector.spans()} == set(workers)

            workers = children(service.process.pid)
            assert len(workers) == 2
            await eventually("spans of both workers", both)
            ids = [span.span_id for span in collector.spans()]
            assert len(set(ids)) == len(ids)


# ---------------------------------------------------------------- in the database
async def test_no_statement_has_the_traces_id(
    stack: EmbeddedStack, database: str, traced: tuple[Running, Collector]
) -> None:
    """Its text is the key of a prepared statement: each request would prepare its own."""
    service, _ = traced
    await create(service, headers={"traceparent": TRACEPARENT})
    async with superuser(stack, database) as admin:
        rows = await admin.fetch("SELECT query, application_name FROM pg_stat_activity")
    assert not [row for row in rows if THEIRS in f"{row['query']} {row['application_name']}"]
