"""`ETag`: which version of a user an answer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.twins import KEY, Twins, assert_replay, create, twins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from ops.embedded import EmbeddedStack


@pytest.fixture
async def pair(stack: EmbeddedStack, database: str) -> AsyncIterator[Twins]:
    """Run two instances on the test's database."""
    async with twins(stack, database) as running:
        yield running


def tag(response: httpx.Response) -> tuple[int, str, int]:
    """Return the status, the entity tag, and the version in the body."""
    return response.status_code, response.headers["ETag"], response.json()["version"]


# ---------------------------------------------------------------- the tag
async def test_every_change_makes_a_version(pair: Twins) -> None:
    """A new user is version 1, and each change is one more, for writers and for readers."""
    created = await create(pair.first, "versioned")
    assert tag(created) == (201, '"1"', 1)
    path = created.headers["Location"]
    for number, change in enumerate(({"name": "a"}, {"name": "a"}, {"email": "b@b.co"}), start=2):
        changed = await pair.first.client.patch(path, json=change)
        assert tag(changed) == (200, f'"{number}"', number)
        token = {"Consistency-Token": changed.headers["Consistency-Token"]}
        assert tag(await pair.second.client.get(path, headers=token)) == tag(changed)


async def test_replay_has_the_tag_of_the_first_answer(pair: Twins) -> None:
    """A repetition is told of the version that it made, not of the one there is by now."""
    created = await create(pair.first, "replayed", "create")
    path = created.headers["Location"]
    one = {"json": {"name": "one"}, "headers": {KEY: "one"}}
    first = await pair.first.client.patch(path, **one)
    assert tag(await pair.first.client.patch(path, json={"name": "two"})) == (200, '"3"', 3)
    assert_replay(first, await pair.second.client.patch(path, **one))
    assert_replay(created, await create(pair.second, "replayed", "create"))
    assert (created.headers["ETag"], first.headers["ETag"]) == ('"1"', '"2"')


async def test_result_from_before_there_were_versions(pair: Twins) -> None:
    """What an older service stored is replayed, with a tag that no user has."""
    first = await create(pair.first, "old", "k")
    await pair.sql("UPDATE idempotency_keys SET result = (result::jsonb - 'version')::text")
    again = await create(pair.second, "old", "k")
    assert tag(again) == (201, '"0"', 0)
    assert again.json() == {**first.json(), "version": 0}
