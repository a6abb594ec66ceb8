"""The requests of a load: what each says, and how one is sent, and sent again."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import httpx

from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import DEADLINE
from ops.load.verdict import Verdict, of_answer, of_error

if TYPE_CHECKING:
    from ops.load.plan import Plan

CLIENTS = 8
"""httpx looks through all connections of a client for each request: a few clients share them."""

KEPT = 20
"""Idle connections that each of them keeps."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds: the most that a client waits before its second try, and before any later one."""

TOKEN_VARIABLE = "HOLDFAST_TOKEN"  # noqa: S105 - the variable's name
"""A bearer token to send, where the service asks for one (`holdfast access add`)."""

GIVEN_UP = "given-up"
"""The error of a request that was not over when its load ended."""

METHODS = {Kind.CREATE: "POST", Kind.CHANGE: "PATCH", Kind.READ: "GET"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, the same for all its tries. Its fields are as in Operation."""

    kind: Kind
    entity: str
    path: str
    value: str | None = None
    expected: int | None = None
    condition: str | None = None
    token: str | None = None
    key: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice."""
        return self.kind is Kind.READ or self.key is not None

    def headers(self) -> dict[str, str]:
        """Return what goes with it besides httpx's own."""
        chosen = {
            "Idempotency-Key": f'"{self.key}"' if self.key else None,
            "Consistency-Token": self.token,
            "If-Match": f'"{self.condition}"' if self.condition is not None else None,
        }
        return {name: value for name, value in chosen.items() if value is not None}

    def body(self) -> dict[str, Any] | None:
        """Return what goes as JSON."""
        if self.kind is Kind.CREATE:
            return {"email": self.entity, "name": self.value}
        return {"name": self.value} if self.kind is Kind.CHANGE else None


def new_key(plan: Plan) -> str | None:
    """Return a key for a new write, or None when the plan has clients choose none."""
    return str(uuid.uuid4()) if plan.keyed else None


class Sender:
    """Sends requests through a few httpx clients, with retries if the plan has them."""

    def __init__(self, plan: Plan) -> None:
        """Open no connection yet."""
        self._plan = plan
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
        self._clients = [
            httpx.AsyncClient(
                base_url=plan.base_url,
                headers=_authorization(),
                timeout=plan.timeout,
                limits=limits,
                trust_env=False,
            )
            for _ in range(CLIENTS)
        ]
        self._turn = itertools.cycle(self._clients)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()

    async def send(self, request: Request, due: float) -> tuple[Operation, Verdict]:
        """Send until there is an answer to keep; times are of `time.monotonic`.

        A request that is cancelled meanwhile is over too: its operation says `given-up`.
        """
        tries = _Tries(request, due, time.monotonic())
        while True:
            try:
                verdict = await self._try(request, tries.left(self._plan))
            except asyncio.CancelledError as error:
                verdict = replace(of_error(request, error), error=GIVEN_UP)
            verdict = tries.note(verdict)
            wait = tries.wait(verdict) if self._again(request) else None
            if wait is None or not await _slept(wait):
                return tries.operation(verdict), verdict

    def _again(self, request: Request) -> bool:
        return self._plan.retries and (request.repeatable or self._plan.reckless)

    async def _try(self, request: Request, seconds: float) -> Verdict:
        client = next(self._turn)
        built = client.build_request(
            METHODS[request.kind], request.path, json=request.body(), headers=request.headers()
        )
        try:
            async with asyncio.timeout(seconds):
                answer = await client.send(built)
        except (httpx.TransportError, TimeoutError) as error:
            return of_error(request, error)
        return of_answer(request, answer)


def _authorization() -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE)
    return {"Authorization": f"Bearer {token}"} if token else {}


async def _slept(seconds: float) -> bool:
    """Sleep; say whether it was to the end, or cancelled."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        return False
    return True


class _Tries:
    """The tries of one request so far."""

    def __init__(self, request: Request, due: float, sent: float) -> None:
        self._request = request
        self._due = due
        self._sent = sent
        self._count = 0
        self._doubt = False  # a try that may have been applied

    def left(self, plan: Plan) -> float:
        """Return the seconds that the next try may take."""
        if not plan.retries:
            return plan.timeout
        return min(plan.timeout, max(0.0, self._sent + DEADLINE - time.monotonic()))

    def note(self, verdict: Verdict) -> Verdict:
        """Count a try; what an earlier one may have done, no later failure takes back."""
        self._count += 1
        if self._doubt and verdict.outcome is Outcome.FAILED:
            verdict = replace(verdict, outcome=Outcome.UNKNOWN)
        self._doubt = self._doubt or verdict.outcome is Outcome.UNKNOWN
        return verdict

    def wait(self, verdict: Verdict) -> float | None:
        """Return the seconds until the next try, None when there is to be none."""
        if not verdict.again:
            return None
        most = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._count - 1, 10))
        wait = verdict.retry_after + random.uniform(0, most)  # noqa: S311 - spread, not a secret
        return wait if time.monotonic() + wait < self._sent + DEADLINE else None

    def operation(self, verdict: Verdict) -> Operation:
        """Return the record, its times still those of `time.monotonic`."""
        request = self._request
        return Operation(
            kind=request.kind,
            entity=request.entity,
            due=self._due,
            sent=self._sent,
            completed=time.monotonic(),
            outcome=verdict.outcome,
            status=verdict.status,
            error=verdict.error,
            value=verdict.value if request.kind is Kind.READ else request.value,
            version=verdict.version,
            expected=request.expected,
            tries=self._count,
            keyed=request.key is not None,
            durable=verdict.durable,
            instance=verdict.instance,
            condition=request.condition,
            tag=verdict.tag,
            found=verdict.found if request.kind is Kind.CHANGE else None,
        )
