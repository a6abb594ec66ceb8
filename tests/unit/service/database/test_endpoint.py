"""service.database.endpoint: attempts keep a pace while an endpoint is down."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.database.endpoint import HELD_BACK, OVERLAP, PACE, Endpoint
from service.database.observer import Observer, Role
from service.errors import ConnectionLost, DatabaseFailure, EndpointUnreachable, NotWritable

REFUSED = EndpointUnreachable("refused", kind="refused")


class Recorder(Observer):
    """Keeps the changes it is told of."""

    def __init__(self) -> None:
        self.changes: list[tuple[bool, str]] = []

    def serving(self, role: Role, *, serves: bool, reason: str) -> None:
        """Keep it."""
        assert role is Role.WRITE
        self.changes.append((serves, reason))


@pytest.fixture
def recorder() -> Recorder:
    """An observer that keeps what it is told."""
    return Recorder()


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The endpoint's clock."""
    return Clock()


@pytest.fixture
def endpoint(recorder: Recorder, clock: Clock) -> Endpoint:
    """An endpoint of which nothing is known."""
    return Endpoint(Role.WRITE, recorder, clock)


@contextmanager
def connecting(endpoint: Endpoint) -> Iterator[None]:
    """Make an attempt as the pool does; raises what it is refused for."""
    if (refusal := endpoint.admit()) is not None:
        raise refusal
    with endpoint.attempt():
        yield


def fail(endpoint: Endpoint, error: Exception = REFUSED) -> None:
    """Let one attempt to connect fail."""
    with pytest.raises(type(error)), connecting(endpoint):
        raise error


def test_many_may_connect_while_it_is_up(endpoint: Endpoint) -> None:
    """Attempts run side by side, at first and after a success."""
    with connecting(endpoint), connecting(endpoint):
        pass
    with connecting(endpoint), connecting(endpoint):
        pass


def test_the_rest_is_held_back_after_a_failure(endpoint: Endpoint) -> None:
    """Right after a failed attempt the next is refused at once, for the same reason."""
    fail(endpoint)

    with pytest.raises(EndpointUnreachable, match="refused") as raised, connecting(endpoint):
        pytest.fail("this attempt should not have been admitted")

    assert raised.value.kind == HELD_BACK
    assert raised.value.__cause__ is REFUSED


def test_one_is_let_through_at_its_turn(endpoint: Endpoint, clock: Clock) -> None:
    """Once the pace allows, one attempt is admitted, and meanwhile no other."""
    fail(endpoint)
    clock.now += PACE

    with connecting(endpoint), pytest.raises(EndpointUnreachable), connecting(endpoint):
        pytest.fail("a second attempt should not have been admitted")


def test_attempt_without_an_answer_is_overtaken(endpoint: Endpoint, clock: Clock) -> None:
    """One that hangs on a node that is gone holds the next up for a moment only."""
    fail(endpoint)
    clock.now += PACE

    with connecting(endpoint):
        clock.now += OVERLAP
        with connecting(endpoint):
            pass


def test_one_finds_out_after_a_loss(endpoint: Endpoint, clock: Clock) -> None:
    """A lost session lets one attempt through at once and no other, until it has connected."""
    with connecting(endpoint):
        endpoint.served()
    endpoint.lost(ConnectionLost("reset", kind="connection-lost"))
    assert endpoint.paced

    with connecting(endpoint):
        with pytest.raises(EndpointUnreachable, match="reset"), connecting(endpoint):
            pytest.fail("a second attempt should not have been admitted")
        clock.now += OVERLAP
        with pytest.raises(EndpointUnreachable), connecting(endpoint):
            raise REFUSED
    assert not endpoint.paced


def test_success_lets_all_through_again(endpoint: Endpoint, clock: Clock) -> None:
    """One successful attempt ends the holding back, without waiting for the pace."""
    fail(endpoint)
    clock.now += PACE
    with connecting(endpoint):
        pass

    with connecting(endpoint), connecting(endpoint):
        pass


def test_abandoned_attempt_gives_its_turn_back(endpoint: Endpoint, clock: Clock) -> None:
    """An attempt that was cancelled neither counts as an answer nor blocks the next."""
    fail(endpoint)
    clock.now += PACE
    with pytest.raises(asyncio.CancelledError), connecting(endpoint):
        raise asyncio.CancelledError
    clock.now += PACE

    with connecting(endpoint):
        pass


def test_old_news_is_ignored(endpoint: Endpoint, clock: Clock, recorder: Recorder) -> None:
    """An attempt that fails after another succeeded has asked a node that is gone by now."""
    slow = connecting(endpoint)
    slow.__enter__()
    clock.now += 0.5
    with connecting(endpoint):
        endpoint.served()
    clock.now += 0.5
    assert not slow.__exit__(EndpointUnreachable, REFUSED, None)

    with connecting(endpoint):
        pass
    assert recorder.changes == [(True, "")]


def test_refused_login_does_not_hold_back(endpoint: Endpoint) -> None:
    """A server that refuses the login answers fast: there is nothing to be spared."""
    endpoint.lost(ConnectionLost("reset", kind="connection-lost"))
    fail(endpoint, DatabaseFailure("no such role", kind="login-refused"))

    with connecting(endpoint):
        pass
    assert endpoint.state.reason == "login-refused"


def test_nothing_is_claimed_at_first(endpoint: Endpoint) -> None:
    """Before anything was served an endpoint does not serve, and never did."""
    assert not endpoint.state.serves
    assert endpoint.state.unserved_for is None
    assert endpoint.idle_for(0)


def test_changes_are_told_once(endpoint: Endpoint, recorder: Recorder) -> None:
    """The observer hears of changes, not of every request."""
    for _ in range(3):
        endpoint.served()
    for _ in range(3):
        endpoint.failed(NotWritable("read only", kind="read-only"))
    endpoint.served()

    assert recorder.changes == [(True, ""), (False, "read-only"), (True, "")]


def test_first_failure_is_told_too(endpoint: Endpoint, recorder: Recorder) -> None:
    """A service that starts without its database says so."""
    fail(endpoint)

    assert recorder.changes == [(False, "refused")]


def test_state_tells_for_how_long(endpoint: Endpoint, clock: Clock) -> None:
    """While it serves the time is zero; afterwards it counts from the last success."""
    endpoint.served()
    assert endpoint.state.unserved_for == 0
    assert not endpoint.idle_for(10)

    endpoint.failed(REFUSED)
    clock.now += 2.5

    state = endpoint.state
    assert not state.serves
    assert state.unserved_for == 2.5


def test_being_held_back_is_no_reason(endpoint: Endpoint) -> None:
    """The reason that /health shows stays the one that was found out by trying."""
    fail(endpoint)
    endpoint.failed(EndpointUnreachable("refused", kind=HELD_BACK))

    assert endpoint.state.reason == "refused"
