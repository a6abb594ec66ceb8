"""What is known of one endpoint: whether it serves, and when to try connecting again.

While an endpoint is down every request wants a connection. Letting them all try would burn the
processors that the failover needs, and each try may take a timeout and a place in the pool. So
attempts go through one after another, at a pace; all others fail at once and back off in their
retry. So it is from the moment a session is lost, too: the address may be about to move, and
attempts that all set out together would all hang, and be gone, together.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.database.observer import Observer, Role
from service.errors import DatabaseError, EndpointUnreachable

# Seconds between a failed attempt and the next while an endpoint is down: its return is noticed
# this much late, at most. Far below a failover, far above the cost of an attempt.
PACE = 0.05
# Seconds that an attempt without an answer holds up the next: it may hang on a node that is gone
# while another serves already. A connect timeout of 1 s makes it eight at a time, of a pool of ten.
OVERLAP = 0.125
HELD_BACK = "held-back"  # the kind of those who were not let through


@dataclass(frozen=True, slots=True)
class EndpointState:
    """A snapshot for people and for /health; times in seconds."""

    serves: bool
    reason: str  # why not; empty while it serves
    unserved_for: float | None  # since it last served: 0 while it does, None if it never did
    unknown_for: float | None  # since anything was last learned of it; None: nothing yet


class Endpoint:
    """Keeps the state of one endpoint. Everything runs on one event loop: no locks."""

    def __init__(
        self, role: Role, observer: Observer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.role = role
        self._clock = clock
        self._observer = observer
        self._serves = False
        self._reason = "not tried yet"
        self._served_at: float | None = None
        self._learned_at: float | None = None
        self._refused: EndpointUnreachable | None = None  # set while attempts keep a pace
        self._next_try = 0.0
        self._connected_at = float("-inf")

    @property
    def state(self) -> EndpointState:
        """What is known now; never waits."""
        unserved = None if self._served_at is None else self._clock() - self._served_at
        unknown = None if self._learned_at is None else self._clock() - self._learned_at
        return EndpointState(self._serves, self._reason, 0.0 if self._serves else unserved, unknown)

    @property
    def paced(self) -> bool:
        """Say whether attempts to connect go one after another now."""
        return self._refused is not None

    def idle_for(self, seconds: float) -> bool:
        """Say whether nothing has been served within the last `seconds`."""
        return self._served_at is None or self._clock() - self._served_at >= seconds

    def served(self) -> None:
        """Note that work was done through the endpoint."""
        self._served_at = self._learned_at = self._clock()
        if not self._serves:
            self._serves, self._reason = True, ""
            self._observer.serving(self.role, serves=True, reason="")

    def failed(self, error: DatabaseError) -> None:
        """Note that the endpoint does not serve, for the reason of `error`."""
        if error.kind == HELD_BACK:
            return  # nothing was tried: the reason noted before stands
        self._learned_at = self._clock()
        if self._serves or self._reason == "not tried yet":
            self._observer.serving(self.role, serves=False, reason=error.kind)
        self._serves, self._reason = False, error.kind

    def lost(self, error: DatabaseError) -> None:
        """Note that a session was lost: one attempt, at once, is to find out what is there now."""
        if self._refused is None:
            self._refused = EndpointUnreachable(str(error), kind=error.kind)
            self._next_try = self._clock()

    def admit(self) -> EndpointUnreachable | None:
        """Let one attempt to connect begin now, or return why it is too early for it."""
        now = self._clock()
        if self._refused is not None and now < self._next_try:
            refusal = EndpointUnreachable(str(self._refused), kind=HELD_BACK)
            refusal.__cause__ = self._refused
            return refusal
        self._next_try = now + OVERLAP
        return None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Learn from the attempt within the block, which was admitted."""
        started = self._clock()
        try:
            yield
        except EndpointUnreachable as error:
            # One that timed out says nothing if others have succeeded since it began.
            if self._connected_at <= started:
                self._refused = error
                self.failed(error)
            raise
        except DatabaseError as error:
            self._refused = None  # an answer, though not the one that was hoped for
            self.failed(error)
            raise
        else:
            self._refused = None
            self._connected_at = self._clock()
        finally:
            self._next_try = min(self._next_try, self._clock() + PACE)
