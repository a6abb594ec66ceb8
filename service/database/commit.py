"""How a transaction that writes begins and ends: what is said to the server, and what it tells."""

from dataclasses import dataclass
from uuid import UUID

BEGIN = "BEGIN"
# What COMMIT shares its message with is made by alembic/versions/0009 and 0013: a database without
# it says so here, in a session's first transaction, before anything was done.
BEGIN_COMPLETE = (
    "BEGIN; SELECT 'idempotency_record(bytea, bytea, text, double precision)'::regprocedure, "
    "'commit_position(interval, interval)'::regprocedure, 'settings_written_at()'::regprocedure, "
    "'commit_is_replicated(pg_lsn, interval)'::regprocedure"
)
UNREPLICATED = "BEGIN; SET LOCAL synchronous_commit = local"
# One message, one round trip. All of it is bytes in hexadecimal: nothing to escape. What is set
# ends with the transaction; the audit's trigger reads it (alembic/versions/0006).
CLAIM = (
    "SELECT idempotency_claim('\\x{digest}', "
    "convert_from('\\x{client}', 'UTF8'), convert_from('\\x{request_id}', 'UTF8'))"
)
# The server disarms a statement's timeout before it waits for its standby. One that fired just
# before is noticed only in that wait, and ends it: the commit is then on the primary alone. So
# COMMIT arms none; the client's own bound ends the session instead. `idempotency_record` sees to
# that as well, and its failure keeps COMMIT from being reached.
UNTIMED = "SET LOCAL statement_timeout = 0"
RECORD = (
    "SELECT idempotency_record('\\x{digest}', '\\x{fingerprint}', "
    "convert_from('\\x{result}', 'UTF8'), {lifetime})"
)
# What was flushed survives a crash of the primary; what was only inserted may not. A session reads
# a new synchronous_standby_names at once, but COMMIT waits only when the checkpointer has read it,
# too, and an immediate checkpoint keeps it from that. So for 300 s, PostgreSQL's
# checkpoint_timeout, a standby has to have the position; it is given 100 ms, as the position counts
# what others have written since (docs/decisions/0030).
POSITION = "SELECT commit_position('300 s', '100 ms')"
_TIMELINE_DIGITS = 8  # hexadecimal, at the start of a segment's name
NO_TIMELINE = 0  # a standby's: it has replayed the position on whichever
_FINGERPRINT = 8  # hexadecimal digits of a history's id, which is random: its first four bytes


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the history of a database: a timeline, and a position in its WAL in bytes."""

    timeline: int
    lsn: int
    history: int = 0  # the first bytes of its id; 0 is the one from before they had ids


@dataclass(frozen=True, slots=True)
class Commit:
    """What is known of a COMMIT that was answered."""

    local: bool  # a standby may lack it: the server waited for none, or stopped waiting
    position: Position  # read after it


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a write comes from, for the audit. Empty: nobody said."""

    client: str = ""
    request_id: str = ""


NOBODY = Origin()


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored with a key: what it was used for, and its result."""

    digest: bytes
    fingerprint: bytes
    result: str
    lifetime: float  # seconds

    def statement(self) -> str:
        """Return the statement that stores it."""
        return RECORD.format(
            digest=self.digest.hex(),
            fingerprint=self.fingerprint.hex(),
            result=self.result.encode().hex(),
            lifetime=float(self.lifetime),
        )


def position_of(segment: str | None, lsn: int, history: UUID | str | None = None) -> Position:
    """Return the position in a segment of the WAL (none: a standby), of a history with an id."""
    return Position(
        int(segment[:_TIMELINE_DIGITS], 16) if segment else NO_TIMELINE,
        lsn,
        int(str(history)[:_FINGERPRINT], 16) if history else 0,
    )


def commit_of(said: str, *, local: bool) -> Commit:
    """Return the commit after which the server said `said`, and perhaps that it is local."""
    segment, lsn, alone, *history = said.split(" ")
    return Commit(
        local=local or alone == "t",
        position=position_of(segment, int(lsn), *history),
    )
