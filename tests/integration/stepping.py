"""Cancels a task at its n-th step, so that every place where a task can be cancelled is tried.

A task is cancelled where it waits. There are two moments for that at each wait: while nothing has
happened yet, and in the one turn of the loop after what it waits for has happened and before it
goes on; then the result exists, and nobody gets it.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

PATIENCE = 8.0  # seconds for what takes some milliseconds; below the deadline of a unit of work


class Moment(Enum):
    """When a wait is cancelled."""

    WAITING = auto()
    WOKEN = auto()


class Stepped:
    """Runs a coroutine as part of a task, and cancels that task at the coroutine's n-th wait."""

    def __init__(self, work: Coroutine[Any, Any, T], step: int, moment: Moment) -> None:
        self._work = work
        self._step = step
        self._moment = moment
        self.waits = 0

    @property
    def struck(self) -> bool:
        """Whether it had as many waits."""
        return self.waits >= self._step

    def __await__(self) -> Generator[Any, Any, T]:
        go_on: Callable[[], Any] = lambda: self._work.send(None)  # noqa: E731
        while True:
            try:
                waited_for = go_on()
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.waits += 1
            if self.waits == self._step:
                self._arrange(waited_for)
            try:
                sent = yield waited_for
            except BaseException as error:  # noqa: BLE001 - passed on, whatever it is
                go_on = lambda error=error: self._work.throw(error)  # type: ignore[misc] # noqa: E731
            else:
                go_on = lambda sent=sent: self._work.send(sent)  # type: ignore[misc] # noqa: E731

    def _arrange(self, waited_for: object) -> None:
        """Cancel the task at the moment; the task itself has not begun to wait yet."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        if self._moment is Moment.WOKEN and isinstance(waited_for, asyncio.Future):
            # Added before the task's own, so called before it.
            waited_for.add_done_callback(lambda _: task.cancel())
        else:
            loop.call_soon(task.cancel)


async def cancelled_at(
    make: Callable[[], Coroutine[Any, Any, Any]],
    step: int,
    moment: Moment,
    *beside: Coroutine[Any, Any, Any],
) -> bool:
    """Run what `make` makes, cancelled at its n-th wait; say whether it had as many.

    What is `beside` begins right after it, and has to succeed. Raises what any of it raises, apart
    from the cancellation.
    """
    stepped = Stepped(make(), step, moment)

    async def run() -> None:
        await stepped

    task = asyncio.create_task(run())
    others = [asyncio.create_task(each) for each in beside]
    _, hanging = await asyncio.wait([task, *others], timeout=PATIENCE)
    assert not hanging, f"{len(hanging)} hang when one is cancelled at step {step}, {moment.name}"
    for each in others:
        each.result()
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    return stepped.struck


class SteppedTasks:
    """A task factory: each task of a name that begins so is cancelled at its n-th wait, once."""

    def __init__(self, prefix: str, step: int, moment: Moment) -> None:
        self._prefix = prefix
        self._step = step
        self._moment = moment
        self.struck = False

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 - passed on
    ) -> asyncio.Task[Any]:
        """Make a task."""
        # The name is given to the task later (3.11) or to this (3.12): the coroutine tells, too.
        if coroutine.__qualname__.endswith(self._prefix) and not self.struck:
            coroutine = self._stepped(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def _stepped(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        stepped = Stepped(coroutine, self._step, self._moment)
        try:
            return await stepped
        finally:
            self.struck |= stepped.struck
