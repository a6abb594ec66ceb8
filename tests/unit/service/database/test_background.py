"""service.database.background: when a task works, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from service.database import background
from service.database.background import Background
from service.database.observer import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TURNS = 10  # of the event loop: more than anything here takes
LONG = 600.0  # seconds; nobody waits for them
PATIENT = 5.0  # seconds for what takes milliseconds


class Failures(Observer):
    """Keeps what is told of background tasks."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def background_failed(self, name: str, error: BaseException) -> None:
        """Keep it."""
        self.told.append(f"{name}: {error!r}")


class Worker(Background):
    """Works once, and then not for a long time."""

    def __init__(self, first_pause: float | None = None, *, bound: float = LONG) -> None:
        self.failures = Failures()
        super().__init__("worker", self.failures, bound=bound)
        self.begun = 0
        self._first_pause = first_pause

    def first_pause(self) -> float:
        """As the test wants it, or as it is."""
        return super().first_pause() if self._first_pause is None else self._first_pause

    def pause(self) -> float:
        """A long one."""
        return LONG

    async def work(self) -> None:
        """Count."""
        self.begun += 1


class Hanging(Worker):
    """Is cancelled, and ends no sooner than `let_go` says."""

    def __init__(self, *, bound: float) -> None:
        super().__init__(bound=bound)
        self.let_go = asyncio.Event()

    async def work(self) -> None:
        """Wait, whatever comes."""
        await super().work()
        while not self.let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.let_go.wait()
        raise asyncio.CancelledError


class Failing(Worker):
    """Its work fails at each turn."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def work(self) -> None:
        """Fail."""
        await super().work()
        raise self._error


async def turns() -> None:
    """Let the event loop do what it can do at once."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
async def at_once(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A task that ended begins anew without a pause."""
    monkeypatch.setattr(background, "RESTART", 0.0)
    yield
    await turns()


@pytest.mark.parametrize(("first_pause", "begun"), [(None, 1), (0.0, 1), (LONG, 0)])
async def test_the_first_turn_comes_after_its_pause(first_pause: float | None, begun: int) -> None:
    """At once, unless the task wants to begin later."""
    worker = Worker(first_pause)
    assert worker.worked_at == 0
    worker.start()
    await turns()
    assert worker.alive
    assert worker.begun == begun
    assert (worker.worked_at > 0) == bool(begun)
    await worker.stop()


@pytest.mark.parametrize("error", [ValueError("odd"), asyncio.CancelledError()])
async def test_a_turn_that_fails_is_told(error: BaseException) -> None:
    """The task goes on, also when it was the driver that cancelled something."""
    worker = Failing(error)
    worker.start()
    await turns()
    assert worker.alive
    assert worker.begun == 1
    assert worker.worked_at == 0
    assert worker.failures.told == [f"worker: {error!r}"]
    await worker.stop()


async def test_what_has_ended_is_not_alive() -> None:
    """Until it begins anew."""
    worker = Worker()
    worker.start()
    await turns()
    assert worker._task is not None
    worker._task.cancel()
    await turns()
    assert not worker.alive
    await worker.stop()


@pytest.mark.usefixtures("at_once")
async def test_what_was_stopped_stays_so() -> None:
    """It does not begin anew, and nothing is told: it was meant to end."""
    worker = Worker()
    assert not worker.alive
    await worker.stop()  # stops nothing
    worker.start()
    await turns()
    await worker.stop()
    await turns()
    assert not worker.alive
    assert worker.begun == 1
    assert worker.failures.told == []


@pytest.mark.usefixtures("at_once")
async def test_what_ended_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ended it, which is told: here a mistake in a subclass, outside of its work."""
    worker = Worker()
    with monkeypatch.context() as patch:
        patch.delattr(Worker, "pause")
        worker.start()
        await turns()
    await turns()
    assert worker.alive
    assert set(worker.failures.told) == {"worker: NotImplementedError()"}
    await worker.stop()


async def test_a_turn_that_does_not_end_holds_no_stop_up() -> None:
    """Stopping waits for the bound of a turn, no longer."""
    worker = Hanging(bound=0.05)
    worker.start()
    await turns()
    assert worker.begun == 1
    try:
        await asyncio.wait_for(worker.stop(), PATIENT)
    finally:
        worker.let_go.set()
        await turns()
