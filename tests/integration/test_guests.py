"""Who comes by the edge has places of his own at PostgreSQL: others find theirs."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ops.embedded.pair import APP
from ops.embedded.ports import GUESTS
from tests.integration.support import eventually, superuser, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack

PLACES = 30  # deploy/haproxy/haproxy.cfg: `maxconn` of pg_primary_guests and pg_any_guests
CROWD = 100  # more than both nodes have places
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'guest'"


@asynccontextmanager
async def crowd(port: int) -> AsyncIterator[None]:
    """Guests who each begin a session, and say no more."""
    parameters = f"user\0{APP}\0database\0postgres\0application_name\0guest\0\0".encode()
    startup = struct.pack("!ii", 8 + len(parameters), 196608) + parameters  # protocol 3.0
    writers = []
    try:
        for _ in range(CROWD):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(GUESTS, 0))
            writer.write(startup)
            writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("way", ["write_port", "read_port"])
async def test_a_crowd_of_guests_takes_no_place_of_others(stack: EmbeddedStack, way: str) -> None:
    """They have theirs, all of them, and the next one waits; who is at home comes in at once."""
    port = getattr(stack, way)
    nodes = 1 if way == "write_port" else 2
    async with superuser(stack, "postgres") as onlooker:

        async def all_places_taken() -> bool:
            return bool(await onlooker.fetchval(SESSIONS) == PLACES)

        async with crowd(port):
            await eventually(f"{PLACES} sessions of guests at the primary", all_places_taken)
            for _ in range(4 * nodes):
                connection = await through(port)
                await connection.close()
            assert await all_places_taken()
