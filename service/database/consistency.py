"""Read your writes: a token says how far the database was after a write, a read waits for it.

A token is a timeline and a position in the WAL, read from the primary after COMMIT. (One read
before could be reached by a replica on which the commit is not visible yet.) Who has reached it:

- a standby that has replayed the position. It cannot have done so on a branch of history that was
  given up: pg_auto_failover rewinds a node before it follows the new primary;
- a primary of a later timeline, wherever its position is: it was promoted with every commit that
  a standby had confirmed, if not with every position that the old primary had reached;
- a primary of the same timeline, if it is as far. A primary of an earlier timeline is one that
  does not know yet that it was replaced.

PostgreSQL 17 has no command to wait for a position: a standby is asked again and again.
"""

import asyncio
import binascii
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Self

from service.database.connections import Link, Position
from service.database.deadline import Deadline
from service.errors import BadConsistencyToken, TokenAhead

_LAYOUT = struct.Struct(">BIQ")  # version, timeline, position
_SUM = struct.Struct(">I")  # CRC-32 of the above: finds accidents, guards no secret
_VERSION = 1
# Seconds between two questions to a standby: the first and, doubling, the longest.
POLL_FIRST = 0.002
POLL_MOST = 0.02
# Seconds during which a standby that was waited for in vain is asked once, and not waited for.
MEMORY = 1.0

# NULL on a primary, which has replayed nothing.
REPLAYED = """
    SELECT CASE WHEN pg_is_in_recovery()
                THEN pg_last_wal_replay_lsn() - '0/0'::pg_lsn >= $1::bigint END
"""


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """A state of the database: everything that was committed up to a position."""

    position: Position

    def encode(self) -> str:
        """Return the token as clients get it: opaque, safe in headers and cookies."""
        body = _LAYOUT.pack(_VERSION, self.position.timeline, self.position.lsn)
        return urlsafe_b64encode(body + _SUM.pack(zlib.crc32(body))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the token that `encode` wrote. Raises BadConsistencyToken."""
        size = _LAYOUT.size + _SUM.size
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            body, claimed = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
            version, timeline, lsn = _LAYOUT.unpack(body)
        except (UnicodeEncodeError, binascii.Error, struct.error):
            raise _bad() from None
        token = cls(Position(timeline, lsn))
        whole = len(raw) == size and version == _VERSION and lsn < 2**63
        # Base64 ignores what it does not know: only the text that encode() writes is a token.
        if not whole or claimed != _SUM.pack(zlib.crc32(body)) or token.encode() != text:
            raise _bad()
        return token


class Readers:
    """Waits until the reader at hand has reached a token; remembers that readers are behind."""

    def __init__(self, bound: float) -> None:
        self._bound = bound  # seconds that one read waits at most
        self._behind = Deadline(float("-inf"))

    async def reach(self, link: Link, token: ConsistencyToken, deadline: Deadline) -> bool:
        """Say whether the reader has reached the token, after waiting for a standby if need be.

        Half of the time that is left is kept for the primary, which answers otherwise. A primary
        among the readers is not waited for: it has the state of the token, or never will.
        """
        hopeless = self._behind.remaining() > 0
        bound = 0.0 if hopeless else min(self._bound, deadline.remaining() / 2)
        give_up, pause = Deadline.after(bound), POLL_FIRST
        while not (replayed := await link.fetchval(REPLAYED, token.position.lsn)):
            if replayed is None:
                return _includes(await link.position(), token.position)
            if (left := give_up.remaining()) <= 0:
                if not hopeless:
                    self._behind = Deadline.after(MEMORY)
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, POLL_MOST)
        return True


async def confirm(link: Link, token: ConsistencyToken) -> None:
    """Make sure that the primary behind `link` has reached the token. Raises TokenAhead."""
    wanted, there = token.position, await link.position()
    if _includes(there, wanted):
        return
    message = f"The token stands for {wanted}, the primary is at {there}"
    raise TokenAhead(message, kind="token-ahead", certain=there.timeline == wanted.timeline)


def _includes(there: Position, wanted: Position) -> bool:
    """Say whether a primary that is at `there` has the state of `wanted`: see above."""
    if there.timeline != wanted.timeline:
        return there.timeline > wanted.timeline
    return there.lsn >= wanted.lsn


def _bad() -> BadConsistencyToken:
    return BadConsistencyToken(
        "Send `Consistency-Token` as it came with the last write, unchanged, or leave it out."
    )
