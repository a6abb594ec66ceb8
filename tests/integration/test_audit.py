"""Who changed what and when: written with the change, and out of the service's own reach."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.integration.support import through
from tests.integration.twins import KEY, Twins, assert_replay, create, new_user, twins

if TYPE_CHECKING:
    from pathlib import Path

    from ops.embedded import EmbeddedStack

ENTRIES = """
    SELECT client, role, request_id, action, entity, entity_id, fields
      FROM audit_log ORDER BY id OFFSET $1
"""


async def test_each_change_is_kept(pair: Twins, admin: asyncpg.Connection) -> None:
    """Who, by which request, and which fields; not what was in them."""
    before = await admin.fetchval("SELECT count(*) FROM audit_log")
    created = await create(pair.first, "audited")
    path, client = created.headers["Location"], pair.first.client
    await client.patch(path, json={"name": "another"}, headers={"X-Request-Id": "r-2"})
    await client.delete(path)
    rows = [dict(row) for row in await admin.fetch(ENTRIES, before)]
    assert [row["action"] for row in rows] == ["insert", "update", "delete"]
    assert {row["role"] for row in rows} == {"holdfast_app"}
    assert {row["entity_id"] for row in rows} == {created.json()["id"]}
    assert rows[0]["request_id"] == created.headers["X-Request-Id"]
    assert rows[1]["request_id"] == "r-2"
    assert set(rows[1]["fields"]) == {"name", "revision", "updated_at", "version"}
    assert "another" not in str(rows)


async def test_what_was_not_applied_is_not_kept(pair: Twins, admin: asyncpg.Connection) -> None:
    """A refused write leaves nothing, and a repeated one is one."""
    before = await admin.fetchval("SELECT count(*) FROM audit_log")
    first = await create(pair.first, "once", "a-key")
    assert_replay(first, await create(pair.second, "once", "a-key"))
    assert (await create(pair.first, "once", "another-key")).status_code == 409
    assert len(await admin.fetch(ENTRIES, before)) == 1


async def test_a_table_that_is_emptied_leaves_an_entry(
    pair: Twins, admin: asyncpg.Connection
) -> None:
    """TRUNCATE calls no row's trigger: one entry stands for all rows, and names who did it."""
    await create(pair.first, "gone with the table")
    before = await admin.fetchval("SELECT count(*) FROM audit_log")
    await admin.execute("TRUNCATE users")
    (row,) = [dict(row) for row in await admin.fetch(ENTRIES, before)]
    assert (row["action"], row["entity"], row["entity_id"]) == ("truncate", "users", 0)
    assert (row["role"], row["fields"]) == (await admin.fetchval("SELECT session_user"), [])


async def test_the_client_is_the_holder_of_the_token(
    stack: EmbeddedStack, database: str, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    """Of each change the one that sent it."""
    file = tmp_path / "tokens"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    file.write_text("".join(f"{name} write {digest}\n" for name, digest in digests.items()))
    async with twins(stack, database, access="writes", access_tokens_file=file) as pair:
        before = await admin.fetchval("SELECT count(*) FROM audit_log")
        for name in digests:
            headers = {KEY: name, "Authorization": f"Bearer {name}"}
            body = new_user(name)
            made = await pair.first.client.post("/api/users", json=body, headers=headers)
            assert made.status_code == 201, made.text
    rows = await admin.fetch(ENTRIES, before)
    assert [row["client"] for row in rows] == ["ann", "bob"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM audit_log",
        "DELETE FROM audit_log",
        "UPDATE audit_log SET role = 'nobody'",
        "INSERT INTO audit_log (entity_id) VALUES (1)",
        "TRUNCATE audit_log",
        "TRUNCATE users",
        "ALTER TABLE users DISABLE TRIGGER users_audit",
    ],
)
async def test_the_service_has_no_way_to_it(
    stack: EmbeddedStack, database: str, statement: str
) -> None:
    """Whoever takes over the service cannot remove the traces."""
    connection = await through(stack.write_port, database)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
