"""What is measured on the embedded pair: four workloads, many clients, many rows."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import services
from benchmarks.generator import MeasureError, Sample, load
from benchmarks.results import CONTROL, PLAIN, SUBJECT, Results, ratio
from ops.embedded.pair import DATABASE
from service.users import cursor
from service.users.schemas import Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from benchmarks.services import Service
    from ops.embedded import EmbeddedStack

    T = TypeVar("T")

PAGE = 50
ROWS_DATABASE = "bench_rows"
SPARE_FILES = 200
"""Files that a process has open besides its connections."""

CROWD = 500
"""Connections from which on a window is longer: in proportion, so that each is answered often."""


@dataclass(frozen=True)
class Workload:
    """A kind of request, and over how many connections it comes."""

    name: str
    connections: int
    path: str = "/api/users"
    arguments: tuple[str, ...] = ()

    def fresh(self) -> tuple[str, ...]:
        """Return the arguments of requests.lua for one window: each user is made once."""
        return ("write", secrets.token_hex(6)) if self.arguments == ("write",) else self.arguments


def read(connections: int) -> Workload:
    """Read one user by id."""
    return Workload("read", connections, arguments=("read", str(services.SEEDED)))


def write(connections: int) -> Workload:
    """Create a user, under an Idempotency-Key."""
    return Workload("write", connections, arguments=("write",))


def page(connections: int) -> Workload:
    """List the newest users."""
    return Workload(f"page of {PAGE}", connections, f"/api/users?limit={PAGE}")


FOUR = (read(16), page(16), write(16), read(400))


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    warm_up: float
    clients: tuple[int, ...]
    clients_rounds: int
    users: int
    files: int  # that a process may open


def tell(text: str) -> None:
    """Say how it is coming along; the table alone goes to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def rotated(items: Sequence[T], number: int) -> list[T]:
    """Return the items in the order of a round: each comes first in turn."""
    shift = number % len(items)
    return [*items[shift:], *items[:shift]]


def window(service: Service, workload: Workload, seconds: float) -> Sample:
    """Load one service once."""
    service.settle()
    before = services.cpu_seconds(service.process.pid)
    sample = load(service.url(workload.path), workload.connections, seconds, workload.fresh())
    used = services.cpu_seconds(service.process.pid) - before
    cpu = used * 1e6 / sample.requests if sample.requests else None
    return dataclasses.replace(sample, cpu=cpu)


def compare(
    results: Results,
    part: str,
    workload: Workload,
    those: Sequence[Service],
    plan: Plan,
    rounds: int,
) -> None:
    """Measure a workload: in each round all services, in an order that rotates."""
    for service in those:
        if part == "workloads":  # which come first, and warm them all up
            window(service, workload, plan.warm_up)
        results.row(part, workload.name, workload.connections, service.name)
    for number in range(rounds):
        for service in rotated(those, number):
            sample = window(service, workload, plan.seconds * max(1, workload.connections / CROWD))
            row = results.row(part, workload.name, workload.connections, service.name)
            row.samples.append(sample)
            tell(
                f"{workload.name}, {workload.connections} connections, round {number + 1}: "
                f"{service.name} {sample.rate:,.0f}/s{f', {sample.bad} bad' if sample.bad else ''}"
            )


def measure_services(results: Results, stack: EmbeddedStack, plan: Plan, parts: set[str]) -> None:
    """Measure Holdfast beside both controls."""
    services.make_table(stack)
    asyncio.run(services.fill(stack, DATABASE, services.SEEDED))
    with ExitStack() as life:
        those = [
            life.enter_context(services.running(stack, name)) for name in (SUBJECT, CONTROL, PLAIN)
        ]
        for service in those:
            service.check()
        if "workloads" in parts:
            for workload in FOUR:
                compare(results, "workloads", workload, those, plan, plan.rounds)
        if "clients" in parts:
            _many_clients(results, those[:2], plan)


def _many_clients(results: Results, those: Sequence[Service], plan: Plan) -> None:
    for workload in (kind(level) for kind in (read, write) for level in plan.clients):
        if workload.connections + SPARE_FILES > plan.files:
            results.notes.append(
                f"{workload.name} with {workload.connections:,} connections was not measured: a "
                f"process may open {plan.files:,} files here (ulimit -Hn)."
            )
        else:
            compare(results, "clients", workload, those, plan, plan.clients_rounds)


def measure_rows(results: Results, stack: EmbeddedStack, plan: Plan) -> None:
    """Measure the first and the last page of many users, one request after another."""
    tell(f"loading {plan.users:,} users")
    asyncio.run(services.fill(stack, ROWS_DATABASE, plan.users))
    after = cursor.encode(Order.NEWEST, PAGE + 1)
    ends = (
        Workload("first page", 1, f"/api/users?limit={PAGE}"),
        Workload("last page", 1, f"/api/users?limit={PAGE}&cursor={after}"),
    )
    with services.running(stack, SUBJECT, ROWS_DATABASE) as service:
        for end, greatest in zip(ends, (plan.users, PAGE), strict=True):
            _, answer = services.ask(service.port, end.path)
            _expect_page(end.name, answer, greatest)
            window(service, end, plan.warm_up)
        for number in range(plan.rounds):
            for end in rotated(ends, number):
                sample = window(service, end, plan.seconds)
                results.row("rows", end.name, 1, service.name).samples.append(sample)
                tell(f"{end.name} of {plan.users:,}, round {number + 1}: p50 {sample.p50:.2f} ms")
    first, last = (results.row("rows", end.name, 1, SUBJECT) for end in ends)
    found = ratio(last.p50s, first.p50s)
    if found is None:
        raise MeasureError("the first page was not answered at all")
    results.figures["rows"] = {"users": plan.users, "last_to_first": found.document()}


def _expect_page(name: str, answer: dict[str, object], greatest: int) -> None:
    items = answer.get("items")
    ids = [item["id"] for item in items] if isinstance(items, list) else answer
    if ids != list(range(greatest, greatest - PAGE, -1)):
        raise MeasureError(f"the {name} should begin with user {greatest}; it is {ids}")
