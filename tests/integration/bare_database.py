"""`Database` by itself, as a program of one's own has it: no application, no HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ops.embedded.pair import APP
from service.database import Database, DatabaseOptions, EndpointOptions
from tests.integration.support import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded import EmbeddedStack
    from service.database import Observer


@asynccontextmanager
async def warm_database(
    stack: EmbeddedStack,
    name: str,
    port: int,
    sessions: int,
    observer: Observer | None = None,
    **options: object,
) -> AsyncIterator[Database]:
    """Open a database whose write pool, on `port`, has as many idle sessions as it may have.

    Nobody looks after it from then on: what happens to its sessions is the test's doing.
    """
    reader = EndpointOptions(host="127.0.0.1", port=stack.standby.serving_port, pool_min=0)
    writer = EndpointOptions(host="127.0.0.1", port=port, pool_min=sessions, pool_max=sessions)
    settings: dict[str, Any] = {
        "probe_interval": 600.0,
        "application_name": "under-test",
        **options,
    }
    chosen = DatabaseOptions(write=writer, read=reader, name=name, user=APP, **settings)
    async with Database(chosen, observer) as database:
        pool, _ = database.pools
        await eventually("the write pool to be warm", lambda: pool.idle == sessions)
        yield database
