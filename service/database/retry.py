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
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from service.database.deadline import Deadline, current_deadline, deadline_scope
from service.database.observer import Observer
from service.errors import DatabaseError, TransientError, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

RetryOn: TypeAlias = (
    type[TransientError] | tuple[type[TransientError], ...] | Callable[[TransientError], bool]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The bounds of one unit of work; durations in seconds.

    `waiting=False` is the switch for tests: attempts follow each other at once.
    """

    deadline: float = 15.0
    attempts: int = 500
    backoff_first: float = 0.025
    backoff_most: float = 0.25
    waiting: bool = True

    def backoff(self, number: int) -> float:
        """Return the wait after failed attempt `number`: full jitter, doubling up to a bound."""
        if not self.waiting:
            return 0.0
        # The exponent is bounded as well: 2.0**1024 is an OverflowError.
        ceiling = min(self.backoff_most, self.backoff_first * 2.0 ** min(number - 1, 32))
        return random.uniform(0, ceiling)  # noqa: S311 - spreads load, guards no secret


class Retrying(Protocol):
    """What `retry_on_failover` asks of a database."""

    @property
    def retry_policy(self) -> RetryPolicy:
        """The bounds."""

    @property
    def observer(self) -> Observer:
        """Who is told of attempts and retries."""


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
    Raises Unavailable, from the last failure, when a bound is reached.
    """
    fits = _predicate(on)

    def decorate(method: Method[S, P, R]) -> Callable[Concatenate[S, P], Awaitable[R]]:
        @wraps(method)
        async def unit_of_work(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if current_deadline() is not None:
                return await method(self, *args, **kwargs)
            policy, observer = self.database.retry_policy, self.database.observer
            most = policy.attempts if attempts is None else min(attempts, policy.attempts)
            number = 0
            with deadline_scope(Deadline.after(policy.deadline)) as deadline:
                while True:
                    number += 1
                    observer.attempt(number)
                    try:
                        return await method(self, *args, **kwargs)
                    except TransientError as error:
                        if not fits(error):
                            raise
                        left = deadline.remaining()
                        if number >= most or left <= policy.backoff_first:
                            observer.gave_up(error, attempts=number)
                            raise _unavailable(error, number, policy) from error
                        wait = min(policy.backoff(number), left / 2)
                        observer.retry(error, number=number, wait=wait)
                    await asyncio.sleep(wait)

        return unit_of_work

    return decorate


def _predicate(on: RetryOn) -> Callable[[TransientError], bool]:
    if isinstance(on, type | tuple):
        return lambda error: isinstance(error, on)
    return on


def _unavailable(error: DatabaseError, attempts: int, policy: RetryPolicy) -> Unavailable:
    message = (
        f"Nothing was applied. Gave up after {attempts} attempts within "
        f"{policy.deadline:g} s; the last: {error}"
    )
    return Unavailable(message, kind=error.kind)
