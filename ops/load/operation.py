"""One request of a load and what became of it: what reports count and what the checker judges.

Times are seconds of CLOCK_MONOTONIC after the load's start, which all its processes share: they run
on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a request does to its entity, a user."""

    CREATE = "create"
    CHANGE = "change"  # PATCH of the name
    READ = "read"


class Outcome(StrEnum):
    """What the client knows when a request is over."""

    OK = "ok"
    FAILED = "failed"  # the answer promises that nothing was changed
    UNKNOWN = "unknown"  # no answer, or one that leaves the effect open


@dataclass(frozen=True, slots=True)
class Operation:
    """One request, with all tries its client made of it.

    An entity is a user, named by the email address it was created with; its versions count from
    1 and grow by one with each change. A value is the user's name. A tag is an ETag without its
    quotes: it names a version of one history, where the number is that of any.
    """

    kind: Kind
    entity: str
    due: float  # when the schedule wanted it sent; latency counts from here
    sent: float  # when it was sent
    completed: float  # when it was answered, or given up
    outcome: Outcome
    status: int | None = None  # None: no answer
    error: str = ""  # the problem's type or the exception's name; empty when all is well
    value: str | None = None  # written, or read; None: a read that found no such user
    version: int | None = None  # after the write, or as read; None: not known
    expected: int | None = None  # CHANGE: the version it is for. READ: that its token promises
    tries: int = 1
    keyed: bool = True  # the client chose an Idempotency-Key
    durable: bool = True  # False: the answer said `Durability: local`
    instance: str = ""  # X-Instance of the answer
    condition: str | None = None  # CHANGE: the tag in If-Match
    tag: str | None = None  # of the version after the write, or as read
    found: str | None = None  # CHANGE: the entity that the answer is about, if it is another one

    @property
    def latency(self) -> float:
        """Seconds from the moment the request was due to its end."""
        return self.completed - self.due

    @property
    def late(self) -> float:
        """Seconds that the client itself was behind its schedule."""
        return self.sent - self.due


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the stack during a load, for the timeline."""

    at: float  # seconds after the load's start
    what: str  # in words, for people
    kind: str = "event"  # fault, undone, event: what a page colours by
