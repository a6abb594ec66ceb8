"""A write that was lost with its primary: its id may be given again, what its client saw may not.

The service said `Durability: local`, so the loss is no surprise. But the client still has the id
and the entity tag, and neither may lead it to what somebody else has made since.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.twins import IF_MATCH, TOKEN, Twins, create, problem, twins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ops.embedded import EmbeddedStack

LAST = 500  # an id: the sequence is logged up to here, and the standby knows no more
IF_NONE_MATCH = "If-None-Match"


@pytest.fixture
async def pair(disturbed_stack: EmbeddedStack, database: str) -> AsyncIterator[Twins]:
    """Run two instances on a pair whose standby gets lost, and that fails over to it."""
    async with twins(disturbed_stack, database) as running:
        yield running


async def be_alone(pair: Twins) -> None:
    """Lose the standby; commits wait for none from now on."""
    await pair.sql("SELECT setval('users_id_seq', $1)", LAST)
    await asyncio.to_thread(pair.stack.wait_replayed)
    pair.stack.standby.kill()
    await asyncio.to_thread(pair.stack.set_synchronous, on=False)


def fail_over(pair: Twins) -> None:
    """Lose the primary with all that it alone has; the node that lacks it takes over."""
    pair.stack.primary.kill()
    pair.stack.standby.start()
    pair.stack.promote_standby()
    pair.stack.wait_write_route()


async def lost(pair: Twins, name: str) -> httpx.Response:
    """Create a user that the next failover loses; its client is told so."""
    response = await create(pair.first, name)
    assert response.status_code == 201, response.text
    assert response.headers["Durability"] == "local"
    return response


async def test_a_tag_of_what_was_lost_is_nobody_elses(pair: Twins) -> None:
    """The user that has the same id now is neither changed, nor deleted, nor taken for known."""
    await be_alone(pair)
    mine = await lost(pair, "mine")
    await asyncio.to_thread(fail_over, pair)
    stranger = await create(pair.second, "stranger")
    assert (stranger.status_code, stranger.json()["id"]) == (201, mine.json()["id"])
    path, tag = mine.headers["Location"], mine.headers["ETag"]
    for method, body in (("PATCH", {"name": "changed"}), ("DELETE", None)):
        refused = await pair.first.client.request(method, path, json=body, headers={IF_MATCH: tag})
        assert (refused.status_code, problem(refused)) == (412, "precondition-failed")
    headers = {IF_NONE_MATCH: tag, TOKEN: stranger.headers[TOKEN]}
    read = await pair.first.client.get(path, headers=headers)
    assert (read.status_code, read.json()) == (200, stranger.json())
    assert await pair.names() == ["stranger"]


async def test_a_tag_of_a_lost_change_is_no_later_changes(pair: Twins) -> None:
    """The same user, changed anew: the version has the same number, and another tag."""
    created = await create(pair.first, "ours")
    path = created.headers["Location"]
    await be_alone(pair)
    mine = await pair.first.client.patch(path, json={"name": "mine"})
    assert (mine.status_code, mine.headers["Durability"]) == (200, "local")
    await asyncio.to_thread(fail_over, pair)
    theirs = await pair.second.client.patch(path, json={"name": "theirs"})
    assert mine.json()["version"] == theirs.json()["version"] == 2
    refused = await pair.first.client.patch(
        path, json={"name": "changed"}, headers={IF_MATCH: mine.headers["ETag"]}
    )
    assert (refused.status_code, problem(refused)) == (412, "precondition-failed")
    assert await pair.names() == ["theirs"]


async def test_what_was_not_lost_keeps_its_tag(pair: Twins) -> None:
    """A failover by itself takes no tag from anybody."""
    created = await create(pair.first, "kept")
    await asyncio.to_thread(pair.stack.failover)
    await asyncio.to_thread(pair.stack.wait_write_route)
    changed = await pair.second.client.patch(
        created.headers["Location"],
        json={"name": "changed"},
        headers={IF_MATCH: created.headers["ETag"]},
    )
    assert changed.status_code == 200, changed.text
