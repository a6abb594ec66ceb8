"""Where and how a write's conversation with the database can break off.

A write says, in this order: BEGIN with its claim of the key and the effect; what the key stores
with COMMIT and the question for the position. One whose session was lost says its claim by itself;
one whose key is known says RECALL instead of the effect. Prepared statements send their text once,
so a later message is known by its arguments.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from service.api.idempotency import SCOPE
from service.database import IdempotencyKey
from service.database.messages import once
from tests.integration.faults import Fault, Way
from tests.integration.twins import IF_MATCH, KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from tests.integration.fault_proxy import FaultProxy, Trap
    from tests.integration.service_client import Service


@dataclass(frozen=True)
class Request:
    """A write as a client sends it."""

    method: str
    path: str
    body: dict[str, str] | None
    argument: bytes  # what its statement's arguments have, and no other message before it
    if_match: str | None = None

    @classmethod
    def create(cls, email: str, name: str) -> Request:
        """Make a user."""
        return cls("POST", "/api/users", {"email": email, "name": name}, email.encode())

    @classmethod
    def change(cls, user: int, body: dict[str, str], if_match: str | None = None) -> Request:
        """Change a user."""
        return cls("PATCH", f"/api/users/{user}", body, _argument(user), if_match)

    @classmethod
    def delete(cls, user: int, if_match: str | None = None) -> Request:
        """Delete a user."""
        return cls("DELETE", f"/api/users/{user}", None, _argument(user), if_match)

    async def send(
        self, service: Service, key: str, more: Mapping[str, str] = MappingProxyType({})
    ) -> httpx.Response:
        """Send it to an instance, with `more` headers."""
        headers = {KEY: key, **more}
        if self.if_match is not None:
            headers[IF_MATCH] = self.if_match
        return await service.client.request(self.method, self.path, json=self.body, headers=headers)

    @property
    def user(self) -> int:
        """The id in the path of a change or a deletion."""
        return int(self.path.rsplit("/", 1)[1])


class Step(StrEnum):
    """A moment of a write's conversation."""

    IDLE = "idle"  # the pool's connections, before the request comes
    CONNECT = "connect"
    CLAIM = "claim"
    BODY = "body"
    AFTER = "after"  # the body: COMMIT, or the ROLLBACK of one that failed
    RECALL = "recall"
    COMMIT = "commit"


_LAST = b"\0\1"  # follows the last argument: how many formats of columns are given
CUTS = (Fault.CUT_BEFORE, Fault.LOSE_ANSWER, Fault.CUT_ANSWER)
# The same, with the bytes of the answer that go through: a few; COMMIT's own tag; nearly all.
PLACES = (
    (Fault.CUT_BEFORE, 0),
    (Fault.LOSE_ANSWER, 0),
    *((Fault.CUT_ANSWER, n) for n in (5, 60, 120)),
)
# Bytes of an answer: COMMIT's has about 140 in nine messages, so it is cut in each, and between;
# connecting sends about 370.
ANSWER_MOST = 400


@dataclass(frozen=True)
class Cut:
    """One failure to come."""

    step: Step
    fault: Fault
    answer: int = 1

    async def arm(self, proxy: FaultProxy, request: Request, key: str) -> Trap | None:
        """Make it happen to the next request; None: it is not a trap."""
        if self.step in {Step.IDLE, Step.CONNECT}:
            await proxy.cut()
            if self.step is Step.CONNECT:
                proxy.end_after(self.answer, Way.TO_SERVER)
            return None
        pattern, after = _place(self.step, request, key)
        return proxy.trap(pattern, self.fault, after=after, answer=self.answer)


def _place(step: Step, request: Request, key: str) -> tuple[bytes, bytes]:
    """Return what the message has, and what the one before it has."""
    places: dict[Any, tuple[bytes, bytes]] = {
        Step.CLAIM: (once("BEGIN"), b""),
        Step.BODY: (request.argument, b""),
        Step.AFTER: (b"", request.argument),
        Step.RECALL: (IdempotencyKey.of(key, scope=SCOPE, request=b"").digest + _LAST, b""),
        Step.COMMIT: (b"COMMIT", b""),
    }
    return places[step]


def _argument(number: int) -> bytes:
    """Return a bigint as an argument of a prepared statement."""
    return struct.pack(">iq", 8, number)
