"""The one place that knows SQLSTATEs: what a driver's error means for the unit of work.

| signal                                            | while connecting | before COMMIT | once COMMIT was sent |
|---------------------------------------------------|------------------|---------------|----------------------|
| refused, reset, timed out, 57P03, 53300           | unreachable      | lost          | in doubt             |
| 28P01: a password that is just being rotated      | unreachable      | -             | -                    |
| a certificate that has ended, or is not believed  | unreachable      | -             | -                    |
| 57P01, 57P02, 08xxx, any FATAL, connection closed | unreachable      | lost          | in doubt             |
| whatever else the driver raises                   | unreachable      | lost          | in doubt             |
| 25006, 53100 (no room on the volume)              | -                | not writable  | not writable         |
| 40001, 40P01, a stale plan                        | -                | aborted       | aborted              |
| 57014, by the statement timeout                   | -                | too slow      | in doubt             |
| 57014, by somebody's request                      | -                | aborted       | in doubt             |
| HF001, HF002 (idempotency_claim)                  | -                | key in flight, key known | -         |
| HF003 (idempotency_record)                        | -                | -             | aborted              |
| class 23                                          | -                | constraint    | constraint           |
| any other answer; what the driver refuses to send | permanent        | permanent     | permanent            |

Unreachable, lost, not writable and aborted are TransientErrors: nothing was applied, so the whole
unit of work may run again. An ERROR in answer to COMMIT means that the server rolled back; only
where no answer came, the session was ended (FATAL), or the statement was cancelled, which may hit
what follows COMMIT, is the outcome in doubt; and where a name is not found, which is no COMMIT's.
"""  # noqa: E501 - a table

import asyncio
import socket
import ssl
from enum import Enum, auto

from asyncpg import InterfaceError, PostgresError
from asyncpg.exceptions import (
    ClientConfigurationError,
    InvalidCachedStatementError,
    OutdatedSchemaCacheError,
    PostgresLogMessage,
)

from service.errors import (
    CommitInDoubt,
    ConnectionLost,
    ConstraintViolated,
    DatabaseError,
    DatabaseFailure,
    EndpointUnreachable,
    KeyInFlight,
    NotWritable,
    StatementTimeout,
    TransactionAborted,
    TransientError,
)

QUERY_CANCELED = "57014"
STATEMENT_COMPLETION_UNKNOWN = "40003"
SESSION_ENDED = {
    "57P01": "admin-shutdown",
    "57P02": "crash-shutdown",
    "57P03": "starting-up",
    "53300": "too-many-connections",
}
LOGIN_MAY_WORK_LATER = {**SESSION_ENDED, "28P01": "wrong-password"}
CONSTRAINTS = {
    "23001": "restrict",
    "23502": "not-null",
    "23503": "foreign-key",
    "23505": "unique",
    "23514": "check",
    "23P01": "exclusion",
}
STALE_PLAN = "stale-plan"  # the schema has changed since a statement was prepared
DEADLINE = "deadline"
DRIVER_FAULT = "driver-fault"  # the driver raised what it never should, on an open session
INNOCENT = frozenset(
    {DEADLINE, DRIVER_FAULT}
)  # kinds of losses that tell nothing of other sessions
# syncrep.c, PostgreSQL 17: the WARNINGs of a COMMIT that stopped waiting for its standby both say
# "...the wait for synchronous replication..." and carry this detail. Not translated, as the
# servers' lc_messages is C.
_SYNC_WAIT = "synchronous replication"
_LOCAL_DETAIL = "already committed locally"
_BY_REQUEST = "due to user request"  # postgres.c, PostgreSQL 17


class DeadlinePassed(TimeoutError):  # noqa: N818 - as in service.errors
    """The unit of work ran out of time in the middle of an exchange.

    That says little about the endpoint: an overloaded service is late as well.
    """


CERTIFICATE_EXPIRED = "certificate-expired"  # its own, or that of the CA it is verified with
CERTIFICATE_REFUSED = "certificate-refused"  # of another CA, or for another name
HAS_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
LOST = "connection-lost"
LOSSES: tuple[tuple[type | tuple[type, ...], str], ...] = (  # the first that fits
    (DeadlinePassed, DEADLINE),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (socket.gaierror, "unresolved"),
    ((OSError, PostgresError, InterfaceError), LOST),
)


class KeyKnown(DatabaseError):  # noqa: N818 - as in service.errors
    """An idempotency key has a stored result: an answer, which never leaves this package."""


ANSWERS: dict[str, tuple[type[DatabaseError], str]] = {
    "25006": (NotWritable, "read-only"),
    "53100": (NotWritable, "disk-full"),
    "40001": (TransactionAborted, "serialization"),
    "40P01": (TransactionAborted, "deadlock"),
    # An earlier statement's failure was caught, and the block went on.
    "25P02": (DatabaseFailure, "swallowed-failure"),
    # Raised by idempotency_claim (alembic/versions/0004).
    "HF001": (KeyInFlight, "key-in-flight"),
    "HF002": (KeyKnown, "key-known"),
    # By idempotency_record (0013).
    "HF003": (TransactionAborted, "key-taken"),
}


# A statement that is not there, or needs what is not. Once COMMIT has run it is the position's: a
# pooler may prepare that anew behind it, and a function may be gone since it was prepared.
OF_NAMES = frozenset({"26000", "42501", "42883", "42P01", "42P05"})

# Whose messages quote names of the schema and nothing else: the operator needs to know which.
OF_THE_SCHEMA = frozenset({"3D000", "42501", "42703", "42883", "42P01"})


class Phase(Enum):
    """How far a unit of work had come when something failed."""

    CONNECT = auto()  # no session yet
    WORK = auto()  # statements, and no COMMIT so far
    COMMIT = auto()  # COMMIT was handed to the socket


def is_transient(error: BaseException) -> bool:
    """Say whether nothing was applied and the same unit of work may run again."""
    return isinstance(error, TransientError)


def is_of_names(error: DatabaseError) -> bool:
    """Say whether a statement failed for what it names, and not for what it does."""
    cause = error.__cause__
    return isinstance(cause, PostgresError) and cause.sqlstate in OF_NAMES


def is_local_commit(message: PostgresLogMessage) -> bool:
    """Say whether a notice reports a commit that no standby has confirmed."""
    text = f"{message.message} {message.detail}"
    return _SYNC_WAIT in text or _LOCAL_DETAIL in text


def cancelled_from_outside() -> bool:
    """Say whether a CancelledError that was caught is this task's, and not one of the driver's."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def translate(error: BaseException, phase: Phase, *, closed: bool = False) -> DatabaseError:
    """Return what a driver's error means in `phase`; `closed`: the connection is gone.

    The caller raises it `from` the driver's error. Its own message goes into logs, so it has none
    of the driver's: those quote parameters, and rows ("Key (email)=(...) already exists").
    """
    if phase is Phase.CONNECT:
        return _while_connecting(error)
    if _ends_session(error, closed=closed):
        kind = _kind_of_loss(error, closed=closed)
        if phase is Phase.COMMIT:
            return CommitInDoubt(f"The connection ended during COMMIT: {_name(error)}", kind=kind)
        return ConnectionLost(f"The connection ended: {_name(error)}", kind=kind)
    if isinstance(error, PostgresError):
        return _answered(error, phase)
    if isinstance(error, OutdatedSchemaCacheError):
        return TransactionAborted(_name(error), kind=STALE_PLAN)
    return DatabaseFailure(_name(error), kind="permanent")


def _while_connecting(error: BaseException) -> DatabaseError:
    reachable_but_refused = isinstance(error, PostgresError) and not (
        error.sqlstate in LOGIN_MAY_WORK_LATER or error.sqlstate.startswith("08")
    )
    if reachable_but_refused or isinstance(error, ClientConfigurationError):
        return DatabaseFailure(
            f"The database refused the login: {_name(error)}", kind="login-refused"
        )
    return EndpointUnreachable(f"Connecting failed: {_name(error)}", kind=_kind_of_loss(error))


def _ends_session(error: BaseException, *, closed: bool) -> bool:
    """Say whether the session is lost: also when the driver raised what nobody can explain.

    Only the server's answers, and what the driver refuses before it sends anything
    (InterfaceError, a stale type), leave a session as it was.
    """
    if isinstance(error, PostgresError):
        return (
            error.severity_en in {"FATAL", "PANIC"}
            or error.sqlstate in SESSION_ENDED
            or error.sqlstate == STATEMENT_COMPLETION_UNKNOWN
            or error.sqlstate.startswith("08")
        )
    refused = isinstance(error, InterfaceError | OutdatedSchemaCacheError)
    return closed or not refused


def _kind_of_loss(error: BaseException, *, closed: bool = False) -> str:
    """Name a loss for metrics; a server's last words before it hung up are the error's cause."""
    for each in (error, error.__cause__):
        if isinstance(each, PostgresError) and each.sqlstate in LOGIN_MAY_WORK_LATER:
            return LOGIN_MAY_WORK_LATER[each.sqlstate]
        if isinstance(each, ssl.SSLCertVerificationError):
            expired = each.verify_code == HAS_EXPIRED
            return CERTIFICATE_EXPIRED if expired else CERTIFICATE_REFUSED
    for types, kind in LOSSES:
        if isinstance(error, types):
            return kind
    return LOST if closed else DRIVER_FAULT


def _answered(error: PostgresError, phase: Phase) -> DatabaseError:
    """Classify an ERROR: the server is there, and has rolled the transaction back."""
    state, message = error.sqlstate, _name(error)
    if state in CONSTRAINTS:
        constraint = error.constraint_name or ""
        sentence = f"{message}: {constraint}"
        return ConstraintViolated(sentence, kind=CONSTRAINTS[state], constraint=constraint)
    if state == QUERY_CANCELED:
        return _cancelled(error, phase)
    if isinstance(error, InvalidCachedStatementError):
        return TransactionAborted(message, kind=STALE_PLAN)
    if state in ANSWERS:
        meaning, kind = ANSWERS[state]
        return meaning(message, kind=kind)
    return DatabaseFailure(message, kind="permanent")


def _cancelled(error: PostgresError, phase: Phase) -> DatabaseError:
    message = _name(error)
    if phase is Phase.COMMIT:
        return CommitInDoubt(f"Cancelled at COMMIT: {message}", kind="cancelled")
    if _BY_REQUEST in str(error):
        # pg_auto_failover's keeper cancels the backends that wait for a standby which is lost; one
        # that has just stopped waiting is hit at its next statement.
        return TransactionAborted(message, kind="cancelled")
    return StatementTimeout(message, kind="statement-timeout")


def _name(error: BaseException) -> str:
    """Say what a driver's error was, and nothing that it was about."""
    if isinstance(error, PostgresError):
        words = error.args[0] if error.sqlstate in OF_THE_SCHEMA else type(error).__name__
        return f"{error.sqlstate} {words}"
    words = str(error) if isinstance(error, OSError) else ""  # its own name an address at most
    return words or type(error).__name__
