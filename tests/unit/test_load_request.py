"""A client sends again what is safe to, in bounded time, and never forgets a doubt."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ops.load import request as module
from ops.load.null import Answer, Asked, NullServer, listening
from ops.load.operation import Kind, Operation, Outcome
from ops.load.plan import Plan
from ops.load.request import GIVEN_UP, Request, Sender

if TYPE_CHECKING:
    import pytest

CREATE = Request(Kind.CREATE, "a@example.org", "/api/users", "Ada", key="key-1")
UNAVAILABLE = Answer(503, {"type": "urn:holdfast:problem:unavailable"})
IN_DOUBT = Answer(503, {"type": "urn:holdfast:problem:commit-in-doubt"})
NO_ANSWER = Answer(0, None)


def answering(*answers: Answer | None) -> NullServer:
    """A server that gives these answers first, the last one for ever; None is its own."""
    left = list(answers)

    async def behave(_: Asked) -> Answer | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return NullServer(behave)


async def sent(server: NullServer, request: Request, *, retries: bool = True) -> Operation:
    """What becomes of a request at this server."""
    async with listening(server) as url, Sender(Plan(base_url=url, retries=retries)) as sender:
        operation, _ = await sender.send(request, time.monotonic())
    return operation


async def test_a_keyed_write_is_sent_again_as_it_was() -> None:
    """With the same key, until it succeeds."""
    server = answering(UNAVAILABLE, NO_ANSWER, None)
    operation = await sent(server, CREATE)
    assert (operation.outcome, operation.tries, operation.version) == (Outcome.OK, 3, 1)
    assert {asked.headers["idempotency-key"] for asked in server.asked} == {'"key-1"'}


async def test_a_read_is_sent_again() -> None:
    """It changes nothing."""
    server = answering(None, Answer(502, {}), None)
    async with listening(server) as url, Sender(Plan(base_url=url, retries=True)) as sender:
        _, created = await sender.send(CREATE, time.monotonic())
        read = Request(Kind.READ, CREATE.entity, created.location, token=created.token)
        operation, _ = await sender.send(read, time.monotonic())
    assert (operation.outcome, operation.tries, operation.value) == (Outcome.OK, 2, "Ada")
    assert server.asked[-1].headers["consistency-token"] == created.token


async def test_a_write_without_a_key_is_not() -> None:
    """It might be applied twice."""
    operation = await sent(answering(NO_ANSWER, None), replace(CREATE, key=None))
    assert (operation.outcome, operation.tries, operation.keyed) == (Outcome.UNKNOWN, 1, False)


async def test_nor_is_anything_when_clients_do_not_retry() -> None:
    """The plan decides."""
    operation = await sent(answering(UNAVAILABLE, None), CREATE, retries=False)
    assert (operation.outcome, operation.error) == (Outcome.FAILED, "unavailable")


async def test_a_doubt_stays() -> None:
    """A later refusal says nothing about what an earlier try has done."""
    refused = Answer(409, {"type": "urn:holdfast:problem:email-in-use"})
    operation = await sent(answering(IN_DOUBT, refused), CREATE)
    assert (operation.outcome, operation.error) == (Outcome.UNKNOWN, "email-in-use")


async def test_retry_after_is_honoured() -> None:
    """No try comes earlier than the answer asks for."""
    later = replace(UNAVAILABLE, headers={"Retry-After": "1"})
    operation = await sent(answering(later, None), CREATE)
    assert operation.outcome is Outcome.OK
    assert operation.latency >= 1.0


async def test_a_deadline_bounds_all_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it the last answer counts."""
    monkeypatch.setattr(module, "DEADLINE", 0.5)
    operation = await sent(answering(UNAVAILABLE), CREATE)
    assert operation.tries > 1
    assert operation.latency < 5
    # Or the deadline passed in the middle of a try.
    ends = {(Outcome.FAILED, "unavailable"), (Outcome.UNKNOWN, "TimeoutError")}
    assert (operation.outcome, operation.error) in ends


async def test_what_is_given_up_is_told() -> None:
    """A write under way when the load ends may have been applied."""
    asked = asyncio.Event()

    async def silence(_: Asked) -> Answer | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    async with listening(NullServer(silence)) as url, Sender(Plan(base_url=url)) as sender:
        task = asyncio.create_task(sender.send(CREATE, time.monotonic()))
        await asked.wait()
        task.cancel()
        operation, _ = await task
    assert (operation.outcome, operation.error) == (Outcome.UNKNOWN, GIVEN_UP)


async def test_nobody_listens() -> None:
    """Nothing was sent, so that nothing happened."""
    async with Sender(Plan(base_url="http://127.0.0.1:1")) as sender:
        operation, _ = await sender.send(CREATE, time.monotonic())
    assert (operation.outcome, operation.error) == (Outcome.FAILED, "ConnectError")


async def test_whom_a_change_has_changed_is_told() -> None:
    """Of a change alone: a read changes nobody, whoever has the id by now."""
    stranger = Answer(200, {"email": "b@example.org", "name": "Ada", "version": 2})
    change = Request(
        Kind.CHANGE, CREATE.entity, "/api/users/1", "Ada", expected=1, condition="1-a", key="key-2"
    )
    told = await sent(answering(stranger), change)
    assert (told.outcome, told.found, told.condition) == (Outcome.UNKNOWN, "b@example.org", "1-a")
    read = await sent(answering(stranger), Request(Kind.READ, CREATE.entity, "/api/users/1"))
    assert (read.outcome, read.found) == (Outcome.FAILED, None)
