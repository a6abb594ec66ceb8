"""The read pool's role: it cannot write, not even on the primary and not even if it tries to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from ops.embedded.pair import READ
from tests.integration.support import through
from tests.integration.twins import create, twins

if TYPE_CHECKING:
    from ops.embedded import EmbeddedStack


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (email, name) VALUES ('a@example.org', 'A')",
        "UPDATE users SET name = 'B'",
        "DELETE FROM users",
        "TRUNCATE users",
        "CREATE TABLE mine (id int)",
        "SELECT idempotency_claim('\\x00')",
        "SELECT * FROM idempotency_keys",
        "SELECT * FROM audit_log",
        "SELECT pg_read_file('postgresql.conf')",
    ],
)
async def test_it_cannot(stack: EmbeddedStack, database: str, statement: str) -> None:
    """On the write port, that is on the primary, with read-only switched off by the session."""
    connection = await through(stack.write_port, database, READ)
    try:
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_reads_are_made_by_it(stack: EmbeddedStack, database: str) -> None:
    """By the service's read pool, and nothing else is; writes by the other."""
    async with twins(stack, database) as pair:
        path = (await create(pair.first, "reader")).headers["Location"]
        assert (await pair.first.client.get(path)).headers["X-Route"] == "read"
        logged_in = "SELECT DISTINCT usename, application_name FROM pg_stat_activity"
        rows = stack.primary.sql(logged_in).splitlines() + stack.standby.sql(logged_in).splitlines()
    sessions = {tuple(row.split("|")) for row in rows if row.endswith(("/read", "/write"))}
    by_route = {name.rpartition("/")[2]: user for user, name in sessions}
    assert by_route == {"read": "holdfast_read", "write": "holdfast_app"}
    assert len({(user, name.rpartition("/")[2]) for user, name in sessions}) == 2
