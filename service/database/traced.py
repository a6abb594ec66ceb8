"""The pool and the link of a database that has a tracer; see `tracing`."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from asyncpg.prepared_stmt import PreparedStatement

from service.database.bounds import Bounds
from service.database.commit import (
    BEGIN,
    BEGIN_AHEAD,
    BEGIN_READ,
    BEGIN_READ_AHEAD,
    CLAIM,
    POSITION,
    RECORD,
    UNREPLICATED_AHEAD,
    UNTIMED,
    UNTIMED_AHEAD,
)
from service.database.deadline import Deadline
from service.database.failures import Phase
from service.database.link import Link
from service.database.observer import Observer, Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.pools import Pool
from service.database.session import Session
from service.database.tracing import Tracer

T = TypeVar("T")

COMMIT_TEXT = f"COMMIT; {POSITION}"
ALONE = {BEGIN_AHEAD: BEGIN, UNREPLICATED_AHEAD: BEGIN, BEGIN_READ_AHEAD: BEGIN_READ}
"""What goes ahead and claims no key, and how a transaction begins by it."""


class TracedLink(Link):
    """A link whose exchanges have spans."""

    __slots__ = ("_role", "_tracer")

    def __init__(
        self,
        tracer: Tracer,
        session: Session,
        deadline: Deadline,
        statement_timeout: float,
        role: Role,
        bounds: Bounds,
    ) -> None:
        super().__init__(session, deadline, statement_timeout, role, bounds)
        self._role = role
        self._tracer = tracer

    async def _exchange(
        self,
        phase: Phase,
        budget: float,
        ahead: bytes | None,
        call: Callable[..., Awaitable[T]],
        *args: object,
    ) -> T:
        # Of the arguments the first alone is looked at: the others are parameters.
        first = args[0] if args else None
        if phase is Phase.COMMIT:
            text = COMMIT_TEXT
        elif isinstance(first, PreparedStatement):
            text = first.get_query().rstrip()
        elif call == self.session.prepared:
            text = f"PREPARE {str(first).strip()}"
        else:
            text = str(first)  # BEGIN or ROLLBACK, by the session itself
        with self._tracer.exchange(self._role, text, self._gone_ahead(phase, ahead)):
            return await super()._exchange(phase, budget, ahead, call, *args)

    def _gone_ahead(self, phase: Phase, ahead: bytes | None) -> tuple[str, ...]:
        """Return the texts of what goes ahead, whose bytes have parameters in them."""
        if phase is Phase.COMMIT:
            return (UNTIMED if (ahead or b"").startswith(UNTIMED_AHEAD) else RECORD,)
        if ahead is not None or not self._ahead:
            return ()
        alone = ALONE.get(self._ahead)
        return (BEGIN, CLAIM) if alone is None else (alone,)


class TracedPool(Pool):
    """A pool whose checkouts have spans, and whose links are traced."""

    def __init__(
        self,
        tracer: Tracer,
        role: Role,
        endpoint: EndpointOptions,
        options: DatabaseOptions,
        observer: Observer,
    ) -> None:
        super().__init__(role, endpoint, options, observer)
        self._tracer = tracer
        self.link = partial(TracedLink, tracer)

    def take(self, deadline: Deadline) -> Link | None:
        """Begin a loan, if a session is idle; without one, the wait for it has the span."""
        if not self._idle:
            return None
        with self._tracer.checkout(self.role):
            return super().take(deadline)

    async def wait(self, deadline: Deadline) -> Link:
        """Begin a loan when it is its turn."""
        with self._tracer.checkout(self.role):
            return await super().wait(deadline)
