"""service.database.turns: who stands in line takes what comes back, in order."""

import asyncio

import pytest

from service.database.turns import Turns


class Things:
    """Some things to take; `taken` says by whom, in order."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken: list[int] = []
        self.turns = Turns(lambda: self.count > 0)

    async def take(self, name: int) -> None:
        """Take one thing when it is this one's turn."""
        await self.turns.wait()
        assert self.count > 0
        self.count -= 1
        self.taken.append(name)

    def bring(self, count: int = 1) -> None:
        """Put things back, all in one go."""
        self.count += count
        for _ in range(count):
            self.turns.look()


async def settled() -> None:
    """Let everything happen that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_is_there_is_taken_at_once() -> None:
    """Nobody waits while there is something."""
    things = Things(2)
    async with asyncio.timeout(5):
        await things.take(1)
        await things.take(2)


async def test_they_are_served_in_order() -> None:
    """Things that come back go to the first in line; one that comes alone wakes one."""
    things = Things(0)
    line = [asyncio.create_task(things.take(n)) for n in range(4)]
    await settled()
    things.bring()
    await settled()
    assert things.taken == [0]
    things.bring(3)
    await asyncio.wait_for(asyncio.gather(*line), 5)
    assert things.taken == [0, 1, 2, 3]


async def test_one_look_is_enough_for_all() -> None:
    """Each who takes something looks for the next: a change that frees all needs no more."""
    things = Things(0)
    line = [asyncio.create_task(things.take(n)) for n in range(4)]
    await settled()
    things.count = 4
    things.turns.look()
    await asyncio.wait_for(asyncio.gather(*line), 5)


async def test_two_looks_for_one_thing_keep_the_order() -> None:
    """Who was called for nothing stays the first in line."""
    things = Things(0)
    line = [asyncio.create_task(things.take(n)) for n in range(3)]
    await settled()
    things.count = 1
    things.turns.look()
    things.turns.look()
    await settled()
    assert things.taken == [0]
    things.bring(2)
    await asyncio.wait_for(asyncio.gather(*line), 5)
    assert things.taken == [0, 1, 2]


async def test_a_late_one_does_not_overtake() -> None:
    """Who comes while others are in line stands behind them, whatever is free."""
    things = Things(0)
    first = asyncio.create_task(things.take(1))
    await settled()
    things.count = 1  # and nobody has looked yet
    second = asyncio.create_task(things.take(2))
    await settled()
    assert things.taken == []
    things.turns.look()
    await asyncio.wait_for(first, 5)
    things.bring()
    await asyncio.wait_for(second, 5)
    assert things.taken == [1, 2]


@pytest.mark.parametrize("called", [False, True])
async def test_who_gives_up_passes_the_turn_on(called: bool) -> None:
    """Cancelled in line, or just as it is called: the next one gets it."""
    things = Things(0)
    quitter, heir = (asyncio.create_task(things.take(n)) for n in range(2))
    await settled()
    if called:
        things.bring()
        quitter.cancel()
    else:
        quitter.cancel()
        things.bring()
    await asyncio.wait_for(heir, 5)
    assert things.taken == [1]
