"""Work that goes on beside the requests, as a task from `start` to `stop`."""

import asyncio


class Background:
    """A task that runs until it is stopped; subclasses say what it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End, and wait for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        raise NotImplementedError
