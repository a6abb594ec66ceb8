"""An open-loop client: requests leave on a fixed schedule, whatever becomes of those before them.

A client that waits for an answer before it asks again hides a pause, as it sends nothing while
it lasts. This one goes on as independent users do, never retries, and remembers every outcome. It
takes a quarter of a core, and on two cores that only the stack shares sends half of its requests
within 1 ms of their time: one process is enough.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import httpx
import uvloop

from tests.stack.support import BASE_URL, CLIENT_TIMEOUT, new_user, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

WRITES_PER_SECOND = 20.0
READS_PER_SECOND = 75.0
"""A third of what two cores do, this client included: what a pause piles up must be worked off
while more arrives, and while a node is made new."""

SHARES = (1.0, 0.5, 0.25, 0.1)
"""Parts of those rates that are tried until the machine can keep one on a healthy stack."""

RESERVE = 1.5
"""A rate is kept if this many times of it is: a machine at its limit never works off a pause."""

CALM = 3.0
"""Seconds of load, beyond the first users', that decide it."""

CALM_LATE, CALM_LATENCY = 0.1, 0.3
"""Seconds of lateness and of latency that 99 of 100 requests stay below on a machine that keeps up.
On two quiet cores they are 0.02 and 0.2: there the whole rate it is."""

SETTLED = 2.0
"""Seconds until a user is read who came without a token: a replica may lag by that much."""

CLIENTS = 8
"""httpx looks through all connections of a client for each request: a few clients share them."""

TOKEN = "Consistency-Token"
SHOWN = 10  # failures that a report quotes


@dataclass(frozen=True)
class Outcome:
    """One request: what came back, and when, in seconds after the moment it was due."""

    what: str
    due: float  # after the load began
    sent: float  # how late: the client's own share of the latency
    latency: float
    status: int | None
    problem: str  # empty when the answer was the right one
    email: str  # the user it was about


@dataclass(frozen=True)
class _User:
    email: str
    location: str
    token: str | None
    readable: float  # monotonic seconds


@functools.cache
def affordable() -> float:
    """Return the part of the rates at which stack and client keep up on this machine.

    A client that is seconds late, and a stack without a core to run on, tell nothing of a failover.
    """
    for share in SHARES:
        with Load(keyed=False, share=RESERVE * share) as load:
            load.run_for(CALM)
        print(f"at {RESERVE * share:.0%} of the rates: {load.report()}")
        if load.kept_up():
            return share
    raise AssertionError(f"this machine does not keep up with a healthy stack:\n{load.report()}")


@dataclass
class Load:
    """Writes and reads through the edge, on a thread of its own, for as long as the block runs."""

    keyed: bool  # whether a write has a key of the client's
    share: float = field(default_factory=affordable)
    prefix: str = field(default_factory=lambda: f"load{uuid.uuid4().hex[:8]}")
    outcomes: list[Outcome] = field(default_factory=list)
    processor: float = 0.0  # the part of one core that the client itself took

    def __enter__(self) -> Self:
        """Start, and return once users are being read."""
        self._users: list[_User] = []
        self._readable = 0  # how many of them, from the first, may be read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        time.sleep(SETTLED + 1)
        return self

    def __exit__(self, *_: object) -> None:
        """Send no more; wait for the answers that are due."""
        self._stop.set()
        self._thread.join(CLIENT_TIMEOUT * 2)

    @property
    def acknowledged(self) -> list[str]:
        """The emails of the users that were created, as far as the client was told."""
        return [one.email for one in list(self.outcomes) if one.what == "write" and not one.problem]

    @property
    def failed(self) -> list[Outcome]:
        """Whatever did not get the right answer, in the order it was due."""
        return sorted((one for one in list(self.outcomes) if one.problem), key=lambda one: one.due)

    def stored(self) -> list[str]:
        """Return the emails of this load's users that the database has."""
        return sql(f"SELECT email FROM users WHERE starts_with(email, '{self.prefix}-')")  # noqa: S608

    def run_for(self, seconds: float) -> None:
        """Let the load go on for a while."""
        time.sleep(seconds)

    def longest(self) -> float:
        """Return how long the slowest answer took; the client's own lateness is not part of it."""
        return max(one.latency - one.sent for one in self.outcomes)

    def kept_up(self) -> bool:
        """Tell whether nothing failed, and 99 of 100 requests left and were answered in time."""
        late = _percentile([one.sent for one in self.outcomes], 0.99)
        latency = _percentile([one.latency for one in self.outcomes], 0.99)
        return not self.failed and late < CALM_LATE and latency < CALM_LATENCY

    def report(self) -> str:
        """Return what happened: counts, latencies, how late the client was, the first failures."""
        lines = [f"{len(self.failed)} failed; the client took {self.processor:.0%} of a core"]
        for what in ("write", "read"):
            mine = [one for one in self.outcomes if one.what == what]
            statuses = dict(Counter(one.status for one in mine))
            latency = _summary([one.latency for one in mine])
            late = _summary([one.sent for one in mine])
            lines.append(f"{len(mine)} {what}s {statuses}: latency {latency}, sent late {late}")
        return "\n".join([*lines, *(str(one) for one in self.failed[:SHOWN])])

    def _work(self) -> None:
        began, cpu = time.monotonic(), time.thread_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())
        self.processor = (time.thread_time() - cpu) / (time.monotonic() - began)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        clients = [
            httpx.AsyncClient(base_url=BASE_URL, timeout=CLIENT_TIMEOUT, limits=limits)
            for _ in range(CLIENTS)
        ]
        turn = itertools.cycle(clients)
        writes, reads = self.share * WRITES_PER_SECOND, self.share * READS_PER_SECOND
        self._began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._on_schedule(writes, self._write, turn))
                group.create_task(self._on_schedule(reads, self._read, turn))
        finally:
            for client in clients:
                await client.aclose()

    async def _on_schedule(
        self,
        rate: float,
        send: Callable[[httpx.AsyncClient, float], Coroutine[None, None, None]],
        clients: Iterator[httpx.AsyncClient],
    ) -> None:
        """Send at `rate` until the block ends, without waiting for anything but the clock."""
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                due = self._began + number / rate
                await asyncio.sleep(due - time.monotonic())
                if self._stop.is_set():
                    return
                group.create_task(send(next(clients), due))

    async def _write(self, client: httpx.AsyncClient, due: float) -> None:
        user = new_user(self.prefix)
        headers = {"Idempotency-Key": f'"{uuid.uuid4()}"'} if self.keyed else {}
        request = client.build_request("POST", "/api/users", json=user, headers=headers)
        answer = await self._send("write", client, request, user["email"], due)
        if answer is not None:
            token, now = answer.headers.get(TOKEN), time.monotonic()
            readable = now if token else now + SETTLED
            self._users.append(_User(user["email"], answer.headers["location"], token, readable))

    async def _read(self, client: httpx.AsyncClient, due: float) -> None:
        now = time.monotonic()
        while self._readable < len(self._users) and self._users[self._readable].readable <= now:
            self._readable += 1
        if self._readable == 0:
            return
        user = self._users[random.randrange(self._readable)]  # noqa: S311 - spread, not a secret
        headers = {TOKEN: user.token} if user.token else {}
        request = client.build_request("GET", user.location, headers=headers)
        await self._send("read", client, request, user.email, due)

    async def _send(
        self, what: str, client: httpx.AsyncClient, request: httpx.Request, email: str, due: float
    ) -> httpx.Response | None:
        """Send and remember; return the answer only if it is the right one."""
        sent = time.monotonic() - due
        answer, status, problem = None, None, ""
        try:
            answer = await client.send(request)
        except httpx.TransportError as error:
            problem = repr(error)
        else:
            status = answer.status_code
            if not answer.is_success or answer.json()["email"] != email:
                problem = f"{answer.headers.get('x-instance')}: {answer.text}"
        latency = time.monotonic() - due
        at = due - self._began
        self.outcomes.append(Outcome(what, at, sent, latency, status, problem, email))
        return None if problem else answer


def _percentile(times: list[float], part: float) -> float:
    return sorted(times)[round((len(times) - 1) * part)]


def _summary(times: list[float]) -> str:
    """Name the median, the 99th percentile and the maximum, in milliseconds."""
    return "/".join(f"{_percentile(times, part) * 1000:.0f}" for part in (0.5, 0.99, 1)) + " ms"
