"""How a transaction that writes begins and ends: what is said to the server, and what it tells."""

import struct
from dataclasses import dataclass
from uuid import UUID

from service.database.messages import once

# What goes ahead of a statement (service/database/messages.py) brings no row: void is never null.
# Functions are made by alembic/versions/0013 and 0014: a database without them says so when they
# are prepared, in a session's first transaction, before anything was done.
BEGIN = "BEGIN"
BEGIN_AHEAD = once(BEGIN)
LOCALLY = "SET LOCAL synchronous_commit = local"
UNREPLICATED = f"{BEGIN}; {LOCALLY}"
UNREPLICATED_AHEAD = BEGIN_AHEAD + once(LOCALLY)
BEGIN_READ = "BEGIN READ ONLY"
BEGIN_READ_AHEAD = once(BEGIN_READ)
# What is set ends with the transaction; the audit's trigger reads it (alembic/versions/0006).
CLAIM = "SELECT WHERE idempotency_claim($1, $2, $3) IS NULL"
# The server disarms a statement's timeout before it waits for its standby. One that fired just
# before is noticed only in that wait, and ends it: the commit is then on the primary alone. So
# COMMIT arms none; the client's own bound ends the session instead. `idempotency_record` sees to
# that as well, and its failure keeps COMMIT from being reached.
RECORD = "SELECT WHERE idempotency_record($1, $2, $3, $4) IS NULL"
UNTIMED = "SET LOCAL statement_timeout = 0"
UNTIMED_AHEAD = once(UNTIMED)
COMMIT_AHEAD = once("COMMIT")
# What was flushed survives a crash of the primary; what was only inserted may not. A session reads
# a new synchronous_standby_names at once, but COMMIT waits only when the checkpointer has read it,
# too, and an immediate checkpoint keeps it from that. So for 300 s, PostgreSQL's
# checkpoint_timeout, a standby has to have the position; it is given 100 ms, as the position counts
# what others have written since (docs/decisions/0030). What it calls is named here as well, so that
# a lack of it shows when this is prepared, not after a COMMIT.
POSITION = (
    "SELECT position_after_commit('300 s', '100 ms') "
    "WHERE 'public.commit_is_replicated(pg_lsn, interval)'::regprocedure IS NOT NULL "
    "AND 'public.database_history'::regclass IS NOT NULL"
)
ENDINGS = (RECORD, POSITION)  # of a keyed write, to be prepared before it begins
_TIMELINE_DIGITS = 8  # hexadecimal, at the start of a segment's name
NO_TIMELINE = 0  # a standby's: it has replayed the position on whichever
_FLOAT8 = struct.Struct("!d")
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
    asked: bool = False  # it waited for no standby, as was asked


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

    def arguments(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return those of `idempotency_record`, in the binary format."""
        return (
            self.digest,
            self.fingerprint,
            self.result.encode(),
            _FLOAT8.pack(self.lifetime),
        )


def position_of(segment: str | None, lsn: int, history: UUID | str | None = None) -> Position:
    """Return the position in a segment of the WAL (none: a standby), of a history with an id."""
    return Position(
        int(segment[:_TIMELINE_DIGITS], 16) if segment else NO_TIMELINE,
        lsn,
        int(str(history)[:_FINGERPRINT], 16) if history else 0,
    )


def commit_of(said: str, *, local: bool, asked: bool = False) -> Commit:
    """Return the commit after which the server said `said`, and perhaps that it is local.

    `asked`: it did not wait for a standby, which the server does not know any more.
    """
    segment, lsn, alone, *history = said.split(" ")
    return Commit(
        local=local or asked or alone == "t",
        position=position_of(segment, int(lsn), *history),
        asked=asked,
    )
