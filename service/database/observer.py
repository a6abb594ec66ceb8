"""What the database tells whoever wants to know, so that metrics and logs stay out of it.

The methods of `Observer` do nothing; subclass it and override what you count. They are called on
the event loop in the middle of a request: they must be quick, must not wait and must not raise.
"""

from enum import StrEnum

from service.errors import DatabaseError, TransientError


class Role(StrEnum):
    """An endpoint, by what it is for."""

    WRITE = "write"
    READ = "read"


class Route(StrEnum):
    """The way one unit of work took."""

    WRITE = "write"
    READ = "read"
    READ_FALLBACK = "read-fallback"  # a read on the write endpoint, as no reader would do

    __hash__ = str.__hash__  # the enum's own is Python: every request would pay for it


class Observer:
    """Receives what happens to units of work, connections and routes."""

    def attempt(self, number: int) -> None:
        """Note that a unit of work starts its attempt `number`, from 1."""

    def routed(self, route: Route) -> None:
        """Note the route that an attempt takes; a fallback is noted once it has a connection."""

    def failure(self, role: Role, error: DatabaseError) -> None:
        """Note a failure on an endpoint; `error` says how it was classified."""

    def retry(self, error: TransientError, *, number: int, wait: float) -> None:
        """Note that attempt `number` failed and the next starts after `wait` seconds."""

    def gave_up(self, error: TransientError, *, attempts: int) -> None:
        """Note that the deadline or the attempts ran out; `error` is the last failure."""

    def local_commit(self, *, asked: bool = False) -> None:
        """Note a commit that may be on the primary alone: no standby is known to have it.

        `asked`: it was not to wait for one.
        """

    def commit_sent(self) -> None:
        """Note that COMMIT is sent: its effect may be there from now on, or is.

        Whoever ends a unit of work from outside (a cancelled task) learns so what it leaves behind.
        """

    def not_applied(self) -> None:
        """Note that the effect of the last `commit_sent` is known to be absent."""

    def resolved(self, *, applied: bool) -> None:
        """Note that a commit in doubt was found to be applied, or not to be and was made again."""

    def replayed(self) -> None:
        """Note a write that was answered with the result of an earlier request of its key."""

    def behind(self) -> None:
        """Note a read that goes to the primary, as its reader did not reach its token in time."""

    def purged(self, keys: int) -> None:
        """Note that expired idempotency keys were removed."""

    def serving(self, role: Role, *, serves: bool, reason: str) -> None:
        """Note that an endpoint began to serve, or ceased to for `reason`; on the change only."""

    def certificate(self, name: str, ends: float) -> None:
        """Note when a certificate ends (Unix time, seconds) by which a new session was verified."""

    def background_failed(self, name: str, error: BaseException) -> None:
        """Note that a turn of a background task failed; the next one comes all the same."""
