"""Exactly once: a key, what it was used for and its result, stored in the effect's transaction.

One attempt of a keyed write, in order:

1. BEGIN and `idempotency_claim` (alembic/versions/0013): a lock on the key until the transaction
   ends, so that two attempts never run at a time, also not while the server still works on a
   COMMIT whose client is gone;
2. the effect, whose first statement goes out with them, and is not run if the key is known;
3. the key and the effect's result, COMMIT, and the question how far the primary is then. If the
   answer is lost the next attempt asks the key: known means done, and the stored result is the
   answer; unknown means that nothing was applied, and the effect runs.

A known key is read FOR UPDATE and committed again: that COMMIT waits for the standby as the first
one should have, so a result that only the primary has is not passed off as replicated.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeAlias, TypeVar

from service.database.commit import NOBODY, Commit, Origin, Record
from service.database.connections import WriteConnection
from service.database.consistency import ConsistencyToken, confirm_history
from service.database.failures import KeyKnown
from service.database.link import Link, rolled_back_on_error
from service.database.observer import Observer
from service.database.unit import UnitOfWork
from service.errors import (
    CommitInDoubt,
    DatabaseError,
    KeyInFlight,
    KeyReused,
    TransactionAborted,
)

T = TypeVar("T")

# Seconds that a key made here is kept: longer than any request of its own, and for a client that
# sends it again after an answer in doubt.
OWN_LIFETIME = 3600.0

RECALL = """
    SELECT fingerprint, result FROM idempotency_keys
     WHERE digest = $1 AND expires_at > now()
       FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The identity of one write, whoever sends it."""

    digest: bytes  # of the scope and the key: of one size, and safe in a log
    fingerprint: bytes  # of what the key is used for
    lifetime: float | None = None  # seconds it is remembered; None: the database's setting
    origin: Origin = NOBODY  # of this request; the key's first one had perhaps another
    # What its first answer had, or that of an earlier write: an unknown key is not used in another
    # history, where its own write may have been lost.
    after: ConsistencyToken | None = None
    local: bool = False  # this request's answer need not wait for a standby

    @classmethod
    def of(
        cls,
        key: str,
        *,
        scope: str,
        request: bytes,
        chosen: bool = True,
        client: str = "",
        request_id: str = "",
        after: ConsistencyToken | None = None,
    ) -> Self:
        """Return the key that a client gave to `request`, or that was made for it.

        `scope` is what keys are unique within: equal keys of two scopes are different keys. Who
        sends the request, for the audit, is `client`: it may change, and no part of the key does.
        """
        lifetime = None if chosen else OWN_LIFETIME
        digest = _digest(scope.encode(), key.encode())
        return cls(digest, _digest(request), lifetime, Origin(client, request_id), after)

    def locally(self) -> Self:
        """Return the key for a request whose answer need not wait for a standby."""
        return replace(self, local=True)

    @classmethod
    def made(cls) -> Self:
        """Return a new key, for a write that nobody can send again.

        To be made before the method that `@retry_on_failover` runs: all its attempts share it.
        """
        return cls(secrets.token_bytes(32), b"", OWN_LIFETIME)


class Codec(Protocol[T]):
    """Writes a result down as text, and reads it again."""

    def dump(self, value: T, /) -> str:
        """Return the text to store."""

    def load(self, text: str, /) -> T:
        """Return the result that `dump` wrote, perhaps with an older version of the code."""


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a keyed write returns."""

    value: T
    commit: Commit
    recalled: bool  # the key was known: nothing was applied by this attempt
    own: bool  # an earlier attempt of this very call had sent COMMIT for its effect

    @property
    def replayed(self) -> bool:
        """Whether another call did it before."""
        return self.recalled and not self.own

    @property
    def token(self) -> ConsistencyToken:
        """What a read needs to see this write."""
        return ConsistencyToken(self.commit.position)


Effect: TypeAlias = Callable[[WriteConnection], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class KeyedWrite(Generic[T]):
    """One write with its key, ready to be attempted."""

    key: IdempotencyKey
    codec: Codec[T]
    effect: Effect[T]
    lifetime: float  # seconds, of keys that have none of their own
    observer: Observer

    async def attempt(self, link: Link, unit: UnitOfWork) -> Written[T]:
        """Apply the effect, or return what it did before.

        Raises DatabaseError (HistoryChanged is one), KeyReused, and whatever the effect raises;
        then nothing was applied, save with CommitInDoubt.
        """
        record = None
        async with rolled_back_on_error(link):
            known = False
            try:
                value = await self._apply(link, unit)
            except Exception:
                # Perhaps what the effect made of the claim's: its first statement was not run.
                known = await _is_known(link)
                if not known:
                    raise
            if known:
                value = await self._recall(link)
            else:
                record = self._record(value)
        own = unit.applied
        unit.applied |= not known
        try:
            commit = await observed_commit(link, self.observer, record, resolvable=True)
        except CommitInDoubt:
            raise
        except DatabaseError:
            unit.applied = own
            raise
        unit.resolve()
        return Written(value, commit, recalled=known, own=own)

    async def _apply(self, link: Link, unit: UnitOfWork) -> T:
        """Claim the key and apply the effect. Fails when the claim is refused."""
        await link.claim(self.key.digest, self.key.origin, wait_for_standby=not self.key.local)
        try:
            if unit.claimed:  # by a session that was lost: it may hold the key, or have used it
                await link.claimed()
            if unit.in_doubt is not None:
                unit.resolve()  # unknown, and nobody else works on it: nothing was applied
                self.observer.not_applied()
            if self.key.after is not None:
                await link.claimed()
                await confirm_history(link, self.key.after)
            value = await self.effect(WriteConnection(link))
            await link.claimed()
        finally:
            # Unless it was refused; and of one whose answer was lost nobody knows.
            unit.claimed |= not isinstance(link.refusal, KeyInFlight)
        return value

    def _record(self, value: T) -> Record:
        key = self.key
        lifetime = self.lifetime if key.lifetime is None else key.lifetime
        return Record(key.digest, key.fingerprint, self.codec.dump(value), lifetime)

    async def _recall(self, link: Link) -> T:
        await link.roll_back()
        await link.begin(wait_for_standby=not self.key.local)
        row = await link.fetchrow(RECALL, self.key.digest)
        if row is None:
            raise TransactionAborted("The key expired meanwhile", kind="key-expired")
        if row["fingerprint"] != self.key.fingerprint:
            raise KeyReused(
                "This idempotency key was used for a different request. Use a new key for each "
                "write, and the same key only to repeat one."
            )
        return self.codec.load(row["result"])


async def _is_known(link: Link) -> bool:
    """Say whether the key that `link` claims has a result. Raises KeyInFlight."""
    if link.lost:
        return False
    try:
        await link.claimed()
    except KeyKnown:
        return True
    return False


async def observed_commit(
    link: Link, observer: Observer, record: Record | None = None, *, resolvable: bool = False
) -> Commit:
    """Commit as `link` does, and tell the observer how far it got."""
    observer.commit_sent()
    try:
        return await link.commit(record, resolvable=resolvable)
    except CommitInDoubt:
        raise
    except DatabaseError:
        observer.not_applied()
        raise


def _digest(*parts: bytes) -> bytes:
    """Return SHA-256 of the parts, each with its length before it: no two lists look alike."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8) + part)
    return whole.digest()
