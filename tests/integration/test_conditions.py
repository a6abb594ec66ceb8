"""`ETag`: which version of a user an answer shows, a write is for, and a client has already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.cuts import PLACES, Cut, Request, Step
from tests.integration.fault_proxy import Fault
from tests.integration.support import eventually
from tests.integration.twins import (
    IF_MATCH,
    KEY,
    REPLAYED,
    TOKEN,
    Twins,
    assert_replay,
    create,
    problem,
)

if TYPE_CHECKING:
    import httpx


AT_ONCE = 6  # clients
ROUNDS = 5


def told(response: httpx.Response) -> tuple[int, int]:
    """Return the status and the version; the header has the body's tag in quotes."""
    user = response.json()
    assert response.headers["ETag"] == f'"{user["etag"]}"'
    return response.status_code, user["version"]


# ---------------------------------------------------------------- the tag
async def test_every_change_makes_a_version(pair: Twins) -> None:
    """A new user is version 1, and each change is one more, for writers and for readers."""
    created = await create(pair.first, "versioned")
    assert told(created) == (201, 1)
    path, tags = created.headers["Location"], {created.headers["ETag"]}
    for number, change in enumerate(({"name": "a"}, {"name": "a"}, {"email": "b@b.co"}), start=2):
        changed = await pair.first.client.patch(path, json=change)
        assert told(changed) == (200, number)
        token = {TOKEN: changed.headers[TOKEN]}
        read = await pair.second.client.get(path, headers=token)
        assert (told(read), read.headers["ETag"]) == (told(changed), changed.headers["ETag"])
        tags.add(changed.headers["ETag"])
    assert len(tags) == 4


async def test_a_page_has_the_tags(pair: Twins) -> None:
    """What a list shows can be changed under the condition that it still is so."""
    created = await create(pair.first, "listed")
    token = {TOKEN: created.headers[TOKEN]}
    (user,) = (await pair.first.client.get("/api/users", headers=token)).json()["items"]
    assert user == created.json()
    path, tag = f"/api/users/{user['id']}", f'"{user["etag"]}"'
    assert told(await ask(pair, "PATCH", path, tag)) == (200, 2)


async def test_replay_has_the_tag_of_the_first_answer(pair: Twins) -> None:
    """A repetition is told of the version that it made, not of the one there is by now."""
    created = await create(pair.first, "replayed", "create")
    path = created.headers["Location"]
    one = {"json": {"name": "one"}, "headers": {KEY: "one"}}
    first = await pair.first.client.patch(path, **one)
    assert told(await pair.first.client.patch(path, json={"name": "two"})) == (200, 3)
    assert_replay(first, await pair.second.client.patch(path, **one))
    assert_replay(created, await create(pair.second, "replayed", "create"))
    assert (told(created), told(first)) == ((201, 1), (200, 2))


@pytest.mark.parametrize(
    ("lacking", "version"), [(["etag"], 1), (["etag", "version"], 0)], ids=["tags", "versions"]
)
async def test_result_from_before_there_were(pair: Twins, lacking: list[str], version: int) -> None:
    """What an older service stored is replayed: with its tag then, or one that no user has."""
    first = await create(pair.first, "old", "k")
    await pair.sql(
        "UPDATE idempotency_keys SET result = (result::jsonb - $1::text[])::text", lacking
    )
    again = await create(pair.second, "old", "k")
    assert told(again) == (201, version)
    assert again.json() == {**first.json(), "version": version, "etag": str(version)}


# ---------------------------------------------------------------- before, and beside, revisions
async def test_a_user_of_before_has_a_tag_until_it_is_changed(pair: Twins) -> None:
    """Its number alone, which nothing that is made or changed from now on can have."""
    path, _ = await made(pair, 3)
    await pair.sql("UPDATE users SET revision = NULL")
    later = await create(pair.first, "later")
    read = await pair.second.client.get(path, headers={TOKEN: later.headers[TOKEN]})
    assert (told(read), read.headers["ETag"]) == ((200, 3), '"3"')
    assert told(await ask(pair, "PATCH", path, '"3"')) == (200, 4)
    refused = await ask(pair, "PATCH", path, '"4"', "another")
    assert (refused.status_code, problem(refused)) == (412, "precondition-failed")


async def test_an_instance_of_before_changes_the_tag(pair: Twins) -> None:
    """While instances are replaced one by one, its changes are not overwritten unseen."""
    path, tags = await made(pair, 1)
    await pair.sql("UPDATE users SET name = 'theirs', version = version + 1")
    refused = await ask(pair, "PATCH", path, f'"{tags[1]}"')
    assert (refused.status_code, problem(refused)) == (412, "precondition-failed")
    assert await pair.names() == ["theirs"]


# ---------------------------------------------------------------- If-Match
async def made(pair: Twins, versions: int) -> tuple[str, list[str]]:
    """Make a user, and as many versions of it; return its path, and at n the tag of version n."""
    created = await create(pair.first, "matched")
    path, tags = created.headers["Location"], ["", created.json()["etag"]]
    for number in range(2, versions + 1):
        changed = await pair.first.client.patch(path, json={"name": f"version {number}"})
        tags.append(changed.json()["etag"])
    return path, tags


async def ask(pair: Twins, method: str, path: str, if_match: str, key: str = "k") -> httpx.Response:
    """Send a conditional write with a key."""
    body = {"name": "changed"} if method == "PATCH" else None
    headers = [
        (IF_MATCH.encode(), if_match.encode("latin-1")),
        (KEY.encode(), key.encode()),
    ]
    return await pair.first.client.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize(
    "if_match", ['"{3}"', '"{1}", "{3}"', ' ,"{3}",, "x,y"', 'W/"{3}", "{3}"', "*", " * "]
)
@pytest.mark.parametrize(("method", "status"), [("PATCH", 200), ("DELETE", 204)])
async def test_match(pair: Twins, method: str, status: int, if_match: str) -> None:
    """A write goes ahead if any of the tags is the user's, or for `*`."""
    path, tags = await made(pair, 3)
    response = await ask(pair, method, path, if_match.format(*tags))
    assert response.status_code == status, response.text
    if method == "PATCH":
        assert told(response) == (200, 4)
    assert await pair.names() == (["changed"] if method == "PATCH" else [])


@pytest.mark.parametrize(
    "if_match",
    ['"{2}"', 'W/"{3}"', '"{1}", "{2}"', '"3"', '"3-"', '"{3}x"', '"0{3}"', '""', '"\xe9"', '"$4"'],
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_no_match(pair: Twins, method: str, if_match: str) -> None:
    """In another version, by a strong comparison: 412; nothing is changed, and no key is stored."""
    path, tags = await made(pair, 3)
    before = await pair.users(), await pair.keys()
    response = await ask(pair, method, path, if_match.format(*tags))
    assert (response.status_code, problem(response)) == (412, "precondition-failed")
    assert "Read the user again" in response.json()["detail"]
    assert (await pair.users(), await pair.keys()) == before
    # Nothing is remembered of it either: the key is good for what is decided next.
    assert (await ask(pair, method, path, f'"{tags[3]}"')).is_success


@pytest.mark.parametrize("if_match", ['"1"', "*"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_nobody_matches_nothing(pair: Twins, method: str, if_match: str) -> None:
    """A user that does not exist is not found, whatever version was meant."""
    response = await ask(pair, method, "/api/users/4711", if_match)
    assert (response.status_code, problem(response)) == (404, "not-found")


@pytest.mark.parametrize("if_match", ["", "3", '*, "3"'])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_malformed(pair: Twins, method: str, if_match: str) -> None:
    """What is no list of tags is refused, and the client learns what one looks like."""
    path, _ = await made(pair, 3)
    before = await pair.users()
    response = await ask(pair, method, path, if_match)
    assert (response.status_code, problem(response)) == (400, "bad-precondition")
    assert 'such as If-Match: "3-' in response.json()["detail"]
    assert await pair.users() == before


async def test_two_lines_are_one_list(pair: Twins) -> None:
    """A header that came in several lines counts with all of them."""
    path, tags = await made(pair, 3)
    headers = [(IF_MATCH, f'"{tags[1]}"'), (IF_MATCH, f'"{tags[3]}"')]
    response = await pair.first.client.patch(path, json={"name": "changed"}, headers=headers)
    assert told(response) == (200, 4)


async def test_of_two_at_once_one_wins(pair: Twins) -> None:
    """Two change the same version at a time: the one that comes second to COMMIT is told so."""
    path, tags = await made(pair, 1)
    tag = f'"{tags[1]}"'
    trap = pair.write.trap(b"COMMIT", Fault.HOLD)
    one = asyncio.create_task(ask(pair, "PATCH", path, tag, "one"))
    await asyncio.wait_for(trap.sprung.wait(), 5)
    two = asyncio.create_task(
        pair.second.client.patch(path, json={"name": "two"}, headers={IF_MATCH: tag})
    )

    async def waits() -> bool:
        return bool(await pair.sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)

    await eventually("the second to wait for the first", waits)
    trap.release()
    assert told(await one) == (200, 2)
    assert ((await two).status_code, problem(await two)) == (412, "precondition-failed")
    assert await pair.names() == ["changed"]


async def test_of_many_at_once_one_wins(pair: Twins) -> None:
    """However many change the same version, on both instances: one is applied."""
    path, tags = await made(pair, 1)
    tag = f'"{tags[1]}"'
    for version in range(1, ROUNDS + 1):
        responses = await asyncio.gather(
            *(
                pair.services[number % 2].client.patch(
                    path, json={"name": f"by {number}"}, headers={IF_MATCH: tag}
                )
                for number in range(AT_ONCE)
            )
        )
        (winner,) = [each for each in responses if each.status_code == 200]
        assert told(winner) == (200, version + 1)
        tag = winner.headers["ETag"]
        assert sum(each.status_code == 412 for each in responses) == AT_ONCE - 1
        assert await pair.names() == [winner.json()["name"]]


# ---------------------------------------------------------------- If-Match and keys
@pytest.mark.parametrize("other", ['"2"', '"{1}", "2"', "*", None])
async def test_key_belongs_to_the_condition(pair: Twins, other: str | None) -> None:
    """The same change under another condition, or under none, is another request."""
    path, tags = await made(pair, 1)
    assert told(await ask(pair, "PATCH", path, f'"{tags[1]}"')) == (200, 2)
    headers = {KEY: "k"} | ({IF_MATCH: other.format(*tags)} if other else {})
    refused = await pair.second.client.patch(path, json={"name": "changed"}, headers=headers)
    assert (refused.status_code, problem(refused)) == (422, "idempotency-key-reused")
    assert (await pair.users())[0]["version"] == 2


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_repetition_is_replayed_not_compared(pair: Twins, method: str) -> None:
    """Sent again, a write that was applied is answered as the first time, whatever came since."""
    path, tags = await made(pair, 1)
    tag = f'"{tags[1]}"'
    first = await ask(pair, method, path, tag)
    assert_replay(first, await ask(pair, method, path, tag))
    await pair.first.client.patch(path, json={"name": "later"})
    assert_replay(first, await ask(pair, method, path, tag))
    assert await pair.names() == (["later"] if method == "PATCH" else [])


@pytest.mark.parametrize(("fault", "answer"), PLACES)
@pytest.mark.parametrize("step", [Step.BODY, Step.COMMIT])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_cut_at_every_step(
    pair: Twins, method: str, step: Step, fault: Fault, answer: int
) -> None:
    """The service's own second attempt finds what the first one did, and does not answer 412."""
    created = await create(pair.first, "cut")
    user, tag = created.json()["id"], created.headers["ETag"]
    request = (
        Request.change(user, {"name": "changed"}, tag)
        if method == "PATCH"
        else Request.delete(user, tag)
    )
    trap = await Cut(step, fault, answer).arm(pair.write, request, "k")
    response = await request.send(pair.first, "k")
    assert trap is not None
    assert trap.count == 1
    assert response.headers["X-Attempts"] != "1"
    assert response.status_code == (200 if method == "PATCH" else 204), response.text
    assert REPLAYED not in response.headers
    found = [(row["name"], row["version"]) for row in await pair.users()]
    assert found == ([("changed", 2)] if method == "PATCH" else [])
    assert_replay(response, await request.send(pair.second, "k"))


# ---------------------------------------------------------------- If-None-Match
@pytest.mark.parametrize("if_none_match", ['"{3}"', 'W/"{3}"', '"{1}", "{3}"', "*"])
async def test_known_version_is_not_sent_again(pair: Twins, if_none_match: str) -> None:
    """A client that has the version is told so, without a body; until there is another."""
    path, tags = await made(pair, 3)
    later = await create(pair.first, "later")  # its token stands for all that was before it
    headers = {"If-None-Match": if_none_match.format(*tags), TOKEN: later.headers[TOKEN]}
    response = await pair.second.client.get(path, headers=headers)
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == f'"{tags[3]}"'
    assert response.headers["X-Route"] in {"read", "read-fallback"}
    changed = await pair.first.client.patch(path, json={"name": "changed"})
    headers = {"If-None-Match": f'"{tags[3]}"', TOKEN: changed.headers[TOKEN]}
    assert told(await pair.second.client.get(path, headers=headers)) == (200, 4)


async def test_known_version_of_nobody(pair: Twins) -> None:
    """Who is not there is not found, and a list that is none is refused."""
    missing = await pair.first.client.get("/api/users/4711", headers={"If-None-Match": "*"})
    assert (missing.status_code, problem(missing)) == (404, "not-found")
    refused = await pair.first.client.get("/api/users/4711", headers={"If-None-Match": "3"})
    assert (refused.status_code, problem(refused)) == (400, "bad-precondition")
