"""service.database.retry: what runs again, how often, and for how long."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import errors
from service.database.admission import Admission
from service.database.failures import is_transient
from service.database.observer import Observer, Role
from service.database.retry import TOKEN_QUESTIONS, RetryPolicy, retry_on_failover
from service.database.unit import current_unit

AT_ONCE = RetryPolicy(deadline=60, attempts=5, waiting=False)
LOST = errors.ConnectionLost("gone", kind="connection-lost")
ABORTED = errors.TransactionAborted("again", kind="deadlock")


class Recorder(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def attempt(self, number: int) -> None:
        """Keep it."""
        self.told.append(f"attempt {number}")

    def retry(self, error: errors.TransientError, *, number: int, wait: float) -> None:
        """Keep it."""
        self.told.append(f"retry {number} {error.kind}")
        assert wait >= 0

    def gave_up(self, error: errors.TransientError, *, attempts: int) -> None:
        """Keep it."""
        self.told.append(f"gave up {attempts} {error.kind}")


class Spans:
    """Keeps what spans a database asks for, and what each ended with."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @contextmanager
    def attempt(self, number: int) -> Iterator[None]:
        """Keep it."""
        self.told.append(f"begin {number}")
        try:
            yield
        except errors.DatabaseError as error:
            self.told.append(f"fail {error.kind}")
            raise
        finally:
            self.told.append(f"end {number}")

    def checkout(self, _: Role) -> AbstractContextManager[None]:
        """Not asked for here."""
        raise NotImplementedError

    def exchange(self, _: Role, __: str, ___: tuple[str, ...]) -> AbstractContextManager[None]:
        """Not asked for here."""
        raise NotImplementedError


class Endpoints:
    """What the decorator needs of a database: its bounds, and whom to tell."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.retry_policy = policy
        self.observer = Recorder()
        self.admission = Admission(limit=10)


class TracedEndpoints(Endpoints):
    """The same, which has a tracer or could have one: `Database` always has the attribute."""

    def __init__(self, tracer: Spans | None) -> None:
        super().__init__(AT_ONCE)
        self.tracer = tracer


class Work:
    """Units of work that fail as the test says."""

    def __init__(self, *outcomes: Exception | str, policy: RetryPolicy = AT_ONCE) -> None:
        self.database = Endpoints(policy)
        self.outcomes = list(outcomes)
        self.runs = 0

    async def step(self) -> str:
        """Fail or succeed, whichever is next; the last outcome repeats."""
        self.runs += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @retry_on_failover(on=is_transient)
    async def by_predicate(self) -> str:
        """Retry what a predicate fits."""
        return await self.step()

    @retry_on_failover(on=errors.ConnectionLost)
    async def by_type(self) -> str:
        """Retry one type."""
        return await self.step()

    @retry_on_failover(on=(errors.ConnectionLost, errors.NotWritable), attempts=2)
    async def by_types(self) -> str:
        """Retry several types, once."""
        return await self.step()

    @retry_on_failover(on=is_transient)
    async def outer(self) -> str:
        """Call another unit of work."""
        return await self.by_predicate()

    @retry_on_failover(on=is_transient)
    async def hold(self, seconds: float) -> float:
        """Take some time, and return the deadline's point in time."""
        unit = current_unit()
        assert unit is not None
        await asyncio.sleep(seconds)
        await self.step()
        return unit.deadline.at


async def test_success_runs_once() -> None:
    """What succeeds is not run again."""
    work = Work("done")

    assert await work.by_predicate() == "done"
    assert work.database.observer.told == ["attempt 1"]


async def test_whole_method_runs_again() -> None:
    """A passing failure is followed by another run of the method, from its beginning."""
    work = Work(LOST, ABORTED, "done")

    assert await work.by_predicate() == "done"
    assert work.runs == 3
    assert work.database.observer.told == [
        "attempt 1",
        "retry 1 connection-lost",
        "attempt 2",
        "retry 2 deadlock",
        "attempt 3",
    ]


@pytest.mark.parametrize(
    "error",
    [
        errors.CommitInDoubt("who knows", kind="connection-lost"),
        errors.DatabaseFailure("no such table", kind="permanent"),
        errors.StatementTimeout("too slow", kind="statement-timeout"),
        errors.NotFound("no such user"),
        ValueError("a mistake of ours"),
    ],
)
async def test_anything_else_goes_to_the_caller_at_once(error: Exception) -> None:
    """In doubt, permanent, the client's fault or ours: one run, and the error as it is."""
    work = Work(error)

    with pytest.raises(type(error)) as raised:
        await work.by_predicate()

    assert raised.value is error
    assert work.runs == 1


@pytest.mark.parametrize("method", [Work.by_type, Work.by_types])
async def test_on_can_name_types(method: Callable[[Work], object]) -> None:
    """`on` takes a type or several: others are not retried, transient or not."""
    assert await method(Work(LOST, "done")) == "done"  # type: ignore[misc]
    with pytest.raises(errors.TransactionAborted):
        await method(Work(ABORTED, "done"))  # type: ignore[misc]


async def test_attempts_bound_it() -> None:
    """After the policy's attempts it gives up, with the last failure as the cause."""
    work = Work(LOST)

    with pytest.raises(errors.Unavailable) as raised:
        await work.by_predicate()

    assert work.runs == 5
    assert raised.value.__cause__ is LOST
    assert raised.value.kind == "connection-lost"
    assert work.database.observer.told[-1] == "gave up 5 connection-lost"


async def test_a_driver_that_fails_again_and_again_is_a_mistake() -> None:
    """A fault of the driver may pass; one that every attempt meets is told, and soon."""
    fault = errors.ConnectionLost("confused", kind="driver-fault")
    assert await Work(fault, fault, "done").by_predicate() == "done"
    work = Work(fault)

    with pytest.raises(errors.DatabaseFailure):
        await work.by_predicate()

    assert work.runs == 3


async def test_a_method_can_narrow_the_attempts() -> None:
    """`attempts` of the decorator counts where it is the smaller."""
    work = Work(LOST)

    with pytest.raises(errors.Unavailable):
        await work.by_types()

    assert work.runs == 2


async def test_deadline_bounds_it() -> None:
    """On the real clock: held for the deadline and not longer, however many attempts are left."""
    policy = RetryPolicy(deadline=0.3, attempts=10**6, backoff_first=0.01, backoff_most=0.02)
    work = Work(LOST, policy=policy)

    started = time.monotonic()
    with pytest.raises(errors.Unavailable):
        await work.by_predicate()

    assert 0.25 <= time.monotonic() - started < 1
    assert work.runs > 10


async def test_deadline_counts_from_the_first_attempt() -> None:
    """Every attempt sees the same deadline; a retry does not begin it anew."""
    policy = replace(AT_ONCE, deadline=30)
    work = Work(LOST, "done", policy=policy)

    started = time.monotonic()
    at = await work.hold(0.05)

    assert at == pytest.approx(started + 30, abs=0.04)


async def test_deadline_ends_with_the_unit_of_work() -> None:
    """Nothing of it is left for the next unit of work in the same task."""
    await Work("done").by_predicate()

    assert current_unit() is None


async def test_nested_units_are_one() -> None:
    """Inside of a unit of work the inner method does not retry: attempts do not multiply."""
    work = Work(LOST)

    with pytest.raises(errors.Unavailable):
        await work.outer()

    assert work.runs == 5


async def test_cancellation_is_not_retried() -> None:
    """A cancelled unit of work ends, and the deadline's scope with it."""
    work = Work("done")
    task = asyncio.create_task(work.hold(60))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert work.runs == 0


class Doubtful(Work):
    """Units of work whose COMMITs are in doubt, until an attempt resolves it."""

    @retry_on_failover(on=is_transient)
    async def write(self) -> str:
        """Leave a COMMIT in doubt where the outcome says so; resolve it where that is "done"."""
        unit = current_unit()
        assert unit is not None
        try:
            result = await self.step()
        except errors.CommitInDoubt as error:
            raise unit.doubt(error) from error
        unit.resolve()
        return result


IN_DOUBT = errors.CommitInDoubt("who knows", kind="timeout")


async def test_a_doubt_is_followed_by_another_attempt() -> None:
    """A lost COMMIT that a key can resolve is a passing failure."""
    assert await Doubtful(IN_DOUBT, "done").write() == "done"


@pytest.mark.parametrize(
    "later", [LOST, errors.DatabaseFailure("login", kind="login-refused"), IN_DOUBT]
)
async def test_what_stays_in_doubt_is_never_told_otherwise(later: Exception) -> None:
    """After a lost COMMIT "nothing was applied" would be a guess, whatever fails afterwards."""
    with pytest.raises(errors.CommitInDoubt) as raised:
        await Doubtful(IN_DOUBT, LOST, later).write()

    assert raised.value is IN_DOUBT


KEY_IN_FLIGHT = errors.KeyInFlight("busy", kind="key-in-flight")


async def test_a_key_in_flight_is_waited_for_and_told() -> None:
    """For the policy's `key_wait`, not for the deadline; then the client gets it as it is."""
    policy = RetryPolicy(deadline=60, key_wait=0.2, backoff_first=0.01, backoff_most=0.02)
    work = Work(KEY_IN_FLIGHT, policy=policy)

    started = time.monotonic()
    with pytest.raises(errors.KeyInFlight):
        await work.by_predicate()

    assert 0.15 <= time.monotonic() - started < 2
    assert work.runs > 2


async def test_a_key_that_we_hold_ourselves_is_waited_for_longer() -> None:
    """A session of ours that was lost keeps its key for a while: that is no client's fault."""
    policy = RetryPolicy(deadline=0.5, key_wait=0.01, backoff_first=0.01, backoff_most=0.02)

    class Claimed(Work):
        @retry_on_failover(on=is_transient)
        async def write(self) -> str:
            unit = current_unit()
            assert unit is not None
            unit.claimed = True
            return await self.step()

    work = Claimed(KEY_IN_FLIGHT, policy=policy)
    with pytest.raises(errors.Unavailable):
        await work.write()
    assert work.runs > 5


async def test_a_token_that_nothing_explains_is_not_waited_for() -> None:
    """A primary of the token's own timeline that is not as far: it never will have been."""
    certain = errors.TokenAhead("far", kind="token-ahead", certain=True)
    work = Work(certain)

    with pytest.raises(errors.TokenAhead):
        await work.by_predicate()
    assert work.runs == 1


async def test_a_node_of_the_past_is_asked_a_few_times() -> None:
    """Slowly, within `token_wait`; what other failures are waited for makes no difference."""
    ahead = errors.TokenAhead("later", kind="token-ahead")
    policy = RetryPolicy(deadline=60, token_wait=0.25, backoff_first=0.001, backoff_most=0.002)
    work = Work(ahead, policy=policy)
    started = time.monotonic()

    with pytest.raises(errors.TokenAhead):
        await work.by_predicate()
    assert 1 < work.runs <= TOKEN_QUESTIONS
    assert time.monotonic() - started >= (work.runs - 1) * policy.token_wait / TOKEN_QUESTIONS


async def test_too_many_are_refused_before_they_begin() -> None:
    """Past the limit not even a first attempt is made."""
    work = Work("done")
    work.database.admission = Admission(limit=0)

    with pytest.raises(errors.Overloaded):
        await work.by_predicate()
    assert work.runs == 0


async def test_each_attempt_has_a_span() -> None:
    """One begins when the one before has ended; a unit within a unit has none of its own."""
    work = Work(LOST, LOST, "done")
    spans = Spans()
    work.database = TracedEndpoints(spans)
    assert await work.outer() == "done"
    assert spans.told == [
        *("begin 1", "fail connection-lost", "end 1"),
        *("begin 2", "fail connection-lost", "end 2"),
        *("begin 3", "end 3"),
    ]


async def test_a_database_needs_no_tracer() -> None:
    """A wrapper of one that has never heard of it, or has none, is good enough."""
    work = Work(LOST, "done")
    assert not hasattr(work.database, "tracer")
    assert await work.outer() == "done"
    work.database = TracedEndpoints(None)
    assert await work.outer() == "done"


@given(
    number=st.integers(1, 10**9),
    first=st.floats(0.001, 1),
    most=st.floats(0.001, 10),
)
def test_backoff_has_full_jitter_within_its_bounds(number: int, first: float, most: float) -> None:
    """Any wait lies between none and the doubled first one, and never over the most."""
    policy = RetryPolicy(backoff_first=first, backoff_most=most)

    wait = policy.backoff(number)

    assert 0 <= wait <= most
    assert wait <= first * 2.0 ** min(number - 1, 32)


def test_a_wait_leaves_half_of_the_time_for_what_follows() -> None:
    """Near the deadline the next attempt comes early enough to be worth it."""
    policy = RetryPolicy(backoff_first=0.01, backoff_most=1000.0)

    waits = [policy.wait(LOST, 33, left=0.1) for _ in range(50)]

    # Of 50 draws up to 1000 s all but a few are above the bound.
    assert max(filter(None, waits)) == pytest.approx(0.05)
    assert policy.wait(LOST, 33, left=0.01) is None


def test_backoff_is_spread() -> None:
    """Waits of the same attempt differ, so that held requests do not all come at once."""
    policy = RetryPolicy()

    assert len({policy.backoff(10) for _ in range(20)}) > 10


def test_switch_turns_waiting_off() -> None:
    """With `waiting=False` no attempt waits, for tests."""
    assert AT_ONCE.backoff(1) == AT_ONCE.backoff(100) == 0
