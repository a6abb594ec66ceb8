"""One process of a load: the driver in an event loop, a pipe to the parent, an end in any case."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import pickle
import signal
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import uvloop

from ops.load.driver import Driver
from ops.load.messages import Batch, Broken, Go, Ready, Stop
from ops.load.plan import LoadError
from ops.load.request import Sender
from ops.load.selfcheck import SelfCheck, watch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ops.load.operation import Operation
    from ops.load.plan import Plan

BATCH = 0.1
"""Seconds between two batches."""

POLL = 0.02
"""Seconds between two looks at whether all answers are there."""

ORPHANED = 3
"""Exit code of a process whose parent is gone."""


def work(plan: Plan, number: int, pipe: Connection) -> None:
    """Be process `number` of a load until its schedule ends, the parent says stop, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    worker = _Worker(plan, number, pipe)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(worker.run())
    except LoadError as error:
        pipe.send(Broken(str(error), worker.unsent))
    except BrokenPipeError:
        os._exit(ORPHANED)
    except BaseException:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        pipe.send(Broken(traceback.format_exc(), worker.unsent))


class _Worker:
    """The state of this process."""

    def __init__(self, plan: Plan, number: int, pipe: Connection) -> None:
        self._plan = plan
        self._number = number
        self._pipe = pipe
        self._go: asyncio.Future[float] | None = None
        self._stop = asyncio.Event()
        self._limit = math.inf  # monotonic seconds: when answers are no longer waited for
        self._sending = ThreadPoolExecutor(max_workers=1)
        self._check = SelfCheck(number)
        self.unsent: list[Operation] = []

    async def run(self) -> None:
        """Prepare, wait for the word, send, and tell the parent."""
        loop = asyncio.get_running_loop()
        self._go = loop.create_future()
        threading.Thread(target=self._listen, args=[loop], daemon=True).start()
        async with Sender(self._plan) as sender:
            driver = Driver(self._plan, self._number, sender, self.unsent.append)
            await driver.prepare()
            gc.freeze()  # what is here by now stays: no need to look through it again
            await self._send(Ready())
            began = await self._go
            await self._measured(driver, began)

    async def _measured(self, driver: Driver, began: float) -> None:
        watching = asyncio.create_task(watch(self._check))
        telling = asyncio.create_task(self._tell())
        try:
            await driver.run(began, self._stop)
            await self._drained(driver)
        finally:
            for task in (watching, telling):
                task.cancel()
            await asyncio.gather(watching, telling, return_exceptions=True)
        await self._send(Batch(self.unsent, self._check, last=True))

    async def _drained(self, driver: Driver) -> None:
        """Wait for answers; a Stop that comes meanwhile may shorten it."""
        self._limit = min(self._limit, time.monotonic() + self._plan.patience)
        while driver.outstanding and time.monotonic() < self._limit:  # noqa: ASYNC110 - it moves
            await asyncio.sleep(POLL)
        await driver.drain(0)

    async def _tell(self) -> None:
        """Send a batch every now and then."""
        while True:
            await asyncio.sleep(BATCH)
            batch, self.unsent[:] = Batch(list(self.unsent), self._check), []
            await asyncio.shield(self._send(batch))

    def _send(self, message: Ready | Batch) -> asyncio.Future[None]:
        """Send from another thread, as the pipe may block; one thread, so in order."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._sending, self._pipe.send_bytes, pickle.dumps(message))

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the parent's words on; without a parent this process ends here and now."""
        while True:
            try:
                word = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(ORPHANED)
            loop.call_soon_threadsafe(self._hear, word)

    def _hear(self, word: Go | Stop) -> None:
        if isinstance(word, Go):
            assert self._go is not None  # noqa: S101 - `run` sets it first
            self._go.set_result(word.began)
        else:
            self._limit = time.monotonic() + word.drain
            self._stop.set()
