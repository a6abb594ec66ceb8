"""Read your writes: a token says how far the database was after a write, a read waits for it.

A token is a history, a timeline and a position in the WAL, read from the primary after COMMIT. (One
read before could be reached by a replica on which the commit is not visible yet.) A restore from a
backup begins another history: what the token stands for may be gone, and no node has reached it.
Within its history these have:

- a standby that has replayed the position. It cannot have done so on a branch of history that was
  given up: pg_auto_failover rewinds a node before it follows the new primary;
- a primary of a later timeline, wherever its position is: it was promoted with every commit that
  a standby had confirmed, if not with every position that the old primary had reached;
- a primary of the same timeline, if it is as far. A primary of an earlier timeline is one that
  does not know yet that it was replaced.

PostgreSQL 17 has no command to wait for a position: a standby is asked again and again.

That a reader has the state is true of a server from its start to its end: one that starts again may
be on older data. A session ends with its server, so what is read on it comes from the same. Through
a pooler it does not: each statement gets a session of the server that is there then. So there the
question and the reads are one transaction, which is one server's. Whether there is a pooler the
answer tells: the number of its process is not the one that was told at the login.
"""

import asyncio
import binascii
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Self

from service.database.commit import NO_TIMELINE, Position, position_of
from service.database.deadline import Deadline
from service.database.link import Link
from service.errors import BadConsistencyToken, HistoryChanged, TokenAhead

# Version, timeline, position; and the history, which those of the first one do not have: tokens
# were given out before histories had ids, and instances of both versions read them.
_LAYOUTS = {1: struct.Struct(">BIQ"), 2: struct.Struct(">BIQI")}
_SUM = struct.Struct(">I")  # CRC-32 of the above: finds accidents, guards no secret
# Seconds between two questions to a standby: the first and, doubling, the longest.
POLL_FIRST = 0.002
POLL_MOST = 0.02
# Seconds during which a position that was waited for in vain is not waited for again.
MEMORY = 1.0

# On any node. One that is promoted between two of the functions has a timeline, and is as far.
WHERE = """
    SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                 ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint AS lsn,
           CASE WHEN NOT pg_is_in_recovery()
                THEN pg_walfile_name(pg_current_wal_flush_lsn()) END AS segment,
           (SELECT id FROM database_history) AS history,
           pg_backend_pid() AS pid
"""


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """A state of the database: everything that was committed up to a position."""

    position: Position

    def encode(self) -> str:
        """Return the token as clients get it: opaque, safe in headers and cookies."""
        here = self.position
        history = (here.history,) if here.history else ()
        version = 1 + len(history)
        body = _LAYOUTS[version].pack(version, here.timeline, here.lsn, *history)
        return urlsafe_b64encode(body + _SUM.pack(zlib.crc32(body))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token that `encode` wrote. Raises BadConsistencyToken."""
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            body = raw[: -_SUM.size]
            _, timeline, lsn, *history = _LAYOUTS[raw[0]].unpack(body)
        except (UnicodeEncodeError, binascii.Error, struct.error, LookupError):
            raise _bad() from None
        token = cls(Position(timeline, lsn, *history))
        # The sum is right, and base64 ignored nothing: only what encode() writes is a token.
        if lsn >= 2**63 or token.encode() != text:
            raise _bad()
        return token


class Readers:
    """Waits until the reader at hand has reached a token; remembers that readers are behind."""

    def __init__(self, bound: float) -> None:
        self._bound = bound  # seconds that one read waits at most
        self._missed = 0  # a position that was waited for in vain
        self._memory = Deadline(float("-inf"))  # how long that counts

    async def reach(self, link: Link, token: ConsistencyToken, deadline: Deadline) -> bool:
        """Say whether the reader has reached the token, after waiting for a standby if need be.

        Half of the time that is left is kept for the primary, which answers otherwise. A primary
        among the readers is not waited for: it has the state of the token, or never will.
        Through a pooler a transaction begins, which is still open when this has said that it has.
        """
        if link.session.pooled:
            link.begin_read_ahead()
        reached = await self._reach(link, token, deadline)
        if reached and link.session.pooled and not link.pinned:  # known only now
            return await self.reach(link, token, deadline)
        if not reached and link.session.pooled:
            await link.roll_back()
        return reached

    async def _reach(self, link: Link, token: ConsistencyToken, deadline: Deadline) -> bool:
        wanted, pause = token.position, POLL_FIRST
        give_up = Deadline.after(min(self._bound, deadline.remaining() / 2))
        while not _includes(there := await _where(link), wanted):
            left = give_up.remaining()
            if there.timeline != NO_TIMELINE or self._is_behind(there, wanted):
                return False
            if left <= 0:
                self._missed, self._memory = wanted.lsn, Deadline.after(MEMORY)
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, POLL_MOST)
        return True

    def _is_behind(self, there: Position, wanted: Position) -> bool:
        """Say whether a reader at `there` was just now waited for in vain, for no more than this.

        So a forged token, which is far ahead, neither makes others wait in vain nor hides a lag.
        """
        return self._memory.remaining() > 0 and there.lsn < self._missed <= wanted.lsn


async def confirm(link: Link, token: ConsistencyToken) -> None:
    """Make sure that the primary behind `link` has reached the token.

    Raises HistoryChanged or else TokenAhead.
    """
    wanted, there = token.position, await _where(link)
    if not _includes(there, wanted):
        _same_history(there, wanted)
        certain = there.timeline == wanted.timeline
        raise TokenAhead(_told(there, wanted), kind="token-ahead", certain=certain)


async def confirm_history(link: Link, token: ConsistencyToken) -> None:
    """Make sure that the primary is in the token's history. Raises HistoryChanged."""
    _same_history(await _where(link), token.position)


async def _where(link: Link) -> Position:
    row = await link.fetchrow(WHERE)
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    link.session.pooled = row["pid"] != link.session.server_pid
    return position_of(row["segment"], row["lsn"], row["history"])


def _includes(there: Position, wanted: Position) -> bool:
    """Say whether a node that is at `there` has the state of `wanted`: see above."""
    if there.history != wanted.history:
        return False
    if there.timeline in {NO_TIMELINE, wanted.timeline}:
        return there.lsn >= wanted.lsn
    return there.timeline > wanted.timeline


def _same_history(there: Position, wanted: Position) -> None:
    """Raise HistoryChanged when the two are of different histories.

    A primary of an earlier timeline may not know yet that it was replaced, and what began since.
    """
    if there.history != wanted.history:
        certain = there.timeline >= wanted.timeline
        raise HistoryChanged(_told(there, wanted), kind="history-changed", certain=certain)


def _told(there: Position, wanted: Position) -> str:
    return f"The token stands for {wanted}, the primary is at {there}"


def _bad() -> BadConsistencyToken:
    return BadConsistencyToken(
        "Send `Consistency-Token` as it came with the last write, unchanged, or leave it out."
    )
