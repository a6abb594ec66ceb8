"""Work that goes on beside the requests, as a supervised task from `start` to `stop`.

Nobody awaits such a task, so nobody would miss it. So one turn of its work that fails, or takes
too long, is told to the observer and followed by the next; and when it last succeeded is known.
"""

import asyncio
import time

from service.database.failures import cancelled_from_outside
from service.database.observer import Observer

RESTART = 1.0  # seconds until a task that ended all the same begins anew


class Background:
    """A task that does its work again and again; subclasses say what, and how often."""

    def __init__(self, name: str, observer: Observer, *, bound: float) -> None:
        """`bound`: seconds that one turn may take; longer means that something hangs."""
        self.name = name
        self.worked_at = 0.0  # Unix time of the last turn that succeeded, in seconds; 0: none yet
        self._observer = observer
        self._bound = bound
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the task runs."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self.name)
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End, and wait for it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=self._bound)

    async def turn(self) -> None:
        """Work once, within the bound. Raises nothing but this task's own cancellation."""
        try:
            async with asyncio.timeout(self._bound):
                await self.work()
        except asyncio.CancelledError as error:
            if cancelled_from_outside():
                raise
            self._observer.background_failed(self.name, error)
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody else would hear of it
            self._observer.background_failed(self.name, error)
        else:
            self.worked_at = time.time()

    async def work(self) -> None:
        """Do it once."""
        raise NotImplementedError

    def pause(self) -> float:
        """Return the seconds until the next turn."""
        raise NotImplementedError

    def first_pause(self) -> float:
        """Return the seconds until the first turn."""
        return 0.0

    async def _run(self) -> None:
        await asyncio.sleep(self.first_pause())
        while True:
            await self.turn()
            await asyncio.sleep(self.pause())

    def _ended(self, task: asyncio.Task[None]) -> None:
        """See to it that the task begins anew, if it ended though nobody stopped it.

        Told with the new beginning: a loop that ends cancels its tasks as well, and then no more.
        """
        task.get_loop().call_later(RESTART, self._restart, task)

    def _restart(self, ended: asyncio.Task[None]) -> None:
        if self._task is not ended:
            return  # it was stopped
        try:
            ended.result()
        except BaseException as error:  # noqa: BLE001 - whatever ended it, cancellation included
            self._observer.background_failed(self.name, error)
        self.start()
