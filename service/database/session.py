"""One PostgreSQL session: asyncpg's connection, with an age and with sockets that notice silence.

What asyncpg caches (prepared statements, types) belongs to a session and dies with it, so nothing
of a lost node is used on its successor.
"""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

import asyncpg
from asyncpg.exceptions import PostgresLogMessage
from asyncpg.prepared_stmt import PreparedStatement

from service.database.failures import (
    Phase,
    cancelled_from_outside,
    is_local_commit,
    translate,
)
from service.database.observer import Role
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.transport import Gathering, Opening

# A session lives for this part of the maximum age at least, so that sessions opened together, as
# they are after a failover, do not all end together.
LEAST_AGE = 0.75
# asyncpg waits this many times longer for the server than the server lets a statement run: its
# own cancellation answers first, and only a silent server meets this bound.
CLIENT_MARGIN = 1.2
# Statements that a session keeps prepared; beyond it, the one that was prepared first is forgotten.
STATEMENTS_MOST = 100
# The whole of connecting may take this many times the driver's own timeout: nobody relies on that
# one alone.
CONNECT_MARGIN = 1.5


class Plans:
    """How often this process has found statements to be of an older schema.

    A pooler keeps what it has prepared on the server's sessions, by its text, for whoever comes
    with the same text. So a statement that is prepared anew needs another one: a space more.
    """

    stale = 0


class Session(asyncpg.Connection):
    """A connection that keeps its statements, and knows when it is due for replacement."""

    __slots__ = (
        *("expires_at", "generation", "local", "plans", "pooled", "server_pid", "statements"),
        "transport",
    )

    expires_at: float  # monotonic seconds; `connect` sets it
    generation: int  # the pool's, when this was opened; the pool sets it
    local: bool  # the server has said since `Link.commit` reset it: that commit is local
    plans: int  # of Plans.stale, when its statements were prepared
    pooled: bool  # known not to have a session of the server to itself: there is a pooler between
    server_pid: int  # that the server told at the login; `connect` sets it
    statements: dict[str, PreparedStatement]  # by their text

    def __init__(
        self,
        protocol: Any,  # noqa: ANN401 - asyncpg's own, no public type
        transport: Gathering,
        _: object,  # an Opening: for what comes it needs no more than the loop
        *rest: Any,  # noqa: ANN401 - passed on as they come
    ) -> None:
        super().__init__(protocol, transport, asyncio.get_running_loop(), *rest)
        self.transport = transport
        self.statements = {}
        self.plans = Plans.stale
        self.pooled = False

    def hear(self, _: object, message: PostgresLogMessage) -> None:
        """Take a notice of the server."""
        if is_local_commit(message):
            self.local = True

    async def prepared(self, sql: str) -> PreparedStatement:
        """Prepare a statement, and keep it. Raises what the driver does."""
        if not self.statements:
            self.plans = Plans.stale
        statement = await self.prepare(sql.ljust(len(sql) + self.plans))
        if len(self.statements) >= STATEMENTS_MOST:
            del self.statements[next(iter(self.statements))]
        self.statements[sql] = statement
        return statement

    def forget(self) -> None:
        """Forget its statements: the session has ended."""
        self.statements.clear()

    def stale(self) -> None:
        """Forget its statements: the schema has changed since they were prepared."""
        # Of several sessions that meet the same change, the first counts it.
        Plans.stale = max(Plans.stale, self.plans + 1)
        self.statements.clear()

    def is_idle(self) -> bool:
        """Say whether it is in no transaction, while it is open. Never raises."""
        try:
            return not self.is_in_transaction()
        except Exception:  # noqa: BLE001 - the driver is confused: that is not idle
            return False

    @property
    def transport_socket(self) -> socket.socket:
        """The socket beneath, whose options notice silence."""
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    @property
    def sslobject(self) -> ssl.SSLObject | None:
        """What the session is encrypted by, if it is."""
        return cast("ssl.SSLObject | None", self.transport.get_extra_info("ssl_object"))

    def drop(self) -> None:
        """Close at once, whatever state it is in; the server rolls back. Never raises.

        The server is told (Terminate), so that it logs nothing; its answer is not waited for.
        """
        try:
            self.terminate()
        except Exception:  # noqa: BLE001 - the driver is confused: its socket is closed all the same
            self.transport.abort()
            # Kept until the loop has told the driver of it: freed before, it would take itself for
            # one that somebody forgot to close.
            asyncio.get_running_loop().call_soon(self.is_closed)


async def connect(
    endpoint: EndpointOptions,
    options: DatabaseOptions,
    role: Role,
    ended: Callable[[object], None],
) -> Session:
    """Open a session on `endpoint`, within `options.connect_timeout`; `ended` hears of its end.

    Raises EndpointUnreachable, or DatabaseFailure when the server refuses the login.
    """
    try:
        async with asyncio.timeout(CONNECT_MARGIN * options.connect_timeout):
            session = await _log_in(endpoint, options, role)
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        raise translate(error, Phase.CONNECT) from error
    except Exception as error:  # the driver raises more than it says
        raise translate(error, Phase.CONNECT) from error
    try:
        session.server_pid = session.get_server_pid()
        notice_silence(session.transport_socket, options.tcp_timeout)
        session.add_log_listener(session.hear)
        session.add_termination_listener(_forget)
        session.add_termination_listener(ended)
    except (Exception, asyncio.CancelledError) as error:  # it is gone already
        session.drop()
        raise translate(error, Phase.CONNECT) from error
    age = options.connection_max_age * random.uniform(LEAST_AGE, 1)  # noqa: S311 - spread, no secret
    session.expires_at = time.monotonic() + age
    return session


def _forget(session: object) -> None:
    cast("Session", session).forget()  # the two know each other: else only gc would free them


async def _log_in(endpoint: EndpointOptions, options: DatabaseOptions, role: Role) -> Session:
    user, password = options.login(endpoint)
    return await asyncpg.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=user,
        password=password,
        database=options.name,
        ssl=options.tls(),
        timeout=options.connect_timeout,
        connection_class=Session,
        loop=cast("asyncio.AbstractEventLoop", Opening()),
        server_settings=server_settings(options, role),
    )


def server_settings(options: DatabaseOptions, role: Role) -> dict[str, str]:
    """Return the settings that a session starts with."""
    milliseconds = str(round(options.statement_timeout * 1000))
    settings = {
        "application_name": f"{options.application_name}/{role}",
        "client_encoding": "UTF8",
        "TimeZone": "UTC",
        "DateStyle": "ISO",  # of times that a statement wants as text
        "statement_timeout": milliseconds,
        # A service that vanished in the middle of a transaction must not keep its locks.
        "idle_in_transaction_session_timeout": milliseconds,
        # A statement whose client is gone ends within this, not when it is done.
        "client_connection_check_interval": "1s",
    }
    if role is Role.READ:
        # The read endpoint may lead to the primary. The write endpoint's sessions must NOT set
        # this to off, nor begin READ WRITE: a promoted node that pg_auto_failover still fences
        # says `on`, and a session that overrides it would write past the fence.
        settings["default_transaction_read_only"] = "on"
    return settings


def notice_silence(sock: socket.socket, timeout: float) -> None:
    """Make the kernel give a peer up that has been silent for about `timeout` seconds.

    Keepalive probes find a dead peer while nothing is sent; TCP_USER_TIMEOUT, where there is one
    (Linux), while something is.
    """
    if sock.family == socket.AF_UNIX:
        return
    probe = max(1, round(timeout / 3))  # whole seconds, three silent ones end it
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", probe),
        ("TCP_KEEPINTVL", probe),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", round(timeout * 1000)),  # milliseconds
    ):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
