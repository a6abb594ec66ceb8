"""Background tasks that fail, hang or end: it is told, and an instance finds back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from service.database.prober import Prober
from tests.integration.fault_proxy import FaultProxy
from tests.integration.service_client import running_service
from tests.integration.support import eventually

if TYPE_CHECKING:
    import pytest

    from ops.embedded import EmbeddedStack
    from tests.integration.service_client import Service

FAILURES = "holdfast_database_background_failures_total"
LAST_TURN = "holdfast_database_background_last_turn_timestamp_seconds"
QUICK: dict[str, object] = {
    "db_probe_interval": 0.05,
    "db_connect_timeout": 0.3,
    "db_write_pool_min": 0,
    "db_read_pool_min": 0,
    "request_deadline": 0.5,
    "health_grace": 0.5,
}


async def status(service: Service) -> tuple[int, str]:
    """Return what /health says."""
    response = await service.get("/health")
    return response.status_code, str(response.json()["status"])


async def test_an_instance_out_of_rotation_finds_back(stack: EmbeddedStack, database: str) -> None:
    """Its probers end while the database is away: nobody asks it any more, and it returns."""
    async with (
        FaultProxy(stack.primary.serving_port) as write,
        FaultProxy(stack.standby.serving_port) as read,
        running_service(database, write.port, read.port, **QUICK) as service,
    ):

        async def becomes(*wanted: object) -> None:
            async def is_so() -> bool:
                return await status(service) == wanted

            await eventually(f"/health to say {wanted}", is_so)

        await becomes(200, "ok")
        for proxy in (write, read):
            await proxy.refuse()
        await becomes(503, "unavailable")
        for task in service.app.state.database.tasks:
            assert task._task is not None
            task._task.cancel()
        for proxy in (write, read):
            await proxy.forward()
        await becomes(200, "ok")
        for name in ("prober-write", "prober-read", "purger"):
            assert service.metric(FAILURES, task=name) == 1


async def test_a_prober_that_hangs_is_told(
    stack: EmbeddedStack, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn is bounded and counted; meanwhile /health does not say ok of what nobody knows."""
    async with running_service(
        database, stack.primary.serving_port, stack.standby.serving_port, **QUICK
    ) as service:

        async def becomes(wanted: str) -> None:
            async def is_so() -> bool:
                return await status(service) == (200, wanted)

            await eventually(f"/health to say {wanted}", is_so)

        await becomes("ok")
        with monkeypatch.context() as patch:

            async def hang(_: Any) -> None:  # noqa: ANN401 - a prober
                await asyncio.Event().wait()

            patch.setattr(Prober, "work", hang)
            await becomes("stale")
            await eventually(
                "both turns to be given up",
                lambda: all(
                    service.metric(FAILURES, task=f"prober-{role}") > 0
                    for role in ("write", "read")
                ),
            )
            before = service.metric(LAST_TURN, task="prober-write")
            assert before > 0
        await becomes("ok")
        assert service.metric(LAST_TURN, task="prober-write") > before
