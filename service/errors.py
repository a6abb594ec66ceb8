"""Everything that can go wrong on purpose, in one tree; no driver is imported here.

HoldfastError
├── RequestError                 the request is at fault; the client can mend it
│   ├── Unauthenticated
│   ├── Forbidden
│   ├── NotFound
│   ├── EmailInUse
│   ├── PreconditionFailed
│   ├── BadPrecondition
│   ├── BadCursor
│   ├── BadTimeout
│   ├── BadIdempotencyKey
│   ├── KeyReused
│   └── BadConsistencyToken
└── DatabaseError                the database, or the way to it
    ├── TransientError           the same unit of work may run again
    │   ├── EndpointUnreachable  connecting was refused, reset or timed out; 57P03, 53300
    │   ├── PoolExhausted        every connection was busy for too long
    │   ├── NotWritable          25006: this node is not the primary, or not yet
    │   ├── TransactionAborted   40001, 40P01, a plan made stale by a migration
    │   ├── ConnectionLost       the session ended before COMMIT was sent
    │   ├── CommitUnresolved     it ended after, and the idempotency key will tell
    │   └── BoundedError         waited for no longer than its own patience, then told as itself
    │       ├── KeyInFlight      another request with the same key is being served
    │       └── TokenAhead       the primary has not reached the consistency token
    │           └── HistoryChanged  and never will: the database was restored since
    ├── CommitInDoubt            the session ended after COMMIT was sent
    ├── Overloaded               more units of work are held than may be
    ├── Unavailable              the deadline passed while waiting for one of the above to mend
    ├── StatementTimeout         57014: one statement took longer than it may
    ├── ConstraintViolated       a unique, foreign key, check or not-null constraint
    └── DatabaseFailure          anything else: permanent

`status`, `problem`, `title` and `detail` are what an HTTP client is told: the status code, the
stable name in the problem's type, and what to do about it. `kind` is the label of the failure in
metrics and logs.
"""

# ruff: noqa: N818 - the names say what happened; every one of them is an error

from typing import ClassVar

__all__ = [
    "BadConsistencyToken",
    "BadCursor",
    "BadIdempotencyKey",
    "BadPrecondition",
    "BadTimeout",
    "BoundedError",
    "CommitInDoubt",
    "CommitUnresolved",
    "ConnectionLost",
    "ConstraintViolated",
    "DatabaseError",
    "DatabaseFailure",
    "EmailInUse",
    "EndpointUnreachable",
    "Forbidden",
    "HistoryChanged",
    "HoldfastError",
    "KeyInFlight",
    "KeyReused",
    "NotFound",
    "NotWritable",
    "Overloaded",
    "PoolExhausted",
    "PreconditionFailed",
    "RequestError",
    "StatementTimeout",
    "TokenAhead",
    "TransactionAborted",
    "TransientError",
    "Unauthenticated",
    "Unavailable",
]


class HoldfastError(Exception):
    """The root. Raised as itself never; its message is for people."""

    status: ClassVar[int] = 500
    problem: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong inside the service"
    # What the client is told. None: the message itself, which then names no host and no statement.
    detail: ClassVar[str | None] = "It was logged under this request's id."
    retry_after: ClassVar[int | None] = None  # seconds, for the header of that name


class RequestError(HoldfastError):
    """The request cannot be served as it is; its message tells the client what to change."""

    status = 400
    problem = "bad-request"
    title = "The request cannot be served as it is"
    detail = None


class Unauthenticated(RequestError):
    """Who asks has to be known, and is not."""

    status = 401
    problem = "unauthenticated"
    title = "The request needs a token"


class Forbidden(RequestError):
    """Who asks is known, and may not."""

    status = 403
    problem = "forbidden"
    title = "The token does not allow this"


class NotFound(RequestError):
    """The thing asked for does not exist."""

    status = 404
    problem = "not-found"
    title = "No such resource"


class EmailInUse(RequestError):
    """Another user has this email address; addresses are compared without case."""

    status = 409
    problem = "email-in-use"
    title = "The email address is in use"


class PreconditionFailed(RequestError):
    """The thing is there, in none of the versions that the request is meant for."""

    status = 412
    problem = "precondition-failed"
    title = "The resource is in another version"


class BadPrecondition(RequestError):
    """A header that should have entity tags has something else."""

    problem = "bad-precondition"
    title = "The precondition cannot be used"


class BadCursor(RequestError):
    """The cursor was not made by this service, or not for this order."""

    status = 400
    problem = "bad-cursor"
    title = "The cursor cannot be used"


class BadTimeout(RequestError):
    """The client's own bound for the request is not a number of seconds."""

    problem = "bad-request-timeout"
    title = "The request's timeout cannot be used"


class BadIdempotencyKey(RequestError):
    """The idempotency key is malformed."""

    problem = "bad-idempotency-key"
    title = "The idempotency key cannot be used"


class KeyReused(RequestError):
    """The idempotency key was used before, for a different request."""

    status = 422
    problem = "idempotency-key-reused"
    title = "The idempotency key belongs to a different request"


class BadConsistencyToken(RequestError):
    """The consistency token was not made by this service."""

    problem = "bad-consistency-token"
    title = "The consistency token cannot be used"


class DatabaseError(HoldfastError):
    """The database, or the way to it, failed; `kind` says how, for metrics and logs."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class TransientError(DatabaseError):
    """A passing failure: the same unit of work may run again on a fresh connection.

    Nothing was applied by the attempt that raised it, save by a CommitUnresolved.
    """

    status = 503
    problem = "unavailable"
    title = "The database cannot be reached just now"
    detail = "Nothing was applied. Send the request again."
    retry_after: ClassVar[int | None] = 1


class EndpointUnreachable(TransientError):
    """No session could be opened; nothing was sent."""


class PoolExhausted(TransientError):
    """No connection of the pool became free in time; nothing was sent."""


class NotWritable(TransientError):
    """The node behind the write endpoint takes no writes: it is no primary, or not yet."""


class TransactionAborted(TransientError):
    """The server rolled the transaction back and would accept it again."""


class ConnectionLost(TransientError):
    """The session ended before COMMIT was sent, so the server rolled back."""


class CommitUnresolved(TransientError):
    """COMMIT's answer was lost; the next attempt asks the idempotency key what became of it."""


class BoundedError(TransientError):
    """A passing failure that is waited for only so long, and then told to the client as itself."""


class KeyInFlight(BoundedError):
    """Another request with the same idempotency key is being served."""

    status = 409
    problem = "idempotency-key-in-flight"
    title = "A request with this idempotency key is still being served"
    detail = "This request changed nothing. Send it again later, with the same key."
    retry_after = 1


class TokenAhead(BoundedError):
    """The node behind the write endpoint has not reached the state of the consistency token.

    `certain`: no passing state of the cluster explains it, so that waiting would be of no use.
    """

    status = 400
    problem = "consistency-token-ahead"
    title = "The consistency token is ahead of the database"
    detail = (
        "The database has not reached the state that this token stands for: it was altered, or "
        "made by another database. Send the token of the last write as it came, or none."
    )

    retry_after = None

    def __init__(self, message: str, *, kind: str, certain: bool = False) -> None:
        super().__init__(message, kind=kind)
        self.certain = certain


class HistoryChanged(TokenAhead):
    """The consistency token is of another history: what was written there may be gone."""

    status = 409
    problem = "consistency-token-of-another-history"
    title = "The consistency token is of another history of the database"
    detail = (
        "The database was restored from a backup since this token was given, or is another one. "
        "What was written before may be gone, and this request changed nothing. Read again "
        "without the token, and decide anew."
    )


class CommitInDoubt(DatabaseError):
    """COMMIT was sent and its answer never came: applied or not, nobody can say here."""

    status = 503
    problem = "commit-in-doubt"
    title = "The write may or may not have been applied"
    detail = (
        "The connection was lost while the write was being committed, and the database could not "
        "be asked since. Send the request again with the same Idempotency-Key, which is in this "
        "response's headers: it will be applied once in all."
    )
    retry_after = 1


class Overloaded(DatabaseError):
    """As many units of work are held as may be; this one was refused before it began."""

    status = 503
    problem = "overloaded"
    title = "Too many requests are waiting for the database"
    detail = "Nothing was applied. Send the request again later."
    retry_after = 2


class Unavailable(DatabaseError):
    """The deadline passed before the database could be reached again; nothing was applied."""

    status = 503
    problem = "unavailable"
    title = "The database cannot be reached just now"
    detail = "The request was held and tried again, until it had to end. Nothing was applied."
    retry_after = 2


class StatementTimeout(DatabaseError):
    """The server cancelled a statement that ran too long; nothing was applied."""

    status = 503
    problem = "unavailable"
    title = "The database took too long to answer"
    detail = "Nothing was applied. Send the request again later."
    retry_after = 5


class ConstraintViolated(DatabaseError):
    """A constraint refused the write; the slice that knows the constraint says what it means."""

    def __init__(self, message: str, *, kind: str, constraint: str) -> None:
        super().__init__(message, kind=kind)
        self.constraint = constraint


class DatabaseFailure(DatabaseError):
    """The database refused for a reason that another attempt does not change."""
