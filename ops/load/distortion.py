"""Whether the generator's own lateness changes what a report says, or is only to be mentioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.load import wording
from ops.load.histogram import Histogram
from ops.load.operation import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ops.load.operation import Operation
    from ops.load.pauses import Pause
    from ops.load.selfcheck import SelfCheck

SHARE = 0.5
"""The part of a number that has to be the generator's own before the number is called wrong."""

LEAST = 0.15
"""Seconds: what is the generator's own in a pause, or in the longest latency, is less than this
where nobody would have drawn a conclusion from it."""

LEAST_P99 = 0.02
"""Seconds: the same for a percentile."""


@dataclass(frozen=True, slots=True)
class Distortion:
    """Sentences on numbers of a report that are the generator's own: `verdict` on its statement."""

    verdict: Sequence[str]
    aside: Sequence[str]


def distortion(
    operations: Sequence[Operation],
    pauses: Mapping[str, Pause | None],
    checks: Sequence[SelfCheck],
    *,
    fault: bool,
) -> Distortion:
    """Find the numbers of a report that lateness has made. `pauses`: by kind, writes and reads.

    A report states the longest pauses and the longest latency, and p99 where no fault struck: with
    a fault p99 says how long the pause was in relation to the load, and is an aside. Lateness
    changes a statement when it is half of the number or more, and no trifle:

    - a pause: a request waited to leave for half of it, for 0.15 s at least;
    - the longest latency: half of it was before the request left, 0.15 s at least;
    - p99: from when requests left, and less what the event loop lagged behind in hearing of their
      answers, it would be half or less, and 20 ms less at least.
    """
    verdict: list[str] = []
    aside: list[str] = []
    longest = max(operations, key=lambda one: one.latency, default=None)
    if longest is not None and _matters(longest.late, longest.latency, LEAST):
        parts = f"{wording.duration(longest.late)} of {wording.duration(longest.latency)}"
        verdict.append(f"The request with the longest latency left late: {parts}.")
    for name, pause in pauses.items():
        mine = [one for one in operations if (one.kind is Kind.READ) == (name == "reads")]
        if pause is not None:
            verdict += _of_pause(name, pause, mine)
        (aside if fault else verdict).extend(_of_p99(name, mine, checks))
    return Distortion(verdict, aside)


def _matters(own: float, whole: float, least: float) -> bool:
    return own >= least and own >= SHARE * whole


def _of_pause(name: str, pause: Pause, operations: Sequence[Operation]) -> Iterator[str]:
    ended = pause.began + pause.seconds
    waits = (min(one.sent, ended) - max(one.due, pause.began) for one in operations)
    own = max(waits, default=0.0)
    if _matters(own, pause.seconds, LEAST):
        parts = f"{wording.duration(own)} of {wording.duration(pause.seconds)}"
        yield f"In the longest pause of {name} a request waited to be sent: {parts}."


def _of_p99(
    name: str, operations: Sequence[Operation], checks: Sequence[SelfCheck]
) -> Iterator[str]:
    fine = [one for one in operations if one.outcome is Outcome.OK]
    told = Histogram(one.latency for one in fine).percentile(99)
    sent = Histogram(one.completed - one.sent for one in fine).percentile(99)
    lag = max((check.lag.percentile(99) for check in checks), default=0.0)
    if _matters(min(told, told - sent + lag), told, LEAST_P99):
        parts = f"{wording.duration(told)} from when they were due"
        left = f"{wording.duration(sent)} from when they left"
        yield f"p99 of {name} is {parts}, {left}; the event loop lagged {wording.duration(lag)}."
