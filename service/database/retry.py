"""`@retry_on_failover`: runs a whole unit of work again when its failure was a passing one.

    class Users:
        def __init__(self, database: Database) -> None:
            self.database = database

        @retry_on_failover(on=is_transient)
        async def rename(self, user: int, name: str) -> User:
            async with self.database.write() as connection:
                ...

Bounded by a deadline and by attempts, both from the database's RetryPolicy, with full jitter
between the attempts. The deadline counts from the first attempt; everything below takes its bound
from it. A method that calls another decorated one stays one unit of work: the outer one retries.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from service.database.admission import Admission
from service.database.deadline import Deadline
from service.database.failures import DRIVER_FAULT
from service.database.observer import Observer
from service.database.tracing import Tracer, traced
from service.database.unit import UnitOfWork, current_caller, current_unit, unit_of_work
from service.errors import (
    BoundedError,
    DatabaseError,
    DatabaseFailure,
    KeyInFlight,
    TokenAhead,
    TransientError,
    Unavailable,
)

# The driver confused this often in one unit of work: a mistake that every attempt meets again.
FAULTS_MOST = 3

P = ParamSpec("P")
R = TypeVar("R")

RetryOn: TypeAlias = (
    type[TransientError] | tuple[type[TransientError], ...] | Callable[[TransientError], bool]
)

TOKEN_QUESTIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The bounds of one unit of work; durations in seconds.

    `waiting=False` is the switch for tests: attempts follow each other at once.
    """

    deadline: float = 15.0
    attempts: int = 500
    backoff_first: float = 0.025
    backoff_most: float = 0.25
    key_wait: float = 7.0  # for another request with the same idempotency key
    # For a write endpoint that may lead to a node of the past: HAProxy takes such
    # a node out within 0.6 s (deploy/haproxy/nodes.lua). The node is asked TOKEN_QUESTIONS times.
    token_wait: float = 1.0
    waiting: bool = True

    def wait(self, error: TransientError, number: int, left: float) -> float | None:
        """Return the wait after attempt `number`, which failed so; None: `left` is too short."""
        if isinstance(error, TokenAhead):
            pause = self.token_wait / TOKEN_QUESTIONS if self.waiting else 0.0
            return pause if pause < left else None
        return None if left <= self.backoff_first else min(self.backoff(number), left / 2)

    def backoff(self, number: int) -> float:
        """Return the wait after failed attempt `number`: full jitter, doubling up to a bound."""
        if not self.waiting:
            return 0.0
        # The exponent is bounded as well: 2.0**1024 is an OverflowError.
        ceiling = min(self.backoff_most, self.backoff_first * 2.0 ** min(number - 1, 32))
        return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards no secret

    def patience(self, error: TransientError) -> float | None:
        """Return how long a failure of this kind is waited for; None: until the deadline."""
        match error:
            case KeyInFlight():
                return self.key_wait
            case TokenAhead():
                return 0.0 if error.certain else self.token_wait
            case _:
                return None


class Retrying(Protocol):
    """What `retry_on_failover` asks of a database.

    One that has a `tracer` as well (a `Tracer`, or None) gets a span for each attempt.
    """

    @property
    def retry_policy(self) -> RetryPolicy:
        """The bounds."""

    @property
    def observer(self) -> Observer:
        """Who is told of attempts and retries."""

    @property
    def admission(self) -> Admission:
        """How many units of work there may be."""


class HasDatabase(Protocol):
    """An object whose methods can be units of work."""

    @property
    def database(self) -> Retrying:
        """The database that the unit of work uses."""


S = TypeVar("S", bound=HasDatabase)
Method: TypeAlias = Callable[Concatenate[S, P], Awaitable[R]]


def retry_on_failover(
    *, on: RetryOn, attempts: int | None = None
) -> Callable[[Method[S, P, R]], Callable[Concatenate[S, P], Awaitable[R]]]:
    """Retry the decorated method while `on` fits its TransientError.

    `on` has no default: what is safe to run again is a decision. `attempts` narrows the policy's.
    When a bound is reached it raises Unavailable, from the last failure; or a BoundedError as it
    is; DatabaseFailure, if the driver failed in a way of its own again and again; or CommitInDoubt,
    if a COMMIT was sent and the database could not be asked since what became of it. Raises
    Overloaded before the first attempt when too many others are held.
    """
    fits = _predicate(on)

    def decorate(method: Method[S, P, R]) -> Callable[Concatenate[S, P], Awaitable[R]]:
        @wraps(method)
        async def whole(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if current_unit() is not None:
                return await method(self, *args, **kwargs)
            database = self.database
            policy = database.retry_policy
            tracer: Tracer | None = getattr(database, "tracer", None)
            run = method if tracer is None else traced(method, tracer)
            admission, caller = database.admission, current_caller().name
            admission.begin(caller)
            try:
                with unit_of_work(policy.deadline) as unit:
                    database.observer.attempt(1)
                    try:  # the first attempt without what only another one needs
                        return await run(self, *args, **kwargs)
                    except DatabaseError as error:
                        most = policy.attempts
                        most = most if attempts is None else min(attempts, most)
                        course = _Attempts(unit, policy, database.observer, fits, most)
                        wait = course.wait_after(error)
                    return await course.go_on(wait, partial(run, self, *args, **kwargs))
            finally:
                admission.end(caller)

        return whole

    return decorate


class _Attempts:
    """The attempts of one unit of work: what becomes of a failure, and how long to wait."""

    def __init__(
        self,
        unit: UnitOfWork,
        policy: RetryPolicy,
        observer: Observer,
        fits: Callable[[TransientError], bool],
        most: int,
    ) -> None:
        self._unit = unit
        self._policy = policy
        self._observer = observer
        self._fits = fits
        self._most = most
        self._number = 1  # of the last attempt
        self._faults = 0  # of the driver
        self._met: dict[type[TransientError], Deadline] = {}  # when patience ends, by failure

    async def go_on(self, wait: float, call: Callable[[], Awaitable[R]]) -> R:
        """Call, after `wait` seconds, until it succeeds; or raise what the caller shall get."""
        while True:
            await asyncio.sleep(wait)
            self._number += 1
            self._observer.attempt(self._number)
            try:
                return await call()
            except DatabaseError as error:
                wait = self.wait_after(error)

    def wait_after(self, error: DatabaseError) -> float:
        """Return the seconds from a failure to the next attempt; raise when there shall be none."""
        if not isinstance(error, TransientError):
            if self._unit.in_doubt is None:
                raise error
            raise self._unit.in_doubt from error
        if not self._fits(error):
            raise self._unit.in_doubt or error from error.__cause__
        wait = self._policy.wait(error, self._number, self._left(error))
        self._faults += error.kind == DRIVER_FAULT
        if self._number >= self._most or self._faults >= FAULTS_MOST or wait is None:
            self._observer.gave_up(error, attempts=self._number)
            raise self._final(error) from error
        self._observer.retry(error, number=self._number, wait=wait)
        return wait

    def _left(self, error: TransientError) -> float:
        """Return the seconds that this failure may still be waited for."""
        left = self._unit.deadline.remaining()
        if self._bounded(error) and (patience := self._policy.patience(error)) is not None:
            end = self._met.setdefault(type(error), Deadline.after(patience))
            left = min(left, end.remaining())
        return left

    def _bounded(self, error: TransientError) -> bool:
        """Say whether the failure has a patience of its own; a key that we hold ourselves has not.

        The server ends a session that was lost, and a COMMIT that it had received, in its time.
        """
        ours = isinstance(error, KeyInFlight) and self._unit.claimed
        return isinstance(error, BoundedError) and not ours

    def _final(self, error: TransientError) -> DatabaseError:
        if self._unit.in_doubt is not None:
            return self._unit.in_doubt
        if self._bounded(error):
            return error
        if error.kind == DRIVER_FAULT:
            return DatabaseFailure(str(error), kind=DRIVER_FAULT)
        message = f"Nothing was applied. Gave up after {self._number} attempts; the last: {error}"
        return Unavailable(message, kind=error.kind)


def _predicate(on: RetryOn) -> Callable[[TransientError], bool]:
    if isinstance(on, type | tuple):
        return lambda error: isinstance(error, on)
    return on
