"""The longest time without a success: what a failover costs those who ask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ops.load.operation import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.load.operation import Operation


@dataclass(frozen=True, slots=True)
class Pause:
    """A stretch without a success, in seconds after the load's start."""

    began: float
    seconds: float


def longest_pause(operations: Iterable[Operation], *, writes: bool) -> Pause | None:
    """Return the longest stretch without a successful completion of writes, or of reads.

    The stretch lies between two neighbours of: the start of the load; the completion of each
    operation of the kind whose outcome is OK, in the order of completion and whenever it was due;
    and the moment the last one of the kind was due, or the last success if that is later. Nothing
    is subtracted: at a rate of r per second, 1 / r is no pause but how the load is. Operations of
    the preparation (due before 0) do not count. None when there was no operation of the kind.
    """
    mine = [one for one in operations if (one.kind is not Kind.READ) == writes and one.due >= 0]
    if not mine:
        return None
    successes = [one.completed for one in mine if one.outcome is Outcome.OK]
    return longest_gap(successes, 0.0, max([*successes, *(one.due for one in mine)]))


def longest_gap(moments: Iterable[float], begin: float, end: float) -> Pause:
    """Return the longest stretch of [begin, end] in which none of these moments lies."""
    inside = sorted(each for each in moments if begin < each < end)
    began, ended = max(pairwise([begin, *inside, end]), key=lambda two: two[1] - two[0])
    return Pause(began, ended - began)
