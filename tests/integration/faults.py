"""What the fault proxy can do to a connection, and when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto


class Fault(Enum):
    """What a trap does with the bytes that sprang it."""

    CUT_BEFORE = auto()  # they never reach the server; both ends see a reset
    LOSE_ANSWER = auto()  # the server gets them and answers; the client sees a reset instead
    CUT_ANSWER = auto()  # the same, in the middle of the answer: the client has its beginning
    SWALLOW_ANSWER = auto()  # the server gets them and answers; the client hears nothing more
    HOLD = auto()  # they wait until `Trap.release()`


@dataclass
class Trap:
    """Springs when a client sends `pattern`, for the first `times` occasions.

    `after`: only right after a message that contains this. A prepared statement's text is sent
    once; its neighbours and its arguments tell later uses.
    """

    pattern: bytes
    fault: Fault
    times: int = 1
    after: bytes = b""
    answer: int = 1  # bytes of its answer that CUT_ANSWER lets through
    count: int = 0  # how often it sprang
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let what a HOLD holds go on."""
        self._released.set()

    async def released(self) -> None:
        """Wait for `release`; the test's own timeout bounds this."""
        await self._released.wait()

    def springs(self, data: bytes, previous: bytes) -> bool:
        """Whether it springs on these bytes, which followed `previous`; counts it if so."""
        if self.count >= self.times or self.pattern not in data or self.after not in previous:
            return False
        self.count += 1
        self.sprung.set()
        return True


class Way(StrEnum):
    """A direction."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class Ending(StrEnum):
    """How a connection ends, for both of its ends."""

    FIN = "FIN"
    RST = "RST"
    SILENCE = "silence"


@dataclass
class ByteCut:
    """Ends a connection as soon as `count` bytes went one way, and before the next one goes.

    Which one: the first on which anything moves, either way, once this is there. So it counts from
    the login on a new connection, and from the start of the next exchange on an open one.
    """

    way: Way
    count: int
    ending: Ending = Ending.RST
    struck: bool = False
    seen: bytearray = field(default_factory=bytearray)  # what went through

    def passing(self, way: Way, data: bytes) -> bytes:
        """Return what may pass of these bytes; strike when none may after it."""
        if way is not self.way:
            return data
        passing = data[: self.count - len(self.seen)]
        self.seen += passing
        self.struck = len(self.seen) >= self.count
        return passing
