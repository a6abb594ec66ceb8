"""Tokens, and keys, when the primary comes back by itself: from its crash, or from a backup."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded import free_port
from ops.embedded.pair import APP, OWNER, READ
from service.database import ConsistencyToken
from service.database.commit import Position
from service.database.retry import TOKEN_QUESTIONS
from tests.integration.fault_proxy import Fault, FaultProxy
from tests.integration.scenarios import replay_paused, stopped
from tests.integration.service_client import running_service
from tests.integration.support import through
from tests.integration.twins import KEY, REPLAYED, TOKEN, create, new_user, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from ops.embedded import EmbeddedStack
    from ops.embedded.postgres import Node
    from tests.integration.service_client import Service

OTHER = "consistency-token-of-another-history"
AT_ONCE = 10.0  # seconds: less than the wait for a standby, which half of the deadline bounds
BEGIN = "SELECT begin_history()"
IN_FLIGHT = "SELECT pg_logical_emit_message(false, 'others', repeat('x', 200000))"


async def test_a_token_survives_a_crash(disturbed_stack: EmbeddedStack, database: str) -> None:
    """The primary starts again on its own timeline, without what others had in flight."""
    stack = disturbed_stack
    async with (
        FaultProxy(stack.primary.serving_port) as proxy,
        running_service(
            database, proxy.port, stack.primary.serving_port, db_statement_timeout=30.0
        ) as service,
    ):
        trap = proxy.trap(b"", Fault.HOLD, after=b"COMMIT")  # the question for the position
        with stopped(stack.primary, "walwriter"):
            request = asyncio.create_task(create(service, "survivor", "key"))
            await trap.sprung.wait()
            inserted = stack.primary.sql(f"{IN_FLIGHT}; SELECT pg_current_wal_insert_lsn()")
            trap.release()
            response = await request
            stack.primary.kill()
        await asyncio.to_thread(stack.primary.start)
        now = stack.primary.sql(f"SELECT pg_current_wal_insert_lsn() < '{inserted.split()[-1]}'")
        assert now == "t", "nothing was lost: this shows nothing"
        read = await service.client.get(
            response.headers["Location"], headers={TOKEN: response.headers[TOKEN]}
        )
        assert read.status_code == 200, read.text
        later = await create(service, "survivor", "key")
        before, after = (ConsistencyToken.parse(each.headers[TOKEN]) for each in (response, later))
        assert before.position.timeline == after.position.timeline


@contextmanager
def backup(stack: EmbeddedStack) -> Iterator[Node]:
    """Copy the primary as it is now; started, the copy knows of nothing later."""
    copy = stack.primary.another("restored", free_port())
    stack.attach(copy.process)
    copy.copy_from(stack.primary)
    (copy.data / "postgresql.auto.conf").write_text("")  # no primary to follow, no standby
    try:
        yield copy
    finally:
        copy.kill()


def restore(copy: Node, database: str, *, begin: bool) -> None:
    """Make a backup the primary, on a later timeline; and, as the runbook says, a new history."""
    copy.start()
    copy.promote()
    if begin:
        copy.sql(BEGIN, database)


async def repeat(service: Service, name: str, token: str | None) -> httpx.Response:
    """Send a write again, as its client would: with its key, and with the token it was given."""
    headers = {KEY: name} | ({TOKEN: token} if token else {})
    return await service.client.post("/api/users", json=new_user(name), headers=headers)


begins = pytest.mark.parametrize("begin", [True, False], ids=["new history", "not told"])


@begins
async def test_tokens_end_with_their_history(
    stack: EmbeddedStack, database: str, begin: bool
) -> None:
    """What was written after the backup is gone: a read with its token is refused, not stale.

    Negative control: without begin_history() the later timeline is believed to have everything.
    """
    primary, standby = stack.primary.serving_port, stack.standby.serving_port
    with backup(stack) as copy:
        async with running_service(database, primary, standby) as service:
            written = await create(service, "after")
            path, token = written.headers["Location"], written.headers[TOKEN]
        await asyncio.to_thread(restore, copy, database, begin=begin)
        async with running_service(
            database, copy.port, copy.port, consistency_wait=30.0, request_deadline=30.0
        ) as service:
            started = time.monotonic()
            by_header = await service.client.get(path, headers={TOKEN: token})
            by_cookie = await service.client.get(
                path, headers={"Cookie": f"consistency_token={token}"}
            )
            assert time.monotonic() - started < AT_ONCE
            later = await create(service, "later")
            seen = await service.client.get(
                later.headers["Location"], headers={TOKEN: later.headers[TOKEN]}
            )
    expected = (409, OTHER) if begin else (404, "not-found")
    for each in (by_header, by_cookie):
        assert (each.status_code, problem(each)) == expected, each.text
        assert each.headers["X-Attempts"] == "1"
    assert ("Max-Age=0" in by_cookie.headers.get("Set-Cookie", "")) is begin
    assert (seen.status_code, seen.headers["X-Route"]) == (200, "read")


@begins
async def test_keys_end_with_their_history(
    stack: EmbeddedStack, database: str, begin: bool
) -> None:
    """A write that the backup lacks is not made anew for a client that sends its token.

    One that the backup has is replayed; without the token the service cannot know.
    """
    primary, standby = stack.primary.serving_port, stack.standby.serving_port
    async with running_service(database, primary, standby) as service:
        kept = await create(service, "kept", "kept")
        with backup(stack) as copy:
            gone = await create(service, "gone", "gone")
            await asyncio.to_thread(restore, copy, database, begin=begin)
            async with running_service(database, copy.port, copy.port) as restored:
                again = await repeat(restored, "kept", kept.headers[TOKEN])
                anew = await repeat(restored, "gone", gone.headers[TOKEN])
                cookie = {"Cookie": f"consistency_token={gone.headers[TOKEN]}"}
                unasked = await restored.client.post(
                    "/api/users", json=new_user("cookie"), headers=cookie
                )
                blind = await repeat(restored, "gone", None)
    assert (again.status_code, again.headers[REPLAYED]) == (201, "true")
    assert anew.status_code == (409 if begin else 201), anew.text
    assert problem(anew) == (OTHER if begin else "")
    assert unasked.status_code == 201, unasked.text
    assert blind.status_code == 201, blind.text
    assert (REPLAYED in blind.headers) is not begin


async def test_a_write_with_a_good_token_is_applied(stack: EmbeddedStack, database: str) -> None:
    """In its own history a token changes nothing for a write; what is no token is refused."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as service:
        token = (await create(service, "first")).headers[TOKEN]
        assert (await repeat(service, "second", token)).status_code == 201
        refused = await repeat(service, "third", "nonsense")
        assert (refused.status_code, problem(refused)) == (400, "bad-consistency-token")


async def test_a_standby_that_has_not_replayed_the_history(
    stack: EmbeddedStack, database: str
) -> None:
    """It has not reached a token of the new one, however far it is; the primary answers."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, consistency_wait=0.1
    ) as service:
        path = (await create(service, "first")).headers["Location"]
        stack.wait_replayed()
        async with replay_paused(stack):
            stack.primary.sql(BEGIN, database)
            token = (await create(service, "second")).headers[TOKEN]
            position = replace(ConsistencyToken.parse(token).position, lsn=1)
            headers = {TOKEN: ConsistencyToken(position).encode()}
            response = await service.client.get(path, headers=headers)
            assert (response.status_code, response.headers["X-Route"]) == (200, "read-fallback")
        stack.wait_replayed()
        response = await service.client.get(path, headers=headers)
        assert (response.status_code, response.headers["X-Route"]) == (200, "read")


async def test_a_history_that_a_primary_of_the_past_does_not_know(
    stack: EmbeddedStack, database: str
) -> None:
    """A token of a later timeline is asked for a few times: the node may just be replaced."""
    async with running_service(
        database, stack.primary.serving_port, stack.primary.serving_port
    ) as service:
        here = ConsistencyToken.parse((await create(service, "here")).headers[TOKEN]).position
        later = Position(here.timeline + 1, here.lsn, here.history ^ 1)
        headers = {TOKEN: ConsistencyToken(later).encode()}
        response = await service.client.get("/api/users", headers=headers)
        assert (response.status_code, problem(response)) == (409, OTHER)
        assert 1 < int(response.headers["X-Attempts"]) <= TOKEN_QUESTIONS


async def test_who_begins_a_history(stack: EmbeddedStack, database: str) -> None:
    """The owner alone."""
    for statement in (BEGIN, "UPDATE database_history SET since = now()"):
        for role in (APP, READ):
            connection = await through(stack.write_port, database, role)
            await connection.execute("SET default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
            await connection.close()
    owner = await through(stack.write_port, database, OWNER)
    before = await owner.fetchval("SELECT id FROM database_history")
    assert await owner.fetchval(BEGIN) != before
    await owner.close()
