"""service.database.failures: the table of its docstring, row by row."""

import asyncio
import socket
import ssl
import struct

import asyncpg
import pytest
from asyncpg.exceptions import (
    ClientConfigurationError,
    InterfaceError,
    InternalClientError,
    OutdatedSchemaCacheError,
    PostgresLogMessage,
)

from service import errors
from service.database.failures import (
    DRIVER_FAULT,
    INNOCENT,
    DeadlinePassed,
    Phase,
    is_local_commit,
    is_transient,
    translate,
)


def answered(state: str, severity: str = "ERROR", **fields: str) -> asyncpg.PostgresError:
    """Return what asyncpg raises for a server's message."""
    return asyncpg.PostgresError.new({"C": state, "M": "message", "V": severity, **fields})


def hung_up(state: str) -> asyncpg.PostgresError:
    """Return what asyncpg raises when a FATAL message came before the connection ended."""
    error = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    error.__cause__ = answered(state, "FATAL")
    return error


LOST = [
    pytest.param(hung_up("57P01"), "admin-shutdown", id="57P01"),
    pytest.param(hung_up("57P02"), "crash-shutdown", id="57P02"),
    pytest.param(answered("57P01", "FATAL"), "admin-shutdown", id="57P01-direct"),
    pytest.param(answered("25P03", "FATAL"), "connection-lost", id="any-fatal"),
    pytest.param(answered("XX000", "PANIC"), "connection-lost", id="panic"),
    pytest.param(answered("08006"), "connection-lost", id="08006"),
    pytest.param(answered("40003"), "connection-lost", id="40003"),
    pytest.param(ConnectionResetError(), "connection-lost", id="reset"),
    pytest.param(BrokenPipeError(), "connection-lost", id="broken-pipe"),
    pytest.param(TimeoutError(), "timeout", id="timeout"),
    pytest.param(DeadlinePassed(), "deadline", id="deadline"),
]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(10, "certificate-expired"), (20, "certificate-refused"), (64, "certificate-refused")],
)
def test_a_certificate_is_no_failover(code: int, kind: str) -> None:
    """Nothing was sent, so it is tried again; what it is called says what to look at."""
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code = code
    failure = translate(error, Phase.CONNECT)
    assert isinstance(failure, errors.EndpointUnreachable)
    assert failure.kind == kind


@pytest.mark.parametrize(("error", "kind"), LOST)
def test_loss_before_commit_may_be_retried(error: Exception, kind: str) -> None:
    """Whatever ends the session before COMMIT was sent has rolled back."""
    failure = translate(error, Phase.WORK)

    assert type(failure) is errors.ConnectionLost
    assert failure.kind == kind
    assert is_transient(failure)


@pytest.mark.parametrize(("error", "kind"), LOST)
def test_loss_during_commit_is_in_doubt(error: Exception, kind: str) -> None:
    """The same once COMMIT was sent is in doubt, and must not be retried."""
    failure = translate(error, Phase.COMMIT)

    assert type(failure) is errors.CommitInDoubt
    assert failure.kind == kind
    assert not is_transient(failure)


def test_a_statement_cancelled_by_request_runs_again() -> None:
    """Nobody said that it took too long: the keeper aims at COMMITs, and may hit what follows."""
    message = "canceling statement due to user request"
    failure = translate(answered("57014", M=message), Phase.WORK)

    assert type(failure) is errors.TransactionAborted
    assert failure.kind == "cancelled"


def test_a_cancelled_statement_is_in_doubt_at_commit_alone() -> None:
    """What follows COMMIT in its message may be what was cancelled."""
    assert type(translate(answered("57014"), Phase.WORK)) is errors.StatementTimeout
    assert type(translate(answered("57014"), Phase.COMMIT)) is errors.CommitInDoubt


@pytest.mark.parametrize("phase", [Phase.WORK, Phase.COMMIT])
@pytest.mark.parametrize(
    ("error", "expected", "kind"),
    [
        (answered("25006"), errors.NotWritable, "read-only"),
        (answered("53100"), errors.NotWritable, "disk-full"),
        (answered("40001"), errors.TransactionAborted, "serialization"),
        (answered("40P01"), errors.TransactionAborted, "deadlock"),
        (answered("23001"), errors.ConstraintViolated, "restrict"),
        (answered("23502"), errors.ConstraintViolated, "not-null"),
        (answered("23503"), errors.ConstraintViolated, "foreign-key"),
        (answered("23505", n="users_email_key"), errors.ConstraintViolated, "unique"),
        (answered("23514", n="positive"), errors.ConstraintViolated, "check"),
        (answered("23P01"), errors.ConstraintViolated, "exclusion"),
        (answered("42P01"), errors.DatabaseFailure, "permanent"),
        (answered("XX000"), errors.DatabaseFailure, "permanent"),
        (answered("ZZ999"), errors.DatabaseFailure, "permanent"),
    ],
)
def test_an_answer_is_never_in_doubt(
    phase: Phase, error: Exception, expected: type[errors.DatabaseError], kind: str
) -> None:
    """An ERROR says that the server is there and rolled back, in answer to COMMIT as well."""
    failure = translate(error, phase)

    assert (type(failure), failure.kind) == (expected, kind)


def test_constraint_is_named() -> None:
    """The slice that knows the constraint can tell which it was."""
    failure = translate(answered("23505", n="users_email_key"), Phase.WORK)

    assert isinstance(failure, errors.ConstraintViolated)
    assert failure.constraint == "users_email_key"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "connection-lost"),
        (TimeoutError(), "timeout"),
        (socket.gaierror("name unknown"), "unresolved"),
        (OSError("no route to host"), "connection-lost"),
        (answered("57P03", "FATAL"), "starting-up"),
        (answered("53300", "FATAL"), "too-many-connections"),
        (answered("57P01", "FATAL"), "admin-shutdown"),
        (hung_up("57P03"), "starting-up"),
        (answered("08006", "FATAL"), "connection-lost"),
        # The service, the file and the server do not take a new password up at the same moment.
        (answered("28P01", "FATAL"), "wrong-password"),
    ],
)
def test_failed_connecting_may_be_retried(error: Exception, kind: str) -> None:
    """While connecting nothing was sent, whatever it was that failed."""
    failure = translate(error, Phase.CONNECT)

    assert (type(failure), failure.kind) == (errors.EndpointUnreachable, kind)
    assert is_transient(failure)


@pytest.mark.parametrize(
    "error",
    [
        answered("28000", "FATAL"),
        answered("3D000", "FATAL"),
        ClientConfigurationError("no such option"),
    ],
)
def test_refused_login_is_permanent(error: Exception) -> None:
    """What pg_hba.conf refuses, and a database that is not there, do not get better by waiting."""
    failure = translate(error, Phase.CONNECT)

    assert (type(failure), failure.kind) == (errors.DatabaseFailure, "login-refused")


def test_stale_plan_may_be_retried() -> None:
    """A migration that changes a table under a cached plan costs a retry, not an error."""
    stale = answered("0A000", R="RevalidateCachedQuery")

    assert translate(stale, Phase.WORK).kind == "stale-plan"
    assert is_transient(translate(stale, Phase.WORK))
    assert is_transient(translate(OutdatedSchemaCacheError("type changed"), Phase.WORK))


def test_what_the_driver_refuses_depends_on_the_connection() -> None:
    """An InterfaceError means a loss where the connection is gone, and a mistake where not."""
    error = InterfaceError("is closed")
    assert type(translate(error, Phase.WORK, closed=True)) is errors.ConnectionLost
    assert type(translate(error, Phase.COMMIT, closed=True)) is errors.CommitInDoubt
    assert type(translate(error, Phase.WORK, closed=False)) is errors.DatabaseFailure


@pytest.mark.parametrize(
    "error",
    [
        InternalClientError("confused"),
        AttributeError("bind_execute"),
        struct.error("short"),
        ValueError("odd"),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_the_driver_is_a_loss(error: BaseException) -> None:
    """Whatever it raises: nobody knows what was sent. It tells nothing of other sessions."""
    for phase, meaning in (
        (Phase.CONNECT, errors.EndpointUnreachable),
        (Phase.WORK, errors.ConnectionLost),
        (Phase.COMMIT, errors.CommitInDoubt),
    ):
        failure = translate(error, phase)
        assert (type(failure), failure.kind) == (meaning, DRIVER_FAULT)
    assert translate(error, Phase.WORK, closed=True).kind == "connection-lost"
    assert DRIVER_FAULT in INNOCENT


@pytest.mark.parametrize(
    "fields",
    [
        {"M": "canceling wait for synchronous replication due to user request"},
        {
            "M": "canceling the wait for synchronous replication and terminating connection due "
            "to administrator command",
            "C": "57P01",
        },
        {"M": "other words", "D": "The transaction has already committed locally, but ..."},
    ],
)
def test_local_commit_is_recognised(fields: dict[str, str]) -> None:
    """The warnings of a COMMIT that stopped waiting for its standby are known."""
    message = PostgresLogMessage.new({"V": "WARNING", "C": "01000", **fields})

    assert is_local_commit(message)


def test_other_warnings_are_no_local_commit() -> None:
    """Any other warning during COMMIT changes nothing."""
    message = PostgresLogMessage.new(
        {"V": "WARNING", "C": "25P01", "M": "there is no transaction in progress"}
    )

    assert not is_local_commit(message)


SECRET = "hunter2"
TALKATIVE = [
    *(
        answered(state, severity, M=f"no {SECRET}", D=f"Key (email)=({SECRET})", H=SECRET)
        for state in ("23505", "22P02", "25006", "40001", "42601", "57014", "57P01", "HF001")
        for severity in ("ERROR", "FATAL")
    ),
    answered("0A000", R="RevalidateCachedQuery", M=SECRET),
    asyncpg.DataError(f"invalid input for query argument $1: {SECRET!r}"),
    InternalClientError(SECRET),
    OutdatedSchemaCacheError(SECRET),
    ClientConfigurationError(SECRET),
]


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("error", TALKATIVE, ids=repr)
def test_no_word_of_the_driver_is_passed_on(error: Exception, phase: Phase, closed: bool) -> None:
    """Failures go into logs; what a driver says has parameters and rows in it."""
    assert SECRET not in str(translate(error, phase, closed=closed))


def test_what_the_system_says_is_passed_on() -> None:
    """An address that refused is what an operator needs."""
    refused = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 5432)")
    assert "5432" in str(translate(refused, Phase.CONNECT))


def test_a_constraint_is_named_in_the_message() -> None:
    """By its name, and by what the server calls the failure."""
    failure = translate(answered("23505", n="users_email_key"), Phase.WORK)
    assert str(failure) == "23505 UniqueViolationError: users_email_key"


@pytest.mark.parametrize("state", ["3D000", "42501", "42703", "42883", "42P01"])
def test_what_the_schema_lacks_is_named(state: str) -> None:
    """These messages quote the schema alone: whoever operates it reads what is missing."""
    failure = translate(answered(state, M="function f(pg_lsn) does not exist"), Phase.WORK)

    assert str(failure) == f"{state} function f(pg_lsn) does not exist"
