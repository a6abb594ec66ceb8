"""What a load's processes and their parent tell each other, pickled, over one pipe each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.load.operation import Operation
    from ops.load.selfcheck import SelfCheck


@dataclass(frozen=True, slots=True)
class Go:
    """To a process: start the schedule at `began`, in seconds of CLOCK_MONOTONIC."""

    began: float


@dataclass(frozen=True, slots=True)
class Stop:
    """To a process: send no more; give up after `drain` seconds what has no answer by then."""

    drain: float


@dataclass(frozen=True, slots=True)
class Ready:
    """From a process: prepared, waiting for Go."""


@dataclass(frozen=True, slots=True)
class Batch:
    """From a process: what is over since the last one. `last`: it ends now, all is told."""

    operations: list[Operation]
    check: SelfCheck
    last: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """From a process: it ends now, for this reason; `operations` are those not told yet."""

    reason: str
    operations: list[Operation] = field(default_factory=list)
