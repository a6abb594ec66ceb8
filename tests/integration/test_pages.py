"""Lists of users, page by page: whoever follows `next` sees each user once, in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.service_client import running_service
from tests.integration.support import superuser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

USERS = 7
# PostgreSQL returns rows as they lie unless it is told otherwise; a row that was changed lies
# elsewhere. So neither order of ids is the order of the rows.
FILL = f"""
    TRUNCATE users;
    INSERT INTO users (email, name) SELECT n || '@example.com', n FROM generate_series(1, {USERS}) AS n;
    UPDATE users SET name = name WHERE name IN ('2', '5');
    UPDATE users SET name = name WHERE name = '1';
"""  # noqa: E501, S608 - a constant of this file


@pytest.fixture
async def service(stack: EmbeddedStack, database: str) -> AsyncIterator[Service]:
    """Run an instance whose database has USERS users."""
    async with superuser(stack, database) as admin:
        await admin.execute(FILL)
    stack.wait_replayed()
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as running:
        yield running


@pytest.mark.parametrize("style", ["German, DMY", "SQL, MDY", "Postgres, MDY"])
async def test_times_are_the_same_however_the_database_writes_them(
    stack: EmbeddedStack, database: str, style: str
) -> None:
    """To the microsecond, in UTC; with none, too."""
    settings = {"datestyle": style, "timezone": "Asia/Kathmandu"}
    async with superuser(stack, database) as admin:
        for name, value in settings.items():
            await admin.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
        await admin.execute(
            "TRUNCATE users; INSERT INTO users (email, name, created_at, updated_at) VALUES "
            "('a@example.com', 'a', '2026-03-01 00:15:00.000001+05:45', '1969-12-31 23:59:59Z')"
        )
    stack.wait_replayed()
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port
    ) as running:
        (user,) = (await running.client.get("/api/users")).json()["items"]
        assert user["created_at"] == "2026-02-28T18:30:00.000001Z"
        assert user["updated_at"] == "1969-12-31T23:59:59Z"
        assert (await running.client.get(f"/api/users/{user['id']}")).json() == user


async def page(service: Service, **parameters: Any) -> tuple[list[str], str | None]:  # noqa: ANN401
    """Return the names on a page, and the cursor of the next."""
    response = await service.client.get("/api/users", params=parameters)
    assert response.status_code == 200, response.text
    found = response.json()
    return [each["name"] for each in found["items"]], found["next"]


async def follow(service: Service, **parameters: object) -> list[list[str]]:
    """Return all pages, from the first to the one that has no next."""
    names, cursor = await page(service, **parameters)
    pages = [names]
    while cursor is not None:
        assert len(pages) <= USERS, f"no end of pages: {pages}"
        names, cursor = await page(service, **parameters, cursor=cursor)
        pages.append(names)
    return pages


@pytest.mark.parametrize("limit", [1, 3, USERS - 1, USERS, USERS + 1])
@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_pages_have_each_user_once_in_order(service: Service, order: str, limit: int) -> None:
    """However long a page is, and nothing after the last one."""
    names = [str(number) for number in range(1, USERS + 1)]
    if order == "newest":
        names.reverse()
    expected = [names[start : start + limit] for start in range(0, USERS, limit)]
    assert await follow(service, order=order, limit=limit) == expected


async def test_the_newest_come_first_unless_asked_otherwise(service: Service) -> None:
    """The default order is the one that the interface describes."""
    assert await follow(service, limit=3) == await follow(service, limit=3, order="newest")


async def test_what_comes_and_goes_moves_no_page(stack: EmbeddedStack, service: Service) -> None:
    """A page follows the last one's end: not a number of users that others may change."""
    names, cursor = await page(service, order="newest", limit=3)
    assert names == ["7", "6", "5"]
    assert (await service.create("new")).status_code == 201
    listed = await service.client.get("/api/users", params={"order": "newest", "limit": 4})
    last = next(each for each in listed.json()["items"] if each["name"] == "5")
    assert (await service.client.delete(f"/api/users/{last['id']}")).status_code == 204
    await asyncio.to_thread(stack.wait_replayed)
    assert (await page(service, order="newest", limit=3, cursor=cursor))[0] == ["4", "3", "2"]
