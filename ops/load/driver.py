"""One process's part of a load, inside its event loop: schedule in, operations out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops import names
from ops.load.book import SETTLED, Book, Entity
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import LoadError
from ops.load.request import CLIENTS, TOKEN_VARIABLE, Request, Sender, new_key
from ops.load.schedule import Schedule, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ops.load.plan import Plan
    from ops.load.verdict import Verdict

USERS = "/api/users"

SEEDS = CLIENTS
"""Users created before the load starts: there is something to read, and connections are open."""

SEEDS_LIMIT = 10.0
"""Seconds after which a load that could create none of them is not started."""

SEEDS_PAUSE = 0.5
"""Seconds between two attempts at that."""

UNSENT = "not-sent"
"""The error of a request for which there was no room under `Plan.outstanding`."""

REFUSED = frozenset({401, 403})
"""Statuses of a service that asks for a token, or for another one: no time mends that."""

UNCHANGED = (None, 503)
"""Statuses of a failed change that leave the entity as it was known; 412 says that it was not."""


class Driver:
    """Sends one process's requests and hands each one's Operation to `record`.

    Call `prepare`, then `run`, then `drain`. Operations of the preparation come with `run`, their
    times negative.
    """

    def __init__(
        self, plan: Plan, number: int, sender: Sender, record: Callable[[Operation], None]
    ) -> None:
        """Drive process `number` of the plan, which counts from 0."""
        self._plan = plan
        self._number = number
        self._sender = sender
        self._record = record
        self._began: float | None = None
        self._early: list[Operation] = []
        self._book = Book()
        self._writes = 0
        self._share = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None

    @property
    def outstanding(self) -> int:
        """How many requests are under way."""
        return len(self._tasks)

    async def prepare(self) -> None:
        """Create the first users. Raises LoadError when none can be created."""
        limit = time.monotonic() + SEEDS_LIMIT
        while True:
            now = time.monotonic()
            for _ in range(SEEDS):
                self._start(self._create(now))
            await self.drain(max(0.0, limit - now))
            if len(self._book):
                break
            refused = all(one.status in REFUSED for one in self._early)
            if (self._early and refused) or time.monotonic() + SEEDS_PAUSE > limit:
                raise LoadError(self._why_none())
            await asyncio.sleep(SEEDS_PAUSE)
        if not self._plan.tokens:
            await asyncio.sleep(SETTLED)

    def _why_none(self) -> str:
        """Say why no user could be created, and what to do."""
        refused = {one.status for one in self._early} & REFUSED
        if refused:
            status = refused.pop()
            access = names.command("./holdfast access add load --scope read --scope write")
            return (
                f"{self._plan.base_url} asks for a token that may write ({status}): "
                f"{TOKEN_VARIABLE}=$({access}) and the same command again."
            )
        errors = ", ".join(sorted({one.error for one in self._early}))
        what = f"no user could be created at {self._plan.base_url}: {errors}"
        return f"{what}. Is the stack up? `make up`, or another --url."

    async def run(self, began: float, stop: asyncio.Event) -> None:
        """Send on schedule from `began` (monotonic seconds) until it ends, or `stop` is set."""
        self._began = began
        for operation in self._early:
            self._record(_after(operation, began))
        plan = self._plan
        writes = Schedule(plan.writes_per_second, plan.seconds, self._number, plan.processes)
        reads = Schedule(plan.reads_per_second, plan.seconds, self._number, plan.processes, 0.5)
        following = asyncio.create_task(self._both(writes, reads))
        ended = asyncio.create_task(stop.wait())
        tasks: list[asyncio.Task[Any]] = [following, ended]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if not following.cancelled():
            following.result()
        self._check()

    async def _both(self, writes: Schedule, reads: Schedule) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(writes, self._write, Kind.CREATE))
            group.create_task(self._follow(reads, self._read, Kind.READ))

    async def drain(self, seconds: float) -> None:
        """Wait for the answers that are due; what has none after `seconds` is given up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._check()

    def _check(self) -> None:
        """Raise what a request raised: a fault of this program, never of the service."""
        if self._broken is not None:
            raise self._broken

    async def _follow(
        self, schedule: Schedule, send: Callable[[float], Coroutine[None, None, None]], kind: Kind
    ) -> None:
        assert self._began is not None  # noqa: S101 - `run` sets it first
        for arrival in schedule.arrivals():
            await until(self._began + arrival)
            if self._broken is not None:
                return
            if len(self._tasks) < self._plan.outstanding:
                self._start(send(self._began + arrival))
            else:
                self._record(self._unsent(kind, arrival))

    def _unsent(self, kind: Kind, due: float) -> Operation:
        """Return the record of a request that this process could not take on."""
        assert self._began is not None  # noqa: S101 - `run` sets it first
        now = time.monotonic() - self._began
        entity = f"{self._plan.prefix}-unsent@example.org"
        return Operation(kind, entity, due, now, now, Outcome.FAILED, error=UNSENT)

    def _start(self, request: Coroutine[None, None, None]) -> None:
        """Let a request take its time; `_over` hears of its end."""
        task = asyncio.create_task(request)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()

    async def _write(self, due: float) -> None:
        """Change an entity when it is a change's turn and there is one; else create one."""
        self._share += self._plan.changes
        entity = None
        if self._share >= 1:
            self._share -= 1
            entity = self._book.take()
        if entity is None:
            await self._create(due)
        else:
            await self._change(entity, due)

    async def _create(self, due: float) -> None:
        self._writes += 1
        email = f"{self._plan.prefix}-{self._number}-{self._writes}@example.org"
        request = Request(Kind.CREATE, email, USERS, self._name(), key=new_key(self._plan))
        operation, verdict = await self._send(request, due)
        if operation.outcome is Outcome.OK:
            token, settled = self._token(verdict), time.monotonic() + SETTLED
            readable = settled if token is None else 0.0
            known = (verdict.location, readable, token, verdict.version, verdict.tag)
            self._book.add(Entity(email, *known))

    async def _change(self, entity: Entity, due: float) -> None:
        """Change an entity; one whose version is in doubt afterwards is not changed again."""
        self._writes += 1
        request = Request(
            kind=Kind.CHANGE,
            entity=entity.email,
            path=entity.location,
            value=self._name(),
            expected=entity.version,
            condition=entity.tag,
            key=new_key(self._plan),
        )
        operation, verdict = await self._send(request, due)
        if operation.outcome is Outcome.OK:
            entity.token = self._token(verdict)
            entity.version, entity.tag = verdict.version, verdict.tag
        unchanged = operation.outcome is Outcome.FAILED and operation.status in UNCHANGED
        if unchanged or operation.outcome is Outcome.OK:
            self._book.put_back(entity)

    async def _read(self, due: float) -> None:
        entity = self._book.to_read(time.monotonic())
        expected = entity.version if entity.token else None
        request = Request(
            Kind.READ, entity.email, entity.location, expected=expected, token=entity.token
        )
        await self._send(request, due)

    def _token(self, verdict: Verdict) -> str | None:
        return verdict.token if self._plan.tokens else None

    def _name(self) -> str:
        """Return a value that no other write of the run has."""
        return f"{self._plan.prefix} {self._number}.{self._writes}"

    async def _send(self, request: Request, due: float) -> tuple[Operation, Verdict]:
        operation, verdict = await self._sender.send(request, due)
        if self._began is None:
            self._early.append(operation)
        else:
            self._record(_after(operation, self._began))
        return operation, verdict


def _after(operation: Operation, began: float) -> Operation:
    """Return the operation with its times counted from `began`."""
    return replace(
        operation,
        due=operation.due - began,
        sent=operation.sent - began,
        completed=operation.completed - began,
    )
