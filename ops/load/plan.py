"""What a load is to be: rates, duration, and how careful its clients are."""

from __future__ import annotations

import math
import re
import uuid
from dataclasses import dataclass, field

from ops.console import StackError

BASE_URL = "http://127.0.0.1:8080"

DEADLINE = 30.0
"""Seconds after its first try that a client with `retries` gives a request up."""

MOST_PROCESSES = 64

_PREFIX = re.compile(r"[a-z0-9][a-z0-9-]{0,30}[a-z0-9]")


class LoadError(StackError):
    """A load could not be started, or cannot go on; the message says why."""


class PlanError(LoadError, ValueError):
    """A plan that makes no sense; the message names the field and what it may be."""


def new_prefix() -> str:
    """Return a prefix that no other run has."""
    return f"load-{uuid.uuid4().hex[:10]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A load, in full. Raises PlanError when it makes no sense.

    `retries`: a client sends again on transport errors, 502, 503, 504 and 409
    `idempotency-key-in-flight`, as long as DEADLINE allows, and only what is safe to send again:
    reads, and writes with a key. `timeout` bounds each try, in seconds.
    """

    base_url: str = BASE_URL
    writes_per_second: float = 20.0
    reads_per_second: float = 80.0
    seconds: float | None = None  # None: until it is told to stop
    keyed: bool = True  # the client chooses an Idempotency-Key for each write
    tokens: bool = True  # a read sends the Consistency-Token of its entity's last write
    retries: bool = False
    reckless: bool = False  # with `retries`, also send again what is not safe to
    changes: float = 0.5  # share of the writes that change an entity instead of creating one
    processes: int = 1
    prefix: str = field(default_factory=new_prefix)  # begins all emails and names of the run
    timeout: float = 30.0
    outstanding: int = 500  # most requests under way per process; what is due beyond is not sent

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for complaint in self._complaints():
            raise PlanError(complaint)

    @property
    def rate(self) -> float:
        """Requests per second, of all kinds and processes."""
        return self.writes_per_second + self.reads_per_second

    @property
    def patience(self) -> float:
        """Seconds after which every request that was sent is over."""
        return DEADLINE if self.retries else self.timeout

    def _complaints(self) -> list[str]:
        """Return a sentence for each thing that is wrong."""
        checks = {
            f"base_url is http://host:port without a path, not {self.base_url!r}.": re.fullmatch(
                r"https?://[^/\s]+", self.base_url
            ),
            "writes_per_second is a number, 0 or more.": _finite(self.writes_per_second, least=0),
            "reads_per_second is a number, 0 or more.": _finite(self.reads_per_second, least=0),
            "A load needs writes or reads: both rates are 0.": self.rate > 0,
            "seconds is above 0, or None to go on until told to stop.": self.seconds is None
            or _finite(self.seconds, above=0),
            "changes is a share, from 0 to 1.": 0 <= self.changes <= 1,
            f"processes is from 1 to {MOST_PROCESSES}.": 1 <= self.processes <= MOST_PROCESSES,
            "prefix is 2 to 32 of a-z, 0-9 and -, and neither begins nor ends with -.": (
                _PREFIX.fullmatch(self.prefix)
            ),
            "outstanding is 1 or more.": self.outstanding >= 1,
            "timeout is above 0 seconds.": _finite(self.timeout, above=0),
        }
        return [sentence for sentence, holds in checks.items() if not holds]


def _finite(number: float, *, least: float = -math.inf, above: float = -math.inf) -> bool:
    return math.isfinite(number) and number >= least and number > above
