"""service.database.waiting: who asked first is served first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from service.database.waiting import WaitQueue
from service.errors import EndpointUnreachable, Unavailable

if TYPE_CHECKING:
    from service.database.session import Session

SESSION = cast("Session", object())  # the queue hands it over, and asks it nothing


def refused() -> EndpointUnreachable:
    """Make an error."""
    return EndpointUnreachable("refused", kind="refused")


async def test_the_first_is_who_has_waited_longest() -> None:
    """In the order in which they came; who was served or has left is passed over."""
    queue = WaitQueue()
    assert queue.first() is None
    one, two, three = (queue.join() for _ in range(3))
    assert (queue.first(), len(queue)) == (one, 3)
    queue.serve(one, SESSION)
    assert (queue.first(), len(queue)) == (two, 2)
    queue.leave(two)
    queue.leave(two)
    assert (queue.first(), len(queue)) == (three, 1)
    assert one.session is SESSION
    assert two.session is None


async def test_one_attempt_each() -> None:
    """A session is opened for those for whom none is being opened yet."""
    queue = WaitQueue()
    one, two = queue.join(), queue.join()
    assert queue.first_without_attempt() is one
    one.attempted = True
    assert queue.first_without_attempt() is two
    assert two.fail(refused())
    assert queue.first_without_attempt() is None
    one.attempted = False
    assert queue.first_without_attempt() is one


async def test_a_wait_ends_once() -> None:
    """Served, failed or cancelled: what comes second changes nothing."""
    queue = WaitQueue()
    served, failed, gone = (queue.join() for _ in range(3))
    queue.serve(served, SESSION)
    assert not served.fail(refused())
    assert failed.fail(refused())
    assert not failed.fail(refused())
    gone.turn.cancel()
    assert not gone.fail(refused())
    assert await served.turn is SESSION
    with pytest.raises(EndpointUnreachable):
        await failed.turn
    assert failed.session is None
    assert gone.session is None


async def test_all_can_be_sent_away() -> None:
    """Each gets an error of its own: one that several tasks raise would collect their traces."""
    queue = WaitQueue()
    waiters = [queue.join() for _ in range(3)]
    queue.fail_all(lambda: Unavailable("stopping", kind="stopping"))
    found = await asyncio.gather(*(each.turn for each in waiters), return_exceptions=True)
    assert len({id(each) for each in found}) == 3
    assert {type(each) for each in found} == {Unavailable}
    assert len(queue) == 0


async def test_callers_take_turns() -> None:
    """However many one of them has sent; his own are served as they came."""
    queue = WaitQueue()
    flood = [queue.join("flood") for _ in range(5)]
    other, third = queue.join("other"), queue.join("third")
    served = []
    for _ in range(7):
        waiter = queue.first()
        assert waiter is not None
        queue.serve(waiter, SESSION)
        served.append(waiter)
    assert served == [flood[0], other, third, *flood[1:]]
    assert len(queue) == 0


async def test_a_newcomer_comes_after_one_of_each() -> None:
    """He waits for as many as there are callers, not for all that wait."""
    queue = WaitQueue()
    for caller in ("a", "b"):
        for _ in range(10):
            queue.join(caller)
    late = queue.join("late")
    turns = 0
    while (waiter := queue.first()) is not None and waiter is not late:
        queue.serve(waiter, SESSION)
        turns += 1
    assert turns == 2


async def test_the_last_of_a_caller_is_sent_away() -> None:
    """Of those who still wait; and nobody of another."""
    queue = WaitQueue()
    first, last = queue.join("a"), queue.join("a")
    assert queue.send_away("a", refused())
    assert isinstance(last.turn.exception(), EndpointUnreachable)
    queue.serve(first, SESSION)
    assert not queue.send_away("a", refused())
    assert not queue.send_away("b", refused())
