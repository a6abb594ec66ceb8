"""service.database.bounds: what is overdue is called, what is over is not."""

from __future__ import annotations

import asyncio

from service.database.bounds import Bounds

SOON, LATER = 0.02, 30.0  # seconds
PATIENCE = 5.0  # seconds, for what comes soon


async def test_what_is_overdue_is_called() -> None:
    """Once, and then it is over."""
    bounds, fired = Bounds(), asyncio.Event()
    bounds.begin(SOON, fired.set)
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert len(bounds) == 0


async def test_what_is_over_is_not_called() -> None:
    """Though it began first, and its bound has passed."""
    bounds, called, fired = Bounds(), [], asyncio.Event()
    number = bounds.begin(SOON / 2, lambda: called.append("over"))
    bounds.end(number)
    bounds.begin(SOON, fired.set)
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert called == []


async def test_a_later_wait_may_have_the_earlier_bound() -> None:
    """It does not wait for the one that began before."""
    bounds, fired = Bounds(), asyncio.Event()
    long = bounds.begin(LATER, lambda: None)
    bounds.begin(SOON, fired.set)
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert len(bounds) == 1
    bounds.end(long)


async def test_each_in_its_turn() -> None:
    """The timer goes on for those that are left."""
    bounds, order, fired = Bounds(), [], asyncio.Event()
    for name, seconds in (("third", 3 * SOON), ("first", SOON), ("second", 2 * SOON)):
        bounds.begin(seconds, lambda name=name: order.append(name))  # type: ignore[misc]
    bounds.begin(4 * SOON, fired.set)
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert order == ["first", "second", "third"]


async def test_no_time_left_is_overdue_at_once() -> None:
    """Also when it is negative."""
    bounds, fired = Bounds(), asyncio.Event()
    bounds.begin(-1, fired.set)
    await asyncio.wait_for(fired.wait(), PATIENCE)


async def test_what_is_called_may_begin_and_end_others() -> None:
    """As the end of a session ends the exchanges on it, and lets the next one begin."""
    bounds, called, fired = Bounds(), [], asyncio.Event()

    def first() -> None:
        bounds.end(other)
        bounds.begin(SOON, fired.set)

    bounds.begin(0, first)
    other = bounds.begin(0, lambda: called.append("other"))
    await asyncio.wait_for(fired.wait(), PATIENCE)
    assert called == []
