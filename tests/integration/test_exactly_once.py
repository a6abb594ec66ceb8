"""A write is applied once, whatever becomes of connections, roles and clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.cuts import PLACES, Cut, Request, Step
from tests.integration.fault_proxy import Fault
from tests.integration.scenarios import assert_each_once, fail_over, hand_over, lose_every_commit
from tests.integration.support import eventually
from tests.integration.twins import KEY, REPLAYED, Twins, assert_replay, create, new_user, twins

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from ops.embedded import EmbeddedStack

LOST_COMMITS = 500
PAIRS = 50
POOL = 3  # connections; few, so that a lost one is missed
AFTERWARDS = 20  # requests that have to find every connection in order


# ---------------------------------------------------------------- COMMIT sent, answer lost
async def test_no_lost_commit_is_applied_twice_or_forgotten(pair: Twins) -> None:
    """COMMIT's answer, and only it, is lost 500 times: 500 clients get 201, 500 rows are there."""
    responses = await lose_every_commit(pair, LOST_COMMITS)
    await assert_each_once(pair, responses)
    resolved = sum(
        service.metric("holdfast_database_resolved_commits_total", outcome="applied")
        for service in pair.services
    )
    assert resolved == LOST_COMMITS


async def test_recalled_commit_may_be_lost_as_well(pair: Twins) -> None:
    """The COMMIT that asks for the first one's outcome is lost, again and again: still once."""
    trap = pair.lose_commits(10)
    response = await create(pair.first, "unlucky", "again-and-again")
    assert trap.count == 10
    assert response.status_code == 201, response.text
    assert REPLAYED not in response.headers
    assert await pair.names() == ["unlucky"]


# ---------------------------------------------------------------- cut anywhere
@pytest.mark.parametrize(("fault", "answer"), PLACES)
@pytest.mark.parametrize("step", [Step.CLAIM, Step.BODY, Step.COMMIT])
async def test_write_cut_at_every_step(pair: Twins, step: Step, fault: Fault, answer: int) -> None:
    """Whichever message of a write is the last one: the client gets 201, and there is one row.

    On a fresh session, and on one that has every statement prepared.
    """
    for name in ("fresh", "prepared"):
        request = Request.create(f"{name}@example.com", name)
        trap = await Cut(step, fault, answer).arm(pair.write, request, name)
        response = await request.send(pair.first, name)
        assert trap is not None
        assert trap.count == 1
        assert response.status_code == 201, response.text
        assert REPLAYED not in response.headers
        # What the lost session was renewed by has prepared its statements after this.
        assert (await create(pair.first, f"{name}-afterwards")).status_code == 201
    names = {"fresh", "prepared", "fresh-afterwards", "prepared-afterwards"}
    assert set(await pair.names()) == names
    assert len(await pair.names()) == len(names)


@pytest.mark.parametrize(("fault", "answer"), PLACES)
@pytest.mark.parametrize("step", [Step.CLAIM, Step.RECALL, Step.COMMIT])
async def test_replay_cut_at_every_step(pair: Twins, step: Step, fault: Fault, answer: int) -> None:
    """What makes an answer a replay is another request's effect, not a COMMIT of its own."""
    request = Request.create("replayed@example.com", "replayed")
    first = await request.send(pair.first, "cut")
    trap = await Cut(step, fault, answer).arm(pair.write, request, "cut")
    again = await request.send(pair.second, "cut")
    assert trap is not None
    assert trap.count == 1
    assert_replay(first, again)
    assert await pair.names() == ["replayed"]


# ---------------------------------------------------------------- replay
async def writes(pair: Twins, number: int) -> list[httpx.Response]:
    """Create, change and delete a user, each with a key, on one of the instances."""
    client = pair.services[number].client
    kept = await create(pair.services[number], "kept", "kept")
    user = await create(pair.services[number], "user", "create")
    path = f"/api/users/{kept.json()['id']}"
    change = await client.patch(path, json={"name": "changed"}, headers={KEY: "change"})
    path = f"/api/users/{user.json()['id']}"
    return [kept, user, change, await client.delete(path, headers={KEY: "delete"})]


async def repeat(pair: Twins, number: int, first: httpx.Response) -> httpx.Response:
    """Send the request of a response again, as it was."""
    request = first.request
    headers = {KEY: request.headers[KEY], "Content-Type": "application/json"}
    return await pair.services[number].client.request(
        request.method, request.url.path, content=request.content, headers=headers
    )


@pytest.mark.parametrize("change_roles", [None, fail_over, hand_over])
async def test_replay_on_either_instance(
    disturbed_stack: EmbeddedStack,
    database: str,
    change_roles: Callable[[EmbeddedStack], None] | None,
) -> None:
    """The same request gets the same response, marked, on every instance and every node."""
    async with twins(disturbed_stack, database) as pair:
        responses = await writes(pair, 0)
        assert [each.status_code for each in responses] == [201, 201, 200, 204]
        before = await pair.users()
        if change_roles is not None:
            await asyncio.to_thread(change_roles, disturbed_stack)
        for number in (0, 1):
            for first in responses:
                assert_replay(first, await repeat(pair, number, first))
        assert await pair.users() == before
        assert [user["name"] for user in before] == ["changed"]


async def test_two_instances_at_once(pair: Twins) -> None:
    """The same request on both instances at a time: one effect, one body, one of them marked."""
    for number in range(PAIRS):
        name = f"pair-{number}"
        both = await asyncio.gather(*(create(each, name, name) for each in pair.services))
        assert [response.status_code for response in both] == [201, 201], both[0].text
        assert both[0].content == both[1].content
        assert sorted(REPLAYED in response.headers for response in both) == [False, True]
    assert sorted(await pair.names()) == sorted(f"pair-{number}" for number in range(PAIRS))


# ---------------------------------------------------------------- clients that hang up
@pytest.mark.parametrize("step", [Step.CLAIM, Step.BODY, Step.COMMIT])
@pytest.mark.parametrize("reaches", [True, False], ids=["arrives later", "never arrives"])
async def test_cancelled_anywhere(
    stack: EmbeddedStack, database: str, step: Step, reaches: bool
) -> None:
    """A client that hangs up leaves the pool whole, and its key good for exactly one effect."""
    async with twins(stack, database, db_write_pool_max=POOL) as pair:
        for number in range(POOL + 1):  # more often than there are connections to lose
            name = f"gone-{number}"
            request = Request.create(f"{name}@example.com", name)
            trap = await Cut(step, Fault.HOLD).arm(pair.write, request, name)
            assert trap is not None
            task = asyncio.create_task(create(pair.first, name, name))
            await asyncio.wait_for(trap.sprung.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not reaches:
                await pair.write.cut()
            trap.release()
            again = await create(pair.second, name, name)
            assert again.status_code == 201, again.text
        await assert_whole(pair)
        assert sorted(name for name in await pair.names() if name.startswith("gone")) == [
            f"gone-{number}" for number in range(POOL + 1)
        ]


async def assert_whole(pair: Twins) -> None:
    """Every connection can be used, and all are back."""
    names = [f"after-{number}" for number in range(AFTERWARDS)]
    responses = await asyncio.gather(*(create(pair.first, name) for name in names))
    assert {response.status_code for response in responses} == {201}

    def all_back() -> bool:
        pool = pair.first.pool("write")
        return pool["waiting"] == 0 and pool["idle"] == pool["size"] <= POOL

    await eventually("every connection to be back, and nobody to wait", all_back)
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'under-test/%' AND state <> 'idle'"
    )

    async def none_busy() -> bool:
        return bool(await pair.sql(busy) == 0)

    await eventually("no session of the service to be busy", none_busy)


async def test_hung_up_client_and_its_repetition_at_once(pair: Twins) -> None:
    """The repetition arrives while the server still has the first one's transaction: it waits."""
    request = Request.create("impatient@example.com", "impatient")
    trap = await Cut(Step.COMMIT, Fault.HOLD).arm(pair.write, request, "k")
    first = asyncio.create_task(create(pair.first, "impatient", "k"))
    await asyncio.wait_for(trap.sprung.wait(), 5)
    first.cancel()
    again = asyncio.create_task(
        pair.second.client.post("/api/users", json=new_user("impatient"), headers={KEY: "k"})
    )
    retries = "holdfast_database_retries_total"
    await eventually(
        "the key to be found in flight",
        lambda: pair.second.metric(retries, kind="key-in-flight") > 0,
    )
    trap.release()
    response = await again
    assert response.status_code == 201, response.text
    assert await pair.names() == ["impatient"]
